"""The shared listeners of one proxy: for each user and database, one backend that hears for the sessions that listen.

The first session that needs an ear (`Relay.ear_key`) gives its backend for it; those that come later keep theirs until
the ear hears for them, too. What an ear hears and for whom is the codec's (`rdsp_codecs.api.Ear`); this module holds
the backends. When one is lost, the sessions that depended on it are ended: what was said meanwhile nobody knows.
"""

from __future__ import annotations

import math
import os
import traceback
from collections.abc import Callable
from typing import Any, Final

import trio

from rdsp.net.moving import pushed, received
from rdsp.net.switchboard import READABLE, WRITABLE, Board
from rdsp.net.transport import WOULD_BLOCK
from rdsp.observe.dispatch import Observers
from rdsp.pool.backend import Backend, Borrower
from rdsp.pool.pool import Pool
from rdsp.session import calls
from rdsp.session.bell import Bell
from rdsp.session.machine import State
from rdsp.session.reading import CHUNK, READS
from rdsp.session.splice import Splice
from rdsp_codecs import moves
from rdsp_codecs.api import Codec, Ear
from rdsp_codecs.errors import CodecError
from rdsp_codecs.transaction import Transaction

MOST_UNREAD: Final = 1 << 20
"""Bytes that may wait for a client that does not read, if `max_held_bytes` allows so many."""
_LOOK: Final = 5.0
"""Seconds between looks at every ear: a server that has not answered by the next one, or shown a mark, is lost."""


def heard(splice: Splice, most: int) -> None:
    """The ear has something for a session. `most`: bytes that may wait for a client that does not read."""
    relay = splice.relay
    if splice.call & calls.ENDING:
        return
    try:
        signals = relay.nudged()
        if relay.to_server:
            splice.state = State.BUSY
            splice.send_server()
        if len(splice.client_rest) + relay.kept > most:
            splice.summon(calls.OVERHEARD)
        elif relay.to_client:
            splice.touch()
            splice.send_client()
        if signals:
            splice.report(signals)
        splice.read_on()
    except Exception as error:  # noqa: BLE001 - raised again in the session's task
        splice.failed_by(error, server=False)


class Hearer(Borrower):
    """One shared listener.

    Invariant: `ear` is there exactly while `backend` is; the backend is borrowed, and never given back.
    """

    def __init__(
        self, pool: Pool, board: Board, observers: Observers, backend: Backend, ear: Ear, most: Callable[[], int]
    ) -> None:
        self.members: dict[Any, Splice] = {}
        """By relay."""
        self.backend: Backend | None = backend
        self.ear: Ear | None = ear
        self._most = most
        self._pool, self._board, self._observers = pool, board, observers
        self._rest = b""
        self._answers = True
        """It has said something since it was last asked for a sign of life."""
        self._marks: dict[Any, object] = {}
        backend.borrower = self
        self._send()
        board.again(self._again, READABLE)

    def add(self, splice: Splice) -> None:
        """Hear for the session."""
        self.members[splice.relay] = splice
        if self.ear is not None:
            if self.ear.subscribe(splice.relay):
                heard(splice, self._most())
            self._send()

    def remove(self, splice: Splice) -> None:
        """The session is gone, or another hears for it. Without sessions the backend is closed."""
        self.members.pop(splice.relay, None)
        if self.ear is None or self.backend is None:
            return
        self.ear.leave(splice.relay)
        if self.members:
            self._send()
            return
        backend, self.backend, self.ear = self.backend, None, None
        self._pool.abandon(backend, Transaction.NONE, clean=False, in_request=False)

    def server_event(self, mask: int) -> None:
        """See `rdsp.pool.backend.Borrower`."""
        try:
            if self._rest and mask & WRITABLE:
                self._send()
            if mask & ~WRITABLE:
                self._read(mask)
        except CodecError as error:
            self.lost(str(error))
        except Exception as error:  # noqa: BLE001 - the fence around a step; it costs the ear
            self._observers.trouble(self._pool.name, "".join(traceback.format_exception(error)))
            self.lost(f"a fault of the program: {error!r}")

    def _again(self, mask: int) -> None:
        if self.backend is not None:
            self.server_event(mask)

    def _read(self, mask: int) -> None:
        for _ in range(READS):
            if self.backend is None or self.ear is None:
                return
            try:
                data = received(self.backend.recv, CHUNK)
            except WOULD_BLOCK:
                return
            if not data:
                self.lost("the server closed it")
                return
            self._answers = True
            for relay in self.ear.from_server(data):
                splice = self.members.get(relay)
                if splice is not None:
                    heard(splice, self._most())
            self._send()
        self._board.again(self._again, mask & ~WRITABLE)

    def _send(self) -> None:
        backend, ear = self.backend, self.ear
        if backend is None or ear is None:
            return
        self._rest += b"".join(ear.to_server)
        ear.to_server.clear()
        self._rest, lost = pushed(backend.send, self._rest)
        if lost:
            self._board.again(self._again, READABLE)  # the end of the file tells the rest

    def lost(self, why: str) -> None:
        """The backend is lost, or cannot be believed."""
        backend, self.backend, self.ear = self.backend, None, None
        if backend is not None:
            self._pool.lost(backend, f"as a listener: {why}")
        for relay, splice in list(self.members.items()):
            if relay.needs_ear:
                splice.summon(calls.DEAF)
            else:
                relay.lost_ear()

    def look(self) -> None:
        """Every few seconds: whether it is alive, at the right server, and shows what it is waited for to show."""
        if self.ear is None or self.backend is None:
            return
        if self._pool.moved_on(self.backend):
            self.lost("database connections go to another server now")
            return
        if not self._answers:
            self.lost("it does not answer")
            return
        marks = {relay: relay.mark for relay in self.members if relay.mark is not None}
        if any(self._marks.get(relay) is mark for relay, mark in marks.items()):
            self.lost("it does not hear what was said elsewhere")
            return
        self._marks = marks
        self._answers = False
        # What a session's UNLISTEN has left to say goes out with it.
        self.ear.ping()
        self._send()


class Ears:
    """All shared listeners of one proxy.

    Invariant: a session is a member of one hearer at most; a hearer without members is closed.
    """

    def __init__(self, codec: Codec, pool: Pool, board: Board, observers: Observers, most: Callable[[], int]) -> None:
        """`most`: bytes that may wait for a client that does not read."""
        self._codec, self._pool, self._board, self._observers = codec, pool, board, observers
        self._most = most
        self._hearers: dict[Any, Hearer] = {}
        self._of: dict[Splice, Hearer] = {}
        self._bell = Bell()

    def subscribe(self, splice: Splice) -> None:
        """The session listens, and keeps its backend for that alone. Nothing happens where it needs no ear."""
        key = splice.relay.ear_key
        if key is None:
            return
        hearer = self._hearers.get(key)
        if hearer is None or hearer.ear is None:
            hearer = self._adopt(splice)
            if hearer is None:
                return
            self._hearers[key] = hearer
            self._bell.ring()
        if self._of.get(splice) is not hearer:
            self.leave(splice)
            self._of[splice] = hearer
            splice.has_ear = True
        hearer.add(splice)

    def _adopt(self, splice: Splice) -> Hearer | None:
        """Make the session's backend an ear: so there is always one for the first who listens. None: not now."""
        backend, relay = splice.backend, splice.relay
        # Every ear takes a backend away from all others.
        if sum(hearer.ear is not None for hearer in self._hearers.values()) >= self._pool.book.statistics().limit // 2:
            return None
        if backend is None or splice.state is not State.HOLDING or relay.in_request():
            return None
        if splice.server_rest or backend.cancelling or backend.suspect:
            return None
        ear = self._codec.ear(backend.state, os.urandom)
        ear.adopt(relay)
        splice.let_go(backend)
        splice.report(moves.UNPINNED)
        return Hearer(self._pool, self._board, self._observers, backend, ear, self._most)

    def leave(self, splice: Splice) -> None:
        """The session is gone. Any number of times."""
        splice.has_ear = False
        hearer = self._of.pop(splice, None)
        if hearer is not None:
            hearer.remove(splice)
            for key in [key for key, one in self._hearers.items() if one is hearer and one.ear is None]:
                del self._hearers[key]

    async def run(self) -> None:
        """Look after the listeners until cancelled."""
        while True:
            with trio.move_on_after(_LOOK if self._hearers else math.inf):
                await self._bell.wait()
                continue
            for hearer in list(self._hearers.values()):
                hearer.look()
