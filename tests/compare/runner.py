"""Run a script directly and through the proxy, and compare what came back, message by message.

A script is a list of steps; each is one client's messages and how long to listen. The clients of a script
are interleaved as the steps say. What is compared: every message in its order, errors and notices by all their fields but the few that
`FORGIVEN` names, row data, tags, parameter reports, transaction status.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path

import attrs

from tests.servers.rawclient import TERMINATE, Message, RawClient, fields, query
from tests.waiting import PATIENCE, eventually

FORGIVEN = {
    "L": "line numbers of the server's source differ between versions, and errors that the proxy words have none",
    "P": "an error in a re-parsed statement points into the same text",
}

Connect = Callable[..., RawClient]


@attrs.frozen
class Step:
    """One client's turn.

    Attributes:
        who: the client's letter.
        messages: what it sends, in one write.
        ready: how many ReadyForQuery to wait for; 0: listen until nothing more is to come; -1: do not listen now.
        leaves: it closes its socket afterwards, without listening.
        slowly: it writes byte by byte.
        rudely: it leaves with a TCP reset, as the kernel of a killed process that had unread data does.
        cancelled: it sends cancel requests until its query is answered.
    """

    who: str
    messages: tuple[bytes, ...]
    ready: int = 1
    leaves: bool = False
    slowly: bool = False
    rudely: bool = False
    cancelled: bool = False


@attrs.frozen
class Script:
    """A scenario of `pg_poolers.md` 2.2, by its numbers.

    Attributes:
        pools: on pools of how many backends it can run: with 1, a client that keeps its backend would block the others.
        start: start-up parameters by client.
    """

    name: str
    numbers: tuple[int, ...]
    steps: tuple[Step, ...]
    pools: tuple[int, ...] = (1, 2)
    start: dict[str, dict[str, str]] = attrs.field(factory=dict)
    before: tuple[str, ...] = ()


def says(who: str, *messages: bytes | str, ready: int = 1, slowly: bool = False) -> Step:
    """A step; texts are simple queries."""
    return Step(who, _messages(messages), ready, slowly=slowly)


def whispers(who: str, *messages: bytes | str) -> Step:
    """A step after which no ReadyForQuery comes: listen until it is quiet."""
    return Step(who, _messages(messages), 0)


def leaves(who: str) -> Step:
    """The client says good-bye."""
    return Step(who, (TERMINATE,), 0, leaves=True)


def drops(who: str, *messages: bytes | str, rudely: bool = False) -> Step:
    """The client says this, perhaps half a message, and is gone without a good-bye."""
    return Step(who, _messages(messages), leaves=True, rudely=rudely)


def is_cancelled(who: str, *messages: bytes | str) -> Step:
    """The client says this, and cancels it from another connection."""
    return Step(who, _messages(messages), cancelled=True)


def _messages(parts: tuple[bytes | str, ...]) -> tuple[bytes, ...]:
    return tuple(query(part) if isinstance(part, str) else part for part in parts)


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


def run(
    script: Script,
    connect: Connect,
    asleep: Callable[[], bool] = lambda: True,
    listen: Callable[[RawClient], list[Message]] = RawClient.until_quiet,
    seconds: float = PATIENCE,
) -> list[str]:
    """Run a script on connections made by `connect`. Returns one line per message.

    `asleep`: whether a backend of the server is in pg_sleep, where a cancel finds every run of a script alike.
    `listen`: hears what comes where no ReadyForQuery ends it, see `Quiet`. `seconds`: how long a message may take;
    then `TimeoutError`.
    """
    clients: dict[str, RawClient] = {}
    pids: dict[int, str] = {}
    lines: list[str] = []
    try:
        for step in script.steps:
            client = clients.get(step.who)
            if client is None:
                client = clients[step.who] = connect(**script.start.get(step.who, {}))
                pids[client.key[0]] = f"<{step.who}>"
            if step.slowly:
                client.send_slowly(*step.messages)
            else:
                client.send(*step.messages)
            if step.leaves:
                client.reset() if step.rudely else client.close()
                del clients[step.who]
                continue
            if step.ready < 0:
                continue
            first: list[Message] = []
            if step.cancelled:
                eventually(asleep)
                first = client.cancel_until_answered()
            received = first + (client.until_ready(step.ready, seconds) if step.ready else listen(client))
            lines += [f"{step.who} {line}" for line in shown(received)]
    finally:
        for client in clients.values():
            client.close()
    return lines


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
