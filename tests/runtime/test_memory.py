"""The streams in memory behave as sockets do, where the proxy can tell the difference."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from rdsp.converse import receive, send_all
from rdsp.net.memory import MemoryTransport, Script, memory_pair
from rdsp.net.memory_board import MemoryBoard
from rdsp.net.switchboard import LEAVING, READABLE, WRITABLE
from rdsp_codecs.errors import PeerClosed
from tests.runtime.world import simulate


async def _all(end: MemoryTransport) -> bytes:
    data = b""
    try:
        while True:
            data += await receive(end, 100)
    except PeerClosed:
        return data


@given(
    data=st.binary(max_size=3000),
    script=st.builds(
        Script,
        split=st.lists(st.integers(1, 50), max_size=5),
        accept=st.lists(st.integers(1, 400), max_size=3),
        delay=st.sampled_from([0.0, 0.5]),
        capacity=st.integers(1, 4000),
    ),
)
def test_whatever_the_script_all_bytes_arrive_in_order_and_then_the_end(data: bytes, script: Script) -> None:
    async def main() -> None:
        left, right = memory_pair("x", script)

        async def write() -> None:
            await send_all(left, data)
            left.shutdown()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            assert await _all(right) == data

    simulate(main)


async def test_a_delay_passes_in_virtual_time(clock: MockClock) -> None:
    left, right = memory_pair("x", Script(delay=100.0))
    left.send(b"a")
    with pytest.raises(BlockingIOError):
        right.recv(10)
    assert not right.has_unread()
    await right.wait_readable()
    assert trio.current_time() == 100
    assert right.recv(10) == b"a"


async def test_over_the_capacity_a_send_takes_a_part_and_then_blocks(clock: MockClock) -> None:
    left, right = memory_pair("x", Script(capacity=5))
    assert left.send(b"abcdefg") == 5
    with pytest.raises(BlockingIOError):
        left.send(b"fg")
    with pytest.raises(RuntimeError, match="other bytes"):
        left.send(b"other")
    assert right.recv(2) == b"ab"
    assert left.send(b"fg") == 2


async def test_closing_with_unread_bytes_resets_and_otherwise_ends(clock: MockClock) -> None:
    left, right = memory_pair("x")
    left.send(b"last")
    left.close()
    assert (right.recv(10), right.recv(10)) == (b"last", b"")
    left, right = memory_pair("x")
    right.send(b"unread")
    left.close()
    with pytest.raises(ConnectionResetError):
        right.recv(10)
    assert right.recv(10) == b""
    with pytest.raises(BrokenPipeError):
        right.send(b"x")


async def test_the_first_send_to_a_closed_peer_goes_into_the_void_and_the_second_fails(clock: MockClock) -> None:
    left, right = memory_pair("x")
    left.close()
    assert right.send(b"hello") == 5
    with pytest.raises(BrokenPipeError):
        right.send(b"hello")
    assert right.recv(1) == b"", "the end of file came first, and stays"


async def test_after_close_the_number_and_all_calls_are_gone(clock: MockClock) -> None:
    left, _ = memory_pair("x")
    left.close()
    left.close()
    assert left.fileno() == -1
    with pytest.raises(OSError, match="closed"):
        left.recv(1)


class _Log:
    def __init__(self, board: MemoryBoard, end: MemoryTransport, *, read: bool = True) -> None:
        self.masks: list[int] = []
        self.data = b""
        self._end, self._read = end, read
        board.watch(end, self.step)

    def step(self, mask: int) -> None:
        self.masks.append(mask)
        if self._read and mask & READABLE:
            try:
                self.data += self._end.recv(100)
            except BlockingIOError:
                pass


async def test_a_step_is_called_once_per_edge_however_much_is_left_to_read(
    clock: MockClock, nursery: trio.Nursery
) -> None:
    board = MemoryBoard()
    nursery.start_soon(board.run)
    left, right = memory_pair("x")
    left.send(b"before")
    log = _Log(board, right, read=False)
    await trio.sleep(1)
    assert log.masks == [READABLE | WRITABLE]
    left.send(b"more")
    await trio.sleep(1)
    assert log.masks == [READABLE | WRITABLE] * 2
    left.shutdown()
    await trio.sleep(1)
    assert log.masks[2:] == [READABLE | WRITABLE | LEAVING]
    board.again(log.step, READABLE)
    await trio.sleep(1)
    assert log.masks[3:] == [READABLE]


async def test_room_is_an_edge_only_for_who_was_refused(clock: MockClock, nursery: trio.Nursery) -> None:
    board = MemoryBoard()
    nursery.start_soon(board.run)
    left, right = memory_pair("x", Script(capacity=4))
    log = _Log(board, left)
    await trio.sleep(1)
    left.send(b"1234")
    right.recv(4)
    await trio.sleep(1)
    assert len(log.masks) == 1
    left.send(b"123456")
    await trio.sleep(1)
    assert len(log.masks) == 1
    right.recv(4)
    await trio.sleep(1)
    assert log.masks[1:] == [WRITABLE]


async def test_pieces_arrive_one_by_one_at_the_board(clock: MockClock, nursery: trio.Nursery) -> None:
    board = MemoryBoard()
    nursery.start_soon(board.run)
    left, right = memory_pair("x", Script(split=[2], gap=1.0, delay=5.0))
    left.send(b"abcdef")
    log = _Log(board, right)
    await trio.sleep(6.5)
    assert log.data == b"abcd"
    await trio.sleep(10)
    assert log.data == b"abcdef"


async def test_the_board_is_as_strict_as_epoll_and_stricter(clock: MockClock) -> None:
    board = MemoryBoard()
    left, right = memory_pair("x")
    log = _Log(board, left)
    with pytest.raises(FileExistsError):
        board.watch(left, log.step)
    with pytest.raises(RuntimeError, match="watches"):
        left.close()
    board.forget(left)
    board.forget(left)
    left.close()
    with pytest.raises(OSError, match="closed"):
        board.watch(left, log.step)
    right.close()


async def test_a_held_stream_goes_on_where_it_stood(clock: MockClock) -> None:
    left, right = memory_pair("x")
    left.hold()
    left.send(b"abc")
    assert not right.has_unread()
    left.let_go()
    assert right.recv(9) == b"abc"
