"""Compressed packets ("Compression"): a header of seven bytes around pieces of the stream of ordinary packets.

The header has the length of what follows, a number of its own, and the length that it had before: 0 for what was not
compressed. A piece may begin and end anywhere in the ordinary packets. Compression begins behind the login's OK.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

import zstandard

from rdsp_codecs.errors import WireError

ZLIB: Final = "zlib"
ZSTD: Final = "zstd"
COMPRESSION_HEADER: Final = 7
_MOST: Final = 0xFFFFFF
_WINDOW: Final = 1 << 24
"""Bytes that zstd may look back: a whole piece."""
_LEAST: Final = 50
"""Shorter pieces are sent as they are, as servers do."""


class Packer:
    """Makes compressed packets. `number` is that of the next one; a client sets it to 0 with each command.

    Args:
        kind: `ZLIB` or `ZSTD`.
        level: 1..9 for zlib, 1..22 for zstd; 0: the library's default.
    """

    __slots__ = ("_compress", "number")

    def __init__(self, kind: str, level: int = 0) -> None:
        self.number = 0
        self._compress: Callable[[bytes], bytes]
        if kind == ZSTD:
            self._compress = zstandard.ZstdCompressor(level=level or 3).compress
        else:
            self._compress = lambda data: zlib.compress(data, level or -1)

    def pack(self, data: bytes) -> bytes:
        """Ordinary packets, or any piece of their stream, as compressed packets."""
        parts: list[bytes] = []
        for at in range(0, len(data), _MOST):
            piece = data[at : at + _MOST]
            before, body = 0, piece
            if len(piece) >= _LEAST:
                packed = self._compress(piece)
                if len(packed) < len(piece):
                    before, body = len(piece), packed
            head = len(body).to_bytes(3, "little") + bytes((self.number,)) + before.to_bytes(3, "little")
            parts += (head, body)
            self.number = (self.number + 1) & 0xFF
        return b"".join(parts)


class Unpacker:
    """Takes compressed packets apart, from bytes in any pieces.

    Invariant: at most one incomplete compressed packet is held, of 16 MiB; what it says that it unpacks to bounds what
    is unpacked.

    Args:
        kind: `ZLIB` or `ZSTD`.
    """

    __slots__ = ("_buffer", "_unpack", "last")

    def __init__(self, kind: str) -> None:
        self._buffer = bytearray()
        self._unpack = _unzstd if kind == ZSTD else _unzlib
        self.last = -1
        """The number of the last one."""

    def feed(self, data: bytes) -> bytes:
        """What was received, unpacked as far as it goes. Raises `WireError`."""
        self._buffer += data
        found: list[bytes] = []
        at, end = 0, len(self._buffer)
        while end - at >= COMPRESSION_HEADER:
            size = int.from_bytes(self._buffer[at : at + 3], "little")
            if end - at < COMPRESSION_HEADER + size:
                break
            self.last = self._buffer[at + 3]
            before = int.from_bytes(self._buffer[at + 4 : at + 7], "little")
            body = bytes(self._buffer[at + COMPRESSION_HEADER : at + COMPRESSION_HEADER + size])
            found.append(self._unpack(body, before) if before else body)
            at += COMPRESSION_HEADER + size
        del self._buffer[:at]
        return b"".join(found)


def _wrong() -> WireError:
    return WireError("a compressed packet does not unpack to what it says")


def _unzlib(data: bytes, size: int) -> bytes:
    one = zlib.decompressobj()
    try:
        found = one.decompress(data, size + 1)
    except zlib.error as error:
        raise _wrong() from error
    if len(found) != size or not one.eof or one.unused_data:
        raise _wrong()
    return found


def _unzstd(data: bytes, size: int) -> bytes:
    try:
        with zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(
            data, read_across_frames=False
        ) as reader:
            found = reader.read(size + 1)
    except zstandard.ZstdError as error:
        raise _wrong() from error
    if len(found) != size:
        raise _wrong()
    return found
