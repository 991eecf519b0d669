"""aiomysql: tasks at once, its pool, its cursors, transactions, tasks that are cancelled."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import aiomysql

from tests.drivers.programs.mysql_shared import COLUMNS, ROWS, TABLE, described
from tests.drivers.programs.transcript import DATABASE, HOST, PASSWORD, PORT, SCHEMA, USER, crowd, main, part, say

# It closes with a transport that Python then finds unclosed.
warnings.simplefilter("ignore", ResourceWarning)


def settings(**more: Any) -> dict[str, Any]:
    return {
        "host": HOST, "port": PORT, "user": USER, "password": PASSWORD, "db": DATABASE, "autocommit": True,
        "charset": "utf8mb4", **more,
    }  # fmt: skip


async def ask(connection: Any, text: str, values: Any = None) -> Any:
    async with connection.cursor() as cursor:
        await cursor.execute(text, values)
        return await cursor.fetchall() if cursor.description else cursor.rowcount


@part
async def opening() -> None:
    for more in (
        {},
        {"autocommit": None},
        {"sql_mode": "ANSI"},
        {"init_command": "SET time_zone = '+02:00'"},
        {"db": None},
    ):
        connection = await aiomysql.connect(**settings(**more))
        say(
            more,
            await ask(connection, "SELECT @@autocommit, @@sql_mode, @@time_zone, @@collation_connection, DATABASE()"),
        )
        await connection.ping()
        connection.close()


@part
async def values() -> None:
    connection = await aiomysql.connect(**settings())
    await ask(connection, TABLE)
    for row in ROWS:
        # It cannot write bytes with the PyMySQL of today.
        row = tuple(None if isinstance(value, bytes) else value for value in row)
        say(await ask(connection, f"INSERT INTO {SCHEMA}.kinds ({COLUMNS}) VALUES ({', '.join(['%s'] * 16)})", row))
    for row in await ask(connection, f"SELECT * FROM {SCHEMA}.kinds ORDER BY id"):
        say([value if not isinstance(value, str) or len(value) < 100 else len(value) for value in row])
    await ask(connection, f"DROP TABLE {SCHEMA}.kinds")
    for text in ("SELECT nix", "SELECT * FROM nowhere"):
        try:
            await ask(connection, text)
        except aiomysql.MySQLError as error:
            say(described(error))
    say(await ask(connection, "SELECT 'alive'"))
    connection.close()


@part
async def pools() -> None:
    """More tasks than connections."""
    pool = await aiomysql.create_pool(minsize=1, maxsize=4, **settings())
    async with pool.acquire() as connection:
        await ask(connection, f"CREATE TABLE {SCHEMA}.pooled (id INT AUTO_INCREMENT PRIMARY KEY, n INT)")

    async def work(number: int) -> int:
        async with pool.acquire() as connection:
            await connection.begin()
            await ask(connection, f"INSERT INTO {SCHEMA}.pooled (n) VALUES (%s)", (number,))
            if number % 5 == 0:
                await connection.rollback()
            else:
                await connection.commit()
            ((found,),) = await ask(connection, "SELECT %s", (number,))
            return found

    say(await asyncio.gather(*(work(number) for number in range(40))))
    async with pool.acquire() as connection:
        say(await ask(connection, f"SELECT COUNT(*), SUM(n) FROM {SCHEMA}.pooled"))
        await ask(connection, f"DROP TABLE {SCHEMA}.pooled")
    pool.close()
    await pool.wait_closed()


@part
async def cursors() -> None:
    connection = await aiomysql.connect(**settings())
    numbers = "SELECT a.n * 10 + b.n AS n FROM " + ", ".join(
        f"(SELECT 0 AS n{''.join(f' UNION SELECT {n}' for n in range(1, 10))}) {name}" for name in "ab"
    )
    async with connection.cursor(aiomysql.SSCursor) as cursor:
        await cursor.execute(f"{numbers} ORDER BY n")
        say(await cursor.fetchone(), await cursor.fetchmany(3))
        say(len(await cursor.fetchall()))
    async with connection.cursor(aiomysql.SSDictCursor) as cursor:
        await cursor.execute(f"{numbers} ORDER BY n")
        say(await cursor.fetchone())
    say(await ask(connection, "SELECT 'alive'"))
    connection.close()


@crowd  # where it never queues
async def cancelled() -> None:
    connection = await aiomysql.connect(**settings())
    task = asyncio.create_task(ask(connection, "SELECT SLEEP(5)"))
    await asyncio.sleep(0.3)
    task.cancel()
    say(isinstance((await asyncio.gather(task, return_exceptions=True))[0], BaseException))
    connection.close()
    another = await aiomysql.connect(**settings())
    say(await ask(another, "SELECT 'alive'"))
    another.close()


main()
