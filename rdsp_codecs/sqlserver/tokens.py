"""Tokens of a server's response: how they are written and read, one at a time ([MS-TDS] 2.2.7).

`walking` finds them in a stream. `old` says that the connection speaks 7.1, where some numbers have fewer bytes.
"""

from __future__ import annotations

from typing import Final

import attrs

from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver.values import Reader, b_varbyte, b_varchar, integer, signed, us_varchar, wide

LENGTH_OF_TWO: Final = frozenset(
    {k.ERROR, k.INFO, k.LOGINACK, k.ENVCHANGE, k.ORDER, k.SSPI, k.COLINFO, k.TABNAME}
)  # fmt: skip
"""Tokens that say in two bytes how long they are."""
LENGTH_OF_FOUR: Final = frozenset({k.SESSIONSTATE, k.FEDAUTHINFO})
FIXED: Final = {k.RETURNSTATUS: 4, k.OFFSET: 4}
DONES: Final = frozenset({k.DONE, k.DONEPROC, k.DONEINPROC})


def _counted(token: int, body: bytes) -> bytes:
    return bytes((token,)) + integer(len(body), 2) + body


@attrs.frozen
class Done:
    """DONE, DONEPROC or DONEINPROC ([MS-TDS] 2.2.7.6 to 2.2.7.8).

    Attributes:
        token: which of them.
        status: bits.
        command: of the statement that is done; nobody documents the numbers.
        rows: how many, where `DONE_COUNT` says so.
    """

    token: int = k.DONE
    status: int = 0
    command: int = 0
    rows: int = 0


def done(what: Done, *, old: bool = False) -> bytes:
    """Write one."""
    rows = integer(what.rows, 4 if old else 8)
    return bytes((what.token,)) + integer(what.status, 2) + integer(what.command, 2) + rows


def done_size(*, old: bool) -> int:
    """Bytes behind the token's number."""
    return 8 if old else 12


def read_done(data: bytes, *, old: bool = False) -> Done:
    """Read one, with the token's number. Raises `WireError`."""
    reader = Reader(data, "DONE")
    return Done(reader.integer(1), reader.integer(2), reader.integer(2), reader.integer(4 if old else 8))


@attrs.frozen
class Note:
    """ERROR or INFO ([MS-TDS] 2.2.7.10, 2.2.7.13).

    Attributes:
        number: of the message.
        state: tells apart where it comes from.
        severity: its class: over 10 an error, from 20 on the end of the connection.
        text: the message.
        server, procedure: where it comes from.
        line: in the batch or the procedure, 1 the first; 0: in none.
    """

    number: int
    state: int
    severity: int
    text: str
    server: str = ""
    procedure: str = ""
    line: int = 1


def note(what: Note, *, old: bool = False) -> bytes:
    """Write one: an ERROR from severity 11 on."""
    body = signed(what.number, 4) + bytes((what.state, what.severity)) + us_varchar(what.text)
    body += b_varchar(what.server) + b_varchar(what.procedure) + integer(what.line, 2 if old else 4)
    return _counted(k.ERROR if what.severity > 10 else k.INFO, body)


def read_note(data: bytes, *, old: bool = False) -> Note:
    """Read one, with the token's number. Raises `WireError`."""
    reader = Reader(data, "ERROR or INFO", 3)
    number, state, severity = reader.signed(4), reader.integer(1), reader.integer(1)
    text, server, procedure = reader.us_varchar(), reader.b_varchar(), reader.b_varchar()
    return Note(number, state, severity, text, server, procedure, reader.integer(2 if old else 4))


def login_ack(version: int, program: str, numbers: tuple[int, int, int, int]) -> bytes:
    """LOGINACK ([MS-TDS] 2.2.7.14).

    Args:
        version: TDSVersion as a LOGIN7 has it; it goes out in the other byte order.
        program: the server's name for itself.
        numbers: its version: major, minor, and the build in two bytes.
    """
    return _counted(k.LOGINACK, b"\1" + version.to_bytes(4, "big") + b_varchar(program) + bytes(numbers))


def read_login_ack(data: bytes) -> tuple[int, str, tuple[int, int, int, int]]:
    """See `login_ack`. Raises `WireError`."""
    reader = Reader(data, "LOGINACK", 4)
    version, program, numbers = int.from_bytes(reader.take(4), "big"), reader.b_varchar(), reader.take(4)
    return version, program, (numbers[0], numbers[1], numbers[2], numbers[3])


_TEXTUAL: Final = frozenset(
    {k.ENV_DATABASE, k.ENV_LANGUAGE, k.ENV_CHARSET, k.ENV_PACKET_SIZE, k.ENV_MIRROR_PARTNER, k.ENV_USER_INSTANCE}
)
"""Their values are characters, counted; all other ones are bytes."""


def env_change(kind: int, new: str | bytes = b"", old: str | bytes = b"") -> bytes:
    """ENVCHANGE ([MS-TDS] 2.2.7.9) of a kind with two short values.

    Args:
        kind: which; text goes with those whose values are characters.
        new, old: the values; b"" is one of no bytes.
    """
    return _counted(k.ENVCHANGE, bytes((kind,)) + _env_value(new) + _env_value(old))


def _env_value(value: str | bytes) -> bytes:
    return b_varchar(value) if isinstance(value, str) else b_varbyte(value)


def routing(port: int, server: str, database: str = "") -> bytes:
    """ENVCHANGE 20, or 21 with a database: the client is to log in elsewhere."""
    where = b"\0" + integer(port, 2) + us_varchar(server) + (us_varchar(database) if database else b"")
    kind = k.ENV_ENHANCED_ROUTING if database else k.ENV_ROUTING
    return _counted(k.ENVCHANGE, bytes((kind,)) + integer(len(where), 2) + where + b"\0\0")


@attrs.frozen
class EnvChange:
    """One that was read.

    Attributes:
        kind: which.
        new, old: as they came: UTF-16 where they are characters. Of routing, `new` is all that it says.
    """

    kind: int
    new: bytes
    old: bytes = b""


def read_env_change(data: bytes) -> EnvChange:
    """Read one, with the token's number. Raises `WireError`."""
    reader = Reader(data, "ENVCHANGE", 3)
    kind = reader.integer(1)
    if kind in (k.ENV_ROUTING, k.ENV_ENHANCED_ROUTING):
        return EnvChange(kind, reader.take(reader.integer(2)))
    if kind == k.ENV_PROMOTE_TRANSACTION:
        return EnvChange(kind, reader.take(reader.integer(4)))
    size = 2 if kind in _TEXTUAL else 1
    new = reader.take(size * reader.integer(1))
    return EnvChange(kind, new, reader.take(size * reader.integer(1)))


def read_routing(new: bytes) -> tuple[str, int, str]:
    """Server, port and, of the longer kind, database. Raises `WireError`."""
    reader = Reader(new, "routing")
    if reader.integer(1):
        raise reader.fault("its protocol is not TCP")
    port, server = reader.integer(2), reader.us_varchar()
    return server, port, reader.us_varchar() if reader.left else ""


def feature_ack(features: tuple[tuple[int, bytes], ...]) -> bytes:
    """FEATUREEXTACK ([MS-TDS] 2.2.7.11)."""
    parts = [bytes((name,)) + integer(len(value), 4) + value for name, value in features]
    return bytes((k.FEATUREEXTACK,)) + b"".join(parts) + bytes((k.FEATURE_TERMINATOR,))


def read_feature_ack(data: bytes) -> dict[int, bytes]:
    """Read one, with the token's number. Raises `WireError`."""
    reader = Reader(data, "FEATUREEXTACK", 1)
    found: dict[int, bytes] = {}
    while (name := reader.integer(1)) != k.FEATURE_TERMINATOR:
        found[name] = reader.take(reader.integer(4))
    return found


def fedauth_info(sts_url: str, spn: str) -> bytes:
    """FEDAUTHINFO ([MS-TDS] 2.2.7.12): where the client gets a token from."""
    values = ((1, wide(sts_url)), (2, wide(spn)))
    table, data, at = b"", b"", 4 + 9 * len(values)
    for name, value in values:
        table += bytes((name,)) + integer(len(value), 4) + integer(at + len(data), 4)
        data += value
    body = integer(len(values), 4) + table + data
    return bytes((k.FEDAUTHINFO,)) + integer(len(body), 4) + body


def return_status(value: int) -> bytes:
    """RETURNSTATUS ([MS-TDS] 2.2.7.18)."""
    return bytes((k.RETURNSTATUS,)) + signed(value, 4)


def order(columns: tuple[int, ...]) -> bytes:
    """ORDER ([MS-TDS] 2.2.7.17): by which columns the rows are sorted, 1 the first."""
    return _counted(k.ORDER, b"".join(integer(each, 2) for each in columns))


def session_state(sequence: int, states: tuple[tuple[int, bytes], ...], *, recoverable: bool) -> bytes:
    """SESSIONSTATE ([MS-TDS] 2.2.7.21)."""
    parts = [integer(sequence, 4), b"\1" if recoverable else b"\0"]
    for number, value in states:
        size = integer(len(value), 1) if len(value) < 0xFF else b"\xff" + integer(len(value), 4)
        parts += (bytes((number,)), size, value)
    body = b"".join(parts)
    return bytes((k.SESSIONSTATE,)) + integer(len(body), 4) + body
