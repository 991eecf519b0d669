"""Accept clients on the addresses of one proxy, and begin to greet each.

It runs in steps of the switchboard, counts connections and refuses what is over the hard limit; who may log in is
decided later.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import trio

from rdsp.config.addresses import Address
from rdsp.config.model import Proxy, Tcp
from rdsp.endpoint.arrival import arrived, receive_client
from rdsp.net.sockets import UnixListener, tune_anew
from rdsp.net.switchboard import READABLE
from rdsp.net.transport import SocketTransport, Transport, is_resource_trouble
from rdsp.session.bell import Bell
from rdsp.session.context import SessionContext
from rdsp.session.greeting import Greeter
from rdsp.session.login import too_fast
from rdsp_codecs.errors import PeerClosed, WireError
from rdsp_codecs.problems import Problem, ProblemCode

BACKLOG: Final = 4096
_HEADROOM: Final = 1000
"""Connections beyond `max_client_connections` that may be in their login, to be told that there are too many."""
_RETRY: Final = 0.1
_AT_ONCE: Final = 8
"""Clients that are let in before others get their turn."""


class Door:
    """One listening socket.

    Attributes:
        socket: accepts, and does not wait.
        address: with the real port.
        close: closes it, and removes what it has in the file system. Any number of times.
        accept: as `socket.accept`, but gives a descriptor: Python's own face of a socket takes several times as long to
            make as the socket, and nothing here looks at it.
    """

    __slots__ = ("_inherited", "_kind", "_tuned", "accept", "address", "close", "socket")

    def __init__(self, sock: socket.SocketType, address: Address, close: Callable[[], None]) -> None:
        self.socket: Final = sock
        self.address: Final = address
        self.close: Final = close
        self.accept: Final[Callable[[], tuple[int, Any]]] = sock._accept  # type: ignore[attr-defined]
        self._kind: Final = sock.family, sock.type, sock.proto
        self._tuned: Tcp | None = None
        """What the socket is set to."""
        self._inherited: Tcp | None = None
        """What all connections that it still gives were set to from their beginning."""

    def let_in(self, number: int, settings: Tcp) -> socket.SocketType:
        """An accepted socket, with its TCP options. Raises `OSError` for one that is gone; it is closed then."""
        sock = socket.SocketType(*self._kind, number)
        if self._inherited is not settings:
            try:
                if self._tuned is not settings:
                    tune_anew(self.socket, settings)
                    self._tuned, self._inherited = settings, None
                tune_anew(sock, settings)
            except BaseException:
                sock.close()
                raise
        return sock

    def nobody_waits(self) -> None:
        """All connections that came before were accepted."""
        self._inherited = self._tuned

    def fileno(self) -> int:
        """For the switchboard."""
        return self.socket.fileno()


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
    sockets = [socket.SocketType(fileno=listener.socket.detach()) for listener in listeners]
    for sock in sockets:
        sock.setblocking(False)
    return [Door(sock, Address(*sock.getsockname()[:2]), sock.close) for sock in sockets]


def _unix_door(settings: Proxy, address: Address, socket_file: str) -> Door:
    path = address.socket_path(socket_file)
    unix = UnixListener(path, int(settings.unix_socket_permissions, 8), settings.unix_socket_group, BACKLOG)
    unix.socket.setblocking(False)
    return Door(unix.socket, address, unix.close)


class Endpoint:
    """The listeners of one proxy.

    Invariant: `_connected` counts every accepted socket that is not closed; whoever has it tells `_left` once.
    """

    def __init__(self, context: SessionContext, doors: list[Door], *, headroom: int = _HEADROOM) -> None:
        """`headroom`: connections beyond `max_client_connections` that may be in their login."""
        self._headroom = headroom
        self._context = context
        self._doors = doors
        self._connected = 0
        self._resting: set[int] = set()
        """Doors, by descriptor, at which this machine's limits were met; somebody knocks there again in a while."""
        self._nursery: trio.Nursery | None = None
        self._over = trio.Event()
        self._one_left = Bell()

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
        board, context = self._context.board, self._context
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                try:
                    for door in self._doors:
                        board.watch(door, partial(self._knock, door))
                    await self._over.wait()
                finally:
                    self.close()
                while self._connected:
                    await self._one_left.wait()
        finally:
            self._nursery = None
            for visit in [*context.greeters, *context.registry]:
                visit.cut()

    def close(self) -> None:
        """Stop listening, for one that is not run any more. Any number of times."""
        for door in self._doors:
            self._context.board.forget(door)
            door.close()

    def stop_accepting(self) -> None:
        """Close the listening sockets; clients that are in stay."""
        self.close()
        self._over.set()

    def _knock(self, door: Door, mask: int) -> None:
        """Clients wait in front of a door; a step of the board."""
        if door.fileno() in self._resting:
            return
        for _ in range(_AT_ONCE):
            try:
                number, peer = door.accept()
            except BlockingIOError:
                door.nobody_waits()
                return
            except OSError as error:
                if door.socket.fileno() < 0:
                    return  # closed meanwhile
                if not is_resource_trouble(error):
                    continue  # the client was gone before it was accepted
                self._context.observers.trouble(self._context.settings.name, f"accept: {error.strerror}")
                if self._context.errands.start(self._knock_later, door):
                    self._resting.add(door.fileno())
                return
            # Read anew each time: a reload may have changed it.
            if self._connected >= self._context.settings.limits.max_client_connections + self._headroom:
                os.close(number)
            else:
                self._enter(door, number, peer)
        self._context.board.again(partial(self._knock, door), mask)

    async def _knock_later(self, door: Door) -> None:
        number = door.fileno()
        try:
            await trio.sleep(_RETRY)
        finally:
            self._resting.discard(number)
        self._context.board.again(partial(self._knock, door), READABLE)

    def _enter(self, door: Door, number: int, peer: Any) -> None:
        """One accepted socket, by its descriptor, and its peer's address."""
        context, since = self._context, self._context.board.now
        settings = context.settings
        try:
            sock = door.let_in(number, settings.client_tcp)
        except OSError:
            return  # gone already
        self._connected += 1
        try:
            transport = arrived(sock, peer, settings)
        except OSError:
            sock.close()  # gone already
            self._left(False)
            return
        if transport is not None:
            self._greet(transport, since)
        elif self._nursery is not None:
            self._nursery.start_soon(self._announced, sock, peer, since)
            context.board.leave = True
        else:
            sock.close()
            self._left(False)

    def _greet(self, transport: Transport, since: float) -> None:
        refusal = too_fast(self._context)
        counted = refusal is None and bool(self._context.settings.limits.max_connections_per_second)
        left = self._left_counted if counted else self._left
        Greeter(self._context, transport, refusal, left).begin(since)

    def _left(self, was_client: bool) -> None:
        self._connected -= 1
        if not self._connected and self._over.is_set():
            self._one_left.ring()

    def _left_counted(self, was_client: bool) -> None:
        if not was_client:
            self._context.rate.uncount()
        self._left(was_client)

    # -- from a load balancer -------------------------------------------------------------------------------------

    async def _announced(self, sock: socket.SocketType, peer: Any, since: float) -> None:
        """One that has to say first on whose behalf it comes."""
        transport = None
        try:
            transport = await self._receive(sock, peer, since + self._context.settings.limits.login_timeout)
        finally:
            if transport is None:
                self._left(False)
        if transport is not None:
            self._context.board.refresh()
            self._greet(transport, since)

    async def _receive(self, sock: socket.SocketType, peer: Any, deadline: float) -> SocketTransport | None:
        """The client's transport; None: it is closed, and reported if it was not simply gone."""
        try:
            with trio.fail_at(deadline):
                return await receive_client(sock, peer)
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

    def _turn_away(self, sock: socket.SocketType, problem: Problem) -> None:
        """Without a word, as the PROXY protocol demands it: who did not say on whose behalf it comes is nobody."""
        try:
            name = str(sock.getpeername()[0]) if sock.family != socket.AF_UNIX else "unix"
        except OSError:
            name = "unknown"
        sock.close()
        self._context.observers.refused(self._context.settings.name, name, problem, "")
