"""From what a text does (`effects`) to what the relay makes of it.

What cannot follow the session pins it. Nothing here decides where a transaction ends; flags and trackers do.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from rdsp_codecs.mysql import effects
from rdsp_codecs.mysql import notable as n
from rdsp_codecs.mysql.lexer import Facts
from rdsp_codecs.mysql.session_state import NOISE, STAYING
from rdsp_codecs.mysql.traces import CONDITIONS, FOUND, OTHERS, ROWS
from rdsp_codecs.mysql.tracking import READS, SETS, VIRTUAL
from rdsp_codecs.mysql.words import CHAINS, ENDS, RELEASES, SAVEPOINT
from rdsp_codecs.pins import PinReason

NO_SETTINGS: Final[Mapping[bytes, bytes | None]] = {}


@dataclass(frozen=True)
class Verdict:
    """What was found.

    Attributes:
        pins: why the session must keep its backend from now on.
        settings: system variables that it sets, and to what; None: to what the text does not tell.
        single: it is one statement.
        reads: what it may read of what the statement before it has left: counts, warnings (`traces`).
        calculates: it says SQL_CALC_FOUND_ROWS.
        ids: it may read or change LAST_INSERT_ID.
        kills: it ends or interrupts connections by their numbers.
        variables: user variables that it sets, and the constants; None: the value is computed.
        names: see `effects.Verdict`.
        tracking: what it does with the variables that say what is reported (`tracking`).
        makes, undoes, unlocks, renames, prepares, executes: as `effects.Verdict` has them; `prepares` with what was
            found in the text, None where it cannot be told.
        frees_locks: it surely releases all advisory locks.
        explains: that the session's state changes is no news, and nothing else can have changed it than what is found.
        alone: it is one statement, of which all is known: where it fails, nothing was made.
        misses_collation: of a literal that it gives to a variable the collation is not known.
        shows: it is one SHOW.
        saves: it may set a savepoint: without autocommit a transaction begins which no flag shows (MySQL bug 107875).
        ends: it ends a transaction, with its savepoints.
        releases: the server closes the connection behind it.
        modest: where it fails, no transaction can have begun.
    """

    pins: tuple[PinReason, ...] = ()
    settings: Mapping[bytes, bytes | None] = field(default_factory=lambda: NO_SETTINGS)
    variables: Mapping[bytes, bytes | None] = field(default_factory=lambda: NO_SETTINGS)
    names: bytes | None = None
    single: bool = True
    makes: frozenset[tuple[PinReason, bytes]] = frozenset()
    undoes: frozenset[tuple[PinReason, bytes]] = frozenset()
    unlocks: bool = False
    renames: bool = False
    prepares: tuple[bytes, Verdict | None] | None = None
    executes: bytes | None = None
    frees_locks: bool = False
    explains: bool = False
    alone: bool = False
    reads: int = 0
    calculates: bool = False
    ids: bool = False
    kills: bool = False
    misses_collation: bool = False
    shows: bool = False
    saves: bool = False
    ends: bool = False
    releases: bool = False
    modest: bool = False
    tracking: int = 0


HARMLESS: Final = Verdict(modest=True)
UNSEEN: Final = Verdict((PinReason.UNRECOGNISED_STATE,), single=False, reads=ROWS | CONDITIONS, ids=True, saves=True)
"""Of a text that cannot be looked at."""
WATCHED: Final = replace(UNSEEN, reads=0)
"""Of one that begins as what changes or shows rows: it passes, while no name in it reads what others have left."""
_OF_ROWS: Final = re.compile(rb"(?i)\s*(?:insert|replace|update|delete|select|with|values|set)\b").match
READING: Final = re.compile(rb"(?i)found_rows|row_count|warning_count|error_count|last_gtid|\bprofiling").search
UNKNOWN: Final = Verdict((PinReason.UNRECOGNISED_STATE,), ids=True, saves=True)
"""Of one statement that may do anything."""
_FREES: Final = re.compile(
    rb"(?i)[ \t\n]*(?:select|do)[ \t\n]+release_all_locks[ \t\n]*\([ \t\n]*\)[ \t\n;]*"
).fullmatch
_BEGINS_WITH: Final = re.compile(rb"(?i)[ \t\n]*(?:prepare|execute)[ \t\n]").match
_LISTS: Final = re.compile(rb"(?i)\bIN\s*\(").sub
_TEMPORARY: Final = PinReason.TEMPORARY_TABLE
_QUIET: Final = frozenset({b"drop", b"deallocate", b"handler", b"lock", b"unlock"})
"""Statements in which no expression stands that runs a function."""
_MODEST: Final = frozenset(
    b"select insert update delete replace with values table do show desc describe explain".split()
)
_TRACES: Final = {
    n.FOUND_ROWS: FOUND,
    n.ROW_COUNT: ROWS,
    n.DIAGNOSTICS: CONDITIONS | ROWS,
    n.LAST_GTID: OTHERS,
    n.PROFILES: OTHERS,
}
_PINNING: Final = {
    n.SEQUENCE: PinReason.SEQUENCE_STATE,
    n.INSERT_ID: PinReason.SESSION_SETTING,
    n.CONNECTION_ID: PinReason.CONNECTION_NUMBER,
}


def _explains(found: effects.Verdict, *, single: bool) -> bool:
    """Whether all that it can change is what the text shows: no function of somebody's runs, which could do more."""
    if not single or found.calls or found.doubtful:
        return False
    head = found.heads[0]
    if head in (b"set", b"use"):
        return not found.strange
    if head == b"create":
        return bool(found.makes)
    return head in _QUIET or (head == b"alter" and found.renames)


def _does_no_more(found: effects.Verdict, text: bytes, *, single: bool) -> bool:
    """Whether a text changes nothing that it does not show: while it runs, only what its session wants is reported."""
    if not single or found.heads[0] not in (b"select", b"show"):
        return _explains(found, single=single)
    # IN is no function's name but behind a dot.
    called = text if b"." in text else _LISTS(b"", text)
    return b"(" not in called and b"from" not in text.lower()


_REMEMBERED_TEXT: Final = 512
_REMEMBERED_MOST: Final = 4096
_remembered: dict[tuple[Facts, bytes], Verdict] = {}
"""Verdicts of recent short texts: a pure function's results, at most 4096 of 512 bytes, thrown away together.

Not those in which nothing is found: that is found as fast, and they often hold a number that never comes again.
"""


def unseen(beginning: bytes | None) -> Verdict:
    """Of a text that is too long to be held; `beginning`: as much of it as there is."""
    return WATCHED if beginning and _OF_ROWS(beginning) and not READING(beginning) else UNSEEN


def judge(text: bytes, facts: Facts) -> Verdict:
    """Look at a text, read by these facts."""
    if len(text) > _REMEMBERED_TEXT:
        return _judged(text, facts)
    found = _remembered.get((facts, text))
    if found is None:
        found = _judged(text, facts)
        if found is not HARMLESS:
            if len(_remembered) >= _REMEMBERED_MOST:
                _remembered.clear()
            _remembered[facts, text] = found
    return found


def _judged(text: bytes, facts: Facts) -> Verdict:
    found = effects.verdict(text, facts)
    if found is effects.HARMLESS:
        return HARMLESS
    if found.prepares is not None and _BEGINS_WITH(text) is not None:
        name, inner = found.prepares
        then = judge(inner, facts) if inner is not None else None
        makes = frozenset({(PinReason.TEXT_PREPARED, name)})
        kills = then is not None and then.kills
        return Verdict(makes=makes, prepares=(name, then), kills=kills, explains=True, alone=True)
    if found.executes is not None and _BEGINS_WITH(text) is not None:
        return replace(UNKNOWN, executes=found.executes)
    pins = [reason for reason, _ in found.pins]
    if found.role is not None or any(name in STAYING for name in found.settings):
        pins.append(PinReason.SESSION_SETTING)
    if found.calls or found.doubtful:
        pins.append(PinReason.UNRECOGNISED_STATE)
    memory = found.reads | found.leaves
    tracking = SETS if any(name in found.settings for name in VIRTUAL) else READS if n.TRACKING in memory else 0
    pins += [reason for name, reason in _PINNING.items() if name in memory]
    single = len(found.heads) == 1
    if tracking and not _does_no_more(found, text, single=single):
        pins.append(PinReason.UNRECOGNISED_STATE)
    return Verdict(
        tuple(dict.fromkeys(pins)),
        {name: value for name, value in found.settings.items() if name not in NOISE and name not in VIRTUAL},
        found.variables,
        found.names,
        single,
        # What else a query has made that fills a table is not known; it is there as long as the table.
        makes=frozenset({(_TEMPORARY, b"")}) if found.fills else found.makes,
        undoes=found.undoes,
        unlocks=found.unlocks,
        renames=found.renames,
        frees_locks=found.unlocks and _FREES(text) is not None,
        explains=_explains(found, single=single),
        alone=single and not (found.calls or found.doubtful),
        reads=functools.reduce(operator.or_, (_TRACES.get(name, 0) for name in found.reads), 0),
        calculates=n.FOUND_ROWS in found.leaves,
        ids=n.LAST_INSERT_ID in memory or b"sql_auto_is_null" in found.settings,
        kills=bool(found.kills),
        misses_collation=not facts.collation and None in found.variables.values(),
        shows=single and found.heads[0] == b"show",
        saves=bool(found.transaction & SAVEPOINT),
        ends=single and found.transaction & (ENDS | CHAINS | SAVEPOINT) == ENDS,
        releases=bool(found.transaction & RELEASES),
        modest=single and found.heads[0] in _MODEST,
        tracking=tracking,
    )
