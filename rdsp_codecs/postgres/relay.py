"""PostgreSQL's relay: one session's two filters, what is held while no backend is there, and the end of requests.

The runtime calls it (`rdsp_codecs.relaying.Relay`). What single messages mean stands in `requests` and `replies`.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable
from typing import TYPE_CHECKING, Final

from rdsp_codecs import moves
from rdsp_codecs.errors import WireError
from rdsp_codecs.filtering import ChunkFilter
from rdsp_codecs.postgres import dialogue as owed
from rdsp_codecs.postgres.dialogue import Dialogue
from rdsp_codecs.postgres.framing import (
    CLIENT_INTEREST,
    SERVER_ASKING,
    SERVER_EXTENDED,
    SERVER_FRAMING,
    SERVER_SIMPLE,
    client_framing,
)
from rdsp_codecs.postgres.handing import Handing
from rdsp_codecs.postgres.lexer import NAME_BYTES
from rdsp_codecs.postgres.listening import Listening
from rdsp_codecs.postgres.refuse import refuse
from rdsp_codecs.postgres.replies import Replies
from rdsp_codecs.postgres.requests import Requests
from rdsp_codecs.postgres.resolving import FLUSH
from rdsp_codecs.postgres.settings import NO_SETTINGS, Settings
from rdsp_codecs.postgres.shortcuts import Shortcuts, total_at
from rdsp_codecs.postgres.standing import Standing
from rdsp_codecs.postgres.statements import SharedStatements, close_frame, evict, frame, parsed_alone
from rdsp_codecs.postgres.syncing import Syncer
from rdsp_codecs.postgres.texts import READ_BY_TEXTS
from rdsp_codecs.transaction import Transaction

if TYPE_CHECKING:
    from rdsp_codecs.api import ClientLogin, RelayPolicy
    from rdsp_codecs.postgres.state import PostgresState
    from rdsp_codecs.problems import Problem

_LENGTH = struct.Struct(">I").unpack_from
_BEGINS: Final = b"QPB"
_TERMINATE: Final = ord("X")
_PARSE: Final = ord("P")
_READY_IDLE: Final = b"Z\0\0\0\5I"
_MAX_REPLY: Final = 1 << 20
_PARSED: Final = b"1\0\0\0\4"
_COPY_TAGS: Final = b"dcf"
_ANSWERED_ALONE: Final = b"QF"
"""Messages that end with a ReadyForQuery of their own; all others belong to a group that a Sync ends."""

# Of modules that are not compiled: under names of their own they are not looked up every time.
_ASKING: Final = SERVER_ASKING
_EXTENDED: Final = SERVER_EXTENDED
_SIMPLE: Final = SERVER_SIMPLE
_UNSET: Final = NO_SETTINGS
_NO_TRANSACTION: Final = Transaction.NONE


class PostgresRelay(Standing):
    """See `rdsp_codecs.relaying.Relay`.

    Invariant: `_held` is empty unless no backend is attached or a prologue runs; what it holds comes behind what the
    client filter holds.
    """

    __slots__ = (
        "_held_needed",
        "_held_size",
        "_inspect",
        "_max_frame",
        "_max_held",
        "_max_prepared",
        "_mending_size",
        "_owe",
        "_replies",
        "_requests",
        "_shortcuts",
        "_skip_to_sync",
        "_syncer",
    )

    def __init__(self, who: ClientLogin, policy: RelayPolicy, shared: SharedStatements) -> None:
        self.to_server: list[bytes] = []
        self.to_client: list[bytes] = []
        number = who.welcome.connection_id if who.welcome else 0
        listening = Listening(number, self.to_client, trusting=policy.strict)
        self._d = dialogue = Dialogue(policy, shared, listening)
        self.pins = dialogue.pins
        self.transaction = Transaction.NONE
        self._owe = dialogue.ledger.owe
        self._requests = Requests(dialogue)
        self._inspect = self._requests.texts.inspect
        self._who = who
        self._handing = handing = Handing(dialogue, self._requests.texts)
        self._syncer = Syncer(dialogue, self._requests.texts, handing, self.to_client)
        self._replies = Replies(dialogue, self._requests, self._syncer, handing)
        self._shortcuts = Shortcuts(dialogue, self._requests, policy)
        wire = client_framing(policy.max_frame)
        self._client = ChunkFilter(wire, CLIENT_INTEREST, self._requests.judge, self.to_server, policy.max_held)
        # What is looked at of the server's messages is short, or its beginning is enough.
        most = max(policy.max_held, _MAX_REPLY)
        self._server = ChunkFilter(SERVER_FRAMING, _SIMPLE, self._replies.judge, self.to_client, most)
        self._max_frame, self._max_held = policy.max_frame, policy.max_held
        self._max_prepared = policy.max_prepared_statements
        self._held: list[bytes] = []
        self._held_size = 0
        self._held_needed = 0
        self._mending_size = 0
        """Bytes held that are a request which mends (see `mending`), and that is not sent yet."""
        self._skip_to_sync = False
        self.refused = b""
        self.unharmed = False
        dialogue.login = who.user.encode("utf-8", "surrogateescape")[:NAME_BYTES]
        dialogue.told = who.welcome.parameters if who.welcome else {}
        for name in READ_BY_TEXTS:
            if name in dialogue.told:
                self._requests.texts.parameter(name, dialogue.told[name])

    # -- the client's bytes ---------------------------------------------------------------------------------------

    def from_client(self, data: bytes) -> int:
        """See `Relay`."""
        d = self._d
        if d.state is None:
            if not self._held and self._client.empty and not self._skip_to_sync and self._needs_backend(data):
                self._held.append(data)
                self._held_size = len(data)
                return moves.WANT_BACKEND
            return self._hold(data)
        if d.paused or d.mending:
            self._keep(data)
            return moves.NOTHING
        self._forward(data)
        return self._after_client()

    def _needs_backend(self, data: bytes) -> bool:
        """Whether a chunk begins with a whole message that a server must answer. `_hold` finds the others."""
        if len(data) <= 5 or data[0] not in _BEGINS:
            return False
        total = total_at(data, 0)
        return 5 < total <= len(data) and total <= self._max_frame

    def _forward(self, data: bytes) -> None:
        """Bytes on their way to the backend."""
        out = self._shortcuts.request(data) if self._client.empty else None
        if out is not None:
            self.to_server.append(out)
        else:
            self._push(data)

    def _push(self, data: bytes) -> None:
        self._shortcuts.leave()
        if self._d.passing is not None:
            self._requests.passes(data[: self._client.due])
            if len(data) >= self._client.due:
                self._d.passing = None
        self._client.push(data)

    def _after_client(self) -> int:
        d = self._d
        if not d.ledger.empty:
            d.over = False
        if d.injected:
            self.to_server += d.injected
            d.injected.clear()
        self._server.interest = self._interest()
        signals = moves.PINNED if self.pins.has_fresh else moves.NOTHING
        if d.vacates:
            d.vacates = False
            signals |= moves.VACATE
        if self._requests.bye:
            signals |= moves.BYE
        elif d.over:
            # The request may have ended while a message of the client's, that the server ignores, was on its way.
            signals |= self._boundary()
        return signals

    def _boundary(self) -> int:
        """A ReadyForQuery came with nothing else owed: `OVER`, unless half a message is under way or there are doubts.

        Only between messages can a question of ours go out.
        """
        d = self._d
        if not (d.ledger.empty and self._client.between_frames and self._server.between_frames):
            return moves.NOTHING
        d.over = False
        if d.mending:
            self._syncer.mending_over()
            d.listening.speak()
        if d.doubts.any and d.transaction is _NO_TRANSACTION and self._syncer.settle():
            self.to_server += d.injected
            d.injected.clear()
            self._server.interest = self._interest()
            return moves.NOTHING
        signals = moves.OVER
        if d.mending:
            d.mending = False
            if d.away and self.pins:
                raise WireError("a session that listens cannot keep a backend that does not")
            if self._held and self.pins:
                return self._resume()
            signals |= moves.AGAIN if self._held else moves.NOTHING
        if d.listening.channels:
            return self._over_listening()
        self._server.interest = _SIMPLE
        self.transaction = d.transaction
        return signals

    def _over_listening(self) -> int:
        """The same for a session that listens: first its backend stops to do so, if it can be given back at all."""
        d = self._d
        signals = moves.NOTHING
        if d.listening.parted or (d.away and not d.paused):
            d.paused, d.away = False, True
            signals |= moves.AGAIN if self._held else moves.NOTHING
        elif d.paused:
            return moves.NOTHING  # the mark is not to be seen everywhere yet
        elif self._handing.part():
            self.to_server += d.injected
            d.injected.clear()
            self._server.interest = self._interest()
            return self._news()
        self._server.interest = _SIMPLE
        self.transaction = d.transaction
        return signals | moves.OVER | self._news()

    def _news(self) -> int:
        """What there is to tell about pins."""
        lifted, self._d.lifted = self._d.lifted, False
        return (moves.UNPINNED if lifted else moves.NOTHING) | (moves.PINNED if self.pins.has_fresh else moves.NOTHING)

    def _interest(self) -> bytes:
        d = self._d
        if d.asking:
            return _ASKING
        return _EXTENDED if d.extended else _SIMPLE

    def _hold(self, data: bytes) -> int:
        """No backend: keep the bytes, and ask for one as soon as there is a whole message that needs it."""
        if data:
            self._keep(data)
        if self._held_size < self._held_needed:
            return moves.NOTHING
        self._held_needed = 0
        held = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        at, size = 0, len(held)
        signals = moves.NOTHING
        while size - at >= 5:
            total = _LENGTH(held, at + 1)[0] + 1
            if total < 5:
                raise WireError("invalid message length")
            tag = held[at]
            self._client.check(tag, total)
            if not self._is_ignored(tag, total):
                if size - at >= total or total > self._max_held:
                    signals = moves.BYE if tag == _TERMINATE else moves.WANT_BACKEND
                else:
                    self._held_needed = total
                break
            if size - at < total and tag == ord("S"):
                self._held_needed = total
                break
            if size - at < total:
                self._client.skip(total - (size - at))
            at = min(size, at + total)
            if tag == ord("S"):
                self._skip_to_sync = False
                self.to_client.append(_READY_IDLE)
        if at:
            self._held = [held[at:]] if at < size else []
            self._held_size = size - at
        return signals

    def _is_ignored(self, tag: int, total: int) -> bool:
        """Between requests a server ignores what is left of a COPY that failed, and, after an error, all up to Sync."""
        if self._skip_to_sync:
            return tag != _TERMINATE
        return tag in _COPY_TAGS or (tag == ord("H") and total == len(FLUSH))

    def _keep(self, data: bytes) -> None:
        if self._client.owes and self._d.state is None:
            data = self._client.pay(data)
            if not data:
                return
        self._held.append(data)
        self._held_size += len(data)

    @property
    def holds_too_much(self) -> bool:
        """More than `max_held` bytes are held: the client should not be read until a backend is there."""
        return self._held_size > self._max_held

    def attached(self, state: PostgresState) -> int:
        """See `Relay`."""
        d = self._d
        d.state = state
        d.over = False
        if (
            state.settings is not d.settings
            or d.told is not state.server_parameters
            or state.last_user is not d.token
            or (state.sequences_mixed and d.shared.sequence_minded)
            or d.away
        ):
            self._syncer.begin(state)
            if d.injected:
                self.to_server += d.injected
                d.injected.clear()
        if state.garbage or len(state.statements) > self._max_prepared:
            for name in evict(state, self._max_prepared):
                self.to_server.append(close_frame(name))
                self._owe(owed.SWALLOWED_CLOSE)
                d.extended = True
        return self._release_held()

    def _release_held(self) -> int:
        d, held = self._d, self._held
        if d.paused:
            return self._after_client()
        if d.mending:
            self._client.resume()
            if self._mending_size:
                d.listening.silent = True
                self._push(self._unheld(self._mending_size))
                self._mending_size = 0
        elif len(held) == 1:
            data = held[0]
            held.clear()
            self._held_size = 0
            self._forward(data)
        else:
            self._client.resume()
            while held and not d.paused:
                data = held.pop(0)
                self._held_size -= len(data)
                self._push(data)
        return self._after_client()

    def _unheld(self, size: int) -> bytes:
        """The first so many bytes of what is held, which is held no longer."""
        data = b"".join(self._held)
        self._held = [data[size:]] if size < len(data) else []
        self._held_size -= size
        return data[:size]

    # -- the server's bytes ---------------------------------------------------------------------------------------

    def from_server(self, data: bytes) -> int:
        """See `Relay`."""
        d = self._d
        if self._server.empty and self._client.between_frames and self._shortcuts.answered(data):
            self._server.interest = _SIMPLE
            self.transaction = d.transaction
            self.to_client.append(data)
            return moves.OVER
        self._shortcuts.leave()
        paused, asking = d.paused, d.asking
        self._server.push(data)
        signals = moves.PINNED if self.pins.has_fresh else moves.NOTHING
        if d.lifted:
            signals |= self._news()
        if d.unfit and (d.broken or not d.paused):
            return self._unfit(signals)
        if asking and not d.asking:
            self._server.interest = self._interest()
        if paused and not d.paused:
            signals |= self._resume()
        elif d.injected:
            signals |= self._after_client()
        if d.over:
            signals |= self._boundary()
        if self._requests.bye and not self.owes():
            signals |= moves.BYE
        if d.fatal:
            signals |= moves.FATAL
        return signals

    def _unfit(self, signals: int) -> int:
        """The backend could not be brought into the session's state, and nothing of the client's has reached it."""
        d = self._d
        error, d.unfit = d.unfit, b""
        broken, d.broken, d.paused = d.broken, False, False
        self.unharmed = not broken and self._syncer.spares_backend() and self._server.between_frames
        # What else of ours is owed, and half read, goes with it.
        d.ledger.clear()
        d.injected.clear()
        d.asking, d.extended, d.over = 0, False, False
        self._server.reset()
        self._server.interest = _SIMPLE
        if broken or not self._syncer.is_refused():
            self.unharmed = False
        else:
            self._mending_size = self._syncer.mends(b"".join(self._held) if self._client.empty else b"")
            if not self._mending_size:
                self.refused = frame(b"E", error)
        return signals | moves.UNFIT

    def broke_off(self) -> int:
        """See `Relay`."""
        if self._d.state is None or not self._syncer.spares_request():
            return moves.NOTHING
        self._d.broken = True
        return self._unfit(moves.NOTHING)

    def _resume(self) -> int:
        """The prologue is through: the client's messages go on."""
        d = self._d
        # Ours that are owed already stand in front of the client's.
        self.to_server += d.injected
        d.injected.clear()
        return self._release_held()

    # -- borrowing ------------------------------------------------------------------------------------------------

    def detached(self) -> None:
        """See `Relay`."""
        self._d.state = None
        self._shortcuts.leave()
        self.refused = b""
        self.unharmed = False
        if not self._client.empty:
            rest = self._client.take()
            if rest:
                self._held.insert(0, rest)
                self._held_size += len(rest)

    def answer_alone(self) -> bool:
        """See `Relay`: Parse messages with names of known texts, and their Sync."""
        d, first = self._d, self._held[0]
        if (
            first[0] != _PARSE
            or (len(first) > 5 and not first[5])
            or d.native
            or d.mending
            or not d.begin()
            or self._skip_to_sync
            or not self._client.empty
        ):
            return False
        held = b"".join(self._held)
        most = d.policy.max_session_statements
        parsed = parsed_alone(held, d.statements, d.shared, self._inspect, d.context, most)
        if parsed:
            self._held.clear()
            self._held_size = 0
            self.to_client.append(_PARSED * parsed + _READY_IDLE)
        return bool(parsed)

    @property
    def fit(self) -> Settings:
        """See `Relay`."""
        return self._d.settings if self._d.settings is not None else _UNSET

    @property
    def variant(self) -> Hashable:
        """See `Relay`: the custom variables that the session has had, and that its backends will always have."""
        settings = self._d.settings
        if settings is None or not settings.custom:
            return None
        return settings.marks() - self._d.baseline.marks() or None

    def nudged(self) -> int:
        """See `Relay`."""
        d = self._d
        if d.state is None or d.mending:
            return moves.NOTHING
        if d.listening.goes_on():
            d.paused = False
            return self._resume()
        if d.listening.due and d.listening.ear_is_ready:
            self._handing.come_back(d.state)
            return self._after_client()
        if not self.in_request() and not d.paused and d.transaction is _NO_TRANSACTION and self.pins:
            return self._over_listening() & ~moves.OVER
        return moves.NOTHING

    def abort(self, problem: Problem | bytes) -> int:
        """See `Relay`."""
        self._syncer.give_up_mending()
        self._mending_size = 0
        self.to_client.append(problem if isinstance(problem, bytes) else refuse(problem))
        held = b"".join(self._held)
        if held[:1] and held[0] in _ANSWERED_ALONE:
            total = _LENGTH(held, 1)[0] + 1
            if total > len(held):
                self._client.skip(total - len(held))
            held = held[total:]
            self.to_client.append(_READY_IDLE)
        else:
            self._skip_to_sync = True
        self._held = [held] if held else []
        self._held_size = len(held)
        return self._hold(b"")
