"""Texts of the proxy's own that `fake_database` knows, and pieces of messages."""

from __future__ import annotations

import re
import struct
from typing import Final

from rdsp_codecs.postgres import messages as m

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
