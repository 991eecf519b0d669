"""The queue by itself: order, and nothing kept of those who left."""

from __future__ import annotations

import weakref

from hypothesis import given
from hypothesis import strategies as st

from rdsp.pool.key import PoolKey
from rdsp.pool.member import BookLimits
from rdsp.pool.waiting import Queue

LIMITS = BookLimits(limit=1, max_idle=1)


class Waiter:
    """Somebody."""


KEYS = "abcdefg"

steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(KEYS)),
        st.tuples(st.just("remove"), st.integers(0, 99)),
        st.tuples(st.sampled_from(["fails", "forgive"]), st.sampled_from(KEYS)),
    ),
    max_size=200,
)


@given(steps)
def test_the_queue_is_what_a_plain_list_would_be(taken: list[tuple[str, str | int]]) -> None:
    queue, model, failing = Queue(), [], set[str]()
    for number, (what, which) in enumerate(taken):
        if what == "add":
            waiter = Waiter()
            model.append((which, waiter))
            queue.add(which, waiter, float(number), 0.0)
        elif what == "remove" and model:
            waiter = model.pop(int(which) % len(model))[1]
            entry = queue.place_of(waiter)
            assert entry is not None
            assert queue.remove(entry) is waiter
            assert queue.place_of(waiter) is None
        elif what == "fails":
            failing.add(str(which))
            queue.fails(which, float(number), LIMITS)
        elif what == "forgive":
            failing.discard(str(which))
            queue.forgive(which)
        failing &= set(queue.failing._failing)  # a new waiter may have had its key forgiven
        assert [entry.waiter for entry in queue.all] == [waiter for _, waiter in model]
        assert [entry.waiter for entry in queue.line] == [waiter for key, waiter in model if key not in failing]
        first = queue.line.first
        assert (None if first is None else first.waiter) is next(
            (each for key, each in model if key not in failing), None
        )
        for key in KEYS:
            same = [each for other, each in model if other == key]
            assert [entry.waiter for entry in queue.of_key.get(key, ())] == same
            assert (key in queue.of_key) == bool(same)


def test_nothing_is_kept_of_those_who_left_from_the_middle() -> None:
    queue, oldest = Queue(), Waiter()
    queue.add("a", oldest, 0.0, 0.0)
    for number in range(10_000):
        waiter = Waiter()
        queue.add("a", waiter, float(number), 0.0)
        gone = weakref.ref(waiter)
        entry = queue.place_of(waiter)
        assert entry is not None
        queue.remove(entry)
        del waiter
        assert gone() is None
    assert len(queue.all._entries) < 100
    assert [entry.waiter for entry in queue.line] == [oldest]


class Counted:
    """A key that counts how often one is looked at."""

    looks = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        Counted.looks += 1
        return self.number

    def __eq__(self, other: object) -> bool:
        Counted.looks += 1
        return isinstance(other, Counted) and other.number == self.number


def test_a_key_that_fails_costs_no_look_at_all_who_wait_for_others() -> None:
    """A database is down for thousands, each with a key of its own: they step out one after the other."""

    queue, many = Queue(), 2000
    for number in range(many):
        queue.add(Counted(number), Waiter(), float(number), 0.0)
    queue.fails(next(iter(queue.all)).key, 0.0, LIMITS)
    Counted.looks = 0
    for entry in list(queue.line):
        queue.fails(entry.key, 0.0, LIMITS)
    assert not queue.line.count
    assert Counted.looks < 100 * many


def test_a_pools_key_is_a_value() -> None:
    plain, own = PoolKey(("app", "db")), PoolKey(("app", "db"), 7)
    marked = own.marked(frozenset("x"))
    assert plain == PoolKey(("app", "db"))
    assert hash(plain) == hash(PoolKey(("app", "db")))
    assert len({plain, own, marked, PoolKey(("app", "db"), 8), PoolKey(("app", "other"))}) == 5
    assert marked == PoolKey(("app", "db"), 7, frozenset("x"))
    assert marked.base is own
    assert marked.marked(frozenset("y")).base is own
    assert plain.base is plain
    assert marked.marked(None) is own
    assert plain != ("app", "db")
