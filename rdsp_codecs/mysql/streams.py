"""The two streams of packets of a session in steady state, cut as little as can be.

Rows leave in the pieces in which they came; what has to be understood is held until it is whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rdsp_codecs.errors import FrameTooBig, WireError
from rdsp_codecs.mysql.capabilities import CLIENT_DEPRECATE_EOF
from rdsp_codecs.mysql.dialogue import Dialogue, Part, Phase
from rdsp_codecs.mysql.framing import FULL, HEADER, packets
from rdsp_codecs.mysql.responses import (
    SERVER_SESSION_STATE_CHANGED,
    SERVER_STATUS_ANSI_QUOTES,
    SERVER_STATUS_AUTOCOMMIT,
    SERVER_STATUS_CURSOR_EXISTS,
    SERVER_STATUS_IN_TRANS,
    SERVER_STATUS_IN_TRANS_READONLY,
    SERVER_STATUS_NO_BACKSLASH_ESCAPES,
    Eof,
    eof,
    read_ok,
)

_MOST: Final = 1 << 24
_AT_ONCE: Final = 128
_ROWS: Final = Phase.ROWS
_LISTS: Final = (Phase.DEFINITIONS, Phase.PARAMETERS)
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
        silent: what is said is ours, and goes nowhere.
        shift: how many packets of this answer were put in for a client that expects an EOF behind definitions.
        adds: flags of ours that are put to the server's in what is said at the end of a result.
    """

    __slots__ = (
        "_after_definitions", "_continues", "_heard", "_held", "_known", "_out", "_owed", "_translates", "adds",
        "dialogue", "number", "shift", "silent",
    )  # fmt: skip

    def __init__(self, out: list[bytes], heard: Heard) -> None:
        self._out = out
        self._heard = heard
        self._held = b""
        self._owed = 0
        self._continues = False
        self.dialogue = Dialogue(0)
        self.number = 0
        self.silent = False
        self.shift = self.adds = 0
        self._known = SERVER_STATUS_AUTOCOMMIT
        """Flags of the session, as they were told last."""
        self._translates = self._after_definitions = False

    def begin(self, number: int) -> None:
        """The client's command ended with a packet of this number."""
        self.number, self.shift = number, 0
        self._heed_status()

    def _heed_status(self) -> None:
        status = self.dialogue.status
        if status is not None:
            self._known = status & LASTING

    def reset(self, flags: int, status: int | None, *, classic: bool = False) -> None:
        """Another backend's stream begins. `classic`: the client has no CLIENT_DEPRECATE_EOF."""
        self._translates = classic and bool(flags & CLIENT_DEPRECATE_EOF)
        self._after_definitions = False
        self.shift = 0
        self._held = b""
        self._owed = 0
        self._continues = False
        self.dialogue = Dialogue(flags, status)
        self._known = SERVER_STATUS_AUTOCOMMIT if status is None else status & LASTING

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
        if self._translates and not self.silent:
            return self._translate(data)
        if self._held:
            data, self._held = self._held + data, b""
        kept = at = 0
        end, left, dialogue = len(data), _AT_ONCE, self.dialogue
        while True:
            if self._owed:
                step = min(self._owed, end - at)
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
            packet = data[at + HEADER : at + HEADER + size]
            self.number = data[at + 3]
            part = dialogue.told(packet, size)
            silent = self.silent
            instead = self._heard(part, packet, self.number)
            at += HEADER + size
            if instead is not None or silent:
                if not silent:
                    self._emit(data, kept, at - HEADER - size)
                    if instead:
                        self._out.append(instead)
                kept = at
        if self.silent:
            kept = at
        self._emit(data, kept, at)
        self._held = data[at:]
        return b""

    def _translate(self, data: bytes) -> bytes:  # noqa: C901 - the same walk, with numbers to be changed
        """The same for a client that expects EOFs where this server sends none, or an OK."""
        if self._held:
            data, self._held = self._held + data, b""
        buffer = bytearray(data)
        kept = at = 0
        end, left, dialogue = len(data), _AT_ONCE, self.dialogue
        while True:
            if self._owed:
                step = min(self._owed, end - at)
                self._owed -= step
                at += step
                if self._owed:
                    break
            if dialogue.phase is _ROWS and not self._continues and not self._after_definitions:
                at = self._number_rows(data, buffer, at)
                if self._owed:
                    break
            if end - at < HEADER:
                break
            size = data[at] | data[at + 1] << 8 | data[at + 2] << 16
            if self._continues:
                self._continues, self._owed = size == FULL, size
                self.number = buffer[at + 3] = (data[at + 3] + self.shift) & 0xFF
                at += HEADER
                continue
            if size and end - at == HEADER:
                break
            first = data[at + HEADER] if size else -1
            if left <= 0:
                self._emit(bytes(buffer), kept, at)
                return data[at:]
            left -= 1
            phase = dialogue.phase
            if phase == Phase.NOTHING and first != 0xFF:
                msg = "a packet that nothing has asked for"
                raise WireError(msg)
            whole = size != FULL and (phase in _LISTS or dialogue.wants(first, size))
            if whole and size > _MOST:
                raise FrameTooBig(_MOST)
            if whole and end - at < HEADER + size:
                break
            packet = data[at + HEADER : at + HEADER + size] if whole else data[at + HEADER : at + HEADER + 1]
            if self._after_definitions:
                self._after_definitions = False
                if not (
                    whole and first == 0xFE and read_ok(packet, dialogue.flags).status & SERVER_STATUS_CURSOR_EXISTS
                ):
                    self._emit(bytes(buffer[:at]), kept, at)
                    kept = at
                    self._insert(data[at + 3] + self.shift)
            self.number = buffer[at + 3] = (data[at + 3] + self.shift) & 0xFF
            if not whole and first == 0xFF:
                msg = "an error of 16 MB"
                raise WireError(msg)
            part = dialogue.told(packet, size)
            if not whole:
                at += HEADER
                self._owed, self._continues = size, size == FULL
                if dialogue.over:
                    self._heard(part, b"", self.number)
                continue
            instead = self._translated(part, packet)
            at += HEADER + size
            if instead is not None:
                self._emit(bytes(buffer[: at - HEADER - size]), kept, at - HEADER - size)
                self._out.append(instead)
                kept = at
            if phase in _LISTS and dialogue.phase != phase and part is Part.DEFINITION:
                if dialogue.phase is _ROWS:
                    self._after_definitions = True
                else:
                    self._emit(bytes(buffer[:at]), kept, at)
                    kept = at
                    self._insert(self.number + 1)
        self._emit(bytes(buffer[:at]), kept, at)
        self._held = data[at:]
        return b""

    def _number_rows(self, data: bytes, buffer: bytearray, at: int) -> int:
        """Give the rows that begin at `at` their numbers. Returns where they end, or the chunk does."""
        end, shift = len(data), self.shift
        while at + HEADER < end and data[at + HEADER] < _SPECIAL:
            size = data[at] | data[at + 1] << 8 | data[at + 2] << 16
            if size == FULL or not size:
                break
            self.number = buffer[at + 3] = (data[at + 3] + shift) & 0xFF
            at += HEADER + size
        if at > end:
            self._owed, at = at - end, end
        return at

    def _translated(self, part: Part, packet: bytes) -> bytes | None:
        """What goes out in a packet's place."""
        adds = self.adds
        instead = self._heard(part, packet, self.number)
        ok = self.dialogue.ok
        if ok is not None and ok.header == 0xFE:
            status = ok.status & ~SERVER_SESSION_STATE_CHANGED | adds
            return packets(eof(Eof(ok.warnings, status)), self.number)
        return instead

    def _insert(self, number: int) -> None:
        """The EOF behind definitions, with this number."""
        self._heed_status()
        self._out.append(packets(eof(Eof(0, self._known | self.adds)), number & 0xFF))
        self.number = number & 0xFF
        self.shift += 1

    def _emit(self, data: bytes, start: int, end: int) -> None:
        if self.silent:
            return
        if start == 0 and end == len(data):
            self._out.append(data)
        elif start < end:
            self._out.append(data[start:end])
