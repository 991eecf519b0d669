"""Which words and names of an SQL text are worth a look, and patterns for all the rest.

`inspection` calls it. The patterns must never skip what is on a list here, take linear time, and give nothing back.
"""

from __future__ import annotations

import re
from typing import Final

from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres.lexer import literal_pattern

CALLS: Final = {
    b"set_config": PinReason.SESSION_SETTING,
    b"set_limit": PinReason.SESSION_SETTING,  # pg_trgm
    b"set_user": PinReason.SESSION_SETTING,  # the extension of that name
    b"sepgsql_setcon": PinReason.SESSION_SETTING,
    b"setseed": PinReason.RANDOM_SEED,
    b"pg_advisory_lock": PinReason.ADVISORY_LOCK,
    b"pg_advisory_lock_shared": PinReason.ADVISORY_LOCK,
    b"pg_try_advisory_lock": PinReason.ADVISORY_LOCK,
    b"pg_try_advisory_lock_shared": PinReason.ADVISORY_LOCK,
    b"dblink_connect": PinReason.FOREIGN_SESSION,
    b"dblink_connect_u": PinReason.FOREIGN_SESSION,
    b"pg_create_logical_replication_slot": PinReason.REPLICATION,
    b"pg_create_physical_replication_slot": PinReason.REPLICATION,
    b"pg_copy_logical_replication_slot": PinReason.REPLICATION,
    b"pg_copy_physical_replication_slot": PinReason.REPLICATION,
    b"pg_replication_origin_session_setup": PinReason.REPLICATION,
    b"pg_backup_start": PinReason.UNRECOGNISED_STATE,  # a base backup ends with its session
    b"pg_start_backup": PinReason.UNRECOGNISED_STATE,  # its name before 15
    b"hypopg_create_index": PinReason.UNRECOGNISED_STATE,  # extension: indexes that only one backend knows
}
"""Functions that change their session when they are called."""

UNLOCKS: Final = frozenset({b"pg_advisory_unlock", b"pg_advisory_unlock_shared", b"pg_advisory_unlock_all"})
SEQUENCE_MEMORY: Final = frozenset({b"currval", b"lastval"})
TEXT_RUNNERS: Final = frozenset(
    b"query_to_xml query_to_xmlschema query_to_xml_and_xmlschema ts_stat ts_rewrite"  # core
    b" crosstab crosstab2 crosstab3 crosstab4 connectby xpath_table".split()  # tablefunc, xml2
)
"""Functions that run a query, or pieces of one, which they get as text: literals count, and what is none pins."""

_HEADS: Final = b"set|reset|listen|load|declare|prepare|execute|deallocate|discard|do"
_WORD_ENDS: Final = rb"(?![a-z0-9_$\x80-\xff])"

_SPACES: Final = b" \t\n\r\f\v"
_LONGEST: Final = 64
"""Bytes; no word that HIT looks for is longer."""

HIT: Final = re.compile(
    rb"_(?:config(?<=set_config)|setcon|limit(?<=set_limit)|user(?<=set_user)|settings(?<=pg_settings)"
    rb"|lock(?<=advisory_lock)|unlock(?<=advisory_unlock)|connect(?<=dblink_connect)|replication_|backup(?:_start|(?<=pg_start_backup))"
    rb"|create_index(?<=hypopg_create_index)|xml(?<=query_to_xml)|stat(?<=ts_stat)|rewrite(?<=ts_rewrite)"
    rb"|table(?<=xpath_table))"
    rb"|by(?<=connectby)|b(?<=crosstab)"
    rb"|val(?<=(?:rr|st)val)"
    rb"|d(?<=setseed)"
    rb"|mp(?<=temp)(?:orary)?(?![a-z0-9$\x80-\xff])"
    rb"|xecute"
    rb'|&"'
    rb"|;\s*+(?:%b)%b|\*/\s*+(?:%b)%b" % (_HEADS, _WORD_ENDS, _HEADS, _WORD_ENDS)
).search
"""For b";" and a lower-cased text without line comments. Each branch begins with its rarest byte: sre tries all of them
wherever one could begin.
"""
_HIT_BEHIND_LINE_COMMENT: Final = re.compile(rb"\s(?:%b)%b" % (_HEADS, _WORD_ENDS)).search


_BETWEEN: Final = rb"(?:\s|--[^\n\r]*+|/\*(?:[^*]|\*(?!/))*+\*/)"
_VACATES: Final = re.compile(
    rb"(?:%b|;)*+(?:(?:create|drop)%b++database|alter%b++database%b.*(?:rename|tablespace))%b"
    % (_BETWEEN, _BETWEEN, _BETWEEN, _BETWEEN, _WORD_ENDS),
    re.IGNORECASE | re.DOTALL,
).match
_MAY_BEGIN: Final = b"cdaCDA-/; \t\n\r\f\v"


def vacates(text: bytes) -> bool:
    """Whether a text is a statement that fails while others are connected to a database.

    DROP DATABASE, CREATE DATABASE (to its template), ALTER DATABASE with RENAME or SET TABLESPACE: each must be a text
    by itself. Nested comments are not read.
    """
    return text[:1] in _MAY_BEGIN and _VACATES(text) is not None


def may_matter(text: bytes) -> bool:
    """The prefilter: false when `Look` would surely find nothing. Costs about 1 us for 60 bytes, 7 ns for each more."""
    lowered = (b";" + text).lower()
    if HIT(lowered) is not None or vacates(text):
        return True
    return b"--" in lowered and _HIT_BEHIND_LINE_COMMENT(lowered) is not None


class Passing:
    """The prefilter for a text that is too long to be held, in the pieces in which it passes.

    It finds what `may_matter` would find in the whole, and sometimes more where a word is cut.
    """

    __slots__ = ("_behind", "_commented")

    def __init__(self) -> None:
        self._behind = b";"
        self._commented = False

    def may_matter(self, piece: bytes) -> bool:
        """Whether there may be something in the text up to the end of this piece that was not told before."""
        lowered = self._behind + piece.lower()
        self._commented = self._commented or b"--" in lowered
        words = lowered.rstrip(_SPACES)
        # Blanks may be many between a semicolon and a word; one is as good.
        self._behind = words[-_LONGEST:] + (b" " if len(words) < len(lowered) else b"")
        if HIT(lowered) is not None:
            return True
        return self._commented and _HIT_BEHIND_LINE_COMMENT(lowered) is not None


_TEMPORARY: Final = rb"\s*+(?:temp|local|global|or|--|/\*)"
TEMPORARY_FOLLOWS: Final = re.compile(_TEMPORARY).match
"""Whether CREATE or INTO may be about something temporary, from behind the word."""
CREATES_NO_TABLE: Final = re.compile(
    rb"\s++(?:or\s++replace\s++)?+(?:function|procedure|view|trigger|index|type|sequence|rule)%b" % _WORD_ENDS
).match
"""Whether a CREATE is surely not one of CREATE TABLE ... AS EXECUTE, from behind the word."""
_NOTABLE_NAMES: Final = b"|".join((*CALLS, *UNLOCKS, *SEQUENCE_MEMORY, *TEXT_RUNNERS))
_NOTABLE: Final = (
    *(name + _WORD_ENDS for name in (*CALLS, *UNLOCKS, *SEQUENCE_MEMORY, *TEXT_RUNNERS, b"execute", b"pg_settings")),
    b"into" + _WORD_ENDS + _TEMPORARY,
    b"create" + _WORD_ENDS + _TEMPORARY,
    b"pg_temp",
)
"""Words to look at, as patterns. The first letter of each stands for itself."""

ITEMS: Final = 256
"""How many tokens are skipped at once. Not paid for are 13 ns a byte, which take ordinary texts through."""


def _harmless_words() -> list[bytes]:
    """Patterns for words that cannot matter, one for each letter that others begin with: faster to choose from."""
    behind = {b"b": [b"'"], b"e": [b"'"], b"x": [b"'"], b"u": [rb"&['\"]"]}
    for pattern in _NOTABLE:
        behind.setdefault(pattern[:1], []).append(pattern[1:])
    others = bytes(byte for byte in range(ord("a"), ord("z") + 1) if bytes([byte]) not in behind)
    rest = rb"[a-z0-9_$\x80-\xff]*+"
    words = [rb"%b(?!%b)%b" % (letter, b"|".join(patterns), rest) for letter, patterns in behind.items()]
    return [rb"[%b_\x80-\xff]%b" % (others, rest), *words]


def _filler(*, escapes: bool, ends: bool) -> re.Pattern[bytes]:
    """Whole tokens of lower-cased text that cannot matter: skipped without a look.

    With `ends` also ends of statements, where the next one begins with no word that matters.
    """
    parts = [
        rb"""[^'"$/\-;a-z_\x80-\xff]++""",
        *_harmless_words(),
        literal_pattern(escapes=escapes),
        rb'"(?!(?:%b)"|pg_temp|pg_settings)(?:[^"]++|"")*+"' % _NOTABLE_NAMES,
        rb"\$[0-9]++",
        rb"\$\$(?:[^$]++|\$(?!\$))*+\$\$",
        rb"\$_\$(?:[^$]++|\$(?!_\$))*+\$_\$",  # as pg_dump writes it
        rb"-(?!-)|/(?!\*)",
        rb"--[^\n\r]*+",
    ]
    if ends:
        parts.insert(1, rb";(?:\s++|--[^\n\r]*+)*+(?!(?:%b|explain|create|alter)%b|/\*)" % (_HEADS, _WORD_ENDS))
    return re.compile(rb"(?:%b){0,%d}+" % (b"|".join(parts), ITEMS), re.DOTALL)


GAP: Final = re.compile(rb"(?:[\s;]++|--[^\n\r]*+){0,%d}+" % ITEMS).match
FILLER: Final = {
    (escapes, ends): _filler(escapes=escapes, ends=ends).match for escapes in (False, True) for ends in (False, True)
}
