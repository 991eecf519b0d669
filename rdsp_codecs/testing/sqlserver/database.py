"""The data behind the reference server: one SQLite file, and a connection to it for each session.

Databases and schemas are parts of SQLite's names of tables. A transaction of SQLite's begins with the first write of a
transaction of the session's, so that reads before it see what others have committed, as READ COMMITTED does.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from rdsp_codecs.sqlserver.lexer import tokens
from rdsp_codecs.sqlserver.types import TypeInfo
from rdsp_codecs.testing.sqlserver import declared as d
from rdsp_codecs.testing.sqlserver.statements import SqlError, syntax_error
from rdsp_codecs.testing.sqlserver.transactions import Action, Outcome

_BUSY: Final = 5
_NO_TABLE: Final = re.compile(r"no such table: (.*)")
_NO_COLUMN: Final = re.compile(r"(?:no such column: |has no column named )(.*)")
_NO_FUNCTION: Final = re.compile(r"no such function: (.*)")
_NEAR: Final = re.compile(r'near "(.*)": syntax error')
_EXISTS: Final = re.compile(r'table "?(.*?)"? already exists')


class Locked(Exception):
    """Another session writes; to be tried again when it has ended its transaction."""


class Data:
    """One session's connection.

    Invariant: SQLite's transaction is open only within one of the session's.

    Args:
        path: of the file.
        functions: what SQLite calls by name, with any number of values. What they raise is raised by `run`.
    """

    def __init__(self, path: Path, functions: Mapping[str, Callable[..., Any]]) -> None:
        self._connection = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False, uri=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._savepoints: list[str] = []
        self._within = False
        self._raised: SqlError | None = None
        for name, function in functions.items():
            self._connection.create_function(name, -1, self._guarded(function))

    def close(self) -> None:
        """Its temporary tables are gone, and what it has not committed."""
        self._connection.close()

    def _guarded(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*values: Any) -> Any:
            try:
                return d.stored(function(*values))
            except SqlError as error:
                self._raised = error
                raise

        return call

    def run(self, text: str, values: Mapping[str, Any], *, writes: bool) -> sqlite3.Cursor:
        """Run one statement. Raises `SqlError`, and `Locked` where it has done nothing yet."""
        try:
            if writes and self._within and not self._connection.in_transaction:
                self._connection.execute("BEGIN IMMEDIATE")
                for number in range(len(self._savepoints)):
                    self._connection.execute(f"SAVEPOINT s{number}")
            if ";" in text and not values:
                cursor = self._connection.cursor()
                for each in text.split(";") if text.startswith("DROP") else (text,):
                    cursor.execute(each)
                return cursor
            return self._connection.execute(text, values)
        except sqlite3.Error as error:
            raise self.failure(error) from None
        except OverflowError:
            raise SqlError(8115, "Arithmetic overflow error.", aborts_batch=True) from None

    def fetch(self, cursor: sqlite3.Cursor, count: int) -> list[tuple[Any, ...]]:
        """The next rows. Raises as `run` does."""
        try:
            return cursor.fetchmany(count)
        except sqlite3.Error as error:
            raise self.failure(error) from None

    def columns(self, table: str) -> dict[str, tuple[TypeInfo | None, bool]]:
        """A table's columns by name in lower case: type, and whether it may be NULL; of its name in quotes."""
        found: dict[str, tuple[TypeInfo | None, bool]] = {}
        for _, name, kind, required, _, key in self._connection.execute(f"PRAGMA table_info({table})"):
            info = None
            if kind and kind not in ("NUM", "TEXT", "REAL", "BLOB", "INT") and not kind.startswith("_"):
                info, _ = d.read_type_name(tuple(tokens(kind)), 0)
            found[name.lower()] = (info, not required and not key)
        return found

    def identity_of(self, table: str) -> str:
        """The name of a table's identity column in lower case, or ""."""
        for _, name, kind, _, _, key in self._connection.execute(f"PRAGMA table_info({table})"):
            if key and kind == "INTEGER":
                return str(name).lower()
        return ""

    def temporary(self) -> list[str]:
        """The session's temporary tables, in SQLite's names without quotes."""
        rows = self._connection.execute("SELECT name FROM sqlite_temp_master WHERE type = 'table' AND name LIKE '#%'")
        return [name for (name,) in rows]

    def apply(self, outcome: Outcome) -> None:
        """What a statement about transactions means for the data. Raises `SqlError`, `Locked` never."""
        connection, action = self._connection, outcome.action
        if action is Action.BEGIN:
            self._within = True
            self._savepoints.clear()
        elif action in (Action.COMMIT, Action.ROLLBACK):
            self._within = False
            self._savepoints.clear()
            if connection.in_transaction:
                connection.execute(action.name)
        elif action is Action.SAVE:
            self._savepoints.append(outcome.name)
            if connection.in_transaction:
                connection.execute(f"SAVEPOINT s{len(self._savepoints) - 1}")
        elif action is Action.ROLLBACK_TO:
            last = len(self._savepoints) - 1 - self._savepoints[::-1].index(outcome.name)
            del self._savepoints[last + 1 :]
            if connection.in_transaction:
                connection.execute(f"ROLLBACK TO s{last}")

    def failure(self, error: sqlite3.Error) -> Exception:
        """What SQLite's error is in SQL Server's words."""
        raised, self._raised = self._raised, None
        if raised is not None:
            return raised
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == _BUSY:
            return Locked()
        said = str(error)
        if found := _NO_TABLE.search(said):
            return SqlError(208, f"Invalid object name '{_shown(found[1])}'.", aborts_batch=True)
        if found := _NO_COLUMN.search(said):
            return SqlError(207, f"Invalid column name '{found[1].rpartition('.')[2]}'.", aborts_batch=True)
        if found := _NO_FUNCTION.search(said):
            text = f"'{found[1]}' is not a recognized built-in function name."
            return SqlError(195, text, severity=15, aborts_batch=True)
        if found := _NEAR.search(said):
            return syntax_error(found[1])
        if found := _EXISTS.search(said):
            text = f"There is already an object named '{_shown(found[1])}' in the database."
            return SqlError(2714, text, state=6, aborts_batch=True)
        if "UNIQUE constraint failed" in said or "PRIMARY KEY" in said:
            where = said.rpartition(": ")[2].rpartition(".")[0]
            text = f"Violation of UNIQUE KEY constraint. Cannot insert duplicate key in object '{_shown(where)}'."
            return SqlError(2627, text, severity=14)
        if "NOT NULL constraint failed" in said:
            table, _, column = said.rpartition(": ")[2].rpartition(".")
            where = f"column '{column}', table '{_shown(table)}'"
            text = f"Cannot insert the value NULL into {where}; column does not allow nulls."
            return SqlError(515, text, state=2)
        if "constraint failed" in said:
            return SqlError(547, f"The statement conflicted with a constraint: {said}.", state=0)
        return SqlError(102, f"{said}.", severity=15, aborts_batch=True)


def _shown(name: str) -> str:
    """A table's name as the client has it."""
    return name.rpartition(".")[2]
