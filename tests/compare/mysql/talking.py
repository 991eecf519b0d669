"""How clients of MySQL and MariaDB do the steps of a script.

What is compared: every packet in its order; of OKs and EOFs all fields but what `FORGIVEN` names, errors, definitions
and rows byte for byte. A statement's id is the connection's own: scripts count statements. MariaDB's trackers come in
no order.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from typing import Any

import attrs

from rdsp_codecs.errors import PeerClosed
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql import trackers as t
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.login import CAPABILITIES
from rdsp_codecs.mysql.values import integer, lenenc
from tests.compare.runner import Step
from tests.servers.mysqlclient import Heard, MySqlClient

FORGIVEN = {
    r.SERVER_SESSION_STATE_CHANGED: "who has not asked for trackers is told by nobody what they say",
    r.SERVER_QUERY_WAS_SLOW: "it is the machine that was",
}
"""Status flags that are not compared, and why."""

DATABASE = "compared"
"""The scripts' own: other tests have tables of the same names."""
USUAL = c.CLIENT_MULTI_RESULTS | c.CLIENT_PS_MULTI_RESULTS | c.CLIENT_LOCAL_FILES | c.CLIENT_MULTI_STATEMENTS
_SHOWN = 200
_SECONDS = 20.0
"""How long a packet may take: longer than any lock is waited for."""
_STATUS = {value: name for name, value in vars(r).items() if name.startswith("SERVER_")}
_ID = re.compile(rb"(statement (?:handler )?)\(\d+\)")
_ASKS = b"session_track_transaction_info ="
_VAR_STRING = 0xFD
_LONGLONG = 0x08


@attrs.frozen
class Command:
    """A command.

    Attributes:
        statement: the client's statement of this number, from 1 on: its id stands in front of the body; 0: none does.
        files: what the server gets that asks for files.
    """

    code: int
    body: bytes = b""
    statement: int = 0
    files: tuple[bytes, ...] = ()


def query(text: str | bytes, *files: bytes) -> Command:
    """A text."""
    return Command(r.COM_QUERY, text.encode() if isinstance(text, str) else text, files=files)


def prepare(text: str) -> Command:
    """The client's next statement."""
    return Command(r.COM_STMT_PREPARE, text.encode())


def execute(number: int, *values: bytes | int | None, typed: bool = True, cursor: bool = False) -> Command:
    """Execute a statement. `typed`: the types of the parameters go with it, as they must the first time."""
    body = bytes((int(cursor),)) + integer(1, 4)
    if values:
        nulls = sum(1 << at for at, value in enumerate(values) if value is None)
        body += nulls.to_bytes((len(values) + 7) // 8, "little") + bytes((int(typed),))
        for value in values if typed else ():
            body += bytes((_LONGLONG if isinstance(value, int) else _VAR_STRING, 0))
        for value in values:
            if value is not None:
                body += integer(value, 8) if isinstance(value, int) else lenenc(value)
    return Command(r.COM_STMT_EXECUTE, body, number)


def fetch(number: int, rows: int) -> Command:
    """Rows of a statement's cursor."""
    return Command(r.COM_STMT_FETCH, integer(rows, 4), number)


def long_data(number: int, parameter: int, data: bytes) -> Command:
    """A piece of a parameter, which nobody answers."""
    return Command(r.COM_STMT_SEND_LONG_DATA, integer(parameter, 2) + data, number)


def closes(number: int) -> Command:
    """Close a statement, which nobody answers."""
    return Command(r.COM_STMT_CLOSE, b"", number)


def resets(number: int) -> Command:
    """Reset a statement: its cursor and its long data."""
    return Command(r.COM_STMT_RESET, b"", number)


@attrs.define
class MySqlTalker:
    """A client."""

    client: MySqlClient
    _ids: list[bytes] = attrs.field(factory=list, init=False)
    _waits: Command | None = attrs.field(default=None, init=False)
    _asks: bool = attrs.field(default=False, init=False)

    def take(self, step: Step) -> list[str]:
        """See `Talker`. Every command is heard before the next one goes out, the last one later where it must wait."""
        lines: list[str] = []
        if self._waits is not None and step.ready > 0:
            lines += self._hear(self._waits)
        for at, message in enumerate(step.messages):
            command = query(message) if isinstance(message, str) else message
            self._waits = command
            self._asks = self._asks or _ASKS in command.body
            with contextlib.suppress(ConnectionError):  # `_hear` finds out
                self.client.begin(command.code, self._body(command))
            if (step.leaves or step.ready < 0) and at == len(step.messages) - 1:
                break
            lines += self._hear(command)
        if step.parts:
            self.client.command(r.COM_QUIT)
        if step.leaves:
            self.close()
        return lines

    def _body(self, command: Command) -> bytes:
        if not command.statement:
            return command.body
        known = command.statement <= len(self._ids)
        return (self._ids[command.statement - 1] if known else integer(0xABCDEF, 4)) + command.body

    def _hear(self, command: Command) -> list[str]:
        self._waits = None
        lines = []
        try:
            heard = self.client.hear(command.files)
        except (PeerClosed, ConnectionError):
            return ["closed"]
        for one in heard:
            if one.part is Part.PREPARED and command.code == r.COM_STMT_PREPARE:
                self._ids.append(one.payload[1:5])
                lines.append(f"PREPARED {one.payload[5:]!r}")
            else:
                lines.append(shown(one, asks=self._asks))
        return lines

    def close(self) -> None:
        """See `Talker`."""
        self.client.close()


def shown(heard: Heard, *, asks: bool = False) -> str:
    """A packet as a comparable line. `asks`: the client has asked where its transaction stands."""
    name = heard.part.name
    if heard.ok is not None:
        ok = heard.ok
        told = "".join(f" {kind} {body!r}" for kind, body in sorted(_told(ok, asks=asks)))
        return (
            f"{name} {ok.affected_rows} {ok.last_insert_id} {ok.warnings} {ok.info or b''!r}{_flags(ok.status)}{told}"
        )
    if heard.part is Part.EOF:
        return f"{name} {heard.payload[1:3]!r}{_flags(heard.status or 0)}"
    payload = _ID.sub(rb"\1(...)", heard.payload)
    return f"{name} {payload!r}" if len(payload) <= _SHOWN else f"{name} {len(payload)} bytes {hash(payload)}"


def _told(ok: r.Ok, *, asks: bool) -> list[tuple[int, bytes]]:
    # MySQL tells it, for BEGIN and COMMIT, also to who has not asked.
    forgiven = t.SESSION_TRACK_TRANSACTION_STATE
    return [(one.kind, one.body) for one in ok.trackers or () if asks or one.kind != forgiven]


def _flags(status: int) -> str:
    names = [_STATUS.get(1 << bit, str(bit)) for bit in range(16) if status >> bit & 1 and 1 << bit not in FORGIVEN]
    return "".join(f" {name.removeprefix('SERVER_').removeprefix('STATUS_')}" for name in names)


def talkers(port: int, usual: int = USUAL) -> Callable[..., MySqlTalker]:
    """Makes the clients of a script: with `usual` flags, `more` of them where the script says so, as another `user`."""

    def connect(more: int = 0, less: int = 0, **login: Any) -> MySqlTalker:
        flags = (usual | more) & ~less
        client = MySqlClient(port, parameters={CAPABILITIES: str(flags)}, **{"database": DATABASE, **login})
        client.socket.settimeout(_SECONDS)
        return MySqlTalker(client)

    return connect
