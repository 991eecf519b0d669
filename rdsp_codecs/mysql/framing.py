"""Packets: a length of three bytes, a sequence number, a payload; one of 0xFFFFFF bytes goes on in the next packet.

(MySQL Internals, "MySQL Packets".) `packets` writes them, `PacketReader` puts payloads together. The tables are what
`rdsp_codecs.scanning` is made from.
"""

from __future__ import annotations

import functools
from typing import Final

from rdsp_codecs.errors import FrameTooBig, WireError
from rdsp_codecs.framing import Framing

HEADER: Final = 4
FULL: Final = 0xFFFFFF
"""A payload of so many bytes is continued, if only by an empty packet."""


@functools.lru_cache(maxsize=64)
def client_framing(max_frame: int) -> Framing:
    """Packets of a client. `max_frame` in bytes; one is of 4..2**24+2."""
    # One byte of the payload names the kind of packet; a packet without any has none.
    return Framing(
        header=5,
        length_at=0,
        length_size=3,
        little=True,
        length_adds=HEADER,
        tag_at=HEADER,
        full=FULL,
        max_frame=min(max_frame, FULL + HEADER),
        largest=FULL + HEADER,
    )


SERVER_FRAMING: Final = client_framing(FULL + HEADER)
"""The same from the server."""


def packets(payload: bytes, sequence: int = 0) -> bytes:
    """A payload of any length as packets, the first with that sequence number (modulo 256)."""
    size = len(payload)
    if size < FULL:
        return size.to_bytes(3, "little") + bytes((sequence & 0xFF,)) + payload
    parts: list[bytes] = []
    for at in range(0, size + 1, FULL):
        part = payload[at : at + FULL]
        parts += (len(part).to_bytes(3, "little"), bytes((sequence & 0xFF,)), part)
        sequence += 1
    return b"".join(parts)


class PacketReader:
    """Puts payloads together, from bytes in any pieces.

    Invariant: at most one payload and the pieces that were fed behind it are held; over `most` bytes of one payload
    `next` raises. With `strict`, packets must be numbered in order: `expected` is the number that the next one has.

    Args:
        most: bytes that a payload may have.
        strict: see above. A client begins anew with each command (`begin`), and compression has its own order.
    """

    __slots__ = ("_buffer", "_most", "_parts", "_size", "_strict", "expected", "last")

    def __init__(self, most: int = 1 << 30, *, strict: bool = True) -> None:
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._size = 0
        self._most = most
        self._strict = strict
        self.expected = 0
        self.last = 0
        """The number of the last packet of the last payload."""

    def begin(self, sequence: int = 0) -> None:
        """The next packet has this number."""
        self.expected = sequence

    def feed(self, data: bytes) -> None:
        """What was received."""
        self._buffer += data

    @property
    def leftover(self) -> bytes:
        """What was received behind the last payload. Only between payloads."""
        return bytes(self._buffer)

    @property
    def between(self) -> bool:
        """Nothing of a payload is here."""
        return not self._buffer and not self._parts

    @property
    def needed(self) -> int:
        """Bytes that must be received before `next` can give anything: up to the end of the packet or of its head."""
        have = len(self._buffer)
        if have < HEADER:
            return HEADER - have
        return max(0, HEADER + int.from_bytes(self._buffer[:3], "little") - have)

    def next(self) -> bytes | None:
        """The next payload, None while it is not all here. Raises `WireError`, and `FrameTooBig` over `most`."""
        while len(self._buffer) >= HEADER:
            size = int.from_bytes(self._buffer[:3], "little")
            if self._size + size > self._most:
                raise FrameTooBig(self._most)
            if len(self._buffer) < HEADER + size:
                return None
            number = self._buffer[3]
            if self._strict and number != self.expected:
                msg = f"packet {number} came where {self.expected} was due"
                raise WireError(msg)
            self.last, self.expected = number, (number + 1) & 0xFF
            part = bytes(self._buffer[HEADER : HEADER + size])
            del self._buffer[: HEADER + size]
            if size == FULL:
                self._parts.append(part)
                self._size += size
                continue
            if self._parts:
                part = b"".join((*self._parts, part))
                self._parts.clear()
                self._size = 0
            return part
        return None
