"""Values as SQL Server's types write them, from and to Python's ([MS-TDS] 2.2.5.5). A proxy only passes over them.

| types | Python |
|---|---|
| bit, integers | `bool`, `int` |
| real and float | `float` |
| decimals, money | `decimal.Decimal` |
| dates and times | `datetime.date`, `time`, `datetime`, without what is finer than microseconds |
| uniqueidentifier | `uuid.UUID` |
| characters, xml, JSON | `str` |
| binary, image | `bytes` |
| NULL of all of them | None |
"""

from __future__ import annotations

import datetime
import decimal
import struct
import uuid
from typing import Any, Final

from rdsp_codecs.errors import WireError
from rdsp_codecs.sqlserver import types as y
from rdsp_codecs.sqlserver.types import Form, TypeInfo
from rdsp_codecs.sqlserver.values import NO_LENGTH, Reader, integer, narrow, signed, wide

_FIRST_DAY: Final = datetime.date(1, 1, 1)
_OLD_FIRST_DAY: Final = datetime.date(1900, 1, 1)
_TICKS: Final = 300
"""Of a second, in a datetime."""
_UTF8: Final = 0x04
"""In the fourth byte of a collation: its varchar is UTF-8 ([MS-TDS] 2.2.5.1.2)."""
_CODEPAGE: Final = "cp1252"
"""Of every other collation here: the servers of the tests have one of western Europe."""
_WIDE: Final = frozenset({y.NVARCHAR, y.NCHAR, y.NTEXT, y.XML})
_NARROW: Final = frozenset({y.BIGVARCHR, y.BIGCHAR, y.TEXT})
_BYTES: Final = frozenset({y.BIGVARBIN, y.BIGBINARY, y.IMAGE, y.UDT})
_INTEGERS: Final = frozenset({y.INT1, y.INT2, y.INT4, y.INT8, y.INTN})
_FLOATS: Final = frozenset({y.FLT4, y.FLT8, y.FLTN})
_MONEYS: Final = frozenset({y.MONEY, y.MONEY4, y.MONEYN})
_DATETIMES: Final = frozenset({y.DATETIME, y.DATETIM4, y.DATETIMN})
_DECIMALS: Final = frozenset({y.DECIMAL, y.NUMERIC, y.DECIMALN, y.NUMERICN})
_EXACT: Final = decimal.Context(prec=60)


def cell(info: TypeInfo, value: Any, *, parameter: bool = False) -> bytes:
    """A value with its length, as it stands in a row, or as a parameter."""
    form = info.form
    if form is Form.FIXED:
        return _written(info, info.size, value)
    if value is None:
        if form is Form.PARTS:
            return integer(y.PLP_NULL, 8)
        if form is Form.LONG:
            return b"\xff\xff\xff\xff" if parameter else b"\0"
        return {Form.BYTE: b"\0", Form.SHORT: integer(NO_LENGTH, 2)}[form]
    data = _written(info, info.size, value)
    if form is Form.BYTE:
        return integer(len(data), 1) + data
    if form is Form.SHORT:
        return integer(len(data), 2) + data
    if form is Form.PARTS:
        return integer(len(data), 8) + (integer(len(data), 4) + data if data else b"") + bytes(4)
    pointer = b"" if parameter else b"\x10" + bytes(16) + bytes(8)
    return pointer + integer(len(data), 4) + data


def read_cell(reader: Reader, info: TypeInfo, *, parameter: bool = False) -> Any:
    """The reverse. Raises `WireError`, also for types that are not in the table."""
    form = info.form
    if form is Form.FIXED:
        return _read(info, reader.take(info.size))
    if form is Form.BYTE:
        size = reader.integer(1)
        return _read(info, reader.take(size)) if size else None
    if form is Form.SHORT:
        size = reader.integer(2)
        return None if size == NO_LENGTH else _read(info, reader.take(size))
    if form is Form.PARTS:
        if reader.integer(8) == y.PLP_NULL:
            return None
        parts: list[bytes] = []
        while size := reader.integer(4):
            parts.append(reader.take(size))
        return _read(info, b"".join(parts))
    if form is Form.LONG and not parameter:
        pointer = reader.integer(1)
        if not pointer:
            return None
        reader.skip(pointer + 8)
    size = reader.integer(4)
    return None if size == 0xFFFFFFFF else _read(info, reader.take(size))


def _written(info: TypeInfo, size: int, value: Any) -> bytes:  # noqa: C901 - one line each
    kind = info.kind
    if kind in (y.BIT, y.BITN):
        return integer(bool(value), 1)
    if kind in _INTEGERS:
        return integer(value, 1) if size == 1 else signed(value, size)
    if kind in _FLOATS:
        return struct.pack("<f" if size == 4 else "<d", value)
    if kind in _MONEYS:
        cents = int(decimal.Decimal(value).scaleb(4, _EXACT))
        return signed(cents, 4) if size == 4 else signed(cents >> 32, 4) + integer(cents & 0xFFFFFFFF, 4)
    if kind in _DECIMALS:
        digits = int(decimal.Decimal(value).scaleb(info.scale, _EXACT))
        return integer(digits >= 0, 1) + integer(abs(digits), size - 1)
    if kind in _DATETIMES:
        return _old_moment(value, size)
    if kind == y.DATEN:
        return _date(value)
    if kind == y.TIMEN:
        return _time(value, info.scale)
    if kind == y.DATETIME2N:
        return _time(value.time(), info.scale) + _date(value.date())
    if kind == y.DATETIMEOFFSETN:
        there = value.astimezone(datetime.UTC)
        minutes = int(value.utcoffset().total_seconds()) // 60
        return _time(there.time(), info.scale) + _date(there.date()) + signed(minutes, 2)
    if kind == y.GUID:
        return bytes(value.bytes_le)
    if kind in _WIDE:
        return wide(value)
    if kind in _NARROW:
        return str(value).encode(_charset(info), "replace")
    if kind == y.JSON:
        return str(value).encode()
    if kind in _BYTES:
        return bytes(value)
    msg = f"no value of type {kind:#04x} can be written"
    raise WireError(msg)


def _read(info: TypeInfo, data: bytes) -> Any:  # noqa: C901 - one line each
    kind, reader = info.kind, Reader(data, "value")
    if kind in (y.BIT, y.BITN):
        return bool(reader.integer(1))
    if kind in _INTEGERS:
        return reader.integer(1) if len(data) == 1 else reader.signed(_one_of(data, 2, 4, 8))
    if kind in _FLOATS:
        return struct.unpack("<f" if _one_of(data, 4, 8) == 4 else "<d", data)[0]
    if kind in _MONEYS:
        high = reader.signed(4)
        cents = high if _one_of(data, 4, 8) == 4 else (high << 32) + reader.integer(4)
        return decimal.Decimal(cents).scaleb(-4, _EXACT)
    if kind in _DECIMALS:
        positive, digits = reader.integer(1), int.from_bytes(reader.rest(), "little")
        return decimal.Decimal(digits if positive else -digits).scaleb(-info.scale, _EXACT)
    if kind in _DATETIMES:
        return _read_old_moment(reader, _one_of(data, 4, 8))
    if kind == y.DATEN:
        return _read_date(reader)
    if kind in (y.TIMEN, y.DATETIME2N, y.DATETIMEOFFSETN):
        return _read_moment(reader, info)
    if kind == y.GUID:
        return uuid.UUID(bytes_le=reader.take(16))
    if kind in _WIDE:
        return narrow(data)
    if kind in _NARROW:
        return data.decode(_charset(info), "replace")
    if kind == y.JSON:
        return data.decode("utf-8", "replace")
    if kind in _BYTES:
        return data
    raise reader.fault(f"type {kind:#04x} cannot be read")


def _one_of(data: bytes, *sizes: int) -> int:
    if len(data) not in sizes:
        msg = f"a value of {len(data)} bytes where it has {' or '.join(map(str, sizes))}"
        raise WireError(msg)
    return len(data)


def _charset(info: TypeInfo) -> str:
    return "utf-8" if len(info.collation) == y.COLLATION and info.collation[3] & _UTF8 else _CODEPAGE


def _date(value: datetime.date) -> bytes:
    return integer((value - _FIRST_DAY).days, 3)


def _read_date(reader: Reader) -> datetime.date:
    days = reader.integer(3)
    if days > (datetime.date.max - _FIRST_DAY).days:
        raise reader.fault(f"day {days}")
    return _FIRST_DAY + datetime.timedelta(days)


def time_size(scale: int) -> int:
    """Bytes of a time with so many digits behind the second's point."""
    return 3 if scale <= 2 else 4 if scale <= 4 else 5


def _time(value: datetime.time, scale: int) -> bytes:
    microseconds = ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
    return integer(microseconds * 10 ** (scale + 1) // 10_000_000, time_size(scale))


def _read_time(reader: Reader, scale: int) -> datetime.time:
    microseconds = reader.integer(time_size(scale)) * 10_000_000 // 10 ** (scale + 1)
    seconds, microsecond = divmod(microseconds, 1_000_000)
    if seconds >= 86400:
        raise reader.fault(f"second {seconds} of a day")
    return datetime.time(seconds // 3600, seconds // 60 % 60, seconds % 60, microsecond)


def _read_moment(reader: Reader, info: TypeInfo) -> datetime.time | datetime.datetime:
    time = _read_time(reader, info.scale)
    if info.kind == y.TIMEN:
        return time
    moment = datetime.datetime.combine(_read_date(reader), time)
    if info.kind == y.DATETIME2N:
        return moment
    minutes = reader.signed(2)
    if abs(minutes) > 14 * 60:
        raise reader.fault(f"an offset of {minutes} minutes")
    try:
        return moment.replace(tzinfo=datetime.UTC).astimezone(datetime.timezone(datetime.timedelta(minutes=minutes)))
    except OverflowError:
        raise reader.fault("a moment outside of all years") from None


def _old_moment(value: datetime.datetime, size: int) -> bytes:
    days = (value.date() - _OLD_FIRST_DAY).days
    seconds = (value.hour * 60 + value.minute) * 60 + value.second
    if size == 4:
        return integer(days, 2) + integer(seconds // 60, 2)
    return signed(days, 4) + integer(seconds * _TICKS + value.microsecond * _TICKS // 1_000_000, 4)


def _read_old_moment(reader: Reader, size: int) -> datetime.datetime:
    days = reader.integer(2) if size == 4 else reader.signed(4)
    ticks = reader.integer(2) * 60 * _TICKS if size == 4 else reader.integer(4)
    try:
        date = _OLD_FIRST_DAY + datetime.timedelta(days)
    except OverflowError:
        raise reader.fault(f"day {days}") from None
    if ticks >= 86400 * _TICKS:
        raise reader.fault(f"tick {ticks} of a day")
    return datetime.datetime.combine(date, datetime.time()) + datetime.timedelta(seconds=ticks / _TICKS)
