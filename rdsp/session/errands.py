"""What steps cannot do themselves: call somebody at a time, and run what has to wait in a task.

One per proxy, with a task of its own that the application starts. Sessions and logins use it; in steady state neither
of them has a task.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import trio

from rdsp.net.switchboard import Board
from rdsp.session.bell import Bell

_FEW: Final = 64
"""So many places of those that are not waited for any more are not worth tidying up."""


class Sleeper(Protocol):
    """Somebody who is called at a time. `due` is the keeper's: when that will be, infinity for never."""

    due: float

    def woken(self, mask: int, /) -> None:
        """The time has come; a step of the board. `due` is infinity again."""


class Errands:
    """Alarms and tasks.

    Invariant: for every sleeper with a finite `due` there is an entry of that time in the heap; all other entries, also
    second ones of the same time, are counted by `_stale`, and never more than half of a large heap.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._nursery: trio.Nursery | None = None
        self._heap: list[tuple[float, int, Sleeper]] = []
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
        if due >= sleeper.due:
            return
        self.forget(sleeper)
        sleeper.due = due
        heapq.heappush(self._heap, (due, next(self._order), sleeper))
        if due < self._awake_at:
            self._bell.ring()
            self._board.leave = True

    def forget(self, sleeper: Sleeper) -> None:
        """Do not call it any more. Any number of times."""
        if sleeper.due == math.inf:
            return
        sleeper.due = math.inf
        self._stale += 1
        if self._stale > _FEW and self._stale * 2 > len(self._heap):
            # By sleeper: one that was called off, and then called for the same time again, has two that look alike.
            live = {id(entry[2]): entry for entry in self._heap if entry[2].due == entry[0]}
            self._heap = list(live.values())
            heapq.heapify(self._heap)
            self._stale = 0

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
                due, _, sleeper = heapq.heappop(self._heap)
                if sleeper.due == due:
                    sleeper.due = math.inf
                    self._board.again(sleeper.woken, 0)
                else:
                    self._stale -= 1
