"""What a logged-in client asks for: batches, calls of procedures and transaction manager requests.

[MS-TDS] 2.2.6.7 (SQLBatch), 2.2.6.6 (RPC Request), 2.2.6.9 (Transaction Manager Request). Each begins with
`headers.all_headers` since 7.2; `old` says that the connection speaks 7.1, which has none.
"""

from __future__ import annotations

from typing import Final

import attrs

from rdsp_codecs.errors import WireError
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver.headers import NO_TRANSACTION, read_all_headers
from rdsp_codecs.sqlserver.types import (
    NCHAR,
    NTEXT,
    NVARCHAR,
    PLP_NULL,
    TVP,
    Form,
    TypeInfo,
    read_type,
    skip_value,
    type_info,
)
from rdsp_codecs.sqlserver.values import Reader, b_varchar, integer, narrow, us_varchar, wide

BY_REFERENCE: Final = 0x01
DEFAULT: Final = 0x02
ENCRYPTED: Final = 0x08

_BY_NUMBER: Final = 0xFFFF
_NEXT: Final = 0xFF
_NEXT_OLD: Final = 0x80
_NOT_EXECUTED: Final = 0xFE
"""Stands in place of `_NEXT` where the procedure before it is only to be looked at."""
_SEPARATORS: Final = (_NEXT, _NOT_EXECUTED)
"""A parameter's name has 128 characters at the most, so none begins like these; with 7.1, none has as many."""
_SEPARATORS_OLD: Final = (_NEXT_OLD, _NOT_EXECUTED)
_TVP_END: Final = 0x00
_TVP_ROW: Final = 0x01
_TVP_ORDER_UNIQUE: Final = 0x10
_TVP_COLUMN_ORDERING: Final = 0x11
_TVP_NULL: Final = 0xFFFF
_TVP_DEFAULT: Final = 0x0200
"""Of a column: it has its default value in all rows, which then leave it out."""
_SNAPSHOT: Final = 5


def read_batch(data: bytes, *, old: bool = False) -> tuple[bytes, str]:
    """A batch's transaction descriptor and text. Raises `WireError`."""
    descriptor, at = (NO_TRANSACTION, 0) if old else read_all_headers(data)
    return descriptor, narrow(data[at:])


@attrs.frozen
class Parameter:
    """A parameter of a call.

    Attributes:
        name: with its "@", "" by position.
        status: bits.
        info: its type; None for a table.
        value: as it stands in the message, with its length; of a table all from its type on.
        at: where in the message the value begins.
    """

    name: str
    status: int
    info: TypeInfo | None
    value: bytes
    at: int = attrs.field(default=0, eq=False)


@attrs.frozen
class Call:
    """A call of a procedure.

    Attributes:
        procedure: its name, or its number (`constants.SP_EXECUTESQL` and others).
        options: bits.
        parameters: in order.
        executed: False where it is only to be looked at.
    """

    procedure: str | int
    options: int = 0
    parameters: tuple[Parameter, ...] = ()
    executed: bool = True

    @property
    def number(self) -> int:
        """Of one of the procedures that have one, by whichever it was called; 0: of another one."""
        if isinstance(self.procedure, int):
            return self.procedure
        return k.PROCEDURES.get(self.procedure.rpartition(".")[2].lower().encode("utf-8", "replace"), 0)


def read_calls(data: bytes, *, old: bool = False) -> tuple[bytes, tuple[Call, ...]]:
    """An RPC's transaction descriptor and calls. Raises `WireError`."""
    descriptor, at = (NO_TRANSACTION, 0) if old else read_all_headers(data)
    reader = Reader(data, "RPC", at)
    separators = _SEPARATORS_OLD if old else _SEPARATORS
    calls: list[Call] = []
    while True:
        size = reader.integer(2)
        procedure: str | int = reader.integer(2) if size == _BY_NUMBER else narrow(reader.take(2 * size))
        options = reader.integer(2)
        parameters: list[Parameter] = []
        while reader.left and reader.data[reader.at] not in separators:
            parameters.append(_read_parameter(reader))
        executed = True
        if reader.left:
            executed = reader.integer(1) != _NOT_EXECUTED
        calls.append(Call(procedure, options, tuple(parameters), executed))
        if not reader.left:
            return descriptor, tuple(calls)


def _read_parameter(reader: Reader) -> Parameter:
    name, status = reader.b_varchar(), reader.integer(1)
    if status & ENCRYPTED:
        raise reader.fault("an encrypted parameter, which nobody has agreed on")
    if not reader.left:
        raise reader.fault("a parameter without a type")
    begin = reader.at
    if reader.data[begin] == TVP:
        _pass_table(reader)
        return Parameter(name, status, None, reader.data[begin : reader.at], begin)
    info = read_type(reader, parameter=True)
    begin = reader.at
    skip_value(reader, info, parameter=True)
    return Parameter(name, status, info, reader.data[begin : reader.at], begin)


def _pass_table(reader: Reader) -> None:
    """A table as a parameter ([MS-TDS] 2.2.5.5.5)."""
    reader.skip(1)
    for _ in range(3):
        reader.b_varchar()
    count = reader.integer(2)
    infos: list[tuple[TypeInfo, int]] = []
    if count != _TVP_NULL:
        for _ in range(count):
            reader.skip(4)
            flags = reader.integer(2)
            infos.append((read_type(reader, parameter=True), flags))
            reader.b_varchar()
    while (token := reader.integer(1)) != _TVP_END:
        if token == _TVP_ORDER_UNIQUE:
            reader.skip(3 * reader.integer(2))
        elif token == _TVP_COLUMN_ORDERING:
            reader.skip(2 * reader.integer(2))
        else:
            raise reader.fault(f"{token:#04x} in a table's metadata")
    while (token := reader.integer(1)) != _TVP_END:
        if token != _TVP_ROW:
            raise reader.fault(f"{token:#04x} among a table's rows")
        for info, flags in infos:
            if not flags & _TVP_DEFAULT:
                skip_value(reader, info, parameter=True)


def text_of(parameter: Parameter) -> str | None:
    """The characters of a parameter that is a text; None for NULL, and for what is none. Raises `WireError`."""
    info = parameter.info
    if info is None or info.kind not in (NVARCHAR, NCHAR, NTEXT):
        return None
    reader = Reader(parameter.value, "parameter")
    if info.form is Form.PARTS:
        if reader.integer(8) == PLP_NULL:
            return None
        parts: list[bytes] = []
        while size := reader.integer(4):
            parts.append(reader.take(size))
        return narrow(b"".join(parts))
    width = 2 if info.form is Form.SHORT else 4
    size = reader.integer(width)
    return None if size == (1 << 8 * width) - 1 else narrow(reader.take(size))


def calls(them: tuple[Call, ...]) -> bytes:
    """What stands behind the headers. (7.1 ends a call otherwise; nothing here calls there.)"""
    parts: list[bytes] = []
    for number, call in enumerate(them):
        if isinstance(call.procedure, int):
            parts += (b"\xff\xff", integer(call.procedure, 2))
        else:
            parts.append(us_varchar(call.procedure))
        parts.append(integer(call.options, 2))
        for one in call.parameters:
            info = b"" if one.info is None else type_info(one.info)
            parts += (b_varchar(one.name), integer(one.status, 1), info, one.value)
        if not call.executed:
            parts.append(bytes((_NOT_EXECUTED,)))
        elif number < len(them) - 1:
            parts.append(bytes((_NEXT,)))
    return b"".join(parts)


@attrs.frozen
class TransactionRequest:
    """A transaction manager request.

    Attributes:
        kind: `constants.TM_BEGIN_XACT` and others.
        name: of the transaction or the savepoint that it is about, "" for none.
        isolation: of the transaction that it begins, 0: as it is; 1 read uncommitted, 2 read committed, 3 repeatable
            read, 4 serializable, 5 snapshot.
        begins: behind a commit or a rollback, another transaction begins.
        next_name: of that one.
        payload: of a request about distributed transactions, as it came.
    """

    kind: int
    name: str = ""
    isolation: int = 0
    begins: bool = False
    next_name: str = ""
    payload: bytes = b""


def read_transaction_request(data: bytes) -> tuple[bytes, TransactionRequest]:
    """The transaction descriptor and the request. Raises `WireError`, also for a kind that there is not."""
    descriptor, at = read_all_headers(data)
    reader = Reader(data, "transaction manager request", at)
    kind = reader.integer(2)
    if kind == k.TM_BEGIN_XACT:
        isolation = reader.integer(1)
        found = TransactionRequest(kind, narrow(reader.b_varbyte()), isolation)
    elif kind in (k.TM_COMMIT_XACT, k.TM_ROLLBACK_XACT):
        name, begins = narrow(reader.b_varbyte()), bool(reader.integer(1) & 1)
        isolation = reader.integer(1) if begins else 0
        next_name = narrow(reader.b_varbyte()) if begins else ""
        found = TransactionRequest(kind, name, isolation, begins, next_name)
    elif kind == k.TM_SAVE_XACT:
        found = TransactionRequest(kind, narrow(reader.b_varbyte()))
    elif kind in (k.TM_GET_DTC_ADDRESS, k.TM_PROPAGATE_XACT, k.TM_PROMOTE_XACT):
        found = TransactionRequest(kind, payload=reader.rest())
    else:
        raise reader.fault(f"a kind {kind}, which there is not")
    if reader.left:
        raise reader.fault(f"{reader.left} bytes behind it")
    if found.isolation > _SNAPSHOT:
        msg = f"a transaction with isolation level {found.isolation}"
        raise WireError(msg)
    return descriptor, found


def transaction_request(what: TransactionRequest) -> bytes:
    """What stands behind the headers."""
    parts = [integer(what.kind, 2)]
    if what.kind == k.TM_BEGIN_XACT:
        parts += (integer(what.isolation, 1), _name(what.name))
    elif what.kind in (k.TM_COMMIT_XACT, k.TM_ROLLBACK_XACT):
        parts += (_name(what.name), integer(what.begins, 1))
        if what.begins:
            parts += (integer(what.isolation, 1), _name(what.next_name))
    elif what.kind == k.TM_SAVE_XACT:
        parts.append(_name(what.name))
    else:
        parts.append(what.payload)
    return b"".join(parts)


def _name(text: str) -> bytes:
    """Counted in bytes, not in characters."""
    data = wide(text)
    return integer(len(data), 1) + data
