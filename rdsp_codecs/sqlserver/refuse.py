"""What only a proxy has to say, in SQL Server's words: one table of error numbers, severities and texts.

SQL Server's own number where it has one for the fault; of the proxy's own faults RDS Proxy documents no number for this
engine, so they have the ones that SQL Server leaves to its users (from 50000 on).
"""

from __future__ import annotations

from typing import Final

from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver.tokens import Done, Note, done, note

_P = ProblemCode

_FATAL: Final = 20
_RETRY: Final = 17
"""A resource is used up: drivers that try again do so from here on."""
_OWN: Final = 59501
"""The proxy's own, as RDS Proxy has 9501 for MySQL."""

TEXTS: Final[dict[ProblemCode, tuple[int, int, str]]] = {
    _P.BORROW_TIMEOUT: (_OWN, _RETRY, "Timed-out waiting to acquire database connection"),
    _P.POOL_CLOSED: (6005, 14, "SHUTDOWN is in progress."),
    _P.TOO_MANY_WAITERS: (_OWN, _RETRY, "Too many requests are waiting for a database connection"),
    _P.TOO_MANY_CLIENTS: (
        17809,
        _FATAL,
        "Could not connect because the maximum number of user connections ({}) is reached.",
    ),
    _P.TOO_FAST: (17809, _FATAL, "Could not connect because connections come faster than the proxy allows ({})."),
    _P.AUTH_FAILED: (18456, 14, "Login failed for user '{}'."),
    _P.AUTH_METHOD_REFUSED: (18452, 14, "Login failed. The proxy does not take a login by this way: {}."),
    _P.TLS_REQUIRED: (17828, _FATAL, "This RDS Proxy requires TLS connections."),
    _P.LOGIN_TIMEOUT: (17830, _FATAL, "The login took too long."),
    _P.IDLE_TIMEOUT: (596, 21, "The session was ended because it was idle for too long."),
    _P.IDLE_IN_TRANSACTION: (596, 21, "The session was ended because its transaction was idle for too long."),
    _P.LIFETIME_OVER: (596, 21, "The session was ended because its maximum lifetime is over."),
    _P.PROTOCOL_VIOLATION: (4002, 16, "The incoming tabular data stream (TDS) protocol stream is incorrect: {}"),
    _P.UNSUPPORTED: (40510, 16, "The proxy does not support this: {}"),
    _P.FRAME_TOO_BIG: (4002, 16, "A message of the client exceeds {} bytes."),
    _P.TOO_MANY_STATEMENTS: (701, _RETRY, "This session has {} prepared statements, and the proxy keeps no more."),
    _P.STATE_CHANGED: (8179, 16, "Could not find prepared statement with handle {}."),
    _P.STATE_ELSEWHERE: (
        _OWN,
        16,
        "What the statement before this one has left is on another database connection. The session keeps its own from "
        "now on: run both again.",
    ),
    _P.SHUTTING_DOWN: (6005, 14, "SHUTDOWN is in progress."),
    _P.INTERNAL: (_OWN, _FATAL, "Unknown error."),
    _P.SERVER_UNREACHABLE: (_OWN, _FATAL, "The database could not be reached."),
    _P.SERVER_LOGIN_FAILED: (_OWN, 16, "The proxy could not log in to the database: {}"),
    _P.SERVER_GONE: (_OWN, _FATAL, "The database connection was lost."),
    _P.LISTENER_LOST: (_OWN, _FATAL, "The database connection that listened for this session was lost."),
    _P.NOTIFICATIONS_UNREAD: (_OWN, _FATAL, "The client does not read what it is told."),
    _P.SERVER_PROTOCOL_VIOLATION: (_OWN, _FATAL, "The database broke its protocol."),
    _P.SYNC_FAILED: (_OWN, 16, "The session's state could not be set on a database connection."),
    _P.CANCELLED_WHILE_WAITING: (_OWN, 16, "Operation cancelled by user."),
    _P.NO_SUCH_SESSION: (6106, 16, "Process ID {} is not an active process ID."),
    _P.SESSION_OF_ANOTHER: (6102, 14, "User does not have permission to use the KILL statement."),
    _P.KILLED: (596, 21, "Cannot continue the execution because the session is in the kill state."),
}
"""Problem to number, severity and text; `{}` is the problem's subject."""


def refusal_note(problem: Problem) -> Note:
    """The problem as an error."""
    number, severity, text = TEXTS[problem.code]
    return Note(number, 1, severity, text.replace("{}", problem.subject), "rdsp")


def refuse(problem: Problem, *, old: bool = False) -> bytes:
    """The problem as the tokens of a whole response. `old`: to a connection that speaks 7.1."""
    return note(refusal_note(problem), old=old) + done(Done(status=k.DONE_ERROR), old=old)
