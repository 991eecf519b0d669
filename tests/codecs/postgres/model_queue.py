"""What PostgreSQL does with LISTEN and NOTIFY (async.c), as far as a client can tell: for models of servers.

Notifications of a commit go to the end of one queue; every listening backend reads it in order, at the end of its own
transactions and when it is told to while it is idle.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from rdsp_codecs.postgres import messages as m

Heard = tuple[int, str, str]
"""Who said it (a process id), channel, payload."""

_NAME = r'("(?:[^"]|"")*"|\w+)'
_LISTEN = re.compile(rf"(LISTEN|UNLISTEN) (?:{_NAME}|\*)").fullmatch
_NOTIFY = re.compile(rf"NOTIFY {_NAME}(?:, ?'([^']*)')?").fullmatch


def named(text: str) -> str:
    """What an identifier names."""
    return text[1:-1].replace('""', '"') if text.startswith('"') else text.lower()


class Mailbox:
    """One backend's part."""

    def __init__(self, queue: list[Heard], process_id: int) -> None:
        self.queue = queue
        self.process_id = process_id
        self.listening: set[str] = set()
        self.position = 0
        self._actions: list[tuple[str, str]] = []
        self._notifies: list[tuple[str, str]] = []

    def act(self, statement: str) -> bool:
        """Carry out the statement, as far as it goes before the commit. Returns whether it is one for here."""
        if found := _LISTEN(statement):
            self._actions.append((found[1], named(found[2]) if found[2] else "*"))
        elif found := _NOTIFY(statement):
            said = named(found[1]), found[2] or ""
            if said not in self._notifies:
                self._notifies.append(said)
        else:
            return False
        return True

    @property
    def notifies(self) -> bool:
        """Whether the transaction has something to say."""
        return bool(self._notifies)

    def apply(self) -> None:
        """The first half of a commit: who listens to what."""
        if self._actions and not self.listening:
            self.position = len(self.queue)
        for verb, name in self._actions:
            if name == "*":
                self.listening.clear()
            elif verb == "LISTEN":
                self.listening.add(name)
            else:
                self.listening.discard(name)
        self._actions.clear()

    def publish(self, said: Callable[[int, str, str], None] = lambda *_: None) -> None:
        """The second half: `said(place in the queue, channel, payload)` is called in front of each."""
        for channel, payload in self._notifies:
            said(len(self.queue), channel, payload)
            self.queue.append((self.process_id, channel, payload))
        self._notifies.clear()

    def rollback(self) -> None:
        """Nothing of the transaction was."""
        self._actions.clear()
        self._notifies.clear()

    @property
    def due(self) -> bool:
        """Whether there is something in the queue that was not read."""
        return bool(self.listening) and self.position < len(self.queue)

    def read(self) -> bytes:
        """The messages for what is new."""
        said = b""
        for process_id, channel, payload in self.queue[self.position :]:
            if channel in self.listening:
                body = struct.pack(">I", process_id) + channel.encode() + b"\0" + payload.encode() + b"\0"
                said += m.message(b"A", body)
        self.position = len(self.queue)
        return said

    def rows(self) -> list[tuple[str, ...]]:
        """What the proxy is answered when it asks for the channels."""
        return [("l", channel, "", "") for channel in sorted(self.listening)]
