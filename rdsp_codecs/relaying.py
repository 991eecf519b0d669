"""The relay that an engine must offer: one session's two filters. `rdsp_codecs.api` has the rest of what it offers.

A class and not a protocol, because every chunk goes through it: what is compiled finds its methods and attributes in
their places, without asking for them by name (decision 19). Compiled itself.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import mypyc_attr

from rdsp_codecs.moves import NOTHING
from rdsp_codecs.pins import PinBoard
from rdsp_codecs.problems import Problem
from rdsp_codecs.transaction import Transaction

if TYPE_CHECKING:
    from rdsp_codecs.api import Greeting, Offer
    from rdsp_codecs.steps import Conversation


EASILY: Final = 1
"""To ask costs a round trip, and nothing else: so nothing new is opened where this backend can be had."""
RATHER: Final = 2
"""To ask changes what the client may read next."""


class Keepsake:
    """What a session leaves on a backend for itself alone: there as long as nobody else has used that. By identity.

    Attributes:
        worth: others had better take another backend. False: they need not mind.
        place: the pool's own note of where it was left.
    """

    __slots__ = ("place", "worth")

    def __init__(self) -> None:
        self.worth = False
        self.place: Any = None


@mypyc_attr(allow_interpreted_subclasses=True)
class Relay:
    """Filters both directions of one session in steady state. No I/O, no waiting.

    Invariants: bytes to the server are made only while a backend is attached; every client byte is handed on exactly
    once or refused with an error; `OVER` is returned only when nothing is owed and both directions stand between
    frames. Methods return flags of `rdsp_codecs.moves` and raise `WireError`; after an error the relay is dead.

    No call may take long: all sessions wait for it. A relay looks at `RelayPolicy.max_at_once` messages, puts the rest
    aside and returns `MORE`; then `go_on` is called. What is put aside is no more than what it was given and what it
    held back, and counts for `holds_too_much`. No end of a request is told before what is put aside in front of it.

    What a simple engine has not (ears, streams without an end, work put aside, answers without a backend) may be left
    as it is here; all else raises `NotImplementedError` until it is written.
    """

    __slots__ = (
        "contended", "keepsake", "lingers", "pins", "refused", "to_client", "to_server", "transaction", "unharmed",
    )  # fmt: skip

    to_server: list[bytes]
    to_client: list[bytes]
    """The outboxes: the same two lists for all of the relay's life."""

    transaction: Transaction
    pins: PinBoard
    refused: bytes
    """With `UNFIT`: the server's words with which the request is to be refused; b"": try another backend."""
    unharmed: bool
    """With `UNFIT`: the backend is what it was before it was borrowed, and may be lent to others."""
    contended: bool
    """Set by the runtime: the session had to wait for the backend that it has, so others are likely to wait now. What
    the server has to be asked before it is given back is better asked along with the request.
    """
    keepsake: Keepsake | None
    """What the session has left on the backend that it had last: that one is the best for it, while it is idle."""
    lingers: int
    """With `OVER`: to let go of the backend, the server has to be asked for what it alone knows. The session keeps it
    until the client says more, or `reclaimed` is called. 0: it does not linger. EASILY, RATHER.
    """

    def __init__(self) -> None:
        """An idle session's: nothing is held, pinned or open."""
        self.to_server = []
        self.to_client = []
        self.transaction = Transaction.NONE
        self.pins = PinBoard()
        self.refused = b""
        self.unharmed = False
        self.contended = False
        self.keepsake = None
        self.lingers = 0

    @property
    def fit(self) -> object:
        """What the session has set, as a value compared by identity: a backend last used with the same one needs no
        work. Changes at boundaries only.
        """
        raise NotImplementedError

    @property
    def variant(self) -> Hashable:
        """What the session has left for ever on its backends; None while there is nothing. Only backends of the same
        variant, or new ones, fit. Changes only when `fit` does.
        """
        return None

    def from_client(self, data: bytes) -> int:
        """Take a chunk of the client's."""
        raise NotImplementedError

    def attached(self, state: Any) -> int:
        """A backend was borrowed: the bytes held for it go into `to_server`, behind what brings it into our state."""
        raise NotImplementedError

    def from_server(self, data: bytes) -> int:
        """Take a chunk of the backend's."""
        raise NotImplementedError

    def go_on(self) -> int:
        """Go on with what was put aside, if anything is: the next so many messages. Returns flags as all of them do,
        `MORE` among them as long as there is more. May be called at any time, also with no backend.
        """
        return NOTHING

    @property
    def unheard(self) -> bool:
        """Whether words of the server's are put aside: `go_on` takes those first, and it is they that it fails by."""
        return False

    def broke_off(self) -> int:
        """The backend closed its side. `UNFIT` where nothing of the request has reached it, and another one may do."""
        raise NotImplementedError

    def detached(self) -> None:
        """The backend is given back (only at a boundary) or lost."""
        raise NotImplementedError

    def answer_alone(self) -> bool:
        """No backend is free: can the held request be answered rightly from what the pool's sessions have learned?

        True: the answer is in `to_client`, and nothing of the request is held any more.
        """
        return False

    def reclaimed(self) -> int:
        """The backend on which it `lingers` is wanted elsewhere: ask, and then say `OVER` again. Returns flags."""
        return NOTHING

    @property
    def alias(self) -> int:
        """A number of the server's by which a client may know this session now; 0: it has none. See `victim`."""
        return 0

    @property
    def victim(self) -> tuple[int, bool]:
        """With `KILL`: the connection id of the session that is meant, and whether all of it is to end.

        The relay takes nothing more of the client's up to the call of `killed`.
        """
        raise NotImplementedError

    def killed(self, problem: Problem | None) -> int:
        """What became of it: None, it is being done; else what the client is told instead. Returns flags."""
        raise NotImplementedError

    def greet_anew(self, offer: Offer) -> Conversation[Greeting]:
        """With `ANEW`: the client proves who it is now, as in `Codec.greet`; it begins with what the relay holds.

        Its session is over then, whatever comes of it: this is the relay's last word, and what it had of the session is
        given up before. `ANEW` is told outside of a request; the relay takes nothing more of the client's behind it.
        """
        raise NotImplementedError

    def in_request(self) -> bool:
        """Whether a request is under way: replies are owed, half a frame was forwarded in either direction, or the
        client has not ended what it began (PostgreSQL: no Sync yet). Such a backend cannot be another's.
        """
        raise NotImplementedError

    def endless(self) -> bool:
        """Whether what runs now has no end of its own (a stream of replication): a session may be ended in it."""
        return False

    def owes(self) -> bool:
        """Whether the server will say more without a word of the client's: what a client that said good-bye still
        gets done. Turning false behind a good-bye is signalled as `BYE`.
        """
        raise NotImplementedError

    def holds_goodbye(self) -> bool:
        """No backend: whether the client's good-bye is held behind its request."""
        raise NotImplementedError

    def may_speak(self) -> bool:
        """Whether words of the proxy's own may follow what the client was sent: no message to it is half sent."""
        raise NotImplementedError

    def cut_short(self) -> bool:
        """Whether the backend was sent a part of a message whose rest has not come from the client."""
        raise NotImplementedError

    def cancellable(self) -> bool:
        """Whether what the backend runs now is the client's own request, and not a sync of ours."""
        raise NotImplementedError

    def answers_us(self) -> bool:
        """Whether what the server says next answers the proxy, and nothing for the client can come before: that is
        heard also while the client takes nothing.
        """
        return False

    def interrupt(self) -> bool:
        """The client wants its request to be cancelled. Returns whether that is held here still, behind something of
        ours, and is refused in its turn; otherwise the cancel is the server's.
        """
        return False

    @property
    def ear_key(self) -> Hashable:
        """Which ear would hear for this session what alone keeps its backend now; None: there is nothing. See `Ear`.

        Sessions with equal keys can have the same.
        """
        return None

    @property
    def needs_ear(self) -> bool:
        """Whether something would be missed if the session's ear were lost now."""
        return False

    @property
    def mark(self) -> object:
        """What the ear is waited for to show, by identity; None: nothing. It comes at once, or never."""
        return None

    @property
    def kept(self) -> int:
        """Bytes that the ear has heard for the client, and that are not in `to_client` yet: something comes before."""
        return 0

    def lost_ear(self) -> None:
        """The session's ear is no more, and it did not need it."""
        return

    def nudged(self) -> int:
        """Its ear has something for the session: words in `to_client`, or a change. Returns flags."""
        return NOTHING

    @property
    def holds_too_much(self) -> bool:
        """More than `RelayPolicy.max_held` bytes are held back: the client must not be read now."""
        raise NotImplementedError

    @property
    def resettable(self) -> bool:
        """Whether, outside of a request, `Codec.reset` would undo all that the client has left on its backend."""
        return not self.pins

    def in_doubt(self) -> bool:
        """Whether the client may have changed its backend in a way that is not found out: nobody else may have it."""
        raise NotImplementedError

    def refusal(self, problem: Problem | bytes) -> bytes:
        """Last words for the client as they must stand where the conversation is now: `Codec.refuse`'s for engines
        whose messages have no number. Also of a relay that is dead; only where `may_speak`.

        `problem`: or a server's own words, as `LoginRefused.raw` has them.
        """
        raise NotImplementedError

    def abort(self, problem: Problem | bytes) -> int:
        """The request that waits for a backend will not get one. `problem`: why, or the server's words for it.

        Puts the refusal into `to_client` and drops the request, up to the point where client and proxy agree again
        (PostgreSQL: its Sync). Returns flags: `WANT_BACKEND` when another request was held behind it.
        """
        raise NotImplementedError
