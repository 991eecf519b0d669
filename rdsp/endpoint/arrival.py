"""A connection's first moments: who is at the other end, by the socket's word or by a load balancer's.

Called by the listener for every accepted socket.
"""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache
from typing import Any

import trio

from rdsp.config.addresses import Address
from rdsp.config.model import Proxy
from rdsp.net.proxy_header import MAX_BYTES, Header, HeaderReader
from rdsp.net.sockets import unix_peer
from rdsp.net.transport import SocketTransport
from rdsp_codecs.errors import PeerClosed

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def arrived(sock: socket.SocketType, peer: Any, settings: Proxy) -> SocketTransport | None:
    """Make a transport of an accepted socket; None: a PROXY protocol header comes first, see `receive_client`.

    Raises `OSError` for one that is gone. The socket stays the caller's until a transport is returned.

    Arguments:
        peer: its address, as `accept` gives it.
    """
    address, name, local = _peer(sock, peer)
    if settings.proxy_protocol_from and is_trusted(settings.proxy_protocol_from, address):
        return None
    return SocketTransport(sock, name, local=local)


async def receive_client(sock: socket.SocketType, peer: Any) -> SocketTransport:
    """Make a transport of an accepted socket that has to say first on whose behalf it comes.

    Raises `OSError` for one that is gone, `PeerClosed`, and `WireError` for a header that is missing or malformed. The
    socket stays the caller's until this returns. Deadlines are the caller's. For `peer` see `arrived`.
    """
    _, name, local = _peer(sock, peer)
    sock.setblocking(False)
    name, local = announced(await _header(sock), name, local=local)
    return SocketTransport(sock, name, local=local)


def _peer(sock: socket.SocketType, peer: Any) -> tuple[IpAddress | None, str, bool]:
    """Who is at the other end: the address (None: a Unix socket), a name for logs, whether it is on this machine."""
    if not isinstance(peer, tuple):  # of a Unix socket it is a path
        return None, unix_peer(sock), True
    address, shown, local = _known(peer[0])
    return address, f"{shown}:{peer[1]}", local


def is_trusted(networks: tuple[str, ...], address: IpAddress | None) -> bool:
    """Whether a peer must say on whose behalf it comes. `address`: None for one over a Unix socket."""
    if not networks:
        return False
    if address is None:
        return "unix" in networks
    return any(address in network for network in _networks(networks))


def announced(header: Header, name: str, *, local: bool) -> tuple[str, bool]:
    """The client's name and whether it is on this machine; `name` and `local` are the load balancer's own.

    Who comes from another machine's load balancer is never local, and neither is who is not named: 127.0.0.1 is then
    that other machine, and nobody may be anybody.
    """
    if header.local:
        return name, local
    if header.source is None:
        return f"unknown, through {name}", False
    host, port = header.source
    return str(Address(host, port)), local and _plain(host).is_loopback


async def _header(sock: socket.SocketType) -> Header:
    reader = HeaderReader()
    while reader.header is None:
        try:
            seen = sock.recv(MAX_BYTES, socket.MSG_PEEK)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)
            continue
        if not seen:
            raise PeerClosed("closed before the end of the PROXY protocol header")
        sock.recv(reader.feed(seen))
    return reader.header


def _plain(host: str) -> IpAddress:
    """An address; of one that IPv6 has for an IPv4 client, the latter."""
    address = ipaddress.ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


@lru_cache(maxsize=1024)
def _known(host: str) -> tuple[IpAddress, str, bool]:
    """The address of a host, how it is shown in front of a port, and whether it is this machine."""
    address = _plain(host)
    return address, str(Address(host, 0)).removesuffix(":0"), address.is_loopback


@lru_cache(maxsize=64)
def _networks(texts: tuple[str, ...]) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts if text != "unix")
