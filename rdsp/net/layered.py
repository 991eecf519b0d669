"""An engine's layer (`rdsp_codecs.layering`) over one connection, above TLS where there is any. Compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rdsp.net.overlay import Overlay
from rdsp_codecs.layering import Layer

PULLED: Final = 16384
"""Bytes per read of what is below: what can wait in here stays small, whatever it grows to."""
BITE: Final = 65536
"""Bytes that are wrapped at once, and given at once: all sessions wait while one's are compressed."""


class Layered(Overlay):
    """Both directions of one connection.

    Invariant: `_rest` is wrapped, is of the first `_taken` bytes that were offered last, and goes out before anything
    else is wrapped; nothing of those is reported as sent before.

    Args:
        layer: of this connection alone.
        early: what was read of it already.
        pull, push: `recv` and `send` of what is below.
        below: TLS's records, where it is they.
    """

    __slots__ = ("_below", "_early", "_gone", "_hungry", "_layer", "_plain", "_pull", "_push", "_rest", "_taken")

    def __init__(
        self,
        layer: Layer,
        early: bytes,
        pull: Callable[[int], bytes],
        push: Callable[[bytes], int],
        below: Overlay | None,
    ) -> None:
        super().__init__()
        self._layer = layer
        self._early = early
        self._pull = pull
        self._push = push
        self._below = below
        self._plain = b""
        self._hungry = False
        """There is nothing to give before more has come."""
        self._rest = b""
        self._gone = 0
        """Bytes of it that went out."""
        self._taken = 0

    @property
    def unread(self) -> bool:
        """See `Overlay`."""
        return bool(self._plain or self._early or self._layer.begun or (self._below is not None and self._below.unread))

    @property
    def ready(self) -> bool:
        """See `Overlay`."""
        if self._plain or self._early:
            return True
        return not self._hungry and (self._layer.more or (self._below is not None and self._below.ready))

    def recv(self, limit: int, /) -> bytes:
        """See `Transport`. Raises `WireError` for what cannot be unwrapped."""
        self.drained = emptied = False
        layer, plain = self._layer, self._plain
        if not plain:
            early, self._early = self._early, b""
            if early or layer.more:
                plain = layer.unwrap(early, BITE)
            while not plain:
                self._hungry = True
                came = self._pull(PULLED)
                if not came:
                    return b""
                below = self._below
                emptied = len(came) < PULLED if below is None else below.drained
                self._hungry = False
                plain = layer.unwrap(came, BITE)
        if len(plain) > limit:
            self._plain = plain[limit:]
            return plain[:limit]
        self._plain = b""
        # What was pulled by an earlier call proves nothing: the edge of what came since may be spent.
        self.drained = emptied and not layer.more
        return plain

    def send(self, data: bytes, /) -> int:
        """See `Transport`: takes `BITE` bytes at most."""
        self.eager = False
        if not self._rest:
            taken = data if len(data) <= BITE else data[:BITE]
            self._rest = self._layer.wrap(taken)
            self._taken = len(taken)
        rest = self._rest
        while self._gone < len(rest):
            self._gone += self._push(rest[self._gone : self._gone + BITE])
        self._rest, self._gone = b"", 0
        self.eager = self._taken < len(data)
        return self._taken

    def close_notify(self) -> None:
        """See `Overlay`."""
        if self._below is not None and not self._rest:
            self._below.close_notify()
