"""One end of a byte stream: what sessions, conversations and the switchboard need of a socket.

Two implementations: `SocketTransport` here, and the in-memory ones of `rdsp.net.memory`, whose delays, splits and
resets are scripted. Nothing in this module knows a protocol.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Final, Protocol

import trio

from rdsp.net.layered import Layered
from rdsp.net.overlay import Overlay
from rdsp.net.records import SEALED, Records
from rdsp.net.tls import end_point
from rdsp_codecs.errors import WireError
from rdsp_codecs.layering import Layer
from rdsp_codecs.steps import TlsFacts, TlsSide

WOULD_BLOCK: Final = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
"""What `recv` and `send` raise when they cannot go on now."""

GONE: Final = (ConnectionError, ssl.SSLError, TimeoutError, BrokenPipeError)
"""What they raise when the peer is lost. (`OSError` with other numbers is a bug or the machine's trouble.)"""


class Transport(Protocol):
    """A non-blocking byte stream with awaitable readiness."""

    peer: str
    """The other end, for logs: "10.0.0.1:5432", "unix", "memory-7"."""

    local: bool
    """The other end is on this machine (loopback address or Unix socket)."""

    tls: TlsFacts | None

    in_handshake: bool
    """A TLS handshake was begun and has not succeeded: nothing can be said, nor read."""

    records: Overlay | None
    """TLS over memory, or a layer of the engine's: tells what stands there, which the socket's readiness does not."""

    def recv(self, limit: int, /) -> bytes:
        """At most `limit` bytes; b"" at end of file. Raises one of WOULD_BLOCK or GONE."""

    def send(self, data: bytes, /) -> int:
        """Hand over a prefix of `data`, return its length. After WOULD_BLOCK offer the very same bytes again.

        TLS may have to read before it writes, and the other way round: `ssl.SSLWantReadError` says which it is.
        """

    def fileno(self) -> int:
        """A number that names the stream to its switchboard until it is closed."""

    def peek(self, limit: int, /) -> bytes:
        """What `recv` would give, which it gives all the same afterwards. Only before TLS."""

    def has_unread(self) -> bool:
        """Whether bytes wait or the peer has closed: an idle backend for which this holds is not clean."""

    async def wait_readable(self) -> None:
        """Return when `recv` is worth trying."""

    async def wait_writable(self) -> None:
        """Return when `send` is worth trying."""

    def begin_tls(
        self, side: TlsSide, context: ssl.SSLContext, server_hostname: str | None, within: Layer | None = None
    ) -> None:
        """Begin a handshake; `shake` does it. Only `close` is legal behind one that is not finished.

        `within`: what it passes through, and nothing behind it does.
        """

    def shake(self) -> TlsFacts:
        """Go on with the handshake, to its end. Raises one of WOULD_BLOCK, then call it again when the stream is ready.

        Raises `ssl.SSLError` or a connection error when it fails.
        """

    def end_tls(self) -> None:
        """From now on nothing is encrypted. Raises `WireError` where the peer has said more that is."""

    def put_on(self, layer: Layer, early: bytes) -> None:
        """From now on `recv` and `send` pass through the layer; `early`: what was read already. Once."""

    def shutdown(self) -> None:
        """End our side: the peer comes to an end of file. What `recv` gives from then on is for nobody to read."""

    def close(self) -> None:
        """Close at once. Any number of times. With something unread here, the peer may lose what it has not read."""

    def reset(self) -> None:
        """Close so that unsent bytes are thrown away (a TCP reset)."""


class _Handshake:
    """A TLS handshake over a socket that does not wait.

    Invariant: `_rest` was made by OpenSSL and not sent yet; nothing is read or shaken before it is gone.
    """

    __slots__ = ("_done", "_rest", "_starved", "_within", "incoming", "outgoing", "tls")

    def __init__(
        self, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, within: Layer | None
    ) -> None:
        self._within = within
        self.tls = tls
        self.incoming = incoming
        self.outgoing = outgoing
        self._rest = b""
        self._starved = False
        self._done = False

    def go_on(self, sock: socket.SocketType) -> None:
        """To its end. Raises `ssl.SSLWantReadError` or `SSLWantWriteError` where it has to wait for that."""
        while True:
            self._send(sock)
            if self._done:
                if self._within is not None and self._within.begun:
                    msg = "half a message behind the handshake"
                    raise ssl.SSLError(msg)
                return
            if self._starved:
                self._take_more(sock)
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._starved = True
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    sock.send(self._sealed())  # an alert, which is the last that is said
                raise
            else:
                self._done = True
            self._rest = self._sealed()

    def _sealed(self) -> bytes:
        """What OpenSSL has to say, as it goes out."""
        said = self.outgoing.read()
        return said if self._within is None or not said else self._within.wrap(said)

    def _send(self, sock: socket.SocketType) -> None:
        while self._rest:
            try:
                self._rest = self._rest[sock.send(self._rest) :]
            except BlockingIOError:
                raise ssl.SSLWantWriteError from None

    def _take_more(self, sock: socket.SocketType) -> None:
        """Some more of the peer's bytes; at the end of the file OpenSSL is told so, and raises."""
        try:
            data = sock.recv(SEALED)
        except BlockingIOError:
            raise ssl.SSLWantReadError from None
        if data:
            while data or (self._within is not None and self._within.more):
                self.incoming.write(data if self._within is None else self._within.unwrap(data, SEALED))
                data = b""
        else:
            self.incoming.write_eof()
        self._starved = False


class SocketTransport:
    """A `Transport` over a connected stream socket.

    Invariant: the socket is non-blocking and owned here; `recv` and `send` are the bound methods of the socket, or of
    its TLS records, so that the steady state pays for no wrapper.
    """

    __slots__ = ("_handshake", "_sock", "fileno", "in_handshake", "local", "peer", "records", "recv", "send", "tls")

    def __init__(self, sock: socket.SocketType, peer: str, *, local: bool) -> None:
        sock.setblocking(False)
        self.peer = peer
        self.local = local
        self.tls: TlsFacts | None = None
        self.records: Overlay | None = None
        self._handshake: _Handshake | None = None
        self.in_handshake = False
        self._sock = sock
        self.recv: Callable[[int], bytes] = sock.recv
        self.send: Callable[[bytes], int] = sock.send
        self.fileno = sock.fileno

    def peek(self, limit: int, /) -> bytes:
        """See `Transport`."""
        return self._sock.recv(limit, socket.MSG_PEEK)

    def has_unread(self) -> bool:
        """See `Transport`. Over TLS anything unread may also be a session ticket, so this only says "look"."""
        try:
            if self.records is not None and self.records.unread:
                return True
            self._sock.recv(1, socket.MSG_PEEK)
        except WOULD_BLOCK:
            return False
        except OSError:
            return True
        return True

    async def wait_readable(self) -> None:
        """See `Transport`."""
        if self.records is not None and self.records.ready:
            await trio.lowlevel.checkpoint()
            return
        await trio.lowlevel.wait_readable(self._sock)

    async def wait_writable(self) -> None:
        """See `Transport`."""
        await trio.lowlevel.wait_writable(self._sock)

    def begin_tls(
        self, side: TlsSide, context: ssl.SSLContext, server_hostname: str | None, within: Layer | None = None
    ) -> None:
        """See `Transport`."""
        self.in_handshake = True
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = side is TlsSide.SERVER
        most = context.maximum_version
        if within is not None:
            # 1.3 has messages behind its handshake, which would not be within. A connection takes over the limits of
            # its context when it is made.
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        try:
            tls = context.wrap_bio(incoming, outgoing, server_side=server, server_hostname=server_hostname)
        finally:
            context.maximum_version = most
        self._handshake = _Handshake(tls, incoming, outgoing, within)

    def shake(self) -> TlsFacts:
        """See `Transport`."""
        handshake = self._handshake
        assert handshake is not None
        handshake.go_on(self._sock)
        tls = handshake.tls
        self.records = records = Records(tls, handshake.incoming, handshake.outgoing, self._sock.recv, self._sock.send)
        self.recv, self.send = records.recv, records.send
        self._handshake = None
        self.in_handshake = False
        certificate = tls.getpeercert(binary_form=True) or b""
        self.tls = TlsFacts(
            version=tls.version() or "",
            alpn=tls.selected_alpn_protocol() or "",
            peer_certificate=certificate,
            end_point=b"" if tls.server_side else end_point(certificate),
        )
        return self.tls

    def end_tls(self) -> None:
        """See `Transport`."""
        if self.records is not None and self.records.unread:
            msg = "the peer has said more, encrypted, than it may"
            raise WireError(msg)
        self.records = self.tls = None
        self.recv, self.send = self._sock.recv, self._sock.send

    def put_on(self, layer: Layer, early: bytes) -> None:
        """See `Transport`."""
        self.records = layered = Layered(layer, early, self.recv, self.send, self.records)
        self.recv, self.send = layered.recv, layered.send

    def shutdown(self) -> None:
        """See `Transport`. Over TLS a close_notify is sent, and nothing is deciphered any more."""
        if self.records is not None:
            self.records.close_notify()
            self.records = None
            self.recv = self._sock.recv
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """See `Transport`. Over TLS a close_notify is sent, and the peer's is not waited for."""
        if self._sock.fileno() >= 0:
            if self.records is not None:
                self.records.close_notify()
            try:  # noqa: SIM105 - every session ends here, and `suppress` is dear
                self._sock.close()
            except OSError:
                pass

    def reset(self) -> None:
        """See `Transport`."""
        if self._sock.fileno() >= 0:
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.close()

    def __repr__(self) -> str:
        return f"<SocketTransport {self.peer} {self.tls.version if self.tls else 'plain'}>"


_DEAD: Final = {errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH}


def is_peer_loss(error: OSError) -> bool:
    """Whether an `OSError` of `recv` or `send` means that the peer is lost (rather than a fault on our side)."""
    return isinstance(error, GONE) or error.errno in _DEAD


_RESOURCES: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def is_resource_trouble(error: OSError) -> bool:
    """Whether this machine, not the peer, is at its limit (descriptors, memory)."""
    return error.errno in _RESOURCES
