"""One database connection as the runtime holds it: its socket, the codec's state, and who has borrowed it.

The pool makes it, a session's splice works with it while it is borrowed. It never decides who gets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from mypy_extensions import mypyc_attr

from rdsp.net.switchboard import LEAVING, READABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from rdsp.net.transport import Transport
    from rdsp.pool.book import Member
    from rdsp.pool.facts import KeyFacts
    from rdsp.pool.servers import Way
    from rdsp_codecs.problems import Problem


@mypyc_attr(allow_interpreted_subclasses=True)
class Borrower:
    """What a backend's events go to while it is borrowed. A class, not a protocol: compiled, it is called directly."""

    __slots__ = ()

    def server_event(self, mask: int, /) -> None:
        """The backend's socket is ready."""
        raise NotImplementedError

    def reclaimed(self) -> bool:
        """Somebody else needs the backend that it keeps for what that alone knows. Returns whether it does so still."""
        return False


class Backend:
    """A database connection.

    Invariant: watched by the switchboard from its login until it is closed, except while a conversation runs on it;
    `borrower` is set exactly while the book says BORROWED and a session works with it.
    """

    __slots__ = (
        "_idle_event",
        "abandoned",
        "borrower",
        "cancelling",
        "facts",
        "member",
        "on_settled",
        "records",
        "recv",
        "requests",
        "send",
        "state",
        "suspect",
        "transport",
        "way",
    )

    def __init__(
        self,
        member: Member,
        transport: Transport,
        state: Any,
        way: Way,
        facts: KeyFacts,
        idle_event: Callable[[Backend, int], None],
    ) -> None:
        self.member = member
        self.transport = transport
        self.recv = transport.recv
        self.send = transport.send
        self.records = transport.records
        self.state = state
        self.way = way
        """Leads to its server, for cancels."""
        self.facts = facts
        """With which it logged in."""
        self.borrower: Borrower | None = None
        self.abandoned = False
        """Its client left it in the middle of a request, which is being cancelled."""
        self.cancelling = 0
        """Cancels on their way to the server that may still hit whatever runs here."""
        self.suspect = False
        """A cancel was sent and never settled: it may come at any time, so nobody else may borrow this."""
        self.on_settled: Callable[[], None] | None = None
        """Called when `cancelling` falls to 0."""
        self.requests = 0
        """Requests finished, to tell whether one that was to be cancelled still runs."""
        self._idle_event = idle_event

    @property
    def number(self) -> int:
        """The number in logs: 1, 2, ... per target group."""
        return self.member.number

    def event(self, mask: int) -> None:
        """The switchboard's step."""
        borrower = self.borrower
        if borrower is not None:
            borrower.server_event(mask)
        else:
            self._idle_event(self, mask)

    def break_off(self) -> None:
        """Where it stands, nobody knows: from now on it reads as closed, and its borrower is told so."""
        self.recv = _end_of_file
        self.event(READABLE | LEAVING)

    def __repr__(self) -> str:
        held = "borrowed" if self.borrower else self.member.state.name.lower()
        return f"<Backend {self.number} {held} {self.transport.peer}>"


def _end_of_file(_limit: int, /) -> bytes:
    return b""


class Waiter(Protocol):
    """A session in the queue. Exactly one of the two is called, once, unless it left before."""

    def granted(self, backend: Backend, /) -> None:
        """It has a backend now."""

    def failed(self, refusal: Problem | bytes, /) -> None:
        """It will not get one: a problem, or the server's own refusal."""
