"""Tokens of MySQL's and MariaDB's texts. What servers really read is compared in tests/live/mysql/test_texts.py."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.mysql.lexer import Facts, Kind, Tokens

MARIADB = Facts(101119, mariadb=True)
NEW = Facts(90704, mariadb=False)
OLD = Facts(50624, mariadb=False)
CHARSETS = (b"utf8mb4", b"latin1", b"gbk", b"sjis", b"big5", b"cp932", b"gb18030", b"euckr", b"swe7", b"nobody's")

facts = st.builds(
    Facts,
    st.sampled_from([50624, 80042, 90704, 101119, 110809]),
    mariadb=st.booleans(),
    ansi_quotes=st.booleans(),
    no_escapes=st.booleans(),
    multi=st.booleans(),
    oracle=st.booleans(),
    client=st.sampled_from(CHARSETS),
)
pieces = st.lists(
    st.sampled_from(
        [
            "SELECT",
            "`",
            "'",
            '"',
            "\\",
            "/*",
            "*/",
            "/*!",
            "/*!50110",
            "/*!100100",
            "/*M!",
            "/*+",
            "--",
            "--a",
            "#",
            "\n",
            ";",
            "@",
            "@@",
            "@a",
            "@`b`",
            "x'",
            "b'01'",
            "0x1F",
            "1e3",
            ".5",
            "$$",
            "$a$",
            "(",
            ")",
            ",",
            "=",
            ":=",
            "N'",
        ]
    )
    | st.binary(max_size=3).map(lambda raw: raw.decode("latin1")),
    max_size=30,
).map(lambda parts: "".join(parts).encode("latin1"))


def lexed(text: bytes, how: Facts) -> list[tuple[Kind, bytes]]:
    tokens = Tokens(text, how)
    found = []
    while (token := tokens.next()) is not None:
        found.append((token[0], text[token[1] : token[2]]))
        if token[0] == Kind.FAULT:
            break
    return found


def said(text: bytes, how: Facts = MARIADB) -> list[bytes]:
    return [raw for _, raw in lexed(text, how)]


@given(pieces | st.binary(max_size=60), facts)
def test_any_bytes_are_read_to_their_end_in_order(text: bytes, how: Facts) -> None:
    tokens = Tokens(text, how)
    at = 0
    while (token := tokens.next()) is not None:
        kind, start, end = token
        assert at <= start <= end <= len(text)
        at = end
        if kind == Kind.FAULT:
            assert end == len(text)
            break
        assert start < end
    else:
        assert tokens.at == len(text)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        (b"a--b", [b"a", b"-", b"-", b"b"]),
        (b"a -- b\nc", [b"a", b"c"]),
        (b"a --\tb\nc --", [b"a", b"c"]),
        (b"a # b\rc\nd", [b"a", b"d"]),
        (b"1 /* /* */ 2", [b"1", b"2"]),
        (b"1/2*/3", [b"1", b"/", b"2", b"*", b"/", b"3"]),
        (b"`a``b`.c", [b"`a``b`", b".", b"c"]),
        (b"'a''b' 'c\\'d'", [b"'a''b'", b"'c\\'d'"]),
        (b"@a.b := @`x y`, @'z', @@global.q", b"@a.b|:|=|@`x y`|,|@'z'|,|@@|global|.|q".split(b"|")),
        (b"x'4f' X'z' 0x4F 0X4F b'01' 0b01 0b2", [b"x'4f'", b"X", b"'z'", b"0x4F", b"0X4F", b"b'01'", b"0b01", b"0b2"]),
        (b"1e5 1abc 1.5e-3 .5 a.5", [b"1e5", b"1abc", b"1.5e-3", b".5", b"a", b".5"]),
        (b"N'a' n 'b' _utf8'c'", [b"N'a'", b"n", b"'b'", b"_utf8", b"'c'"]),
    ],
)
def test_tokens(text: bytes, tokens: list[bytes]) -> None:
    assert said(text) == tokens


@pytest.mark.parametrize(
    ("text", "of_mariadb", "of_new", "of_old"),
    [
        (b"1 /*! 2 */", "12", "12", "12"),
        (b"1 /*!50110 2 */", "12", "12", "12"),
        (b"1 /*!50701 2 */", "1", "12", "1"),
        (b"1 /*!100000 2 */", "12", "1", "102"),
        (b"1 /*!090700 2 */", "1", "12", "102"),
        (b"1 /*M! 2 */", "12", "1", "1"),
        (b"1 /*M!100000 2 */", "12", "1", "1"),
        (b"1 /*M!50700 2 */", "12", "1", "1"),
        (b"1 /*m! 2 */", "1", "1", "1"),
        (b"1 /*!999999 /* */ 2 */ 3", "13", "13", "13"),
        (b"1 /*! 2 /* 3 */ 4 */ 5", "1245", "1245", "1245"),
        (b"1 /*! 2 /*! 3 */ 4", "1234", "1234", "1234"),
        (b"1 /*! 2 -- */ 3\n 4 */ 5", "1245", "1245", "1245"),
        (b"1 /*!5011 2*/", "150112", "150112", "150112"),
    ],
)
def test_code_in_comments_is_read_by_kind_and_version(text: bytes, of_mariadb: str, of_new: str, of_old: str) -> None:
    for how, wanted in ((MARIADB, of_mariadb), (NEW, of_new), (OLD, of_old)):
        assert b"".join(said(text, how)).decode() == wanted, how


def test_between_versions_that_read_six_digits_otherwise_nothing_is_read() -> None:
    between = attrs.evolve(NEW, version=80042)
    assert lexed(b"1 /*!050110 2 */", between)[-1][0] == Kind.FAULT
    assert said(b"1 /*!100000 2 */ 3", between) == [b"1", b"/*!100000 2 */ 3"]
    assert said(b"1 /*!50110 2 */", between) == [b"1", b"2"]
    assert said(b"1 /*!999999 2 */ 3", between) == [b"1", b"3"]


@pytest.mark.parametrize(
    "text", [b"'a", b"`a", b"/* a", b"/*! a", b"/*!999999 a", b"a \x00 b", b"# a\x00b", b"--\xa0a"]
)
def test_an_end_that_is_missing_is_a_fault(text: bytes) -> None:
    assert lexed(text, MARIADB)[-1][0] == Kind.FAULT


def test_quotes_follow_sql_mode() -> None:
    assert lexed(b'"a\\"b"', MARIADB) == [(Kind.LITERAL, b'"a\\"b"')]
    ansi = attrs.evolve(MARIADB, ansi_quotes=True)
    assert lexed(b'"a\\"', ansi) == [(Kind.QUOTED, b'"a\\"')]
    assert lexed(b"@\"a\\\" 'b\\'c'", ansi) == [(Kind.VARIABLE, b'@"a\\"'), (Kind.LITERAL, b"'b\\'c'")]
    plain = attrs.evolve(MARIADB, no_escapes=True)
    assert lexed(b"'a\\' b", plain) == [(Kind.LITERAL, b"'a\\'"), (Kind.WORD, b"b")]


@pytest.mark.parametrize(
    ("charset", "lead"),
    [(b"gbk", b"\xbf"), (b"sjis", b"\x83"), (b"cp932", b"\x83"), (b"big5", b"\xa5"), (b"gb18030", b"\x81")],
)
def test_a_backslash_may_be_half_a_character(charset: bytes, lead: bytes) -> None:
    text = b"'" + lead + b"\\' b '"
    assert lexed(text, attrs.evolve(MARIADB, client=charset))[0] == (Kind.LITERAL, b"'" + lead + b"\\'")
    assert lexed(text, MARIADB) == [(Kind.LITERAL, text)]
    # An escaped character loses its first half to the backslash.
    text = b"'\\" + lead + b"\\' b'"
    assert lexed(text, attrs.evolve(MARIADB, client=charset)) == [(Kind.LITERAL, text)]
    # Half a character does not take the quote behind it along.
    assert said(b"'" + lead + b"' b", attrs.evolve(MARIADB, client=charset)) == [b"'" + lead + b"'", b"b"]
    assert said(b"`" + lead + b"`` b", attrs.evolve(MARIADB, client=charset)) == [b"`" + lead + b"``", b"b"]


def test_what_no_character_set_explains_is_a_fault() -> None:
    assert lexed(b"`\xe4` a `", MARIADB)[0][0] == Kind.FAULT
    assert lexed("`ä`".encode(), MARIADB) == [(Kind.QUOTED, "`ä`".encode())]
    assert lexed(b"a", attrs.evolve(MARIADB, client=b"swe7"))[0][0] == Kind.FAULT


def test_dollars_quote_in_new_mysql_alone() -> None:
    assert said(b"$a$ ' $a$ b", NEW) == [b"$a$ ' $a$", b"b"]
    assert lexed(b"$a$ b", NEW)[0][0] == Kind.FAULT
    assert said(b"$a$ b") == [b"$a$", b"b"]
    assert said(b"a$b$", NEW) == [b"a$b$"]
