"""A listening session gives its backend back, and takes another: the queries by which its notifications change source.

`relay` calls it at the ends of a request, `syncing` at the borrow, `replies` hands it the answers. What the marks mean
stands in `listening`.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Final

from rdsp_codecs.errors import WireError
from rdsp_codecs.ledger import Owed
from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres.dialogue import Dialogue, Kind
from rdsp_codecs.postgres.listening import Listening, Mark
from rdsp_codecs.postgres.statements import frame
from rdsp_codecs.postgres.unnamed import NOTHING
from rdsp_codecs.relaying import Relay
from rdsp_codecs.transaction import Transaction

if TYPE_CHECKING:
    from rdsp_codecs.api import ClientLogin
    from rdsp_codecs.filtering import ChunkFilter
    from rdsp_codecs.postgres.asking import Question
    from rdsp_codecs.postgres.state import PostgresState
    from rdsp_codecs.postgres.texts import Texts


class CleanUp:
    """Note of the query behind a mark."""

    __slots__ = ()


_CLEAN_UP: Final = CleanUp()


class Handing:
    """One session's.

    Invariant: between a `part` and the end of its queries, and between a `come_back` and its marks, `Dialogue.paused`
    is set: no message of the client's goes to a backend whose notifications are not the session's (but those of
    `Syncer.mends`, while the ear hears).
    """

    def __init__(self, dialogue: Dialogue, texts: Texts) -> None:
        self._d = dialogue
        self._texts = texts

    # -- at the boundary ------------------------------------------------------------------------------------------

    def answered(self, question: Question, detail: str) -> None:
        """The server has said, or has not, what the session listens to."""
        d, listening = self._d, self._d.listening
        if question.failed:
            d.pin_surely(PinReason.LISTEN, detail)
            return
        own = frozenset(filter(listening.owns, question.channels))
        if not own or d.away:
            if question.channels:
                self._owe(b"UNLISTEN *", _CLEAN_UP)  # a function of this session's, or of another, has listened
            if not d.away:
                self.stop()
            return
        listening.channels = own
        listening.passing = listening.passing or not listening.hearing  # no text has told of it
        d.doubts.always = d.doubts.any = True
        if listening.ear is not None:
            listening.ear.follow(listening)
        if not self._may_part():
            d.pin_surely(PinReason.LISTEN, detail)

    def stop(self) -> None:
        """The session listens to nothing any more, and neither does its backend."""
        self._d.listening.stop()
        self._d.doubts.always = False
        self._lift()

    def _lift(self) -> None:
        if self._d.pins.lift(PinReason.LISTEN):
            self._d.lifted = True

    def _may_part(self) -> bool:
        return self._d.listening.may_part(self.encoding)

    @property
    def encoding(self) -> str:
        """The client's."""
        return self._d.told.get("client_encoding", "")

    def wants(self) -> bool:
        """Whether nothing but the lack of an ear keeps the session's backend."""
        d, listening = self._d, self._d.listening
        if not listening.channels or listening.stuck or d.pins.active().keys() != {PinReason.LISTEN}:
            return False
        if d.state is None or d.transaction is not Transaction.NONE:
            return False
        safe = not self._texts.multibyte_unsafe or all(map(bytes.isascii, listening.channels))
        return safe and not self._may_part()

    def part(self) -> bool:
        """A request is over. Returns whether the backend, before it can be given back, has to be asked to stop."""
        d, listening, state = self._d, self._d.listening, self._d.state
        assert state is not None
        if d.transaction is not Transaction.NONE or d.pins.active().keys() - {PinReason.LISTEN}:
            return False
        if listening.stuck:
            listening.stuck = False  # the next request's end tries again
            d.pin_surely(PinReason.LISTEN, "the server refused a notification")
            return False
        if not self._may_part():
            d.pin_surely(PinReason.LISTEN, "the session listens")
            return False
        self._lift()
        self._send(state, listening.part())
        d.paused = True
        return True

    def _send(self, state: PostgresState, mark: Mark) -> None:
        self._owe(self._d.listening.text(mark), mark)
        state.last = NOTHING

    def _owe(self, text: bytes, note: object) -> None:
        d = self._d
        d.ledger.owe(Owed(Kind.QUERY, swallow=True, note=note))
        d.injected.append(frame(b"Q", text, b"\0"))
        d.asking += 1

    # -- at the borrow --------------------------------------------------------------------------------------------

    def come_back(self, state: PostgresState) -> None:
        """A backend in the session's state: it listens for the session before anything of the client's reaches it."""
        d, listening = self._d, self._d.listening
        d.paused = True
        # An ear that is quite new does not hear marks yet: `Relay.nudged` comes when it does.
        listening.due = not listening.ear_is_ready
        if not listening.due:
            d.away = False
            self._send(state, listening.come_back())
            self._owe(listening.clean_up(), _CLEAN_UP)

    # -- answers --------------------------------------------------------------------------------------------------

    def done(self, note: Mark | CleanUp) -> None:
        """A query of ours is through. Raises `WireError` when it did not do what it should."""
        d, listening = self._d, self._d.listening
        if isinstance(note, CleanUp):
            listening.cleaned()
            if listening.goes_on():
                d.paused = False
        elif note.error:
            listening.failed(note)
            d.paused = False
            if note.opens:
                d.pin_surely(PinReason.LISTEN, "the server refused a notification")
            else:
                d.away = True
                d.unfit = d.unfit or note.error
        else:
            listening.shown()
            note.sent = True
            if note.opens:
                self._owe(listening.clean_up(), _CLEAN_UP)

    def failed(self, note: Mark | CleanUp, payload: bytes) -> None:
        """The server refuses a query of ours."""
        if isinstance(note, CleanUp):
            msg = "a backend does not stop to listen"
            raise WireError(msg)
        note.error = payload


class Hearing(Relay):
    """The part of a relay that its ear sees. The relay makes the attributes."""

    __slots__ = ("_d", "_handing", "_server", "_who")

    _d: Dialogue
    _handing: Handing
    _server: ChunkFilter
    _who: ClientLogin

    @property
    def listening(self) -> Listening:
        """For the ear."""
        return self._d.listening

    @property
    def ear_key(self) -> Hashable:
        """See `Relay`: payloads come in the listener's encoding."""
        if not self._d.listening.channels or not self._handing.wants():
            return None
        return self._who.user, self._who.database, self._handing.encoding

    def lend(self) -> bytes:
        """The backend becomes an ear, and this session's first of all. Returns what it has said and nobody has seen.

        Only outside of a request, with an `ear_key`. The caller then calls `detached`.
        """
        d = self._d
        d.listening.lend()
        d.away = True
        self.pins.lift(PinReason.LISTEN)
        return self._server.take()

    @property
    def needs_ear(self) -> bool:
        """See `Relay`."""
        return self._d.listening.depends

    @property
    def mark(self) -> object:
        """See `Relay`."""
        marks = self._d.listening.marks
        return marks[0] if marks and marks[0].sent else None

    @property
    def kept(self) -> int:
        """See `Relay`."""
        return self._d.listening.kept

    def lost_ear(self) -> None:
        """See `Relay`."""
        self._d.listening.ear = None
