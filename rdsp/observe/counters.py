"""Numbers: counters that steps increment. Compiled: every request passes them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rdsp.observe.statistics import WAIT_BUCKETS, Statistics
from rdsp_codecs.pins import PinReason
from rdsp_codecs.problems import ProblemCode


class Counters:
    """What steps increment. One per proxy."""

    __slots__ = (
        "_edges", "borrows", "errors", "logins", "pinned_sessions", "pins", "requests", "transactions",
        "wait_histogram", "wait_seconds", "waiting", "waits",
    )  # fmt: skip

    def __init__(self) -> None:
        self.logins = 0
        self.waiting = 0
        self.pinned_sessions = 0
        self.requests = 0
        self.transactions = 0
        self.borrows = 0
        self.waits = 0
        self.wait_seconds = 0.0
        self.wait_histogram: list[int] = [0] * (len(WAIT_BUCKETS) + 1)
        self._edges: list[float] = list(WAIT_BUCKETS)
        self.pins: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def waited(self, seconds: float) -> None:
        """A session waited for a database connection and got one."""
        self.waits += 1
        self.wait_seconds += seconds
        bucket, edges = 0, self._edges
        while bucket < len(edges) and seconds > edges[bucket]:
            bucket += 1
        self.wait_histogram[bucket] += 1

    def pinned(self, reason: PinReason) -> None:
        """A session was pinned for one more reason."""
        self.pins[reason.value] += 1

    def failed(self, code: ProblemCode) -> None:
        """A client was told a problem."""
        self.errors[code.value] += 1

    def snapshot(self, *, clients: int, book: Any) -> Statistics:
        """Together with the number of sessions and the book's own statistics."""
        return Statistics(
            clients=clients,
            logins=self.logins,
            waiting=book.waiting,
            backends=book.opening + book.idle + book.borrowed + book.resetting + book.closing,
            opening=book.opening,
            idle=book.idle,
            borrowed=book.borrowed,
            resetting=book.resetting,
            closing=book.closing,
            limit=book.limit,
            pinned=self.pinned_sessions,
            requests=self.requests,
            transactions=self.transactions,
            borrows=self.borrows,
            waits=self.waits,
            wait_seconds=self.wait_seconds,
            opened=book.opened,
            open_failures=book.open_failures,
            closed=book.closed,
            wait_histogram=tuple(self.wait_histogram),
            pins=dict(self.pins),
            errors=dict(self.errors),
        )
