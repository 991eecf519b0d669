"""The steady state of a session: two sockets, one relay, and the steps between them.

The switchboard calls `client_event`, a borrowed backend calls `server_event`; both run to the end without waiting.
What is not a matter of steps (an end, a fault, a pin to be told) is left to the session (`rdsp.session.run`), which
gets a turn when `wake` has been called. Nothing here logs, opens or closes backends.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

from rdsp.net.moving import received
from rdsp.net.switchboard import LEAVING, READABLE, WRITABLE, Board
from rdsp.net.transport import WOULD_BLOCK, Transport
from rdsp.observe.counters import Counters
from rdsp.pool.backend import Backend
from rdsp.pool.pool import Pool
from rdsp.session import calls
from rdsp.session.keeping import HALTING, Keeping
from rdsp.session.machine import State
from rdsp.session.policy import may_release
from rdsp.session.reading import FEW, LONG, READS, START, left_the_queue, many_left, paced
from rdsp_codecs import moves
from rdsp_codecs.problems import Problem
from rdsp_codecs.relaying import Relay
from rdsp_codecs.transaction import Transaction

# Members of enumerations under names of their own: looking them up costs more than all that is done with them.
_BUSY: Final = State.BUSY
_HOLDING: Final = State.HOLDING
_QUIET: Final = State.QUIET
_WAITING: Final = State.WAITING
_NO_TRANSACTION: Final = Transaction.NONE

_INPUT: Final = READABLE | LEAVING


class Splice(Keeping):
    """One session's steady state.

    Invariant: `backend` is set exactly in the states BUSY and HOLDING. While one of `client_rest` and `server_rest` is
    not empty the other side is not read, except for what answers the proxy; while the relay has more to do (`_more`)
    neither is.
    """

    __slots__ = (
        "_chunk", "_client_many", "_client_recv", "_more", "_server_many", "gone", "has_ear", "queued", "refusal",
        "said_fatal", "waiting_since",
    )  # fmt: skip

    def __init__(
        self,
        client: Transport,
        relay: Relay,
        pool: Pool,
        key: Hashable,
        board: Board,
        counters: Counters,
        wake: Callable[[], None],
    ) -> None:
        super().__init__(client, relay, pool, key, board, counters, wake)
        self.said_fatal = False
        self.refusal: Problem | bytes | None = None
        self.queued = False
        """Stands in the pool's queue, not answered yet."""
        self.waiting_since = 0.0
        self.has_ear = False  # set by `rdsp.session.ears`
        self.gone = False
        """The client has left, and what runs for it is only read to its end: see `rdsp.session.aftermath`."""
        self._client_recv = client.recv
        self._chunk = START
        self._client_many = self._server_many = 0
        """Reads of `_chunk` that are left; behind them they are of FEW."""
        self._more = False
        """The relay goes on in a turn of its own, which is asked for."""

    # -- the client's side ----------------------------------------------------------------------------------------

    def client_event(self, mask: int, /) -> None:
        """The client's socket is ready."""
        try:
            if self.client_rest and mask & WRITABLE:
                self._flush_client()
            if mask & _INPUT:
                self._read_client(mask)
        except Exception as error:  # noqa: BLE001 - told to the session
            self.failed_by(error, server=False)

    def _read_client(self, mask: int) -> None:
        if self._deaf():
            self._put_off(mask)
            return
        since = 0.0
        for _ in range(READS):
            chunk = self._chunk if self._client_many else FEW
            try:
                data = received(self._client_recv, chunk)
            except WOULD_BLOCK:
                return
            self._client_many = many_left(self._client_many, len(data))
            if not data:
                if not self.relay.holds_goodbye():
                    self.summon(calls.CLIENT_GONE)
                return
            self._take(data)
            records = self._client_records
            drained = records.drained if records is not None else len(data) < chunk
            if drained and not mask & LEAVING:
                return  # there is no more, and the next edge will tell, also to who is deaf now
            if self._deaf():
                self._put_off(mask)
                return
            now = self._board.refresh()
            if since:
                self._chunk = paced(chunk, now - since)
                if now - since > LONG:
                    break
            since = now
        if not self._client_more:
            self._board.again(self._read_client_on, 0)
        self._client_more |= mask & ~WRITABLE

    def _read_client_on(self, _: int) -> None:
        mask, self._client_more = self._client_more, 0
        self.client_event(mask)

    def _put_off(self, mask: int) -> None:
        """The client's news must wait; but who leaves the queue leaves it now."""
        self._client_again |= mask & _INPUT
        if mask & LEAVING and self.state is _WAITING and left_the_queue(self.relay, self._client_recv):
            self.summon(calls.CLIENT_GONE)  # and no backend is taken for it

    def _deaf(self) -> bool:
        """Whether the client must not be read now: it waits, the server does not take its bytes, or the task is due."""
        if self.call or self.server_rest or self.settling or self.leaving or self._more or self.state is _WAITING:
            return True
        return self.backend is not None and self.relay.holds_too_much

    def _take(self, data: bytes) -> None:
        """One chunk of the client's."""
        self.last_active = self._clock.now
        signals = self.relay.from_client(data)
        if self._to_client:
            self.send_client()
        if self._to_server:
            # First of all: what ends a request may go out together with the end.
            self.send_server()
        if signals:
            self._heed_client(signals)
        elif self._works():
            self.state = _BUSY

    def _heed_client(self, signals: int) -> None:
        if signals & moves.WANT_BACKEND:
            self.borrow()
            return
        if self._works():
            self.state = _BUSY
        if signals & moves.OVER and not signals & moves.BYE:
            self._request_over()
        self.report(signals)

    def _works(self) -> bool:
        """The backend has something to do. Where it lingers there may be half a message, and others may have it."""
        relay = self.relay
        return self.backend is not None and (not relay.lingers or relay.in_request())

    def report(self, signals: int) -> None:
        """Do what flags ask for beyond the request: tell the task of pins and good-byes, have connections closed."""
        if signals & (moves.PINNED | moves.UNPINNED):
            self.summon(calls.PINNED)
        if signals & moves.BYE:
            self.summon(calls.BYE)
        if signals & moves.VACATE:
            self._pool.vacate()
        if signals & moves.KILL:
            self.summon(calls.KILL)
        if signals & moves.ANEW:
            self.summon(calls.ANEW)
        if signals & moves.MORE and not self._more:
            self._more = True
            self._board.again(self._go_on, 0)
        if signals & moves.AGAIN and self.backend is None and not self.gone:
            again = self.relay.from_client(b"")
            if self._to_client:
                self.send_client()  # it needed no backend
            self._heed_client(again)

    def borrow(self) -> None:
        """The relay holds a request: get a backend now, or stand in the pool's queue for one."""
        relay = self.relay
        backend = self._lending.take(self.key, relay.fit, relay.keepsake)
        if backend is not None:
            relay.contended = False
            self.attach(backend)
        elif relay.answer_alone():
            self._counters.requests += 1
            self.send_client()
        else:
            self.state = _WAITING
            self.queued = True
            self.waiting_since = self._clock.now
            self._counters.waiting += 1
            self._lending.wait(self.key, self)

    def attach(self, backend: Backend) -> None:
        """The session has borrowed `backend`: the held request goes out."""
        backend.borrower = self
        self.backend = backend
        self.state = _BUSY
        self._counters.borrows += 1
        signals = self.relay.attached(backend.state)
        if self._to_server:
            self.send_server()
        if signals:
            self._begun(signals)

    def _begun(self, signals: int) -> None:
        """Do what flags ask for when a backend was attached: the request may be over already, refused by the relay."""
        if self._to_client:
            self.send_client()
        if signals & moves.OVER and not signals & moves.BYE:
            self._request_over()
        self.report(signals)

    def granted(self, backend: Backend) -> None:
        """See `rdsp.pool.backend.Waiter`. The request goes out at once, without a task switch."""
        self.queued = False
        self._counters.waiting -= 1
        self._counters.waited(self._clock.now - self.waiting_since)
        self.relay.contended = True
        try:
            self.attach(backend)
            self.read_on()
        except Exception as error:  # noqa: BLE001 - told to the session
            self.failed_by(error, server=False)

    def failed(self, refusal: Problem | bytes) -> None:
        """See `rdsp.pool.backend.Waiter`."""
        self.queued = False
        self._counters.waiting -= 1
        self.refusal = refusal
        self.summon(calls.REFUSED)

    def leave_queue(self) -> None:
        """Do not wait any longer. Nothing happens when the answer has come."""
        if self.queued:
            self.queued = False
            self._counters.waiting -= 1
            self._pool.left(self, self.key)

    def feed(self, data: bytes) -> None:
        """Bytes of the client's that came before the steady state."""
        try:
            self._take(data)
        except Exception as error:  # noqa: BLE001 - told to the session
            self.failed_by(error, server=False)

    def resume_after_abort(self, signals: int) -> None:
        """The held request was refused: say so, and go on with what the client sent behind it."""
        if self._to_client:
            self.send_client()
        if self._to_server:
            self.send_server()
        if signals:
            self._heed_client(signals)
        elif self.backend is not None and self.relay.in_request():
            self.state = _BUSY

    def outlive(self, sink: Callable[[bytes], int], wake: Callable[[], None]) -> None:
        """The client is gone. Read on what comes for it, which `sink` gets, up to the end of what was sent for it.

        Nothing has changed where it raises.
        """
        if not self._more:
            # What came while the session was to have a turn was left where it is.
            self._board.again(self._go_on, 0)
            self._more = True
        self.gone = self.leaving = True
        self.wake = wake
        self._client_send = sink
        self.client_rest = b""
        self._client_again = 0

    def _settled(self) -> None:
        self.settling = False
        if self.backend is not None:
            self.backend.on_settled = None
        self.reclaimed()
        self.read_on()

    def read_on(self) -> None:
        """What kept the client from being read is over."""
        if self._client_again:
            mask, self._client_again = self._client_again, 0
            self._board.again(self.client_event, mask)

    def _flush_client(self) -> None:
        self.client_rest, lost = self.flushed(
            self._client_send, self.client_rest, self._client_records, self.client_event
        )
        if lost:
            self.summon(calls.CLIENT_GONE)
        elif not self.client_rest and self._server_again:
            mask, self._server_again = self._server_again, 0
            self._board.again(self.server_event, mask)

    # -- the server's side ----------------------------------------------------------------------------------------

    def server_event(self, mask: int) -> None:
        """The borrowed backend's socket is ready. Nothing happens where it was given back since this was asked for."""
        try:
            if self.server_rest and mask & WRITABLE:
                self._flush_server()
            if mask & _INPUT:
                self._read_server(mask)
        except Exception as error:  # noqa: BLE001 - told to the session
            self.failed_by(error, server=True)

    def _read_server(self, mask: int) -> None:  # noqa: C901 - the hot path stays in one frame
        since = 0.0
        for _ in range(READS):
            backend = self.backend
            if backend is None:
                return
            if (self.client_rest and not self.relay.answers_us()) or self._more or self.call & HALTING:
                self._server_again |= mask & _INPUT
                return
            try:
                chunk = self._chunk if self._server_many else FEW
                data = received(backend.recv, chunk)
            except WOULD_BLOCK:
                return
            self._server_many = many_left(self._server_many, len(data))
            if not data:
                self._broke_off()
                return
            signals = self.relay.from_server(data)
            self.last_active = self._clock.now
            if self._client_again:
                self.read_on()
            if self._to_client:
                self.send_client()
            if self._to_server:
                self.send_server()
            if signals and not self._heed_server(signals, mask & LEAVING):
                return
            records = backend.records
            drained = records.drained if records is not None else len(data) < chunk
            if drained and not mask & LEAVING:
                return
            now = self._board.refresh()
            if since:
                self._chunk = paced(chunk, now - since)
                if now - since > LONG:
                    break
            since = now
        if self.backend is not None:
            self._board.again(self.server_event, mask & ~WRITABLE)

    def _heed_server(self, signals: int, leaving: int) -> bool:
        """Do what flags ask for. Returns False when the backend is not to be read any more."""
        if signals & moves.FATAL:
            # Even behind the end of a request: the client has been told, so its session ends too.
            self.said_fatal = True
            self.summon(calls.SERVER_GONE)
            return False
        if signals & moves.UNFIT:
            self._unfit()
            return False
        if signals & moves.OVER:
            self._request_over(leaving)
        if signals != moves.OVER:
            self.report(signals)
        return True

    def _go_on(self, _: int) -> None:
        """A turn for what the relay could not do at once; then both sides are read again."""
        self._more = False
        if self.call & HALTING:
            return
        of_server = self.relay.unheard
        try:
            signals = self.relay.go_on()
            self.last_active = self._clock.now
            if self._to_client:
                self.send_client()
            if self._to_server:
                self.send_server()
            if signals & moves.WANT_BACKEND and not self.gone:
                self.borrow()
            elif signals and not self._heed_server(signals, self._server_again & LEAVING):
                return
            if not self._more:
                self.read_on()
                again, self._server_again = self._server_again, 0
                if again and self.backend is not None:
                    self._board.again(self.server_event, again)
        except Exception as error:  # noqa: BLE001 - told to the session
            self.failed_by(error, server=of_server)

    def _request_over(self, leaving: int = 0) -> None:
        """A request is over: give the backend back, or keep it. `leaving`: the server has closed its side."""
        backend, relay = self.backend, self.relay
        assert backend is not None
        self._counters.requests += 1
        backend.requests += 1
        transaction = relay.transaction
        if may_release(transaction, relay.pins, owed=bool(self.server_rest)):
            self._counters.transactions += 1
            if relay.lingers:
                self._linger(backend, leaving)
                return
            self.let_go(backend)
            if leaving:
                self._pool.lost(backend, "the server closed it at the end of a request")  # only we had that edge
            else:
                self._lending.give_back(backend)
            if self.stopping or self.leaving:
                self.summon(calls.FREE)
        else:
            self.state = _HOLDING
            if transaction is _NO_TRANSACTION:
                self._counters.transactions += 1
                if relay.ear_key is not None:
                    self.summon(calls.LISTENS)
            if backend.cancelling:
                self.settling = True
                backend.on_settled = self._settled
            if self.leaving or (self.stopping and transaction is _NO_TRANSACTION):
                self.summon(calls.FREE)

    def let_go(self, backend: Backend) -> None:
        """The session has no backend any more."""
        self.refit(backend)
        self.state = _QUIET
        backend.member.keepsake = self.relay.keepsake
        self.relay.detached()
        self.backend = None

    def _unfit(self) -> None:
        """The backend cannot be brought into the session's state: the request, still held, tries another one."""
        backend, relay = self.backend, self.relay
        assert backend is not None
        words, unharmed = relay.refused, relay.unharmed
        self.state = _QUIET
        relay.detached()
        self.backend = None
        self.settling = False
        self.server_rest = b""
        if unharmed:
            self._lending.give_back(backend)
        else:
            self._pool.lost(backend, "it could not be brought into its session's state")
        if self.gone:
            self.summon(calls.FREE)
        elif words:
            self.resume_after_abort(relay.abort(words))
        else:
            self.borrow()

    def _broke_off(self) -> None:
        """The server closed its side."""
        if self.relay.broke_off() & moves.UNFIT:
            self._unfit()
        else:
            self.summon(calls.SERVER_GONE)

    def _flush_server(self) -> None:
        backend = self.backend
        if backend is not None:
            self.server_rest, lost = self.flushed(backend.send, self.server_rest, backend.records, self.server_event)
            if lost:
                self._board.again(self.server_event, READABLE | LEAVING)
        if not self.server_rest:
            if self.state is _HOLDING and not self.relay.in_request():
                self._release_late()
            self.read_on()

    def _release_late(self) -> None:
        """The request was over before the server had taken all of it (what is left of a COPY that failed)."""
        backend, relay = self.backend, self.relay
        if backend is not None and relay.lingers:
            self.reclaimed()
        elif backend is not None and may_release(relay.transaction, relay.pins, owed=False):
            self.let_go(backend)
            self.settling = False  # the pool waits for the cancel now
            self._lending.give_back(backend)
            if self.stopping or self.leaving:
                self.summon(calls.FREE)

    def __repr__(self) -> str:
        return f"<Splice {self.state.name} {self.relay.transaction.value} {self.relay.pins!r} {self.client.peer}>"
