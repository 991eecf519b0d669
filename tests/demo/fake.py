"""A server of the PostgreSQL protocol that knows the demo's five statements, and can be told to get one wrong."""

from __future__ import annotations

import struct
from functools import partial

import trio


def message(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack(">I", len(body) + 4) + body


def row(*columns: str) -> bytes:
    body = struct.pack(">H", len(columns))
    for column in columns:
        body += struct.pack(">i", len(column)) + column.encode()
    return message(b"D", body)


def ready(status: str) -> bytes:
    return message(b"Z", status.encode())


class FakeServer:
    """Listens on `port`. `fault` names what it does wrong in the third transaction of every connection.

    wrong_value, wrong_sum, torn, error, silent, closes, no_transaction, no_commit; "" for none. `refuse_logins`: every
    login after the first so many gets an error, None: no login does.
    """

    def __init__(self, fault: str = "", refuse_logins: int | None = None) -> None:
        self.fault = fault
        self.refuse_logins = refuse_logins
        self.logins = 0
        self.port = 0

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(trio.serve_listeners, self._serve, [listener]))
            task_status.started()

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            await self._talk(_Reader(stream), stream)
        except (EOFError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _talk(self, reader: _Reader, stream: trio.SocketStream) -> None:
        await reader.startup()
        self.logins += 1
        if self.refuse_logins is not None and self.logins > self.refuse_logins:
            await stream.send_all(message(b"E", b"SFATAL\0C53300\0Mtoo many\0\0"))
            return
        pid = str(1000 + self.logins)
        await stream.send_all(message(b"R", b"\0\0\0\0") + message(b"K", struct.pack(">II", int(pid), 7)) + ready("I"))
        transactions = 0
        while True:
            tag, body = await reader.message()
            if tag == b"X":
                return
            if tag == b"Q" and body.startswith(b"BEGIN"):
                transactions += 1
            fault = self.fault if transactions == 3 else ""
            if fault == "silent":
                continue
            if fault == "closes":
                return
            await stream.send_all(self._reply(tag, body, fault, pid))

    def _reply(self, tag: bytes, body: bytes, fault: str, pid: str) -> bytes:
        if tag in (b"P", b"E"):
            return b""
        if tag == b"S":
            return ready("T")
        if tag == b"B":
            # portal, statement, no formats, one parameter: its length, its text; no result formats
            (length,) = struct.unpack_from(">i", body, len(b"\0add\0") + 4)
            value = int(body[-2 - length : -2])
            other = "1" if fault == "torn" else pid
            return row(str(value + (2 if fault == "wrong_sum" else 1)), other)
        text = body[:-1].decode()
        if text == "BEGIN":
            return ready("I" if fault == "no_transaction" else "T")
        if text == "COMMIT":
            return ready("T" if fault == "no_commit" else "I")
        if fault == "error":
            return message(b"E", b"SERROR\0CXX000\0Mno luck\0\0") + ready("E")
        mark = text.removeprefix("SELECT ").partition(",")[0]
        return row("1" + mark if fault == "wrong_value" else mark, pid) + ready("T")


class _Reader:
    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = b""

    async def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            chunk = await self._stream.receive_some()
            if not chunk:
                raise EOFError
            self._buffer += bytes(chunk)
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    async def startup(self) -> None:
        (size,) = struct.unpack(">I", await self._exactly(4))
        await self._exactly(size - 4)

    async def message(self) -> tuple[bytes, bytes]:
        tag = await self._exactly(1)
        (size,) = struct.unpack(">I", await self._exactly(4))
        return tag, await self._exactly(size - 4)
