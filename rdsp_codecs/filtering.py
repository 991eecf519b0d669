"""A filter over the chunks of one direction: what nobody needs to see leaves as it came.

A relay owns one filter per direction and gives it a judge. Frames of uninteresting tags pass, in whatever pieces
they come; interesting ones are shown to the judge, which keeps, drops or replaces them, or stops the stream. When
everything of a chunk is kept, the very same `bytes` object leaves. The filter never looks behind a header.

A chunk may hold thousands of frames, and all of the proxy waits while they are judged: so a filter stops by itself
after as many as it may judge at once, and goes on when it is told to.
"""

from __future__ import annotations

from typing import Final

from rdsp_codecs.errors import WireError
from rdsp_codecs.framing import HEAD, Framing
from rdsp_codecs.scanning import compile_scanner
from rdsp_codecs.verdicts import STOP, Head, Judge

HEAD_BYTES: Final = 4096
"""How much of a frame is shown at least when it is not shown whole."""
_ALL: Final = 1 << 60
_BYTES_AS_FRAME: Final = 9
"""Of a frame that is judged, so many bytes (as a power of 2) count as much as another frame."""


class Wire:
    """What filters need of a `Framing`, made once: its hash and its attributes are looked up by name."""

    __slots__ = ("header", "limits", "max_frame", "scan", "tag_at", "wrong_length")

    def __init__(self, framing: Framing) -> None:
        self.scan: Final = compile_scanner(framing)
        self.header: Final = framing.header
        self.limits: Final = framing.limits()
        self.max_frame: Final = framing.max_frame
        self.wrong_length: Final = framing.wrong_length
        self.tag_at: Final = framing.tag_at


class ChunkFilter:
    """The filter of one direction.

    Invariant: `self._tail` holds, from `self._at` on, only bytes that were neither forwarded nor judged; `self._owed`
    counts bytes of a frame whose beginning was forwarded or dropped already. At most one of the two is in use. What is
    held where a frame was stopped is one piece, which is not copied however often it is stopped in.

    Attributes:
        interest: which frames are judged (see `framing.interest`).
        out: the outbox.
        more: as many frames were judged as may be at once: `resume` goes on.
    """

    __slots__ = (
        "_at",
        "_at_once",
        "_dropping",
        "_header",
        "_judge",
        "_limits",
        "_max_frame",
        "_max_whole",
        "_needed",
        "_owed",
        "_scan",
        "_tag_at",
        "_tail",
        "_tail_size",
        "_wrong_length",
        "interest",
        "more",
        "out",
    )

    def __init__(
        self,
        framing: Framing | Wire,
        interest: bytes,
        judge: Judge,
        out: list[bytes],
        max_whole: int,
        at_once: int = _ALL,
    ) -> None:
        """`out` is the outbox that forwarded bytes are appended to; `max_whole` (bytes) bounds what is held; `at_once`
        (>= 1) how many frames are judged before `more`, every 512 bytes of them counted as another one.
        """
        self.interest = interest
        self.out = out
        self._judge = judge
        wire = framing if isinstance(framing, Wire) else Wire(framing)
        self._scan = wire.scan
        self._header = wire.header
        self._limits = wire.limits
        self._max_frame = wire.max_frame
        self._wrong_length = wire.wrong_length
        self._tag_at = wire.tag_at
        self._max_whole = max_whole
        self._at_once = at_once
        self.more = False
        self._tail: list[bytes] = []
        self._at = 0
        self._tail_size = 0
        self._needed = 0
        self._owed = 0
        self._dropping = False

    @property
    def between_frames(self) -> bool:
        """Nothing of a half-forwarded frame is due. (A frame that is still held whole does not count.)"""
        return not self._owed

    @property
    def empty(self) -> bool:
        """Between frames, and nothing is held."""
        return not self._owed and not self._tail

    @property
    def owes(self) -> bool:
        """The rest of a frame that was begun (or skipped) is due."""
        return self._owed > 0

    @property
    def due(self) -> int:
        """Bytes of a frame that was begun that have not come."""
        return self._owed

    @property
    def kept(self) -> bytes:
        """What is held back, from the beginning of a frame on."""
        return self._joined()

    @property
    def stopped(self) -> bool:
        """What is held is not only a part of a frame: more of the stream is of no use to it."""
        return self._tail_size > 0 and not self._needed

    def skip(self, size: int) -> None:
        """Drop the next `size` bytes (between frames only)."""
        self._owed = size
        self._dropping = True

    def check(self, tag: int, total: int) -> None:
        """Raises `WireError` for a frame that may not be: of no known kind, or longer than its kind can be."""
        limit = self._limits[tag]
        if total > limit:
            if limit == self._max_frame:
                raise self._wrong_length(total)
            msg = "invalid message length" if limit else f"invalid frontend message type {tag}"
            raise WireError(msg)

    @property
    def held(self) -> int:
        """Bytes held back."""
        return self._tail_size

    def push(self, data: bytes) -> None:
        """Take a chunk. Raises `WireError` (the filter is then dead)."""
        if self._owed:
            data = self.pay(data)
            if not data:
                return
        if self._tail:
            self._tail.append(data)
            self._tail_size += len(data)
            if self._tail_size < self._needed:
                return
            self._walk(self.take(), 0)
        else:
            self._walk(data, 0)

    def resume(self) -> None:
        """Go on with what a STOP, or `more`, left behind; a stopped frame is judged again."""
        if len(self._tail) == 1:
            data, at = self._tail[0], self._at
            self._clear()
            self._walk(data, at)
        elif self._tail:
            self._walk(self.take(), 0)

    def pay(self, data: bytes) -> bytes:
        """The rest of a frame that was begun: forward (or drop) it, return what stands behind it."""
        size = len(data)
        if size <= self._owed:
            self._owed -= size
            if not self._dropping:
                self.out.append(data)
            return b""
        rest = data[self._owed :]
        if not self._dropping:
            self.out.append(data[: self._owed])
        self._owed = 0
        return rest

    def take(self) -> bytes:
        """Give up what is held (between frames); the filter is then empty."""
        data = self._joined()
        self._clear()
        return data

    def reset(self) -> None:
        """The stream has ended, wherever it stood: another one begins."""
        self._clear()
        self._owed = 0

    def _joined(self) -> bytes:
        data = self._tail[0] if len(self._tail) == 1 else b"".join(self._tail)
        return data[self._at :] if self._at else data

    def _clear(self) -> None:
        self._tail.clear()
        self._tail_size = self._needed = self._at = 0
        self.more = False

    def _walk(self, data: bytes, position: int) -> None:  # noqa: C901 - the hot path stays in one frame
        scan, judge, end, tag_at = self._scan, self._judge, len(data), self._tag_at
        kept, left = position, self._at_once
        dropping, limits = False, self._limits
        while True:
            position, total = scan(data, position, end, self.interest)
            if not total:
                break
            shown, tag = end - position, data[position + tag_at]
            if total > limits[tag]:
                self.check(tag, total)
            if shown >= total:
                shown = total
            else:
                needed = self._needed_of(tag, total)
                if shown < needed:
                    self._hold(data, kept, position, needed)
                    return
            if left <= 0:
                self._hold(data, kept, position, 0)
                self.more = True
                return
            left -= 1 + (shown >> _BYTES_AS_FRAME)
            verdict = judge(tag, data, position, shown, total)
            if verdict is not None:
                if verdict is STOP:
                    self._hold(data, kept, position, 0)
                    return
                if position > kept:
                    self.out.append(data[kept:position])
                if verdict:
                    self.out.append(verdict)
                dropping = shown < total and type(verdict) is not Head
                kept = position + shown
            position += total
            if position > end:
                break
        if position > end:
            self._owed = position - end
            self._dropping = dropping
            self._emit(data, kept, end)
        else:
            self._hold(data, kept, position, self._header)

    def _needed_of(self, tag: int, total: int) -> int:
        """How many bytes of an interesting frame must be there before it is judged."""
        if total <= self._max_whole and self.interest[tag] != HEAD:
            return total
        return min(total, HEAD_BYTES)

    def _emit(self, data: bytes, start: int, end: int) -> None:
        if start == 0 and end == len(data):
            self.out.append(data)
        elif start < end:
            self.out.append(data[start:end])

    def _hold(self, data: bytes, kept: int, position: int, needed: int) -> None:
        """Forward what was kept up to `position`, hold the rest until `needed` bytes of it are there."""
        self._emit(data, kept, position)
        if position < len(data):
            if needed:
                self._tail.append(data[position:] if position else data)
            else:
                self._tail.append(data)
                self._at = position
            self._tail_size = len(data) - position
            self._needed = needed
