"""How a client begins, as the server sees it: TLS, the first packet, the protocol's version, start-up parameters.

Parts of `greet`'s conversation. Until the StartupMessage is there every read has an exact limit, so that nothing in
clear can hide in front of a TLS handshake.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

from rdsp_codecs.api import CancelAsked, ClientLogin, Greeting, Offer
from rdsp_codecs.conversation import Inbox
from rdsp_codecs.errors import WireError
from rdsp_codecs.postgres import messages as m
from rdsp_codecs.postgres.refuse import refuse
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.steps import HasUnread, Receive, Send, StartTls, TlsSide

_TLS_RECORD: Final = 0x16
_LOOK: Final = Receive(1024, peek=True)
"""Most clients' first packet is shorter: with its length seen, one read takes it all, and nothing behind it."""
_START_UP_LIMIT: Final = 10_000 + 4
"""The server's MAX_STARTUP_PACKET_LENGTH does not count the length itself."""
_CANCEL_KEYS: Final = (1, 256)

Steps = Generator[Any, Any, Any]


class Refused(Exception):
    """Ends the greeting with an ErrorResponse; with `words` of b"" without a word."""

    def __init__(self, problem: Problem, words: bytes | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.words = refuse(problem) if words is None else words


def silent(text: str) -> Refused:
    """The server closes without a word; the text is for the log."""
    return Refused(Problem(ProblemCode.PROTOCOL_VIOLATION, text), b"")


def fault(code: str, text: str, problem: ProblemCode = ProblemCode.PROTOCOL_VIOLATION, **more: str) -> Refused:
    """A refusal in the server's own words."""
    return Refused(Problem(problem, text), m.error("FATAL", code, text, **more))


def first_packet(offer: Offer, inbox: Inbox) -> Steps:
    """Up to the StartupMessage or CancelRequest: its code, its body, and whether the connection is encrypted."""
    encrypted = False
    seen: bytes = yield _LOOK
    if seen[0] == _TLS_RECORD:
        yield from _direct_tls(offer)
        encrypted, seen = True, b""
    ssl_done = gss_done = False
    while True:
        head = b""
        if len(seen) < 4:
            head = seen = yield from inbox.take(4)
        size = m.integer(seen)
        if not 8 <= size <= _START_UP_LIMIT:
            raise silent("invalid length of startup packet")
        if size > offer.max_login_bytes:
            raise Refused(Problem(ProblemCode.FRAME_TOO_BIG, str(offer.max_login_bytes)))
        packet: bytes = head + (yield from inbox.take(size - len(head)))
        seen = b""
        code = m.integer(packet, 4)
        # Which request may follow which is the server's affair (backend_startup.c, ProcessStartupPacket).
        if code == m.SSL_REQUEST and not ssl_done:
            agreed = offer.tls and not encrypted
            if agreed:
                yield Send(b"S")
                yield StartTls(TlsSide.SERVER)
                encrypted = True
            else:
                yield from _decline("SSL")
            ssl_done, gss_done = True, gss_done or agreed
        elif code == m.GSSENC_REQUEST and not gss_done:
            yield from _decline("GSSAPI encryption")
            gss_done = True
        else:
            return code, packet[8:], encrypted


def _decline(what: str) -> Steps:
    """`N`, and the client goes on as it is; but not if it did so before it knew."""
    hasty = yield HasUnread()
    yield Send(b"N")
    if hasty:
        detail = "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack."
        raise fault("08P01", f"received unencrypted data after {what} request", D=detail)


def _direct_tls(offer: Offer) -> Steps:
    """The client's first byte begins a TLS handshake (PostgreSQL 17's `sslnegotiation=direct`)."""
    if not offer.tls:
        raise silent("direct TLS, which is not offered")
    facts = yield StartTls(TlsSide.SERVER)
    if facts.alpn != m.ALPN:
        raise silent("received direct SSL connection request without ALPN protocol negotiation extension")


def cancel_request(body: bytes) -> Greeting:
    """What a CancelRequest asks for. Raises `Refused`."""
    low, high = _CANCEL_KEYS
    if not 4 + low <= len(body) <= 4 + high:
        raise silent("invalid length of cancel request packet")
    return CancelAsked(m.integer(body), body[4:])


def read_login(offer: Offer, code: int, body: bytes, *, encrypted: bool) -> Steps:
    """The StartupMessage as a `ClientLogin`, after NegotiateProtocolVersion where that is due. Raises `Refused`."""
    major, minor = code >> 16, code & 0xFFFF
    if major != m.NEWEST >> 16:
        text = f"unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.{m.NEWEST & 0xFFFF}"
        refusal = fault("0A000", text, ProblemCode.UNSUPPORTED)
        if 0 < code < m.PROTOCOL_3:
            refusal.words = m.old_error("FATAL", text)
        raise refusal
    try:
        parameters = m.read_startup(body)
    except WireError as error:
        raise fault("08P01", str(error)) from error
    replication = _is_replication(parameters.get("replication", "off"))
    if not replication:
        parameters.pop("replication", None)
    unknown = [name for name in parameters if name.startswith("_pq_.")]
    protocol = min(code, m.NEWEST)
    if code > m.NEWEST or unknown:
        yield Send(m.negotiate_protocol_version(protocol, unknown))
    for name in unknown:
        del parameters[name]
    user, database = parameters.pop("user", ""), parameters.pop("database", "")
    if not user:
        raise fault("28000", "no PostgreSQL user name specified in startup packet")
    if offer.require_tls and not encrypted:
        raise Refused(Problem(ProblemCode.TLS_REQUIRED))
    database = database or offer.default_database or user
    return ClientLogin(user, database, parameters, protocol, tls=encrypted, own_backend=replication)


def _is_replication(value: str) -> bool:
    """The start-up parameter `replication`, read as the server reads it (bool.c, parse_bool)."""
    text = value.lower()
    if value == "database" or text in ("1", "on") or (text and ("true".startswith(text) or "yes".startswith(text))):
        return True
    if text in ("0", "of", "off") or (text and ("false".startswith(text) or "no".startswith(text))):
        return False
    raise fault(
        "22023",
        f'invalid value for parameter "replication": "{value}"',
        H='Valid values are: "false", 0, "true", 1, "database".',
    )
