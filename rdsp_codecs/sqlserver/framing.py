"""Packets: a type, a status, a length with the header's eight bytes, and a message that ends with the bit EOM.

([MS-TDS] 2.2.3.1.) `packets` writes a message, `MessageReader` puts one together. The tables are what
`rdsp_codecs.scanning` is made from.
"""

from __future__ import annotations

import functools
from typing import Final

import attrs

from rdsp_codecs.errors import FrameTooBig, WireError
from rdsp_codecs.framing import Framing

HEADER: Final = 8
LARGEST: Final = 0xFFFF
"""Bytes of a packet with its header that the length can say. What a login may ask for ends at `MOST_NEGOTIATED`."""
SMALLEST_NEGOTIATED: Final = 512
MOST_NEGOTIATED: Final = 32767
BEFORE_LOGIN: Final = 4096
"""Bytes of a packet until the login's answer names another size."""

SQL_BATCH: Final = 1
RPC: Final = 3
RESPONSE: Final = 4
ATTENTION: Final = 6
BULK_LOAD: Final = 7
FEDAUTH_TOKEN: Final = 8
TRANSACTION_MANAGER: Final = 14
LOGIN7: Final = 16
SSPI: Final = 17
PRELOGIN: Final = 18

EOM: Final = 0x01
IGNORE: Final = 0x02
"""The client takes back what it has begun to send; goes with EOM."""
RESET_CONNECTION: Final = 0x08
RESET_CONNECTION_SKIP_TRAN: Final = 0x10

REQUESTS: Final = frozenset({SQL_BATCH, RPC, BULK_LOAD, TRANSACTION_MANAGER})
"""What a logged-in client may send besides `ATTENTION`."""


@functools.lru_cache(maxsize=64)
def client_framing(max_frame: int) -> Framing:
    """Packets of a client. `max_frame` in bytes; one is of 8..65535."""
    return Framing(
        header=HEADER,
        length_at=2,
        length_size=2,
        little=False,
        length_adds=0,
        tag_at=0,
        more_at=1,
        more_mask=EOM,
        max_frame=min(max_frame, LARGEST),
        largest=LARGEST,
    )


SERVER_FRAMING: Final = client_framing(LARGEST)
"""The same from the server."""


def packets(kind: int, message: bytes, size: int, *, status: int = 0, spid: int = 0, first: int = 1) -> bytes:
    """A message of any length as packets.

    Args:
        kind: the type of all of them.
        message: what they carry; b"" is one packet without any.
        size: bytes of a packet with its header, 512..32767.
        status: bits of the first packet besides EOM, which the last one gets.
        spid: the server's process id, 0..65535; clients send 0.
        first: the number of the first packet; the next ones count on modulo 256.
    """
    room = size - HEADER
    parts: list[bytes] = []
    for at in range(0, len(message) or 1, room):
        part = message[at : at + room]
        bits = status | (EOM if at + room >= len(message) else 0)
        header = bytes((kind, bits)) + (HEADER + len(part)).to_bytes(2, "big") + spid.to_bytes(2, "big")
        parts += (header, bytes((first & 0xFF, 0)), part)
        status, first = 0, first + 1
    return b"".join(parts)


class MessageWriter:
    """Makes packets of one message whose end is not known yet.

    Invariant: less than a packet is held; `end` has not been called.

    Args:
        kind, size, spid: see `packets`.
    """

    __slots__ = ("_held", "_kind", "_number", "_room", "_spid")

    def __init__(self, kind: int, size: int, *, spid: int = 0) -> None:
        self._kind = kind
        self._room = size - HEADER
        self._spid = spid
        self._held = bytearray()
        self._number = 1

    def write(self, data: bytes) -> bytes:
        """Add to the message. Returns the packets that are full, where more must follow them."""
        self._held += data
        said: list[bytes] = []
        while len(self._held) > self._room:
            said.append(self._packet(bytes(self._held[: self._room]), 0))
            del self._held[: self._room]
        return b"".join(said)

    def end(self) -> bytes:
        """The last packet."""
        return self._packet(bytes(self._held), EOM)

    def _packet(self, data: bytes, status: int) -> bytes:
        head = bytes((self._kind, status)) + (HEADER + len(data)).to_bytes(2, "big") + self._spid.to_bytes(2, "big")
        head += bytes((self._number & 0xFF, 0))
        self._number += 1
        return head + data


@attrs.frozen
class Message:
    """One message, put together.

    Attributes:
        kind: the type of its packets.
        status: the bits of its first packet, and of the last one.
        data: without headers.
    """

    kind: int
    status: int
    data: bytes = attrs.field(repr=False)


class MessageReader:
    """Puts messages together, from bytes in any pieces.

    Invariant: at most one message and the pieces that were fed behind it are held; over `most` bytes of one message
    `next` raises. All packets of a message have one type.

    Args:
        most: bytes that a message may have.
        numbered: the packets of a message must count on from the first one's number, whichever that is (python-tds
            begins with 0), or all have the same (FreeTDS's). Receivers need not look ([MS-TDS] 2.2.3.1.5); a server for
            tests does.
    """

    __slots__ = ("_buffer", "_first", "_kind", "_most", "_number", "_numbered", "_parts", "_size", "_status")

    def __init__(self, most: int = 1 << 30, *, numbered: bool = False) -> None:
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._size = 0
        self._kind = self._status = 0
        self._number = self._first = 0
        self._most = most
        self._numbered = numbered

    def feed(self, data: bytes) -> None:
        """What was received."""
        self._buffer += data

    @property
    def leftover(self) -> bytes:
        """What was received behind the last message. Only between messages."""
        return bytes(self._buffer)

    @property
    def between(self) -> bool:
        """Nothing of a message is here."""
        return not self._buffer and not self._parts

    @property
    def needed(self) -> int:
        """Bytes that must be received before `next` can give anything: up to the end of the packet or of its head."""
        have = len(self._buffer)
        if have < HEADER:
            return HEADER - have
        return max(0, int.from_bytes(self._buffer[2:4], "big") - have)

    def next(self) -> Message | None:
        """The next message, None while it is not all here. Raises `WireError`, and `FrameTooBig` over `most`."""
        while len(self._buffer) >= HEADER:
            kind, status = self._buffer[0], self._buffer[1]
            size = int.from_bytes(self._buffer[2:4], "big")
            if size < HEADER:
                msg = f"a packet of {size} bytes, which is less than its header"
                raise WireError(msg)
            if self._size + size - HEADER > self._most:
                raise FrameTooBig(self._most)
            if len(self._buffer) < size:
                return None
            self._begin(kind, status, self._buffer[6])
            self._parts.append(bytes(self._buffer[HEADER:size]))
            self._size += size - HEADER
            del self._buffer[:size]
            if status & EOM:
                data = b"".join(self._parts)
                self._parts.clear()
                self._size = 0
                return Message(kind, self._status | status, data)
        return None

    def _begin(self, kind: int, status: int, number: int) -> None:
        if not self._parts:
            self._kind, self._status, self._first = kind, status, number
        elif self._numbered and number not in (self._number, self._first):
            msg = f"packet {number} came where {self._number} was due"
            raise WireError(msg)
        self._number = (number + 1) & 0xFF
        if kind != self._kind:
            msg = f"a packet of type {kind} within a message of type {self._kind}"
            raise WireError(msg)
