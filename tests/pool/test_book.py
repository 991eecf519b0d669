"""The pool's book: tables for single cases. `test_book_rules` has all of them together."""

from __future__ import annotations

import attrs

from rdsp.pool.book import (
    Book,
    BookLimits,
    Close,
    CloseReason,
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
