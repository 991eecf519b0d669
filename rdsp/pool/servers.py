"""Where a target's servers are: the ways to them, in the order in which they are to be tried.

`rdsp.pool.opening` goes them. Which server a database connection then is with, nobody needs to know but who cancels
on it: a way that was gone once leads to the same address again.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

import trio

from rdsp.config.addresses import Address
from rdsp.config.model import Target, Tcp
from rdsp.net.sockets import connect_unix, tune
from rdsp.net.transport import SocketTransport, Transport

LAST_FOR: Final = 10.0
"""Seconds for which a place that did not serve is tried behind the others."""


class Way(Protocol):
    """How to get to one server."""

    name: str
    """For logs and errors."""

    hostname: str
    """For SNI and certificate checks."""

    may_use_tls: bool
    """False: TLS is never used, whatever the settings say (Unix sockets, as libpq does it)."""

    async def connect(self) -> Transport:
        """Connect. Raises `OSError`. After a success it leads to the very same address."""


class TcpWay:
    """By TCP. The name is looked up at the first connect; all of its addresses are tried (RFC 8305)."""

    may_use_tls = True

    def __init__(self, address: Address, tcp: Tcp, exactly: str = "") -> None:
        """`exactly`: connect to this address, and use the host's name for nothing but TLS."""
        self.name = str(Address(exactly, address.port)) if exactly else str(address)
        self.hostname = address.host
        self._tcp = tcp
        self._place = exactly or address.host, address.port

    async def connect(self) -> Transport:
        """See `Way`."""
        stream = await trio.open_tcp_stream(*self._place)
        sock = socket.socket(fileno=stream.socket.detach())
        try:
            tune(sock, self._tcp)
            self._place = sock.getpeername()[:2]
        except BaseException:
            sock.close()
            raise
        return SocketTransport(sock, self.name, local=False)


class UnixWay:
    """By a Unix socket."""

    may_use_tls = False

    def __init__(self, address: Address, path: str) -> None:
        self.name = str(address)
        self.hostname = "localhost"
        self._path = path

    async def connect(self) -> Transport:
        """See `Way`."""
        return SocketTransport(await connect_unix(self._path), self.name, local=True)


class Servers:
    """The places of one target.

    Args:
        target: as configured.
        default_port: the engine's.
        socket_file: see `Address.socket_path`.
        tcp: for connections from now on; may be replaced.
    """

    def __init__(self, target: Target, default_port: int, socket_file: str, tcp: Tcp) -> None:
        self.tcp = tcp
        self._addresses = [
            address if address.port else Address(address.host, default_port) for address in target.addresses
        ]
        self._socket_file = socket_file
        self._each_address = target.target_session_attrs != "any"
        self._troubles = Troubles()

    async def ways(self) -> Sequence[Way]:
        """The ways of this moment, best first; at least one. Cancellation leaves nothing behind."""
        found: list[Way] = []
        for address in self._addresses:
            if address.is_unix:
                found.append(UnixWay(address, address.socket_path(self._socket_file)))
            else:
                found += [TcpWay(address, self.tcp, exactly) for exactly in await self._look_up(address)]
        return self._troubles.last(found, trio.current_time())

    async def _look_up(self, address: Address) -> Iterable[str]:
        """All addresses of a name where each is to be looked at; "" leaves them to the connect."""
        if not self._each_address:
            return [""]
        try:
            found = await trio.socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        except OSError:
            return [""]  # the connect will say why
        return dict.fromkeys(str(entry[4][0]) for entry in found)

    def failed(self, way: Way) -> None:
        """It did not serve."""
        self._troubles.failed(way.name, trio.current_time())

    def served(self, way: Way) -> None:
        """It did."""
        self._troubles.served(way.name)

    def failed_lately(self, way: Way) -> bool:
        """Whether it did not serve in the last seconds, and has not since."""
        return self._troubles.has(way.name, trio.current_time())


class Troubles:
    """Who did not serve, and since when. Pure."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def failed(self, name: str, now: float) -> None:
        """It did not serve at `now`."""
        self._since[name] = now

    def served(self, name: str) -> None:
        """It did; what was before is forgotten."""
        self._since.pop(name, None)

    def has(self, name: str, now: float) -> bool:
        """Whether it is tried behind the others."""
        return name in self._since and now < self._since[name] + LAST_FOR

    def last(self, ways: Iterable[Way], now: float) -> list[Way]:
        """The same ways in the same order, but those that did not serve lately behind all others."""
        # Names may have had other addresses: what is too old to count is forgotten.
        self._since = {name: since for name, since in self._since.items() if now < since + LAST_FOR}
        return sorted(ways, key=lambda way: way.name in self._since)
