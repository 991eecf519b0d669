"""A statement that is parsed anew is read by the settings that it was read by first.

A server reads a statement's constants when it is prepared, and again only when names in it must be looked up anew:
after DDL, and at a use with another `search_path`. It heeds the settings of that moment then. So on another backend the
statement is parsed under its old settings, those for names among them, and the server itself sees at the use whether
what counts has changed. `resolving` calls it; it is needed only where `StatementBook.altered`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rdsp_codecs.ledger import Owed
from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres.constants import differing, in_order, is_owned, known, local, said, to_put_back
from rdsp_codecs.postgres.dialogue import SWALLOWED_BIND, SWALLOWED_CLOSE, SWALLOWED_EXECUTE, Guard, Kind
from rdsp_codecs.postgres.settings import LOOKED_UP_BY
from rdsp_codecs.postgres.statements import NOBODY, bind_frame, close_frame, execute_frame, frame, new_name

if TYPE_CHECKING:
    from rdsp_codecs.postgres.dialogue import Dialogue
    from rdsp_codecs.postgres.state import PostgresState
    from rdsp_codecs.postgres.statements import Statement

_SETTING: Final = NOBODY + b"s"
"""Portals of ours have names that no client's can have."""


class Rereading:
    """Old settings for statements of one session."""

    def __init__(self, dialogue: Dialogue) -> None:
        self._d = dialogue

    def align(self, statement: Statement) -> None:
        """Before each use: what the server makes of other settings than those that the statement was read by."""
        d = self._d
        now, then = d.context, statement.context
        if now == then or statement.text is None or not statement.fixed:
            return
        found_alike = not statement.unsure and not differing(then, now, LOOKED_UP_BY)
        if not differing(then, now, statement.fixed):
            if not known(now, LOOKED_UP_BY):
                statement.unsure = True
            elif not found_alike:
                statement.read_again(now)
            return
        if not known(then, statement.fixed):
            return  # it is pinned to its backend, or cannot be used elsewhere
        if not is_owned(then):
            statement.keep_apart()
        if not found_alike:
            d.pin(PinReason.STATEMENT_CONSTANT, "what its names are looked up by has changed, too")

    def lost(self, statement: Statement) -> bool:
        """Whether the statement cannot be parsed anew as what it is."""
        if statement.text is None:
            return True
        now, then = self._d.context, statement.context
        if now == then or not differing(then, now, statement.fixed):
            return False
        return statement.unsure or not known(then, (*LOOKED_UP_BY, *statement.fixed))

    def begin(self, state: PostgresState, statement: Statement) -> list[bytes]:
        """What stands in front of the Parse of a statement that is not lost; `end` belongs behind it.

        Empty where the settings of now do. Inside of a transaction, implicit or not, all is as before behind the end,
        and after an error its rollback takes it back: what is set here is local to it.
        """
        now, then = self._d.context, statement.context
        if now == then:
            return []
        if not differing(then, now, statement.fixed):
            if known(now, LOOKED_UP_BY) or not statement.fixed:
                statement.read_again(now)
            return []
        names = in_order(differing(then, now, LOOKED_UP_BY | statement.fixed))
        parts = self._open(state, NOBODY, to_put_back(names), rows=1)
        for name in names:
            parts += self._open(state, _SETTING, local(name, said(then, name)))
            parts.append(frame(b"C", b"P", _SETTING, b"\0"))
            self._owe(SWALLOWED_CLOSE)
        return parts

    def end(self) -> list[bytes]:
        """Behind a `begin` that was not empty."""
        guard = Guard(self._d)
        self._owe(SWALLOWED_EXECUTE)
        self._owe(Owed(Kind.CLOSE, swallow=True, note=guard, undo=guard.done))
        return [execute_frame(NOBODY), frame(b"C", b"P", NOBODY, b"\0")]

    def _open(self, state: PostgresState, portal: bytes, text: bytes, rows: int = 0) -> list[bytes]:
        """A text in a portal of ours, executed; its statement is closed at once."""
        name = new_name(state)
        self._owe(Owed(Kind.PARSE, swallow=True))
        self._owe(SWALLOWED_BIND)
        self._owe(SWALLOWED_EXECUTE)
        self._owe(SWALLOWED_CLOSE)
        parse = frame(b"P", name, b"\0", text, b"\0\0\0")
        return [parse, bind_frame(portal, name), execute_frame(portal, rows), close_frame(name)]

    def _owe(self, entry: Owed) -> None:
        self._d.ledger.owe(entry)
