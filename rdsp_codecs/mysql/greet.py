"""We play the server to a new client: greeting, TLS, login packet, proof of the password, and the OK.

A conversation (`rdsp_codecs.steps`). Until the login packet is there every read has an exact limit, so that nothing in
clear can hide in front of a TLS handshake.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

import attrs

from rdsp_codecs.api import ClientLogin, Greeting, Offer, Turned
from rdsp_codecs.conversation import bounded
from rdsp_codecs.errors import PeerClosed, UnsupportedFeatureError, WireError
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import messages as m
from rdsp_codecs.mysql import proofs
from rdsp_codecs.mysql.compressing import towards_client
from rdsp_codecs.mysql.compression import ZLIB, ZSTD
from rdsp_codecs.mysql.framing import packets
from rdsp_codecs.mysql.line import Line
from rdsp_codecs.mysql.login import AUTOCOMMIT, CAPABILITIES, CHALLENGE, COLLATION
from rdsp_codecs.mysql.prove import OWN_CHALLENGE, Prover, challenge_of, possible
from rdsp_codecs.mysql.refuse import refuse
from rdsp_codecs.mysql.responses import (
    SERVER_SESSION_STATE_CHANGED,
    SERVER_STATUS_AUTOCOMMIT,
    Err,
    Ok,
    err,
    ok,
    read_err,
)
from rdsp_codecs.mysql.trackers import SESSION_TRACK_SCHEMA, Tracker
from rdsp_codecs.mysql.values import lenenc
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.questions import Admit, Introduce, Secrets, Welcome
from rdsp_codecs.steps import Ask, Conversation, PutOn, Send, StartTls, TlsSide


@attrs.frozen
class Face:
    """How we look to a client before we know who it is: like the servers of its target.

    Attributes:
        version: the server's, as it says it.
        capabilities: what the servers have.
        collation: their default, its lower 8 bits.
        connection_id: ours for this client, 32 bits.
        zlib, zstd: what of these a client may use.
        fingerprint: SHA-256 of our certificate, DER, which is proved to clients as MariaDB's servers do it; b"": it is
            not, and MariaDB's newer clients refuse one that they cannot verify otherwise.
    """

    version: bytes
    capabilities: int
    collation: int
    connection_id: int = 0
    zlib: bool = False
    zstd: bool = False
    fingerprint: bytes = b""


class _Refused(Exception):
    """Ends the greeting with an ERR; with `words`, a server's own payload."""

    def __init__(self, problem: Problem, words: bytes | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.words = refuse(problem) if words is None else words


Steps = Generator[Any, Any, Any]


def introduced(offer: Offer) -> Conversation[Greeting]:
    """The same for one of a target's clients, with the face that its servers have."""
    welcome = yield Ask(Introduce())
    if isinstance(welcome, Welcome):
        said = welcome.parameters
        has = int(said[CAPABILITIES])
        face = Face(
            said["server_version"].encode("utf-8", "surrogateescape"),
            # A server refuses a LOAD DATA LOCAL in its own words where the connection has not this.
            has if offer.local_files else has & ~c.CLIENT_LOCAL_FILES,
            int(said[COLLATION]),
            welcome.connection_id,
            zlib=ZLIB in offer.compression,
            zstd=ZSTD in offer.compression,
            fingerprint=offer.fingerprint,
        )
        return (yield from greet(offer, face))
    problem = welcome if isinstance(welcome, Problem) else Problem(ProblemCode.SERVER_LOGIN_FAILED)
    # Nothing is agreed yet: an error has no SQLSTATE.
    words = read_err(refuse(problem) if isinstance(welcome, Problem) else welcome)
    yield Send(packets(err(Err(words.code, None, words.text))))
    return Turned(problem)


def greet(offer: Offer, face: Face) -> Conversation[Greeting]:
    """Greet one client. Its `protocol` is what is agreed of capabilities; its parameters are those of `login`."""
    entry = _Entry(offer, Line(offer.max_login_bytes, 8 * offer.max_login_bytes))
    return (yield from entry.outcome(_greeted(entry, face)))


def greet_anew(offer: Offer, who: ClientLogin, command: bytes, number: int, behind: bytes) -> Conversation[Greeting]:
    """The same for a client that was `who` until now: the connection, with what was agreed for it, stays.

    Args:
        offer: for the new login.
        who: see above.
        command: its COM_CHANGE_USER.
        number: of the packet that is due now.
        behind: what it has said behind that.
    """
    entry = _Entry(offer, Line(offer.max_login_bytes, 8 * offer.max_login_bytes + len(behind), number))
    entry.line.inbox.loosen()
    entry.line.inbox.put(behind)
    return (yield from entry.outcome(_changed(entry, who, command)))


class _Entry:
    """A client in front of the door. `user`: as soon as it has said who it is."""

    def __init__(self, offer: Offer, line: Line) -> None:
        self.offer = offer
        self.line = line
        self.user = ""

    def outcome(self, steps: Steps) -> Conversation[Greeting]:
        """What comes of these steps, which end in a `ClientLogin`. Who is turned away is told."""
        line = self.line
        try:
            login: ClientLogin = yield from steps
        except _Refused as refused:
            yield Send(line.packet(refused.words))
            return Turned(refused.problem, self.user)
        except PeerClosed:
            return Turned(None, self.user)
        except (WireError, UnsupportedFeatureError) as error:
            problem = Problem(ProblemCode.PROTOCOL_VIOLATION, str(error))
            yield Send(line.packet(refuse(problem)))
            return Turned(problem, self.user)
        login.leftover = line.inbox.leftover
        return login

    def knock(self, login: ClientLogin) -> None:
        """Before any proof. Raises `_Refused`."""
        self.user = login.user
        if self.offer.require_tls and not login.tls:
            raise _Refused(Problem(ProblemCode.TLS_REQUIRED))
        if self.offer.refusal is not None:
            raise _Refused(self.offer.refusal)

    @property
    def open(self) -> bool:
        """No password is asked for."""
        return self.offer.open_to_local and self.offer.local

    def judge(self, login: ClientLogin, held: bool | None, plugin: bytes | None) -> None:
        """Behind the proof; `plugin` is the client's own. Raises `_Refused`."""
        if held is None:
            raise _Refused(Problem(ProblemCode.AUTH_METHOD_REFUSED, _text(plugin or proofs.NATIVE)))
        if not held:
            raise _Refused(Problem(ProblemCode.AUTH_FAILED, login.user))

    def admit(self, login: ClientLogin) -> Generator[Any, Any, int]:
        """The flags with which its session begins. Raises `_Refused`."""
        welcome = yield Ask(Admit(login))
        if isinstance(welcome, Problem):
            raise _Refused(welcome)
        if isinstance(welcome, bytes):
            raise _Refused(Problem(ProblemCode.SERVER_LOGIN_FAILED), welcome)
        login.welcome = welcome
        return SERVER_STATUS_AUTOCOMMIT if has_autocommit(welcome) else 0


def _greeted(entry: _Entry, face: Face) -> Generator[Any, Any, ClientLogin]:
    offer, line = entry.offer, entry.line
    offered = c.offered(face.capabilities, tls=offer.tls, zlib=face.zlib, zstd=face.zstd)
    challenge = challenge_of(offer.entropy)
    named = [one for one in possible(offer, encrypted=offer.tls) if one not in OWN_CHALLENGE]
    greeted = named[0] if named else proofs.NATIVE
    greeting = m.Greeting(
        face.version, face.connection_id, challenge, offered, face.collation, SERVER_STATUS_AUTOCOMMIT, greeted
    )
    yield from line.send(m.greeting(greeting))
    response, encrypted = yield from _login_packet(offer, line, offered)
    parameters: dict[str, str] = {}
    login = _login(offer, response, offered, parameters, encrypted=encrypted)
    entry.knock(login)
    info = None
    if not entry.open:
        passwords = yield Ask(Secrets(login.user, login.database))
        prover = Prover(offer, line, encrypted=encrypted)
        entry.judge(login, (yield from prover.holds(response, greeted, challenge, passwords)), response.plugin)
        parameters[CHALLENGE] = prover.challenge.hex()
        if encrypted and face.fingerprint and prover.stored and not offered & c.CLIENT_LONG_PASSWORD:
            info = proofs.certificate_proof(prover.stored, challenge, face.fingerprint)
    status = yield from entry.admit(login)
    yield from line.send(ok(_began(login, status, response.database or b"", info)))
    yield from _compress(login, response, line)
    return login


def _changed(entry: _Entry, who: ClientLogin, command: bytes) -> Generator[Any, Any, ClientLogin]:
    offer, line = entry.offer, entry.line
    bounded(len(command), 0, offer.max_login_bytes)
    asked = m.read_change_user(command, who.protocol)
    collation = asked.collation or int(who.parameters[COLLATION])
    parameters = {**who.parameters, COLLATION: str(collation)}
    database = _text(asked.database) or offer.default_database
    login = ClientLogin(_text(asked.user), database, parameters, who.protocol, tls=who.tls)
    entry.knock(login)
    if collation > _MOST_COLLATION:
        # A login has no room for it, and this one is to become others' logins.
        raise _Refused(Problem(ProblemCode.UNSUPPORTED, f"COM_CHANGE_USER with collation {collation}"))
    if not entry.open:
        passwords = yield Ask(Secrets(login.user, login.database))
        held, before = None, bytes.fromhex(who.parameters.get(CHALLENGE, ""))
        if who.protocol & c.CLIENT_PLUGIN_AUTH:
            prover = Prover(offer, line, encrypted=who.tls)
            held = yield from prover.holds_anew(asked, before, passwords)
            parameters[CHALLENGE] = prover.challenge.hex()
        entry.judge(login, held, asked.plugin)
    status = yield from entry.admit(login)
    yield from line.send(ok(_began(login, status, asked.database)))
    return login


def _began(login: ClientLogin, status: int, database: bytes, info: bytes | None = None) -> Ok:
    """Servers report the database to who has named one, and is told what changes."""
    if not database or not login.protocol & c.CLIENT_SESSION_TRACK:
        return Ok(status=status, info=info)
    schema = Tracker(SESSION_TRACK_SCHEMA, lenenc(database))
    return Ok(status=status | SERVER_SESSION_STATE_CHANGED, info=info, trackers=(schema,))


def _compress(login: ClientLogin, response: m.Response, line: Line) -> Steps:
    """From here on, if that was agreed."""
    layer = towards_client(login.protocol, response.zstd_level or 0)
    if layer is not None:
        yield PutOn(layer, line.inbox.cut(len(line.inbox.leftover)))


def _login_packet(offer: Offer, line: Line, offered: int) -> Generator[Any, Any, tuple[m.Response, bool]]:
    """The client's login packet, after TLS where it wants that."""
    payload = yield from line.receive()
    encrypted = False
    if m.is_ssl_request(payload):
        if not offer.tls:
            msg = "a request for TLS, which is not offered"
            raise WireError(msg)
        m.read_ssl_request(payload)
        yield StartTls(TlsSide.SERVER)
        encrypted = True
        payload = yield from line.receive()
    line.inbox.loosen()
    return m.read_response(payload, offered), encrypted


def _login(
    offer: Offer, response: m.Response, offered: int, parameters: dict[str, str], *, encrypted: bool
) -> ClientLogin:
    """`parameters`: to be filled."""
    flags = c.agreed(offered, response.head.capabilities)
    database = _text(response.database or b"") or offer.default_database
    parameters |= {CAPABILITIES: str(c.key(flags)), COLLATION: str(response.head.collation)}
    return ClientLogin(_text(response.user), database, parameters, flags, tls=encrypted)


def has_autocommit(welcome: Welcome | None) -> bool:
    """Whether sessions of the servers begin with autocommit, as nearly all do."""
    return welcome is None or welcome.parameters.get(AUTOCOMMIT) != "0"


_MOST_COLLATION: Final = 255
_SURROGATES: Final = "surrogateescape"


def _text(data: bytes) -> str:
    return data.decode("utf-8", _SURROGATES)
