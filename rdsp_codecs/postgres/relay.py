"""PostgreSQL's relay: one session's two filters, what is held while no backend is there, and the end of requests.

The runtime calls it (`rdsp_codecs.relaying.Relay`). What single messages mean stands in `requests` and `replies`.
"""

from __future__ import annotations

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
    SERVER_SIMPLE,
    SERVER_WIRE,
    client_wire,
)
from rdsp_codecs.postgres.handing import Handing
from rdsp_codecs.postgres.holding import Holding
from rdsp_codecs.postgres.lexer import NAME_BYTES
from rdsp_codecs.postgres.listening import Listening
from rdsp_codecs.postgres.replies import Replies
from rdsp_codecs.postgres.requests import Requests
from rdsp_codecs.postgres.settings import NO_SETTINGS, Settings
from rdsp_codecs.postgres.shortcuts import Shortcuts
from rdsp_codecs.postgres.statements import SharedStatements, close_frame, evict, frame
from rdsp_codecs.postgres.syncing import Syncer
from rdsp_codecs.postgres.texts import READ_BY_TEXTS
from rdsp_codecs.questions import Welcome
from rdsp_codecs.transaction import Transaction

if TYPE_CHECKING:
    from rdsp_codecs.api import ClientLogin, RelayPolicy
    from rdsp_codecs.postgres.state import PostgresState

_MAX_REPLY: Final = 1 << 20

# Of modules that are not compiled: under names of their own they are not looked up every time.
_ASKING: Final = SERVER_ASKING
_EXTENDED: Final = SERVER_EXTENDED
_SIMPLE: Final = SERVER_SIMPLE
_SERVER: Final = SERVER_WIRE
_UNSET: Final = NO_SETTINGS
_NO_TRANSACTION: Final = Transaction.NONE


class PostgresRelay(Holding):
    """See `rdsp_codecs.relaying.Relay`.

    Invariant: `_held` is empty unless no backend is attached or a prologue runs; what it holds comes behind what the
    client filter holds.
    """

    __slots__ = ("_max_prepared", "_owe", "_replies", "_requests", "_shortcuts")

    def __init__(self, who: ClientLogin, policy: RelayPolicy, shared: SharedStatements) -> None:
        self.to_server: list[bytes] = []
        self.to_client: list[bytes] = []
        welcome: Welcome | None = who.welcome
        number = welcome.connection_id if welcome is not None else 0
        listening = Listening(number, self.to_client, trusting=policy.strict)
        self._d = dialogue = Dialogue(policy, shared, listening)
        self.pins = dialogue.pins
        self.transaction = _NO_TRANSACTION
        self._owe = dialogue.ledger.owe
        self._requests = Requests(dialogue)
        self._texts = self._requests.texts
        self._who = who
        self._handing = handing = Handing(dialogue, self._requests.texts)
        self._syncer = Syncer(dialogue, self._requests.texts, handing, self.to_client)
        self._replies = Replies(dialogue, self._requests, self._syncer, handing)
        self._shortcuts = Shortcuts(dialogue, self._requests, policy)
        self._max_frame, self._max_held = most_framed, most_held = policy.max_frame, policy.max_held
        self._at_once = most_judged = policy.max_at_once
        wire, judge = client_wire(most_framed), self._requests.judge
        self._client = ChunkFilter(wire, CLIENT_INTEREST, judge, self.to_server, most_held, most_judged)
        # What is looked at of the server's messages is short, or its beginning is enough.
        most = max(most_held, _MAX_REPLY)
        self._server = ChunkFilter(_SERVER, _SIMPLE, self._replies.judge, self.to_client, most, most_judged)
        self._max_prepared = policy.max_prepared_statements
        self._held: list[bytes] = []
        self._held_size = self._held_needed = 0
        self._mending_size = 0
        self._skip_to_sync = self._unlooked = self._wanted = False
        self.refused = b""
        self.unharmed = False
        self.contended = False
        self.keepsake = None
        self.lingers = 0
        dialogue.login = who.user.encode("utf-8", "surrogateescape")[:NAME_BYTES]
        if welcome is not None:
            dialogue.told = told = welcome.parameters
            for name in READ_BY_TEXTS:
                if name in told:
                    self._requests.texts.parameter(name, told[name])

    # -- the client's bytes ---------------------------------------------------------------------------------------

    def from_client(self, data: bytes) -> int:
        """See `Relay`."""
        d = self._d
        if d.state is None:
            if not self._held and self._client.empty and not self._skip_to_sync and self._needs_backend(data):
                self._held.append(data)
                self._held_size = len(data)
                self._wanted = True
                return moves.WANT_BACKEND
            return self._hold(data)
        if d.paused or d.mending or self._client.more:
            self._keep(data)
            return moves.NOTHING
        self._forward(data)
        return self._after_client()

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
        if self._client.more and not d.paused:
            signals |= moves.MORE
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
        client = self._client
        if not d.ledger.empty or not client.between_frames or client.more or not self._server.empty:
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

    def attached(self, state: PostgresState) -> int:
        """See `Relay`."""
        d = self._d
        d.state = state
        d.over = self._wanted = False
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
        client = self._client
        if not client.empty:
            client.resume()
        if d.mending:
            if self._mending_size and not client.more:
                data = self._unheld(self._mending_size)
                self._mending_size = 0
                d.listening.silent = True
                self._push(data)
        elif held and not d.paused and not client.more:
            data = held[0] if len(held) == 1 else b"".join(held)
            held.clear()
            self._held_size = 0
            self._forward(data)
        return self._after_client()

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
        return self._after_server(paused, asking)

    def _after_server(self, paused: bool, asking: int) -> int:
        """What comes of what the server has said; before that the client's messages were `paused`, or not."""
        d, more = self._d, self._server.more
        signals = moves.PINNED if self.pins.has_fresh else moves.NOTHING
        if more:
            signals |= moves.MORE
        if d.lifted:
            signals |= self._news()
        if d.unfit and (d.broken or not d.paused):
            # Where there is more, it may be the end of what this backend was asked.
            return signals if more else self._unfit(signals)
        if asking and not d.asking:
            self._server.interest = self._interest()
        if paused and not d.paused:
            signals |= self._resume()
        elif d.injected:
            if not self._client.between_frames:
                msg = "what must be asked now would stand inside of a message of the client's"
                raise WireError(msg)
            signals |= self._after_client()
        if d.over:
            signals |= self._boundary()
        if self._requests.bye and not self.owes():
            signals |= moves.BYE
        if d.fatal and not more:
            signals |= moves.FATAL
        return signals

    def go_on(self) -> int:
        """See `Relay`."""
        d = self._d
        if d.state is None:
            return self._hold(b"") if self._unlooked else moves.NOTHING
        signals = moves.NOTHING
        if self._server.more:
            paused, asking = d.paused, d.asking
            self._server.resume()
            signals = self._after_server(paused, asking)
        elif self._client.more:
            signals = self._release_held()
        return signals | (moves.MORE if self._client.more and not d.paused else moves.NOTHING)

    def _unfit(self, signals: int) -> int:
        """The backend could not be brought into the session's state, and nothing of the client's has reached it."""
        d = self._d
        error, d.unfit = d.unfit, b""
        broken, d.broken, d.paused = d.broken, False, False
        self.unharmed = not broken and self._syncer.spares_backend() and self._server.empty
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
