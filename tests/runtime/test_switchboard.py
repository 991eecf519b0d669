"""The switchboard on real sockets: edges, hand-overs and the traps of descriptors."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import groupby

import pytest
import trio

from rdsp.net.switchboard import LEAVING, READABLE, WRITABLE, Switchboard
from rdsp.net.transport import SocketTransport
from tests.waiting import PATIENCE


@asynccontextmanager
async def running() -> AsyncIterator[Switchboard]:
    board = Switchboard()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(board.run)
            yield board
            nursery.cancel_scope.cancel()
    finally:
        board.close()


def pair() -> tuple[SocketTransport, socket.socket]:
    ours, theirs = socket.socketpair()
    return SocketTransport(ours, "test", local=True), theirs


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(PATIENCE):
        while not condition():
            await trio.sleep(0.001)


class Reader:
    """Reads to the end of what is there, unless told to stop early."""

    def __init__(self, board: Switchboard, end: SocketTransport, limit: int = 1 << 30) -> None:
        self.board, self.end, self.limit = board, end, limit
        self.data = b""
        self.masks: list[int] = []
        board.watch(end, self.step)

    def step(self, mask: int) -> None:
        self.masks.append(mask)
        for _ in range(self.limit):
            try:
                data = self.end.recv(3)
            except BlockingIOError:
                return
            if not data:
                return
            self.data += data
        self.board.again(self.step, mask)


async def test_a_watched_transport_is_looked_at_once_without_any_news() -> None:
    async with running() as board:
        end, peer = pair()
        reader = Reader(board, end)
        await until(lambda: reader.masks)
        assert reader.masks == [WRITABLE]
        board.forget(end)
        end.close()
        peer.close()


async def test_what_came_before_the_watch_is_an_edge_too() -> None:
    async with running() as board:
        end, peer = pair()
        peer.send(b"early")
        reader = Reader(board, end)
        await until(lambda: reader.data == b"early")
        assert reader.masks[0] == READABLE | WRITABLE
        board.forget(end)
        end.close()
        peer.close()


async def test_who_stops_early_goes_on_where_it_stood() -> None:
    async with running() as board:
        end, peer = pair()
        reader = Reader(board, end, limit=1)
        peer.send(bytes(range(200)))
        await until(lambda: reader.data == bytes(range(200)))
        board.forget(end)
        end.close()
        peer.close()


async def test_a_peer_that_leaves_is_told_in_the_mask() -> None:
    async with running() as board:
        end, peer = pair()
        reader = Reader(board, end)
        await until(lambda: reader.masks)
        peer.send(b"bye")
        peer.close()
        await until(lambda: reader.masks[-1] & LEAVING)
        assert reader.data == b"bye"
        board.forget(end)
        end.close()


async def test_nobody_is_called_after_being_forgotten() -> None:
    async with running() as board:
        end, peer = pair()
        reader = Reader(board, end)
        await until(lambda: reader.masks)
        board.forget(end)
        board.forget(end)
        calls = len(reader.masks)
        peer.send(b"late")
        other, friend = pair()
        second = Reader(board, other)
        friend.send(b"x")
        await until(lambda: second.data)
        assert len(reader.masks) == calls
        for transport in (end, other):
            board.forget(transport)
            transport.close()
        peer.close()
        friend.close()


@pytest.mark.parametrize("victim", [0, 1])
async def test_a_step_may_forget_itself_or_another_of_the_same_batch(victim: int) -> None:
    async with running() as board:
        ends = [pair() for _ in range(2)]
        called: list[int] = []

        def step(number: int) -> Callable[[int], None]:
            def called_for(mask: int) -> None:
                if not mask & READABLE:
                    return
                if not called:
                    transport = ends[victim][0]
                    board.forget(transport)
                    transport.close()
                called.append(number)

            return called_for

        for _, peer in ends:
            peer.send(b"x")
        for number, (end, _) in enumerate(ends):
            board.watch(end, step(number))
        await until(lambda: called)
        await trio.sleep(0.01)
        assert called.count(victim) <= 1
        assert called[0] == 0 or called[0] == 1
        if called[0] != victim:
            assert victim not in called[1:], "a forgotten transport's event of the same batch was delivered"
        for number, (end, peer) in enumerate(ends):
            if number != victim:
                board.forget(end)
                end.close()
            peer.close()


async def test_a_descriptor_that_is_used_again_belongs_to_its_new_owner() -> None:
    async with running() as board:
        end, peer = pair()
        reader = Reader(board, end)
        await until(lambda: reader.masks)
        number = end.fileno()
        board.forget(end)
        end.close()
        peer.close()
        held = []
        while True:
            end, peer = pair()
            if end.fileno() == number:
                break
            held.append((end, peer))
            assert len(held) < 50
        second = Reader(board, end)
        peer.send(b"new")
        await until(lambda: second.data == b"new")
        assert reader.data == b""
        board.forget(end)
        for each, friend in [*held, (end, peer)]:
            each.close()
            friend.close()


async def test_again_from_any_task_wakes_a_sleeping_board() -> None:
    async with running() as board:
        await trio.sleep(0.01)
        masks: list[int] = []
        board.again(masks.append, READABLE)
        await until(lambda: masks)
        assert masks == [READABLE]


async def test_a_step_that_always_wants_more_starves_nobody() -> None:
    async with running() as board:
        spins = 0

        def spin(mask: int) -> None:
            nonlocal spins
            spins += 1
            board.again(spin, mask)

        board.again(spin, READABLE)
        end, peer = pair()
        reader = Reader(board, end)
        peer.send(b"hello")
        await until(lambda: reader.data == b"hello")
        before = spins
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        assert spins > before
        board.forget(end)
        end.close()
        peer.close()


@pytest.mark.parametrize(("how", "cost", "at_once"), [("again", 0.0005, 5), ("slowly", 0.005, 1)])
async def test_while_many_go_on_or_are_slow_others_are_served(how: str, cost: float, at_once: int) -> None:
    """By a clock of the test's own, which only the steps move."""
    async with running() as board:
        end, peer = pair()
        moment, turns = [time.perf_counter()], list[str]()

        def other(mask: int) -> None:
            if mask & READABLE:
                end.recv(100)
                turns.append("other")

        def heavy(mask: int) -> None:
            turns.append("heavy")
            moment[0] += cost
            peer.send(b"?")

        def start(mask: int) -> None:
            board._clock = lambda: moment[0]
            for _ in range(30):
                getattr(board, how)(heavy, 0)

        board.watch(end, other)
        board.again(start, 0)
        await until(lambda: turns.count("heavy") == 30 and turns[-1] == "other")
        assert max(len(list(same)) for who, same in groupby(turns) if who == "heavy") <= at_once, turns
        board.forget(end)
        end.close()
        peer.close()


async def test_while_one_goes_on_for_ever_tasks_have_their_turns() -> None:
    """By a clock of the test's own, which only the steps move."""
    async with running() as board:
        end, peer = pair()
        moment, steps, most, over = [time.perf_counter()], [0], [0], False

        def heavy(mask: int) -> None:
            if over:
                return
            steps[0] += 1
            moment[0] += 0.005
            with suppress(BlockingIOError):
                end.recv(100)
            peer.send(b"?")
            board.again(heavy, 0)

        def start(mask: int) -> None:
            board._clock = lambda: moment[0]
            board.again(heavy, 0)

        board.watch(end, lambda _: None)
        board.again(start, 0)
        await until(lambda: steps[0])
        for _ in range(50):
            before = steps[0]
            await trio.lowlevel.checkpoint()
            most.append(steps[0] - before)
        assert steps[0] > 50
        assert max(most) <= 12, most  # two rounds, each with a turn of both tasks of the board
        over = True
        board.forget(end)
        end.close()
        peer.close()


async def test_room_after_a_full_socket_is_an_edge() -> None:
    async with running() as board:
        end, peer = pair()
        masks: list[int] = []
        board.watch(end, masks.append)
        await until(lambda: masks)
        sent = 0
        with pytest.raises(BlockingIOError):
            while True:
                sent += end.send(bytes(65536))
        masks.clear()
        received = 0
        while received < sent:
            received += len(peer.recv(1 << 20))
        await until(lambda: any(mask & WRITABLE for mask in masks))
        board.forget(end)
        end.close()
        peer.close()


async def test_the_board_can_be_cancelled_and_run_again() -> None:
    board = Switchboard()
    end, peer = pair()
    reader = Reader(board, end)
    for text in (b"abc", b"def"):
        peer.send(text)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(board.run)
            await until(lambda text=text: reader.data.endswith(text))  # type: ignore[misc]
            nursery.cancel_scope.cancel()
    board.forget(end)
    board.close()
    end.close()
    peer.close()
