"""A PostgreSQL client as small as the demo's load needs it: log in, simple queries, one prepared statement.

`rdsp.demo.mysql_wire` is the same for MySQL: a `Connection` with the same steps.

Only `rdsp.demo.load` uses it. The login is the engine's own conversation, found by its name.
"""

from __future__ import annotations

import functools
import hashlib
import os
import struct
from typing import Any

import attrs

from rdsp.config.addresses import Address
from rdsp.config.model import Tcp
from rdsp.converse import converse, receive, send_all
from rdsp.net.transport import Transport
from rdsp.pool.servers import TcpWay
from rdsp_codecs.api import BackendLogin, Codec
from rdsp_codecs.questions import Derive
from rdsp_codecs.registry import find

Row = list[bytes | None]
_COUNT = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


class ServerError(Exception):
    """The server, or the proxy in its words, answered with an error."""


def message(tag: bytes, body: bytes = b"") -> bytes:
    """A frontend message (PostgreSQL protocol 3.0, "Message Formats")."""
    return tag + struct.pack(">I", len(body) + 4) + body


def query(text: str) -> bytes:
    """A simple query."""
    return message(b"Q", text.encode() + b"\0")


def prepare(name: str, text: str) -> bytes:
    """Parse and Sync."""
    return message(b"P", f"{name}\0{text}\0".encode() + b"\0\0") + message(b"S")


def run_prepared(name: str, value: str) -> bytes:
    """Bind with one parameter, Execute and Sync; values are text in both directions."""
    text = value.encode()
    bind = b"\0" + name.encode() + b"\0" + struct.pack(">HHi", 0, 1, len(text)) + text + b"\0\0"
    return message(b"B", bind) + message(b"E", b"\0\0\0\0\0") + message(b"S")


@functools.cache
def _engine() -> Codec:
    """Found once: looking through all installed packages costs milliseconds."""
    return find("postgres")


@attrs.frozen
class Login:
    """Who logs in, and where to.

    Attributes:
        direct: to the database itself, not through the proxy.
        keys: what was derived from the password, kept by all connections together: the proxy gives one user one salt,
            and 500 derivations would cost seconds.
    """

    port: int
    user: str
    password: str = attrs.field(repr=False)
    database: str
    direct: bool = False
    keys: dict[tuple[bytes, bytes, int], bytes] = attrs.field(factory=dict, repr=False, eq=False)

    async def answer(self, question: Any) -> bytes:
        """Answers the login's only question."""
        assert isinstance(question, Derive)
        key = (question.password, question.salt, question.iterations)
        if key not in self.keys:
            self.keys[key] = hashlib.pbkdf2_hmac("sha256", *key)
        return self.keys[key]


class Connection:
    """One logged-in connection.

    Invariant: between two calls of `ask` nothing is unread, and `status` is what the last ReadyForQuery said.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._unread = b""
        self.status = "I"

    @classmethod
    async def open(cls, login: Login) -> Connection:
        """Connect and log in. Raises `OSError`, `CodecError`."""
        transport = await TcpWay(Address("127.0.0.1", login.port), Tcp()).connect()
        how = BackendLogin(
            login.user, login.password, login.database, {"application_name": "demo"}, "disable", os.urandom
        )
        try:
            await converse(_engine().login(how), transport, answer=login.answer)
        except BaseException:
            transport.close()
            raise
        return cls(transport)

    async def ask(self, *messages: bytes) -> list[Row]:
        """Send messages, each of which ends with a Query or a Sync, in one write; return all rows of the replies.

        Raises `ServerError`, and what a transport raises. After that, or a cancellation, only `close` may be called.
        """
        await send_all(self._transport, b"".join(messages))
        owed, rows = len(messages), list[Row]()
        while owed:
            self._unread += await receive(self._transport, 65536)
            at = 0
            while len(self._unread) - at >= 5:
                (size,) = struct.unpack_from(">I", self._unread, at + 1)
                if len(self._unread) - at <= size:
                    break
                owed -= self._take(self._unread[at : at + 1], self._unread[at + 5 : at + 1 + size], rows)
                at += 1 + size
            self._unread = self._unread[at:]
        return rows

    def _take(self, tag: bytes, body: bytes, rows: list[Row]) -> bool:
        """One message of the server's. Returns whether it was a ReadyForQuery."""
        if tag == b"D":
            rows.append(_columns(body))
        elif tag == b"E":
            fields = {field[:1]: field[1:].decode(errors="replace") for field in body.split(b"\0") if field}
            raise ServerError(f"{fields.get(b'C', '')} {fields.get(b'M', '')}")
        elif tag == b"Z":
            self.status = body.decode()
        return tag == b"Z"

    async def prepare(self) -> None:
        """Prepare what `added` runs."""
        await self.ask(prepare("add", "SELECT $1::int + 1, pg_backend_pid()"))

    async def begin(self) -> None:
        """Begin a transaction."""
        await self.ask(query("BEGIN"))

    async def marked(self, mark: int) -> Row:
        """Ask for a number and for the process id of the database connection, in a text."""
        (row,) = await self.ask(query(f"SELECT {mark}, pg_backend_pid()"))
        return row

    async def added(self, number: int) -> Row:
        """The number plus one and the process id, by the prepared statement."""
        (row,) = await self.ask(run_prepared("add", str(number)))
        return row

    async def commit(self) -> None:
        """End the transaction."""
        await self.ask(query("COMMIT"))

    async def count(self) -> int:
        """How many database connections of clients there are besides this one."""
        ((count,),) = await self.ask(query(_COUNT))
        return int(count or b"0")

    async def leave(self) -> None:
        """Say good-bye and close. Raises what a transport raises."""
        try:
            await send_all(self._transport, message(b"X"))
        finally:
            self.close()

    def close(self) -> None:
        """Close without a word. Any number of times."""
        self._transport.close()


def _columns(body: bytes) -> Row:
    (count,) = struct.unpack_from(">H", body)
    row, at = Row(), 2
    for _ in range(count):
        (length,) = struct.unpack_from(">i", body, at)
        at += 4
        row.append(None if length < 0 else body[at : at + length])
        at += max(length, 0)
    return row
