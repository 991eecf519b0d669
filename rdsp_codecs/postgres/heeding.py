"""What the verdicts on a client's texts ask for before they go out: pins, names put in place, sequences forgotten.

`requests` asks for every text that is not harmless.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres.dialogue import SWALLOWED_SYNC, Dialogue
from rdsp_codecs.postgres.refuse import sequence_memory_lost, too_many_statements
from rdsp_codecs.postgres.resolving import FLUSH, Resolver
from rdsp_codecs.postgres.session_state import HARMLESS, Verdict
from rdsp_codecs.postgres.statements import PREFIX, Statement
from rdsp_codecs.postgres.texts import Texts
from rdsp_codecs.transaction import Transaction

if TYPE_CHECKING:
    from rdsp_codecs.postgres.state import PostgresState


class Heeding:
    """Heeds the verdicts of one session's texts."""

    def __init__(self, dialogue: Dialogue, texts: Texts, resolver: Resolver) -> None:
        self._d = dialogue
        self._book = dialogue.statements
        self._texts = texts
        self._resolver = resolver

    def settles_first(self) -> bool:
        """Have the client's messages wait until nothing is owed. Returns False when nothing is, or nothing comes."""
        d = self._d
        if d.copying:
            return False  # the server waits for COPY data: whatever this message is, it will refuse it
        if d.ledger.empty or (len(d.ledger) == 1 and d.ledger.head is SWALLOWED_SYNC):
            # All has been answered. (The Sync behind a prologue says nothing about it.)
            d.uncertain = d.kept = 0
            d.dropping = False
            return False
        d.injected.append(FLUSH)
        d.paused = d.settling = d.extended = True
        return True

    def heed(self, verdict: Verdict) -> bool:
        """Pin what must be pinned. Returns whether the message must wait for native names."""
        self._pin(verdict)
        return (verdict.needs_native_names or verdict.drops) and self._name_statements(verdict)

    def _pin(self, verdict: Verdict) -> None:
        d = self._d
        for reason, detail in verdict.pins:
            d.pin(reason, detail)
        if verdict.named_by:
            d.pin(PinReason.SESSION_SETTING, "set_config of what a parameter names")
        if verdict.discards and d.policy.init_query:
            # Whatever init_query made is discarded with the rest: this backend is no longer like the others.
            d.pin(PinReason.UNRECOGNISED_STATE, "DISCARD ALL of what init_query made")

    def _name_statements(self, verdict: Verdict) -> bool:
        """SQL names prepared statements: those are put under the client's names first. Returns whether that waits."""
        d = self._d
        if not d.copying and self.settles_first():
            return True
        d.dropping = d.bound_naming = True
        if not verdict.needs_native_names:
            return False
        d.doubts.name_statements()
        names, used, ends = self._meant(verdict)
        if names is None:
            d.ending = None
        elif d.ending is not None:
            d.ending |= ends
        if names is not None and any(name.startswith(PREFIX) for name in names):
            names = None
            d.pin(PinReason.SQL_PREPARED_STATEMENT, "a name like the proxy's own")
        for inner in self._run_by(verdict):
            if inner.verdict.needs_native_names:
                self._pin(inner.verdict)
            elif self.heed(inner.verdict):
                return True
        if d.transaction is Transaction.FAILED or d.copying:
            return False
        return self._resolver.go_native(names, used if names is not None else None)

    def _meant(self, verdict: Verdict) -> tuple[frozenset[bytes] | None, frozenset[bytes], frozenset[bytes]]:
        """The names that a text uses, and those that statements which it executes name in turn; None: any.

        The protocol prepares a PREPARE or DEALLOCATE as well, and EXECUTE runs it. Behind them, where they are known,
        those of the names that are executed, and those that are dropped.
        """
        found, used, ends = verdict.names, verdict.runs, verdict.ends
        todo = list(used) if found is not None and verdict.executes else []
        while todo:
            statement = self._book.named.get(todo.pop())
            if statement is None or not statement.verdict.needs_native_names:
                continue
            inner = statement.verdict
            if inner.names is None or found is None:
                return None, used, ends
            todo += inner.runs - used
            used |= inner.runs
            ends |= inner.ends
            found |= inner.names
        return found, used, ends

    def _run_by(self, verdict: Verdict) -> Iterator[Statement]:
        """Statements that a text may EXECUTE, and that are worth a look."""
        names = self._meant(verdict)[0]
        for name in self._book.named if names is None else names:
            statement = self._book.named.get(name)
            if statement is not None and statement.verdict is not HARMLESS:
                yield statement

    def refusal(self, verdict: Verdict) -> bytes:
        """The error in place of what the text does; b"" where it may do it."""
        most, named = self._d.policy.max_session_statements, self._book.named
        only_makes = verdict.makes and verdict.names == verdict.makes and not verdict.drops
        if only_makes and len(named) + len(verdict.makes.difference(named)) > most:
            return too_many_statements(most)
        return sequence_memory_lost() if self._reads_lost_memory(verdict) else b""

    def _reads_lost_memory(self, verdict: Verdict) -> bool:
        """As `_must_not_read_sequences`, also for what the text executes."""
        lost = self._must_not_read_sequences(verdict)
        for inner in self._run_by(verdict) if verdict.needs_native_names else ():
            lost = self._must_not_read_sequences(inner.verdict) or lost
        return lost

    def saw(self, text: bytes, verdict: Verdict) -> None:
        """A text goes out, and what it executes."""
        d = self._d
        d.saw(text, verdict)
        self._texts.goes(verdict)
        if verdict.needs_native_names:
            for inner in self._run_by(verdict):
                d.saw(inner.text or b"", inner.verdict)

    def _must_not_read_sequences(self, verdict: Verdict) -> bool:
        """Whether the text asks for currval or lastval on a backend where the answer may be a stranger's.

        From the first such text on, backends of this pool forget sequences when they change hands.
        """
        d = self._d
        if not verdict.reads_sequence_memory:
            return False
        d.shared.sequence_minded = True
        if self._backend().sequences_mixed:
            return True
        d.pin(PinReason.SEQUENCE_STATE, "currval or lastval")
        return False

    def _backend(self) -> PostgresState:
        state = self._d.state
        assert state is not None, "texts are heeded only while a backend is attached"
        return state
