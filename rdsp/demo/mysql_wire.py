"""A MySQL client as small as the demo's load needs it: log in, text queries, one prepared statement.

Only `rdsp.demo.load` uses it, for MySQL and MariaDB. It is no engine of the proxy's on purpose: a client that shares no
code with the proxy would notice where both were wrong.
"""

from __future__ import annotations

import hashlib
import os
import struct
from typing import Final

from rdsp.config.addresses import Address
from rdsp.config.model import Tcp
from rdsp.converse import converse, receive, send_all
from rdsp.demo.wire import Login, Row, ServerError
from rdsp.net.transport import Transport
from rdsp.pool.servers import TcpWay
from rdsp_codecs.api import BackendLogin
from rdsp_codecs.registry import find

# The specification's names: CLIENT_LONG_PASSWORD, LONG_FLAG, CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS,
# SECURE_CONNECTION, PLUGIN_AUTH, DEPRECATE_EOF.
_FLAGS: Final = 1 | 4 | 8 | 1 << 9 | 1 << 13 | 1 << 15 | 1 << 19 | 1 << 24
_DEPRECATE_EOF: Final = 1 << 24
_UTF8MB4: Final = 45
_LONGLONG: Final = 8
_IN_TRANSACTION: Final = 1
_QUIT, _QUERY, _PREPARE, _EXECUTE = b"\x01", b"\x03", b"\x16", b"\x17"
_COUNT: Final = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'demo' AND id <> CONNECTION_ID()"
_LARGEST: Final = 0xFFFFFF


def _length(payload: bytes, at: int) -> tuple[int | None, int]:
    """A length-encoded integer and what follows it; None for NULL."""
    first = payload[at]
    if first < 0xFB:
        return first, at + 1
    if first == 0xFB:
        return None, at + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}[first]
    return int.from_bytes(payload[at + 1 : at + 1 + size], "little"), at + 1 + size


def _text(payload: bytes, at: int) -> tuple[bytes | None, int]:
    """A length-encoded string and what follows it."""
    length, at = _length(payload, at)
    return (None, at) if length is None else (payload[at : at + length], at + length)


def _native(password: bytes, challenge: bytes) -> bytes:
    """mysql_native_password: SHA1(password) XOR SHA1(challenge + SHA1(SHA1(password)))."""
    once = hashlib.sha1(password, usedforsecurity=False).digest()
    mask = hashlib.sha1(challenge + hashlib.sha1(once, usedforsecurity=False).digest(), usedforsecurity=False).digest()
    return bytes(one ^ other for one, other in zip(once, mask, strict=True))


def _caching(password: bytes, challenge: bytes) -> bytes:
    """caching_sha2_password: SHA256(password) XOR SHA256(SHA256(SHA256(password)) + challenge)."""
    once = hashlib.sha256(password).digest()
    mask = hashlib.sha256(hashlib.sha256(once).digest() + challenge).digest()
    return bytes(one ^ other for one, other in zip(once, mask, strict=True))


_PROOFS: Final = {b"mysql_native_password": _native, b"caching_sha2_password": _caching}


def _error(payload: bytes) -> ServerError:
    (number,) = struct.unpack_from("<H", payload, 1)
    words = payload[3:]
    if words[:1] == b"#":
        words = words[1:6] + b" " + words[6:]
    return ServerError(f"{number} {words.decode(errors='replace')}")


class Connection:
    """One logged-in connection.

    Invariant: between two commands nothing is unread, and `status` is what the last answer said: "T" in a transaction,
    "I" outside.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._unread = b""
        self._number = 0
        self._statement = b""
        self.status = "I"

    @classmethod
    async def open(cls, login: Login) -> Connection:
        """Connect and log in. Raises `OSError`, `CodecError`, `ServerError`, `ValueError`."""
        transport = await TcpWay(Address("127.0.0.1", login.port), Tcp()).connect()
        connection = cls(transport)
        try:
            if login.direct:
                # A server that has not seen the password yet wants more than a proof: the engine knows how.
                how = BackendLogin(login.user, login.password, login.database, {}, "disable", os.urandom)
                await converse(find("mysql").login(how), transport)
            else:
                await connection._log_in(login)
        except BaseException:
            transport.close()
            raise
        return connection

    async def _log_in(self, login: Login) -> None:
        greeting = await self._packet()
        if greeting[:1] == b"\xff":
            raise _error(greeting)
        at = greeting.index(b"\0", 1) + 5
        low, high = struct.unpack_from("<H", greeting, at + 9)[0], struct.unpack_from("<H", greeting, at + 14)[0]
        if not (low | high << 16) & _DEPRECATE_EOF:
            msg = "the server speaks an older protocol than the demo's clients"
            raise ValueError(msg)
        challenge = greeting[at : at + 8] + greeting[at + 27 : at + 39]
        plugin = greeting[at + 40 :].partition(b"\0")[0]
        plugin = plugin if plugin in _PROOFS else b"mysql_native_password"
        password = login.password.encode()
        proof = _PROOFS[plugin](password, challenge)
        head = struct.pack("<IIB23x", _FLAGS, _LARGEST, _UTF8MB4)
        names = login.user.encode() + b"\0" + bytes((len(proof),)) + proof + login.database.encode() + b"\0"
        await self._send(head + names + plugin + b"\0")
        while (payload := await self._packet())[:1] != b"\0":
            if payload[:1] == b"\xff":
                raise _error(payload)
            if payload[:1] == b"\xfe":
                plugin, _, rest = payload[1:].partition(b"\0")
                if plugin not in _PROOFS:
                    msg = f"the server wants the proof {plugin.decode(errors='replace')}"
                    raise ValueError(msg)
                await self._send(_PROOFS[plugin](password, rest[:20]))
            elif payload != b"\x01\x03":  # "it is right, an OK follows"
                msg = f"an unexpected packet in the login: {payload[:2]!r}"
                raise ValueError(msg)

    async def _packet(self) -> bytes:
        while True:
            size = int.from_bytes(self._unread[:3], "little")
            if len(self._unread) >= 4 + size:
                self._number = self._unread[3] + 1
                payload, self._unread = self._unread[4 : 4 + size], self._unread[4 + size :]
                if not payload:
                    msg = "an empty packet"
                    raise ValueError(msg)
                return payload
            self._unread += await receive(self._transport, 65536)

    async def _send(self, payload: bytes) -> None:
        await send_all(self._transport, len(payload).to_bytes(3, "little") + bytes((self._number & 0xFF,)) + payload)

    async def _ask(self, command: bytes, body: bytes) -> list[Row]:
        """Send a command; return the rows of its answer. Raises `ServerError`; then only `close` may be called."""
        self._number = 0
        await self._send(command + body)
        payload = await self._packet()
        if payload[:1] == b"\xff":
            raise _error(payload)
        if payload[:1] == b"\0":
            self._ended(payload)
            return []
        columns, _ = _length(payload, 0)
        kinds = [_kind(await self._packet()) for _ in range(columns or 0)]
        rows = list[Row]()
        while (payload := await self._packet())[:1] != b"\xfe":
            if payload[:1] == b"\xff":
                raise _error(payload)
            rows.append(_columns(payload, len(kinds)) if command == _QUERY else _binary(payload, kinds))
        self._ended(payload)
        return rows

    def _ended(self, payload: bytes) -> None:
        """An OK: two numbers, and then the status."""
        _, at = _length(payload, 1)
        _, at = _length(payload, at)
        (status,) = struct.unpack_from("<H", payload, at)
        self.status = "T" if status & _IN_TRANSACTION else "I"

    async def prepare(self) -> None:
        """Prepare what `added` runs."""
        self._number = 0
        await self._send(_PREPARE + b"SELECT CAST(? AS SIGNED) + 1, backend()")
        payload = await self._packet()
        if payload[:1] == b"\xff":
            raise _error(payload)
        self._statement = payload[1:5]
        columns, parameters = struct.unpack_from("<HH", payload, 5)
        for _ in range(columns + parameters):
            await self._packet()

    async def begin(self) -> None:
        """Begin a transaction."""
        await self._ask(_QUERY, b"BEGIN")

    async def marked(self, mark: int) -> Row:
        """Ask for a number and for the number of the database connection, in a text."""
        (row,) = await self._ask(_QUERY, b"SELECT %d, backend()" % mark)
        return row

    async def added(self, number: int) -> Row:
        """The number plus one and the database connection's, by the prepared statement."""
        body = self._statement + struct.pack("<BIBBBBq", 0, 1, 0, 1, _LONGLONG, 0, number)
        (row,) = await self._ask(_EXECUTE, body)
        return row

    async def commit(self) -> None:
        """End the transaction."""
        await self._ask(_QUERY, b"COMMIT")

    async def count(self) -> int:
        """How many database connections of clients there are besides this one."""
        ((count,),) = await self._ask(_QUERY, _COUNT.encode())
        return int(count or b"0")

    async def leave(self) -> None:
        """Say good-bye and close. Raises what a transport raises."""
        try:
            self._number = 0
            await self._send(_QUIT)
        finally:
            self.close()

    def close(self) -> None:
        """Close without a word. Any number of times."""
        self._transport.close()


def _kind(definition: bytes) -> int:
    """The type in a column's definition: behind six strings, the length of what follows, character set and length."""
    at = 0
    for _ in range(6):
        _, at = _text(definition, at)
    return definition[at + 7]


def _columns(payload: bytes, count: int) -> Row:
    row, at = Row(), 0
    for _ in range(count):
        value, at = _text(payload, at)
        row.append(value)
    return row


def _binary(payload: bytes, kinds: list[int]) -> Row:
    """A row of the binary protocol, whole numbers only, as texts have them."""
    nulls = (len(kinds) + 9) // 8
    row, at = Row(), 1 + nulls
    for column, kind in enumerate(kinds):
        if payload[1 + (column + 2) // 8] >> (column + 2) % 8 & 1:
            row.append(None)
            continue
        if kind != _LONGLONG:
            msg = f"a value of type {kind} where a whole number was to come"
            raise ValueError(msg)
        row.append(b"%d" % struct.unpack_from("<q", payload, at)[0])
        at += 8
    return row
