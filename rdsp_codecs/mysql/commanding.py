"""A client's packets: put together to commands while they are held, or passed on in pieces."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from mypy_extensions import i64

from rdsp_codecs.errors import FrameTooBig, WireError
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.framing import FULL, HEADER, packets
from rdsp_codecs.mysql.judging import READING

_GOODBYE: Final = b"\1\0\0\0\1"
_LONGEST_NAME: Final = 16
"""Bytes of a name that `READING` finds, and more."""
_SHOWN: Final = 1 << 18
"""Bytes of a command that is too long to be held: all that stands before its values."""


class Use(IntEnum):
    """What a command is to the session."""

    PLAIN = 0
    """It leaves nothing behind that trackers and flags do not tell."""
    REPLICATION = 1
    STRANGE = 2


_PLAIN: Final = frozenset(
    {
        r.COM_INIT_DB, r.COM_QUERY, r.COM_FIELD_LIST, r.COM_CREATE_DB, r.COM_DROP_DB, r.COM_REFRESH, r.COM_SHUTDOWN,
        r.COM_STATISTICS, r.COM_PROCESS_INFO, r.COM_DEBUG, r.COM_PING, r.COM_SET_OPTION, r.COM_RESET_CONNECTION,
        r.COM_STMT_PREPARE, r.COM_STMT_EXECUTE, r.COM_STMT_SEND_LONG_DATA, r.COM_STMT_CLOSE, r.COM_STMT_RESET,
        r.COM_STMT_FETCH, r.COM_STMT_BULK_EXECUTE,
    }
)  # fmt: skip
_REPLICATION: Final = frozenset(
    {
        r.COM_BINLOG_DUMP, r.COM_TABLE_DUMP, r.COM_REGISTER_SLAVE, r.COM_BINLOG_DUMP_GTID, r.COM_CLONE,
        r.COM_SUBSCRIBE_GROUP_REPLICATION_STREAM,
    }
)  # fmt: skip


def plan(command: int) -> Use:
    """What to think of a command."""
    if command in _PLAIN:
        return Use.PLAIN
    return Use.REPLICATION if command in _REPLICATION else Use.STRANGE


_NUMBERS: Final = [bytes((number,)) for number in range(256)]


def packet(payload: bytes, number: int) -> bytes:
    """A payload as packets, the first with this number (modulo 256)."""
    if len(payload) < FULL:
        return len(payload).to_bytes(3, "little") + _NUMBERS[number & 0xFF] + payload
    return packets(payload, number & 0xFF)


def instead(taken: bytes, payload: bytes) -> bytes:
    """The packets of another payload in the place of those that were taken."""
    if HEADER + len(payload) == len(taken) < FULL:
        return taken[:HEADER] + payload
    return packet(payload, taken[HEADER - 1])


class Inbound:
    """What a client has said and what is not passed on yet.

    Invariant: `_data` begins with the header of a packet, unless `streaming`: then with what is due of one. `_chunk` is
    a command that came as one chunk, as nearly all do: it stands alone, and is passed on as it came.

    Attributes:
        streaming: a message passes in pieces, as they come; dropping: it goes nowhere.
        whole: the command that `next` has shown is all here.
        number: of the last packet that was taken.
        last_number: of the last packet of what `next` has shown, as far as it is here.
        option: the argument of the last COM_SET_OPTION.
    """

    __slots__ = (
        "_chunk", "_continues", "_data", "_due", "_max_frame", "_max_held", "_sent", "_size", "_tail", "_watched",
        "dropping", "last_number", "number", "option", "streaming", "whole",
    )  # fmt: skip

    def __init__(self, max_frame: int, max_held: int) -> None:
        self._chunk = b""
        self._data = bytearray()
        self._max_frame = max_frame
        self._max_held = max_held
        self._size = 0
        """Bytes of the command that `next` has shown, with its headers."""
        self._due = self._sent = 0
        self._continues = self._watched = False
        self._tail = b""
        self.streaming = self.dropping = self.whole = False
        self.number = self.last_number = 0
        self.option = 0

    def feed(self, data: bytes) -> None:
        """What was received."""
        if not self._data and not self._chunk and not self.streaming and self._is_one(data):
            self._chunk = data
            return
        self._flatten()
        self._data += data

    def _is_one(self, data: bytes) -> bool:
        """Whether a chunk is one command of one packet, neither more nor less, and not too large."""
        end: i64 = len(data)
        if end <= HEADER or end > self._max_frame:
            return False
        size: i64 = data[0] | data[1] << 8 | data[2] << 16
        return size + HEADER == end and size != FULL and not data[3]

    def _flatten(self) -> None:
        if self._chunk:
            self._data += self._chunk
            self._chunk = b""

    @property
    def size(self) -> int:
        """Bytes held."""
        return len(self._data) + len(self._chunk)

    @property
    def begun(self) -> bool:
        """Something of a command is held."""
        return bool(self._data) or bool(self._chunk)

    @property
    def ends_with_goodbye(self) -> bool:
        """What is held ends as a session does."""
        return self._chunk.endswith(_GOODBYE) or self._data.endswith(_GOODBYE)

    def next(self) -> bytes | None:
        """The command at the beginning: its payload, or as much of it as there is where it is too long to be held.

        None: it is not here yet. Raises `WireError`, `FrameTooBig`.
        """
        if self._chunk:
            self.whole, self.last_number = True, 0
            return self._chunk[HEADER:]
        # Called with every chunk of a long command: nothing is copied before it is all here.
        data, at, count = self._data, 0, 0
        total, end = 0, len(self._data)
        while end - at >= HEADER:
            size = data[at] | data[at + 1] << 8 | data[at + 2] << 16
            self.last_number = data[at + 3]
            if self.last_number != count & 0xFF:
                # A server would end the connection, and take the backend from everybody.
                msg = "packets out of order"
                raise WireError(msg)
            total += size
            if total > self._max_frame:
                raise FrameTooBig(self._max_frame)
            if end - at < HEADER + size:
                break
            at += HEADER + size
            count += 1
            if size != FULL:
                if not total:
                    msg = "a command of no bytes"
                    raise WireError(msg)
                self.whole, self._size = True, at
                if count == 1:
                    return bytes(data[HEADER:at])
                places = range(0, at, HEADER + FULL)
                return b"".join([bytes(data[place + HEADER : min(at, place + HEADER + FULL)]) for place in places])
        if end <= self._max_held:
            return None
        self.whole, self._size = False, 0
        return bytes(data[HEADER : HEADER + _SHOWN])

    def take(self) -> bytes:
        """The whole command's packets, which are then not held any more. Raises `FrameTooBig` when it is not whole."""
        if not self.whole:
            raise FrameTooBig(self._max_held)
        if self._chunk:
            taken, self._chunk = self._chunk, b""
        else:
            taken = bytes(self._data[: self._size])
            del self._data[: self._size]
        self.number = self.last_number
        if taken[HEADER] == r.COM_SET_OPTION:
            self.option = int.from_bytes(taken[HEADER + 1 : HEADER + 3], "little")
        return taken

    def rest(self) -> bytes:
        """All that is held, which is then not held any more."""
        self._flatten()
        taken = bytes(self._data)
        self._data.clear()
        return taken

    def patch(self, beginning: bytes) -> None:
        """The message at the beginning begins so."""
        self._flatten()
        self._data[HEADER : HEADER + len(beginning)] = beginning

    def begin_streaming(self, *, dropping: bool = False, watched: bool = False) -> None:
        """Let the message at the beginning pass in pieces; `watched`: as long as it reads nothing that others left."""
        self._flatten()
        self.streaming, self.dropping = True, dropping
        self._watched, self._tail = watched, b""
        self._continues, self._due, self._sent = True, 0, 0

    def begin_file_packet(self) -> bool:
        """Let a message of a file pass, if its header is here."""
        self._flatten()
        if len(self._data) < HEADER:
            return False
        self.begin_streaming()
        return True

    def pieces(self) -> tuple[list[bytes], int | None]:
        """What is here of the message that passes; and at its end how many bytes it had, until then None."""
        data, at, end = self._data, 0, len(self._data)
        while True:
            if self._due:
                step = min(self._due, end - at)
                self._due -= step
                at += step
                if self._due:
                    break
            if not self._continues:
                self.streaming = False
                break
            if end - at < HEADER:
                break
            size = data[at] | data[at + 1] << 8 | data[at + 2] << 16
            self.number = self.last_number = data[at + 3]
            self._continues, self._due = size == FULL, size
            self._sent += size
            if self._sent > self._max_frame and not self.dropping:
                raise FrameTooBig(self._max_frame)
            at += HEADER
        piece = [bytes(data[:at])] if at and not self.dropping else []
        if self._watched and piece:
            if READING(self._tail + piece[0]):
                raise FrameTooBig(self._max_held)  # the server drops what it has got: its end never comes
            self._tail = piece[0][-_LONGEST_NAME:]
        del data[:at]
        if self.streaming:
            return piece, None
        self.dropping = False
        return piece, self._sent
