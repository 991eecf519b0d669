"""The switchboard for streams in memory: edge-triggered like the real one, deterministic, on Trio's clock.

Simulations put whole proxies on it (`rdsp.net.memory` has the streams). Production code never makes one.
"""

from __future__ import annotations

import errno
import heapq
import itertools
import math
import random
from collections import deque
from typing import Final

import trio

from rdsp.net.memory import MemoryTransport
from rdsp.net.switchboard import Board, Clock, Step, Watchable


class MemoryBoard(Board):
    """A board for memory transports, edge-triggered like the real one.

    Invariant: a step is called for an edge and with all that is ready by then; without an edge it is not called,
    however ready its transport may be.

    Arguments:
        shuffle: order of the events of one batch; None: as they came.
        batches: batches before Trio's other tasks get a turn, >= 1.
    """

    _MANY: Final = 1_000_000

    def __init__(self, shuffle: random.Random | None = None, batches: int = 1) -> None:
        self.clock = Clock(trio.current_time())
        self.leave = False
        self.steps_called = 0
        self._shuffle = shuffle
        self._batches = batches
        self._steps: dict[int, tuple[MemoryTransport, Step]] = {}
        self._ready: dict[int, MemoryTransport] = {}
        self._again: deque[tuple[Step, int]] = deque()
        self._slow: deque[tuple[Step, int]] = deque()
        self._timers: list[tuple[float, int, MemoryTransport]] = []
        self._order = itertools.count()
        self._task: trio.lowlevel.Task | None = None
        self._rounds_at_once = 0

    def refresh(self) -> float:
        """See `Board`."""
        self.clock.now = trio.current_time()
        return self.clock.now

    def watch(self, transport: Watchable, step: Step) -> None:
        """See `Board`. Raises `FileExistsError` for a transport that is watched already."""
        assert isinstance(transport, MemoryTransport)
        number = transport.fileno()
        if number < 0:
            raise OSError(errno.EBADF, "the transport is closed")
        if number in self._steps:
            raise FileExistsError(errno.EEXIST, "watched already")
        self._steps[number] = transport, step
        transport.board = self
        self.look_at(transport.look(), transport)
        if transport.mask():
            self.ready(transport)

    def hand_on(self, transport: Watchable, step: Step) -> None:
        """See `Board`. Raises `KeyError` for a transport that is not watched."""
        number = transport.fileno()
        self._steps[number] = self._steps[number][0], step

    def forget(self, transport: Watchable) -> None:
        """See `Board`."""
        if self._steps.pop(transport.fileno(), None) is not None:
            assert isinstance(transport, MemoryTransport)
            transport.board = None
            transport.look_due = math.inf
            self._ready.pop(transport.fileno(), None)

    def again(self, step: Step, mask: int) -> None:
        """See `Board`."""
        self._again.append((step, mask))
        self._wake()

    def slowly(self, step: Step, mask: int) -> None:
        """See `Board`."""
        self._slow.append((step, mask))
        self._wake()

    @property
    def watched(self) -> int:
        """How many transports are watched."""
        return len(self._steps)

    # -- for transports -------------------------------------------------------------------------------------------

    def ready(self, transport: MemoryTransport) -> None:
        """An edge of a watched transport."""
        self._ready[transport.fileno()] = transport
        self._wake()

    def look_at(self, due: float, transport: MemoryTransport) -> None:
        """Something is under way to a watched transport and arrives at `due`."""
        if due < transport.look_due:
            transport.look_due = due
            heapq.heappush(self._timers, (due, next(self._order), transport))
            self._wake()

    def _wake(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    # -- the task -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled. Raises `RuntimeError` when steps keep each other busy without end."""
        while True:
            self.leave = False
            worked = False
            for _ in range(self._batches):
                if self.leave or not self._batch():
                    break
                worked = True
            if worked:
                await trio.lowlevel.checkpoint()
                continue
            with trio.move_on_at(self._timers[0][0] if self._timers else math.inf):
                self._task = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def _batch(self) -> bool:
        before = self.now
        self.refresh()
        self._rounds_at_once = self._rounds_at_once + 1 if self.now == before else 0
        if self._rounds_at_once > self._MANY:
            msg = "steps call each other without end"
            raise RuntimeError(msg)
        timers = self._timers
        while timers and timers[0][0] <= self.now:
            due, _, transport = heapq.heappop(timers)
            if due >= transport.look_due:
                transport.look_due = math.inf
            if transport.board is self:
                self.look_at(transport.look(), transport)
        ready, self._ready = self._ready, {}
        numbers = list(ready)
        if self._shuffle is not None:
            self._shuffle.shuffle(numbers)
        again, slow = len(self._again), bool(self._slow)
        for number in numbers:
            found = self._steps.get(number)
            if found is not None:
                mask = found[0].mask()
                if mask:
                    self.steps_called += 1
                    found[1](mask)
        for _ in range(again):
            step, mask = self._again.popleft()
            self.steps_called += 1
            step(mask)
        if slow:
            step, mask = self._slow.popleft()
            self.steps_called += 1
            step(mask)
        return bool(numbers or again or slow)

    def __repr__(self) -> str:
        return f"<MemoryBoard {len(self._steps)} watched, {len(self._ready)} ready, {len(self._again)} again>"
