"""The shared listener dies, stands still, is at the wrong server, or the server takes no notifications."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from rdsp.config.model import TargetGroup
from rdsp.net.transport import Transport
from rdsp.pool.servers import Troubles
from rdsp_codecs.postgres import messages as m
from tests.runtime.fake_database import FakeDatabase
from tests.runtime.listeners import LOOKS, THREE, all_gone, ears, listener
from tests.runtime.world import OnlyWay, proxy, simulate, world


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


async def _storm(seed: int) -> int:
    """Returns how many steps the board has called."""
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
                    # Chance alone would let some runs end without a loss.
                    ear.go_on() if ended[0] and chance.random() < 0.6 else ear.terminate(b"")
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
        return w.board.steps_called


@pytest.mark.parametrize("seed", range(4))
def test_in_a_storm_every_word_is_heard_once_and_in_order_until_one_is_told_otherwise(seed: int) -> None:
    """Sessions that listen work on few backends; the listener dies, stands still, and the queue is full at times."""
    simulate(_storm, seed, seed=seed)


def test_a_storm_is_the_same_for_the_same_seed() -> None:
    """Whatever lies where in memory."""
    assert simulate(_storm, 1, seed=1) == simulate(_storm, 1, seed=1)
