"""Settings whose names come as parameters: what a Bind says, and how much of it must be there."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres.binding import bound_verdict
from rdsp_codecs.postgres.session_state import inspect

TEXT = inspect(b"SELECT set_config($1, $2, $3), set_config('work_mem', '1', false), set_config($4, 'x', false)")
VALUES = st.none() | st.binary(max_size=20)


def parameters(*values: bytes | None, formats: tuple[int, ...] = ()) -> bytes:
    """A Bind from its formats on."""
    head = struct.pack(f">{len(formats) + 2}H", len(formats), *formats, len(values))
    told = [b"\xff\xff\xff\xff" if value is None else struct.pack(">i", len(value)) + value for value in values]
    return head + b"".join(told) + b"\0\0"


@pytest.mark.parametrize("formats", [(), (1,), (0, 1, 0, 1)])
def test_a_bind_tells_which_settings_a_statement_names(formats: tuple[int, ...]) -> None:
    bound = bound_verdict(TEXT, parameters(b"App.X", b"1", b"f", b"TimeZone", formats=formats), only_ascii=False)

    assert bound.touches == {b"work_mem": b"1", b"app.x": None, b"timezone": None}
    assert (bound.named_by, bound.sets, bound.pins) == (frozenset(), True, ())


def test_no_name_and_too_few_parameters_are_the_servers_to_refuse() -> None:
    assert bound_verdict(TEXT, parameters(None, b"1", b"f", b"a.b"), only_ascii=False).touches.keys() == {
        b"work_mem", b"a.b",
    }  # fmt: skip
    assert bound_verdict(TEXT, parameters(), only_ascii=False).touches.keys() == {b"work_mem"}


def test_seeds_and_paths_pin_as_they_do_in_a_text() -> None:
    bound = bound_verdict(TEXT, parameters(b"SEED", b"1", b"f", b"Search_Path"), only_ascii=False)

    assert [reason for reason, _ in bound.pins] == [PinReason.RANDOM_SEED, PinReason.TEMPORARY_TABLE]


def test_a_name_that_is_perhaps_another_one_in_its_encoding_is_not_told() -> None:
    values = parameters("app.表".encode("shift_jis"), b"1", b"f", b"a.b")

    assert bound_verdict(TEXT, values, only_ascii=True) is TEXT
    assert bound_verdict(TEXT, parameters(b"a.c", None, None, b"a.b"), only_ascii=True) is not TEXT


@given(st.tuples(VALUES, VALUES, VALUES, VALUES), st.data())
def test_a_cut_bind_tells_all_or_nothing(values: tuple[bytes | None, ...], data: st.DataObject) -> None:
    whole = parameters(*values)
    cut = whole[: data.draw(st.integers(0, len(whole)))]

    found = bound_verdict(TEXT, cut, only_ascii=False)

    assert found is TEXT or found == bound_verdict(TEXT, whole, only_ascii=False)
    assert (found is not TEXT) == (len(cut) >= len(whole) - 2)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_bind_or_are_not_told(parameters: bytes) -> None:
    found = bound_verdict(TEXT, parameters, only_ascii=False)

    assert found is TEXT or not found.named_by


@pytest.mark.parametrize(("type_oid", "told"), [(0, True), (25, True), (1043, True), (1042, False), (19, False)])
def test_a_type_that_changes_what_a_name_is_leaves_it_untold(type_oid: int, told: bool) -> None:
    values, types = parameters(b"App.X ", b"1", b"f", b"a.b"), struct.pack(">HIIII", 4, 25, 25, 16, type_oid)

    assert (bound_verdict(TEXT, values, only_ascii=False, types=types) is not TEXT) is told
    assert bound_verdict(TEXT, values, only_ascii=False, types=types[:-1]) is TEXT
