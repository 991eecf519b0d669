"""Numbers: plain snapshots of the counters, that can be added up over workers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import attrs

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
