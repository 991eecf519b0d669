"""Who keeps a backend after a request, for what only its server knows, and who is to let go of it first.

The pool of the sessions in question waits for nobody: they keep what nobody else needs. Pure; `lending` asks.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable

from rdsp.pool.backend import Borrower

Line = OrderedDict[Borrower, float]
"""Since when each of them keeps its backend; the oldest first. Some may not have it any more."""


class Lingering:
    """Those that keep a backend, by the key of its pool."""

    __slots__ = ("_easily", "_rather")

    def __init__(self) -> None:
        self._easily: dict[Hashable, Line] = {}
        self._rather: dict[Hashable, Line] = {}

    def __bool__(self) -> bool:
        return bool(self._easily) or bool(self._rather)

    def add(self, borrower: Borrower, key: Hashable, now: float, *, easily: bool) -> None:
        """It keeps its backend from now on. `easily`: its session loses nothing when it lets go. Hot path."""
        lines, others = (self._easily, self._rather) if easily else (self._rather, self._easily)
        if others:
            _drop(others, borrower, key)
        line = lines.get(key)
        if line is None:
            line = lines[key] = OrderedDict()
        line[borrower] = now
        line.move_to_end(borrower)

    def forget(self, borrower: Borrower, key: Hashable) -> None:
        """Its session ends."""
        _drop(self._easily, borrower, key)
        _drop(self._rather, borrower, key)

    def reclaim_easily(self, key: Hashable) -> bool:
        """Have the one let go that has kept a backend of this key for longest, of those that lose nothing.

        Returns whether there was one: its backend comes back when its server has answered.
        """
        return self._reclaim_of(self._easily, key)

    def reclaim(self, key: Hashable) -> bool:
        """The same of all: of this key, else of another one."""
        if self._reclaim_of(self._easily, key) or self._reclaim_of(self._rather, key):
            return True
        for lines in (self._easily, self._rather):
            while lines:
                if self._reclaim_of(lines, next(iter(lines))):
                    return True
        return False

    def _reclaim_of(self, lines: dict[Hashable, Line], key: Hashable) -> bool:
        while (line := lines.get(key)) is not None:
            borrower, _ = line.popitem(last=False)
            if not line:
                del lines[key]
            if borrower.reclaimed():
                return True
        return False

    def reclaim_since(self, then: float) -> float:
        """All that were kept since before that come back. Returns since when the oldest is kept; inf: none is."""
        oldest = math.inf
        for lines in (self._easily, self._rather):
            for key in list(lines):
                while (line := lines.get(key)) is not None:
                    since = next(iter(line.values()))
                    if since > then:
                        oldest = min(oldest, since)
                        break
                    borrower, _ = line.popitem(last=False)
                    if not line:
                        del lines[key]
                    borrower.reclaimed()
        return oldest


def _drop(lines: dict[Hashable, Line], borrower: Borrower, key: Hashable) -> None:
    line = lines.get(key)
    if line is not None and line.pop(borrower, None) is not None and not line:
        del lines[key]
