"""A response as it is made: tokens, DONEs of which the last one says that nothing follows, and rows by their types."""

from __future__ import annotations

import datetime
from collections.abc import Generator, Iterator, Sequence
from typing import Any, Final

import attrs

from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import types as y
from rdsp_codecs.sqlserver.tokens import Done, done
from rdsp_codecs.sqlserver.types import Column, TypeInfo, columns
from rdsp_codecs.testing.sqlserver import declared as d
from rdsp_codecs.testing.sqlserver.cells import cell

_NULLABLE: Final = 0x01
_UPDATABLE_UNKNOWN: Final = 0x08
_LONGEST: Final = 4000
_LONGEST_BINARY: Final = 8000
_CHUNK: Final = 16384
_NEW_TIMES: Final = frozenset({y.DATEN, y.TIMEN, y.DATETIME2N, y.DATETIMEOFFSETN})


@attrs.frozen
class Sleep:
    """The response goes on after so many seconds."""

    seconds: float


@attrs.define(eq=False)
class Blocked:
    """The response goes on when another session has ended its transaction, or after so many seconds at the latest.

    Attributes:
        seconds: None: it waits for ever.
        expired: they are over; whoever waits says so here.
    """

    seconds: float | None
    expired: bool = False


Item = bytes | Done | Sleep | Blocked
"""What makes a response: tokens, a DONE, or something to wait for first."""
Steps = Generator[Item, None, Any]
"""What a statement comes to. What it returns, its function says."""


def joined(items: Iterator[Item], *, old: bool) -> Iterator[bytes | Sleep | Blocked]:
    """Write DONEs as they have to be: with `DONE_MORE` but for the last one. There is always a last one."""
    held: Done | None = None
    for item in items:
        if isinstance(item, Sleep | Blocked):
            yield item
            continue
        if held is not None:
            yield done(attrs.evolve(held, status=held.status | k.DONE_MORE), old=old)
            held = None
        if isinstance(item, Done):
            held = item
        elif item:
            yield item
    if held is not None and held.token == k.DONEINPROC:  # which ends no response ([MS-TDS] 2.2.7.8)
        yield done(attrs.evolve(held, status=held.status | k.DONE_MORE), old=old)
        held = None
    yield done(held or Done(), old=old)


def sent_as(info: TypeInfo, version: int) -> TypeInfo:
    """What a type is for a connection of an older version, which has not all of them ([MS-TDS] 2.2.5.4)."""
    if version < k.TDS_7_3A and info.kind in _NEW_TIMES:
        return d.NVARCHAR
    if version < k.TDS_7_2 and info.form is y.Form.PARTS:
        if info.kind in (y.BIGVARBIN, y.UDT):
            return TypeInfo(y.IMAGE, 0x7FFFFFFF)
        return TypeInfo(y.TEXT if info.kind == y.BIGVARCHR else y.NTEXT, 0x7FFFFFFE, collation=d.COLLATION)
    return info


def guessed(values: Sequence[Any], *, whole: bool) -> TypeInfo:
    """The type of a column about which the text says nothing, from its first values; `whole`: there are no more."""
    known = [value for value in values if value is not None]
    if not known:
        return d.INT
    first = known[0]
    if any(isinstance(value, str) for value in known):
        long = not whole or any(isinstance(value, str) and len(value) > _LONGEST for value in known)
        return d.NVARCHAR_MAX if long else d.NVARCHAR
    if isinstance(first, bytes):
        long = not whole or any(len(value) > _LONGEST_BINARY for value in known)
        return d.VARBINARY_MAX if long else d.VARBINARY
    if any(isinstance(value, float) for value in known):
        return d.FLOAT
    return d.INT if whole and all(-(1 << 31) <= value < 1 << 31 for value in known) else d.BIGINT


def metadata(names: Sequence[str], infos: Sequence[TypeInfo], version: int) -> bytes:
    """COLMETADATA."""
    flags = _NULLABLE | _UPDATABLE_UNKNOWN
    them = tuple(Column(name, sent_as(info, version), flags) for name, info in zip(names, infos, strict=True))
    return bytes((k.COLMETADATA,)) + columns(them, old=version < k.TDS_7_2)


class Rows:
    """Writes rows of one result.

    Args:
        infos: the columns' types.
        version: the connection's.
    """

    def __init__(self, infos: Sequence[TypeInfo], version: int) -> None:
        self._infos = [(info, sent_as(info, version)) for info in infos]
        self._held: list[bytes] = []
        self._size = 0

    def row(self, values: Sequence[Any]) -> bytes:
        """One row; the bytes of several come together."""
        said = bytes((k.ROW,)) + b"".join(
            written(info, sent, value) for (info, sent), value in zip(self._infos, values, strict=True)
        )
        self._held.append(said)
        self._size += len(said)
        return self.rest() if self._size >= _CHUNK else b""

    def rest(self) -> bytes:
        """What is not out yet."""
        said = b"".join(self._held)
        self._held.clear()
        self._size = 0
        return said


def written(info: TypeInfo, sent: TypeInfo, value: Any, *, parameter: bool = False) -> bytes:
    """A value of one type, as the type that is sent for it."""
    real = d.converted(value, info)
    if sent is not info and info.kind in _NEW_TIMES and real is not None:
        real = str(d.stored(real))
    if isinstance(real, datetime.datetime) and sent.kind == y.DATETIMN and sent.size == 4:
        real = real.replace(second=0, microsecond=0)
    return cell(sent, real, parameter=parameter)
