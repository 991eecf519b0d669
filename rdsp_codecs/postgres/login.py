"""We play the client to a PostgreSQL server: TLS, start-up, authentication, until the first ReadyForQuery.

A conversation (`rdsp_codecs.steps`). It trusts the server with nothing: lengths, nonces, iteration counts and
signatures are checked.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Generator
from typing import Any, Final

from rdsp_codecs import proofs
from rdsp_codecs.api import BackendLogin
from rdsp_codecs.conversation import Inbox, bounded
from rdsp_codecs.errors import LoginRefused, WireError
from rdsp_codecs.postgres import messages as m
from rdsp_codecs.postgres.state import PostgresState
from rdsp_codecs.questions import Derive
from rdsp_codecs.steps import Ask, Conversation, Send, StartTls, TlsSide

TRANSIENT: Final = frozenset({"53300", "57P03", "57P01", "57P02", "08004", "53200", "55006"})
"""SQLSTATEs of refusals about capacity or start-up: a later try may succeed."""

_OWN_LIMIT: Final = frozenset({"InitializeSessionUserId", "CheckMyDatabase"})
"""Where the server says 53300 for the CONNECTION LIMIT of one role or one database, and not for its own."""

_MAX_MESSAGE: Final = 1 << 20
_MAX_NONCE: Final = 1024

Steps = Generator[Any, Any, Any]


def secure(tls: str) -> Conversation[bool]:
    """Ask for TLS as the mode says, and shake hands. Returns whether the connection is encrypted.

    The answer is one byte, read alone: anything behind it in clear would be an injection. Raises `LoginRefused` when
    TLS is demanded and the server has none.
    """
    if tls == "disable":
        return False
    yield Send(m.untagged(m.SSL_REQUEST))
    answer = yield from Inbox(exact=True).take(1)
    if answer == b"S":
        yield StartTls(TlsSide.CLIENT)
        return True
    if answer not in (b"N", b"E"):
        msg = "the answer to SSLRequest is neither S nor N"
        raise WireError(msg)
    if tls != "prefer" or answer == b"E":
        msg = "the server does not support TLS, and the target demands it"
        raise LoginRefused("08001", msg)
    return False


def login(how: BackendLogin) -> Conversation[PostgresState]:
    """Log in. Raises `LoginRefused` (the server's words, or ours), `WireError`, `PeerClosed`."""
    encrypted = yield from secure(how.tls)
    inbox = Inbox()
    yield Send(m.startup(how.user, how.database, how.parameters))
    state = PostgresState({})
    authenticated = False
    while True:
        tag, body = yield from _message(inbox)
        if tag == b"E":
            raise refusal(body)
        if tag == b"N" or tag == b"v":
            continue
        if tag == b"R" and not authenticated:
            authenticated = yield from _authenticate(how, body, inbox, encrypted=encrypted)
        elif tag == b"S" and authenticated:
            name, _, value = body.rstrip(b"\0").partition(b"\0")
            state.server_parameters[_decode(name)] = _decode(value)
        elif tag == b"K" and authenticated:
            state.process_id, state.cancel_key = m.integer(body), body[4:]
        elif tag == b"Z" and authenticated:
            state.leftover = inbox.leftover
            return state
        else:
            msg = f"a message {tag!r} during login"
            raise WireError(msg)


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _message(inbox: Inbox) -> Generator[Any, Any, tuple[bytes, bytes]]:
    head = yield from inbox.take(5)
    size = bounded(m.integer(head, 1), 4, _MAX_MESSAGE)
    body = yield from inbox.take(size - 4)
    return head[:1], body


def refusal(body: bytes) -> LoginRefused:
    """A server's ErrorResponse as an exception."""
    fields = m.read_fields(body)
    code = fields.get("C", "")
    return LoginRefused(
        code,
        fields.get("M", "the server refused the login"),
        transient=code in TRANSIENT,
        own_limit=code == "53300" and fields.get("R") in _OWN_LIMIT,
        raw=m.message(b"E", body),
    )


def _authenticate(how: BackendLogin, body: bytes, inbox: Inbox, *, encrypted: bool) -> Steps:
    """One Authentication message of the server. Returns whether we are in."""
    kind = m.integer(body)
    if kind == m.AUTH_OK:
        return True
    if kind not in (m.AUTH_CLEARTEXT, m.AUTH_MD5, m.AUTH_SASL):
        raise LoginRefused("28000", f"the server asks for authentication method {kind}, which is not supported")
    if how.password is None:
        raise LoginRefused("28000", f'the server asks for a password, and none is known for user "{how.user}"')
    if kind == m.AUTH_CLEARTEXT:
        if not encrypted:
            raise LoginRefused("28000", "the server asks for a password in clear over an unencrypted connection")
        yield Send(m.message(b"p", how.password.encode() + b"\0"))
    elif kind == m.AUTH_MD5:
        if len(body) != 8:
            msg = "a malformed MD5 challenge"
            raise WireError(msg)
        yield Send(m.message(b"p", proofs.md5_response(how.user, how.password, body[4:8]) + b"\0"))
    else:
        yield from _scram(how, body[4:], inbox)
    tag, answer = yield from _message(inbox)
    while tag == b"N":
        tag, answer = yield from _message(inbox)
    if tag == b"E":
        raise refusal(answer)
    if tag != b"R" or m.integer(answer) != m.AUTH_OK:
        msg = "the server did not finish the authentication"
        raise WireError(msg)
    return True


def _scram(how: BackendLogin, mechanisms: bytes, inbox: Inbox) -> Steps:
    """SCRAM-SHA-256 (RFC 5802, 7677) without channel binding, up to the verified server signature."""
    assert how.password is not None
    if m.SCRAM.encode() not in mechanisms.split(b"\0"):
        raise LoginRefused("28000", "the server offers no SASL mechanism that is supported")
    nonce = base64.b64encode(how.entropy(18))
    bare = b"n=,r=" + nonce
    first = b"n,," + bare
    yield Send(m.message(b"p", m.SCRAM.encode() + b"\0" + len(first).to_bytes(4, "big") + first))
    challenge = yield from _sasl(inbox, m.AUTH_SASL_CONTINUE)
    attributes = _attributes(challenge)
    server_nonce = attributes.get(b"r", b"")
    if not server_nonce.startswith(nonce) or not len(nonce) < len(server_nonce) <= _MAX_NONCE:
        msg = "the server's nonce does not extend ours"
        raise WireError(msg)
    salt, iterations = _decode64(attributes.get(b"s", b"")), _number(attributes.get(b"i", b""))
    if not 1 <= iterations <= how.max_scram_iterations:
        raise LoginRefused("28000", f"the server asks for {iterations} SCRAM iterations")
    salted = yield Ask(Derive(proofs.prepare_password(how.password), salt, iterations))
    without_proof = b"c=biws,r=" + server_nonce
    auth_message = b",".join((bare, challenge, without_proof))
    proof = base64.b64encode(proofs.client_proof(salted, auth_message))
    yield Send(m.message(b"p", without_proof + b",p=" + proof))
    final = _attributes((yield from _sasl(inbox, m.AUTH_SASL_FINAL)))
    if final.get(b"v") != base64.b64encode(proofs.server_signature(salted, auth_message)):
        msg = "the server's SCRAM signature is wrong: it does not know the password"
        raise WireError(msg)


def _sasl(inbox: Inbox, kind: int) -> Generator[Any, Any, bytes]:
    tag, body = yield from _message(inbox)
    while tag == b"N":
        tag, body = yield from _message(inbox)
    if tag == b"E":
        raise refusal(body)
    if tag != b"R" or m.integer(body) != kind:
        msg = "the server broke off SCRAM"
        raise WireError(msg)
    return body[4:]


def _attributes(data: bytes) -> dict[bytes, bytes]:
    return {part[:1]: part[2:] for part in data.split(b",") if part[1:2] == b"="}


def _decode64(data: bytes) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        msg = "bad base64 in SCRAM"
        raise WireError(msg) from error


def _number(data: bytes) -> int:
    if not data.isdigit() or len(data) > 9:
        msg = "a bad number in SCRAM"
        raise WireError(msg)
    return int(data)
