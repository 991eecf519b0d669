"""We play the client to a PostgreSQL server: TLS, start-up, authentication, until it is known what it will be like.

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
from rdsp_codecs.postgres.querying import run
from rdsp_codecs.postgres.state import PostgresState
from rdsp_codecs.questions import Derive
from rdsp_codecs.steps import Ask, Conversation, Send, StartTls, TlsFacts, TlsSide

_NOT_NOW: Final = frozenset({"57P01", "57P02", "57P03"})
TRANSIENT: Final = frozenset({"53300", "57P03", "57P01", "57P02", "08004", "53200", "55006"})
"""SQLSTATEs of refusals about capacity or start-up: a later try may succeed."""

_OWN_LIMIT: Final = frozenset({"InitializeSessionUserId", "CheckMyDatabase"})
"""Where the server says 53300 for the CONNECTION LIMIT of one role or one database, and not for its own."""

_MAX_MESSAGE: Final = 1 << 20
_MAX_LOGIN: Final = 1 << 22
_MAX_NONCE: Final = 1024
_MAX_KEY: Final = 256
PATH: Final = "search_path"
TEMPORARY: Final = b"pg_temp"
"""The schema that makes temporary what is created in it, wherever it stands in the `PATH`."""
VERSIONS: Final = {"": m.PROTOCOL_3, "3.0": m.PROTOCOL_3, "latest": m.NEWEST}
"""Names for `max_protocol_version`, after libpq's, with its default."""

Steps = Generator[Any, Any, Any]


def secure(tls: str, *, direct: bool) -> Conversation[TlsFacts | None]:
    """Shake hands as the mode says. Returns what the handshake gave, None when the connection stays in clear.

    With `direct` the handshake comes first, else TLS is asked for. The answer is one byte, read alone: anything behind
    it in clear would be an injection. Raises `LoginRefused` when TLS is demanded and the server has none.
    """
    if tls == "disable":
        return None
    if direct:
        facts: TlsFacts = yield from _handshake()
        if facts.alpn != m.ALPN:
            msg = "the server took direct TLS without the protocol's name (ALPN): it is not PostgreSQL 17 or newer"
            raise LoginRefused("08001", msg)
        return facts
    yield Send(m.untagged(m.SSL_REQUEST))
    answer = yield from Inbox(exact=True).take(1)
    if answer == b"S":
        facts = yield from _handshake()
        return facts
    if answer not in (b"N", b"E"):
        msg = "the answer to SSLRequest is neither S nor N"
        raise WireError(msg)
    if tls != "prefer" or answer == b"E":
        msg = "the server does not support TLS, and the target demands it"
        raise LoginRefused("08001", msg)
    return None


def _handshake() -> Steps:
    """Raises `LoginRefused` when it fails: no later try makes a certificate a right one."""
    try:
        return (yield StartTls(TlsSide.CLIENT))
    except WireError as error:
        raise LoginRefused("08001", str(error)) from error


def login(how: BackendLogin) -> Conversation[PostgresState]:
    """Log in. Raises `LoginRefused` (the server's words, or ours), `WireError`, `PeerClosed`."""
    facts = yield from secure(how.tls, direct=how.direct_tls)
    # A server may send notices and reports without an end.
    inbox = Inbox(most=_MAX_LOGIN)
    protocol = VERSIONS[how.max_protocol_version]
    yield Send(m.startup(how.user, how.database, how.parameters, protocol))
    state = PostgresState({})
    state.encrypted = facts is not None
    state.replicates = "replication" in how.parameters
    authenticated = negotiated = False
    while True:
        tag, body = yield from _message(inbox)
        if tag == b"E":
            raise refusal(body)
        if tag == b"N":
            continue
        if tag == b"v" and not authenticated and not negotiated:
            negotiated = True
            _check_negotiation(body, protocol)
        elif tag == b"R" and not authenticated:
            authenticated = yield from _authenticate(how, body, inbox, facts)
        elif tag == b"S" and authenticated:
            name, _, value = body.rstrip(b"\0").partition(b"\0")
            state.server_parameters[_decode(name)] = _decode(value)
        elif tag == b"K" and authenticated:
            if not 4 < len(body) <= 4 + _MAX_KEY:
                msg = "a cancel key of an impossible length"
                raise WireError(msg)
            state.process_id, state.cancel_key = m.integer(body), body[4:]
        elif tag == b"Z" and authenticated:
            state.leftover = inbox.leftover
            return state
        else:
            msg = f"a message {tag!r} during login"
            raise WireError(msg)


def enter(how: BackendLogin) -> Conversation[PostgresState]:
    """Log in, and see whether what sessions create will be temporary, as pg_temp in their search_path makes it.

    They may have that from the client's start-up parameters, or by ALTER ROLE or ALTER DATABASE. Servers from version
    18 on report it. Raises as `login` does.
    """
    state = yield from login(how)
    if state.replicates:
        return state
    path = state.server_parameters.get(PATH)
    if path is not None:
        state.makes_temporary = TEMPORARY in path.lower().encode("utf-8", "surrogateescape")
        return state
    error, rows, _ = yield from run(f"SHOW {PATH}", state)
    # A server that does not say it may well have it.
    state.makes_temporary = error is not None or any(TEMPORARY in row.lower() for row in rows)
    return state


def _check_negotiation(body: bytes, asked: int) -> None:
    """NegotiateProtocolVersion: an older version of the same protocol, and no word of options, as we ask for none."""
    newest, unknown = m.read_negotiation(body)
    if not m.PROTOCOL_3 <= newest < asked or unknown:
        msg = "the server negotiates a protocol that it was not asked for"
        raise WireError(msg)


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _message(inbox: Inbox) -> Generator[Any, Any, tuple[bytes, bytes]]:
    head = yield from inbox.take(5)
    size = bounded(m.integer(head, 1), 4, _MAX_MESSAGE)
    body = yield from inbox.take(size - 4)
    return head[:1], body


def refusal(body: bytes) -> LoginRefused:
    """A server's ErrorResponse as an exception; its bytes go on to a client only when they are a whole one."""
    fields = m.read_fields(body)
    code = fields.get("C", "")
    whole = body.endswith(b"\0\0") and b"\0\0" not in body[:-2] and len(code) == 5 and {"S", "M"} <= fields.keys()
    return LoginRefused(
        code,
        fields.get("M", "the server refused the login"),
        transient=code in TRANSIENT,
        own_limit=code == "53300" and fields.get("R") in _OWN_LIMIT,
        elsewhere=code in _NOT_NOW,
        password=code == "28P01",
        raw=m.message(b"E", body) if whole else b"",
    )


def _authenticate(how: BackendLogin, body: bytes, inbox: Inbox, facts: TlsFacts | None) -> Steps:
    """One Authentication message of the server. Returns whether we are in."""
    kind = m.integer(body)
    if how.channel_binding == "require" and kind != m.AUTH_SASL:
        raise LoginRefused("28000", "channel binding is required, and the server did not ask for it")
    if kind == m.AUTH_OK:
        return True
    if kind not in (m.AUTH_CLEARTEXT, m.AUTH_MD5, m.AUTH_SASL):
        raise LoginRefused("28000", f"the server asks for authentication method {kind}, which is not supported")
    if how.password is None:
        raise LoginRefused("28000", f'the server asks for a password, and none is known for user "{how.user}"')
    if kind == m.AUTH_CLEARTEXT:
        if facts is None:
            raise LoginRefused("28000", "the server asks for a password in clear over an unencrypted connection")
        yield Send(m.message(b"p", how.password.encode() + b"\0"))
    elif kind == m.AUTH_MD5:
        if len(body) != 8:
            msg = "a malformed MD5 challenge"
            raise WireError(msg)
        yield Send(m.message(b"p", proofs.md5_response(how.user, how.password, body[4:8]) + b"\0"))
    else:
        yield from _scram(how, body[4:], inbox, facts)
    tag, answer = yield from _message(inbox)
    while tag == b"N":
        tag, answer = yield from _message(inbox)
    if tag == b"E":
        raise refusal(answer)
    if tag != b"R" or m.integer(answer) != m.AUTH_OK:
        msg = "the server did not finish the authentication"
        raise WireError(msg)
    return True


def _binding(how: BackendLogin, mechanisms: list[bytes], facts: TlsFacts | None) -> tuple[str, bytes, bytes]:
    """Mechanism, GS2 header and binding data (RFC 5802, section 6). Raises `LoginRefused`."""
    wanted = facts is not None and bool(facts.end_point) and how.channel_binding != "disable"
    if facts is not None and wanted and m.SCRAM_PLUS.encode() in mechanisms:
        return m.SCRAM_PLUS, proofs.END_POINT, facts.end_point
    if how.channel_binding == "require":
        raise LoginRefused(
            "28000", "channel binding is required, and the server or its certificate does not support it"
        )
    if m.SCRAM.encode() not in mechanisms:
        raise LoginRefused("28000", "the server offers no SASL mechanism that is supported")
    # "y": we could, and think that the server cannot. One that can knows then that somebody is between us.
    return m.SCRAM, b"y,," if wanted else b"n,,", b""


def _scram(how: BackendLogin, mechanisms: bytes, inbox: Inbox, facts: TlsFacts | None) -> Steps:
    """SCRAM-SHA-256 (RFC 5802, 7677), bound to the TLS connection if that can be, up to the verified signature."""
    assert how.password is not None
    mechanism, header, binding = _binding(how, mechanisms.split(b"\0"), facts)
    nonce = base64.b64encode(how.entropy(18))
    bare = b"n=,r=" + nonce
    first = header + bare
    yield Send(m.message(b"p", mechanism.encode() + b"\0" + len(first).to_bytes(4, "big") + first))
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
    without_proof = b"c=" + base64.b64encode(header + binding) + b",r=" + server_nonce
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
