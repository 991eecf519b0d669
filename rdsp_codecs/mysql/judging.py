"""From what a text does (`effects`) to what the relay makes of it.

What cannot follow the session pins it. Nothing here decides where a transaction ends; flags and trackers do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from rdsp_codecs.mysql import effects
from rdsp_codecs.mysql import notable as n
from rdsp_codecs.mysql.lexer import Facts
from rdsp_codecs.mysql.session_state import NUMBERS, WORDS
from rdsp_codecs.mysql.words import CHAINS, ENDS, SAVEPOINT, XA
from rdsp_codecs.pins import PinReason

NO_SETTINGS: Final[Mapping[bytes, bytes | None]] = {}


@attrs.frozen
class Verdict:
    """What was found.

    Attributes:
        pins: why the session must keep its backend from now on.
        settings: system variables that it sets, and to what; None: to what the text does not tell.
        sets: it changes settings or the database, which the server reports, and surely nothing else.
        single: it is one statement.
        reads: it may read what the statement before it has left: counts, warnings.
        ids: it may read or change LAST_INSERT_ID.
        kills: it ends or interrupts connections by their numbers.
        rests: it ends a transaction, or is no part of one: behind it nothing is open unless a flag says so.
        modest: where it fails, no transaction can have begun.
    """

    pins: tuple[PinReason, ...] = ()
    settings: Mapping[bytes, bytes | None] = NO_SETTINGS
    single: bool = True
    sets: bool = False
    reads: bool = False
    ids: bool = False
    kills: bool = False
    rests: bool = False
    modest: bool = False


HARMLESS: Final = Verdict(modest=True)
UNSEEN: Final = Verdict((PinReason.UNRECOGNISED_STATE,), single=False, reads=True, ids=True)
"""Of a text that cannot be looked at."""
_MODEST: Final = frozenset(
    b"select insert update delete replace with values table do show desc describe explain".split()
)
_TRACES: Final = frozenset({n.FOUND_ROWS, n.ROW_COUNT, n.DIAGNOSTICS, n.LAST_GTID, n.PROFILES})
_PINNING: Final = {n.SEQUENCE: PinReason.SEQUENCE_STATE, n.INSERT_ID: PinReason.SESSION_SETTING}
_FOLLOWING: Final = WORDS | NUMBERS


def _sets_alone(found: effects.Verdict, *, single: bool) -> bool:
    """Whether all that it can change is what the text shows: nothing is computed, which functions could do more in."""
    if not single or found.heads[0] not in (b"set", b"use"):
        return False
    return all(value is not None or name == b"collation_connection" for name, value in found.settings.items())


def judge(text: bytes, facts: Facts) -> Verdict:
    """Look at a text, read by these facts."""
    found = effects.verdict(text, facts)
    if found is effects.HARMLESS:
        return HARMLESS
    pins = [reason for reason, _ in found.pins]
    pins += sorted({reason for reason, _ in found.makes}, key=lambda reason: reason.value)
    if found.variables:
        pins.append(PinReason.USER_VARIABLE)
    if found.role is not None or any(name not in _FOLLOWING for name in found.settings):
        pins.append(PinReason.SESSION_SETTING)
    if found.calls or found.doubtful or found.transaction & XA:
        pins.append(PinReason.UNRECOGNISED_STATE)
    memory = found.reads | found.leaves
    pins += [reason for name, reason in _PINNING.items() if name in memory]
    single = len(found.heads) == 1
    ends = found.transaction & (ENDS | CHAINS | SAVEPOINT) == ENDS
    return Verdict(
        tuple(dict.fromkeys(pins)),
        found.settings,
        single,
        sets=_sets_alone(found, single=single),
        reads=bool(found.reads & _TRACES),
        ids=n.LAST_INSERT_ID in memory or b"sql_auto_is_null" in found.settings,
        kills=bool(found.kills),
        rests=single and (ends or found.heads[0] == b"set"),
        modest=single and found.heads[0] in _MODEST,
    )
