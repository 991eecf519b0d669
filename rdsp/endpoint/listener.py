"""Accept clients on the addresses of one proxy, each into a task of its own.

It counts connections and refuses what is over the hard limit; who may log in is decided later.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable
from typing import Final

import attrs
import trio

from rdsp.config.addresses import Address
from rdsp.config.model import Proxy, Tcp
from rdsp.net.sockets import UnixListener, tune, unix_peer
from rdsp.net.transport import SocketTransport, is_resource_trouble
from rdsp.session.context import SessionContext
from rdsp.session.run import serve_client

BACKLOG: Final = 4096
_HEADROOM: Final = 1000
"""Connections beyond `max_client_connections` that may be in their login, to be told that there are too many."""
_RETRY: Final = 0.1


@attrs.frozen
class Door:
    """One listening socket.

    Attributes:
        listener: accepts.
        address: with the real port.
        close: closes it, and removes what it has in the file system. Any number of times.
    """

    listener: trio.SocketListener
    address: Address
    close: Callable[[], None]


async def open_listeners(settings: Proxy, socket_file: str) -> list[Door]:
    """Listen on every address of `listen`; port 0 picks a free one.

    Args:
        settings: the proxy's.
        socket_file: see `Address.socket_path`.

    Raises `OSError` naming the address; then none is open.
    """
    doors: list[Door] = []
    try:
        for address in settings.addresses:
            doors += [_unix_door(settings, address, socket_file)] if address.is_unix else await _tcp_doors(address)
    except BaseException:
        for door in doors:
            door.close()
        raise
    return doors


async def _tcp_doors(address: Address) -> list[Door]:
    try:
        listeners = await trio.open_tcp_listeners(address.port, host=address.host or None, backlog=BACKLOG)
    except OSError as error:
        raise OSError(error.errno, f"cannot listen on {address}: {error.strerror}") from error
    return [
        Door(listener, Address(*listener.socket.getsockname()[:2]), listener.socket.close) for listener in listeners
    ]


def _unix_door(settings: Proxy, address: Address, socket_file: str) -> Door:
    path = address.socket_path(socket_file)
    unix = UnixListener(path, int(settings.unix_socket_permissions, 8), settings.unix_socket_group, BACKLOG)
    return Door(trio.SocketListener(trio.socket.from_stdlib_socket(unix.socket)), address, unix.close)


class Endpoint:
    """The listeners of one proxy.

    Invariant: every accepted socket is in exactly one task of `_clients`, which closes it.
    """

    def __init__(self, context: SessionContext, doors: list[Door]) -> None:
        self._context = context
        self._doors = doors
        self._connected = 0
        self._accepting = trio.CancelScope()
        self.emptied = trio.Event()

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of every listener, with the real ports."""
        return [(door.address.host, door.address.port) for door in self._doors]

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
                        for door in self._doors:
                            acceptors.start_soon(self._accept, door.listener, clients)
            finally:
                self.close()

    def close(self) -> None:
        """Stop listening, for one that is not run any more. Any number of times."""
        for door in self._doors:
            door.close()

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
            transport = _transport(sock, self._context.settings.client_tcp)
        except OSError:
            sock.close()  # gone already
            self._connected -= 1
            return
        try:
            await serve_client(self._context, transport)
        finally:
            self._connected -= 1


def _transport(sock: socket.socket, settings: Tcp) -> SocketTransport:
    if sock.family == socket.AF_UNIX:
        return SocketTransport(sock, unix_peer(sock), local=True)
    host, port = sock.getpeername()[:2]
    tune(sock, settings)
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None) or address
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return SocketTransport(sock, name, local=mapped.is_loopback)
