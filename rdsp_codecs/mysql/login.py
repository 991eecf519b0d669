"""We play the client to a MySQL or MariaDB server: greeting, TLS, proof of the password, until its OK.

A conversation (`rdsp_codecs.steps`). It trusts the server with nothing: lengths, keys and iteration counts are checked,
and a password leaves in clear over TLS alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, Final

from rdsp_codecs.api import BackendLogin
from rdsp_codecs.errors import LoginRefused, WireError
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import edwards, proofs
from rdsp_codecs.mysql import messages as m
from rdsp_codecs.mysql.compressing import towards_server
from rdsp_codecs.mysql.compression import ZLIB, ZSTD
from rdsp_codecs.mysql.line import Line
from rdsp_codecs.mysql.responses import ERR, OK, Err, read_err, read_ok
from rdsp_codecs.mysql.state import MySqlState
from rdsp_codecs.steps import Conversation, PutOn, StartTls, TlsFacts, TlsSide

CAPABILITIES: Final = "capabilities"
"""The parameter that holds the pool's `capabilities.key`, in decimal digits."""
COLLATION: Final = "collation"
"""The parameter that holds the number of the session's collation at login, 1..255; the server's own without it."""
CHALLENGE: Final = "challenge"
"""The parameter that holds the challenge that a client has answered at its login, in hexadecimal digits."""
AUTOCOMMIT: Final = "autocommit"
"""What a server's sessions begin with: "1" or "0"."""

_MAX_PACKET: Final = 1 << 24
_MAX_MESSAGE: Final = 1 << 16
_MAX_LOGIN: Final = 1 << 18
_ZSTD_LEVEL: Final = 3
_DEFAULT: Final = c.CLIENT_MULTI_RESULTS | c.CLIENT_PS_MULTI_RESULTS | c.CLIENT_DEPRECATE_EOF
_ATTRIBUTES: Final = ((b"_client_name", b"rdsp"),)

TRANSIENT: Final = frozenset({1040, 1203, 1226, 1053, 3032, 1079, 1836})
"""Numbers of refusals about capacity or start-up: a later try may succeed."""
_DENIED: Final = 1045
_OWN_LIMIT: Final = frozenset({1203, 1226})
_NOT_NOW: Final = frozenset({1053, 3032, 1079})


class _Line(Line):
    """The server's packets. An ERR is an exception, whatever its number: a server that is full does not count."""

    __slots__ = ()

    def check(self, number: int, payload: bytes) -> None:
        if payload[:1] == bytes((ERR,)):
            raise refusal(payload)
        if not payload:
            msg = "an empty packet during login"
            raise WireError(msg)


def refusal(payload: bytes) -> LoginRefused:
    """A server's ERR as an exception."""
    error: Err = read_err(payload)
    return LoginRefused(
        str(error.code),
        error.text.decode("utf-8", "replace"),
        transient=error.code in TRANSIENT,
        own_limit=error.code in _OWN_LIMIT,
        elsewhere=error.code in _NOT_NOW,
        password=error.code == _DENIED,
        raw=payload,
    )


def login(how: BackendLogin) -> Conversation[MySqlState]:
    """Log in. Raises `LoginRefused` (the server's words, or ours), `PeerClosed`, and what readers raise.

    `how.parameters` may have `CAPABILITIES` and `COLLATION`. Compression begins behind the login.
    """
    line = _Line(_MAX_MESSAGE, _MAX_LOGIN)
    greeting = m.read_greeting((yield from line.receive()))
    state = _state(greeting)
    facts = yield from _secure(how, greeting, line)
    # To a Unix socket servers want the password itself where they want it over TLS.
    state.encrypted = facts is not None or how.local
    head = _head(how, greeting, tls=facts is not None)
    state.capabilities = head.capabilities
    plugin = greeting.plugin if greeting.plugin in _BY_GREETING else proofs.NATIVE
    prover = _PLUGINS[plugin](how, greeting.challenge, state.encrypted)
    proof = _first(prover)
    payload = yield from line.exchange(
        m.response(
            m.Response(
                head,
                _text(how.user),
                proof,
                _text(how.database) if head.capabilities & c.CLIENT_CONNECT_WITH_DB else None,
                plugin if head.capabilities & c.CLIENT_PLUGIN_AUTH else None,
                _ATTRIBUTES if head.capabilities & c.CLIENT_CONNECT_ATTRS else None,
                _ZSTD_LEVEL if head.capabilities & c.CLIENT_ZSTD_COMPRESSION_ALGORITHM else None,
            )
        )
    )
    payload, state.plugin = yield from _prove(how, line, payload, prover, plugin, encrypted=state.encrypted)
    state.welcome = read_ok(payload, state.capabilities)
    state.leftover = line.inbox.leftover
    layer = towards_server(state.capabilities)
    if layer is not None:
        yield PutOn(layer, state.leftover)
        state.leftover = b""
    return state


def greeted() -> Conversation[MySqlState]:
    """Hear the server's greeting, and nothing more. Raises what `login` raises."""
    return _state(m.read_greeting((yield from _Line(_MAX_MESSAGE, _MAX_LOGIN).receive())))


def _state(greeting: m.Greeting) -> MySqlState:
    state = MySqlState(greeting.version.decode("utf-8", "surrogateescape"))
    state.connection_id, state.offered, state.collation = (
        greeting.connection_id,
        greeting.capabilities,
        greeting.collation,
    )
    state.challenge = greeting.challenge
    return state


def change_user(state: MySqlState, how: BackendLogin) -> Conversation[None]:
    """COM_CHANGE_USER on an idle connection: a session as after a login, also where there is no COM_RESET_CONNECTION.

    Of `how` the user, password and database count, and `COLLATION` of its parameters. Raises what `login` raises;
    the connection is then of no more use.
    """
    line = _Line(_MAX_MESSAGE, _MAX_LOGIN)
    line.inbox.loosen()
    flags = state.capabilities
    plugin = state.plugin if state.plugin in _BY_GREETING else proofs.NATIVE
    prover = _PLUGINS[plugin](how, state.challenge, state.encrypted)
    payload = yield from line.exchange(
        m.change_user(
            m.ChangeUser(
                _text(how.user),
                _first(prover),
                _text(how.database),
                int(how.parameters.get(COLLATION, state.collation)),
                plugin if flags & c.CLIENT_PLUGIN_AUTH else None,
                _ATTRIBUTES if flags & c.CLIENT_CONNECT_ATTRS else None,
            )
        )
    )
    payload, state.plugin = yield from _prove(how, line, payload, prover, plugin, encrypted=state.encrypted)
    state.welcome = read_ok(payload, flags)


def _secure(how: BackendLogin, greeting: m.Greeting, line: _Line) -> Generator[Any, Any, TlsFacts | None]:
    """Shake hands as the mode says; None when the connection stays in clear."""
    if how.tls == "disable":
        return None
    if not greeting.capabilities & c.CLIENT_SSL:
        if how.tls == "prefer":
            return None
        raise LoginRefused("2026", "the server does not support TLS, and the target demands it")
    if line.inbox.leftover:
        msg = "the server said more than its greeting before TLS"
        raise WireError(msg)
    yield from line.send(m.ssl_request(_head(how, greeting, tls=True)))
    try:
        facts: TlsFacts = yield StartTls(TlsSide.CLIENT)
    except WireError as error:
        # No later try makes a certificate a right one.
        raise LoginRefused("2026", str(error)) from error
    line.inbox.loosen()
    return facts


def _head(how: BackendLogin, greeting: m.Greeting, *, tls: bool) -> m.LoginHead:
    parameters: Mapping[str, str] = how.parameters
    wanted = int(parameters.get(CAPABILITIES, _DEFAULT))
    missing = c.lacking(greeting.capabilities, wanted) if CAPABILITIES in parameters else 0
    if missing:
        raise LoginRefused("2026", f"the server lacks {', '.join(c.names(missing))}")
    zlib, zstd = how.compression == ZLIB, how.compression == ZSTD
    wants = zlib * c.CLIENT_COMPRESS | zstd * c.CLIENT_ZSTD_COMPRESSION_ALGORITHM
    if wants & ~greeting.capabilities:
        raise LoginRefused("2066", f"the server does not support compression by {how.compression}")
    flags = c.asked(
        greeting.capabilities,
        wanted,
        database=bool(how.database),
        tls=tls,
        zlib=zlib,
        zstd=zstd,
    )
    return m.LoginHead(flags, _MAX_PACKET, int(parameters.get(COLLATION, greeting.collation)))


def _text(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _prove(
    how: BackendLogin, line: _Line, payload: bytes, prover: Prover, plugin: bytes, *, encrypted: bool
) -> Generator[Any, Any, tuple[bytes, bytes]]:
    """From the answer to the first proof to the OK, which is returned with the plug-in that was used in the end."""
    switched = False
    while payload[0] != OK:
        if m.is_auth_switch(payload):
            if switched:
                msg = "the server asks twice for another way to prove the password"
                raise WireError(msg)
            switched = True
            asked = m.read_auth_switch(payload)
            plugin = asked.plugin
            if plugin not in _PLUGINS:
                name = plugin.decode("utf-8", "replace")
                raise LoginRefused("2059", f"the server asks for authentication by {name}, which is not supported")
            prover = _PLUGINS[plugin](how, asked.data, encrypted)
            payload = yield from line.exchange(_first(prover))
            continue
        if m.is_next_factor(payload):
            raise LoginRefused("2059", "the server asks for more than one password, which is not supported")
        # MariaDB marks a plug-in's words only where they could be taken for something else.
        answer = prover.send(payload[1:] if m.is_more_data(payload) else payload)
        payload = (yield from line.receive()) if answer is None else (yield from line.exchange(answer))
    return payload, plugin


Prover = Generator[bytes | None, bytes, None]
"""Yields what the client says, None for nothing, and is sent what the server says. Never ends of itself."""


def _first(prover: Prover) -> bytes:
    return next(prover) or b""


def _wrong(plugin: bytes) -> WireError:
    return WireError(f"the server says something else than {plugin.decode()} has")


def _password(how: BackendLogin) -> bytes:
    return _text(how.password or "")


def _challenge(data: bytes, size: int, plugin: bytes) -> bytes:
    """A challenge of so many bytes, without the NUL that may stand behind it."""
    if len(data) == size + 1 and not data[-1]:
        data = data[:-1]
    if len(data) != size:
        raise _wrong(plugin)
    return data


def _native(how: BackendLogin, data: bytes, encrypted: bool) -> Prover:
    yield proofs.native_response(_password(how), _challenge(data, m.CHALLENGE, proofs.NATIVE))
    raise _wrong(proofs.NATIVE)


def _caching(how: BackendLogin, data: bytes, encrypted: bool) -> Prover:
    challenge = _challenge(data, m.CHALLENGE, proofs.CACHING)
    password = _password(how)
    said = yield proofs.caching_response(password, challenge)
    if said == proofs.CACHING_FAST:
        said = yield None
    if said != proofs.CACHING_FULL:
        raise _wrong(proofs.CACHING)
    if encrypted:
        yield password + b"\0"
    else:
        key = yield proofs.CACHING_WANTS_KEY
        yield proofs.encrypted(password, challenge, key)
    raise _wrong(proofs.CACHING)


def _sha256(how: BackendLogin, data: bytes, encrypted: bool) -> Prover:
    challenge = _challenge(data, m.CHALLENGE, proofs.SHA256)
    password = _password(how)
    if encrypted or not password:
        yield password + b"\0"
    else:
        key = yield proofs.SHA256_WANTS_KEY
        yield proofs.encrypted(password, challenge, key)
    raise _wrong(proofs.SHA256)


def _clear(how: BackendLogin, data: bytes, encrypted: bool) -> Prover:
    if not encrypted:
        raise LoginRefused("2059", "the server asks for a password in clear over an unencrypted connection")
    yield _password(how) + b"\0"
    raise _wrong(proofs.CLEAR)


def _ed25519(how: BackendLogin, data: bytes, encrypted: bool) -> Prover:
    challenge = _challenge(data, edwards.CHALLENGE, proofs.ED25519)
    yield edwards.ed25519_response(_password(how), challenge)
    raise _wrong(proofs.ED25519)


def _parsec(how: BackendLogin, data: bytes, encrypted: bool) -> Prover:
    challenge = _challenge(data, edwards.CHALLENGE, proofs.PARSEC)
    iterations, salt = edwards.parsec_parameters((yield b""))
    seed = edwards.parsec_seed(_password(how), salt, iterations)
    yield edwards.parsec_response(seed, challenge, how.entropy(edwards.CHALLENGE))
    raise _wrong(proofs.PARSEC)


_PLUGINS: Final[Mapping[bytes, Callable[[BackendLogin, bytes, bool], Prover]]] = {
    proofs.NATIVE: _native,
    proofs.CACHING: _caching,
    proofs.SHA256: _sha256,
    proofs.CLEAR: _clear,
    proofs.ED25519: _ed25519,
    proofs.PARSEC: _parsec,
}

_BY_GREETING: Final = frozenset(_PLUGINS) - {proofs.ED25519, proofs.PARSEC}
"""Plug-ins that a greeting's challenge is long enough for."""
