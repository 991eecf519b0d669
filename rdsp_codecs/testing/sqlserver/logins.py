"""How the reference server lets a client in: PRELOGIN and LOGIN7. Pure; TLS is whoever's who has the socket.

Source: [MS-TDS] 2.2.6.5 (PRELOGIN, the table of what both sides' ENCRYPTION comes to), 2.2.6.4 (LOGIN7), 3.3.5.4.
"""

from __future__ import annotations

import secrets
from enum import Enum
from typing import Final

import attrs

from rdsp_codecs.errors import WireError
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.sqlserver import prelogin as p
from rdsp_codecs.sqlserver import tokens as t
from rdsp_codecs.sqlserver.login7 import CHANGE_PASSWORD, INTEGRATED_SECURITY, Login7
from rdsp_codecs.sqlserver.values import Reader, narrow
from rdsp_codecs.testing.sqlserver.declared import COLLATION
from rdsp_codecs.testing.sqlserver.state import NAME, PROGRAM, PROGRAM_VERSION, Server, State
from rdsp_codecs.testing.sqlserver.statements import SqlError

_VERSIONS: Final = (k.TDS_7_1, k.TDS_7_2, k.TDS_7_3A, k.TDS_7_3B, k.TDS_7_4)
_SECURITY_TOKEN: Final = 1
"""bFedAuthLibrary: the token comes within the LOGIN7."""
_BUILD: Final = bytes((*PROGRAM_VERSION, 0, 0))


class Encryption(Enum):
    """What a server wants, and what both sides' wants come to."""

    NONE = "none"
    LOGIN = "login"
    """Only the LOGIN7; as a server's want: whatever the client wants, but not nothing if it can."""
    ALL = "all"
    STRICT = "strict"
    """TLS below all of it (TDS 8.0)."""


def answer_prelogin(data: bytes, wants: Encryption, *, fedauth: bool, strict: bool) -> tuple[bytes, Encryption]:
    """The answer to a PRELOGIN, and what is encrypted behind it. Raises `WireError`.

    Args:
        data: the client's.
        wants: the server's.
        fedauth: it knows tokens.
        strict: TLS stands below already.
    """
    options = p.read_prelogin(data)
    asked = p.option(options, p.ENCRYPTION, p.ENCRYPT_NOT_SUPPORTED)
    if strict:
        said, comes = p.ENCRYPT_STRICT, Encryption.STRICT
    elif wants is Encryption.NONE:
        said, comes = p.ENCRYPT_NOT_SUPPORTED, Encryption.NONE
    elif asked in (p.ENCRYPT_ON, p.ENCRYPT_REQUIRED):
        said, comes = p.ENCRYPT_ON, Encryption.ALL
    elif wants is Encryption.ALL:
        if asked == p.ENCRYPT_NOT_SUPPORTED:
            msg = "a client that cannot encrypt, where it has to"
            raise WireError(msg)
        said, comes = p.ENCRYPT_REQUIRED, Encryption.ALL
    elif asked == p.ENCRYPT_OFF:
        said, comes = p.ENCRYPT_OFF, Encryption.LOGIN
    else:
        said, comes = p.ENCRYPT_NOT_SUPPORTED, Encryption.NONE
    answer = {
        p.VERSION: _BUILD,
        p.ENCRYPTION: bytes((said,)),
        p.INSTANCE: b"\0",
        p.THREAD_ID: b"",
        p.MARS: b"\0",
    }
    if p.FEDAUTH_REQUIRED in options:
        answer[p.FEDAUTH_REQUIRED] = bytes((int(fedauth),))
    return p.prelogin(answer), comes


@attrs.frozen
class Answer:
    """What a LOGIN7 is answered.

    Attributes:
        tokens: of the response.
        state: of the session that begins; None: the connection ends behind the response.
        packet_size: bytes of packets behind it.
    """

    tokens: bytes
    state: State | None
    packet_size: int = f.BEFORE_LOGIN


def answer_login(server: Server, login: Login7, *, strict: bool) -> Answer:
    """Let a client in, or say why not. Raises `WireError` for what a server ends the connection for."""
    version = _version(login, strict=strict)
    old = version < k.TDS_7_2
    try:
        user = _proven(server, login)
        login = attrs.evolve(login, user=user)
        if login.database.lower() in server.routes:
            return _routed(server, login, version)
        try:
            database = server.database(login.database or "master")
        except SqlError:
            text = f'Cannot open database "{login.database}" requested by the login. The login failed.'
            raise SqlError(4060, text, severity=11) from None
    except SqlError as error:
        note = t.Note(error.number, error.state, error.severity, error.text, NAME)
        return Answer(t.note(note, old=old) + t.done(t.Done(status=k.DONE_ERROR), old=old), None)
    state = State(server, next(server.spids), version, login, database)
    size = login.packet_size if f.SMALLEST_NEGOTIATED <= login.packet_size <= f.MOST_NEGOTIATED else f.BEFORE_LOGIN
    features = tuple((name, b"\1") for name, _ in login.features if name == k.FEATURE_UTF8)
    if any(name == k.FEATURE_FEDAUTH for name, _ in login.features):
        features = ((k.FEATURE_FEDAUTH, b""), *features)
    language = state.options.language
    said = [
        t.env_change(k.ENV_DATABASE, database, "master"),
        t.note(t.Note(5701, 2, 0, f"Changed database context to '{database}'.", NAME), old=old),
        t.env_change(k.ENV_SQL_COLLATION, COLLATION),
        t.env_change(k.ENV_LANGUAGE, language, ""),
        t.note(t.Note(5703, 1, 0, f"Changed language setting to {language}.", NAME), old=old),
        t.login_ack(version, PROGRAM, PROGRAM_VERSION),
        t.env_change(k.ENV_PACKET_SIZE, str(size), str(f.BEFORE_LOGIN)),
        t.feature_ack(features) if features and version >= k.TDS_7_4 else b"",
        t.done(t.Done(), old=old),
    ]
    return Answer(b"".join(said), state, size)


def _version(login: Login7, *, strict: bool) -> int:
    """The newest that both know. SQL Server takes an unknown one for the next older one that it knows.

    Below TLS the specification wants TDS 8.0's number; tedious sends that of 7.4 there, and is let in.
    """
    if strict and login.version == k.TDS_8_0:
        return k.TDS_7_4  # but for TLS and the number, it is that
    known = [each for each in _VERSIONS if each <= login.version]
    if not known:
        msg = f"a login of version {login.version:#x}"
        raise WireError(msg)
    return known[-1]


def _proven(server: Server, login: Login7) -> str:
    """Who it is. Raises `SqlError`."""
    for name, data in login.features:
        if name == k.FEATURE_FEDAUTH:
            return _by_token(server, data)
    if login.flags2 & INTEGRATED_SECURITY:
        raise SqlError(18452, "Login failed. The login is from an untrusted domain.", severity=14)
    expected = server.users.get(login.user.lower())
    given = login.password.encode("utf-8", "surrogatepass")
    if login.flags3 & CHANGE_PASSWORD or expected is None or not secrets.compare_digest(given, expected.encode()):
        raise SqlError(18456, f"Login failed for user '{login.user}'.", severity=14)
    return login.user


def _by_token(server: Server, data: bytes) -> str:
    reader = Reader(data, "FEDAUTH")
    library = reader.integer(1) >> 1
    if library != _SECURITY_TOKEN:
        msg = f"federated authentication by library {library}, which was not agreed on"
        raise WireError(msg)
    token = narrow(reader.take(reader.integer(4)))
    for known, user in server.tokens.items():
        if secrets.compare_digest(known.encode(), token.encode("utf-8", "surrogatepass")):
            return user
    raise SqlError(18456, "Login failed for user '<token-identified principal>'.", severity=14)


def _routed(server: Server, login: Login7, version: int) -> Answer:
    host, port = server.routes[login.database.lower()]
    said = (
        t.login_ack(version, PROGRAM, PROGRAM_VERSION)
        + t.routing(port, host)
        + t.done(t.Done(), old=version < k.TDS_7_2)
    )
    return Answer(said, None)
