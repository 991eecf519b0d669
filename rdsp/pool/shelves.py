"""The idle members of a book, by key: those that are free, and those on which their last session has left something.

Pure. The book asks; it alone lends, and decides when it is better to open one more than to take what was left.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Final

from rdsp.pool.member import Member, MemberState
from rdsp_codecs.relaying import Keepsake

_LOOKS: Final = 64
_IDLE: Final = MemberState.IDLE


def best_of(idle: list[Member], fit: object) -> Member:
    """Take the member out of `idle` that fits best: the same fit, else a new one, else the one used last."""
    best = -1
    for at in range(len(idle) - 1, max(-1, len(idle) - 1 - _LOOKS), -1):
        found = idle[at].fit
        if found is fit:
            return idle.pop(at)
        if found is None and best < 0:
            best = at
    return idle.pop(best)


class Shelves:
    """Invariants: exactly the members that are IDLE stand here, each once; those that stand in `kept` have a keepsake
    of worth. Both are in the order of last use. No key is without a member, but for empty lists in `free`.
    """

    def __init__(self) -> None:
        self.free: dict[Hashable, list[Member]] = {}
        self.kept: dict[Hashable, OrderedDict[Member, None]] = {}
        self.count = 0
        """Of both."""

    def put(self, member: Member) -> None:
        """One that was used last of all."""
        member.state = _IDLE
        self.count += 1
        keepsake = member.keepsake
        if keepsake is None:
            member.shelf.append(member)
            return
        keepsake.place = member
        if keepsake.worth:
            member.kept = True
            self.kept.setdefault(member.key, OrderedDict())[member] = None
        else:
            member.shelf.append(member)

    def remove(self, member: Member) -> None:
        """Not idle any more."""
        self.count -= 1
        if not member.kept:
            member.shelf.remove(member)
            return
        member.kept = False
        kept = self.kept[member.key]
        del kept[member]
        if not kept:
            del self.kept[member.key]

    def own(self, key: Hashable, keepsake: Keepsake) -> Member | None:
        """Take the member on which it was left, if it is idle and nobody has used it since."""
        member: Member | None = keepsake.place
        if member is None or member.state is not _IDLE or member.keepsake is not keepsake or member.key != key:
            return None
        self.remove(member)
        return member

    def longest_kept(self, key: Hashable) -> Member | None:
        """The member whose keepsake is the oldest of the key."""
        kept = self.kept.get(key)
        return next(iter(kept)) if kept else None

    def forget(self, keepsake: Keepsake) -> Member | None:
        """Its session is gone: nothing is kept where it was left. Returns a member that is free by that."""
        member: Member | None = keepsake.place
        keepsake.place = None
        if member is None or member.keepsake is not keepsake:
            return None
        if member.state is not _IDLE or not member.kept:
            member.keepsake = None
            return None
        self.remove(member)
        member.keepsake = None
        self.put(member)
        self.sort(member)
        return member

    def sort(self, member: Member) -> None:
        """The member was not used last, although it has come last: it stands among the others of its key again."""
        if not member.kept:
            member.shelf.sort(key=_since)
            return
        kept = self.kept[member.key]
        self.kept[member.key] = OrderedDict.fromkeys(sorted(kept, key=_since))

    def all(self) -> list[Member]:
        """A copy."""
        found = [member for free in self.free.values() for member in free]
        for kept in self.kept.values():
            found += kept
        return found

    def least_needed(self, key: Hashable) -> Member | None:
        """The member idle for longest, of another pool; one that is kept only where there is no other."""
        return min(self._first_of_others(key), key=_since, default=None)

    def _first_of_others(self, key: Hashable) -> Iterator[Member]:
        found = False
        for other, free in self.free.items():
            if free and other != key:
                found = True
                yield free[0]
        if not found:
            yield from (next(iter(kept)) for other, kept in self.kept.items() if other != key)


def _since(member: Member) -> float:
    return member.idle_since
