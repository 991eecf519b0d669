"""Which words and names of a statement's text are worth a look, and a pattern for all the rest.

`inspection` calls it. The patterns must never skip what is on a list here, take linear time, and give nothing back.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from rdsp_codecs.mysql.lexer import Facts, Way, filler_pattern, readable, way
from rdsp_codecs.mysql.tracking import VIRTUAL
from rdsp_codecs.pins import PinReason

LAST_INSERT_ID: Final = b"last_insert_id"
FOUND_ROWS: Final = b"found_rows"
ROW_COUNT: Final = b"row_count"
DIAGNOSTICS: Final = b"diagnostics"
CONNECTION_ID: Final = b"connection_id"
PROCESSLIST: Final = b"processlist"
SEQUENCE: Final = b"sequence"
LAST_GTID: Final = b"last_gtid"
INSERT_ID: Final = b"insert_id"
PROFILES: Final = b"profiles"
TRACKING: Final = b"tracking"
"""What a session remembers of the statements before, and what a connection is: `Verdict.reads` and `leaves`."""

READERS: Final = {
    FOUND_ROWS: FOUND_ROWS,
    ROW_COUNT: ROW_COUNT,
    CONNECTION_ID: CONNECTION_ID,
    b"lastval": SEQUENCE,
    b"wsrep_last_written_gtid": LAST_GTID,
    b"wsrep_last_seen_gtid": LAST_GTID,
    b"ps_current_thread_id": CONNECTION_ID,
}
"""Functions."""
LOCKERS: Final = frozenset({b"service_get_read_locks", b"service_get_write_locks"}) | {
    b"version_tokens_lock_shared",
    b"version_tokens_lock_exclusive",
}
"""Functions that take locks which nobody can be asked about."""
UNLOCKERS: Final = frozenset({b"release_lock", b"release_all_locks"})
PINNING: Final = {
    **dict.fromkeys(LOCKERS, PinReason.ADVISORY_LOCK),
    b"audit_log_read": PinReason.UNRECOGNISED_STATE,
}
SYSTEM_READERS: Final = {
    b"warning_count": DIAGNOSTICS,
    b"error_count": DIAGNOSTICS,
    b"identity": LAST_INSERT_ID,
    LAST_INSERT_ID: LAST_INSERT_ID,
    INSERT_ID: INSERT_ID,
    b"pseudo_thread_id": CONNECTION_ID,
    LAST_GTID: LAST_GTID,
    **dict.fromkeys(VIRTUAL, TRACKING),
}
"""System variables."""

NOTABLE: Final = re.compile(
    b"|".join((*READERS, *LOCKERS, *UNLOCKERS, *PINNING, LAST_INSERT_ID, b"get_lock", b"into", b"sql_calc_found_rows"))
).search
PLAIN_VARIABLE: Final = re.compile(rb"[A-Za-z0-9_.$-]{1,64}").fullmatch
"""Names of user variables that are the same exactly where they are the same in lower case."""

_WORDS: Final = (
    b"|".join((*READERS, *LOCKERS, *UNLOCKERS, *PINNING, LAST_INSERT_ID))
    + b"|get_lock|into(?=[ \t\n\r\f\v]*+[@/#*-])|sql_calc_found_rows|next|previous|nextval|currval|rename"
)
_fillers: dict[Way, Callable[[bytes, int], re.Match[bytes] | None]] = {}


def filler(facts: Facts) -> Callable[[bytes, int], re.Match[bytes] | None]:
    """What skips tokens of a lower-cased text, from the start of one, that mean nothing wherever they stand."""
    key = way(facts)
    found = _fillers.get(key)
    if found is None:
        pattern = filler_pattern(key[0], _WORDS, escapes=key[1], ansi=key[2], dollar=key[3])
        found = _fillers[key] = pattern.match
    return found


_HEADS: Final = b"select|insert|update|delete|replace|with|values|do|table|explain|describe|desc|truncate|optimize"
_BLANKS: Final = rb"(?:[ \t\n\r\f\v(]++|/\*(?![!m])[^*]*+\*/)*+"
_HEAD: Final = re.compile(rb"%b(?:%b)(?![a-z0-9_$\x80-\xff])" % (_BLANKS, _HEADS)).match
"""For a lower-cased text: whether its one statement begins with a word that by itself does nothing to the session."""
_ENDS: Final = b"; \t\n\r\f\v"
_HIT: Final = re.compile(
    rb"@|\*[!m]|;(?=[ \t\n\r\f\v]*+[^ \t\n\r\f\v])|\x00"
    rb"|_(?:lock|count(?<=row_count)|rows(?<=found_rows)|id(?:(?<=insert_id)|(?<=connection_id)|(?<=thread_id))"
    rb"|read(?<=audit_log_read)|gtid)"
    rb"|val(?:(?<=lastval)|(?<=nextval)|(?<=currval))"
    rb"|next(?=[^a-z0-9_$\x80-\xff])|previous(?=[^a-z0-9_$\x80-\xff])"
).search
"""Every branch begins with a byte of its own, by which the search passes over all others: a third of the time."""


def may_matter(text: bytes, facts: Facts) -> bool:
    """The prefilter: false when an exact look would surely find nothing. Costs about 1 us for 60 bytes."""
    lowered = text.lower()
    if _HEAD(lowered) is None:
        return True
    if _HIT(lowered) is None:
        return False
    # What looks like a hit is mostly in a literal: all of the text may be skipped, but for a semicolon at the end.
    if not readable(facts):
        return True
    skip, size = filler(facts), len(lowered.rstrip(_ENDS))
    at = start = 0
    while at < size:
        found = skip(lowered, start)
        at = found.end() if found is not None else start
        if at == start:
            return True
        start = at
    return False
