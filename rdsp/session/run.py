"""A logged-in session: what its steps leave to do, its deadlines, and its end.

In steady state `splice` does the work; it calls for a turn of the session when there is anything else. Here alone a
session ends, and every ending is one `SessionEnd`. Nothing waits here: last words that a client does not take at once,
and times, are `errands`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import trio

from rdsp.net.transport import Transport
from rdsp.observe.events import SessionEnd
from rdsp.session import calls
from rdsp.session.aftermath import Aftermath, abandon, may_follow
from rdsp.session.context import SessionContext
from rdsp.session.machine import State
from rdsp.session.splice import Splice
from rdsp.session.visit import Left, Visit, internal_error
from rdsp_codecs.api import ClientLogin
from rdsp_codecs.errors import CodecError, FrameTooBig
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.relaying import Relay
from rdsp_codecs.transaction import Transaction

_LOOK_AGAIN: Final = 1.0

# Members of enumerations under names of their own, as in `splice`.
_BUSY: Final = State.BUSY
_HOLDING: Final = State.HOLDING
_QUIET: Final = State.QUIET
_WAITING: Final = State.WAITING
_SHUTTING_DOWN: Final = Problem(ProblemCode.SHUTTING_DOWN)
_CLOSED_BY_CLIENT: Final = SessionEnd("the TCP channel was closed by the client", "client", "")
_SAID_GOODBYE: Final = SessionEnd("the client requested that the connection close", "client", "")


def _nobody() -> None:
    """Has no turns."""


class Before:
    """What a session leaves to the login that takes its place.

    Attributes:
        number, user: its own.
        relay: which has held what the login begins with.
        unsent: what its client has not been sent yet.
        untold: bits of the client's edges that it has not heeded.
        lifetime_end: when the client must go, on Trio's clock.
    """

    __slots__ = ("lifetime_end", "number", "relay", "unsent", "untold", "user")

    def __init__(self, number: int, user: str, relay: Relay, unsent: bytes, untold: int, lifetime_end: float) -> None:
        self.number: Final = number
        self.user: Final = user
        self.relay: Final = relay
        self.unsent: Final = unsent
        self.untold: Final = untold
        self.lifetime_end: Final = lifetime_end


Anew = Callable[[SessionContext, Transport, Left, Before], None]
"""Begins the login of a client that was in already."""


class Parting:
    """How a session is to end.

    Attributes:
        words: what the client is told at last; None: nothing is sent to it any more.
    """

    __slots__ = ("end", "words")

    def __init__(self, end: SessionEnd, words: bytes | None = None) -> None:
        self.end: Final = end
        self.words: Final = words


class Session(Visit):
    """A logged-in session: everything but its steady state.

    Invariant: a turn is due exactly while `called`; after `close` no backend is held, and no turn does anything.
    """

    __slots__ = (
        "_anew", "_cancels", "_cancels_done", "_cancels_waiting", "_lifetime_end", "_own_backend", "_pinned",
        "_splice", "_stop_problem", "user",
    )  # fmt: skip

    def __init__(
        self,
        context: SessionContext,
        transport: Transport,
        number: int,
        login: ClientLogin,
        left: Left,
        anew: Anew,
        before: Before | None = None,
    ) -> None:
        super().__init__(context, transport, number, left)
        self._anew = anew
        codec, key = context.codec, context.pool.clients[transport]
        self._splice = Splice(
            transport,
            codec.relay(login, context.policy, context.pool.facts(key).shared),
            context.pool,
            key,
            context.board,
            context.counters,
            self._call,
        )
        limits = context.settings.limits
        since_then = context.board.now + limits.client_lifetime
        self._lifetime_end = since_then if before is None else before.lifetime_end
        self._own_backend = login.own_backend
        self.user = login.user
        self._cancels = 0
        """Cancels asked for and not answered; of these, those that came while the session waited for a backend."""
        self._cancels_waiting = 0
        self._pinned = False
        self._cancels_done: trio.Event | None = None
        """Made by the first cancel."""
        self._stop_problem = _SHUTTING_DOWN

    # -- from outside ---------------------------------------------------------------------------------------------

    @property
    def alias(self) -> int:
        """See `Cancellable`."""
        return self._splice.relay.alias

    def cancel(self) -> None:
        """See `Cancellable`. Reaches what runs now, or ends the wait for a backend."""
        splice = self._splice
        if not self._cancels:
            self._cancels_done = trio.Event()
        self._cancels += 1
        if splice.state is _WAITING:
            self._cancels_waiting += 1
            splice.summon(calls.CANCEL)
        else:
            self._cancel_running()

    def _cancel_running(self) -> None:
        splice = self._splice
        backend = splice.backend
        if backend is None or not splice.relay.in_request() or splice.relay.interrupt():
            self._cancel_done()
            return
        request = backend.requests

        def still_wanted() -> bool:
            return splice.backend is backend and backend.requests == request

        self._context.pool.cancel(backend, still_wanted, splice.relay.cancellable, self._cancel_done)

    def _cancel_done(self) -> None:
        self._cancels -= 1
        if not self._cancels:
            self._all_passed()

    def _all_passed(self) -> None:
        if self._cancels_done is not None:
            self._cancels_done.set()

    async def cancel_passed(self) -> None:
        """Return when all cancels were delivered or had become pointless."""
        if self._cancels_done is not None:
            await self._cancels_done.wait()

    def kill(self) -> None:
        """See `Cancellable`."""
        self._splice.summon(calls.KILLED)

    def settings_changed(self) -> None:
        """See `Cancellable`."""
        self._call()

    def stop(self) -> None:
        """See `Cancellable`."""
        self._splice.stopping = True
        self._splice.summon(calls.STOP)

    # -- its turns ------------------------------------------------------------------------------------------------

    def begin(self, leftover: bytes, ready: int = 0) -> None:
        """The steady state begins.

        Arguments:
            leftover: what the client said behind its login.
            ready: READABLE when more may have come with what the login has read, of which no edge tells; LEAVING when
                the client has closed its side meanwhile.
        """
        splice, board = self._splice, self._context.board
        splice.last_active = board.now
        board.hand_on(self._transport, splice.client_event)
        if leftover:
            splice.feed(leftover)
        if ready:
            board.again(splice.client_event, ready)
        self._context.errands.call(self, self._deadline())

    def _call(self) -> None:
        """A step wants a turn: it comes when the board is through with its steps."""
        self.want_turn(self._context.board)

    def woken(self, mask: int, /) -> None:
        """A turn: the steps have left something to do, or the time has come to look at the clock."""
        self.called = False
        if self.over:
            return
        try:
            parting = self._answer_call()
            if self.over:
                return  # the connection is a login's now
            if parting is not None:
                self._leave(parting)
                return
            self._splice.read_on()
            self._context.errands.call(self, self._deadline())
        except Exception as error:  # noqa: BLE001 - the fence around a session: one fault must not reach the others
            self.fell(error)

    def _release(self) -> None:
        self._context.registry.remove(self._number)
        self._all_passed()
        self._let_go()

    def _let_go(self) -> None:
        """No backend, no place in the queue, no listener any more. Any number of times."""
        if self._pinned:
            self._pinned = False
            self._context.counters.pinned_sessions -= 1
        splice = self._splice
        if splice.gone:
            return  # all that is another's now
        splice.forget_keepsake()
        splice.call |= calls.ENDING
        splice.leave_queue()
        try:
            if splice.has_ear:
                self._context.ears.leave(splice)
        finally:
            backend, splice.backend = splice.backend, None
            splice.wake = _nobody  # otherwise the two of them would be left to the garbage collector
            if backend is not None:
                abandon(splice, backend, self._context.pool)

    def _deadline(self) -> float:
        """When the session must look by itself, on Trio's clock."""
        splice, settings = self._splice, self._context.settings
        now = self._context.board.now
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
        return deadline if waits or splice.state is _QUIET else max(deadline, now + _LOOK_AGAIN)

    def _waits_for_client(self) -> bool:
        """Whether a backend is held and nothing happens until the client says more: in a transaction, in half a
        message, in COPY data, or in a pipeline that it has not synced.
        """
        splice = self._splice
        if splice.server_rest:
            return False  # the server does not take what it has said already
        if splice.state is _HOLDING:
            return True
        return splice.state is _BUSY and (splice.relay.cut_short() or not splice.relay.owes())

    def _free(self) -> bool:
        """Whether the session could end here and nothing would be lost."""
        splice = self._splice
        if splice.state is _HOLDING:
            return splice.relay.transaction is Transaction.NONE
        return splice.state is _QUIET or splice.relay.endless()

    def _answer_call(self) -> Parting | None:
        """One turn: what the steps left to do."""
        splice = self._splice
        call, splice.call = splice.call, 0
        if call & calls.PINNED:
            self._report_pins()
        parting = self._forced(call)
        if parting is not None:
            return parting
        if call & calls.LISTENS:
            self._context.ears.subscribe(splice)
        if call & calls.CLIENT_GONE:
            return self._client_gone(call)
        if call & calls.BYE or splice.leaving:
            # What it asked for before the good-bye is still done, as a server would.
            splice.leaving = True
            splice.reclaimed()  # what it has left is asked for: others need not clean up
            if not splice.relay.owes() and not splice.server_rest:
                return Parting(_SAID_GOODBYE)
        if call & calls.SERVER_GONE:
            return self._server_gone()
        if call & calls.ANEW:
            return self._give_way()
        if splice.state is _WAITING:
            return self._waiting(call)
        if call & calls.CANCEL:
            # A backend came between the cancel and us.
            self._answer_cancels(self._cancel_running)
        return self._look_at_clock()

    def _forced(self, call: int) -> Parting | None:
        """What ends the session whatever else there is."""
        if call & calls.FAULT:
            return self._fault()
        if call & calls.KILLED or (call & calls.KILL and self._kill()):
            return self._part(Problem(ProblemCode.KILLED), "client")
        if call & calls.DEAF:
            return self._part(Problem(ProblemCode.LISTENER_LOST), "server")
        if call & calls.OVERHEARD:
            return self._part(Problem(ProblemCode.NOTIFICATIONS_UNREAD), "client")
        return None

    def _kill(self) -> bool:
        """The client wants a session to be ended, or what that runs. Returns whether it is this one that is to end."""
        splice = self._splice
        number, whole = splice.relay.victim
        found = self._context.registry.of_user(number, self.user)
        if found is self and whole:
            return True
        if found is self:
            problem: Problem | None = Problem(ProblemCode.CANCELLED_WHILE_WAITING, fatal=False)
        elif isinstance(found, Problem):
            problem = found
        else:
            problem = None
            self._context.observers.cancel_asked(number, "killed" if whole else "found")
            if whole:
                found.kill()
            else:
                found.cancel()
        splice.resume_after_abort(splice.relay.killed(problem))
        return False

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

    def _look_at_clock(self) -> Parting | None:
        splice, settings = self._splice, self._context.settings
        now = trio.current_time()
        free = self._free()
        if now >= self._lifetime_end and not splice.stopping:
            splice.stopping = True
            self._stop_problem = Problem(ProblemCode.LIFETIME_OVER)
        if splice.stopping and free and (splice.relay.endless() or not splice.relay.in_request()):
            return self._part(self._stop_problem, "proxy")
        if splice.state is _BUSY and not self._waits_for_client():
            return None
        # Sums as in `_deadline`: a difference may be rounded to just less, and the task would not sleep.
        since = splice.last_active
        if now >= since + settings.idle_client_timeout:
            return self._part(Problem(ProblemCode.IDLE_TIMEOUT), "client")
        limit = settings.limits.idle_in_transaction_timeout
        if limit and not free and now >= since + limit:
            return self._part(Problem(ProblemCode.IDLE_IN_TRANSACTION), "client")
        return None

    # -- waiting for a backend ------------------------------------------------------------------------------------

    def _waiting(self, call: int) -> Parting | None:
        splice = self._splice
        if call & calls.REFUSED and splice.refusal is not None:
            refusal, splice.refusal = splice.refusal, None
            self._answer_cancels(self._cancel_done)
            return self._denied(refusal)
        if call & calls.CANCEL:
            splice.leave_queue()
            self._answer_cancels(self._cancel_done)
            return self._denied(Problem(ProblemCode.CANCELLED_WHILE_WAITING, fatal=False))
        if splice.stopping:
            splice.leave_queue()
            return self._part(self._stop_problem, "proxy")
        return None

    def _denied(self, refusal: Problem | bytes) -> Parting | None:
        """The request will not be served. After a problem of the proxy's the session lives on."""
        splice, context = self._splice, self._context
        if isinstance(refusal, bytes):
            return Parting(SessionEnd("the server refused a login", "server", ""), self._last_words(refusal))
        context.observers.borrow_failed(self._number, refusal)
        context.counters.failed(refusal.code)
        if refusal.fatal:
            return self._part(refusal, "server")
        splice.state = _QUIET
        splice.last_active = context.board.now
        splice.resume_after_abort(splice.relay.abort(refusal))
        return None

    # -- endings --------------------------------------------------------------------------------------------------

    def _give_way(self) -> Parting | None:
        """The client wants to be somebody else: of this session only the connection is left, and a login begins."""
        context, splice, left = self._context, self._splice, self._left
        if splice.stopping:
            return self._part(self._stop_problem, "proxy")
        unsent = splice.client_rest + b"".join(splice.relay.to_client)
        before = Before(self._number, self.user, splice.relay, unsent, splice.untold(), self._lifetime_end)
        self._all_passed()
        self._let_go()
        context.errands.forget(self)
        context.pool.leave(self._transport)
        self.hand_over()
        self._anew(context, self._transport, left, before)
        return None

    def _leave(self, parting: Parting) -> None:
        """Tell the client what is left to tell, and the last words."""
        splice, words = self._splice, parting.words
        if words is not None:
            words = splice.client_rest + b"".join(splice.relay.to_client) + words
        # Last words may take a while: others need the backend, and one that comes meanwhile would run the request.
        self._let_go()
        self.part(parting.end, words or b"")

    def _part(self, problem: Problem, blame: str) -> Parting:
        """Last words, in the engine's own way."""
        context = self._context
        context.counters.failed(problem.code)
        return Parting(SessionEnd(problem.code.value, blame, problem.subject), self._last_words(problem))

    def _last_words(self, problem: Problem | bytes) -> bytes:
        """None where they would be data: a message to the client is half sent."""
        relay = self._splice.relay
        return relay.refusal(problem) if relay.may_speak() else b""

    def _client_gone(self, call: int) -> Parting:
        splice = self._splice
        if not call & calls.SERVER_GONE:
            splice.reclaimed()
            if not self._own_backend and may_follow(splice):
                Aftermath(self._context, splice)
        return Parting(_CLOSED_BY_CLIENT)

    def _server_gone(self) -> Parting:
        splice, context = self._splice, self._context
        backend, splice.backend = splice.backend, None
        if backend is not None:
            context.pool.lost(backend, "the server closed it while it was borrowed")
        # A client with a backend of its own sees what the server said, and no more.
        silent = splice.said_fatal or self._own_backend
        words = b"" if silent else self._last_words(Problem(ProblemCode.SERVER_GONE))
        if splice.leaving and self._own_backend:
            return Parting(SessionEnd("the client requested that the connection close", "client", ""), words)
        return Parting(SessionEnd("the database connection was lost", "server", ""), words)

    def _fault(self) -> Parting:
        splice, context = self._splice, self._context
        fault = splice.fault
        assert fault is not None
        if not isinstance(fault, CodecError):
            words = self._part(Problem(ProblemCode.INTERNAL), "proxy").words
            return Parting(internal_error(fault), words)
        if not splice.fault_of_server:
            if isinstance(fault, FrameTooBig):
                return self._part(Problem(ProblemCode.FRAME_TOO_BIG, str(fault.limit)), "client")
            return self._part(Problem(ProblemCode.PROTOCOL_VIOLATION, str(fault)), "client")
        backend, splice.backend = splice.backend, None
        if backend is not None:
            context.pool.lost(backend, f"it broke the protocol: {fault}")
        return self._part(Problem(ProblemCode.SERVER_PROTOCOL_VIOLATION, str(fault)), "server")

    def __repr__(self) -> str:
        return f"<Session {self._number} {self._splice!r}>"
