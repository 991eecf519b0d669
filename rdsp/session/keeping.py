"""What a session leaves on its backends: told to the pool when one is given back, and when the session ends.

`rdsp.session.splice` has the steps; this is the part of it that others' sessions profit from.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

from rdsp.net.switchboard import Board
from rdsp.net.transport import Transport
from rdsp.pool.backend import Backend
from rdsp.pool.pool import Pool
from rdsp.session.ends import Ends
from rdsp_codecs.relaying import Relay


class Keeping(Ends):
    """Invariant: `key` is that of the pool whose backends fit the session."""

    __slots__ = ("_marks", "_pool", "key")

    def __init__(
        self, client: Transport, relay: Relay, pool: Pool, key: Hashable, board: Board, wake: Callable[[], None]
    ) -> None:
        super().__init__(client, relay, board, wake)
        self._pool = pool
        self.key = key
        self._marks: Hashable = None

    def forget_keepsake(self) -> None:
        """The session ends."""
        keepsake, self.relay.keepsake = self.relay.keepsake, None
        if keepsake is not None:
            self._pool.book.forget(keepsake)

    def refit(self, backend: Backend) -> None:
        """Tell the pool what the session has set on the backend."""
        if backend.member.fit is self.relay.fit:
            return
        backend.member.fit, marks = self.relay.fit, self.relay.variant
        if marks != self._marks:
            self._marks, self.key = marks, self._pool.vary(backend, marks)
