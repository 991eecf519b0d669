"""The Trio shell around the book of one target group: it carries out what the book decides.

Sessions take and give back backends here; opening, closing, resetting and cancelling are tasks in the pool's own
nursery, because a backend outlives the session that used it. Which backend goes to whom is decided in `rdsp.pool.book`
and nowhere else.
"""

from __future__ import annotations

import math
import random
import traceback
from collections.abc import Awaitable, Callable, Hashable, Iterable
from functools import partial
from typing import Any

import trio

from rdsp.config.model import TargetGroup
from rdsp.net.switchboard import WRITABLE, Board
from rdsp.net.transport import Transport, is_resource_trouble
from rdsp.observe.counters import Counters
from rdsp.observe.dispatch import Observers
from rdsp.pool.backend import Backend, Waiter
from rdsp.pool.book import Book, Close, Decision, Fail, Grant, Member, Open, OpenFailure, WaitFailure
from rdsp.pool.cancelling import Cancels
from rdsp.pool.facts import KeyFacts
from rdsp.pool.introducing import Introductions
from rdsp.pool.key import PoolKey, base_of
from rdsp.pool.lending import Lending
from rdsp.pool.limits import UNTOLD, book_limits
from rdsp.pool.member import MemberState
from rdsp.pool.opening import Opener, kind_of
from rdsp.pool.retiring import ask_limit, say_goodbye
from rdsp.pool.vacating import Vacating
from rdsp_codecs.errors import CodecError, LoginRefused
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.transaction import Transaction

_FAILURES = {
    WaitFailure.TIMED_OUT: ProblemCode.BORROW_TIMEOUT,
    WaitFailure.TOO_MANY_WAITERS: ProblemCode.TOO_MANY_WAITERS,
    WaitFailure.NOTHING_IDLE: ProblemCode.BORROW_TIMEOUT,
    WaitFailure.CLOSED: ProblemCode.SHUTTING_DOWN,
}


class Pool:
    """All backends of one target group.

    Invariant: every member of the book that is not OPENING has exactly one `Backend` as its payload, and the other
    way round; every `Decision` of the book is carried out once, in order. There are facts of exactly those keys that a
    client, a member or a waiter has.
    """

    def __init__(
        self,
        name: str,
        settings: TargetGroup,
        book: Book,
        opener: Opener,
        board: Board,
        observers: Observers,
        counters: Counters,
        *,
        connect_timeout: float,
        abandon_timeout: float,
    ) -> None:
        self.name = name
        self.book = book
        self.board = board
        self.counters = counters
        self._settings = settings
        self._opener = opener
        self._observers = observers
        self._connect_timeout = connect_timeout
        self._abandon_timeout = abandon_timeout
        self._facts: dict[Hashable, KeyFacts] = {}
        self.clients: dict[object, Hashable] = {}
        """The key of the pool that each client has entered."""
        self._nursery: trio.Nursery | None = None
        self._changed = trio.Event()
        self._limit_asked = -math.inf
        self._allowed: int | None = None
        """How many connections the server allows, when it was last asked."""
        self._cancels = cancels = Cancels(opener, observers, connect_timeout, self._start)
        self.introductions = Introductions(opener, connect_timeout, partial(observers.trouble, name))
        self._closed = False
        self.lending = lending = Lending(
            book, board, gone=self._found_gone, held_up=self._held_up, carry_out=self._carry_out, stir=self._stir
        )
        self._vacating = Vacating(
            book, self._has_clients, partial(self._retire, why="no client could use it, and a database is to be left")
        )
        # Bound methods of a compiled class: the steady state pays for no wrapper.
        self.take = lending.take
        self.give_back = lending.give_back
        self.wait = lending.wait
        self.cancel = cancels.deliver

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; then every backend is closed at once."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._keep)
                nursery.start_soon(self.introductions.run)
                nursery.start_soon(self._stop_starting)
                task_status.started()
        finally:
            for member in self.book.members():
                if isinstance(member.payload, Backend):
                    self.board.forget(member.payload.transport)
                    member.payload.transport.close()

    async def _stop_starting(self) -> None:
        """A nursery whose tasks have all ended takes no new ones: from its cancellation on nothing is begun."""
        try:
            await trio.sleep_forever()
        finally:
            self._nursery = None

    # -- sessions -------------------------------------------------------------------------------------------------

    def enter(self, client: object, key: Hashable, make: Callable[[], KeyFacts]) -> KeyFacts:
        """A client belongs to the pool `key` until it leaves. Returns the pool's facts, made for its first client."""
        facts = self._facts.get(key)
        if facts is None:
            facts = self._facts[key] = make()
            facts.keys.add(key)
        facts.clients += 1
        self.clients[client] = facts.key
        return facts

    def leave(self, client: object) -> None:
        """The client is gone. Any number of times, also for one that never entered."""
        key = self.clients.pop(client, None)
        if key is not None:
            facts = self._facts[key]
            facts.clients -= 1
            if not facts.clients:
                self._forget_unused(key)

    def vacate(self) -> None:
        """A borrower's statement fails where others are connected to a database: close what no client could use."""
        self._vacating.begin(self.board.refresh())
        self._stir()

    def _has_clients(self, key: Hashable) -> bool:
        return self._facts[base_of(key)].clients > 0

    def facts(self, key: Hashable) -> KeyFacts:
        """The facts of a pool that a client has entered."""
        return self._facts[key]

    def _forget_unused(self, key: Hashable) -> None:
        """Keep nothing of a pool that has neither clients nor backends."""
        base = base_of(key)
        facts = self._facts.get(base)
        if facts is None:
            return
        if key is not base and not self.book.knows(key):
            facts.keys.discard(key)
        if not facts.clients and not any(map(self.book.knows, facts.keys)):
            del self._facts[base]

    def vary(self, backend: Backend, marks: Hashable) -> Hashable:
        """The borrower has left `marks` on the backend for ever. Returns the key of backends that have them too."""
        before = backend.member.key
        assert isinstance(before, PoolKey)
        key = before.marked(marks)
        self._facts[key.base].keys.add(key)
        self.book.rekey(backend.member, key)
        self._forget_unused(before)
        return key

    def _held_up(self, backend: Backend) -> None:
        """A backend was given back that a cancel may still hit."""
        self.book.resetting(backend.member, self.board.now)
        if backend.suspect:
            self._returned(backend)
        else:
            backend.on_settled = partial(self._returned, backend)

    def _found_gone(self, backend: Backend) -> None:
        self.idle_event(backend, 0)

    def give_back_unused(self, backend: Backend) -> None:
        """The borrower never took its events: the server may have closed it meanwhile, and then it is gone already."""
        if backend.member.state is MemberState.BORROWED:
            self.board.refresh()
            self.give_back(backend)

    def _returned(self, backend: Backend) -> None:
        if backend.suspect:
            self._retire(backend, "a cancel of its query is on its way, nobody knows for how long")
            return
        self._carry_out(self.book.give_back(backend.member, self.board.refresh()))

    def _stir(self) -> None:
        """The keeper looks again when its help is needed."""
        self._changed.set()

    def left(self, waiter: Waiter, key: Hashable) -> None:
        """The waiter does not wait for a backend of `key` any longer (it was not answered yet)."""
        self._carry_out(self.book.left(waiter, self.board.refresh()))
        self._forget_unused(key)  # its client may have left before it

    def lost(self, backend: Backend, why: str) -> None:
        """The borrower found the backend closed or broken: close it at once."""
        backend.borrower = None
        self._close_now(backend, why)

    def abandon(
        self, backend: Backend, transaction: Transaction, *, clean: bool, in_request: bool, cut: bool = False
    ) -> None:
        """The borrower's client left.

        Arguments:
            transaction: where the backend stands.
            clean: nothing but an open transaction distinguishes it from a fresh one.
            in_request: replies are owed, or a message was half sent.
            cut: a message to the server was half sent.
        """
        backend.borrower = None
        backend.on_settled = None
        if in_request or not clean or backend.cancelling or backend.suspect:
            self._retire(
                backend,
                "its client left in the middle of a request" if in_request else "pinned client left",
                cancel=in_request,
                cut=cut,
            )
        else:
            self.book.resetting(backend.member, self.board.now)
            self._start(self._reset, backend, transaction)

    async def cancel_the_rest(self) -> None:
        """The proxy ends: have the server cancel what is still run for somebody, who waits for it or has left.

        Nobody is given a backend any more. Takes some seconds at most, and raises nothing; what could not be cancelled
        is reported.
        """
        self.drain()
        backends = (member.payload for member in self.book.members() if isinstance(member.payload, Backend))
        await self._cancels.last_ones([each for each in backends if each.borrower is not None or each.abandoned])

    # -- backends -------------------------------------------------------------------------------------------------

    def idle_event(self, backend: Backend, mask: int) -> None:
        """An idle backend's socket has news: it closed, or it speaks while nobody listens. Neither may be reused."""
        if mask and not mask & ~WRITABLE:
            return
        if mask and not backend.transport.has_unread():
            return
        self._close_now(backend, "the server closed an idle connection")

    def _close_now(self, backend: Backend, why: str) -> None:
        backend.on_settled = None
        # The server may have been started anew, with another limit, or it is another one now.
        self._limit_asked = -math.inf
        self.board.forget(backend.transport)
        backend.transport.close()
        self._gone(backend, why)

    def _gone(self, backend: Backend, why: str) -> None:
        self._observers.backend_closed(self.name, backend.number, why)
        self._carry_out(self.book.gone(backend.member, self.board.refresh()))
        self._forget_unused(backend.member.key)

    def _retire(self, backend: Backend, why: str, *, cancel: bool = False, cut: bool = False) -> None:
        """Close with a good-bye; the backend counts until the server has let go of it, or the time for that is over.

        `cut`: a message to it was half sent. A good-bye would pass for its rest and might complete it.
        """
        self._carry_out(self.book.closing(backend.member, self.board.refresh()))
        self.board.forget(backend.transport)
        self._start(self._say_goodbye, backend, why, cancel, cut)

    async def _say_goodbye(self, backend: Backend, why: str, cancel: bool, cut: bool) -> None:
        try:
            with trio.move_on_after(self._abandon_timeout):
                if cancel:
                    backend.abandoned = True
                    await self._cancels.of_abandoned(backend)
                    backend.abandoned = False
                if not cut:
                    await say_goodbye(backend, self._opener.codec.goodbye())
        finally:
            backend.transport.close()
            self._gone(backend, why)

    async def _reset(self, backend: Backend, transaction: Transaction) -> None:
        """End the transaction that a client left open."""
        if await self._converse(backend, self._opener.codec.reset(backend.state, transaction)):
            self._carry_out(self.book.give_back(backend.member, self.board.refresh()))
        else:
            self._retire(backend, "it could not be reset")

    async def _check(self, backend: Backend) -> None:
        """See whether an idle backend still answers."""
        if await self._converse(backend, self._opener.codec.probe(backend.state)):
            self._carry_out(self.book.checked(backend.member, self.board.refresh()))
        else:
            self._close_now(backend, "it doesn't answer")

    async def _converse(self, backend: Backend, conversation: Any) -> bool:
        """A conversation with a backend that nobody has. Returns whether it came to its end in time."""
        self.board.forget(backend.transport)
        with trio.move_on_after(self._abandon_timeout):
            try:
                await self._opener.run(conversation, backend.transport)
            except (CodecError, OSError):
                return False
            self.board.watch(backend.transport, backend.event)
            return True
        return False

    async def _open(self, member: Member) -> None:
        facts = self._facts[base_of(member.key)]
        self._observers.backend_opening(self.name, member.number)
        started = trio.current_time()
        try:
            with trio.fail_after(self._connect_timeout):
                opened = await self._opener.open(facts)
                transport, state = opened.transport, opened.state
                allowed = await self._follow_limit(transport, state)
        except trio.TooSlowError:
            self._open_failed(member, OpenFailure.UNREACHABLE, "it took too long", None)
        except LoginRefused as refused:
            self._open_failed(member, kind_of(refused), str(refused), refused.raw or None)
        except CodecError as error:
            self._open_failed(member, OpenFailure.UNREACHABLE, str(error), None)
        except OSError as error:
            if is_resource_trouble(error):
                self._open_failed(member, OpenFailure.REFUSED_BUSY, str(error), None)
            else:
                self._open_failed(member, OpenFailure.UNREACHABLE, str(error), None)
        else:
            if facts.parameters != state.server_parameters:  # else the same mapping: what is made of it is remembered
                facts.parameters = state.server_parameters
            self.introductions.latest = facts.parameters
            self._observers.backend_opened(self.name, member.number, transport.peer, trio.current_time() - started)
            backend = Backend(member, transport, state, opened.way, facts, self.idle_event)
            try:
                self.board.watch(transport, backend.event)
            except BaseException:
                transport.close()
                raise
            if allowed is not None:
                if allowed == UNTOLD and self._allowed != UNTOLD:
                    text = "the server does not say how many connections it allows; max_backends alone counts"
                    self._observers.trouble(self.name, text)
                self._allowed = allowed
                self._carry_out(self.book.reconfigure(book_limits(self._settings, allowed), self.board.refresh()))
            self._carry_out(self.book.opened(member, backend, self.board.refresh()))

    def _open_failed(self, member: Member, kind: OpenFailure, text: str, raw: bytes | None) -> None:
        self._observers.backend_open_failed(self.name, member.number, text, kind is not OpenFailure.DENIED)
        refusal: Problem | bytes
        if raw:
            refusal = raw
        elif kind is OpenFailure.DENIED:
            refusal = Problem(ProblemCode.SERVER_LOGIN_FAILED, text)
        else:
            refusal = Problem(ProblemCode.SERVER_UNREACHABLE, text)
        self._carry_out(self.book.open_failed(member, self.board.refresh(), kind, refusal))
        self._forget_unused(member.key)

    async def _follow_limit(self, transport: Transport, state: Any) -> int | None:
        """Ask the server how many connections it allows, at the first login and now and then.

        Raises what a conversation raises; the transport is closed then: an answer may still be on its way.
        """
        if self._closed or trio.current_time() - self._limit_asked < _ASK_LIMIT_EVERY:
            return None
        before, self._limit_asked = self._limit_asked, trio.current_time()
        try:
            return await ask_limit(self._opener, transport, state)
        except BaseException:
            self._limit_asked = before
            transport.close()
            raise

    # -- the book's decisions -------------------------------------------------------------------------------------

    def _carry_out(self, decisions: Iterable[Decision]) -> None:
        for decision in decisions:
            match decision:
                case Grant(waiter, member):
                    waiter.granted(member.payload)
                case Open(member):
                    self._start(self._open, member)
                case Close(member, why):
                    self._retire(member.payload, why.value if hasattr(why, "value") else str(why))
                case Fail(waiter, why):
                    waiter.failed(self._refusal(why))
        self._changed.set()

    def _refusal(self, why: Any) -> Problem | bytes:
        if isinstance(why, (Problem, bytes)):
            return why
        return Problem(_FAILURES[why], fatal=False)

    def _start(self, task: Callable[..., Awaitable[None]], subject: Backend | Member, *args: Any) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(self._fenced, task, subject, *args)
            self.board.leave = True

    async def _fenced(self, task: Callable[..., Awaitable[None]], subject: Backend | Member, *args: Any) -> None:
        """Run a task about one member. A fault of the program costs that member, and not the pool."""
        try:
            await task(subject, *args)
        except Exception as error:  # noqa: BLE001 - the fence around a task; what it was about is closed and reported
            self._observers.trouble(self.name, "".join(traceback.format_exception(error)))
            if isinstance(subject, Member) and subject.state is MemberState.OPENING:
                self._open_failed(subject, OpenFailure.UNREACHABLE, f"a fault of the program: {error!r}", None)
                return
            backend = subject.payload if isinstance(subject, Member) else subject
            if isinstance(backend, Backend):
                self._broken(backend)

    def _broken(self, backend: Backend) -> None:
        """A task about the backend failed."""
        if backend.borrower is not None:
            backend.break_off()  # its borrower ends what it does with it, and gives it up as lost
        elif backend.member.state is not MemberState.CLOSING:
            self._close_now(backend, "a fault of the program")
        # Otherwise its last task is under way, or over: that one closes in any case.

    async def _keep(self) -> None:
        """Call the book's `tick` when it asks for it."""
        while True:
            self._changed = trio.Event()
            self._carry_out(self.book.tick(self.board.refresh()))
            every = self._settings.backend_check_interval
            while every and (member := self.book.due_for_check(self.board.now, every)) is not None:
                self._start(self._check, member.payload)
            self._changed = trio.Event()
            now = trio.current_time()
            deadline = self.book.next_deadline(now)
            look_at = self._vacating.look(now)
            kept = self.book.limits.keepsake_stays
            look_at = min(look_at, self.lending.lingering.reclaim_since(now - kept) + kept)
            self.lending.timing = self.book.waiting > 0
            with trio.move_on_at(min(deadline if deadline is not None else math.inf, look_at, now + _TICK_AT_LEAST)):
                await self._changed.wait()
            await trio.sleep(_TICK_AT_MOST + random.random() * _TICK_AT_MOST)  # noqa: S311 - spreads work, no secret

    def moved_on(self, backend: Backend) -> bool:
        """Whether the backend's server does not serve newcomers, and another one does in its place: a failover that
        its connection has outlived.
        """
        if not self._opener.places.failed_lately(backend.way):
            return False
        others = (member.payload for member in self.book.members() if member.number > backend.number)
        return any(isinstance(other, Backend) and other.way.name != backend.way.name for other in others)

    def reconfigure(self, settings: TargetGroup) -> None:
        """Take over new settings: quota, time limits, waiters. What is open stays open, within the new limits."""
        self._settings = settings
        self._carry_out(self.book.reconfigure(book_limits(settings, self._allowed), self.board.refresh()))

    def drain(self) -> None:
        """No new grants; idle backends close now, borrowed ones when they are given back."""
        self._closed = True
        self._carry_out(self.book.drain(self.board.refresh()))


_ASK_LIMIT_EVERY = 60.0
_TICK_AT_MOST, _TICK_AT_LEAST = 0.02, 5.0
