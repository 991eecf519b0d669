"""The client half of the relay: judges every message on its way to the server.

Each message is owed its reply in the ledger; statements get the backend's names; texts are inspected for state that
the protocol does not report. Called by the relay's client filter only while a backend is attached.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from rdsp_codecs.errors import WireError
from rdsp_codecs.ledger import Owed
from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres import dialogue as owed
from rdsp_codecs.postgres.dialogue import SHOWN, AsItWas, Dialogue, Kind, Learn, Replace
from rdsp_codecs.postgres.heeding import Heeding
from rdsp_codecs.postgres.lexer import NAME_BYTES
from rdsp_codecs.postgres.naming import explains
from rdsp_codecs.postgres.notable import Passing
from rdsp_codecs.postgres.refuse import (
    duplicate_statement,
    misfit,
    shape_changed,
    too_many_statements,
    unknown_statement,
)
from rdsp_codecs.postgres.resolving import FLUSH, Resolver
from rdsp_codecs.postgres.session_state import HARMLESS, function_pins
from rdsp_codecs.postgres.statements import (
    NOBODY,
    Statement,
    close_frame,
    describe_frame,
    failing_frame,
    frame,
    new_name,
    parse_frame,
)
from rdsp_codecs.postgres.texts import Texts
from rdsp_codecs.postgres.unnamed import NOTHING
from rdsp_codecs.transaction import Transaction
from rdsp_codecs.verdicts import DROP, KEEP, STOP, Head

if TYPE_CHECKING:
    from rdsp_codecs.postgres.state import PostgresState

SYNC: Final = frame(b"S")
_FAILING_QUERY: Final = frame(b"Q", b"SELECT pg_catalog.rdsp_refuses()\0")
_NAMING: Final = b"PBDC"
_STATEMENT: Final = ord("S")
_SHORTEST_NAMING: Final = 7


class Requests:
    """Judges the client's messages.

    Invariant: for every message handed on while the server listens (not `skipping`) exactly one entry is owed.
    """

    def __init__(self, dialogue: Dialogue) -> None:
        self._d = dialogue
        self._book = dialogue.statements
        self._ledger = dialogue.ledger
        self._owe = dialogue.ledger.owe
        self._most_kept = dialogue.policy.max_held // 2
        self._most_owed = dialogue.policy.max_owed
        self._most_named = dialogue.policy.max_session_statements
        self._undescribed: tuple[bytes, Statement] | None = None
        self._fresh_unnamed: Statement | None = None
        """The unnamed statement when its Parse is in the batch that goes out now."""
        self.bye = False
        self.texts = Texts(debug_text=dialogue.policy.debug_text, pin_sequences=dialogue.policy.pin_sequences)
        self._resolver = Resolver(dialogue)
        self._heeding = Heeding(dialogue, self.texts, self._resolver)

    def judge(self, tag: int, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        """See `rdsp_codecs.filtering.Judge`."""
        method = _BY_TAG[tag]  # others the filter refuses: see `framing`
        if self.bye:
            return DROP
        if (self._d.uncertain or self._d.dropping) and tag in _NAMING and self._heeding.settles_first():
            return STOP
        if (self._d.kept > self._most_kept or len(self._ledger) >= self._most_owed) and self._heeding.settles_first():
            return STOP
        if self._undescribed is None:
            return method(self, buffer, start, shown, total)
        prefix = self._describe_parsed(tag, buffer, start, total)
        verdict = method(self, buffer, start, shown, total)
        if not prefix or verdict is STOP:
            self._d.injected.insert(0, prefix) if prefix else None
            return verdict
        whole = prefix + (buffer[start : start + shown] if verdict is KEEP else verdict)
        return Head(whole) if shown < total and (verdict is KEEP or type(verdict) is Head) else whole

    @property
    def at_rest(self) -> bool:
        """No message is waited for because of the one before it, and no good-bye was said."""
        return self._undescribed is None and self._fresh_unnamed is None and not self.bye

    # -- simple protocol ------------------------------------------------------------------------------------------

    def _query(self, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        d = self._d
        if d.skipping or d.prologue_failed:
            return self._end_failed_prologue()
        alone = d.transaction is Transaction.NONE and not d.extended
        if shown < total:
            d.passing = Passing()
            d.saw(buffer[start + 5 : start + 5 + SHOWN], HARMLESS)
            self.passes(buffer[start + 5 : start + shown])
        else:
            text = buffer[start + 5 : start + total - 1]
            verdict = self.texts.inspect(text)
            if verdict is not HARMLESS:
                dropped = self._resolver.drops_by_book(text, verdict)
                if self._heeding.settles_first() if dropped else self._heeding.heed(verdict):
                    d.query_waits = True
                    if alone and not d.settling:
                        self._end_prologue()
                    return STOP
                if dropped:
                    return self._resolver.drop(dropped)
                refusal = self._heeding.refusal(verdict)
                if refusal:
                    self._owe(Owed(Kind.QUERY, note=Replace(refusal), undo=d.put(None).skip))
                    return _FAILING_QUERY
            self._heeding.saw(text, verdict)
        book, state = self._book, self._backend()
        if d.extended:
            # Behind unsynced messages: should one of them fail, the server ignores this query too.
            made = d.put(None)
            self._owe(Owed(Kind.QUERY, note=made, undo=made.skip))
        else:
            book.last = state.last = NOTHING
            self._owe(owed.QUERY)
        return KEEP

    def passes(self, piece: bytes) -> None:
        """More of a query that is too long to be held: a pin, should there be anything in it to look at."""
        d = self._d
        if d.passing is not None and d.passing.may_matter(piece):
            d.passing = None
            d.pin(PinReason.UNRECOGNISED_STATE, "something in a query over max_held_bytes")

    def _end_prologue(self) -> None:
        """Have a prologue end before the query that waits for it.

        It may execute something. From 18 on an Execute begins an implicit transaction, which a query would not end.
        """
        self._d.injected.append(SYNC)
        self._owe(owed.SWALLOWED_SYNC)

    def _end_failed_prologue(self) -> bytes | None:
        """A query (or function call) while the server skips. It is ignored, unless our own messages made it skip."""
        d = self._d
        if not d.prologue_failed:
            return KEEP
        d.prologue_failed = d.skipping = False
        self._owe(owed.SYNC)
        return SYNC

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
        name_end = buffer.find(b"\0", start + 5, start + shown)
        name = buffer[start + 5 : max(name_end, 0)][:NAME_BYTES]
        if name_end < 0 or not self.texts.can_be(name):
            if shown < total:
                raise WireError("invalid string in message")
            return self._as_it_is(owed.PARSE)
        if shown == total and buffer.find(b"\0", name_end + 1, start + total) < 0:
            return self._as_it_is(owed.PARSE)
        statement = self._statement(buffer, name_end + 1, start + shown, whole=shown == total)
        if statement.verdict.needs_native_names and self._heeding.heed(statement.verdict):
            return STOP
        if name and self._puts_native(name, statement):
            return STOP
        native = d.native and bool(name) and d.is_native(name)
        d.extended = True
        if name and len(self._book.named) >= self._most_named and name not in self._book.named:
            return self._parse_in_vain(too_many_statements(self._most_named), statement)
        if native:
            d.ensured.add(name)
            # Should the server refuse it, the name means what it meant, and is judged so.
            self._owe(Owed(Kind.PARSE, undo=self._book.name(name, statement)))
            d.naming = True
            return KEEP
        d.kept += total
        if not name:
            self._parse_unnamed(statement)
            return KEEP
        if name in self._book.named:
            return self._parse_in_vain(duplicate_statement(buffer[start + 5 : name_end]), statement)
        state = self._backend()
        statement.home, statement.home_name = state.epoch, new_name(state)
        self._owe(Owed(Kind.PARSE, undo=self._book.name(name, statement)))
        d.naming = True
        if shown == total:
            self._undescribed = (name, statement)
            return parse_frame(statement.home_name, statement)
        rest = buffer[name_end + 1 : start + shown]
        size = total + len(statement.home_name) - (name_end - start - 5) - 1
        return Head(b"".join((b"P", size.to_bytes(4, "big"), statement.home_name, b"\0", rest)))

    def _puts_native(self, name: bytes, statement: Statement) -> bool:
        """What stands under a name that goes native is put there first. Returns whether that waits."""
        d, old = self._d, self._book.named.get(name)
        if d.pin_moment(statement) and old is None:
            # It cannot be parsed again: under the client's name it is there for SQL and the protocol.
            d.doubts.name_statements()
            if self._resolver.go_native((name,)):
                return True
        return (
            d.native
            and d.is_native(name)
            and not self._resolver.stands(name, old)
            and self._resolver.go_native((name,))
        )

    def _as_it_is(self, entry: Owed) -> bytes | None:
        """Hand on what is the server's to answer or to refuse."""
        self._d.extended = True
        self._owe(entry)
        return KEEP

    def _refuse_changed(self, statement: Statement | None) -> bytes:
        """What refuses a statement that went native and returns something else now; b"" for others."""
        if statement is None or not statement.changed:
            return b""
        self._owe(Owed(Kind.BIND, note=Replace(shape_changed())))
        return failing_frame()

    def _statement(self, buffer: bytes, start: int, end: int, *, whole: bool) -> Statement:
        if not whole:
            self._d.pin(PinReason.UNRECOGNISED_STATE, "a statement over max_held_bytes")
            return Statement(None, b"\0\0", HARMLESS)
        text_end = buffer.find(b"\0", start, end)
        text = buffer[start:text_end]
        return Statement(text, buffer[text_end + 1 : end], self.texts.inspect(text), context=self._d.context)

    def _parse_unnamed(self, statement: Statement) -> None:
        self._fresh_unnamed = statement
        made = self._d.put(statement)
        self._owe(Owed(Kind.PARSE, note=made, undo=made.skip))

    def _parse_in_vain(self, words: bytes, statement: Statement) -> bytes:
        """A name that exists, or is one too many. The server first analyses the text, and then refuses: so do we."""
        state = self._backend()
        refusal = Owed(Kind.BIND, note=Replace(words))
        if statement.text is None:
            self._owe(refusal)
            return failing_frame()
        spare = new_name(state)
        self._owe(owed.PARSE_IN_VAIN)
        self._owe(refusal)
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
            if shown < total:
                raise WireError("invalid string in message")
            return self._as_it_is(owed.BIND)
        name = buffer[portal_end:name_end][:NAME_BYTES]
        if not name and self._fresh_unnamed is None and self._book.may_be_another() and self._heeding.settles_first():
            return STOP
        statement = self._book.named.get(name) if name else self._book.unnamed
        if statement is None:
            return self._bind_to(None, buffer, (start, portal_end, name_end, start + shown), total)
        verdict = statement.verdict
        if verdict is not HARMLESS:
            verdict = self.texts.bound(verdict, statement.types, buffer[name_end + 1 : start + shown])
            if self._heeding.heed(verdict):
                return STOP
            refusal = self._heeding.refusal(verdict)
            if refusal:
                self._owe(Owed(Kind.BIND, note=Replace(refusal)))
                return failing_frame()
        statement.bound = True
        judged = self._bind_to(statement, buffer, (start, portal_end, name_end, start + shown), total)
        if judged is not STOP:
            # Only now: what it changes is not what it is read by.
            self._heeding.saw(statement.text or b"", verdict)
        return judged

    def _bind_to(
        self, statement: Statement | None, buffer: bytes, at: tuple[int, int, int, int], total: int
    ) -> bytes | None:
        """A Bind whose statement means this. `at`: where it begins, its names, the end of the second, what is shown."""
        d, (start, portal_end, name_end, end) = self._d, at
        given = buffer[portal_end:name_end]
        name = given[:NAME_BYTES]
        if d.native and name and d.is_native(name):
            if not self._resolver.stands(name, statement) and self._resolver.go_native((name,)):
                return STOP
            return self._refuse_changed(statement) or self._as_it_is(owed.BIND)
        misfits = self._refuse_misfit(statement, given, buffer[name_end + 1 : end])
        if misfits:
            return misfits
        server_name, prefix = self._resolver.resolve(given, statement)
        if server_name is None:
            return STOP
        self._owe(owed.bind_reply(statement, given))
        if server_name == given and not prefix:
            return KEEP
        size = total - 1 + len(server_name) - len(given)
        head = (b"B", size.to_bytes(4, "big"), buffer[start + 5 : portal_end], server_name)
        return Head(b"".join((prefix, *head, buffer[name_end:end])))

    def _refuse_misfit(self, statement: Statement | None, name: bytes, parameters: bytes) -> bytes:
        """A server counts the parameters before it looks whether the statement still is what it was.

        Only for one that has to be parsed again first; b"" for others, and where the parameters fit.
        """
        if statement is None or statement.shape is None or self._resolver.is_here(name[:NAME_BYTES], statement):
            return b""
        at = 2 + 2 * int.from_bytes(parameters[:2], "big")
        given, wanted = int.from_bytes(parameters[at : at + 2], "big"), int.from_bytes(statement.types[:2], "big")
        if given == wanted or at + 2 > len(parameters):
            return b""
        self._owe(Owed(Kind.BIND, note=Replace(misfit(given, name, wanted))))
        return failing_frame()

    def _describe(self, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        d = self._d
        if d.skipping:
            return KEEP
        d.extended = True
        if not _names_statement(buffer, start, total):
            return self._as_it_is(owed.DESCRIBE)
        name = buffer[start + 6 : start + total - 1]
        key = name[:NAME_BYTES]
        statement = self._book.named.get(key) if name else self._book.unnamed
        names = statement is not None and statement.verdict.needs_native_names
        if names and statement is not None and self._heeding.heed(statement.verdict):
            return STOP  # what an EXECUTE returns, the server knows by those names
        if d.native and name and d.is_native(key):
            if not self._resolver.stands(key, statement) and self._resolver.go_native((key,)):
                return STOP
            return self._refuse_changed(statement) or self._as_it_is(owed.DESCRIBE)
        server_name, prefix = self._resolver.resolve(name, statement)
        if server_name is None:
            return STOP
        if statement is not None and statement.shape is None:
            self._owe(Owed(Kind.DESCRIBE, note=Learn(statement)))
        elif statement is not None and statement.result:
            return prefix + self._describe_as_it_was(statement, server_name)
        else:
            self._owe(owed.DESCRIBE)
        return prefix + describe_frame(server_name)

    def _describe_as_it_was(self, statement: Statement, server_name: bytes) -> bytes:
        """An EXECUTE returns what it returned at Parse, says the server, if there is still anything to execute."""
        names = statement.verdict.names or ()
        gone = [name for name in names if name not in self._book.named]
        returns = statement.result[:1] == b"T" and not explains(statement.text or b"")
        if gone and returns and not self._d.native_all:
            said = frame(b"t", statement.types) + unknown_statement(gone[0])
            self._owe(Owed(Kind.DESCRIBE, note=Replace(said)))
            return failing_frame()
        self._owe(Owed(Kind.DESCRIBE, note=AsItWas(statement.result)))
        return describe_frame(server_name)

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
            if self._d.bound_naming:
                self._d.dropping = True  # again, should a Describe have waited in between
            self._owe(owed.EXECUTE)
        return KEEP

    def _close(self, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        d = self._d
        if d.skipping:
            return KEEP
        if not _names_statement(buffer, start, total):
            return self._as_it_is(owed.CLOSE)
        d.extended = True
        name = buffer[start + 6 : start + total - 1][:NAME_BYTES]
        if not name:
            made = d.put(None)
            self._owe(Owed(Kind.CLOSE, note=made, undo=made.skip))
            return KEEP
        self._owe(Owed(Kind.CLOSE, undo=self._book.name(name, None)))
        d.naming = True
        # The backend keeps its statement, which others may share; closing a name that nobody has is answered alike.
        return KEEP if d.is_taken(name) else close_frame(NOBODY)

    def _sync(self, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        d = self._d
        if d.copying:
            # A server in COPY ignores it. Should the COPY fail first, it does not: see `replies`.
            d.copy_syncs += 1
            return KEEP
        if shown < total:
            raise WireError("invalid message length")
        d.prologue_failed = False
        if d.probe_due:
            d.probe_due = d.skipping = False
            self._owe(owed.SYNC)
            return buffer[start : start + total] + self.probe()
        unnamed, self._fresh_unnamed = self._fresh_unnamed, None
        prefix = b""
        kept = unnamed is not None and unnamed is self._book.unnamed and not unnamed.bound
        if kept and unnamed is not None:
            d.pin_moment(unnamed)
        if kept and unnamed is not None and unnamed.shape is None and not d.skipping:
            # Parsed, and kept for later: it may be executed on another backend, so we must know what it looks like.
            self._owe(Owed(Kind.DESCRIBE, swallow=True, note=Learn(unnamed)))
            d.extended = True
            prefix = describe_frame(b"")
        d.skipping = False
        if d.naming:
            d.naming = False
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
        if d.ledger.has(Kind.QUERY) or d.ledger.has(Kind.EXECUTE):
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


def _names_statement(buffer: bytes, start: int, total: int) -> bool:
    """Whether a Describe or Close is well-formed and about a statement."""
    end = start + total - 1
    return total >= _SHORTEST_NAMING and buffer[start + 5] == _STATEMENT and buffer.find(b"\0", start + 6) == end


_BY_TAG: Final[dict[int, Callable[[Requests, bytes, int, int, int], bytes | None]]] = {
    ord("Q"): Requests._query,
    ord("P"): Requests._parse,
    ord("B"): Requests._bind,
    ord("D"): Requests._describe,
    ord("E"): Requests._execute,
    ord("C"): Requests._close,
    ord("S"): Requests._sync,
    ord("H"): Requests._flush,
    ord("F"): Requests._function,
    ord("c"): Requests._copy_end,
    ord("f"): Requests._copy_end,
    ord("X"): Requests._terminate,
}
"""What judges a message, by its tag. One table for all sessions: of their own it would cost each a kilobyte."""
