"""A client of the reference server's pure half, for tests: what a request is answered, in words that tests compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.sqlserver import messages as m
from rdsp_codecs.sqlserver import tokens as t
from rdsp_codecs.sqlserver.headers import all_headers
from rdsp_codecs.sqlserver.login7 import Login7
from rdsp_codecs.sqlserver.types import read_columns, read_type
from rdsp_codecs.sqlserver.values import Reader, narrow, wide
from rdsp_codecs.testing.sqlserver.answers import Blocked, Sleep
from rdsp_codecs.testing.sqlserver.cells import cell, read_cell
from rdsp_codecs.testing.sqlserver.declared import INT, NVARCHAR, NVARCHAR_MAX
from rdsp_codecs.testing.sqlserver.session import Session
from rdsp_codecs.testing.sqlserver.state import Server, State

Event = tuple[Any, ...]
_TRANSACTION = {
    k.ENV_BEGIN_TRANSACTION: "begun",
    k.ENV_COMMIT_TRANSACTION: "committed",
    k.ENV_ROLLBACK_TRANSACTION: "rolled back",
}


def server(folder: Path) -> Server:
    """One without sessions."""
    return Server(folder, {"sa": "secret"}, ["app", "other"])


def session(of: Server, *, version: int = k.TDS_7_4, login: Login7 | None = None) -> Asking:
    """A new session."""
    login = login or Login7(version=version, user="sa", database="app", application="tests", host="here")
    return Asking(State(of, next(of.spids), version, login, "app"))


class Asking:
    """Asks, and remembers the transaction descriptor as a driver does."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.session = Session(state)
        self.descriptor = bytes(8)
        self.waits: list[Sleep | Blocked] = []

    def close(self) -> None:
        """The client leaves."""
        self.session.close()

    def batch(self, text: str, *, status: int = 0) -> list[Event]:
        """A batch, answered in whole."""
        headers = b"" if self.state.old else all_headers(self.descriptor)
        return self.ask(f.SQL_BATCH, headers + wide(text), status)

    def call(self, procedure: str | int, *parameters: m.Parameter, status: int = 0) -> list[Event]:
        """An RPC."""
        said = m.calls((m.Call(procedure, parameters=parameters),))
        return self.ask(f.RPC, all_headers(self.descriptor) + said, status)

    def request(self, kind: int, **more: Any) -> list[Event]:
        """A transaction manager request."""
        said = m.transaction_request(m.TransactionRequest(kind, **more))
        return self.ask(f.TRANSACTION_MANAGER, all_headers(self.descriptor) + said, 0)

    def ask(self, kind: int, data: bytes, status: int) -> list[Event]:
        """A message. What it would have waited for is in `waits`; a lock that is not free raises `TimeoutError`."""
        said: list[bytes] = []
        for item in self.session.respond(f.Message(kind, f.EOM | status, data)):
            if isinstance(item, bytes):
                said.append(item)
                continue
            self.waits.append(item)
            if isinstance(item, Blocked):
                if item.seconds is None:
                    raise TimeoutError
                item.expired = True
        return self._read(b"".join(said))

    def value(self, text: str) -> Any:
        """The only value of a batch's only row."""
        events = self.batch(text)
        rows = [event for event in events if event[0] == "rows"]
        assert len(rows) == 1, events
        assert len(rows[0][1]) == 1, events
        return rows[0][1][0][0]

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        """A batch's only result."""
        events = self.batch(text)
        rows = [event for event in events if event[0] == "rows"]
        assert len(rows) == 1, events
        return list(rows[0][1])

    def _read(self, data: bytes) -> list[Event]:
        reader, found, old = Reader(data, "response"), [], self.state.old
        columns: Any = ()
        more = True
        while reader.left:
            assert more, "tokens behind the last DONE"
            at = reader.at
            token = reader.integer(1)
            if token == k.COLMETADATA:
                columns = read_columns(reader, old=old) or ()
                found.append(("rows", [], [column.name for column in columns]))
            elif token == k.ROW:
                found[-1][1].append(tuple(read_cell(reader, column.info) for column in columns))
            elif token in t.DONES:
                reader.at = at
                done = t.read_done(reader.take(1 + t.done_size(old=old)), old=old)
                more = bool(done.status & k.DONE_MORE)
                count = done.rows if done.status & k.DONE_COUNT else None
                name = {k.DONE: "done", k.DONEPROC: "done procedure", k.DONEINPROC: "done in procedure"}[token]
                found.append((f"{name}, error" if done.status & k.DONE_ERROR else name, count))
            elif token == k.RETURNSTATUS:
                found.append(("status", reader.signed(4)))
            elif token == k.RETURNVALUE:
                reader.skip(2)
                name = reader.b_varchar()
                reader.skip(1 + (2 if old else 4) + 2)
                info = read_type(reader)
                found.append(("value", name, read_cell(reader, info, parameter=True)))
            else:
                size = reader.integer(2)
                reader.at = at
                found.append(self._event(token, reader.take(3 + size)))
        assert not more, "no last DONE"
        return found

    def _event(self, token: int, data: bytes) -> Event:
        if token in (k.ERROR, k.INFO):
            note = t.read_note(data, old=self.state.old)
            return ("error" if token == k.ERROR else "info", note.number, note.text)
        assert token == k.ENVCHANGE, token
        change = t.read_env_change(data)
        if change.kind in _TRANSACTION:
            assert len(change.new or change.old) == 8
            if change.kind != k.ENV_BEGIN_TRANSACTION:
                assert change.old == self.descriptor
            self.descriptor = change.new or bytes(8)
            return (_TRANSACTION[change.kind],)
        if change.kind == k.ENV_RESET_ACK:
            return ("reset",)
        return ("changed", change.kind, narrow(change.new))


def text(value: str | None, name: str = "", *, output: bool = False) -> m.Parameter:
    """A parameter of characters."""
    info = NVARCHAR if value is None or len(value) < 4000 else NVARCHAR_MAX
    return m.Parameter(name, int(output), info, cell(info, value, parameter=True))


def number(value: int | None, name: str = "", *, output: bool = False) -> m.Parameter:
    """A parameter that is an integer."""
    return m.Parameter(name, int(output), INT, cell(INT, value, parameter=True))
