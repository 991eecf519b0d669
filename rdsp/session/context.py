"""What all sessions of one proxy share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from rdsp.auth.credentials import Credentials
from rdsp.auth.derive import KeyDeriver
from rdsp.config.model import Proxy
from rdsp.net.switchboard import Board
from rdsp.net.tls import Certificates, ServerTls
from rdsp.observe.counters import Counters
from rdsp.observe.dispatch import Observers
from rdsp.pool.pool import Pool
from rdsp.session.ears import MOST_UNREAD, Ears
from rdsp.session.errands import Errands
from rdsp.session.registry import Registry
from rdsp_codecs.api import Codec, Offer, RelayPolicy

if TYPE_CHECKING:
    from rdsp.session.visit import Visit


@attrs.define(eq=False)
class SessionContext:
    """The proxy around a session.

    Attributes:
        settings: the proxy's configuration; replaced by a reload, so a session reads it when it needs it.
        codec: its engine.
        credentials: passwords of database users, both ways.
        deriver: PBKDF2 off the event loop, remembered.
        certificates: what clients are shown in TLS handshakes; another one when the files change.
        mock_salt_key: 32 random bytes of this process.
        policy: for every new relay.
        ears: the shared listeners.
        errands: alarms and tasks of the sessions.
        greeters: clients that have not logged in.
        offers: how the last client was greeted, by whether it was on this machine; with what that depends on.
    """

    settings: Proxy
    codec: Codec
    pool: Pool
    board: Board
    observers: Observers
    counters: Counters
    registry: Registry
    credentials: Credentials
    deriver: KeyDeriver
    certificates: Certificates
    mock_salt_key: bytes = attrs.field(repr=False)
    policy: RelayPolicy = RelayPolicy()
    greeters: set[Visit] = attrs.field(factory=set, init=False)
    offers: dict[bool, tuple[Proxy, ServerTls | None, bool, Offer]] = attrs.field(factory=dict, init=False)
    ears: Ears = attrs.field(init=False)
    errands: Errands = attrs.field(init=False)

    @ears.default
    def _ears(self) -> Ears:
        return Ears(self.codec, self.pool, self.board, self.observers, lambda: min(self.policy.max_held, MOST_UNREAD))

    @errands.default
    def _errands(self) -> Errands:
        return Errands(self.board)
