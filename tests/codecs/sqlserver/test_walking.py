"""The walk over tokens finds the same ones however they come, and nothing in rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.errors import FrameTooBig, WireError
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import tokens as t
from rdsp_codecs.sqlserver import types as y
from rdsp_codecs.sqlserver.values import Reader, integer
from rdsp_codecs.sqlserver.walking import TokenWalker
from tests.codecs.sqlserver.strategies import NOTES, OTHERS, TYPES, columns, results, values

ROWS = (k.ROW, k.NBCROW)


def in_pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in zip(places, places[1:], strict=False)]


@pytest.mark.parametrize("old", [False, True])
@given(data=st.data())
def test_every_token_is_found_however_it_is_cut(old: bool, data: st.DataObject) -> None:
    parts = data.draw(results(old=old)) + ([] if old else data.draw(st.lists(OTHERS, max_size=4)))
    parts += data.draw(results(old=old))
    whole = b"".join(parts)
    walker = TokenWalker(old=old)
    found: list[tuple[int, bytes]] = []
    for piece in in_pieces(whole, data.draw(st.lists(st.integers(0, len(whole)), max_size=20))):
        found += walker.feed(piece)
    assert found == [(part[0], part) for part in parts if part[0] not in ROWS]
    assert walker.between


@given(data=st.data())
def test_a_row_holds_whatever_its_values_hold(data: st.DataObject) -> None:
    """The end of a transaction, as a value."""
    forged = t.env_change(k.ENV_COMMIT_TRANSACTION, b"", bytes(8)) + t.done(t.Done())
    them = (y.Column("a", y.TypeInfo(y.BIGVARBIN, 8000)), *data.draw(columns()))
    row = integer(len(forged), 2) + forged + b"".join(data.draw(values(one.info)) for one in them[1:])
    whole = bytes((k.COLMETADATA,)) + y.columns(them, old=False) + (bytes((k.ROW,)) + row) * 3 + t.done(t.Done())
    walker = TokenWalker()
    found = [one for at in range(0, len(whole), 7) for one in walker.feed(whole[at : at + 7])]
    assert [token for token, _ in found] == [k.COLMETADATA, k.DONE]


@given(st.data(), TYPES)
def test_a_value_is_passed_over_to_its_end(data: st.DataObject, info: y.TypeInfo) -> None:
    for parameter in (False, True):
        value = data.draw(values(info, parameter=parameter))
        reader = Reader(value + b"x", "value")
        y.skip_value(reader, info, parameter=parameter)
        assert reader.left == 1


@given(columns(), st.booleans())
def test_columns_are_read_as_they_were_written(them: tuple[y.Column, ...], old: bool) -> None:
    if old:
        them = tuple(y.Column(one.name, one.info, 9, 0, one.table[:1]) for one in them)
    reader = Reader(y.columns(them, old=old), "COLMETADATA")
    assert y.read_columns(reader, old=old) == them
    assert not reader.left


@given(NOTES, st.booleans())
def test_notes_are_read_as_they_were_written(note: t.Note, old: bool) -> None:
    data = t.note(note, old=old)
    assert data[0] == (k.ERROR if note.severity > 10 else k.INFO)
    assert t.read_note(data, old=old) == note


@given(st.binary(max_size=200))
def test_whatever_comes_it_is_a_wire_error_or_nothing(data: bytes) -> None:
    try:
        list(TokenWalker().feed(data))
    except WireError:
        pass


def test_a_response_ends_between_tokens() -> None:
    walker = TokenWalker()
    assert list(walker.feed(t.done(t.Done()))) != []
    walker.begin()
    assert list(walker.feed(t.done(t.Done())[:-1])) == []
    assert not walker.between
    with pytest.raises(WireError, match="within a token"):
        walker.begin()


def test_a_token_that_is_shown_has_a_most() -> None:
    with pytest.raises(FrameTooBig):
        list(TokenWalker(most=100).feed(t.note(t.Note(1, 1, 16, "x" * 100))))


def test_routing_is_read() -> None:
    for database in ("", "d"):
        change = t.read_env_change(t.routing(1434, "elsewhere", database))
        assert t.read_routing(change.new) == ("elsewhere", 1434, database)
