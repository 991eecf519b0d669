"""Alarms of sessions: one heap for all, tidied up, in time."""

from __future__ import annotations

import random
import weakref

import trio
from trio.testing import MockClock

from rdsp.net.memory_board import MemoryBoard
from rdsp.session import errands as module
from rdsp.session.errands import Errands


class Sleeper(module.Sleeper):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[float] = []

    def woken(self, mask: int, /) -> None:
        self.calls.append(trio.current_time())


async def begun(nursery: trio.Nursery) -> Errands:
    board = MemoryBoard()
    errands = Errands(board)
    nursery.start_soon(board.run)
    await nursery.start(errands.run)
    return errands


async def test_a_sleeper_is_called_once_at_the_earliest_time(clock: MockClock, nursery: trio.Nursery) -> None:
    errands, one, other = await begun(nursery), Sleeper(), Sleeper()
    errands.call(one, 10)
    errands.call(other, 7)
    errands.call(one, 20)
    errands.call(one, 5)
    await trio.sleep(30)
    assert (one.calls, other.calls) == ([5], [7])
    assert one.alarm is None
    assert len(errands) == 0
    errands.call(one, 31)
    await trio.sleep(2)
    assert one.calls == [5, 31]


async def test_a_time_that_is_over_is_now(clock: MockClock, nursery: trio.Nursery) -> None:
    errands, one = await begun(nursery), Sleeper()
    await trio.sleep(3)
    errands.call(one, 1)
    await trio.sleep(0.1)
    assert one.calls == [3]


async def test_who_is_forgotten_is_not_called_nor_kept(clock: MockClock, nursery: trio.Nursery) -> None:
    errands, drawn = await begun(nursery), random.Random(1)
    sleepers = [Sleeper() for _ in range(1000)]
    for sleeper in sleepers:
        errands.call(sleeper, drawn.uniform(1, 100))
    for sleeper in sleepers[::2]:
        errands.forget(sleeper)
        errands.forget(sleeper)
    for sleeper in sleepers[1::4]:
        errands.forget(sleeper)
    assert len(errands) == 250
    assert len(errands._heap) < 600
    await trio.sleep(101)
    assert sum(len(sleeper.calls) for sleeper in sleepers) == 250
    assert len(errands) == len(errands._heap) == 0


async def test_who_is_called_for_the_same_time_again_and_again_is_kept_once(
    clock: MockClock, nursery: trio.Nursery
) -> None:
    errands, one = await begun(nursery), Sleeper()
    for second in range(1, 41):
        errands.call(one, 1000)
        errands.call(one, second)
        await trio.sleep_until(second + 0.5)
    errands.call(one, 1000)
    for sleeper in [Sleeper() for _ in range(100)]:
        errands.call(sleeper, 500)
        errands.forget(sleeper)
    assert len(errands) == 1
    await trio.sleep_until(1001)
    assert one.calls == [*range(1, 41), 1000]
    assert len(errands) == len(errands._heap) == 0


async def test_who_comes_in_anothers_place_is_called_for_it(clock: MockClock, nursery: trio.Nursery) -> None:
    errands, one, other = await begun(nursery), Sleeper(), Sleeper()
    errands.hand_on(one, other)
    assert other.alarm is None
    errands.call(one, 5)
    errands.hand_on(one, other)
    errands.call(other, 7)
    assert len(errands) == 1
    errands.forget(one)
    await trio.sleep(10)
    assert (one.calls, other.calls) == ([], [5])
    assert len(errands) == len(errands._heap) == 0


async def test_who_is_forgotten_is_freed_at_once(clock: MockClock, nursery: trio.Nursery) -> None:
    errands, one = await begun(nursery), Sleeper()
    errands.call(one, 1000)
    errands.forget(one)
    gone = weakref.ref(one)
    del one
    assert gone() is None
    assert len(errands._heap) == 1


async def test_nothing_is_begun_when_the_proxy_stops(clock: MockClock) -> None:
    ended = []

    async def errand() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(True)

    async with trio.open_nursery() as nursery:
        errands = await begun(nursery)
        assert errands.start(errand)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert ended == [True]
    assert not errands.start(errand)
