"""LOGIN7: who logs in, from where, and how the session is to begin ([MS-TDS] 2.2.6.4)."""

from __future__ import annotations

import struct
from typing import Final

import attrs

from rdsp_codecs.errors import WireError
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver.values import Reader, narrow, wide

# OptionFlags1
BYTE_ORDER: Final = 0x01
CHAR_EBCDIC: Final = 0x02
FLOAT: Final = 0x0C
DUMP_LOAD_OFF: Final = 0x10
USE_DB_ON: Final = 0x20
"""A USE by the client is told by an INFO."""
INIT_DB_FATAL: Final = 0x40
SET_LANG_ON: Final = 0x80
# OptionFlags2
INIT_LANG_FATAL: Final = 0x01
ODBC: Final = 0x02
"""The session begins with ANSI_DEFAULTS and without limits: IMPLICIT_TRANSACTIONS stays off."""
USER_TYPE: Final = 0x70
INTEGRATED_SECURITY: Final = 0x80
# TypeFlags
SQL_TYPE: Final = 0x0F
OLEDB: Final = 0x10
READ_ONLY_INTENT: Final = 0x20
# OptionFlags3
CHANGE_PASSWORD: Final = 0x01
SEND_YUKON_BINARY_XML: Final = 0x02
USER_INSTANCE: Final = 0x04
UNKNOWN_COLLATIONS: Final = 0x08
EXTENSION: Final = 0x10

_FIXED: Final = struct.Struct("<IIIIII4BiI")
_PAIR: Final = struct.Struct("<HH")
_HEAD: Final = 94
"""Bytes before the first string, since 7.2; 7.1 has 86 of them (no SSPILong, no ChangePassword)."""
_HEAD_7_1: Final = 86
_SWAP: Final = bytes(((byte << 4 | byte >> 4) & 0xFF) ^ 0xA5 for byte in range(256))
_UNSWAP: Final = bytes((swapped << 4 | swapped >> 4) & 0xFF for swapped in (byte ^ 0xA5 for byte in range(256)))


def scrambled(password: str) -> bytes:
    """A password as it is sent: each byte's halves swapped, then XOR 0xA5. It hides nothing."""
    return wide(password).translate(_SWAP)


@attrs.frozen
class Login7:
    """A login.

    Attributes:
        version: TDSVersion.
        packet_size: bytes that the client asks for; 0: whatever the server likes.
        program_version, pid, connection_id: of the client.
        flags1, flags2, type_flags, flags3: see the constants.
        time_zone: minutes; nobody reads it.
        lcid: the client's locale.
        host, user, password, application, server, library, language, database: the client's words.
        client_id: six bytes.
        sspi: the first token of integrated security, b"" without.
        attach_file, new_password: likewise.
        features: what it can, in the order in which it was sent: names and data.
    """

    version: int = k.TDS_7_4
    packet_size: int = 4096
    program_version: int = 0
    pid: int = 0
    connection_id: int = 0
    flags1: int = USE_DB_ON | INIT_DB_FATAL | SET_LANG_ON
    flags2: int = INIT_LANG_FATAL | ODBC
    type_flags: int = 0
    flags3: int = UNKNOWN_COLLATIONS
    time_zone: int = 0
    lcid: int = 0x409
    host: str = ""
    user: str = ""
    password: str = attrs.field(default="", repr=False)
    application: str = ""
    server: str = ""
    library: str = ""
    language: str = ""
    database: str = ""
    client_id: bytes = bytes(6)
    sspi: bytes = attrs.field(default=b"", repr=False)
    attach_file: str = ""
    new_password: str = attrs.field(default="", repr=False)
    features: tuple[tuple[int, bytes], ...] = attrs.field(default=(), repr=False)


def login7(login: Login7) -> bytes:
    """The message's data."""
    head = _HEAD if login.version >= k.TDS_7_2 or login.version == k.TDS_8_0 else _HEAD_7_1
    data = bytearray()
    pairs: list[bytes] = []

    def place(value: bytes, count: int) -> None:
        pairs.append(_PAIR.pack(head + len(data), count))
        data.extend(value)

    def text(value: str) -> None:
        raw = wide(value)
        place(raw, len(raw) // 2)

    text(login.host)
    text(login.user)
    place(scrambled(login.password), len(wide(login.password)) // 2)
    text(login.application)
    text(login.server)
    flags3 = login.flags3 & ~EXTENSION
    if login.features:
        # The extension is four bytes, the offset of the list of features, which stands behind all the rest.
        flags3 |= EXTENSION
        extension = len(data)
        place(bytes(4), 4)
    else:
        extension = -1
        place(b"", 0)
    text(login.library)
    text(login.language)
    text(login.database)
    pairs.append(login.client_id)
    place(login.sspi, min(len(login.sspi), 0xFFFF))
    text(login.attach_file)
    if head == _HEAD:
        place(scrambled(login.new_password), len(wide(login.new_password)) // 2)
        pairs.append((len(login.sspi) if len(login.sspi) >= 0xFFFF else 0).to_bytes(4, "little"))
    if login.features:
        data[extension : extension + 4] = (head + len(data)).to_bytes(4, "little")
        for name, value in login.features:
            data += bytes((name,)) + len(value).to_bytes(4, "little") + value
        data.append(k.FEATURE_TERMINATOR)
    fixed = _FIXED.pack(
        head + len(data),
        login.version,
        login.packet_size,
        login.program_version,
        login.pid,
        login.connection_id,
        login.flags1,
        login.flags2,
        login.type_flags,
        flags3,
        login.time_zone,
        login.lcid,
    )
    return fixed + b"".join(pairs) + bytes(data)


def read_login7(data: bytes) -> Login7:
    """Read a login. Raises `WireError` for one that does not hold together, as a server ends the connection."""
    if len(data) < _HEAD_7_1:
        msg = f"a LOGIN7 of {len(data)} bytes"
        raise WireError(msg)
    length, version, packet_size, program_version, pid, connection_id, *rest = _FIXED.unpack_from(data)
    flags1, flags2, type_flags, flags3, time_zone, lcid = rest
    if length != len(data):
        msg = f"a LOGIN7 that says it has {length} bytes, and has {len(data)}"
        raise WireError(msg)
    reader = Reader(data, "LOGIN7", _FIXED.size)

    def place(size: int = 2) -> bytes:
        at, count = reader.integer(2), reader.integer(2)
        if at + size * count > len(data):
            raise reader.fault(f"a value ends at {at + size * count}")
        return data[at : at + size * count]

    host, user, password, application, server = (place() for _ in range(5))
    extension = place(1)
    library, language, database = (place() for _ in range(3))
    client_id = reader.take(6)
    at, count = reader.integer(2), reader.integer(2)
    attach_file = place()
    new_password = b""
    if version >= k.TDS_7_2 or version == k.TDS_8_0:
        new_password = place()
        long = reader.integer(4)
        if count == 0xFFFF and long:
            count = long
    if at + count > len(data):
        raise reader.fault("SSPI ends behind it")
    return Login7(
        version,
        packet_size,
        program_version,
        pid,
        connection_id,
        flags1,
        flags2,
        type_flags,
        flags3,
        time_zone,
        lcid,
        narrow(host),
        narrow(user),
        narrow(password.translate(_UNSWAP)),
        narrow(application),
        narrow(server),
        narrow(library),
        narrow(language),
        narrow(database),
        client_id,
        data[at : at + count],
        narrow(attach_file),
        narrow(new_password.translate(_UNSWAP)),
        _features(data, extension) if flags3 & EXTENSION else (),
    )


def _features(data: bytes, extension: bytes) -> tuple[tuple[int, bytes], ...]:
    if len(extension) < 4:
        msg = "a malformed LOGIN7: an extension without a list of features"
        raise WireError(msg)
    reader = Reader(data, "list of features in a LOGIN7")
    at = int.from_bytes(extension[:4], "little")
    if at > len(data):
        raise reader.fault(f"it begins at {at}")
    reader.at = at
    found: list[tuple[int, bytes]] = []
    while (name := reader.integer(1)) != k.FEATURE_TERMINATOR:
        if any(name == each for each, _ in found):
            raise reader.fault(f"feature {name} comes twice")
        found.append((name, reader.take(reader.integer(4))))
    return tuple(found)
