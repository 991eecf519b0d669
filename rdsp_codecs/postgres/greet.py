"""We play the server to a new client: TLS, start-up packet, authentication, and the welcome.

A conversation (`rdsp_codecs.steps`) in three parts: `start`, `prove`, and the last flight here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rdsp_codecs.api import ClientLogin, Greeting, Offer, Turned
from rdsp_codecs.conversation import Inbox
from rdsp_codecs.errors import PeerClosed
from rdsp_codecs.postgres import messages as m
from rdsp_codecs.postgres.prove import authenticate
from rdsp_codecs.postgres.refuse import refuse
from rdsp_codecs.postgres.start import Refused, Steps, cancel_request, first_packet, read_login
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.questions import Admit, Welcome
from rdsp_codecs.steps import Ask, Conversation, Send

_SHORT_KEY: Final = 4
_LONG_KEYS_SINCE: Final = m.PROTOCOL_3 + 2
_AUTH_OK: Final = m.authentication(m.AUTH_OK)
_READY: Final = m.ready_for_query()
_MOST_KNOWN: Final = 64


def greet(offer: Offer) -> Conversation[Greeting]:
    """Greet one client. Raises `PeerClosed` and `WireError` only for what cannot be answered."""
    user = ""
    try:
        inbox = Inbox(exact=True)
        code, body, encrypted = yield from first_packet(offer, inbox)
        if code == m.CANCEL_REQUEST:
            return cancel_request(body)
        login: ClientLogin = yield from read_login(offer, code, body, encrypted=encrypted)
        user = login.user
        if offer.refusal is not None:
            raise Refused(offer.refusal)
        inbox.loosen()
        final = b""
        if not (offer.open_to_local and offer.local):
            final = yield from authenticate(offer, login, inbox)
        welcome = yield Ask(Admit(login))
        welcome = yield from _answer(login, welcome, final)
    except Refused as refused:
        if refused.words:
            yield Send(refused.words)
        return Turned(refused.problem, user)
    except PeerClosed:
        return Turned(None, user)
    login.leftover, login.welcome = inbox.leftover, welcome
    return login


def _answer(login: ClientLogin, welcome: Welcome | Problem | bytes, final: bytes) -> Steps:
    """The last flight: everything in one write. Returns the welcome as the client was given it."""
    if isinstance(welcome, Problem):
        raise Refused(welcome, final + m.authentication(m.AUTH_OK) + refuse(welcome) if final else None)
    if isinstance(welcome, bytes):
        raise Refused(Problem(ProblemCode.SERVER_LOGIN_FAILED), final + m.authentication(m.AUTH_OK) + welcome)
    if login.protocol < _LONG_KEYS_SINCE:
        welcome = Welcome(welcome.parameters, welcome.connection_id, welcome.cancel_secret[:_SHORT_KEY])
    known = _statuses(welcome.parameters)
    key = m.backend_key_data(welcome.connection_id, welcome.cancel_secret)
    yield Send(b"".join((final, _AUTH_OK, known, key, _READY)))
    return welcome


class _Statuses:
    """Parameters of a server, and their messages."""

    __slots__ = ("messages", "parameters")

    def __init__(self, parameters: Mapping[str, str]) -> None:
        self.parameters: Final = parameters
        self.messages: Final = b"".join([m.parameter_status(name, value) for name, value in parameters.items()])


_known: Final[dict[int, _Statuses]] = {}
"""By the mapping's identity: it is the same one, and never changed, for all clients of a pool."""


def _statuses(parameters: Mapping[str, str]) -> bytes:
    """The server's parameters as messages."""
    known = _known.get(id(parameters))
    if known is None:  # while it is known, no other can have its identity
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        known = _known[id(parameters)] = _Statuses(parameters)
    return known.messages
