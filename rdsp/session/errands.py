"""What steps cannot do themselves: call somebody at a time, and run what has to wait in a task.

One per proxy, with a task of its own that the application starts. Sessions and logins use it; in steady state neither
of them has a task.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio
from mypy_extensions import mypyc_attr

from rdsp.net.switchboard import Board
from rdsp.session.bell import Bell

_push: Final = heapq.heappush

_FEW: Final = 64
"""So many places of those that are not waited for any more are not worth tidying up."""


class Alarm:
    """One place in the heap. Attribute `sleeper`: who is called; None: nobody any more."""

    __slots__ = ("due", "sleeper")

    def __init__(self, due: float, sleeper: Sleeper) -> None:
        self.due: Final = due
        self.sleeper: Sleeper | None = sleeper


@mypyc_attr(allow_interpreted_subclasses=True)
class Sleeper:
    """Somebody whose turn comes: at a time, or when steps have left something to do.

    Attributes:
        alarm: the keeper's: when that time will be; None for never.
        called: a turn was asked for by `want_turn`; `woken` takes it back.
    """

    __slots__ = ("alarm", "called")

    def __init__(self) -> None:
        self.alarm: Alarm | None = None
        self.called = False

    def want_turn(self, board: Board) -> None:
        """`woken` when the board is through with its steps: once, however often it is asked for until then."""
        if not self.called:
            self.called = True
            board.again(self.woken, 0)

    def woken(self, mask: int, /) -> None:
        """The turn, or the time has come; a step of the board. After the latter there is no `alarm` any more."""
        raise NotImplementedError


class Errands:
    """Alarms and tasks.

    Invariant: every sleeper's `alarm` is in the heap, and has that sleeper; all other alarms there have none, are
    counted by `_stale`, and are never more than half of a large heap. So nobody who is gone is kept.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._nursery: trio.Nursery | None = None
        self._heap: list[tuple[float, int, Alarm]] = []
        self._order = itertools.count()
        self._stale = 0
        self._bell = Bell()
        self._awake_at = math.inf

    def __len__(self) -> int:
        """How many wait to be called."""
        return len(self._heap) - self._stale

    # -- time -----------------------------------------------------------------------------------------------------

    def call(self, sleeper: Sleeper, due: float) -> None:
        """Call the sleeper at `due` (Trio's clock), or earlier if that was asked for before: it has to look again."""
        alarm = sleeper.alarm
        if alarm is not None:
            if due >= alarm.due:
                return
            self.forget(sleeper)
        sleeper.alarm = alarm = Alarm(due, sleeper)
        _push(self._heap, (due, next(self._order), alarm))
        if due < self._awake_at:
            self._bell.ring()
            self._board.leave = True

    def forget(self, sleeper: Sleeper) -> None:
        """Do not call it any more. Any number of times."""
        alarm = sleeper.alarm
        if alarm is None:
            return
        sleeper.alarm = alarm.sleeper = None
        self._stale += 1
        if self._stale > _FEW and self._stale * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].sleeper is not None]
            heapq.heapify(self._heap)
            self._stale = 0

    def hand_on(self, sleeper: Sleeper, other: Sleeper) -> None:
        """`other`, which has no alarm yet, is called in the sleeper's place, and has to look again."""
        alarm = sleeper.alarm
        if alarm is not None:
            sleeper.alarm, other.alarm, alarm.sleeper = None, alarm, other

    # -- tasks ----------------------------------------------------------------------------------------------------

    def start(self, errand: Callable[..., Awaitable[Any]], *args: Any) -> bool:
        """Run a coroutine function in a task of its own. Returns False when the proxy stops: nothing is begun then."""
        if self._nursery is None:
            return False
        self._nursery.start_soon(errand, *args)
        self._board.leave = True
        return True

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; that cancels all errands."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            try:
                await self._keep_time()
            finally:
                self._nursery = None

    async def _keep_time(self) -> None:
        while True:
            self._awake_at = self._heap[0][0] if self._heap else math.inf
            with trio.move_on_at(self._awake_at):
                await self._bell.wait()
            now = trio.current_time()
            while self._heap and self._heap[0][0] <= now:
                _, _, alarm = heapq.heappop(self._heap)
                sleeper = alarm.sleeper
                if sleeper is not None:
                    sleeper.alarm = alarm.sleeper = None
                    self._board.again(sleeper.woken, 0)
                else:
                    self._stale -= 1
