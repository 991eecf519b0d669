"""Sessions that listen, on few backends, while everything around them breaks: heard once and in order, or told."""

from __future__ import annotations

import attrs
import pytest
import trio
from trio.testing import MockClock

from rdsp.config.model import Limits, TargetGroup
from rdsp.net.memory import Script
from rdsp_codecs.postgres import messages as m
from tests.runtime.listeners import THREE, all_gone, ears, listener, listening_in_secret
from tests.runtime.world import proxy, world


async def test_many_sessions_listen_on_few_backends_and_all_hear_while_idle(clock: MockClock) -> None:
    async with world(proxy(THREE)) as w:
        clients = [await listener(w, "news", f"own{number}") for number in range(8)]
        w.database.notify("news", "x")
        for number, client in enumerate(clients):
            assert await client.hear(1) == ["news x"]
            assert (await client.query(f"NOTIFY own{number}, 'y'")).heard == [f"own{number} y"]
        for client in clients:
            await client.nothing_more(0.1)
        assert len(ears(w)) == 1
        await all_gone(w, *clients)


async def test_a_client_that_does_not_read_is_ended_and_others_hear_on(clock: MockClock) -> None:
    async with world(proxy(THREE, Limits(max_held_bytes=20_000))) as w:
        lazy = await listener(w, "flood", theirs=Script(capacity=5000))
        quick = await listener(w, "flood", "end")
        splice = next(
            s for s in w.context.ears._of if s.client.peer == lazy.name or s.relay.listening.number == lazy.number
        )
        most = 0
        for number in range(100):
            w.database.notify("flood", f"{number} " + "x" * 1000)
            await quick.hear(1)
            most = max(most, len(splice.client_rest))
        assert most < 25_000
        reply = await lazy.reply()
        assert reply.errors == ["57P05"]
        assert [text.split()[1] for text in reply.heard] == [str(number) for number in range(len(reply.heard))]
        lazy.transport.close()
        w.database.notify("end", "x")
        assert await quick.hear(1) == ["end x"]
        await all_gone(w, quick)


async def test_a_client_that_reads_slowly_hears_everything(clock: MockClock) -> None:
    async with world(proxy(THREE)) as w:
        slow = await listener(w, "flood", theirs=Script(capacity=700, split=[100]))
        for number in range(300):
            w.database.notify("flood", f"{number} " + "x" * 200)
        await trio.sleep(30)
        heard = await slow.hear(300)
        assert [text.split()[1] for text in heard] == [str(number) for number in range(300)]
        await all_gone(w, slow)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("how", ["close", "leave"])
async def test_a_client_may_leave_at_any_moment_of_a_listen(clock: MockClock, first: bool, how: str) -> None:
    """Its own backend listens, asks, marks, becomes the listener: whatever is under way, nothing stays behind."""
    async with world(proxy(THREE), service_time=1.0) as w:
        other = None if first else await listener(w, "news")
        for step in range(24):
            client = await w.client()
            await client.send(m.query(client.mark("LISTEN news")))
            await trio.sleep(step / 2)
            if how == "leave":
                await client.leave()
            client.transport.close()
            await w.until(lambda: w.sessions == (0 if first else 1), 60)
            await w.until(lambda: w.statistics().borrowed == len(ears(w)), 60)
            assert w.statistics().closing or not listening_in_secret(w)
        if other is None:
            await w.settle()
            return
        w.database.notify("news", "x")
        assert await other.hear(1) == ["news x"]
        await all_gone(w, other)


async def test_what_is_unlistened_is_not_heard_any_longer_and_what_is_not_is(clock: MockClock) -> None:
    """UNLISTEN of one session while another listens to the same, and while both are spoken to."""
    async with world(proxy(THREE)) as w:
        one, other = await listener(w, "a", "b"), await listener(w, "a")
        said = 0

        async def speak() -> None:
            nonlocal said
            while True:
                said += 1
                w.database.notify("a", str(said))
                await trio.sleep(0.0005)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(speak)
            for _ in range(10):
                await one.query("SELECT 1")
            await one.query("UNLISTEN a")
            w.database.notify("b", "behind")
            assert await one.hear(1) == ["b behind"]
            await one.nothing_more(0.2)
            nursery.cancel_scope.cancel()
        heard = await other.hear(said)
        assert heard == [f"a {number}" for number in range(1, said + 1)]
        await one.query("UNLISTEN *")
        w.database.notify("b", "x")
        await one.nothing_more()
        await w.until(lambda: len(ears(w)[0].mail.listening) == 2)  # one channel and that of the marks
        await all_gone(w, one, other)


async def test_an_unlisten_that_nothing_follows_costs_nobody_the_listener(clock: MockClock) -> None:
    async with world(proxy(THREE)) as w:
        one, other = await listener(w, "a"), await listener(w, "b")
        for _ in range(5):
            await one.query("UNLISTEN *")
            await trio.sleep(7)
            await one.query("LISTEN a")
            await trio.sleep(13)
        w.database.notify("b", "still here")
        assert await other.hear(1) == ["b still here"]
        await all_gone(w, one, other)


@pytest.mark.parametrize("shared", [False, True])
async def test_what_is_rolled_back_is_not_listened_to(clock: MockClock, shared: bool) -> None:
    async with world(proxy(THREE)) as w:
        clients = [await listener(w, "other")] if shared else []
        client = await w.client()
        for text in ("BEGIN", "LISTEN never", "ROLLBACK", "BEGIN", "LISTEN news", "COMMIT", "BEGIN", "UNLISTEN *"):
            await client.query(text)
        assert (await client.query("FAIL")).status == "E"
        assert (await client.query("COMMIT")).tags == ["ROLLBACK"]
        w.database.notify("never", "x")
        w.database.notify("news", "y")
        assert await client.hear(1) == ["news y"]
        await client.nothing_more()
        await all_gone(w, client, *clients)


async def test_a_drain_tells_who_listens_and_closes_the_listener(clock: MockClock) -> None:
    async with world(proxy(THREE)) as w:
        idle, busy = await listener(w, "news"), await listener(w, "news")
        await busy.query("BEGIN")
        for session in w.context.registry:
            session.stop()
        reply = await idle.reply()
        assert (reply.errors, reply.status) == (["57P01"], "")
        w.database.notify("news", "last")
        assert (await busy.query("SELECT 1")).rows == ["1"]
        reply = await busy.query("COMMIT")
        assert reply.heard == ["news last"]
        assert (await busy.reply()).errors == ["57P01"]
        w.pool.drain()
        await w.until(lambda: not w.database.live, 60)
        for client in (idle, busy):
            client.transport.close()
        await w.settle()


async def test_a_smaller_quota_after_a_reload_leaves_the_listener_alone(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=6))) as w:
        clients = [await listener(w, "news") for _ in range(4)]
        w.pool.reconfigure(attrs.evolve(THREE, max_backends=2))
        await trio.sleep(20)
        for client in clients:
            assert (await client.query("SELECT 1")).rows == ["1"]
        w.database.notify("news", "x")
        for client in clients:
            assert await client.hear(1) == ["news x"]
        await all_gone(w, *clients)


async def test_a_full_pool_makes_requests_wait_and_notifications_not(clock: MockClock) -> None:
    group = TargetGroup(max_backends=2, connection_borrow_timeout=3)
    async with world(proxy(group)) as w:
        client, other = await listener(w, "news"), await w.client()
        await other.query("BEGIN")
        await client.send(m.query(client.mark("SELECT 1")))
        w.database.notify("news", "while it waits")
        assert await client.hear(1) == ["news while it waits"]
        reply = await client.reply()
        assert (reply.errors, reply.status) == (["08000"], "I")
        w.database.notify("news", "behind it")
        assert await client.hear(1) == ["news behind it"]
        await client.send(m.query(client.mark("SELECT 2")))
        await trio.sleep(1)
        await other.query("COMMIT")
        assert (await client.reply()).rows == ["2"]
        await all_gone(w, client, other)


async def test_the_first_listen_waits_for_a_backend_like_any_request(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=2, connection_borrow_timeout=3))) as w:
        one, two, client = await w.client(), await w.client(), await w.client()
        await one.query("BEGIN")
        await two.query("BEGIN")
        assert (await client.query("LISTEN news")).errors == ["08000"]
        await two.query("COMMIT")
        w.database.notify("news", "not heard")
        assert (await client.query("LISTEN news")).tags == ["LISTEN"]
        await w.until(lambda: len(ears(w)) == 1)
        assert (await two.send(m.query(two.mark("SELECT 1")))) is None
        await one.query("COMMIT")
        assert (await two.reply()).rows == ["1"]
        w.database.notify("news", "heard")
        assert await client.hear(1) == ["news heard"]
        await all_gone(w, one, two, client)


async def test_with_one_backend_there_is_no_listener_and_the_session_keeps_it(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=1, connection_borrow_timeout=2))) as w:
        client, other = await w.client(), await w.client()
        await client.query("LISTEN news")
        assert (await other.query("SELECT 1")).errors == ["08000"]
        w.database.notify("news", "x")
        assert await client.hear(1) == ["news x"]
        assert not ears(w)
        await client.query("UNLISTEN news")
        assert (await other.query("SELECT 1")).rows == ["1"]
        await all_gone(w, client, other)


@pytest.mark.parametrize("before", [True, False])
async def test_what_a_function_has_listened_to_is_nobody_elses(clock: MockClock, before: bool) -> None:
    """On the backend that the next session which listens gets, for the first time or again."""
    async with world(proxy(THREE)) as w:
        other = await w.client()
        early = [await listener(w, "news")] if before else []
        await other.query("SECRET secret")
        (client,) = early or [await listener(w, "news")]
        assert (await client.query("BEGIN")).status == "T"
        w.database.notify("secret", "x")
        w.database.notify("news", "y")
        assert (await client.query("COMMIT")).heard == ["news y"]
        w.database.notify("secret", "z")
        await client.nothing_more()
        await client.query("LISTEN more")
        w.database.notify("secret", "z")
        await client.nothing_more()
        assert not listening_in_secret(w)
        await all_gone(w, client, other)


async def test_a_session_that_does_not_listen_after_all_cleans_its_backend(clock: MockClock) -> None:
    async with world(proxy(THREE)) as w:
        client, other = await w.client(), await w.client()
        await other.query("SECRET secret")
        for text in ("BEGIN", "LISTEN news", "ROLLBACK"):
            await client.query(text)
        await w.until(lambda: not w.statistics().borrowed)
        assert not listening_in_secret(w)
        await all_gone(w, client, other)


async def test_a_listener_is_never_in_a_transaction(clock: MockClock) -> None:
    """One that were would keep the server's queue from being emptied."""
    async with world(proxy(THREE)) as w:
        clients = [await listener(w, f"c{number}") for number in range(5)]
        for _ in range(50):
            for client in clients:
                await client.query("SELECT 1")
            await trio.sleep(0.7)
            (ear,) = ears(w)
            assert ear.status == b"I"
            assert not [ran for ran in ear.ran if ran.text.startswith("BEGIN")]
        await all_gone(w, *clients)
