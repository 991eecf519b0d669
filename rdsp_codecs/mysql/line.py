"""One packet after the other during a login, in both directions, with the numbers that they must have."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from rdsp_codecs.conversation import Inbox, bounded
from rdsp_codecs.errors import WireError
from rdsp_codecs.mysql.framing import HEADER, packets
from rdsp_codecs.steps import Send

Steps = Generator[Any, Any, Any]


class Line:
    """The packets of one conversation. `number` is that of the next one, whoever sends it.

    Invariant: nothing is read beyond what was asked for until `inbox.loosen`: a TLS handshake may follow.

    Args:
        longest: bytes that a payload may have.
        most: bytes that all of them may have together.
        number: of the first packet.
    """

    __slots__ = ("_longest", "inbox", "number")

    def __init__(self, longest: int, most: int, number: int = 0) -> None:
        self.inbox = Inbox(exact=True, most=most)
        self.number = number
        self._longest = longest

    def receive(self) -> Generator[Any, Any, bytes]:
        """The payload of the peer's next packet. Raises `WireError`."""
        head = yield from self.inbox.take(HEADER)
        size = bounded(int.from_bytes(head[:3], "little"), 0, self._longest)
        payload = yield from self.inbox.take(size)
        self.check(head[3], payload)
        if head[3] != self.number:
            msg = f"packet {head[3]} came where {self.number} was due"
            raise WireError(msg)
        self.number = (self.number + 1) & 0xFF
        return payload

    def check(self, number: int, payload: bytes) -> None:
        """Called with each packet before its number is looked at. May raise."""

    def packet(self, payload: bytes) -> bytes:
        """The next packet that we send."""
        data = packets(payload, self.number)
        self.number = (self.number + 1) & 0xFF
        return data

    def send(self, payload: bytes) -> Steps:
        """Write a packet."""
        yield Send(self.packet(payload))

    def exchange(self, payload: bytes) -> Generator[Any, Any, bytes]:
        """Write a packet and take the answer."""
        yield from self.send(payload)
        return (yield from self.receive())
