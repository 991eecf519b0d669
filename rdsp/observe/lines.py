"""Lines on their way out: a writer that never makes the event loop wait, and a gate against floods.

`rdsp.observe.logs` uses both. Neither knows what a line says.

A log stream may be slow or stand still: a terminal that was stopped, a pipe whose reader pauses. Writing to it from
the event loop would stop every session. So lines go through a bounded queue to a thread; what does not fit is dropped
and counted, and the count is written as soon as there is room.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import queue
import select
import threading
from collections.abc import Callable, Hashable
from typing import Final, TextIO

import attrs

_BATCH: Final = 200
_STALLED_LOOK: Final = 0.5


class LineWriter:
    """Writes lines to a stream in a thread of its own, which starts with the first line.

    Invariant: no call but `close` waits for the stream; at most `most` lines are kept. The thread must not outlive a
    fork: make a writer after forking.

    Args:
        stream: where to; its file descriptor is written to directly when it has one, so that a stalled stream cannot
            hold a lock which the interpreter wants when it ends.
        most: lines that may wait.
        lost: makes the line (without its end) that tells how many lines were dropped.
    """

    def __init__(self, stream: TextIO, *, most: int = 4096, lost: Callable[[int], str]) -> None:
        self._stream = stream
        self._descriptor = _descriptor(stream)
        self._lost = lost
        self._queue: queue.Queue[str | None] = queue.Queue(most)
        self._thread: threading.Thread | None = None
        self._closed = False
        self._counting = threading.Lock()
        self._untold = 0
        self.dropped = 0
        """Lines that were not written, since the start."""

    def write(self, text: str) -> None:
        """Take over a line, with its end. Never waits. After `close` lines are dropped."""
        if self._closed:
            self._drop(1)
            return
        try:
            if self._thread is None:
                self._start()
            self._queue.put_nowait(text)
        except (queue.Full, RuntimeError):  # the latter: this machine has no thread left for us
            self._drop(1)

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="rdsp-log", daemon=True)
        thread.start()
        self._thread = thread
        atexit.register(self.close)

    def flush(self) -> None:
        """Nothing: the thread flushes. Here because loggers call it after every line."""

    def close(self, seconds: float = 1.0) -> None:
        """Write what is still there, but wait no longer than so many seconds for the stream. Any number of times."""
        thread, self._closed = self._thread, True
        if thread is None or not thread.is_alive():
            return
        atexit.unregister(self.close)
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=seconds)
        thread.join(seconds)

    def _drop(self, count: int, *, again: int = 0) -> None:
        with self._counting:
            self.dropped += count
            self._untold += count + again

    def _take_untold(self) -> int:
        with self._counting:
            untold, self._untold = self._untold, 0
        return untold

    def _run(self) -> None:
        going = True
        while going:
            batch = [self._queue.get()]
            with contextlib.suppress(queue.Empty):
                while len(batch) < _BATCH:
                    batch.append(self._queue.get_nowait())
            going = None not in batch
            lines = [line for line in batch if line is not None]
            untold = self._take_untold()
            # Lines were lost somewhere between those of this batch; the number comes before all of them.
            told = [self._lost(untold) + "\n"] if untold else []
            try:
                self._put_out("".join(told + lines))
            except (OSError, ValueError):
                # The stream is closed, or its reader is gone. There is nobody to tell, now; later there may be.
                self._drop(len(lines), again=untold)

    def _put_out(self, text: str) -> None:
        if self._descriptor is None:
            self._stream.write(text)
            self._stream.flush()
            return
        rest = memoryview(text.encode(errors="backslashreplace"))
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                # Somebody who shares the stream made it non-blocking.
                select.select([], [self._descriptor], [], _STALLED_LOOK)


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


@attrs.define(eq=False)
class _Window:
    began: float
    passed: int = 0
    held: int = 0


class Gate:
    """Lets so many events of a kind through per second, and counts the others.

    Pure: time comes in. Invariant: every event either passed or is told once by `overdue`. Kinds must be few, as each
    is remembered: never a peer or a user.
    """

    def __init__(self, per_second: int) -> None:
        self._per_second = per_second
        self._windows: dict[Hashable, _Window] = {}
        self._held = 0

    def passes(self, kind: Hashable, now: float) -> bool:
        """Whether an event of this kind may be told. Ask `overdue` first."""
        window = self._windows.get(kind)
        if window is None or (now - window.began >= 1.0 and not window.held):
            window = self._windows[kind] = _Window(now)
        if window.passed < self._per_second:
            window.passed += 1
            return True
        window.held += 1
        self._held += 1
        return False

    def overdue(self, now: float) -> list[tuple[Hashable, int]]:
        """Kinds whose second is over, with the number of events that did not pass; each is told once."""
        if not self._held:
            return []
        found = [(kind, one) for kind, one in self._windows.items() if one.held and now - one.began >= 1.0]
        for kind, window in found:
            del self._windows[kind]
            self._held -= window.held
        return [(kind, window.held) for kind, window in found]
