"""Literals that mean the same wherever they are written: values of user variables, to set them again elsewhere.

A string's character set, and its bytes, come of `character_set_client`, `character_set_connection` and
`collation_connection`, where a backslash ends of sql_mode: what is kept says all of it in its own words.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from typing import Final

from rdsp_codecs.mysql.lexer import UTF8, Facts, Kind, Token

_ESCAPES: Final = {
    b"0": b"\0",
    b"n": b"\n",
    b"t": b"\t",
    b"r": b"\r",
    b"b": b"\b",
    b"Z": b"\x1a",
    b"_": b"\\_",
    b"%": b"\\%",
}
_PLAIN: Final = re.compile(rb"[^'\\\x00-\x1f\x7f-\xff]*").fullmatch
_COLLATION: Final = re.compile(rb"[A-Za-z0-9_]{1,64}").fullmatch
_WIDE: Final = frozenset({b"ucs2", b"utf16", b"utf16le", b"utf32"})
"""Character sets in which "a" is not one byte; a client cannot have them, its connection's literals can."""
_CONSTANTS: Final = frozenset({b"null", b"true", b"false"})
_LONGEST_NUMBER: Final = 120


def literal_value(text: bytes, token: Token, facts: Facts) -> bytes | None:
    """The bytes that a literal in quotes says; None where it takes more than dropping quotes and backslashes."""
    _, start, end = token
    quote = text[start : start + 1]
    if quote in b"nN":
        return None
    value = text[start + 1 : end - 1]
    if facts.no_escapes or b"\\" not in value:
        return value.replace(quote * 2, quote)
    if not value.isascii() and facts.client not in UTF8 and facts.client != b"latin1":
        return None
    return re.sub(rb"\\(.)|" + quote * 2, _unescaped, value, flags=re.DOTALL)


def _unescaped(match: re.Match[bytes]) -> bytes:
    letter = match.group(1)
    return match.group()[:1] if letter is None else _ESCAPES.get(letter, letter)


def quoted(value: bytes) -> bytes:
    """A literal of these bytes that every sql_mode reads alike, in hexadecimal digits where need be."""
    return b"'" + value + b"'" if _PLAIN(value) else b"x'" + value.hex().encode() + b"'"


def constant(text: bytes, value: Sequence[Token], facts: Facts) -> bytes | None:
    """What stands for a value, in any session; None where that is not one constant, or cannot be told."""
    if not value:
        return None
    kind, start, end = value[0]
    said = text[start:end]
    if len(value) == 1:
        if kind == Kind.NUMBER:
            return said if len(said) <= _LONGEST_NUMBER else None
        if kind == Kind.BITS:
            return said
        if kind == Kind.WORD:
            return said.upper() if said.lower() in _CONSTANTS else None
    if len(value) == 2 and kind == Kind.MARK and said in b"-+" and value[1][0] == Kind.NUMBER:
        number = text[value[1][1] : value[1][2]]
        return said + number if len(number) <= _LONGEST_NUMBER else None
    if kind == Kind.LITERAL:
        return _string(text, value, facts)
    return _introduced(text, value, facts) if kind == Kind.WORD and value[1][0] == Kind.LITERAL else None


_TIMES: Final = {
    b"date": re.compile(rb"(\d{4}-\d\d-\d\d)").fullmatch,
    b"time": re.compile(rb"[01]\d:[0-5]\d:[0-5]\d(?:\.\d{1,6})?").fullmatch,
    b"timestamp": re.compile(rb"(\d{4}-\d\d-\d\d) [01]\d:[0-5]\d:[0-5]\d(?:\.\d{1,6})?").fullmatch,
}
"""Literals of time that every sql_mode and time zone reads alike; the last hours of a day are left out."""


def _introduced(text: bytes, value: Sequence[Token], facts: Facts) -> bytes | None:
    """A literal behind a word: of a date or time, which is a string of latin1 in any session, or of a character set."""
    word = text[value[0][1] : value[0][2]].lower()
    said = literal_value(text, value[1], facts)
    if said is None or not said.isascii():
        return None
    if word in _TIMES:
        match = _TIMES[word](said)
        is_whole = match is not None and len(value) == 2 and (word == b"time" or _is_date(match.group(1)))
        return b"%b '%b'" % (word.upper(), said) if is_whole else None
    if word[:1] != b"_" or word[1:] in _WIDE:
        return None
    if len(value) == 2:
        return b"_binary " + quoted(said) if word == b"_binary" else None  # what collation others get may change
    collation = _collation(text, value[2:])
    return None if collation is None else b"%b %b COLLATE %b" % (word, quoted(said), collation)


def _is_date(said: bytes) -> bool:
    try:
        datetime.date.fromisoformat(said.decode())
    except ValueError:
        return False
    return True


def _collation(text: bytes, rest: Sequence[Token]) -> bytes | None:
    """The name in COLLATE name."""
    words = [text[start:end] for _, start, end in rest]
    if len(words) != 2 or words[0].lower() != b"collate" or rest[1][0] != Kind.WORD:
        return None
    return words[1].lower() if _COLLATION(words[1]) is not None else None


def _string(text: bytes, value: Sequence[Token], facts: Facts) -> bytes | None:
    pieces: list[bytes] = []
    at = 0
    while at < len(value) and value[at][0] == Kind.LITERAL:
        piece = literal_value(text, value[at], facts)
        if piece is None:
            return None
        pieces.append(piece)
        at += 1
    found = _collation(text, value[at:]) if at < len(value) else facts.collation
    if not found or not facts.connection:
        return None
    body = _in_characters(b"".join(pieces), facts)
    return None if body is None else body + b" COLLATE " + found


def _in_characters(value: bytes, facts: Facts) -> bytes | None:
    """A literal of this value in the connection's character set, converted from the client's."""
    if not value.isascii() and not _is_well_formed(value, facts.client):
        return None
    same = facts.client == facts.connection or (value.isascii() and facts.connection not in _WIDE)
    if same:
        return b"_%b %b" % (facts.connection, quoted(value))
    return b"CONVERT(_%b %b USING %b)" % (facts.client, quoted(value), facts.connection)


def _is_well_formed(value: bytes, charset: bytes) -> bool:
    if charset in (b"latin1", b"binary"):
        return True
    if charset not in UTF8:
        return False
    try:
        characters = value.decode()
    except UnicodeDecodeError:
        return False
    return charset == b"utf8mb4" or max(characters) <= "\uffff"


def plain(text: bytes, value: Sequence[Token], facts: Facts) -> bytes | None:
    """What stands for the value of a system variable; None where that is not one word, number or literal."""
    if len(value) == 1:
        kind, start, end = value[0]
        if kind == Kind.WORD:
            return text[start:end].upper()
        if kind == Kind.LITERAL:
            said = literal_value(text, value[0], facts)
            return quoted(said) if said is not None and said.isascii() else None
    return constant(text, value, facts) if value and value[-1][0] == Kind.NUMBER else None
