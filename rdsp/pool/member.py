"""What the book keeps about one database connection, and what it decides. Values; `rdsp.pool.book` changes them."""

from __future__ import annotations

from collections.abc import Hashable
from enum import Enum, IntEnum, unique
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from rdsp_codecs.relaying import Keepsake


class MemberState(IntEnum):
    """Where a member is. Every state counts against the quota."""

    OPENING = 0
    IDLE = 1
    BORROWED = 2
    RESETTING = 3
    CLOSING = 4


@unique
class OpenFailure(Enum):
    """Why a database connection could not be opened."""

    REFUSED_BUSY = "refused_busy"
    """The server is at its own limit, or not up yet: try again later, with fewer."""
    REFUSED_KEY = "refused_key"
    """This user or database is at a limit of its own: try again later; others are let in."""
    UNREACHABLE = "unreachable"
    """It does not answer, or breaks off: try this user and database again later. Others may be let in."""
    DENIED = "denied"
    """It refuses this login for good."""


@unique
class WaitFailure(Enum):
    """Why a waiter gets nothing."""

    TIMED_OUT = "timed_out"
    TOO_MANY_WAITERS = "too_many_waiters"
    NOTHING_IDLE = "nothing_idle"
    CLOSED = "closed"


@unique
class CloseReason(Enum):
    """Why the book has a member closed."""

    IDLE = "idle for too long"
    LIFETIME = "its lifetime is over"
    SURPLUS = "more idle connections than max_idle_connections_percent allows"
    OVER_QUOTA = "over the quota"
    MAKE_ROOM = "its place is needed for another user or database"
    DRAINING = "the proxy stops"


class Member:
    """One database connection as the book sees it."""

    __slots__ = (
        "checked_at", "expires_at", "fit", "idle_since", "keepsake", "kept", "key", "number", "opened_at", "payload",
        "shelf", "state",
    )  # fmt: skip

    def __init__(self, key: Hashable, number: int) -> None:
        self.key = key
        self.number = number
        self.state = MemberState.OPENING
        self.payload: Any = None
        self.opened_at = 0.0
        self.expires_at = 0.0
        self.idle_since = 0.0
        self.checked_at = 0.0
        self.shelf: list[Member] = []
        """Where it stands while it is IDLE, with the others of its key."""
        self.fit: object = None
        """What it has set, by identity; None: nothing yet."""
        self.keepsake: Keepsake | None = None
        """What its last session has left on it for itself."""
        self.kept = False
        """Stands apart for that, and not on its shelf."""

    def __repr__(self) -> str:
        return f"<Member {self.number} {self.state.name.lower()} {self.key!r}>"

    @property
    def heard_at(self) -> float:
        """When it last said something, as far as anybody listened."""
        return max(self.idle_since, self.checked_at)


@attrs.frozen
class Grant:
    """The waiter has the member, which is BORROWED now."""

    waiter: Any
    member: Member


@attrs.frozen
class Open:
    """Open this member; then `opened` or `open_failed`."""

    member: Member


@attrs.frozen
class Close:
    """Close this member, which is CLOSING now; then `gone`."""

    member: Member
    why: CloseReason


@attrs.frozen
class Fail:
    """The waiter gets nothing: a `WaitFailure`, or what `open_failed` was given."""

    waiter: Any
    why: Any


Decision = Grant | Open | Close | Fail


@attrs.frozen
class BookLimits:
    """What the book must keep.

    Attributes:
        limit: members at most, >= 1.
        max_idle: idle members at most that are kept beyond a short while, >= 0.
        max_waiters: waiters at most, >= 0; those who need a key's first member come on top. 0: nobody else waits.
        wait_timeout: seconds that a waiter waits at most; 0 goes with `grows_when_waiting` False.
        max_simultaneous_opens: members in OPENING at most, >= 1.
        idle_timeout, lifetime: seconds; 0 means without end.
        lifetime_jitter: 0..1, the part of the lifetime by which members of one hour differ.
        backoff_first, backoff_max: seconds between tries to open after a failure.
        grows_when_waiting: False (`connection_borrow_timeout` 0): who finds nothing idle fails at once, and a member
            is opened for those who come after; only who needs a key's first member waits for it.
        turn_after: seconds after which the oldest waiter of another pool has the next free place.
        surplus_after: seconds that surplus idle members are kept.
        recover_after: seconds until a quota that the server's refusals shrank grows by one.
        keepsake_stays: seconds for which what a session has left on a member is worth one member more, where the quota
            has room. 0: never.
        keepsake_waits: seconds that somebody waits at most for such a member, instead of taking the kept one.
    """

    limit: int
    max_idle: int
    max_waiters: int = 10_000
    wait_timeout: float = 120.0
    max_simultaneous_opens: int = 8
    idle_timeout: float = 300.0
    lifetime: float = 86400.0
    lifetime_jitter: float = 0.1
    backoff_first: float = 0.1
    backoff_max: float = 5.0
    grows_when_waiting: bool = True
    turn_after: float = 0.25
    surplus_after: float = 10.0
    recover_after: float = 1.0
    keepsake_stays: float = 1.0
    keepsake_waits: float = 0.1


@attrs.frozen
class BookStatistics:
    """A snapshot; snapshots of several books can be added."""

    limit: int = 0
    opening: int = 0
    idle: int = 0
    borrowed: int = 0
    resetting: int = 0
    closing: int = 0
    waiting: int = 0
    opened: int = 0
    open_failures: int = 0
    closed: int = 0

    def __add__(self, other: BookStatistics) -> BookStatistics:
        mine, theirs = attrs.astuple(self), attrs.astuple(other)
        return BookStatistics(*(a + b for a, b in zip(mine, theirs, strict=True)))
