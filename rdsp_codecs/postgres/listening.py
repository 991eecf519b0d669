"""What one session listens to, and which connection's notifications it gets.

While a session has a backend, that backend listens in earnest, and its notifications pass: order, rollbacks and the
session's own notifications are the server's own. While it has none, the shared listener (`hearing.Ear`) hears for it.
Where one ends and the other begins is exact, because a server shows notifications to all listeners in one order: the
backend sends a mark, a notification on the ear's own channel, and on both connections what stands before the mark
belongs to the one, what stands behind it to the other.

`relay` and `syncing` call it, `replies` shows it the backend's notifications, the ear those of the shared listener.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from rdsp_codecs.errors import WireError
from rdsp_codecs.postgres.statements import frame

if TYPE_CHECKING:
    from rdsp_codecs.postgres.hearing import Ear

_PID: Final = 4
_MOST_NAMES: Final = 1000
_NOT_OURS: Final = 1 << 30
"""Added to a process id of the server's that happens to be the one that the client was told as its own."""


def quoted(name: bytes) -> bytes:
    """A channel's name as an identifier."""
    return b'"' + name.replace(b'"', b'""') + b'"'


def listen_to(channels: frozenset[bytes]) -> bytes:
    """LISTEN to all of them, in a fixed order."""
    return b";".join(b"LISTEN " + quoted(channel) for channel in sorted(channels))


@attrs.define(eq=False)
class Mark:
    """A mark that was or will be sent; also the note of the query that sends it.

    Attributes:
        token: the notification's payload.
        opens: the ear is heard from this mark on; else the backend is.
        sent: the server has done it.
        error: with what the server refused it.
    """

    token: bytes
    opens: bool
    sent: bool = False
    error: bytes = b""


class Listening:
    """One session's.

    Invariant: each source passes between its own sight of two marks: `passing` (the backend's) is False from a mark
    that `opens` on until one that does not; `hearing` (the ear's) is the other way round. What the new source says
    behind a mark is `kept` until the old one has shown it, too, so that the order stays. `marks` are those that the ear
    has not seen yet, in the order in which they were sent.

    Attributes:
        channels: what the session listens to, as the server last said.
        ear: who hears for it, or may; None without one.
        passing: the backend's notifications go to the client.
        hearing: the ear's do.
        parting: the backend is about to be given back: the client's messages wait.
        parted: it has stopped to listen.
        returning: a backend begins to listen for the session, and has not shown its mark.
        due: a backend is there, and the ear is not ready for the mark.
        holding: the client's messages wait until both connections have shown the mark.
        silent: what the ear hears is kept until a reply is through.
        stuck: the server refused a mark: the session keeps its backend.
        kept: how many bytes are kept so.
        strays: a backend spoke of something that the session does not listen to.
        sure: the backend listens to nothing but what the session has asked for.
    """

    def __init__(self, number: int, to_client: list[bytes], *, trusting: bool = False) -> None:
        """`trusting`: nobody leaves a backend that listens, so that what it listens to is always the session's."""
        self.number = number
        self.channels: frozenset[bytes] = frozenset()
        self.ear: Ear | None = None
        self.passing = self.hearing = False
        self.parting = self.parted = self.returning = False
        self.due = self.holding = self.stuck = self.strays = self.silent = False
        self.sure = self._trusting = trusting
        # Immutable where most sessions have none: an empty deque is 600 bytes.
        self.marks: tuple[Mark, ...] = ()
        self.kept = 0
        self._named: frozenset[bytes] = frozenset()
        self._any_name = False
        self._early: list[bytes] = []
        self._to_client = to_client
        self._awaited: Mark | None = None
        """The mark that the backend shows next."""
        self._own = self.number.to_bytes(_PID, "big")

    # -- whose channels they are ----------------------------------------------------------------------------------

    def name(self, channels: frozenset[bytes] | None) -> None:
        """A text that listens to these goes out (see `Verdict.channels`)."""
        if channels is None or len(self._named) > _MOST_NAMES:
            self._any_name = True
        else:
            self._named |= channels

    def owns(self, channel: bytes) -> bool:
        """Whether it is for the session that the backend listens to this: a function of another may have left it so."""
        if self.sure or self._any_name or channel in self._named:
            return True
        return b"" in self._named and not channel.isascii()

    def _doubt(self) -> None:
        """The next backend may listen to anything."""
        self.sure, self._any_name = self._trusting, False
        self._named = frozenset()

    # -- the backend ----------------------------------------------------------------------------------------------

    def notified(self, payload: bytes, process_id: int) -> bytes | None:
        """A NotificationResponse of the backend with that process id. Returns what the client gets: b"" for nothing."""
        channel, _, token = payload[_PID:-1].partition(b"\0")
        if self.ear is not None and channel == self.ear.marker:
            # Others' marks come, too, as long as the backend listens to them.
            if self._awaited is not None and token == self._awaited.token:
                self.passing = not self._awaited.opens
                self.sure = self.sure or self.passing
                self._awaited = None
                if not self.passing:
                    return self._kept()
            return b""
        if not self.passing and (self.channels or not self._trusting):
            if not self.channels:
                self.strays = True
            return b""
        if not self.owns(channel):
            return b""
        shown = self._shown(payload, own=payload[:_PID] == process_id.to_bytes(_PID, "big"))
        if self.marks and not self.marks[-1].opens:
            self._keep(shown)
            return b""
        return shown

    def _keep(self, shown: bytes) -> None:
        self._early.append(shown)
        self.kept += len(shown)

    def _kept(self) -> bytes:
        """What was kept is due."""
        kept = b"".join(self._early)
        self._early.clear()
        self.kept = 0
        return kept

    def speak(self) -> None:
        """No reply is under way: what the ear has heard may go between."""
        self.silent = False
        if self._early:
            self._to_client.append(self._kept())

    def _shown(self, payload: bytes, *, own: bool) -> bytes:
        """The message as the client may see it: its own process id is the one that it was told."""
        if own:
            return frame(b"A", self._own, payload[_PID:])
        if payload[:_PID] == self._own:
            return frame(b"A", (self.number | _NOT_OURS).to_bytes(_PID, "big"), payload[_PID:])
        return frame(b"A", payload)

    def may_part(self, encoding: str) -> bool:
        """Whether the ear hears all that the session listens to, in its encoding."""
        ear = self.ear
        return ear is not None and not self.stuck and ear.encoding == encoding and ear.covers(self.channels)

    @property
    def ear_is_ready(self) -> bool:
        """Whether the ear hears marks."""
        return self.ear is not None and self.ear.covers(frozenset())

    def part(self) -> Mark:
        """The backend is to be given back. Returns the mark that it is to send, by `text`."""
        self.parting = True
        return self._mark(opens=True)

    def lend(self) -> None:
        """The backend becomes the ear: its notifications go on, from another source."""
        self.passing, self.hearing = False, True
        self._doubt()

    def come_back(self) -> Mark:
        """Another backend was borrowed. Returns the mark that it is to send, by `text`."""
        self._doubt()
        self.returning = self.holding = True
        self.parted = False
        return self._mark(opens=False)

    def _mark(self, *, opens: bool) -> Mark:
        assert self.ear is not None
        self._awaited = mark = Mark(self.ear.token(self.number), opens)
        self.marks += (mark,)
        return mark

    def text(self, mark: Mark) -> bytes:
        """The query that sends a mark. One that does not open has the backend listen, too, and to nothing else."""
        assert self.ear is not None
        marker = quoted(self.ear.marker)
        listens = b"" if mark.opens else b"UNLISTEN *;" + listen_to(self.channels) + b";"
        return b"%bLISTEN %b;NOTIFY %b,'%b'" % (listens, marker, marker, mark.token)

    def clean_up(self) -> bytes:
        """The query behind the mark: the backend stops to listen, or stops to listen to the ear's channel."""
        assert self.ear is not None
        return b"UNLISTEN *" if self.parting else b"UNLISTEN " + quoted(self.ear.marker)

    def failed(self, mark: Mark) -> None:
        """The server refused it: nobody will see it."""
        self._awaited = None
        self.marks = tuple(other for other in self.marks if other is not mark)
        self.stuck = self.stuck or mark.opens
        self.parting = self.returning = self.holding = False

    def shown(self) -> None:
        """The query of a mark is done. Raises `WireError` when its notification did not come before that."""
        if self._awaited is not None:
            msg = "a notification of the proxy's own did not come"
            raise WireError(msg)

    def cleaned(self) -> None:
        """The query of `clean_up` is done."""
        if self.parting:
            self.parting, self.parted = False, True
        self.returning = False

    def goes_on(self) -> bool:
        """Whether the client's messages waited, and need not any longer: both connections have shown the mark."""
        if not self.holding or self.returning or self.marks:
            return False
        self.holding = False
        return True

    @property
    def depends(self) -> bool:
        """Whether notifications would be missing if the ear were lost now."""
        return self.hearing or bool(self.marks)

    def stop(self) -> None:
        """The session listens to nothing any more. Only while a backend is attached that does the same."""
        self.channels = frozenset()
        self.passing = self.hearing = self.parted = False
        self.sure = self._trusting
        if self.ear is not None:
            self.ear.forget(self)
            self.ear = None

    # -- the ear --------------------------------------------------------------------------------------------------

    def heard(self, payload: bytes) -> bool:
        """The ear heard something on one of the channels. Returns whether the client gets it."""
        if self.hearing:
            shown = self._shown(payload, own=False)
            if self.silent or (self._awaited is not None and self._awaited.opens):
                self._keep(shown)
            else:
                self._to_client.append(shown)
        return self.hearing

    def reached(self, token: bytes) -> bool:
        """The ear has come to a mark. Returns whether it is the session's."""
        if not self.marks or self.marks[0].token != token:
            return False
        self.hearing, self.marks = self.marks[0].opens, self.marks[1:]
        if not self.hearing and self._awaited is None and self._early:
            self._to_client.append(self._kept())
        return True
