"""Runs queries on SQLite for one session: what they are bound to, what their rows are, how they wait for each other."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any, Final

import attrs

from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver.lexer import unquoted
from rdsp_codecs.sqlserver.tokens import Done, Note, note
from rdsp_codecs.sqlserver.types import TypeInfo
from rdsp_codecs.testing.sqlserver import declared as d
from rdsp_codecs.testing.sqlserver import statements as s
from rdsp_codecs.testing.sqlserver.answers import Blocked, Rows, Steps, guessed, metadata
from rdsp_codecs.testing.sqlserver.database import Locked
from rdsp_codecs.testing.sqlserver.names import table_name
from rdsp_codecs.testing.sqlserver.state import NAME, State
from rdsp_codecs.testing.sqlserver.statements import SqlError, Tokens
from rdsp_codecs.testing.sqlserver.transactions import Outcome
from rdsp_codecs.testing.sqlserver.translating import NAMELESS, Translated, expression, translated
from rdsp_codecs.testing.sqlserver.wording import bound

COMMANDS: Final = {
    "SELECT": 0xC1,
    "INSERT": 0xC3,
    "DELETE": 0xC4,
    "UPDATE": 0xC5,
    "CREATE": 0xC6,
    "DROP": 0xC7,
    "SET": 0xB9,
    "ROLLBACK": 0xD2,
    "BEGIN": 0xD4,
    "COMMIT": 0xD5,
    "EXECUTE": 0xE0,
}
"""DONE's numbers for statements, as far as clients have written them down."""
_PROBED: Final = 100


def column_names(cursor: sqlite3.Cursor) -> list[str]:
    """Of a result."""
    return ["" if each[0] == NAMELESS else each[0] for each in cursor.description]


class Queries:
    """Those of one session.

    Args:
        state: the session's.
    """

    def __init__(self, state: State) -> None:
        self.state = state

    # -- names and values (`translating.Place`)

    def table(self, parts: list[str]) -> str:
        """See `translating.Place`."""
        return table_name(self.state, parts)

    def columns(self, table: str) -> dict[str, tuple[TypeInfo | None, bool]]:
        """See `translating.Place`."""
        return self.state.data.columns(table)

    def variables(self) -> Mapping[str, TypeInfo]:
        """See `translating.Place`."""
        return self.state.frame.types

    def _bindings(self) -> dict[str, Any]:
        return {bound(name): d.stored(value) for name, value in self.state.frame.values.items()}

    def value(self, them: Tokens) -> Steps:
        """Work an expression out; returns its value. A generator: it may have to wait."""
        rows = yield from self.rows(f"SELECT ({expression(them, self)})")
        return rows[0][0]

    def rows(self, text: str) -> Steps:
        """Run a query of our own; returns its rows."""
        cursor = yield from self.run(text, writes=False)
        return self.state.data.fetch(cursor, 1 << 30)

    def run(self, text: str, *, writes: bool, values: Mapping[str, Any] | None = None) -> Steps:
        """Run a statement of SQLite's, when the lock that it needs is free; returns its cursor. Raises `SqlError`.

        `values`: instead of the frame's variables.
        """
        timeout = self.state.options.numbers["LOCK_TIMEOUT"]
        while True:
            try:
                return self.state.data.run(text, self._bindings() if values is None else values, writes=writes)
            except Locked:
                blocked = Blocked(None if timeout < 0 else timeout / 1000)
            yield blocked
            if blocked.expired:
                raise SqlError(1222, "Lock request time out period exceeded.", severity=16, state=51)

    # -- telling

    def applied(self, outcome: Outcome, line: int, command: int | None = None) -> Steps:
        """What a statement about transactions comes to. Raises `SqlError`."""
        if outcome.error is not None and not outcome.tokens:
            error = outcome.error
            raise SqlError(error.number, error.text, severity=error.severity, state=error.state)
        if outcome.error is not None:
            yield note(attrs.evolve(outcome.error, server=NAME, line=line), old=self.state.old)
        self.state.data.apply(outcome)
        if outcome.tokens:
            self.state.server.ended += 1
            yield outcome.tokens
        if command is not None:
            yield self.done(0, command)

    def done(self, status: int = 0, command: int = 0, rows: int | None = None) -> Done | bytes:
        """A statement is done; b"" where nothing tells of that: in a procedure, of one that has no count."""
        if self.state.frame.within and rows is None and not status:
            return b""
        token = k.DONEINPROC if self.state.frame.within else k.DONE
        if rows is not None and "NOCOUNT" not in self.state.options.on:
            return Done(token, status | k.DONE_COUNT, command, rows)
        return Done(token, status, command, 0)

    def info(self, number: int, text: str, severity: int = 0, state: int = 1) -> bytes:
        """An INFO."""
        return note(Note(number, state, severity, text, NAME, self.state.frame.procedure, 1), old=self.state.old)

    # -- queries

    def query(self, statement: s.Query) -> Steps:
        state = self.state
        if state.options.on & {"NOEXEC", "PARSEONLY"}:
            return
        query = translated(statement.tokens, self)
        if query.touches:
            yield from self.applied(state.transactions.touch(), statement.line)
        writes = statement.verb != "SELECT" or bool(query.into)
        if writes and state.transactions.doomed:
            text = (
                "The current transaction cannot be committed and cannot support operations that write to the log file."
            )
            raise SqlError(3930, text, aborts_batch=True)
        command = COMMANDS.get(statement.verb, 0)
        if "FMTONLY" in state.options.on and query.returns:
            yield from self.columns_alone(query)
            yield self.done(0, command)
            return
        if statement.verb == "INSERT":
            self._check_identity(statement, query)
        cursor = yield from self.run(query.text, writes=writes)
        if query.assigned:
            count = yield from self._assigned(query, cursor)
        elif cursor.description is not None:
            count = yield from self._result(query, cursor)
        else:
            count = max(cursor.rowcount, 0) if statement.verb not in ("CREATE", "DROP", "ALTER") else None
            if query.into:
                ((count,),) = yield from self.rows(f"SELECT count(*) FROM {query.into}")
        if writes and not state.transactions.count:
            state.server.ended += 1
        if statement.verb == "INSERT" and state.data.identity_of(query.target):
            ((state.frame.identity,),) = yield from self.rows("SELECT last_insert_rowid()")
            state.identity = state.frame.identity
        state.error, state.rows = 0, count or 0
        if statement.verb == "SELECT" or not state.frame.within or "NOCOUNT" not in state.options.on:
            yield self.done(0, command, count)

    def named(self, them: Tokens) -> str:
        """SQLite's name of a table."""
        return self.table([unquoted(token) for token in them if token.text != "."])

    def _check_identity(self, statement: s.Query, query: Translated) -> None:
        """An identity column is written only with IDENTITY_INSERT on."""
        identity = self.state.data.identity_of(query.target)
        if not identity or self.state.options.identity_insert == query.target:
            return
        for token in statement.tokens:
            if token.key in ("OUTPUT", "VALUES", "SELECT", "DEFAULT"):
                return
            if unquoted(token).lower() == identity:
                shown = query.target.rpartition(".")[2].strip('"')
                what = f"identity column in table '{shown}'"
                text = f"Cannot insert explicit value for {what} when IDENTITY_INSERT is set to OFF."
                raise SqlError(544, text)

    def _assigned(self, query: Translated, cursor: Any) -> Steps:
        frame = self.state.frame
        rows = self.state.data.fetch(cursor, 1 << 30)
        if rows:
            for name, value in zip(query.assigned, rows[-1], strict=True):
                if name not in frame.types:
                    raise SqlError(137, f'Must declare the scalar variable "{name}".', severity=15, aborts_batch=True)
                frame.values[name] = d.converted(value, frame.types[name])
        return len(rows)
        yield  # a generator, as its neighbours

    def columns_alone(self, query: Translated) -> Steps:
        """A query's columns without any row."""
        cursor = yield from self.run(f"SELECT * FROM ({query.text}) LIMIT 0", writes=False)
        names = column_names(cursor)
        types = query.types if query.types and len(query.types) == len(names) else (None,) * len(names)
        yield metadata(names, [info or d.NVARCHAR for info in types], self.state.version)

    def _result(self, query: Translated, cursor: Any) -> Steps:
        state = self.state
        names, infos, rows = self.shape(query, cursor)
        yield metadata(names, infos, state.version)
        writer = Rows(infos, state.version)
        limit = state.options.numbers["ROWCOUNT"] or 1 << 62
        count = 0
        while rows:
            for row in rows:
                if count >= limit:
                    break
                count += 1
                if said := writer.row(row):
                    yield said
            rows = state.data.fetch(cursor, _PROBED) if count < limit else []
        if said := writer.rest():
            yield said
        return count

    def shape(self, query: Translated, cursor: Any) -> tuple[list[str], list[TypeInfo], list[tuple[Any, ...]]]:
        """The names and types of a result's columns, and its first rows."""
        names = column_names(cursor)
        rows = self.state.data.fetch(cursor, _PROBED)
        types = query.types if query.types and len(query.types) == len(names) else (None,) * len(names)
        whole = len(rows) < _PROBED
        infos = [
            info or guessed([row[number] for row in rows], whole=whole) for number, info in enumerate(types)
        ]  # fmt: skip
        return names, infos, rows
