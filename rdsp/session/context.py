"""What all sessions of one proxy share. Compiled: a login looks here a hundred times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rdsp.auth.credentials import Credentials
from rdsp.auth.derive import KeyDeriver
from rdsp.auth.private_key import PrivateKey
from rdsp.config.model import Proxy
from rdsp.net.switchboard import Board
from rdsp.net.tls import Certificates, ServerTls
from rdsp.observe.counters import Counters
from rdsp.observe.dispatch import Observers
from rdsp.pool.pool import Pool
from rdsp.session.ears import MOST_UNREAD, Ears
from rdsp.session.errands import Errands
from rdsp.session.rate import Rate
from rdsp.session.registry import Registry
from rdsp_codecs.api import Codec, Offer, RelayPolicy

if TYPE_CHECKING:
    from rdsp.session.visit import Visit


class SessionContext:
    """The proxy around a session. `repr` shows nothing of it.

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
        private_key: what clients encrypt passwords with, if they do.
        rate: of logins.
        offers: how the last client was greeted, by whether it was on this machine; with what that depends on.
    """

    __slots__ = (
        "board", "certificates", "codec", "counters", "credentials", "deriver", "ears", "errands", "greeters",
        "mock_salt_key", "observers", "offers", "policy", "pool", "private_key", "rate", "registry", "settings",
    )  # fmt: skip

    def __init__(
        self,
        *,
        settings: Proxy,
        codec: Codec,
        pool: Pool,
        board: Board,
        observers: Observers,
        counters: Counters,
        registry: Registry,
        credentials: Credentials,
        deriver: KeyDeriver,
        certificates: Certificates,
        mock_salt_key: bytes,
        policy: RelayPolicy,
    ) -> None:
        self.settings = settings
        self.codec = codec
        self.pool = pool
        self.board = board
        self.observers = observers
        self.counters = counters
        self.registry = registry
        self.credentials = credentials
        self.deriver = deriver
        self.certificates = certificates
        self.mock_salt_key = mock_salt_key
        self.policy = policy
        self.greeters: set[Visit] = set()
        self.offers: dict[bool, tuple[Proxy, ServerTls | None, bool, Offer]] = {}
        self.ears = Ears(codec, pool, board, observers, lambda: min(self.policy.max_held, MOST_UNREAD))
        self.errands = Errands(board)
        self.private_key = PrivateKey()
        self.rate = Rate()
