"""Who waits for a database connection: in the order of arrival, by key, and who is next in turn. Pure.

A key that fails (`rdsp.pool.backoff`) steps out of the line: its waiters go on waiting, and only one open at a time is
tried for them. The book asks; it alone opens, grants and refuses.
"""

from __future__ import annotations

import heapq
from collections.abc import Container, Hashable, Iterable, Iterator
from itertools import takewhile
from typing import Any, Final

from rdsp.pool.backoff import FailingKeys
from rdsp.pool.member import BookLimits


class Waiting:
    """A waiter's place in the queue. The waiter is no longer kept when it is `gone`."""

    __slots__ = ("at_least", "gone", "key", "number", "same", "since", "twin", "waiter")

    def __init__(self, key: Hashable, waiter: Any, since: float, at_least: float = 0.0) -> None:
        self.key = key
        self.waiter = waiter
        self.since = since
        self.at_least = at_least
        self.gone = False
        self.same: Line | None = None
        """Those who wait for the same key, this one among them; of a twin: those of its `Runs` among whom it stands."""
        self.number = 0
        """In the order of arrival, while a key fails."""
        self.twin: Waiting | None = None
        """Stands for it in the line while other keys fail: gone when this one is, or when its key fails too."""


class Line:
    """Waiters in the order of arrival. Whoever leaves from the middle is passed over later.

    Invariants: what stands at `_head` has not gone; no more have gone than are here, but for a few.
    """

    __slots__ = ("_entries", "_head", "count")

    _FEW: Final = 32

    def __init__(self, entries: Iterable[Waiting] = ()) -> None:
        self._entries = list(entries)
        self._head = 0
        self.count = len(self._entries)
        """How many wait."""

    def append(self, entry: Waiting) -> None:
        """At the end."""
        self._entries.append(entry)
        self.count += 1

    def dropped(self) -> None:
        """One of these has `gone`."""
        entries, head = self._entries, self._head
        self.count -= 1
        while head < len(entries) and entries[head].gone:
            head += 1
        self._head = head
        if len(entries) > 2 * self.count + self._FEW:
            self._entries, self._head = [entry for entry in entries if not entry.gone], 0

    @property
    def first(self) -> Waiting | None:
        """Who has waited for longest."""
        return self._entries[self._head] if self.count else None

    def __iter__(self) -> Iterator[Waiting]:
        """Nobody may come or leave meanwhile."""
        for at in range(self._head, len(self._entries)):
            entry = self._entries[at]
            if not entry.gone:
                yield entry


def _number(entry: Waiting) -> int:
    return entry.number


class Runs(Line):
    """Waiters in the order of their numbers, as a few lines: some can come back to where they stood.

    Invariant: every line is more than twice as long as the next was when that came, so there are few.
    """

    __slots__ = ("_runs",)

    def __init__(self, entries: Iterable[Waiting] = ()) -> None:
        super().__init__()
        self._runs = [Line()]
        for entry in entries:
            self.append(entry)

    def append(self, entry: Waiting) -> None:
        """See `Line`: its number is the highest."""
        entry.same = self._runs[0]
        self._runs[0].append(entry)
        self.count += 1

    def come_back(self, entries: Iterable[Waiting]) -> None:
        """To where their numbers are; these are in order themselves. Each is moved a few times, whoever else waits."""
        new = Line(entries)
        self.count += new.count
        runs = self._runs
        while runs and runs[-1].count <= 2 * new.count:
            new = Line(heapq.merge(runs.pop(), new, key=_number))
        for entry in new:
            entry.same = new
        runs.append(new)

    def step_out(self, entry: Waiting) -> None:
        """One of these leaves."""
        run = entry.same
        assert run is not None
        entry.gone, entry.waiter, entry.same = True, None, None
        run.dropped()
        self.count -= 1
        if not run.count and len(self._runs) > 1:
            self._runs.remove(run)

    @property
    def first(self) -> Waiting | None:
        """See `Line`."""
        found: Waiting | None = None
        for run in self._runs:
            first = run.first
            if first is not None and (found is None or first.number < found.number):
                found = first
        return found

    def __iter__(self) -> Iterator[Waiting]:
        """See `Line`."""
        yield from heapq.merge(*self._runs, key=_number)


class Queue:
    """All who wait.

    Invariant: `line` is `all` without the waiters of failing keys: the very same object while no key fails, and one of
    twins else, so that a key's waiters step out of it, and come back, without a look at all the others.
    """

    def __init__(self) -> None:
        self.all = Line()
        self.of_key: dict[Hashable, Line] = {}
        self.line = self.all
        self._runs = Runs()
        """The line while keys fail."""
        self._numbers = 0
        self.failing = FailingKeys()
        self.troubled = False
        """Whether any key fails."""
        self._of_waiter: dict[Any, Waiting] = {}
        self._try_failing_at = 0.0

    def add(self, key: Hashable, waiter: Any, now: float, at_least: float) -> None:
        """At the end of the queue. Nobody in it may be equal to the waiter."""
        if self.troubled and key not in self.of_key and self.failing.again_at(key) <= now:
            self.forgive(key)
        entry = self._of_waiter[waiter] = Waiting(key, waiter, now, at_least)
        self.all.append(entry)
        if self.troubled:
            self._count(entry)
            if key not in self.failing:
                self._runs.append(self._twin_of(entry))
        same = self.of_key.get(key)
        if same is None:
            same = self.of_key[key] = Line()
        entry.same = same
        same.append(entry)

    def place_of(self, waiter: Any) -> Waiting | None:
        """Where it stands; None when it is not in the queue."""
        return self._of_waiter.get(waiter)

    def remove(self, entry: Waiting) -> Any:
        """Out of the queue. Returns the waiter."""
        waiter, same = entry.waiter, entry.same
        assert same is not None
        del self._of_waiter[waiter]
        entry.gone, entry.waiter, entry.same = True, None, None
        self.all.dropped()
        if self.troubled:
            self._step_out(entry)
        same.dropped()
        if not same.count:
            del self.of_key[entry.key]
        return waiter

    def clear(self) -> None:
        """Nobody waits any more."""
        self.line = self.all = Line()
        self._runs = Runs()
        self.of_key.clear()
        self._of_waiter.clear()
        self.failing = FailingKeys()
        self.troubled = False

    # -- time -----------------------------------------------------------------------------------------------------

    def overdue(self, now: float, timeout: float) -> list[Waiting]:
        """Whose time is over."""
        # Sums as in `next_overdue`: a difference may be rounded to just less.
        old = takewhile(lambda entry: now >= entry.since + timeout, self.all)
        return [entry for entry in old if now >= entry.since + entry.at_least]

    def next_overdue(self, timeout: float) -> Iterator[float]:
        """When somebody's time is over: the earliest of these."""
        for entry in self.all:
            yield entry.since + max(timeout, entry.at_least)
            if entry.at_least <= timeout:
                return  # nobody behind is earlier

    def next_try(self, not_before: float) -> float | None:
        """When a failing key may be tried again."""
        again = self.failing.next_moment()
        return None if again is None else max(again, not_before, self._try_failing_at if self.line.count else 0.0)

    # -- keys that fail -------------------------------------------------------------------------------------------

    def fails(self, key: Hashable, now: float, limits: BookLimits) -> None:
        """An open failed: the key's waiters step out of the line, until one succeeds."""
        if key in self.failing:
            self._try_failing_at = now + limits.turn_after
        elif self.troubled:
            for entry in self.of_key.get(key, ()):
                self._step_out(entry)
        self.failing.failed(key, now, limits.backoff_first, limits.backoff_max)
        if not self.troubled:
            self.troubled = True
            self._line_up()

    def forgive(self, key: Hashable) -> None:
        """The key fails no longer, as far as anybody knows: its waiters stand in the line again, where they stood."""
        if key not in self.failing:
            return
        self.failing.forget(key)
        if not self.failing:
            self.troubled = False
            self.line, self._runs = self.all, Runs()
        elif key in self.of_key:
            self._runs.come_back([self._twin_of(entry) for entry in self.of_key[key]])

    def _line_up(self) -> None:
        """Those whose keys do not fail stand in the line, and no others."""
        self._numbers = 0
        for entry in self.all:
            entry.twin = None  # of an earlier line
            self._count(entry)
        self.line = self._runs = Runs(self._twin_of(entry) for entry in self.all if entry.key not in self.failing)

    def _count(self, entry: Waiting) -> None:
        entry.number = self._numbers
        self._numbers += 1

    def _twin_of(self, entry: Waiting) -> Waiting:
        twin = entry.twin = Waiting(entry.key, entry.waiter, entry.since, entry.at_least)
        twin.number = entry.number
        return twin

    def _step_out(self, entry: Waiting) -> None:
        twin = entry.twin
        if twin is not None:
            entry.twin = None
            self._runs.step_out(twin)

    def forgive_past(self, now: float) -> None:
        """Forget the failures of keys whose pause is over and that nobody waits for."""
        for key in self.failing.past(now, self.of_key):
            self.forgive(key)

    # -- turns ----------------------------------------------------------------------------------------------------

    def first(self, now: float, opening: Container[Hashable], at_once: int) -> Waiting | None:
        """Who is to be served next: the oldest in the line, or a failing key that is due since before that came."""
        oldest = self.line.first
        due = self._due(now, opening, at_once)
        if due is not None and (oldest is None or self.failing.again_at(due) <= oldest.since):
            return Waiting(due, None, self.failing.again_at(due))
        return oldest

    def in_turn(self, now: float, opening: Container[Hashable], at_once: int) -> Iterator[Hashable]:
        """The keys of which a member is to be opened, in the order of turns.

        Arguments:
            opening: keys of which an open is under way; the caller adds to it before it asks for the next one.
            at_once: how many failing keys may be tried at once.
        """
        due = self._due(now, opening, at_once)
        for entry in self.line:
            if due is not None and self.failing.again_at(due) <= entry.since:
                yield due
                due = None  # others wait: one at a time
            yield entry.key
        while due is not None:
            yield due
            due = self._due(now, opening, at_once) if self.failing.again_at(due) > now else None

    def _due(self, now: float, opening: Container[Hashable], at_once: int) -> Hashable | None:
        """The failing key that is to be tried now.

        While others wait it is one at a time, and none just after another failed: so those who cannot be helped take
        little from those who can.
        """
        failing = self.failing
        if not failing:
            return None
        if self.line.count and (failing.tried or now < self._try_failing_at):
            return None
        return failing.due(now, opening, self.of_key) if failing.tried < at_once else None
