"""TLS over memory, on real sockets: whatever the pieces, the same bytes; and what a `recv` knows about the next one."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import select
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsp.converse import start_tls
from rdsp.net.records import PLAIN
from rdsp.net.switchboard import READABLE, Switchboard
from rdsp.net.tls import self_signed
from rdsp.net.transport import WOULD_BLOCK, SocketTransport
from rdsp_codecs.steps import TlsSide
from tests.waiting import PATIENCE

CHUNK = 65536
Contexts = tuple[ssl.SSLContext, ssl.SSLContext]
Ends = tuple[SocketTransport, SocketTransport]


def contexts(folder: Path) -> Contexts:
    certificate, key = self_signed(["localhost"])
    (folder / "both.pem").write_bytes(certificate + key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "both.pem")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    return server, client


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    return contexts(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def shaken(both: Contexts, buffer: int = 0) -> AsyncIterator[Ends]:
    """Two ends; `buffer`: bytes that a socket holds, about."""
    one, other = socket.socketpair()
    for sock in (one, other) if buffer else ():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    ours, theirs = SocketTransport(one, "ours", local=True), SocketTransport(other, "theirs", local=True)
    try:
        await shake_hands(both, ours, theirs)
        yield ours, theirs
    finally:
        ours.close()
        theirs.close()


async def shake_hands(both: Contexts, ours: SocketTransport, theirs: SocketTransport) -> None:
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(start_tls, ours, TlsSide.SERVER, both[0])
            nursery.start_soon(start_tls, theirs, TlsSide.CLIENT, both[1])
    # The client reads the server's session tickets.
    await theirs.wait_readable()
    with pytest.raises(WOULD_BLOCK):
        theirs.recv(1)


def has_news(end: SocketTransport) -> bool:
    """Whether the socket itself has something."""
    try:
        return bool(end.peek(1))
    except WOULD_BLOCK:
        return False


class Reader:
    """Reads as a step does, behind an edge, and finds out whether what a `recv` says of the next one is so."""

    def __init__(self, end: SocketTransport, limit: int) -> None:
        self.end, self.limit = end, limit
        self.edges = select.epoll()
        self.edges.register(end.fileno(), select.EPOLLIN | select.EPOLLET)

    def take(self) -> bytes:
        """One `recv`; b"" when there is nothing now."""
        self.edges.poll(0)
        records = self.end.records
        assert records is not None
        try:
            data = self.end.recv(self.limit)
        except WOULD_BLOCK:
            assert not has_news(self.end)
            return b""
        assert len(data) <= self.limit
        if records.drained:
            assert not records.unread
            assert not has_news(self.end) or self.edges.poll(0)
        return data

    def everything(self) -> bytes:
        """All that is there now."""
        got = b""
        while piece := self.take():
            got += piece
        return got


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 70_000), st.booleans()), min_size=1, max_size=8),
    st.sampled_from([1, 5, 4096, PLAIN, CHUNK]),
    st.sampled_from([0, 4096, 20_000]),
)
def test_what_is_sent_arrives_whatever_the_pieces(
    both: Contexts, pieces: list[tuple[int, bool]], limit: int, buffer: int
) -> None:
    if limit <= 5:
        pieces = [(size % 3000 + 1, eager) for size, eager in pieces]

    async def run() -> None:
        async with shaken(both, buffer) as (ours, theirs):
            reader = Reader(theirs, limit)
            sent = got = b""
            stuck = 0
            for number, (size, eager) in enumerate(pieces):
                rest = bytes([number + 65]) * size
                sent += rest
                while rest:
                    try:
                        done = ours.send(memoryview(rest) if number % 2 else rest)  # type: ignore[arg-type]
                        assert done > 0
                        rest = rest[done:]
                    except ssl.SSLWantWriteError:
                        piece = reader.take()
                        stuck = 0 if piece else stuck + 1
                        assert stuck < 50, "neither end can go on"
                        got += piece
                got += reader.everything() if eager else b""
            assert got + reader.everything() == sent
            ours.close()
            assert theirs.recv(limit) == b""
            reader.edges.close()

    trio.run(run)


async def test_a_record_in_two_halves_waits_for_its_end(both: Contexts) -> None:
    (one, left), (right, other) = socket.socketpair(), socket.socketpair()
    ours, theirs = SocketTransport(one, "ours", local=True), SocketTransport(other, "theirs", local=True)

    async def pump() -> None:
        while True:
            for giver, taker in ((left, right), (right, left)):
                with contextlib.suppress(BlockingIOError):
                    taker.send(giver.recv(CHUNK, socket.MSG_DONTWAIT))
            await trio.sleep(0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(pump)
        await shake_hands(both, ours, theirs)
        nursery.cancel_scope.cancel()
    theirs.send(b"halves")
    sealed = right.recv(CHUNK)
    left.send(sealed[:7])
    assert ours.records is not None
    with pytest.raises(WOULD_BLOCK):
        ours.recv(CHUNK)
    assert not ours.records.ready
    with pytest.raises(WOULD_BLOCK):
        ours.recv(CHUNK)
    left.send(sealed[7:])
    assert ours.recv(CHUNK) == b"halves"
    assert ours.records.drained
    for end in (ours, theirs, left, right):
        end.close()


async def test_two_records_that_came_together_are_both_read(both: Contexts) -> None:
    async with shaken(both) as (ours, theirs):
        theirs.send(b"one")
        theirs.send(b"two")
        assert ours.records is not None
        assert ours.recv(CHUNK) == b"one"
        assert not ours.records.drained
        assert ours.has_unread()
        assert not has_news(ours)
        with trio.fail_after(PATIENCE):
            await ours.wait_readable()
        assert ours.recv(CHUNK) == b"two"
        # Something may have come since they did, whose edge is spent.
        assert not ours.records.drained
        theirs.send(b"three")
        assert ours.recv(CHUNK) == b"three"
        assert ours.records.drained


async def test_what_came_before_the_watch_is_an_edge_though_the_socket_is_empty(both: Contexts) -> None:
    board = Switchboard()
    async with shaken(both) as (ours, theirs):
        theirs.send(b"login")
        theirs.send(b"query")
        assert ours.recv(CHUNK) == b"login"
        got: list[bytes] = []

        def step(mask: int) -> None:
            if mask & READABLE:
                got.append(ours.recv(CHUNK))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(board.run)
            board.watch(ours, step)
            with trio.fail_after(PATIENCE):
                while not got:
                    await trio.sleep(0.001)
            nursery.cancel_scope.cancel()
        assert got == [b"query"]
        board.forget(ours)
    board.close()


async def test_nobody_is_told_what_came_before_a_watch_that_is_over(both: Contexts) -> None:
    board = Switchboard()
    async with shaken(both) as (ours, theirs):
        theirs.send(b"one")
        theirs.send(b"two")
        assert ours.recv(CHUNK) == b"one"
        masks: list[int] = []
        board.watch(ours, masks.append)
        board.forget(ours)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(board.run)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert masks == []
    board.close()


async def test_an_end_without_a_word_is_an_end(both: Contexts) -> None:
    async with shaken(both) as (ours, theirs):
        theirs.send(b"last")
        theirs._sock.close()
        assert ours.recv(CHUNK) == b"last"
        assert ours.recv(CHUNK) == b""


async def test_what_is_no_record_is_an_error_and_the_peer_is_told(both: Contexts) -> None:
    async with shaken(both) as (ours, theirs):
        theirs._sock.send(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        with pytest.raises(ssl.SSLError, match="(?i)bad|decrypt"):
            ours.recv(CHUNK)
        with pytest.raises(ssl.SSLError, match="(?i)alert"):
            theirs.recv(CHUNK)


async def test_a_peer_that_is_gone_is_told_of_by_send(both: Contexts) -> None:
    async with shaken(both) as (ours, theirs):
        theirs._sock.close()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            ours.send(b"x")


async def test_a_close_in_the_middle_of_a_record_adds_nothing(both: Contexts) -> None:
    async with shaken(both, 4096) as (ours, theirs):
        with pytest.raises(ssl.SSLWantWriteError):
            ours.send(b"x" * PLAIN)
        ours.close()
        assert theirs.recv(CHUNK) == b""


class KeyUpdates:
    """A client's KeyUpdate messages that ask for one in return (RFC 8446, 4.6.3 and 7), sealed by hand."""

    def __init__(self, secrets: Path) -> None:
        """`secrets`: what the client's context has logged, of one connection with TLS_AES_256_GCM_SHA384."""
        lines = [line.split() for line in secrets.read_text().splitlines()]
        (self._secret,) = (bytes.fromhex(words[2]) for words in lines if words[0] == "CLIENT_TRAFFIC_SECRET_0")

    def _expand(self, label: bytes, size: int) -> bytes:
        info = size.to_bytes(2, "big") + bytes([6 + len(label)]) + b"tls13 " + label + b"\0"
        return hmac.digest(self._secret, info + b"\1", hashlib.sha384)[:size]

    def take(self, count: int) -> bytes:
        """The next so many records. Each is the first one under its key."""
        records = []
        for _ in range(count):
            head = b"\x17\3\3\0\x16"
            sealed = AESGCM(self._expand(b"key", 32)).encrypt(self._expand(b"iv", 12), b"\x18\0\0\1\1\x16", head)
            records.append(head + sealed)
            self._secret = self._expand(b"traffic upd", 48)
        return b"".join(records)


@asynccontextmanager
async def rekeying(folder: Path, buffer: int = 0) -> AsyncIterator[tuple[SocketTransport, socket.socket, KeyUpdates]]:
    """A server's end, the client's bare socket, and what the client may say on it."""
    server, client = contexts(folder)
    client.keylog_filename = str(folder / "secrets")
    async with shaken((server, client), buffer) as (ours, theirs):
        with socket.socket(fileno=os.dup(theirs.fileno())) as bare:
            bare.setblocking(False)
            yield ours, bare, KeyUpdates(folder / "secrets")


async def test_what_tls_answers_by_itself_is_sent_though_nothing_is_read(tmp_path: Path) -> None:
    """It must not heap up here for a client that says nothing else."""
    async with rekeying(tmp_path) as (ours, bare, updates):
        answered = 0
        for number in range(1, 20):
            bare.send(updates.take(10))
            with pytest.raises(WOULD_BLOCK):
                ours.recv(CHUNK)
            answered += len(bare.recv(CHUNK))
            assert answered == (10 * number - 1) * 27  # the last one is not answered before something is sent


async def test_who_asks_for_answers_and_does_not_read_them_is_lost(tmp_path: Path) -> None:
    async with rekeying(tmp_path, 4096) as (ours, bare, updates):
        with pytest.raises(ssl.SSLError, match="does not read"):
            for _ in range(100):
                bare.send(updates.take(50))
                with contextlib.suppress(*WOULD_BLOCK[:1], ssl.SSLWantReadError):
                    ours.recv(CHUNK)


async def test_one_recv_does_not_go_on_for_ever_over_what_carries_nothing(tmp_path: Path) -> None:
    """A peer that sends as fast as TLS can look at it would keep all others waiting."""
    async with rekeying(tmp_path) as (ours, bare, updates):
        data = updates.take(6000)
        bare.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        assert bare.send(data) == len(data)
        with pytest.raises(ssl.SSLError, match="nothing but"):
            ours.recv(CHUNK)
        assert has_news(ours)
