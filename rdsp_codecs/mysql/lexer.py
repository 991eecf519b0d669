"""MySQL's and MariaDB's lexical structure: where literals, comments and names begin and end in a statement's bytes.

`inspection` and `digest` call it. It follows the servers' scanners as far as the borders of tokens go, and knows no
grammar. It must never raise, whatever the bytes are, and takes linear time: no pattern here gives back what it has
taken.

What a comment of the form /*! ... */ holds is code to a server that is new enough, and a comment to another one; code
comes as the tokens that it is made of, between two of kind BRACKET.
"""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

import attrs


class Kind(IntEnum):
    """What a token is. The values are group numbers of the pattern."""

    BLANK = 1
    """White space and comments to the end of the line."""
    BITS = 2
    """x'41', 0x41, b'01', 0b01."""
    NUMBER = 3
    LITERAL = 4
    """A quoted literal: '', N'', and "" unless that quotes identifiers. What continues it is a token of its own."""
    DOLLAR = 5
    """A dollar-quoted body (MySQL from 8.1 on)."""
    WORD = 6
    """An unquoted identifier, a keyword, the name of a character set before a literal (_utf8'')."""
    QUOTED = 7
    """An identifier in backticks or, under ANSI_QUOTES, in double quotes."""
    VARIABLE = 8
    """A user's variable with its @, quoted or not. What stands behind the name of an account looks the same."""
    SYSTEM = 9
    """@@, before the name of a system variable."""
    PARAMETER = 10
    """?"""
    COMMENT = 11
    """A block comment, or code for other servers than this one."""
    BRACKET = 12
    """Where code begins that other servers read as a comment, or where it ends."""
    FAULT = 13
    """From here on the text cannot be read: an end is missing or too hard to find. The last token, if it comes."""
    MARK = 14
    """A single byte: punctuation, or one of the bytes of an operator."""


Token = tuple[Kind, int, int]
"""Kind, start, end."""

UTF8: Final = frozenset({b"utf8mb4", b"utf8mb3", b"utf8"})
_SINGLE_BYTE: Final = frozenset(
    b"armscii8 ascii binary cp1250 cp1251 cp1256 cp1257 cp850 cp852 cp866 dec8 geostd8 greek hebrew hp8 keybcs2 koi8r"
    b" koi8u latin1 latin2 latin5 latin7 macce macroman tis620".split()
)
_PAIRS: Final = {
    b"gbk": rb"[\x81-\xfe][\x40-\x7e\x80-\xfe]",
    b"big5": rb"[\xa1-\xf9][\x40-\x7e\xa1-\xfe]",
    b"sjis": rb"[\x81-\x9f\xe0-\xfc][\x40-\x7e\x80-\xfc]",
    b"cp932": rb"[\x81-\x9f\xe0-\xfc][\x40-\x7e\x80-\xfc]",
    b"gb18030": rb"[\x81-\xfe](?:[\x40-\x7e\x80-\xfe]|[0-9][\x81-\xfe][0-9])",
}
"""Character sets in which a byte below 0x80 may be part of another character, and what such characters look like."""
_HIGH_PAIRS: Final = frozenset({b"euckr", b"gb2312", b"ujis", b"eucjpms"})
"""Character sets of several bytes, none of which is a quote, a backslash or another mark."""


@attrs.frozen(cache_hash=True)
class Facts:
    """What a server reads a text by.

    Attributes:
        version: the server's, as its executable comments number it: 100411 is 10.4.11.
        mariadb: it is MariaDB.
        ansi_quotes: sql_mode has ANSI_QUOTES.
        no_escapes: sql_mode has NO_BACKSLASH_ESCAPES.
        oracle: MariaDB's sql_mode has ORACLE.
        multi: the client has CLIENT_MULTI_STATEMENTS, or has got it by COM_SET_OPTION.
        client: character_set_client.
        connection: character_set_connection.
        collation: collation_connection.
    """

    version: int
    mariadb: bool
    ansi_quotes: bool = False
    no_escapes: bool = False
    oracle: bool = False
    multi: bool = False
    client: bytes = b"utf8mb4"
    connection: bytes = b"utf8mb4"
    collation: bytes = b""


_NUMBERS: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)").match
_HIDDEN: Final = "5.5.5-"
"""What MariaDB's greeting may put before its version."""


def facts(
    server_version: str,
    sql_mode: bytes,
    *,
    multi: bool,
    client: bytes,
    connection: bytes,
    collation: bytes,
) -> Facts:
    """By what a server says of itself and of a session; a version that cannot be read is taken for an old one.

    Arguments:
        server_version: of its greeting, or @@version.
        sql_mode, client, connection, collation: the session's @@sql_mode, @@character_set_client,
            @@character_set_connection and @@collation_connection.
        multi: see `Facts`.
    """
    mariadb = "mariadb" in server_version.lower()
    match = _NUMBERS(server_version.removeprefix(_HIDDEN) if mariadb else server_version)
    major, minor, patch = (int(part) for part in match.groups()) if match is not None else (5, 0, 0)
    modes = frozenset(sql_mode.upper().split(b","))
    return Facts(
        major * 10000 + minor * 100 + patch,
        mariadb=mariadb,
        ansi_quotes=b"ANSI_QUOTES" in modes,
        no_escapes=b"NO_BACKSLASH_ESCAPES" in modes,
        oracle=b"ORACLE" in modes,
        multi=multi,
        client=client.lower(),
        connection=connection.lower(),
        collation=collation.lower(),
    )


_IDENT: Final = rb"A-Za-z0-9_$\x80-\xff"
_BLANKS: Final = rb"(?:[ \t\n\r\f\v]++|#[^\n\x00]*+|--(?=[\x00-\x20\x7f]|\Z)[^\n\x00]*+)++"
_BITS: Final = rb"[xX]'[0-9a-fA-F]*+'|[bB]'[01]*+'|(?:0x[0-9a-fA-F]++|0b[01]++)(?![%b])" % _IDENT
_NUMBER: Final = rb"(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE][+-]?+[0-9]++)?+(?![%b])" % _IDENT
_NOTHING: Final = rb"(?!)"


def _body(quote: bytes, pair: bytes, *, escapes: bool) -> bytes:
    """What may stand between two quotes of a literal."""
    parts = [rb"[^%b%b%b]++" % (quote, rb"\\" if escapes else b"", rb"\x80-\xff" if pair else b""), quote * 2]
    if escapes:
        parts.append(rb"\\.")
    if pair:
        parts += [pair, rb"[\x80-\xff]"]
    return rb"(?:%b)*+" % b"|".join(parts)


def literal_pattern(pair: bytes, *, escapes: bool, ansi: bool) -> bytes:
    """A pattern (with DOTALL) for whole literals without a prefix: for skipping them in bulk."""
    one = b"'" + _body(b"'", pair, escapes=escapes) + b"'"
    return one if ansi else one + b'|"' + _body(b'"', pair, escapes=escapes) + b'"'


def _named(quote: bytes, pair: bytes) -> bytes:
    """An identifier in quotes: a byte that begins a character takes the next one with it, so they must fit."""
    parts = [rb"[^%b%b]++" % (quote, rb"\x80-\xff" if pair else b""), quote * 2]
    return rb"%b(?:%b)*+%b" % (quote, b"|".join([*parts, pair] if pair else parts), quote)


def _token_pattern(pair: bytes, *, escapes: bool, ansi: bool, dollar: bool) -> re.Pattern[bytes]:
    literal = literal_pattern(pair, escapes=escapes, ansi=ansi)
    quoted = _named(b"`", pair) + (b"|" + _named(b'"', pair) if ansi else b"")
    groups = (
        _BLANKS,
        _BITS,
        _NUMBER,
        rb"(?:[nN](?='))?+(?:%b)" % literal,
        rb"\$[A-Za-z0-9_\x80-\xff]*+\$" if dollar else _NOTHING,
        rb"(?:%b[%b])++" % (pair + b"|" if pair else b"", _IDENT),
        quoted,
        rb"@(?!@)(?:%b|%b|[.%b]*+)" % (literal, quoted, _IDENT),
        rb"@@",
        rb"\?",
        rb"/\*",
        rb"\*/",
        rb"['\"`\x00]|--(?=[\x80-\xff])",
        rb".",
    )
    return re.compile(b"|".join(b"(%b)" % group for group in groups), re.DOTALL)


_ITEMS: Final = 256
"""How many tokens are skipped at once."""


def filler_pattern(pair: bytes, words: bytes, *, escapes: bool, ansi: bool, dollar: bool) -> re.Pattern[bytes]:
    """Whole tokens of lower-cased text that are none of these words, names or marks of variables: to skip in bulk.

    It begins and ends at borders of tokens, and passes no semicolon, no variable, and neither end of code in a comment.
    """
    not_dollar = rb"(?!\$)" if dollar else b""
    parts = [
        rb"[^'\"`@;/*#\-_a-z0-9$\x80-\xff\x00]++",
        rb"%b(?!(?:%b)(?![a-z0-9_$]))[a-z0-9_$]++(?![\x80-\xff])" % (not_dollar, words),
        literal_pattern(pair, escapes=escapes, ansi=ansi),
        rb"`(?!(?:%b)`)[^`\x80-\xff]*+`(?!`)" % words,
        rb"-(?!-)|/(?!\*)|\*(?!/)",
        rb"#[^\n\x00]*+|--(?=[\x00-\x20\x7f]|\Z)[^\n\x00]*+",
        rb"/\*(?!!|m!)[^*]*+(?:\*(?!/)[^*]*+)*+\*/",
    ]
    if ansi:
        parts.append(rb'"(?!(?:%b)")[^"\x80-\xff]*+"(?!")' % words)
    return re.compile(rb"(?:%b){0,%d}+" % (b"|".join(parts), _ITEMS), re.DOTALL)


Way = tuple[bytes, bool, bool, bool]
"""What patterns depend on: pairs of bytes, whether backslashes escape, ANSI_QUOTES, dollar quotes."""
_patterns: dict[Way, re.Pattern[bytes]] = {}
"""Made when they are first asked for: there are as many as ways to read a text, of which a program has few."""


def way(facts: Facts) -> Way:
    """Which patterns read a text."""
    return _PAIRS.get(facts.client, b""), not facts.no_escapes, facts.ansi_quotes, _has_dollars(facts)


def _pattern(facts: Facts) -> re.Pattern[bytes]:
    key = way(facts)
    found = _patterns.get(key)
    if found is None:
        found = _patterns[key] = _token_pattern(key[0], escapes=key[1], ansi=key[2], dollar=key[3])
    return found


def _has_dollars(facts: Facts) -> bool:
    return not facts.mariadb and facts.version >= _LONG_VERSIONS


_LONG_VERSIONS: Final = 80000
"""From somewhere behind this version on MySQL knows dollar quotes and versions of six digits in comments."""
_SURELY_LONG: Final = 90000
_OWN_VERSIONS: Final = range(50700, 100000)
"""Versions of MySQL that MariaDB does not take for its own."""
_VERSION: Final = re.compile(rb"[0-9]{5,6}+").match
_COMMENT_MARKS: Final = re.compile(rb"/\*|\*/")
_READABLE: Final = UTF8 | _SINGLE_BYTE | _HIGH_PAIRS | frozenset(_PAIRS)


def readable(facts: Facts) -> bool:
    """Whether it is known how the client's character set is read."""
    return facts.client in _READABLE


_UNREADABLE: Final = re.compile(rb"()" * (Kind.FAULT - 1) + rb"(.)", re.DOTALL).match
_KINDS: Final = (Kind.FAULT, *Kind)
_DOUBTED: Final = frozenset({Kind.QUOTED, Kind.VARIABLE})


class Tokens:
    """The tokens of a text that mean something, one after the other.

    Attributes:
        at: where the next one is looked for; may be moved to the end of any token.
        in_code: that is within an executable comment.
    """

    __slots__ = ("_facts", "_match", "_text", "at", "in_code")

    def __init__(self, text: bytes, facts: Facts, at: int = 0, *, in_code: bool = False) -> None:
        self._text = text
        self._facts = facts
        self._match = _pattern(facts).match if readable(facts) else _UNREADABLE
        self.at = at
        self.in_code = in_code

    def next(self) -> Token | None:
        """The next one; None at the end. White space, comments and the brackets of executable ones are left out."""
        text = self._text
        while True:
            match = self._match(text, self.at)
            if match is None:
                return self._fault(len(text)) if self.in_code else None
            group = match.lastindex or 0
            start, end = match.span()
            if group == Kind.WORD or group == Kind.MARK or group == Kind.LITERAL:
                break
            if group == Kind.BLANK:
                self.at = end
            elif group == Kind.COMMENT:
                end = self._open(start)
                if end < 0:
                    return self._fault(start)
                self.at = end
            elif group == Kind.BRACKET:
                if not self.in_code:
                    self.at = start + 1
                    return Kind.MARK, start, start + 1
                self.in_code = False
                self.at = end
            elif group == Kind.DOLLAR:
                end = self._end_of_dollars(start, end)
                if end < 0:
                    return self._fault(start)
                break
            elif group == Kind.FAULT or (group in _DOUBTED and self._is_doubtful(start, end)):
                return self._fault(start)
            else:
                break
        self.at = end
        return _KINDS[group], start, end

    def _fault(self, start: int) -> Token:
        self.at = len(self._text)
        self.in_code = False
        return Kind.FAULT, start, len(self._text)

    def _is_doubtful(self, start: int, end: int) -> bool:
        """Whether a name may end elsewhere: servers take as many bytes as its characters begin with say, fit or not."""
        name = self._text[start:end]
        if name.isascii() or self._facts.client in _SINGLE_BYTE:
            return False
        if name[:1] == b"@" and name[1:2] not in (b"'", b'"', b"`"):
            return self._facts.client not in UTF8
        if self._facts.client in _PAIRS:
            return False
        if self._facts.client not in UTF8:
            return True
        try:
            name.decode()
        except UnicodeDecodeError:
            return True
        return False

    def _open(self, start: int) -> int:
        """Where to go on behind the opening of a comment at `start`; negative when its end is missing."""
        text, facts = self._text, self._facts
        at = start + 3
        own = facts.mariadb and text[start + 2 : start + 4] == b"M!"
        if own:
            at += 1
        elif text[start + 2 : at] != b"!":
            found = text.find(b"*/", start + 2)
            return found + 2 if found >= 0 else -1
        match = _VERSION(text, at)
        if match is not None:
            digits = 6 if facts.mariadb or facts.version >= _SURELY_LONG else 5
            number = match.group()
            if facts.mariadb or not _LONG_VERSIONS <= facts.version < _SURELY_LONG or len(number) == 5:
                wanted = int(number[:digits])
                passed = wanted > facts.version or (facts.mariadb and not own and wanted in _OWN_VERSIONS)
            elif min(int(number), int(number[:5])) > facts.version:
                passed = True
            else:
                return -1
            if passed:
                return self._end_of_comment(at)
            at += min(len(number), digits)
        self.in_code = True
        return at

    def _end_of_comment(self, at: int) -> int:
        """The end of a comment in which others may stand, but none in those."""
        inside = False
        for mark in _COMMENT_MARKS.finditer(self._text, at):
            if mark.group() == b"*/":
                if not inside:
                    return mark.end()
                inside = False
            elif not inside:
                inside = True
        return -1

    def _end_of_dollars(self, start: int, opened: int) -> int:
        if self._facts.version < _SURELY_LONG:
            return -1
        found = self._text.find(self._text[start:opened], opened)
        return found + opened - start if found >= 0 else -1
