"""The engines of MySQL and MariaDB: the client/server protocol, version 10 of its handshake."""

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
from rdsp_codecs.mysql import upkeep
from rdsp_codecs.mysql.compression import ZLIB, ZSTD
from rdsp_codecs.mysql.framing import packets
from rdsp_codecs.mysql.greet import introduced
from rdsp_codecs.mysql.hearing import EXCLUDE_VARIABLE_SETS
from rdsp_codecs.mysql.login import CAPABILITIES, COLLATION
from rdsp_codecs.mysql.prove import METHODS
from rdsp_codecs.mysql.refuse import refuse
from rdsp_codecs.mysql.relay import MySqlRelay
from rdsp_codecs.mysql.session_state import Interned
from rdsp_codecs.problems import Problem
from rdsp_codecs.relaying import Relay
from rdsp_codecs.steps import Conversation
from rdsp_codecs.transaction import Transaction

__all__ = ["MARIADB", "MYSQL", "MySqlCodec"]


class MySqlCodec:
    """See `rdsp_codecs.api.Codec`. Without state. Both engines speak to the servers of both."""

    api = API_VERSION
    engine_family = "MYSQL"
    default_port = 3306
    features = Features(
        cancel_on_new_connection=False,
        auth_methods=tuple(METHODS),
        pinning_filters=(EXCLUDE_VARIABLE_SETS,),
        lacks=(
            "target.tls_negotiation",
            "target.channel_binding",
            "target.max_protocol_version",
            "target_group.strict_session_state",
            "target_group.pin_sequences",
        ),
        compression=(ZLIB, ZSTD),
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.schemes = (name,)

    def greet(self, offer: Offer) -> Conversation[Greeting]:
        """See `Codec`."""
        return introduced(offer)

    def introduce(self) -> Conversation[Mapping[str, str]]:
        """See `Codec`."""
        return upkeep.introduce()

    def login(self, how: BackendLogin) -> Conversation[Any]:
        """See `Codec`."""
        return upkeep.begin(how)

    def startup(self, who: ClientLogin) -> Mapping[str, str]:
        """See `Codec`: flags that change what packets look like or statements mean, and the collation."""
        return {CAPABILITIES: who.parameters[CAPABILITIES], COLLATION: who.parameters[COLLATION]}

    def pool_key(self, who: ClientLogin) -> Hashable:
        """See `Codec`."""
        return who.user, who.database, *self.startup(who).values()

    def shared(self) -> Interned:
        """See `Codec`."""
        return Interned()

    def relay(self, who: ClientLogin, policy: RelayPolicy, shared: Interned) -> Relay:
        """See `Codec`."""
        return MySqlRelay(who, policy, shared)

    def ear(self, state: Any, entropy: Entropy) -> Ear:
        """See `Codec`: servers say nothing unasked."""
        raise NotImplementedError

    def reset(self, state: Any, transaction: Transaction) -> Conversation[None]:
        """See `Codec`."""
        return upkeep.reset(state, transaction)

    def probe(self, state: Any) -> Conversation[None]:
        """See `Codec`."""
        return upkeep.probe(state)

    def prepare(self, state: Any, init_query: str) -> Conversation[None]:
        """See `Codec`."""
        return upkeep.prepare(state, init_query)

    def max_connections(self, state: Any) -> Conversation[int]:
        """See `Codec`."""
        return upkeep.max_connections(state)

    def is_writable(self, state: Any) -> Conversation[bool]:
        """See `Codec`."""
        return upkeep.is_writable(state)

    def cancel(self, state: Any, how: BackendLogin) -> Conversation[bool]:
        """See `Codec`: KILL QUERY."""
        return upkeep.cancel(state, how)

    def refuse(self, problem: Problem) -> bytes:
        """See `Codec`: with the number of words that nobody has asked for."""
        return packets(refuse(problem))

    def goodbye(self) -> bytes:
        """See `Codec`."""
        return upkeep.goodbye()


MYSQL = MySqlCodec("mysql")
MARIADB = MySqlCodec("mariadb")
