"""What a column's or a parameter's type says of how long its values are ([MS-TDS] 2.2.5.4 to 2.2.5.6).

Values are passed over here, not read: `rdsp_codecs.testing.sqlserver` has what makes sense of them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import attrs

from rdsp_codecs.errors import WireError
from rdsp_codecs.sqlserver.values import Reader, b_varchar, integer, us_varchar

NULL: Final = 0x1F
INT1: Final = 0x30
BIT: Final = 0x32
INT2: Final = 0x34
INT4: Final = 0x38
DATETIM4: Final = 0x3A
FLT4: Final = 0x3B
MONEY: Final = 0x3C
DATETIME: Final = 0x3D
FLT8: Final = 0x3E
MONEY4: Final = 0x7A
INT8: Final = 0x7F
GUID: Final = 0x24
INTN: Final = 0x26
DECIMAL: Final = 0x37
NUMERIC: Final = 0x3F
BITN: Final = 0x68
DECIMALN: Final = 0x6A
NUMERICN: Final = 0x6C
FLTN: Final = 0x6D
MONEYN: Final = 0x6E
DATETIMN: Final = 0x6F
DATEN: Final = 0x28
TIMEN: Final = 0x29
DATETIME2N: Final = 0x2A
DATETIMEOFFSETN: Final = 0x2B
CHAR: Final = 0x2F
VARCHAR: Final = 0x27
BINARY: Final = 0x2D
VARBINARY: Final = 0x25
BIGVARBIN: Final = 0xA5
BIGVARCHR: Final = 0xA7
BIGBINARY: Final = 0xAD
BIGCHAR: Final = 0xAF
NVARCHAR: Final = 0xE7
NCHAR: Final = 0xEF
XML: Final = 0xF1
UDT: Final = 0xF0
TVP: Final = 0xF3
JSON: Final = 0xF4
VECTOR: Final = 0xF5
TEXT: Final = 0x23
IMAGE: Final = 0x22
NTEXT: Final = 0x63
SSVARIANT: Final = 0x62

FIXED: Final = {
    NULL: 0,
    INT1: 1,
    BIT: 1,
    INT2: 2,
    INT4: 4,
    DATETIM4: 4,
    FLT4: 4,
    MONEY: 8,
    DATETIME: 8,
    FLT8: 8,
    MONEY4: 4,
    INT8: 8,
}
"""Bytes of values that have always as many."""
_BYTE: Final = frozenset({GUID, INTN, BITN, FLTN, MONEYN, DATETIMN, CHAR, VARCHAR, BINARY, VARBINARY})
_SCALED: Final = frozenset({TIMEN, DATETIME2N, DATETIMEOFFSETN})
_DECIMAL: Final = frozenset({DECIMAL, NUMERIC, DECIMALN, NUMERICN})
_SHORT: Final = frozenset({BIGVARBIN, BIGVARCHR, BIGBINARY, BIGCHAR, NVARCHAR, NCHAR})
_COLLATED: Final = frozenset({BIGVARCHR, BIGCHAR, NVARCHAR, NCHAR, TEXT, NTEXT})
LONG: Final = frozenset({TEXT, NTEXT, IMAGE})

MAX: Final = 0xFFFF
"""As a length of a varchar, nvarchar or varbinary: its values come in parts."""
PLP_NULL: Final = (1 << 64) - 1
PLP_UNKNOWN: Final = (1 << 64) - 2
COLLATION: Final = 5


class Form(IntEnum):
    """How a value says its length."""

    FIXED = 0
    BYTE = 1
    SHORT = 2
    LONG = 3
    """Behind a text pointer, in rows; by itself in parameters."""
    VARIANT = 4
    PARTS = 5
    """PLP: a total, and parts up to an empty one."""


@attrs.frozen
class TypeInfo:
    """A type.

    Attributes:
        kind: its number.
        size: the most bytes of a value; of a scaled time 0.
        precision, scale: of decimals; the scale of times, too.
        collation: five bytes, of characters; b"" of all else.
        extra: what else stands behind its number, of xml, UDTs and vectors, as it came.
    """

    kind: int
    size: int = 0
    precision: int = 0
    scale: int = 0
    collation: bytes = b""
    extra: bytes = b""

    @property
    def form(self) -> Form:
        """See `Form`. Raises `WireError` for a table: it has rows of its own."""
        return _form(self.kind, self.size)


def _form(kind: int, size: int) -> Form:
    if kind in FIXED:
        return Form.FIXED
    if kind in _BYTE or kind in _DECIMAL or kind in _SCALED or kind == DATEN:
        return Form.BYTE
    if kind in (XML, UDT, JSON) or (kind in _SHORT and size == MAX):
        return Form.PARTS
    if kind in _SHORT or kind == VECTOR:
        return Form.SHORT
    if kind in LONG:
        return Form.LONG
    if kind == SSVARIANT:
        return Form.VARIANT
    msg = f"values of type {kind:#04x} have no form"
    raise WireError(msg)


def read_type(reader: Reader, *, parameter: bool = False) -> TypeInfo:
    """Read a TYPE_INFO. `parameter`: of a request, where a UDT says less. Raises `WireError` for an unknown type."""
    kind = reader.integer(1)
    if kind in FIXED:
        return TypeInfo(kind, FIXED[kind])
    if kind in _BYTE:
        return TypeInfo(kind, reader.integer(1))
    if kind in _DECIMAL:
        return TypeInfo(kind, reader.integer(1), reader.integer(1), reader.integer(1))
    if kind == DATEN:
        return TypeInfo(kind, 3)
    if kind in _SCALED:
        return TypeInfo(kind, scale=reader.integer(1))
    if kind in _SHORT or kind in LONG:
        size = reader.integer(2 if kind in _SHORT else 4)
        return TypeInfo(kind, size, collation=reader.take(COLLATION) if kind in _COLLATED else b"")
    if kind == SSVARIANT:
        return TypeInfo(kind, reader.integer(4))
    if kind == VECTOR:
        return TypeInfo(kind, reader.integer(2), extra=reader.take(1))
    begin = reader.at
    _pass_names(reader, kind, parameter=parameter)
    return TypeInfo(kind, MAX, extra=reader.data[begin : reader.at])


def _pass_names(reader: Reader, kind: int, *, parameter: bool) -> None:
    """What an xml's or a UDT's TYPE_INFO names. JSON has nothing there."""
    if kind == XML:
        if reader.integer(1):
            reader.b_varchar()
            reader.b_varchar()
            reader.us_varchar()
    elif kind == UDT:
        if not parameter:
            reader.skip(2)
        for _ in range(3):
            reader.b_varchar()
        if not parameter:
            reader.us_varchar()
    elif kind != JSON:
        raise reader.fault(f"type {kind:#04x}, which there is not")


def bytes_behind(kind: int) -> int:
    """How many bytes of a TYPE_INFO stand behind its number at least; of xml and UDTs there are more.

    Raises `WireError` for a type that there is not.
    """
    if kind in FIXED or kind in (DATEN, JSON, XML, UDT):
        return 0
    if kind in _BYTE or kind in _SCALED:
        return 1
    if kind in _DECIMAL or kind == VECTOR:
        return 3
    if kind in _SHORT:
        return 2 + (COLLATION if kind in _COLLATED else 0)
    if kind in LONG:
        return 4 + (COLLATION if kind in _COLLATED else 0)
    if kind == SSVARIANT:
        return 4
    msg = f"type {kind:#04x}, which there is not"
    raise WireError(msg)


def type_info(info: TypeInfo) -> bytes:
    """Write a TYPE_INFO."""
    kind = bytes((info.kind,))
    if info.kind in FIXED or info.kind == DATEN:
        return kind
    if info.kind in _BYTE:
        return kind + integer(info.size, 1)
    if info.kind in _DECIMAL:
        return kind + bytes((info.size, info.precision, info.scale))
    if info.kind in _SCALED:
        return kind + bytes((info.scale,))
    if info.kind in _SHORT or info.kind == VECTOR:
        return kind + integer(info.size, 2) + info.collation + info.extra
    if info.kind in LONG or info.kind == SSVARIANT:
        return kind + integer(info.size, 4) + info.collation
    return kind + info.extra


@attrs.frozen
class Column:
    """One of a COLMETADATA ([MS-TDS] 2.2.7.4).

    Attributes:
        name: its name, "" without one.
        info: its type.
        flags: whether it may be NULL, is an identity, and so on.
        user_type: of 4 bytes since 7.2, of 2 before.
        table: the parts of its table's name, of text, ntext and image alone.
    """

    name: str
    info: TypeInfo
    flags: int = 0
    user_type: int = 0
    table: tuple[str, ...] = ()


def read_columns(reader: Reader, *, old: bool) -> tuple[Column, ...] | None:
    """What stands behind the token's number; None: there is no metadata. `old`: of 7.1. Raises `WireError`.

    Not of connections that have negotiated column encryption.
    """
    count = reader.integer(2)
    if count == 0xFFFF:
        return None
    columns: list[Column] = []
    for _ in range(count):
        user_type, flags = reader.integer(2 if old else 4), reader.integer(2)
        info = read_type(reader)
        table: tuple[str, ...] = ()
        if info.kind in LONG:
            table = tuple(reader.us_varchar() for _ in range(1 if old else reader.integer(1)))
        columns.append(Column(reader.b_varchar(), info, flags, user_type, table))
    return tuple(columns)


def columns(them: tuple[Column, ...] | None, *, old: bool) -> bytes:
    """What stands behind the token's number; see `read_columns`."""
    if them is None:
        return b"\xff\xff"
    parts = [integer(len(them), 2)]
    for each in them:
        parts += (integer(each.user_type, 2 if old else 4), integer(each.flags, 2), type_info(each.info))
        if each.info.kind in LONG:
            table = each.table or ("",)
            parts += [b"" if old else integer(len(table), 1), *map(us_varchar, table[:1] if old else table)]
        parts.append(b_varchar(each.name))
    return b"".join(parts)


def skip_value(reader: Reader, info: TypeInfo, *, parameter: bool = False) -> None:
    """Pass over a value. Raises `WireError`.

    `parameter`: of a request or of a RETURNVALUE, where text has no pointer.
    """
    form = info.form
    if form is Form.FIXED:
        reader.skip(info.size)
    elif form is Form.BYTE:
        reader.skip(reader.integer(1))
    elif form is Form.SHORT:
        size = reader.integer(2)
        reader.skip(0 if size == 0xFFFF else size)
    elif form is Form.PARTS:
        if reader.integer(8) != PLP_NULL:
            while size := reader.integer(4):
                reader.skip(size)
    elif form is Form.LONG and not parameter:
        pointer = reader.integer(1)
        if pointer:
            reader.skip(pointer + 8)
            reader.skip(reader.integer(4))
    else:
        size = reader.integer(4)
        reader.skip(0 if size == 0xFFFFFFFF else size)
