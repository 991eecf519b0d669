"""The relay of a replication connection: everything passes, both ways, to a backend that is this session's alone.

`CODEC.relay` makes it for a client whose login says `replication`. It looks at no text and answers nothing itself; it
only counts, so that the runtime knows whether a command runs (documentation, 55.4 "Streaming Replication Protocol").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rdsp_codecs import moves
from rdsp_codecs.filtering import ChunkFilter
from rdsp_codecs.framing import interest
from rdsp_codecs.pins import PinBoard, PinReason
from rdsp_codecs.postgres.framing import SERVER_FRAMING, client_framing
from rdsp_codecs.postgres.messages import TRANSACTIONS
from rdsp_codecs.postgres.refuse import refuse
from rdsp_codecs.relaying import Relay
from rdsp_codecs.transaction import Transaction
from rdsp_codecs.verdicts import KEEP

if TYPE_CHECKING:
    from rdsp_codecs.api import RelayPolicy
    from rdsp_codecs.problems import Problem

_MAX_SHOWN: Final = 64
_FROM_CLIENT: Final = interest(head=bytes(tag for tag in range(256) if tag not in b"dcf"))
"""All but COPY data, of which nothing is shown but its beginning."""
_FROM_SERVER: Final = interest(head=b"ZW")
_ENDS: Final = b"QFS"
"""Messages that end with a ReadyForQuery."""
_TERMINATE: Final = ord("X")
_COPY_BOTH: Final = ord("W")


class PassingRelay(Relay):
    """See `rdsp_codecs.relaying.Relay`.

    Invariant: pinned from the beginning to the end, so that its backend is nobody else's, ever.
    """

    __slots__ = (
        "_asked",
        "_bye",
        "_client",
        "_held",
        "_held_size",
        "_max_held",
        "_over",
        "_server",
        "_state",
        "_streams",
        "_unsynced",
    )

    def __init__(self, policy: RelayPolicy) -> None:
        self.to_server: list[bytes] = []
        self.to_client: list[bytes] = []
        self.transaction = Transaction.NONE
        self.pins = PinBoard()
        self.pins.add(PinReason.REPLICATION, "a replication connection")
        self.refused = b""
        self.unharmed = False
        self.contended = False
        self.keepsake = None
        self.lingers = 0
        self._client = ChunkFilter(
            client_framing(policy.max_frame), _FROM_CLIENT, self._asks, self.to_server, _MAX_SHOWN
        )
        self._server = ChunkFilter(SERVER_FRAMING, _FROM_SERVER, self._answers, self.to_client, _MAX_SHOWN)
        self._max_held = policy.max_held
        self._held: list[bytes] = []
        self._held_size = 0
        self._state: Any = None
        self._asked = 0
        """Messages that end with a ReadyForQuery that has not come."""
        self._unsynced = False
        self._streams = False
        """A CopyBothResponse came, and no ReadyForQuery since."""
        self._over = self._bye = False

    # -- both directions ------------------------------------------------------------------------------------------

    def from_client(self, data: bytes) -> int:
        """See `Relay`."""
        if self._state is None:
            self._held.append(data)
            self._held_size += len(data)
            return moves.WANT_BACKEND
        self._client.push(data)
        signals = moves.PINNED if self.pins.has_fresh else moves.NOTHING
        return signals | moves.BYE if self._bye else signals

    def from_server(self, data: bytes) -> int:
        """See `Relay`."""
        self._server.push(data)
        if self._over and not self.in_request():
            self._over = False
            return moves.OVER
        return moves.NOTHING

    def _asks(self, tag: int, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        self._over = False
        if tag in _ENDS:
            self._asked += 1
            self._unsynced = False
        elif tag == _TERMINATE:
            # It goes to the server, which first does what was asked before, and closes.
            self._bye = True
        else:
            self._unsynced = True
        return KEEP

    def _answers(self, tag: int, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        if tag == _COPY_BOTH:
            self._streams = True
        elif shown == total > 5:
            self._streams = False
            self._asked = max(0, self._asked - 1)
            self.transaction = TRANSACTIONS.get(buffer[start + 5], Transaction.NONE)
            self._over = not self._asked
        return KEEP

    # -- borrowing ------------------------------------------------------------------------------------------------

    def attached(self, state: Any) -> int:
        """See `Relay`."""
        self._state = state
        held, self._held, self._held_size = b"".join(self._held), [], 0
        return self.from_client(held)

    def go_on(self) -> int:
        """See `Relay`: its messages are forwarded as they come, and hardly looked at."""
        return moves.NOTHING

    @property
    def unheard(self) -> bool:
        """See `Relay`."""
        return False

    def broke_off(self) -> int:
        """See `Relay`: the client has what the server said."""
        return moves.NOTHING

    def detached(self) -> None:
        """See `Relay`."""
        self._state = None

    def answer_alone(self) -> bool:
        """See `Relay`: never."""
        return False

    def refusal(self, problem: Problem | bytes) -> bytes:
        """See `Relay`."""
        return problem if isinstance(problem, bytes) else refuse(problem)

    def abort(self, problem: Problem | bytes) -> int:
        """See `Relay`. Not called: the backend was there when the client logged in, and without one it ends."""
        self._held, self._held_size = [], 0
        return moves.NOTHING

    # -- questions ------------------------------------------------------------------------------------------------

    @property
    def fit(self) -> object:
        """See `Relay`."""
        return None

    @property
    def variant(self) -> None:
        """See `Relay`."""
        return

    @property
    def ear_key(self) -> None:
        """See `Relay`."""
        return

    @property
    def needs_ear(self) -> bool:
        """See `Relay`."""
        return False

    @property
    def mark(self) -> None:
        """See `Relay`."""
        return

    @property
    def kept(self) -> int:
        """See `Relay`."""
        return 0

    def lost_ear(self) -> None:
        """See `Relay`."""

    def nudged(self) -> int:
        """See `Relay`."""
        return moves.NOTHING

    @property
    def holds_too_much(self) -> bool:
        """See `Relay`."""
        return self._held_size > self._max_held

    def in_request(self) -> bool:
        """See `Relay`."""
        between = self._client.between_frames and self._server.between_frames
        return bool(self._asked) or self._unsynced or not between

    def endless(self) -> bool:
        """See `Relay`."""
        return self._streams

    def owes(self) -> bool:
        """See `Relay`: behind a good-bye, until the server closes."""
        return True

    def holds_goodbye(self) -> bool:
        """See `Relay`."""
        return False

    def may_speak(self) -> bool:
        """See `Relay`."""
        return self._server.between_frames

    def cut_short(self) -> bool:
        """See `Relay`."""
        return self._state is not None and not self._client.between_frames

    def cancellable(self) -> bool:
        """See `Relay`."""
        return self._state is not None

    def in_doubt(self) -> bool:
        """See `Relay`."""
        return True
