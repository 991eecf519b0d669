"""Numbers: counters that steps increment, and plain snapshots of them that can be added up over workers."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import attrs

from rdsp_codecs.pins import PinReason
from rdsp_codecs.problems import ProblemCode

WAIT_BUCKETS: Final = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)
"""Upper edges in seconds of the histogram of waits for a database connection; one more bucket takes the rest."""


@attrs.frozen
class Statistics:
    """A snapshot of one proxy, or the sum of several.

    Attributes:
        clients: client connections, with those in login.
        logins: clients that have not logged in yet.
        waiting: sessions that wait for a database connection.
        backends: database connections in any state: opening, idle, borrowed, resetting or closing.
        limit: the most database connections at the moment.
        pinned: sessions that are pinned.
        requests, transactions, borrows: so many since the start; a borrow is counted when a session gets a backend.
        waits, wait_seconds, wait_histogram: borrows that had to wait and got one; upper edges are `WAIT_BUCKETS`.
        opened, open_failures, closed: database connections since the start.
        pins: by the reason's code. errors: by the code of the problem that a client was told.
    """

    clients: int = 0
    logins: int = 0
    waiting: int = 0
    backends: int = 0
    opening: int = 0
    idle: int = 0
    borrowed: int = 0
    resetting: int = 0
    closing: int = 0
    limit: int = 0
    pinned: int = 0
    requests: int = 0
    transactions: int = 0
    borrows: int = 0
    waits: int = 0
    wait_seconds: float = 0.0
    opened: int = 0
    open_failures: int = 0
    closed: int = 0
    wait_histogram: tuple[int, ...] = (0,) * (len(WAIT_BUCKETS) + 1)
    pins: Mapping[str, int] = attrs.field(factory=dict)
    errors: Mapping[str, int] = attrs.field(factory=dict)

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(**{field.name: _sum(field.name, self, other) for field in attrs.fields(Statistics)})

    def since(self, earlier: Statistics) -> Statistics:
        """What is now (clients, database connections...), with the counts of what happened since `earlier`."""
        return Statistics(
            **{
                field.name: getattr(self, field.name)
                if field.name in GAUGES
                else _difference(field.name, self, earlier)
                for field in attrs.fields(Statistics)
            }
        )

    @property
    def mean_borrow_seconds(self) -> float:
        """Mean time to get a database connection. A borrow without a wait counts as 0 seconds."""
        return self.wait_seconds / self.borrows if self.borrows else 0.0

    def borrow_seconds(self, share: float) -> float:
        """The time within which so many (0 < share <= 1) of all borrows got their database connection.

        An upper bound from the histogram: the edge of a bucket, 0 when that many had not to wait, infinity beyond the
        last edge.
        """
        left = share * self.borrows - (self.borrows - self.waits)
        if left <= 0:
            return 0.0
        for edge, count in zip((*WAIT_BUCKETS, math.inf), self.wait_histogram, strict=True):
            left -= count
            if left <= 0:
                return edge
        return math.inf


_SESSION_GAUGES: Final = ("clients", "logins", "waiting", "pinned")
_BACKEND_GAUGES: Final = ("backends", "limit", "opening", "idle", "borrowed", "resetting", "closing")
GAUGES: Final = frozenset((*_SESSION_GAUGES, *_BACKEND_GAUGES))
"""Fields of `Statistics` that tell how many there are now; the others count what happened since the start."""


def _sum(name: str, left: Statistics, right: Statistics) -> Any:
    a, b = getattr(left, name), getattr(right, name)
    if isinstance(a, tuple):
        return tuple(x + y for x, y in zip(a, b, strict=True))
    if isinstance(a, Mapping):
        return dict(Counter(a) + Counter(b))
    return a + b


def _difference(name: str, now: Statistics, earlier: Statistics) -> Any:
    a, b = getattr(now, name), getattr(earlier, name)
    if isinstance(a, tuple):
        return tuple(x - y for x, y in zip(a, b, strict=True))
    if isinstance(a, Mapping):
        return dict(Counter(a) - Counter(b))
    return a - b


@attrs.define(eq=False)
class Counters:
    """What steps increment. One per proxy."""

    logins: int = 0
    waiting: int = 0
    pinned_sessions: int = 0
    requests: int = 0
    transactions: int = 0
    borrows: int = 0
    waits: int = 0
    wait_seconds: float = 0.0
    wait_histogram: list[int] = attrs.field(factory=lambda: [0] * (len(WAIT_BUCKETS) + 1))
    pins: Counter[str] = attrs.field(factory=Counter)
    errors: Counter[str] = attrs.field(factory=Counter)

    def waited(self, seconds: float) -> None:
        """A session waited for a database connection and got one."""
        self.waits += 1
        self.wait_seconds += seconds
        self.wait_histogram[bisect_left(WAIT_BUCKETS, seconds)] += 1

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
