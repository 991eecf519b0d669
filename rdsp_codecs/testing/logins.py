"""Both sides of an engine's login, against each other."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import rsa

from rdsp_codecs.api import BackendLogin, ClientLogin, Codec, Greeting, Offer
from rdsp_codecs.errors import PeerClosed
from rdsp_codecs.questions import Admit, Derive, Introduce, PrivateKey, Secrets, Welcome
from rdsp_codecs.steps import RECEIVE, Conversation, Send
from rdsp_codecs.testing.duo import duo
from rdsp_codecs.testing.wire import Server, Wire

NUMBER: Final = 77
KEY: Final = bytes(range(1, 33))


def offer(**more: Any) -> Offer:
    """How a client is greeted; seeded."""
    settings: dict[str, Any] = {"tls": True, "require_tls": False, "local": True, "open_to_local": False}
    chance = random.Random(1)  # noqa: S311 - a test's
    return Offer(**{**settings, "entropy": chance.randbytes, "mock_salt_key": b"k" * 32, **more})


def how(wire: Wire, **more: Any) -> BackendLogin:
    """How we log in; seeded."""
    settings: dict[str, Any] = {
        "user": wire.user,
        "password": wire.password,
        "database": wire.database,
        "tls": "prefer",
    }
    chance = random.Random(2)  # noqa: S311 - a test's
    return BackendLogin(**{**settings, "parameters": {}, "entropy": chance.randbytes, **more})


def answerer(wire: Wire, passwords: tuple[str, ...] | None = None, admitted: Any = None) -> Callable[[Any], Any]:
    """Answers what logins ask, as the runtime does. `admitted`: instead of a welcome."""

    def answer(question: Any) -> Any:
        match question:
            case Secrets(user):
                return (passwords if passwords is not None else (wire.password,)) if user == wire.user else ()
            case Derive(password, salt, iterations):
                return hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
            case PrivateKey():
                return _private_key()
            case Introduce():
                return Welcome(wire.parameters, NUMBER, KEY)
            case Admit():
                return admitted if admitted is not None else Welcome(wire.parameters, NUMBER, KEY)
        return wire.answer(question)

    return answer


@functools.cache
def _private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def behind(greeting: Conversation[Greeting], wire: Wire, server: Server) -> Conversation[Greeting]:
    """The greeting, and behind it the server, until the other side has done: what a login asks there is answered."""
    found = yield from greeting
    if isinstance(found, ClientLogin):
        wire.logged_in(server, found)
        data, found.leftover = found.leftover, b""
        try:
            while True:
                answer = server.feed(data) if data else b""
                if answer:
                    yield Send(answer)
                data = yield RECEIVE
        except PeerClosed:
            pass
    return found


def log_in(codec: Codec, wire: Wire) -> tuple[ClientLogin, Any, Server]:
    """A client that got in without a password; the state of a new connection for such a client, and what is there."""
    hashable: Any = codec
    who = _client(hashable, wire)
    _, state, server = _meet(codec, wire, dict(codec.startup(who)))
    return who, state, server


@functools.lru_cache(maxsize=16)
def _client(codec: Any, wire: Wire) -> ClientLogin:
    """All that log in so are the same, and nothing changes of one that is in."""
    return wire.client(_meet(codec, wire, {})[0])


def _meet(codec: Codec, wire: Wire, parameters: dict[str, str]) -> tuple[ClientLogin, Any, Server]:
    answer, server = answerer(wire), wire.server()
    greeting = behind(codec.greet(offer(open_to_local=True, tls=False)), wire, server)
    found, state = duo(greeting, codec.login(how(wire, tls="disable", parameters=parameters)), answer, answer)
    if not isinstance(found, ClientLogin) or isinstance(state, Exception):
        msg = f"the two sides of the login do not fit together: {found!r} and {state!r}"
        raise AssertionError(msg)
    return found, state, server
