"""What all sessions of one proxy share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs

from rdsp.auth.credentials import Credentials
from rdsp.config.model import Proxy
from rdsp.net.switchboard import Board
from rdsp.net.tls import Certificates
from rdsp.observe.counters import Counters
from rdsp.observe.dispatch import Observers
from rdsp.pool.pool import Pool
from rdsp.session.ears import MOST_UNREAD, Ears
from rdsp.session.registry import Registry
from rdsp_codecs.api import Codec, RelayPolicy

Derive = Callable[[bytes, bytes, int], Awaitable[bytes]]


@attrs.define(eq=False)
class SessionContext:
    """The proxy around a session.

    Attributes:
        settings: the proxy's configuration; replaced by a reload, so a session reads it when it needs it.
        codec: its engine.
        credentials: passwords of database users, both ways.
        derive: PBKDF2 off the event loop.
        certificates: what clients are shown in TLS handshakes; another one when the files change.
        mock_salt_key: 32 random bytes of this process.
        policy: for every new relay.
        ears: the shared listeners.
    """

    settings: Proxy
    codec: Codec
    pool: Pool
    board: Board
    observers: Observers
    counters: Counters
    registry: Registry
    credentials: Credentials
    derive: Derive
    certificates: Certificates
    mock_salt_key: bytes = attrs.field(repr=False)
    policy: RelayPolicy = RelayPolicy()
    ears: Ears = attrs.field(init=False)

    @ears.default
    def _ears(self) -> Ears:
        return Ears(self.codec, self.pool, self.board, self.observers, lambda: min(self.policy.max_held, MOST_UNREAD))
