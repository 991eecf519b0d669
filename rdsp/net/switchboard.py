"""The one place that waits for many sockets at once.

Every transport in steady state is watched here; a session's or a backend's step is called when it is ready. One Trio
task runs the board: it waits for the epoll descriptor, drains it in batches, and lets Trio's other tasks run after a
bounded time. Steps never wait and never raise.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

import trio
from mypy_extensions import mypyc_attr

READABLE: Final = 0x001  # EPOLLIN
WRITABLE: Final = 0x004  # EPOLLOUT
LEAVING: Final = 0x2018  # EPOLLRDHUP | EPOLLHUP | EPOLLERR
"""Bits of the mask that a step gets. LEAVING: the peer has closed at least its sending side, perhaps behind data."""

_EDGES: Final[int] = READABLE | WRITABLE | 0x2000 | 0x80000000  # EPOLLRDHUP, EPOLLET

Step = Callable[[int], None]


class Clock:
    """The time that a board has read: steps look here, without asking for it. Attribute `now`: Trio's, in seconds."""

    __slots__ = ("now",)

    def __init__(self, now: float) -> None:
        self.now = now


class Watchable(Protocol):
    """What a switchboard can watch: a transport, or a listening socket."""

    def fileno(self) -> int:
        """The number of the descriptor; negative when it is closed."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Board:
    """What sessions and pools need of a switchboard. Edge-triggered: a step that stops early must ask for `again`."""

    __slots__ = ("clock", "leave")

    clock: Clock
    """Read once per batch. The same object for all of the board's life."""

    @property
    def now(self) -> float:
        """The clock's time."""
        return self.clock.now

    leave: bool
    """Set by whoever made a Trio task runnable in a step: the board gives way after this batch."""

    def refresh(self) -> float:
        """Read the clock now (for callers outside of steps) and return it."""
        raise NotImplementedError

    def watch(self, transport: Watchable, step: Step) -> None:
        """Call `step(mask)` whenever the transport becomes ready; once at the start if it is ready already."""
        raise NotImplementedError

    def hand_on(self, transport: Watchable, step: Step) -> None:
        """Call another step from now on, for a transport that is watched. It may have been ready before."""
        raise NotImplementedError

    def forget(self, transport: Watchable) -> None:
        """Stop watching. Must come before the transport is closed; unknown transports are ignored."""
        raise NotImplementedError

    def again(self, step: Step, mask: int) -> None:
        """Call `step(mask)` in one of the next rounds: it stopped early, or what held it back is over."""
        raise NotImplementedError

    def slowly(self, step: Step, mask: int) -> None:
        """Call `step(mask)` when those who wait for less have had a turn: it costs milliseconds (a TLS handshake)."""
        raise NotImplementedError


class Switchboard(Board):
    """One on `select.epoll`, for Trio's real clock.

    Invariant: `_steps` has exactly the descriptors registered with the epoll; no step runs outside of `run`.
    """

    PATIENCE: Final = 0.005
    """Seconds of batches, one after another, before Trio's other tasks get a turn.

    A turn costs as much as a few small queries, and who waits for a new database connection waits for such tasks.
    """
    EVENTS: Final = 42
    """Events per batch: room for more than 42 has to come from the C library for every batch."""
    LONG: Final = 0.002
    """Seconds of a batch for steps that go on, and as many for slow ones; one of each has its turn in any case."""
    LINGER: Final = 0.001
    """Seconds that the board waits in the kernel for more, when it just had work, before it goes back to Trio.

    A trip through Trio's own wait costs more than all the rest of a small query. Trio's tasks wait for at most this
    long, and not at all when a step has called for one (`leave`).
    """

    def __init__(self) -> None:
        """Raises `OSError` where the system has no epoll."""
        if not hasattr(select, "epoll"):
            raise OSError("this system has no epoll(7): rdsp runs on Linux")
        self._epoll = select.epoll()
        self._steps: dict[int, Step] = {}
        self._again: deque[tuple[Step, int]] = deque()
        self._slow: deque[tuple[Step, int]] = deque()
        self._bell: trio.lowlevel.Task | None = None
        self._in_batch = False
        self.leave = False
        self._clock: Callable[[], float] = time.perf_counter
        # Trio's own clock is this one, moved by a constant: asking Trio goes through four functions for every batch.
        self._since = trio.current_time() - time.perf_counter()
        self.clock = Clock(trio.current_time())

    def refresh(self) -> float:
        """See `Board`."""
        self.clock.now = self._clock() + self._since
        return self.clock.now

    def watch(self, transport: Watchable, step: Step) -> None:
        """See `Board`. Raises `OSError` where the kernel watches no more (ENOSPC, ENOMEM); nothing is watched then."""
        number = transport.fileno()
        self._epoll.register(number, _EDGES)
        self._steps[number] = step
        records = getattr(transport, "records", None)  # a listening socket has none
        if records is not None and records.unread:
            # It came together with something that was read before, and no edge tells of it.
            self.again(partial(self._first, number, step), READABLE)

    def _first(self, number: int, step: Step, mask: int, /) -> None:
        if self._steps.get(number) is step:
            step(mask)

    def hand_on(self, transport: Watchable, step: Step) -> None:
        """See `Board`."""
        self._steps[transport.fileno()] = step

    def forget(self, transport: Watchable) -> None:
        """See `Board`."""
        number = transport.fileno()
        if self._steps.pop(number, None) is not None:
            self._epoll.unregister(number)

    def again(self, step: Step, mask: int) -> None:
        """See `Board`. May be called from any task of the loop: the board wakes up for it."""
        self._again.append((step, mask))
        if not self._in_batch:
            self._ring()

    def slowly(self, step: Step, mask: int) -> None:
        """See `Board`. May be called from any task of the loop, as `again`."""
        self._slow.append((step, mask))
        if not self._in_batch:
            self._ring()

    def _ring(self) -> None:
        if self._bell is not None:
            task, self._bell = self._bell, None
            trio.lowlevel.reschedule(task)

    async def run(self) -> None:
        """Serve until cancelled. Cancellation takes effect between batches; the board can be run again."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve_again)
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                self.leave = False
                self._batch(0)
                until = self.now + self.PATIENCE
                while not self.leave and self.now <= until and self._batch(self.LINGER):
                    pass
                if self._again or self._slow:
                    self._ring()

    def _batch(self, timeout: float) -> bool:
        """One round. Returns whether there was anything to do."""
        again, slow = self._again, self._slow
        self._in_batch = True
        events = self._epoll.poll(0 if again or slow else timeout, self.EVENTS)
        self.clock.now = self._clock() + self._since
        steps = self._steps
        for number, mask in events:
            step = steps.get(number)
            if step is not None:
                step(mask)
        if again:
            self._go_on(again)
        if slow:
            self._go_on(slow)
            self.leave = True
        self._in_batch = False
        return bool(events or again or slow)

    def _go_on(self, steps: deque[tuple[Step, int]]) -> None:
        """A turn for everybody who waits for one by now, or for as many as there is time for."""
        until = self._clock() + self.LONG
        for _ in range(len(steps)):
            step, mask = steps.popleft()
            step(mask)
            if self._clock() > until:
                return

    async def _serve_again(self) -> None:
        """Steps that ask for another turn while no socket has an event."""
        while True:
            if self._again or self._slow:
                await trio.lowlevel.checkpoint()
                self._batch(0)
            else:
                self._bell = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._bell = None
        return trio.lowlevel.Abort.SUCCEEDED

    def close(self) -> None:
        """Release the descriptor."""
        self._epoll.close()

    def __repr__(self) -> str:
        return f"<Switchboard {len(self._steps)} watched, {len(self._again)} again>"
