"""Closing what no client could use, for a statement that wants a database to itself (PostgreSQL: DROP DATABASE).

A client that has left a direct server leaves no connection behind. Here its backend stays for the next client, and a
server refuses to drop a database that somebody is connected to. Servers wait a while for those who are just leaving.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from typing import Final

from rdsp.pool.backend import Backend
from rdsp.pool.book import Book
from rdsp.pool.member import MemberState

SECONDS: Final = 5.0
"""How long PostgreSQL waits for others to leave a database (CountOtherDBBackends in procarray.c)."""
LOOK_EVERY: Final = 0.1


class Vacating:
    """Closes idle backends of pools that have no client, for some seconds from each `begin`.

    Args:
        has_clients: whether any client belongs to the pool of this key.
        retire: closes an idle backend.
    """

    def __init__(self, book: Book, has_clients: Callable[[Hashable], bool], retire: Callable[[Backend], None]) -> None:
        self._book = book
        self._has_clients = has_clients
        self._retire = retire
        self._until = -math.inf

    def begin(self, now: float) -> None:
        """A statement that needs it goes out."""
        self._until = now + SECONDS
        self.look(now)

    def look(self, now: float) -> float:
        """Close what is unused by now. Returns when to look again; infinity: not until the next `begin`."""
        if now >= self._until:
            return math.inf
        for member in self._book.members():
            if member.state is MemberState.IDLE and not self._has_clients(member.key):
                self._retire(member.payload)
        return now + LOOK_EVERY
