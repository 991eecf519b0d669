"""Storms: many clients, few backends, all kinds of trouble; afterwards all is whole and every answer was true."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.runtime.storm import Weather, storm
from tests.runtime.world import simulate

WEATHERS = st.builds(
    Weather,
    clients=st.integers(1, 25),
    backends=st.integers(1, 4),
    seconds=st.just(40.0),
    think=st.sampled_from([0.05, 1.0, 5.0]),
    kills=st.sampled_from([0.0, 3.0]),
    outages=st.sampled_from([0.0, 15.0]),
    rude=st.sampled_from([0.0, 0.5, 3.0]),
    split=st.sampled_from([0.0, 0.3, 1.0]),
    borrow_timeout=st.sampled_from([1.0, 30.0]),
)


@settings(max_examples=25)
@given(weather=WEATHERS, seed=st.integers(0, 2**16))
def test_after_any_storm_the_pool_is_whole_and_nothing_ran_twice(weather: Weather, seed: int) -> None:
    simulate(storm, weather, seed, seed=seed)


@pytest.mark.parametrize("seed", range(2))
def test_a_calm_day_has_no_errors_at_all(seed: int) -> None:
    answers = simulate(storm, Weather(clients=30, backends=4, rude=0.0, split=0.1), seed, seed=seed)
    assert set(answers) <= {"ok", "57014", "08006"}, answers
    assert answers["ok"] > 200


def test_a_thousand_clients_through_an_hour_of_trouble() -> None:
    """One virtual hour, a thousand clients, twenty database connections, some trouble every few minutes."""
    weather = Weather(
        clients=1000, backends=20, seconds=3600.0, think=900.0, kills=60.0, outages=400.0, rude=1.0, split=0.02
    )
    answers = simulate(storm, weather, 7, seed=7)
    assert answers["ok"] > 3000, answers
    assert answers["57014"] > 20, answers
