"""The pool's book: tables for single cases, a rule machine for all of them together."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rdsp.pool.book import (
    Book,
    BookLimits,
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

LIMITS = BookLimits(limit=2, max_idle=2, lifetime_jitter=0.0)


@attrs.define(eq=False)
class Waiter:
    key: str
    number: int = 0


def open_one(book: Book, key: str, now: float = 0.0) -> Member:
    """A member that is borrowed by a waiter of its own."""
    (decision,) = book.wait(key, Waiter(key), now)
    assert isinstance(decision, Open)
    (grant,) = book.opened(decision.member, object(), now)
    assert isinstance(grant, Grant)
    return grant.member


def test_the_member_used_last_is_taken_first() -> None:
    book = Book(LIMITS)
    first, second = open_one(book, "a"), open_one(book, "a")
    book.give_back(first, 1.0)
    book.give_back(second, 2.0)
    assert book.take("a", 3.0) is second
    assert book.take("a", 3.0) is first
    assert book.take("a", 3.0) is None


def test_a_member_given_back_goes_straight_to_who_waits_longest() -> None:
    book = Book(LIMITS)
    member = open_one(book, "a")
    open_one(book, "a")
    one, two = Waiter("a"), Waiter("a")
    assert not book.wait("a", one, 1.0)
    assert not book.wait("a", two, 2.0)
    assert list(book.give_back(member, 3.0)) == [Grant(one, member)]
    assert list(book.give_back(member, 4.0)) == [Grant(two, member)]
    assert list(book.give_back(member, 5.0)) == []


def test_who_left_is_passed_over() -> None:
    book = Book(LIMITS)
    member = open_one(book, "a")
    open_one(book, "a")
    one, two = Waiter("a"), Waiter("a")
    book.wait("a", one, 1.0)
    book.wait("a", two, 1.0)
    book.left(one, 2.0)
    assert list(book.give_back(member, 3.0)) == [Grant(two, member)]


def test_an_idle_member_of_another_pool_gives_way() -> None:
    book = Book(LIMITS)
    old, new = open_one(book, "a"), open_one(book, "b")
    book.give_back(old, 1.0)
    book.give_back(new, 2.0)
    waiter = Waiter("c")
    assert list(book.wait("c", waiter, 3.0)) == [Close(old, CloseReason.MAKE_ROOM)]
    (opening,) = book.gone(old, 4.0)
    assert isinstance(opening, Open)
    assert opening.member.key == "c"


def test_a_busy_pool_does_not_starve_another() -> None:
    book = Book(attrs.evolve(LIMITS, limit=1, turn_after=1.0))
    member = open_one(book, "a")
    stranger, friend = Waiter("b"), Waiter("a")
    book.wait("b", stranger, 0.0)
    book.wait("a", friend, 0.1)
    assert list(book.give_back(member, 0.5)) == [Grant(friend, member)]
    book.wait("a", Waiter("a"), 0.6)
    assert list(book.give_back(member, 1.5)) == [Close(member, CloseReason.MAKE_ROOM)]
    (opening,) = book.gone(member, 1.6)
    assert isinstance(opening, Open)
    assert opening.member.key == "b"


def test_a_server_that_is_full_shrinks_the_quota_and_keeps_the_waiters() -> None:
    book = Book(attrs.evolve(LIMITS, limit=5))
    member = open_one(book, "a")
    waiter = Waiter("a")
    (opening,) = book.wait("a", waiter, 0.0)
    assert isinstance(opening, Open)
    assert not book.open_failed(opening.member, 0.0, OpenFailure.REFUSED_BUSY)
    assert book.statistics().limit == 1
    assert list(book.give_back(member, 0.1)) == [Grant(waiter, member)]
    now = 0.1
    while book.statistics().limit < 5:
        now = book.next_deadline(now) or now
        book.tick(now)
        assert now < 60


def test_a_login_that_is_denied_is_told_to_all_of_its_pool() -> None:
    book = Book(attrs.evolve(LIMITS, limit=5))
    one, two, other = Waiter("a"), Waiter("a"), Waiter("b")
    opening = next(d for d in book.wait("a", one, 0.0) if isinstance(d, Open))
    book.wait("a", two, 0.0)
    book.wait("b", other, 0.0)
    decisions = book.open_failed(opening.member, 1.0, OpenFailure.DENIED, "no")
    assert [d for d in decisions if isinstance(d, Fail)] == [Fail(one, "no"), Fail(two, "no")]
    assert book.waiting == 1


def test_an_unreachable_server_is_tried_again_later() -> None:
    book = Book(LIMITS)
    (opening,) = book.wait("a", Waiter("a"), 0.0)
    assert isinstance(opening, Open)
    assert not book.open_failed(opening.member, 0.0, OpenFailure.UNREACHABLE)
    again = book.next_deadline(0.0)
    assert again is not None
    assert not book.tick(again - 0.01)
    assert [type(d) for d in book.tick(again)] == [Open]


def test_nothing_is_kept_of_a_key_without_members_and_waiters() -> None:
    book = Book(attrs.evolve(LIMITS, limit=1))
    member = open_one(book, "a")
    book.give_back(member, 0.0)
    assert book.take("a", 0.0) is member
    assert book.knows("a")
    book.gone(member, 0.0)
    assert not book.knows("a")
    waiter = Waiter("b")
    (opening,) = book.wait("b", waiter, 0.0)
    assert isinstance(opening, Open)
    assert book.knows("b")
    book.open_failed(opening.member, 0.0, OpenFailure.DENIED, "no")
    assert not book.knows("b")
    own = {name: getattr(book, name) for name in dir(book) if not name.startswith("__")}
    assert not any(value for value in own.values() if isinstance(value, dict)), own


def test_a_wait_ends_on_time() -> None:
    book = Book(attrs.evolve(LIMITS, limit=1, wait_timeout=5.0))
    open_one(book, "a")
    waiter = Waiter("a")
    book.wait("a", waiter, 1.0)
    assert book.next_deadline(1.0) == 6.0
    assert not book.tick(5.9)
    assert list(book.tick(6.0)) == [Fail(waiter, WaitFailure.TIMED_OUT)]


def test_lifetime_and_idle_limits() -> None:
    book = Book(attrs.evolve(LIMITS, idle_timeout=10.0, lifetime=100.0))
    member = open_one(book, "a")
    assert list(book.give_back(member, 100.0)) == [Close(member, CloseReason.LIFETIME)]
    other = open_one(book, "a", 100.0)
    book.give_back(other, 101.0)
    assert book.next_deadline(101.0) == 111.0
    assert list(book.tick(111.0)) == [Close(other, CloseReason.IDLE)]


def test_a_smaller_quota_closes_idle_members_now_and_others_when_they_come_back() -> None:
    book = Book(attrs.evolve(LIMITS, limit=3))
    members = [open_one(book, "a") for _ in range(3)]
    book.give_back(members[0], 1.0)
    assert list(book.resize(1, 2.0)) == [Close(members[0], CloseReason.OVER_QUOTA)]
    assert list(book.give_back(members[1], 3.0)) == [Close(members[1], CloseReason.OVER_QUOTA)]
    assert list(book.give_back(members[2], 4.0)) == []


def test_drain_fails_who_waits_and_takes_what_comes_back() -> None:
    book = Book(attrs.evolve(LIMITS, limit=1))
    member = open_one(book, "a")
    waiter = Waiter("a")
    book.wait("a", waiter, 0.0)
    assert list(book.drain(1.0)) == [Fail(waiter, WaitFailure.CLOSED)]
    assert list(book.give_back(member, 2.0)) == [Close(member, CloseReason.DRAINING)]
    assert list(book.wait("a", waiter, 3.0)) == [Fail(waiter, WaitFailure.CLOSED)]


KEYS = st.sampled_from("abc")


def test_a_member_that_was_checked_is_idle_where_it_was() -> None:
    book = Book(BookLimits(limit=3, max_idle=3))
    first, second, third = (open_one(book, "k") for _ in range(3))
    for at, member in enumerate((first, second, third), start=1):
        book.give_back(member, float(at))

    checked = [book.due_for_check(12.0, 10.0), book.due_for_check(12.0, 10.0), book.due_for_check(12.0, 10.0)]
    assert checked == [first, second, None]
    assert [book.checked(member, 12.5) for member in (second, first)] == [(), ()]

    assert book.due_for_check(13.5, 10.0) is third
    assert book.checked(third, 13.5) == ()
    assert book.due_for_check(20.0, 10.0) is None
    assert [book.take("k", 14.0) for _ in range(3)] == [third, second, first]


def test_a_member_handed_over_goes_where_it_would_have_gone() -> None:
    book = Book(attrs.evolve(LIMITS, limit=1))
    member = open_one(book, "a")
    assert book.hand_over(member, 0.0) is None
    one, two, other = Waiter("a"), Waiter("a"), Waiter("b")
    for waiter in (one, two, other):
        book.wait(waiter.key, waiter, 0.0)
    assert book.hand_over(member, 0.0) is one
    assert member.state is MemberState.BORROWED
    assert book.hand_over(member, 0.0) is two
    assert book.hand_over(member, 0.0) is None, "the next is of another pool"
    assert book.statistics().waiting == 1


class BookMachine(RuleBasedStateMachine):
    """Plays the runtime: carries out every decision, late and in any order, and checks what must always hold."""

    @initialize(limit=st.integers(1, 4), opens=st.integers(1, 3), idle=st.integers(0, 4))
    def begin(self, limit: int, opens: int, idle: int) -> None:
        self.now = 0.0
        self.limit = limit
        self.book = Book(
            BookLimits(
                limit=limit, max_idle=idle, max_simultaneous_opens=opens, max_waiters=6, wait_timeout=30.0,
                idle_timeout=20.0, lifetime=60.0,
            )
        )  # fmt: skip
        self.waiting: list[Waiter] = []
        self.answered: set[int] = set()
        self.opening: list[Member] = []
        self.closing: list[Member] = []
        self.borrowed: list[Member] = []
        self.numbers = 0
        self.total = 0
        self.opens = opens
        self.failed_at: dict[str, float] = {}
        self.busy = False

    def carry_out(self, decisions: Any) -> None:
        for decision in decisions:
            self.apply(decision)

    def apply(self, decision: Decision) -> None:
        match decision:
            case Grant(waiter, member):
                self.answer(waiter)
                assert member.key == waiter.key
                assert member.state is MemberState.BORROWED
                assert member not in self.borrowed
                self.borrowed.append(member)
            case Open(member):
                assert member.state is MemberState.OPENING
                if member.key in self.failed_at:
                    assert self.now >= self.failed_at[member.key] + self.book.limits.backoff_first
                self.opening.append(member)
            case Close(member, _):
                assert member.state is MemberState.CLOSING
                assert member not in self.borrowed
                self.closing.append(member)
            case Fail(waiter, _):
                self.answer(waiter)

    def answer(self, waiter: Waiter) -> None:
        assert waiter.number not in self.answered
        assert waiter in self.waiting
        self.answered.add(waiter.number)
        self.waiting.remove(waiter)

    @rule(key=KEYS, first=st.booleans())
    def ask(self, key: str, first: bool) -> None:
        member = self.book.take(key, self.now)
        if member is not None:
            self.borrowed.append(member)
            return
        self.numbers += 1
        waiter = Waiter(key, self.numbers)
        self.waiting.append(waiter)
        self.carry_out(self.book.wait(key, waiter, self.now, 40.0 if first else 0.0))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(waiter)
        self.carry_out(self.book.left(waiter, self.now))

    @precondition(lambda self: self.borrowed)
    @rule(data=st.data(), reset=st.booleans())
    def give_back(self, data: st.DataObject, reset: bool) -> None:
        member = data.draw(st.sampled_from(self.borrowed))
        self.borrowed.remove(member)
        if reset:
            self.carry_out(self.book.resetting(member, self.now))
        else:
            waiter = self.book.hand_over(member, self.now)
            if waiter is not None:
                self.carry_out([Grant(waiter, member)])
                return
        self.carry_out(self.book.give_back(member, self.now))

    @rule(every=st.floats(0.0, 20.0), answers=st.booleans())
    def check(self, every: float, answers: bool) -> None:
        member = self.book.due_for_check(self.now, every)
        if member is None:
            return
        assert member.state is MemberState.RESETTING
        assert self.now - member.idle_since >= every
        if answers:
            self.carry_out(self.book.checked(member, self.now))
        else:
            self.carry_out(self.book.gone(member, self.now))

    @precondition(lambda self: self.borrowed)
    @rule(data=st.data(), gently=st.booleans())
    def lose(self, data: st.DataObject, gently: bool) -> None:
        member = data.draw(st.sampled_from(self.borrowed))
        self.borrowed.remove(member)
        if gently:
            self.carry_out(self.book.closing(member, self.now))
            self.closing.append(member)
        else:
            self.carry_out(self.book.gone(member, self.now))

    @precondition(lambda self: self.opening)
    @rule(data=st.data(), outcome=st.sampled_from([None, None, None, *OpenFailure]))
    def finish_opening(self, data: st.DataObject, outcome: OpenFailure | None) -> None:
        member = data.draw(st.sampled_from(self.opening))
        self.opening.remove(member)
        if outcome in (OpenFailure.UNREACHABLE, OpenFailure.REFUSED_KEY):
            self.failed_at.setdefault(member.key, self.now)
        else:
            self.failed_at.pop(member.key, None)
        if outcome is None:
            self.busy = False
            self.carry_out(self.book.opened(member, object(), self.now))
        else:
            self.busy = self.busy or outcome is OpenFailure.REFUSED_BUSY
            self.carry_out(self.book.open_failed(member, self.now, outcome, "refused"))

    @precondition(lambda self: self.closing)
    @rule(data=st.data())
    def finish_closing(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from(self.closing))
        self.closing.remove(member)
        self.carry_out(self.book.gone(member, self.now))

    @rule(seconds=st.floats(0.01, 40.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.carry_out(self.book.tick(self.now))

    @rule()
    def the_keeper_wakes(self) -> None:
        deadline = self.book.next_deadline(self.now)
        if deadline is not None:
            self.now = max(self.now, deadline)
            self.carry_out(self.book.tick(self.now))

    @rule(limit=st.integers(1, 5))
    def resize(self, limit: int) -> None:
        self.limit = limit
        self.carry_out(self.book.resize(limit, self.now))

    @rule()
    def everything_comes_to_rest(self) -> None:
        """All that is borrowed comes back and all that opens succeeds: then nobody waits for ever."""
        for _ in range(400):
            if not (self.waiting or self.borrowed or self.opening or self.closing):
                break
            for member in list(self.opening):
                self.opening.remove(member)
                self.failed_at.pop(member.key, None)
                self.busy = False
                self.carry_out(self.book.opened(member, object(), self.now))
            for member in list(self.borrowed):
                self.borrowed.remove(member)
                self.carry_out(self.book.give_back(member, self.now))
            for member in list(self.closing):
                self.closing.remove(member)
                self.carry_out(self.book.gone(member, self.now))
            self.now += 0.3
            self.carry_out(self.book.tick(self.now))
        assert not self.waiting

    def teardown(self) -> None:
        if not hasattr(self, "book"):
            return
        self.carry_out(self.book.drain(self.now))
        for member in list(self.borrowed):
            self.borrowed.remove(member)
            self.carry_out(self.book.give_back(member, self.now))
        for member in list(self.opening):
            self.opening.remove(member)
            self.carry_out(self.book.opened(member, object(), self.now))
        for member in list(self.closing):
            self.closing.remove(member)
            self.carry_out(self.book.gone(member, self.now))
        assert not self.waiting
        assert not list(self.book.members())

    @invariant()
    def nothing_is_forgotten(self) -> None:
        if not hasattr(self, "book"):
            return
        statistics = self.book.statistics()
        assert statistics.opening == len(self.opening)
        assert statistics.borrowed == len(self.borrowed)
        assert statistics.closing == len(self.closing)
        assert statistics.waiting == len(self.waiting)

    @invariant()
    def the_quota_holds(self) -> None:
        if not hasattr(self, "book"):
            return
        total = len(list(self.book.members()))
        # A quota that fell may be exceeded for a while; then the number only falls.
        assert total <= max(self.limit, self.total)
        self.total = total

    @invariant()
    def nobody_waits_while_a_fitting_member_is_idle(self) -> None:
        if not hasattr(self, "book"):
            return
        idle = {member.key for member in self.book.members() if member.state is MemberState.IDLE}
        assert not idle & {waiter.key for waiter in self.waiting}

    @invariant()
    def a_key_that_fails_holds_up_no_other(self) -> None:
        """While there is room, whoever waits for another key has an open under way."""
        if not hasattr(self, "book") or self.busy:
            return
        statistics = self.book.statistics()
        if len(self.opening) >= self.opens or statistics.limit <= len(list(self.book.members())):
            return
        opening = [member.key for member in self.opening]
        for key in {waiter.key for waiter in self.waiting} - self.failed_at.keys():
            assert opening.count(key) >= len([waiter for waiter in self.waiting if waiter.key == key])

    @invariant()
    def the_keeper_knows_when_to_try_again(self) -> None:
        """Somebody waits, and no event will come: then time must."""
        if hasattr(self, "book") and self.waiting and not (self.opening or self.borrowed or self.closing):
            deadline = self.book.next_deadline(self.now)
            assert deadline is not None
            assert deadline <= self.now + self.book.limits.backoff_max

    @invariant()
    def nothing_is_kept_of_keys_that_are_gone(self) -> None:
        if not hasattr(self, "book"):
            return
        known = {member.key for member in self.book.members()} | {waiter.key for waiter in self.waiting}
        assert {key for key in "abc" if self.book.knows(key)} == known
        assert self.book._idle.keys() <= known


TestBook = BookMachine.TestCase
