"""Durations and sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp.config.units import BadValue, parse_duration, parse_size, show_duration, show_size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (0, 0),
        (30, 30),
        (1.5, 1.5),
        ("30", 30),
        ("30s", 30),
        ("5m", 300),
        ("24h", 86400),
        ("500ms", 0.5),
        ("2 d", 172800),
    ],
)
def test_a_duration_is_read_in_its_unit(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    "written",
    [
        True,
        None,
        [],
        {},
        "",
        "s",
        "five",
        "5x",
        "5 m s",
        "-5s",
        "1e3",
        float("nan"),
        float("inf"),
        "٣s",
        10**400,
        "9" * 400,
    ],
)
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(BadValue):
        parse_duration(written)


@given(st.integers(0, 10**9).map(lambda ms: ms / 1000))
def test_a_duration_survives_being_shown(seconds: float) -> None:
    assert parse_duration(show_duration(seconds)) == pytest.approx(seconds, rel=1e-5)


@given(st.integers(0, 2**40))
def test_a_size_survives_being_shown(size: int) -> None:
    assert parse_size(show_size(size)) == size


@pytest.mark.parametrize(
    ("written", "size"), [(1, 1), ("1", 1), ("16KiB", 16384), ("1.5 MiB", 1572864), ("1GiB", 1 << 30)]
)
def test_a_size_is_read_in_its_unit(written: object, size: int) -> None:
    assert parse_size(written) == size


@pytest.mark.parametrize("written", [True, 1.0, None, [], "", "KiB", "1kb", "1.0001KiB", "-1"])
def test_what_is_no_size_is_refused(written: object) -> None:
    with pytest.raises(BadValue):
        parse_size(written)


@given(st.text() | st.integers() | st.floats() | st.booleans() | st.none() | st.binary())
def test_anything_at_all_is_read_or_refused_and_nothing_else(written: object) -> None:
    for parse in (parse_duration, parse_size):
        try:
            assert parse(written) is not None
        except BadValue as error:
            assert str(error)
