"""Cancels of what backends run, over connections of their own: a few at once, and bounded in time.

They run in tasks of the pool's; what becomes of a backend afterwards is decided there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import trio

from rdsp.observe.dispatch import Observers
from rdsp.pool.backend import Backend
from rdsp.pool.opening import Opener
from rdsp.pool.retiring import cancel_quietly

_PROLOGUE_LOOK: Final = 0.002
_AT_ONCE: Final = 4
"""Connections to the server that carry a cancel; who waits for one asks again whether it is still wanted."""
LAST_ONES: Final = 5.0
"""Seconds for the cancels of all that still runs when the proxy ends."""


class Cancels:
    """One pool's.

    Invariant: `Backend.cancelling` counts the cancels on their way to it, and it is `suspect` from when one of them
    was sent that the server has not dealt with.

    Args:
        timeout: seconds for each.
        start: runs a coroutine function about a backend, its first argument, in a task of the pool's.
    """

    def __init__(self, opener: Opener, observers: Observers, timeout: float, start: Callable[..., None]) -> None:
        self._start = start
        self._opener = opener
        self._observers = observers
        self._timeout = timeout
        self._at_once = trio.CapacityLimiter(_AT_ONCE)

    def deliver(
        self,
        backend: Backend,
        still_wanted: Callable[[], bool],
        may_be_hit: Callable[[], bool],
        done: Callable[[], None],
    ) -> None:
        """Cancel what the backend runs, over a connection of its own; returns at once.

        The backend is not reused, and its session begins no request, before the cancel is settled.

        Arguments:
            still_wanted: the request to be cancelled still runs; otherwise nothing is sent.
            may_be_hit: what runs now is the client's, not a prologue of ours; a cancel waits for that.
            done: called when the cancel was delivered, had become pointless, or could not be delivered.
        """
        backend.cancelling += 1
        self._start(self._deliver, backend, still_wanted, may_be_hit, done)

    async def _deliver(
        self,
        backend: Backend,
        still_wanted: Callable[[], bool],
        may_be_hit: Callable[[], bool],
        done: Callable[[], None],
    ) -> None:
        sent = dealt_with = False
        try:
            with trio.move_on_after(self._timeout):
                while still_wanted() and not may_be_hit():
                    await trio.sleep(_PROLOGUE_LOOK)
                async with self._at_once:
                    if still_wanted():
                        sent = True
                        dealt_with = await cancel_quietly(self._opener, backend, self._observers)
        finally:
            backend.cancelling -= 1
            # A cancel that may still come must not find the next borrower's query.
            backend.suspect = backend.suspect or sent is not dealt_with
            done()
            if not backend.cancelling and backend.on_settled is not None:
                settled, backend.on_settled = backend.on_settled, None
                settled()

    async def of_abandoned(self, backend: Backend) -> None:
        """Cancel what nobody waits for; the backend is closed in any case. Cancellation: it may have been sent."""
        async with self._at_once:
            await cancel_quietly(self._opener, backend, self._observers)

    async def last_ones(self, backends: Iterable[Backend]) -> None:
        """The same for all of these, within `LAST_ONES` seconds."""
        with trio.move_on_after(LAST_ONES):
            async with trio.open_nursery() as nursery:
                for backend in backends:
                    nursery.start_soon(self.of_abandoned, backend)
