"""Who does not read or does not finish a message hurts nobody else, and costs a bounded amount of memory."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from rdsp.config.model import TargetGroup
from rdsp.net.memory import Script
from rdsp_codecs.postgres import messages as m
from tests.runtime.world import Client, World, parse, proxy, world


def _splice(w: World, client: Client):  # type: ignore[no-untyped-def]
    session = w.context.registry.find(client.number, client.secret)
    assert session is not None
    return session._splice  # type: ignore[attr-defined]


async def test_a_client_that_does_not_read_stalls_only_itself(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=2))) as w:
        w.database.scripts = lambda: (Script(), Script(capacity=100_000))
        lazy, quick = await w.client(theirs=Script(capacity=50_000)), await w.client()
        await lazy.send(m.query(lazy.mark("BIG 20000000")))
        for n in range(50):
            assert (await quick.query(f"SELECT {n}")).rows == [str(n)]
            await trio.sleep(0.1)
        splice = _splice(w, lazy)
        assert len(splice.client_rest) + len(splice.server_rest) < 200_000
        assert not splice.relay.to_client
        backend = next(c for c in w.database.live if c.ran and c.ran[-1].who == lazy.name)
        assert backend.transport.unread_by_peer <= 100_000
        reply = await lazy.reply()
        assert len(reply.rows) == 20_000
        assert reply.status == "I"
        await lazy.leave()
        await quick.leave()
        await w.settle()


async def test_a_server_that_does_not_read_stops_its_client_from_being_read(clock: MockClock) -> None:
    async with world() as w:
        w.database.scripts = lambda: (Script(capacity=10_000), Script())
        client = await w.client(ours=Script(capacity=20_000))
        text = client.mark("SELECT 1 " + "x" * 300_000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, m.query(client.mark("SLEEP 50")) + m.query(text) * 3)
            await trio.sleep(20)
            splice = _splice(w, client)
            assert client.transport.unread_by_peer > 0
            assert len(splice.server_rest) < 500_000
        assert (await client.reply()).rows == ["slept"]
        for _ in range(3):
            assert (await client.reply()).rows == ["1"]
        await client.leave()
        await w.settle()


@pytest.mark.parametrize("part", [b"Q\0\0", m.query("SELECT 1")[:-3], parse("a", "SELECT 1")[:9]])
async def test_half_a_message_holds_no_backend(clock: MockClock, part: bytes) -> None:
    async with world(proxy(TargetGroup(max_backends=1))) as w:
        slow, other = await w.client(), await w.client()
        await slow.send(part)
        await trio.sleep(10)
        assert w.statistics().borrowed == 0
        assert (await other.query("SELECT 1")).rows == ["1"]
        slow.transport.close()
        await other.leave()
        await w.settle()


async def test_a_query_sent_byte_by_byte_runs_once(clock: MockClock) -> None:
    async with world() as w:
        client = await w.client(ours=Script(split=[1], gap=0.01), theirs=Script(split=[1]))
        assert (await client.query("SELECT 5")).rows == ["5"]
        assert (await client.prepare_and_run("s", "SELECT $1", "6")).rows == ["6"]
        assert w.database.times()[f"SELECT 5 /*{client.name}.1*/"] == 1
        await client.leave()
        await w.settle()


async def test_a_client_that_leaves_while_it_does_not_read_is_noticed(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=1))) as w:
        for how in ("close", "reset", "half close"):
            client = await w.client(theirs=Script(capacity=5000))
            await client.send(m.query(client.mark("BIG 1000000")))
            await trio.sleep(5)
            if how == "close":
                client.transport.close()
            elif how == "reset":
                client.transport.reset()
            else:
                client.transport.shutdown()
                await client.reply()
            await w.until(lambda: w.statistics().borrowed == 0 and w.sessions == 0, 60)
            client.transport.close()
        await w.settle()


async def test_a_server_that_dies_while_its_client_does_not_read_is_noticed_as_soon_as_that_reads(
    clock: MockClock,
) -> None:
    """The end of the server's stream is one edge, and it comes while the server must not be read."""
    async with world(proxy(TargetGroup(max_backends=1))) as w:
        w.database.scripts = lambda: (Script(), Script(capacity=40_000))
        client = await w.client(theirs=Script(capacity=5000))
        await client.send(m.query(client.mark("BIG 200000")))
        await trio.sleep(5)
        for connection in w.database.live:
            connection.terminate(b"")
        await trio.sleep(5)
        with trio.fail_after(60):
            reply = await client.reply()
            assert 40 < len(reply.rows) < 200
            assert reply.status == ""
        client.transport.close()
        await w.settle()


async def test_a_client_that_leaves_behind_its_request_is_noticed_after_the_wait(clock: MockClock) -> None:
    """Request and end of file come as one edge; only the request can be taken at first."""
    async with world(proxy(TargetGroup(max_backends=1))) as w:
        client = await w.client()
        await client.query("BEGIN")
        w.database.cancel_delay = 1.0
        async with trio.open_nursery() as nursery:
            await client.send(m.query(client.mark("SLEEP 0.5")))
            await trio.sleep(0.1)
            nursery.start_soon(w.cancel, client)
            await client.reply()
            # The session takes no request before the cancel is settled.
            await client.send(m.query(client.mark("SELECT 1")))
            client.transport.shutdown()
        await w.until(lambda: not w.sessions, 30)
        client.transport.close()
        await w.settle()


async def test_notifications_are_not_read_for_a_client_that_takes_none(clock: MockClock) -> None:
    """With a backend of its own; the server's sends end anywhere in a message."""
    async with world(proxy(TargetGroup(max_backends=1))) as w:
        w.database.scripts = lambda: (Script(), Script(capacity=5_000, split=[777]))
        lazy = await w.client(theirs=Script(capacity=3_000))
        await lazy.query("LISTEN flood")
        for number in range(1000):
            w.database.notify("flood", f"{number} " + "x" * 1000)
        await trio.sleep(10)
        assert len(_splice(w, lazy).client_rest) < 100_000
        heard = await lazy.hear(1000)
        assert [text.split()[1] for text in heard] == [str(number) for number in range(1000)]
        await lazy.leave()
        await w.settle()
