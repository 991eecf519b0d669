"""A PostgreSQL client that sends exactly the bytes it is told to, and shows every message that comes back."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import socket
import struct
import time

from rdsp_codecs.testing.postgres.said import (
    COPY_DONE,
    FLUSH,
    SYNC,
    TERMINATE,
    bind,
    close,
    copy_data,
    describe,
    execute,
    message,
    parse,
    query,
)
from tests.waiting import PATIENCE

__all__ = [
    "COPY_DONE", "FLUSH", "SYNC", "TERMINATE", "Message", "RawClient", "bind", "close", "copy_data", "describe",
    "execute", "fields", "message", "parse", "query",
]  # fmt: skip

Message = tuple[str, bytes]


class RawClient:
    """A connection. `send` writes bytes as they are, `until` collects what comes back."""

    def __init__(self, port: int, parameters: dict[str, str], password: str, *, code: int = 3 << 16) -> None:
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._buffer = b""
        self.parameters: dict[str, str] = {}
        self.key = (0, b"")
        self.greeting: list[Message] = []
        body = b"".join(name.encode() + b"\0" + value.encode() + b"\0" for name, value in parameters.items())
        self.socket.sendall(struct.pack(">II", len(body) + 9, code) + body + b"\0")
        try:
            self._log_in(password)
        except BaseException:
            self.socket.close()
            raise

    def _log_in(self, password: str) -> None:
        nonce = base64.b64encode(os.urandom(12)).decode()
        while True:
            tag, body = self.receive()
            self.greeting.append((tag, body))
            if tag == "R":
                self._authenticate(body, password, nonce)
            elif tag == "S":
                name, value = body[:-1].split(b"\0")
                self.parameters[name.decode()] = value.decode()
            elif tag == "K":
                self.key = (struct.unpack(">I", body[:4])[0], body[4:])
            elif tag == "E":
                raise ConnectionRefusedError(fields(body))
            elif tag == "Z":
                return
            elif tag == "":
                raise ConnectionResetError("closed during login")

    def _authenticate(self, body: bytes, password: str, nonce: str) -> None:
        (kind,) = struct.unpack(">I", body[:4])
        bare = f"n=,r={nonce}"
        if kind == 10:
            first = f"n,,{bare}".encode()
            self.send(message("p", b"SCRAM-SHA-256\0" + struct.pack(">I", len(first)) + first))
        elif kind == 11:
            challenge = body[4:].decode()
            values = dict(part.split("=", 1) for part in challenge.split(","))
            salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(values["s"]), int(values["i"]))
            client_key = hmac.digest(salted, b"Client Key", "sha256")
            without_proof = f"c=biws,r={values['r']}"
            signed = ",".join((bare, challenge, without_proof)).encode()
            signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
            proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
            self.send(message("p", f"{without_proof},p={base64.b64encode(proof).decode()}".encode()))

    def send(self, *messages: bytes) -> None:
        """Write."""
        self.socket.sendall(b"".join(messages))

    def send_slowly(self, *messages: bytes) -> None:
        """Write byte by byte."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"".join(messages):
            self.socket.sendall(bytes([byte]))

    def receive(self, seconds: float = PATIENCE) -> Message:
        """The next message; ("", b"") at end of file. Raises `TimeoutError`."""
        self.socket.settimeout(seconds)
        while True:
            if len(self._buffer) >= 5:
                size = struct.unpack(">I", self._buffer[1:5])[0] + 1
                if len(self._buffer) >= size:
                    whole, self._buffer = self._buffer[:size], self._buffer[size:]
                    return chr(whole[0]), whole[5:]
            data = self.socket.recv(1 << 16)
            if not data:
                return "", b""
            self._buffer += data

    def until_ready(self, times: int = 1, seconds: float = PATIENCE) -> list[Message]:
        """Messages up to and with so many ReadyForQuery, or the end of file."""
        received: list[Message] = []
        while times:
            received.append(self.receive(seconds))
            times -= received[-1][0] == "Z"
            if received[-1][0] == "":
                break
        return received

    def until_quiet(self, seconds: float = 0.3) -> list[Message]:
        """Messages until none comes for so long."""
        received: list[Message] = []
        try:
            while not received or received[-1][0]:
                received.append(self.receive(seconds))
        except TimeoutError:
            pass
        return received

    def ask(self, *messages: bytes, times: int = 1) -> list[Message]:
        """Send, and receive up to ReadyForQuery."""
        self.send(*messages)
        return self.until_ready(times)

    def value(self, text: str) -> bytes | None:
        """The first column of the last row of a simple query. Raises `AssertionError` on an error."""
        rows = []
        for tag, body in self.ask(query(text)):
            assert tag != "E", fields(body)
            if tag == "D":
                rows.append(body)
        assert rows, "no row came back"
        (size,) = struct.unpack(">i", rows[-1][2:6])
        return None if size < 0 else rows[-1][6 : 6 + size]

    def cancel(self) -> None:
        """Send a CancelRequest for this connection, and wait until it was dealt with."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as sock:
            sock.sendall(struct.pack(">III", 16, 80877102, self.key[0]) + self.key[1])
            while sock.recv(100):
                pass

    def cancel_until_answered(self, seconds: float = PATIENCE) -> list[Message]:
        """Cancel again and again until the first message comes: a request that overtakes its query does nothing."""
        deadline = time.monotonic() + seconds
        while True:
            self.cancel()
            try:
                return [self.receive(0.3)]
            except TimeoutError:
                assert time.monotonic() < deadline, "the query was not cancelled"

    def reset(self) -> None:
        """Close by a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """Close without a word."""
        self.socket.close()


def fields(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse or NoticeResponse."""
    return {part[:1].decode(): part[1:].decode() for part in body.split(b"\0") if part}
