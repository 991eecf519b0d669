"""Accept clients on the addresses of one proxy, each into a task of its own.

It counts connections and refuses what is over the hard limit; who may log in is decided later.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

import attrs
import trio

from rdsp.config.addresses import Address
from rdsp.config.model import Proxy
from rdsp.endpoint.arrival import receive_client
from rdsp.endpoint.rate import Rate
from rdsp.net.sockets import UnixListener
from rdsp.net.transport import SocketTransport, is_resource_trouble
from rdsp.session.context import SessionContext
from rdsp.session.run import serve_client
from rdsp_codecs.errors import PeerClosed, WireError
from rdsp_codecs.problems import Problem, ProblemCode

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
        self._rate = Rate()
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
        """One accepted socket to its end."""
        context, since = self._context, trio.current_time()
        limits = context.settings.limits
        admitted = self._rate.admits(since, limits.max_connections_per_second, limits.connection_burst)
        refusal = None if admitted else Problem(ProblemCode.TOO_FAST, str(limits.max_connections_per_second))
        try:
            transport = await self._receive(sock, since + limits.login_timeout)
            if transport is not None:
                was_client = await serve_client(context, transport, since, refusal)
                if admitted and not was_client:
                    self._rate.uncount()
        finally:
            self._connected -= 1

    async def _receive(self, sock: socket.socket, deadline: float) -> SocketTransport | None:
        """The client's transport; None: it is closed, and reported if it was not simply gone."""
        context = self._context
        try:
            with trio.fail_at(deadline):
                return await receive_client(sock, context.settings)
        except (OSError, PeerClosed):
            sock.close()  # gone already
        except trio.TooSlowError:
            self._turn_away(sock, Problem(ProblemCode.LOGIN_TIMEOUT))
        except WireError as error:
            self._turn_away(sock, Problem(ProblemCode.PROTOCOL_VIOLATION, str(error)))
        except BaseException:
            sock.close()
            raise
        return None

    def _turn_away(self, sock: socket.socket, problem: Problem) -> None:
        """Without a word, as the PROXY protocol demands it: who did not say on whose behalf it comes is nobody."""
        try:
            name = str(sock.getpeername()[0]) if sock.family != socket.AF_UNIX else "unix"
        except OSError:
            name = "unknown"
        sock.close()
        self._context.observers.refused(self._context.settings.name, name, problem, "")
