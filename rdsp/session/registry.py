"""Who is connected: the sessions of one proxy by connection id, for cancels, draining and statistics."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterator
from typing import Final, Protocol

from rdsp_codecs.problems import Problem, ProblemCode

_OURS: Final = 1 << 30
"""Set in all ids. Servers count connections from 1: what MySQL's CONNECTION_ID() or SHOW PROCESSLIST has told of a
database connection means no session to the proxy's KILL, and not another one.
"""
_WORKER_SHIFT: Final = 24
_SERIAL_MASK: Final = (1 << _WORKER_SHIFT) - 1


class Cancellable(Protocol):
    """A logged-in session, as far as others may reach it. `user`: the database user that it logged in as."""

    user: str

    @property
    def alias(self) -> int:
        """See `Relay`."""

    def kill(self) -> None:
        """Another session of the same user wants it to end now, and with it what it runs. Never blocks, never fails."""

    def cancel(self) -> None:
        """The client wants its running request cancelled. Never blocks, never fails."""

    def settings_changed(self) -> None:
        """The proxy has other settings now: deadlines may have moved."""

    def stop(self) -> None:
        """End at the next moment at which nothing is lost."""

    def cut(self) -> None:
        """The proxy stops: end now, without a word. Any number of times."""


class _Entry:
    __slots__ = ("secret", "session")

    def __init__(self, session: Cancellable, secret: bytes) -> None:
        self.session = session
        self.secret: Final = secret


class Registry:
    """Sessions by connection id.

    Invariant: ids are 2**30..2**31-1 (clients treat them as signed), unique among connected sessions; the six bits
    below the first tell the worker, so that several processes can route a cancel.
    """

    def __init__(self, worker: int = 0) -> None:
        """`worker` is 0..63."""
        self._entries: dict[int, _Entry] = {}
        self._worker = worker
        self._serial = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Cancellable]:
        return iter([entry.session for entry in self._entries.values()])

    def new_id(self) -> int:
        """A connection id that no connected session has."""
        while True:
            self._serial = self._serial % _SERIAL_MASK + 1
            number = _OURS | self._worker << _WORKER_SHIFT | self._serial
            if number not in self._entries:
                return number

    @staticmethod
    def new_secret(size: int = 32) -> bytes:
        """The secret half of a cancel key."""
        return os.urandom(size)

    def add(self, number: int, secret: bytes, session: Cancellable) -> None:
        """A session is in."""
        self._entries[number] = _Entry(session, secret)

    def __contains__(self, number: int) -> bool:
        return number in self._entries

    def hand_on(self, number: int, session: Cancellable) -> None:
        """Another one is in the session's place, with the same secret."""
        self._entries[number].session = session

    def remove(self, number: int) -> None:
        """A session ended; unknown numbers are ignored."""
        self._entries.pop(number, None)

    def of_user(self, number: int, user: str) -> Cancellable | Problem:
        """The session of that number, where it is that user's; else what there is to be told of it.

        Two may have the same alias, of two servers: then nobody knows which is meant.
        """
        entry = self._entries.get(number)
        if entry is None and number < _OURS:
            others = [each for each in self._entries.values() if each.session.alias == number != 0]
            entry = others[0] if len(others) == 1 else None
        if entry is None:
            return Problem(ProblemCode.NO_SUCH_SESSION, str(number), fatal=False)
        if entry.session.user != user:
            return Problem(ProblemCode.SESSION_OF_ANOTHER, str(number), fatal=False)
        return entry.session

    def find(self, number: int, secret: bytes) -> Cancellable | None:
        """The session that a cancel key means, None for a wrong one. Compared in constant time."""
        entry = self._entries.get(number)
        if entry is None or not hmac.compare_digest(entry.secret, secret):
            return None
        return entry.session
