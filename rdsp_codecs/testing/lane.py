"""One session on a server of its own, fed in turns: all of the client's bytes, then all of the server's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from rdsp_codecs import moves
from rdsp_codecs.api import Codec, RelayPolicy
from rdsp_codecs.testing.logins import log_in
from rdsp_codecs.testing.pool import honest_peers
from rdsp_codecs.testing.wire import Wire
from rdsp_codecs.transaction import Transaction

Pieces = Callable[[bytes], list[bytes]]


@attrs.frozen
class Told:
    """What came of a request, and where the session stands."""

    to_server: bytes
    to_client: bytes
    transaction: Transaction
    pins: Any
    in_request: bool
    lent: bool


class Lane:
    """`pieces` cuts what comes from either side."""

    def __init__(self, codec: Codec, wire: Wire, pieces: Pieces, policy: RelayPolicy | None = None) -> None:
        who, self.state, self.server = log_in(codec, wire)
        self.relay = codec.relay(who, policy or RelayPolicy(), codec.shared())
        self.pieces = pieces
        self.lent = False
        self.signals = moves.NOTHING
        """Of all calls since the last `feed`."""
        self._to_server = self._to_client = self._coming = b""

    def feed(self, data: bytes) -> Told:
        """The client says it; until nothing moves."""
        self._to_server = self._to_client = b""
        self.signals = moves.NOTHING
        with honest_peers():
            self._push(self.relay.from_client, data)
            while self._coming:
                coming, self._coming = self._coming, b""
                self._push(self.relay.from_server, self.server.feed(coming))
        relay = self.relay
        return Told(
            self._to_server,
            self._to_client,
            relay.transaction,
            relay.pins.active(),
            relay.in_request(),
            self.lent,
        )

    def _push(self, method: Callable[[bytes], int], data: bytes) -> None:
        for piece in self.pieces(data):
            if piece:
                self._heed(method(piece))

    def _heed(self, signals: int) -> None:
        relay = self.relay
        self.signals |= signals
        to_server = b"".join(relay.to_server)
        self._to_client += b"".join(relay.to_client)
        relay.to_server.clear()
        relay.to_client.clear()
        self._to_server += to_server
        self._coming += to_server
        if signals & moves.MORE:
            self._heed(relay.go_on() | signals & ~moves.MORE)
        elif signals & moves.WANT_BACKEND and not self.lent:
            self.lent = True
            self._heed(relay.attached(self.state))
        elif signals & moves.OVER and self.lent and relay.transaction is Transaction.NONE and not relay.pins:
            relay.detached()
            self.lent = False
            if signals & moves.AGAIN:
                self._heed(relay.from_client(b""))
