"""What a PostgreSQL client says: messages of the frontend, byte for byte."""

from __future__ import annotations

import struct


def message(tag: str, body: bytes = b"") -> bytes:
    """A message with its length."""
    return tag.encode() + struct.pack(">I", len(body) + 4) + body


def query(text: str) -> bytes:
    """Query."""
    return message("Q", text.encode() + b"\0")


def parse(name: str, text: str, types: tuple[int, ...] = ()) -> bytes:
    """Parse."""
    tail = struct.pack(f">H{len(types)}I", len(types), *types)
    return message("P", name.encode() + b"\0" + text.encode() + b"\0" + tail)


def bind(portal: str = "", statement: str = "", values: tuple[bytes | None, ...] = ()) -> bytes:
    """Bind with text parameters and text results."""
    body = portal.encode() + b"\0" + statement.encode() + b"\0" + struct.pack(">HH", 0, len(values))
    for value in values:
        body += struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value
    return message("B", body + struct.pack(">H", 0))


def describe(kind: str, name: str = "") -> bytes:
    """Describe."""
    return message("D", kind.encode() + name.encode() + b"\0")


def execute(portal: str = "", rows: int = 0) -> bytes:
    """Execute."""
    return message("E", portal.encode() + b"\0" + struct.pack(">I", rows))


def close(kind: str, name: str = "") -> bytes:
    """Close."""
    return message("C", kind.encode() + name.encode() + b"\0")


def copy_data(data: bytes) -> bytes:
    """CopyData."""
    return message("d", data)


COPY_DONE = message("c")
SYNC = message("S")
FLUSH = message("H")
TERMINATE = message("X")
