"""The lexer against PostgreSQL's rules: where literals, comments and names end, for any bytes, in linear time."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rdsp_codecs.postgres.lexer import Kind, literal_value, tokens


def spelled(text: str, *, escapes: bool = False) -> list[str]:
    """The tokens but blanks, as `KIND text`."""
    raw = text.encode()
    return [
        f"{kind.name} {raw[start:end].decode()}"
        for kind, start, end in tokens(raw, escapes=escapes)
        if kind != Kind.BLANK
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT a.b", ["WORD SELECT", "WORD a", "MARK .", "WORD b"]),
        ("é$1_x1", ["WORD é$1_x1"]),
        ("'it''s' x", ["LITERAL 'it''s'", "WORD x"]),
        (r"'a\' x", [r"LITERAL 'a\'", "WORD x"]),
        (r"E'a\' x' y", [r"LITERAL E'a\' x'", "WORD y"]),
        (r"e'\\' y", [r"LITERAL e'\\'", "WORD y"]),
        (r"nameE'\' y", ["WORD nameE", r"LITERAL '\'", "WORD y"]),
        (r"1E'\'' y", ["NUMBER 1", r"LITERAL E'\''", "WORD y"]),
        (
            r"N'a' B'01' x'1F' U&'\0041'",
            ["WORD N", "LITERAL 'a'", "LITERAL B'01'", "LITERAL x'1F'", r"LITERAL U&'\0041'"],
        ),
        ("'a'\n  'b' c", ["LITERAL 'a'\n  'b'", "WORD c"]),
        ("'a' 'b'", ["LITERAL 'a'", "LITERAL 'b'"]),
        ("E'a' -- why\n '\\'' c", ["LITERAL E'a' -- why\n '\\''", "WORD c"]),
        ("'a' -- why\n 'b' c", ["LITERAL 'a' -- why\n 'b'", "WORD c"]),
        ("'a' -- why", ["LITERAL 'a'", "COMMENT -- why"]),
        ('"a""b" "C"', ['QUOTED "a""b"', 'QUOTED "C"']),
        ('U&"a" u & "b"', ['UNICODE_QUOTED U&"a"', "WORD u", "MARK &", 'QUOTED "b"']),
        ("$$ ' $$ x", ["DOLLAR $$ ' $$", "WORD x"]),
        ("$a$ $b$ $$ $A$ $a$ x", ["DOLLAR $a$ $b$ $$ $A$ $a$", "WORD x"]),
        ("$1 $22a", ["PARAMETER $1", "PARAMETER $22", "WORD a"]),
        ("a$b$ c $b$", ["WORD a$b$", "WORD c", "FAULT $b$"]),
        ("$1$ x", ["PARAMETER $1", "MARK $", "WORD x"]),
        ("/* a /* b */ c */ d", ["COMMENT /* a /* b */ c */", "WORD d"]),
        ("/**/a/*/ */b", ["COMMENT /**/", "WORD a", "COMMENT /*/ */", "WORD b"]),
        ("1 -- a\r2", ["NUMBER 1", "COMMENT -- a", "NUMBER 2"]),
        ("a+--b\nc", ["WORD a", "MARK +", "COMMENT --b", "WORD c"]),
        ("a*/*b*/c", ["WORD a", "MARK *", "COMMENT /*b*/", "WORD c"]),
        ("a - -b", ["WORD a", "MARK -", "MARK -", "WORD b"]),
        ("1.5e-3 .5 0xFF 1_000 2.", ["NUMBER 1.5e-3", "NUMBER .5", "NUMBER 0xFF", "NUMBER 1_000", "NUMBER 2."]),
        ("a 'b", ["WORD a", "FAULT 'b"]),
        (r"a E'b\'", ["WORD a", r"FAULT E'b\'"]),
        ("'a'\n'b", ["FAULT 'a'\n'b"]),
        ('a "b', ["WORD a", 'FAULT "b']),
        ('a u&"b', ["WORD a", 'FAULT u&"b']),
        ("a $$b", ["WORD a", "FAULT $$b"]),
        ("a $b$ $B$", ["WORD a", "FAULT $b$ $B$"]),
        ("a /* /* */", ["WORD a", "FAULT /* /* */"]),
        ("", []),
    ],
)
def test_tokens_end_where_the_server_ends_them(text: str, expected: list[str]) -> None:
    assert spelled(text) == expected


def test_a_backslash_in_a_plain_literal_escapes_only_when_strings_do_not_conform() -> None:
    assert spelled(r"'a\' b' c", escapes=True) == [r"LITERAL 'a\' b'", "WORD c"]
    assert spelled(r"B'\' c", escapes=True) == [r"LITERAL B'\'", "WORD c"]
    assert spelled("'\\", escapes=True) == ["FAULT '\\"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"'it''s'", b"it's"),
        (b"''", b""),
        (rb"'a\b'", rb"a\b"),
        (b"E'ab'", b"ab"),
        (rb"E'a\n'", None),
        (b"B'1'", None),
        (b"U&'a'", None),
        (b"'a'\n'b'", None),
        (b"$$a$$", b"a"),
        (b"$x$ $$ $x$", b" $$ "),
    ],
)
def test_a_literal_says_what_stands_between_its_quotes_or_nothing(text: bytes, value: bytes | None) -> None:
    (token,) = tokens(text)

    assert literal_value(text, token) == value


def test_a_plain_literal_with_a_backslash_says_nothing_when_it_escapes() -> None:
    (token,) = tokens(rb"'a\b'", escapes=True)

    assert literal_value(rb"'a\b'", token, escapes=True) is None


FRAGMENTS = [
    b"'", b'"', b"$", b"$a$", b"$$", b"E'", b"B'", b"u&'", b'U&"', b"/*", b"*/", b"--", b"\n", b"\r", b" ", b"\\",
    b"''", b"1", b"1.", b".5", b"e", b"_", b"a", b";", b"\x00", b"\xc3\xa9", b"\xff", b"(", b":", b"=", b"&", b"\x0b",
]  # fmt: skip
anything = st.one_of(st.binary(max_size=80), st.lists(st.sampled_from(FRAGMENTS), max_size=40).map(b"".join))


@given(anything, st.booleans())
@example(b"'" * 7, False)
@example(b"e'\\", True)
def test_the_tokens_of_any_bytes_cover_them_without_gaps(text: bytes, escapes: bool) -> None:
    at = 0
    for kind, start, end in tokens(text, escapes=escapes):
        assert start == at < end
        assert kind != Kind.FAULT or end == len(text)
        at = end

    assert at == len(text)


@given(anything, st.booleans(), st.data())
def test_reading_may_begin_at_any_token(text: bytes, escapes: bool, data: st.DataObject) -> None:
    all_of_it = list(tokens(text, escapes=escapes))
    skipped = data.draw(st.integers(0, len(all_of_it)))
    start = all_of_it[skipped][1] if skipped < len(all_of_it) else len(text)

    assert list(tokens(text, start, escapes=escapes)) == all_of_it[skipped:]


@given(anything, st.booleans())
def test_a_whole_text_is_one_token_inside_of_dollar_quotes(text: bytes, escapes: bool) -> None:
    if b"$never$" in text + b"$":
        return
    quoted = b"$never$" + text + b"$never$"

    assert [kind for kind, _, _ in tokens(quoted, escapes=escapes)] == [Kind.DOLLAR]


@pytest.mark.parametrize("unit", [*FRAGMENTS, b"$a", b"'\n", b"'a'\n", b"--\n'", b"'a'--\n", b"e'\\'", b"/**/", b"1e"])
def test_time_stays_linear_in_the_text(unit: bytes) -> None:
    # 1 MB takes half a second at worst; anything quadratic takes many minutes.
    text = unit * (1_000_000 // len(unit))

    started = time.process_time()
    for _ in tokens(text):
        pass

    assert time.process_time() - started < 10
