"""Accept clients on the addresses of one proxy, each into a task of its own.

It counts connections and refuses what is over the hard limit; who may log in is decided later.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from typing import Final

import trio

from rdsp.net.transport import SocketTransport, is_resource_trouble
from rdsp.session.context import SessionContext
from rdsp.session.run import serve_client

BACKLOG: Final = 4096
_HEADROOM: Final = 1000
"""Connections beyond `max_client_connections` that may be in their login, to be told that there are too many."""
_RETRY: Final = 0.1


async def open_listeners(addresses: Sequence[tuple[str, int]]) -> list[trio.SocketListener]:
    """Listen on every address; port 0 picks a free one. Raises `OSError` naming the address; then none is open."""
    listeners: list[trio.SocketListener] = []
    try:
        for host, port in addresses:
            try:
                listeners += await trio.open_tcp_listeners(port, host=host or None, backlog=BACKLOG)
            except OSError as error:
                raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    except BaseException:
        for listener in listeners:
            listener.socket.close()
        raise
    return listeners


class Endpoint:
    """The listeners of one proxy.

    Invariant: every accepted socket is in exactly one task of `_clients`, which closes it.
    """

    def __init__(self, context: SessionContext, listeners: list[trio.SocketListener]) -> None:
        self._context = context
        self._listeners = listeners
        self._connected = 0
        self._accepting = trio.CancelScope()
        self.emptied = trio.Event()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of every listener, with the real ports."""
        return [listener.socket.getsockname()[:2] for listener in self._listeners]

    @property
    def connected(self) -> int:
        """Open client connections, those in their login included."""
        return self._connected

    async def run(self) -> None:
        """Accept until `stop_accepting`, then serve those who are here to their ends. Cancellation ends all of them."""
        async with trio.open_nursery() as clients:
            try:
                with self._accepting:
                    async with trio.open_nursery() as acceptors:
                        for listener in self._listeners:
                            acceptors.start_soon(self._accept, listener, clients)
            finally:
                for listener in self._listeners:
                    listener.socket.close()

    def stop_accepting(self) -> None:
        """Close the listening sockets; clients that are in stay."""
        self._accepting.cancel()

    async def _accept(self, listener: trio.SocketListener, clients: trio.Nursery) -> None:
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if not is_resource_trouble(error):
                    continue  # the client was gone before it was accepted
                self._context.observers.trouble(self._context.settings.name, f"accept: {error.strerror}")
                await trio.sleep(_RETRY)
                continue
            sock = socket.socket(fileno=stream.socket.detach())
            # Read anew each time: a reload may have changed it.
            if self._connected >= self._context.settings.limits.max_client_connections + _HEADROOM:
                sock.close()
                continue
            self._connected += 1
            clients.start_soon(self._serve, sock)

    async def _serve(self, sock: socket.socket) -> None:
        try:
            transport = _transport(sock)
        except OSError:
            sock.close()  # gone already
            self._connected -= 1
            return
        try:
            await serve_client(self._context, transport)
        finally:
            self._connected -= 1


def _transport(sock: socket.socket) -> SocketTransport:
    host, port = sock.getpeername()[:2]
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None) or address
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return SocketTransport(sock, name, local=mapped.is_loopback)
