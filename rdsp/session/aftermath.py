"""What still runs for a client that has left: read to its end, so that its backend need not be closed.

A new backend costs the server a process and a login. A client that asks, does not wait and comes again, as those with
short timeouts do, would keep the backends busy with that. So its splice goes on reading, and nobody gets the answer; at
the end of the request the backend is given back, or reset, as at any other. What is not over within `SECONDS` and
`MOST` bytes is cancelled and its backend closed. `run` begins it. What the relay had taken before the client left, and
held until an answer came, still goes out; no more is read, and no other backend is borrowed.
"""

from __future__ import annotations

import traceback
from typing import Final

import trio

from rdsp.pool.backend import Backend
from rdsp.pool.pool import Pool
from rdsp.session import calls
from rdsp.session.context import SessionContext
from rdsp.session.errands import Sleeper
from rdsp.session.machine import State
from rdsp.session.splice import Splice
from rdsp_codecs.errors import CodecError

SECONDS: Final = 0.2
"""About what a login takes on a busy machine, with all that the new server process then has to read again."""
MOST: Final = 1 << 20


def may_follow(splice: Splice) -> bool:
    """Whether a client that leaves now leaves something whose end can be waited for, and a backend worth it."""
    backend, relay = splice.backend, splice.relay
    if backend is None or splice.state is not State.BUSY or splice.fault is not None or splice.has_ear:
        return False
    if backend.cancelling or backend.suspect or splice.server_rest or relay.pins or relay.cut_short():
        return False
    return relay.in_request() and relay.owes() and not relay.endless()


def abandon(splice: Splice, backend: Backend, pool: Pool) -> None:
    """The client of a splice has left, or is sent away, and `backend` is not to serve it any more."""
    relay = splice.relay
    try:
        cut = relay.cut_short() or bool(splice.server_rest)
        in_request = cut or relay.in_request()
        # Where a relay that failed stands, nobody knows.
        clean = relay.resettable and not relay.in_doubt() and splice.fault is None
        splice.refit(backend)
    except Exception:
        pool.lost(backend, "a fault of the program, when its session ended")
        raise
    pool.abandon(backend, relay.transaction, clean=clean, in_request=in_request, cut=cut)


class Aftermath(Sleeper):
    """Follows one splice whose client is gone.

    Invariant: until it is over the splice has the backend, or has given it back itself; afterwards it has none.
    """

    __slots__ = ("_context", "_due", "_left", "_over", "_splice")

    def __init__(self, context: SessionContext, splice: Splice) -> None:
        super().__init__()
        self._context = context
        self._splice = splice
        self._left = MOST
        self._over = False
        self._due = trio.current_time() + SECONDS
        context.errands.call(self, self._due)
        splice.outlive(self._swallow, self._call)  # last of all: until then the session gives the backend back

    def _swallow(self, data: bytes) -> int:
        """In place of the client."""
        self._left -= len(data)
        if self._left < 0:
            self._call()
        return len(data)

    def _call(self) -> None:
        """A step of the splice's wants a turn."""
        self.want_turn(self._context.board)

    def woken(self, mask: int, /) -> None:
        """A turn, or the time is over."""
        self.called = False
        if self._over:
            return
        try:
            self._over = self._turn()
        except Exception as error:  # noqa: BLE001 - the fence around it: the fault must not reach others
            self._over = True
            backend, self._splice.backend = self._splice.backend, None
            if backend is not None:
                self._context.pool.lost(backend, "a fault of the program, when its client had left")
            self._report(error)
        if self._over:
            self._context.errands.forget(self)
            self._splice.call |= calls.ENDING
            self._splice.wake = _nobody
            del self._splice  # which has methods of ours: the two of them would be left to the garbage collector
        else:
            self._context.errands.call(self, self._due)

    def _turn(self) -> bool:
        """Returns whether there is nothing more to follow."""
        splice, pool = self._splice, self._context.pool
        call, splice.call = splice.call, 0
        backend = splice.backend
        if backend is None:
            splice.forget_keepsake()
            return True
        runs = splice.state is State.BUSY and not call & (calls.SERVER_GONE | calls.FAULT)
        if runs and self._left >= 0 and trio.current_time() < self._due:
            return False
        splice.backend = None
        fault = splice.fault
        if call & calls.SERVER_GONE:
            pool.lost(backend, "the server closed it while it was borrowed")
        elif fault is not None and splice.fault_of_server and isinstance(fault, CodecError):
            pool.lost(backend, f"it broke the protocol: {fault}")
        else:
            try:
                abandon(splice, backend, pool)
            finally:
                if fault is not None:
                    self._report(fault)
        return True

    def _report(self, error: Exception) -> None:
        self._context.observers.trouble(self._context.pool.name, "".join(traceback.format_exception(error)))


def _nobody() -> None:
    """Has no turns."""
