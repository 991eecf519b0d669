"""asyncpg: binary, prepared by default, its own names for statements."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import io
import json
import ssl
import uuid
from typing import Any

import asyncpg

from tests.drivers.programs.transcript import CA, SCHEMA, described, main, part, say
from tests.waiting import PATIENCE


async def connect(**more: Any) -> asyncpg.Connection:
    return await asyncpg.connect(**{"ssl": "prefer", **more})


async def fails(what: str, made: Any) -> None:
    try:
        await made
    except (TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        detail, hint = getattr(error, "detail", None), getattr(error, "hint", None)
        say(what, described(error), detail, hint, getattr(error, "position", None))
    else:
        say(what, "did not fail")


@part
async def types() -> None:
    client = await connect()
    for kind, value in (
        ("int2", 7), ("int4", -5), ("int8", 2**60), ("numeric", decimal.Decimal("1.2300")), ("float8", 1e300),
        ("text", "ä€😀"), ("bytea", b"\0\xff"), ("bool", True), ("date", dt.date(1, 1, 1)), ("time", dt.time(1, 2)),
        ("timestamp", dt.datetime(2020, 1, 1)), ("timestamptz", dt.datetime(2020, 1, 1, tzinfo=dt.UTC)),
        ("interval", dt.timedelta(days=1, seconds=2)), ("uuid", uuid.UUID(int=9)), ("jsonb", '{"a": 1}'),
        ("int4[]", [1, None, 3]), ("text[][]", [["a"], ["b"]]), ("int4range", asyncpg.Range(1, 9)),
        ("point", asyncpg.Point(1, 2)), ("inet", "10.0.0.1"), ("bit(3)", asyncpg.BitString("101")), ("oid", 4294967295),
    ):  # fmt: skip
        say(kind, await client.fetchval(f"SELECT $1::{kind}", value), await client.fetchval(f"SELECT $1::{kind}", None))
    await client.execute(f"CREATE TYPE {SCHEMA}.pair AS (a int, b text[])")
    say(tuple(await client.fetchval(f"SELECT $1::{SCHEMA}.pair", (1, ["x", None]))))
    await client.set_type_codec("json", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    say(await client.fetchval("SELECT $1::json", {"b": [1, 2]}))
    await client.execute(f"CREATE TYPE {SCHEMA}.mood AS ENUM ('good', 'bad')")
    say(await client.fetch(f"SELECT unnest(enum_range(NULL::{SCHEMA}.mood))"))
    await client.execute(f"DROP TYPE {SCHEMA}.pair, {SCHEMA}.mood")
    await client.close()


@part
async def prepared() -> None:
    cached = [await connect() for _ in range(3)]
    cached.append(await connect(statement_cache_size=0))
    cached.append(await connect(statement_cache_size=2))
    for turn in range(6):
        for number, client in enumerate(cached):
            for more in range(4):
                say(turn, number, await client.fetchval(f"SELECT $1::int + {more}, $2::text", turn * number, "x"))
    statement = await cached[0].prepare("SELECT $1::int AS n, $2::text AS t")
    say([p.name for p in statement.get_parameters()], [(a.name, a.type.name) for a in statement.get_attributes()])
    for number in range(5):
        say(tuple(await statement.fetchrow(number, "t")), statement.get_statusmsg())
    say([tuple(row) for row in await statement.fetchmany([(1, "a"), (2, "b")])])
    explicit = await cached[1].prepare("SELECT 7", name="stmt_named")
    await fails("twice", cached[1].prepare("SELECT 8", name="stmt_named"))
    say(await explicit.fetchval(), explicit.get_name())
    await cached[0].execute(f"CREATE TABLE {SCHEMA}.ddl (a int)")
    await cached[0].execute(f"INSERT INTO {SCHEMA}.ddl VALUES (1)")
    for client in cached:
        say(await client.fetch(f"SELECT * FROM {SCHEMA}.ddl"))
    await cached[0].execute(f"ALTER TABLE {SCHEMA}.ddl ADD b text DEFAULT 'new'")
    for client in cached:  # the driver prepares anew by itself outside of a transaction
        say(await client.fetch(f"SELECT * FROM {SCHEMA}.ddl"))
    await cached[1].execute(f"ALTER TABLE {SCHEMA}.ddl DROP b")
    transaction = cached[0].transaction()
    await transaction.start()
    await fails("in a transaction", cached[0].fetch(f"SELECT * FROM {SCHEMA}.ddl"))
    await transaction.rollback()
    say(await cached[0].fetch(f"SELECT * FROM {SCHEMA}.ddl"))
    await cached[0].execute(f"DROP TABLE {SCHEMA}.ddl")
    await fails("dropped", cached[2].fetch(f"SELECT * FROM {SCHEMA}.ddl"))
    for client in cached:
        await client.close()


@part
async def transactions() -> None:
    client, other = await connect(), await connect()
    await other.execute(f"CREATE TABLE {SCHEMA}.tx (a int PRIMARY KEY)")
    async with client.transaction():
        await client.execute(f"INSERT INTO {SCHEMA}.tx VALUES (1)")
        try:
            async with client.transaction():
                await client.execute(f"INSERT INTO {SCHEMA}.tx VALUES (2)")
                await client.execute(f"INSERT INTO {SCHEMA}.tx VALUES (1)")
        except asyncpg.UniqueViolationError as error:
            say(described(error), error.detail, error.constraint_name)
        await client.execute(f"INSERT INTO {SCHEMA}.tx VALUES (3)")
    say(await other.fetch(f"SELECT a FROM {SCHEMA}.tx ORDER BY a"))
    async with client.transaction(isolation="serializable", readonly=True, deferrable=True):
        say(await client.fetchval("SHOW transaction_isolation"), await client.fetchval("SHOW transaction_read_only"))
        await fails("read only", client.execute(f"INSERT INTO {SCHEMA}.tx VALUES (4)"))
        await fails("aborted", client.fetchval("SELECT 1"))
        await fails("aborted, simple", client.execute("SELECT 1"))
    say(await client.execute(f"DELETE FROM {SCHEMA}.tx"), client.is_in_transaction())
    await client.executemany(f"INSERT INTO {SCHEMA}.tx VALUES ($1)", [(n,) for n in range(2000)])
    await fails("many", client.executemany(f"INSERT INTO {SCHEMA}.tx VALUES ($1)", [(9000,), (1,), (9001,)]))
    say(await other.fetchrow(f"SELECT count(*), max(a) FROM {SCHEMA}.tx"))
    say(await client.execute("SELECT 1; SELECT 2; SELECT 3"))
    await fails("script", client.execute(f"INSERT INTO {SCHEMA}.tx VALUES (7777); SELECT 1/0"))
    say(await other.fetchval(f"SELECT max(a) FROM {SCHEMA}.tx"))
    await client.execute(f"DROP TABLE {SCHEMA}.tx")
    await client.close()
    await other.close()


@part
async def cursors() -> None:
    client = await connect()
    await fails("outside", client.cursor("SELECT 1").__aiter__().__anext__())
    async with client.transaction():
        say([r["n"] async for r in client.cursor("SELECT n FROM generate_series(1, $1::int) n", 25, prefetch=4)])
        cursor = await client.cursor("SELECT n FROM generate_series(1, 100) n")
        say(await cursor.forward(10), await cursor.fetchrow(), await cursor.fetch(3))
        inner = await client.cursor("SELECT 'inner', n FROM generate_series(1, 5) n")
        say(await inner.fetch(2), await cursor.fetch(2), await inner.fetch(9))
    async with client.transaction():
        statement = await client.prepare("SELECT 10 / (3 - n) FROM generate_series(1, 5) n")
        try:
            async for row in statement.cursor(prefetch=1):
                say(row)
        except asyncpg.PostgresError as error:
            say(described(error))
    say(await client.fetchval("SELECT 'alive'"))
    await client.close()


@part
async def copies() -> None:
    client = await connect()
    await client.execute(f"CREATE TABLE {SCHEMA}.copied (a int, b text)")
    records = [(n, None if n % 5 == 0 else f"text {n}") for n in range(3000)]
    say(await client.copy_records_to_table("copied", schema_name=SCHEMA, records=records))
    csv = io.BytesIO(b'a,b\n1,"x,y"\n2,\n')
    say(await client.copy_to_table("copied", schema_name=SCHEMA, source=csv, format="csv", header=True))
    out = io.BytesIO()
    say(await client.copy_from_table("copied", schema_name=SCHEMA, output=out, format="csv"), len(out.getvalue()))
    out = io.BytesIO()
    query = f"SELECT * FROM {SCHEMA}.copied WHERE a < $1 ORDER BY a, b"
    say(await client.copy_from_query(query, 3, output=out), out.getvalue())
    out = io.BytesIO()
    say(await client.copy_from_query("SELECT repeat('c', 1000) FROM generate_series(1, 5000)", output=out))
    say(len(out.getvalue()))
    await fails("bad", client.copy_to_table("copied", schema_name=SCHEMA, source=io.BytesIO(b"x\ty\n" * 5000)))
    await fails("nowhere", client.copy_to_table("nowhere", source=io.BytesIO(b"1\n")))

    async def breaks() -> Any:
        yield b"1\tnever\n"
        raise ValueError("the source broke")

    try:
        await client.copy_to_table("copied", schema_name=SCHEMA, source=breaks())
    except ValueError as error:
        say(described(error))
    await fails(
        "in the middle", client.copy_from_query("SELECT 1/(9-n) FROM generate_series(1,20) n", output=io.BytesIO())
    )
    say(await client.fetchrow(f"SELECT count(*), sum(a) FROM {SCHEMA}.copied"))
    await client.execute(f"DROP TABLE {SCHEMA}.copied")
    await client.close()


@part
async def errors_and_timeouts() -> None:
    client = await connect()
    for text in ("SELEC 1", "SELECT nix", "SELECT 1/0", "SELECT * FROM nowhere", "SELECT 'x'::int"):
        await fails(text, client.fetch(text))
        await fails(text, client.execute(text))
    await fails("argument", client.fetchval("SELECT $1::int", "text"))
    await fails("count", client.fetchval("SELECT $1::int", 1, 2))
    for _ in range(3):
        await fails("timeout", client.fetchval("SELECT pg_sleep(20)", timeout=0.3))
        say(await client.fetchval("SELECT 'alive'"))
    task = asyncio.ensure_future(client.fetchval("SELECT pg_sleep(20)"))
    await asyncio.sleep(0.3)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        say("cancelled")
    say(await client.fetchval("SELECT 'alive'"))
    limited = await connect(command_timeout=0.4)
    await fails("command timeout", limited.execute("SELECT pg_sleep(20)"))
    # The time that the cancel takes counts.
    say(await limited.fetchval("SELECT 'alive'", timeout=PATIENCE))
    await limited.close()
    await fails("password", connect(password="wrong"))
    await fails("database", connect(database="nowhere"))
    try:
        await client.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    except (asyncpg.PostgresError, OSError) as error:
        say(type(error).__name__, getattr(error, "sqlstate", None))
    say(client.is_closed())


@part
async def settings_and_notices() -> None:
    options = {"application_name": "by asyncpg", "work_mem": "3MB", "search_path": f"{SCHEMA},pg_catalog"}
    client, other = await connect(server_settings=options), await connect()
    ask = "SELECT current_setting('application_name'), current_setting('work_mem'), current_setting('search_path')"
    say(tuple(await client.fetchrow(ask)), tuple(await other.fetchrow(ask)))
    say(client.get_settings().application_name, client.get_server_version().major > 9)
    client.add_log_listener(lambda _, message: say("log", message.severity, message.sqlstate, message.message))
    await client.execute("DO $$ BEGIN RAISE NOTICE 'noted'; RAISE WARNING 'warned'; END $$")
    await client.execute("SET work_mem = '9MB'")
    await client.execute("SET application_name = 'other name'")
    say(tuple(await client.fetchrow(ask)), tuple(await other.fetchrow(ask)), client.get_settings().application_name)
    await client.reset()
    say(tuple(await client.fetchrow(ask)), tuple(await other.fetchrow(ask)))
    await client.close()
    await other.close()


@part
async def notifications() -> None:
    client = await connect()
    heard: list[tuple[str, str]] = []
    channel = f"channel_{SCHEMA}"

    def listener(_: Any, pid: int, name: str, payload: str) -> None:
        heard.append((name, payload))

    await client.add_listener(channel, listener)
    for payload in ("one", "two", ""):
        await client.execute(f"SELECT pg_notify('{channel}', '{payload}')")
    async with client.transaction():
        await client.fetchval("SELECT pg_notify($1, 'prepared')", channel)
    for _ in range(round(PATIENCE / 0.05)):
        if len(heard) == 4:
            break
        await asyncio.sleep(0.05)
    say(heard)
    await client.remove_listener(channel, listener)
    await client.execute(f"SELECT pg_notify('{channel}', 'unheard')")
    await client.close()


@part
async def pools() -> None:
    async with asyncpg.create_pool(min_size=2, max_size=4, ssl="prefer", max_queries=20) as pool:

        async def work(number: int) -> int:
            async with pool.acquire() as client, client.transaction():
                return await client.fetchval("SELECT $1::int * 2", number)

        say(await asyncio.gather(*(work(number) for number in range(100))))
        async with pool.acquire() as client:
            await fails("in a pool", client.execute("SELECT 1/0"))
        say(await pool.fetchval("SELECT 'by the pool'"))
        await pool.expire_connections()
        say(await pool.fetch("SELECT n FROM generate_series(1, 3) n"))


@part
async def large() -> None:
    client = await connect()
    for size in (8_000, 70_000, 5_000_000):
        data = bytes(size)
        say(size, await client.fetchval("SELECT $1::bytea", data) == data)
    say(len(await client.fetch("SELECT n, repeat('z', 200) FROM generate_series(1, 20000) n")))
    say(len(await client.fetchval("SELECT '" + "q" * 1_000_000 + "'")))
    say(await client.fetchval("SELECT count(*) FROM unnest($1::int[]) n", list(range(200_000))))
    await client.close()


@part
async def encrypted() -> None:
    if CA:
        context = ssl.create_default_context(cafile=CA)
        client = await asyncpg.connect(host="localhost", ssl=context)
        say(await client.fetchval("SELECT length(repeat('t', 1000000))"))
        await client.close()
    client = await connect(ssl=False)
    say(await client.fetchval("SELECT 2"))
    await client.close()


main()
