"""Statement digests for logs: a statement without its literals, in RDS Proxy's form.

The relay and `session_state` call it for the details of pins. It must never show a literal, or a part of one.
"""

from __future__ import annotations

import re
from typing import Final

from rdsp_codecs.postgres.lexer import Kind, Token, tokens

_VALUES: Final = frozenset({Kind.LITERAL, Kind.DOLLAR, Kind.NUMBER, Kind.PARAMETER})
_UNPRINTABLE: Final = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029]")
_CUT: Final = "..."


def digest(text: bytes, limit: int = 512, *, escapes: bool | None = None) -> str:
    """A text in lower case, with $1, $2... for its literals, numbers and parameters, in the order they come.

    Comments are dropped, white space is folded, quoted identifiers stay as they are. Values of SET that are words are
    replaced too.

    Arguments:
        text: SQL, one statement or several.
        limit: characters of the result at most; a longer one ends with "...".
        escapes: whether `standard_conforming_strings` is off. None: not known.

    The result also ends with "..." where the text cannot be read surely: at a missing end, and (unless `escapes` is
    known) at a literal whose end depends on what a backslash means.
    """
    writer = _Writer(text, longest=4 * limit + 4)
    for token in tokens(text, escapes=escapes is True):
        kind = token[0]
        if kind == Kind.FAULT or (kind == Kind.LITERAL and _is_doubtful(text, token, escapes)):
            writer.say(f"${writer.values + 1}{_CUT}")
            break
        writer.write(token)
        if writer.size > limit:
            break
    result = "".join(writer.parts).strip()
    return result if len(result) <= limit else result[: max(limit - len(_CUT), 0)] + _CUT


def _is_doubtful(text: bytes, token: Token, escapes: bool | None) -> bool:
    """Whether a literal may end elsewhere: in a plain one a backslash may mean nothing or escape a quote.

    In an E'' literal it escapes, unless it is the second byte of a character of an encoding such as SJIS.
    """
    if escapes is not None:
        return False
    _, start, end = token
    prefix = text[start : start + 1]
    at = text.find(b"\\", start, end)
    if at < 0 or prefix == b"'":
        return at >= 0
    return prefix in b"eE" and not text[start:end].isascii()


class _Writer:
    """Collects the pieces of one digest. Invariant: no byte of a literal is ever in `parts`."""

    def __init__(self, text: bytes, longest: int) -> None:
        self.parts: list[str] = []
        self.size = 0
        self.values = 0
        self._text = text
        self._longest = longest
        self._head = True
        self._setting = False
        self._value = False

    def say(self, piece: str) -> None:
        """Append."""
        self.parts.append(piece)
        self.size += len(piece)

    def write(self, token: Token) -> None:
        """Append what a token looks like in a digest."""
        kind, start, end = token
        if kind in (Kind.BLANK, Kind.COMMENT):
            if self.parts and self.parts[-1] != " ":
                self.say(" ")
            return
        if kind in _VALUES or (self._value and kind == Kind.WORD):
            self.values += 1
            self.say(f"${self.values}")
        else:
            raw = self._text[start : min(end, start + self._longest)]
            shown = raw.lower() if kind == Kind.WORD else raw
            self._follow(kind, shown)
            self.say(_UNPRINTABLE.sub(" ", shown.decode("utf-8", "replace")))

    def _follow(self, kind: Kind, shown: bytes) -> None:
        """Know whether words are values: behind = or TO of a statement that begins with SET."""
        if shown == b";":
            self._head, self._setting, self._value = True, False, False
            return
        if self._setting and shown in (b"=", b"to") and kind != Kind.QUOTED:
            self._value = True
        if self._head:
            self._head, self._setting = False, kind == Kind.WORD and shown == b"set"
