"""Follows a server's answer to one command, packet by packet: what each one is, and where the answer ends.

The response grammar of all commands ("Command Phase"), for both forms of a result set: the classic one with an EOF
behind definitions and behind rows, and the one of CLIENT_DEPRECATE_EOF. Pure; it looks at first bytes and sizes, and
only into those packets that `wants` whole.
"""

from __future__ import annotations

from enum import IntEnum, unique
from typing import Final

from rdsp_codecs.errors import WireError
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r


@unique
class Part(IntEnum):
    """What a packet is."""

    OK = 0
    ERR = 1
    EOF = 2
    COUNT = 3
    DEFINITION = 4
    ROW = 5
    PREPARED = 6
    FILE = 7
    PROGRESS = 8
    TEXT = 9
    PROOF = 10
    EVENT = 11


@unique
class Phase(IntEnum):
    """What comes next."""

    NOTHING = 0
    RESULT = 1
    DEFINITIONS = 2
    DEFINITIONS_END = 3
    ROWS = 4
    FILE = 5
    FILE_FAILED = 6
    SIMPLE = 7
    PREPARED = 8
    PARAMETERS = 9
    PARAMETERS_END = 10
    FIELDS = 11
    TEXT = 12
    PROOF = 13
    STREAM = 14


FIRST_PHASE: Final = {
    r.COM_QUIT: Phase.NOTHING,
    r.COM_QUERY: Phase.RESULT,
    r.COM_FIELD_LIST: Phase.FIELDS,
    r.COM_STATISTICS: Phase.TEXT,
    r.COM_PROCESS_INFO: Phase.RESULT,
    r.COM_CHANGE_USER: Phase.PROOF,
    r.COM_BINLOG_DUMP: Phase.STREAM,
    r.COM_TABLE_DUMP: Phase.STREAM,
    r.COM_STMT_PREPARE: Phase.PREPARED,
    r.COM_STMT_EXECUTE: Phase.RESULT,
    r.COM_STMT_SEND_LONG_DATA: Phase.NOTHING,
    r.COM_STMT_CLOSE: Phase.NOTHING,
    r.COM_STMT_FETCH: Phase.ROWS,
    r.COM_BINLOG_DUMP_GTID: Phase.STREAM,
    r.COM_CLONE: Phase.STREAM,
    r.COM_SUBSCRIBE_GROUP_REPLICATION_STREAM: Phase.STREAM,
    r.COM_STMT_BULK_EXECUTE: Phase.RESULT,
}
"""All others are answered by one OK, EOF or ERR, those that do not exist by ERR."""

_OK_LEAST: Final = 7
"""Bytes of the shortest OK; an EOF has five, and may come where an OK was agreed (MySQL bug 83346)."""
_FULL: Final = 0xFFFFFF
_LOOKED_INTO: Final = frozenset({r.OK, r.EOF, r.ERR})
_LONG_BEGINNINGS: Final = frozenset({r.OK, r.ERR, r.LOCAL_INFILE})
_LONGEST_COUNT: Final = 10
"""Bytes of a column count, with the one that says what follows: anything else that begins a result can be long."""


class Dialogue:
    """The answer to one command after the other on one connection.

    Invariant: `phase` is NOTHING between answers, and only then may `asked` be called; an ERR ends all of an answer.

    Attributes:
        flags: the connection's.
        phase: what comes next.
        status: flags of the last OK or EOF; None when they are not known: behind an ERR.
        ok: the last packet, where it is an OK; error: where it is an ERR; prepared: where it is a COM_STMT_PREPARE_OK.
        more: the last OK or EOF said that another result follows.
    """

    __slots__ = (
        "_classic",
        "_command",
        "_follow",
        "_left",
        "_left_out",
        "_outs",
        "error",
        "flags",
        "more",
        "ok",
        "phase",
        "prepared",
        "status",
    )

    def __init__(self, flags: int, status: int | None = None) -> None:
        self.flags = flags
        self.status = status
        self.phase = Phase.NOTHING
        self.ok: r.Ok | None = None
        self.error: r.Err | None = None
        self.prepared: r.Prepared | None = None
        self.more = False
        self._command = 0
        self._classic = not flags & c.CLIENT_DEPRECATE_EOF
        self._left = 0
        self._follow = 0
        self._outs = False
        self._left_out = False

    @property
    def over(self) -> bool:
        """No packet is owed."""
        return self.phase == Phase.NOTHING

    @property
    def clients_turn(self) -> bool:
        """The client speaks next, and what it says is no command: a file's contents, or a proof."""
        return self.phase in (Phase.FILE, Phase.FILE_FAILED)

    def asked(self, command: int) -> None:
        """The client has sent a command."""
        if not self.over:
            msg = "a command before the answer to the one before"
            raise WireError(msg)
        self._command = command
        self.phase = FIRST_PHASE.get(command, Phase.SIMPLE)
        self.more = self._outs = False

    def given(self, size: int) -> None:
        """While it is the client's turn to send a file: a payload of its, of so many bytes; an empty one ends it."""
        if size or not self.clients_turn:
            return
        self.phase = Phase.RESULT if self.phase == Phase.FILE else Phase.NOTHING

    def wants(self, first: int, size: int) -> bool:
        """Whether a payload that begins so must be seen whole. Raises `WireError` for one that no server begins so."""
        phase = self.phase
        if phase == Phase.ROWS:
            return first in (r.EOF, r.ERR) and size < _FULL
        if phase in (Phase.DEFINITIONS, Phase.PARAMETERS):
            return first == r.ERR
        if phase == Phase.STREAM:
            return first == r.ERR or (first == r.EOF and size < r.EOF_MOST)
        if phase == Phase.FIELDS:
            return first in (r.EOF, r.ERR)
        if phase == Phase.RESULT and size > _LONGEST_COUNT and first not in _LONG_BEGINNINGS:
            raise self._wrong(first)
        return phase not in (Phase.TEXT, Phase.PROOF) or first in _LOOKED_INTO

    def told(self, payload: bytes, size: int) -> Part:
        """A payload of the server's: whole where `wants` said so, else at least its first byte. Raises `WireError`."""
        phase = self.phase
        first = payload[0] if size else -1
        self.ok = self.prepared = None
        if first == r.ERR:
            # Also unasked: a server that closes says why.
            return self._err(payload)
        if phase == Phase.ROWS:
            if first != r.EOF or (self._classic and size >= r.EOF_MOST) or size >= _FULL:
                return Part.ROW
            return self._end(payload, size)
        if phase == Phase.RESULT:
            return self._result(first, payload)
        if phase in (Phase.DEFINITIONS, Phase.PARAMETERS):
            return self._definition(first, size)
        return self._other(phase, first, payload, size)

    def _other(self, phase: Phase, first: int, payload: bytes, size: int) -> Part:
        if phase == Phase.DEFINITIONS_END:
            if first == r.OK and self._command == r.COM_STMT_EXECUTE:
                # MySQL 9.7: a statement that has had a cursor is given another one, which is not asked for.
                return self._end(payload, size)
            return self._definitions_end(payload)
        if phase == Phase.PARAMETERS_END:
            self._eof(payload)
            self._prepared_columns()
            return Part.EOF
        if phase == Phase.SIMPLE:
            if first not in (r.OK, r.EOF):
                raise self._wrong(first)
            return self._end(payload, size)
        if phase == Phase.PREPARED:
            return self._prepared(payload)
        if phase == Phase.FIELDS:
            return self._end(payload, size) if first == r.EOF else Part.DEFINITION
        if phase == Phase.TEXT:
            self.phase = Phase.NOTHING
            return Part.TEXT
        if phase == Phase.PROOF:
            return self._end(payload, size) if first == r.OK else Part.PROOF
        if phase == Phase.STREAM:
            return self._end(payload, size) if first == r.EOF and size < r.EOF_MOST else Part.EVENT
        raise self._wrong(first)

    def _wrong(self, first: int) -> WireError:
        return WireError(
            f"a packet 0x{first & 0xFF:02x} in the answer to command 0x{self._command:02x}: {self.phase.name}"
        )

    def _err(self, payload: bytes) -> Part:
        if self.flags & c.MARIADB_CLIENT_PROGRESS and r.is_progress(payload):
            return Part.PROGRESS
        self.error = r.read_err(payload)
        self.status = None
        self.more = False
        self.phase = Phase.FILE_FAILED if self.phase == Phase.FILE else Phase.NOTHING
        return Part.ERR

    def _result(self, first: int, payload: bytes) -> Part:
        """What a result begins with: OK, a column count, or the wish for a file."""
        if first == r.OK:
            return self._end(payload, len(payload))
        if first == r.LOCAL_INFILE:
            self.phase = Phase.FILE
            return Part.FILE
        count = r.read_column_count(payload, self.flags)
        self._left = count.columns
        if count.follow != 0:
            self.phase = Phase.DEFINITIONS
        else:
            self.phase = Phase.DEFINITIONS_END if self._classic else Phase.ROWS
        return Part.COUNT

    def _definition(self, first: int, size: int) -> Part:
        if first == r.EOF and size < r.EOF_MOST:
            raise self._wrong(first)
        self._left -= 1
        if self._left:
            return Part.DEFINITION
        if self.phase == Phase.PARAMETERS:
            if self._classic:
                self.phase = Phase.PARAMETERS_END
            else:
                self._prepared_columns()
        elif self._classic:
            self.phase = Phase.DEFINITIONS_END
        else:
            self.phase = Phase.NOTHING if self._command == r.COM_STMT_PREPARE else Phase.ROWS
        return Part.DEFINITION

    def _definitions_end(self, payload: bytes) -> Part:
        status = self._eof(payload)
        if self._command == r.COM_STMT_PREPARE:
            self.phase = Phase.NOTHING
        elif self._command == r.COM_STMT_EXECUTE and status & r.SERVER_STATUS_CURSOR_EXISTS:
            # The rows are fetched; with CLIENT_DEPRECATE_EOF an end of rows says so.
            self.phase = Phase.NOTHING
        else:
            # Behind OUT parameters an OK always follows; servers say so here, and forget it behind the row.
            self._outs = bool(status & r.SERVER_PS_OUT_PARAMS)
            self.phase = Phase.ROWS
        return Part.EOF

    def _eof(self, payload: bytes) -> int:
        if payload[:1] != b"\xfe":
            raise self._wrong(payload[0] if payload else -1)
        end = r.read_eof(payload)
        self.status = end.status
        return end.status

    def _end(self, payload: bytes, size: int) -> Part:
        """The OK or EOF that ends a result, and with it the answer where no other follows."""
        if payload[0] == r.EOF and size < _OK_LEAST:
            status, part = self._eof(payload), Part.EOF
        else:
            self.ok = r.read_ok(payload, self.flags)
            status, part = self.ok.status, Part.OK
        self.status = status
        more = self._outs or bool(status & r.SERVER_MORE_RESULTS_EXISTS)
        self.more = more and FIRST_PHASE.get(self._command) == Phase.RESULT
        self._outs = False
        self.phase = Phase.RESULT if self.more else Phase.NOTHING
        return part

    def _prepared(self, payload: bytes) -> Part:
        self.prepared = said = r.read_prepared(payload, self.flags)
        self._left_out = said.follow == 0
        self._follow = said.columns
        if not said.parameters:
            self._prepared_columns()
        elif not self._left_out:
            self._left, self.phase = said.parameters, Phase.PARAMETERS
        elif self._classic:
            # An EOF comes behind each list, also where the list itself is left out.
            self.phase = Phase.PARAMETERS_END
        else:
            self._prepared_columns()
        return Part.PREPARED

    def _prepared_columns(self) -> None:
        """The parameters of a statement are told; now its columns, where it has any."""
        self._left = self._follow
        if not self._left:
            self.phase = Phase.NOTHING
        elif not self._left_out:
            self.phase = Phase.DEFINITIONS
        else:
            self.phase = Phase.DEFINITIONS_END if self._classic else Phase.NOTHING
