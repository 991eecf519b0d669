"""Memory per idle client: many logged-in connections that have asked once and now do nothing; and CPU per login.

The clients are plain blocking sockets with a login of their own, which shares no code with the proxy under test.
`benchmarks.__main__` calls it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import socket
import ssl
import struct
import time

import attrs

from benchmarks.machine import cpu_seconds, family, memory_kib
from benchmarks.stage import DATABASE, PASSWORD, USER, Target

_SETTLE_SECONDS = 1.0
_SOCKET_SECONDS = 30.0
_SSL_REQUEST = struct.pack(">II", 8, 80877103)
_SCRAM = 10
_SCRAM_CONTINUE = 11


@attrs.frozen
class Idle:
    """What `measure_idle` found.

    Attributes:
        kib: memory of the target per client, in KiB.
        login_cpu: CPU of the target per login, in milliseconds.
    """

    clients: int
    tls: bool
    kib: float
    login_cpu: float


def measure_idle(target: Target, clients: int, *, tls: bool) -> Idle:
    """Log in so many clients, let each ask once, and compare the target's memory with before. Raises `OSError`."""
    with contextlib.ExitStack() as stack:
        # The first clients pay for what all share: backends, caches, buffers.
        for _ in range(25):
            stack.enter_context(_client(target.port, tls=tls))
        pids = family(target.pid)
        cpu, memory = cpu_seconds(pids), memory_kib(pids)
        for _ in range(clients):
            stack.enter_context(_client(target.port, tls=tls))
        time.sleep(_SETTLE_SECONDS)
        return Idle(
            clients=clients,
            tls=tls,
            kib=(memory_kib(pids) - memory) / clients,
            login_cpu=(cpu_seconds(pids) - cpu) * 1000 / clients,
        )


def _client(port: int, *, tls: bool) -> socket.socket:
    """A logged-in connection that has run one query. Raises `OSError` when anything but that happens."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=_SOCKET_SECONDS)
    try:
        if tls:
            sock.sendall(_SSL_REQUEST)
            if sock.recv(1) != b"S":
                raise OSError("no TLS is offered")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = context.wrap_socket(sock)
        body = struct.pack(">I", 3 << 16) + f"user\0{USER}\0database\0{DATABASE}\0\0".encode()
        sock.sendall(struct.pack(">I", len(body) + 4) + body)
        _scram(sock)
        _until_ready(sock)
        sock.sendall(_message(b"Q", b"SELECT 1\0"))
        _until_ready(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def _message(tag: bytes, body: bytes) -> bytes:
    return tag + struct.pack(">I", len(body) + 4) + body


def _receive(sock: socket.socket) -> tuple[bytes, bytes]:
    """One message of the server's."""
    header = _exactly(sock, 5)
    body = _exactly(sock, struct.unpack(">I", header[1:])[0] - 4)
    if header[:1] == b"E":
        raise OSError(f"the server said: {body!r}")
    return header[:1], body


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise OSError("the server closed the connection")
        data += more
    return data


def _until_ready(sock: socket.socket) -> None:
    while _receive(sock)[0] != b"Z":
        pass


def _scram(sock: socket.socket) -> None:
    """SCRAM-SHA-256 as the client (RFC 5802, RFC 7677), without checking the server: nothing here is secret."""
    _expect(sock, _SCRAM)
    nonce = base64.b64encode(os.urandom(18)).decode()
    first = f"n=,r={nonce}"
    begin = b"n,," + first.encode()
    sock.sendall(_message(b"p", b"SCRAM-SHA-256\0" + struct.pack(">I", len(begin)) + begin))
    challenge = _expect(sock, _SCRAM_CONTINUE).decode()
    fields = dict(part.split("=", 1) for part in challenge.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", PASSWORD.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    without_proof = f"c=biws,r={fields['r']}"
    signed = f"{first},{challenge},{without_proof}".encode()
    signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True))).decode()
    sock.sendall(_message(b"p", f"{without_proof},p={proof}".encode()))


def _expect(sock: socket.socket, kind: int) -> bytes:
    """An authentication request of this kind."""
    tag, body = _receive(sock)
    if tag != b"R" or struct.unpack(">I", body[:4])[0] != kind:
        raise OSError(f"unexpected login: {tag!r} {body!r}")
    return body[4:]
