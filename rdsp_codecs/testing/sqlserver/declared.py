"""Types by the names that T-SQL has for them, and what a value becomes when it is converted to one."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable
from typing import Any, Final

from rdsp_codecs.sqlserver import types as y
from rdsp_codecs.sqlserver.lexer import Kind, Token, unquoted
from rdsp_codecs.sqlserver.types import TypeInfo
from rdsp_codecs.testing.sqlserver.statements import SqlError, syntax_error

COLLATION: Final = bytes.fromhex("0904d00034")
"""SQL_Latin1_General_CP1_CI_AS."""
DEFAULT_SCALE: Final = 7

_PLAIN: Final = {
    "BIT": TypeInfo(y.BITN, 1),
    "TINYINT": TypeInfo(y.INTN, 1),
    "SMALLINT": TypeInfo(y.INTN, 2),
    "INT": TypeInfo(y.INTN, 4),
    "INTEGER": TypeInfo(y.INTN, 4),
    "BIGINT": TypeInfo(y.INTN, 8),
    "REAL": TypeInfo(y.FLTN, 4),
    "MONEY": TypeInfo(y.MONEYN, 8),
    "SMALLMONEY": TypeInfo(y.MONEYN, 4),
    "DATETIME": TypeInfo(y.DATETIMN, 8),
    "SMALLDATETIME": TypeInfo(y.DATETIMN, 4),
    "DATE": TypeInfo(y.DATEN, 3),
    "UNIQUEIDENTIFIER": TypeInfo(y.GUID, 16),
    "TEXT": TypeInfo(y.TEXT, 0x7FFFFFFF, collation=COLLATION),
    "NTEXT": TypeInfo(y.NTEXT, 0x7FFFFFFE, collation=COLLATION),
    "IMAGE": TypeInfo(y.IMAGE, 0x7FFFFFFF),
    "XML": TypeInfo(y.XML, y.MAX, extra=b"\0"),
    "SYSNAME": TypeInfo(y.NVARCHAR, 256, collation=COLLATION),
    "TIMESTAMP": TypeInfo(y.BIGBINARY, 8),
    "ROWVERSION": TypeInfo(y.BIGBINARY, 8),
}
_SIZED: Final = {
    "CHAR": (y.BIGCHAR, 1, 8000),
    "VARCHAR": (y.BIGVARCHR, 1, 8000),
    "NCHAR": (y.NCHAR, 2, 4000),
    "NVARCHAR": (y.NVARCHAR, 2, 4000),
    "BINARY": (y.BIGBINARY, 1, 8000),
    "VARBINARY": (y.BIGVARBIN, 1, 8000),
}
_SCALED: Final = {"TIME": y.TIMEN, "DATETIME2": y.DATETIME2N, "DATETIMEOFFSET": y.DATETIMEOFFSETN}
_ALIASES: Final = {"CHARACTER": "CHAR", "DEC": "DECIMAL", "DOUBLE": "FLOAT", "ROWVERSION": "TIMESTAMP"}
INT: Final = _PLAIN["INT"]
BIGINT: Final = _PLAIN["BIGINT"]
BIT: Final = _PLAIN["BIT"]
FLOAT: Final = TypeInfo(y.FLTN, 8)
DATETIME: Final = _PLAIN["DATETIME"]
GUID: Final = _PLAIN["UNIQUEIDENTIFIER"]
IDENTITY: Final = TypeInfo(y.NUMERICN, 17, 38, 0)
"""Of @@IDENTITY and SCOPE_IDENTITY()."""
NVARCHAR: Final = TypeInfo(y.NVARCHAR, 8000, collation=COLLATION)
NVARCHAR_MAX: Final = TypeInfo(y.NVARCHAR, y.MAX, collation=COLLATION)
VARBINARY: Final = TypeInfo(y.BIGVARBIN, 8000)
VARBINARY_MAX: Final = TypeInfo(y.BIGVARBIN, y.MAX)
TIMES: Final = frozenset({y.DATETIMN, y.DATEN, y.TIMEN, y.DATETIME2N, y.DATETIMEOFFSETN})
KEPT_AS_TEXT: Final = TIMES | {y.GUID, y.DECIMALN, y.NUMERICN, y.MONEYN}
"""SQLite has neither these nor as many digits."""
_WIDE: Final = frozenset({y.NVARCHAR, y.NCHAR})
_CHARACTERS: Final = frozenset({y.NVARCHAR, y.NCHAR, y.NTEXT, y.BIGVARCHR, y.BIGCHAR, y.TEXT, y.XML, y.JSON})
_BINARIES: Final = frozenset({y.BIGVARBIN, y.BIGBINARY, y.IMAGE})
_EXACT: Final = decimal.Context(prec=60)


def decimal_size(precision: int) -> int:
    """Bytes of a decimal's value ([MS-TDS] 2.2.5.5.1.6)."""
    return 5 if precision <= 9 else 9 if precision <= 19 else 13 if precision <= 28 else 17


def read_type_name(them: tuple[Token, ...], at: int) -> tuple[TypeInfo, int]:
    """The type that is named there, and where what stands behind it begins. Raises `SqlError` for an unknown one."""
    if at >= len(them):
        raise syntax_error("")
    name = unquoted(them[at]).upper()
    at += 1
    if name == "SYS" and at + 1 < len(them) and them[at].text == ".":
        name = unquoted(them[at + 1]).upper()
        at += 2
    name = _ALIASES.get(name, name)
    if name == "NATIONAL":
        name = "N" + unquoted(them[at]).upper()
        at += 1
    if at < len(them) and them[at].key in ("VARYING", "PRECISION"):
        name = "VAR" + name if them[at].key == "VARYING" else name
        at += 1
    numbers: list[str] = []
    if name not in _PLAIN and at < len(them) and them[at].text == "(":
        at += 1
        while at < len(them) and them[at].text != ")":
            if them[at].text != ",":
                numbers.append(them[at].key)
            at += 1
        at += 1
    return _named(name, numbers), at


def _named(name: str, numbers: list[str]) -> TypeInfo:
    if name in _PLAIN:
        return _PLAIN[name]
    try:
        if name in _SIZED:
            kind, unit, most = _SIZED[name]
            if numbers[:1] == ["MAX"]:
                size = y.MAX
            else:
                size = unit * int(numbers[0]) if numbers else unit
                if not 0 < size <= unit * most:
                    raise SqlError(
                        131, f"The size ({numbers[0]}) given to the type '{name.lower()}' exceeds the maximum allowed."
                    )
            return TypeInfo(kind, size, collation=b"" if kind in _BINARIES else COLLATION)
        if name in _SCALED:
            return TypeInfo(_SCALED[name], scale=int(numbers[0]) if numbers else DEFAULT_SCALE)
        if name == "FLOAT":
            return TypeInfo(y.FLTN, 4 if numbers and int(numbers[0]) <= 24 else 8)
        if name in ("DECIMAL", "NUMERIC"):
            precision = int(numbers[0]) if numbers else 18
            scale = int(numbers[1]) if len(numbers) > 1 else 0
            return TypeInfo(y.DECIMALN if name == "DECIMAL" else y.NUMERICN, decimal_size(precision), precision, scale)
    except ValueError:
        raise syntax_error(",".join(numbers)) from None
    raise SqlError(2715, f"Column, parameter, or variable #1: Cannot find data type {name.lower()}.", aborts_batch=True)


def type_name(info: TypeInfo) -> str:
    """What T-SQL calls it: the other way round."""
    for name, plain in _PLAIN.items():
        if plain == info:
            return name.lower()
    for name, (kind, unit, _) in _SIZED.items():
        if kind == info.kind:
            return f"{name.lower()}({'max' if info.size == y.MAX else info.size // unit})"
    for name, kind in _SCALED.items():
        if kind == info.kind:
            return f"{name.lower()}({info.scale})"
    if info.kind == y.FLTN:
        return "real" if info.size == 4 else "float"
    return f"{'decimal' if info.kind == y.DECIMALN else 'numeric'}({info.precision},{info.scale})"


def converted(value: Any, info: TypeInfo) -> Any:
    """A value as one of that type. Raises `SqlError` for one that there is not."""
    if value is None:
        return None
    try:
        return _CONVERSIONS[info.kind](value, info)
    except KeyError:
        return value
    except (ValueError, decimal.InvalidOperation, OverflowError, AttributeError, TypeError):
        shown = value if isinstance(value, str) else stored(value)
        text = f"Conversion failed when converting the value '{shown}' to data type {type_name(info)}."
        raise SqlError(245, text, aborts_batch=True, aborts_transaction=True) from None


def _integer(value: Any, info: TypeInfo) -> int:
    if isinstance(value, bytes):
        number = int.from_bytes(value[-info.size :], "big", signed=info.size > 1 and len(value) >= info.size)
    else:
        number = int(value.strip() or 0) if isinstance(value, str) else int(value)
    bits = 8 * info.size
    low, high = (0, 255) if info.size == 1 else (-(1 << bits - 1), (1 << bits - 1) - 1)
    if not low <= number <= high:
        text = f"Arithmetic overflow error converting expression to data type {type_name(info)}."
        raise SqlError(8115, text, aborts_batch=True)
    return number


def _decimal(value: Any, info: TypeInfo) -> decimal.Decimal:
    number = decimal.Decimal(
        value.strip() if isinstance(value, str) else repr(value) if isinstance(value, float) else value
    )
    scale = 4 if info.kind == y.MONEYN else info.scale
    rounded = number.quantize(decimal.Decimal(1).scaleb(-scale), decimal.ROUND_HALF_UP, _EXACT)
    if info.kind != y.MONEYN and abs(rounded) >= decimal.Decimal(10) ** (info.precision - scale):
        text = f"Arithmetic overflow error converting numeric to data type {type_name(info)}."
        raise SqlError(8115, text, aborts_batch=True)
    return rounded


def _characters(value: Any, info: TypeInfo) -> str:
    said = value if isinstance(value, str) else stored(value)
    if isinstance(said, bytes):
        said = said.decode("utf-16-le" if info.kind in _WIDE else "cp1252", "replace")
    said = str(said)
    if info.kind in (y.NTEXT, y.TEXT, y.XML, y.JSON) or info.size == y.MAX:
        return said
    most = info.size // 2 if info.kind in _WIDE else info.size
    cut = said[:most]
    return cut.ljust(most) if info.kind in (y.NCHAR, y.BIGCHAR) else cut


def _bytes(value: Any, info: TypeInfo) -> bytes:
    if isinstance(value, int):
        value = value.to_bytes(4 if -(1 << 31) <= value < 1 << 31 else 8, "big", signed=True)
        value = value[-info.size :] if info.size < len(value) else value
    data = value.encode("utf-16-le") if isinstance(value, str) else bytes(value)
    if info.kind == y.IMAGE or info.size == y.MAX:
        return data
    return data[: info.size].ljust(info.size, b"\0") if info.kind == y.BIGBINARY else data[: info.size]


def _moment(value: Any, info: TypeInfo) -> Any:
    if isinstance(value, str):
        value = value.strip()
        digits = value.replace("-", "")
        if len(value) >= 8 and digits[:8].isdigit() and value[:8].isdigit():  # 20260131
            value = f"{value[:4]}-{value[4:6]}-{value[6:]}"
        if info.kind == y.TIMEN and ("-" not in value and "T" not in value):
            return datetime.time.fromisoformat(_micro(value))
        value = datetime.datetime.fromisoformat(_micro(value))
    if isinstance(value, datetime.time):
        value = datetime.datetime.combine(datetime.date(1900, 1, 1), value)
    elif not isinstance(value, datetime.datetime):
        value = datetime.datetime.combine(value, datetime.time())
    if info.kind == y.DATETIMEOFFSETN:
        return value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
    value = value.replace(tzinfo=None)
    return value.date() if info.kind == y.DATEN else value.time() if info.kind == y.TIMEN else value


def _micro(text: str) -> str:
    """Python reads no more than six digits behind the second's point."""
    head, point, tail = text.partition(".")
    digits = len(tail) - len(tail.lstrip("0123456789"))
    return head + point + tail[:digits][:6].ljust(6, "0") + tail[digits:] if point else text


def _guid(value: Any, info: TypeInfo) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(value)


def _bit(value: Any, info: TypeInfo) -> bool:
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    return bool(float(value))


_CONVERSIONS: Final[dict[int, Callable[[Any, TypeInfo], Any]]] = {
    y.BITN: _bit,
    y.INTN: _integer,
    y.FLTN: lambda value, _: float(value),
    y.MONEYN: _decimal,
    y.DECIMALN: _decimal,
    y.NUMERICN: _decimal,
    y.GUID: _guid,
    **dict.fromkeys(TIMES, _moment),
    **dict.fromkeys(_CHARACTERS, _characters),
    **dict.fromkeys(_BINARIES, _bytes),
}


def stored(value: Any) -> Any:
    """A value as SQLite keeps it: it has integers, floats, text and bytes."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, datetime.datetime):
        return value.isoformat(" ")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value).upper()
    return value


def is_text(token: Token) -> bool:
    """A literal of characters."""
    return token.kind is Kind.LITERAL
