"""What only a proxy has to say, in PostgreSQL's words: one table of SQLSTATEs and texts.

PostgreSQL's own text and SQLSTATE where it has one for the fault, RDS Proxy's where it is the proxy's alone.
"""

from __future__ import annotations

from typing import Final

from rdsp_codecs.postgres import messages
from rdsp_codecs.problems import Problem, ProblemCode

_P = ProblemCode

TEXTS: Final[dict[ProblemCode, tuple[str, str]]] = {
    _P.BORROW_TIMEOUT: ("08000", "Timed-out waiting to acquire database connection."),
    _P.POOL_CLOSED: ("57P01", "terminating connection due to administrator command"),
    _P.TOO_MANY_WAITERS: ("53300", "Too many requests are waiting for a database connection."),
    _P.TOO_MANY_CLIENTS: ("53300", "The maximum number of client connections to the proxy exceeded {}."),
    _P.TOO_FAST: ("53300", "Rate of connection to proxy exceeded {}."),
    _P.AUTH_FAILED: ("28P01", 'password authentication failed for user "{}"'),
    _P.AUTH_METHOD_REFUSED: ("28000", "RDS Proxy supports only IAM, MD5, or SCRAM authentication."),
    _P.TLS_REQUIRED: ("28000", "This RDS Proxy requires TLS connections."),
    _P.LOGIN_TIMEOUT: ("57P05", "terminating connection due to authentication timeout"),
    _P.IDLE_TIMEOUT: ("57P05", "terminating connection due to idle-session timeout"),
    _P.IDLE_IN_TRANSACTION: ("25P03", "terminating connection due to idle-in-transaction timeout"),
    _P.LIFETIME_OVER: ("57P05", "terminating connection because its maximum lifetime is over"),
    _P.PROTOCOL_VIOLATION: ("08P01", "{}"),
    _P.UNSUPPORTED: ("0A000", "Feature not supported: {}"),
    _P.FRAME_TOO_BIG: ("54000", "A message of the client exceeds {} bytes."),
    _P.TOO_MANY_STATEMENTS: ("53400", "This session has {} prepared statements, and the proxy keeps no more."),
    _P.STATE_CHANGED: ("0A000", "cached plan must not change result type"),
    _P.STATE_ELSEWHERE: ("55000", "what the statement before this one has left is on another database connection"),
    _P.SHUTTING_DOWN: ("57P01", "terminating connection due to administrator command"),
    _P.INTERNAL: ("XX000", "Unknown error."),
    _P.SERVER_UNREACHABLE: ("08001", "The database could not be reached."),
    _P.SERVER_LOGIN_FAILED: ("08004", "The proxy could not log in to the database: {}"),
    _P.SERVER_GONE: ("08006", "The database connection was lost."),
    _P.LISTENER_LOST: ("08006", "The database connection that listened for this session was lost."),
    _P.NOTIFICATIONS_UNREAD: ("57P05", "terminating connection because it does not read its notifications"),
    _P.SERVER_PROTOCOL_VIOLATION: ("08P01", "The database broke its protocol."),
    _P.SYNC_FAILED: ("08000", "The session's state could not be set on a database connection."),
    _P.NO_SUCH_SESSION: ("22023", "PID {} is not a PostgreSQL server process"),
    _P.SESSION_OF_ANOTHER: ("42501", "must be a member of the role whose query is being canceled"),
    _P.KILLED: ("57P01", "terminating connection due to administrator command"),
    _P.CANCELLED_WHILE_WAITING: ("57014", "canceling statement due to user request"),
}
"""Problem to SQLSTATE and text; `{}` is the problem's subject."""


def refuse(problem: Problem) -> bytes:
    """The problem as an ErrorResponse, FATAL when the connection ends with it."""
    code, text = TEXTS[problem.code]
    return messages.error("FATAL" if problem.fatal else "ERROR", code, text.replace("{}", problem.subject))


def duplicate_statement(name: bytes) -> bytes:
    """The server's error for a Parse of a name that exists (prepare.c, StorePreparedStatement)."""
    # The name goes back in the client's encoding, whatever that is.
    text = f'prepared statement "{name.decode("utf-8", "surrogateescape")}" already exists'
    return messages.error("ERROR", "42P05", text, F="prepare.c", R="StorePreparedStatement")


def misfit(given: int, name: bytes, wanted: int) -> bytes:
    """The server's error for a Bind with another number of parameters than the statement has (postgres.c)."""
    called = name.decode("utf-8", "surrogateescape")
    text = f'bind message supplies {given} parameters, but prepared statement "{called}" requires {wanted}'
    return messages.error("ERROR", "08P01", text, F="postgres.c", R="exec_bind_message")


def unknown_statement(name: bytes) -> bytes:
    """The server's error for a name that SQL does not find (prepare.c, FetchPreparedStatement)."""
    text = f'prepared statement "{name.decode("utf-8", "surrogateescape")}" does not exist'
    return messages.error("ERROR", "26000", text, F="prepare.c", R="FetchPreparedStatement")


def too_many_statements(limit: int) -> bytes:
    """The session has as many prepared statements as it may have."""
    return refuse(Problem(ProblemCode.TOO_MANY_STATEMENTS, str(limit), fatal=False))


def sequence_memory_lost() -> bytes:
    """Our own error: what currval or lastval would say on this database connection may be another session's."""
    return messages.error(
        "ERROR",
        "55000",
        "currval and lastval are not known here: the proxy has lent this database connection to other sessions",
        H="Use INSERT ... RETURNING, or ask in the transaction that used the sequence; try the transaction again.",
    )


def shape_changed() -> bytes:
    """The server's error for a statement whose result is another one since it was prepared (plancache.c)."""
    code, text = TEXTS[ProblemCode.STATE_CHANGED]
    return messages.error("ERROR", code, text, F="plancache.c", R="RevalidateCachedQuery")
