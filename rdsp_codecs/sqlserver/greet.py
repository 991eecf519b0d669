"""We play the server to a client: PRELOGIN, TLS within it, below it, for the login alone or not at all, and LOGIN7.

Source: [MS-TDS] 2.2.6.5 (PRELOGIN), 2.2.6.4 (LOGIN7), 3.3.5 (the server's states); TDS 8.0: 2.2.1.1.
"""

from __future__ import annotations

import hmac
from collections.abc import Generator
from typing import Any, Final

import attrs

from rdsp_codecs.api import ClientLogin, Greeting, Offer, Turned
from rdsp_codecs.errors import PeerClosed, UnsupportedFeatureError, WireError
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.questions import Admit, Secrets, Welcome
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.sqlserver import login as lo
from rdsp_codecs.sqlserver import login7 as l7
from rdsp_codecs.sqlserver import prelogin as p
from rdsp_codecs.sqlserver import tokens as t
from rdsp_codecs.sqlserver.enveloping import Envelope
from rdsp_codecs.sqlserver.line import Line
from rdsp_codecs.sqlserver.refuse import refuse
from rdsp_codecs.steps import Ask, Conversation, EndTls, Receive, Send, StartTls, TlsFacts, TlsSide

PACKET_SIZE: Final = "packet_size"
"""Of `ClientLogin.parameters`: bytes of packets to and from this client."""
_TLS_RECORD: Final = 0x16
_VERSION: Final = bytes((16, 0, 0x10, 0, 0, 0))
"""What a client is told of the server before its login, when nobody knows which one it gets: SQL Server 2022."""
_VERSIONS: Final = (k.TDS_7_1, k.TDS_7_2, k.TDS_7_3A, k.TDS_7_3B, k.TDS_7_4)
_FEATURES: Final = frozenset({k.FEATURE_UTF8})
"""Features that a backend is asked for in a client's place: they change what values look like."""
_CANDIDATES: Final = 2
"""Passwords that one is compared with at least: a user has two while one is changed."""


def greet(offer: Offer) -> Conversation[Greeting]:
    """Greet one client. Its `protocol` is the version that it speaks; its parameters are those of `login`."""
    entry = _Entry(offer)
    try:
        login: ClientLogin = yield from entry.greeted()
    except _Refused as refused:
        yield from entry.line.send(f.RESPONSE, refused.words or refuse(refused.problem, old=entry.old))
        return Turned(refused.problem, entry.user)
    except PeerClosed:
        return Turned(None, entry.user)
    except (WireError, UnsupportedFeatureError) as error:
        problem = Problem(ProblemCode.PROTOCOL_VIOLATION, str(error))
        yield from entry.line.send(f.RESPONSE, refuse(problem, old=entry.old))
        return Turned(problem, entry.user)
    login.leftover = entry.line.inbox.leftover
    return login


class _Refused(Exception):
    """Ends the greeting; with `words`, a server's own."""

    def __init__(self, problem: Problem, words: bytes = b"") -> None:
        super().__init__(problem)
        self.problem = problem
        self.words = words


@attrs.define(eq=False)
class _Entry:
    """A client in front of the door. `user`: as soon as it has said who it is; `old`: it speaks 7.1."""

    offer: Offer
    user: str = ""
    old: bool = False
    line: Line = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.line = Line(self.offer.max_login_bytes, 2 * self.offer.max_login_bytes)

    def greeted(self) -> Generator[Any, Any, ClientLogin]:
        offer, line = self.offer, self.line
        strict = yield from self._below()
        options = p.read_prelogin((yield from line.receive(f.PRELOGIN)).data)
        said, encrypts, all_of_it = (p.ENCRYPT_STRICT, False, True) if strict else self._encryption(options)
        answer = {p.VERSION: _VERSION, p.ENCRYPTION: bytes((said,)), p.INSTANCE: b"\0", p.THREAD_ID: b"", p.MARS: b"\0"}
        if p.FEDAUTH_REQUIRED in options:
            answer[p.FEDAUTH_REQUIRED] = b"\0"
        yield from line.send(f.RESPONSE, p.prelogin(answer))
        if encrypts:
            yield StartTls(TlsSide.SERVER, Envelope())
        data = (yield from line.receive(f.LOGIN7)).data
        if encrypts and not all_of_it:
            yield EndTls()
        line.inbox.loosen()
        asked = l7.read_login7(data)
        encrypted = strict or (encrypts and all_of_it)
        self.user = asked.user
        version = _version(asked, strict=strict)
        self.old = version < k.TDS_7_2
        login = self._login(asked, version, encrypted=encrypted)
        self._knock(asked, encrypted=encrypted)
        if not (offer.open_to_local and offer.local):
            passwords: tuple[str, ...] = yield Ask(Secrets(login.user, login.database))
            if not _holds(asked.password, passwords):
                raise _Refused(Problem(ProblemCode.AUTH_FAILED, login.user))
        welcome = yield Ask(Admit(login))
        if isinstance(welcome, Problem):
            raise _Refused(welcome)
        if isinstance(welcome, bytes):
            raise _Refused(Problem(ProblemCode.SERVER_LOGIN_FAILED), welcome)
        login.welcome = welcome
        size = int(login.parameters[PACKET_SIZE])
        # In packets of the size that was the one before: it tells of the new one.
        yield Send(
            f.packets(f.RESPONSE, _let_in(login, welcome, asked), f.BEFORE_LOGIN, spid=welcome.connection_id & 0xFFFF)
        )
        line.size = size
        return login

    def _below(self) -> Generator[Any, Any, bool]:
        """TLS below all of it, if the client begins so."""
        first: bytes = yield Receive(1, peek=True)
        if first[0] != _TLS_RECORD:
            return False
        if not self.offer.tls:
            msg = "TLS, which is not offered"
            raise WireError(msg)
        facts: TlsFacts = yield StartTls(TlsSide.SERVER)
        if facts.alpn != lo.ALPN:
            msg = f"TLS without {lo.ALPN}"
            raise WireError(msg)
        return True

    def _encryption(self, options: p.Options) -> tuple[int, bool, bool]:
        """What is answered, whether there is TLS, and whether it stays behind the login."""
        asked = p.option(options, p.ENCRYPTION, p.ENCRYPT_NOT_SUPPORTED)
        if not self.offer.tls:
            return p.ENCRYPT_NOT_SUPPORTED, False, False
        if asked in (p.ENCRYPT_ON, p.ENCRYPT_REQUIRED):
            return p.ENCRYPT_ON, True, True
        if asked == p.ENCRYPT_OFF:
            return (p.ENCRYPT_REQUIRED, True, True) if self.offer.require_tls else (p.ENCRYPT_OFF, True, False)
        # A client that cannot is told so in the words of its login's answer.
        return (p.ENCRYPT_REQUIRED if self.offer.require_tls else p.ENCRYPT_NOT_SUPPORTED), False, False

    def _knock(self, asked: l7.Login7, *, encrypted: bool) -> None:
        """Before any proof. Raises `_Refused`."""
        if self.offer.require_tls and not encrypted:
            raise _Refused(Problem(ProblemCode.TLS_REQUIRED))
        if self.offer.refusal is not None:
            raise _Refused(self.offer.refusal)
        if asked.flags2 & l7.INTEGRATED_SECURITY or asked.sspi:
            raise _Refused(Problem(ProblemCode.AUTH_METHOD_REFUSED, "integrated security"))
        if any(name == k.FEATURE_FEDAUTH for name, _ in asked.features):
            raise _Refused(Problem(ProblemCode.AUTH_METHOD_REFUSED, "federated authentication"))
        if asked.flags3 & l7.CHANGE_PASSWORD or asked.attach_file or asked.flags3 & l7.USER_INSTANCE:
            raise _Refused(Problem(ProblemCode.UNSUPPORTED, "a login that changes a password, or attaches a file"))

    def _login(self, asked: l7.Login7, version: int, *, encrypted: bool) -> ClientLogin:
        size = asked.packet_size
        if not f.SMALLEST_NEGOTIATED <= size <= f.MOST_NEGOTIATED:
            size = f.BEFORE_LOGIN
        flags3 = asked.flags3 & ~l7.EXTENSION
        features = [(name, value) for name, value in asked.features if name in _FEATURES]
        parameters = {
            lo.VERSION: str(version),
            lo.FLAGS: bytes((asked.flags1, asked.flags2, asked.type_flags, flags3)).hex(),
            lo.LCID: str(asked.lcid),
            lo.LANGUAGE: asked.language,
            lo.FEATURES: lo.features_text(features),
            PACKET_SIZE: str(size),
        }
        database = asked.database or self.offer.default_database
        return ClientLogin(asked.user, database, parameters, version, tls=encrypted)


def _version(asked: l7.Login7, *, strict: bool) -> int:
    """The newest that both know. Raises `WireError`.

    Below TLS the specification wants TDS 8.0's number, which tedious does not send.
    """
    if strict and asked.version == k.TDS_8_0:
        return k.TDS_7_4
    known = [each for each in _VERSIONS if each <= asked.version]
    if not known:
        msg = f"a login of version {asked.version:#x}"
        raise WireError(msg)
    return known[-1]


def _holds(given: str, passwords: tuple[str, ...]) -> bool:
    """Whether it is one of them. An unknown user's takes as long."""
    said = given.encode("utf-8", "surrogatepass")
    held = False
    for number in range(max(len(passwords), _CANDIDATES)):
        known = passwords[number].encode("utf-8", "surrogatepass") if number < len(passwords) else b"\xff"
        held |= hmac.compare_digest(said, known)
    return held


def _let_in(login: ClientLogin, welcome: Welcome, asked: l7.Login7) -> bytes:
    """The tokens of a login's answer, as the server has given them for such a login."""
    face, old = welcome.parameters, login.protocol < k.TDS_7_2
    size = login.parameters[PACKET_SIZE]
    numbers = bytes.fromhex(face[lo.PROGRAM_VERSION])
    wanted = {name for name, _ in asked.features}
    acknowledged = tuple((name, value) for name, value in lo.features_of(face) if name in wanted)
    said = [
        t.env_change(k.ENV_DATABASE, face.get(lo.DATABASE, ""), "master"),
        t.env_change(k.ENV_SQL_COLLATION, bytes.fromhex(face.get(lo.COLLATION, ""))),
        t.env_change(k.ENV_LANGUAGE, face.get(lo.LANGUAGE, ""), ""),
        t.login_ack(login.protocol, face[lo.PROGRAM], (numbers[0], numbers[1], numbers[2], numbers[3])),
        t.env_change(k.ENV_PACKET_SIZE, size, str(f.BEFORE_LOGIN)),
    ]
    if acknowledged and login.protocol >= k.TDS_7_4:
        said.append(t.feature_ack(acknowledged))
    return b"".join(said) + t.done(t.Done(), old=old)
