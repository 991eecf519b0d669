"""Short cuts for the commonest exchanges: one whole query, or one whole Bind or Parse to Sync, and the whole answer.

The relay asks before it lets its filters look at a chunk. A short cut does exactly what the filters, `requests` and
`replies` would do with these bytes, or nothing: all that is out of the ordinary is theirs. Most of the proxy's work
goes through here, so lengths are put together by hand: compiled, that is a few machine instructions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

from rdsp_codecs.ledger import Batch, Owed
from rdsp_codecs.postgres import dialogue as owed
from rdsp_codecs.postgres.dialogue import Dialogue, Kind
from rdsp_codecs.postgres.lexer import NAME_BYTES
from rdsp_codecs.postgres.requests import SYNC, Requests
from rdsp_codecs.postgres.session_state import HARMLESS, HARMLESS_TAG_HEADS
from rdsp_codecs.postgres.statements import Statement
from rdsp_codecs.postgres.unnamed import NOTHING, Put
from rdsp_codecs.transaction import Transaction

if TYPE_CHECKING:
    from rdsp_codecs.api import RelayPolicy

_QUERY: Final = 0x51
_PARSE: Final = 0x50
_BIND: Final = 0x42
_COMPLETE: Final = 0x43
_DATA_ROW: Final = 0x44
_ROW_DESCRIPTION: Final = 0x54
_DESCRIBE_PORTAL: Final = b"D\0\0\0\6P\0"
_EXECUTE: Final = b"E\0\0\0\t\0"
_EXECUTE_BYTES: Final = 10
_SYNC: Final = SYNC
_TAIL: Final = _EXECUTE_BYTES + len(SYNC)
"""Bytes of Execute and Sync."""
_SHORTEST_BIND: Final = 13
_PARSED: Final = 0x31
_BOUND: Final = 0x32
_NO_DATA: Final = 0x6E
_EMPTY: Final = 5
_READY: Final = 0x5A
_READY_BYTES: Final = 6
_IDLE: Final = 0x49
_IN_TRANSACTION: Final = 0x54
_IN_FAILED: Final = 0x45

# Of modules that are not compiled: under names of their own they are not looked up every time.
_NOTHING_FOUND: Final = HARMLESS
_HARMLESS_TAGS: Final = HARMLESS_TAG_HEADS
_BY_HAND: Final = 64
_REMEMBERED_PARSE: Final = 640
_REMEMBERED_MAX: Final = 1024
_parses: Final[dict[bytes, tuple[bytes, bytes]]] = {}
"""Text and types of recent short Parses, whole, without a name, in whose texts nothing is found however they are read:
at most 1024 of 640 bytes, thrown away together.
"""
_HEAD: Final = 6
_SELECT: Final = 0x53454C454354
_INSERT: Final = 0x494E53455254
_UPDATE: Final = 0x555044415445
_BEGIN: Final = 0x424547494E00
_COMMIT: Final = 0x434F4D4D4954
"""The commonest of `HARMLESS_TAG_HEADS`, as numbers: to look up the bytes costs as much as twenty comparisons."""
_NO_TRANSACTION: Final = Transaction.NONE
_OPEN: Final = Transaction.OPEN
_FAILED: Final = Transaction.FAILED


class Shortcuts(Batch):
    """Short cuts of one session, and what is owed for the exchange that one of them let through.

    Invariant: `_begun` is set only while the ledger holds exactly what `_exchange` owed, from the first to the last;
    what `entries` reads changes only when nothing is owed.
    """

    __slots__ = (
        "_begun", "_bind_reply", "_d", "_described", "_most", "_put", "_requests", "_strict", "_sure", "_texts",
    )  # fmt: skip

    def __init__(self, dialogue: Dialogue, requests: Requests, policy: RelayPolicy) -> None:
        self._d = dialogue
        self._requests = requests
        self._texts = requests.texts
        self._most = min(policy.max_frame, policy.max_held // 2)
        self._strict = policy.strict
        self._begun = False
        self._put: Put | None = None
        self._bind_reply = owed.BIND
        self._described = False
        self._sure = True

    def leave(self) -> None:
        """The filters look at what comes: an answer to more than one short cut is theirs."""
        self._begun = False

    # -- the client's bytes ---------------------------------------------------------------------------------------

    def request(self, data: bytes) -> bytes | None:
        """What goes to the server for a chunk that is a whole exchange of the client's; None: it is not for here.

        To be asked while a backend is attached, nothing of the client's is held, and no prologue runs.
        """
        d, size = self._d, len(data)
        if size > self._most or size <= 5 or d.extended or d.skipping:
            return None
        tag = data[0]
        if tag == _QUERY:
            if total_at(data, 0) != size:
                return None
            text = data[5:-1]
            if self._texts.inspect(text) is not _NOTHING_FOUND:
                return None
            d.saw(text, _NOTHING_FOUND)
            state = d.state
            assert state is not None
            d.statements.last = state.last = NOTHING
            d.ledger.owe(owed.QUERY)
            return data
        if tag in (_BIND, _PARSE):
            return self._exchange(data, tag)
        return None

    def _exchange(self, data: bytes, tag: int) -> bytes | None:
        """Parse (perhaps), Bind, Describe of the portal (perhaps), Execute, Sync; all about what has no name but the
        statement.
        """
        d = self._d
        at: i64 = 0
        end: i64 = len(data) - _TAIL
        if not _is_at(_EXECUTE, data, end) or not _is_at(_SYNC, data, end + _EXECUTE_BYTES):
            return None
        if (
            d.native
            or d.statements.altered
            or d.dropping
            or d.copying
            or d.probe_due
            or d.uncertain
            or not d.ledger.empty
            or not self._requests.at_rest
        ):
            return None
        fresh: Statement | None = None
        if tag == _PARSE:
            at = total_at(data, 0)
            fresh = self._unnamed(data, at) if at + _SHORTEST_BIND <= end and data[at] == _BIND else None
            if fresh is None:
                return None
        bound: i64 = at + total_at(data, at)
        described = bound != end
        if described and (bound != end - len(_DESCRIBE_PORTAL) or not _is_at(_DESCRIBE_PORTAL, data, bound)):
            return None
        if data[at + 5]:
            return None  # a portal with a name
        name_end = _nul(data, at + 6, bound)
        if name_end < 0:
            return None
        name = data[at + 6 : name_end]
        if fresh is not None:
            return None if name else self._begin(data, at, fresh, described=described)
        return self._bind(data, name, name_end, bound, described=described)

    def _unnamed(self, data: bytes, total: int) -> Statement | None:
        """The statement of a Parse without a name, when there is nothing in it to heed."""
        if data[5]:
            return None
        texts = self._texts
        parse = data[:total] if total <= _REMEMBERED_PARSE and texts.usual else b""
        known = _parses.get(parse) if parse else None
        if known is None:
            text_end = _nul(data, 6, total)
            if text_end < 0:
                return None
            known = (data[6:text_end], data[text_end + 1 : total])
            if texts.inspect(known[0]) is not _NOTHING_FOUND:
                return None
            if parse and texts.passed(known[0]):
                if len(_parses) >= _REMEMBERED_MAX:
                    _parses.clear()
                _parses[parse] = known
        text, types = known
        return Statement(text, types, _NOTHING_FOUND, context=self._d.context)

    def _begin(self, data: bytes, parse_bytes: int, fresh: Statement, *, described: bool) -> bytes:
        d = self._d
        d.kept += parse_bytes
        self._put = d.put(fresh)
        self._owe(fresh, b"", described=described)
        return data

    def _bind(self, data: bytes, name: bytes, name_end: int, bound: int, *, described: bool) -> bytes | None:
        """A statement that the backend has already."""
        d = self._d
        book, state = d.statements, d.state
        assert state is not None
        statement = book.named.get(name[:NAME_BYTES]) if name else book.unnamed
        if statement is None or statement.verdict is not _NOTHING_FOUND:
            return None
        if not name:
            if statement is not state.unnamed:
                return None
        else:
            server_name = book.name_on(state, statement)
            if server_name is None:
                return None
            if server_name != name:
                total = bound - 1 + len(server_name) - len(name)
                data = b"".join((b"B", total.to_bytes(4, "big"), b"\0", server_name, data[name_end:]))
        self._put = None
        self._owe(statement, name, described=described)
        return data

    def _owe(self, statement: Statement, name: bytes, *, described: bool) -> None:
        d = self._d
        d.extended = True
        statement.bound = True
        d.saw(statement.text or b"", _NOTHING_FOUND)
        d.prologue_failed = False
        self._sure = not d.naming
        if d.naming:
            d.naming = False
            d.uncertain += 1
        self._bind_reply = owed.bind_reply(statement, name)
        self._described = described
        self._begun = True
        d.ledger.owe_batch(self)

    def entries(self) -> list[Owed]:
        """See `Batch`."""
        made = self._put
        entries = [Owed(Kind.PARSE, note=made, undo=made.skip)] if made is not None else []
        entries.append(self._bind_reply)
        if self._described:
            entries.append(owed.DESCRIBE)
        entries.append(owed.EXECUTE)
        entries.append(owed.SYNC if self._sure else owed.UNCERTAIN_SYNC)
        return entries

    # -- the server's bytes ---------------------------------------------------------------------------------------

    def answered(self, data: bytes) -> bool:
        """Whether the chunk is the whole answer to what the short cut let through, rows and all, and it is good.

        To be asked while nothing of the server's is held. True: the request is over.
        """
        end: i64 = len(data) - _READY_BYTES
        if end < 0 or data[end] != _READY or total_at(data, end) != _READY_BYTES:
            return False
        d = self._d
        if self._strict or d.dropping or d.doubts.any or self._requests.bye:
            return False
        status: i64 = data[end + 5]
        if status == _IDLE:
            transaction = _NO_TRANSACTION
        elif status == _IN_TRANSACTION:
            transaction = _OPEN
        elif status == _IN_FAILED:
            transaction = _FAILED
        else:
            return False
        if self._begun:
            if not self._is_answer(data, end):
                return False
            self._settle()
        else:
            ledger = d.ledger
            if d.extended or len(ledger) != 1 or ledger.head is not owed.QUERY or not _is_result(data, end):
                return False
            ledger.settle()
        d.transaction = transaction
        d.forget_texts()
        return True

    def _is_answer(self, data: bytes, end: i64) -> bool:
        """Whether the bytes up to `end` are all that is owed up to CommandComplete."""
        at: i64 = 0
        if self._put is not None:
            if not _is_empty(data, 0, _PARSED):
                return False
            at = 5
        if at + 5 > end or not _is_empty(data, at, _BOUND):
            return False
        at += 5
        if self._described:
            if at + 5 > end or (data[at] != _ROW_DESCRIPTION and not _is_empty(data, at, _NO_DATA)):
                return False
            at += total_at(data, at)
        while at < end and data[at] == _DATA_ROW:
            at += total_at(data, at)
        if at >= end or data[at] != _COMPLETE or not _is_harmless(data, at + 5):
            return False
        return at + total_at(data, at) == end

    def _settle(self) -> None:
        d = self._d
        d.ledger.clear()
        self._begun = False
        if self._put is not None:
            self._put.done()
            self._put = None
        if not self._sure:
            d.uncertain -= 1
        d.copy_syncs = 0
        d.settled()
        d.extended = False


def _is_result(data: bytes, end: i64) -> bool:
    """Whether the bytes up to `end` are rows and good ends of statements."""
    at: i64 = 0
    while at < end:
        tag: i64 = data[at]
        if tag == _COMPLETE:
            if not _is_harmless(data, at + 5):
                return False
        elif tag != _DATA_ROW and tag != _ROW_DESCRIPTION:
            return False
        at += total_at(data, at)
    return at == end


def _is_harmless(data: bytes, at: i64) -> bool:
    """Whether the tag of a CommandComplete, that stands at `at`, cannot pin."""
    if at + _HEAD > len(data):
        return False
    number: i64 = 0
    place: i64 = at
    while place < at + _HEAD:
        number = number << 8 | data[place]
        place += 1
    if number in (_SELECT, _UPDATE, _INSERT, _BEGIN, _COMMIT):
        return True
    return data[at : at + _HEAD] in _HARMLESS_TAGS


def _nul(data: bytes, at: i64, end: i64) -> i64:
    """Where the next NUL is, from `at` on and before `end`; -1: nowhere.

    Looked for by hand for a bit: the call of `bytes.find` costs as much as a hundred steps.
    """
    last: i64 = min(end, at + _BY_HAND)
    while at < last:
        if not data[at]:
            return at
        at += 1
    return data.find(b"\0", at, end) if at < end else -1


def _is_at(what: bytes, data: bytes, at: i64) -> bool:
    """Whether these bytes stand at `at`, without a copy of what stands there."""
    size: i64 = len(what)
    if at < 0 or at + size > len(data):
        return False
    place: i64 = 0
    while place < size:
        if data[at + place] != what[place]:
            return False
        place += 1
    return True


def _is_empty(data: bytes, at: i64, tag: i64) -> bool:
    """Whether a message of this kind, with nothing in it, stands at `at`. Five bytes must be there."""
    return data[at] == tag and total_at(data, at) == _EMPTY


def total_at(data: bytes, at: i64) -> i64:
    """Bytes of the message that begins at `at`, as it says itself (less than five: it is wrong). Five must be there."""
    low: i64 = data[at + 4]
    last: i64 = data[at + 3]
    high: i64 = data[at + 2]
    first: i64 = data[at + 1]
    return (first << 24 | high << 16 | last << 8 | low) + 1
