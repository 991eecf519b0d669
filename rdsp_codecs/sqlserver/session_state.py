"""What a client's request is to the session: what it may leave, by its texts and its calls. `relay` asks."""

from __future__ import annotations

import attrs

from rdsp_codecs.pins import PinReason
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.sqlserver import messages as m
from rdsp_codecs.sqlserver.headers import NO_TRANSACTION
from rdsp_codecs.sqlserver.statements import NOTHING, UNSEEN, Verdict, called, lasting, verdict

_TEXT_AT = {k.SP_EXECUTESQL: 0, k.SP_PREPARE: 2, k.SP_PREPEXEC: 2}
"""Which parameter is the text that a procedure runs or keeps."""
_PREPARES = frozenset({k.SP_PREPARE, k.SP_PREPEXEC, k.SP_PREPEXECRPC})
_CURSORS = frozenset(range(k.SP_CURSOR, k.SP_CURSORCLOSE + 1))
_RUNS = Verdict(reads=True, leaves=True)
"""A prepared statement runs, whose text was looked at when it was prepared."""
_DISTRIBUTED = Verdict(frozenset({PinReason.UNRECOGNISED_STATE}), lasts=True)


@attrs.frozen
class Asked:
    """A request.

    Attributes:
        descriptor: of the transaction in which its client believes to be.
        verdict: what it may leave.
        prepares, unprepares: how many handles.
    """

    descriptor: bytes
    verdict: Verdict
    prepares: int = 0
    unprepares: int = 0


def asked(message: f.Message, *, old: bool) -> Asked:
    """Read a request. Raises `WireError`."""
    if message.kind == f.BULK_LOAD:
        return Asked(NO_TRANSACTION, Verdict(leaves=True))
    if message.kind == f.SQL_BATCH:
        descriptor, text = m.read_batch(message.data, old=old)
        return Asked(descriptor, verdict(text))
    if message.kind == f.TRANSACTION_MANAGER:
        descriptor, request = m.read_transaction_request(message.data)
        plain = request.kind in (k.TM_BEGIN_XACT, k.TM_COMMIT_XACT, k.TM_ROLLBACK_XACT, k.TM_SAVE_XACT)
        if not plain:
            return Asked(descriptor, _DISTRIBUTED)
        # An isolation level is the session's from now on.
        setting = frozenset({PinReason.SESSION_SETTING}) if request.isolation else frozenset[PinReason]()
        return Asked(descriptor, Verdict(setting) if setting else NOTHING)
    descriptor, calls = m.read_calls(message.data, old=old)
    found = [_of_call(call) for call in calls]
    numbers = [call.number for call in calls]
    return Asked(
        descriptor,
        found[0] if len(found) == 1 else _together(found),
        sum(number in _PREPARES for number in numbers),
        sum(number == k.SP_UNPREPARE for number in numbers),
    )


def _of_call(call: m.Call) -> Verdict:
    number = call.number
    if number in _TEXT_AT:
        at = _TEXT_AT[number]
        text = m.text_of(call.parameters[at]) if at < len(call.parameters) else None
        found = UNSEEN if text is None else verdict(text)
        if number in _PREPARES:
            return attrs.evolve(found, pins=found.pins | {PinReason.PREPARED_STATEMENT})
        return found
    if number == k.SP_EXECUTE:
        return _RUNS
    if number == k.SP_UNPREPARE:
        return NOTHING
    if number in _CURSORS:
        return Verdict(frozenset({PinReason.HOLD_CURSOR}), reads=True, leaves=True)
    if isinstance(call.procedure, int):
        return UNSEEN
    name = call.procedure.rpartition(".")[2].strip('[]"').lower()
    return Verdict(called(name), reads=False, leaves=True, lasts=lasting(name))


def _together(found: list[Verdict]) -> Verdict:
    return Verdict(
        frozenset().union(*(one.pins for one in found)),
        any(one.reads for one in found),
        any(one.leaves for one in found),
        any(one.bulk for one in found),
        any(one.lasts for one in found),
    )
