"""TLS whose handshake stands within an engine's own messages, and that ends behind the login: over real sockets."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest
import trio

from rdsp.config.model import ClientTls
from rdsp.converse import converse
from rdsp.net.tls import Certificates
from rdsp.net.transport import SocketTransport
from rdsp_codecs.errors import PeerClosed, WireError
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.sqlserver.enveloping import Envelope
from rdsp_codecs.steps import Conversation, EndTls, Receive, Send, StartTls, TlsFacts, TlsSide


@pytest.fixture
def server_context() -> ssl.SSLContext:
    current = Certificates(ClientTls()).current
    assert current is not None
    return current.context


@pytest.fixture
def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@pytest.fixture
def ends() -> Iterator[tuple[SocketTransport, SocketTransport]]:
    one, other = socket.socketpair()
    transports = SocketTransport(one, "client", local=True), SocketTransport(other, "server", local=True)
    yield transports
    for each in transports:
        each.close()


def reads(size: int) -> Conversation[bytes]:
    found = b""
    while len(found) < size:
        found += yield Receive()
    return found


async def both(
    ends: tuple[SocketTransport, SocketTransport],
    client: Conversation[object],
    server: Conversation[object],
    client_context: ssl.SSLContext,
    server_context: ssl.SSLContext,
) -> list[object]:
    """What both conversations come to: a result or an error of a codec's."""
    found: list[object] = [None, None]

    async def run(at: int, conversation: Conversation[object]) -> None:
        try:
            found[at] = await converse(
                conversation, ends[at], server_context=server_context, client_context=client_context
            )
        except (WireError, PeerClosed) as error:
            found[at] = error
            ends[at].close()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, 0, client)
            nursery.start_soon(run, 1, server)
    return found


async def test_a_handshake_within_messages_is_followed_by_plain_records(
    ends: tuple[SocketTransport, SocketTransport], client_context: ssl.SSLContext, server_context: ssl.SSLContext
) -> None:
    def client() -> Conversation[object]:
        facts: TlsFacts = yield StartTls(TlsSide.CLIENT, Envelope())
        yield Send(b"login" * 5000)
        return facts.version, (yield from reads(4))

    def server() -> Conversation[object]:
        facts: TlsFacts = yield StartTls(TlsSide.SERVER, Envelope())
        said = yield from reads(25_000)
        yield Send(b"fine")
        return facts.version, said

    found = await both(ends, client(), server(), client_context, server_context)
    assert found == [("TLSv1.2", b"fine"), ("TLSv1.2", b"login" * 5000)]
    assert client_context.maximum_version is not ssl.TLSVersion.TLSv1_2, "others may still have 1.3"
    assert ends[0].records is not None


async def test_what_follows_a_login_may_be_without_encryption(
    ends: tuple[SocketTransport, SocketTransport], client_context: ssl.SSLContext, server_context: ssl.SSLContext
) -> None:
    def client() -> Conversation[object]:
        yield StartTls(TlsSide.CLIENT, Envelope())
        yield Send(b"login")
        yield EndTls()
        return (yield from reads(4))

    def server() -> Conversation[object]:
        yield StartTls(TlsSide.SERVER, Envelope())
        said = yield from reads(5)
        yield EndTls()
        yield Send(b"fine")
        return said

    assert await both(ends, client(), server(), client_context, server_context) == [b"fine", b"login"]
    assert ends[0].records is None
    assert ends[0].tls is None
    assert ends[0].send(b"plain") == 5
    assert ends[1].recv(100) == b"plain"


async def test_who_goes_on_encrypted_behind_the_login_is_not_served(
    ends: tuple[SocketTransport, SocketTransport], client_context: ssl.SSLContext, server_context: ssl.SSLContext
) -> None:
    def shakes(side: TlsSide) -> Conversation[object]:
        return (yield StartTls(side, Envelope()))

    await both(ends, shakes(TlsSide.CLIENT), shakes(TlsSide.SERVER), client_context, server_context)
    client, server = ends
    client.send(b"login")
    client.send(b"and more")
    assert server.recv(100) == b"login"
    with pytest.raises(WireError):
        server.end_tls()


@pytest.mark.parametrize(
    "said",
    [
        b"\x12\x01\x00\x04\x00\x00\x01\x00",
        b"\x04\x01\x00\x09\x00\x00\x01\x00x",
        b"\x12\x01\x00\x1c\x00\x00\x01\x00" + b"x" * 20,
    ],
)
async def test_what_is_no_handshake_is_refused(
    ends: tuple[SocketTransport, SocketTransport],
    client_context: ssl.SSLContext,
    server_context: ssl.SSLContext,
    said: bytes,
) -> None:
    def client() -> Conversation[object]:
        yield Send(said)
        return (yield Receive())

    def server() -> Conversation[object]:
        yield StartTls(TlsSide.SERVER, Envelope())
        return None

    found = await both(ends, client(), server(), client_context, server_context)
    assert isinstance(found[1], WireError)


def test_an_envelope_gives_what_stands_in_packets_and_all_that_stands_behind_them() -> None:
    record = b"\x17\x03\x03\x00\x05hello"
    whole = f.packets(f.PRELOGIN, b"a" * 5000, f.BEFORE_LOGIN) + f.packets(f.PRELOGIN, b"b", f.BEFORE_LOGIN) + record
    for size in (1, 7, 4096, 100_000):
        layer, found = Envelope(), b""
        for at in range(0, len(whole), size):
            found += layer.unwrap(whole[at : at + size], 1000)
            while layer.more:
                found += layer.unwrap(b"", 1000)
        assert found == b"a" * 5000 + b"b" + record
        assert not layer.begun
