"""The server half of the relay: judges the replies, settles the ledger, finds the end of a request.

The relay's server filter calls it. While only simple queries are owed it sees few messages; while the extended
protocol is in use it sees every message but rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from rdsp_codecs.errors import WireError
from rdsp_codecs.ledger import Owed
from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres import dialogue as owed
from rdsp_codecs.postgres.asking import Question
from rdsp_codecs.postgres.dialogue import KIND_NAMES, AsItWas, Dialogue, Kind, Learn, Named, Replace
from rdsp_codecs.postgres.handing import CleanUp, Handing
from rdsp_codecs.postgres.listening import Mark
from rdsp_codecs.postgres.messages import TRANSACTIONS
from rdsp_codecs.postgres.naming import Dropped
from rdsp_codecs.postgres.refuse import shape_changed
from rdsp_codecs.postgres.requests import Requests
from rdsp_codecs.postgres.resolving import FLUSH
from rdsp_codecs.postgres.session_state import HARMLESS_TAG_HEADS, tag_pins
from rdsp_codecs.postgres.statements import (
    NO_ROWS,
    PREFIX,
    UNKNOWN,
    Statement,
    close_frame,
    failing_frame,
    frame,
    shape_of,
)
from rdsp_codecs.postgres.syncing import Sync, Syncer
from rdsp_codecs.postgres.unnamed import Put
from rdsp_codecs.transaction import Transaction
from rdsp_codecs.verdicts import DROP, KEEP

_MAY_BE_LONG: Final = b"EDN"
_ALL: Final = b" ALL\0"
_DATA_ROW: Final = ord("D")
_FATAL: Final = re.compile(rb"S[^\0]*\0V(?:FATAL|PANIC)\0").match
"""The first two fields of an ErrorResponse: severity as shown, and as it is."""
_GONE: Final = re.compile(rb"S[^\0]*\0V[^\0]*\0C26000\0M[^\0]*" + PREFIX + rb"[0-9]+(?![0-9?])").match
"""Error 26000 about a statement of ours (and not about `NOBODY`)."""
_MISFIT: Final = re.compile(rb"S[^\0]*\0V[^\0]*\0C08P01\0M[^\0]*?(" + PREFIX + rb"[0-9]+)(?![0-9?])").match
"""Error 08P01 about parameters that do not fit a statement of ours, which it names."""
_ABORTED: Final = re.compile(rb"S[^\0]*\0V[^\0]*\0C25P02\0").match
_NOT_A_TEXT: Final = re.compile(rb"S[^\0]*\0V[^\0]*\0C22(?:021|P05)\0").match
_ENDS: Final = frozenset({Kind.QUERY, Kind.FUNCTION, Kind.SYNC})
_SERVER_WIDE: Final = frozenset({"in_hot_standby", "is_superuser"})
"""Reported parameters that change without the session having set anything that another could inherit."""


def _resumes(note: object) -> bool:
    """Whether the client's messages wait for the reply with this note."""
    return isinstance(note, Replace) or (isinstance(note, Learn) and note.resumes)


def _with_clients_name(name: bytes, buffer: bytes, start: int, end: int) -> bytes | None:
    """The error of a Bind, with the client's name for the statement where the server says ours."""
    found = _MISFIT(buffer, start, end)
    if found is None or int.from_bytes(buffer[start - 4 : start], "big") != end - start + 4:
        return KEEP
    return frame(b"E", buffer[start : found.start(1)] + name + buffer[found.end(1) : end])


class Replies:
    """Judges the server's messages.

    Invariant: outside of asynchronous messages, every reply matches the oldest entry of the ledger; one that does not
    is a `WireError`.
    """

    def __init__(self, dialogue: Dialogue, requests: Requests, syncer: Syncer, handing: Handing) -> None:
        self._d = dialogue
        self._handing = handing
        self._ledger = dialogue.ledger
        self._requests = requests
        self._syncer = syncer

    def judge(self, tag: int, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        """See `rdsp_codecs.filtering.Judge`."""
        method = _BY_TAG.get(tag)
        if method is None:
            return KEEP
        if shown < total and tag not in _MAY_BE_LONG:
            msg = f"a server message of {total} bytes that should be short"
            raise WireError(msg)
        verdict = (
            DROP if shown < total and self._is_long_answer(tag) else method(self, buffer, start + 5, start + shown)
        )
        if self._d.settling and self._ledger.empty:
            self._d.paused = self._d.settling = False
        return verdict

    def _is_long_answer(self, tag: int) -> bool:
        """Whether what comes is a setting's value that is too long to be held: then the answer is given up."""
        head = self._ledger.head
        if tag != _DATA_ROW or not _is_own(head):
            return False
        if head is not None and isinstance(head.note, Question):
            head.note.failed = True
        return True

    # -- the end of things ----------------------------------------------------------------------------------------

    def _ready(self, buffer: bytes, start: int, end: int) -> bytes | None:
        d, ledger = self._d, self._ledger
        transaction = TRANSACTIONS.get(buffer[start]) if end > start else None
        if transaction is None:
            msg = "ReadyForQuery with an unknown status"
            raise WireError(msg)
        d.transaction = transaction
        ledger.drop(Kind.COPY_END)
        head = ledger.head
        if head is owed.PROBE or (head is None and d.probe_due):
            # The Sync in doubt was answered after all: the client is owed this one too.
            d.skipping = False
            if head is None:
                # So were all behind it, and nothing of the client's has to come before they are counted.
                d.probe_due = False
                d.injected.append(self._requests.probe())
            return KEEP
        entry = ledger.settle()
        if entry.kind not in _ENDS:
            msg = "ReadyForQuery came too early"
            raise WireError(msg)
        if entry is owed.UNCERTAIN_SYNC:
            d.uncertain -= 1
        elif isinstance(entry.note, Put):
            entry.note.done()
        elif entry is owed.LOST_QUERY or entry is owed.LOST_SYNC:
            msg = "more requests behind a failed COPY than can be told apart"
            raise WireError(msg)
        d.copying = d.copy_runs = False
        d.copy_syncs = 0
        ledger.drop(Kind.COPY_END)
        if entry.swallow and entry.kind == Kind.QUERY:
            self._own_query_over(entry.note)
        if ledger.empty:
            d.settled()
            d.extended = False
            if d.policy.strict and not entry.swallow:
                d.doubt_everything()
            self._requests.texts.request_over(outside=transaction is Transaction.NONE)
            d.doubts.request_over(texts=len(d.recent), outside=transaction is Transaction.NONE)
            d.forget_texts()
            d.over = True
        return DROP if entry.swallow else KEEP

    def _own_query_over(self, note: object) -> None:
        """A query of the proxy's own is through."""
        d = self._d
        d.asking -= 1
        if isinstance(note, Question):
            self._syncer.answered(note)
        elif isinstance(note, Sync) and (note.last or note.error):
            self._syncer.synced(note)
        elif isinstance(note, (Mark, CleanUp)):
            self._handing.done(note)

    def _complete(self, buffer: bytes, start: int, end: int) -> bytes | None:
        d = self._d
        head = self._ledger.head
        if _is_ours(head):
            return self._executed(buffer, start, end)
        if head is not None and isinstance(head.note, Dropped):
            d.statements.forget(head.note.name)
            return KEEP
        if buffer[start : start + 6] not in HARMLESS_TAG_HEADS:
            self._syncer.see_tag(buffer[start : end - 1])
            reason = tag_pins(buffer[start : end - 1], d.heads, d.reasons)
            if reason is PinReason.SQL_PREPARED_STATEMENT:
                if not buffer.startswith(_ALL, end - len(_ALL)):
                    d.doubts.name_statements()
            elif reason is not None and reason not in self._d.pins.active():
                if reason is PinReason.LISTEN and reason not in d.reasons:
                    d.listening.name(None)  # in a text that was not held
                d.pin(reason, "; ".join(map(self._requests.texts.detail, d.recent)))
        if head is not None and head.kind == Kind.EXECUTE:
            self._ledger.settle()
            self._ledger.drop(Kind.COPY_END)
            d.copy_syncs = 0
        elif head is None or head.kind != Kind.QUERY:
            msg = "CommandComplete that nobody asked for"
            raise WireError(msg)
        elif d.copy_runs:
            # The text may have another COPY, with data and an end of its own.
            d.copy_runs, d.copy_syncs = False, 0
            self._ledger.take(Kind.COPY_END)
        return KEEP

    def _error(self, buffer: bytes, start: int, end: int) -> bytes | None:
        d, ledger = self._d, self._ledger
        if _FATAL(buffer, start, end) is not None:
            if self._syncer.spares_request():
                d.unfit, d.broken = buffer[start:end], True
                return DROP
            d.fatal = True
            return KEEP
        head = ledger.head
        if _is_own(head):
            assert head is not None
            return self._own_query_failed(head.note, buffer[start:end])
        d.doubts.error(undoes=d.mending)
        if not d.native_all and d.state is not None and _GONE(buffer, start, end) is not None:
            d.state.lost_statements()
        if head is None or head.kind in (Kind.QUERY, Kind.FUNCTION):
            d.copying = d.copy_runs = False
            self._doubt_in_query()
            self._may_be_unread(buffer, start, end)
            replaced = head is not None and isinstance(head.note, Replace) and not _ABORTED(buffer, start, end)
            return head.note.error if head is not None and replaced else KEEP
        if isinstance(head.note, Learn) and head.note.name and not d.native:
            ledger.skip_until(Kind.SYNC)  # what it looks like is not known then, and is not compared
            return DROP
        was_copying = head.kind == Kind.EXECUTE and d.copy_syncs
        synced = ledger.skip_until(Kind.SYNC)
        if head.kind == Kind.PARSE and isinstance(head.note, Put):
            # Unlike what stands behind it, a failed Parse has dropped the unnamed statement that was there.
            head.note.fail()
            self._may_be_unread(buffer, start, end)
        d.skipping = not synced
        d.copying = False
        if d.paused and not d.settling and not any(map(_resumes, ledger.notes())):
            d.paused = False
            d.prologue_failed = d.query_waits and head.swallow
        if was_copying:
            self._doubt(synced=synced)
        if isinstance(head.note, Named):
            return _with_clients_name(head.note.name, buffer, start, end)
        if head.kind == Kind.PARSE and head.swallow and head is not owed.PARSE_IN_VAIN and _ABORTED(buffer, start, end):
            return frame(b"E", buffer[start:end].replace(b"Rexec_parse_message\0", b"Rexec_bind_message\0"))
        return head.note.error if isinstance(head.note, Replace) else KEEP

    def _own_query_failed(self, note: object, payload: bytes) -> bytes:
        if isinstance(note, Question):
            note.refuse(payload)
        elif isinstance(note, Sync):
            note.error = payload
        elif isinstance(note, (Mark, CleanUp)):
            self._handing.failed(note, payload)
        else:
            msg = "a query of the proxy's own failed"
            raise WireError(msg)
        return DROP

    def _may_be_unread(self, buffer: bytes, start: int, end: int) -> None:
        """A text that is not in the client's encoding fails before it could drop the unnamed statement."""
        if self._d.state is not None and _NOT_A_TEXT(buffer, start, end):
            self._d.state.last = UNKNOWN

    def _doubt(self, *, synced: bool) -> None:
        """A COPY failed, and we cannot know whether the server had read a Sync that was sent before the data."""
        d = self._d
        d.copy_syncs = 0
        if not synced:
            d.probe_due = True
        elif len(self._ledger) == 1:
            d.injected.append(self._requests.probe())
        else:
            self._ledger.replace_head(owed.LOST_SYNC)

    def _doubt_in_query(self) -> None:
        """The same where a simple query began it, if one did: after its end such a Sync is answered, or was ignored."""
        d = self._d
        if not d.copy_syncs:
            return
        d.copy_syncs = 0
        if all(entry is owed.SYNC or entry is owed.COPY_END for entry in self._ledger.owed()[1:]):
            d.extended = True
            d.injected.append(self._requests.probe())
        elif not self._ledger.empty:
            self._ledger.replace_head(owed.LOST_QUERY)

    def _notified(self, buffer: bytes, start: int, end: int) -> bytes | None:
        listening, state = self._d.listening, self._d.state
        assert state is not None
        shown = listening.notified(buffer[start:end], state.process_id)
        if listening.strays:
            listening.strays = False
            self._d.pin(PinReason.UNRECOGNISED_STATE, "a notification that no text of the session's asked for")
        return shown

    # -- extended protocol ----------------------------------------------------------------------------------------

    def _parsed(self, buffer: bytes, start: int, end: int) -> bytes | None:
        entry = self._settle(Kind.PARSE)
        if entry.note is not None:
            entry.note.done()
        return DROP if entry.swallow else KEEP

    def _bound(self, buffer: bytes, start: int, end: int) -> bytes | None:
        return DROP if self._settle(Kind.BIND).swallow else KEEP

    def _closed(self, buffer: bytes, start: int, end: int) -> bytes | None:
        entry = self._settle(Kind.CLOSE)
        if isinstance(entry.note, Learn):
            self._d.paused = False
        elif entry.note is not None:
            entry.note.done()
        return DROP if entry.swallow else KEEP

    def _executed(self, buffer: bytes, start: int, end: int) -> bytes | None:
        head = self._ledger.head
        ours = _is_ours(head)
        if head is not None and head.kind != Kind.QUERY:
            self._settle(Kind.EXECUTE)
            self._ledger.drop(Kind.COPY_END)
        return DROP if ours else KEEP

    def _types(self, buffer: bytes, start: int, end: int) -> bytes | None:
        head = self._ledger.head
        if head is None or head.kind != Kind.DESCRIBE:
            msg = "ParameterDescription that nobody asked for"
            raise WireError(msg)
        if isinstance(head.note, Learn):
            head.note.types = buffer[start:end]
        return DROP if head.swallow else KEEP

    def _rows(self, buffer: bytes, start: int, end: int) -> bytes | None:
        head = self._ledger.head
        if head is not None and head.kind == Kind.QUERY:
            return DROP if head.swallow else KEEP
        return self._described(buffer, start, end, rows=True)

    def _row(self, buffer: bytes, start: int, end: int) -> bytes | None:
        head = self._ledger.head
        if not _is_ours(head):
            return KEEP
        if head is not None and isinstance(head.note, Question):
            head.note.row(buffer[start:end])
        return DROP

    def _notice(self, buffer: bytes, start: int, end: int) -> bytes | None:
        """What is told about a message of the proxy's own was told before, when the client's was answered."""
        head = self._ledger.head
        return DROP if head is not None and head.swallow and head is not owed.PARSE_IN_VAIN else KEEP

    def _no_rows(self, buffer: bytes, start: int, end: int) -> bytes | None:
        return self._described(buffer, start, end, rows=False)

    def _described(self, buffer: bytes, start: int, end: int, *, rows: bool) -> bytes | None:
        entry = self._settle(Kind.DESCRIBE)
        learn = entry.note
        if isinstance(learn, AsItWas):
            return learn.answer
        if isinstance(learn, Learn):
            statement = learn.statement
            if statement is not None and statement.verdict.needs_native_names and not statement.result:
                statement.result = frame(b"T", buffer[start:end]) if rows else frame(b"n")
            self._learn(learn, shape_of(buffer[start:end]) if rows else NO_ROWS)
        return DROP if entry.swallow else KEEP

    def _learn(self, learn: Learn, shape: bytes) -> None:
        d = self._d
        statement, state = learn.statement, d.state
        assert isinstance(statement, Statement)
        assert state is not None
        if learn.resumes:
            d.paused = False
        if d.native and learn.name:
            # It stands there already; whoever executes it is told, as the server would have told.
            if statement.shape not in (None, shape) and not statement.verdict.needs_native_names:
                statement.changed = True
                self._ledger.owe(owed.SWALLOWED_CLOSE)
                d.injected += [close_frame(learn.name), FLUSH]
            return
        if statement.shape is None or statement.assumed or statement.verdict.needs_native_names:
            # What an EXECUTE returns is for the statement to say that it names now: the server keeps no plan of it.
            statement.described(learn.types, shape)
            statement.assumed = False
            if statement.source is None:
                d.shared.learn(statement)
        elif statement.shape != shape:
            self._refuse_changed(statement)
            return
        if statement.home is state.epoch:
            d.statements.settle_on(state, statement)

    def _refuse_changed(self, statement: Statement) -> None:
        """On this backend the statement would mean something else: the error that the old plan would have raised."""
        d, state = self._d, self._d.state
        assert state is not None
        if statement.home is state.epoch:
            state.garbage.append(statement.home_name)
            statement.home, statement.home_name = None, b""
        else:
            state.last = UNKNOWN
        self._ledger.owe(Owed(Kind.BIND, note=Replace(shape_changed())))
        d.injected += [failing_frame(), FLUSH]
        d.paused = True

    def _settle(self, kind: int) -> Owed:
        entry = self._ledger.settle()
        if entry.kind != kind:
            msg = f"a reply to {KIND_NAMES[kind]} where one to {KIND_NAMES[entry.kind]} was due"
            raise WireError(msg)
        return entry

    # -- the rest -------------------------------------------------------------------------------------------------

    def _copy_in(self, buffer: bytes, start: int, end: int) -> bytes | None:
        d, ledger = self._d, self._ledger
        head = ledger.head
        if head is not None and (head.kind == Kind.EXECUTE or head.kind == Kind.QUERY):
            d.copy_runs = head.kind == Kind.QUERY
            uncertain = ledger.notes().count(owed.UNCERTAIN_SYNC.note)
            d.copy_syncs += ledger.remove(Kind.SYNC, before=Kind.COPY_END)
            # What the batches of those Syncs have named was answered in front of the Execute.
            d.uncertain -= uncertain - ledger.notes().count(owed.UNCERTAIN_SYNC.note)
        d.copying = not ledger.has(Kind.COPY_END)
        if d.copying and d.settling:
            # What the client's messages wait for does not come before they do.
            d.paused = d.settling = False
        return KEEP

    def _parameter(self, buffer: bytes, start: int, end: int) -> bytes | None:
        name, _, value = buffer[start : end - 1].partition(b"\0")
        d, state = self._d, self._d.state
        if _is_ours(self._ledger.head) and not _is_own(self._ledger.head):
            return DROP  # up to version 13: what `Resolver` sets for a moment
        key, text = name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")
        if state is not None and state.server_parameters.get(key) != text:
            # Shared with other backends: another mapping, not another value in it.
            same = d.told is state.server_parameters
            state.server_parameters = {**state.server_parameters, key: text}
            if key not in _SERVER_WIDE and not _is_own(self._ledger.head):
                d.doubts.report(name.lower())
                d.statements.altered = True
            if same and not _is_own(self._ledger.head):
                d.told = state.server_parameters
        if _is_own(self._ledger.head):
            return DROP
        self._requests.texts.parameter(key, text)
        if d.told.get(key) != text:
            d.told = {**d.told, key: text}
        return KEEP


def _is_own(head: Owed | None) -> bool:
    """Whether what comes answers a query of the proxy's own."""
    return head is not None and head.swallow and head.kind == Kind.QUERY


def _is_ours(head: Owed | None) -> bool:
    """The same, or whether it answers an Execute of the proxy's own."""
    return head is not None and head.swallow and (head.kind == Kind.QUERY or head.kind == Kind.EXECUTE)


_BY_TAG: Final[dict[int, Callable[[Replies, bytes, int, int], bytes | None]]] = {
    ord("Z"): Replies._ready,
    ord("C"): Replies._complete,
    ord("E"): Replies._error,
    ord("1"): Replies._parsed,
    ord("2"): Replies._bound,
    ord("3"): Replies._closed,
    ord("t"): Replies._types,
    ord("T"): Replies._rows,
    ord("n"): Replies._no_rows,
    ord("s"): Replies._executed,
    ord("I"): Replies._executed,
    ord("G"): Replies._copy_in,
    ord("S"): Replies._parameter,
    ord("D"): Replies._row,
    ord("N"): Replies._notice,
    ord("A"): Replies._notified,
}
"""What judges a message, by its tag; one table for all sessions."""
