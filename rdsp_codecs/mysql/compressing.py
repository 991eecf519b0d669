"""Compression as a layer: behind it there is the same stream of packets as without it, with the same numbers.

Compressed packets have numbers of their own, which run through a command and its answer and begin anew with each
command. Those of the ordinary packets inside are looked at by nobody then, and servers and clients give them as it
comes: after each flush they go on with the compressed ones. So both kinds are made anew here. A client is told the
numbers that its own make necessary; what it sends gets those that it would have had without compression, and so does
what a server sends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from rdsp_codecs.layering import Layer
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.compression import ZLIB, ZSTD, Packer, Unpacker
from rdsp_codecs.mysql.framing import FULL, HEADER

_NO_ANSWER: Final = frozenset({r.COM_QUIT, r.COM_STMT_CLOSE, r.COM_STMT_SEND_LONG_DATA})
_EMPTY: Final = -1
ZLIB_LEVEL: Final = 1
"""Of what we compress: level 6, the default of servers, costs twice as much, for rows that are a twentieth shorter."""
ZSTD_LEVEL: Final = 3
"""The most that a client gets, whatever it asks for: all sessions wait while one's bytes are compressed."""

Began = Callable[[int, int], int]
"""`began(at, number)`: a message begins there, in a packet of this number. Returns the number that it is to have."""
Ended = Callable[[int, int], None]
"""`ended(first, number)`: the end of a message, whose first byte that was (`_EMPTY`: it has none), and the number of
its last packet."""


class Walker:
    """Walks over messages, cut anywhere, of which it holds three bytes at most.

    Attributes:
        renumbers: packets get the numbers that `began` says, and the following ones.
        number: of the last packet.
        whole: how much of the last piece that was given are ends of packets, and whole ones.
    """

    __slots__ = ("_began", "_continues", "_ended", "_first", "_owed", "_partial", "number", "renumbers", "whole")

    def __init__(self, began: Began, ended: Ended, *, renumbers: bool) -> None:
        self._began = began
        self._ended = ended
        self._partial = b""
        self._owed = 0
        self._continues = False
        self._first = _EMPTY
        self.number = self.whole = 0
        self.renumbers = renumbers

    @property
    def begun(self) -> bool:
        """Something is held."""
        return bool(self._partial)

    def walk(self, data: bytes) -> bytes:  # noqa: C901 - one loop over headers
        """Takes a piece; gives it without the half header at its end, which comes in front of the next one."""
        if self._partial:
            data, self._partial = self._partial + data, b""
        buffer = bytearray(data) if self.renumbers else None
        at, end = 0, len(data)
        self.whole = 0
        while True:
            owed = self._owed
            if owed:
                if at == end:
                    break
                if self._first == _EMPTY:
                    self._first = data[at]
                step = owed if owed < end - at else end - at
                at += step
                self._owed = owed = owed - step
                if owed:
                    break
                self.whole = at
                if not self._continues:
                    self._ended(self._first, self.number)
            if end - at < HEADER:
                self._partial = data[at:]
                break
            size = data[at] | data[at + 1] << 8 | data[at + 2] << 16
            if not self._continues:
                self._first = _EMPTY
                self.number = self._began(at, data[at + 3])
            else:
                self.number = (self.number + 1) & 0xFF
            if buffer is not None:
                buffer[at + 3] = self.number
            at += HEADER
            self._owed, self._continues = size, size == FULL
            if not size:
                self.whole = at
                self._ended(self._first, self.number)
        if buffer is not None:
            return bytes(buffer[:at])
        return data if at == end else data[:at]


class Compression(Layer):
    """What the two roles have in common. See `Layer`.

    Args:
        kind: `ZLIB` or `ZSTD`.
        level: of what goes out.
    """

    __slots__ = ("_file", "_heard", "_inner", "_kept", "_outer", "_packer", "_parts", "_said", "_unpacker")

    def __init__(self, kind: str, level: int) -> None:
        super().__init__()
        self._packer = Packer(kind, level)
        self._unpacker = Unpacker(kind)
        self._inner = Walker(self._comes, self._came, renumbers=True)
        self._outer = Walker(self._goes, self._went, renumbers=False)
        self._said = self._heard = _EMPTY
        """The first byte of the last message that went out, and that came."""
        self._file = False
        """The client's messages are a file's."""
        self._parts: list[tuple[int, int]] = []
        """Where in what is being wrapped packets of other numbers begin, and with which."""

    def wrap(self, data: bytes) -> bytes:
        """See `Layer`."""
        self._parts.clear()
        data = self._outer.walk(data)
        if not data:
            return b""
        if not self._parts:
            return self._packer.pack(data)
        out: list[bytes] = []
        at = 0
        for start, number in self._parts:
            if start > at:
                out.append(self._packer.pack(data[at:start]))
                at = start
            self._packer.number = number & 0xFF
        out.append(self._packer.pack(data[at:]))
        return b"".join(out)

    def unwrap(self, data: bytes, limit: int) -> bytes:
        """See `Layer`."""
        unpacker = self._unpacker
        if data:
            unpacker.put(data)
        while piece := unpacker.take(limit - 3):
            given = self._inner.walk(piece)
            if given:
                self.more = unpacker.begun
                return given
        self.more = False
        return b""

    @property
    def begun(self) -> bool:
        """See `Layer`."""
        return self._unpacker.begun or self._inner.begun

    def _comes(self, at: int, number: int) -> int:
        raise NotImplementedError

    def _came(self, first: int, number: int) -> None:
        raise NotImplementedError

    def _goes(self, at: int, number: int) -> int:
        raise NotImplementedError

    def _went(self, first: int, number: int) -> None:
        raise NotImplementedError


class Serving(Compression):
    """We play the server: towards a client.

    An answer's first compressed packet has the number that follows the last one of its command, so that it matters
    where answers begin: those of a client that does not wait follow one another without a gap.
    """

    __slots__ = ("_ahead", "_command", "_due", "_next", "_reply")

    def __init__(self, kind: str, level: int) -> None:
        super().__init__(kind, level)
        self._due: deque[tuple[int, int]] = deque()
        """Of each command that is not answered: the numbers that its answer begins with, ordinary and compressed."""
        self._reply = _EMPTY
        """The compressed number of what is said behind a file, or a proof."""
        self._ahead = False
        """The client does not wait for answers."""
        self._next = 0
        """The number of the next ordinary packet, if it belongs to the same answer."""
        self._command = True
        """What comes is a command, and not a file or a proof."""

    def wrap(self, data: bytes) -> bytes:
        """See `Layer`. Each packet is in one compressed packet, of 16 MiB at most, whatever pieces it comes in.

        Servers cut in the middle, but a long packet once at most; and there are clients (Connector/Python) that look
        for the rest of one in the next compressed packet, and no further. Nothing goes out before the end is here.
        """
        self._parts.clear()
        data = self._outer.walk(data)
        packer, end, at = self._packer, self._outer.whole, 0
        out: list[bytes] = []
        for start, number in self._parts:
            if start > at:
                out += (packer.hold(data[at:start]), packer.release())
                at = start
            packer.number = number & 0xFF
        if end > at:
            out += (packer.hold(data[at:end]), packer.release())
            at = end
        if at < len(data):
            out.append(packer.hold(data[at:]))
        return b"".join(out)

    def _comes(self, at: int, number: int) -> int:
        if self._file:
            return (self._inner.number + 1) & 0xFF
        self._command = not number
        if self._command:
            return 0
        self._file = self._said == r.LOCAL_INFILE
        return self._next

    def _came(self, first: int, number: int) -> None:
        follows = (self._unpacker.last + 1) & 0xFF
        if self._file:
            if first == _EMPTY:
                self._file = False
                self._reply = follows
        elif self._command:
            if first not in _NO_ANSWER:
                self._ahead = self._ahead or bool(self._due)
                self._due.append(((number + 1) & 0xFF, follows))
        else:
            self._reply = follows

    def _goes(self, at: int, number: int) -> int:
        if self._reply != _EMPTY:
            self._parts.append((at, self._reply))
            self._reply = _EMPTY
        elif self._due and number == self._due[0][0] and not (self._ahead and number == self._next):
            self._parts.append((at, self._due.popleft()[1]))
        elif number != self._next:
            self._parts.append((at, number))  # words that nobody has asked for
        return number

    def _went(self, first: int, number: int) -> None:
        self._said = first
        self._next = (number + 1) & 0xFF


class Asking(Compression):
    """We play the client: towards a server, which refuses compressed packets that are not in order."""

    __slots__ = ("_answer",)

    def __init__(self, kind: str, level: int) -> None:
        super().__init__(kind, level)
        self._answer = 0
        """The number of the next ordinary packet of the server's."""

    def _goes(self, at: int, number: int) -> int:
        if self._file:
            return number
        if not number:
            self._heard = _EMPTY
            self._parts.append((at, 0))
        else:
            self._file = self._heard == r.LOCAL_INFILE
            self._parts.append((at, self._unpacker.last + 1))
        return number

    def _went(self, first: int, number: int) -> None:
        self._answer = (number + 1) & 0xFF
        if self._file and first == _EMPTY:
            self._file = False

    def _comes(self, at: int, number: int) -> int:
        return self._answer

    def _came(self, first: int, number: int) -> None:
        self._heard = first
        self._answer = (number + 1) & 0xFF


def agreed(flags: int) -> str:
    """How a connection with these capabilities is compressed; "": not at all."""
    if flags & c.CLIENT_COMPRESS:
        return ZLIB
    return ZSTD if flags & c.CLIENT_ZSTD_COMPRESSION_ALGORITHM else ""


def towards_client(flags: int, level: int) -> Layer | None:
    """The layer of a connection with a client; None: it has none. `level`: the one that it asks of zstd."""
    kind = agreed(flags)
    if not kind:
        return None
    return Serving(kind, ZLIB_LEVEL if kind == ZLIB else max(1, min(level, ZSTD_LEVEL)))


def towards_server(flags: int) -> Layer | None:
    """The layer of a connection with a server; None: it has none."""
    kind = agreed(flags)
    return Asking(kind, ZLIB_LEVEL if kind == ZLIB else ZSTD_LEVEL) if kind else None
