"""Byte streams in memory, in pairs, with scripted trouble, and the switchboard for them.

Tests put whole proxies on them: no sockets, no threads, time by Trio's clock, so that a virtual hour under an
autojump clock takes a moment and every run is the same. They are as strict as Linux and stricter where that finds
faults: a closed peer is written to once before the reset comes back, closing with unread bytes resets, a transport
that is closed while it is watched is an error. Production code never makes one.
"""

from __future__ import annotations

import errno
import itertools
import math
import ssl
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import attrs
import trio

from rdsp.net.layered import Layered
from rdsp.net.overlay import Overlay
from rdsp.net.switchboard import LEAVING, READABLE, WRITABLE
from rdsp_codecs.layering import Layer
from rdsp_codecs.steps import TlsFacts, TlsSide

if TYPE_CHECKING:
    from rdsp.net.memory_board import MemoryBoard

_numbers = itertools.count(1)


@attrs.frozen
class Script:
    """How the bytes that one end writes travel.

    Attributes:
        split: sizes into which they are cut, in turn, for ever; empty: as they were written.
        accept: how many bytes one `send` takes at most, in turn, for ever; empty: all that fit.
        delay: seconds from `send` until they can be read.
        gap: seconds between two pieces, > 0.
        capacity: bytes that may be under way or unread; over it `send` would block.
    """

    split: Sequence[int] = ()
    accept: Sequence[int] = ()
    delay: float = 0.0
    gap: float = 1e-6
    capacity: int = 1 << 16


class _Pipe:
    """One direction. Invariant: `flying` is in order of time; what landed can be read, what flies cannot."""

    __slots__ = (
        "_accept",
        "_last_due",
        "_sizes",
        "broken",
        "ended",
        "fin",
        "flying",
        "held",
        "landed",
        "script",
        "size",
    )

    def __init__(self, script: Script) -> None:
        self.script = script
        self._sizes: Iterator[int] | None = itertools.cycle(script.split) if script.split else None
        self._accept: Iterator[int] | None = itertools.cycle(script.accept) if script.accept else None
        self._last_due = 0.0
        self.flying: deque[tuple[float, bytes | None]] = deque()
        self.landed: deque[bytes] = deque()
        self.size = 0
        self.fin = False
        """The writer has ended the stream; `ended`: and the reader can know."""
        self.ended = False
        self.broken = False
        self.held = False

    @property
    def room(self) -> int:
        return self.script.capacity - self.size

    def accepts(self) -> int:
        return next(self._accept) if self._accept is not None else 1 << 60

    def push(self, data: bytes, now: float) -> None:
        """Bytes, or the end of the stream (b""), set out."""
        script = self.script
        due = max(now + script.delay, self._last_due)
        if not data:
            self.fin = True
            self.flying.append((due, None))
        elif self._sizes is None:
            self.flying.append((due, data))
        else:
            at = 0
            while at < len(data):
                size = next(self._sizes)
                self.flying.append((due, data[at : at + size]))
                at += size
                due += script.gap
        self.size += len(data)
        self._last_due = due

    def land(self, now: float) -> bool:
        """Let arrive what is due. Returns whether anything did."""
        flying = self.flying
        if not flying or self.held or flying[0][0] > now:
            return False
        while flying and flying[0][0] <= now:
            data = flying.popleft()[1]
            if data is None:
                self.ended = True
            else:
                self.landed.append(data)
        return True

    def next_due(self) -> float:
        return self.flying[0][0] if self.flying and not self.held else math.inf

    def read(self, limit: int) -> bytes:
        landed = self.landed
        data = b"".join(landed) if len(landed) > 1 else landed[0]
        landed.clear()
        if len(data) > limit:
            landed.append(data[limit:])
            data = data[:limit]
        self.size -= len(data)
        return data

    def clear(self) -> None:
        self.flying.clear()
        self.landed.clear()
        self.size = 0


class MemoryTransport:
    """One end of a stream in memory; see `rdsp.net.transport.Transport`.

    Invariant: every arrival, and every byte of room after a `send` that could not go on, is one edge: to the board
    that watches, and to the tasks that wait.
    """

    def __init__(self, peer: str, incoming: _Pipe, outgoing: _Pipe, *, local: bool) -> None:
        self.peer = peer
        self.local = local
        self.tls: TlsFacts | None = None
        self.records: Overlay | None = None
        self.in_handshake = False
        self.other: MemoryTransport
        self.board: MemoryBoard | None = None
        self.look_due = math.inf
        """When the board will look at this transport next; the board's."""
        self.closed = False
        self._in = incoming
        self._out = outgoing
        self._number = next(_numbers)
        self._tasks: list[trio.lowlevel.Task] = []
        self._starved = False
        self._write_after = -math.inf
        self._offered: bytes | None = None
        self._reset_told = False
        self._into_void = False

    # -- Transport ------------------------------------------------------------------------------------------------

    def recv(self, limit: int, /) -> bytes:
        """See `Transport`."""
        self._check_open()
        self._land()
        pipe = self._in
        if pipe.landed:
            data = pipe.read(limit)
            self.other._room_made()
            return data
        if pipe.ended:
            return b""
        if pipe.broken:
            if self._reset_told:
                return b""
            self._reset_told = True
            raise ConnectionResetError(errno.ECONNRESET, "reset by the peer")
        raise BlockingIOError(errno.EAGAIN, "nothing to read")

    def peek(self, limit: int, /) -> bytes:
        """See `Transport`."""
        self._check_open()
        self._land()
        return b"".join(self._in.landed)[:limit] if self._in.landed else self.recv(limit)

    def send(self, data: bytes, /) -> int:
        """See `Transport`. Raises `RuntimeError` when other bytes are offered than those that would have blocked."""
        self._check_open()
        self._land()
        offered, self._offered = self._offered, None
        if offered is not None and bytes(data[: len(offered)]) != offered:
            msg = "other bytes were offered after a send that would have blocked"
            raise RuntimeError(msg)
        if self._in.broken or self._out.fin or self._into_void:
            raise BrokenPipeError(errno.EPIPE, "the stream is broken")
        if self.other.closed:
            # The peer's machine answers with a reset, which is noticed later.
            self._into_void = True
            self._break(self)
            return len(data)
        now = trio.current_time()
        room = min(self._out.room, self._out.accepts()) if now >= self._write_after else 0
        if room <= 0:
            self._starved = True
            self._offered = bytes(data)
            raise BlockingIOError(errno.EAGAIN, "no room")
        taken = bytes(data[:room])
        if len(taken) < len(data):
            self._starved = True
            if self._out.room > len(taken):
                # It took less than would fit, as a script said: room comes a little later.
                self._write_after = now + self._out.script.gap
                self._wake_at(self._write_after)
        self._out.push(taken, now)
        self.other._arriving()
        return len(taken)

    def fileno(self) -> int:
        """See `Transport`."""
        return -1 if self.closed else self._number

    def has_unread(self) -> bool:
        """See `Transport`."""
        if self.closed or (self.records is not None and self.records.unread):
            return True
        return self._has_arrived()

    def _has_arrived(self) -> bool:
        self._land()
        return bool(self._in.landed or self._in.ended or self._in.broken)

    async def wait_readable(self) -> None:
        """See `Transport`."""
        await trio.lowlevel.checkpoint()
        if self.records is not None and self.records.ready:
            return
        while not self.closed and not self._has_arrived():
            with trio.move_on_at(self._in.next_due()):
                await self._park()

    async def wait_writable(self) -> None:
        """See `Transport`."""
        await trio.lowlevel.checkpoint()
        while not self._can_write():
            with trio.move_on_at(max(self._write_after, trio.current_time()) if self._out.room > 0 else math.inf):
                await self._park()

    def begin_tls(
        self, side: TlsSide, context: ssl.SSLContext, server_hostname: str | None, within: Layer | None = None
    ) -> None:
        """See `Transport`."""

    def end_tls(self) -> None:
        """See `Transport`."""

    def shake(self) -> TlsFacts:
        """Raises `ssl.SSLError`: there is no TLS in memory."""
        raise ssl.SSLError("there is no TLS in memory")

    def put_on(self, layer: Layer, early: bytes) -> None:
        """See `Transport`."""
        self.records = layered = Layered(layer, early, self.recv, self.send, self.records)
        self.recv, self.send = layered.recv, layered.send  # type: ignore[method-assign]

    def shutdown(self) -> None:
        """See `Transport`: the peer may go on writing."""
        if not self._out.fin:
            self._out.push(b"", trio.current_time())
            self.other._arriving()

    def close(self) -> None:
        """See `Transport`. Bytes that nobody has read make it a reset, as on Linux."""
        if self.closed:
            return
        if self._in.landed or self._in.flying:
            self.reset()
            return
        self._mark_closed()
        if not self._out.fin and not self._out.broken:
            self._out.push(b"", trio.current_time())
            self.other._arriving()
        self.other._room_made()

    def reset(self) -> None:
        """See `Transport`."""
        if self.closed:
            return
        self._mark_closed()
        if not self.other.closed:
            self._break(self.other)

    # -- trouble, for tests ---------------------------------------------------------------------------------------

    def hold(self) -> None:
        """What this end writes does not arrive, until `let_go`."""
        self._out.held = True

    def let_go(self) -> None:
        """See `hold`."""
        self._out.held = False
        self.other._arriving()

    @property
    def unread_by_peer(self) -> int:
        """Bytes written here that the peer has not read."""
        return self._out.size

    # -- inside ---------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self.closed:
            raise OSError(errno.EBADF, "the transport is closed")

    def _mark_closed(self) -> None:
        if self.board is not None:
            msg = f"{self!r} is closed while a board watches it"
            raise RuntimeError(msg)
        self.closed = True
        self._in.clear()
        self._edge()

    @staticmethod
    def _break(end: MemoryTransport) -> None:
        """`end` gets a reset: what is under way to it is lost, what it has not read yet stays."""
        end._in.flying.clear()
        end._in.size = sum(map(len, end._in.landed))
        if not end._in.ended:
            end._in.broken = True
        end._out.clear()
        end._into_void = True
        end._edge()

    def _can_write(self) -> bool:
        if self.closed or self.other.closed or self._in.broken or self._into_void:
            return True
        return self._out.room > 0 and trio.current_time() >= self._write_after

    def _land(self) -> None:
        if self._in.land(trio.current_time()):
            self._edge()

    def _arriving(self) -> None:
        """The peer has written something."""
        self._land()
        if self._in.flying:
            self._wake_at(self._in.next_due())

    def _room_made(self) -> None:
        # Before `_write_after` this would be an edge without room; the timer set for then makes the real one.
        if self._starved and not self.closed and self._can_write():
            self._starved = False
            self._edge()

    def _edge(self) -> None:
        if self.board is not None:
            self.board.ready(self)
        self._wake_tasks()

    def _wake_at(self, due: float) -> None:
        if self.board is not None:
            self.board.look_at(due, self)
        self._wake_tasks()  # they work their deadline out anew

    def _wake_tasks(self) -> None:
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            trio.lowlevel.reschedule(task)

    async def _park(self) -> None:
        task = trio.lowlevel.current_task()
        self._tasks.append(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._tasks.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def look(self) -> float:
        """For the board, when something was to happen: what is due happens. Returns when to look again."""
        self._land()
        now = trio.current_time()
        if self._starved and self._write_after <= now and self._out.room > 0:
            self._room_made()
        again = self._in.next_due()
        return min(again, self._write_after) if self._starved and self._write_after > now else again

    def mask(self) -> int:
        """For the board: what is ready now."""
        mask = READABLE if self.has_unread() else 0
        if self._can_write():
            mask |= WRITABLE
        if self._in.ended or self._in.broken or self._into_void:
            mask |= LEAVING
        return mask

    def __repr__(self) -> str:
        return f"<MemoryTransport {self._number} {self.peer}{' closed' if self.closed else ''}>"


def memory_pair(
    name: str, left: Script | None = None, right: Script | None = None, *, local: bool = True
) -> tuple[MemoryTransport, MemoryTransport]:
    """Two ends of one stream. `left` scripts what the first end writes, `right` what the second one does."""
    there, back = _Pipe(left or Script()), _Pipe(right or Script())
    first = MemoryTransport(name, back, there, local=local)
    second = MemoryTransport(name, there, back, local=local)
    first.other, second.other = second, first
    return first, second
