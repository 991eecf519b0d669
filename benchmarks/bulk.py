"""Much data out to one client: COPY and large results, in MB/s, and what it costs the target's process."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable

import attrs

from benchmarks.cells import BULK, Bulk
from benchmarks.machine import cpu_seconds, family
from benchmarks.targets import DATABASE, PASSWORD, USER, Target
from benchmarks.wire import GOODBYE, connect, message, query

_CHUNK = 1 << 18
_TAIL = 9
_READY = b"Z\0\0\0\x05I"
"""The end of a reply. The data has none of these bytes, so that no message need be looked at."""


@attrs.frozen
class BulkFigures:
    """What was found. Attributes: rate: MB/s. cpu: milliseconds of the target's CPU per MB; None for the server."""

    rate: float
    cpu: float | None


def measure_bulk(target: Target, work: Bulk, megabytes: int) -> BulkFigures:
    """Ask for so many megabytes and throw them away. Raises `OSError`."""
    kind = BULK[work.kind]
    wanted = int(megabytes * 1_000_000 * kind.share)
    statement = kind.statement.format(width=kind.width, rows=max(1, wanted // kind.width))
    request = message(b"Q", statement.encode() + b"\0")
    if kind.extended:
        request = _extended(statement)
    with connect(target.port, USER, PASSWORD, DATABASE, tls=work.tls) as sock:
        query(sock, "SELECT 1")
        found = swallow(target, sock, lambda: sock.sendall(request), wanted, lambda tail: tail.endswith(_READY))
        sock.sendall(GOODBYE)
    return found


def swallow(
    target: Target, sock: socket.socket, ask: Callable[[], None], wanted: int, ended: Callable[[bytes], bool]
) -> BulkFigures:
    """Ask for much data and throw it away.

    Args:
        wanted: bytes that must come at least.
        ended: whether these last bytes, `_TAIL` of them, are the end of the reply.

    Raises `OSError`.
    """
    pids = family(target.pid) if target.pid else []
    cpu, began = cpu_seconds(pids), time.monotonic()
    ask()
    buffer, received, tail = memoryview(bytearray(_CHUNK)), 0, b""
    while not ended(tail):
        count = sock.recv_into(buffer)
        if not count:
            raise OSError(f"{target.name} closed the connection after {received} bytes")
        received += count
        tail = (tail + bytes(buffer[max(0, count - _TAIL) : count]))[-_TAIL:]
    seconds, spent = time.monotonic() - began, cpu_seconds(pids) - cpu
    if received < wanted:
        raise OSError(f"{target.name} sent {received} bytes instead of {wanted}: {bytes(buffer[:200])!r}")
    return BulkFigures(received / seconds / 1e6, spent * 1e9 / received if pids else None)


def _extended(statement: str) -> bytes:
    """Parse, Bind, Describe, Execute and Sync, all unnamed."""
    return (
        message(b"P", b"\0" + statement.encode() + b"\0" + struct.pack(">H", 0))
        + message(b"B", b"\0\0" + struct.pack(">HHH", 0, 0, 0))
        + message(b"D", b"P\0")
        + message(b"E", b"\0" + struct.pack(">I", 0))
        + message(b"S", b"")
    )
