"""Large results for one client, in MB/s, and what they cost the target's process."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import pymysql

from benchmarks.bulk import BulkFigures, swallow
from benchmarks.mysql.cells import LARGE, Large
from benchmarks.targets import Target
from benchmarks.wire import exactly

if TYPE_CHECKING:
    from benchmarks.mysql.stage import Stage

_QUERY = b"\x03"
_EOF, _ERROR = 0xFE, 0xFF
_BEFORE_ROWS = 3
"""Packets: the number of columns, the one column, and EOF; PyMySQL does not ask for the form without EOF."""


def measure_large(stage: Stage, target: Target, work: Large, megabytes: int) -> BulkFigures:
    """Ask for so many megabytes and throw them away. Raises `OSError`."""
    kind = LARGE[work.kind]
    wanted = int(megabytes * 1_000_000 * kind.share)
    statement = kind.statement.format(width=kind.width, rows=max(1, wanted // kind.width))
    try:
        client = stage.connect(target, tls=work.tls)
    except pymysql.MySQLError as error:
        raise OSError(f"no login: {error}") from error
    # Its login is PyMySQL's; the rows are received without it, because its reading would be the slowest part.
    sock: socket.socket = client._sock

    def ask() -> None:
        body = _QUERY + statement.encode()
        sock.sendall(struct.pack("<I", len(body)) + body)
        for _ in range(_BEFORE_ROWS):
            packet = _packet(sock)
            if packet[0] == _ERROR:
                raise OSError(f"the server said: {packet!r}")

    with client:
        return swallow(target, sock, ask, wanted, ended)


def ended(tail: bytes) -> bool:
    """Whether these are the last nine bytes of a result: EOF, and no more results. No row of ours has such bytes."""
    return len(tail) == 9 and tail[:3] == b"\x05\0\0" and tail[4] == _EOF


def _packet(sock: socket.socket) -> bytes:
    return exactly(sock, int.from_bytes(exactly(sock, 4)[:3], "little"))
