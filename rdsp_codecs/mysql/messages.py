"""The packets of a login: read and written ("Connection Phase Packets"). Those of commands are in `responses`.

Every reader takes a whole payload, without the packet's header, and gives a value from which the writer makes the same
bytes again. What is malformed is a `WireError`. Names and texts are bytes: their character set is the session's affair.
"""

from __future__ import annotations

from typing import Final

import attrs

from rdsp_codecs.errors import UnsupportedFeatureError
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql.values import Reader, integer, lenenc, terminated

PROTOCOL: Final = 10
"""Of the handshake; 9 was before MySQL 3.21."""
CHALLENGE: Final = 20
"""Bytes of the nonce in a greeting, without its NUL."""
_FIRST: Final = 8
_AUTH_SWITCH: Final = 0xFE
_MORE_DATA: Final = 0x01
_NEXT_FACTOR: Final = 0x02
_CLASSIC_FLAGS: Final = (1 << 32) - 1

Attributes = tuple[tuple[bytes, bytes], ...]


@attrs.frozen
class Greeting:
    """Protocol::HandshakeV10.

    Attributes:
        version: the server's, as text; MariaDB before 11 has "5.5.5-" before its own.
        connection_id: 32 bits.
        challenge: `CHALLENGE` bytes; plugins other than `plugin` get their own by an AuthSwitchRequest.
        capabilities: with MariaDB's extended ones above bit 31.
        collation: the server's default, its lower 8 bits.
        status: status flags.
        plugin: how the server wants passwords to be proved; b"" without CLIENT_PLUGIN_AUTH.
    """

    version: bytes
    connection_id: int
    challenge: bytes
    capabilities: int
    collation: int
    status: int
    plugin: bytes


def read_greeting(payload: bytes) -> Greeting:
    """Read a greeting. Raises `WireError`, and `UnsupportedFeatureError` for another protocol than 10."""
    reader = Reader(payload, "greeting")
    protocol = reader.integer(1)
    if protocol != PROTOCOL:
        msg = f"the server greets in protocol {protocol}, and not {PROTOCOL}"
        raise UnsupportedFeatureError(msg)
    version = reader.terminated()
    connection_id = reader.integer(4)
    challenge = reader.take(_FIRST)
    if reader.integer(1):
        raise reader.fault("no NUL behind the first part of the challenge")
    flags = reader.integer(2)
    collation, status = reader.integer(1), reader.integer(2)
    flags |= reader.integer(2) << 16
    size = reader.integer(1)
    reserved = reader.take(10)
    if not flags & c.CLIENT_LONG_PASSWORD:
        flags |= int.from_bytes(reserved[6:], "little") << 32
    if not flags & c.CLIENT_SECURE_CONNECTION:
        msg = "the server is older than version 4.1"
        raise UnsupportedFeatureError(msg)
    second = reader.take(max(13, size - _FIRST))
    if second[-1]:
        raise reader.fault("no NUL behind the challenge")
    plugin = reader.terminated() if flags & c.CLIENT_PLUGIN_AUTH else b""
    reader.close()
    return Greeting(version, connection_id, challenge + second[:-1], flags, collation, status, plugin)


def greeting(what: Greeting) -> bytes:
    """Write a greeting."""
    flags = what.capabilities
    extended = 0 if flags & c.CLIENT_LONG_PASSWORD else flags >> 32
    size = len(what.challenge) + 1 if flags & c.CLIENT_PLUGIN_AUTH else 0
    parts = [
        bytes((PROTOCOL,)),
        terminated(what.version),
        integer(what.connection_id, 4),
        what.challenge[:_FIRST],
        b"\0",
        integer(flags & 0xFFFF, 2),
        integer(what.collation, 1),
        integer(what.status, 2),
        integer(flags >> 16 & 0xFFFF, 2),
        integer(size, 1),
        bytes(6),
        integer(extended, 4),
        what.challenge[_FIRST:],
        b"\0",
    ]
    if flags & c.CLIENT_PLUGIN_AUTH:
        parts.append(terminated(what.plugin))
    return b"".join(parts)


@attrs.frozen
class LoginHead:
    """What an SSLRequest has, and a HandshakeResponse41 begins with.

    Attributes:
        capabilities: as in `Greeting`.
        max_packet: bytes; what the client can take, which servers do not heed.
        collation: its lower 8 bits.
    """

    capabilities: int
    max_packet: int
    collation: int


@attrs.frozen
class Response:
    """Protocol::HandshakeResponse41.

    Attributes:
        head: flags, limit, collation.
        user: its name.
        proof: what answers the greeting's challenge, in the way of `plugin`.
        database: None without CLIENT_CONNECT_WITH_DB.
        plugin: None without CLIENT_PLUGIN_AUTH.
        attributes: None without CLIENT_CONNECT_ATTRS.
        zstd_level: 1..22, None without CLIENT_ZSTD_COMPRESSION_ALGORITHM.
    """

    head: LoginHead
    user: bytes
    proof: bytes = attrs.field(repr=False)
    database: bytes | None = None
    plugin: bytes | None = None
    attributes: Attributes | None = None
    zstd_level: int | None = None


def read_head(reader: Reader) -> LoginHead:
    """Flags, limit and collation. Raises `UnsupportedFeatureError` for a client of a protocol before 4.1."""
    flags = reader.integer(4) if reader.left >= 4 else reader.integer(2)
    if not flags & c.CLIENT_PROTOCOL_41:
        msg = "the client's protocol is older than version 4.1"
        raise UnsupportedFeatureError(msg)
    most, collation = reader.integer(4), reader.integer(1)
    reserved = reader.take(23)
    if not flags & c.CLIENT_LONG_PASSWORD:
        flags |= int.from_bytes(reserved[19:], "little") << 32
    return LoginHead(flags, most, collation)


def is_ssl_request(payload: bytes) -> bool:
    """Whether a client's first packet is an SSLRequest: flags with CLIENT_SSL, and nothing of a user behind them."""
    return len(payload) == 32 and bool(int.from_bytes(payload[:4], "little") & c.CLIENT_SSL)


def read_ssl_request(payload: bytes) -> LoginHead:
    """Read an SSLRequest. Raises `WireError`."""
    reader = Reader(payload, "SSLRequest")
    head = read_head(reader)
    reader.close()
    return head


def ssl_request(head: LoginHead) -> bytes:
    """Write an SSLRequest."""
    flags = head.capabilities
    extended = 0 if flags & c.CLIENT_LONG_PASSWORD else flags >> 32
    start = integer(flags & _CLASSIC_FLAGS, 4) + integer(head.max_packet, 4) + integer(head.collation, 1)
    return start + bytes(19) + integer(extended, 4)


def read_response(payload: bytes, offer: int) -> Response:
    """Read a client's login. Bytes behind it are left alone, as servers do. Raises `WireError`.

    Args:
        payload: the packet's.
        offer: the flags of the greeting: what of it the client has taken decides how its packet is read.
    """
    reader = Reader(payload, "login packet")
    head = read_head(reader)
    flags = head.capabilities & offer
    user = reader.terminated()
    if flags & c.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA:
        proof = reader.lenenc()
    elif flags & c.CLIENT_SECURE_CONNECTION:
        proof = reader.take(reader.integer(1))
    else:
        proof = reader.terminated()
    database = reader.terminated() if flags & c.CLIENT_CONNECT_WITH_DB else None
    plugin = reader.terminated() if flags & c.CLIENT_PLUGIN_AUTH else None
    attributes = read_attributes(reader) if flags & c.CLIENT_CONNECT_ATTRS else None
    level = reader.integer(1) if flags & c.CLIENT_ZSTD_COMPRESSION_ALGORITHM else None
    return Response(head, user, proof, database, plugin, attributes, level)


def response(what: Response) -> bytes:
    """Write a client's login. Its flags say what it consists of."""
    flags = what.head.capabilities
    parts = [ssl_request(what.head), terminated(what.user)]
    if flags & c.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA:
        parts.append(lenenc(what.proof))
    elif flags & c.CLIENT_SECURE_CONNECTION:
        parts += (integer(len(what.proof), 1), what.proof)
    else:
        parts.append(terminated(what.proof))
    if flags & c.CLIENT_CONNECT_WITH_DB:
        parts.append(terminated(what.database or b""))
    if flags & c.CLIENT_PLUGIN_AUTH:
        parts.append(terminated(what.plugin or b""))
    if flags & c.CLIENT_CONNECT_ATTRS:
        parts.append(attributes(what.attributes or ()))
    if flags & c.CLIENT_ZSTD_COMPRESSION_ALGORITHM:
        parts.append(integer(what.zstd_level or 0, 1))
    return b"".join(parts)


def read_attributes(reader: Reader) -> Attributes:
    """Connection attributes, in order. Raises `WireError`."""
    inner = Reader(reader.lenenc(), "list of connection attributes")
    found: list[tuple[bytes, bytes]] = []
    while inner.left:
        name = inner.lenenc()
        found.append((name, inner.lenenc()))
    return tuple(found)


def attributes(pairs: Attributes) -> bytes:
    """Connection attributes with their length."""
    return lenenc(b"".join(lenenc(name) + lenenc(value) for name, value in pairs))


@attrs.frozen
class ChangeUser:
    """COM_CHANGE_USER.

    Attributes:
        user, proof, database: as in `Response`; the database is b"" for none.
        collation: 16 bits; None where the packet ends before it.
        plugin, attributes: None where the packet ends before them, or without their flags.
    """

    user: bytes
    proof: bytes = attrs.field(repr=False)
    database: bytes
    collation: int | None = None
    plugin: bytes | None = None
    attributes: Attributes | None = None


def read_change_user(payload: bytes, flags: int) -> ChangeUser:
    """Read a COM_CHANGE_USER, with its command byte. `flags` are those of the connection. Raises `WireError`."""
    reader = Reader(payload, "COM_CHANGE_USER")
    reader.integer(1)
    user = reader.terminated()
    proof = reader.take(reader.integer(1)) if flags & c.CLIENT_SECURE_CONNECTION else reader.terminated()
    database = reader.terminated()
    collation = reader.integer(2) if reader.left else None
    plugin = reader.terminated() if reader.left and flags & c.CLIENT_PLUGIN_AUTH else None
    pairs = read_attributes(reader) if reader.left and flags & c.CLIENT_CONNECT_ATTRS else None
    return ChangeUser(user, proof, database, collation, plugin, pairs)


def change_user(what: ChangeUser) -> bytes:
    """Write a COM_CHANGE_USER."""
    parts = [b"\x11", terminated(what.user), integer(len(what.proof), 1), what.proof, terminated(what.database)]
    if what.collation is not None:
        parts.append(integer(what.collation, 2))
    if what.plugin is not None:
        parts.append(terminated(what.plugin))
    if what.attributes is not None:
        parts.append(attributes(what.attributes))
    return b"".join(parts)


@attrs.frozen
class AuthSwitch:
    """Protocol::AuthSwitchRequest: prove the password in another way.

    Attributes:
        plugin: which one.
        data: its challenge, with the NUL that most servers put behind it.
    """

    plugin: bytes
    data: bytes


def read_auth_switch(payload: bytes) -> AuthSwitch:
    """Read an AuthSwitchRequest. Raises `WireError`, and `UnsupportedFeatureError` for the one of old passwords."""
    reader = Reader(payload, "AuthSwitchRequest")
    if reader.integer(1) != _AUTH_SWITCH:
        raise reader.fault("it does not begin with 0xfe")
    if not reader.left:
        msg = "the server asks for a password in the way of MySQL 4.0"
        raise UnsupportedFeatureError(msg)
    return AuthSwitch(reader.terminated(), reader.rest())


def auth_switch(what: AuthSwitch) -> bytes:
    """Write an AuthSwitchRequest."""
    return b"\xfe" + terminated(what.plugin) + what.data


def more_data(data: bytes) -> bytes:
    """Protocol::AuthMoreData, from the server: what the plugin has to say."""
    return bytes((_MORE_DATA,)) + data


def is_more_data(payload: bytes) -> bool:
    """Whether it is an AuthMoreData, of which all behind the first byte is the plugin's."""
    return payload[:1] == b"\x01"


def is_auth_switch(payload: bytes) -> bool:
    """Whether it is an AuthSwitchRequest."""
    return payload[:1] == b"\xfe"


def is_next_factor(payload: bytes) -> bool:
    """Whether it is a Protocol::AuthNextFactor: one more password is asked for."""
    return payload[:1] == bytes((_NEXT_FACTOR,))
