"""Drivers of conversations without any network: one against a script of bytes, or two against each other.

Imported by tests only. They do what `rdsp.converse` does, with the same rules, deterministically.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import attrs

from rdsp_codecs.errors import PeerClosed
from rdsp_codecs.layering import Layer
from rdsp_codecs.steps import Ask, Conversation, EndTls, HasUnread, PutOn, Receive, Send, StartTls, TlsFacts, TlsSide

T = TypeVar("T")
Answer = Callable[[Any], Any]

_HELLO: Final = b"\x16"

TLS: Final = TlsFacts("TLSv1.3")
"""What a handshake gives in tests that say nothing else."""


@attrs.define(eq=False)
class Script:
    """What a conversation did against a script of bytes.

    Attributes:
        sent: everything it sent, before any layer.
        tls: after how many sent bytes each handshake was started.
    """

    sent: bytes = b""
    tls: list[int] = attrs.field(factory=list)


def play(
    conversation: Conversation[T], chunks: Iterable[bytes], answer: Answer, facts: TlsFacts = TLS
) -> tuple[T, Script]:
    """Run a conversation; its peer says `chunks`, whatever it is sent, and then closes. Handshakes give `facts`.

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
                case Receive(limit, peek):
                    waiting = [chunk for chunk in waiting if chunk]
                    if not waiting:
                        step = conversation.throw(PeerClosed("the script is at its end"))
                        continue
                    chunk = waiting[0][: limit or None]
                    if not peek:
                        waiting[:1] = [rest] if (rest := waiting[0][len(chunk) :]) else []
                    step = conversation.send(chunk)
                case StartTls(which):
                    script.tls.append(len(script.sent))
                    if which is TlsSide.SERVER and waiting and waiting[0].startswith(_HELLO):
                        waiting[0] = waiting[0][1:]  # stands for the client's handshake
                    step = conversation.send(facts)
                case PutOn(layer, early):
                    waiting = [unwrapped(layer, chunk) for chunk in (early, *waiting)]
                    step = conversation.send(None)
                case HasUnread() | EndTls():
                    # Chunks are said one after the other.
                    step = conversation.send(False if isinstance(step, HasUnread) else None)
                case Ask(question):
                    step = conversation.send(answer(question))
    except StopIteration as stop:
        return stop.value, script


def unwrapped(layer: Layer, data: bytes) -> bytes:
    """All that a layer gives when it is fed so."""
    found = layer.unwrap(data, 1 << 16)
    while layer.more and (more := layer.unwrap(b"", 1 << 16)):
        found += more
    return found


@attrs.define(eq=False)
class _Side:
    conversation: Conversation[Any]
    answer: Answer
    inbox: bytearray = attrs.field(factory=bytearray)
    layer: Layer | None = None
    wrapped: bytearray = attrs.field(factory=bytearray)
    """What has come for the layer."""
    step: Any = None
    started: bool = False
    done: bool = False
    shaken: int = 0
    """Handshakes begun."""
    result: Any = None
    error: Exception | None = None

    def known(self, step: Ask | HasUnread | PutOn) -> Any:
        """What is done, or answered, at once."""
        if isinstance(step, PutOn):
            self.layer = step.layer
            self.wrapped += step.early + self.inbox
            self.inbox.clear()
            return None
        return self.answer(step.question) if isinstance(step, Ask) else bool(self.inbox or self.wrapped)

    def deliver(self, data: bytes) -> None:
        """The other side has said it."""
        if not self.done:
            inbox = self.inbox if self.layer is None else self.wrapped
            inbox += data

    def has_more(self, size: int) -> bool:
        """Whether there is something to read; the layer is handed `size` bytes for it."""
        if self.layer is not None and not self.inbox and self.wrapped:
            data, self.wrapped = bytes(self.wrapped[:size]), self.wrapped[size:]
            self.inbox += unwrapped(self.layer, data)
        return bool(self.inbox)


def duo(
    first: Conversation[Any],
    second: Conversation[Any],
    answer_first: Answer,
    answer_second: Answer,
    *,
    piece: Callable[[], int] = lambda: 1 << 20,
    facts: TlsFacts = TLS,
) -> tuple[Any, Any]:
    """Two conversations log in against each other.

    Arguments:
        piece: gives the size of each delivery, at least 1: how the bytes are cut.
        facts: what handshakes give, to both.

    Returns both results; an exception that ended one stands in the place of its result.
    """
    sides = (_Side(first, answer_first), _Side(second, answer_second))
    for _ in range(100_000):
        moved = [_turn(sides[i], sides[1 - i], piece, facts) for i in (0, 1)]
        if all(side.done for side in sides):
            return tuple(side.error or side.result for side in sides)  # type: ignore[return-value]
        if not any(moved):
            break
    msg = f"both sides wait: {sides[0].step!r} and {sides[1].step!r}"
    raise AssertionError(msg)


def _greet(which: TlsSide, side: _Side, other: _Side) -> None:
    """A handshake begins with a byte of the client's; who looks for it first must find it."""
    side.shaken += 1
    if which is TlsSide.CLIENT and other.shaken < side.shaken and isinstance(other.step, Receive) and other.step.peek:
        other.inbox += _HELLO
    elif which is TlsSide.SERVER and side.inbox.startswith(_HELLO):
        del side.inbox[:1]


def _turn(side: _Side, other: _Side, piece: Callable[[], int], facts: TlsFacts) -> bool:
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
                other.deliver(data if side.layer is None else side.layer.wrap(data))
                side.step = side.conversation.send(None)
            case Receive(limit, peek):
                if not side.has_more(piece()):
                    if side.wrapped:
                        return True
                    if not other.done:
                        return False
                    side.step = side.conversation.throw(PeerClosed("the other side is done"))
                    return True
                size = max(1, min(piece(), limit or len(side.inbox), len(side.inbox)))
                data, side.inbox = bytes(side.inbox[:size]), side.inbox[0 if peek else size :]
                side.step = side.conversation.send(data)
            case EndTls():
                side.step = side.conversation.send(None)
            case StartTls(which):
                _greet(which, side, other)
                side.step = side.conversation.send(facts)
            case asked:
                side.step = side.conversation.send(side.known(asked))
    except StopIteration as stop:
        side.done, side.result = True, stop.value
    except Exception as error:  # noqa: BLE001 - handed to the test as the side's result
        side.done, side.error = True, error
    return True
