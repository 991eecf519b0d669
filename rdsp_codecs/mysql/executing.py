"""The packets that name a prepared statement: whose they are, and the types of parameters in those that execute one.

("COM_STMT_EXECUTE", MariaDB: "COM_STMT_BULK_EXECUTE".) A client sends types once and leaves them out then; a server
that has not seen them is sent them again. Nothing here is sure to be well-formed: what is not is left to the server.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mypy_extensions import i64

from rdsp_codecs.errors import WireError
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.statements import TEXT, UNSURE, Types
from rdsp_codecs.mysql.values import Reader

NAMING: Final = frozenset(
    {
        r.COM_STMT_EXECUTE, r.COM_STMT_SEND_LONG_DATA, r.COM_STMT_CLOSE, r.COM_STMT_RESET, r.COM_STMT_FETCH,
        r.COM_STMT_BULK_EXECUTE,
    }
)  # fmt: skip
"""Commands that begin with a statement's number."""
EXECUTING: Final = frozenset({r.COM_STMT_EXECUTE, r.COM_STMT_BULK_EXECUTE})
SILENT: Final = frozenset({r.COM_STMT_CLOSE, r.COM_STMT_SEND_LONG_DATA})
"""Commands that are not answered."""
NUMBER_END: Final = 5
_EXECUTE_HEAD: Final = 10
_BULK_HEAD: Final = 7
"""Bytes of the shortest command; of others, those up to the end of the number."""
CURSORS: Final = 0x07
"""Flags with which a cursor is asked for."""
_COUNTED: Final = 0x08
"""PARAMETER_COUNT_AVAILABLE"""
_BULK_TYPES: Final = 0x80


def number_of(head: bytes) -> int | None:
    """The statement's number in a command of NAMING; None where it is too short."""
    command: i64 = head[0]
    least: i64 = NUMBER_END
    if command == r.COM_STMT_EXECUTE:
        least = _EXECUTE_HEAD
    elif command == r.COM_STMT_BULK_EXECUTE:
        least = _BULK_HEAD
    if len(head) < least:
        return None
    number: i64 = head[1] | head[2] << 8 | head[3] << 16
    return number | head[4] << 24


def renumbered(head: bytes, number: int) -> bytes:
    """The same about another number."""
    return head[:1] + number.to_bytes(4, "little") + head[NUMBER_END:]


@dataclass(frozen=True)
class Binding:
    """What a packet that executes says of types.

    Attributes:
        at: where they stand or would stand; 0: the packet has no place for them.
        count: of how many parameters.
        types: None where they are left out.
    """

    at: int = 0
    count: int = 0
    types: Types | None = None


NOTHING: Final = Binding()


def binding(head: bytes, parameters: int, *, attributes: bool) -> Binding:
    """Read one; `head` may be its beginning. `attributes`: the connection has CLIENT_QUERY_ATTRIBUTES."""
    try:
        return _bulk(head, parameters) if head[0] == r.COM_STMT_BULK_EXECUTE else _single(head, parameters, attributes)
    except WireError:
        return Binding(0, 0, UNSURE)


_left_out: Final[dict[int, Binding]] = {}
"""By the number of parameters, of which there are 65,535 at the most: no types, as it nearly always is."""


def _single(head: bytes, parameters: int, attributes: bool) -> Binding:
    if parameters and not attributes:
        flag = _EXECUTE_HEAD + (parameters + 7) // 8
        if len(head) > flag and not head[flag]:
            found = _left_out.get(parameters)
            if found is None:
                found = _left_out[parameters] = Binding(flag, parameters)
            return found
    reader = Reader(head, "COM_STMT_EXECUTE")
    reader.at = _EXECUTE_HEAD
    count = parameters
    if attributes and (parameters or head[NUMBER_END] & _COUNTED):
        count = reader.lenenc_integer()
    if not count:
        return NOTHING
    reader.take((count + 7) // 8)
    at = reader.at
    if reader.integer(1) != 1:
        return Binding(at, count)
    start, families = reader.at, bytearray()
    for _ in range(count):
        families.append(_family(reader.take(2)))
        if attributes:
            reader.lenenc()
    return Binding(at, count, (count, head[start : reader.at], bytes(families)))


_INTEGERS: Final = frozenset({1, 2, 3, 8, 9, 13})
_TEXTS: Final = frozenset({6, 15, 249, 250, 251, 252, 253, 254})
_REALS: Final = frozenset({4, 5})
_DECIMALS: Final = frozenset({0, 246})


def _family(kind: bytes) -> int:
    """Types that MySQL treats alike: which they are, and that they are unsigned."""
    if kind[0] in _INTEGERS:
        return ord("u" if kind[1] else "i")
    if kind[0] in _TEXTS:
        return TEXT
    if kind[0] in _REALS:
        return ord("r")
    return ord("d") if kind[0] in _DECIMALS else 128 + kind[0] % 128


def _bulk(head: bytes, parameters: int) -> Binding:
    if not parameters:
        return NOTHING
    if not head[NUMBER_END] & _BULK_TYPES:
        return Binding(_BULK_HEAD, parameters)
    reader = Reader(head, "COM_STMT_BULK_EXECUTE")
    reader.at = _BULK_HEAD
    return Binding(_BULK_HEAD, parameters, (parameters, reader.take(2 * parameters), b""))


def with_types(head: bytes, place: Binding, types: Types) -> bytes:
    """A whole packet in which they were left out, with them."""
    at = place.at
    if head[0] == r.COM_STMT_BULK_EXECUTE:
        flags = bytes((head[NUMBER_END] | _BULK_TYPES,))
        return head[:NUMBER_END] + flags + head[NUMBER_END + 1 : at] + types[1] + head[at:]
    return head[:at] + b"\1" + types[1] + head[at + 1 :]
