"""Which settings decide what a text's constants are, and what a context of settings says of them."""

from __future__ import annotations

import pytest

from rdsp_codecs.postgres import constants as c
from rdsp_codecs.postgres.settings import FIXED_BY, LOOKED_UP_BY, KnownSettings

DATES = {
    b"datestyle", b"intervalstyle", b"timezone", b"timezone_abbreviations", b"lc_monetary", b"array_nulls", b"xmloption"
}  # fmt: skip
STRINGS = {b"standard_conforming_strings", b"backslash_quote"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"SELECT a + 1 FROM t WHERE b = $1", set()),
        (b"COMMIT", set()),
        (b"SELECT '1.2.2020'::date", DATES),
        (b"SELECT $$1.2.2020$$::date", DATES),
        (b"SELECT $a$1.2.2020$a$::date", DATES),
        (b"SELECT E'a\\'b'", DATES | STRINGS),
        (b"SELECT U&'a!0041' UESCAPE '!'", DATES | STRINGS),
        (b"SELECT a = NuLL FROM t", {b"transform_null_equals"}),
        ("SELECT 1 AS \u00e9".encode(), {b"client_encoding"}),
        (b"SELECT 'now'::timestamp", DATES | {c.CLOCK}),
    ],
)
def test_what_a_text_has_is_read_by_which_settings(text: bytes, expected: set[bytes]) -> None:
    assert c.fixed_by(text) == expected
    assert c.fixed_by(text) <= FIXED_BY | {c.CLOCK}


def test_a_text_that_is_looked_into_when_it_runs_is_only_cut_into_tokens() -> None:
    assert c.fixed_by(b"EXECUTE p('1.2.2020', null)", utility=True) == set()
    assert c.fixed_by(b"EXECUTE p(E'\\n')", utility=True) == STRINGS


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 'now'::timestamptz",
        b"SELECT ' NOW '::timestamptz",
        b"SELECT date 'today', 1",
        b"SELECT 'tomorrow 10:00 Europe/Berlin'::timestamptz",
        b"SELECT '[yesterday,tomorrow)'::daterange",
        b"SELECT '{\"today\"}'::date[]",
        b"SELECT $$now$$::timestamp",
        b"SELECT E'now'::timestamp",
        b"SELECT E'\\'', 'now'::timestamp",
        b"SELECT 'it\\'s', 'today'::date",
        b"SELECT now() - 'today'::date",
        b"SELECT '12:00'::timetz",
        b"SELECT time (3) with time zone '12:00'",
    ],
)
def test_constants_that_are_the_moment_are_found(text: bytes) -> None:
    assert c.tells_time(text)


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT now()",
        b"SELECT now () - '1 day'::interval, 'known'",
        b"SELECT 'snow', 'nowhere', today FROM yesterday",
        b"SELECT 'what is today?', 'now; then', 'right now!'",
        b"SELECT 1 -- today's",
        b"SELECT '" + b"x" * 300 + b" today'",
        b"SELECT '12:00'::time, '2020-01-01 12:00'::timestamptz, timestamp with time zone '2020-01-01'",
        b"SELECT a::timetz, 'a' FROM times",
    ],
)
def test_other_words_are_not(text: bytes) -> None:
    assert not c.tells_time(text)


def test_a_context_says_what_it_knows() -> None:
    known = KnownSettings()
    one = known.of({b"datestyle": b"SET datestyle = 'iso, dmy'", b"work_mem": b"SET work_mem = 1"}).context
    doubted = c.doubted(one, {b"timezone"}, 1)
    other = c.doubted(one, {c.EVERYTHING}, 2)
    own = c.owned(doubted, 3)

    assert c.said(one, b"datestyle") == c.said(doubted, b"datestyle") == c.said(own, b"datestyle")
    assert c.said(one, b"timezone") is None
    assert c.said(doubted, b"timezone") == c.said(own, b"timezone") == c.UNKNOWN
    assert c.said(other, b"datestyle") == c.said(one, c.CLOCK) == c.UNKNOWN
    assert c.differing(one, doubted, FIXED_BY) == c.differing(doubted, doubted, FIXED_BY) == [b"timezone"]
    assert c.differing(one, other, LOOKED_UP_BY) == sorted(LOOKED_UP_BY)
    assert c.known(doubted, LOOKED_UP_BY)
    assert not c.known(doubted, FIXED_BY)
    assert not c.is_owned(one)
    assert len({one, doubted, other, own, c.doubted(one, {b"timezone"}, 4)}) == 5


def test_a_setting_is_set_for_the_transaction_as_it_was_for_the_session() -> None:
    assert c.local(b"timezone", b"SET TIME ZONE 5") == b"SET LOCAL TIME ZONE 5"
    statement = b"SELECT pg_catalog.set_config(E'a', E', false)', false)"
    assert c.local(b"a", statement) == b"SELECT pg_catalog.set_config(E'a', E', false)', true)"
    assert c.local(b"a", None) == b"SELECT pg_catalog.set_config(E'a', NULL, true)"


def test_who_one_is_comes_first_and_the_encoding_last() -> None:
    names = [b"client_encoding", b"array_nulls", b"role", b"timezone"]

    assert c.in_order(names) == [b"session_authorization", b"role", b"array_nulls", b"timezone", b"client_encoding"]
