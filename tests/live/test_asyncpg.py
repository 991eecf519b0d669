"""asyncpg through the proxy, on Trio by trio-asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
import trio_asyncio

from tests.servers.postgres import DATABASE, PASSWORD, USER
from tests.servers.proxy import ProxyProcess

pytestmark = pytest.mark.live


async def _connect(port: int, **more: Any) -> asyncpg.Connection:
    return await asyncpg.connect(
        host="127.0.0.1", port=port, user=USER, password=PASSWORD, database=DATABASE, ssl="prefer", **more
    )


async def _work(port: int) -> None:
    connections = [await _connect(port) for _ in range(5)]
    for turn in range(10):
        for number, connection in enumerate(connections):
            assert await connection.fetchval("SELECT $1::int * $2::int", turn, number) == turn * number
    first = connections[0]
    async with first.transaction():
        await first.execute("CREATE TABLE IF NOT EXISTS by_asyncpg (a int)")
        await first.copy_records_to_table("by_asyncpg", records=[(n,) for n in range(1000)])
        assert await first.fetchval("SELECT count(*) FROM by_asyncpg") >= 1000
        total = 0
        async for row in first.cursor("SELECT a FROM by_asyncpg LIMIT 100"):
            total += row["a"]
        assert total == sum(range(100))
    await first.execute("DROP TABLE by_asyncpg")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await first.fetchval("SELECT 1 / $1::int", 0)
    with pytest.raises(asyncio.TimeoutError):
        await first.fetchval("SELECT pg_sleep(20)", timeout=0.2)
    assert await first.fetchval("SELECT 1") == 1
    for connection in connections:
        await connection.close()


async def _pool(port: int) -> None:
    async with asyncpg.create_pool(
        host="127.0.0.1", port=port, user=USER, password=PASSWORD, database=DATABASE, min_size=10, max_size=20
    ) as pool:

        async def one(number: int) -> None:
            async with pool.acquire() as connection, connection.transaction():
                assert await connection.fetchval("SELECT $1::int", number) == number

        await asyncio.gather(*(one(number) for number in range(200)))


async def test_statements_transactions_copy_cursors_and_timeouts(proxies: Callable[[int], ProxyProcess]) -> None:
    async with trio_asyncio.open_loop():
        await trio_asyncio.aio_as_trio(_work)(proxies(2).port)


async def test_a_pool_that_resets_its_connections_does_not_pin_them(proxies: Callable[[int], ProxyProcess]) -> None:
    proxy = proxies(3)
    before = proxy.log().count("was pinned")
    async with trio_asyncio.open_loop():
        await trio_asyncio.aio_as_trio(_pool)(proxy.port)

    assert proxy.log().count("was pinned") == before
