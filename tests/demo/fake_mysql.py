"""As `fake`, in MySQL's protocol: it knows the demo's five statements, and can be told to get one wrong."""

from __future__ import annotations

import struct
from functools import partial

import trio

CHALLENGE = b"0123456789abcdefghij"
PLUGIN = b"mysql_native_password"
IN_TRANSACTION, AUTOCOMMIT = 1, 2


def ok(status: str, head: bytes = b"\0") -> bytes:
    return head + b"\0\0" + struct.pack("<HH", AUTOCOMMIT | (IN_TRANSACTION if status == "T" else 0), 0)


def error(number: int, state: str, text: str) -> bytes:
    return b"\xff" + struct.pack("<H", number) + b"#" + state.encode() + text.encode()


def column() -> bytes:
    """The definition of a BIGINT without names."""
    return b"\x03def" + bytes(5) + b"\x0c" + struct.pack("<HIBHB2x", 63, 20, 8, 0, 0)


def greeting() -> bytes:
    low, high = 0xA209 | 8, 0x0108
    return (
        b"\x0a8.0.0\0" + struct.pack("<I", 1) + CHALLENGE[:8] + b"\0" + struct.pack("<HBHHB10x", low, 45, 2, high, 21)
        + CHALLENGE[8:] + b"\0" + PLUGIN + b"\0"
    )  # fmt: skip


class FakeMySql:
    """Listens on `port`. `fault` and `refuse_logins` as of `FakeServer`."""

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
            await self._talk(_Packets(stream))
        except (EOFError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _talk(self, packets: _Packets) -> None:
        await packets.send(0, greeting())
        await packets.receive()
        self.logins += 1
        pid, transactions = 1000 + self.logins, 0
        if self.refuse_logins is not None and self.logins > self.refuse_logins:
            await packets.send(2, error(1040, "08004", "too many"))
            return
        await packets.send(2, ok("I"))
        while True:
            command = await packets.receive()
            if command == b"\x01":
                return
            if command == b"\x03BEGIN":
                transactions += 1
            fault = self.fault if transactions == 3 else ""
            if fault == "silent":
                continue
            if fault == "closes":
                return
            await packets.send(1, *self._reply(command, fault, pid))

    def _reply(self, command: bytes, fault: str, pid: int) -> list[bytes]:
        if command[:1] == b"\x16":
            return [b"\0" + struct.pack("<IHHBH", 7, 2, 1, 0, 0), column(), column(), column()]
        if command[:1] == b"\x17":
            assert struct.unpack_from("<IBI", command, 1) == (7, 0, 1)
            (value,) = struct.unpack_from("<q", command, 14)
            values = (value + (2 if fault == "wrong_sum" else 1), 1 if fault == "torn" else pid)
            return [b"\x02", column(), column(), b"\0\0" + struct.pack("<qq", *values), ok("T", b"\xfe")]
        text = command[1:].decode()
        if text == "BEGIN":
            return [ok("I" if fault == "no_transaction" else "T")]
        if text == "COMMIT":
            return [ok("T" if fault == "no_commit" else "I")]
        if fault == "error":
            return [error(1105, "HY000", "no luck")]
        mark = text.removeprefix("SELECT ").partition(",")[0]
        row = b"".join(
            bytes((len(one),)) + one.encode() for one in ("1" + mark if fault == "wrong_value" else mark, str(pid))
        )
        return [b"\x02", column(), column(), row, ok("T", b"\xfe")]


class _Packets:
    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = b""

    async def receive(self) -> bytes:
        while len(self._buffer) < 4 or len(self._buffer) < 4 + int.from_bytes(self._buffer[:3], "little"):
            chunk = await self._stream.receive_some()
            if not chunk:
                raise EOFError
            self._buffer += bytes(chunk)
        end = 4 + int.from_bytes(self._buffer[:3], "little")
        payload, self._buffer = self._buffer[4:end], self._buffer[end:]
        return payload

    async def send(self, number: int, *payloads: bytes) -> None:
        data = b"".join(
            len(payload).to_bytes(3, "little") + bytes((number + at,)) + payload for at, payload in enumerate(payloads)
        )
        await self._stream.send_all(data)
