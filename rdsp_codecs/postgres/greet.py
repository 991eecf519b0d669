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
_START_UP_LIMIT: Final = 10_000 + 4
"""The server's MAX_STARTUP_PACKET_LENGTH does not count the length itself. The next two do (auth.c, auth-sasl.c)."""
_PASSWORD_LIMIT: Final = 65535
_SASL_LIMIT: Final = 1024
_NO_RESPONSE: Final = 0xFFFFFFFF
_NO_BINDING: Final = (
    "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data."
)
DEFAULT_METHODS: Final = ("scram-sha-256",)

Steps = Generator[Any, Any, Any]


class _Refused(Exception):
    """Ends the greeting with an ErrorResponse; with `words` of b"" without a word."""

    def __init__(self, problem: Problem, words: bytes | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.words = refuse(problem) if words is None else words


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
        if refused.words:
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
        size = m.integer(head)
        if not 8 <= size <= _START_UP_LIMIT:
            raise _silent("invalid length of startup packet")
        bounded(size, 8, offer.max_login_bytes)
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
        raise _silent("invalid length of cancel request packet")
    return CancelAsked(m.integer(body), body[4:])


def _silent(text: str) -> _Refused:
    """The server closes without a word; the text is for the log."""
    return _Refused(Problem(ProblemCode.PROTOCOL_VIOLATION, text), b"")


def _fault(code: str, text: str, problem: ProblemCode = ProblemCode.PROTOCOL_VIOLATION, **more: str) -> _Refused:
    return _Refused(Problem(problem, text), m.error("FATAL", code, text, **more))


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


def _message(inbox: Inbox, offer: Offer, limit: int, kind: str) -> Steps:
    """The one message that is allowed now, a password or a SASL response. None: its length cannot be right."""
    head = yield from inbox.take(5)
    if head[:1] != b"p":
        raise _fault("08P01", f"expected {kind} response, got message type {head[0]}")
    size = m.integer(head, 1)
    if not 4 <= size <= min(limit, offer.max_login_bytes):
        return None
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
    body = yield from _message(inbox, offer, _PASSWORD_LIMIT, "password")
    if body is None:
        raise _silent("invalid message length")
    if not body or body.find(b"\0") != len(body) - 1:
        raise _fault("08P01", "invalid password packet size")
    answer = body[:-1]
    if not answer:
        raise _fault("28P01", "empty password returned by client", ProblemCode.AUTH_FAILED)
    # For an unknown user the same work is done on a password that nobody has.
    candidates = passwords or (offer.entropy(16).hex(),)
    fits = [hmac.compare_digest(proofs.md5_response(login.user, p, salt), answer) for p in candidates]
    if not passwords or not any(fits):
        raise _wrong(login.user)


def _scram(offer: Offer, login: ClientLogin, inbox: Inbox, passwords: tuple[str, ...]) -> Steps:
    """SCRAM-SHA-256 as the server (RFC 5802). An unknown user sees the same exchange, at the same cost."""
    yield Send(m.authentication(m.AUTH_SASL, m.SCRAM.encode() + b"\0\0"))
    bare, client_nonce, header = _client_first((yield from _initial_response(offer, login, inbox)))
    salt = proofs.scram_salt(offer.mock_salt_key, login.user)
    nonce = client_nonce + base64.b64encode(offer.entropy(18))
    challenge = b"r=%b,s=%b,i=%d" % (nonce, base64.b64encode(salt), proofs.ITERATIONS)
    yield Send(m.authentication(m.AUTH_SASL_CONTINUE, challenge))
    final = yield from _sasl_message(offer, login, inbox)
    without_proof, proof = _client_final(final, nonce, header)
    auth_message = b",".join((bare, challenge, without_proof))
    signature = b""
    # As many lookups for everybody; the runtime has worked out all of them before (`proofs.keys_of`).
    for number, (password, its_salt) in enumerate(proofs.candidates(offer.mock_salt_key, login.user, passwords)):
        salted = yield Ask(Derive(password, its_salt, proofs.ITERATIONS))
        if proofs.proof_holds(salted, auth_message, proof) and number < len(passwords):
            signature = signature or proofs.server_signature(salted, auth_message)
    if not signature:
        raise _wrong(login.user)
    return m.authentication(m.AUTH_SASL_FINAL, b"v=" + base64.b64encode(signature))


def _sasl_message(offer: Offer, login: ClientLogin, inbox: Inbox) -> Steps:
    body = yield from _message(inbox, offer, _SASL_LIMIT, "SASL")
    if body is None:
        raise _wrong(login.user)
    return body


def _initial_response(offer: Offer, login: ClientLogin, inbox: Inbox) -> Steps:
    """client-first-message: in SASLInitialResponse, or in the message behind it when that one says that it has none."""
    body = yield from _sasl_message(offer, login, inbox)
    mechanism, found, rest = body.partition(b"\0")
    if not found:
        raise _fault("08P01", "invalid string in message")
    if mechanism != m.SCRAM.encode():
        raise _fault("08P01", "client selected an invalid SASL authentication mechanism")
    first = rest[4:]
    size = m.integer(rest) if len(rest) >= 4 else _NO_RESPONSE - 1
    given = 0 if size == _NO_RESPONSE else size
    if given > len(first):
        raise _fault("08P01", "insufficient data left in message")
    if given < len(first):
        raise _fault("08P01", "invalid message format")
    if size == _NO_RESPONSE:
        yield Send(m.authentication(m.AUTH_SASL_CONTINUE))
        return (yield from _sasl_message(offer, login, inbox))
    return first


def _malformed(detail: str) -> _Refused:
    return _fault("08P01", "malformed SCRAM message", D=detail)


def _shown(text: bytes) -> str:
    """The first character as the server shows it in its errors."""
    code = text[0] if text else 0
    return f"'{chr(code)}'" if 0x21 <= code <= 0x7E else f"0x{code:02x}"


class _Attributes:
    """A SCRAM message, one attribute after the other, with the server's own complaints."""

    def __init__(self, rest: bytes) -> None:
        self.rest = rest

    def take(self, name: str = "") -> tuple[bytes, bytes]:
        """The next attribute, which must be `name` when that is given: its name and its value."""
        rest = self.rest
        if name and rest[:1] != name.encode():
            raise _malformed(f'Expected attribute "{name}" but found "{_shown(rest)}".')
        if not rest:
            raise _malformed("Attribute expected, but found end of string.")
        if not rest[:1].isalpha():
            raise _malformed(f'Attribute expected, but found invalid character "{_shown(rest)}".')
        if rest[1:2] != b"=":
            raise _malformed(f'Expected character "=" for attribute "{chr(rest[0])}".')
        value, _, self.rest = rest[2:].partition(b",")
        return rest[:1], value


def _whole(body: bytes) -> bytes:
    if not body:
        raise _malformed("The message is empty.")
    if b"\0" in body:
        raise _malformed("Message length does not match input length.")
    return body


def _client_first(first: bytes) -> tuple[bytes, bytes, bytes]:
    """client-first-message: its bare part, the client's nonce, the GS2 header."""
    flag, rest = _whole(first)[:1], first[1:]
    if flag == b"p":
        raise _malformed(_NO_BINDING)
    if flag not in (b"n", b"y"):
        raise _malformed(f'Unexpected channel-binding flag "{_shown(flag)}".')
    if rest[:1] != b",":
        raise _malformed(f'Comma expected, but found character "{_shown(rest)}".')
    if rest[1:2] == b"a":
        text = "client uses authorization identity, but it is not supported"
        raise _fault("0A000", text, ProblemCode.UNSUPPORTED)
    if rest[1:2] != b",":
        raise _malformed(f'Unexpected attribute "{_shown(rest[1:])}" in client-first-message.')
    bare = rest[2:]
    if bare[:1] == b"m":
        raise _fault("0A000", "client requires an unsupported SCRAM extension", ProblemCode.UNSUPPORTED)
    attributes = _Attributes(bare)
    attributes.take("n")
    _, nonce = attributes.take("r")
    if not nonce:  # the server does without; RFC 5802 does not
        raise _malformed("The nonce is empty.")
    if any(not 0x21 <= c <= 0x7E for c in nonce):
        raise _fault("08P01", "non-printable characters in SCRAM nonce")
    while attributes.rest:
        attributes.take()
    return bare, nonce, flag + b",,"


def _client_final(body: bytes, nonce: bytes, header: bytes) -> tuple[bytes, bytes]:
    """client-final-message: the part without the proof, and the proof, 32 bytes."""
    attributes = _Attributes(_whole(body))
    _, binding = attributes.take("c")
    if binding != base64.b64encode(header):
        raise _fault("08P01", "unexpected SCRAM channel-binding attribute in client-final-message")
    _, theirs = attributes.take("r")
    name = value = b""
    while name != b"p":
        without_proof = body[: len(body) - len(attributes.rest) - 1]
        name, value = attributes.take()
    try:
        proof = base64.b64decode(value, validate=True)
    except binascii.Error:
        proof = b""
    if len(proof) != proofs.KEY_BYTES:
        raise _malformed("Malformed proof in client-final-message.")
    if attributes.rest:
        raise _malformed("Garbage found at the end of client-final-message.")
    if not hmac.compare_digest(theirs, nonce):
        raise _fault("08P01", "invalid SCRAM response", D="Nonce does not match.")
    return without_proof, proof


def _answer(welcome: Welcome | Problem | bytes, final: bytes) -> Steps:
    """The last flight: everything in one write."""
    if isinstance(welcome, Problem):
        raise _Refused(welcome, final + m.authentication(m.AUTH_OK) + refuse(welcome) if final else None)
    if isinstance(welcome, bytes):
        raise _Refused(Problem(ProblemCode.SERVER_LOGIN_FAILED), final + m.authentication(m.AUTH_OK) + welcome)
    parts = [final, m.authentication(m.AUTH_OK)]
    parts += [m.parameter_status(name, value) for name, value in welcome.parameters.items()]
    parts += [m.backend_key_data(welcome.connection_id, welcome.cancel_secret), m.ready_for_query()]
    yield Send(b"".join(parts))
