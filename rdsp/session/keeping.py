"""What a session leaves on its backends: told to the pool when one is given back, and when the session ends.

`rdsp.session.splice` has the steps; this is the part of it that others' sessions profit from.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

from rdsp.net.switchboard import Board
from rdsp.net.transport import Transport
from rdsp.observe.counters import Counters
from rdsp.pool.backend import Backend
from rdsp.pool.pool import Pool
from rdsp.session import calls
from rdsp.session.ends import Ends
from rdsp.session.machine import State
from rdsp_codecs.relaying import EASILY, Relay

_BUSY: Final = State.BUSY
_HOLDING: Final = State.HOLDING
HALTING: Final = calls.CLIENT_GONE | calls.FAULT | calls.SERVER_GONE | calls.ENDING


class Keeping(Ends):
    """Invariant: `key` is that of the pool whose backends fit the session."""

    __slots__ = ("_counters", "_lending", "_marks", "_pool", "key", "leaving", "settling", "state", "stopping")

    def __init__(
        self,
        client: Transport,
        relay: Relay,
        pool: Pool,
        key: Hashable,
        board: Board,
        counters: Counters,
        wake: Callable[[], None],
    ) -> None:
        super().__init__(client, relay, board, wake)
        self._pool = pool
        self.key = key
        self.state = State.QUIET
        self.leaving = False
        """The client said good-bye behind a request: as at a server, that is finished first."""
        self.stopping = False
        self.settling = False
        """A cancel may still hit what the backend runs: no new request may begin."""
        self._marks: Hashable = None
        self._lending = pool.lending
        self._counters = counters

    def forget_keepsake(self) -> None:
        """The session ends."""
        self._lending.lingering.forget(self, self.key)
        keepsake, self.relay.keepsake = self.relay.keepsake, None
        if keepsake is not None:
            self._lending.forget(keepsake)

    def refit(self, backend: Backend) -> None:
        """Tell the pool what the session has set on the backend."""
        if backend.member.fit is self.relay.fit:
            return
        backend.member.fit, marks = self.relay.fit, self.relay.variant
        if marks != self._marks:
            self._marks, self.key = marks, self._pool.vary(backend, marks)

    def _linger(self, backend: Backend, leaving: int) -> None:
        """Keep the backend for what it alone knows, until the client or somebody else needs it."""
        self.state = _HOLDING
        if leaving:
            self.summon(calls.SERVER_GONE)
            return
        if backend.cancelling:
            # It must not hit the question: see `_settled`.
            self.settling = True
            backend.on_settled = self._settled
            return
        easily = self.relay.lingers == EASILY
        if self.leaving or self.stopping or not self._lending.lingers(self, backend, easily=easily):
            self.reclaimed()

    def reclaimed(self) -> bool:
        """See `Borrower`."""
        if self.backend is None or self.state is not _HOLDING or not self.relay.lingers or self.call & HALTING:
            return False
        if self.settling or self.relay.in_request():
            return False
        self.state = _BUSY
        self._counters.requests -= 1  # it was counted
        self._counters.transactions -= 1
        try:
            signals = self.relay.reclaimed()
            if self._to_server:
                self.send_server()
            if signals:
                self._heed_server(signals, 0)
        except Exception as error:  # noqa: BLE001 - told to the session
            self.failed_by(error, server=True)
        return True

    def _settled(self) -> None:
        """No cancel can hit the backend any more."""
        raise NotImplementedError

    def _heed_server(self, signals: int, leaving: int) -> bool:
        """Do what flags ask for."""
        raise NotImplementedError
