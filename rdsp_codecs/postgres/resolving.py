"""How the statements of a session come to stand on the backend that it has now.

A client's name is resolved to the backend's; what the backend does not have is parsed there first, in a prologue that
the client's messages wait for. `requests` asks, while a backend is attached.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Final

from rdsp_codecs.ledger import Owed
from rdsp_codecs.postgres.constants import unmarked
from rdsp_codecs.postgres.dialogue import SWALLOWED_CLOSE, Dialogue, Kind, Learn
from rdsp_codecs.postgres.lexer import NAME_BYTES
from rdsp_codecs.postgres.naming import STAND_IN, Dropped, drops_one
from rdsp_codecs.postgres.rereading import Rereading
from rdsp_codecs.postgres.statements import (
    NOBODY,
    Statement,
    close_frame,
    describe_frame,
    foreign_name,
    frame,
    new_name,
    parse_frame,
)
from rdsp_codecs.postgres.unnamed import NOTHING
from rdsp_codecs.transaction import Transaction

if TYPE_CHECKING:
    from rdsp_codecs.postgres.session_state import Verdict
    from rdsp_codecs.postgres.state import PostgresState

FLUSH: Final = frame(b"H")
_CLOSE_UNNAMED: Final = close_frame(b"")


class Resolver:
    """Statements of one session on one backend after another.

    Invariant: a name is handed out only for a statement that the backend has, or was told to parse before.
    """

    def __init__(self, dialogue: Dialogue) -> None:
        self._d = dialogue
        self._book = dialogue.statements
        self._owe = dialogue.ledger.owe
        self._rereading = Rereading(dialogue)

    def go_native(self, names: Iterable[bytes] | None, used: frozenset[bytes] | None = None) -> bool:
        """Have the session's statements of these names (None: all) stand under them on this backend.

        It works so up to the boundary. Where any name may be meant the proxy's own go first, so that the client can see
        and run only its own. Names that are not `used` (None: all are) are dropped, or in the way of new ones: what
        stands there does not matter. Returns whether replies must be waited for.
        """
        d, state, book = self._d, self._backend(), self._book.named
        d.query_waits = False
        if self._book.altered:
            for statement in book.values() if names is None else map(book.get, names):
                if statement is not None:
                    self._rereading.align(statement)
        gone: list[bytes] = []
        if not d.native:
            gone = [name for name in state.natives if not self._stands(state, name, book.get(name), now=True)]
        d.native = True
        if names is None:
            d.native_all = True
            gone += self._all_of_ours(state)
        else:
            d.mentioned |= frozenset(names)
        for name in gone:
            state.natives.pop(name, None)
            self._owe(SWALLOWED_CLOSE)
        parts = [close_frame(name) for name in gone]
        for name in book if names is None else names:
            goes = used is None or name in used
            parts += self._as_native(state, name) if goes else self._stand_in(state, name)
        if not parts:
            return False
        last = Learn(None, resumes=True)
        parts += [close_frame(NOBODY), FLUSH]
        self._owe(Owed(Kind.CLOSE, swallow=True, note=last))
        d.injected.extend(parts)
        d.paused = d.extended = True
        return True

    def _all_of_ours(self, state: PostgresState) -> list[bytes]:
        """Give up all names of the proxy's own."""
        gone = [*state.garbage, *state.statements.values()]
        state.garbage.clear()
        state.statements.clear()
        for statement in self._book.named.values():
            if statement.home is state.epoch and statement.home_name:
                gone.append(statement.home_name)
                statement.home, statement.home_name = None, b""
        return gone

    def drops_by_book(self, text: bytes, verdict: Verdict) -> bytes:
        """The name, if a text only drops a statement that does not stand under it on the backend; else b""."""
        d, names = self._d, verdict.names
        if not verdict.needs_native_names or names is None or len(names) != 1 or d.copying or not drops_one(text):
            return b""
        if d.transaction is Transaction.FAILED:
            return b""  # the server refuses the text itself
        (name,) = names
        native = d.is_taken(name) or name in self._backend().natives
        return name if name in self._book.named and not native else b""

    def drop(self, name: bytes) -> bytes:
        """What goes out in place of such a text (see `naming.Dropped`)."""
        d, state = self._d, self._backend()
        d.dropping = d.extended = True
        spare = new_name(state)
        self._owe(Owed(Kind.PARSE, swallow=True))
        self._owe(Owed(Kind.QUERY, note=Dropped(name)))
        self._book.last = state.last = NOTHING
        return parse_frame(spare, STAND_IN) + frame(b"Q", b"DEALLOCATE %b\0" % spare)

    def stands(self, name: bytes, statement: Statement | None) -> bool:
        """Whether what the client's `name` means, if it means anything, stands under it on this backend: it is used."""
        if statement is not None and self._book.altered:
            self._rereading.align(statement)
        return statement is None or name in self._d.ensured or self._stands(self._backend(), name, statement)

    def _stands(self, state: PostgresState, name: bytes, statement: Statement | None, *, now: bool = False) -> bool:
        """Whether a statement stands under the client's name on the backend; `now`: as a server would have it now."""
        found, context = state.natives.get(name, (None, ()))
        if found is None or found is not statement:
            return False
        return not now or unmarked(context) == unmarked(found.context)

    def _as_native(self, state: PostgresState, name: bytes) -> list[bytes]:
        """What puts one statement under its own name, if it has to be."""
        ensured, statement = self._d.ensured, self._book.named.get(name)
        if statement is None or name in ensured or self._stands(state, name, statement):
            return []
        if self._rereading.lost(statement):
            # It cannot be parsed again. To the protocol it stays what it is, unless its place had to go.
            self._d.mentioned -= {name}
            statement.changed = self._d.native_all
            return self._no_stand_in(name)
        gone = self._no_stand_in(name)
        ensured.add(name)
        parts = self._rereading.begin(state, statement)
        by_others = bool(parts)
        self._owe(Owed(Kind.PARSE, swallow=True, undo=partial(ensured.discard, name)))
        parts.append(parse_frame(name, statement))
        if statement.shape is not None:
            self._owe(Owed(Kind.DESCRIBE, swallow=True, note=Learn(statement, name=name)))
            parts.append(describe_frame(name))
        return [*gone, *parts, *self._rereading.end()] if by_others else gone + parts

    def _stand_in(self, state: PostgresState, name: bytes) -> list[bytes]:
        """What has something stand under a name that is only to be dropped, or to be in the way."""
        d, statement = self._d, self._book.named.get(name)
        if statement is None or name in d.ensured or name in d.stand_ins or self._stands(state, name, statement):
            return []
        d.stand_ins.add(name)
        self._owe(Owed(Kind.PARSE, swallow=True, undo=partial(d.stand_ins.discard, name)))
        return [parse_frame(name, STAND_IN)]

    def _no_stand_in(self, name: bytes) -> list[bytes]:
        """What makes room for the statement itself."""
        if name not in self._d.stand_ins:
            return []
        self._d.stand_ins.discard(name)
        self._owe(Owed(Kind.CLOSE, swallow=True, undo=partial(self._d.stand_ins.add, name)))
        return [close_frame(name)]

    def is_here(self, name: bytes, statement: Statement) -> bool:
        """Whether a client's statement need not be parsed again to be used on this backend."""
        state = self._backend()
        if not name:
            return statement is state.unnamed
        return self._book.name_on(state, statement) is not None

    def resolve(self, name: bytes, statement: Statement | None) -> tuple[bytes | None, bytes]:
        """The backend's name for a client's statement, and bytes to send first; name None: a prologue is on its way."""
        state = self._backend()
        if not name:
            return self._resolve_unnamed(state, statement)
        if statement is None:
            return foreign_name(name), self._hide_native(state, name[:NAME_BYTES])
        if self._book.altered:
            self._rereading.align(statement)
        server_name = self._book.name_on(state, statement)
        if server_name is None and self._rereading.lost(statement):
            if self._stands(state, name[:NAME_BYTES], statement):
                return name, b""
            return foreign_name(name), self._hide_native(state, name[:NAME_BYTES])
        if server_name is None:
            self._prologue(state, statement, new_name(state))
        return server_name, b""

    def _hide_native(self, state: PostgresState, name: bytes) -> bytes:
        """What SQL had named still stands there, although the client has closed it: it must not be found."""
        left = state.natives.pop(name, None)
        if left is None:
            return b""

        def skipped() -> None:
            state.natives[name] = left

        self._owe(Owed(Kind.CLOSE, swallow=True, undo=skipped))
        self._d.extended = True
        return close_frame(name)

    def _resolve_unnamed(self, state: PostgresState, statement: Statement | None) -> tuple[bytes | None, bytes]:
        if statement is not None and self._book.altered:
            self._rereading.align(statement)
        if statement is state.unnamed:
            return b"", b""
        if statement is None or self._rereading.lost(statement):
            # The backend still has somebody else's unnamed statement: it must not be found.
            made = self._d.put(None, hidden=True)
            self._owe(Owed(Kind.CLOSE, swallow=True, note=made, undo=made.skip))
            self._d.extended = True
            return b"", _CLOSE_UNNAMED
        self._prologue(state, statement, b"")
        return None, b""

    def _prologue(self, state: PostgresState, statement: Statement, name: bytes) -> None:
        """Parse a statement on a backend that does not have it, and see that it still is what it was.

        The client's messages wait for the description. Flush, not Sync: a Sync would end an implicit transaction.
        """
        front = self._rereading.begin(state, statement)
        if name:

            def failed() -> None:
                statement.home, statement.home_name = None, b""

            statement.home, statement.home_name = state.epoch, name
            self._owe(Owed(Kind.PARSE, swallow=True, undo=failed))
        else:
            made = self._d.put(statement, hidden=True)
            self._owe(Owed(Kind.PARSE, swallow=True, note=made, undo=made.skip))
        learn = Learn(statement, resumes=True)
        self._owe(Owed(Kind.DESCRIBE, swallow=True, note=learn))
        self._d.query_waits = False
        back = self._rereading.end() if front else []
        self._d.injected += [*front, parse_frame(name, statement), describe_frame(name), *back, FLUSH]
        self._d.paused = True
        self._d.extended = True

    def _backend(self) -> PostgresState:
        state = self._d.state
        assert state is not None, "statements are resolved only while a backend is attached"
        return state
