"""Packets: a length of three bytes, a sequence number, a payload; one of 0xFFFFFF bytes goes on in the next packet.

(MySQL Internals, "MySQL Packets".) `packets` writes them, `PacketReader` puts payloads together. The tables are what
`rdsp_codecs.scanning` is made from.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
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


Wants = Callable[[int, int], bool]
"""`wants(first, size)`: whether a payload must be seen whole, by its first byte (-1: it is empty) and its size."""


class PacketWalker:
    """Walks over a stream of packets and shows each payload once: whole where that is wanted, else its first byte.

    For the steady state: rows pass in whatever pieces they come, and nothing of them is held. A payload that is
    continued is shown once, by the first byte of its first packet, and never whole.

    Invariant: held is at most one payload that is wanted whole, of `most` bytes.

    Args:
        wants: asked when a packet's first byte has come, before anything behind it is shown.
        most: bytes; a longer payload that is wanted whole is refused.
    """

    __slots__ = ("_continues", "_held", "_most", "_owed", "_wants")

    def __init__(self, wants: Wants, most: int = 1 << 20) -> None:
        self._wants = wants
        self._most = most
        self._held = b""
        self._owed = 0
        self._continues = False

    @property
    def between(self) -> bool:
        """Nothing of a payload has come that is not all here."""
        return not self._held and not self._owed and not self._continues

    def feed(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        """What was received: payloads (or first bytes) and sizes. To be used up. Raises `FrameTooBig`."""
        if self._held:
            data = self._held + data
            self._held = b""
        at, end = 0, len(data)
        while True:
            if self._owed:
                step = min(self._owed, end - at)
                self._owed -= step
                at += step
                if self._owed:
                    return
            if end - at < HEADER:
                break
            size = int.from_bytes(data[at : at + 3], "little")
            if self._continues:
                self._continues = size == FULL
                self._owed = size
                at += HEADER
                continue
            if size and end - at == HEADER:
                break
            first = data[at + HEADER] if size else -1
            if size == FULL or not self._wants(first, size):
                at += HEADER
                self._owed, self._continues = size, size == FULL
                yield data[at : at + 1] if size else b"", size
                continue
            if size > self._most:
                raise FrameTooBig(self._most)
            if end - at < HEADER + size:
                break
            at += HEADER + size
            yield data[at - size : at], size
        self._held = data[at:]
