"""Where a query's text begins behind its attributes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.mysql.attributes import text_of
from rdsp_codecs.mysql.values import lenenc, lenenc_integer

VALUES = st.one_of(
    st.none(),
    st.tuples(st.sampled_from([0x0F, 0xF6, 0xFC, 0xFD, 0xFE]), st.binary(max_size=300).map(lenenc)),
    st.tuples(st.sampled_from([1, 0x8001]), st.binary(min_size=1, max_size=1)),
    st.tuples(st.just(2), st.binary(min_size=2, max_size=2)),
    st.tuples(st.sampled_from([3, 4, 0x8003]), st.binary(min_size=4, max_size=4)),
    st.tuples(st.sampled_from([5, 8, 0x8008]), st.binary(min_size=8, max_size=8)),
    st.tuples(st.sampled_from([7, 10, 11, 12]), st.binary(max_size=12).map(lambda data: bytes((len(data),)) + data)),
)


def body(values: list[tuple[int, bytes] | None], names: bytes, text: bytes) -> bytes:
    """As a client writes it."""
    head = lenenc_integer(len(values)) + b"\1"
    if not values:
        return head + text
    nulls = sum(1 << at for at, value in enumerate(values) if value is None)
    head += nulls.to_bytes((len(values) + 7) // 8, "little") + b"\1"
    kinds = [(6 if value is None else value[0]).to_bytes(2, "little") + lenenc(names) for value in values]
    return head + b"".join(kinds) + b"".join(value[1] for value in values if value is not None) + text


@given(values=st.lists(VALUES, max_size=20), names=st.binary(max_size=20), text=st.binary(max_size=50))
def test_the_text_is_found_behind_any_attributes(
    values: list[tuple[int, bytes] | None], names: bytes, text: bytes
) -> None:
    assert text_of(body(values, names, text)) == text


@given(data=st.binary(max_size=60))
def test_nothing_else_than_an_answer_comes_of_any_bytes(data: bytes) -> None:
    assert text_of(data) is None or data.endswith(text_of(data) or b"")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\1",
        b"\0\2SELECT 1",
        b"\1\1\0\0SELECT 1",
        body([(0x0D, b"ab")], b"n", b"SELECT 1"),
        body([(6, b"")], b"n", b"SELECT 1"),
        body([(0x0103, b"abcd")], b"n", b"SELECT 1"),
        body([(10, b"\x0d" + bytes(13))], b"n", b"SELECT 1"),
        body([(0xFD, b"\x05ab")], b"n", b""),
    ],
)
def test_what_is_not_sure_is_not_guessed(data: bytes) -> None:
    assert text_of(data) is None
