"""Capability flags of both families, and what follows from them as pure functions: offered, agreed, asked, equal.

The names are the specification's ("Capabilities Flags"; MariaDB: "Connection", extended capabilities). A set of flags
is one integer: MySQL's 32 bits, and above them MariaDB's extended ones, which travel in bytes that MySQL reserves.
"""

from __future__ import annotations

from typing import Final

CLIENT_LONG_PASSWORD: Final = 1 << 0
"""MariaDB calls it CLIENT_MYSQL: without it, extended capabilities follow."""
CLIENT_FOUND_ROWS: Final = 1 << 1
CLIENT_LONG_FLAG: Final = 1 << 2
CLIENT_CONNECT_WITH_DB: Final = 1 << 3
CLIENT_NO_SCHEMA: Final = 1 << 4
CLIENT_COMPRESS: Final = 1 << 5
CLIENT_ODBC: Final = 1 << 6
CLIENT_LOCAL_FILES: Final = 1 << 7
CLIENT_IGNORE_SPACE: Final = 1 << 8
CLIENT_PROTOCOL_41: Final = 1 << 9
CLIENT_INTERACTIVE: Final = 1 << 10
CLIENT_SSL: Final = 1 << 11
CLIENT_IGNORE_SIGPIPE: Final = 1 << 12
CLIENT_TRANSACTIONS: Final = 1 << 13
CLIENT_RESERVED: Final = 1 << 14
CLIENT_SECURE_CONNECTION: Final = 1 << 15
CLIENT_MULTI_STATEMENTS: Final = 1 << 16
CLIENT_MULTI_RESULTS: Final = 1 << 17
CLIENT_PS_MULTI_RESULTS: Final = 1 << 18
CLIENT_PLUGIN_AUTH: Final = 1 << 19
CLIENT_CONNECT_ATTRS: Final = 1 << 20
CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA: Final = 1 << 21
CLIENT_CAN_HANDLE_EXPIRED_PASSWORDS: Final = 1 << 22
CLIENT_SESSION_TRACK: Final = 1 << 23
CLIENT_DEPRECATE_EOF: Final = 1 << 24
CLIENT_OPTIONAL_RESULTSET_METADATA: Final = 1 << 25
CLIENT_ZSTD_COMPRESSION_ALGORITHM: Final = 1 << 26
CLIENT_QUERY_ATTRIBUTES: Final = 1 << 27
CLIENT_MULTI_FACTOR_AUTHENTICATION: Final = 1 << 28
CLIENT_CAPABILITY_EXTENSION: Final = 1 << 29
CLIENT_SSL_VERIFY_SERVER_CERT: Final = 1 << 30
CLIENT_REMEMBER_OPTIONS: Final = 1 << 31

MARIADB_CLIENT_PROGRESS: Final = 1 << 32
MARIADB_CLIENT_COM_MULTI: Final = 1 << 33
MARIADB_CLIENT_STMT_BULK_OPERATIONS: Final = 1 << 34
MARIADB_CLIENT_EXTENDED_METADATA: Final = 1 << 35
MARIADB_CLIENT_CACHE_METADATA: Final = 1 << 36
MARIADB_CLIENT_BULK_UNIT_RESULTS: Final = 1 << 37

NAMES: Final = {value: name for name, value in list(globals().items()) if name.startswith(("CLIENT_", "MARIADB_"))}

EXTENDED: Final = ((1 << 64) - 1) ^ ((1 << 32) - 1)
"""All that are MariaDB's own."""

ALWAYS: Final = (
    CLIENT_LONG_PASSWORD
    | CLIENT_LONG_FLAG
    | CLIENT_PROTOCOL_41
    | CLIENT_TRANSACTIONS
    | CLIENT_SECURE_CONNECTION
    | CLIENT_PLUGIN_AUTH
)
"""What both of our sides speak, whatever the other one does."""

OF_LOGIN: Final = (
    CLIENT_CONNECT_WITH_DB
    | CLIENT_CONNECT_ATTRS
    | CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
    | CLIENT_SSL_VERIFY_SERVER_CERT
    | CLIENT_REMEMBER_OPTIONS
    | CLIENT_IGNORE_SIGPIPE
    | CLIENT_RESERVED
)
"""What a client's login packet is made of, or what concerns the client alone: ours is made anew."""

OF_CONNECTION: Final = CLIENT_SSL | CLIENT_COMPRESS | CLIENT_ZSTD_COMPRESSION_ALGORITHM
"""What holds between two neighbours: agreed on each side for itself."""

TRANSLATED: Final = CLIENT_SESSION_TRACK | CLIENT_MULTI_STATEMENTS
"""What each side has for itself once the session runs: trackers are taken out of what the client is sent, and
COM_SET_OPTION turns the other one on and off."""

EQUAL: Final = (
    CLIENT_FOUND_ROWS
    | CLIENT_NO_SCHEMA
    | CLIENT_ODBC
    | CLIENT_LOCAL_FILES
    | CLIENT_IGNORE_SPACE
    | CLIENT_INTERACTIVE
    | CLIENT_MULTI_RESULTS
    | CLIENT_PS_MULTI_RESULTS
    | CLIENT_DEPRECATE_EOF
    | CLIENT_OPTIONAL_RESULTSET_METADATA
    | CLIENT_QUERY_ATTRIBUTES
    | MARIADB_CLIENT_PROGRESS
    | MARIADB_CLIENT_STMT_BULK_OPERATIONS
    | MARIADB_CLIENT_EXTENDED_METADATA
    | MARIADB_CLIENT_BULK_UNIT_RESULTS
)
"""What changes what statements mean, or the shape or number of packets: a backend has what its clients have.

MARIADB_CLIENT_CACHE_METADATA is nowhere: a server that has it leaves out what it believes that this client has seen,
which on a shared backend was another client. CLIENT_CAN_HANDLE_EXPIRED_PASSWORDS and
CLIENT_MULTI_FACTOR_AUTHENTICATION concern a login that is the proxy's own."""

CLASSIC: Final = CLIENT_DEPRECATE_EOF
"""A client without it sees a packet more in every result set."""


def offered(server: int, *, tls: bool, zlib: bool, zstd: bool) -> int:
    """What a client is offered in the greeting.

    Args:
        server: what the servers of its target have: a client is not offered what they could not do.
        tls, zlib, zstd: what we can do on the client's side.
    """
    result = (server & (EQUAL | TRANSLATED)) | ALWAYS | OF_LOGIN & ~CLIENT_RESERVED
    if tls:
        result |= CLIENT_SSL
    if zlib:
        result |= CLIENT_COMPRESS
    if zstd:
        result |= CLIENT_ZSTD_COMPRESSION_ALGORITHM
    if result & EXTENDED:
        result &= ~CLIENT_LONG_PASSWORD
    return result


def agreed(offer: int, client: int) -> int:
    """What a connection with a client speaks. MySQL's two ways to compress exclude each other, zlib first."""
    result = offer & client
    if not client & CLIENT_LONG_PASSWORD and not offer & CLIENT_LONG_PASSWORD:
        return _one_compression(result)
    return _one_compression(result & ~EXTENDED)


def _one_compression(flags: int) -> int:
    if flags & CLIENT_COMPRESS:
        return flags & ~CLIENT_ZSTD_COMPRESSION_ALGORITHM
    return flags


def key(client: int) -> int:
    """What backends for such a client have in common: part of the pool's key.

    Args:
        client: what is agreed with the client.
    """
    return client & EQUAL


def asked(server: int, wanted: int, *, database: bool, tls: bool, zlib: bool, zstd: bool) -> int:
    """What we ask of a server.

    Args:
        server: what it offers.
        wanted: the pool's `key`.
        database: a database is named at login.
        tls: the connection is, or is about to be, encrypted.
        zlib, zstd: what of these may be used.

    Returns flags that the server all has. Those of `wanted` that it lacks are left out: `lacking` tells.
    """
    own = ALWAYS | TRANSLATED | CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA | CLIENT_CONNECT_ATTRS
    if not server & CLIENT_SESSION_TRACK:
        # MySQL 5.6 looks for attributes behind COM_CHANGE_USER in the wrong place, and refuses most collations.
        own &= ~CLIENT_CONNECT_ATTRS
    if database:
        own |= CLIENT_CONNECT_WITH_DB
    if tls:
        own |= CLIENT_SSL
    if zlib:
        own |= CLIENT_COMPRESS
    if zstd and not server & own & CLIENT_COMPRESS:
        own |= CLIENT_ZSTD_COMPRESSION_ALGORITHM
    if not server & CLIENT_LONG_PASSWORD:
        # MariaDB, which then reads its extended capabilities in our answer.
        return (own & ~CLIENT_LONG_PASSWORD | wanted & EQUAL) & server
    return (own | wanted & EQUAL & ~EXTENDED) & server


def lacking(server: int, wanted: int) -> int:
    """What of a pool's `key` a server cannot do: it cannot serve that pool."""
    return wanted & EQUAL & ~server


def names(flags: int) -> list[str]:
    """The names of flags, for logs and errors."""
    return [name for value, name in NAMES.items() if flags & value]
