"""A session's own task: from accept to close, everything that may wait.

In steady state it sleeps and `splice` does the work. It is the only place where a session ends, and every ending is
one `SessionEnd`.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from typing import Final

import trio

from rdsp.converse import send_all
from rdsp.net.switchboard import READABLE
from rdsp.net.transport import Transport
from rdsp.observe.events import SessionEnd
from rdsp.session import calls
from rdsp.session.bell import Bell
from rdsp.session.context import SessionContext
from rdsp.session.login import greet, key_of
from rdsp.session.machine import State
from rdsp.session.splice import Splice
from rdsp_codecs.api import CancelAsked, ClientLogin, Turned
from rdsp_codecs.errors import CodecError, FrameTooBig, PeerClosed, WireError
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.transaction import Transaction

_LAST_WORDS_TIMEOUT: Final = 5.0
_LOOK_AGAIN: Final = 1.0
_CANCEL_REQUEST: Final = SessionEnd("cancel request", "client", "")


async def serve_client(
    context: SessionContext, transport: Transport, since: float | None = None, refusal: Problem | None = None
) -> bool:
    """Serve one client connection to its end. Raises nothing but cancellation; the transport is closed after it.

    Arguments:
        since: when it was accepted, on Trio's clock; None: now. The time for its login counts from then.
        refusal: whoever wants to log in is told this.

    Returns False when it brought a cancel request and no client.
    """
    since = trio.current_time() if since is None else since
    number = context.registry.new_id()
    observers = context.observers
    observers.session_started(number, context.settings.name, transport.peer)
    end = SessionEnd("the proxy stopped", "proxy", "")
    try:
        end = await _serve(context, transport, number, since, refusal)
    except CodecError as error:
        end = SessionEnd("the client broke off or broke the protocol", "client", str(error))
    except Exception as error:  # noqa: BLE001 - the fence around a session: one fault must not reach the others
        end = SessionEnd("internal error", "proxy", "".join(traceback.format_exception(error)))
    finally:
        transport.close()
        context.pool.leave(transport)
        observers.session_ended(number, end)
    return end is not _CANCEL_REQUEST


async def _serve(
    context: SessionContext, transport: Transport, number: int, since: float, refusal: Problem | None
) -> SessionEnd:
    secret = context.registry.new_secret()
    greeting = None
    with trio.move_on_at(since + context.settings.limits.login_timeout) as scope:
        context.counters.logins += 1
        try:
            await context.credentials.work_ahead(context.derive, context.mock_salt_key)
            greeting = await greet(context, transport, number, secret, refusal)
        except (WireError, UnicodeError) as error:
            # An error about a text shows a piece of it, and it may be a password.
            told = "a text of the login is not UTF-8" if isinstance(error, UnicodeError) else str(error)
            await _say(transport, context.codec.refuse(Problem(ProblemCode.PROTOCOL_VIOLATION, told)))
            return SessionEnd("login failed", "client", told)
        finally:
            context.counters.logins -= 1
    if scope.cancelled_caught or greeting is None:
        problem = Problem(ProblemCode.LOGIN_TIMEOUT)
        context.observers.refused(context.settings.name, transport.peer, problem, "")
        await _say(transport, context.codec.refuse(problem))
        return SessionEnd("login took too long", "client", "")
    match greeting:
        case CancelAsked(wanted, key):
            await _pass_cancel(context, wanted, key)
            return _CANCEL_REQUEST
        case Turned(refusal, user):
            if refusal is not None:
                context.observers.refused(context.settings.name, transport.peer, refusal, user)
            return SessionEnd("turned away" if refusal else "left during login", "client", "")
    assert isinstance(greeting, ClientLogin)
    session = Session(context, transport, number, greeting)
    context.registry.add(number, greeting.welcome.cancel_secret, session)
    context.observers.session_admitted(number, greeting.user, greeting.database, greeting.tls)
    try:
        return await session.run(greeting.leftover)
    finally:
        context.registry.remove(number)
        session.release()


async def _pass_cancel(context: SessionContext, wanted: int, key: bytes) -> None:
    """Hand a cancel to its session. The client's connection is closed last, when the cancel is on its way."""
    session = context.registry.find(wanted, key)
    context.observers.cancel_asked(wanted if session is not None else None, "passed on" if session else "wrong key")
    if session is not None:
        session.cancel()
        if isinstance(session, Session):
            with trio.move_on_after(_LAST_WORDS_TIMEOUT):
                await session.cancel_passed()


async def _say(transport: Transport, words: bytes) -> None:
    if transport.in_handshake:
        return
    with trio.move_on_after(_LAST_WORDS_TIMEOUT):
        try:
            await send_all(transport, words)
        except PeerClosed:
            return


class Session:
    """A logged-in session as its task sees it.

    Invariant: the transport is watched by the switchboard from `run` to `release`; after `release` no backend is held.
    """

    def __init__(self, context: SessionContext, transport: Transport, number: int, login: ClientLogin) -> None:
        self._context = context
        self._transport = transport
        self._number = number
        self._bell = Bell()
        codec, key = context.codec, key_of(context, login, number)
        self._splice = Splice(
            transport,
            codec.relay(login, context.policy, context.pool.facts(key).shared),
            context.pool,
            key,
            context.board,
            context.counters,
            self._bell.ring,
        )
        limits = context.settings.limits
        self._lifetime_end = trio.current_time() + limits.client_lifetime
        self._own_backend = login.own_backend
        self._cancels = 0
        """Cancels asked for and not answered; of these, those that came while the session waited for a backend."""
        self._cancels_waiting = 0
        self._pinned = False
        self._cancels_done = trio.Event()
        self._stop_problem = Problem(ProblemCode.SHUTTING_DOWN)

    # -- from outside ---------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """See `Cancellable`. Reaches what runs now, or ends the wait for a backend."""
        splice = self._splice
        if not self._cancels:
            self._cancels_done = trio.Event()
        self._cancels += 1
        if splice.state is State.WAITING:
            self._cancels_waiting += 1
            splice.summon(calls.CANCEL)
        else:
            self._cancel_running()

    def _cancel_running(self) -> None:
        splice = self._splice
        backend = splice.backend
        if backend is None or not splice.relay.in_request():
            self._cancel_done()
            return
        request = backend.requests

        def still_wanted() -> bool:
            return splice.backend is backend and backend.requests == request

        self._context.pool.cancel(backend, still_wanted, splice.relay.cancellable, self._cancel_done)

    def _cancel_done(self) -> None:
        self._cancels -= 1
        if not self._cancels:
            self._cancels_done.set()

    async def cancel_passed(self) -> None:
        """Return when all cancels were delivered or had become pointless."""
        await self._cancels_done.wait()

    def settings_changed(self) -> None:
        """See `Cancellable`."""
        self._bell.ring()

    def stop(self) -> None:
        """See `Cancellable`."""
        self._splice.stopping = True
        self._splice.summon(calls.STOP)

    # -- the task -------------------------------------------------------------------------------------------------

    async def run(self, leftover: bytes) -> SessionEnd:
        """Serve until the session ends. Cancellation ends it without last words."""
        splice, board = self._splice, self._context.board
        board.refresh()
        splice.last_active = board.now
        board.watch(self._transport, splice.client_event)
        if leftover:
            splice.feed(leftover)
        else:
            board.again(splice.client_event, READABLE)
        while True:
            with trio.move_on_at(self._deadline()):
                await self._bell.wait()
            board.refresh()
            end = await self._answer_call()
            if end is not None:
                return end
            splice.read_on()

    def release(self) -> None:
        """Let go of everything. Any number of times."""
        splice, pool = self._splice, self._context.pool
        splice.call |= calls.ENDING
        self._cancels_done.set()
        self._context.board.forget(self._transport)
        splice.leave_queue()
        self._context.ears.leave(splice)
        if self._pinned:
            self._pinned = False
            self._context.counters.pinned_sessions -= 1
        backend, splice.backend = splice.backend, None
        if backend is not None:
            relay = splice.relay
            cut = relay.cut_short() or bool(splice.server_rest)
            in_request = cut or relay.in_request()
            # Where a relay that failed stands, nobody knows.
            clean = not relay.pins and not relay.in_doubt() and splice.fault is None
            splice.refit(backend)
            pool.abandon(backend, relay.transaction, clean=clean, in_request=in_request, cut=cut)

    def _deadline(self) -> float:
        """When the task must look by itself, on Trio's clock."""
        splice, settings = self._splice, self._context.settings
        now = trio.current_time()
        deadline = self._lifetime_end if not splice.stopping else math.inf
        idle_since = splice.last_active
        deadline = min(deadline, idle_since + settings.idle_client_timeout)
        limit = settings.limits.idle_in_transaction_timeout
        waits = self._waits_for_client()
        if limit and waits and not self._free():
            deadline = min(deadline, idle_since + limit)
        elif limit:
            # Nobody wakes this task when a transaction is left alone; so it comes to see, late by a quarter at most.
            deadline = min(deadline, now + limit / 4)
        # A session that waits (the pool keeps that time) or is busy is not idle, whatever its last message was.
        return deadline if waits or splice.state is State.QUIET else max(deadline, now + _LOOK_AGAIN)

    def _waits_for_client(self) -> bool:
        """Whether a backend is held and nothing happens until the client says more: in a transaction, in half a
        message, in COPY data, or in a pipeline that it has not synced.
        """
        splice = self._splice
        if splice.server_rest:
            return False  # the server does not take what it has said already
        if splice.state is State.HOLDING:
            return True
        return splice.state is State.BUSY and (splice.relay.cut_short() or not splice.relay.owes())

    def _free(self) -> bool:
        """Whether the session could end here and nothing would be lost."""
        splice = self._splice
        if splice.state is State.HOLDING:
            return splice.relay.transaction is Transaction.NONE
        return splice.state is State.QUIET or splice.relay.endless()

    async def _answer_call(self) -> SessionEnd | None:
        """One turn: what the steps left to do."""
        splice = self._splice
        call, splice.call = splice.call, 0
        if call & calls.PINNED:
            self._report_pins()
        if call & calls.FAULT:
            return await self._fault()
        if call & calls.DEAF:
            return await self._part(Problem(ProblemCode.LISTENER_LOST), "server")
        if call & calls.OVERHEARD:
            return await self._part(Problem(ProblemCode.NOTIFICATIONS_UNREAD), "client")
        if call & calls.LISTENS:
            self._context.ears.subscribe(splice)
        if call & calls.CLIENT_GONE:
            return SessionEnd("the TCP channel was closed by the client", "client", "")
        if call & calls.BYE or splice.leaving:
            # What it asked for before the good-bye is still done, as a server would.
            splice.leaving = True
            if not splice.relay.owes() and not splice.server_rest:
                return SessionEnd("the client requested that the connection close", "client", "")
        if call & calls.SERVER_GONE:
            return await self._server_gone()
        if splice.state is State.WAITING:
            return await self._waiting(call)
        if call & calls.CANCEL:
            # A backend came between the cancel and us.
            self._answer_cancels(self._cancel_running)
        return await self._look_at_clock()

    def _answer_cancels(self, answer: Callable[[], None]) -> None:
        """What becomes of the cancels that came while the session waited."""
        count, self._cancels_waiting = self._cancels_waiting, 0
        for _ in range(count):
            answer()

    def _report_pins(self) -> None:
        splice = self._splice
        pinned = bool(splice.relay.pins)
        if pinned is not self._pinned:
            self._pinned = pinned
            self._context.counters.pinned_sessions += 1 if pinned else -1
            if not pinned:
                self._context.observers.unpinned(self._number)
        for reason in splice.relay.pins.fresh():
            detail = splice.relay.pins.active().get(reason, "")
            number = splice.backend.number if splice.backend is not None else 0
            self._context.counters.pinned(reason)
            self._context.observers.pinned(self._number, number, reason, detail)

    async def _look_at_clock(self) -> SessionEnd | None:
        splice, settings = self._splice, self._context.settings
        now = trio.current_time()
        free = self._free()
        if now >= self._lifetime_end and not splice.stopping:
            splice.stopping = True
            self._stop_problem = Problem(ProblemCode.LIFETIME_OVER)
        if splice.stopping and free and (splice.relay.endless() or not splice.relay.in_request()):
            return await self._part(self._stop_problem, "proxy")
        if splice.state is State.BUSY and not self._waits_for_client():
            return None
        # Sums as in `_deadline`: a difference may be rounded to just less, and the task would not sleep.
        since = splice.last_active
        if now >= since + settings.idle_client_timeout:
            return await self._part(Problem(ProblemCode.IDLE_TIMEOUT), "client")
        limit = settings.limits.idle_in_transaction_timeout
        if limit and not free and now >= since + limit:
            return await self._part(Problem(ProblemCode.IDLE_IN_TRANSACTION), "client")
        return None

    # -- waiting for a backend ------------------------------------------------------------------------------------

    async def _waiting(self, call: int) -> SessionEnd | None:
        splice = self._splice
        if call & calls.REFUSED and splice.refusal is not None:
            refusal, splice.refusal = splice.refusal, None
            self._answer_cancels(self._cancel_done)
            return await self._denied(refusal)
        if call & calls.CANCEL:
            splice.leave_queue()
            self._answer_cancels(self._cancel_done)
            return await self._denied(Problem(ProblemCode.CANCELLED_WHILE_WAITING, fatal=False))
        if splice.stopping:
            splice.leave_queue()
            return await self._part(self._stop_problem, "proxy")
        return None

    async def _denied(self, refusal: Problem | bytes) -> SessionEnd | None:
        """The request will not be served. After a problem of the proxy's the session lives on."""
        splice, context = self._splice, self._context
        if isinstance(refusal, bytes):
            await self._last_words(refusal)
            return SessionEnd("the server refused a login", "server", "")
        context.observers.borrow_failed(self._number, refusal)
        context.counters.failed(refusal.code)
        if refusal.fatal:
            return await self._part(refusal, "server")
        splice.state = State.QUIET
        splice.last_active = context.board.now
        splice.resume_after_abort(splice.relay.abort(refusal))
        return None

    # -- endings --------------------------------------------------------------------------------------------------

    async def _last_words(self, words: bytes) -> None:
        """Tell the client what is left to tell, and `words` unless a message to it is half sent: they would be data."""
        splice = self._splice
        splice.call |= calls.ENDING
        self._context.board.forget(self._transport)
        rest = splice.client_rest + b"".join(splice.relay.to_client)
        await _say(self._transport, rest + words if splice.relay.may_speak() else rest)

    async def _part(self, problem: Problem, blame: str) -> SessionEnd:
        """Last words, in the engine's own way."""
        context = self._context
        context.counters.failed(problem.code)
        await self._last_words(context.codec.refuse(problem))
        return SessionEnd(problem.code.value, blame, problem.subject)

    async def _server_gone(self) -> SessionEnd:
        splice, context = self._splice, self._context
        backend, splice.backend = splice.backend, None
        if backend is not None:
            context.pool.lost(backend, "the server closed it while it was borrowed")
        # A client with a backend of its own sees what the server said, and no more.
        silent = splice.said_fatal or self._own_backend
        await self._last_words(b"" if silent else context.codec.refuse(Problem(ProblemCode.SERVER_GONE)))
        if splice.leaving and self._own_backend:
            return SessionEnd("the client requested that the connection close", "client", "")
        return SessionEnd("the database connection was lost", "server", "")

    async def _fault(self) -> SessionEnd:
        splice, context = self._splice, self._context
        fault = splice.fault
        assert fault is not None
        if not isinstance(fault, CodecError):
            await self._part(Problem(ProblemCode.INTERNAL), "proxy")
            raise fault
        if not splice.fault_of_server:
            if isinstance(fault, FrameTooBig):
                return await self._part(Problem(ProblemCode.FRAME_TOO_BIG, str(fault.limit)), "client")
            return await self._part(Problem(ProblemCode.PROTOCOL_VIOLATION, str(fault)), "client")
        backend, splice.backend = splice.backend, None
        if backend is not None:
            context.pool.lost(backend, f"it broke the protocol: {fault}")
        return await self._part(Problem(ProblemCode.SERVER_PROTOCOL_VIOLATION, str(fault)), "server")

    def __repr__(self) -> str:
        return f"<Session {self._number} {self._splice!r}>"
