"""The two ends of a session in steady state: what is handed to them, and what they have not taken yet.

`rdsp.session.splice` has the steps between them; this is the part of it that only sends.
"""

from __future__ import annotations

from collections.abc import Callable

from rdsp.net.moving import joined, pushed
from rdsp.net.overlay import Overlay
from rdsp.net.switchboard import LEAVING, READABLE, WRITABLE, Board
from rdsp.net.transport import WOULD_BLOCK, Transport, is_peer_loss
from rdsp.pool.backend import Backend, Borrower
from rdsp.session import calls
from rdsp_codecs.relaying import Relay


class Ends(Borrower):
    """Where a session's bytes go to, and whom it calls.

    Invariant: bytes that a peer did not take yet stand in `client_rest` or `server_rest`.
    """

    __slots__ = (
        "_board", "_client_again", "_client_more", "_client_records", "_client_send", "_clock", "_server_again",
        "_to_client", "_to_server", "backend", "call", "client", "client_rest", "fault", "fault_of_server",
        "last_active", "relay", "server_rest", "wake",
    )  # fmt: skip

    def __init__(self, client: Transport, relay: Relay, board: Board, wake: Callable[[], None]) -> None:
        self.client = client
        self.relay = relay
        self.backend: Backend | None = None
        self.call = 0
        self.fault: Exception | None = None
        self.fault_of_server = False
        self.last_active = board.now
        self.wake = wake
        self.client_rest = b""
        self.server_rest = b""
        self._client_more = 0
        """Waits for a turn to read on, with these bits."""
        # Events that came while their side was not to be read: an edge, above all that of a peer that left, comes once.
        self._client_again = 0
        self._server_again = 0
        self._to_client = relay.to_client
        self._to_server = relay.to_server
        self._client_send = client.send
        self._client_records = client.records
        self._board = board
        self._clock = board.clock

    def summon(self, call: int) -> None:
        """Ask for a turn of the session."""
        self.call |= call
        self.wake()

    def failed_by(self, error: Exception, *, server: bool) -> None:
        """A step failed; `server`: by the server's doing."""
        self.fault, self.fault_of_server = error, server
        self.summon(calls.FAULT)

    def untold(self) -> int:
        """Bits of the client's edges that were put off."""
        return self._client_again | self._client_more

    def touch(self) -> None:
        """The client is told something: it is not idle."""
        self.last_active = self._clock.now

    def send_client(self) -> None:
        """Hand over what the relay has for the client."""
        out = self._to_client
        data = joined(out)
        if self.client_rest:
            self.client_rest += data
            return
        try:
            sent = self._client_send(data)
        except WOULD_BLOCK:
            sent = 0
        except OSError as error:
            if not is_peer_loss(error):
                raise
            self.summon(calls.CLIENT_GONE)
            return
        if sent < len(data):
            self.client_rest = data[sent:]
            if self._client_records is not None and self._client_records.eager:
                self._board.again(self.client_event, WRITABLE)

    def send_server(self) -> None:
        """Hand over what the relay has for the server."""
        out = self._to_server
        data = joined(out)
        backend = self.backend
        assert backend is not None
        if self.server_rest:
            self.server_rest += data
            return
        try:
            sent = backend.send(data)
        except WOULD_BLOCK:
            sent = 0
        except OSError as error:
            if not is_peer_loss(error):
                raise
            # What the server said before it went may still be read; the end of file then tells the rest.
            self._board.again(self.server_event, READABLE | LEAVING)
            return
        if sent < len(data):
            self.server_rest = data[sent:]
            if backend.records is not None and backend.records.eager:
                self._board.again(self.server_event, WRITABLE)

    def client_event(self, mask: int, /) -> None:
        """The client's socket is ready."""
        raise NotImplementedError

    def flushed(
        self, send: Callable[[bytes], int], data: bytes, overlay: Overlay | None, step: Callable[[int], None]
    ) -> tuple[bytes, bool]:
        """Hand over as much as goes now; see `pushed`. Where that takes long, `step` goes on in a turn of its own."""
        rest, lost = pushed(send, data, overlay)
        if rest and overlay is not None and overlay.eager:
            self._board.again(step, WRITABLE)
        return rest, lost
