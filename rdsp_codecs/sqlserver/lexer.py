"""T-SQL's lexical structure: where literals, comments and names begin and end in a batch's text.

It knows no grammar. It never raises, whatever the text is, and takes linear time: no pattern here gives back what it
has taken. Where the text cannot be read to its end (a quote or a comment is not closed), the last token is a FAULT.

Source: Transact-SQL reference, "Constants", "Database identifiers", "Slash star (block comment)".
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

import attrs


class Kind(IntEnum):
    """What a token is. The values are group numbers of the pattern; blanks and comments are left out."""

    BLANK = 1
    LITERAL = 2
    """'' or N''; "" where QUOTED_IDENTIFIER is off."""
    QUOTED = 3
    """[], or "" where QUOTED_IDENTIFIER is on: an identifier."""
    NUMBER = 4
    """With a fraction and an exponent, 0x with digits, or money."""
    SYSTEM = 5
    """@@ and a name."""
    VARIABLE = 6
    """@ and a name."""
    WORD = 7
    """A keyword or an identifier without quotes; #name and ##name, too."""
    MARK = 8
    """One character."""
    FAULT = 9
    """From here on the text cannot be read. The last token, if it comes."""


@attrs.frozen
class Token:
    """One of a text.

    Attributes:
        kind: what it is.
        text: as it stands there.
        at: where it begins.
        key: of a WORD its upper case, so that keywords compare; of other ones the text.
    """

    kind: Kind
    text: str
    at: int
    key: str

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.at + len(self.text)


_NAME: Final = r"[\w@$#]"
_PATTERN: Final = re.compile(
    r"((?:[\s\x00-\x1f]|--[^\n]*+)++)"
    r"|([Nn]?'(?:[^']|'')*+')"
    r'|(\[(?:[^\]]|\]\])*+\]|"(?:[^"]|"")*+")'
    r"|(0[xX][0-9A-Fa-f]*+|[0-9]++(?:\.[0-9]*+)?+(?:[eE][+-]?+[0-9]++)?+|\.[0-9]++(?:[eE][+-]?+[0-9]++)?+|\$[0-9.]++)"
    rf"|(@@{_NAME}*+)"
    rf"|(@{_NAME}*+)"
    rf"|((?:(?=[^\W\d])|#){_NAME}*+)"
    r"|(.)",
    re.DOTALL,
)
_COMMENT: Final = re.compile(r"/\*|\*/")


def tokens(text: str, *, quoted_identifier: bool = True) -> list[Token]:
    """The tokens of a text, in order.

    Args:
        text: of a batch or a statement.
        quoted_identifier: SET QUOTED_IDENTIFIER, as it stands when the text is parsed.
    """
    found: list[Token] = []
    at, end = 0, len(text)
    while at < end:
        match = _PATTERN.match(text, at)
        if match is None:  # a `.` with DOTALL takes any character
            raise AssertionError(text[at:])
        kind, said = Kind(match.lastindex or 0), match[0]
        if kind is Kind.MARK and said == "/" and text.startswith("/*", at):
            at = _behind_comment(text, at)
            if at < 0:
                found.append(Token(Kind.FAULT, text[match.start() :], match.start(), ""))
                break
            continue
        if kind is Kind.MARK and said in "'\"[":
            found.append(Token(Kind.FAULT, text[at:], at, ""))
            break
        at = match.end()
        if kind is Kind.BLANK:
            continue
        if kind is Kind.QUOTED and said[0] == '"' and not quoted_identifier:
            kind = Kind.LITERAL
        found.append(Token(kind, said, match.start(), said.upper() if kind is Kind.WORD else said))
    return found


def _behind_comment(text: str, at: int) -> int:
    """Block comments stand within one another. Returns -1 where the outermost one does not end."""
    depth = 0
    for match in _COMMENT.finditer(text, at):
        depth += 1 if match[0] == "/*" else -1
        if not depth:
            return match.end()
    return -1


def unquoted(token: Token) -> str:
    """What a WORD or a QUOTED names, and what a LITERAL says."""
    said = token.text
    if token.kind is Kind.LITERAL:
        said = said[1:] if said[0] in "nN" else said
        return said[1:-1].replace(said[-1] * 2, said[-1])
    if token.kind is Kind.QUOTED:
        return said[1:-1].replace(said[-1] * 2, said[-1])
    return said
