"""psycopg 3, asynchronous: what differs from the synchronous one, many tasks on few connections."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from tests.drivers.programs.transcript import CA, SCHEMA, described, main, part, say


async def connect(**more: Any) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(**{"autocommit": True, **more})


async def fails(what: str, made: Any) -> None:
    try:
        await made
    except psycopg.Error as error:
        say(what, described(error))
    else:
        say(what, "did not fail")


@part
async def statements_and_transactions() -> None:
    clients = [await connect(prepare_threshold=0) for _ in range(4)]
    for turn in range(8):
        for number, client in enumerate(clients):
            row = await (await client.execute(f"SELECT %s::int + {number}, %s::text", (turn, "x"))).fetchone()
            say(turn, number, row)
    await clients[0].execute(f"CREATE TABLE {SCHEMA}.tx (a int PRIMARY KEY)")

    async def work(number: int) -> None:
        client = clients[number]
        for turn in range(10):
            async with client.transaction():
                await client.execute(f"INSERT INTO {SCHEMA}.tx VALUES (%s)", (number * 100 + turn,))
                try:
                    async with client.transaction():
                        await client.execute(f"INSERT INTO {SCHEMA}.tx VALUES (%s)", (number * 100 + turn,))
                except psycopg.errors.UniqueViolation:
                    await client.execute("SELECT 'inner undone'")

    await asyncio.gather(*(work(number) for number in range(4)))
    cursor = await clients[3].execute(f"SELECT count(*), sum(a), max(a) FROM {SCHEMA}.tx", prepare=False)
    say(await cursor.fetchone())
    for client in clients:
        await client.close()


@part
async def pipelines() -> None:
    clients = [await connect(autocommit=False) for _ in range(3)]

    async def work(number: int) -> list[Any]:
        client, results = clients[number], []
        for _ in range(5):
            async with client.pipeline():
                cursors = [await client.execute("SELECT %s::int * %s::int", (number, n)) for n in range(30)]
                for cursor in cursors:
                    results.append((await cursor.fetchone())[0])
            await client.commit()
        return results

    for result in await asyncio.gather(*(work(number) for number in range(3))):
        say(len(result), sum(result))

    async def broken(client: psycopg.AsyncConnection[Any]) -> None:
        async with client.pipeline():
            await client.execute("SELECT 1/0")
            await client.execute("SELECT 1")

    for client in clients:
        await fails("pipeline", broken(client))
        await client.rollback()
        await client.close()


@part
async def streams_copies_and_cursors() -> None:
    client = await connect()
    await client.execute(f"CREATE TABLE {SCHEMA}.copied (a int, b text)")
    async with client.cursor() as cursor:
        async with cursor.copy(f"COPY {SCHEMA}.copied FROM STDIN") as copy:
            for number in range(3000):
                await copy.write_row((number, "v" * (number % 50)))
        async with cursor.copy(f"COPY {SCHEMA}.copied TO STDOUT (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "text"])
            total = 0
            async for row in copy.rows():
                total += row[0] + len(row[1])
            say(total)
        total = 0
        async for row in cursor.stream(f"SELECT a FROM {SCHEMA}.copied"):
            total += row[0]
        say(total)
        async for row in cursor.stream(f"SELECT a FROM {SCHEMA}.copied ORDER BY a"):
            if row[0] == 10:
                break
        say(await (await client.execute("SELECT 'alive'")).fetchone())
    async with client.transaction(), client.cursor(name="named") as named:
        await named.execute(f"SELECT a FROM {SCHEMA}.copied ORDER BY a")
        named.itersize = 100
        say(sum([row[0] async for row in named]))
    await client.execute(f"DROP TABLE {SCHEMA}.copied")
    await client.close()


@part
async def cancels() -> None:
    client, other = await connect(), await connect()
    for _ in range(3):
        task = asyncio.ensure_future(client.execute("SELECT pg_sleep(30)"))
        await asyncio.sleep(0.3)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            say("cancelled")
        except psycopg.Error as error:
            say(described(error))
        say(client.closed, await (await other.execute("SELECT 'other'")).fetchone())
        if client.closed:
            client = await connect()
        say(await (await client.execute("SELECT 'alive'")).fetchone())
    asyncio.get_running_loop().call_later(0.3, lambda: asyncio.ensure_future(client.cancel_safe()))
    await fails("safely", client.execute("SELECT pg_sleep(30)"))
    say(await (await client.execute("SELECT 'alive'")).fetchone())
    await client.close()
    await other.close()


@part
async def pools() -> None:
    async with AsyncConnectionPool(
        min_size=1, max_size=4, open=False, check=AsyncConnectionPool.check_connection
    ) as pool:

        async def work(number: int) -> int:
            async with pool.connection(timeout=60) as client:
                row = await (await client.execute("SELECT %s::int", (number,))).fetchone()
                return row[0]

        say(await asyncio.gather(*(work(number) for number in range(60))))

        async def broken() -> None:
            async with pool.connection(timeout=60) as client:
                await client.execute("SELECT 1/0")

        for _ in range(3):
            await fails("in the pool", broken())
        say(await work(7))


@part
async def encrypted() -> None:
    if CA:
        client = await connect(sslmode="verify-full", sslrootcert=CA, host="localhost")
        say(client.pgconn.ssl_in_use, len((await (await client.execute("SELECT repeat('t', 1000000)")).fetchone())[0]))
        await client.close()


main()
