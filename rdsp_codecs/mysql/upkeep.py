"""Conversations with a logged-in server that no session has borrowed: reset, probe, first queries, cancel, good-bye."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Any, Final

import attrs

from rdsp_codecs.api import BackendLogin
from rdsp_codecs.errors import LoginRefused, WireError
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import effects
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Dialogue, Part
from rdsp_codecs.mysql.framing import PacketReader, packets
from rdsp_codecs.mysql.lexer import Facts
from rdsp_codecs.mysql.login import AUTOCOMMIT, CAPABILITIES, COLLATION, change_user, greeted, login, refusal
from rdsp_codecs.mysql.session_state import TRACKING, version_number
from rdsp_codecs.mysql.setting_text import READ_BY
from rdsp_codecs.mysql.state import MySqlState
from rdsp_codecs.mysql.values import Reader
from rdsp_codecs.steps import RECEIVE, Conversation, Send
from rdsp_codecs.transaction import Transaction

_MOST: Final = 1 << 20
"""Bytes of an answer to a question of ours."""
_LIMITS: Final = "SELECT @@global.max_connections, @@session.max_user_connections"
_READ_ONLY: Final = "SELECT @@global.read_only"
_KEPT: Final = "SET SESSION last_insert_id = 0, timestamp = DEFAULT"
"""Of what MySQL 5.6 keeps of a session behind COM_CHANGE_USER."""
_NOT_MADE: Final = "SELECT @@global.init_connect, @@session.insert_id"
"""What servers run behind logins, and not behind COM_CHANGE_USER; and what MySQL 5.6 keeps that nothing takes away."""
_INIT_CONNECT: Final = "SELECT @@global.init_connect"
_EXEMPT: Final = re.compile(rb"GRANT .*\b(?:ALL PRIVILEGES|CONNECTION[ _]ADMIN)\b.* ON \*\.\* ").match
_EXEMPT_OF_OLD: Final = re.compile(rb"GRANT .*\b(?:ALL PRIVILEGES|SUPER|CONNECTION[ _]ADMIN)\b.* ON \*\.\* ").match
_NO: Final = (b"0", b"OFF")


@attrs.frozen
class Answer:
    """What a server said to one command.

    Attributes:
        error: its ERR's payload, None without one.
        rows: of all results, each value as text.
        status: the flags at the end; None behind an error.
        ok: the last packet, where it is an OK.
    """

    error: bytes | None
    rows: list[tuple[bytes | None, ...]]
    status: int | None
    ok: r.Ok | None


def ask(state: MySqlState, command: int, body: bytes = b"") -> Generator[Any, Any, Answer]:
    """One command on an idle connection, answered by text rows or none. Raises `WireError`, also for a long answer."""
    state.traces = None
    flags = state.capabilities
    reader = PacketReader(_MOST)
    reader.begin(1)
    yield Send(packets(bytes((command,)) + body))
    dialogue = Dialogue(flags, None)
    dialogue.asked(command)
    error, ok, rows, columns, size = None, None, list[tuple[bytes | None, ...]](), 0, 0
    while not dialogue.over:
        while (payload := reader.next()) is None:
            data = yield RECEIVE
            size += len(data)
            if size > _MOST:
                msg = f"more than {_MOST} bytes in answer to a question of the proxy's"
                raise WireError(msg)
            reader.feed(data)
        part = dialogue.told(payload, len(payload))
        ok = dialogue.ok
        if part is Part.ERR:
            error = payload
        elif part is Part.COUNT:
            columns = r.read_column_count(payload, flags).columns
        elif part is Part.ROW:
            row = Reader(payload, "row")
            rows.append(tuple([row.value() for _ in range(columns)]))
        elif part is Part.FILE:
            msg = "a file is asked for by a question of the proxy's"
            raise WireError(msg)
    if not reader.between:
        msg = "the server says more than its answer"
        raise WireError(msg)
    return Answer(error, rows, dialogue.status, ok)


def query(state: MySqlState, text: str) -> Generator[Any, Any, Answer]:
    """COM_QUERY."""
    # No attributes, in one set of them, where the connection has room for some.
    prefix = b"\0\1" if state.capabilities & c.CLIENT_QUERY_ATTRIBUTES else b""
    return (yield from ask(state, r.COM_QUERY, prefix + text.encode("utf-8", "surrogateescape")))


def reset(state: MySqlState, transaction: Transaction) -> Conversation[None]:
    """An open transaction is rolled back, and what the session has left is undone.

    By COM_RESET_CONNECTION all is as after the login, but for the database and for what the proxy has set: whoever
    comes next sees to that. Servers that report nothing, or do not know it, are logged in to anew; then all is as at
    the beginning. Raises `WireError`, `LoginRefused`.
    """
    state.shelf.clear()
    if state.tracks:
        answer = yield from ask(state, r.COM_RESET_CONNECTION)
        if answer.error is None or not r.unknown_command(answer.error):
            if answer.status is None or answer.status & r.SERVER_STATUS_IN_TRANS:
                msg = "COM_RESET_CONNECTION did not reset the session"
                raise WireError(msg)
            # Nothing of the login is left, not even that the server reports.
            state.used, state.settings = True, None
            return
    yield from _log_in_anew(state)


def _log_in_anew(state: MySqlState) -> Conversation[None]:
    """COM_CHANGE_USER to who it is already, and what else was done with the connection when it was new."""
    assert state.how is not None
    yield from change_user(state, state.how)
    answer = yield from query(state, _NOT_MADE)
    if answer.rows != [(b"", b"0")] or answer.status is None or answer.status & r.SERVER_STATUS_IN_TRANS:
        msg = "COM_CHANGE_USER does not make the session as it was"
        raise WireError(msg)
    answer = yield from query(state, _KEPT)
    if answer.error is not None:
        raise refusal(answer.error)
    yield from _begin(state)
    if state.init_query:
        yield from prepare(state, state.init_query)
    state.used, state.settings, state.follows = False, None, True
    state.last_id, state.warned = 0, False


def begin(how: BackendLogin) -> Conversation[MySqlState]:
    """Log in, and have the server report what its session changes. Raises what `login` raises."""
    state = yield from login(how)
    state.how = how
    yield from _begin(state)
    state.init_connect = yield from _init_connect(state)
    return state


def _init_connect(state: MySqlState) -> Generator[Any, Any, bytes]:
    """What the server runs for a new session of this user, where it sets things and does no more.

    It is run again for each session that gets the backend reset. What would write a line for each login is not.
    """
    answer = yield from query(state, _INIT_CONNECT)
    if answer.error is not None or not answer.rows:
        return b""
    text = answer.rows[0][0]
    if not text:
        return b""
    version = version_number(state.server_parameters["server_version"])
    found = effects.verdict(text, Facts(version, mariadb=state.mariadb, multi=True))
    # A function of somebody's may write such a line.
    if set(found.heads) != {b"set"} or found.strange or found.doubtful:
        return b""
    answer = yield from query(state, "SHOW GRANTS")
    if answer.error is not None:
        raise refusal(answer.error)
    # SUPER has left this to a privilege of its own in MariaDB 11.
    exempt = _EXEMPT_OF_OLD if not state.mariadb or version < 110000 else _EXEMPT
    return b"" if any(row[0] is not None and exempt(row[0]) for row in answer.rows) else text


def _begin(state: MySqlState) -> Generator[Any, Any, None]:
    if state.capabilities & c.CLIENT_SESSION_TRACK:
        answer = yield from query(state, TRACKING.decode())
        if answer.error is not None:
            raise refusal(answer.error)
        state.tracks = True
    state.server_parameters = parameters(state)
    yield from _read_by(state)


def _read_by(state: MySqlState) -> Generator[Any, Any, None]:
    answer = yield from query(state, "SELECT " + ", ".join("@@" + name.decode() for name in READ_BY))
    if answer.error is not None or not answer.rows:
        msg = "the server does not say how it reads texts"
        raise WireError(msg)
    state.autocommit = bool((answer.status or 0) & r.SERVER_STATUS_AUTOCOMMIT)
    state.server_parameters = {**state.server_parameters, AUTOCOMMIT: str(int(state.autocommit))}
    state.reads_by = None
    state.baseline = {name: value or b"" for name, value in zip(READ_BY, answer.rows[0], strict=True)}


def parameters(state: MySqlState) -> dict[str, str]:
    """What a server says of itself to everybody: `Face` is made of it."""
    return {**state.server_parameters, CAPABILITIES: str(state.offered), COLLATION: str(state.collation)}


def introduce() -> Conversation[dict[str, str]]:
    """The same of a server's greeting alone. Raises `LoginRefused`, `WireError`, `PeerClosed`."""
    return parameters((yield from greeted()))


def probe(state: MySqlState) -> Conversation[None]:
    """COM_PING. Raises `WireError` for any answer but OK outside of a transaction."""
    traces = state.traces
    if traces is not None:
        # A ping would count rows.
        answer = yield from ask(state, r.COM_STATISTICS)
        state.traces = traces
        return
    answer = yield from ask(state, r.COM_PING)
    if answer.status is None or answer.status & r.SERVER_STATUS_IN_TRANS:
        msg = "an idle server said something else than that it is ready"
        raise WireError(msg)


def prepare(state: MySqlState, init_query: str) -> Conversation[None]:
    """Run `init_query`. Raises `LoginRefused` with the server's error, or when it leaves a transaction open."""
    state.init_query = init_query
    answer = yield from query(state, init_query)
    if answer.error is not None:
        raise refusal(answer.error)
    if answer.status is None or answer.status & r.SERVER_STATUS_IN_TRANS:
        raise LoginRefused("1105", "init_query leaves a transaction open")
    yield from _read_by(state)


def max_connections(state: MySqlState) -> Conversation[int]:
    """How many connections the server allows: to all, or to this user where that is less. All but one, for a `cancel`.

    Raises `LoginRefused`, `WireError`.
    """
    answer = yield from query(state, _LIMITS)
    if answer.error is not None:
        raise refusal(answer.error)
    values = answer.rows[0] if answer.rows else ()
    numbers = [int(value) for value in values if value is not None and value.isdigit()]
    if len(numbers) != 2 or not numbers[0]:
        msg = "no number came back for max_connections"
        raise WireError(msg)
    return max(1, min(number for number in numbers if number) - 1)


def is_writable(state: MySqlState) -> Conversation[bool]:
    """Whether the server is not read-only. Raises `LoginRefused`, `WireError`."""
    answer = yield from query(state, _READ_ONLY)
    if answer.error is not None:
        raise refusal(answer.error)
    return bool(answer.rows) and answer.rows[0][0] in _NO


def cancel(state: MySqlState, how: BackendLogin) -> Conversation[bool]:
    """On a second connection, with a login of its own: KILL QUERY for what the backend runs.

    Returns False where the server knows the connection no more. Raises what `login` raises, and `LoginRefused`.
    """
    if how.tls == "prefer" and state.encrypted:
        how = attrs.evolve(how, tls="require")
    own = yield from login(how)
    answer = yield from query(own, f"KILL QUERY {state.connection_id}")
    yield Send(goodbye())
    if answer.error is None:
        return True
    refused = refusal(answer.error)
    if refused.code != _NO_SUCH_THREAD:
        raise refused
    return False


_NO_SUCH_THREAD: Final = "1094"


def goodbye() -> bytes:
    """COM_QUIT."""
    return packets(bytes((r.COM_QUIT,)))
