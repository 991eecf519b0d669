"""What can go wrong that only a proxy can tell its client. Each engine says every one in its own words (`refuse`)."""

from __future__ import annotations

from enum import Enum, unique

import attrs


@unique
class ProblemCode(Enum):
    """Stable codes. They stand in logs, metrics and docs/reference/errors.md; an engine's `refuse` maps every one."""

    BORROW_TIMEOUT = "pool.borrow_timeout"
    POOL_CLOSED = "pool.closed"
    TOO_MANY_WAITERS = "pool.too_many_waiters"
    TOO_MANY_CLIENTS = "client.too_many"
    TOO_FAST = "client.too_fast"
    AUTH_FAILED = "client.auth_failed"
    AUTH_METHOD_REFUSED = "client.auth_method_refused"
    TLS_REQUIRED = "client.tls_required"
    LOGIN_TIMEOUT = "client.login_timeout"
    IDLE_TIMEOUT = "client.idle_timeout"
    IDLE_IN_TRANSACTION = "client.idle_in_transaction"
    LIFETIME_OVER = "client.lifetime_over"
    PROTOCOL_VIOLATION = "client.protocol_violation"
    UNSUPPORTED = "client.unsupported"
    FRAME_TOO_BIG = "client.frame_too_big"
    TOO_MANY_STATEMENTS = "client.too_many_statements"
    STATE_CHANGED = "client.state_changed"
    STATE_ELSEWHERE = "client.state_elsewhere"
    SHUTTING_DOWN = "proxy.shutting_down"
    INTERNAL = "proxy.internal"
    SERVER_UNREACHABLE = "server.unreachable"
    SERVER_LOGIN_FAILED = "server.login_failed"
    SERVER_GONE = "server.gone"
    LISTENER_LOST = "server.listener_lost"
    NOTIFICATIONS_UNREAD = "client.notifications_unread"
    SERVER_PROTOCOL_VIOLATION = "server.protocol_violation"
    SYNC_FAILED = "server.sync_failed"
    CANCELLED_WHILE_WAITING = "pool.cancelled_while_waiting"
    NO_SUCH_SESSION = "client.no_such_session"
    SESSION_OF_ANOTHER = "client.session_of_another"
    KILLED = "client.killed"


@attrs.frozen
class Problem:
    """One thing to tell a client.

    Attributes:
        code: what happened.
        subject: what it happened to (a user name, a limit, an option...): put into the engine's text where that
            text has a place for it. Never a secret.
        fatal: the connection ends after this message. False leaves it usable.
    """

    code: ProblemCode
    subject: str = ""
    fatal: bool = True
