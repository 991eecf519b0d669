"""One message after the other during a login, in both directions."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from rdsp_codecs.conversation import Inbox, bounded
from rdsp_codecs.errors import WireError
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.steps import Send

Steps = Generator[Any, Any, Any]


class Line:
    """The messages of one conversation.

    Invariant: nothing is read beyond what was asked for until `inbox.loosen`: a TLS handshake may follow.

    Args:
        longest: bytes that a message may have.
        most: bytes that all of them may have together, with their packets' headers.
    """

    __slots__ = ("_longest", "inbox", "size")

    def __init__(self, longest: int, most: int) -> None:
        self.inbox = Inbox(exact=True, most=most)
        self.size = f.BEFORE_LOGIN
        """Bytes of the packets that are sent."""
        self._longest = longest

    def receive(self, *kinds: int) -> Generator[Any, Any, f.Message]:
        """The peer's next message, which is of one of these types. Raises `WireError`."""
        parts: list[bytes] = []
        size = status = first = 0
        while not status & f.EOM:
            head = yield from self.inbox.take(f.HEADER)
            if head[0] not in kinds or (parts and head[0] != first):
                msg = f"a message of type {head[0]} where one of {' or '.join(map(str, kinds))} is due"
                raise WireError(msg)
            first, status = head[0], head[1]
            length = bounded(int.from_bytes(head[2:4], "big"), f.HEADER, f.LARGEST) - f.HEADER
            size = bounded(size + length, 0, self._longest)
            parts.append((yield from self.inbox.take(length)))
        return f.Message(first, status, b"".join(parts))

    def send(self, kind: int, data: bytes) -> Steps:
        """Write a message."""
        yield Send(f.packets(kind, data, self.size))
