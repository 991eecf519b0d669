"""Run a script directly and through the proxy, and compare what came back, message by message.

A script is a list of steps; each is one client's messages and how long to listen. The clients of a script
are interleaved as the steps say. How a client speaks is its family's: `postgres.talking`, `mysql.talking`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs


@attrs.frozen
class Step:
    """One client's turn.

    Attributes:
        who: the client's letter.
        messages: what it sends, in one write; texts are queries.
        ready: how many ends of a request to wait for; 0: listen until nothing more is to come; -1: do not listen now.
        leaves: it closes its socket afterwards, without listening.
        parts: before that it says good-bye.
        slowly: it writes byte by byte.
        rudely: it leaves with a TCP reset, as the kernel of a killed process that had unread data does.
        cancelled: it sends cancel requests until its query is answered.
    """

    who: str
    messages: tuple[Any, ...]
    ready: int = 1
    leaves: bool = False
    parts: bool = False
    slowly: bool = False
    rudely: bool = False
    cancelled: bool = False


@attrs.frozen
class Script:
    """A scenario of the family's reference, by its numbers.

    Attributes:
        pools: on pools of how many backends it can run: with 1, a client that keeps its backend would block the others.
        start: start-up parameters by client.
        before: queries of somebody else's in front of it.
    """

    name: str
    numbers: tuple[int, ...]
    steps: tuple[Step, ...]
    pools: tuple[int, ...] = (1, 2)
    start: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    before: tuple[str, ...] = ()


def says(who: str, *messages: Any, ready: int = 1, slowly: bool = False) -> Step:
    """A step; texts are simple queries."""
    return Step(who, messages, ready, slowly=slowly)


def whispers(who: str, *messages: Any) -> Step:
    """A step after which no end of a request comes: listen until it is quiet."""
    return Step(who, messages, 0)


def leaves(who: str) -> Step:
    """The client says good-bye."""
    return Step(who, (), 0, leaves=True, parts=True)


def drops(who: str, *messages: Any, rudely: bool = False) -> Step:
    """The client says this, perhaps half a message, and is gone without a good-bye."""
    return Step(who, messages, leaves=True, rudely=rudely)


def is_cancelled(who: str, *messages: Any) -> Step:
    """The client says this, and cancels it from another connection."""
    return Step(who, messages, cancelled=True)


class Talker(Protocol):
    """A client of a family. `take` raises `TimeoutError` where an answer does not come."""

    def take(self, step: Step) -> list[str]:
        """Do a turn. Returns what was heard, a line for each message."""

    def close(self) -> None:
        """Close the socket, if it is open."""


def run(script: Script, connect: Callable[..., Talker]) -> list[str]:
    """Run a script with clients made by `connect`. Returns one line per message."""
    clients: dict[str, Talker] = {}
    lines: list[str] = []
    try:
        for step in script.steps:
            client = clients.get(step.who)
            if client is None:
                client = clients[step.who] = connect(**script.start.get(step.who, {}))
            lines += [f"{step.who} {line}" for line in client.take(step)]
            if step.leaves:
                del clients[step.who]
    finally:
        for client in clients.values():
            client.close()
    return lines
