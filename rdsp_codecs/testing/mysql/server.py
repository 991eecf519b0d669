"""A model of one connection to a MySQL or MariaDB server: a client's packets in, the server's out, no I/O, no clock.

It knows a few texts in place of SQL and does with them, packet by packet, what the servers do where a pooler can tell
the difference: both forms of a result set, several statements and results, trackers, transactions with and without
autocommit, errors that roll back, prepared statements, a view that runs a function, and COM_RESET_CONNECTION.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.framing import FULL, HEADER, packets
from rdsp_codecs.mysql.values import lenenc
from rdsp_codecs.testing.mysql.sessions import INSERTED, Failure, Session

Rows = Sequence[tuple[str | None, ...]]
_TEXT: Final = 253
_SELECTS: Final[dict[str, tuple[tuple[str, ...], Rows]]] = {
    "SELECT 1": (("1",), [("1",)]),
    "SELECT 2 AS b": (("b",), [("2",)]),
    "SELECT 'two', NULL": (("two", "NULL"), [("two", None)]),
    "SELECT n FROM none": (("n",), []),
    "SELECT n FROM three": (("n",), [("1",), ("2",), ("3",)]),
    "SELECT ?": (("?",), [("?",)]),
    "SELECT n FROM view": (("n",), [("1",)]),
}
_VARIABLES: Final = re.compile(r"SELECT (?:@@|LAST_INSERT_ID\(\))[\w., @]*").fullmatch
_OWN: Final = re.compile(r"SELECT @(\w+)").fullmatch
_ANSWERS: Final = {"global.max_connections": "151", "session.max_user_connections": "0", "global.read_only": "0"}
_SYNTAX: Final = "You have an error in your SQL syntax; check the manual"


class ModelServer(Session):
    """One connection, behind its login. `feed` it bytes.

    Args:
        flags: that the connection speaks.
        mariadb: the server is of that family.
    """

    def __init__(self, flags: int, *, mariadb: bool = False) -> None:
        super().__init__(flags, mariadb=mariadb)
        self.closed = False
        self.prepared: dict[int, str] = {}
        self._made = 0
        self._input = b""
        self._parts = b""
        self._number = 0
        self._flags_before = 0
        """The flags before the statement."""
        self._out: list[bytes] = []
        self.failed = False
        """The answers of commands that clear nothing count one error more, which MySQL's do."""

    @property
    def between(self) -> bool:
        """Nothing of a packet is here that is not all here."""
        return not self._input and not self._parts

    def feed(self, data: bytes) -> bytes:
        """Take what came. Returns what is answered."""
        self._input += data
        while len(self._input) >= HEADER and not self.closed:
            size = int.from_bytes(self._input[:3], "little")
            if len(self._input) < HEADER + size:
                break
            due = 0 if not self._parts else self._number
            came = self._input[3]
            self._number = (came + 1) & 0xFF
            part, self._input = self._input[HEADER : HEADER + size], self._input[HEADER + size :]
            self._parts += part
            if came != due:
                self._say(r.err(r.Err(1156, b"08S01", b"Got packets out of order")))
                self.closed = True
            elif size < FULL:
                payload, self._parts = self._parts, b""
                self._command(payload)
        said = b"".join(self._out)
        self._out.clear()
        return said

    # -- commands ---------------------------------------------------------------------------------------------------

    def _command(self, payload: bytes) -> None:
        kind, body, before, begun = payload[0] if payload else -1, payload[1:], self.open, self.begun
        self.starts()
        try:
            if kind in (r.COM_QUIT, -1):
                self.closed = True
            elif kind == r.COM_QUERY:
                self.failed = False
                self._query(body.decode("latin-1"))
            elif kind == r.COM_STATISTICS:
                self._say(b"Uptime: 1  Threads: 1")
            elif kind == r.COM_SET_OPTION:
                self._set_option(body)
            elif kind in (r.COM_STMT_PREPARE, r.COM_STMT_EXECUTE, r.COM_STMT_CLOSE, r.COM_STMT_RESET):
                self._statement(kind, body)
            else:
                self._simple(kind, body)
        except Failure as failure:
            # An ERR has no flags: what was untold before it is still.
            self.begun = self.begun or begun or (before and not self.open)
            self.failed = not self.mariadb
            self._say(failure.payload)

    def _simple(self, kind: int, body: bytes) -> None:
        """What is answered by an OK."""
        if kind == r.COM_INIT_DB:
            self.ran(ends=False)
            self.use(body.decode("latin-1"))
        elif kind == r.COM_RESET_CONNECTION:
            self.end(commit=False)
            self.renew()
            self.prepared.clear()
            self.failed = False
        elif kind == r.COM_PING:
            self.ran(ends=False)
        else:
            raise Failure(1047, "08S01", "Unknown command")
        self._ok()

    def _set_option(self, body: bytes) -> None:
        option = int.from_bytes(body[:2], "little")
        if len(body) != 2 or option > 1:
            raise Failure(1047, "08S01", "Unknown command")
        self.ran(ends=False)
        self.several = option == 0
        self._end()

    def _statement(self, kind: int, body: bytes) -> None:
        if kind == r.COM_STMT_PREPARE:
            self._prepare(body.decode("latin-1"))
            return
        number = int.from_bytes(body[:4], "little")
        if kind == r.COM_STMT_CLOSE:
            self.prepared.pop(number, None)
            return
        text = self.prepared.get(number)
        if text is None:
            where = "mysql_stmt_precheck"
            if self.mariadb:
                where = "mysqld_stmt_reset" if kind == r.COM_STMT_RESET else "mysqld_stmt_execute"
            raise Failure(1243, "HY000", f"Unknown prepared statement handler ({number}) given to {where}")
        self.ran(ends=False)
        self.failed = False
        if kind == r.COM_STMT_RESET:
            self._ok()
            return
        value = body[-1:] if "?" in text else b""
        self._run(text, more=False, binary=True, value=value.decode("latin-1"))

    def _prepare(self, text: str) -> None:
        if text not in _SELECTS and text != "INSERT INTO t VALUES (1)":
            raise Failure(1064, "42000", _SYNTAX)
        self.ran(ends=False)
        self.failed = False
        self._made += 1
        self.prepared[self._made] = text
        columns = _SELECTS[text][0] if text in _SELECTS else ()
        self._say(r.prepared(r.Prepared(self._made, len(columns), text.count("?"))))
        for names in (("?",) * text.count("?"), columns):
            for name in names:
                self._say(_definition(name))
            if names and self._classic:
                self._say(r.eof(r.Eof(0, self.status())))

    # -- texts ------------------------------------------------------------------------------------------------------

    def _query(self, source: str) -> None:
        texts = [each.strip() for each in source.split(";") if each.strip()]
        if not texts:
            raise Failure(1065, "42000", "Query was empty")
        if len(texts) > 1 and not self.several:
            raise Failure(1064, "42000", _SYNTAX)
        for at, text in enumerate(texts):
            self._run(text, more=at + 1 < len(texts))
        self.begun = self.begun or (len(texts) > 1 and not self.has_autocommit)

    def _run(self, text: str, *, more: bool, binary: bool = False, value: str = "") -> None:
        flags = r.SERVER_MORE_RESULTS_EXISTS if more else 0
        verb = text.split(" ", 1)[0].upper()
        self._flags_before = self.status()
        self.starts()
        ends = verb in ("COMMIT", "ROLLBACK")
        if verb != "SET":
            self.ran(ends=ends)
        if verb == "SELECT":
            columns, rows = self._select(text, value)
            self._result(columns, rows, flags, binary=binary)
            return
        if text in ("BEGIN", "START TRANSACTION", "COMMIT", "ROLLBACK"):
            if verb in ("BEGIN", "START"):
                self.begin()
            else:
                self.end(commit=verb == "COMMIT")
            self._ok(flags=flags)
        elif text == "SAVEPOINT a":
            self.mark()
            self._ok(flags=flags)
        elif verb == "SET":
            self.set(text[4:])
            self._ok(flags=flags)
        elif verb == "USE":
            self.use(text[4:])
            self._ok(flags=flags)
        else:
            self._change(text, flags)

    def _change(self, text: str, flags: int) -> None:
        if text == "INSERT INTO t VALUES (1)":
            self.uses_table(text)
            self._ok(1, INSERTED, flags=flags)
        elif text == "INSERT INTO twice VALUES (1)":
            self.uses_table()
            raise Failure(1062, "23000", "Duplicate entry '1' for key 'PRIMARY'")
        elif text == "INSERT INTO stuck VALUES (1)":
            self.end(commit=False)
            raise Failure(1213, "40001", "Deadlock found when trying to get lock; try restarting transaction")
        elif text == "CREATE TABLE n (a INT)":
            self.end(commit=True)
            self.inserted.append(text)
            self.ran(ends=False)
            self._ok(flags=flags)
        elif text == "CALL two()":
            again = r.SERVER_MORE_RESULTS_EXISTS
            self._result(("1",), [("1",)], again)
            self._result(("2",), [("2",)], again)
            self._ok(flags=flags)
        else:
            raise Failure(1064, "42000", f"{_SYNTAX} near '{text}'")

    def _select(self, text: str, value: str) -> tuple[tuple[str, ...], Rows]:
        if text in _SELECTS:
            columns, rows = _SELECTS[text]
            if " FROM " in text:
                self.uses_table()
            if text == "SELECT n FROM view":
                self.call()
            return columns, [(value,)] if "?" in text else rows
        if text.startswith("SELECT 1 FROM (SELECT 1) t LIMIT "):  # no engine's table: it begins no transaction
            return ("1",), [("1",)] * int(text[-1])
        own = _OWN(text)
        if own is not None:
            return (text[7:],), [(self.own.get(own[1].lower()),)]
        if _VARIABLES(text) is None:
            raise Failure(1064, "42000", _SYNTAX)
        names = [each.strip().removeprefix("@@") for each in text[7:].removesuffix(" LIMIT 1").split(",")]
        known = {**_ANSWERS, **self.variables, "LAST_INSERT_ID()": self.variables["last_insert_id"]}
        unknown = [each for each in names if each not in known]
        if unknown:
            raise Failure(1193, "HY000", f"Unknown system variable '{unknown[0]}'")
        return tuple(names), [tuple(known[each] for each in names)]

    # -- answers ----------------------------------------------------------------------------------------------------

    @property
    def _classic(self) -> bool:
        return not self.flags & c.CLIENT_DEPRECATE_EOF

    def _say(self, payload: bytes) -> None:
        data = packets(payload, self._number)
        self._number = (self._number + len(payload) // FULL + 1) & 0xFF
        self._out.append(data)

    def _ok(self, rows: int = 0, inserted: int = 0, *, flags: int = 0, header: int = r.OK) -> None:
        news = self.news()
        status = self.status() | flags | (r.SERVER_SESSION_STATE_CHANGED if news else 0)
        self._say(r.ok(r.Ok(header, rows, inserted, status, int(self.failed), trackers=news)))

    def _end(self, flags: int = 0) -> None:
        """Of rows, or of a command that is answered like that."""
        if self._classic:
            if self.mariadb and self.stirred():
                flags |= r.SERVER_SESSION_STATE_CHANGED
            self._say(r.eof(r.Eof(int(self.failed), self.status() | flags)))
        else:
            self._ok(flags=flags, header=r.EOF)

    def _result(self, columns: tuple[str, ...], rows: Rows, flags: int, *, binary: bool = False) -> None:
        self._say(r.column_count(r.ColumnCount(len(columns))))
        for name in columns:
            self._say(_definition(name))
        if self._classic:
            # What a statement begins, servers may tell here already; clients heed the end.
            self._say(r.eof(r.Eof(0, self._flags_before)))
        for row in rows:
            self._say(_binary(row) if binary else b"".join(map(_value, row)))
        self._end(flags)


def _definition(name: str) -> bytes:
    parts = [b"def", b"", b"", b"", name.encode(), b""]
    tail = b"\x0c" + (45).to_bytes(2, "little") + (80).to_bytes(4, "little") + bytes((_TEXT,)) + bytes(5)
    return b"".join(map(lenenc, parts)) + tail


def _value(value: str | None) -> bytes:
    return b"\xfb" if value is None else lenenc(value.encode("latin-1"))


def _binary(row: tuple[str | None, ...]) -> bytes:
    nulls = sum(4 << at for at, value in enumerate(row) if value is None)
    body = b"".join(_value(value) for value in row if value is not None)
    return b"\0" + nulls.to_bytes((len(row) + 9) // 8, "little") + body
