from __future__ import annotations

import math
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from rdsp.observe.counters import Counters
from rdsp.observe.statistics import GAUGES, WAIT_BUCKETS, Statistics
from rdsp.pool.member import BookStatistics
from rdsp_codecs.pins import PinReason
from rdsp_codecs.problems import ProblemCode

_WHOLE = st.integers(0, 10**6)
_BY_NAME = st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(1, 10**6))
_BINS = st.tuples(*[_WHOLE] * (len(WAIT_BUCKETS) + 1))


@st.composite
def snapshots(draw: st.DrawFn) -> Statistics:
    special: dict[str, Any] = {
        "wait_histogram": _BINS,
        "pins": _BY_NAME,
        "errors": _BY_NAME,
        # quarters add up exactly
        "wait_seconds": _WHOLE.map(lambda n: n / 4),
    }
    return Statistics(**{f.name: draw(special.get(f.name, _WHOLE)) for f in attrs.fields(Statistics)})


@given(snapshots(), snapshots(), snapshots())
def test_snapshots_add_up_in_any_order(a: Statistics, b: Statistics, c: Statistics) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Statistics() == a


@given(snapshots(), snapshots())
def test_since_takes_back_what_was_added_and_keeps_what_is_now(before: Statistics, happened: Statistics) -> None:
    now = before + happened
    difference = now.since(before)
    for field in attrs.fields(Statistics):
        name = field.name
        assert getattr(difference, name) == getattr(now if name in GAUGES else happened, name), name


def test_every_gauge_is_a_field() -> None:
    assert {field.name for field in attrs.fields(Statistics)} >= GAUGES


def test_a_snapshot_holds_what_the_counters_and_the_book_say() -> None:
    counters = Counters()
    counters.logins, counters.pinned_sessions = 2, 1
    counters.requests, counters.transactions, counters.borrows = 9, 8, 7
    counters.waited(0.003)
    counters.waited(90.0)
    counters.pinned(PinReason.LISTEN)
    counters.failed(ProblemCode.BORROW_TIMEOUT)
    counters.failed(ProblemCode.BORROW_TIMEOUT)
    book = BookStatistics(
        limit=20,
        opening=1,
        idle=2,
        borrowed=3,
        resetting=4,
        closing=5,
        waiting=6,
        opened=30,
        open_failures=31,
        closed=32,
    )
    assert counters.snapshot(clients=50, book=book) == Statistics(
        clients=50,
        logins=2,
        waiting=6,
        backends=15,
        opening=1,
        idle=2,
        borrowed=3,
        resetting=4,
        closing=5,
        limit=20,
        pinned=1,
        requests=9,
        transactions=8,
        borrows=7,
        waits=2,
        wait_seconds=90.003,
        opened=30,
        open_failures=31,
        closed=32,
        wait_histogram=(0, 1, 0, 0, 0, 0, 0, 0, 1),
        pins={"listen": 1},
        errors={"pool.borrow_timeout": 2},
    )


def test_a_snapshot_does_not_follow_its_counters() -> None:
    counters = Counters()
    before = counters.snapshot(clients=0, book=BookStatistics())
    counters.waited(0.5)
    counters.pinned(PinReason.LISTEN)
    counters.failed(ProblemCode.INTERNAL)
    assert before == Statistics()


@given(st.lists(st.floats(0, 200), max_size=40), _WHOLE)
def test_the_share_of_borrows_within_a_time_is_an_upper_bound(waits: list[float], without: int) -> None:
    counters = Counters()
    counters.borrows = len(waits) + without
    for seconds in waits:
        counters.waited(seconds)
    statistics = counters.snapshot(clients=0, book=BookStatistics())
    for share in (0.5, 0.9, 0.99, 1.0):
        bound = statistics.borrow_seconds(share)
        within = without + sum(1 for seconds in waits if seconds <= bound)
        assert within >= share * statistics.borrows - 1e-6
        edges = [0.0, *WAIT_BUCKETS, math.inf]
        if bound > 0:
            lower = edges[edges.index(bound) - 1]
            tighter = without + sum(1 for seconds in waits if 0 < seconds <= lower)
            assert tighter < share * statistics.borrows + 1e-6


def test_the_mean_counts_borrows_without_a_wait_as_none() -> None:
    assert Statistics().mean_borrow_seconds == 0.0
    assert Statistics(borrows=4, waits=1, wait_seconds=2.0).mean_borrow_seconds == 0.5
