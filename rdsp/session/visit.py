"""One client connection from accept to close, as far as its login and its session are alike: how it ends."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Final

import trio

from rdsp.converse import receive, send_all
from rdsp.net.moving import pushed
from rdsp.net.transport import Transport
from rdsp.observe.events import SessionEnd
from rdsp.session.context import SessionContext
from rdsp.session.errands import Sleeper
from rdsp_codecs.errors import CodecError, PeerClosed

LAST_WORDS_TIMEOUT: Final = 5.0
_CHUNK: Final = 65536
_LAST_READS: Final = 64
"""Of 64 KiB, of a client that is told its end and goes on: more than its machine and ours have under way, as a rule."""
CANCEL_REQUEST: Final = SessionEnd("cancel request", "client", "")
_STOPPED: Final = SessionEnd("the proxy stopped", "proxy", "")

Left = Callable[[bool], None]
"""Told once that a client is gone: False when it brought a cancel request and was no client."""


def internal_error(error: Exception) -> SessionEnd:
    """The end by a fault of the program."""
    return SessionEnd("internal error", "proxy", "".join(traceback.format_exception(error)))


class Visit(Sleeper):
    """A client connection.

    Invariant: until `close` the switchboard watches the transport, except while last words are said; `close` happens
    once, and `left` is told in it.
    """

    __slots__ = ("_context", "_left", "_number", "_transport", "over")

    def __init__(self, context: SessionContext, transport: Transport, number: int, left: Left) -> None:
        super().__init__()
        self._context = context
        self._transport = transport
        self._number = number
        self._left = left
        self.over = False
        """It ends, or has ended: steps that still come find nothing to do."""

    def part(self, end: SessionEnd, words: bytes = b"") -> None:
        """Say the last words, and close. In the middle of a handshake nothing can be said."""
        self.over = True
        context, transport = self._context, self._transport
        if words and not transport.in_handshake:
            context.errands.forget(self)
            context.board.forget(transport)
            rest, lost = pushed(transport.send, words)
            waits = rest or (not lost and transport.has_unread())
            if waits and context.errands.start(self._say_rest, rest, end):
                return
        self.close(end)

    async def _say_rest(self, words: bytes, end: SessionEnd) -> None:
        """The rest of the last words, and then read what the client still says.

        To close with something unread is a reset, at which the client's machine throws the words away.
        """
        try:
            with trio.move_on_after(LAST_WORDS_TIMEOUT):
                await send_all(self._transport, words)
                self._transport.shutdown()
                for _ in range(_LAST_READS):
                    await receive(self._transport, _CHUNK)
                    await trio.lowlevel.checkpoint()
        except PeerClosed:
            return
        except Exception as error:  # noqa: BLE001 - a fault of one connection must not reach the others
            self.fell(error)
        finally:
            self.close(end)

    def fell(self, error: Exception) -> None:
        """The fence around a connection: its fault ends it, and must not reach the others."""
        if isinstance(error, CodecError):
            self.close(SessionEnd("the client broke off or broke the protocol", "client", str(error)))
        else:
            self.close(internal_error(error))

    def cut(self) -> None:
        """The proxy stops: close without a word. Any number of times."""
        self.close(_STOPPED)

    def close(self, end: SessionEnd) -> None:
        """Close. The first call counts. A fault on the way is reported as the end; raises nothing."""
        left = self._left
        if left is _gone:
            return
        self._left = _gone
        self.over = True
        context, transport = self._context, self._transport
        context.errands.forget(self)
        try:
            self._release()
        except Exception as error:  # noqa: BLE001 - whoever closes is a step: it has nobody to raise to
            end = internal_error(error)
        finally:
            context.board.forget(transport)
            transport.close()
            context.pool.leave(transport)
            context.observers.session_ended(self._number, end)
            left(end is not CANCEL_REQUEST)

    def hand_over(self) -> None:
        """The connection is another visit's now, which closes it."""
        self.over = True
        self._left = _gone

    def _release(self) -> None:
        """Let go of everything but the transport."""


def _gone(_: bool) -> None:
    """Whoever was to be told has been told."""
