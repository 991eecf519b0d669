"""Texts of the proxy's own that `fake_database` knows, and pieces of messages."""

from __future__ import annotations

import re
import struct
from typing import Final

import attrs

from rdsp_codecs.postgres import messages as m

TEXT_OID: Final = 25
SET_CONFIG: Final = re.compile(r"SELECT pg_catalog\.set_config\(E'x', E'(\w*)', false\)").fullmatch


def many_columns(*values: str) -> bytes:
    parts = [struct.pack(">i", len(value)) + value.encode() for value in values]
    return m.message(b"D", struct.pack(">H", len(values)) + b"".join(parts))


def bound_values(rest: bytes) -> list[str]:
    """Bind's parameter values, text format."""
    (formats,) = struct.unpack_from(">H", rest)
    at = 2 + 2 * formats
    (count,) = struct.unpack_from(">H", rest, at)
    at += 2
    values = []
    for _ in range(count):
        (size,) = struct.unpack_from(">I", rest, at)
        values.append(rest[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return values


@attrs.define(eq=False)
class Prepared:
    """A prepared statement."""

    text: str
    parameters: int


def row(*values: str) -> bytes:
    """DataRow."""
    body = struct.pack(">H", len(values))
    for value in values:
        data = value.encode()
        body += struct.pack(">I", len(data)) + data
    return m.message(b"D", body)


def columns(*names: str) -> bytes:
    """RowDescription of text columns."""
    body = struct.pack(">H", len(names))
    for name in names:
        body += name.encode() + b"\0" + struct.pack(">IhIhih", 0, 0, TEXT_OID, -1, -1, 0)
    return m.message(b"T", body)


def complete(tag: str) -> bytes:
    """CommandComplete."""
    return m.message(b"C", tag.encode() + b"\0")


def returns_rows(text: str) -> bool:
    """Whether the text has a row description."""
    return text.split()[0] in ("SELECT", "SLEEP", "BIG", "SHOWX", "FAIL", "DIE", "SECRET")
