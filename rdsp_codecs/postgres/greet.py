"""We play the server to a new client: TLS, start-up packet, authentication, and the welcome.

A conversation (`rdsp_codecs.steps`) in three parts: `start`, `prove`, and the last flight here.
"""

from __future__ import annotations

from typing import Final

import attrs

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


def greet(offer: Offer) -> Conversation[Greeting]:
    """Greet one client. Raises `PeerClosed` and `WireError` only for what cannot be answered."""
    user = ""
    try:
        inbox = Inbox(exact=True)
        code, body, encrypted = yield from first_packet(offer, inbox)
        if code == m.CANCEL_REQUEST:
            return cancel_request(body)
        login = yield from read_login(offer, code, body, encrypted=encrypted)
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
    found: ClientLogin = attrs.evolve(login, leftover=inbox.leftover, welcome=welcome)
    return found


def _answer(login: ClientLogin, welcome: Welcome | Problem | bytes, final: bytes) -> Steps:
    """The last flight: everything in one write. Returns the welcome as the client was given it."""
    if isinstance(welcome, Problem):
        raise Refused(welcome, final + m.authentication(m.AUTH_OK) + refuse(welcome) if final else None)
    if isinstance(welcome, bytes):
        raise Refused(Problem(ProblemCode.SERVER_LOGIN_FAILED), final + m.authentication(m.AUTH_OK) + welcome)
    if login.protocol < _LONG_KEYS_SINCE:
        welcome = attrs.evolve(welcome, cancel_secret=welcome.cancel_secret[:_SHORT_KEY])
    parts = [final, m.authentication(m.AUTH_OK)]
    parts += [m.parameter_status(name, value) for name, value in welcome.parameters.items()]
    parts += [m.backend_key_data(welcome.connection_id, welcome.cancel_secret), m.ready_for_query()]
    yield Send(b"".join(parts))
    return welcome
