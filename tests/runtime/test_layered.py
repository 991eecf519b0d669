"""An engine's layer over real sockets, with TLS below it and without, and in memory: the same bytes, and no lost edge."""

from __future__ import annotations

import random
import select
import socket

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from rdsp.converse import converse, receive, send_all
from rdsp.net.layered import BITE
from rdsp.net.memory import memory_pair
from rdsp.net.transport import WOULD_BLOCK, SocketTransport, Transport
from rdsp_codecs.errors import WireError
from rdsp_codecs.layering import Layer
from rdsp_codecs.steps import RECEIVE, Conversation, PutOn, Send
from tests.runtime.test_records import Contexts, contexts, shake_hands
from tests.waiting import PATIENCE


class Twice(Layer):
    """Every byte goes out twice, and a lone one waits for its like."""

    def __init__(self) -> None:
        super().__init__()
        self._came = b""

    def wrap(self, data: bytes) -> bytes:
        assert len(data) <= BITE
        return bytes(byte for byte in data for _ in (0, 1))

    def unwrap(self, data: bytes, limit: int) -> bytes:
        self._came += data
        size = min(len(self._came) // 2, limit) * 2
        found, self._came = self._came[:size], self._came[size:]
        if found[::2] != found[1::2]:
            raise WireError("not twice the same")
        self.more = bool(self._came)
        return found[::2]

    @property
    def begun(self) -> bool:
        return bool(self._came)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Contexts:
    return contexts(tmp_path_factory.mktemp("tls"))


def ends() -> tuple[SocketTransport, SocketTransport]:
    one, other = socket.socketpair()
    return SocketTransport(one, "ours", local=True), SocketTransport(other, "theirs", local=True)


@given(st.lists(st.binary(min_size=1, max_size=3000), max_size=20), st.integers(1, 5000))
def test_the_same_bytes_and_drained_only_where_an_edge_will_come(pieces: list[bytes], limit: int) -> None:
    ours, theirs = ends()
    edges = select.epoll()
    edges.register(theirs.fileno(), select.EPOLLIN | select.EPOLLET)
    try:
        ours.put_on(Twice(), b"")
        theirs.put_on(Twice(), b"")
        found, records = b"", theirs.records
        assert records is not None
        for piece in pieces:
            assert ours.send(piece) == len(piece)
            while True:
                edges.poll(0)
                try:
                    data = theirs.recv(limit)
                except WOULD_BLOCK:
                    break
                assert 0 < len(data) <= limit
                found += data
                if records.drained:
                    assert not theirs.has_unread(), "drained, and something is left"
                    break
        assert found == b"".join(pieces)
    finally:
        edges.close()
        ours.close()
        theirs.close()


def test_what_is_half_here_is_unread_and_not_worth_a_read() -> None:
    ours, theirs = ends()
    theirs.put_on(Twice(), b"aab")
    records = theirs.records
    assert records is not None
    assert (records.unread, records.ready, theirs.has_unread()) == (True, True, True)
    assert theirs.recv(10) == b"a"
    with pytest.raises(WOULD_BLOCK):
        theirs.recv(10)
    assert (records.unread, records.ready, theirs.has_unread()) == (True, False, True)
    ours.send(b"b")
    assert theirs.recv(10) == b"b"
    assert (records.unread, theirs.has_unread()) == (False, False)
    ours.send(b"xy")
    with pytest.raises(WireError):
        theirs.recv(10)
    ours.close()
    assert theirs.recv(10) == b""
    theirs.close()


def test_much_is_sent_bite_by_bite_and_the_same_bytes_are_offered_again() -> None:
    ours, theirs = ends()
    ours.put_on(Twice(), b"")
    theirs.put_on(Twice(), b"")
    data = bytes(range(256)) * 4000
    left, found, eager, blocked = data, b"", 0, 0
    records = ours.records
    assert records is not None
    while left or len(found) < len(data):
        try:
            while left:
                sent = ours.send(left)
                assert sent <= BITE
                left = left[sent:]
                assert records.eager is bool(left)
                eager += records.eager
        except WOULD_BLOCK:
            blocked += 1
            assert not records.eager
        try:
            while True:
                found += theirs.recv(70_000)
        except WOULD_BLOCK:
            pass
    assert found == data
    assert eager > 1
    assert blocked
    ours.close()
    theirs.close()


class Late(Twice):
    """Gives a million bytes at once, when they are here."""

    def __init__(self) -> None:
        super().__init__()
        self._late = b""

    def wrap(self, data: bytes) -> bytes:
        self._late += super().wrap(data)
        if len(self._late) < 1 << 20:
            return b""
        out, self._late = self._late, b""
        return out


async def test_a_layer_that_gathers_is_offered_more_and_its_long_piece_goes_out_whole(both: Contexts) -> None:
    for over_tls in (False, True):
        ours, theirs = ends()
        if over_tls:
            await shake_hands(both, ours, theirs)
        ours.put_on(Late(), b"")
        theirs.put_on(Twice(), b"")
        data = random.Random(1).randbytes(1 << 19)
        assert all(ours.send(data[at : at + BITE]) == BITE for at in range(0, len(data) - BITE, BITE))
        found, taken = b"", 0
        while len(found) < len(data):
            if not taken:
                try:
                    taken = ours.send(data[-BITE:])
                except WOULD_BLOCK:
                    pass
            try:
                found += theirs.recv(70_000)
            except WOULD_BLOCK:
                pass
        assert found == data
        assert taken == BITE
        ours.close()
        theirs.close()


def _says(data: bytes, early: bytes = b"") -> Conversation[bytes]:
    """Puts a layer on in the middle, and exchanges something through it."""
    yield Send(b"in clear")
    found = yield RECEIVE
    assert found.startswith(b"in clear")
    yield PutOn(Twice(), found[8:] + early)
    yield Send(data)
    got = b""
    while len(got) < len(data):
        got += yield RECEIVE
    return got


async def _exchange(ours: Transport, theirs: Transport) -> None:
    data = b"0123456789" * 2_000  # less than a socket holds: both say it before they read
    found: list[bytes] = []

    async def one(end: Transport) -> None:
        found.append(await converse(_says(data), end))

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one, ours)
            nursery.start_soon(one, theirs)
        assert found == [data, data]
        # It stays on, behind the conversation.
        await send_all(ours, b"more")
        assert await receive(theirs, 100) == b"more"
    ours.close()
    theirs.close()


async def test_a_conversation_puts_it_on_over_tls(both: Contexts) -> None:
    ours, theirs = ends()
    await shake_hands(both, ours, theirs)
    await _exchange(ours, theirs)


async def test_a_conversation_puts_it_on_over_a_socket_and_in_memory() -> None:
    await _exchange(*ends())
    await _exchange(*memory_pair("layered"))
