"""We play the client to a server: PRELOGIN, TLS within it, below it or not at all, and LOGIN7.

Source: [MS-TDS] 2.2.6.5 (PRELOGIN), 2.2.6.4 (LOGIN7), 3.2.5 (the client's states); TDS 8.0: 2.2.1.1.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from typing import Any, Final

from rdsp_codecs.api import BackendLogin
from rdsp_codecs.errors import LoginRefused, WireError
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.sqlserver import login7 as l7
from rdsp_codecs.sqlserver import prelogin as p
from rdsp_codecs.sqlserver import tokens as t
from rdsp_codecs.sqlserver.enveloping import Envelope
from rdsp_codecs.sqlserver.line import Line
from rdsp_codecs.sqlserver.state import SqlServerState
from rdsp_codecs.sqlserver.values import narrow
from rdsp_codecs.sqlserver.walking import TokenWalker
from rdsp_codecs.steps import Conversation, StartTls, TlsFacts, TlsSide

ALPN: Final = "tds/8.0"

# `BackendLogin.parameters`, and `ClientLogin.parameters`: what of a LOGIN7 changes how the session behaves.
VERSION: Final = "version"
FLAGS: Final = "flags"
"""OptionFlags1, OptionFlags2, TypeFlags and OptionFlags3 as they are sent, in hex."""
LCID: Final = "lcid"
LANGUAGE: Final = "language"
FEATURES: Final = "features"
"""Names and data of the features that are asked for, or were acknowledged, in hex: "0a:", "0a:,0d:01"."""

# `SqlServerState.server_parameters`
PROGRAM: Final = "program"
PROGRAM_VERSION: Final = "program_version"
SERVER_VERSION: Final = "server_version"
"""What PRELOGIN's answer says: six bytes in hex."""
DATABASE: Final = "database"
COLLATION: Final = "collation"

_LONGEST: Final = 1 << 20
_MOST: Final = 4 << 20
_PACKET_SIZE: Final = 8000
"""What is asked for: FreeTDS's and most drivers' own is 4096, which large results would be cut into."""
_FIRST_VERSION: Final = bytes((16, 0, 0, 0, 0, 0))
_DENIED: Final = 18456
_CAPACITY: Final = frozenset({17809, 701, 10928, 10929, 40501, 40613, 18461})
"""Refusals that a later try may not meet: connections, memory, and Azure's limits and moves."""
_NOT_NOW: Final = frozenset({6005, 17142, 40613, 40197, 983, 976})
"""The server starts, stops, is paused, or its database is another's now."""


def login(how: BackendLogin) -> Conversation[SqlServerState]:
    """Log in. Raises `LoginRefused` (the server's words, or ours), `PeerClosed`, and what readers raise.

    `how.parameters` may have the names above, and `direct_tls` is TDS 8.0.
    """
    line = Line(_LONGEST, _MOST)
    state = SqlServerState({})
    state.strict = how.direct_tls
    if how.direct_tls:
        facts = yield from _shake(StartTls(TlsSide.CLIENT))
        if facts.alpn != ALPN:
            raise LoginRefused("", f"the server does not speak {ALPN}")
        state.encrypted = True
    asked = _asked(how)
    yield from line.send(
        f.PRELOGIN,
        p.prelogin(
            {
                p.VERSION: _FIRST_VERSION,
                p.ENCRYPTION: bytes((asked,)),
                p.INSTANCE: b"\0",
                p.THREAD_ID: bytes(4),
                p.MARS: b"\0",
            }
        ),
    )
    options = p.read_prelogin((yield from line.receive(f.RESPONSE)).data)
    state.server_parameters[SERVER_VERSION] = options[p.VERSION].hex()
    if not how.direct_tls and _encrypts(how, asked, p.option(options, p.ENCRYPTION, p.ENCRYPT_NOT_SUPPORTED)):
        yield from _shake(StartTls(TlsSide.CLIENT, Envelope()))
        state.encrypted = True
    line.inbox.loosen()
    yield from line.send(f.LOGIN7, l7.login7(login_of(how)))
    answer = yield from line.receive(f.RESPONSE)
    _read_answer(answer.data, state, old=_asked_version(how.parameters) < k.TDS_7_2 and not how.direct_tls)
    state.leftover = line.inbox.leftover
    return state


def _asked(how: BackendLogin) -> int:
    if how.direct_tls:
        return p.ENCRYPT_STRICT
    return p.ENCRYPT_NOT_SUPPORTED if how.tls == "disable" else p.ENCRYPT_ON


def _encrypts(how: BackendLogin, asked: int, said: int) -> bool:
    """What both sides' wants come to ([MS-TDS] 2.2.6.5); only the login's encryption is not asked for."""
    if said in (p.ENCRYPT_ON, p.ENCRYPT_REQUIRED):
        if asked == p.ENCRYPT_NOT_SUPPORTED:
            raise LoginRefused("", "the server demands TLS, and the target has it disabled")
        return True
    if said != p.ENCRYPT_NOT_SUPPORTED or how.tls not in ("disable", "prefer"):
        raise LoginRefused("", "the server does not support TLS, and the target demands it")
    return False


def _shake(step: StartTls) -> Generator[Any, Any, TlsFacts]:
    try:
        facts: TlsFacts = yield step
    except WireError as error:
        # No later try makes a certificate a right one.
        raise LoginRefused("", str(error)) from error
    return facts


def _asked_version(parameters: Mapping[str, str]) -> int:
    return int(parameters.get(VERSION, k.TDS_7_4))


def login_of(how: BackendLogin) -> l7.Login7:
    """The LOGIN7 of a backend."""
    parameters = how.parameters
    flags = bytes.fromhex(parameters[FLAGS]) if FLAGS in parameters else None
    first, second, types, third = flags or (
        l7.USE_DB_ON | l7.INIT_DB_FATAL | l7.SET_LANG_ON,
        l7.INIT_LANG_FATAL | l7.ODBC,
        0,
        l7.UNKNOWN_COLLATIONS,
    )
    return l7.Login7(
        version=k.TDS_8_0 if how.direct_tls else _asked_version(parameters),
        packet_size=_PACKET_SIZE,
        flags1=first,
        flags2=second,
        type_flags=types,
        flags3=third,
        lcid=int(parameters.get(LCID, 0x409)),
        user=how.user,
        password=how.password or "",
        application="rdsp",
        library="rdsp",
        language=parameters.get(LANGUAGE, ""),
        database=how.database,
        features=features_of(parameters),
    )


def features_text(features: Iterable[tuple[int, bytes]]) -> str:
    """As `FEATURES` has them."""
    return ",".join(f"{name:02x}:{value.hex()}" for name, value in sorted(features))


def features_of(parameters: Mapping[str, str]) -> tuple[tuple[int, bytes], ...]:
    """What `FEATURES` says."""
    pairs = (one.partition(":") for one in parameters.get(FEATURES, "").split(",") if one)
    return tuple((int(name, 16), bytes.fromhex(value)) for name, _, value in pairs)


def _read_answer(data: bytes, state: SqlServerState, *, old: bool) -> None:
    """Raises `LoginRefused` in the server's words, `WireError`."""
    walker = TokenWalker(old=old)
    acknowledged = False
    refused: t.Note | None = None
    for token, said in walker.feed(data):
        if token == k.ERROR:
            refused = refused or t.read_note(said, old=old)
        elif token == k.LOGINACK:
            state.version, program, numbers = t.read_login_ack(said)
            state.server_parameters |= {PROGRAM: program.rstrip("\0"), PROGRAM_VERSION: bytes(numbers).hex()}
            acknowledged = True
        elif token == k.FEATUREEXTACK:
            state.features = t.read_feature_ack(said)
            state.server_parameters[FEATURES] = features_text(state.features.items())
        elif token == k.ENVCHANGE:
            _changed(t.read_env_change(said), state)
        elif token in (k.SSPI, k.FEDAUTHINFO):
            raise LoginRefused("", "the server asks for another proof than a password, which is not supported")
    if refused is not None or not acknowledged:
        raise _refusal(refused, data)


def _changed(change: t.EnvChange, state: SqlServerState) -> None:
    if change.kind == k.ENV_DATABASE:
        state.server_parameters[DATABASE] = narrow(change.new)
    elif change.kind == k.ENV_LANGUAGE:
        state.server_parameters[LANGUAGE] = narrow(change.new)
    elif change.kind == k.ENV_SQL_COLLATION:
        state.server_parameters[COLLATION] = change.new.hex()
    elif change.kind == k.ENV_PACKET_SIZE:
        size = narrow(change.new)
        if not size.isdecimal() or not f.SMALLEST_NEGOTIATED <= int(size) <= f.MOST_NEGOTIATED:
            msg = f"packets of {size} bytes"
            raise WireError(msg)
        state.packet_size = int(size)
    elif change.kind in (k.ENV_ROUTING, k.ENV_ENHANCED_ROUTING):
        server, port, _ = t.read_routing(change.new)
        raise LoginRefused("", f"the server sends its clients to {server}:{port}, which is not followed yet")


def _refusal(note: t.Note | None, data: bytes) -> LoginRefused:
    if note is None:
        return LoginRefused("", "the server neither let us in nor said why")
    return LoginRefused(
        str(note.number),
        note.text,
        transient=note.number in _CAPACITY,
        elsewhere=note.number in _NOT_NOW,
        password=note.number == _DENIED,
        raw=data,
    )
