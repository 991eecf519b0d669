"""Every deadline of the runtime under a virtual clock."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from rdsp.config.model import Limits, TargetGroup
from rdsp_codecs.postgres import messages as m
from tests.runtime.world import Client, proxy, world


async def test_who_waits_too_long_for_a_backend_is_told_so_and_lives_on(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=1, connection_borrow_timeout=5))) as w:
        holder, waiter = await w.client(), await w.client()
        await holder.query("BEGIN")
        began = trio.current_time()
        reply = await waiter.query("SELECT 1")
        assert reply.errors == ["08000"]
        assert reply.texts == ["Timed-out waiting to acquire database connection."]
        assert reply.status == "I"
        assert 5 <= trio.current_time() - began < 5.2
        await holder.query("COMMIT")
        assert (await waiter.query("SELECT 2")).rows == ["2"]
        await holder.leave()
        await waiter.leave()
        await w.settle()


async def test_a_wait_longer_than_the_idle_timeout_does_not_count_as_idleness(clock: MockClock) -> None:
    group = TargetGroup(max_backends=1, connection_borrow_timeout=30)
    async with world(proxy(group, idle_client_timeout=10.0)) as w:
        holder, waiter = await w.client(), await w.client()
        await holder.query("BEGIN")
        async with trio.open_nursery() as nursery:

            async def keep_busy() -> None:
                for _ in range(6):
                    await trio.sleep(6)
                    await holder.query("SELECT 1")

            nursery.start_soon(keep_busy)
            assert (await waiter.query("SELECT 1")).errors == ["08000"]
            assert (await waiter.query("SELECT 1")).status == "I"
        await holder.leave()
        await waiter.leave()
        await w.settle()


async def test_an_extended_request_that_gets_no_backend_is_refused_up_to_its_sync(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=1, connection_borrow_timeout=5))) as w:
        holder, waiter = await w.client(), await w.client()
        await holder.query("BEGIN")
        reply = await waiter.prepare_and_run("s", "SELECT $1", waiter.mark("1"))
        assert (reply.errors, reply.status, reply.kinds) == (["08000"], "I", "EZ")
        await holder.query("COMMIT")
        assert (await waiter.prepare_and_run("s", "SELECT $1", "7")).rows == ["7"]
        assert not any("1" in ran.text for ran in w.database.ran() if ran.who == waiter.name and "<-" in ran.text)
        await holder.leave()
        await waiter.leave()
        await w.settle()


async def test_an_idle_client_is_disconnected_in_postgresqls_words(clock: MockClock) -> None:
    async with world(proxy(idle_client_timeout=60.0)) as w:
        client = await w.client()
        await client.query("SELECT 1")
        began = trio.current_time()
        reply = await client.reply()
        assert (reply.errors, reply.status) == (["57P05"], "")
        assert 60 <= trio.current_time() - began < 62
        client.transport.close()
        await w.settle()


async def test_idle_time_is_counted_from_the_last_request_also_after_a_wait(clock: MockClock) -> None:
    """The session's task is not woken by a wait that ends well; its deadlines must hold nevertheless."""
    async with world(proxy(TargetGroup(max_backends=1), idle_client_timeout=60.0)) as w:
        holder, waiter = await w.client(), await w.client()
        await holder.query("BEGIN")
        async with trio.open_nursery() as nursery:

            async def hold() -> None:
                for _ in range(10):
                    await trio.sleep(10)
                    await holder.query("SELECT 1")
                await holder.query("COMMIT")

            nursery.start_soon(hold)
            assert (await waiter.query("SELECT 1")).rows == ["1"]
        began = trio.current_time()
        with trio.fail_after(70):
            assert (await waiter.reply()).errors == ["57P05"]
        assert trio.current_time() - began >= 59
        holder.transport.close()
        waiter.transport.close()
        await w.settle()


async def test_a_long_query_is_not_idleness(clock: MockClock) -> None:
    async with world(proxy(idle_client_timeout=60.0)) as w:
        client = await w.client()
        assert (await client.query("SLEEP 500")).rows == ["slept"]
        assert (await client.query("SELECT 1")).rows == ["1"]
        await client.leave()
        await w.settle()


async def test_the_lifetime_of_a_client_ends_at_a_transaction_boundary(clock: MockClock) -> None:
    async with world(proxy(limits=Limits(client_lifetime=100.0))) as w:
        client, other = await w.client(), await w.client()
        await client.query("BEGIN")
        await trio.sleep(150)
        assert (await other.reply()).errors == ["57P05"]
        assert (await client.query("SELECT 1")).rows == ["1"]
        assert (await client.query("COMMIT")).status == "I"
        assert (await client.reply()).errors == ["57P05"]
        client.transport.close()
        other.transport.close()
        await w.settle()


@pytest.mark.parametrize("said", [b"", b"\0\0\0", m.startup("app", "app", {})[:10]])
async def test_a_login_that_takes_too_long_is_broken_off(clock: MockClock, said: bytes) -> None:
    async with world(proxy(limits=Limits(login_timeout=10.0))) as w:
        client = w.dial()
        await client.send(said)
        began = trio.current_time()
        assert (await client.reply()).errors == ["57P05"]
        assert 10 <= trio.current_time() - began < 11
        client.transport.close()
        await w.settle()


@pytest.mark.parametrize("status", ["T", "E"])
async def test_a_client_idle_in_its_transaction_is_disconnected_and_rolled_back(clock: MockClock, status: str) -> None:
    async with world(proxy(limits=Limits(idle_in_transaction_timeout=20.0))) as w:
        client = await w.client()
        await client.query("SELECT 1")
        await trio.sleep(3)
        await client.query("BEGIN")
        if status == "E":
            await client.query("FAIL")
        began = trio.current_time()
        with trio.fail_after(30):
            assert (await client.reply()).errors == ["25P03"]
        assert trio.current_time() - began >= 20
        client.transport.close()
        await w.settle()
        assert [c.status for c in w.database.live] == [b"I"]


async def test_a_busy_transaction_is_not_idle(clock: MockClock) -> None:
    async with world(proxy(limits=Limits(idle_in_transaction_timeout=20.0))) as w:
        client = await w.client()
        await client.query("BEGIN")
        for _ in range(4):
            await trio.sleep(15)
            assert (await client.query("SLEEP 30")).status == "T"
        assert (await client.query("COMMIT")).status == "I"
        await client.leave()
        await w.settle()


async def test_a_query_whose_client_left_is_cancelled_and_its_backend_counted_until_it_is_gone(
    clock: MockClock,
) -> None:
    async with world(proxy(TargetGroup(max_backends=1))) as w:
        w.database.cancel_delay = 2.0
        client, other = await w.client(), await w.client()
        await client.send(m.query(client.mark("SLEEP 1000")))
        await trio.sleep(1)
        client.transport.close()
        began = trio.current_time()
        assert (await other.query("SELECT 1")).rows == ["1"]
        assert 2 <= trio.current_time() - began < 3, "the cancel takes 2 seconds, and until then there is no room"
        assert w.database.most == 1
        abandoned = next(c for c in w.database.all if c.cancels)
        assert abandoned.cancels == [f"SLEEP 1000 /*{client.name}.1*/"]
        assert abandoned not in w.database.live
        await other.leave()
        await w.settle()


async def test_a_query_that_cannot_be_cancelled_holds_its_place_for_a_bounded_time(clock: MockClock) -> None:
    settings = proxy(TargetGroup(max_backends=1), Limits(abandoned_query_timeout=7.0))
    async with world(settings) as w:
        client, other = await w.client(), await w.client()
        await client.send(m.query(client.mark("SLEEP 30")))
        await trio.sleep(1)
        w.database.cancel_delay = 1000.0
        client.transport.close()
        began = trio.current_time()
        assert (await other.query("SELECT 1")).rows == ["1"]
        assert 7 <= trio.current_time() - began < 8
        await other.leave()
        await w.until(lambda: w.database.logged_in <= 1)
        await w.settle()


async def test_idle_and_old_backends_are_closed(clock: MockClock) -> None:
    group = TargetGroup(backend_idle_timeout=50.0, backend_lifetime=200.0)
    async with world(proxy(group)) as w:
        client = await w.client()
        await client.query("SELECT 1")
        await trio.sleep(70)
        assert w.database.logged_in == 0
        began = trio.current_time()
        while trio.current_time() - began < 300:
            await trio.sleep(20)
            assert (await client.query("SELECT 1")).rows == ["1"]
        assert len([c for c in w.database.all if c.logged_in]) == 3
        assert any("lifetime" in line for line in w.witness.pool)
        await client.leave()
        await w.settle()


async def test_a_database_that_is_down_at_the_start_may_come_back_within_the_borrow_timeout(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(connection_borrow_timeout=60))) as w:
        w.database.down = True
        client = w.dial()
        async with trio.open_nursery() as nursery:

            async def repair() -> None:
                await trio.sleep(20)
                w.database.down = False

            nursery.start_soon(repair)
            assert (await client.login()).status == "I"
        assert trio.current_time() < 30
        await client.leave()
        await w.settle()


async def test_a_database_that_stays_down_is_reported_after_the_borrow_timeout(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(connection_borrow_timeout=20))) as w:
        w.database.down = True
        client = w.dial()
        reply = await client.login()
        assert reply.errors == ["08000"]
        assert 20 <= trio.current_time() < 21
        client.transport.close()
        await w.settle()


async def test_a_database_that_accepts_and_never_answers_is_given_up_in_time(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(connection_borrow_timeout=25))) as w:
        w.database.hangs = True
        client = w.dial()
        reply = await client.login()
        assert reply.errors == ["08000"]
        w.database.hangs = False
        again = await w.client()
        assert (await again.query("SELECT 1")).rows == ["1"]
        client.transport.close()
        await again.leave()
        await w.until(lambda: w.statistics().opening == 0)
        for connection in list(w.database.live):
            if not connection.logged_in:
                connection.terminate()
        await w.settle()


async def test_a_server_at_its_own_limit_is_absorbed_by_waiting(clock: MockClock) -> None:
    """53300 is not for the client: there is a place as soon as another backend is free."""
    async with world(proxy(TargetGroup(connection_borrow_timeout=60)), max_connections=12) as w:
        replies = []

        async def one(client: Client) -> None:
            replies.extend([await client.query("SLEEP 1") for _ in range(5)])

        clients = [await w.client() for _ in range(6)]
        w.database.max_connections = 2
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(one, client)
        assert all(reply.rows == ["slept"] for reply in replies)
        assert w.database.most == 2
        for client in clients:
            await client.leave()
        await w.settle()


async def test_a_login_that_the_server_denies_reaches_the_client_in_the_servers_words(clock: MockClock) -> None:
    async with world() as w:
        w.database.refusal = ("28P01", "wrong password")
        client = w.dial()
        began = trio.current_time()
        reply = await client.login()
        assert (reply.errors, reply.texts) == (["28P01"], ["wrong password"])
        assert trio.current_time() - began < 1
        client.transport.close()
        await w.settle()


async def test_a_drain_lets_an_open_transaction_finish_and_ends_the_others_at_once(clock: MockClock) -> None:
    async with world() as w:
        quiet, inside, busy = await w.client(), await w.client(), await w.client()
        await inside.query("BEGIN")
        await busy.send(m.query(busy.mark("SLEEP 5")))
        await trio.sleep(1)
        for session in w.context.registry:
            session.stop()
        assert (await quiet.reply()).errors == ["57P01"]
        assert (await inside.query("SELECT 1")).rows == ["1"]
        assert (await inside.query("COMMIT")).status == "I"
        assert (await inside.reply()).errors == ["57P01"]
        reply = await busy.reply()
        assert (reply.rows, reply.status) == (["slept"], "I")
        assert (await busy.reply()).errors == ["57P01"]
        for client in (quiet, inside, busy):
            client.transport.close()
        await w.settle()


async def test_a_drained_pool_closes_everything_and_refuses_who_waits(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=1))) as w:
        holder, waiter = await w.client(), await w.client()
        await holder.query("BEGIN")
        await waiter.send(m.query(waiter.mark("SELECT 1")))
        await trio.sleep(1)
        w.pool.drain()
        assert (await waiter.reply()).errors == ["57P01"]
        assert (await holder.query("COMMIT")).status == "I"
        await holder.leave()
        waiter.transport.close()
        await w.until(lambda: not w.sessions)
        await w.until(lambda: w.database.logged_in == 0)
        await w.settle()


async def test_a_reload_changes_the_idle_timeout_of_sessions_that_are_in(clock: MockClock) -> None:
    async with world(proxy(idle_client_timeout=1000.0)) as w:
        client = await w.client()
        w.context.settings = proxy(idle_client_timeout=50.0)
        for session in w.context.registry:
            session.settings_changed()
        began = trio.current_time()
        assert (await client.reply()).errors == ["57P05"]
        assert trio.current_time() - began <= 51
        client.transport.close()
        await w.settle()


async def test_a_borrow_timeout_of_zero_fails_at_once_unless_a_backend_is_idle(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=1, connection_borrow_timeout=0))) as w:
        holder, other = await w.client(), await w.client()
        assert (await holder.query("BEGIN")).status == "T"
        began = trio.current_time()
        reply = await other.query("SELECT 1")
        assert (reply.errors, reply.status) == (["08000"], "I")
        assert trio.current_time() == pytest.approx(began, abs=0.1)
        await holder.query("COMMIT")
        assert (await other.query("SELECT 1")).rows == ["1"]
        await holder.leave()
        await other.leave()
        await w.settle()
