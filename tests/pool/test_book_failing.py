"""The pool's book where a user or a database cannot be had, and where nobody may wait: tables for single cases."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from rdsp.pool.book import Book, BookLimits, Close, CloseReason, Fail, Grant, Member, Open, OpenFailure, WaitFailure
from rdsp.pool.waiting import Queue

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


def open_first(book: Book, key: str, now: float = 0.0) -> Member:
    """The same, whatever the limits say of waiting."""
    (decision,) = book.wait(key, Waiter(key), now, at_least=1.0)
    assert isinstance(decision, Open)
    (grant,) = book.opened(decision.member, object(), now)
    assert isinstance(grant, Grant)
    return grant.member


@pytest.mark.parametrize("why", [OpenFailure.UNREACHABLE, OpenFailure.REFUSED_KEY])
def test_a_key_that_fails_shrinks_nothing_and_holds_up_nobody_else(why: OpenFailure) -> None:
    book = Book(LIMITS)
    hopeless, other = Waiter("a"), Waiter("b")
    (opening,) = book.wait("a", hopeless, 0.0)
    assert isinstance(opening, Open)
    for failures in range(5):
        now = float(failures * 10)
        assert not book.open_failed(opening.member, now, why)
        assert book.next_deadline(now) == now + 0.1 * 2**failures
        assert not book.tick(now + 0.09 * 2**failures)
        (opening,) = book.tick(now + 0.1 * 2**failures)
        assert isinstance(opening, Open)
    book.open_failed(opening.member, 60.0, why)
    assert book.statistics().limit == 2
    (opening,) = book.wait("b", other, 60.1)
    assert isinstance(opening, Open)
    assert list(book.opened(opening.member, object(), 60.2)) == [Grant(other, opening.member)]


def test_a_place_that_a_failing_key_leaves_goes_to_who_waits() -> None:
    book = Book(attrs.evolve(LIMITS, limit=1))
    (opening,) = book.wait("a", Waiter("a"), 0.0)
    assert isinstance(opening, Open)
    assert not book.wait("b", Waiter("b"), 0.0)
    (after,) = book.open_failed(opening.member, 0.1, OpenFailure.UNREACHABLE)
    assert isinstance(after, Open)
    assert after.member.key == "b"


def test_failing_keys_take_turns_with_the_others_and_not_all_of_them() -> None:
    """A hundred that cannot be helped, and one busy pool: it goes on, and they are tried now and then."""
    book = Book(attrs.evolve(LIMITS, limit=1, max_simultaneous_opens=8))
    pending = [*book.wait("busy", Waiter("busy"), 0.0)]
    for number in range(100):
        pending += book.wait(f"hopeless{number}", Waiter("?"), 0.0)
    served = tried = 0
    now = 0.0
    while now < 20.0:
        now += 0.01
        decisions, pending = [*pending, *book.tick(now)], []
        for decision in decisions:
            match decision:
                case Grant(_, member):
                    served += 1
                    pending += book.wait("busy", Waiter("busy"), now)
                    pending += book.give_back(member, now)
                case Open(member) if member.key == "busy":
                    pending += book.opened(member, object(), now)
                case Open(member):
                    tried += 1
                    pending += book.open_failed(member, now, OpenFailure.UNREACHABLE)
                case Close(member, _):
                    pending += book.gone(member, now)
    assert served > 1000
    assert 100 + 20 < tried < 100 + 90, "each at once, then about one in `turn_after`"


def test_a_failing_key_is_tried_with_one_member_however_many_wait() -> None:
    book = Book(attrs.evolve(LIMITS, limit=10))
    opening = [d for _ in range(5) for d in book.wait("a", Waiter("a"), 0.0)]
    for decision in opening:
        assert isinstance(decision, Open)
        book.open_failed(decision.member, 0.0, OpenFailure.UNREACHABLE)
    (decision,) = book.tick(0.1)
    assert isinstance(decision, Open), "and those that failed together count as one failure"
    assert not book.tick(1.0)
    assert len(book.opened(decision.member, object(), 1.0)) == 1 + 4, "it is the way for all"


def test_failing_keys_are_never_tried_with_all_that_may_be_opened() -> None:
    book = Book(attrs.evolve(LIMITS, limit=100, max_simultaneous_opens=8))
    for number in range(20):
        for decision in book.wait(str(number), Waiter(str(number)), 0.0):
            assert isinstance(decision, Open)
            book.open_failed(decision.member, 0.0, OpenFailure.UNREACHABLE)
    assert len(book.tick(1.0)) == 4
    (opening,) = book.wait("fresh", Waiter("fresh"), 1.0)
    assert isinstance(opening, Open)


def test_the_line_keeps_its_order_when_a_key_recovers() -> None:
    queue, waiters = Queue(), [Waiter(key) for key in "abac"]
    for number, waiter in enumerate(waiters):
        queue.add(waiter.key, waiter, float(number), 0.0)
    queue.fails("a", 9.0, LIMITS)
    queue.fails("c", 9.0, LIMITS)
    assert [entry.waiter for entry in queue.line] == waiters[1:2]
    queue.forgive("a")
    assert [entry.waiter for entry in queue.line] == waiters[:3]
    queue.forgive("c")
    assert queue.line is queue.all


def test_waiters_of_a_key_that_recovers_stand_where_they_stood() -> None:
    book = Book(attrs.evolve(LIMITS, limit=1))
    early, late = Waiter("a"), Waiter("b")
    (opening,) = book.wait("a", early, 0.0)
    assert isinstance(opening, Open)
    book.wait("b", late, 0.1)
    opening_b: Any
    (opening_b,) = book.open_failed(opening.member, 0.2, OpenFailure.UNREACHABLE)
    assert not book.open_failed(opening_b.member, 0.2, OpenFailure.UNREACHABLE)
    (opening_a,) = book.tick(0.35)
    assert isinstance(opening_a, Open)
    assert opening_a.member.key == "a"
    more = Waiter("a")
    book.wait("a", more, 0.4)
    assert list(book.opened(opening_a.member, object(), 0.5)) == [Grant(early, opening_a.member)]
    assert list(book.give_back(opening_a.member, 0.55)) == [Close(opening_a.member, CloseReason.MAKE_ROOM)], "b's turn"


def test_a_server_that_is_down_for_all_is_tried_at_a_bounded_rate() -> None:
    book = Book(attrs.evolve(LIMITS, limit=100, max_simultaneous_opens=4, wait_timeout=1000.0))
    opening = [d for key in range(50) for d in book.wait(str(key), Waiter(str(key)), 0.0)]
    times: list[float] = []
    now, tick = 0.0, 0.02
    while now < 60.0:
        assert len(opening) <= 4
        failed, opening = opening, []
        for decision in failed:
            assert isinstance(decision, Open)
            times.append(now)
            opening += book.open_failed(decision.member, now, OpenFailure.UNREACHABLE)
        now += tick
        opening += book.tick(now)
    late = [at for at in times if at > 30.0]
    assert 50 * 5 <= len(late) <= 50 * 7, "each key every 5 seconds"


def test_a_failure_is_forgotten_when_nobody_waits_and_its_pause_is_over() -> None:
    book = Book(LIMITS)
    waiter = Waiter("a")
    (opening,) = book.wait("a", waiter, 0.0)
    assert isinstance(opening, Open)
    for now in (0.0, 10.0, 20.0):
        book.open_failed(opening.member, now, OpenFailure.UNREACHABLE)
        (opening,) = book.tick(now + 9.0)
    book.left(waiter, 29.0)
    book.open_failed(opening.member, 30.0, OpenFailure.UNREACHABLE)
    assert not book.wait("a", waiter, 30.1), "who comes back at once finds the pause going on"
    book.left(waiter, 30.2)
    book.tick(40.0)
    assert not book._waiters.failing
    (opening,) = book.wait("a", waiter, 40.0)
    book.open_failed(opening.member, 40.0, OpenFailure.UNREACHABLE)
    assert book.next_deadline(40.0) == 40.1, "as after a first failure"


def test_with_a_borrow_timeout_of_zero_only_what_is_idle_can_be_had_and_the_pool_grows() -> None:
    book = Book(attrs.evolve(LIMITS, grows_when_waiting=False, wait_timeout=0.0))
    waiter = Waiter("a")
    failed, opening = book.wait("a", waiter, 0.0)
    assert failed == Fail(waiter, WaitFailure.NOTHING_IDLE)
    assert isinstance(opening, Open)
    assert list(book.wait("a", waiter, 0.0)) == [failed], "one at a time"
    member = opening.member
    assert not book.opened(member, object(), 1.0)
    assert book.take("a", 1.0) is member
    failed, opening = book.wait("a", waiter, 1.0)
    assert isinstance(opening, Open)
    book.opened(opening.member, object(), 2.0)
    book.take("a", 2.0)
    assert list(book.wait("a", waiter, 2.0)) == [failed], "the quota is full"


def test_who_may_not_wait_has_room_made() -> None:
    book = Book(attrs.evolve(LIMITS, limit=1, max_waiters=0))
    book.give_back(open_first(book, "a"), 0.0)
    waiter = Waiter("b")
    failed, closing = book.wait("b", waiter, 1.0)
    assert failed == Fail(waiter, WaitFailure.TOO_MANY_WAITERS)
    assert isinstance(closing, Close)
    assert list(book.wait("b", waiter, 1.0)) == [failed], "a place is on its way"
    assert not book.gone(closing.member, 1.0)
    assert [type(d) for d in book.wait("b", waiter, 1.0)] == [Fail, Open]


def test_who_may_not_wait_is_not_served_before_those_who_do() -> None:
    book = Book(attrs.evolve(LIMITS, limit=1, max_waiters=0))
    member = open_first(book, "a")
    book.wait("b", Waiter("b"), 0.0, at_least=1.0)
    book.give_back(member, 0.1)
    assert [type(d) for d in book.wait("c", Waiter("c"), 0.1)] == [Fail]


def test_who_may_not_wait_does_not_try_a_failing_key_all_the_time() -> None:
    book = Book(attrs.evolve(LIMITS, max_waiters=0))
    _, opening = book.wait("a", Waiter("a"), 0.0)
    assert isinstance(opening, Open)
    book.open_failed(opening.member, 0.0, OpenFailure.UNREACHABLE)
    assert [type(d) for d in book.wait("a", Waiter("a"), 0.05)] == [Fail]
    assert [type(d) for d in book.wait("a", Waiter("a"), 0.1)] == [Fail, Open]


@pytest.mark.parametrize(
    "zero", [{"max_waiters": 0}, {"wait_timeout": 0.0, "grows_when_waiting": False}], ids=["waiters", "timeout"]
)
def test_a_first_member_may_always_be_waited_for(zero: dict[str, Any]) -> None:
    book = Book(attrs.evolve(LIMITS, **zero))
    waiter = Waiter("a")
    (opening,) = book.wait("a", waiter, 0.0, at_least=1.0)
    assert isinstance(opening, Open)
    assert not book.tick(0.9)
    assert list(book.opened(opening.member, object(), 0.95)) == [Grant(waiter, opening.member)]


def test_a_wait_for_a_first_member_has_a_deadline_of_its_own_and_delays_no_other() -> None:
    book = Book(attrs.evolve(LIMITS, limit=1, wait_timeout=0.5))
    open_one(book, "a")
    first, other = Waiter("b"), Waiter("a")
    book.wait("b", first, 0.0, at_least=1.0)
    book.wait("a", other, 0.1)
    assert book.next_deadline(0.1) == 0.6
    assert list(book.tick(0.6)) == [Fail(other, WaitFailure.TIMED_OUT)]
    assert book.next_deadline(0.6) == 1.0
    assert list(book.tick(1.0)) == [Fail(first, WaitFailure.TIMED_OUT)]
