"""A client with plain blocking sockets, which shares no code with the proxy under test. Nothing here is secret."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import os
import socket
import ssl
import struct

_SOCKET_SECONDS = 60.0
_SSL_REQUEST = struct.pack(">II", 8, 80877103)
_SCRAM = 10
_SCRAM_CONTINUE = 11
GOODBYE = b"X\0\0\0\x04"


@functools.cache
def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def connect(port: int, user: str, password: str, database: str, *, tls: bool = False) -> socket.socket:
    """A connection that is logged in by SCRAM-SHA-256. Raises `OSError` when anything but that happens."""
    sock = socket.create_connection(("127.0.0.1", port), timeout=_SOCKET_SECONDS)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            sock.sendall(_SSL_REQUEST)
            if sock.recv(1) != b"S":
                raise OSError("no TLS is offered")
            sock = _context().wrap_socket(sock)
        body = struct.pack(">I", 3 << 16) + f"user\0{user}\0database\0{database}\0\0".encode()
        sock.sendall(struct.pack(">I", len(body) + 4) + body)
        _scram(sock, password)
        until_ready(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def message(tag: bytes, body: bytes) -> bytes:
    """One message of the client's."""
    return tag + struct.pack(">I", len(body) + 4) + body


def query(sock: socket.socket, statement: str) -> list[bytes]:
    """A simple query; the messages DataRow of its reply, without their heads. Raises `OSError` for an error."""
    sock.sendall(message(b"Q", statement.encode() + b"\0"))
    return [body for tag, body in until_ready(sock) if tag == b"D"]


def until_ready(sock: socket.socket) -> list[tuple[bytes, bytes]]:
    """All messages up to ReadyForQuery."""
    found = [_receive(sock)]
    while found[-1][0] != b"Z":
        found.append(_receive(sock))
    return found


def _receive(sock: socket.socket) -> tuple[bytes, bytes]:
    """One message of the server's."""
    header = exactly(sock, 5)
    body = exactly(sock, struct.unpack(">I", header[1:])[0] - 4)
    if header[:1] == b"E":
        raise OSError(f"the server said: {body!r}")
    return header[:1], body


def exactly(sock: socket.socket, size: int) -> bytes:
    """So many bytes. Raises `OSError` when no more come."""
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise OSError("the server closed the connection")
        data += more
    return data


@functools.lru_cache(maxsize=64)
def _salted(password: str, salt: bytes, iterations: int) -> bytes:
    """Worked out once per salt: it is the pooler's CPU that is to be the limit, not the client's."""
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)


def _scram(sock: socket.socket, password: str) -> None:
    """SCRAM-SHA-256 as the client (RFC 5802, RFC 7677), without checking the server."""
    _expect(sock, _SCRAM)
    nonce = base64.b64encode(os.urandom(18)).decode()
    first = f"n=,r={nonce}"
    begin = b"n,," + first.encode()
    sock.sendall(message(b"p", b"SCRAM-SHA-256\0" + struct.pack(">I", len(begin)) + begin))
    challenge = _expect(sock, _SCRAM_CONTINUE).decode()
    fields = dict(part.split("=", 1) for part in challenge.split(","))
    salted = _salted(password, base64.b64decode(fields["s"]), int(fields["i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    without_proof = f"c=biws,r={fields['r']}"
    signed = f"{first},{challenge},{without_proof}".encode()
    signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature, strict=True))).decode()
    sock.sendall(message(b"p", f"{without_proof},p={proof}".encode()))


def _expect(sock: socket.socket, kind: int) -> bytes:
    """An authentication request of this kind."""
    tag, body = _receive(sock)
    if tag != b"R" or struct.unpack(">I", body[:4])[0] != kind:
        raise OSError(f"unexpected login: {tag!r} {body!r}")
    return body[4:]
