"""What an engine must offer: `Codec`, the `Relay` it makes, and the plain values that pass between it and the runtime.

A third-party engine implements `Codec`, registers it as an entry point of the group `rdsp.codecs`, and needs
nothing from `rdsp`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any, Protocol, runtime_checkable

import attrs

from rdsp_codecs.clients import ClientLogin as ClientLogin
from rdsp_codecs.problems import Problem
from rdsp_codecs.relaying import Relay
from rdsp_codecs.steps import Conversation
from rdsp_codecs.transaction import Transaction

API_VERSION = 1

Entropy = Callable[[int], bytes]
"""Gives that many random bytes (`os.urandom`; something seeded in tests)."""


@attrs.frozen
class Features:
    """Facts about an engine that the runtime needs before it has a relay.

    Attributes:
        cancel_on_new_connection: a cancel goes over a second connection (PostgreSQL); False: in band.
        pinning_filters: the names that `session_pinning_filters` may hold for this engine.
        auth_methods: the names that `auth_methods` may hold; empty: the engine does not say, and nothing is checked.
        alpn: the protocol's name in TLS handshakes (RFC 7301), "" where it has none.
        compression: the names of the ways to compress that the engine has on both sides.
        socket_file: the name of a Unix socket in its directory, with `{}` for the port; "": the engine has none.
        lacks: settings that mean nothing here, by table and name ("target.channel_binding"): none may be given but its
            default.
    """

    cancel_on_new_connection: bool
    pinning_filters: tuple[str, ...] = ()
    auth_methods: tuple[str, ...] = ()
    alpn: str = ""
    socket_file: str = ""
    lacks: tuple[str, ...] = ()
    compression: tuple[str, ...] = ()


@attrs.frozen
class Offer:
    """How we may greet a client.

    Attributes:
        tls: TLS can be offered (the driver of the conversation has a context).
        require_tls: refuse a client that does not use it.
        local: the client's address is a loopback one or a Unix socket.
        open_to_local: serve local clients without a password (a target without credentials).
        auth_methods: engine-specific names, preferred first; empty: the engine's default.
        default_database: for a client that names none; "": the engine's own default.
        entropy: source of nonces and salts.
        mock_salt_key: key from which salts for unknown users are derived, so that they stay the same.
        max_login_bytes: the largest frame before login.
        end_point: the hash of our certificate that "tls-server-end-point" binds to (RFC 5929); b"": channel binding
            cannot be offered.
        fingerprint: SHA-256 of our certificate, DER; b"": there is none, or it could not be read.
        compression: ways to compress that a client may use, of `Features.compression`.
        local_files: a server may ask clients for their files, in engines where it can.
        refusal: nobody is let in: whoever wants to log in is told this, before any proof is asked for.
    """

    tls: bool
    require_tls: bool
    local: bool
    open_to_local: bool
    entropy: Entropy
    mock_salt_key: bytes = attrs.field(repr=False)
    auth_methods: tuple[str, ...] = ()
    default_database: str = ""
    max_login_bytes: int = 65536
    end_point: bytes = b""
    refusal: Problem | None = None
    fingerprint: bytes = b""
    compression: tuple[str, ...] = ()
    local_files: bool = True


@attrs.frozen
class CancelAsked:
    """The connection carried nothing but a cancel request.

    Attributes:
        connection_id: of the session meant.
        secret: must equal the session's `cancel_secret`.
    """

    connection_id: int
    secret: bytes = attrs.field(repr=False)


@attrs.frozen
class Turned:
    """The greeting ended without a session: refused (the words were sent), or the client just left.

    Attributes:
        problem: what it was told, None when it left by itself.
        user: as far as known, for logs.
    """

    problem: Problem | None
    user: str = ""


Greeting = ClientLogin | CancelAsked | Turned


@attrs.frozen
class BackendLogin:
    """How to log in to a server.

    Attributes:
        user, password: database credentials; password None when there is none.
        database: "" where the engine has no such thing.
        parameters: start-up parameters to send.
        tls: "disable", "prefer", "require", "verify-ca" or "verify-full".
        entropy: source of nonces.
        max_scram_iterations: a server that asks for more is refused.
        direct_tls: begin with the TLS handshake, without asking for it in the engine's protocol.
        channel_binding: "disable", "prefer" or "require": whether the login is bound to the TLS connection.
        max_protocol_version: the newest version of the engine's protocol to ask for, in its own words; "": its default.
        compression: the way to compress, of `Features.compression`; "": none. A server without it: `LoginRefused`.
        local: over a Unix socket: nobody can listen in.
    """

    user: str
    password: str | None = attrs.field(repr=False)
    database: str
    parameters: Mapping[str, str]
    tls: str
    entropy: Entropy
    max_scram_iterations: int = 200_000
    direct_tls: bool = False
    channel_binding: str = "prefer"
    max_protocol_version: str = ""
    local: bool = False
    compression: str = ""


class BackendState(Protocol):
    """What one backend really has set. Owned by the codec, opaque to the pool, which stores it."""

    server_parameters: dict[str, str]
    """What the server reported at login, in its order. The mapping does not change then: another takes its place."""

    leftover: bytes
    """Bytes that came behind the login."""


@attrs.frozen
class RelayPolicy:
    """Settings of a relay.

    Attributes:
        max_frame: bytes; a client frame over it is a `WireError`.
        max_held: bytes a relay may hold back (for a backend, or to see a frame whole).
        max_prepared_statements: per backend; least recently used ones are closed over it.
        max_session_statements: named ones of one session.
        max_at_once: messages that a relay looks at in one call, >= 1; it is called again for more (`moves.MORE`).
        max_owed: replies that may be owed, >= 1, before a client that has not waited for any has to.
        strict: find out after every transaction what the session has changed, whatever its texts say.
        pin_sequences: pin who may have used a sequence.
        init_query: what was run on every backend behind its login: a RESET undoes what it set; "" for none.
        debug_text: pins carry the statement's text instead of its digest.
        pinning_filters: names from `session_pinning_filters`.
    """

    max_frame: int = 1 << 30
    max_held: int = 16 << 20
    max_prepared_statements: int = 200
    max_session_statements: int = 200_000
    max_at_once: int = 128
    max_owed: int = 4096
    strict: bool = False
    pin_sequences: bool = False
    init_query: str = ""
    debug_text: bool = False
    pinning_filters: frozenset[str] = frozenset()


class Ear(Protocol):
    """One backend that hears for many sessions what a server says unasked (PostgreSQL: notifications).

    A session with such an ear gives its backend back, and is told by the ear what it would have been told there.
    Invariant: nothing is told twice or left out, as long as every byte of the backend's gets to `from_server`.
    """

    to_server: list[bytes]

    def adopt(self, relay: Any) -> None:
        """The ear's backend was this session's, up to now: hear for it first of all. Once, at the beginning.

        The session is outside of a request and has an `ear_key`; the caller then calls `detached`.
        """

    def subscribe(self, relay: Any) -> bool:
        """Hear for the session. Returns whether that is so already; else `from_server` will return the relay."""

    def leave(self, relay: Any) -> None:
        """The session is gone. Any number of times."""

    def ping(self) -> None:
        """Have the server answer something."""

    def from_server(self, data: bytes) -> Collection[Any]:
        """Take a chunk of the backend's. Returns the relays to be `nudged`. Raises `WireError`: the ear is lost."""


class Codec(Protocol):
    """One engine. A module-level object without state. One whose servers speak first is an `Introducing`, too."""

    name: str
    api: int
    engine_family: str
    schemes: tuple[str, ...]
    default_port: int
    features: Features

    def greet(self, offer: Offer) -> Conversation[Greeting]:
        """We play the server to a new client."""

    def login(self, how: BackendLogin) -> Conversation[Any]:
        """We play the client to a server. Returns a `BackendState`; raises `LoginRefused`, `WireError`."""

    def startup(self, who: ClientLogin) -> Mapping[str, str]:
        """The start-up parameters with which a backend for this client must be opened."""

    def pool_key(self, who: ClientLogin) -> Hashable:
        """What a backend cannot change after login: clients with equal keys may share backends."""

    def shared(self) -> Any:
        """What the relays of one pool share, made once per pool key. Opaque to the runtime."""

    def relay(self, who: ClientLogin, policy: RelayPolicy, shared: Any) -> Relay:
        """A new session's relay. `shared` is the pool's."""

    def ear(self, state: Any, entropy: Entropy) -> Ear:
        """Make the backend of a session, which is then `Ear.adopt`ed, a shared listener. It is never given back."""

    def reset(self, state: Any, transaction: Transaction) -> Conversation[None]:
        """End an open transaction that its client left. Raises `WireError` when the backend cannot be trusted."""

    def probe(self, state: Any) -> Conversation[None]:
        """Have an idle server give a sign of life. Raises `WireError`, `PeerClosed` when it cannot be trusted."""

    def prepare(self, state: Any, init_query: str) -> Conversation[None]:
        """Run `init_query` on a new backend. Raises `LoginRefused` when it fails."""

    def max_connections(self, state: Any) -> Conversation[int]:
        """Ask the server how many connections it allows to ordinary users."""

    def is_writable(self, state: Any) -> Conversation[bool]:
        """Whether clients may write at this server by default. Raises `LoginRefused`, `WireError`."""

    def cancel(self, state: Any, how: BackendLogin) -> Conversation[None]:
        """On a second connection: cancel what the backend runs. Returns when the server has dealt with it.

        The connection is encrypted whenever the backend's own is. Raises what `login` raises.

        Arguments:
            how: with which a login would be made now, for engines that need one.
        """

    def refuse(self, problem: Problem) -> bytes:
        """The problem in the engine's own words, to a client that has not logged in. Later: `Relay.refusal`."""

    def goodbye(self) -> bytes:
        """What a client sends to a server before it closes."""


@runtime_checkable
class Introducing(Protocol):
    """What a `Codec` has besides if it puts `Introduce`: its servers speak first. All others leave it out."""

    def introduce(self) -> Conversation[Mapping[str, str]]:
        """We are nobody yet, on a new connection: what a server says of itself before it knows who is there.

        Raises `LoginRefused`, `WireError`.
        """
