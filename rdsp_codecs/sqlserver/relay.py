"""One session of SQL Server's protocol: its client's requests to whatever backend it has, and the answers back.

A request goes out when all of it is here, so that what it may leave is known before it runs. Every response is walked
over by its tokens: where the transaction stands is known at its end and not before ([MS-TDS] 2.2.7.9, ENVCHANGE 8 to 12
and 17). Packets are made anew on both sides, whose sizes differ.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from rdsp_codecs import moves
from rdsp_codecs.api import ClientLogin, RelayPolicy
from rdsp_codecs.errors import WireError
from rdsp_codecs.pins import PinReason
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.relaying import EASILY, Relay
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.sqlserver import tokens as t
from rdsp_codecs.sqlserver.greet import PACKET_SIZE
from rdsp_codecs.sqlserver.headers import NO_TRANSACTION
from rdsp_codecs.sqlserver.refuse import refuse
from rdsp_codecs.sqlserver.session_state import Asked, asked
from rdsp_codecs.sqlserver.state import SqlServerState
from rdsp_codecs.sqlserver.walking import TokenWalker
from rdsp_codecs.transaction import Transaction

_BEGINS: Final = frozenset({k.ENV_BEGIN_TRANSACTION, k.ENV_ENLIST_DTC})
_ENDS: Final = frozenset(
    {k.ENV_COMMIT_TRANSACTION, k.ENV_ROLLBACK_TRANSACTION, k.ENV_DEFECT_TRANSACTION, k.ENV_TRANSACTION_ENDED}
)
_RESETS: Final = f.RESET_CONNECTION | f.RESET_CONNECTION_SKIP_TRAN
_NONE: Final = Transaction.NONE
_STALE: Final = 3971


class SqlServerRelay(Relay):
    """See `rdsp_codecs.relaying.Relay`.

    Invariant: `_running` is at the server while its response has not ended, or an attention is not acknowledged.
    """

    def __init__(self, who: ClientLogin, policy: RelayPolicy, shared: object) -> None:
        super().__init__()
        self._old = who.protocol < k.TDS_7_2
        self._size = int(who.parameters[PACKET_SIZE])
        self._number = 0 if who.welcome is None else who.welcome.connection_id & 0xFFFF
        self._fit = shared
        self._max_held = policy.max_held
        self._reader = f.MessageReader(min(policy.max_held, policy.max_frame))
        self._messages: deque[f.Message] = deque()
        """Of the client's, whole, that were not handed on."""
        self._held = 0
        """Their bytes."""
        self._state: SqlServerState | None = None
        self._running: Asked | None = None
        self._resets = False
        """The request resets the session."""
        self._owed = 0
        """Attentions that the server has not acknowledged."""
        self._interrupted = False
        """The request was sent one."""
        self._descriptor = NO_TRANSACTION
        self._walker = TokenWalker(old=self._old)
        self._writer: f.MessageWriter | None = None
        """Of the response that the client is being sent."""
        self._rest = b""
        """The beginning of the server's next packet's header."""
        self._left = 0
        """Bytes that its packet still has."""
        self._last = False
        """That is the last one of its message."""
        self._erred = self._acknowledged = self._fatal = False
        self._bulk = False
        """The rows of a bulk load come next."""
        self._handles = 0
        self._left_something = False
        """The next request could read what this session has left on the backend that it had last."""
        self._token = object()
        """Stands on a backend for this session, as long as nobody else has used that."""
        self._home: SqlServerState | None = None
        """The backend that it had last."""
        self._lasts = False

    # -- the client's bytes

    def from_client(self, data: bytes) -> int:
        """See `Relay`."""
        self._reader.feed(data)
        while (message := self._reader.next()) is not None:
            if message.kind == f.ATTENTION and self._running is not None and not self._messages:
                self._interrupt()
            else:
                self._messages.append(message)
                self._held += len(message.data)
        return self._next() | self._news()

    def _interrupt(self) -> None:
        state = self._state
        assert state is not None
        self.to_server.append(f.packets(f.ATTENTION, b"", state.packet_size))
        self._owed += 1
        self._interrupted = True

    def _next(self) -> int:
        """Hand on the next request, if its turn has come and there is a backend for it."""
        while self._running is None and self._messages:
            message = self._messages[0]
            if message.kind == f.ATTENTION:
                # What it was meant for is over: nobody is interrupted.
                self._take()
                self._say(t.done(t.Done(k.DONE, k.DONE_ATTN), old=self._old))
                continue
            if message.status & f.IGNORE:
                self._take()
                self._say(t.done(t.Done(k.DONE, k.DONE_ERROR), old=self._old))
                continue
            if message.kind not in f.REQUESTS or (message.kind == f.BULK_LOAD and not self._bulk):
                msg = f"a message of type {message.kind} where none is due"
                raise WireError(msg)
            request = asked(message, old=self._old)
            if self._is_stale(message, request):
                self._take()
                continue
            if self._state is None:
                return moves.WANT_BACKEND
            if request.verdict.reads and not message.status & _RESETS and self._is_elsewhere():
                # A session that asks so keeps its backend from now on.
                self._take()
                self.pins.add(PinReason.DIAGNOSTICS, "")
                self._left_something, self._state.used_by, self._home = False, self._token, self._state
                self._say(refuse(Problem(ProblemCode.STATE_ELSEWHERE), old=self._old))
                return moves.OVER | self._more()
            self._send(message, request)
            if self._messages and self._messages[0].kind == f.ATTENTION:
                self._take()
                self._interrupt()
        return moves.NOTHING

    def _is_elsewhere(self) -> bool:
        """Whether what a request reads of the statement before it is on another backend, or here, and others'."""
        state = self._state
        assert state is not None
        own = state is self._home and state.used_by is self._token
        return not own and (self._left_something or state.used_by is not None)

    def _take(self) -> f.Message:
        message = self._messages.popleft()
        self._held -= len(message.data)
        return message

    def _is_stale(self, message: f.Message, request: Asked) -> bool:
        """Whether a request names a transaction that this session has not: then it is refused, as the server would.

        It must never reach a backend: the number could be that of a transaction of somebody else's.
        """
        if self._old or message.kind == f.BULK_LOAD or message.status & _RESETS:
            return False
        if request.descriptor in (NO_TRANSACTION, self._descriptor):
            return False
        number = int.from_bytes(request.descriptor, "little")
        note = t.Note(_STALE, 1, 16, f"The server failed to resume the transaction. Desc:{number:x}.", "rdsp")
        self._say(t.note(note) + t.done(t.Done(status=k.DONE_ERROR)))
        return True

    def _send(self, message: f.Message, request: Asked) -> None:
        state = self._state
        assert state is not None
        self._take()
        for reason in request.verdict.pins:
            self.pins.add(reason, "")
        self._lasts = self._lasts or request.verdict.lasts
        self._handles += request.prepares
        self._running = request
        self._resets = bool(message.status & _RESETS)
        self._erred = self._acknowledged = self._bulk = self._interrupted = False
        self.lingers = 0
        state.used_by, self._home = self._token, state
        self._walker.begin()
        status = message.status & _RESETS
        self.to_server.append(f.packets(message.kind, message.data, state.packet_size, status=status))

    def _say(self, data: bytes) -> None:
        """A whole response of the proxy's own."""
        self.to_client.append(f.packets(f.RESPONSE, data, self._size, spid=self._number))

    def _news(self) -> int:
        return (moves.PINNED if self.pins.has_fresh else moves.NOTHING) | (
            moves.FATAL if self._fatal else moves.NOTHING
        )

    def _more(self) -> int:
        return moves.AGAIN if self._messages else moves.NOTHING

    # -- the server's bytes

    def from_server(self, data: bytes) -> int:
        """See `Relay`."""
        data = self._rest + data if self._rest else data
        at, end, signals = 0, len(data), moves.NOTHING
        while True:
            if self._left:
                step = min(self._left, end - at)
                self._heed(data[at : at + step])
                at += step
                self._left -= step
                if self._left:
                    break
                if self._last:
                    signals |= self._ended()
            if end - at < f.HEADER:
                break
            size = int.from_bytes(data[at + 2 : at + 4], "big")
            if data[at] != f.RESPONSE or size < f.HEADER or self._running is None:
                msg = f"a packet of type {data[at]} and {size} bytes that nobody has asked for"
                raise WireError(msg)
            self._left, self._last = size - f.HEADER, bool(data[at + 1] & f.EOM)
            at += f.HEADER
            if not self._left and self._last:
                signals |= self._ended()
        self._rest = data[at:]
        return signals | self._news()

    def _heed(self, data: bytes) -> None:
        """Bytes of a response."""
        if self._writer is None:
            self._writer = f.MessageWriter(f.RESPONSE, self._size, spid=self._number)
        if said := self._writer.write(data):
            self.to_client.append(said)
        for token, body in self._walker.feed(data):
            if token == k.ENVCHANGE:
                self._changed(t.read_env_change(body))
            elif token in t.DONES:
                if t.read_done(body, old=self._old).status & k.DONE_ATTN and self._owed:
                    self._owed -= 1
            elif token == k.ERROR:
                self._erred = True
                self._fatal = self._fatal or t.read_note(body, old=self._old).severity >= 20

    def _changed(self, change: t.EnvChange) -> None:
        state = self._state
        assert state is not None
        if change.kind in _BEGINS:
            self.transaction, self._descriptor = Transaction.OPEN, change.new or NO_TRANSACTION
            if change.kind == k.ENV_ENLIST_DTC:
                self.pins.add(PinReason.UNRECOGNISED_STATE, "")
        elif change.kind in _ENDS:
            self.transaction, self._descriptor = _NONE, NO_TRANSACTION
        elif change.kind == k.ENV_RESET_ACK:
            self._acknowledged = True
        elif change.kind in (k.ENV_DATABASE, k.ENV_LANGUAGE, k.ENV_SQL_COLLATION) and not self._resets:
            # A procedure may do it, and no text of the client's tells.
            self.pins.add(PinReason.SESSION_SETTING, "")
        state.descriptor = self._descriptor

    def _ended(self) -> int:
        """A message of the server's is complete."""
        self._last = False
        writer, self._writer = self._writer, None
        if writer is None:
            msg = "a response of no bytes"
            raise WireError(msg)
        self.to_client.append(writer.end())
        self._walker.begin()
        request = self._running
        assert request is not None
        if self._owed:
            return moves.NOTHING  # the acknowledgement is a message of its own
        self._running = None
        if self._resets and self._acknowledged:
            self._begin_anew()
        if not self._erred:
            self._handles -= request.unprepares
            if self._handles <= 0 and self.pins.lift(PinReason.PREPARED_STATEMENT):
                self._handles = 0
        if request.verdict.bulk and not self._erred and not self._interrupted:
            self._bulk = True
            return self._next()
        self._left_something = self._left_something or request.verdict.leaves
        if self.transaction is not _NONE or self.pins:
            return self._next() | (moves.NOTHING if self._running is not None else moves.OVER)
        self.lingers = EASILY if self._left_something and not self._messages else 0
        return moves.OVER | self._more()

    def _begin_anew(self) -> None:
        """The client has had its session reset."""
        for reason in self.pins.active():
            self.pins.lift(reason)
        self._handles = 0
        self._left_something = False

    # -- borrowing

    def attached(self, state: Any) -> int:
        """See `Relay`."""
        self._state = state
        return self._next() | self._news()

    def detached(self) -> None:
        """See `Relay`."""
        self._state = self._running = self._writer = None
        self._rest, self._left, self._last = b"", 0, False
        self._owed = 0
        self._bulk = False
        self.lingers = 0
        self.transaction, self._descriptor = _NONE, NO_TRANSACTION
        self._walker = TokenWalker(old=self._old)

    def reclaimed(self) -> int:
        """See `Relay`: what could be read on this backend is lost, and whoever reads it is told so."""
        self.lingers = 0
        return moves.OVER | self._more()

    @property
    def fit(self) -> object:
        """See `Relay`."""
        return self._fit

    @property
    def resettable(self) -> bool:
        """See `Relay`."""
        return not self._lasts

    def broke_off(self) -> int:
        """See `Relay`."""
        return moves.NOTHING

    # -- facts

    def in_request(self) -> bool:
        """See `Relay`."""
        return self._running is not None or self._bulk or bool(self._left or self._rest)

    def owes(self) -> bool:
        """See `Relay`."""
        return self._running is not None

    def cancellable(self) -> bool:
        """See `Relay`."""
        return self._running is not None

    def holds_goodbye(self) -> bool:
        """See `Relay`: a client says none."""
        return False

    def may_speak(self) -> bool:
        """See `Relay`."""
        return self._writer is None

    def cut_short(self) -> bool:
        """See `Relay`: to the server only whole messages go."""
        return False

    def in_doubt(self) -> bool:
        """See `Relay`: what may have been left pins."""
        return False

    @property
    def holds_too_much(self) -> bool:
        """See `Relay`."""
        return self._held > self._max_held

    # -- refusals

    def refusal(self, problem: Problem | bytes) -> bytes:
        """See `Relay`."""
        data = problem if isinstance(problem, bytes) else refuse(problem, old=self._old)
        return f.packets(f.RESPONSE, data, self._size, spid=self._number)

    def abort(self, problem: Problem | bytes) -> int:
        """See `Relay`."""
        self._take()
        self.to_client.append(self.refusal(problem))
        return self._next() | self._news()
