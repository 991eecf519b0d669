"""Where a relay stands: what the runtime asks of it before it ends, cancels or drops something. The relay is one."""

from __future__ import annotations

from typing import Final

from rdsp_codecs.filtering import ChunkFilter
from rdsp_codecs.postgres.dialogue import Kind
from rdsp_codecs.postgres.handing import Hearing

_TERMINATE: Final = ord("X")


class Standing(Hearing):
    """The part of a relay that is only looked at. The relay makes the attributes."""

    __slots__ = ("_client", "_held")

    _client: ChunkFilter
    _held: list[bytes]

    def in_request(self) -> bool:
        """See `Relay`."""
        d = self._d
        between = d.ledger.empty and self._client.between_frames and self._server.between_frames
        return not between or d.skipping or d.extended

    def endless(self) -> bool:
        """See `Relay`: its requests all end."""
        return False

    def owes(self) -> bool:
        """See `Relay`. A server that waits for COPY data waits for the client."""
        d = self._d
        return not ((d.ledger.only(Kind.COPY_END) or d.copying) and self._server.between_frames)

    def holds_goodbye(self) -> bool:
        """See `Relay`."""
        held, at = self._client.kept + b"".join(self._held), 0
        while len(held) - at >= 5:
            if held[at] == _TERMINATE:
                return True
            at += int.from_bytes(held[at + 1 : at + 5], "big") + 1
        return False

    def may_speak(self) -> bool:
        """See `Relay`."""
        return self._server.between_frames

    def cut_short(self) -> bool:
        """See `Relay`."""
        return self._d.state is not None and not self._client.between_frames

    def cancellable(self) -> bool:
        """See `Relay`."""
        d = self._d
        head = d.ledger.head
        return d.state is not None and head is not None and not (head.swallow and head.kind == Kind.QUERY)

    def in_doubt(self) -> bool:
        """See `Relay`."""
        return self._d.doubts.lasting
