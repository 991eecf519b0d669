"""The packets that answer commands: OK, ERR, EOF, LOCAL INFILE, column count, COM_STMT_PREPARE_OK; and commands' names.

("Generic Response Packets", "Text Protocol", "Prepared Statements".) Readers take whole payloads without the packet's
header and give values from which the writers make the same bytes again; what is malformed is a `WireError`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import attrs
from mypy_extensions import i64

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql.trackers import COUNTER, NO_CHANGES, Changes, Tracker, changes, read_trackers, trackers
from rdsp_codecs.mysql.values import NULL, Reader, integer, lenenc, lenenc_integer

COM_SLEEP: Final = 0x00
COM_QUIT: Final = 0x01
COM_INIT_DB: Final = 0x02
COM_QUERY: Final = 0x03
COM_FIELD_LIST: Final = 0x04
COM_CREATE_DB: Final = 0x05
COM_DROP_DB: Final = 0x06
COM_REFRESH: Final = 0x07
COM_SHUTDOWN: Final = 0x08
COM_STATISTICS: Final = 0x09
COM_PROCESS_INFO: Final = 0x0A
COM_CONNECT: Final = 0x0B
COM_PROCESS_KILL: Final = 0x0C
COM_DEBUG: Final = 0x0D
COM_PING: Final = 0x0E
COM_TIME: Final = 0x0F
COM_DELAYED_INSERT: Final = 0x10
COM_CHANGE_USER: Final = 0x11
COM_BINLOG_DUMP: Final = 0x12
COM_TABLE_DUMP: Final = 0x13
COM_CONNECT_OUT: Final = 0x14
COM_REGISTER_SLAVE: Final = 0x15
COM_STMT_PREPARE: Final = 0x16
COM_STMT_EXECUTE: Final = 0x17
COM_STMT_SEND_LONG_DATA: Final = 0x18
COM_STMT_CLOSE: Final = 0x19
COM_STMT_RESET: Final = 0x1A
COM_SET_OPTION: Final = 0x1B
COM_STMT_FETCH: Final = 0x1C
COM_DAEMON: Final = 0x1D
COM_BINLOG_DUMP_GTID: Final = 0x1E
COM_RESET_CONNECTION: Final = 0x1F
COM_CLONE: Final = 0x20
COM_SUBSCRIBE_GROUP_REPLICATION_STREAM: Final = 0x21
COM_STMT_BULK_EXECUTE: Final = 0xFA
"""MariaDB's own."""

UNKNOWN_COMMAND: Final = 1047
"""ER_UNKNOWN_COM_ERROR."""

SERVER_STATUS_IN_TRANS: Final = 0x0001
SERVER_STATUS_AUTOCOMMIT: Final = 0x0002
SERVER_MORE_RESULTS_EXISTS: Final = 0x0008
SERVER_QUERY_NO_GOOD_INDEX_USED: Final = 0x0010
SERVER_QUERY_NO_INDEX_USED: Final = 0x0020
SERVER_STATUS_CURSOR_EXISTS: Final = 0x0040
SERVER_STATUS_LAST_ROW_SENT: Final = 0x0080
SERVER_STATUS_DB_DROPPED: Final = 0x0100
SERVER_STATUS_NO_BACKSLASH_ESCAPES: Final = 0x0200
SERVER_STATUS_METADATA_CHANGED: Final = 0x0400
SERVER_QUERY_WAS_SLOW: Final = 0x0800
SERVER_PS_OUT_PARAMS: Final = 0x1000
SERVER_STATUS_IN_TRANS_READONLY: Final = 0x2000
SERVER_SESSION_STATE_CHANGED: Final = 0x4000
SERVER_STATUS_ANSI_QUOTES: Final = 0x8000
"""MariaDB's own."""

OK: Final = 0x00
EOF: Final = 0xFE
ERR: Final = 0xFF
LOCAL_INFILE: Final = 0xFB
EOF_MOST: Final = 9
"""A payload that begins with 0xFE and is shorter is an EOF."""
PROGRESS: Final = 0xFFFF
"""MariaDB: the error number that stands for a report of progress; the answer goes on behind it."""


@dataclass(init=False)
class Ok:
    """OK_Packet, also the one that ends rows in the place of an EOF. A value: nobody changes one.

    It is made for most statements that write, hence by code that can be compiled.

    Attributes:
        header: 0x00, or 0xFE behind rows.
        affected_rows, last_insert_id: 64 bits.
        status: SERVER_... flags.
        warnings: their number.
        info: what the server says about the statement; None where the packet ends before it.
        trackers: the session's changes; None without SERVER_SESSION_STATE_CHANGED.
        changes: what these say, of one that was read.
    """

    header: int
    affected_rows: int
    last_insert_id: int
    status: int
    warnings: int
    info: bytes | None
    trackers: tuple[Tracker, ...] | None
    changes: Changes

    def __init__(
        self,
        header: int = OK,
        affected_rows: int = 0,
        last_insert_id: int = 0,
        status: int = 0,
        warnings: int = 0,
        info: bytes | None = None,
        trackers: tuple[Tracker, ...] | None = None,
        changes: Changes = NO_CHANGES,
    ) -> None:
        self.header = header
        self.affected_rows = affected_rows
        self.last_insert_id = last_insert_id
        self.status = status
        self.warnings = warnings
        self.info = info
        self.trackers = trackers
        self.changes = changes


_SHORT: Final = 128
_MOST: Final = 1024
_read: Final[dict[tuple[bytes, int], Ok]] = {}
"""OKs that were read, by `likeness`, thrown away together: servers say the same again and again."""
_FLAGS: Final = 4
"""Bytes between an OK's two counts and its info: status and warnings."""
_BOTH_SHORT: Final = 3
"""Where the counts end if each is one byte."""
_TWO: Final = 0xFC
_THREE: Final = 0xFD
"""What begins an integer of two bytes, and one of three."""


def numbers_end(payload: bytes) -> int:
    """Where an OK's two counts end, affected rows and last insert id; 0 where that cannot be told."""
    at: i64 = 1
    size: i64 = len(payload)
    for _ in range(2):
        if at >= size:
            return 0
        first: i64 = payload[at]
        if first < NULL:
            at += 1
        elif first == _TWO:
            at += 3
        elif first == _THREE:
            at += 4
        else:
            return 0
    return at if at + _FLAGS <= size else 0


def likeness(payload: bytes, end: int) -> bytes:
    """Equal for OKs of 128 bytes at the most that differ only in their counts and in MySQL's number of the statement.

    `end`: of the counts. Returns b"" for others.
    """
    size = len(payload)
    if not end or size > _SHORT:
        return b""
    info = end + _FLAGS
    if size > info:
        block = info + 1 + payload[info]
        name = block + 3
        value = name + len(COUNTER)
        # The first entry of the block: its type, its length and the name; nothing that a session sets can look so.
        if value < size and payload[name:value] == COUNTER and not payload[block + 1]:
            return payload[:1] + payload[end:value] + payload[value + 1 + payload[value] :]
    return payload[:1] + payload[end:]


def read_ok(payload: bytes, flags: int) -> Ok:
    """The same without the number of the statement, as far as that is told by `likeness`; see `read_exactly`."""
    end = numbers_end(payload)
    like = likeness(payload, end)
    if not like:
        return read_exactly(payload, flags)
    found = _read.get((like, flags))
    if found is None:
        found = read_exactly(payload, flags)
        if len(_read) >= _MOST:
            _read.clear()
        _read[like, flags] = found
        return found
    if end == _BOTH_SHORT:
        affected: int = payload[1]
        inserted: int = payload[2]
    else:
        reader = Reader(payload, "OK packet")
        reader.at = 1
        affected, inserted = reader.lenenc_integer(), reader.lenenc_integer()
    if affected == found.affected_rows and inserted == found.last_insert_id:
        return found
    return Ok(found.header, affected, inserted, found.status, found.warnings, found.info, found.trackers, found.changes)


def read_exactly(payload: bytes, flags: int) -> Ok:
    """Read an OK. `flags` are those of the connection. Raises `WireError`.

    Servers write `info` with its length, with CLIENT_SESSION_TRACK and without, whatever the specification says.
    """
    reader = Reader(payload, "OK packet")
    header = reader.integer(1)
    if header not in (OK, EOF):
        raise reader.fault(f"it begins with 0x{header:02x}")
    affected, inserted = reader.lenenc_integer(), reader.lenenc_integer()
    status, warnings = reader.integer(2), reader.integer(2)
    info = reader.lenenc() if reader.left else None
    changed: tuple[Tracker, ...] | None = None
    if flags & c.CLIENT_SESSION_TRACK and status & SERVER_SESSION_STATE_CHANGED:
        changed = read_trackers(reader.lenenc())
    reader.close()
    said = changes(changed) if changed is not None else NO_CHANGES
    return Ok(header, affected, inserted, status, warnings, info, changed, said)


def ok(what: Ok) -> bytes:
    """Write an OK. With trackers its status must have SERVER_SESSION_STATE_CHANGED."""
    parts = [
        integer(what.header, 1),
        lenenc_integer(what.affected_rows),
        lenenc_integer(what.last_insert_id),
        integer(what.status, 2),
        integer(what.warnings, 2),
    ]
    if what.info is not None or what.trackers is not None:
        parts.append(lenenc(what.info or b""))
    if what.trackers is not None:
        parts.append(lenenc(trackers(what.trackers)))
    return b"".join(parts)


def without_trackers(what: Ok) -> Ok:
    """The same for a client that has not asked for trackers."""
    info = what.info or None
    return replace(
        what, status=what.status & ~SERVER_SESSION_STATE_CHANGED, trackers=None, info=info, changes=NO_CHANGES
    )


@attrs.frozen
class Err:
    """ERR_Packet.

    Attributes:
        code: the error's number.
        state: its SQLSTATE, 5 bytes; None before a login was read, when the server does not know the protocol yet.
        text: what it says.
    """

    code: int
    state: bytes | None
    text: bytes


def read_err(payload: bytes) -> Err:
    """Read an ERR. Raises `WireError`."""
    reader = Reader(payload, "ERR packet")
    if reader.integer(1) != ERR:
        raise reader.fault("it does not begin with 0xff")
    code = reader.integer(2)
    state = None
    if reader.data[3:4] == b"#" and reader.left >= 6:
        state = reader.take(6)[1:]
    return Err(code, state, reader.rest())


def unknown_command(payload: bytes) -> bool:
    """Whether an ERR says that the server does not know a command. Raises `WireError`.

    A node of Galera that is not ready refuses all commands by the same code.
    """
    found = read_err(payload)
    return found.code == UNKNOWN_COMMAND and not found.text.startswith(b"WSREP")


def err(what: Err) -> bytes:
    """Write an ERR."""
    state = b"" if what.state is None else b"#" + what.state
    return bytes((ERR,)) + integer(what.code, 2) + state + what.text


@attrs.frozen
class Progress:
    """MariaDB's progress report.

    Attributes:
        stage, stages: which stage of how many, 1 the first.
        thousandths: of a percent that the stage has come, 0..100000.
        text: what is being done.
    """

    stage: int
    stages: int
    thousandths: int
    text: bytes


def is_progress(payload: bytes) -> bool:
    """Whether it is a progress report, and not an error."""
    return payload[:3] == b"\xff\xff\xff"


def read_progress(payload: bytes) -> Progress:
    """Read a progress report. Raises `WireError`."""
    reader = Reader(payload, "progress report")
    reader.take(4)  # the error's number, and how many strings follow: one
    stage, stages, done = reader.integer(1), reader.integer(1), reader.integer(3)
    text = reader.lenenc()
    reader.close()
    return Progress(stage, stages, done, text)


def progress(what: Progress) -> bytes:
    """Write a progress report."""
    numbers = integer(what.stage, 1) + integer(what.stages, 1) + integer(what.thousandths, 3)
    return b"\xff\xff\xff\x01" + numbers + lenenc(what.text)


@dataclass(frozen=True)
class Eof:
    """EOF_Packet."""

    warnings: int
    status: int


_EOF_SIZE: Final = 5
_PLAIN_EOFS: Final = [Eof(0, status) for status in range(256)]
"""Those that nearly all are: without warnings, and with none of the upper flags."""


def is_eof(payload: bytes) -> bool:
    """Whether it is an EOF, and not an OK or a row that begins with 0xFE."""
    return payload[:1] == b"\xfe" and len(payload) < EOF_MOST


def read_eof(payload: bytes) -> Eof:
    """Read an EOF. Raises `WireError`."""
    if len(payload) == _EOF_SIZE and payload[0] == EOF and not (payload[1] or payload[2] or payload[4]):
        return _PLAIN_EOFS[payload[3]]
    reader = Reader(payload, "EOF packet")
    if reader.integer(1) != EOF:
        raise reader.fault("it does not begin with 0xfe")
    found = Eof(reader.integer(2), reader.integer(2))
    reader.close()
    return found


def eof(what: Eof) -> bytes:
    """Write an EOF."""
    return bytes((EOF,)) + integer(what.warnings, 2) + integer(what.status, 2)


def read_local_infile(payload: bytes) -> bytes:
    """The name of the file that the server asks for. Raises `WireError`."""
    reader = Reader(payload, "LOCAL INFILE request")
    if reader.integer(1) != LOCAL_INFILE:
        raise reader.fault("it does not begin with 0xfb")
    return reader.rest()


def local_infile(name: bytes) -> bytes:
    """Ask for a file."""
    return bytes((LOCAL_INFILE,)) + name


@dataclass(frozen=True)
class ColumnCount:
    """What a result set begins with.

    Attributes:
        columns: 1 or more.
        follow: whether their definitions follow; None where the connection has no such byte, and they do.
    """

    columns: int
    follow: int | None = None


_SAYS_WHETHER: Final = c.CLIENT_OPTIONAL_RESULTSET_METADATA | c.MARIADB_CLIENT_CACHE_METADATA


def read_column_count(payload: bytes, flags: int) -> ColumnCount:
    """Read a column count. `flags` are those of the connection. Raises `WireError`."""
    if len(payload) == 1 and not flags & _SAYS_WHETHER and 0 < payload[0] < NULL:
        return _FEW[payload[0]]
    reader = Reader(payload, "column count")
    columns = reader.lenenc_integer()
    if not columns:
        raise reader.fault("there is no column")
    follow = reader.integer(1) if flags & _SAYS_WHETHER else None
    reader.close()
    return ColumnCount(columns, follow)


_FEW: Final = tuple(ColumnCount(columns) for columns in range(NULL))


def column_count(what: ColumnCount) -> bytes:
    """Write a column count."""
    return lenenc_integer(what.columns) + (b"" if what.follow is None else integer(what.follow, 1))


@dataclass(frozen=True)
class Prepared:
    """COM_STMT_PREPARE_OK.

    Attributes:
        statement_id: 32 bits.
        columns, parameters: 16 bits; a statement that has more of them says the rest of a division.
        warnings: their number; None where the packet ends before it.
        follow: as in `ColumnCount`, for both lists.
    """

    statement_id: int
    columns: int
    parameters: int
    warnings: int | None = 0
    follow: int | None = None


def read_prepared(payload: bytes, flags: int) -> Prepared:
    """Read a COM_STMT_PREPARE_OK. `flags` are those of the connection. Raises `WireError`."""
    reader = Reader(payload, "COM_STMT_PREPARE_OK")
    if reader.integer(1) != OK:
        raise reader.fault("it does not begin with 0x00")
    statement_id = reader.integer(4)
    columns, parameters = reader.integer(2), reader.integer(2)
    if reader.integer(1):
        raise reader.fault("its filler is not 0")
    warnings = reader.integer(2) if reader.left else None
    follow = reader.integer(1) if reader.left and flags & c.CLIENT_OPTIONAL_RESULTSET_METADATA else None
    reader.close()
    return Prepared(statement_id, columns, parameters, warnings, follow)


def prepared(what: Prepared) -> bytes:
    """Write a COM_STMT_PREPARE_OK."""
    numbers = integer(what.statement_id, 4) + integer(what.columns, 2) + integer(what.parameters, 2)
    tail = b"" if what.warnings is None else integer(what.warnings, 2)
    return b"\0" + numbers + b"\0" + tail + (b"" if what.follow is None else integer(what.follow, 1))
