"""What the proxy itself asks of a server on a connection that nobody uses: reset, probe, facts.

Results are asked for as texts, which are all that `ask` reads.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

import attrs

from rdsp_codecs.errors import LoginRefused, WireError
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.sqlserver import tokens as t
from rdsp_codecs.sqlserver.headers import NO_TRANSACTION, all_headers
from rdsp_codecs.sqlserver.line import Line
from rdsp_codecs.sqlserver.state import SqlServerState
from rdsp_codecs.sqlserver.types import NVARCHAR, read_columns
from rdsp_codecs.sqlserver.values import NO_LENGTH, Reader, narrow, wide
from rdsp_codecs.steps import Conversation, Send
from rdsp_codecs.transaction import Transaction

_MOST: Final = 1 << 20
"""Bytes of an answer to a question of ours."""
_SKIPPED: Final = frozenset({k.ENVCHANGE, k.INFO, k.ERROR, k.ORDER})
_ROLL_BACK: Final = "IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION"
_AS_NEW: Final = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
"""What RESETCONNECTION leaves as it was ([MS-TDS] 2.2.3.1.2)."""
_LIMIT: Final = "SELECT CAST(@@MAX_CONNECTIONS AS nvarchar(20))"
_WRITABLE: Final = "SELECT CAST(DATABASEPROPERTYEX(DB_NAME(), 'Updateability') AS nvarchar(20))"
_LIFE: Final = "SELECT N'1'"


@attrs.frozen
class Answer:
    """What a server said to one batch.

    Attributes:
        error: its first error; None without one.
        raw: the whole response, where there is one.
        rows: of all results.
        changes: its ENVCHANGEs, by kind: the last one of each.
    """

    error: t.Note | None
    raw: bytes
    rows: list[tuple[str | None, ...]]
    changes: dict[int, t.EnvChange]


def ask(
    state: SqlServerState, text: str, *, status: int = 0, descriptor: bytes = NO_TRANSACTION
) -> Generator[Any, Any, Answer]:
    """One batch on an idle connection. Raises `WireError`, also for a long answer, and for rows that are not texts."""
    data = (b"" if state.old else all_headers(descriptor)) + wide(text)
    yield Send(f.packets(f.SQL_BATCH, data, state.packet_size, status=status))
    line = Line(_MOST, 2 * _MOST)
    line.inbox.loosen()
    line.inbox.put(state.leftover)
    state.leftover = b""
    answer = yield from line.receive(f.RESPONSE)
    if line.inbox.leftover:
        msg = "a server says more than it was asked"
        raise WireError(msg)
    return _read(answer.data, old=state.old)


def _read(data: bytes, *, old: bool) -> Answer:
    reader = Reader(data, "answer")
    error: t.Note | None = None
    rows: list[tuple[str | None, ...]] = []
    changes: dict[int, t.EnvChange] = {}
    count = 0
    more = True
    while more:
        begin = reader.at
        token = reader.integer(1)
        if token == k.COLMETADATA:
            columns = read_columns(reader, old=old) or ()
            if any(column.info.kind != NVARCHAR for column in columns):
                raise reader.fault("a column that is no text")
            count = len(columns)
        elif token == k.ROW:
            rows.append(tuple(_text(reader) for _ in range(count)))
        elif token in t.DONES:
            reader.skip(t.done_size(old=old))
            more = bool(t.read_done(data[begin : reader.at], old=old).status & k.DONE_MORE)
        elif token in _SKIPPED:
            reader.skip(reader.integer(2))
            said = data[begin : reader.at]
            if token == k.ERROR:
                error = error or t.read_note(said, old=old)
            elif token == k.ENVCHANGE:
                change = t.read_env_change(said)
                changes[change.kind] = change
        else:
            raise reader.fault(f"token {token:#04x}")
    if reader.left:
        raise reader.fault("more than one response")
    return Answer(error, data, rows, changes)


def _text(reader: Reader) -> str | None:
    size = reader.integer(2)
    return None if size == NO_LENGTH else narrow(reader.take(size))


def _asked(state: SqlServerState, text: str) -> Generator[Any, Any, str]:
    """The only value of a question. Raises `LoginRefused` for an error, `WireError`."""
    answer = yield from ask(state, text)
    if answer.error is not None:
        raise LoginRefused(str(answer.error.number), answer.error.text, raw=answer.raw)
    if len(answer.rows) != 1 or len(answer.rows[0]) != 1:
        msg = f"no value came back for {text}"
        raise WireError(msg)
    return answer.rows[0][0] or ""


def reset(state: SqlServerState, transaction: Transaction) -> Conversation[None]:
    """Make a session as it was behind its login. Raises `WireError` when the backend cannot be trusted.

    An open transaction is rolled back by itself first: Babelfish, for one, does not survive a reset within one.
    """
    if transaction is not Transaction.NONE:
        answer = yield from ask(state, _ROLL_BACK, descriptor=state.descriptor)
        if answer.error is not None:
            msg = f"a transaction could not be rolled back: {answer.error.text}"
            raise WireError(msg)
        state.descriptor = NO_TRANSACTION
    answer = yield from ask(state, _AS_NEW, status=f.RESET_CONNECTION)
    if answer.error is not None or k.ENV_RESET_ACK not in answer.changes:
        msg = "a reset was not acknowledged"
        raise WireError(msg)
    state.used_by = None


def probe(state: SqlServerState) -> Conversation[None]:
    """A sign of life. Raises `WireError`."""
    answer = yield from ask(state, _LIFE)
    if answer.rows != [("1",)]:
        msg = "an idle server said something else than that it is ready"
        raise WireError(msg)


def prepare(state: SqlServerState, init_query: str) -> Conversation[None]:
    """Run `init_query`. Raises `LoginRefused` with the server's error, or when it leaves a transaction open."""
    answer = yield from ask(state, init_query)
    if answer.error is not None:
        raise LoginRefused(str(answer.error.number), answer.error.text, raw=answer.raw)
    if k.ENV_BEGIN_TRANSACTION in answer.changes:
        raise LoginRefused("", "init_query begins a transaction")


def max_connections(state: SqlServerState) -> Conversation[int]:
    """How many connections the server allows. Raises `LoginRefused`, `WireError`."""
    value = yield from _asked(state, _LIMIT)
    if not value.isdecimal() or not int(value):
        msg = "no number came back for @@MAX_CONNECTIONS"
        raise WireError(msg)
    return int(value)


def is_writable(state: SqlServerState) -> Conversation[bool]:
    """Whether the database is not read-only. Raises `LoginRefused`, `WireError`."""
    return (yield from _asked(state, _WRITABLE)) != "READ_ONLY"
