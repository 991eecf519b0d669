"""The tables about the database: where it is, and the pool of connections to it. See `rdsp.config.model`."""

from __future__ import annotations

from typing import Final

import attrs

from rdsp.config.addresses import Address, parse_target
from rdsp.config.kinds import Duration, Flag, Hidden, ListOf, OneOf, ServerHost, Text, Whole
from rdsp.config.secret import Secret
from rdsp.config.setting import DAY, PEM_FILE, USER_NAME, YEAR, Reload, setting

COMPRESSION: Final = ("zlib", "zstd")


@attrs.frozen
class Target:
    """`[proxies.target]`: the database server."""

    host: tuple[str, ...] = setting(
        ListOf(ServerHost(), single=True, low=1),
        ("127.0.0.1",),
        "Name or address of the database server; each may have its own port behind a colon. A directory, or `@NAME`, "
        "means the Unix socket there, as for libpq. Of several, the first that serves is taken for every new database "
        "connection, in this order; one that did not answer is tried last for a while. Names are looked up anew each "
        "time.",
        Reload.RESTART,
    )
    port: int | None = setting(
        Whole(1, 65535),
        None,
        "Port of the database server, for hosts that name none.",
        Reload.RESTART,
        says="the engine's",
    )
    database: str | None = setting(
        USER_NAME, None, "Database for the proxy's own connections.", Reload.RESTART, says="the engine's"
    )
    username: str | None = setting(USER_NAME, None, "A database user that clients may log in as.", Reload.NEW_SESSIONS)
    password: Secret | None = setting(
        Hidden(),
        None,
        "That user's password. Without any password the proxy serves clients of its own machine only.",
        Reload.NEW_SESSIONS,
    )
    tls: str = setting(
        OneOf(("disable", "prefer", "require", "verify-ca", "verify-full")),
        "prefer",
        "TLS towards the database, with the meaning of libpq's `sslmode`.",
        Reload.RESTART,
    )
    tls_ca: str | None = setting(
        PEM_FILE, None, "PEM file with the certificates to trust.", Reload.RESTART, says="the system's"
    )
    tls_negotiation: str = setting(
        OneOf(("postgres", "direct")),
        "postgres",
        "How TLS begins, with the meaning of libpq's `sslnegotiation`: asked for in the database's own protocol, or at "
        "once, which saves a round trip (PostgreSQL 17 or newer, and `tls` must be `require` or stricter).",
        Reload.RESTART,
    )
    channel_binding: str = setting(
        OneOf(("disable", "prefer", "require")),
        "prefer",
        "Whether the proxy's own logins are bound to their TLS connection (SCRAM-SHA-256-PLUS), with the meaning of "
        "libpq's `channel_binding`. `disable` where something between proxy and server ends TLS.",
        Reload.RESTART,
    )
    max_protocol_version: str = setting(
        OneOf(("latest", "3.0")),
        "3.0",
        "The newest protocol version to ask the server for, as libpq's setting of that name. `latest` gives cancel "
        "keys of 256 bits from PostgreSQL 18 on; some poolers and load balancers cannot negotiate.",
        Reload.RESTART,
    )
    compression: str = setting(
        OneOf(("off", *COMPRESSION)),
        "off",
        "How connections to the database are compressed, for engines that have that. Worth it over slow or dear lines "
        "only; a server without it refuses.",
        Reload.RESTART,
    )
    connect_timeout: float = setting(
        Duration(0.1, 300), 10.0, "How long opening a database connection may take, login included.", Reload.RESTART
    )
    target_session_attrs: str = setting(
        OneOf(("any", "read-write")),
        "any",
        "Which servers of `host` to take, with the meaning of libpq's setting of that name: `read-write` passes over "
        "those that are in recovery or let nobody write by default, and looks at every address of a name.",
        Reload.RESTART,
    )

    @property
    def addresses(self) -> tuple[Address, ...]:
        """`host` as values, with their ports; 0 where neither it nor `port` says one."""
        places = (parse_target(text) for text in self.host)
        return tuple(Address(host, port or self.port or 0) for host, port in places)

    @property
    def shown(self) -> str:
        """All of it, for people: `db.example:5432, [::1]:5433`."""
        return ", ".join(map(str, self.addresses))


@attrs.frozen
class TargetGroup:
    """`[proxies.target_group]`: the pool of database connections."""

    max_connections_percent: int = setting(
        Whole(1, 100, "percent"),
        100,
        "The most database connections, in percent of the server's own `max_connections`. Followed when the server's "
        "setting changes.",
        rds="MaxConnectionsPercent",
    )
    max_idle_connections_percent: int | None = setting(
        Whole(0, 100, "percent"),
        None,
        "The most idle database connections, in percent of the server's `max_connections`. Not over "
        "`max_connections_percent`. A cap, not a floor.",
        Reload.LIVE,
        says="half of `max_connections_percent`, rounded down",
        rds="MaxIdleConnectionsPercent",
    )
    connection_borrow_timeout: float = setting(
        Duration(0, 300),
        120.0,
        "How long a session waits for a database connection. 0: fail unless an idle one exists; one more is opened for "
        "the next who asks, and a login may wait a second for its pool's first.",
        rds="ConnectionBorrowTimeout",
    )
    session_pinning_filters: tuple[str, ...] = setting(
        ListOf(OneOf(("EXCLUDE_VARIABLE_SETS",))),
        (),
        "Pins not to make. Not every engine takes one: PostgreSQL has none.",
        Reload.NEW_SESSIONS,
        rds="SessionPinningFilters",
    )
    init_query: str = setting(
        Text(0, 65536, r"[^\0]*", "a text without zero characters", verbatim=True),
        "",
        "SQL to run once on every new database connection; several statements are parted by `;`. Not a secret.",
        Reload.RESTART,
        rds="InitQuery",
    )
    max_backends: int | None = setting(
        Whole(1, 100_000, "connections"),
        None,
        "The most database connections as a number. The smaller one of this and `max_connections_percent` holds.",
        says="no cap beside the percentage",
    )
    backend_idle_timeout: float = setting(
        Duration(0.1, YEAR), 300.0, "A database connection that was idle for this long is closed.", Reload.LIVE
    )
    backend_lifetime: float = setting(
        Duration(1, YEAR), DAY, "A database connection of this age is closed as soon as nobody uses it.", Reload.LIVE
    )
    backend_check_interval: float = setting(
        Duration(0, YEAR),
        30.0,
        "An idle database connection that has said nothing for this long is asked for a sign of life, and closed when "
        "it gives none within `abandoned_query_timeout`. 0: never.",
        Reload.LIVE,
    )
    max_waiters: int = setting(
        Whole(0, 1_000_000, "sessions"),
        10_000,
        "How many sessions may wait for a database connection at once. Logins that wait for their pool's first one "
        "do not count.",
        Reload.LIVE,
    )
    max_simultaneous_opens: int = setting(
        Whole(1, 1000, "connections"), 8, "How many database connections may be opened at once.", Reload.LIVE
    )
    max_prepared_statements: int = setting(
        Whole(0, 1_000_000, "statements"),
        200,
        "Prepared statements kept on one database connection; over it the least recently used one is closed.",
        Reload.NEW_SESSIONS,
    )
    strict_session_state: bool = setting(
        Flag(),
        False,
        "Ask the server after every transaction what the session has set, locked, prepared and left behind, also where "
        "its text does not tell: for databases whose functions change their session. Costs one more query for each.",
        Reload.NEW_SESSIONS,
    )
    pin_sequences: bool = setting(
        Flag(),
        False,
        "Pin a session from its first `INSERT`, `COPY`, `nextval` or `setval` on, so that `currval` and `lastval` "
        "always answer. Without it they fail by a named error where the answer might be another session's.",
        Reload.NEW_SESSIONS,
    )
    reserved_connections: int = setting(
        Whole(0, 1000, "connections"),
        2,
        "Taken off the percentage of the server's `max_connections`, for the proxy's own probes and cancels.",
    )

    @property
    def idle_percent(self) -> int:
        """`max_idle_connections_percent`, worked out when it was not given."""
        given = self.max_idle_connections_percent
        return self.max_connections_percent // 2 if given is None else given
