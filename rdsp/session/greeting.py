"""A client's login, from accept to its session: the engine's greeting, driven by steps of the switchboard.

The listener makes a `Greeter` for every client. Only what has to wait for more than the client itself (a key that is to
be derived, a first database connection) gets a task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from rdsp.converse import CHUNK, received_now, sent_now, shaken_now
from rdsp.net.switchboard import LEAVING, READABLE
from rdsp.net.tls import ServerTls
from rdsp.net.transport import WOULD_BLOCK, Transport
from rdsp.observe.events import SessionEnd
from rdsp.session.context import SessionContext
from rdsp.session.login import answer_later, answer_now, offer_to, too_fast
from rdsp.session.run import Before, Session
from rdsp.session.visit import CANCEL_REQUEST, LAST_WORDS_TIMEOUT, Left, Visit
from rdsp_codecs.api import CancelAsked, ClientLogin, Greeting
from rdsp_codecs.errors import PeerClosed, WireError
from rdsp_codecs.layering import Layer
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.steps import Ask, Conversation, EndTls, HasUnread, PutOn, Receive, Send, StartTls, TlsSide

_INPUT: Final = READABLE | LEAVING
_LATER: Final = object()
"""In place of a step's result: it cannot be had yet."""


class Greeter(Visit):
    """One login.

    Invariant: `_step` is what the conversation waits for; while an errand runs for it, no step of the board touches it.
    While `_dry`, nothing stands in the socket, and an edge will tell of more.

    Attributes:
        user: whom it has been in a session that this login ends; "" before the first one.
    """

    __slots__ = (
        "_before", "_conversation", "_dry", "_early", "_errand", "_leaving", "_owed", "_refusal", "_rest", "_secret",
        "_shake_due", "_shaking", "_step", "_tls", "_unread", "user",
    )  # fmt: skip

    def __init__(
        self,
        context: SessionContext,
        transport: Transport,
        refusal: Problem | None,
        left: Left,
        before: Before | None = None,
    ) -> None:
        super().__init__(context, transport, context.registry.new_id() if before is None else before.number, left)
        self._before = before
        self.user = "" if before is None else before.user
        self._owed = b"" if before is None else before.unsent
        """What the client has not been sent yet of the session's before this login."""
        self._refusal = refusal
        self._secret = context.registry.new_secret()
        self._tls = context.certificates.current
        self._conversation: Conversation[Greeting] | None = None
        self._step: Any = None
        self._rest = b""
        self._shaking = False
        """In a TLS handshake."""
        self._shake_due = False
        self._leaving = 0 if before is None else before.untold & LEAVING
        """The edge that tells that the client has closed its side: it comes once, and the session must know of it."""
        self._early = b""
        """What the client has said and the conversation has not taken yet."""
        self._errand: trio.CancelScope | None = None
        self._dry = before is None  # the first edge tells of what has come before
        self._unread = -1
        """How many bytes stand in the socket, or more by now; -1: nobody knows."""

    def begin(self, since: float) -> None:
        """Begin. `since`: when the client was accepted, on Trio's clock; the time for its login counts from then."""
        context = self._context
        context.greeters.add(self)
        context.counters.logins += 1
        if self._before is None:
            context.observers.session_started(self._number, context.settings.name, self._transport.peer)
        try:
            context.errands.call(self, since + context.settings.limits.login_timeout)
            if self._before is None:
                context.board.watch(self._transport, self.event)
            else:
                context.registry.hand_on(self._number, self)
                context.board.hand_on(self._transport, self.event)
            if context.credentials.are_ahead():
                self._greet()
            else:
                self._run_errand(self._work_ahead)
        except Exception as error:  # noqa: BLE001 - the fence around a login: one fault must not reach the others
            self.fell(error)

    def event(self, mask: int) -> None:
        """The client's socket is ready; a step of the board. What the conversation waits for is tried again."""
        self._leaving |= mask & LEAVING
        if mask & _INPUT:
            self._dry = False
        if self.over or self._conversation is None:
            return
        if self._errand is not None:
            if self._leaving:
                self._look_whether_gone()
        elif self._shaking:
            self._shake_slowly()
        else:
            self._go_on()

    def woken(self, mask: int, /) -> None:
        """The time for the login is over."""
        if self.over:
            return
        problem = Problem(ProblemCode.LOGIN_TIMEOUT)
        try:
            self._context.observers.refused(self._context.settings.name, self._transport.peer, problem, "")
            self._turn_away(problem, SessionEnd("login took too long", "client", ""))
        except Exception as error:  # noqa: BLE001 - see `begin`
            self.fell(error)

    # -- the conversation -----------------------------------------------------------------------------------------

    def _greet(self) -> None:
        offer = offer_to(self._context, self._transport, self._tls, self._refusal)
        before = self._before
        self._conversation = self._context.codec.greet(offer) if before is None else before.relay.greet_anew(offer)
        self._go_on()

    def _go_on(self, result: Any = _LATER, error: Exception | None = None) -> None:
        """Drive the conversation until it has to wait. `result`, `error`: what an errand has brought it."""
        try:
            greeting = self._drive(result, error)
        except (WireError, UnicodeError) as fault:
            # An error about a text shows a piece of it, and it may be a password.
            told = "a text of the login is not UTF-8" if isinstance(fault, UnicodeError) else str(fault)
            try:
                self._turn_away(
                    Problem(ProblemCode.PROTOCOL_VIOLATION, told), SessionEnd("login failed", "client", told)
                )
            except Exception as another:  # noqa: BLE001 - see `begin`
                self.fell(another)
        except Exception as fault:  # noqa: BLE001 - see `begin`
            self.fell(fault)
        else:
            if greeting is not None:
                self._greeted(greeting)

    def _drive(self, result: Any, error: Exception | None) -> Greeting | None:
        """Returns the greeting when it is through. Raises what the conversation raises."""
        conversation, step = self._conversation, self._step
        assert conversation is not None
        try:
            if error is not None:
                step = conversation.throw(error)
            elif result is not _LATER:
                step = conversation.send(result)
            elif step is None:
                step = next(conversation)
            while True:
                self._step = step
                try:
                    result = self._perform(step)
                except (PeerClosed, WireError) as fault:
                    step = conversation.throw(fault)
                    continue
                if result is _LATER:
                    return None
                step = conversation.send(result)
        except StopIteration as stop:
            self._conversation = None
            greeting: Greeting = stop.value
            return greeting

    def _perform(self, step: Any) -> Any:
        """Do what the conversation asks for. Returns `_LATER` when it has to wait."""
        try:
            if isinstance(step, Receive):
                return self._receive(step)
            if isinstance(step, Send):
                return self._send(step.data)
            if isinstance(step, Ask):
                return self._answer(step.question)
            if isinstance(step, HasUnread):
                return bool(self._early) or self._transport.has_unread()
            if isinstance(step, PutOn):
                return self._put_on(step)
            if isinstance(step, StartTls) and step.side is TlsSide.SERVER and self._tls is not None:
                return self._shake(self._tls, step.within)
            if isinstance(step, EndTls):
                self._dry = False
                return self._transport.end_tls()
        except WOULD_BLOCK:
            return _LATER
        msg = f"not a step of a login: {step!r}"
        raise TypeError(msg)

    def _receive(self, step: Receive) -> Any:
        """Some bytes; `_LATER` where there are none. Raises one of WOULD_BLOCK, and `PeerClosed`."""
        limit, early = step.limit or CHUNK, self._early
        if early:
            if not step.peek:
                self._early = early[limit:]
            return early[:limit]
        return _LATER if self._dry else self._read(limit, peek=step.peek)

    def _read(self, limit: int, *, peek: bool) -> bytes:
        """Reads that would come back empty-handed are told by what earlier ones have found."""
        plain = self._transport.records is None
        try:
            data = received_now(self._transport, limit, peek=peek)
        except BlockingIOError:
            self._dry = plain and not self._leaving
            raise
        size = len(data)
        if size < limit:
            self._unread = size if peek else 0
        elif not peek:
            self._unread = self._unread - size if self._unread >= size else -1
        if not self._unread and plain and not self._leaving:
            self._dry = True
            self._unread = -1
        return data

    def _send(self, data: bytes) -> None:
        """All of it; raises one of WOULD_BLOCK before that, and goes on where it stopped when it is called again."""
        rest = self._rest
        if not rest:
            rest, self._owed = self._owed + data, b""
        while rest:
            self._rest = rest
            rest = rest[sent_now(self._transport, rest) :]
        self._rest = b""

    def _put_on(self, step: PutOn) -> None:
        self._transport.put_on(step.layer, step.early + self._early)
        self._early = b""
        self._dry = False  # something may stand in the layer, of which no edge tells

    def _shake(self, tls: ServerTls, within: Layer | None) -> Any:
        """Raises one of WOULD_BLOCK, `PeerClosed`, and `WireError`."""
        if not self._shaking:
            self._shaking = True
            self._transport.begin_tls(TlsSide.SERVER, tls.context, None, within)
            self._shake_slowly()
        if self._shake_due:
            return _LATER
        facts = shaken_now(self._transport)
        self._shaking = self._dry = False  # what came behind the handshake may stand in OpenSSL already
        return facts

    def _shake_slowly(self) -> None:
        """A handshake may cost milliseconds, and hundreds of clients may come at once."""
        if not self._shake_due:
            self._shake_due = True
            self._context.board.slowly(self._shake_on, 0)

    def _shake_on(self, mask: int) -> None:
        """The turn has come."""
        self._shake_due = False
        if not self.over:
            self._go_on()

    def _answer(self, question: Any) -> Any:
        answer = answer_now(self._context, self._transport, self._number, self._secret, question)
        if answer is None:
            self._run_errand(self._find_out, question)
            if self._leaving and not self.over:
                self._look_whether_gone()
            return _LATER
        return answer

    # -- what has to wait -----------------------------------------------------------------------------------------

    def _run_errand(self, errand: Callable[..., Awaitable[None]], *args: Any) -> None:
        self._errand = trio.CancelScope()
        if not self._context.errands.start(self._fenced, self._errand, errand, *args):
            self.cut()

    async def _fenced(self, scope: trio.CancelScope, errand: Callable[..., Awaitable[None]], *args: Any) -> None:
        try:
            with scope:
                await errand(*args)
        except Exception as error:  # noqa: BLE001 - see `begin`
            self.fell(error)
        except BaseException:
            self.cut()
            raise

    def _look_whether_gone(self) -> None:
        """The client has closed its side while an errand runs for it: if it has said nothing before that, it waits for
        nothing any more, and leaves the pool's queue.
        """
        try:
            while len(self._early) < CHUNK:
                self._early += received_now(self._transport, CHUNK)
        except WOULD_BLOCK:
            return
        except PeerClosed as gone:
            if not self._early:
                self.close(SessionEnd("left during login", "client", str(gone)))

    async def _work_ahead(self) -> None:
        context = self._context
        await context.credentials.work_ahead(context.deriver.derive, context.mock_salt_key)
        self._errand = None
        if not self.over:
            self._greet()

    async def _find_out(self, question: Any) -> None:
        """What cannot be answered at once."""
        answer = error = None
        try:
            answer = await answer_later(self._context, self._number, self._secret, question)
        except (PeerClosed, WireError) as fault:
            error = fault
        self._errand = None
        if not self.over:
            self._context.board.refresh()
            self._go_on(answer, error)

    # -- endings --------------------------------------------------------------------------------------------------

    def _turn_away(self, problem: Problem, end: SessionEnd) -> None:
        self._done()
        # Behind half a message it would be that one's data.
        self.part(end, b"" if self._rest or self._owed else self._context.codec.refuse(problem))

    def _greeted(self, greeting: Greeting) -> None:
        """The conversation is through."""
        context = self._context
        try:
            self._done()
            if isinstance(greeting, ClientLogin):
                self._welcome(greeting)
            elif isinstance(greeting, CancelAsked):
                if not context.errands.start(self._pass_cancel, greeting.connection_id, greeting.secret):
                    self.cut()
            else:
                refusal = greeting.problem
                if refusal is not None:
                    context.observers.refused(context.settings.name, self._transport.peer, refusal, greeting.user)
                self.part(SessionEnd("turned away" if refusal else "left during login", "client", ""))
        except Exception as error:  # noqa: BLE001 - see `begin`
            self.fell(error)

    def _welcome(self, login: ClientLogin) -> None:
        context = self._context
        session = Session(context, self._transport, self._number, login, self._left, greet_anew, self._before)
        self.hand_over()
        context.errands.hand_on(self, session)
        try:
            context.registry.add(self._number, login.welcome.cancel_secret, session)
            context.observers.session_admitted(self._number, login.user, login.database, login.tls)
            ready = self._leaving if self._dry else self._leaving | READABLE
            session.begin(login.leftover + self._early, ready)
        except Exception as error:  # noqa: BLE001 - see `begin`
            session.fell(error)

    async def _pass_cancel(self, wanted: int, key: bytes) -> None:
        """Hand a cancel to its session. The client's connection is closed last, when the cancel is on its way."""
        context = self._context
        try:
            session = context.registry.find(wanted, key)
            outcome = "passed on" if session is not None else "wrong key"
            context.observers.cancel_asked(wanted if session is not None else None, outcome)
            if session is not None:
                session.cancel()
                if isinstance(session, Session):
                    with trio.move_on_after(LAST_WORDS_TIMEOUT):
                        await session.cancel_passed()
        except Exception as error:  # noqa: BLE001 - see `begin`
            self.fell(error)
        finally:
            self.close(CANCEL_REQUEST)

    def _done(self) -> None:
        """The login is over, one way or the other."""
        self.over = True
        context = self._context
        if self in context.greeters:
            context.greeters.remove(self)
            context.counters.logins -= 1
        if self._errand is not None:
            self._errand.cancel()
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            conversation.close()

    def _release(self) -> None:
        self._done()
        if self._before is not None:
            self._context.registry.remove(self._number)

    # -- in the registry, in the place of the session before (`Cancellable`) -----------------------------------------

    @property
    def alias(self) -> int:
        """See `Cancellable`: it has no backend."""
        return 0

    def kill(self) -> None:
        """See `Cancellable`."""
        self._end_early(Problem(ProblemCode.KILLED), "client")

    def cancel(self) -> None:
        """See `Cancellable`: nothing runs."""

    def settings_changed(self) -> None:
        """See `Cancellable`: the time for a login is what it was when it began."""

    def stop(self) -> None:
        """See `Cancellable`: nothing is lost now."""
        self._end_early(Problem(ProblemCode.SHUTTING_DOWN), "proxy")

    def _end_early(self, problem: Problem, blame: str) -> None:
        if self.over:
            return
        try:
            self._turn_away(problem, SessionEnd(problem.code.value, blame, problem.subject))
        except Exception as error:  # noqa: BLE001 - see `begin`
            self.fell(error)


def greet_anew(context: SessionContext, transport: Transport, left: Left, before: Before) -> None:
    """A session's client wants to be somebody else: it logs in as whoever comes, and counts as one more login."""
    Greeter(context, transport, too_fast(context), left, before).begin(context.board.now)
