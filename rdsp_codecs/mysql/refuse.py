"""What only a proxy has to say, in MySQL's words: one table of error numbers, SQLSTATEs and texts.

MySQL's own number where it has one for the fault, RDS Proxy's where it is the proxy's alone. A packet has a number of
its own that depends on what was said before: whoever sends one of these puts it into a packet.
"""

from __future__ import annotations

from typing import Final

from rdsp_codecs.mysql.responses import Err, err
from rdsp_codecs.problems import Problem, ProblemCode

_P = ProblemCode

TEXTS: Final[dict[ProblemCode, tuple[int, str, str]]] = {
    _P.BORROW_TIMEOUT: (9501, "HY000", "Timed-out waiting to acquire database connection"),
    _P.POOL_CLOSED: (1053, "08S01", "Server shutdown in progress"),
    _P.TOO_MANY_WAITERS: (1040, "HY000", "Too many requests are waiting for a database connection"),
    _P.TOO_MANY_CLIENTS: (1040, "HY000", "Number simultaneous connections exceeded ({})"),
    _P.TOO_FAST: (1040, "HY000", "Connections rate limit exceeded ({})"),
    _P.AUTH_FAILED: (1045, "28000", "Access denied for user '{}'@'%' (using password: YES)"),
    _P.AUTH_METHOD_REFUSED: (1251, "08004", "The proxy does not take a password by the way that the client has: {}"),
    _P.TLS_REQUIRED: (3159, "HY000", "This RDS Proxy requires TLS connections."),
    _P.LOGIN_TIMEOUT: (1159, "08S01", "Got timeout reading communication packets"),
    _P.IDLE_TIMEOUT: (4031, "HY000", "The client was disconnected by the server because of inactivity."),
    _P.IDLE_IN_TRANSACTION: (4031, "HY000", "The client was disconnected because its transaction was idle."),
    _P.LIFETIME_OVER: (4031, "HY000", "The client was disconnected because its maximum lifetime is over."),
    _P.PROTOCOL_VIOLATION: (1835, "HY000", "Malformed communication packet: {}"),
    _P.UNSUPPORTED: (1235, "42000", "This proxy doesn't yet support '{}'"),
    _P.FRAME_TOO_BIG: (1153, "08S01", "Got a packet bigger than {} bytes"),
    _P.TOO_MANY_STATEMENTS: (1461, "42000", "Can't create more than {} prepared statements in one session"),
    _P.STATE_CHANGED: (1615, "HY000", "Prepared statement needs to be re-prepared"),
    _P.STATE_ELSEWHERE: (
        1105,
        "HY000",
        "What the statement before this one has left is on another database connection. The session keeps its own from "
        "now on: run both again",
    ),
    _P.SHUTTING_DOWN: (1053, "08S01", "Server shutdown in progress"),
    _P.INTERNAL: (1105, "HY000", "Unknown error"),
    _P.SERVER_UNREACHABLE: (1105, "08S01", "The database could not be reached."),
    _P.SERVER_LOGIN_FAILED: (1105, "08004", "The proxy could not log in to the database: {}"),
    _P.SERVER_GONE: (1105, "08S01", "The database connection was lost."),
    _P.LISTENER_LOST: (1105, "08S01", "The database connection that listened for this session was lost."),
    _P.NOTIFICATIONS_UNREAD: (1105, "08S01", "The client does not read what it is told."),
    _P.SERVER_PROTOCOL_VIOLATION: (1105, "08S01", "The database broke its protocol."),
    _P.SYNC_FAILED: (1105, "HY000", "The session's state could not be set on a database connection."),
    _P.NO_SUCH_SESSION: (1094, "HY000", "Unknown thread id: {}"),
    _P.SESSION_OF_ANOTHER: (1095, "HY000", "You are not owner of thread {}"),
    _P.KILLED: (1927, "70100", "Connection was killed"),
    _P.CANCELLED_WHILE_WAITING: (1317, "70100", "Query execution was interrupted"),
}
"""Problem to number, SQLSTATE and text; `{}` is the problem's subject."""


def refuse(problem: Problem) -> bytes:
    """The problem as the payload of an ERR packet."""
    code, state, text = TEXTS[problem.code]
    return err(Err(code, state.encode(), text.replace("{}", problem.subject).encode("utf-8", "surrogateescape")))
