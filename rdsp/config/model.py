"""The configuration as values: one frozen attrs class per TOML table. (Skeleton; ranges and help texts to come.)"""

from __future__ import annotations

import attrs


@attrs.frozen
class Secret:
    """A password. `repr` hides it."""

    value: str = attrs.field(repr=False)


@attrs.frozen
class UserAuth:
    """`[[proxies.auth]]`: one database user, or a folder with one JSON file per user."""

    username: str | None = None
    password: Secret | None = None
    secrets_folder: str | None = None


@attrs.frozen
class ClientTls:
    """`[proxies.tls]`: the client side."""

    enabled: bool = True
    certificate: str | None = None  # PEM files; both or neither; neither: self-signed at start
    private_key: str | None = None
    self_signed_names: tuple[str, ...] = ("localhost",)


@attrs.frozen
class Target:
    """`[proxies.target]`: the database server."""

    host: str = "127.0.0.1"
    port: int | None = None
    database: str | None = None
    username: str | None = None
    password: Secret | None = None
    tls: str = "prefer"  # disable prefer require verify-ca verify-full
    tls_ca: str | None = None
    connect_timeout: float = 10.0


@attrs.frozen
class TargetGroup:
    """`[proxies.target_group]`: the pool."""

    max_connections_percent: int = 100
    max_idle_connections_percent: int | None = None
    connection_borrow_timeout: float = 120.0
    session_pinning_filters: tuple[str, ...] = ()
    init_query: str = ""
    max_backends: int | None = None
    backend_idle_timeout: float = 300.0
    backend_lifetime: float = 86400.0
    max_waiters: int = 10_000
    max_simultaneous_opens: int = 8
    max_prepared_statements: int = 200
    reserved_connections: int = 2


@attrs.frozen
class Limits:
    """`[proxies.limits]`."""

    max_client_connections: int = 10_000
    login_timeout: float = 30.0
    client_lifetime: float = 86400.0
    drain_timeout: float = 30.0
    abandoned_query_timeout: float = 10.0
    idle_in_transaction_timeout: float = 0.0
    max_frame_bytes: int = 1 << 30
    max_login_bytes: int = 65536
    max_held_bytes: int = 16 << 20
    write_buffer_bytes: int = 1 << 18


@attrs.frozen
class Proxy:
    """`[[proxies]]`."""

    name: str = "default"
    engine: str = "postgres"
    listen: tuple[str, ...] = ()
    require_tls: bool = False
    idle_client_timeout: float = 1800.0
    debug_logging: bool = False
    auth: tuple[UserAuth, ...] = ()
    auth_methods: tuple[str, ...] = ()
    tls: ClientTls = ClientTls()
    target: Target = Target()
    target_group: TargetGroup = TargetGroup()
    limits: Limits = Limits()


@attrs.frozen
class Logging:
    """`[logging]`."""

    level: str = "info"
    format: str = "console"  # console json


@attrs.frozen
class Config:
    """The whole file."""

    proxies: tuple[Proxy, ...] = ()
    logging: Logging = Logging()
