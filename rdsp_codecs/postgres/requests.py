"""The client half of the relay: judges every message on its way to the server.

Each message is owed its reply in the ledger; statements get the backend's names; texts are inspected for state that
the protocol does not report. Called by the relay's client filter only while a backend is attached.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from rdsp_codecs.errors import WireError
from rdsp_codecs.filtering import DROP, KEEP, STOP
from rdsp_codecs.ledger import Owed
from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres import dialogue as owed
from rdsp_codecs.postgres.dialogue import Dialogue, Kind, Learn, Replace
from rdsp_codecs.postgres.refuse import duplicate_statement, sequence_memory_lost
from rdsp_codecs.postgres.session_state import HARMLESS, Verdict, function_pins
from rdsp_codecs.postgres.statements import (
    NOBODY,
    Statement,
    close_frame,
    describe_frame,
    failing_frame,
    foreign_name,
    frame,
    new_name,
    parse_frame,
)
from rdsp_codecs.postgres.texts import Texts
from rdsp_codecs.transaction import Transaction

if TYPE_CHECKING:
    from rdsp_codecs.postgres.state import PostgresState

FLUSH: Final = frame(b"H")
SYNC: Final = frame(b"S")
_FAILING_QUERY: Final = frame(b"Q", b"SELECT pg_catalog.rdsp_sequence_memory_is_lost()\0")
_NAMING: Final = b"PBDC"
_CLOSE_UNNAMED: Final = close_frame(b"")


class Requests:
    """Judges the client's messages.

    Invariant: for every message handed on while the server listens (not `skipping`) exactly one entry is owed.
    """

    def __init__(self, dialogue: Dialogue) -> None:
        self._d = dialogue
        self._book = dialogue.statements
        self._owe = dialogue.ledger.owe
        self._undescribed: tuple[bytes, Statement] | None = None
        self._naming = False
        """The batch that goes out now gives names to statements, or takes them."""
        self._fresh_unnamed: Statement | None = None
        """The unnamed statement when its Parse is in the batch that goes out now."""
        self.bye = False
        self.texts = Texts(debug_text=dialogue.policy.debug_text)
        self.by_tag: dict[int, Callable[[bytes, int, int, int], bytes | None]] = {
            ord("Q"): self._query,
            ord("P"): self._parse,
            ord("B"): self._bind,
            ord("D"): self._describe,
            ord("E"): self._execute,
            ord("C"): self._close,
            ord("S"): self._sync,
            ord("H"): self._flush,
            ord("F"): self._function,
            ord("c"): self._copy_end,
            ord("f"): self._copy_end,
            ord("X"): self._terminate,
        }

    def judge(self, tag: int, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        """See `rdsp_codecs.filtering.Judge`."""
        method = self.by_tag.get(tag)
        if method is None:
            msg = f"invalid frontend message type {tag}"
            raise WireError(msg)
        if self.bye:
            return DROP
        if self._d.uncertain and tag in _NAMING and self._settles_first():
            return STOP
        if self._undescribed is None:
            return method(buffer, start, shown, total)
        prefix = self._describe_parsed(tag, buffer, start, total)
        verdict = method(buffer, start, shown, total)
        if not prefix or verdict is STOP:
            self._d.injected.insert(0, prefix) if prefix else None
            return verdict
        return prefix + (buffer[start : start + shown] if verdict is KEEP else verdict)

    def _settles_first(self) -> bool:
        """Have the client's messages wait until nothing is owed. Returns False when nothing is, or nothing comes."""
        d = self._d
        if d.copying:
            return False  # the server waits for COPY data: whatever this message is, it will refuse it
        if d.ledger.empty:
            d.uncertain = 0
            return False
        d.injected.append(FLUSH)
        d.paused = d.settling = d.extended = True
        return True

    # -- simple protocol ------------------------------------------------------------------------------------------

    def _query(self, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        d = self._d
        if d.skipping:
            return self._end_failed_prologue()
        if shown < total:
            d.pin(PinReason.UNRECOGNISED_STATE, "a query over max_held_bytes")
        else:
            text = buffer[start + 5 : start + total - 1]
            verdict = self.texts.inspect(text)
            if verdict is not HARMLESS:
                if self._heed(verdict):
                    return STOP
                if self._must_not_read_sequences(verdict):
                    self._owe(Owed(Kind.QUERY, note=Replace(sequence_memory_lost())))
                    self._book.unnamed = self._backend().unnamed = None
                    return _FAILING_QUERY
            d.texts.append(text)
        book, state = self._book, self._backend()
        entry = owed.QUERY
        if d.extended:
            # Behind unsynced messages: should one of them fail, the server ignores this query too.
            before, there = book.unnamed, state.unnamed

            def skipped() -> None:
                book.unnamed, state.unnamed = before, there

            entry = Owed(Kind.QUERY, undo=skipped)
        book.unnamed = state.unnamed = None
        self._owe(entry)
        return KEEP

    def _end_failed_prologue(self) -> bytes | None:
        """A query (or function call) while the server skips. It is ignored, unless our own messages made it skip."""
        d = self._d
        if not d.prologue_failed:
            return KEEP
        d.prologue_failed = d.skipping = False
        self._owe(owed.SYNC)
        return SYNC

    def _heed(self, verdict: Verdict) -> bool:
        """Pin what must be pinned. Returns whether the message must wait for native names."""
        d = self._d
        for reason, detail in verdict.pins:
            d.pin(reason, detail)
        if verdict.resets and d.policy.has_init_query:
            # What init_query set is reset with the rest: this backend is no longer like the others.
            d.pin(PinReason.SESSION_SETTING, "reset of what init_query set")
        if verdict.needs_native_names and not d.native:
            d.pin(PinReason.SQL_PREPARED_STATEMENT, "")
            if d.transaction is not Transaction.FAILED and not d.copying:
                return self._settles_first() or self._go_native()
        return False

    def _must_not_read_sequences(self, verdict: Verdict) -> bool:
        """Whether the text asks for currval or lastval on a backend where the answer may be a stranger's.

        From the first such text on, backends of this pool forget sequences when they change hands.
        """
        d = self._d
        if not verdict.reads_sequence_memory or d.transaction is Transaction.FAILED:
            return False
        d.shared.sequence_minded = True
        if self._backend().sequences_mixed:
            return True
        d.pin(PinReason.SEQUENCE_STATE, "currval or lastval")
        return False

    def _go_native(self) -> bool:
        """Give every statement of the session its own name on this backend, which is pinned from here on.

        The proxy's names go first, so that the client can see and run only its own. Returns whether replies must be
        waited for.
        """
        d, state = self._d, self._backend()
        d.native = True
        names = [*state.garbage, *state.statements.values()]
        names += [s.home_name for s in self._book.named.values() if s.home is state and s.home_name]
        state.garbage.clear()
        state.statements.clear()
        parts = [close_frame(name) for name in names]
        for _ in names:
            self._owe(owed.SWALLOWED_CLOSE)
        statements = list(self._book.named.items())
        for name, statement in statements:
            parts.append(parse_frame(name, statement))
            self._owe(Owed(Kind.PARSE, swallow=True, undo=self._forgetting(name)))
        if not parts:
            return False
        last = Learn(None, resumes=True)
        parts += [close_frame(NOBODY), FLUSH]
        self._owe(Owed(Kind.CLOSE, swallow=True, note=last))
        d.injected.extend(parts)
        d.paused = d.extended = True
        return True

    def _forgetting(self, name: bytes) -> Callable[[], None]:
        def forget() -> None:
            self._book.named.pop(name, None)

        return forget

    def _function(self, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        if self._d.skipping:
            return self._end_failed_prologue()
        reason = function_pins(int.from_bytes(buffer[start + 5 : start + 9], "big"))
        if reason is not None:
            self._d.pin(reason, "a function call by the protocol")
        self._owe(owed.FUNCTION)
        return KEEP

    # -- extended protocol ----------------------------------------------------------------------------------------

    def _parse(self, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        d = self._d
        if d.skipping:
            return KEEP
        name_end = _terminator(buffer, start + 5, start + shown)
        name = buffer[start + 5 : name_end]
        statement = self._statement(buffer, name_end + 1, start + shown, whole=shown == total)
        if statement.verdict.needs_native_names and self._heed(statement.verdict):
            return STOP
        d.extended = True
        if d.native:
            self._owe(owed.PARSE)
            if name:
                self._book.named[name] = statement
            return KEEP
        if not name:
            self._parse_unnamed(statement)
            return KEEP
        if name in self._book.named:
            return self._parse_again(name, statement)
        state = self._backend()
        statement.home, statement.home_name = state, new_name(state)
        self._book.named[name] = statement
        self._naming = True
        self._owe(Owed(Kind.PARSE, undo=self._forgetting(name)))
        if shown == total:
            self._undescribed = (name, statement)
            return parse_frame(statement.home_name, statement)
        rest = buffer[name_end + 1 : start + shown]
        size = total + len(statement.home_name) - len(name) - 1
        return b"".join((b"P", size.to_bytes(4, "big"), statement.home_name, b"\0", rest))

    def _statement(self, buffer: bytes, start: int, end: int, *, whole: bool) -> Statement:
        if not whole:
            self._d.pin(PinReason.UNRECOGNISED_STATE, "a statement over max_held_bytes")
            return Statement(None, b"\0\0", HARMLESS)
        text_end = _terminator(buffer, start, end)
        text = buffer[start:text_end]
        return Statement(text, buffer[text_end + 1 : end], self.texts.inspect(text))

    def _parse_unnamed(self, statement: Statement) -> None:
        book, state = self._book, self._backend()
        before, there = book.unnamed, state.unnamed

        def skipped() -> None:
            book.unnamed, state.unnamed = before, there

        book.unnamed = state.unnamed = self._fresh_unnamed = statement
        self._owe(Owed(Kind.PARSE, note=statement, undo=skipped))

    def _parse_again(self, name: bytes, statement: Statement) -> bytes:
        """A name that exists. The server first analyses the text, and only then refuses the name: so do we."""
        state = self._backend()
        spare = new_name(state)
        self._owe(Owed(Kind.PARSE, swallow=True))
        self._owe(Owed(Kind.BIND, note=Replace(duplicate_statement(name))))
        state.garbage.append(spare)
        return parse_frame(spare, statement) + failing_frame()

    def _bind(self, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        d = self._d
        if d.skipping:
            return KEEP
        d.extended = True
        portal_end = buffer.find(b"\0", start + 5, start + shown) + 1
        name_end = buffer.find(b"\0", portal_end, start + shown) if portal_end else -1
        if name_end < 0:
            msg = "malformed Bind"
            raise WireError(msg)
        name = buffer[portal_end:name_end]
        statement = self._book.named.get(name) if name else self._book.unnamed
        if statement is not None:
            if statement.verdict is not HARMLESS:
                if self._heed(statement.verdict):
                    return STOP
                if self._must_not_read_sequences(statement.verdict):
                    self._owe(Owed(Kind.BIND, note=Replace(sequence_memory_lost())))
                    return failing_frame()
            statement.bound = True
            d.texts.append(statement.text or b"")
        if d.native:
            self._owe(owed.BIND)
            return KEEP
        server_name, prefix = self._resolve(name, statement)
        if server_name is None:
            return STOP
        self._owe(owed.BIND)
        if server_name == name and not prefix:
            return KEEP
        size = total - 1 + len(server_name) - len(name)
        head = (b"B", size.to_bytes(4, "big"), buffer[start + 5 : portal_end], server_name)
        return b"".join((prefix, *head, buffer[name_end : start + shown]))

    def _resolve(self, name: bytes, statement: Statement | None) -> tuple[bytes | None, bytes]:
        """The backend's name for a client's statement, and bytes to send first; name None: a prologue is on its way."""
        state = self._backend()
        if not name:
            return self._resolve_unnamed(state, statement)
        if statement is None:
            return foreign_name(name), b""
        server_name = self._book.name_on(state, statement)
        if server_name is None:
            self._prologue(state, statement, new_name(state))
        return server_name, b""

    def _resolve_unnamed(self, state: PostgresState, statement: Statement | None) -> tuple[bytes | None, bytes]:
        if statement is state.unnamed:
            return b"", b""
        if statement is None:
            # The backend still has somebody else's unnamed statement: it must not be found.
            stranger, state.unnamed = state.unnamed, None

            def skipped() -> None:
                state.unnamed = stranger

            self._owe(Owed(Kind.CLOSE, swallow=True, undo=skipped))
            self._d.extended = True
            return b"", _CLOSE_UNNAMED
        self._prologue(state, statement, b"")
        return None, b""

    def _prologue(self, state: PostgresState, statement: Statement, name: bytes) -> None:
        """Parse a statement on a backend that does not have it, and see that it still is what it was.

        The client's messages wait for the description. Flush, not Sync: a Sync would end an implicit transaction.
        """

        def failed() -> None:
            if name:
                statement.home, statement.home_name = None, b""
            else:
                state.unnamed = None

        if name:
            statement.home, statement.home_name = state, name
        else:
            state.unnamed = statement
        self._owe(Owed(Kind.PARSE, swallow=True, undo=failed))
        learn = Learn(statement, resumes=True)
        self._owe(Owed(Kind.DESCRIBE, swallow=True, note=learn))
        self._d.injected += [parse_frame(name, statement), describe_frame(name), FLUSH]
        self._d.paused = True
        self._d.extended = True

    def _describe(self, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        d = self._d
        if d.skipping:
            return KEEP
        d.extended = True
        if d.native or buffer[start + 5] != ord("S"):
            self._owe(owed.DESCRIBE)
            return KEEP
        name = buffer[start + 6 : start + total - 1]
        statement = self._book.named.get(name) if name else self._book.unnamed
        server_name, prefix = self._resolve(name, statement)
        if server_name is None:
            return STOP
        if statement is not None and statement.shape is None:
            self._owe(Owed(Kind.DESCRIBE, note=Learn(statement)))
        else:
            self._owe(owed.DESCRIBE)
        return prefix + describe_frame(server_name)

    def _describe_parsed(self, tag: int, buffer: bytes, start: int, total: int) -> bytes:
        """Behind the Parse of a named statement comes a Describe: the client's own if it is next, else one of ours."""
        assert self._undescribed is not None
        name, statement = self._undescribed
        self._undescribed = None
        if tag == ord("D") and buffer[start + 5 : start + total - 1] == b"S" + name:
            return b""
        if self._d.skipping or statement.shape is not None or not statement.home_name:
            return b""
        self._owe(Owed(Kind.DESCRIBE, swallow=True, note=Learn(statement)))
        return describe_frame(statement.home_name)

    def _execute(self, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        if not self._d.skipping:
            self._d.extended = True
            self._owe(owed.EXECUTE)
        return KEEP

    def _close(self, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        d = self._d
        if d.skipping:
            return KEEP
        d.extended = True
        if buffer[start + 5] != ord("S"):
            self._owe(owed.CLOSE)
            return KEEP
        name = buffer[start + 6 : start + total - 1]
        book, state = self._book, self._backend()
        if not name:
            before, there = book.unnamed, state.unnamed
            book.unnamed = state.unnamed = None

            def restore() -> None:
                book.unnamed, state.unnamed = before, there

            self._owe(Owed(Kind.CLOSE, undo=restore))
            return KEEP
        statement = book.named.pop(name, None)
        self._naming = True
        if statement is None:
            self._owe(owed.CLOSE)
        else:
            self._owe(Owed(Kind.CLOSE, undo=lambda: book.named.__setitem__(name, statement)))
        # The backend keeps its statement, which others may share; closing a name that nobody has is answered alike.
        return KEEP if d.native else close_frame(NOBODY)

    def _sync(self, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        d = self._d
        if d.copying:
            # A server in COPY ignores it. Should the COPY fail first, it does not: see `replies`.
            d.copy_syncs += 1
            return KEEP
        d.prologue_failed = False
        if d.probe_due:
            d.probe_due = d.skipping = False
            self._owe(owed.SYNC)
            return buffer[start : start + total] + self.probe()
        unnamed, self._fresh_unnamed = self._fresh_unnamed, None
        prefix = b""
        kept = unnamed is not None and unnamed is self._book.unnamed and not unnamed.bound
        if kept and unnamed is not None and unnamed.shape is None and not d.skipping:
            # Parsed, and kept for later: it may be executed on another backend, so we must know what it looks like.
            self._owe(Owed(Kind.DESCRIBE, swallow=True, note=Learn(unnamed)))
            d.extended = True
            prefix = describe_frame(b"")
        d.skipping = False
        if self._naming:
            self._naming = False
            d.uncertain += 1
            self._owe(owed.UNCERTAIN_SYNC)
        else:
            self._owe(owed.SYNC)
        return prefix + buffer[start : start + total] if prefix else KEEP

    def probe(self) -> bytes:
        """A marker whose reply shows that everything before it was answered."""
        self._owe(owed.PROBE)
        self._owe(owed.SWALLOWED_SYNC)
        return close_frame(NOBODY) + SYNC

    def _flush(self, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        return KEEP

    def _copy_end(self, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        d = self._d
        d.copying = False
        if not d.ledger.empty:
            self._owe(owed.COPY_END)
        return KEEP

    def _terminate(self, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        self.bye = True
        # The server carries out what stands in front of a good-bye, synced or not; Flush has it tell us when.
        return FLUSH if self._d.extended and not self._d.ledger.empty else DROP

    def _backend(self) -> PostgresState:
        state = self._d.state
        assert state is not None, "client messages are judged only while a backend is attached"
        return state


def _terminator(buffer: bytes, start: int, end: int) -> int:
    at = buffer.find(b"\0", start, end)
    if at < 0:
        msg = "invalid string in message"
        raise WireError(msg)
    return at
