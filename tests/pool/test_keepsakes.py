"""What a session leaves on a member for itself: who gets that, and when. `test_book_rules` has it with all else."""

from __future__ import annotations

import attrs

from rdsp.pool.book import Book, Close, CloseReason, Grant, Member, Open, OpenFailure
from rdsp_codecs.relaying import Keepsake
from tests.pool.test_book import LIMITS, Waiter, open_one


def kept(book: Book, key: str, now: float, *, worth: bool = True) -> tuple[Member, Keepsake]:
    """A member that somebody has left something on, at that time."""
    member, keepsake = open_one(book, key, now), Keepsake()
    member.keepsake, keepsake.worth = keepsake, worth
    book.give_back(member, now)
    return member, keepsake


def test_a_keepsake_leads_to_its_member() -> None:
    book = Book(attrs.evolve(LIMITS, limit=4))
    members = [open_one(book, "a") for _ in range(4)]
    mine = Keepsake()
    members[1].keepsake = mine
    for member in members:
        book.give_back(member, 1.0)
    assert book.take("a", 2.0, None, mine) is members[1], "also one that is of no worth to others"
    assert book.take("a", 2.0, None, mine) is members[3], "it is borrowed: any other will do"
    book.give_back(members[1], 3.0)
    assert book.take("b", 3.0, None, mine) is None, "it is of another pool"
    book.gone(members[1], 3.0)
    assert mine.place is None
    assert book.take("a", 4.0, None, mine) is members[2]


def test_others_take_what_nobody_has_left_anything_on_and_then_the_oldest() -> None:
    book = Book(attrs.evolve(LIMITS, limit=3))
    one, two, three = (open_one(book, "a") for _ in range(3))
    one.keepsake, two.keepsake = Keepsake(), Keepsake()
    one.keepsake.worth = two.keepsake.worth = True
    for at, member in enumerate((three, one, two)):
        book.give_back(member, float(at))
    assert [book.take("a", 2.0) for _ in range(4)] == [three, one, two, None]


def test_a_young_keepsake_is_worth_one_more_member() -> None:
    book = Book(LIMITS)
    member, keepsake = kept(book, "a", 1.0)
    assert book.take("a", 1.5) is None
    (opening,) = book.wait("a", Waiter("a", 1), 1.5)
    assert isinstance(opening, Open)
    (grant,) = book.opened(opening.member, object(), 1.55)
    assert isinstance(grant, Grant)
    assert book.take("a", 1.6) is member, "there is no room any more"
    member.keepsake = keepsake
    book.give_back(member, 2.0)
    assert book.take("a", 2.1, None, keepsake) is member


def test_an_old_keepsake_is_worth_none() -> None:
    book = Book(LIMITS)
    member, _ = kept(book, "a", 1.0)
    assert book.take("a", 1.0 + LIMITS.keepsake_stays) is member


def test_nobody_waits_for_long_for_a_keepsake() -> None:
    book = Book(attrs.evolve(LIMITS, limit=3))
    member, _ = kept(book, "a", 1.0)
    waiter = Waiter("a", 1)
    (opening,) = book.wait("a", waiter, 1.5)
    assert isinstance(opening, Open)
    due = book.next_deadline(1.5)
    assert due == 1.5 + LIMITS.keepsake_waits
    assert list(book.tick(due)) == [Grant(waiter, member)]


def test_a_member_that_comes_back_with_a_keepsake_is_not_handed_on_while_another_is_opened() -> None:
    book = Book(attrs.evolve(LIMITS, limit=3))
    member, keepsake = kept(book, "a", 1.0)
    assert book.take("a", 1.1, None, keepsake) is member
    waiter = Waiter("a", 1)
    (opening,) = book.wait("a", waiter, 1.5)
    assert isinstance(opening, Open)

    member.keepsake = keepsake
    assert book.hand_over(member, 1.52) is None
    assert list(book.give_back(member, 1.52)) == []
    assert book.next_deadline(1.52) == 1.5 + LIMITS.keepsake_waits
    assert book.take("a", 1.53, None, keepsake) is member, "its own session finds it"

    member.keepsake = keepsake
    assert list(book.give_back(member, 1.6)) == [Grant(waiter, member)], "nobody waits for long for it"


def test_a_member_that_comes_back_with_a_keepsake_is_handed_on_where_no_other_can_be_had() -> None:
    book = Book(attrs.evolve(LIMITS, limit=1))
    member, keepsake = kept(book, "a", 1.0)
    assert book.take("a", 1.1, None, keepsake) is member
    waiter = Waiter("a", 1)
    assert list(book.wait("a", waiter, 1.5)) == []

    member.keepsake = keepsake
    assert book.hand_over(member, 1.5) is waiter


def test_nobody_waits_for_an_open_that_fails_while_one_is_kept() -> None:
    book = Book(attrs.evolve(LIMITS, limit=3))
    member, _ = kept(book, "a", 1.0)
    waiter = Waiter("a", 1)
    (opening,) = book.wait("a", waiter, 1.5)
    assert isinstance(opening, Open)
    assert list(book.open_failed(opening.member, 1.51, OpenFailure.UNREACHABLE)) == [Grant(waiter, member)]


def test_who_waits_is_given_a_kept_one_when_its_session_ends() -> None:
    book = Book(attrs.evolve(LIMITS, limit=3))
    member, keepsake = kept(book, "a", 1.0)
    other, another = kept(book, "b", 1.0)
    waiter = Waiter("a", 1)
    (opening,) = book.wait("a", waiter, 1.5)
    assert isinstance(opening, Open)
    assert list(book.forget(another)) == []
    assert list(book.forget(keepsake)) == [Grant(waiter, member)]
    assert book.take("b", 1.6) is other


def test_who_may_not_wait_takes_a_kept_one() -> None:
    book = Book(attrs.evolve(LIMITS, limit=3))
    member, _ = kept(book, "a", 1.0)
    book.reconfigure(attrs.evolve(LIMITS, limit=3, grows_when_waiting=False, wait_timeout=0.0), 1.1)
    assert book.take("a", 1.2) is member


def test_a_kept_member_gives_way_to_another_pool_after_the_others() -> None:
    book = Book(attrs.evolve(LIMITS, limit=2))
    member, _ = kept(book, "a", 1.0)
    other = open_one(book, "b", 1.0)
    book.give_back(other, 2.0)
    assert list(book.wait("c", Waiter("c", 1), 3.0)) == [Close(other, CloseReason.MAKE_ROOM)]
    book.gone(other, 3.0)
    assert list(book.wait("d", Waiter("d", 2), 3.0)) == [Close(member, CloseReason.MAKE_ROOM)]


def test_a_keepsake_goes_with_its_session() -> None:
    book = Book(attrs.evolve(LIMITS, limit=3))
    member, keepsake = kept(book, "a", 1.0)
    later = open_one(book, "a", 1.0)
    book.give_back(later, 2.0)
    book.forget(keepsake)
    assert keepsake.place is None
    assert member.keepsake is None
    assert [book.take("a", 2.0) for _ in range(3)] == [later, member, None], "it stands where it was"
    book.forget(keepsake)
    book.forget(Keepsake())
