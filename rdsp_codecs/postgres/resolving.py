"""How the statements of a session come to stand on the backend that it has now.

A client's name is resolved to the backend's; what the backend does not have is parsed there first, in a prologue that
the client's messages wait for. `requests` asks, while a backend is attached.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from rdsp_codecs.ledger import Owed
from rdsp_codecs.postgres.dialogue import SWALLOWED_CLOSE, Dialogue, Kind, Learn
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

if TYPE_CHECKING:
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

    def go_native(self) -> bool:
        """Give every statement of the session its own name on this backend, which is pinned from here on.

        The proxy's names go first, so that the client can see and run only its own. Returns whether replies must be
        waited for.
        """
        d, state = self._d, self._backend()
        d.native, d.query_waits = True, False
        names = [*state.garbage, *state.statements.values()]
        names += [s.home_name for s in self._book.named.values() if s.home is state.epoch and s.home_name]
        state.garbage.clear()
        state.statements.clear()
        parts = [close_frame(name) for name in names]
        for _ in names:
            self._owe(SWALLOWED_CLOSE)
        statements = list(self._book.named.items())
        for name, statement in statements:
            if statement.text is None:
                statement.changed = True  # too long to be parsed again
                continue
            parts.append(parse_frame(name, statement))
            self._owe(Owed(Kind.PARSE, swallow=True, undo=partial(self._book.forget, name)))
            if statement.shape is not None:
                parts.append(describe_frame(name))
                self._owe(Owed(Kind.DESCRIBE, swallow=True, note=Learn(statement, name=name)))
        unnamed = self._book.unnamed
        if unnamed is not state.unnamed:
            made = d.put(unnamed, hidden=True)
            parts.append(_CLOSE_UNNAMED if unnamed is None else parse_frame(b"", unnamed))
            kind = Kind.CLOSE if unnamed is None else Kind.PARSE
            self._owe(Owed(kind, swallow=True, note=made, undo=made.skip))
        if not parts:
            return False
        last = Learn(None, resumes=True)
        parts += [close_frame(NOBODY), FLUSH]
        self._owe(Owed(Kind.CLOSE, swallow=True, note=last))
        d.injected.extend(parts)
        d.paused = d.extended = True
        return True

    def resolve(self, name: bytes, statement: Statement | None) -> tuple[bytes | None, bytes]:
        """The backend's name for a client's statement, and bytes to send first; name None: a prologue is on its way."""
        state = self._backend()
        if not name:
            return self._resolve_unnamed(state, statement)
        if statement is None:
            return foreign_name(name), b""
        server_name = self._book.name_on(state, statement)
        if server_name is None and statement.text is None:
            return foreign_name(name), b""  # it was too long to be parsed again
        if server_name is None:
            self._prologue(state, statement, new_name(state))
        return server_name, b""

    def _resolve_unnamed(self, state: PostgresState, statement: Statement | None) -> tuple[bytes | None, bytes]:
        if statement is state.unnamed:
            return b"", b""
        if statement is None or statement.text is None:
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
        self._d.injected += [parse_frame(name, statement), describe_frame(name), FLUSH]
        self._d.paused = True
        self._d.extended = True

    def _backend(self) -> PostgresState:
        state = self._d.state
        assert state is not None, "statements are resolved only while a backend is attached"
        return state
