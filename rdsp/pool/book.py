"""The book of one target group: who has which database connection, who waits, and what is to be done next.

Pure: time comes in as an argument, decisions go out. `rdsp.pool.pool` carries them out and tells what became of them.
The book never waits and never touches a socket.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import attrs

from rdsp.pool.holdings import Holdings
from rdsp.pool.member import (
    BookLimits,
    BookStatistics,
    Close,
    CloseReason,
    Decision,
    Fail,
    Grant,
    Member,
    MemberState,
    Open,
    OpenFailure,
    WaitFailure,
)
from rdsp.pool.shelves import best_of
from rdsp.pool.waiting import Waiting

if TYPE_CHECKING:
    from rdsp_codecs.relaying import Keepsake

__all__ = [
    "Book",
    "BookLimits",
    "BookStatistics",
    "Close",
    "CloseReason",
    "Decision",
    "Fail",
    "Grant",
    "Member",
    "MemberState",
    "Open",
    "OpenFailure",
    "WaitFailure",
]

_NOTHING: tuple[Decision, ...] = ()


class Book(Holdings):
    """One quota over all pools (keys) of a target group.

    Invariants: the members of all states together are never more than the limit (a limit that falls only shrinks
    them); nobody waits for a key of which a member is idle; every waiter is answered at most once, and is out of the
    queue then.
    """

    # -- hot path -------------------------------------------------------------------------------------------------

    def take(self, key: Hashable, now: float, fit: object = None, keepsake: Keepsake | None = None) -> Member | None:
        """An idle member of the key, BORROWED now; None when there is none or somebody waits.

        The one that has the `keepsake`; else the one used last, of those with the same `fit` where there are any: they
        need no work. On which others have left something, those come last of all, and perhaps one is opened first.
        """
        if keepsake is not None:
            own = self._shelves.own(key, keepsake)
            if own is not None:
                own.state = MemberState.BORROWED
                return own
        idle = self._idle.get(key)
        if not idle or (self._waiters.all.count and self._must_queue(key, now)):
            return self._take_kept(key, now) if self._shelves.kept else None
        member = idle.pop() if idle[-1].fit is fit else best_of(idle, fit)
        self._shelves.count -= 1
        member.state = MemberState.BORROWED
        return member

    def _take_kept(self, key: Hashable, now: float) -> Member | None:
        """The member of which somebody's keepsake is the oldest. None also where it is young, and there is room."""
        member = self._shelves.longest_kept(key)
        if member is None or self._must_queue(key, now):
            return None
        if now - member.idle_since < self.limits.keepsake_stays and self._may_open(key, now):
            return None
        self._shelves.remove(member)
        member.state = MemberState.BORROWED
        return member

    def forget(self, keepsake: Keepsake) -> Sequence[Decision]:
        """Nobody will ask for it any more."""
        member = self._shelves.forget(keepsake)
        line = self._waiting.get(member.key) if member is not None else None
        if member is None or line is None or line.first is None:
            return _NOTHING
        self._shelves.remove(member)
        return (self._grant(line.first, member),)

    def rekey(self, member: Member, key: Hashable) -> None:
        """A BORROWED member is one of another key from now on."""
        self._uncount(member.key)
        self._count(member, key)

    def give_back(self, member: Member, now: float) -> Sequence[Decision]:
        """A BORROWED or RESETTING member is free again: to the first waiter, or idle."""
        if self._waiters.all.count or now >= member.expires_at or len(self._members) > self._limit or self._draining:
            return self._place(member, now)
        self._to_idle(member, now)
        return _NOTHING

    def hand_over(self, member: Member, now: float) -> Any:
        """A BORROWED member goes straight to the oldest waiter, who is returned; it is BORROWED still.

        None when that is not the whole answer: then `give_back`.
        """
        oldest = self._waiters.all.first
        if oldest is None or now >= member.expires_at or len(self._members) > self._limit:
            return None
        if (oldest.key is not member.key and oldest.key != member.key) or self._waiters.troubled or self._draining:
            return None
        if member.keepsake is not None and member.keepsake.worth and self._may_have_another():
            return None
        if self._promised:
            self._came(member.key)
        return self._waiters.remove(oldest)

    def may_linger(self, member: Member, now: float) -> bool:
        """Whether a BORROWED member may stay with its session although its request is over. Hot path."""
        if self._waiters.all.count or not self.limits.grows_when_waiting or self._draining:
            return False
        return now < member.expires_at and len(self._members) <= self._limit

    def _to_idle(self, member: Member, now: float) -> None:
        member.idle_since = now
        self._shelves.put(member)

    def _must_queue(self, key: Hashable, now: float) -> bool:
        return key in self._waiting or self._draining

    # -- waiting --------------------------------------------------------------------------------------------------

    def wait(
        self, key: Hashable, waiter: Any, now: float, at_least: float = 0.0, *, promised: bool = False
    ) -> Sequence[Decision]:
        """Queue. The answer, `Grant` or `Fail`, comes from this or a later call, unless the waiter `left` before.

        Arguments:
            waiter: hashable, and equal to nobody else who waits.
            at_least: seconds that it may wait in any case, for who needs a key's first member: no `max_waiters`, no
                `wait_timeout` and no `grows_when_waiting` stand against it. 0: they hold. Who may not wait then has
                one more member opened nevertheless, so that the next one finds it idle.
            promised: a BORROWED member of the key is about to come back: for `keepsake_waits` seconds none is opened
                in its place.
        """
        if self._draining:
            return [Fail(waiter, WaitFailure.CLOSED)]
        member = self.take(key, now)
        if member is not None:
            return [Grant(waiter, member)]
        if not at_least and self._waiters.all.count >= self._most_waiting:
            grows = self.limits.grows_when_waiting
            why = WaitFailure.TOO_MANY_WAITERS if grows else WaitFailure.NOTHING_IDLE
            return [Fail(waiter, why), *self._open_unasked(key, now)]
        self._waiters.add(key, waiter, now, at_least)
        if promised:
            self._promised.append((key, now + self.limits.keepsake_waits))
        return self._served(self._grow(now), now)

    def _served(self, decisions: Sequence[Decision], now: float) -> Sequence[Decision]:
        """These decisions, and kept members for those for whom no other is on its way, or not soon enough."""
        kept = self._shelves.kept
        if not kept or not self._waiters.all.count:
            return decisions
        grants: list[Decision] = []
        for key in [key for key in kept if key in self._waiting]:
            while (line := self._waiting.get(key)) is not None and line.first is not None and key in kept:
                late = now - line.first.since >= self.limits.keepsake_waits
                if not late and line.count <= self._on_the_way(key):
                    break
                member = next(iter(kept[key]))
                self._shelves.remove(member)
                grants.append(self._grant(line.first, member))
        return [*decisions, *grants] if grants else decisions

    def left(self, waiter: Any, now: float) -> Sequence[Decision]:
        """The waiter waits no longer. One that was answered already is not known any more, and nothing happens."""
        entry = self._waiters.place_of(waiter)
        if entry is not None:
            self._waiters.remove(entry)
        return _NOTHING

    def _grant(self, entry: Waiting, member: Member) -> Grant:
        member.state = MemberState.BORROWED
        if self._promised:
            self._came(member.key)
        return Grant(self._waiters.remove(entry), member)

    # -- members --------------------------------------------------------------------------------------------------

    def opened(self, member: Member, payload: Any, now: float) -> Sequence[Decision]:
        """An `Open` succeeded."""
        self._opened += 1
        self._failures = 0
        self._retry_at = 0.0
        self._not_opening(member)
        self._waiters.forgive(member.key)
        member.payload = payload
        member.opened_at = now
        member.expires_at = self._expiry(member, now)
        return self._served([*self._place(member, now), *self._grow(now)], now)

    def open_failed(self, member: Member, now: float, why: OpenFailure, refusal: Any = None) -> Sequence[Decision]:
        """An `Open` failed; the member is out of the book. `refusal` is what waiters are told when it was DENIED."""
        key = member.key
        self._open_failures += 1
        self._not_opening(member)
        self._remove(member)
        if why is OpenFailure.DENIED:
            refused = [self._waiters.remove(entry) for entry in list(self._waiting.get(key, ()))]
            self._waiters.forgive(key)
            return self._served([*(Fail(waiter, refusal) for waiter in refused), *self._grow(now)], now)
        if why is OpenFailure.REFUSED_BUSY:
            self._waiters.forgive(key)
            self._failures += 1
            pause = min(self.limits.backoff_max, self.limits.backoff_first * 2.0 ** min(self._failures - 1, 16))
            self._retry_at = now + pause
            self._limit = max(1, min(self._limit, len(self._members)))
            self._shrunk_until = now + max(pause, self.limits.recover_after)
            return self._served(_NOTHING, now)
        self._waiters.fails(key, now, self.limits)
        return self._served(self._grow(now), now)

    def resetting(self, member: Member, now: float) -> Sequence[Decision]:
        """A BORROWED member is being cleaned; then `give_back`, `closing` or `gone`."""
        member.state = MemberState.RESETTING
        return _NOTHING

    def closing(self, member: Member, now: float) -> Sequence[Decision]:
        """A member is being closed by the runtime's own will; it counts until `gone`."""
        self._start_closing(member)
        return _NOTHING

    def due_for_check(self, now: float, every: float) -> Member | None:
        """The idle member silent for longest, RESETTING now; None when all spoke in `every` seconds. Then `checked`."""
        due = [each for each in self._shelves.all() if now - each.heard_at >= every]
        member = min(due, key=lambda each: each.heard_at, default=None)
        if member is not None:
            self._shelves.remove(member)
            member.state = MemberState.RESETTING
        return member

    def checked(self, member: Member, now: float) -> Sequence[Decision]:
        """It answers: idle where it was, or free for who waits."""
        member.checked_at, since = now, member.idle_since
        decisions = self.give_back(member, now)
        if member.state is MemberState.IDLE:
            member.idle_since = since
            self._shelves.sort(member)
        return decisions

    def _start_closing(self, member: Member) -> None:
        if member.state is MemberState.IDLE:
            self._shelves.remove(member)
        if member.state is not MemberState.CLOSING:
            self._closing_count += 1
            member.state = MemberState.CLOSING

    def gone(self, member: Member, now: float) -> Sequence[Decision]:
        """A member's connection is closed. One that is out of the book already is ignored."""
        if member.number not in self._members:
            return _NOTHING
        self._closed += 1
        if member.state is MemberState.IDLE:
            self._shelves.remove(member)
        elif member.state is MemberState.OPENING:
            self._not_opening(member)
            self._waiters.forgive(member.key)
        elif member.state is MemberState.CLOSING:
            self._closing_count -= 1
        self._remove(member)
        return self._served(self._grow(now), now)

    # -- deciding -------------------------------------------------------------------------------------------------

    def _place(self, member: Member, now: float) -> Sequence[Decision]:
        """Where a free member goes."""
        why = self._why_close(member, now)
        if why is not None:
            return self._close(member, why)
        if self._waiters.all.count:
            if self._waiters.troubled:
                oldest = self._waiters.first(now, self._opening, self._tries_at_once())
            else:
                oldest = self._waiters.all.first
            if oldest is not None and oldest.key != member.key and self._owed_a_turn(oldest, now):
                return [*self._close(member, CloseReason.MAKE_ROOM), *self._grow(now)]
            same = self._waiting.get(member.key)
            if same is not None and same.first is not None:
                if member.keepsake is None or not member.keepsake.worth:
                    return (self._grant(same.first, member),)
                # Another one may be on its way, or have room.
                self._to_idle(member, now)
                return self._served(self._grow(now), now)
        self._to_idle(member, now)
        return self._grow(now)

    def _owed_a_turn(self, oldest: Waiting, now: float) -> bool:
        """The oldest waiter has waited long, its server is not failing, and no place is on its way to it."""
        if now - oldest.since < self.limits.turn_after or now < self._retry_at:
            return False
        return self._opening.get(oldest.key, 0) == 0 and self._room() <= 0 and self._closing_count == 0

    def _why_close(self, member: Member, now: float) -> CloseReason | None:
        if self._draining:
            return CloseReason.DRAINING
        if len(self._members) - self._closing_count > self._limit:
            return CloseReason.OVER_QUOTA
        if now >= member.expires_at:
            return CloseReason.LIFETIME
        return None

    def _close(self, member: Member, why: CloseReason) -> list[Decision]:
        self._start_closing(member)
        return [Close(member, why)]

    def _grow(self, now: float) -> Sequence[Decision]:
        """Open for those who wait, making room where idle members of other pools stand in the way."""
        if not self._waiters.all.count or self._draining or now < self._retry_at:
            return _NOTHING
        if not self._shelves.count and len(self._members) >= self._limit:
            return _NOTHING  # nothing can be opened, and nothing makes room
        decisions: list[Decision] = []
        coming = self._coming(now)
        leaving = self._closing_count
        for key in self._waiters.in_turn(now, self._opening, self._tries_at_once()):
            if self._opening_count >= self.limits.max_simultaneous_opens:
                break
            if coming.get(key, 0) > 0:
                coming[key] -= 1
                continue
            if self._room() > 0:
                decisions.append(Open(self._open(key)))
            elif leaving > 0:
                leaving -= 1  # a place is on its way
            else:
                victim = self._shelves.least_needed(key)
                if victim is None:
                    break
                decisions += self._close(victim, CloseReason.MAKE_ROOM)
        return decisions

    def _open_unasked(self, key: Hashable, now: float) -> Sequence[Decision]:
        """Open one member, or make room for it, although nobody will wait for it; not before those who do wait."""
        if now < self._retry_at or key in self._opening or self._opening_count >= self.limits.max_simultaneous_opens:
            return _NOTHING
        if self._waiters.line.count > self._opening_count or now < self._waiters.failing.not_before(key):
            return _NOTHING
        if self._room() > 0:
            return [Open(self._open(key))]
        victim = self._shelves.least_needed(key) if self._closing_count == 0 else None
        return self._close(victim, CloseReason.MAKE_ROOM) if victim is not None else _NOTHING

    def _open(self, key: Hashable) -> Member:
        self._numbers += 1
        member = Member(key, self._numbers)
        self._members[member.number] = member
        self._count(member, key)
        self._waiters.failing.tries(key)
        self._opening[key] = self._opening.get(key, 0) + 1
        self._opening_count += 1
        return member

    # -- time and limits ------------------------------------------------------------------------------------------

    def resize(self, limit: int, now: float) -> Sequence[Decision]:
        """The quota is `limit` (>= 1) from now on. Over it, idle members close now and others when they are free."""
        self._heed(attrs.evolve(self.limits, limit=limit))
        self._limit = limit
        return [*self._trim(CloseReason.OVER_QUOTA), *self._grow(now)]

    def reconfigure(self, limits: BookLimits, now: float) -> Sequence[Decision]:
        """All limits at once; the quota's present size is kept where `limits` has the same."""
        self._heed(limits)
        return self.resize(limits.limit, now)

    def _trim(self, why: CloseReason) -> list[Decision]:
        decisions: list[Decision] = []
        while len(self._members) - self._closing_count > self._limit:
            victim = self._shelves.least_needed(None)
            if victim is None:
                break
            decisions += self._close(victim, why)
        return decisions

    def tick(self, now: float) -> Sequence[Decision]:
        """Time has passed: waiters, lifetimes, idle limits, backoff, a quota that recovers."""
        overdue = self._waiters.overdue(now, self.limits.wait_timeout)
        decisions: list[Decision] = [Fail(self._waiters.remove(entry), WaitFailure.TIMED_OUT) for entry in overdue]
        self._waiters.forgive_past(now)
        self._promised = [promise for promise in self._promised if now < promise[1]]
        if self._limit < self.limits.limit and now >= self._shrunk_until:
            self._limit += 1
            self._shrunk_until = now + self.limits.recover_after
        for member in self._shelves.all():
            if now >= member.expires_at:
                decisions += self._close(member, CloseReason.LIFETIME)
            elif self.limits.idle_timeout and now >= member.idle_since + self.limits.idle_timeout:
                decisions += self._close(member, CloseReason.IDLE)
        decisions += self._surplus(now)
        return self._served([*decisions, *self._grow(now)], now)

    def _surplus(self, now: float) -> list[Decision]:
        if self._shelves.count <= self.limits.max_idle or self._waiters.all.count:
            self._surplus_since = None
            return []
        if self._surplus_since is None:
            self._surplus_since = now
        if now - self._surplus_since < self.limits.surplus_after:
            return []
        self._surplus_since = None
        decisions: list[Decision] = []
        while self._shelves.count > self.limits.max_idle:
            victim = self._shelves.least_needed(None)
            assert victim is not None
            decisions += self._close(victim, CloseReason.SURPLUS)
        return decisions

    def next_deadline(self, now: float) -> float | None:
        """When `tick` has something to do next; None: nothing until something else happens."""
        times = list(self._waiters.next_overdue(self.limits.wait_timeout))
        if self._waiters.all.count:
            tries = (self._retry_at, self._waiters.next_try(self._retry_at))
            times += [at for at in tries if at is not None and at > now]
        if self._limit < self.limits.limit:
            times.append(self._shrunk_until)
        if self._shelves.count > self.limits.max_idle and not self._waiters.all.count:
            since = now if self._surplus_since is None else self._surplus_since + self.limits.surplus_after
            times.append(since)
        idle = self._shelves.all()
        times += [member.expires_at for member in idle]
        if self.limits.idle_timeout:
            times += [member.idle_since + self.limits.idle_timeout for member in idle]
        if self._promised:
            times.append(self._promised[0][1])
        for key in self._shelves.kept:
            line = self._waiting.get(key)
            if line is not None and line.first is not None:
                times.append(line.first.since + self.limits.keepsake_waits)
        return min(times, default=None)

    def drain(self, now: float) -> Sequence[Decision]:
        """No more grants: waiters fail, idle members close, others when they are given back."""
        self._draining = True
        decisions: list[Decision] = [Fail(entry.waiter, WaitFailure.CLOSED) for entry in self._waiters.all]
        self._waiters.clear()
        for member in self._shelves.all():
            decisions += self._close(member, CloseReason.DRAINING)
        return decisions
