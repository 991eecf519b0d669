"""PostgreSQL's lexical structure: where literals, comments and names begin and end in a statement's bytes.

`session_state` and `digest` call it. It follows the server's scanner (documentation, section 4.1, "Lexical
Structure") as far as the borders of tokens go, and knows no grammar. It must never raise, whatever the bytes are, and
takes linear time: no pattern here gives back what it has taken.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from enum import IntEnum
from typing import Final


class Kind(IntEnum):
    """What a token is; the tokens of a text cover it without gaps. The values are group numbers of the pattern."""

    BLANK = 1
    """White space."""
    WORD = 2
    """An unquoted identifier or a keyword."""
    LITERAL = 3
    """A quoted literal of any kind ('', E'', B'', X'', U&''), with those that continue it on further lines."""
    QUOTED = 4
    """An identifier in double quotes."""
    UNICODE_QUOTED = 5
    """An identifier with Unicode escapes, U&"...": its real name is not what is written."""
    NUMBER = 6
    PARAMETER = 7
    """$1, $2..."""
    DOLLAR = 8
    """A dollar-quoted literal."""
    COMMENT = 9
    """A line comment without its end of line, or a block comment with all that is nested in it."""
    FAULT = 11
    """From here on the text cannot be read: an end is missing or too hard to find. The last token, if it comes."""
    MARK = 12
    """A single byte: punctuation, or one of the bytes of an operator."""


Token = tuple[Kind, int, int]
"""Kind, start, end."""

_PLAIN: Final = rb"(?:[^']++|'')*+"
_ESCAPED: Final = rb"(?:[^'\\]++|''|\\.?+)*+"
# A literal goes on behind an end of line, with blanks and line comments around it, by the rules it was begun with.
_GOES_ON: Final = rb"(?:[ \t\f\v]++|--[^\n\r]*+)*+[\n\r](?:[ \t\n\r\f\v]++|--[^\n\r]*+[\n\r])*+"
_NUMBER: Final = (
    rb"0[xX][0-9a-fA-F_]++|0[oO][0-7_]++|0[bB][01_]++"
    rb"|(?:[0-9][0-9_]*+(?:\.[0-9_]*+)?+|\.[0-9][0-9_]*+)(?:[eE][+-]?+[0-9][0-9_]*+)?+"
)


def literal_pattern(*, escapes: bool) -> bytes:
    """A pattern (with DOTALL) for whole literals in single quotes: for skipping them in bulk."""

    def quoted(prefix: bytes, body: bytes) -> bytes:
        return rb"%b'%b(?:'(?=[\s\-])%b'%b)*+'" % (prefix, body, _GOES_ON, body)

    plain = quoted(b"", _ESCAPED if escapes else _PLAIN)
    return b"|".join((plain, quoted(b"[eE]", _ESCAPED), quoted(b"(?:[bBxX]|[uU]&)", _PLAIN)))


def _token_pattern(*, escapes: bool) -> re.Pattern[bytes]:
    groups = (
        rb"[ \t\n\r\f\v]++",
        rb"(?![eEbBxX]'|[uU]&['\"])[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*+",
        literal_pattern(escapes=escapes),
        rb'"(?:[^"]++|"")*+"',
        rb'[uU]&"(?:[^"]++|"")*+"',
        _NUMBER,
        rb"\$[0-9]++",
        rb"\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*+)?+\$",
        rb"--[^\n\r]*+",
        rb"/\*",
        rb"(?:[eEbBxX]|[uU]&)?+['\"]",
        rb".",
    )
    return re.compile(b"|".join(b"(%b)" % group for group in groups), re.DOTALL)


_PATTERN: Final = {escapes: _token_pattern(escapes=escapes) for escapes in (False, True)}
_BLOCK_COMMENT: Final = 10
_LONGER: Final = frozenset({Kind.DOLLAR, _BLOCK_COMMENT, Kind.FAULT})
"""Groups that match only the beginning of their token."""
_COMMENT_MARKS: Final = re.compile(rb"/\*|\*/")
_MAX_COMMENT_MARKS: Final = 10_000
"""How many beginnings and ends of comments one comment may have in it; with more it is a FAULT."""
_KINDS: Final = (Kind.FAULT, *(Kind(n if n != _BLOCK_COMMENT else Kind.COMMENT) for n in range(1, 13)))


def tokens(text: bytes, start: int = 0, *, escapes: bool = False) -> Iterator[Token]:
    """The tokens of `text` from `start`, which must be the start of a token.

    Arguments:
        text: SQL without its NUL, in an encoding in which bytes below 0x80 always mean ASCII.
        escapes: `standard_conforming_strings` is off: a backslash in a plain literal escapes.
    """
    pattern, size, at = _PATTERN[escapes], len(text), start
    while at < size:
        for match in pattern.finditer(text, at):
            group = match.lastindex or 0
            if group in _LONGER:
                begin, opened = match.span()
                at = _end_of(text, group, begin, opened)
                yield (_KINDS[group], begin, at) if at > 0 else (Kind.FAULT, begin, size)
                if at < 0:
                    return
                break
            yield _KINDS[group], match.start(), match.end()
        else:
            return


def token_at(text: bytes, start: int, *, escapes: bool = False) -> Token | None:
    """The first of what `tokens` yields."""
    match = _PATTERN[escapes].match(text, start)
    if match is None:
        return None
    group = match.lastindex or 0
    begin, end = match.span()
    if group in _LONGER:
        end = _end_of(text, group, begin, end)
        if end < 0:
            return Kind.FAULT, begin, len(text)
    return _KINDS[group], begin, end


def _end_of(text: bytes, group: int, begin: int, opened: int) -> int:
    """Where a token ends whose opening stands at `text[begin:opened]`; negative when its end is missing."""
    if group == Kind.DOLLAR:
        found = text.find(text[begin:opened], opened)
        return found + opened - begin if found >= 0 else -1
    if group == _BLOCK_COMMENT:
        depth = 1
        for mark in itertools.islice(_COMMENT_MARKS.finditer(text, opened), _MAX_COMMENT_MARKS):
            depth += 1 if mark.group() == b"/*" else -1
            if depth == 0:
                return mark.end()
    return -1


def literal_value(text: bytes, token: Token, *, escapes: bool = False) -> bytes | None:
    """What a LITERAL or DOLLAR token says, or None when that takes more than dropping quotes to find out."""
    kind, start, end = token
    if kind == Kind.DOLLAR:
        tag = text.index(b"$", start + 1) + 1 - start
        return text[start + tag : end - tag]
    opening = text.index(b"'", start)
    prefix, value = text[start:opening].lower(), text[opening + 1 : end - 1]
    backslash = b"\\" in value and (escapes or prefix == b"e")
    if prefix not in (b"", b"e") or backslash or b"'" in value.replace(b"''", b""):
        return None
    return value.replace(b"''", b"'")


NAME_BYTES: Final = 63
"""How much of a name counts (NAMEDATALEN - 1)."""


def identifier(text: bytes, start: int, end: int) -> bytes | None:
    """What an identifier means to the server: folded, or unquoted, and cut. None where that cannot be told."""
    word = text[start:end]
    if not word.isascii():
        return None
    if word[:1] == b'"':
        return word[1:-1].replace(b'""', b'"')[:NAME_BYTES]
    return word.lower()[:NAME_BYTES]
