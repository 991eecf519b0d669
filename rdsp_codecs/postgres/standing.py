"""Where a relay stands: what the runtime asks of it before it ends, cancels or drops something. The relay is one."""

from __future__ import annotations

from typing import Final

from rdsp_codecs.errors import WireError
from rdsp_codecs.filtering import ChunkFilter
from rdsp_codecs.framing import interest
from rdsp_codecs.postgres.dialogue import Kind
from rdsp_codecs.postgres.framing import client_framing
from rdsp_codecs.postgres.handing import Hearing
from rdsp_codecs.scanning import compile_scanner

_GOODBYE: Final = b"X\0\0\0\4"
_ONLY_GOODBYE: Final = interest(b"X")
_SCAN: Final = compile_scanner(client_framing(1 << 30))


class Standing(Hearing):
    """The part of a relay that is only looked at. The relay makes the attributes."""

    __slots__ = ("_client", "_held")

    _client: ChunkFilter
    _held: list[bytes]

    def in_request(self) -> bool:
        """See `Relay`."""
        d = self._d
        between = d.ledger.empty and self._client.between_frames and self._server.empty
        return not between or d.skipping or d.extended or self._client.more

    @property
    def unheard(self) -> bool:
        """See `Relay`."""
        return self._server.more

    def endless(self) -> bool:
        """See `Relay`: its requests all end."""
        return False

    def owes(self) -> bool:
        """See `Relay`. A server that waits for COPY data waits for the client."""
        d = self._d
        if self._server.more or self._client.more:
            return True
        return not ((d.ledger.only(Kind.COPY_END) or d.copying) and self._server.between_frames)

    def holds_goodbye(self) -> bool:
        """See `Relay`."""
        held = self._client.kept + b"".join(self._held)
        if _GOODBYE not in held:
            return False
        try:
            at, _ = _SCAN(held, 0, len(held), _ONLY_GOODBYE)
        except WireError:
            return False
        return held.startswith(_GOODBYE, at)

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
