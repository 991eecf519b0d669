"""The PostgreSQL engine: frontend/backend protocol 3.0 and 3.2. `CODEC` is what the entry point names."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from operator import itemgetter
from typing import Any

from rdsp_codecs.api import (
    API_VERSION,
    BackendLogin,
    ClientLogin,
    Entropy,
    Features,
    Greeting,
    Offer,
    RelayPolicy,
)
from rdsp_codecs.postgres import messages
from rdsp_codecs.postgres.greet import greet
from rdsp_codecs.postgres.hearing import Ear
from rdsp_codecs.postgres.login import enter
from rdsp_codecs.postgres.passing import PassingRelay
from rdsp_codecs.postgres.prove import METHODS
from rdsp_codecs.postgres.refuse import refuse
from rdsp_codecs.postgres.relay import PostgresRelay
from rdsp_codecs.postgres.state import PostgresState
from rdsp_codecs.postgres.statements import SharedStatements
from rdsp_codecs.postgres.upkeep import cancel, goodbye, is_writable, max_connections, prepare, probe, reset
from rdsp_codecs.problems import Problem
from rdsp_codecs.relaying import Relay
from rdsp_codecs.steps import Conversation
from rdsp_codecs.transaction import Transaction

__all__ = ["CODEC", "PostgresCodec"]


class PostgresCodec:
    """See `rdsp_codecs.api.Codec`. Without state."""

    name = "postgres"
    api = API_VERSION
    engine_family = "POSTGRESQL"
    schemes = ("postgresql", "postgres")
    default_port = 5432
    features = Features(
        cancel_on_new_connection=True, auth_methods=METHODS, alpn=messages.ALPN, socket_file=".s.PGSQL.{}"
    )

    def greet(self, offer: Offer) -> Conversation[Greeting]:
        """See `Codec`."""
        return greet(offer)

    def login(self, how: BackendLogin) -> Conversation[PostgresState]:
        """See `Codec`."""
        return enter(how)

    def startup(self, who: ClientLogin) -> Mapping[str, str]:
        """See `Codec`: all of the client's own, so that RESET and reported values are its own too."""
        return who.parameters

    def pool_key(self, who: ClientLogin) -> Hashable:
        """See `Codec`: names are compared as the server does, without regard to case; values exactly."""
        if not who.parameters:
            return who.user, who.database, ()
        # Of two spellings of a name the later one holds: those stay in their order.
        parameters = sorted(((name.lower(), value) for name, value in who.parameters.items()), key=itemgetter(0))
        return who.user, who.database, tuple(parameters)

    def shared(self) -> SharedStatements:
        """See `Codec`."""
        return SharedStatements()

    def relay(self, who: ClientLogin, policy: RelayPolicy, shared: SharedStatements) -> Relay:
        """See `Codec`. A replication connection's lets everything pass."""
        if who.own_backend:
            return PassingRelay(policy)
        return PostgresRelay(who, policy, shared)

    def ear(self, state: PostgresState, entropy: Entropy) -> Ear:
        """See `Codec`."""
        return Ear(state, entropy)

    def reset(self, state: Any, transaction: Transaction) -> Conversation[None]:
        """See `Codec`."""
        return reset(state, transaction)

    def probe(self, state: Any) -> Conversation[None]:
        """See `Codec`."""
        return probe(state)

    def prepare(self, state: Any, init_query: str) -> Conversation[None]:
        """See `Codec`."""
        return prepare(state, init_query)

    def max_connections(self, state: Any) -> Conversation[int]:
        """See `Codec`."""
        return max_connections(state)

    def is_writable(self, state: Any) -> Conversation[bool]:
        """See `Codec`."""
        return is_writable(state)

    def cancel(self, state: Any, how: BackendLogin) -> Conversation[None]:
        """See `Codec`. The key is enough, nobody has to log in."""
        return cancel(state, how.tls, direct_tls=how.direct_tls)

    def refuse(self, problem: Problem) -> bytes:
        """See `Codec`."""
        return refuse(problem)

    def goodbye(self) -> bytes:
        """See `Codec`."""
        return goodbye()


CODEC = PostgresCodec()
