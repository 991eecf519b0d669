"""The errors of the proxy: one tree, each with a stable code, whose fault it was and whether a retry may help.

Raised everywhere in `rdsp`; read by the session's end, the log and the metrics. Codecs raise `CodecError`s only, and
`from_codec` is the one place that turns those into this tree. Nothing here knows an engine: an error that a client
may be told about has a `problem()`, and the engine's `refuse` has the words.

Detail (the argument of an error) goes to logs. Only `public_text` and the problem's subject ever reach a client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum, unique
from typing import ClassVar

import attrs

from rdsp_codecs.errors import CodecError, LoginRefused, PeerClosed, PluginError, UnsupportedFeatureError, WireError
from rdsp_codecs.problems import Problem, ProblemCode


@unique
class Blame(Enum):
    """Whose doing an error is."""

    CLIENT = "client"
    SERVER = "server"
    PROXY = "proxy"
    OPERATOR = "operator"


class RdspError(Exception):
    """Base of the tree.

    Args:
        detail: for logs; never a secret. Left out: the public text.
        subject: what it happened to (user, limit, option), shown to the client where the engine's text has a place.

    Class attributes:
        code: stable, dotted; used by logs, metrics and docs/reference/errors.md.
        blame: whose fault.
        retryable: the same request on a new connection may succeed without anybody changing anything.
        public_text: one sentence without detail.
        told_as: the problem that a client is told; None: there is nobody to tell.
        fatal: the client's connection ends, unless the raiser's place decides otherwise.
    """

    code: ClassVar[str] = "proxy.error"
    blame: ClassVar[Blame] = Blame.PROXY
    retryable: ClassVar[bool] = False
    public_text: ClassVar[str] = "Something went wrong in the proxy."
    told_as: ClassVar[ProblemCode | None] = None
    fatal: ClassVar[bool] = True

    def __init__(self, detail: str = "", *, subject: str = "") -> None:
        super().__init__(detail or self.public_text)
        self.detail = detail
        self.subject = subject

    @property
    def tellable(self) -> bool:
        """Whether a client can be told about it at all."""
        return self.told_as is not None

    def problem(self, *, fatal: bool | None = None) -> Problem:
        """What to hand to the engine's `refuse`.

        Args:
            fatal: whether the connection ends; None: as the class says.

        An error that has no problem of its own (somebody asked all the same) is told as an internal one.
        """
        code = self.told_as or ProblemCode.INTERNAL
        return Problem(code, self.subject, self.fatal if fatal is None else fatal)


# --- The operator ---------------------------------------------------------------------------------------------------


@attrs.frozen
class Fault:
    """One thing wrong with a configuration.

    Attributes:
        path: where, as in `proxies[0].target_group.max_connections_percent`; "" for the whole file.
        text: what is wrong and what is expected. Never a secret's value.
    """

    path: str
    text: str

    def __str__(self) -> str:
        return f"{self.path}: {self.text}" if self.path else self.text


class ConfigError(RdspError):
    """The configuration cannot be used. Holds every fault found, not only the first (a bare text is one, too)."""

    code = "config.invalid"
    blame = Blame.OPERATOR
    public_text = "The proxy's configuration is not valid."

    def __init__(self, faults: Iterable[Fault | str], *, source: str = "") -> None:
        self.faults = tuple(Fault("", fault) if isinstance(fault, str) else fault for fault in faults)
        self.source = source
        super().__init__("\n".join(str(fault) for fault in self.faults))


# --- The client -----------------------------------------------------------------------------------------------------


class ClientError(RdspError):
    """The client did something that ends its connection or its request."""

    code = "client.error"
    blame = Blame.CLIENT
    public_text = "The client caused an error."


class AuthRefused(ClientError):
    """Wrong password, or a user that the proxy does not know: the two are never told apart."""

    code = "client.auth_failed"
    public_text = "Authentication failed."
    told_as = ProblemCode.AUTH_FAILED


class AuthMethodRefused(ClientError):
    """The client insists on a way to prove its password that is not allowed here."""

    code = "client.auth_method_refused"
    public_text = "The client asked for an authentication method that is not allowed."
    told_as = ProblemCode.AUTH_METHOD_REFUSED


class TlsRequired(ClientError):
    """A client without TLS where `require_tls` is set."""

    code = "client.tls_required"
    public_text = "This proxy takes TLS connections only."
    told_as = ProblemCode.TLS_REQUIRED


class NotificationsUnread(ClientError):
    """A client does not read, and more than `max_held_bytes` of notifications wait for it."""

    code = "client.notifications_unread"
    public_text = "The client does not read its notifications."
    told_as = ProblemCode.NOTIFICATIONS_UNREAD


class ClientProtocolError(ClientError):
    """The client sent bytes that break its protocol."""

    code = "client.protocol_violation"
    public_text = "The client broke the protocol."
    told_as = ProblemCode.PROTOCOL_VIOLATION


class UnsupportedByProxy(ClientError):
    """The client asked for something legal that the proxy does not do."""

    code = "client.unsupported"
    public_text = "The proxy does not support what the client asked for."
    told_as = ProblemCode.UNSUPPORTED


class StateChanged(ClientError):
    """The client relied on session state that cannot be brought to another backend. The statement was not run."""

    code = "client.state_changed"
    retryable = True
    public_text = "Session state that the statement relies on is gone; the statement was not run."
    told_as = ProblemCode.STATE_CHANGED
    fatal = False


class StateElsewhere(ClientError):
    """The client asked for what its last statement has left, on another backend. The session keeps its own then."""

    code = "client.state_elsewhere"
    retryable = True
    public_text = "What the statement before has left is on another database connection; the statement was not run."
    told_as = ProblemCode.STATE_ELSEWHERE
    fatal = False


class ClientGone(ClientError):
    """The client closed or lost its connection. There is nobody to tell."""

    code = "client.gone"
    public_text = "The client is gone."


# --- Limits ---------------------------------------------------------------------------------------------------------


class LimitExceeded(RdspError):
    """A limit of the configuration was reached by one client."""

    code = "limit.exceeded"
    blame = Blame.CLIENT
    public_text = "A limit of the proxy was reached."


class TooManyClients(LimitExceeded):
    """`limits.max_client_connections` are connected."""

    code = "client.too_many"
    retryable = True
    public_text = "Too many client connections."
    told_as = ProblemCode.TOO_MANY_CLIENTS


class TooFast(LimitExceeded):
    """More new connections than `limits.max_connections_per_second`."""

    code = "client.too_fast"
    retryable = True
    public_text = "Too many new client connections."
    told_as = ProblemCode.TOO_FAST


class LoginTimeout(LimitExceeded):
    """The login took longer than `limits.login_timeout`."""

    code = "client.login_timeout"
    retryable = True
    public_text = "The login took too long."
    told_as = ProblemCode.LOGIN_TIMEOUT


class IdleTimeout(LimitExceeded):
    """No request for `idle_client_timeout`."""

    code = "client.idle_timeout"
    retryable = True
    public_text = "The connection was idle for too long."
    told_as = ProblemCode.IDLE_TIMEOUT


class IdleInTransaction(LimitExceeded):
    """A transaction was idle for `limits.idle_in_transaction_timeout`."""

    code = "client.idle_in_transaction"
    retryable = True
    public_text = "The transaction was idle for too long."
    told_as = ProblemCode.IDLE_IN_TRANSACTION


class LifetimeOver(LimitExceeded):
    """The connection is older than `limits.client_lifetime`."""

    code = "client.lifetime_over"
    retryable = True
    public_text = "The connection reached its maximum age."
    told_as = ProblemCode.LIFETIME_OVER


class TooManyStatements(LimitExceeded):
    """The session has `limits.max_session_statements` prepared statements."""

    code = "client.too_many_statements"
    public_text = "The session has too many prepared statements."
    told_as = ProblemCode.TOO_MANY_STATEMENTS
    fatal = False


class FrameTooBig(LimitExceeded):
    """A client's frame, or what must be held of it, is over its limit."""

    code = "client.frame_too_big"
    public_text = "A message is larger than the proxy's limit."
    told_as = ProblemCode.FRAME_TOO_BIG


# --- The pool -------------------------------------------------------------------------------------------------------


class PoolError(RdspError):
    """No backend can be had. The client's statement was not run."""

    code = "pool.error"
    retryable = True
    public_text = "No database connection is available."
    fatal = False


class BorrowTimeout(PoolError):
    """None became free within `connection_borrow_timeout`."""

    code = "pool.borrow_timeout"
    public_text = "Timed out waiting for a database connection."
    told_as = ProblemCode.BORROW_TIMEOUT


class TooManyWaiters(PoolError):
    """`target_group.max_waiters` sessions wait already."""

    code = "pool.too_many_waiters"
    public_text = "Too many sessions wait for a database connection."
    told_as = ProblemCode.TOO_MANY_WAITERS


class PoolClosed(PoolError):
    """The pool drains or is closed."""

    code = "pool.closed"
    public_text = "The connection pool is closed."
    told_as = ProblemCode.POOL_CLOSED
    fatal = True


class CancelledWhileWaiting(PoolError):
    """The client cancelled its request before it got a backend."""

    code = "pool.cancelled_while_waiting"
    blame = Blame.CLIENT
    retryable = False
    public_text = "The request was cancelled while it waited for a database connection."
    told_as = ProblemCode.CANCELLED_WHILE_WAITING


class NoSuchSession(ClientError):
    """The client wants to end a session that there is not, or to cancel what it runs."""

    code = "client.no_such_session"
    public_text = "No session has that connection id."
    told_as = ProblemCode.NO_SUCH_SESSION
    fatal = False


class SessionOfAnother(ClientError):
    """The client wants to end a session of another user, or to cancel what it runs."""

    code = "client.session_of_another"
    public_text = "The session is another user's."
    told_as = ProblemCode.SESSION_OF_ANOTHER
    fatal = False


class Killed(ClientError):
    """Another session of the same user has ended this one."""

    code = "client.killed"
    public_text = "The session was ended by another one of its user."
    told_as = ProblemCode.KILLED


# --- The server -----------------------------------------------------------------------------------------------------


class ServerError(RdspError):
    """The database server, or the way to it, failed."""

    code = "server.error"
    blame = Blame.SERVER
    public_text = "The database server failed."


class ConnectFailed(ServerError):
    """No connection: name look-up, refused, timed out, TLS. No statement was run."""

    code = "server.unreachable"
    retryable = True
    public_text = "The database server could not be reached."
    told_as = ProblemCode.SERVER_UNREACHABLE
    fatal = False


class ServerLoginFailed(ServerError):
    """The server refused our login, or the backend's `init_query`.

    Attributes:
        server_code: the engine's own error code, or "".
        transient: the refusal is about capacity or start-up; a later try may succeed.
        raw: the server's error as wire bytes, to hand on unchanged; b"" when there is none.
    """

    code = "server.login_failed"
    public_text = "The database server refused the proxy's login."
    told_as = ProblemCode.SERVER_LOGIN_FAILED

    def __init__(
        self,
        detail: str = "",
        *,
        subject: str = "",
        server_code: str = "",
        transient: bool = False,
        raw: bytes = b"",
    ) -> None:
        super().__init__(detail, subject=subject)
        self.server_code = server_code
        self.transient = transient
        self.raw = raw


class ServerGone(ServerError):
    """A backend was lost. Whether a statement under way was run is unknown."""

    code = "server.gone"
    public_text = "The connection to the database server was lost."
    told_as = ProblemCode.SERVER_GONE


class ListenerLost(ServerError):
    """The shared listener that heard for a session was lost: what was said meanwhile is unknown."""

    code = "server.listener_lost"
    public_text = "The database connection that listened for the session was lost."
    told_as = ProblemCode.LISTENER_LOST


class ServerProtocolError(ServerError):
    """The server sent bytes that break its protocol."""

    code = "server.protocol_violation"
    public_text = "The database server broke the protocol."
    told_as = ProblemCode.SERVER_PROTOCOL_VIOLATION


class SyncFailed(ServerError):
    """A backend could not be brought into the session's state. The statement was not run."""

    code = "server.sync_failed"
    public_text = "The session's state could not be set on a database connection; the statement was not run."
    told_as = ProblemCode.SYNC_FAILED
    fatal = False


# --- The proxy ------------------------------------------------------------------------------------------------------


class ShuttingDown(RdspError):
    """The proxy stops or replaces itself."""

    code = "proxy.shutting_down"
    blame = Blame.OPERATOR
    retryable = True
    public_text = "The proxy is shutting down."
    told_as = ProblemCode.SHUTTING_DOWN


class InternalError(RdspError):
    """A bug in the proxy or in an engine. Please report it."""

    code = "proxy.internal"
    public_text = "Internal error of the proxy."
    told_as = ProblemCode.INTERNAL


def all_errors() -> Iterator[type[RdspError]]:
    """Every class of the tree, parents first: for the reference page and its test."""
    waiting: list[type[RdspError]] = [RdspError]
    while waiting:
        found = waiting.pop(0)
        yield found
        waiting.extend(found.__subclasses__())


def from_codec(error: CodecError, peer: Blame) -> RdspError:
    """Map a codec's error to the tree. The only place that does.

    Args:
        error: what the codec raised.
        peer: `Blame.CLIENT` or `Blame.SERVER`: who sent the bytes that the codec was fed.
    """
    detail = str(error)
    if isinstance(error, PluginError):
        return ConfigError([Fault("", detail)])
    if isinstance(error, LoginRefused):
        return ServerLoginFailed(
            detail, subject=error.text, server_code=error.code, transient=error.transient, raw=error.raw
        )
    client = peer is Blame.CLIENT
    if isinstance(error, PeerClosed):
        return ClientGone(detail) if client else ServerGone(detail)
    if isinstance(error, UnsupportedFeatureError):
        return UnsupportedByProxy(detail, subject=detail) if client else ServerProtocolError(detail)
    if isinstance(error, WireError):
        return ClientProtocolError(detail) if client else ServerProtocolError(detail)
    return InternalError(detail)
