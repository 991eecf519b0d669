"""Which requests do nothing but change settings that no backend takes any longer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.postgres.mending import first_request, mended, needless, without
from rdsp_codecs.postgres.session_state import HARMLESS
from rdsp_codecs.postgres.setting_text import EVERYTHING
from rdsp_codecs.postgres.settings import AUTHORIZATION, ROLE, Settings
from rdsp_codecs.postgres.statements import Statement
from tests.servers.rawclient import FLUSH, SYNC, bind, close, describe, execute, parse, query

NAMED = {name: Statement(text, b"\0\0", HARMLESS) for name, text in ((b"r", b"RESET ROLE"), (b"s", b"SELECT 1"))}
RESET = parse("", "RESET ROLE") + bind() + execute()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("RESET ROLE", {ROLE}),
        ("set\tRole 'a b' ;", {ROLE}),
        ("RESET SESSION  authorization", {ROLE, AUTHORIZATION}),
        ("SET SESSION AUTHORIZATION DEFAULT", {ROLE, AUTHORIZATION}),
        ('SET SESSION AUTHORIZATION "a"', {ROLE, AUTHORIZATION}),
        ("DISCARD ALL;", {EVERYTHING, ROLE, AUTHORIZATION}),
        ("RESET ALL", {EVERYTHING}),
        ("SET work_mem = 5", {b"work_mem"}),
        ("SET LOCAL ROLE bob", set()),
        ("SET LOCAL SESSION AUTHORIZATION bob", set()),
        ("SET SESSION AUTHORIZATION a; SELECT 1", set()),
        ("RESET ROLE; SELECT 1", set()),
        ("DISCARD ALL; SELECT 1", set()),
        ("SET SESSION AUTHORIZATION", set()),
        ("BEGIN", set()),
        ("", set()),
    ],
)
def test_what_a_text_sets_whatever_it_was(text: str, names: set[bytes]) -> None:
    assert mended(text.encode()) == names


@pytest.mark.parametrize("text", [b"UNLISTEN *", b" unlisten*;", b"RESET ROLE", b"DISCARD ALL"])
def test_what_no_role_matters_for(text: bytes) -> None:
    assert needless(text) >= {ROLE} | mended(text)


@pytest.mark.parametrize("text", [b"UNLISTEN news", b"UNLISTEN *; SELECT 1", b"LISTEN news", b"SELECT 1", b""])
def test_what_a_role_may_matter_for(text: bytes) -> None:
    assert not needless(text)


def test_without_everything_a_session_is_still_who_it_is() -> None:
    settings = Settings({ROLE: b"a", AUTHORIZATION: b"b", b"work_mem": b"c", b"app.x": b"d"})

    assert without(settings, frozenset({EVERYTHING})).keys() == {ROLE, AUTHORIZATION, b"app.x"}
    assert without(settings, frozenset({ROLE})).keys() == {AUTHORIZATION, b"work_mem", b"app.x"}
    assert without(settings, frozenset()) == settings.statements


@pytest.mark.parametrize("behind", [b"", query("SELECT 1"), b"Q", RESET])
@pytest.mark.parametrize(
    "request_",
    [
        query("RESET ROLE"),
        RESET + SYNC,
        parse("r", "RESET ROLE") + describe("S", "r") + SYNC,
        bind("p", "r") + describe("P", "p") + execute("p") + SYNC,
        parse("s", "RESET ROLE") + bind("", "s") + execute() + bind("", "r") + execute() + SYNC,
    ],
)
def test_a_request_of_one_text_is_found(request_: bytes, behind: bytes) -> None:
    assert first_request(request_ + behind, NAMED, None) == (b"RESET ROLE", len(request_))
    for size in range(len(request_)):
        assert first_request(request_[:size], NAMED, None) == (b"", 0)


@pytest.mark.parametrize(
    "request_",
    [
        SYNC,
        FLUSH + RESET + SYNC,
        RESET + close("S", "r") + SYNC,
        RESET + query("SELECT 1"),
        RESET + bind("", "s") + execute() + SYNC,
        bind("", "s") + execute() + RESET + SYNC,
        RESET + bind("", "unknown") + execute() + SYNC,
        parse("r", "SELECT 1") + bind("", "r") + execute() + RESET + SYNC,
        bind() + execute() + SYNC,
    ],
)
def test_a_request_of_more_is_not(request_: bytes) -> None:
    assert first_request(request_, NAMED, None) == (b"", 0)


@given(st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([RESET, SYNC, query("RESET ROLE")]))).map(b"".join))
def test_any_bytes_can_be_looked_at(data: bytes) -> None:
    text, size = first_request(data, NAMED, None)

    assert size <= len(data)
    assert text in data[:size] or not size
