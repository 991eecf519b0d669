"""Digests: what they look like, and that no literal ever shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.postgres.digest import digest


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT * FROM T WHERE a = 'x' AND b = 12.5", "select * from t where a = $1 and b = $2"),
        ("SELECT  1\n\t,2", "select $1 ,$2"),
        ("SELECT 1 -- why\n + /* what */ 2", "select $1 + $2"),
        ("/* first */ SELECT 1 /* last */", "select $1"),
        ("SELECT/**/1", "select $1"),
        ('SELECT "Name", "Two\nLines"', 'select "Name", "Two Lines"'),
        ("SELECT $1, $2, 3", "select $1, $2, $3"),
        ("SELECT $$a$$, $b$c$b$, E'\\'', B'1', U&'x'", "select $1, $2, $3, $4, $5"),
        ("SET app.token = Secret", "set app.token = $1"),
        ("SET x TO a, 'b'; SELECT c", "set x to $1, $2; select c"),
        ("UPDATE t SET a = b", "update t set a = b"),
        ("SELECT 'open", "select $1..."),
        ("SELECT 1 /* open", "select $1 $2..."),
        ("SELECT É", "select É"),
        ("", ""),
    ],
)
def test_a_digest_is_the_text_in_lower_case_without_values(text: str, expected: str) -> None:
    assert digest(text.encode()) == expected


def test_a_digest_is_cut_at_its_limit() -> None:
    assert digest(b"SELECT aaaaaaaaaa", 10) == "select ..."
    assert digest(b"SELECT aaa", 10) == "select aaa"
    assert len(digest(b"SELECT " + b"a, " * 100_000)) == 512
    assert len(digest(b'"' + b"x" * 1_000_000 + b'"')) == 512


def test_bytes_that_are_no_text_and_control_characters_do_not_reach_a_log() -> None:
    assert digest(b'SELECT \xff, "\x1b[2J"') == 'select \ufffd, " [2J"'


def test_a_literal_whose_end_depends_on_a_setting_ends_the_digest() -> None:
    text = rb"SELECT 'a\', secret, 'b' -- '"

    assert digest(text) == "select $1..."
    assert digest(text, escapes=False) == "select $1, secret, $2"
    assert digest(rb"SELECT 'a\', secret, ', b", escapes=True) == "select $1, b"
    assert digest("SELECT E'表', 'secret'".encode("shift_jis")) == "select $1..."
    assert digest(rb"SELECT E'\\', b") == "select $1, b"


SECRET = "QzSecretQz"
inside = st.lists(st.sampled_from([SECRET, "a", " ", "\\", "'", '"', "$", "\n", "--", "/*", ";", "é"]), max_size=6).map(
    lambda parts: "".join([*parts, SECRET])
)


def _quote(style: str, value: str) -> str:
    doubled = value.replace("'", "''")
    return {
        "plain": f"'{doubled}'",
        "escaped": "E'" + doubled.replace("\\", "\\\\") + "'",
        "backslashed": "E'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'",
        "unicode": f"U&'{doubled}'",
        "national": f"N'{doubled}'",
        "continued": f"'a'\n'{doubled}'",
        "dollar": f"$q${value}$q$",
        "comment": f"/*{value.replace('/*', '').replace('*/', '')}*/",
        "line": f"--{value.replace(chr(10), ' ')}\n",
        "nonconforming": "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'",
    }[style]


STYLES = ["plain", "escaped", "backslashed", "unicode", "national", "continued", "dollar", "comment", "line"]


@given(st.lists(st.tuples(st.sampled_from([*STYLES, "nonconforming"]), inside), max_size=6), st.data())
def test_no_part_of_a_literal_or_comment_shows_under_either_reading(
    values: list[tuple[str, str]], data: st.DataObject
) -> None:
    conforming = data.draw(st.booleans())
    usable = [
        (style, value)
        for style, value in values
        if (style == "nonconforming" and not conforming)
        or (style in STYLES and (conforming or "\\" not in value or style in ("escaped", "backslashed", "dollar")))
    ]
    text = "SELECT " + " , ".join(_quote(style, value) for style, value in usable)
    cut = data.draw(st.integers(0, len(text)))

    for shown in (text, text[:cut]):
        assert SECRET not in digest(shown.encode())
        assert SECRET.lower() not in digest(shown.encode(), escapes=not conforming).lower()


@given(st.binary(max_size=200), st.integers(0, 60))
def test_a_digest_of_any_bytes_keeps_to_its_limit(text: bytes, limit: int) -> None:
    shown = digest(text, limit)

    assert len(shown) <= max(limit, 3)
    assert shown.isprintable() or "\ufffd" in shown or not shown.isascii()
