"""A walk over the tokens of responses, which come in any pieces: rows are passed over, all else is shown whole.

Rows say nothing of their length: what their columns are stands in the COLMETADATA before them, so that every value
has to be looked at, and nothing can be left out.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final

from rdsp_codecs.errors import FrameTooBig, WireError
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import tokens as t
from rdsp_codecs.sqlserver.types import (
    FIXED,
    LONG,
    PLP_NULL,
    UDT,
    XML,
    Column,
    Form,
    TypeInfo,
    bytes_behind,
    read_columns,
    read_type,
)
from rdsp_codecs.sqlserver.values import NO_LENGTH, Reader

_PLP_NULL: Final = PLP_NULL.to_bytes(8, "little")
_TIMESTAMP: Final = 8
_MOST: Final = 1 << 20
"""Bytes of a token that is shown, and of a COLMETADATA."""


class TokenWalker:
    """One session's responses, one after the other.

    Invariant: held is what has come of one token that is not a row, or of one length within a row.

    Args:
        old: the connection speaks 7.1.
        most: bytes of one token that is shown.
    """

    __slots__ = ("_buffer", "_columns", "_most", "_old", "_shown", "_steps", "_wanted")

    def __init__(self, *, old: bool = False, most: int = _MOST) -> None:
        self._old = old
        self._most = most
        self._buffer = b""
        self._columns: tuple[Column, ...] = ()
        self._shown: list[tuple[int, bytes]] = []
        self._wanted = 1
        self._steps = self._walk()
        self._wanted = next(self._steps)

    def begin(self) -> None:
        """A response begins. Raises `WireError` when the one before has ended within a token."""
        if self._buffer or self._wanted != 1:
            msg = "a response that ends within a token"
            raise WireError(msg)
        self._columns = ()

    @property
    def between(self) -> bool:
        """Nothing of a token is here."""
        return not self._buffer and self._wanted == 1

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """What was received, without headers of packets. Returns tokens with all their bytes, and not the rows.

        Raises `WireError` for a token or a type that is not known, `FrameTooBig`.
        """
        self._buffer = self._buffer + data if self._buffer else data
        at, end = 0, len(self._buffer)
        while True:
            wanted = self._wanted
            if wanted < 0:  # passed over
                step = min(-wanted, end - at)
                at += step
                self._wanted += step
                if self._wanted:
                    break
                self._wanted = self._steps.send(b"")
            elif end - at >= wanted:
                at += wanted
                self._wanted = self._steps.send(self._buffer[at - wanted : at])
            else:
                break
        self._buffer = self._buffer[at:]
        shown, self._shown = self._shown, []
        return iter(shown)

    # -- the walk: yields how many bytes it needs, or, negative, how many it passes over; each is over 0 or no step

    def _walk(self) -> Generator[int, bytes, None]:
        while True:
            head = yield 1
            token = head[0]
            if token == k.ROW:
                for column in self._columns:
                    yield from self._value(column.info)
            elif token == k.NBCROW:
                yield from self._nbc_row()
            else:
                said = head + (yield from self._rest_of(token))
                self._shown.append((token, said))

    def _rest_of(self, token: int) -> Generator[int, bytes, bytes]:
        """What stands behind the number of a token that is shown."""
        if token in t.DONES:
            return (yield t.done_size(old=self._old))
        if token in t.LENGTH_OF_TWO:
            return (yield from self._counted(2, 1))
        if token in t.LENGTH_OF_FOUR:
            return (yield from self._counted(4, 1))
        if token in t.FIXED:
            return (yield t.FIXED[token])
        if token == k.COLMETADATA:
            return (yield from self._metadata())
        if token == k.RETURNVALUE:
            return (yield from self._return_value())
        if token == k.FEATUREEXTACK:
            return (yield from self._features())
        msg = f"token {token:#04x}, which is not known"
        raise WireError(msg)

    def _take(self, size: int) -> Generator[int, bytes, bytes]:
        if size > self._most:
            raise FrameTooBig(self._most)
        return (yield size) if size else b""

    def _metadata(self) -> Generator[int, bytes, bytes]:
        said = yield 2
        if said == b"\xff\xff":
            return said
        parts, size = [said], 0
        for _ in range(int.from_bytes(said, "little")):
            column = (yield 4 if self._old else 6) + (yield from self._type())
            if column[4 if self._old else 6] in LONG:
                names = b"\1" if self._old else (yield 1)
                column += b"" if self._old else names
                for _ in range(names[0]):
                    column += yield from self._counted(2, 2)
            column += yield from self._counted(1, 2)
            parts.append(column)
            size += len(column)
            if size > self._most:
                raise FrameTooBig(self._most)
        said = b"".join(parts)
        self._columns = read_columns(Reader(said, "COLMETADATA"), old=self._old) or ()
        return said

    def _type(self) -> Generator[int, bytes, bytes]:
        said = yield 1
        kind = said[0]
        said += yield from self._take(bytes_behind(kind))
        if kind == XML:
            schema = yield 1
            said += schema
            if schema[0]:
                for unit in (1, 1, 2):
                    said += yield from self._counted(unit, 2)
        elif kind == UDT:
            said += yield 2
            for unit in (1, 1, 1, 2):
                said += yield from self._counted(unit, 2)
        return said

    def _counted(self, size: int, unit: int) -> Generator[int, bytes, bytes]:
        """A count of `size` bytes, and as many units."""
        count = yield size
        return count + (yield from self._take(unit * int.from_bytes(count, "little")))

    def _nbc_row(self) -> Generator[int, bytes, None]:
        """A bit for each column says that it is NULL; those are left out."""
        if not self._columns:
            return
        nulls = yield (len(self._columns) + 7) // 8
        for number, column in enumerate(self._columns):
            if not nulls[number >> 3] >> (number & 7) & 1:
                yield from self._value(column.info)

    def _value(self, info: TypeInfo) -> Generator[int, bytes, None]:
        form = info.form
        if form is Form.FIXED:
            size = info.size
        elif form is Form.BYTE:
            size = (yield 1)[0]
        elif form is Form.SHORT:
            size = int.from_bytes((yield 2), "little")
            size = 0 if size == NO_LENGTH else size
        elif form is Form.PARTS:
            if (yield 8) != _PLP_NULL:
                while part := int.from_bytes((yield 4), "little"):
                    yield -part
            return
        elif form is Form.LONG:
            pointer = (yield 1)[0]
            if not pointer:
                return
            yield -(pointer + _TIMESTAMP)
            size = int.from_bytes((yield 4), "little")
        else:
            size = int.from_bytes((yield 4), "little")
        if size:
            yield -size

    def _return_value(self) -> Generator[int, bytes, bytes]:
        """Its value is held, as a handle is one of them."""
        said = (yield 2) + (yield from self._counted(1, 2))
        said += yield 5 if self._old else 7
        info = yield from self._type()
        form = read_type(Reader(info, "RETURNVALUE")).form
        said += info
        if form is Form.FIXED:
            return said + (yield from self._take(FIXED[info[0]]))
        if form is Form.PARTS:
            head = yield 8
            said += head
            while head != _PLP_NULL:
                part = yield 4
                said += part
                size = int.from_bytes(part, "little")
                if not size:
                    break
                if len(said) + size > self._most:
                    raise FrameTooBig(self._most)
                said += yield size
            return said
        width = {Form.BYTE: 1, Form.SHORT: 2}.get(form, 4)
        counted = yield width
        said += counted
        count = int.from_bytes(counted, "little")
        if width > 1 and count == (1 << 8 * width) - 1:
            return said
        return said + (yield from self._take(count))

    def _features(self) -> Generator[int, bytes, bytes]:
        said = b""
        while True:
            name = yield 1
            said += name
            if name[0] == k.FEATURE_TERMINATOR:
                return said
            said += yield from self._counted(4, 1)
            if len(said) > self._most:
                raise FrameTooBig(self._most)
