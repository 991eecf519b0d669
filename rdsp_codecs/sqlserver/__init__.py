"""The engine of SQL Server: TDS 7.1 to 7.4 and 8.0. Being built: what a session sets keeps its backend still."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from rdsp_codecs.api import (
    API_VERSION,
    BackendLogin,
    ClientLogin,
    Ear,
    Entropy,
    Features,
    Greeting,
    Offer,
    RelayPolicy,
)
from rdsp_codecs.errors import LoginRefused
from rdsp_codecs.problems import Problem
from rdsp_codecs.relaying import Relay
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.sqlserver import login as lo
from rdsp_codecs.sqlserver import upkeep
from rdsp_codecs.sqlserver.greet import greet
from rdsp_codecs.sqlserver.refuse import refuse
from rdsp_codecs.sqlserver.relay import SqlServerRelay
from rdsp_codecs.sqlserver.state import SqlServerState
from rdsp_codecs.steps import Conversation
from rdsp_codecs.transaction import Transaction

__all__ = ["CODEC", "SqlServerCodec"]

_STARTUP = (lo.VERSION, lo.FLAGS, lo.LCID, lo.LANGUAGE, lo.FEATURES)


class SqlServerCodec:
    """See `rdsp_codecs.api.Codec`. Without state."""

    name = "sqlserver"
    api = API_VERSION
    engine_family = "SQLSERVER"
    schemes = ("sqlserver", "mssql")
    default_port = 1433
    features = Features(
        cancel_on_new_connection=False,
        alpn=lo.ALPN,
        lacks=(
            "target.channel_binding",
            "target.max_protocol_version",
            "target_group.strict_session_state",
            "target_group.pin_sequences",
        ),
    )

    def greet(self, offer: Offer) -> Conversation[Greeting]:
        """See `Codec`."""
        return greet(offer)

    def login(self, how: BackendLogin) -> Conversation[Any]:
        """See `Codec`."""
        return lo.login(how)

    def startup(self, who: ClientLogin) -> Mapping[str, str]:
        """See `Codec`: what of a LOGIN7 changes how the session behaves, or what its values look like."""
        return {name: who.parameters[name] for name in _STARTUP}

    def pool_key(self, who: ClientLogin) -> Hashable:
        """See `Codec`."""
        return who.user, who.database, *self.startup(who).values()

    def shared(self) -> object:
        """See `Codec`: all sessions are alike, as what they set keeps their backends."""
        return object()

    def relay(self, who: ClientLogin, policy: RelayPolicy, shared: Any) -> Relay:
        """See `Codec`."""
        return SqlServerRelay(who, policy, shared)

    def ear(self, state: Any, entropy: Entropy) -> Ear:
        """See `Codec`: servers say nothing unasked."""
        raise NotImplementedError

    def reset(self, state: SqlServerState, transaction: Transaction) -> Conversation[None]:
        """See `Codec`."""
        return upkeep.reset(state, transaction)

    def probe(self, state: SqlServerState) -> Conversation[None]:
        """See `Codec`."""
        return upkeep.probe(state)

    def prepare(self, state: SqlServerState, init_query: str) -> Conversation[None]:
        """See `Codec`."""
        return upkeep.prepare(state, init_query)

    def max_connections(self, state: SqlServerState) -> Conversation[int]:
        """See `Codec`."""
        return upkeep.max_connections(state)

    def is_writable(self, state: SqlServerState) -> Conversation[bool]:
        """See `Codec`."""
        return upkeep.is_writable(state)

    def cancel(self, state: SqlServerState, how: BackendLogin) -> Conversation[bool]:
        """See `Codec`: an ATTENTION is in band, and a KILL would need rights that few have."""
        raise LoginRefused("", "a request of SQL Server's is not cancelled from another connection")
        yield

    def refuse(self, problem: Problem) -> bytes:
        """See `Codec`."""
        return f.packets(f.RESPONSE, refuse(problem), f.BEFORE_LOGIN)

    def goodbye(self) -> bytes:
        """See `Codec`: there is none."""
        return b""


CODEC = SqlServerCodec()
