"""The shared listener: one backend that hears the notifications of a database for the sessions that have none.

A pure machine. `rdsp.session.ears` holds the backend and calls it; the sessions' halves are `listening.Listening`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from rdsp_codecs.errors import WireError
from rdsp_codecs.postgres import messages as m
from rdsp_codecs.postgres.listening import Listening, listen_to, quoted
from rdsp_codecs.postgres.statements import frame

if TYPE_CHECKING:
    from rdsp_codecs.api import Entropy
    from rdsp_codecs.postgres.relay import PostgresRelay
    from rdsp_codecs.postgres.state import PostgresState

_HEADER: Final = 5
_MAX_MESSAGE: Final = 1 << 20
_PID: Final = 4


class Ear:
    """See `rdsp_codecs.api.Ear`.

    Invariant: `_asked` is what the server will listen to when it has done all it was sent; `_confirmed`, a part of it,
    is what it is known to listen to. A channel of a session is in `_asked` as long as the session is here.

    Attributes:
        marker: the channel of marks, which nobody else can know.
        encoding: in which the server writes payloads.
    """

    def __init__(self, state: PostgresState, entropy: Entropy) -> None:
        self.to_server: list[bytes] = []
        self.marker = b"rdsp_" + entropy(16).hex().encode()
        self.encoding = state.server_parameters.get("client_encoding", "")
        self._buffer = b""
        self._serial = 0
        self._members: dict[Listening, PostgresRelay] = {}
        self._by_number: dict[bytes, Listening] = {}
        self._listeners: dict[bytes, dict[Listening, None]] = {}
        self._channels: dict[Listening, frozenset[bytes]] = {}
        self._uncovered: dict[Listening, None] = {}
        self._asked: set[bytes] = set()
        self._confirmed: set[bytes] = set()
        self._owed: deque[frozenset[bytes]] = deque()
        self._ask(b"SET application_name = 'rdsp listener';" + listen_to(gains := frozenset({self.marker})), gains)

    def _ask(self, text: bytes, gains: frozenset[bytes] = frozenset()) -> None:
        self.to_server.append(frame(b"Q", text, b"\0"))
        self._owed.append(gains)

    # -- sessions -------------------------------------------------------------------------------------------------

    def covers(self, channels: frozenset[bytes]) -> bool:
        """Whether the server is known to listen to all of them, and to the marks."""
        return channels <= self._confirmed and self.marker in self._confirmed

    def token(self, number: int) -> bytes:
        """A mark's text that was never used."""
        self._serial += 1
        return b"%d.%d" % (number, self._serial)

    def adopt(self, relay: PostgresRelay) -> None:
        """See `Ear`."""
        listening = relay.listening
        self._buffer = relay.lend()
        self._asked |= listening.channels
        self._confirmed |= listening.channels
        self.subscribe(relay)

    def subscribe(self, relay: PostgresRelay) -> bool:
        """Hear what the session listens to now. Returns whether that is so already; else it will be among the relays
        that `from_server` returns. Only while the session has a backend.
        """
        listening = relay.listening
        if listening.ear is not None and listening.ear is not self:
            listening.ear.forget(listening)
        listening.ear = self
        self._members[listening] = relay
        self._by_number[b"%d" % listening.number] = listening
        return self.follow(listening)

    def follow(self, listening: Listening) -> bool:
        """A member's channels are others now. Returns whether they are heard already."""
        before = self._channels.get(listening, frozenset())
        wanted = self._channels[listening] = listening.channels
        for channel in wanted - before:
            self._listeners.setdefault(channel, {})[listening] = None
        missing = wanted - self._asked
        if missing:
            self._asked |= missing
            self._ask(listen_to(missing), missing)
        self._give_up(listening, before - wanted)
        covered = self.covers(wanted)
        if not covered:
            self._uncovered[listening] = None
        return covered

    def _give_up(self, listening: Listening, channels: Collection[bytes]) -> None:
        for channel in channels:
            listeners = self._listeners[channel]
            del listeners[listening]
            if not listeners:
                del self._listeners[channel]
                self._asked.discard(channel)
                self._confirmed.discard(channel)
                self._ask(b"UNLISTEN " + quoted(channel))

    def leave(self, relay: PostgresRelay) -> None:
        """See `Ear`."""
        self.forget(relay.listening)

    def forget(self, listening: Listening) -> None:
        """The session is gone, or listens no more. Any number of times."""
        if self._members.pop(listening, None) is not None:
            del self._by_number[b"%d" % listening.number]
            self._uncovered.pop(listening, None)
            self._give_up(listening, self._channels.pop(listening))

    # -- the server -----------------------------------------------------------------------------------------------

    def ping(self) -> None:
        """Have the server answer something."""
        self._ask(b"")

    def from_server(self, data: bytes) -> Collection[PostgresRelay]:
        """Take a chunk of the server's. Returns the relays that have something to do now (`Relay.nudged`).

        Raises `WireError` when the server does not do as it is told; the ear is then lost.
        """
        buffer, at = self._buffer + data, 0
        touched: dict[Listening, None] = {}
        while len(buffer) - at >= _HEADER:
            size = m.integer(buffer, at + 1)
            if not 4 <= size <= _MAX_MESSAGE:
                msg = "invalid message length"
                raise WireError(msg)
            if len(buffer) - at <= size:
                break
            self._message(buffer[at : at + 1], buffer[at + _HEADER : at + 1 + size], touched)
            at += 1 + size
        self._buffer = buffer[at:]
        return [self._members[listening] for listening in touched if listening in self._members]

    def _message(self, tag: bytes, body: bytes, touched: dict[Listening, None]) -> None:
        if tag == b"A":
            self._notified(body, touched)
        elif tag == b"Z":
            self._done(body, touched)
        elif tag == b"E":
            msg = "the server refuses to listen: " + m.read_fields(body).get("M", "")
            raise WireError(msg)

    def _done(self, body: bytes, touched: dict[Listening, None]) -> None:
        if not self._owed or body != b"I":
            msg = "a reply that nobody asked for"
            raise WireError(msg)
        gained = self._owed.popleft()
        # What was given up in the meantime is on its way out.
        self._confirmed |= gained & (self._asked | {self.marker}) - self._still_asked()
        for listening in [one for one in self._uncovered if self.covers(self._channels[one])]:
            del self._uncovered[listening]
            touched[listening] = None

    def _still_asked(self) -> frozenset[bytes]:
        """What the server is still to be told to listen to: given up and taken up again, it is not sure before that."""
        return frozenset().union(*self._owed)

    def _notified(self, body: bytes, touched: dict[Listening, None]) -> None:
        channel, _, payload = body[_PID:-1].partition(b"\0")
        if channel == self.marker:
            marked = self._by_number.get(payload.partition(b".")[0])
            if marked is not None and marked.reached(payload):
                touched[marked] = None
            return
        for listening in self._listeners.get(channel, ()):
            if listening.heard(body):
                touched[listening] = None
