"""Open a database connection: name look-up, connect, TLS, login, `init_query`.

The pool calls it under its own deadline. It never touches the book.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from rdsp.config.model import Target
from rdsp.converse import converse
from rdsp.net.transport import SocketTransport, Transport
from rdsp.pool.facts import KeyFacts
from rdsp_codecs.api import BackendLogin, Codec

Connect = Callable[[], Awaitable[Transport]]
"""Connect to the target. Raises `OSError`."""


def connector(target: Target, port: int) -> Connect:
    """Connect by TCP. Every call looks the name up again and tries all of its addresses (RFC 8305)."""

    async def connect() -> Transport:
        stream = await trio.open_tcp_stream(target.host, port)
        return adopt(socket.socket(fileno=stream.socket.detach()), f"{target.host}:{port}")

    return connect


def adopt(sock: socket.socket, peer: str) -> SocketTransport:
    """Make a transport of a connected TCP socket of ours."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return SocketTransport(sock, peer, local=False)


def client_context(target: Target, alpn: str) -> ssl.SSLContext | None:
    """The TLS context for the target's `tls` mode, None for "disable". Raises `OSError` for an unreadable `tls_ca`."""
    if target.tls == "disable":
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if alpn:
        context.set_alpn_protocols([alpn])
    context.check_hostname = target.tls == "verify-full"
    if target.tls in ("verify-ca", "verify-full"):
        context.verify_mode = ssl.CERT_REQUIRED
        if target.tls_ca is not None:
            context.load_verify_locations(cafile=target.tls_ca)
        else:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@attrs.frozen
class Opener:
    """Everything needed to open backends of one target.

    Attributes:
        codec: the target's engine.
        connect: gives a fresh transport to the server.
        tls: the target's mode; `context` goes with it.
        hostname: for SNI and certificate checks.
        password_of: the password with which a database user logs in to the server, None without one.
        answer: answers the conversations' questions (`Derive`).
        init_query: run once on every new backend; "" for none.
        direct_tls, channel_binding, max_protocol_version: see `BackendLogin`.
    """

    codec: Codec
    connect: Connect
    tls: str
    context: ssl.SSLContext | None
    hostname: str
    password_of: Callable[[str], str | None]
    answer: Callable[[Any], Awaitable[Any]]
    init_query: str = ""
    direct_tls: bool = False
    channel_binding: str = "prefer"
    max_protocol_version: str = ""

    async def open(self, facts: KeyFacts) -> tuple[Transport, Any]:
        """A logged-in transport and the codec's `BackendState`.

        Raises `OSError` (not reachable), `LoginRefused`, `WireError`, `PeerClosed`. On an error or a cancellation
        the socket is closed.
        """
        transport = await self.connect()
        try:
            how = BackendLogin(
                user=facts.user,
                password=self.password_of(facts.user),
                database=facts.database,
                parameters=facts.startup,
                tls=self.tls,
                entropy=os.urandom,
                direct_tls=self.direct_tls,
                channel_binding=self.channel_binding,
                max_protocol_version=self.max_protocol_version,
            )
            state = await self.run(self.codec.login(how), transport)
            if self.init_query:
                await self.run(self.codec.prepare(state, self.init_query), transport)
        except BaseException:
            transport.close()
            raise
        return transport, state

    async def run(self, conversation: Any, transport: Transport) -> Any:
        """Drive one conversation on a server's transport."""
        return await converse(
            conversation,
            transport,
            answer=self.answer,
            client_context=self.context,
            hostname=self.hostname,
        )

    async def cancel(self, state: Any) -> None:
        """Over a connection of its own, cancel what the backend of `state` runs; returns when the server closed it.

        Raises `OSError`, `CodecError`.
        """
        transport = await self.connect()
        try:
            await self.run(self.codec.cancel(state, self.tls, direct_tls=self.direct_tls), transport)
        finally:
            transport.close()
