"""Drive a conversation over a transport: the ten lines that join a codec's generator to Trio.

Used for logins at servers, resets, probes and cancels; never in steady state. It knows no protocol. A client's greeting
is driven by steps instead (`rdsp.session.greeting`), with the parts of this module that do not wait.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from rdsp.net.transport import WOULD_BLOCK, Transport, is_peer_loss
from rdsp_codecs.errors import PeerClosed, WireError
from rdsp_codecs.layering import Layer
from rdsp_codecs.steps import Ask, Conversation, EndTls, HasUnread, PutOn, Receive, Send, StartTls, TlsFacts, TlsSide

T = TypeVar("T")

Answerer = Callable[[Any], Awaitable[Any]]
"""Answers the questions of `rdsp_codecs.questions`."""

CHUNK = 65536


async def converse(
    conversation: Conversation[T],
    transport: Transport,
    *,
    answer: Answerer | None = None,
    server_context: ssl.SSLContext | None = None,
    client_context: ssl.SSLContext | None = None,
    hostname: str | None = None,
) -> T:
    """Run a conversation to its end and return its result.

    Arguments:
        answer: answers `Ask` steps; None: the conversation asks nothing.
        server_context, client_context: for `StartTls` in either role.
        hostname: the server's name, for SNI and certificate checks.

    Raises what the conversation raises. A peer that closes or breaks is thrown into the conversation as `PeerClosed`,
    a failed handshake as `WireError`. Deadlines are the caller's, by cancel scopes; after a cancellation the
    transport can only be closed.
    """
    try:
        step = next(conversation)
        while True:
            try:
                result = await _perform(step, transport, answer, server_context, client_context, hostname)
            except (PeerClosed, WireError) as error:
                step = conversation.throw(error)
            else:
                step = conversation.send(result)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        conversation.close()


async def _perform(
    step: Any,
    transport: Transport,
    answer: Answerer | None,
    server_context: ssl.SSLContext | None,
    client_context: ssl.SSLContext | None,
    hostname: str | None,
) -> Any:
    if isinstance(step, Send):
        await send_all(transport, step.data)
        return None
    if isinstance(step, Receive):
        return await receive(transport, step.limit or CHUNK, peek=step.peek)
    if isinstance(step, HasUnread):
        return transport.has_unread()
    if isinstance(step, PutOn):
        transport.put_on(step.layer, step.early)
        return None
    if isinstance(step, Ask):
        if answer is None:
            msg = f"nobody answers {step.question!r}"
            raise TypeError(msg)
        return await answer(step.question)
    if isinstance(step, StartTls):
        context = server_context if step.side is TlsSide.SERVER else client_context
        if context is None:
            msg = "no TLS context for this conversation"
            raise TypeError(msg)
        return await start_tls(transport, step.side, context, hostname, step.within)
    if isinstance(step, EndTls):
        transport.end_tls()
        return None
    msg = f"not a step: {step!r}"
    raise TypeError(msg)


async def send_all(transport: Transport, data: bytes) -> None:
    """Write everything. Raises `PeerClosed`. A cancellation may leave a part written."""
    while data:
        try:
            data = data[sent_now(transport, data) :]
        except ssl.SSLWantReadError:
            await transport.wait_readable()
        except WOULD_BLOCK:
            await transport.wait_writable()


def sent_now(transport: Transport, data: bytes) -> int:
    """Write what goes now. Returns how many bytes that were. Raises one of WOULD_BLOCK, and `PeerClosed`."""
    try:
        return transport.send(data)
    except WOULD_BLOCK:
        raise
    except OSError as error:
        if not is_peer_loss(error):
            raise
        raise PeerClosed(str(error)) from error


async def receive(transport: Transport, limit: int, *, peek: bool = False) -> bytes:
    """At least one byte; with `peek` it comes again. Raises `PeerClosed` at end of file or when the peer is lost.

    Cancellation loses nothing.
    """
    while True:
        try:
            return received_now(transport, limit, peek=peek)
        except ssl.SSLWantWriteError:
            await transport.wait_writable()
        except WOULD_BLOCK:
            await transport.wait_readable()


def received_now(transport: Transport, limit: int, *, peek: bool = False) -> bytes:
    """What `receive` gives, if it is there. Raises one of WOULD_BLOCK, and `PeerClosed`."""
    try:
        data = transport.peek(limit) if peek else transport.recv(limit)
    except WOULD_BLOCK:
        raise
    except OSError as error:
        if not is_peer_loss(error):
            raise
        raise PeerClosed(str(error)) from error
    if not data:
        msg = "the peer closed the connection"
        raise PeerClosed(msg)
    return data


async def start_tls(
    transport: Transport,
    side: TlsSide,
    context: ssl.SSLContext,
    hostname: str | None = None,
    within: Layer | None = None,
) -> TlsFacts:
    """Shake hands, `within` a layer or not. Raises `PeerClosed` and `WireError`.

    Cancellation leaves only `close` legal.
    """
    transport.begin_tls(side, context, hostname, within)
    while True:
        try:
            return shaken_now(transport)
        except ssl.SSLWantWriteError:
            await transport.wait_writable()
        except WOULD_BLOCK:
            await transport.wait_readable()


def shaken_now(transport: Transport) -> TlsFacts:
    """Go on with the handshake that `begin_tls` began. Raises one of WOULD_BLOCK, `PeerClosed`, and `WireError`."""
    try:
        return transport.shake()
    except WOULD_BLOCK:
        raise
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
        msg = "the peer closed the connection during the TLS handshake"
        raise PeerClosed(msg) from error
    except ssl.SSLError as error:
        msg = f"TLS handshake failed: {error.reason or error}"
        raise WireError(msg) from error
    except OSError as error:
        raise PeerClosed(str(error)) from error
