"""Sessions that keep a member after a request: who lets go first, and what is not opened meanwhile."""

from __future__ import annotations

import math

import attrs

from rdsp.pool.backend import Borrower
from rdsp.pool.book import Book, Grant, Open
from rdsp.pool.lingering import Lingering
from tests.pool.test_book import LIMITS, Waiter, open_one


class Keeper(Borrower):
    """One that lingers until it is reclaimed, or until its client `goes_on`."""

    def __init__(self) -> None:
        self.asked = 0
        self.goes_on = False

    def reclaimed(self) -> bool:
        self.asked += 1
        return not self.goes_on


def test_who_loses_nothing_lets_go_first_and_the_oldest_before_others() -> None:
    lingering = Lingering()
    assert not lingering
    old, young, dear, other = (Keeper() for _ in range(4))
    for at, (keeper, key, easily) in enumerate(
        ((old, "a", True), (young, "a", True), (dear, "a", False), (other, "b", True))
    ):
        lingering.add(keeper, key, float(at), easily=easily)
    lingering.add(old, "a", 9.0, easily=True)
    assert lingering.reclaim_easily("a")
    assert (old.asked, young.asked) == (0, 1)
    assert lingering.reclaim_easily("a")
    assert not lingering.reclaim_easily("a"), "what one loses something by is not taken easily"
    assert lingering.reclaim("a")
    assert (dear.asked, other.asked) == (1, 0)
    assert lingering.reclaim("a"), "where nobody of the own pool is left, another's is taken"
    assert not lingering.reclaim("a")
    assert not lingering
    assert [each.asked for each in (old, young, dear, other)] == [1, 1, 1, 1]


def test_whose_client_has_gone_on_is_passed_over() -> None:
    lingering = Lingering()
    gone_on, left, last = (Keeper() for _ in range(3))
    gone_on.goes_on = True
    for keeper in (gone_on, left, last):
        lingering.add(keeper, "a", 1.0, easily=True)
    lingering.forget(left, "a")
    lingering.forget(left, "nowhere")
    assert lingering.reclaim_easily("a")
    assert [each.asked for each in (gone_on, left, last)] == [1, 0, 1]
    lingering.add(left, "a", 1.0, easily=False)
    lingering.forget(left, "a")
    assert not lingering


def test_who_lingers_for_another_reason_than_before_is_asked_by_that_alone() -> None:
    lingering = Lingering()
    keeper = Keeper()
    lingering.add(keeper, "a", 1.0, easily=True)
    lingering.add(keeper, "a", 2.0, easily=False)
    assert not lingering.reclaim_easily("a")
    assert lingering.reclaim_since(1.5) == 2.0
    assert keeper.asked == 0
    lingering.add(keeper, "a", 3.0, easily=True)
    assert lingering.reclaim_easily("a")
    assert not lingering.reclaim("a")
    assert keeper.asked == 1


def test_nobody_lingers_for_ever() -> None:
    lingering = Lingering()
    keepers = [Keeper() for _ in range(4)]
    for at, keeper in enumerate(keepers):
        lingering.add(keeper, "ab"[at % 2], float(at), easily=at < 2)
    assert lingering.reclaim_since(1.5) == 2.0
    assert [each.asked for each in keepers] == [1, 1, 0, 0]
    assert lingering.reclaim_since(5.0) == math.inf
    assert [each.asked for each in keepers] == [1, 1, 1, 1]
    assert not lingering


def test_nothing_is_opened_in_the_place_of_a_member_that_is_about_to_come_back() -> None:
    book = Book(attrs.evolve(LIMITS, limit=4))
    member = open_one(book, "a")
    waiter, second = Waiter("a", 1), Waiter("a", 2)
    assert list(book.wait("a", waiter, 1.0, promised=True)) == []
    (opened,) = book.wait("a", second, 1.0)
    assert isinstance(opened, Open), "one is promised, and two wait"
    assert list(book.give_back(member, 1.01)) == [Grant(waiter, member)]
    assert list(book.opened(opened.member, object(), 1.02)) == [Grant(second, opened.member)]
    assert book.next_deadline(1.03) is None or book.next_deadline(1.03) != 1.0 + LIMITS.keepsake_waits


def test_a_promise_that_is_not_kept_is_over_soon() -> None:
    book = Book(attrs.evolve(LIMITS, limit=4))
    open_one(book, "a")
    assert list(book.wait("a", Waiter("a", 1), 1.0, promised=True)) == []
    due = book.next_deadline(1.0)
    assert due == 1.0 + LIMITS.keepsake_waits
    assert list(book.tick(due - 0.001)) == []
    (opened,) = book.tick(due)
    assert isinstance(opened, Open)
    later = book.next_deadline(due)
    assert later is None or later > due


def test_a_promise_of_another_pool_counts_for_nobody_else() -> None:
    book = Book(attrs.evolve(LIMITS, limit=4))
    open_one(book, "a")
    assert list(book.wait("a", Waiter("a", 1), 1.0, promised=True)) == []
    (opened,) = book.wait("b", Waiter("b"), 1.0)
    assert isinstance(opened, Open)
    assert opened.member.key == "b"


def test_a_member_may_stay_while_nobody_waits_and_it_is_not_to_be_closed() -> None:
    book = Book(attrs.evolve(LIMITS, limit=2, lifetime=100.0))
    one, two = open_one(book, "a"), open_one(book, "a")
    assert book.may_linger(one, 1.0)
    assert not book.may_linger(one, 101.0), "its life is over"
    book.resize(1, 1.0)
    assert not book.may_linger(one, 1.0), "there are too many"
    book.resize(2, 1.0)
    assert book.may_linger(two, 1.0)
    book.wait("a", Waiter("a"), 1.0)
    assert not book.may_linger(one, 1.0), "somebody waits"
    book.drain(1.0)
    assert not book.may_linger(one, 1.0)
    assert not Book(attrs.evolve(LIMITS, grows_when_waiting=False)).may_linger(one, 1.0)
