"""The configuration as values: one frozen attrs class per TOML table, with all that is known about each setting.

Made by `rdsp.config.load`; its parts are handed to the objects they concern. The metadata of a field (`Setting`) is
the one place for its range, help and reload class: the loader, the validators, the reference page and the JSON Schema
read it there. Nothing here reads files or looks at another table; what concerns two settings is in `rdsp.config.rules`.
The tables inside `Proxy` stand in modules of their own, and are imported from here.
"""

from __future__ import annotations

from typing import Any, Final

import attrs

from rdsp.config.addresses import Address, parse_address
from rdsp.config.client_side import ClientTls, Limits, Tcp, UserAuth
from rdsp.config.database_side import COMPRESSION, Target, TargetGroup
from rdsp.config.kinds import Duration, Flag, HiddenUrl, ListenAddress, ListOf, Network, OneOf, Text
from rdsp.config.secret import Secret
from rdsp.config.setting import SETTING, Reload, Setting, Table, array, setting, table

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
    "Tcp",
    "UserAuth",
    "default_of",
    "settings",
    "tables",
]


@attrs.frozen
class Proxy:
    """`[[proxies]]`: one proxy, with its addresses, its users and its database."""

    name: str = setting(
        Text(1, 63, r"[a-zA-Z](?:[a-zA-Z0-9]|-(?=[a-zA-Z0-9]))*", "letters, digits and single inner hyphens"),
        "default",
        "Name of the proxy, for logs and metrics. No two alike.",
        Reload.RESTART,
        rds="DBProxyName",
    )
    engine: str = setting(
        Text(1, 64),
        "postgres",
        "Name of the engine; `rdsp engines` lists them.",
        Reload.RESTART,
        says="by `target.url`",
    )
    listen: tuple[str, ...] = setting(
        ListOf(ListenAddress(), single=True),
        (),
        "Address or addresses to listen on. Port 0 takes any free one. `unix:/run/rdsp:5432` is a Unix socket where "
        "clients of the database look for it, in that directory under that port. At least one is needed.",
        Reload.RESTART,
        says="none",
    )
    unix_socket_permissions: str = setting(
        Text(3, 4, r"0?[0-7]{3}", "an octal number such as 0770"),
        "0777",
        "Permissions of the Unix sockets in `listen`: who may write to one may connect.",
        Reload.RESTART,
    )
    unix_socket_group: str | None = setting(
        Text(1, 64),
        None,
        "The group, by name or number, that the Unix sockets in `listen` shall belong to.",
        Reload.RESTART,
        says="the process's own",
    )
    proxy_protocol_from: tuple[str, ...] = setting(
        ListOf(Network()),
        (),
        "Networks of load balancers that begin every connection with a PROXY protocol header (version 1 or 2), which "
        "says who the client is; `unix` stands for the Unix sockets in `listen`. From there a connection without "
        "one is closed, from anywhere else one with it.",
        Reload.NEW_SESSIONS,
    )
    require_tls: bool = setting(
        Flag(), False, "Refuse clients that do not use TLS.", Reload.NEW_SESSIONS, rds="RequireTLS"
    )
    idle_client_timeout: float = setting(
        Duration(1, 28800),
        1800.0,
        "A client that sent no request for this long is disconnected.",
        rds="IdleClientTimeout",
    )
    debug_logging: bool = setting(
        Flag(),
        False,
        "Log what the pool does in detail, and the text of statements that pin. May show data.",
        Reload.NEW_SESSIONS,
        rds="DebugLogging",
    )
    auth: tuple[UserAuth, ...] = array(UserAuth, "Users beside the target's own, and folders of them.")
    auth_methods: tuple[str, ...] = setting(
        ListOf(Text(1, 64)),
        (),
        "How clients may prove their password, by the engine's names, preferred first.",
        Reload.NEW_SESSIONS,
        says="the engine's",
        rds="ClientPasswordAuthType",
    )
    compression: tuple[str, ...] = setting(
        ListOf(OneOf(COMPRESSION)),
        COMPRESSION,
        "How clients may have their connection compressed if they ask for it, for engines that have that; `[]`: not at "
        "all. It costs the proxy time, and a client gets no higher level than the proxy's own.",
        Reload.NEW_SESSIONS,
    )
    local_files: bool = setting(
        Flag(),
        True,
        "Whether servers may ask clients for files (`LOAD DATA LOCAL INFILE`), if both sides have it on. Without it "
        "the server refuses such statements; in no case is a file asked for that no statement wants.",
        Reload.NEW_SESSIONS,
    )
    tls: ClientTls = table(ClientTls, "TLS on the client's side.")
    target: Target = table(Target, "The database server.")
    target_group: TargetGroup = table(TargetGroup, "The pool of database connections.")
    limits: Limits = table(Limits, "What a client may use up.")
    client_tcp: Tcp = table(Tcp, "How dead TCP connections of clients are found.")
    target_tcp: Tcp = table(Tcp, "The same towards the database server.")

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

    level: str = setting(
        OneOf(("debug", "info", "warning", "error")), "info", "The least severe lines to log.", Reload.RESTART
    )
    format: str = setting(
        OneOf(("console", "json")), "console", "Lines for people, or one JSON object a line.", Reload.RESTART
    )


@attrs.frozen
class Config:
    """The whole file."""

    proxies: tuple[Proxy, ...] = array(Proxy, "The proxies that one process runs.")
    logging: Logging = table(Logging, "What is logged, and how.")


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
            "Host, port, user, password and database in one text, in place of the settings below; its scheme says the "
            "engine (`postgresql://`, `mysql://`, `mariadb://`). libpq's `sslmode`, "
            "`sslrootcert`, `sslnegotiation`, `channel_binding`, `max_protocol_version`, `connect_timeout`, "
            "`target_session_attrs`, `host` and `port` may follow as a query (`?sslmode=require`). Several hosts are "
            "parted by commas: `postgresql://app@a:5432,b:5432/shop`.",
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
