"""A buffer for conversations: generators read exact amounts and whole frames through it.

Codecs' conversations use it with `yield from`. Lengths are checked before any arithmetic or allocation follows them.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from rdsp_codecs.errors import WireError
from rdsp_codecs.steps import RECEIVE, Receive


class Inbox:
    """Bytes received and not yet consumed.

    Invariant: with `exact=True` nothing is read from the transport beyond what was asked for, so that a TLS handshake
    may follow at any time.

    Args:
        exact: see above.
        most: bytes that may be taken, from a peer that may send without an end; over it `take` raises `WireError`.
    """

    __slots__ = ("_at", "_buffer", "_exact", "_left", "_most")

    def __init__(self, *, exact: bool = False, most: int = 1 << 62) -> None:
        self._buffer = b""
        self._at = 0
        self._exact = exact
        self._left = self._most = most

    @property
    def leftover(self) -> bytes:
        """What was received and not consumed."""
        return self._buffer[self._at :]

    def loosen(self) -> None:
        """No TLS handshake can follow any more: read as much as there is."""
        self._exact = False

    def take(self, size: int) -> Generator[Any, Any, bytes]:
        """Consume exactly `size` bytes (0 or more). `PeerClosed` comes through from the driver."""
        if not self.has(size) and size <= self._left:
            parts = [self.leftover]
            lacking = size - len(parts[0])
            while lacking > 0:
                data: bytes = yield Receive(lacking) if self._exact else RECEIVE
                parts.append(data)
                lacking -= len(data)
            self._buffer, self._at = b"".join(parts), 0
        return self.cut(size)

    def has(self, size: int) -> bool:
        """Whether so many bytes are here already."""
        return len(self._buffer) - self._at >= size

    def put(self, data: bytes) -> None:
        """What was received."""
        if self._at == len(self._buffer):
            self._buffer = data
        else:
            self._buffer = self._buffer[self._at :] + data
        self._at = 0

    def cut(self, size: int) -> bytes:
        """Consume `size` bytes that are here."""
        self._left -= size
        if self._left < 0:
            msg = f"more than {self._most} bytes were sent during login"
            raise WireError(msg)
        at, self._at = self._at, self._at + size
        return self._buffer[at : at + size]


def bounded(size: int, low: int, high: int) -> int:
    """`size` when it is in low..high, else `WireError`."""
    if not low <= size <= high:
        msg = f"a message length of {size} is not in {low}..{high}"
        raise WireError(msg)
    return size
