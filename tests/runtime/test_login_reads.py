"""What a login reads, and what it leaves behind: a login is short, and so its details are most of what it costs."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from rdsp.endpoint.listener import Endpoint
from rdsp.net.memory import MemoryTransport, Script, memory_pair
from rdsp.session.run import Session
from rdsp.session.splice import Splice
from rdsp_codecs.postgres import messages as m
from rdsp_codecs.postgres.relay import PostgresRelay
from tests.runtime.world import Client, World, world


class Reads:
    """Counts what is read of a transport, and how often there was nothing."""

    def __init__(self, transport: MemoryTransport) -> None:
        self.done = self.in_vain = 0
        for name in ("recv", "peek"):
            setattr(transport, name, self._counted(getattr(transport, name)))

    def _counted(self, read: Callable[[int], bytes]) -> Callable[[int], bytes]:
        def counted(limit: int, /) -> bytes:
            self.done += 1
            try:
                return read(limit)
            except BlockingIOError:
                self.in_vain += 1
                raise

        return counted


def _comes(w: World, ours: Script | None = None) -> tuple[Client, Reads]:
    """A client comes to the door of a proxy."""
    mine, proxys = memory_pair("client", ours)
    reads = Reads(proxys)
    w.board.refresh()
    Endpoint(w.context, [])._greet(proxys, trio.current_time())  # type: ignore[arg-type]
    return Client(mine, "client"), reads


@pytest.mark.parametrize("late", [0.0, 0.05])
async def test_nothing_is_read_in_vain_in_a_login_and_behind_it(clock: MockClock, late: float) -> None:
    async with world() as w:
        first = await w.client()  # the pool knows its server now
        client, reads = _comes(w)
        await trio.sleep(late)
        assert (await client.login()).status == "I"
        assert (reads.done, reads.in_vain) == (2, 0), "one look at the first packet, and one read of it"
        assert (await client.query("SELECT 1")).status == "I"
        assert (reads.done, reads.in_vain) == (3, 0)
        for one in (client, first):
            await one.leave()
        await w.settle()


@pytest.mark.parametrize("sizes", [(1,), (3, 1), (5,), (7, 2), (8, 1)])
@pytest.mark.parametrize("gap", [0.0, 0.01])
async def test_a_first_packet_may_come_in_pieces(clock: MockClock, sizes: tuple[int, ...], gap: float) -> None:
    async with world() as w:
        client, _ = _comes(w, Script(split=sizes, gap=gap))
        await client.send(m.untagged(m.GSSENC_REQUEST))
        assert await client._take(1) == b"N"
        assert (await client.login()).status == "I"
        assert (await client.query("SELECT 1")).status == "I"
        await client.leave()
        await w.until(lambda: not len(w.context.registry))
        await w.settle()


async def test_what_comes_together_with_the_first_packet_is_not_forgotten(clock: MockClock) -> None:
    """In one piece: no further edge tells of the request."""
    async with world() as w:
        first = await w.client()
        client, _ = _comes(w)
        await client.send(m.startup("app", "app", {}) + m.query(client.mark("SELECT 1")))
        assert (await client.reply()).status == "I"
        assert (await client.reply()).status == "I"
        for one in (client, first):
            await one.leave()
        await w.settle()


async def test_a_session_that_is_over_is_not_left_to_the_garbage_collector(clock: MockClock) -> None:
    """Which would run the more often, the more clients come."""
    async with world() as w:
        first = await w.client()
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for _ in range(150):  # the alarms of the last 64 are forgotten late
                client, _ = _comes(w)
                assert (await client.login()).status == "I"
                assert (await client.query("SELECT 1")).status == "I"
                await client.leave()
                await w.until(lambda: len(w.context.registry) == 1)
            gc.collect()
            assert [one for one in gc.garbage if isinstance(one, (Session, Splice, PostgresRelay))] == []
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        await first.leave()
        await w.settle()
