"""Texts as one session has them inspected: what is remembered of one text is never taken for another's."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.postgres import notable
from rdsp_codecs.postgres.notable import may_matter
from rdsp_codecs.postgres.session_state import HARMLESS, inspect
from rdsp_codecs.postgres.texts import DIGITS_ALIKE, Texts

WORDS = [
    *(
        "select ",
        "SET x = ",
        "; set a to ",
        "/**/set ",
        "; do ",
        "-- ",
        "\n",
        "\t set ",
        "execute",
        "'",
        '"',
        '&"',
        "$$",
    ),
    *(
        "set_config(",
        "set_conf1g(",
        "pg_advisory_lock",
        "pg_advisory_unlock(",
        "currval(",
        "lastval(",
        "setseed(",
        "temp",
    ),
    *("temp1", "temporary ", "1temp", "pg_temp", "pg_temp_3", "pg_settings", "crosstab2(", "crosstab3(", "crosstab7("),
    *(
        "into ",
        "drop ",
        "database ",
        "rename ",
        "into temp ",
        "x",
        "se1t ",
        "0",
        "7",
        "42",
        "$1",
        " ",
        ";",
        "(",
        ")",
        "é",
        "_",
        "where a = ",
    ),
]
texts = st.lists(st.sampled_from(WORDS) | st.text(alphabet="0189;-se t", max_size=3), max_size=12).map(
    lambda words: "".join(words).encode()
)


@given(texts)
def test_digits_are_alike_for_the_prefilter(text: bytes) -> None:
    assert may_matter(text) == may_matter(text.translate(DIGITS_ALIKE))


def test_no_digit_stands_in_the_prefilters_patterns_by_itself() -> None:
    for search in (notable.HIT, notable._HIT_BEHIND_LINE_COMMENT, notable._VACATES):
        pattern: bytes = search.__self__.pattern  # type: ignore[attr-defined]
        assert re.search(rb"[0-9]", pattern.replace(rb"a-z0-9", b"").replace(rb"\x80-\xff", b"")) is None


@given(st.lists(texts, max_size=6), st.booleans(), st.booleans())
def test_what_is_remembered_of_other_texts_changes_no_verdict(
    several: list[bytes], escapes: bool, unsafe: bool
) -> None:
    session = Texts(debug_text=False)
    session.parameter("standard_conforming_strings", "off" if escapes else "on")
    session.parameter("client_encoding", "SJIS" if unsafe else "UTF8")

    for text in several + several:
        fresh = inspect(text, escapes=escapes, multibyte_unsafe=unsafe)
        found = session.inspect(text)
        assert found == fresh
        assert (found is HARMLESS) == (fresh is HARMLESS)


def test_functions_that_differ_in_a_digit_are_not_taken_for_each_other() -> None:
    session = Texts(debug_text=False)
    other, runner = (b"select * from crosstab%d('select 1; set x = 1')" % number for number in (7, 2))

    for _ in range(2):
        assert session.inspect(other) == inspect(other)
        assert session.inspect(runner) == inspect(runner)
    assert inspect(other) != inspect(runner)


def test_a_text_with_other_values_is_inspected_once() -> None:
    session = Texts(debug_text=False)
    assert session.inspect(b"update t set a = a + 17 where b = 4") is HARMLESS
    assert session.inspect(b"update t set a = a + 99 where b = 5") is HARMLESS
    assert session.inspect(b"update t set a = a + 99 where b = 5; set x = 1") is not HARMLESS


def test_what_leaves_the_encoding_safe_is_known() -> None:
    texts = Texts(debug_text=False)
    zones = (b"SET LOCAL TIME ZONE 'Europe/Rome'", b"SET TIME ZONE INTERVAL '1' HOUR", b"RESET TIME ZONE")
    for text in (*zones, b"SET NAMES 'LATIN1'", b"set names", b"SET NAMES DEFAULT", b"set session names 'UTF8'"):
        texts.goes(texts.inspect(text))
        assert not texts.inspect("SET application_name = 'é'".encode()).pins
    texts.goes(texts.inspect(b"SET NAMES 'SJIS'"))
    assert texts.inspect("SET application_name = 'é'".encode()).pins


@pytest.mark.parametrize(
    ("text", "ends", "runs"),
    [
        (b"DEALLOCATE a; EXECUTE b", {b"a"}, {b"b"}),
        (b'EXECUTE a(1); DEALLOCATE PREPARE "A"', {b"A"}, {b"a"}),
        (b"DEALLOCATE a; PREPARE a AS SELECT 1; EXECUTE a", {b"a"}, set()),
        (b"EXECUTE a; DEALLOCATE a", {b"a"}, {b"a"}),
        (b"CREATE TABLE t AS EXECUTE a; EXPLAIN EXECUTE b", set(), {b"a", b"b"}),
        (b"PREPARE a AS SELECT 1", set(), set()),
    ],
)
def test_what_is_executed_is_told_from_what_is_dropped(text: bytes, ends: set[bytes], runs: set[bytes]) -> None:
    verdict = inspect(text)
    assert (verdict.ends, verdict.runs) == (ends, runs)
    assert verdict.names is not None
    assert verdict.names >= verdict.ends | verdict.runs | verdict.makes
