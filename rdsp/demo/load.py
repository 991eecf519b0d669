"""The demo's clients: short transactions over many connections, every answer checked.

A process of its own (`python -m rdsp.demo.load`), so that the proxy's core is the proxy's. Prints one JSON object per
second and one at the end. Speaks just enough of the PostgreSQL protocol; the login is the engine's own conversation.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import sys
from typing import Any

import attrs
import trio
import trio.lowlevel

from rdsp.converse import converse, receive, send_all
from rdsp.net.transport import SocketTransport
from rdsp.pool.opening import adopt
from rdsp_codecs.api import BackendLogin
from rdsp_codecs.errors import CodecError
from rdsp_codecs.questions import Derive
from rdsp_codecs.registry import find

LOGINS_AT_ONCE = 16


@attrs.define(eq=False)
class Tally:
    """What the clients have done so far."""

    connected: int = 0
    transactions: int = 0
    errors: int = 0
    first_error: str = ""
    keys: dict[tuple[bytes, bytes, int], bytes] = attrs.field(factory=dict)

    def report(self, *, final: bool) -> None:
        """One line for the parent."""
        line = {
            "connected": self.connected,
            "transactions": self.transactions,
            "errors": self.errors,
            "first_error": self.first_error,
            "final": final,
        }
        print(json.dumps(line), flush=True)

    def failed(self, text: str) -> None:
        """A client failed, or got a wrong answer."""
        self.errors += 1
        self.first_error = self.first_error or text


def _message(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack(">I", len(body) + 4) + body


def _query(text: str) -> bytes:
    return _message(b"Q", text.encode() + b"\0")


_PREPARE = _message(b"P", b"add\0SELECT $1::int + 1\0\0\0") + _message(b"S", b"")


def _run_prepared(value: int) -> bytes:
    text = str(value).encode()
    bind = b"\0add\0" + struct.pack(">HHi", 0, 1, len(text)) + text + b"\0\0"
    return _message(b"B", bind) + _message(b"E", b"\0\0\0\0\0") + _message(b"S", b"")


async def log_in(port: int, user: str, password: str, database: str, tally: Tally) -> SocketTransport:
    """A logged-in connection. Raises `OSError`, `CodecError`; cancellation may leave it half open."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    transport = adopt(socket.socket(fileno=stream.socket.detach()), f"127.0.0.1:{port}")

    async def answer(question: Any) -> bytes:
        assert isinstance(question, Derive)
        # All clients have one password, and the proxy gives all of them one salt: derive the key once.
        key = (question.password, question.salt, question.iterations)
        if key not in tally.keys:
            tally.keys[key] = hashlib.pbkdf2_hmac("sha256", *key)
        return tally.keys[key]

    how = BackendLogin(user, password, database, {"application_name": "demo"}, "disable", os.urandom)
    await converse(find("postgres").login(how), transport, answer=answer)
    return transport


async def _answers(transport: SocketTransport, ends: int) -> list[bytes]:
    """The first columns of all rows up to so many ReadyForQuery. Raises `ValueError` for an error of the server's."""
    buffer, rows = b"", []
    while ends:
        buffer += await receive(transport, 65536)
        at = 0
        while len(buffer) - at >= 5:
            size = struct.unpack_from(">I", buffer, at + 1)[0] + 1
            if len(buffer) - at < size:
                break
            tag = buffer[at]
            if tag == ord("D"):
                (length,) = struct.unpack_from(">i", buffer, at + 7)
                rows.append(buffer[at + 11 : at + 11 + length])
            elif tag == ord("E"):
                raise ValueError(buffer[at + 5 : at + size].decode(errors="replace"))
            elif tag == ord("Z"):
                ends -= 1
            at += size
        buffer = buffer[at:]
    return rows


async def _client(
    number: int, port: int, login: tuple[str, str, str], gate: trio.CapacityLimiter, tally: Tally
) -> None:
    try:
        async with gate:
            transport = await log_in(port, *login, tally)
        tally.connected += 1
        await send_all(transport, _PREPARE)
        await _answers(transport, 1)
        n = 0
        while True:
            n += 1
            await send_all(transport, _query("BEGIN"))
            await _answers(transport, 1)
            await send_all(transport, _query(f"SELECT {number * 1_000_000 + n}"))
            rows = await _answers(transport, 1)
            await send_all(transport, _run_prepared(n) + _query("COMMIT"))
            rows += await _answers(transport, 2)
            if rows != [str(number * 1_000_000 + n).encode(), str(n + 1).encode()]:
                tally.failed(f"client {number} got {rows!r}")
            tally.transactions += 1
            await trio.lowlevel.checkpoint()
    except (OSError, CodecError, ValueError) as error:
        tally.failed(f"client {number}: {error}")


async def _report(tally: Tally) -> None:
    while True:
        await trio.sleep(1)
        tally.report(final=False)


async def run(port: int, clients: int, seconds: float, login: tuple[str, str, str]) -> Tally:
    """Connect all clients, let them work for so many seconds, and return what they did."""
    tally = Tally()
    gate = trio.CapacityLimiter(LOGINS_AT_ONCE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_report, tally)
        for number in range(clients):
            nursery.start_soon(_client, number, port, login, gate, tally)
        with trio.move_on_after(60):
            while tally.connected + tally.errors < clients:
                await trio.sleep(0.05)
        await trio.sleep(seconds)
        nursery.cancel_scope.cancel()
    if tally.connected < clients:
        tally.failed(f"only {tally.connected} of {clients} clients could connect")
    return tally


def main() -> None:
    """`python -m rdsp.demo.load PORT CLIENTS SECONDS`; user, password and database come from the environment."""
    port, clients, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    login = (os.environ["RDSP_DEMO_USER"], os.environ["RDSP_DEMO_PASSWORD"], os.environ["RDSP_DEMO_DATABASE"])
    tally = trio.run(run, port, clients, seconds, login)
    tally.report(final=True)


if __name__ == "__main__":
    main()
