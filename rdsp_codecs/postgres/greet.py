"""We play the server to a new client: TLS, start-up packet, authentication, and the welcome.

A conversation (`rdsp_codecs.steps`). Before the start-up packet every read has an exact limit, so that nothing in clear
can hide behind an SSLRequest. Each state accepts one message and no other.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Generator
from typing import Any, Final

import attrs

from rdsp_codecs import proofs
from rdsp_codecs.api import CancelAsked, ClientLogin, Greeting, Offer, Turned
from rdsp_codecs.conversation import Inbox, bounded
from rdsp_codecs.errors import PeerClosed, WireError
from rdsp_codecs.postgres import messages as m
from rdsp_codecs.postgres.refuse import refuse
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.questions import Admit, Derive, Secrets, Welcome
from rdsp_codecs.steps import Ask, Conversation, Send, StartTls, TlsSide

_TLS_RECORD: Final = 0x16
_SASL_LIMIT: Final = 4096
DEFAULT_METHODS: Final = ("scram-sha-256",)

Steps = Generator[Any, Any, Any]


class _Refused(Exception):
    """Ends the greeting with an ErrorResponse."""

    def __init__(self, problem: Problem, words: bytes = b"") -> None:
        super().__init__(problem)
        self.problem = problem
        self.words = words or refuse(problem)


def greet(offer: Offer) -> Conversation[Greeting]:
    """Greet one client. Raises `PeerClosed` and `WireError` only for what cannot be answered."""
    user = ""
    try:
        inbox = Inbox(exact=True)
        code, body, encrypted = yield from _first_packet(offer, inbox)
        if code == m.CANCEL_REQUEST:
            return _cancel(body)
        login = _read_login(offer, code, body, encrypted=encrypted)
        user = login.user
        inbox.loosen()
        negotiation = _negotiation(code, body)
        if negotiation:
            yield Send(negotiation)
        final = b""
        if not (offer.open_to_local and offer.local):
            final = yield from _authenticate(offer, login, inbox)
        welcome = yield Ask(Admit(login))
        yield from _answer(welcome, final)
    except _Refused as refused:
        yield Send(refused.words)
        return Turned(refused.problem, user)
    except PeerClosed:
        return Turned(None, user)
    return attrs.evolve(login, leftover=inbox.leftover, welcome=welcome)


def _first_packet(offer: Offer, inbox: Inbox) -> Steps:
    """Up to the StartupMessage or CancelRequest: its code, its body, and whether the connection is encrypted."""
    encrypted = asked_gss = False
    while True:
        head = yield from inbox.take(4)
        if head[0] == _TLS_RECORD:
            # Direct TLS: these are bytes of a ClientHello, which nothing here could give back to a handshake.
            raise PeerClosed("direct TLS is not offered")
        size = bounded(m.integer(head), 8, offer.max_login_bytes)
        packet = yield from inbox.take(size - 4)
        code = m.integer(packet)
        if code == m.SSL_REQUEST and not encrypted and size == 8:
            if not offer.tls:
                yield Send(b"N")
                continue
            yield Send(b"S")
            yield StartTls(TlsSide.SERVER)
            encrypted = True
        elif code == m.GSSENC_REQUEST and not asked_gss and size == 8:
            asked_gss = True
            yield Send(b"N")
        else:
            return code, packet[4:], encrypted


def _cancel(body: bytes) -> Greeting:
    if not 8 <= len(body) <= 260:
        msg = "invalid length of cancel request packet"
        raise WireError(msg)
    return CancelAsked(m.integer(body), body[4:])


def _fault(code: str, text: str, problem: ProblemCode = ProblemCode.PROTOCOL_VIOLATION) -> _Refused:
    return _Refused(Problem(problem, text), m.error("FATAL", code, text))


def _read_login(offer: Offer, code: int, body: bytes, *, encrypted: bool) -> ClientLogin:
    major, minor = code >> 16, code & 0xFFFF
    if major != 3:
        text = f"unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0"
        raise _fault("0A000", text, ProblemCode.UNSUPPORTED)
    if offer.require_tls and not encrypted:
        raise _Refused(Problem(ProblemCode.TLS_REQUIRED))
    try:
        parameters = m.read_startup(body)
    except WireError as error:
        raise _fault("08P01", str(error)) from error
    parameters = {name: value for name, value in parameters.items() if not name.startswith("_pq_.")}
    user, database = parameters.pop("user", ""), parameters.pop("database", "")
    if not user:
        raise _fault("28000", "no PostgreSQL user name specified in startup packet")
    if parameters.pop("replication", "off").lower() not in ("off", "false", "no", "0", "f", "n"):
        raise _Refused(
            Problem(ProblemCode.UNSUPPORTED, "RDS Proxy currently doesn't support streaming replication mode.")
        )
    return ClientLogin(user, database or offer.default_database or user, parameters, code, tls=encrypted)


def _negotiation(code: int, body: bytes) -> bytes:
    """NegotiateProtocolVersion when the client asks for more than 3.0 or for options that we do not know."""
    unknown = [name for name in m.read_startup(body) if name.startswith("_pq_.")]
    return m.negotiate_protocol_version(0, unknown) if code & 0xFFFF or unknown else b""


def _message(inbox: Inbox, limit: int) -> Steps:
    """The one message that is allowed now: a password or SASL response."""
    head = yield from inbox.take(5)
    if head[:1] != b"p":
        raise _fault("08P01", f"expected password response, got message type {head[0]}")
    size = m.integer(head, 1)
    if not 4 <= size <= limit:
        raise _fault("08P01", "invalid password packet size")
    return (yield from inbox.take(size - 4))


def _wrong(user: str) -> _Refused:
    return _Refused(Problem(ProblemCode.AUTH_FAILED, user))


def _authenticate(offer: Offer, login: ClientLogin, inbox: Inbox) -> Steps:
    """Have the client prove its password. Returns bytes that belong in front of AuthenticationOk."""
    passwords = yield Ask(Secrets(login.user, login.database))
    methods = offer.auth_methods or DEFAULT_METHODS
    if methods[0] == "md5":
        yield from _md5(offer, login, inbox, passwords)
        return b""
    if methods[0] != "scram-sha-256":
        raise _Refused(Problem(ProblemCode.AUTH_METHOD_REFUSED, methods[0]))
    return (yield from _scram(offer, login, inbox, passwords))


def _md5(offer: Offer, login: ClientLogin, inbox: Inbox, passwords: tuple[str, ...]) -> Steps:
    salt = offer.entropy(4)
    yield Send(m.authentication(m.AUTH_MD5, salt))
    answer = (yield from _message(inbox, _SASL_LIMIT)).rstrip(b"\0")
    # For an unknown user the same work is done on a password that nobody has.
    candidates = passwords or (offer.entropy(16).hex(),)
    fits = [hmac.compare_digest(proofs.md5_response(login.user, p, salt), answer) for p in candidates]
    if not passwords or not any(fits):
        raise _wrong(login.user)


def _scram(offer: Offer, login: ClientLogin, inbox: Inbox, passwords: tuple[str, ...]) -> Steps:
    """SCRAM-SHA-256 as the server (RFC 5802). An unknown user sees the same exchange, at the same cost."""
    yield Send(m.authentication(m.AUTH_SASL, m.SCRAM.encode() + b"\0\0"))
    bare, client_nonce, header = _client_first((yield from _message(inbox, _SASL_LIMIT)))
    salt = proofs.sha256_hmac(offer.mock_salt_key, login.user.encode("utf-8", "surrogateescape"))[:16]
    nonce = client_nonce + base64.b64encode(offer.entropy(18))
    challenge = b"r=%b,s=%b,i=%d" % (nonce, base64.b64encode(salt), proofs.ITERATIONS)
    yield Send(m.authentication(m.AUTH_SASL_CONTINUE, challenge))
    final = yield from _message(inbox, _SASL_LIMIT)
    without_proof, proof = _client_final(final, nonce, header)
    auth_message = b",".join((bare, challenge, without_proof))
    signature = b""
    for password in passwords or (offer.mock_salt_key.hex(),):
        salted = yield Ask(Derive(proofs.prepare_password(password), salt, proofs.ITERATIONS))
        if proofs.proof_holds(salted, auth_message, proof) and passwords:
            signature = signature or proofs.server_signature(salted, auth_message)
    if not signature:
        raise _wrong(login.user)
    return m.authentication(m.AUTH_SASL_FINAL, b"v=" + base64.b64encode(signature))


def _client_first(body: bytes) -> tuple[bytes, bytes, bytes]:
    """SASLInitialResponse: client-first-message-bare, the client's nonce, the GS2 header."""
    mechanism, _, rest = body.partition(b"\0")
    if mechanism != m.SCRAM.encode():
        raise _fault("08P01", "client selected an invalid SASL authentication mechanism")
    size = m.integer(rest) if len(rest) >= 4 else 0
    first = rest[4:]
    if size != len(first):
        raise _fault("08P01", "invalid SASL initial response")
    parts = first.split(b",", 2)
    if len(parts) != 3 or parts[0] not in (b"n", b"y") or parts[1]:
        raise _fault("08P01", "malformed SCRAM message")
    attributes = parts[2].split(b",")
    if len(attributes) < 2 or not attributes[0].startswith(b"n=") or not attributes[1].startswith(b"r="):
        raise _fault("08P01", "malformed SCRAM message")
    nonce = attributes[1][2:]
    if not nonce or any(not 0x21 <= c <= 0x7E for c in nonce):
        raise _fault("08P01", "malformed SCRAM message")
    return parts[2], nonce, parts[0] + b",,"


def _client_final(body: bytes, nonce: bytes, header: bytes) -> tuple[bytes, bytes]:
    """client-final-message: the part without the proof, and the proof."""
    without_proof, found, proof = body.rpartition(b",p=")
    attributes = without_proof.split(b",")
    if not found or len(attributes) < 2 or attributes[0] != b"c=" + base64.b64encode(header):
        raise _fault("08P01", "malformed SCRAM message")
    if not hmac.compare_digest(attributes[1], b"r=" + nonce):
        raise _fault("08P01", "invalid SCRAM response")
    try:
        return without_proof, base64.b64decode(proof, validate=True)
    except binascii.Error:
        raise _fault("08P01", "malformed SCRAM message") from None


def _answer(welcome: Welcome | Problem | bytes, final: bytes) -> Steps:
    """The last flight: everything in one write."""
    if isinstance(welcome, Problem):
        raise _Refused(welcome, final + m.authentication(m.AUTH_OK) + refuse(welcome) if final else b"")
    if isinstance(welcome, bytes):
        raise _Refused(Problem(ProblemCode.SERVER_LOGIN_FAILED), final + m.authentication(m.AUTH_OK) + welcome)
    parts = [final, m.authentication(m.AUTH_OK)]
    parts += [m.parameter_status(name, value) for name, value in welcome.parameters.items()]
    parts += [m.backend_key_data(welcome.connection_id, welcome.cancel_secret), m.ready_for_query()]
    yield Send(b"".join(parts))
