"""Drivers of conversations without any network: one against a script of bytes, or two against each other.

Imported by tests only. They do what `rdsp.converse` does, with the same rules, deterministically.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import attrs

from rdsp_codecs.errors import PeerClosed
from rdsp_codecs.steps import Ask, Conversation, Receive, Send, StartTls, TlsFacts

T = TypeVar("T")
Answer = Callable[[Any], Any]


@attrs.define(eq=False)
class Script:
    """What a conversation did against a script of bytes.

    Attributes:
        sent: everything it sent.
        tls: after how many sent bytes each handshake was started.
    """

    sent: bytes = b""
    tls: list[int] = attrs.field(factory=list)


def play(conversation: Conversation[T], chunks: Iterable[bytes], answer: Answer) -> tuple[T, Script]:
    """Run a conversation; its peer says `chunks`, whatever it is sent, and then closes.

    Returns its result. Raises what it raises.
    """
    script = Script()
    waiting = [chunk for chunk in chunks if chunk]
    try:
        step = next(conversation)
        while True:
            match step:
                case Send(data):
                    script.sent += data
                    step = conversation.send(None)
                case Receive(limit):
                    if not waiting:
                        step = conversation.throw(PeerClosed("the script is at its end"))
                        continue
                    chunk = waiting.pop(0)
                    if limit and len(chunk) > limit:
                        waiting.insert(0, chunk[limit:])
                        chunk = chunk[:limit]
                    step = conversation.send(chunk)
                case StartTls():
                    script.tls.append(len(script.sent))
                    step = conversation.send(TlsFacts("TLSv1.3"))
                case Ask(question):
                    step = conversation.send(answer(question))
    except StopIteration as stop:
        return stop.value, script


@attrs.define(eq=False)
class _Side:
    conversation: Conversation[Any]
    answer: Answer
    inbox: bytearray = attrs.field(factory=bytearray)
    step: Any = None
    started: bool = False
    done: bool = False
    result: Any = None
    error: Exception | None = None


def duo(
    first: Conversation[Any],
    second: Conversation[Any],
    answer_first: Answer,
    answer_second: Answer,
    *,
    piece: Callable[[], int] = lambda: 1 << 20,
) -> tuple[Any, Any]:
    """Two conversations log in against each other.

    Arguments:
        piece: gives the size of each delivery, at least 1: how the bytes are cut.

    Returns both results; an exception that ended one stands in the place of its result.
    """
    sides = (_Side(first, answer_first), _Side(second, answer_second))
    for _ in range(100_000):
        moved = [_turn(sides[i], sides[1 - i], piece) for i in (0, 1)]
        if all(side.done for side in sides):
            return tuple(side.error or side.result for side in sides)  # type: ignore[return-value]
        if not any(moved):
            break
    msg = f"both sides wait: {sides[0].step!r} and {sides[1].step!r}"
    raise AssertionError(msg)


def _turn(side: _Side, other: _Side, piece: Callable[[], int]) -> bool:
    """Let one side go one step, if it can."""
    if side.done:
        return False
    try:
        if not side.started:
            side.started = True
            side.step = next(side.conversation)
            return True
        match side.step:
            case Send(data):
                if not other.done:
                    other.inbox += data
                side.step = side.conversation.send(None)
            case Receive(limit):
                if not side.inbox:
                    if not other.done:
                        return False
                    side.step = side.conversation.throw(PeerClosed("the other side is done"))
                    return True
                size = max(1, min(piece(), limit or len(side.inbox), len(side.inbox)))
                data, side.inbox = bytes(side.inbox[:size]), side.inbox[size:]
                side.step = side.conversation.send(data)
            case StartTls():
                side.step = side.conversation.send(TlsFacts("TLSv1.3"))
            case Ask(question):
                side.step = side.conversation.send(side.answer(question))
    except StopIteration as stop:
        side.done, side.result = True, stop.value
    except Exception as error:  # noqa: BLE001 - handed to the test as the side's result
        side.done, side.error = True, error
    return True
