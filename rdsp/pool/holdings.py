"""What a book has: members, those who wait, limits, and the counts of them all. Pure; `rdsp.pool.book` decides."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from rdsp.pool.member import BookLimits, BookStatistics, Member, MemberState
from rdsp.pool.shelves import Shelves
from rdsp.pool.waiting import Queue


class Holdings:
    """Invariant: what is kept by a key is gone with the last of its members and waiters."""

    def __init__(self, limits: BookLimits) -> None:
        self._heed(limits)
        self._members: dict[int, Member] = {}
        self._shelves = Shelves()
        self._idle = self._shelves.free
        self._opening: dict[Hashable, int] = {}
        self._opening_count = 0
        self._closing_count = 0
        self._counts: dict[Hashable, int] = {}
        self._waiters = Queue()
        self._waiting = self._waiters.of_key
        self._promised: list[tuple[Hashable, float]] = []
        """Keys of which a member was about to come back for somebody who waits, and until when that is believed."""
        self._numbers = 0
        self._limit = limits.limit
        self._shrunk_until = 0.0
        self._retry_at = 0.0
        self._failures = 0
        self._surplus_since: float | None = None
        self._draining = False
        self._opened = self._open_failures = self._closed = 0

    def _heed(self, limits: BookLimits) -> None:
        self.limits = limits
        self._most_waiting = limits.max_waiters if limits.grows_when_waiting else 0  # asked for by everybody who waits

    # -- counts ---------------------------------------------------------------------------------------------------

    def _expiry(self, member: Member, now: float) -> float:
        if not self.limits.lifetime:
            return float("inf")
        # Spread by the number, so that members opened together do not all end together.
        part = (member.number * 0.618034) % 1.0
        return now + self.limits.lifetime * (1.0 - self.limits.lifetime_jitter * part)

    def _remove(self, member: Member) -> None:
        """Out of the book; with a key's last member goes all that is kept by the key."""
        member.state = MemberState.CLOSING
        keepsake, member.keepsake = member.keepsake, None
        if keepsake is not None and keepsake.place is member:
            keepsake.place = None
        del self._members[member.number]
        self._uncount(member.key)

    def _count(self, member: Member, key: Hashable) -> None:
        member.key = key
        member.shelf = self._idle.setdefault(key, [])
        self._counts[key] = self._counts.get(key, 0) + 1

    def _uncount(self, key: Hashable) -> None:
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key], self._idle[key]

    def _not_opening(self, member: Member) -> None:
        left = self._opening[member.key] - 1
        self._opening_count -= 1
        if left:
            self._opening[member.key] = left
        else:
            del self._opening[member.key]

    def _tries_at_once(self) -> int:
        """How many failing keys may be tried at once: half of what may be opened, so that others are not locked out."""
        return max(1, min(self.limits.max_simultaneous_opens, self._limit) // 2)

    def _room(self) -> int:
        return self._limit - len(self._members)

    def _may_have_another(self) -> bool:
        """False where who waits surely has no member soon but one that comes back. Hot path: no member is looked at."""
        return bool(self._opening_count or self._closing_count or self._promised) or self._room() > 0

    def _may_open(self, key: Hashable, now: float) -> bool:
        """Whether who waits now has a member soon that nobody has left anything on."""
        if self._waiters.all.count >= self._most_waiting or self._opening_count >= self.limits.max_simultaneous_opens:
            return False
        if now < max(self._retry_at, self._waiters.failing.not_before(key)):
            return False
        return self._room() > 0 or self._on_the_way(key) > 0

    def _came(self, key: Hashable) -> None:
        """Somebody who waited has a member of the key."""
        for at, (promised, _) in enumerate(self._promised):
            if promised == key:
                del self._promised[at]
                return

    def _coming(self, now: float) -> dict[Hashable, int]:
        """How many members of each key need not be opened for those who wait. A promise holds for a while."""
        coming = dict(self._opening)
        for key, until in self._promised:
            if now < until:
                coming[key] = coming.get(key, 0) + 1
        return coming

    def _on_the_way(self, key: Hashable) -> int:
        """How many members of the key, or places for one, come by themselves and soon."""
        members = self._members.values()
        cleaned = sum(each.state is MemberState.RESETTING and each.key == key for each in members)
        promised = sum(each == key for each, _ in self._promised)
        return self._opening.get(key, 0) + cleaned + promised + self._closing_count

    # -- what others are told ------------------------------------------------------------------------------------

    def knows(self, key: Hashable) -> bool:
        """Whether there is a member or a waiter of the key."""
        return key in self._counts or key in self._waiting

    @property
    def waiting(self) -> int:
        """How many wait."""
        return self._waiters.all.count

    def members(self) -> Iterable[Member]:
        """All members; a copy."""
        return list(self._members.values())

    def statistics(self) -> BookStatistics:
        """A snapshot."""
        states = [member.state for member in self._members.values()]
        return BookStatistics(
            limit=self._limit,
            opening=states.count(MemberState.OPENING),
            idle=states.count(MemberState.IDLE),
            borrowed=states.count(MemberState.BORROWED),
            resetting=states.count(MemberState.RESETTING),
            closing=states.count(MemberState.CLOSING),
            waiting=self._waiters.all.count,
            opened=self._opened,
            open_failures=self._open_failures,
            closed=self._closed,
        )

    def __repr__(self) -> str:
        idle, waiting = self._shelves.count, self._waiters.all.count
        return f"<Book {len(self._members)}/{self._limit}, {idle} idle, {waiting} waiting>"
