"""Sessions that listen, on few backends, while everything around them breaks: heard once and in order, or told."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import attrs
import pytest
import trio
from trio.testing import MockClock

from rdsp.config.model import Limits, TargetGroup
from rdsp.net.memory import Script
from rdsp.net.transport import Transport
from rdsp.pool.servers import Troubles
from rdsp_codecs.postgres import messages as m
from tests.runtime.fake_connection import Connection
from tests.runtime.fake_database import FakeDatabase
from tests.runtime.world import Client, OnlyWay, World, proxy, simulate, world

THREE = TargetGroup(max_backends=3)
LISTENER = 'LISTEN "rdsp_'
LOOKS = 11.0
"""Seconds after which a shared listener that is not what it should be is lost at the latest."""


def ears(w: World) -> list[Connection]:
    """The shared listeners: they listen to nothing of their own but marks, and to what others want."""
    hearers = w.context.ears._hearers.values()
    numbers = {hearer.backend.state.process_id for hearer in hearers if hearer.backend is not None}
    return [connection for connection in w.database.live if connection.number in numbers]


async def listener(w: World, *channels: str, **how: Script) -> Client:
    """A client that listens and has no backend."""
    client = await w.client(**how)
    for channel in channels:
        reply = await client.query(f"LISTEN {channel}")
        assert (reply.tags, reply.status) == (["LISTEN"], "I")
    hearers = w.context.ears._hearers.values()
    await w.until(lambda: w.statistics().borrowed == sum(hearer.backend is not None for hearer in hearers), 60)
    return client


def listening_in_secret(w: World) -> list[Connection]:
    """Those that listen, and are no shared listeners."""
    return [one for one in w.database.live if one.mail.listening and one not in ears(w)]


async def all_gone(w: World, *clients: Client) -> None:
    """They leave; nobody listens any longer, and nothing is left behind."""
    for client in clients:
        await client.leave()
    await w.settle()
    assert not any(connection.mail.listening for connection in w.database.live)


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


@pytest.mark.parametrize("words", [b"", None])
async def test_when_the_listener_dies_who_depended_on_it_is_told_and_may_come_back(
    clock: MockClock, words: bytes | None
) -> None:
    async with world(proxy(THREE)) as w:
        clients, other = [await listener(w, "news") for _ in range(3)], await w.client()
        (ear,) = ears(w)
        ear.terminate(words)
        for client in clients:
            reply = await client.reply()
            assert (reply.errors, reply.status, reply.heard) == (["08006"], "", [])
            client.transport.close()
        assert (await other.query("SELECT 1")).rows == ["1"]
        again = await listener(w, "news")
        w.database.notify("news", "again")
        assert await again.hear(1) == ["news again"]
        await all_gone(w, again, other)


async def test_who_is_in_a_transaction_when_the_listener_dies_hears_on_and_gets_another(clock: MockClock) -> None:
    async with world(proxy(THREE)) as w:
        busy, idle = await listener(w, "news"), await listener(w, "news")
        await busy.query("BEGIN")
        w.database.notify("news", "1")
        ears(w)[0].terminate()
        w.database.notify("news", "2")
        assert (await idle.reply()).errors == ["08006"]
        w.database.notify("news", "3")
        assert (await busy.query("COMMIT")).heard == ["news 1", "news 2", "news 3"]
        await w.until(lambda: len(ears(w)) == 1)
        w.database.notify("news", "4")
        assert await busy.hear(1) == ["news 4"]
        idle.transport.close()
        await all_gone(w, busy)


@pytest.mark.parametrize("after", [0.0, 0.001, 0.003, 0.01])
async def test_a_request_that_waits_for_the_listener_when_it_dies_has_not_run(clock: MockClock, after: float) -> None:
    """The listener is silent when the session takes a backend: nothing of the client's goes out before the mark."""
    async with world(proxy(THREE)) as w:
        client = await listener(w, "news")
        (ear,) = ears(w)
        ear.stall()
        await client.send(m.query("SELECT 1 /*mine.1*/"))
        await trio.sleep(after)
        ear.life.cancel()
        reply = await client.reply()
        assert (reply.errors, reply.rows) == (["08006"], [])
        assert not w.database.times()["SELECT 1 /*mine.1*/"]
        client.transport.close()
        await w.settle()


async def test_a_listener_that_is_slow_loses_nothing_and_one_that_stands_still_is_lost(clock: MockClock) -> None:
    async with world(proxy(THREE)) as w:
        client, other = await listener(w, "news"), await w.client()
        (ear,) = ears(w)
        for _ in range(5):
            await trio.sleep(7)
            ear.stall()
            w.database.notify("news", "late")
            await client.nothing_more(2)
            ear.go_on()
            assert await client.hear(1) == ["news late"]
        ear.stall()
        began = trio.current_time()
        reply = await client.reply()
        assert reply.errors == ["08006"]
        assert 4 < trio.current_time() - began < LOOKS
        assert (await other.query("SELECT 1")).rows == ["1"]
        client.transport.close()
        ear.life.cancel()
        await all_gone(w, other)


async def test_a_listener_at_the_former_server_is_found_out_by_the_first_request(clock: MockClock) -> None:
    """A failover that the listener's connection has outlived: what is said at the new server it never hears."""
    async with world(proxy(THREE)) as w:
        client = await listener(w, "news")
        w.database.queue = []  # what is said from now on stands elsewhere
        for connection in w.database.live:
            if connection not in ears(w):
                connection.mail.queue = w.database.queue
        (ear,) = ears(w)
        began = trio.current_time()
        reply = await client.query("SELECT 1")
        assert (reply.errors, reply.rows) == (["08006"], [])
        assert trio.current_time() - began < LOOKS
        assert ear.number not in {connection.number for connection in ears(w)}
        client.transport.close()
        await w.settle()


class Two:
    """The places of a target with two servers, as `rdsp.pool.servers.Servers` keeps them."""

    def __init__(self, first: Callable[[], Awaitable[Transport]], second: Callable[[], Awaitable[Transport]]) -> None:
        self.both = [OnlyWay(first), OnlyWay(second)]
        for number, way in enumerate(self.both):
            way.name = f"server {number}"
        self.troubles = Troubles()

    async def ways(self) -> list[OnlyWay]:
        return self.troubles.last(self.both, trio.current_time())  # type: ignore[arg-type, return-value]

    def failed(self, way: OnlyWay) -> None:
        self.troubles.failed(way.name, trio.current_time())

    def served(self, way: OnlyWay) -> None:
        self.troubles.served(way.name)

    def failed_lately(self, way: OnlyWay) -> bool:
        return self.troubles.has(way.name, trio.current_time())


@pytest.mark.parametrize("isolated", [True, False])
async def test_a_listener_at_a_server_that_serves_nobody_else_any_longer_is_given_up(
    clock: MockClock, isolated: bool
) -> None:
    """A failover that its connection has outlived, while the session only listens; and one that it has not seen."""
    async with world(proxy(THREE)) as w:
        second = FakeDatabase(w.nursery)
        object.__setattr__(w.pool._opener, "places", Two(w.database.connect, second.connect))
        client = await listener(w, "news")
        w.database.down = isolated
        for connection in list(w.database.live):
            if connection not in ears(w):
                connection.terminate(b"")
        other = await w.client()
        began = trio.current_time()
        assert (await other.query("SELECT 1")).rows == ["1"]
        assert bool(second.live) is isolated
        if isolated:
            reply = await client.reply()
            assert reply.errors == ["08006"]
            assert trio.current_time() - began < LOOKS
            client.transport.close()
            client = await listener(w, "news")
            second.notify("news", "x")
        else:
            await client.nothing_more(60)
            w.database.notify("news", "x")
        assert await client.hear(1) == ["news x"]
        await client.leave()
        await other.leave()
        await w.until(lambda: not w.sessions and not w.statistics().borrowed)


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
        assert len(ears(w)[0].mail.listening) == 2, "one channel and that of the marks"
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


async def test_a_full_queue_at_the_server_refuses_requests_until_it_is_not_and_loses_nothing(clock: MockClock) -> None:
    async with world(proxy(THREE)) as w:
        client, other = await listener(w, "news"), await w.client()
        w.database.queue_is_full = True
        for _ in range(2):
            reply = await client.query("SELECT 1")
            assert (reply.errors, reply.rows, reply.status) == (["54000"], [], "I")
        w.database.notify("news", "1")
        assert await client.hear(1) == ["news 1"]
        assert (await other.query("SELECT 1")).rows == ["1"]
        w.database.queue_is_full = False
        assert (await client.query("SELECT 1")).rows == ["1"]
        w.database.notify("news", "2")
        assert await client.hear(1) == ["news 2"]
        await all_gone(w, client, other)


async def test_a_queue_that_fills_while_a_session_has_a_backend_pins_it_until_it_does_not(clock: MockClock) -> None:
    async with world(proxy(THREE)) as w:
        client = await listener(w, "news")
        await client.query("BEGIN")
        w.database.queue_is_full = True
        assert (await client.query("COMMIT")).tags == ["COMMIT"]
        assert w.statistics().borrowed == 2
        w.database.notify("news", "1")
        assert await client.hear(1) == ["news 1"]
        w.database.queue_is_full = False
        await client.query("SELECT 1")
        await w.until(lambda: w.statistics().borrowed == 1, 5)
        w.database.notify("news", "2")
        assert await client.hear(1) == ["news 2"]
        await all_gone(w, client)


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


@pytest.mark.parametrize("seed", range(4))
def test_in_a_storm_every_word_is_heard_once_and_in_order_until_one_is_told_otherwise(seed: int) -> None:
    """Sessions that listen work on few backends; the listener dies, stands still, and the queue is full at times."""

    async def main() -> None:
        chance = random.Random(seed)
        async with world(proxy(TargetGroup(max_backends=3, connection_borrow_timeout=300)), shuffle=chance) as w:
            ended = [0]
            over = trio.Event()

            async def speak() -> None:
                for number in range(1, 500):
                    w.database.notify("news", str(number))
                    await trio.sleep(chance.choice([0.0, 0.002, 0.02, 0.1]))
                over.set()

            async def trouble() -> None:
                while not over.is_set():
                    await trio.sleep(chance.uniform(0.2, 2))
                    for ear in ears(w):
                        ear.stall()
                        await trio.sleep(chance.choice([0.0, 0.5, 3.0]))
                        ear.go_on() if chance.random() < 0.6 else ear.terminate(b"")
                    w.database.queue_is_full = True
                    await trio.sleep(chance.uniform(0, 0.5))
                    w.database.queue_is_full = False

            async def work() -> None:
                while not over.is_set():
                    client, heard = await w.client(), list[str]()
                    alive = "LISTEN" in (await client.query("LISTEN news")).tags
                    while alive and not over.is_set():
                        await trio.sleep(chance.choice([0.0, 0.01, 0.3]))
                        texts = chance.choice(
                            [["SELECT 1"], ["BEGIN", "SELECT 2", "COMMIT"], ["LISTEN other", "UNLISTEN other"]]
                        )
                        for text in texts:
                            reply = await client.query(text)
                            heard += reply.heard
                            alive = alive and reply.status != ""
                            assert set(reply.errors) <= {"54000", "08006", "25P02", "42601"}, reply
                            if not alive or reply.errors:
                                break
                    ended[0] += not alive
                    numbers = [int(text.split()[1]) for text in heard]
                    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
                    await client.leave()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(trouble)
                for _ in range(5):
                    nursery.start_soon(work)
                await speak()
            assert ended[0], "no listener was ever lost"
            await all_gone(w)

    simulate(main, seed=seed)


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
