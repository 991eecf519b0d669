"""The two streams of packets of a session in steady state, cut as little as can be.

Rows leave in the pieces in which they came; what has to be understood is held until it is whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mypy_extensions import i64

from rdsp_codecs.errors import FrameTooBig, WireError
from rdsp_codecs.mysql.dialogue import Dialogue, Part, Phase
from rdsp_codecs.mysql.framing import FULL, HEADER
from rdsp_codecs.mysql.responses import (
    SERVER_STATUS_ANSI_QUOTES,
    SERVER_STATUS_AUTOCOMMIT,
    SERVER_STATUS_IN_TRANS,
    SERVER_STATUS_IN_TRANS_READONLY,
    SERVER_STATUS_NO_BACKSLASH_ESCAPES,
)

_MOST: Final = 1 << 24
_AT_ONCE: Final = 128
_ROWS: Final = Phase.ROWS
LASTING: Final = (
    SERVER_STATUS_IN_TRANS
    | SERVER_STATUS_AUTOCOMMIT
    | SERVER_STATUS_NO_BACKSLASH_ESCAPES
    | SERVER_STATUS_IN_TRANS_READONLY
    | SERVER_STATUS_ANSI_QUOTES
)
"""Flags of the session. The others are about one result, and come at its end."""
_SPECIAL: Final = 0xFE
"""Rows whose first byte is less are nothing else."""

Heard = Callable[[Part, bytes, int], bytes | None]
"""`heard(part, packet, header)`: an understood packet; what goes out in its place, None: itself."""


class ServerStream:
    """The answers of one backend.

    Invariant: `_held` begins with a packet's header, or `_owed` bytes of a packet that was begun are due before it.

    Args:
        out: the outbox.
        heard: called for what is not a row or a definition, and for what ends an answer, of which more may be due.

    Attributes:
        dialogue: follows the answer.
        number: of the last packet that was seen.
        silent: what is said is ours, and goes nowhere. It may become so, and end, while a packet is `heard`.
    """

    __slots__ = ("_continues", "_heard", "_held", "_out", "_owed", "dialogue", "number", "silent")

    def __init__(self, out: list[bytes], heard: Heard) -> None:
        self._out = out
        self._heard = heard
        self._held = b""
        self._owed = 0
        self._continues = False
        self.dialogue = Dialogue(0)
        self.number = 0
        self.silent = False

    def reset(self, flags: int, status: int | None) -> None:
        """Another backend's stream begins."""
        self._held = b""
        self._owed = 0
        self._continues = False
        self.dialogue = Dialogue(flags, status)

    @property
    def between(self) -> bool:
        """Nothing of a packet is half here or half sent on."""
        return not self._held and self.whole

    @property
    def whole(self) -> bool:
        """Nothing of a packet was half sent on."""
        return not self._owed and not self._continues

    def feed(self, data: bytes) -> bytes:  # noqa: C901 - the walk over rows stays in one frame
        """Take a chunk. Returns what stands behind as many packets as are looked at at once, to be fed again; b"".

        Raises `WireError`.
        """
        if self._held:
            data, self._held = self._held + data, b""
        kept: i64 = 0
        at: i64 = 0
        size: i64
        first: i64
        end: i64 = len(data)
        left, dialogue = _AT_ONCE, self.dialogue
        while True:
            if self._owed:
                step: i64 = end - at if self._owed > end - at else self._owed
                self._owed -= step
                at += step
                if self._owed:
                    break
            if not self._continues and dialogue.phase is _ROWS and not self.silent:
                while at + HEADER < end and data[at + HEADER] < _SPECIAL:
                    size = data[at] | data[at + 1] << 8 | data[at + 2] << 16
                    if size == FULL or not size:
                        break
                    self.number = data[at + 3]
                    at += HEADER + size
                if at > end:
                    self._owed, at = at - end, end
                    break
            if end - at < HEADER:
                break
            size = data[at] | data[at + 1] << 8 | data[at + 2] << 16
            if self._continues:
                self._continues, self._owed, self.number = size == FULL, size, data[at + 3]
                at += HEADER
                continue
            if size and end - at == HEADER:
                break
            first = data[at + HEADER] if size else -1
            if left <= 0:
                self._emit(data, kept, at)
                return data[at:]
            left -= 1
            if dialogue.phase == Phase.NOTHING and first != 0xFF:
                msg = "a packet that nothing has asked for"
                raise WireError(msg)
            if size == FULL or not (self.silent or dialogue.wants(first, size)):
                if first == 0xFF:
                    msg = "an error of 16 MB"
                    raise WireError(msg)
                self.number = data[at + 3]
                part = dialogue.told(data[at + HEADER : at + HEADER + 1] if size else b"", size)
                at += HEADER
                self._owed, self._continues = size, size == FULL
                if dialogue.over:
                    self._heard(part, b"", self.number)
                continue
            if size > _MOST:
                raise FrameTooBig(_MOST)
            if end - at < HEADER + size:
                break
            start, at = at, at + HEADER + size
            self.number = data[start + 3]
            packet = data[start + HEADER : at]
            silent = self.silent
            instead = self._heard(dialogue.told(packet, size), packet, self.number)
            if silent:
                kept = at
            elif instead is not None:
                self._out += [data[kept:start], instead] if kept < start else [instead]
                kept = at
            elif self.silent:
                self._out.append(data[kept:at])
                kept = at
        if self.silent:
            kept = at
        self._emit(data, kept, at)
        self._held = data[at:]
        return b""

    def _emit(self, data: bytes, start: i64, end: i64) -> None:
        if self.silent:
            return
        if start == 0 and end == len(data):
            self._out.append(data)
        elif start < end:
            self._out.append(data[start:end])
