"""The tables about clients: who they are, their TLS, what they may use up. See `rdsp.config.model`."""

from __future__ import annotations

import attrs

from rdsp.config.kinds import Duration, FilePath, Flag, Hidden, Host, ListOf, Size, Whole
from rdsp.config.secret import Secret
from rdsp.config.setting import DAY, PEM_FILE, USER_NAME, YEAR, Reload, setting


@attrs.frozen
class UserAuth:
    """`[[proxies.auth]]`: one database user, or a folder with one JSON file per user."""

    username: str | None = setting(
        USER_NAME,
        None,
        "A database user that clients may log in as. Needs `password`. Several entries for one user are all valid for "
        "clients; the first is used towards the database.",
        Reload.NEW_SESSIONS,
        rds="UserName",
    )
    password: Secret | None = setting(Hidden(), None, "That user's password.", Reload.NEW_SESSIONS)
    secrets_folder: str | None = setting(
        FilePath(folder=True),
        None,
        "A folder with one JSON file per user, in the form of AWS Secrets Manager: `username`, `password`; other keys "
        "are ignored. Read again when a file changes. A relative path starts at the configuration file's folder. Not "
        "together with `username`.",
        Reload.NEW_SESSIONS,
        rds="SecretArn",
    )


@attrs.frozen
class ClientTls:
    """`[proxies.tls]`: TLS on the client's side."""

    enabled: bool = setting(Flag(), True, "Offer TLS to clients.", Reload.NEW_SESSIONS)
    certificate: str | None = setting(
        PEM_FILE,
        None,
        "PEM file with the certificate chain. Needs `private_key`.",
        Reload.NEW_SESSIONS,
        says="self-signed at start",
    )
    private_key: str | None = setting(
        PEM_FILE, None, "PEM file with the certificate's private key, not encrypted.", Reload.NEW_SESSIONS
    )
    self_signed_names: tuple[str, ...] = setting(
        ListOf(Host(), low=1),
        ("localhost",),
        "Names in the certificate made at start when none is given.",
        Reload.RESTART,
    )


@attrs.frozen
class Tcp:
    """`[proxies.client_tcp]`, `[proxies.target_tcp]`: how dead TCP connections are found; names as in libpq."""

    keepalives: bool = setting(
        Flag(), True, "Whether the kernel asks now and then if the other side is still there.", Reload.NEW_SESSIONS
    )
    keepalives_idle: float = setting(
        Duration(0, 32767),
        0.0,
        "Time without any traffic until it asks for the first time, in whole seconds. 0: the system's "
        "(`net.ipv4.tcp_keepalive_time`).",
        Reload.NEW_SESSIONS,
    )
    keepalives_interval: float = setting(
        Duration(0, 32767), 0.0, "Time until it asks again, in whole seconds. 0: the system's.", Reload.NEW_SESSIONS
    )
    keepalives_count: int = setting(
        Whole(0, 127),
        0,
        "So many questions without an answer end the connection. 0: the system's.",
        Reload.NEW_SESSIONS,
    )
    tcp_user_timeout: float = setting(
        Duration(0, DAY),
        0.0,
        "How long what was sent may stay unacknowledged before the connection ends, in whole milliseconds. 0: the "
        "system's.",
        Reload.NEW_SESSIONS,
    )


@attrs.frozen
class Limits:
    """`[proxies.limits]`: what a client may use up."""

    max_client_connections: int = setting(
        Whole(1, 1_000_000, "connections"), 10_000, "The most client connections at once."
    )
    max_connections_per_second: int = setting(
        Whole(0, 1_000_000, "connections"),
        0,
        "How many new client connections may come in a second; who comes beyond that and `connection_burst` is "
        "refused before its password is looked at. Cancel requests do not count. 0: any number.",
    )
    connection_burst: int = setting(
        Whole(1, 1_000_000, "connections"),
        100,
        "How many may come at once after a pause, where `max_connections_per_second` is set.",
    )
    login_timeout: float = setting(
        Duration(0.1, 3600), 30.0, "How long a client's login may take, TLS included.", Reload.NEW_SESSIONS
    )
    client_lifetime: float = setting(
        Duration(1, YEAR),
        DAY,
        "A client connection of this age is closed at its next transaction boundary.",
        Reload.NEW_SESSIONS,
    )
    drain_timeout: float = setting(
        Duration(0, DAY), 30.0, "How long sessions may go on after the proxy was asked to stop."
    )
    abandoned_query_timeout: float = setting(
        Duration(1, 3600),
        10.0,
        "A client left in the middle of a query: how long the cancelled query may take to end before its database "
        "connection is closed.",
        Reload.RESTART,
    )
    idle_in_transaction_timeout: float = setting(
        Duration(0, DAY),
        0.0,
        "A client that is idle inside a transaction for this long is disconnected. 0: no limit.",
    )
    max_frame_bytes: int = setting(
        Size(1 << 10, 1 << 31), 1 << 30, "The largest single protocol message of a client.", Reload.NEW_SESSIONS
    )
    max_login_bytes: int = setting(
        Size(256, 1 << 20), 65536, "The largest protocol message before login is over.", Reload.NEW_SESSIONS
    )
    max_session_statements: int = setting(
        Whole(1, 10_000_000, "statements"),
        200_000,
        "How many named prepared statements one session may have. The proxy keeps their texts, since they follow the "
        "session; one more is refused, and the session lives on. Where several are made at once by SQL, in a "
        "transaction or a function, it is pinned instead.",
        Reload.NEW_SESSIONS,
    )
    max_held_bytes: int = setting(
        Size(1 << 10, 1 << 31),
        16 << 20,
        "The most of one session's bytes that the proxy keeps in memory while they wait or must be seen whole.",
        Reload.NEW_SESSIONS,
    )
