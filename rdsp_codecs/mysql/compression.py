"""Compressed packets ("Compression"): a header of seven bytes around pieces of the stream of ordinary packets.

The header has the length of what follows, a number of its own, and the length that it had before: 0 for what was not
compressed. A piece may begin and end anywhere in the ordinary packets. Compression begins behind the login's OK;
`rdsp_codecs.mysql.compressing` makes a layer of it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Final

import zstandard

from rdsp_codecs.errors import WireError

ZLIB: Final = "zlib"
ZSTD: Final = "zstd"
COMPRESSION_HEADER: Final = 7
WHOLE: Final = 1 << 16
"""Bytes of a packet that is given only once all of it was found right. Of a longer one the last piece is kept so."""
_MOST: Final = 0xFFFFFF
_WINDOW: Final = 1 << 24
"""Bytes that zstd may look back: a whole piece."""
_LEAST: Final = 50
"""Shorter pieces are sent as they are, as servers do."""
_SLACK: Final = 1 << 10
"""Bytes, and a 64th, by which what does not shrink may grow: who sends it so could have sent it as it was."""
_GATHERED: Final = _MOST - (1 << 17)
"""The most that is gathered for one packet: it may grow, and its length has three bytes, too."""


class Packer:
    """Makes compressed packets. `number` is that of the next one; a client sets it to 0 with each command.

    What is to be in one packet, and comes in pieces, is gathered by `hold` until `release`: `WHOLE` bytes as they are,
    of more what they were compressed to, piece by piece.

    Args:
        kind: `ZLIB` or `ZSTD`.
        level: 1..9 for zlib, 1..22 for zstd; 0: the library's default.
    """

    __slots__ = ("_body", "_compress", "_raw", "_stream", "_streams", "held", "number")

    def __init__(self, kind: str, level: int = 0) -> None:
        self.number = 0
        self.held = 0
        """Bytes that are gathered."""
        self._raw = bytearray()
        self._body = bytearray()
        self._stream: Any = None
        self._compress: Callable[[bytes], bytes]
        self._streams: Callable[[], Any]
        if kind == ZSTD:
            compressor = zstandard.ZstdCompressor(level=level or 3)
            self._compress = compressor.compress
            self._streams = compressor.compressobj
        else:
            self._compress = lambda data: zlib.compress(data, level or -1)
            self._streams = lambda: zlib.compressobj(level or -1)

    def hold(self, data: bytes) -> bytes:
        """Gather: goes on in the same packet. Returns one that has become too long for more, or b""."""
        full = self.release() if self.held + len(data) > _GATHERED else b""
        self.held += len(data)
        if self._stream is not None:
            self._body += self._stream.compress(data)
            return full
        self._raw += data
        if self.held > WHOLE:
            self._stream = self._streams()
            self._body += self._stream.compress(bytes(self._raw))
            self._raw.clear()
        return full

    def release(self) -> bytes:
        """What is gathered, as a packet; b"": nothing is."""
        size, self.held = self.held, 0
        if self._stream is None:
            raw = bytes(self._raw)
            self._raw.clear()
            return self.pack(raw)
        self._body += self._stream.flush()
        self._stream = None
        body, self._body = self._body, bytearray()
        return self._head(len(body), size) + body

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
            parts += (self._head(len(body), before), body)
        return b"".join(parts)

    def _head(self, size: int, before: int) -> bytes:
        head = size.to_bytes(3, "little") + bytes((self.number,)) + before.to_bytes(3, "little")
        self.number = (self.number + 1) & 0xFF
        return head


class Unpacker:
    """Takes compressed packets apart, from bytes in any pieces, and gives what they hold in pieces, too.

    Invariant: held is what was fed and not looked at; of zlib nothing else but `WHOLE` bytes, of zstd at most one
    packet as it came, of 16 MiB. No more is unpacked than is asked for, and than the packet says.

    Args:
        kind: `ZLIB` or `ZSTD`.
    """

    __slots__ = ("_buffer", "_due", "_found", "_held", "_inflate", "_left", "_zstd", "last")

    def __init__(self, kind: str) -> None:
        self._buffer = bytearray()
        self._zstd = kind == ZSTD
        self._left = 0
        """Bytes of the packet that are still to come, or to be looked at."""
        self._due = 0
        """Bytes that it still has to unpack to."""
        self._held = False
        """It is given once it was found right."""
        self._inflate: Any = None
        self._found: list[bytes] = []
        self.last = -1
        """The number of the packet that the last piece came from."""

    def feed(self, data: bytes) -> bytes:
        """Take what was received; all that it unpacks to. For who trusts the peer. Raises `WireError`."""
        self.put(data)
        found: list[bytes] = []
        while piece := self.take(1 << 20):
            found.append(piece)
        return b"".join(found)

    def put(self, data: bytes) -> None:
        """What was received."""
        self._buffer += data

    @property
    def begun(self) -> bool:
        """Something that was received has not been given."""
        return bool(self._buffer or self._left or self._found)

    def take(self, limit: int) -> bytes:
        """At most `limit` bytes, or `WHOLE`, of one packet; b"": more has to be received. Raises `WireError`."""
        while self._left or self._begin():
            if self._inflate is None:
                piece = bytes(self._buffer[: min(limit, self._left)])
                self._cut(len(piece))
                return piece
            piece = self._unzstd(limit) if self._zstd else self._unzlib(limit)
            if piece or self._left:
                return piece
        return b""

    def _begin(self) -> bool:
        """The next packet, if its header is here."""
        buffer = self._buffer
        if len(buffer) < COMPRESSION_HEADER:
            return False
        size = int.from_bytes(buffer[:3], "little")
        before = int.from_bytes(buffer[4:7], "little")
        if not size:
            msg = "an empty compressed packet"
            raise WireError(msg)
        if before and size > before + (before >> 6) + _SLACK:
            raise _wrong()
        self.last = buffer[3]
        del buffer[:COMPRESSION_HEADER]
        self._left, self._due, self._held = size, before, before <= WHOLE
        self._inflate = None
        if before:
            self._inflate = zlib.decompressobj() if not self._zstd else True
        return True

    def _cut(self, size: int) -> None:
        del self._buffer[:size]
        self._left -= size

    def _unzlib(self, limit: int) -> bytes:
        """As much as is here and asked for."""
        inflate = self._inflate
        while True:
            data = bytes(self._buffer[: min(self._left, WHOLE)])
            # Behind the last byte that is due there must be the end of the stream, and nothing else.
            most = min(limit, self._due) if self._due else 1
            try:
                piece = inflate.decompress(data, most)
            except zlib.error as error:
                raise _wrong() from error
            if not self._due and piece:
                raise _wrong()
            self._cut(len(data) - len(inflate.unconsumed_tail) - len(inflate.unused_data))
            self._due -= len(piece)
            if piece:
                self._found.append(piece)
            if inflate.eof and (self._due or self._left):
                raise _wrong()
            if inflate.eof:
                return self._give()
            if not self._left:
                raise _wrong()
            if self._due and piece and not self._held:
                return self._give()
            if not self._buffer:
                return b""

    def _give(self) -> bytes:
        found, self._found = self._found, []
        return found[0] if len(found) == 1 else b"".join(found)

    def _unzstd(self, limit: int) -> bytes:
        """As much as is asked for, once the packet is here: the library does not stop at so many bytes otherwise."""
        if self._inflate is True:
            if len(self._buffer) < self._left:
                return b""
            body = bytes(self._buffer[: self._left])
            self._inflate = zstandard.ZstdDecompressor(max_window_size=_WINDOW).stream_reader(
                body, read_across_frames=False
            )
        size = min(self._due, WHOLE if self._held else limit)
        try:
            piece: bytes = self._inflate.read(size)
            self._due -= len(piece)
            over = not self._due and self._inflate.read(1)
        except zstandard.ZstdError as error:
            raise _wrong() from error
        if len(piece) != size or over:
            raise _wrong()
        if not self._due:
            self._inflate = None
            self._cut(self._left)
        return piece


def _wrong() -> WireError:
    return WireError("a compressed packet does not unpack to what it says")
