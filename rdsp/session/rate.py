"""How many connections may come in a second. Pure: the time is an argument."""

from __future__ import annotations

import math


class Rate:
    """A bucket of permissions, which fills up at a steady rate.

    Invariant: `_left` is never more than the burst of the latest call; in any time t, no more than burst + t * rate are
    admitted.
    """

    def __init__(self) -> None:
        self._left = math.inf
        self._at = -math.inf

    def admits(self, now: float, per_second: float, burst: int) -> bool:
        """Whether one more may come in now; if so it counts.

        Args:
            now: seconds, which never go back.
            per_second: 0: any number.
            burst: so many at once after a pause, >= 1.
        """
        if not per_second:
            return True
        self._left = min(burst, self._left + max(0.0, now - self._at) * per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def uncount(self) -> None:
        """The one that was admitted last was no client."""
        self._left += 1
