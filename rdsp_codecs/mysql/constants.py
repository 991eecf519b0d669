"""Literals that mean the same wherever they are written: values of user variables, to set them again elsewhere.

A string's character set, and its bytes, come of `character_set_client`, `character_set_connection` and
`collation_connection`, where a backslash ends of sql_mode: what is kept says all of it in its own words.
"""

from __future__ import annotations

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
    return _string(text, value, facts) if kind == Kind.LITERAL else None


def _string(text: bytes, value: Sequence[Token], facts: Facts) -> bytes | None:
    pieces: list[bytes] = []
    at, collation = 0, facts.collation
    while at < len(value) and value[at][0] == Kind.LITERAL:
        piece = literal_value(text, value[at], facts)
        if piece is None:
            return None
        pieces.append(piece)
        at += 1
    rest = [text[start:end] for _, start, end in value[at:]]
    if rest:
        if len(rest) != 2 or rest[0].lower() != b"collate" or value[at + 1][0] != Kind.WORD:
            return None
        collation = rest[1].lower()
    if _COLLATION(collation) is None or not facts.connection:
        return None
    body = _in_characters(b"".join(pieces), facts)
    return None if body is None else body + b" COLLATE " + collation


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
