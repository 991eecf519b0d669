"""TLS of one socket in steady state: OpenSSL over memory, and the socket's own `recv` and `send` beside it. Compiled.

`rdsp.net.transport` makes it once the handshake is through. An `ssl.SSLSocket` asks the kernel twice for every record,
for its header and for its body, and once more to find out that there is nothing left, which it then raises. Here one
`recv` takes all that there is, and its length tells whether the socket is empty.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from typing import Any, Final

from rdsp.net.overlay import Overlay

PLAIN: Final = 16384
"""The most bytes that a record carries (RFC 8446, 5.1)."""
SEALED: Final = PLAIN + 1024
"""Bytes per read of the socket: a record and more. OpenSSL's buffers grow to this, and stay so large."""
_BARREN: Final = 2 * SEALED
"""Bytes that one `recv` looks at without finding data. The largest record fits in twice: this is a peer that does
nothing but update keys, as fast as we can follow, while everybody else waits."""
_ANSWERS: Final = 2 * SEALED
"""Bytes that may wait here when TLS answers by itself: one record of data, and answers that the peer does not read."""


class Records(Overlay):
    """Records in both directions.

    Invariant: `_rest` is sealed already and goes out before anything else is sealed; `_taken` bytes of what was
    offered last are in it, and are not reported as sent before it is gone.
    """

    __slots__ = (
        "_hungry", "_incoming", "_outgoing", "_pull", "_push", "_read", "_rest", "_taken", "_tls", "_write",
    )  # fmt: skip

    def __init__(
        self,
        tls: ssl.SSLObject,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        pull: Callable[[int], bytes],
        push: Callable[[bytes], int],
    ) -> None:
        super().__init__()
        self._tls = tls
        # `ssl.SSLObject` is a wrapper in Python, that costs every record two function calls: what it wraps, if it does.
        sealer: Any = getattr(tls, "_sslobj", tls)
        self._read: Callable[[int], bytes] = sealer.read
        self._write: Callable[[Any], int] = sealer.write
        self._incoming = incoming
        self._outgoing = outgoing
        self._pull = pull
        self._push = push
        self._hungry = False
        """There is nothing to open before more has come."""
        self._rest = b""
        self._taken = 0

    @property
    def unread(self) -> bool:
        """See `Overlay`."""
        return bool(self._incoming.pending or self._tls.pending())

    @property
    def ready(self) -> bool:
        """See `Overlay`."""
        return not self._hungry and self.unread

    def recv(self, limit: int, /) -> bytes:
        """See `Transport`. Gives what one record carries. An end without close_notify is an end of file too.

        Raises `ssl.SSLError` also for a peer that keeps TLS busy with itself.
        """
        size = limit if limit < PLAIN else PLAIN
        barren = 0
        self.drained = emptied = False
        while True:
            if not self._hungry:
                try:
                    data = self._read(size)
                except ssl.SSLWantReadError:
                    self._hungry = True  # the socket has the last word: it may be at its end
                    if self._outgoing.pending:
                        self._answer()
                except ssl.SSLError:
                    self._answer()
                    raise
                else:
                    if self._outgoing.pending:
                        self._answer()
                    if data and len(data) < size and not self._incoming.pending:
                        self._hungry = True
                        # What was pulled by an earlier call proves nothing: the edge of what came since may be spent.
                        self.drained = emptied
                    return data
            if barren > _BARREN:
                raise ssl.SSLError("the peer sends nothing but messages of TLS itself")
            sealed = self._pull(SEALED)
            if not sealed:
                return b""
            barren += len(sealed)
            self._incoming.write(sealed)
            self._hungry, emptied = False, len(sealed) < SEALED

    def send(self, data: Any, /) -> int:
        """See `Transport`. `data` is bytes or a memoryview."""
        done, end = 0, len(data)
        if self._rest:
            self._rest = self._rest[self._pushed(self._rest) :]
            if self._rest:
                raise ssl.SSLWantWriteError("the socket is full")
            done, self._taken = self._taken, 0
        while done < end:
            taken = self._write(data if end <= PLAIN and not done else data[done : done + PLAIN])
            sealed = self._outgoing.read()
            sent = self._pushed(sealed)
            if sent < len(sealed):
                self._rest, self._taken = sealed[sent:], taken
                if not done:
                    raise ssl.SSLWantWriteError("the socket is full")
                break
            done += taken
        return done

    def _pushed(self, sealed: bytes) -> int:
        """How much of it the socket has taken."""
        try:
            return self._push(sealed)
        except BlockingIOError:
            return 0

    def _answer(self) -> None:
        """What OpenSSL has to say by itself goes out, or stands in front of what is sent next.

        Raises `ssl.SSLError` when too much stands there.
        """
        self._rest += self._outgoing.read()
        try:
            self._rest = self._rest[self._pushed(self._rest) :]
        except OSError:
            self._rest = b""  # the peer is gone: who reads on is told
        if len(self._rest) > _ANSWERS:
            raise ssl.SSLError("the peer does not read what TLS answers")

    def close_notify(self) -> None:
        """The last record, as far as the socket takes it. The peer's is not waited for."""
        if self._rest:
            return  # half a record stands in front of it
        with contextlib.suppress(OSError, ValueError):  # it wants to read the peer's
            self._tls.unwrap()
        self._answer()
