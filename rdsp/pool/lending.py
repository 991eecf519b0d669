"""Lending: what of the pool every request passes, apart from the tasks around it, so that it can be compiled.

`rdsp.pool.pool` makes one and hands out its methods as its own; which backend goes to whom the book decides.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Final

from rdsp.net.switchboard import Board
from rdsp.pool.backend import Backend, Borrower, Waiter
from rdsp.pool.book import Book
from rdsp.pool.lingering import Lingering
from rdsp.pool.member import Decision
from rdsp_codecs.relaying import Keepsake

LOOK_AFTER: Final = 0.05
"""Seconds idle after which a backend is looked at before it is lent (its end may not have been noticed yet)."""


class Lending:
    """Takes backends out of the book, and gives them back.

    Args:
        gone: called with a backend that was lent no more because it closed, or spoke unasked.
        held_up: called with a backend that is given back while a cancel may still hit it.
        carry_out: called with what the book decides.
        stir: called when somebody waits while the keeper of time limits sleeps as if nobody did (`timing` False).
    """

    __slots__ = ("_book", "_carry_out", "_clock", "_gone", "_held_up", "_stir", "lingering", "timing")

    def __init__(
        self,
        book: Book,
        board: Board,
        *,
        gone: Callable[[Backend], None],
        held_up: Callable[[Backend], None],
        carry_out: Callable[[Sequence[Decision]], None],
        stir: Callable[[], None],
    ) -> None:
        self._book = book
        self._clock = board.clock
        self._gone = gone
        self._held_up = held_up
        self._carry_out = carry_out
        self._stir = stir
        self.timing = False
        self.lingering = Lingering()

    def take(self, key: Hashable, fit: object = None, keepsake: Keepsake | None = None) -> Backend | None:
        """An idle backend, or None: then `wait`. `fit`, `keepsake`: see `Relay`. Hot path."""
        while True:
            now = self._clock.now
            member = self._book.take(key, now, fit, keepsake)
            if member is None:
                return None
            backend: Backend = member.payload
            if now - member.idle_since <= LOOK_AFTER or not backend.transport.has_unread():
                return backend
            # It was closed, or spoke unasked, and the switchboard has not told yet.
            self._gone(backend)

    def wait(self, key: Hashable, waiter: Waiter, at_least: float = 0.0) -> None:
        """Queue for a backend of the pool `key`. The waiter may be answered before this returns. Hot path when full.

        The clock must be of this moment: outside of steps `board.refresh` comes first. For `at_least` see
        `Book.wait`.
        """
        promised = self.lingering.reclaim_easily(key)
        decisions = self._book.wait(key, waiter, self._clock.now, at_least, promised=promised)
        if decisions:
            self._carry_out(decisions)
        elif not promised:
            self.lingering.reclaim(key)
        if promised or not self.timing:
            self._stir()

    def lingers(self, borrower: Borrower, backend: Backend, *, easily: bool) -> bool:
        """Whether the borrower may keep the backend although its request is over: until `reclaimed` is called.

        `easily`: see `Lingering`. Hot path.
        """
        member, now = backend.member, self._clock.now
        if not self._book.may_linger(member, now):
            return False
        self.lingering.add(borrower, member.key, now, easily=easily)
        return True

    def forget(self, keepsake: Keepsake) -> None:
        """Its session ends."""
        decisions = self._book.forget(keepsake)
        if decisions:
            self._carry_out(decisions)

    def give_back(self, backend: Backend) -> None:
        """The borrower is through with it, at a boundary. Hot path."""
        backend.borrower = None
        if backend.cancelling or backend.suspect:
            self._held_up(backend)
            return
        member, now = backend.member, self._clock.now
        waiter = self._book.hand_over(member, now)
        if waiter is not None:
            waiter.granted(backend)
            return
        decisions = self._book.give_back(member, now)
        if decisions:
            self._carry_out(decisions)
        elif member.kept and self._book.waiting:
            self._stir()  # somebody takes it if no other one comes in time
