"""The configuration as values: one frozen attrs class per TOML table, with all that is known about each setting.

Made by `rdsp.config.load`; its parts are handed to the objects they concern. The metadata of a field (`Setting`) is
the one place for its range, help and reload class: the loader, the validators, the reference page and the JSON Schema
read it there. Nothing here reads files or looks at another table; what concerns two settings is in `rdsp.config.rules`.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

import attrs

from rdsp.config.addresses import Address, parse_address
from rdsp.config.kinds import (
    Duration,
    FilePath,
    Flag,
    Hidden,
    HiddenUrl,
    Host,
    Kind,
    ListenAddress,
    ListOf,
    OneOf,
    Size,
    Text,
    Whole,
)
from rdsp.config.secret import Secret
from rdsp.config.units import BadValue

__all__ = [
    "SETTING",
    "WRITTEN_ONLY",
    "ClientTls",
    "Config",
    "Limits",
    "Logging",
    "Proxy",
    "Reload",
    "Secret",
    "Setting",
    "Table",
    "Target",
    "TargetGroup",
    "UserAuth",
    "default_of",
    "settings",
    "tables",
]

DAY: Final = 86400.0
YEAR: Final = 365 * DAY
SETTING: Final = "setting"
"""Key of a field's metadata: a `Setting` or a `Table`."""


class Reload(Enum):
    """What a change of a setting needs when the file is read again."""

    LIVE = "live"
    NEW_SESSIONS = "new_sessions"
    RESTART = "restart"

    @property
    def help(self) -> str:
        """One sentence for the reference page."""
        return _RELOAD_HELP[self]


_RELOAD_HELP: Final = {
    Reload.LIVE: "takes effect at once",
    Reload.NEW_SESSIONS: "holds for sessions and database connections opened from then on",
    Reload.RESTART: "needs a restart",
}


@attrs.frozen
class Setting:
    """What is known about one setting.

    Attributes:
        kind: type, range, how it is read and shown.
        help: for the reference page; Markdown, ends with a full stop.
        reload: what a change needs.
        default: in words, where the value alone does not say it.
        rds: the name of RDS Proxy's own setting, "" for those that it does not have.
    """

    kind: Kind
    help: str
    reload: Reload
    default: str = ""
    rds: str = ""


@attrs.frozen
class Table:
    """A field that is a table (`many`: an array of tables) of its own."""

    model: type[Any]
    help: str
    many: bool = False


def _setting(
    kind: Kind, default: Any, help: str, reload: Reload = Reload.LIVE, *, says: str = "", rds: str = ""
) -> Any:
    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None and default is None:
            return
        try:
            kind.check(value)
        except BadValue as error:
            raise BadValue(f"{attribute.name}: {error}") from None

    return attrs.field(default=default, validator=check, metadata={SETTING: Setting(kind, help, reload, says, rds)})


def _table(model: type[Any], help: str) -> Any:
    return attrs.field(factory=model, metadata={SETTING: Table(model, help)})


def _tables(model: type[Any], help: str) -> Any:
    return attrs.field(default=(), metadata={SETTING: Table(model, help, many=True)})


_USER: Final = Text(1, 128)
_FILE: Final = FilePath()


@attrs.frozen
class UserAuth:
    """`[[proxies.auth]]`: one database user, or a folder with one JSON file per user."""

    username: str | None = _setting(
        _USER,
        None,
        "A database user that clients may log in as. Needs `password`. Several entries for one user are all valid for "
        "clients; the first is used towards the database.",
        Reload.NEW_SESSIONS,
        rds="UserName",
    )
    password: Secret | None = _setting(Hidden(), None, "That user's password.", Reload.NEW_SESSIONS)
    secrets_folder: str | None = _setting(
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

    enabled: bool = _setting(Flag(), True, "Offer TLS to clients.", Reload.NEW_SESSIONS)
    certificate: str | None = _setting(
        _FILE,
        None,
        "PEM file with the certificate chain. Needs `private_key`.",
        Reload.NEW_SESSIONS,
        says="self-signed at start",
    )
    private_key: str | None = _setting(
        _FILE, None, "PEM file with the certificate's private key, not encrypted.", Reload.NEW_SESSIONS
    )
    self_signed_names: tuple[str, ...] = _setting(
        ListOf(Host(), low=1),
        ("localhost",),
        "Names in the certificate made at start when none is given.",
        Reload.RESTART,
    )


@attrs.frozen
class Target:
    """`[proxies.target]`: the database server."""

    host: str = _setting(Host(), "127.0.0.1", "Name or address of the database server.", Reload.RESTART)
    port: int | None = _setting(
        Whole(1, 65535), None, "Port of the database server.", Reload.RESTART, says="the engine's"
    )
    database: str | None = _setting(
        _USER, None, "Database for the proxy's own connections.", Reload.RESTART, says="the engine's"
    )
    username: str | None = _setting(_USER, None, "A database user that clients may log in as.", Reload.NEW_SESSIONS)
    password: Secret | None = _setting(
        Hidden(),
        None,
        "That user's password. Without any password the proxy serves clients of its own machine only.",
        Reload.NEW_SESSIONS,
    )
    tls: str = _setting(
        OneOf(("disable", "prefer", "require", "verify-ca", "verify-full")),
        "prefer",
        "TLS towards the database, with the meaning of libpq's `sslmode`.",
        Reload.RESTART,
    )
    tls_ca: str | None = _setting(
        _FILE, None, "PEM file with the certificates to trust.", Reload.RESTART, says="the system's"
    )
    connect_timeout: float = _setting(
        Duration(0.1, 300), 10.0, "How long opening a database connection may take, login included.", Reload.RESTART
    )


@attrs.frozen
class TargetGroup:
    """`[proxies.target_group]`: the pool of database connections."""

    max_connections_percent: int = _setting(
        Whole(1, 100, "percent"),
        100,
        "The most database connections, in percent of the server's own `max_connections`. Followed when the server's "
        "setting changes.",
        rds="MaxConnectionsPercent",
    )
    max_idle_connections_percent: int | None = _setting(
        Whole(0, 100, "percent"),
        None,
        "The most idle database connections, in percent of the server's `max_connections`. Not over "
        "`max_connections_percent`. A cap, not a floor.",
        Reload.LIVE,
        says="half of `max_connections_percent`, rounded down",
        rds="MaxIdleConnectionsPercent",
    )
    connection_borrow_timeout: float = _setting(
        Duration(0, 300),
        120.0,
        "How long a session waits for a database connection. 0: fail unless an idle one exists; one more is opened for "
        "the next who asks, and a login may wait a second for its pool's first.",
        rds="ConnectionBorrowTimeout",
    )
    session_pinning_filters: tuple[str, ...] = _setting(
        ListOf(OneOf(("EXCLUDE_VARIABLE_SETS",))),
        (),
        "Pins not to make. Not every engine takes one: PostgreSQL has none.",
        Reload.NEW_SESSIONS,
        rds="SessionPinningFilters",
    )
    init_query: str = _setting(
        Text(0, 65536, r"[^\0]*", "a text without zero characters", verbatim=True),
        "",
        "SQL to run once on every new database connection; several statements are parted by `;`. Not a secret.",
        Reload.RESTART,
        rds="InitQuery",
    )
    max_backends: int | None = _setting(
        Whole(1, 100_000, "connections"),
        None,
        "The most database connections as a number. The smaller one of this and `max_connections_percent` holds.",
        says="no cap beside the percentage",
    )
    backend_idle_timeout: float = _setting(
        Duration(0.1, YEAR), 300.0, "A database connection that was idle for this long is closed.", Reload.LIVE
    )
    backend_lifetime: float = _setting(
        Duration(1, YEAR), DAY, "A database connection of this age is closed as soon as nobody uses it.", Reload.LIVE
    )
    max_waiters: int = _setting(
        Whole(0, 1_000_000, "sessions"),
        10_000,
        "How many sessions may wait for a database connection at once. Logins that wait for their pool's first one "
        "do not count.",
        Reload.LIVE,
    )
    max_simultaneous_opens: int = _setting(
        Whole(1, 1000, "connections"), 8, "How many database connections may be opened at once.", Reload.LIVE
    )
    max_prepared_statements: int = _setting(
        Whole(0, 1_000_000, "statements"),
        200,
        "Prepared statements kept on one database connection; over it the least recently used one is closed.",
        Reload.NEW_SESSIONS,
    )
    reserved_connections: int = _setting(
        Whole(0, 1000, "connections"),
        2,
        "Taken off the percentage of the server's `max_connections`, for the proxy's own probes and cancels.",
    )

    @property
    def idle_percent(self) -> int:
        """`max_idle_connections_percent`, worked out when it was not given."""
        given = self.max_idle_connections_percent
        return self.max_connections_percent // 2 if given is None else given


@attrs.frozen
class Limits:
    """`[proxies.limits]`: what a client may use up."""

    max_client_connections: int = _setting(
        Whole(1, 1_000_000, "connections"), 10_000, "The most client connections at once."
    )
    login_timeout: float = _setting(
        Duration(0.1, 3600), 30.0, "How long a client's login may take, TLS included.", Reload.NEW_SESSIONS
    )
    client_lifetime: float = _setting(
        Duration(1, YEAR),
        DAY,
        "A client connection of this age is closed at its next transaction boundary.",
        Reload.NEW_SESSIONS,
    )
    drain_timeout: float = _setting(
        Duration(0, DAY), 30.0, "How long sessions may go on after the proxy was asked to stop."
    )
    abandoned_query_timeout: float = _setting(
        Duration(1, 3600),
        10.0,
        "A client left in the middle of a query: how long the cancelled query may take to end before its database "
        "connection is closed.",
        Reload.RESTART,
    )
    idle_in_transaction_timeout: float = _setting(
        Duration(0, DAY),
        0.0,
        "A client that is idle inside a transaction for this long is disconnected. 0: no limit.",
    )
    max_frame_bytes: int = _setting(
        Size(1 << 10, 1 << 31), 1 << 30, "The largest single protocol message of a client.", Reload.NEW_SESSIONS
    )
    max_login_bytes: int = _setting(
        Size(256, 1 << 20), 65536, "The largest protocol message before login is over.", Reload.NEW_SESSIONS
    )
    max_held_bytes: int = _setting(
        Size(1 << 10, 1 << 31),
        16 << 20,
        "The most of one session's bytes that the proxy keeps in memory while they wait or must be seen whole.",
        Reload.NEW_SESSIONS,
    )


@attrs.frozen
class Proxy:
    """`[[proxies]]`: one proxy, with its addresses, its users and its database."""

    name: str = _setting(
        Text(1, 63, r"[a-zA-Z](?:[a-zA-Z0-9]|-(?=[a-zA-Z0-9]))*", "letters, digits and single inner hyphens"),
        "default",
        "Name of the proxy, for logs and metrics. No two alike.",
        Reload.RESTART,
        rds="DBProxyName",
    )
    engine: str = _setting(
        Text(1, 64),
        "postgres",
        "Name of the engine; `rdsp engines` lists them.",
        Reload.RESTART,
        says="by `target.url`",
    )
    listen: tuple[str, ...] = _setting(
        ListOf(ListenAddress(), single=True),
        (),
        "Address or addresses to listen on. Port 0 takes any free one. At least one is needed.",
        Reload.RESTART,
        says="none",
    )
    require_tls: bool = _setting(
        Flag(), False, "Refuse clients that do not use TLS.", Reload.NEW_SESSIONS, rds="RequireTLS"
    )
    idle_client_timeout: float = _setting(
        Duration(1, 28800),
        1800.0,
        "A client that sent no request for this long is disconnected.",
        rds="IdleClientTimeout",
    )
    debug_logging: bool = _setting(
        Flag(),
        False,
        "Log what the pool does in detail, and the text of statements that pin. May show data.",
        Reload.NEW_SESSIONS,
        rds="DebugLogging",
    )
    auth: tuple[UserAuth, ...] = _tables(UserAuth, "Users beside the target's own, and folders of them.")
    auth_methods: tuple[str, ...] = _setting(
        ListOf(Text(1, 64)),
        (),
        "How clients may prove their password, by the engine's names, preferred first.",
        Reload.NEW_SESSIONS,
        says="the engine's",
        rds="ClientPasswordAuthType",
    )
    tls: ClientTls = _table(ClientTls, "TLS on the client's side.")
    target: Target = _table(Target, "The database server.")
    target_group: TargetGroup = _table(TargetGroup, "The pool of database connections.")
    limits: Limits = _table(Limits, "What a client may use up.")

    @property
    def addresses(self) -> tuple[Address, ...]:
        """`listen` as values."""
        return tuple(parse_address(text) for text in self.listen)

    @property
    def has_passwords(self) -> bool:
        """Whether any source of passwords is configured. Without one only local clients are served."""
        return self.target.password is not None or bool(self.auth)


@attrs.frozen
class Logging:
    """`[logging]`: what is logged, and how."""

    level: str = _setting(
        OneOf(("debug", "info", "warning", "error")), "info", "The least severe lines to log.", Reload.RESTART
    )
    format: str = _setting(
        OneOf(("console", "json")), "console", "Lines for people, or one JSON object a line.", Reload.RESTART
    )


@attrs.frozen
class Config:
    """The whole file."""

    proxies: tuple[Proxy, ...] = _tables(Proxy, "The proxies that one process runs.")
    logging: Logging = _table(Logging, "What is logged, and how.")


WRITTEN_ONLY: Final[dict[type[Any], dict[str, Setting]]] = {
    Proxy: {
        "engine_family": Setting(
            OneOf(("MYSQL", "POSTGRESQL", "SQLSERVER")),
            "RDS Proxy's name for the engine, in place of `engine`.",
            Reload.RESTART,
            "none",
            "EngineFamily",
        ),
    },
    Target: {
        "url": Setting(
            HiddenUrl(),
            "Host, port, user, password and database in one text, in place of the settings below. libpq's `sslmode`, "
            "`sslrootcert` and `connect_timeout` may follow as a query (`?sslmode=require`).",
            Reload.RESTART,
            "none",
        ),
    },
}
"""Keys that a file may have and the values do not: the loader turns them into others."""


def settings(model: type[Any]) -> dict[str, Setting]:
    """The plain settings of one table by key, those that are only written first."""
    fields = {field.name: field.metadata[SETTING] for field in attrs.fields(model)}
    plain = {name: about for name, about in fields.items() if isinstance(about, Setting)}
    return WRITTEN_ONLY.get(model, {}) | plain


def tables(model: type[Any]) -> dict[str, Table]:
    """The tables inside one table, by key."""
    fields = {field.name: field.metadata[SETTING] for field in attrs.fields(model)}
    return {name: about for name, about in fields.items() if isinstance(about, Table)}


def default_of(model: type[Any], name: str) -> Any:
    """The value of a plain setting that was not given; None also for keys that are only written."""
    field = getattr(attrs.fields(model), name, None)
    return None if field is None else field.default
