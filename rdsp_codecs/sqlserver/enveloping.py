"""Packets of type PRELOGIN around a TLS handshake ([MS-TDS] 2.2.6.5, 3.2.5.1, 3.3.5.1). Not in TDS 8.0."""

from __future__ import annotations

from typing import Final

from rdsp_codecs.errors import WireError
from rdsp_codecs.layering import Layer
from rdsp_codecs.sqlserver import framing as f

_RECORDS: Final = frozenset(range(20, 25))
"""How a TLS record begins (RFC 5246, 6.2.1): what stands behind the handshake is in no packets."""


class Envelope(Layer):
    """Both directions of one handshake.

    Invariant: held is less than a packet, of at most 65535 bytes; from the first record that stands in no packet on
    all passes as it is.
    """

    __slots__ = ("_held", "_ready", "_through")

    def __init__(self) -> None:
        super().__init__()
        self._held = b""
        self._ready = b""
        self._through = False

    def wrap(self, data: bytes) -> bytes:
        """See `Layer`: one message."""
        return f.packets(f.PRELOGIN, data, f.BEFORE_LOGIN)

    def unwrap(self, data: bytes, limit: int) -> bytes:
        """See `Layer`. Raises `WireError` for packets of another type."""
        held, at = self._held + data, 0
        while not self._through and len(held) > at:
            if held[at] in _RECORDS:
                self._through = True
                break
            if held[at] != f.PRELOGIN:
                msg = f"a packet of type {held[at]} within a TLS handshake"
                raise WireError(msg)
            if len(held) < at + f.HEADER:
                break
            size = int.from_bytes(held[at + 2 : at + 4], "big")
            if size < f.HEADER:
                msg = f"a packet of {size} bytes, which is less than its header"
                raise WireError(msg)
            if len(held) < at + size:
                break
            self._ready += held[at + f.HEADER : at + size]
            at += size
        if self._through:
            self._ready += held[at:]
            at = len(held)
        self._held = held[at:]
        given, self._ready = self._ready[:limit], self._ready[limit:]
        self.more = bool(self._ready)
        return given

    @property
    def begun(self) -> bool:
        """See `Layer`."""
        return bool(self._held or self._ready)
