"""Conversations with a logged-in server that no session has borrowed: reset, first queries, cancel, good-bye."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

from rdsp_codecs.conversation import Inbox, bounded
from rdsp_codecs.errors import LoginRefused, PeerClosed, WireError
from rdsp_codecs.postgres import messages as m
from rdsp_codecs.postgres.asking import Question
from rdsp_codecs.postgres.login import PATH, TEMPORARY, refusal, secure
from rdsp_codecs.postgres.querying import MAX_MESSAGE, note, run
from rdsp_codecs.postgres.session_state import inspect
from rdsp_codecs.postgres.setting_text import EVERYTHING
from rdsp_codecs.postgres.settings import NO_SETTINGS, ROLE, Settings
from rdsp_codecs.postgres.state import PostgresState
from rdsp_codecs.steps import Conversation, Receive, Send
from rdsp_codecs.transaction import Transaction

# Operators by their schema, too: the search_path of a client's start-up parameters holds here, and may lead to its own.
_LIMIT_QUERY: Final = (
    "SELECT pg_catalog.current_setting('max_connections')::int"
    " OPERATOR(pg_catalog.-) pg_catalog.current_setting('superuser_reserved_connections')::int"
    " OPERATOR(pg_catalog.-) coalesce(pg_catalog.current_setting('reserved_connections', true)::int, 0)"
)

_WRITABLE_QUERY: Final = (
    "SELECT NOT pg_catalog.pg_is_in_recovery()"
    " AND pg_catalog.current_setting('default_transaction_read_only') OPERATOR(pg_catalog.=) 'off'"
)


def reset(state: PostgresState, transaction: Transaction) -> Conversation[None]:
    """Roll back what a client left open. Raises `WireError` when the backend does not end up outside a transaction."""
    if transaction is Transaction.NONE:
        return
    error, _, status = yield from run("ROLLBACK", state)
    if error is not None or status != b"I":
        msg = "ROLLBACK did not end the transaction"
        raise WireError(msg)


def probe(state: PostgresState) -> Conversation[None]:
    """A Sync, which changes nothing. Raises `WireError` for any answer but ReadyForQuery outside a transaction.

    What the server reports meanwhile (after a reload of its configuration) is noted.
    """
    inbox = Inbox()
    yield Send(m.SYNC)
    while True:
        head = yield from inbox.take(5)
        body = yield from inbox.take(bounded(m.integer(head, 1), 4, MAX_MESSAGE) - 4)
        match head[:1]:
            case b"S":
                note(state, body)
            case b"Z" if body == b"I":
                return
            case b"N":
                pass
            case _:
                msg = "an idle server said something else than that it is ready"
                raise WireError(msg)


def prepare(state: PostgresState, init_query: str) -> Conversation[None]:
    """Run `init_query`. Raises `LoginRefused` with the server's error, or when it leaves a transaction open."""
    user = state.server_parameters["session_authorization"].encode()
    error, _, status = yield from run(init_query, state)
    if error is not None:
        raise refusal(error)
    if status != b"I":
        raise LoginRefused("25001", "init_query leaves a transaction open")
    # What it set is what every session of this pool begins with.
    found = inspect(init_query.encode())
    question = Question({**found.touches, ROLE: None, EVERYTHING: None}, {}, NO_SETTINGS, spelling=found.spelled)
    error, rows, _ = yield from run(question.text().decode(), state)
    if error is not None:
        raise refusal(error)
    for row in rows:
        question.row(row)
    state.settings = state.baseline = Settings(question.statements(user), question.spelled())
    if TEMPORARY in state.baseline.statements.get(PATH.encode(), b"").lower():
        state.makes_temporary = True


def max_connections(state: PostgresState) -> Conversation[int]:
    """How many connections the server allows to ordinary users. Raises `LoginRefused`, `WireError`."""
    if not state.replicates:
        return (yield from _number(_LIMIT_QUERY, state))
    allowed = yield from _number("SHOW max_connections", state)
    allowed -= yield from _number("SHOW superuser_reserved_connections", state)
    try:
        return allowed - (yield from _number("SHOW reserved_connections", state))
    except LoginRefused:
        return allowed  # the setting came with version 16


def _number(text: str, state: PostgresState) -> Generator[Any, Any, int]:
    error, rows, _ = yield from run(text, state)
    if error is not None:
        raise refusal(error)
    value = rows[-1][6:] if rows else b""
    if not value.isdigit():
        msg = "no number came back for max_connections"
        raise WireError(msg)
    return int(value)


def is_writable(state: PostgresState) -> Conversation[bool]:
    """Whether the server is not in recovery and sessions are not read-only by default, as libpq asks it.

    Servers from version 14 on have told it at login. Raises `LoginRefused`, `WireError`.
    """
    told = [state.server_parameters.get(name) for name in ("in_hot_standby", "default_transaction_read_only")]
    if None not in told:
        return told == ["off", "off"]
    error, rows, _ = yield from run(_WRITABLE_QUERY, state)
    if error is not None:
        raise refusal(error)
    return bool(rows) and rows[-1][6:] == b"t"


def cancel(state: PostgresState, tls: str, *, direct_tls: bool) -> Conversation[None]:
    """CancelRequest on a new connection; over when the server closes it, which it does after it sent the signal.

    The key goes out encrypted whenever the backend's own connection is.
    """
    yield from secure("require" if tls == "prefer" and state.encrypted else tls, direct=direct_tls)
    yield Send(m.untagged(m.CANCEL_REQUEST, state.process_id.to_bytes(4, "big") + state.cancel_key))
    try:
        while True:
            yield Receive()
    except PeerClosed:
        return


def goodbye() -> bytes:
    """Terminate."""
    return m.TERMINATE
