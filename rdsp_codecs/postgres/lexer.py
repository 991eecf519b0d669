"""PostgreSQL's lexical structure (documentation, 4.1), as far as inspection needs it: words, names, and the rest.

One pass, linear, over bytes; it never raises. Used by `session_state` and `digest`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

import attrs


class Kind(IntEnum):
    """What a token is."""

    WORD = 0
    """An unquoted identifier or keyword."""
    NAME = 1
    """A quoted identifier."""
    STRING = 2
    """A literal in single quotes of any kind, or in dollar quotes."""
    NUMBER = 3
    PARAMETER = 4
    SYMBOL = 5
    """One character of punctuation or an operator."""
    BROKEN = 6
    """From here on the text cannot be read: an end is missing."""


@attrs.frozen
class Token:
    """One token: `text` as written; `value` lower-cased for a WORD, without quotes for a NAME or a STRING."""

    kind: Kind
    text: bytes
    value: bytes


_BLANK: Final = re.compile(rb"[ \t\r\n\f\v]+|--[^\r\n]*")
_WORD: Final = re.compile(rb"[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*")
_NUMBER: Final = re.compile(rb"0[xXoObB][0-9A-Fa-f_]+|(?:[0-9][0-9_]*)?\.?[0-9][0-9_]*\.?(?:[eE][+-]?[0-9]+)?")
_PARAMETER: Final = re.compile(rb"\$[0-9]+")
_DOLLAR: Final = re.compile(rb"\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$")
_COMMENT_EDGE: Final = re.compile(rb"/\*|\*/")
_PLAIN_END: Final = re.compile(rb"'(?!')")


def tokens(text: bytes, *, escapes: bool = False) -> Iterator[Token]:
    """The tokens of a text, without blanks and comments.

    Arguments:
        escapes: backslashes escape in plain literals too (`standard_conforming_strings` is off).
    """
    at, end = 0, len(text)
    while at < end:
        blank = _BLANK.match(text, at)
        if blank:
            at = blank.end()
            continue
        if text.startswith(b"/*", at):
            at = _comment_end(text, at)
            if at < 0:
                yield Token(Kind.BROKEN, b"", b"")
                return
            continue
        token = _token(text, at, escapes=escapes)
        yield token
        if token.kind is Kind.BROKEN:
            return
        at += len(token.text)


def _comment_end(text: bytes, at: int) -> int:
    """Where a comment, which may hold others, ends; -1 when it does not."""
    depth = 0
    for edge in _COMMENT_EDGE.finditer(text, at):
        depth += 1 if edge.group() == b"/*" else -1
        if depth == 0:
            return edge.end()
    return -1


def _token(text: bytes, at: int, *, escapes: bool) -> Token:
    first = text[at : at + 1]
    if first == b"'":
        return _string(text, at, at, backslash=escapes)
    if first == b'"':
        return _quoted(text, at, at, b'"', Kind.NAME)
    if first == b"$":
        return _dollar(text, at)
    word = _WORD.match(text, at)
    if word:
        return _word(text, at, word.group(), escapes=escapes)
    number = _NUMBER.match(text, at) if first.isdigit() or first == b"." else None
    if number and number.group():
        return Token(Kind.NUMBER, number.group(), number.group())
    return Token(Kind.SYMBOL, first, first)


def _word(text: bytes, at: int, word: bytes, *, escapes: bool) -> Token:
    lower = word.lower()
    behind = at + len(word)
    following = text[behind : behind + 1]
    if following == b"'" and lower in (b"e", b"b", b"x", b"n"):
        return _string(text, at, behind, backslash=escapes or lower == b"e")
    if lower == b"u" and following == b"&" and text[behind + 1 : behind + 2] in (b"'", b'"'):
        if text[behind + 1 : behind + 2] == b"'":
            return _string(text, at, behind + 1, backslash=False)
        # A name in escapes could spell anything; who looks for names must take it for one that it looks for.
        token = _quoted(text, at, behind + 1, b'"', Kind.NAME)
        return attrs.evolve(token, value=b"\\") if token.kind is Kind.NAME else token
    return Token(Kind.WORD, word, lower)


def _string(text: bytes, start: int, quote: int, *, backslash: bool) -> Token:
    """A literal in single quotes whose opening quote stands at `quote`."""
    if not backslash:
        return _quoted(text, start, quote, b"'", Kind.STRING)
    at, end = quote + 1, len(text)
    while True:
        closing = text.find(b"'", at)
        if closing < 0:
            return Token(Kind.BROKEN, b"", b"")
        slash = text.find(b"\\", at, closing)
        if slash >= 0:
            at = slash + 2
            if at > end:
                return Token(Kind.BROKEN, b"", b"")
            continue
        if text[closing + 1 : closing + 2] == b"'":
            at = closing + 2
            continue
        whole = text[start : closing + 1]
        return Token(Kind.STRING, whole, text[quote + 1 : closing])


def _quoted(text: bytes, start: int, quote: int, mark: bytes, kind: Kind) -> Token:
    at = quote + 1
    while True:
        closing = text.find(mark, at)
        if closing < 0:
            return Token(Kind.BROKEN, b"", b"")
        if text[closing + 1 : closing + 2] == mark:
            at = closing + 2
            continue
        value = text[quote + 1 : closing].replace(mark + mark, mark)
        return Token(kind, text[start : closing + 1], value)


def _dollar(text: bytes, at: int) -> Token:
    parameter = _PARAMETER.match(text, at)
    if parameter:
        return Token(Kind.PARAMETER, parameter.group(), parameter.group())
    opening = _DOLLAR.match(text, at)
    if not opening:
        return Token(Kind.SYMBOL, b"$", b"$")
    mark = opening.group()
    closing = text.find(mark, opening.end())
    if closing < 0:
        return Token(Kind.BROKEN, b"", b"")
    return Token(Kind.STRING, text[at : closing + len(mark)], text[opening.end() : closing])
