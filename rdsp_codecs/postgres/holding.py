"""What a relay holds while its session has no backend: the bytes of a request that waits for one. The relay is one."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from rdsp_codecs import moves
from rdsp_codecs.errors import WireError
from rdsp_codecs.postgres.refuse import refuse
from rdsp_codecs.postgres.resolving import FLUSH
from rdsp_codecs.postgres.shortcuts import total_at
from rdsp_codecs.postgres.standing import Standing
from rdsp_codecs.postgres.statements import parsed_alone
from rdsp_codecs.postgres.syncing import Syncer
from rdsp_codecs.postgres.texts import Texts

if TYPE_CHECKING:
    from rdsp_codecs.problems import Problem

READY_IDLE: Final = b"Z\0\0\0\5I"
_LENGTH = struct.Struct(">I").unpack_from
_BEGINS: Final = b"QPB"
_PARSE: Final = ord("P")
_TERMINATE: Final = ord("X")
_PARSED: Final = b"1\0\0\0\4"
_COPY_TAGS: Final = b"dcf"
_ANSWERED_ALONE: Final = b"QF"
"""Messages that end with a ReadyForQuery of their own; all others belong to a group that a Sync ends."""
_LIGHTER: Final = 16
"""So many messages that are ignored are less work than one that is judged."""
_PIECES: Final = 1000
"""So many pieces become one: a client that sends bytes one by one must not cost forty times their number."""


class Holding(Standing):
    """The part of a relay that holds a request. The relay makes the attributes.

    Invariant: what is held comes behind what the client filter holds.
    """

    __slots__ = (
        "_at_once",
        "_held_needed",
        "_held_size",
        "_max_frame",
        "_max_held",
        "_mending_size",
        "_skip_to_sync",
        "_syncer",
        "_texts",
        "_unlooked",
        "_wanted",
    )

    _at_once: int
    _held_needed: int
    _held_size: int
    _max_frame: int
    _max_held: int
    _mending_size: int
    """Bytes held that are a request which mends (see `mending`), and that is not sent yet."""
    _skip_to_sync: bool
    _syncer: Syncer
    _texts: Texts
    _unlooked: bool
    """There may be more to ignore, or a request, behind what was ignored at once."""
    _wanted: bool
    """A backend was asked for: whatever comes behind the request waits with it."""

    def _needs_backend(self, data: bytes) -> bool:
        """Whether a chunk begins with a whole message that a server must answer. `_hold` finds the others."""
        if len(data) <= 5 or data[0] not in _BEGINS:
            return False
        total = total_at(data, 0)
        return 5 < total <= len(data) and total <= self._max_frame

    def _hold(self, data: bytes) -> int:
        """No backend: keep the bytes, and ask for one as soon as there is a whole message that needs it."""
        if data:
            self._keep(data)
        if self._wanted or self._held_size < self._held_needed:
            return moves.NOTHING
        self._unlooked = False
        self._held_needed = 0
        held = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        at, size, left = 0, len(held), self._at_once * _LIGHTER
        signals = moves.NOTHING
        while size - at >= 5:
            if not left:
                self._unlooked = True
                signals = moves.MORE
                break
            left -= 1
            total = _LENGTH(held, at + 1)[0] + 1
            if total < 5:
                raise WireError("invalid message length")
            tag = held[at]
            self._client.check(tag, total)
            if not self._is_ignored(tag, total):
                if size - at >= total or total > self._max_held:
                    signals = moves.BYE if tag == _TERMINATE else moves.WANT_BACKEND
                    self._wanted = tag != _TERMINATE
                else:
                    self._held_needed = total
                break
            if size - at < total and tag == ord("S"):
                self._held_needed = total
                break
            if size - at < total:
                self._client.skip(total - (size - at))
            at = min(size, at + total)
            if tag == ord("S"):
                self._skip_to_sync = False
                self.to_client.append(READY_IDLE)
        if at:
            self._held = [held[at:]] if at < size else []
            self._held_size = size - at
        return signals

    def _is_ignored(self, tag: int, total: int) -> bool:
        """Between requests a server ignores what is left of a COPY that failed, and, after an error, all up to Sync."""
        if self._skip_to_sync:
            return tag != _TERMINATE
        return tag in _COPY_TAGS or (tag == ord("H") and total == len(FLUSH))

    def _keep(self, data: bytes) -> None:
        if self._client.owes and self._d.state is None:
            data = self._client.pay(data)
            if not data:
                return
        if len(self._held) > _PIECES:
            self._held = [b"".join(self._held)]
        self._held.append(data)
        self._held_size += len(data)

    @property
    def holds_too_much(self) -> bool:
        """More than `max_held` bytes are held: the client should not be read until they can go on."""
        stopped = self._client.held if self._client.stopped else 0
        return self._held_size + stopped > self._max_held

    def _unheld(self, size: int) -> bytes:
        """The first so many bytes of what is held, which is held no longer."""
        data = b"".join(self._held)
        self._held = [data[size:]] if size < len(data) else []
        self._held_size -= size
        return data[:size]

    def answer_alone(self) -> bool:
        """See `Relay`: Parse messages with names of known texts, and their Sync."""
        d, first = self._d, self._held[0]
        if (
            first[0] != _PARSE
            or (len(first) > 5 and not first[5])
            or d.native
            or d.mending
            or not d.begin()
            or self._skip_to_sync
            or not self._client.empty
        ):
            return False
        held = b"".join(self._held)
        most = d.policy.max_session_statements
        parsed = parsed_alone(held, d.statements, d.shared, self._texts.inspect, d.context, most)
        if parsed:
            self._held.clear()
            self._held_size = 0
            self._wanted = False
            self.to_client.append(_PARSED * parsed + READY_IDLE)
        return bool(parsed)

    def refusal(self, problem: Problem | bytes) -> bytes:
        """See `Relay`."""
        return problem if isinstance(problem, bytes) else refuse(problem)

    def abort(self, problem: Problem | bytes) -> int:
        """See `Relay`."""
        self._syncer.give_up_mending()
        self._mending_size = 0
        self.to_client.append(self.refusal(problem))
        held = b"".join(self._held)
        if held[:1] and held[0] in _ANSWERED_ALONE:
            total = _LENGTH(held, 1)[0] + 1
            if total > len(held):
                self._client.skip(total - len(held))
            held = held[total:]
            self.to_client.append(READY_IDLE)
        else:
            self._skip_to_sync = True
        self._wanted = False
        self._held = [held] if held else []
        self._held_size = len(held)
        return self._hold(b"")
