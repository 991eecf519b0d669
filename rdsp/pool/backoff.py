"""Keys of which no database connection can be opened at present, and when each may be tried again. Pure.

What one user, database or set of start-up parameters meets is no other's trouble, so each key has a pause of its own.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Container, Hashable

import attrs


@attrs.define(eq=False)
class _Failing:
    """`again_at` is infinite while an open is under way that decides what is next."""

    failures: int = 0
    again_at: float = -math.inf


class FailingKeys:
    """The keys that fail.

    Invariant: a key in `_tried` has an open under way; every other one has its moment in `_moments`, unless nobody
    waited when that came. Moments that no longer are a key's own are stale, and passed over.
    """

    def __init__(self) -> None:
        self._failing: dict[Hashable, _Failing] = {}
        self._moments: list[tuple[float, int, Hashable]] = []
        self._tried: set[Hashable] = set()
        self._serial = 0

    def __len__(self) -> int:
        return len(self._failing)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._failing

    @property
    def tried(self) -> int:
        """Of how many keys an open is under way."""
        return len(self._tried)

    def again_at(self, key: Hashable) -> float:
        """When the key may be tried again; infinite while it is tried, and for a key that does not fail."""
        failing = self._failing.get(key)
        return math.inf if failing is None else failing.again_at

    def not_before(self, key: Hashable) -> float:
        """The same, and for a key that does not fail any time will do."""
        return self.again_at(key) if key in self._failing else -math.inf

    def failed(self, key: Hashable, now: float, first: float, most: float) -> None:
        """An open failed: pause for `first` seconds, after each further failure twice as long, at most `most`."""
        failing = self._failing.setdefault(key, _Failing())
        if now < failing.again_at < math.inf:
            return  # one of several that were under way at once
        self._tried.discard(key)
        failing.failures += 1
        failing.again_at = now + min(most, first * 2.0 ** min(failing.failures - 1, 16))
        self._serial += 1
        heapq.heappush(self._moments, (failing.again_at, self._serial, key))

    def tries(self, key: Hashable) -> None:
        """An open is under way; `failed` or `forget` follows. Of a key that does not fail nothing is noted."""
        failing = self._failing.get(key)
        if failing is not None:
            failing.again_at = math.inf
            self._tried.add(key)

    def forget(self, key: Hashable) -> None:
        """It fails no longer, as far as anybody knows."""
        self._failing.pop(key, None)
        self._tried.discard(key)
        if not self._failing:
            self._moments.clear()

    def due(self, now: float, opening: Container[Hashable], waiting: Container[Hashable]) -> Hashable | None:
        """The key that may be tried again for longest and that somebody waits for; None when there is none."""
        while self._moments and self._moments[0][0] <= now:
            at, _, key = self._moments[0]
            if self.again_at(key) == at:
                if key in opening:
                    self.tries(key)
                elif key in waiting:
                    return key
            heapq.heappop(self._moments)
        return None

    def next_moment(self) -> float | None:
        """When the next key may be tried again."""
        while self._moments and self.again_at(self._moments[0][2]) != self._moments[0][0]:
            heapq.heappop(self._moments)
        return self._moments[0][0] if self._moments else None

    def past(self, now: float, waiting: Container[Hashable]) -> list[Hashable]:
        """Keys whose pause is over and that nobody waits for."""
        return [key for key, failing in self._failing.items() if failing.again_at <= now and key not in waiting]
