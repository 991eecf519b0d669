"""What the entry point names: all that the proxy asks an engine for."""

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
from rdsp_codecs.errors import LoginRefused, WireError
from rdsp_codecs.problems import Problem
from rdsp_codecs.relaying import Relay
from rdsp_codecs.steps import Conversation
from rdsp_codecs.transaction import Transaction
from rdsp_toy import login
from rdsp_toy.relay import QUIT, ToyRelay


# [codec]
class ToyCodec:
    """See `rdsp_codecs.api.Codec`. It has no state of its own."""

    name = "toy"
    api = API_VERSION
    engine_family = "TOY"
    schemes = ("toy",)
    default_port = 7007
    features = Features(cancel_on_new_connection=True, auth_methods=("hmac",))

    def greet(self, offer: Offer) -> Conversation[Greeting]:
        return login.greet(offer)

    def login(self, how: BackendLogin) -> Conversation[login.ToyState]:
        return login.login(how)

    def startup(self, who: ClientLogin) -> Mapping[str, str]:
        return {}

    def pool_key(self, who: ClientLogin) -> Hashable:
        return who.user, who.database

    def shared(self) -> None:
        return None

    def relay(self, who: ClientLogin, policy: RelayPolicy, shared: Any) -> Relay:
        return ToyRelay(who, policy)

    def ear(self, state: Any, entropy: Entropy) -> Ear:
        raise NotImplementedError  # nothing is ever said unasked; no relay has an `ear_key`

    def refuse(self, problem: Problem) -> bytes:
        return login.refuse(problem)

    def goodbye(self) -> bytes:
        return QUIT

    # [codec]

    # [upkeep]
    def reset(self, state: Any, transaction: Transaction) -> Conversation[None]:
        if transaction is not Transaction.NONE:
            yield from login.ask("ROLLBACK")

    def probe(self, state: Any) -> Conversation[None]:
        yield from login.ask("PING")

    def prepare(self, state: Any, init_query: str) -> Conversation[None]:
        try:
            yield from login.ask(init_query)
        except WireError as error:
            raise LoginRefused("", str(error)) from error
        # It may have set something, and clients are told what there is now.
        lang = yield from login.ask("SHOW lang")
        state.lang, state.server_parameters = lang.encode(), {**state.server_parameters, "lang": lang}

    def max_connections(self, state: Any) -> Conversation[int]:
        answer = yield from login.ask("SHOW max_connections")
        if not (answer.isascii() and answer.isdecimal()):
            raise WireError("max_connections is no number")
        return int(answer)

    def is_writable(self, state: Any) -> Conversation[bool]:
        yield from ()
        return True

    def cancel(self, state: Any, how: BackendLogin) -> Conversation[None]:
        return login.cancel(state, how.tls)

    # [upkeep]


CODEC = ToyCodec()
