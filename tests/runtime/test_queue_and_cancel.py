"""Who waits is served in order; a cancel ends the request that it means and no other."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from rdsp.config.model import TargetGroup
from rdsp_codecs.postgres import messages as m
from tests.runtime.world import Client, World, proxy, simulate, world

ONE = TargetGroup(max_backends=1)


async def _hold(w: World) -> Client:
    """A client that keeps the only backend."""
    holder = await w.client("holder")
    await holder.query("BEGIN")
    return holder


async def _queue(w: World, count: int) -> list[Client]:
    """Clients that wait for the only backend, in this order."""
    waiters = [await w.client(f"w{n}") for n in range(count)]
    for waiter in waiters:
        await waiter.send(m.query(waiter.mark("SELECT 7")))
        await trio.sleep(0.01)
    assert w.statistics().waiting == count
    return waiters


def _order(w: World) -> list[str]:
    return [ran.who for ran in w.database.ran() if ran.text.startswith("SELECT 7")]


async def _end(w: World, *clients: Client) -> None:
    for client in clients:
        await client.leave()
    await w.settle()


async def test_waiters_are_served_in_the_order_in_which_they_came(clock: MockClock) -> None:
    async with world(proxy(ONE)) as w:
        holder = await _hold(w)
        waiters = await _queue(w, 30)
        await holder.query("COMMIT")
        for waiter in waiters:
            assert (await waiter.reply()).rows == ["7"]
        assert _order(w) == [waiter.name for waiter in waiters]
        await _end(w, holder, *waiters)


@pytest.mark.parametrize("how", ["close", "reset", "half close"])
async def test_a_waiter_that_leaves_is_skipped_and_its_request_never_runs(clock: MockClock, how: str) -> None:
    async with world(proxy(ONE)) as w:
        holder = await _hold(w)
        waiters = await _queue(w, 4)
        leaver = waiters.pop(1)
        if how == "close":
            leaver.transport.close()
        elif how == "reset":
            leaver.transport.reset()
        else:
            leaver.transport.shutdown()
        await w.until(lambda: w.statistics().waiting == 3, 1)
        await holder.query("COMMIT")
        for waiter in waiters:
            assert (await waiter.reply()).rows == ["7"]
        assert _order(w) == [waiter.name for waiter in waiters]
        leaver.transport.close()
        await _end(w, holder, *waiters)


async def test_what_a_waiter_asked_for_before_its_good_bye_is_done(clock: MockClock) -> None:
    """As at a server, which reads the good-bye behind the request."""
    async with world(proxy(ONE)) as w:
        holder = await _hold(w)
        waiters = await _queue(w, 3)
        await waiters[1].leave()
        waiters[1].transport.close()
        await trio.sleep(1)
        assert w.statistics().waiting == 3
        await holder.query("COMMIT")
        for waiter in (waiters[0], waiters[2]):
            assert (await waiter.reply()).rows == ["7"]
        assert _order(w) == [waiter.name for waiter in waiters]
        await _end(w, holder, waiters[0], waiters[2])


async def test_a_cancel_while_waiting_is_answered_and_the_session_lives_on(clock: MockClock) -> None:
    async with world(proxy(ONE)) as w:
        holder = await _hold(w)
        first, second = await _queue(w, 2)
        began = trio.current_time()
        await w.cancel(first)
        assert trio.current_time() - began < 1
        reply = await first.reply()
        assert (reply.errors, reply.status) == (["57014"], "I")
        await holder.query("COMMIT")
        assert (await second.reply()).rows == ["7"]
        assert (await first.query("SELECT 8")).rows == ["8"]
        assert _order(w) == [second.name]
        assert not any(connection.cancels for connection in w.database.all)
        await _end(w, holder, first, second)


@pytest.mark.parametrize("ticks", range(24))
@pytest.mark.parametrize("side", ["cancel", "grant"])
def test_a_cancel_that_meets_the_grant_is_passed_on(side: str, ticks: int) -> None:
    """Asked while the session waits, granted before its task has run: the cancel must reach what runs by then."""

    async def main() -> None:
        async with world(proxy(ONE), service_time=0.0) as w:
            holder, waiter = await w.client(), await w.client()
            await waiter.query("SELECT 1")
            end = trio.current_time() + 10
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_hold_until, holder, end, ticks if side == "grant" else 0)
                await trio.sleep(1)
                await waiter.send(m.query(waiter.mark("SLEEP 100")))
                await trio.sleep_until(end)
                for _ in range(ticks if side == "cancel" else 0):
                    await trio.lowlevel.checkpoint()
                await w.cancel(waiter)
            reply = await waiter.reply()
            assert (reply.errors, reply.status) == (["57014"], "I")
            assert trio.current_time() - end < 1
            await _end(w, holder, waiter)

    simulate(main)


async def _hold_until(holder: Client, end: float, ticks: int) -> None:
    await holder.query("BEGIN")
    await trio.sleep_until(end)
    for _ in range(ticks):
        await trio.lowlevel.checkpoint()
    await holder.query("COMMIT")


async def test_a_cancel_hits_the_running_request_and_the_session_lives_on(clock: MockClock) -> None:
    async with world(proxy(ONE)) as w:
        client = await w.client()
        await client.send(m.query(client.mark("SLEEP 100")))
        await trio.sleep(1)
        await w.cancel(client)
        reply = await client.reply()
        assert (reply.errors, reply.status) == (["57014"], "I")
        assert w.database.all[0].cancels == [f"SLEEP 100 /*{client.name}.1*/"]
        assert (await client.query("SELECT 1")).rows == ["1"]
        await _end(w, client)


@pytest.mark.parametrize("cancel_delay", [0.0, 0.0005, 0.5])
async def test_a_late_cancel_never_hits_another_session(clock: MockClock, cancel_delay: float) -> None:
    """The backend is not lent again before the server has done with the cancel."""
    async with world(proxy(ONE), service_time=0.0) as w:
        w.database.cancel_delay = cancel_delay
        quick, other = await w.client("quick"), await w.client("other")

        async def others() -> None:
            for _ in range(40):
                assert (await other.query("SLEEP 0.05")).rows == ["slept"]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(others)
            for n in range(20):
                await quick.send(m.query(quick.mark(f"SLEEP {0.01 * (n % 3)}")))
                await trio.sleep(0.004 * n)
                await w.cancel(quick)
                reply = await quick.reply()
                assert reply.status == "I"
        for connection in w.database.all:
            assert all("/*quick" in hit or not hit for hit in connection.cancels), connection.cancels
        await _end(w, quick, other)


async def test_a_late_cancel_never_hits_the_next_request_of_the_same_transaction(clock: MockClock) -> None:
    async with world(proxy(ONE)) as w:
        w.database.cancel_delay = 0.5
        client = await w.client()
        await client.query("BEGIN")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_query_and_expect, client, "SLEEP 0.2", ["slept"])
            await trio.sleep(0.1)
            nursery.start_soon(w.cancel, client)
            await trio.sleep(0.2)
            await _query_and_expect(client, "SLEEP 1", ["slept"])
        assert w.database.all[0].cancels == [""]
        await client.query("COMMIT")
        await _end(w, client)


async def _query_and_expect(client: Client, text: str, rows: list[str]) -> None:
    assert (await client.query(text)).rows == rows


async def test_a_cancel_with_a_wrong_key_does_nothing(clock: MockClock) -> None:
    async with world() as w:
        client = await w.client()
        await client.send(m.query(client.mark("SLEEP 5")))
        await trio.sleep(1)
        client.secret, secret = bytes(4), client.secret
        await w.cancel(client)
        client.secret = secret
        assert (await client.reply()).rows == ["slept"]
        assert not any(connection.cancels for connection in w.database.all)
        await _end(w, client)


async def test_a_cancel_for_a_quiet_session_does_nothing(clock: MockClock) -> None:
    async with world() as w:
        client = await w.client()
        await client.query("SELECT 1")
        began = trio.current_time()
        await w.cancel(client)
        assert trio.current_time() - began < 1
        assert (await client.query("SELECT 2")).rows == ["2"]
        assert not any(connection.cancels for connection in w.database.all)
        await _end(w, client)


async def test_several_cancels_at_once_all_return(clock: MockClock) -> None:
    async with world(proxy(ONE)) as w:
        holder, client = await _hold(w), await w.client()
        await client.send(m.query(client.mark("SLEEP 100")))
        await trio.sleep(1)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(w.cancel, client)
        assert trio.current_time() - began < 1
        assert (await client.reply()).errors == ["57014"]
        await holder.query("COMMIT")
        await client.send(m.query(client.mark("SLEEP 100")))
        await trio.sleep(1)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(w.cancel, client)
        assert trio.current_time() - began < 1
        assert (await client.reply()).errors == ["57014"]
        await _end(w, holder, client)


async def test_a_storm_of_cancels_does_not_storm_the_server(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=20))) as w:
        w.database.cancel_delay = 0.1
        clients = [await w.client() for _ in range(20)]
        for client in clients:
            await client.send(m.query(client.mark("SLEEP 100")))
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            for client in clients * 3:
                nursery.start_soon(w.cancel, client)
        for client in clients:
            assert (await client.reply()).errors == ["57014"]
        assert w.database.most_cancelling == 4
        await _end(w, *clients)


async def test_a_full_queue_refuses_newcomers_at_once(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=1, max_waiters=3))) as w:
        holder = await _hold(w)
        late = await w.client()
        waiters = await _queue(w, 3)
        reply = await late.query("SELECT 1")
        assert (reply.errors, reply.status) == (["53300"], "I")
        await holder.query("COMMIT")
        for waiter in waiters:
            assert (await waiter.reply()).rows == ["7"]
        assert (await late.query("SELECT 1")).rows == ["1"]
        await _end(w, holder, late, *waiters)


async def test_a_backend_closed_while_its_cancel_is_on_its_way_does_not_come_back(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=2)), service_time=0.0) as w:
        w.database.cancel_delay = 1.0
        client = await w.client()
        async with trio.open_nursery() as nursery:
            await client.send(m.query(client.mark("SLEEP 0.1")))
            nursery.start_soon(w.cancel, client)
            assert (await client.reply()).rows == ["slept"]
            assert w.statistics().resetting == 1
            w.database.kill_all()
        assert (await client.query("SELECT 1")).rows == ["1"]
        await _end(w, client)
