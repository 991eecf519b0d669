"""How a client proves its password, as the server sees it: SCRAM-SHA-256 with and without channel binding, MD5, clear.

Part of `greet`'s conversation. An unknown user sees the same exchange as a known one with a wrong password, at the same
cost. Each state accepts one message and no other.
"""

from __future__ import annotations

import hashlib
import hmac
from binascii import b2a_base64
from functools import lru_cache
from typing import Final

from rdsp_codecs import proofs
from rdsp_codecs.api import ClientLogin, Offer
from rdsp_codecs.conversation import Inbox
from rdsp_codecs.postgres import messages as m
from rdsp_codecs.postgres import scram
from rdsp_codecs.postgres.start import Refused, Steps, fault, silent
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.questions import Derive, Secrets
from rdsp_codecs.steps import RECEIVE, Ask, Send

METHODS: Final = ("scram-sha-256-plus", "scram-sha-256", "md5", "password")
"""Names for `auth_methods`; the first and the last need TLS."""
_DEFAULT: Final = METHODS[:2]
_MECHANISMS: Final = {"scram-sha-256-plus": m.SCRAM_PLUS.encode(), "scram-sha-256": m.SCRAM.encode()}
_PASSWORD_LIMIT: Final = 65535
"""Bytes, as the server has it (auth.c); the next one is of auth-sasl.c."""
_SASL_LIMIT: Final = 1024
_NO_RESPONSE: Final = 0xFFFFFFFF


def _base64(data: bytes) -> bytes:
    return b2a_base64(data, newline=False)


def authenticate(offer: Offer, login: ClientLogin, inbox: Inbox) -> Steps:
    """Have the client prove its password. Returns bytes that belong in front of AuthenticationOk. Raises `Refused`.

    Of `auth_methods` the first that this connection allows is used; the two of SCRAM are offered together.
    """
    passwords = yield Ask(Secrets(login.user, login.database))
    wanted = offer.auth_methods or _DEFAULT
    methods = [name for name in wanted if _is_possible(name, offer, encrypted=login.tls)]
    if not methods:
        lacking = ProblemCode.AUTH_METHOD_REFUSED if login.tls else ProblemCode.TLS_REQUIRED
        raise Refused(Problem(lacking, wanted[0]))
    if methods[0] == "md5":
        yield from _md5(offer, login, inbox, passwords)
        return b""
    if methods[0] == "password":
        yield from _password(offer, login, inbox, passwords)
        return b""
    return (yield from _scram(offer, login, inbox, passwords, [_MECHANISMS[n] for n in METHODS[:2] if n in methods]))


def _is_possible(method: str, offer: Offer, *, encrypted: bool) -> bool:
    if method == "scram-sha-256-plus":
        return encrypted and bool(offer.end_point)
    if method == "password":
        return encrypted
    return method in METHODS


def _message(inbox: Inbox, offer: Offer, limit: int, kind: str) -> Steps:
    """The one message that is allowed now, a password or a SASL response. None: its length cannot be right.

    No TLS handshake can follow any more: what is there is read.
    """
    while not inbox.has(5):
        inbox.put((yield RECEIVE))
    head = inbox.cut(5)
    if head[:1] != b"p":
        raise fault("08P01", f"expected {kind} response, got message type {head[0]}")
    size = m.integer(head, 1)
    if not 4 <= size <= min(limit, offer.max_login_bytes):
        return None
    while not inbox.has(size - 4):
        inbox.put((yield RECEIVE))
    return inbox.cut(size - 4)


def _wrong(user: str) -> Refused:
    return Refused(Problem(ProblemCode.AUTH_FAILED, user))


def _password_message(offer: Offer, inbox: Inbox) -> Steps:
    body = yield from _message(inbox, offer, _PASSWORD_LIMIT, "password")
    if body is None:
        raise silent("invalid message length")
    if not body or body.find(b"\0") != len(body) - 1:
        raise fault("08P01", "invalid password packet size")
    if len(body) == 1:
        raise fault("28P01", "empty password returned by client", ProblemCode.AUTH_FAILED)
    return body[:-1]


def _md5(offer: Offer, login: ClientLogin, inbox: Inbox, passwords: tuple[str, ...]) -> Steps:
    salt = offer.entropy(4)
    yield Send(m.authentication(m.AUTH_MD5, salt))
    answer = yield from _password_message(offer, inbox)
    # For an unknown user the same work is done on a password that nobody has.
    candidates = passwords or (offer.entropy(16).hex(),)
    fits = [hmac.compare_digest(proofs.md5_response(login.user, p, salt), answer) for p in candidates]
    if not passwords or not any(fits):
        raise _wrong(login.user)


def _password(offer: Offer, login: ClientLogin, inbox: Inbox, passwords: tuple[str, ...]) -> Steps:
    """The password itself; only ever asked for over TLS."""
    yield Send(m.authentication(m.AUTH_CLEARTEXT))
    answer = yield from _password_message(offer, inbox)
    # Digests, so that how long it takes says nothing about lengths; and as many for everybody.
    given = hashlib.sha256(proofs.prepare_password(answer.decode("utf-8", "surrogateescape"))).digest()
    candidates = proofs.candidates(offer.mock_salt_key, b"", passwords)
    fits = [hmac.compare_digest(hashlib.sha256(password).digest(), given) for password, _ in candidates]
    if not any(fits[: len(passwords)]):
        raise _wrong(login.user)


def _scram(
    offer: Offer, login: ClientLogin, inbox: Inbox, passwords: tuple[str, ...], mechanisms: list[bytes]
) -> Steps:
    """SCRAM-SHA-256 as the server (RFC 5802, RFC 5929). An unknown user sees the same exchange, at the same cost."""
    yield Send(_sasl(tuple(mechanisms)))
    mechanism, first = yield from _initial_response(offer, login, inbox, mechanisms)
    binding = offer.end_point if mechanism == m.SCRAM_PLUS.encode() else b""
    opening = scram.client_first(first, bound=bool(binding), could_bind=m.SCRAM_PLUS.encode() in mechanisms)
    salt = proofs.scram_salt(offer.mock_salt_key, login.user)
    nonce = opening.nonce + _base64(offer.entropy(18))
    challenge = b"r=%b,s=%b,i=%d" % (nonce, _base64(salt), proofs.ITERATIONS)
    yield Send(m.authentication(m.AUTH_SASL_CONTINUE, challenge))
    final = yield from _sasl_message(offer, login, inbox)
    without_proof, proof = scram.client_final(final, nonce, opening.header, binding)
    auth_message = b",".join((opening.bare, challenge, without_proof))
    signature = b""
    # As many lookups for everybody; the runtime has worked out all of them before (`proofs.keys_of`).
    for number, (password, its_salt) in enumerate(proofs.candidates(offer.mock_salt_key, salt, passwords)):
        salted = yield Ask(Derive(password, its_salt, proofs.ITERATIONS))
        verifier = proofs.verifier(salted)
        if verifier.holds(auth_message, proof) and number < len(passwords):
            signature = signature or verifier.signature(auth_message)
    if not signature:
        raise _wrong(login.user)
    return m.authentication(m.AUTH_SASL_FINAL, b"v=" + _base64(signature))


@lru_cache(maxsize=8)
def _sasl(mechanisms: tuple[bytes, ...]) -> bytes:
    """AuthenticationSASL."""
    return m.authentication(m.AUTH_SASL, b"".join([name + b"\0" for name in mechanisms]) + b"\0")


def _sasl_message(offer: Offer, login: ClientLogin, inbox: Inbox) -> Steps:
    body = yield from _message(inbox, offer, _SASL_LIMIT, "SASL")
    if body is None:
        raise _wrong(login.user)
    return body


def _initial_response(offer: Offer, login: ClientLogin, inbox: Inbox, mechanisms: list[bytes]) -> Steps:
    """Mechanism and client-first-message: in SASLInitialResponse, or in the message behind it when that has none."""
    body = yield from _sasl_message(offer, login, inbox)
    mechanism, found, rest = body.partition(b"\0")
    if not found:
        raise fault("08P01", "invalid string in message")
    if mechanism not in mechanisms:
        raise fault("08P01", "client selected an invalid SASL authentication mechanism")
    first = rest[4:]
    size = m.integer(rest) if len(rest) >= 4 else _NO_RESPONSE - 1
    given = 0 if size == _NO_RESPONSE else size
    if given > len(first):
        raise fault("08P01", "insufficient data left in message")
    if given < len(first):
        raise fault("08P01", "invalid message format")
    if size == _NO_RESPONSE:
        yield Send(m.authentication(m.AUTH_SASL_CONTINUE))
        first = yield from _sasl_message(offer, login, inbox)
    return mechanism, first
