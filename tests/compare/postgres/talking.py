"""How PostgreSQL's clients do the steps of a script.

What is compared: every message in its order, errors and notices by all their fields but the few that `FORGIVEN` names,
row data, tags, parameter reports, transaction status.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path

import attrs

from tests.compare.runner import Step
from tests.servers.postgres import DATABASE, PASSWORD, USER
from tests.servers.rawclient import TERMINATE, Message, RawClient, fields, query
from tests.waiting import PATIENCE, eventually

FORGIVEN = {
    "L": "line numbers of the server's source differ between versions, and errors that the proxy words have none",
    "P": "an error in a re-parsed statement points into the same text",
}


@attrs.define
class Quiet:
    """Listens where no ReadyForQuery tells the end: at the server until its process waits, then as long at the proxy.

    One for both runs of a script, the direct one first.
    """

    _counts: list[int] = attrs.field(factory=list, init=False)

    def directly(self, client: RawClient) -> list[Message]:
        """All that comes until the backend waits for its client."""
        received: list[Message] = []
        while not received or received[-1][0]:
            state = _state(client.key[0])
            try:
                received.append(client.receive(0.05))
            except TimeoutError:
                # What it was sent woke it at once: it has done that, and has said nothing since.
                if state in ("S", ""):
                    break
        self._counts.append(len(received))
        return received

    def proxied(self, client: RawClient) -> list[Message]:
        """As many messages as came directly the same time, and what comes right behind them."""
        received: list[Message] = []
        count = self._counts.pop(0) if self._counts else 0
        with contextlib.suppress(TimeoutError):
            while len(received) < count and (not received or received[-1][0]):
                received.append(client.receive(20))
            if not received or received[-1][0]:
                received += client.until_quiet()
        return received


def _state(process: int) -> str:
    """R: it computes, or could; S: it waits for something; "": it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return ""


@attrs.define
class PostgresTalker:
    """A client.

    Attributes:
        asleep: whether a backend of the server is in pg_sleep, where a cancel finds every run of a script alike.
        listen: hears what comes where no ReadyForQuery ends it, see `Quiet`.
        seconds: how long a message may take.
    """

    client: RawClient
    asleep: Callable[[], bool] = lambda: True
    listen: Callable[[RawClient], list[Message]] = RawClient.until_quiet
    seconds: float = PATIENCE

    def take(self, step: Step) -> list[str]:
        """See `Talker`."""
        client = self.client
        messages = [query(part) if isinstance(part, str) else part for part in step.messages]
        if step.parts:
            messages.append(TERMINATE)
        if step.slowly:
            client.send_slowly(*messages)
        else:
            client.send(*messages)
        if step.leaves:
            client.reset() if step.rudely else client.close()
            return []
        if step.ready < 0:
            return []
        first: list[Message] = []
        if step.cancelled:
            eventually(self.asleep)
            first = client.cancel_until_answered()
        return shown(first + (client.until_ready(step.ready, self.seconds) if step.ready else self.listen(client)))

    def close(self) -> None:
        """See `Talker`."""
        self.client.close()


def connector(port: int) -> Callable[..., RawClient]:
    """Makes clients of the tests' user, with these start-up parameters."""

    def connect(**parameters: str) -> RawClient:
        return RawClient(port, {"user": USER, "database": DATABASE, **parameters}, PASSWORD)

    return connect


def talkers(
    connect: Callable[..., RawClient],
    asleep: Callable[[], bool] = lambda: True,
    listen: Callable[[RawClient], list[Message]] = RawClient.until_quiet,
    seconds: float = PATIENCE,
) -> Callable[..., PostgresTalker]:
    """Makes the clients of a script, of connections made by `connect`."""
    return lambda **parameters: PostgresTalker(connect(**parameters), asleep, listen, seconds)


def shown(messages: list[Message]) -> list[str]:
    """Messages as comparable lines."""
    return [_show(tag, body) for tag, body in messages]


def _show(tag: str, body: bytes) -> str:
    if tag in ("E", "N"):
        kept = {name: text for name, text in fields(body).items() if name not in FORGIVEN}
        return f"{tag} {kept}"
    if tag == "A":
        return f"A {body[4:]!r}"  # without the process id, which is a backend's own
    if tag == "T":
        return f"T {_columns(body)}"
    return f"{tag} {body!r}"


def _columns(body: bytes) -> list[tuple[bytes, int, int]]:
    """Names, types and modifiers; object ids of tables differ between runs that make them anew."""
    (count,) = struct.unpack(">H", body[:2])
    columns, at = [], 2
    for _ in range(count):
        end = body.index(b"\0", at)
        _table, _number, type_oid, _size, modifier, _format = struct.unpack(">IhIhih", body[end + 1 : end + 19])
        columns.append((body[at:end], type_oid, modifier))
        at = end + 19
    return columns
