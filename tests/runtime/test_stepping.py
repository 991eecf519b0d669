"""What a task with its block gave by itself, and steps have to do: faults stay where they are, and nothing is left."""

from __future__ import annotations

import errno
import ssl
import struct
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from rdsp.config.addresses import Address
from rdsp.config.model import ClientTls, Limits, TargetGroup
from rdsp.converse import receive
from rdsp.endpoint.listener import Door, Endpoint
from rdsp.net.memory import MemoryTransport, Script, memory_pair
from rdsp.net.switchboard import READABLE, Switchboard
from rdsp.net.tls import Certificates
from rdsp.observe.events import SessionEnd
from rdsp.session import calls
from rdsp.session.run import Session
from rdsp_codecs.errors import PeerClosed
from rdsp_codecs.postgres import messages as m
from tests.runtime.world import Client, proxy, world


@pytest.mark.parametrize("late", [0.0, 0.05])
async def test_an_end_of_file_behind_the_first_request_is_seen_though_its_edge_came_in_the_login(
    clock: MockClock, late: float
) -> None:
    """The login waits for its pool's first backend when the client says all that it has to say, and closes its side."""
    async with world(service_time=0.2) as w:
        client = w.dial()
        await client.send(m.startup("app", "app", {}))
        await trio.sleep(late)
        await client.send(m.query(client.mark("SELECT 1")))
        client.transport.shutdown()
        with trio.move_on_after(30):
            while (await client.reply()).status:
                pass
        await trio.sleep(5)
        assert w.sessions == 0, "nobody has seen that the client has closed its side"
        client.transport.close()
        await w.settle()


@pytest.mark.parametrize("how", ["closes", "resets", "has closed already"])
async def test_who_leaves_while_its_pools_first_backend_is_waited_for_leaves_the_queue(
    clock: MockClock, how: str
) -> None:
    async with world(proxy(TargetGroup(max_backends=1))) as w:
        holder = await w.client()
        await holder.query("BEGIN")
        client = w.dial()
        await client.send(m.startup("somebody", "else", {}))
        if how == "has closed already":
            client.transport.shutdown()
        await w.until(lambda: w.statistics().waiting == 1 or w.witness.ends)
        if how == "resets":
            client.transport.reset()
        elif how == "closes":
            client.transport.close()
        await w.until(lambda: w.sessions == 1, 1)
        assert w.statistics().waiting == w.context.counters.logins == 0
        assert w.witness.ends[-1].reason == "left during login"
        assert len(w.pool._facts) == 1, "what is known of its pool is kept, though nobody is in it"
        assert (await holder.query("COMMIT")).status == "I"
        client.transport.close()
        await holder.leave()
        await w.settle()


async def test_what_was_said_before_the_end_of_file_is_answered_though_it_came_in_the_login(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=1))) as w:
        holder = await w.client()
        await holder.query("BEGIN")
        client = w.dial()
        await client.send(m.startup("somebody", "else", {}))
        await w.until(lambda: w.statistics().waiting == 1)
        await client.send(m.query(client.mark("SELECT 1")) + m.query(client.mark("SELECT 2")) + m.TERMINATE)
        client.transport.shutdown()
        await trio.sleep(1)
        assert w.statistics().waiting == 1
        await holder.query("COMMIT")
        replies = [await client.reply() for _ in range(3)]
        assert [reply.status for reply in replies] == ["I"] * 3
        assert [reply.rows for reply in replies] == [[], ["1"], ["2"]]
        client.transport.close()
        await holder.leave()
        await w.settle()


async def test_handshakes_are_slow_steps_and_each_client_has_one_at_a_time(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An RSA key of 4096 bits costs 5 ms, and hundreds may come at once."""
    async with world() as w:
        w.context.certificates = Certificates(ClientTls())
        real, shaken, at_once = w.board._batch, list[MemoryTransport](), list[int]()

        def batch() -> bool:
            before = len(shaken)
            worked = real()
            at_once.append(len(shaken) - before)
            return worked

        def shake(transport: MemoryTransport) -> None:
            shaken.append(transport)
            transport.recv(100)
            raise ssl.SSLEOFError

        monkeypatch.setattr(w.board, "_batch", batch)
        monkeypatch.setattr(MemoryTransport, "shake", shake)
        clients = [w.dial() for _ in range(20)]
        for client in clients:
            await client.send(struct.pack(">II", 8, 80877103))
        for client in clients:
            assert await receive(client.transport, 10) == b"S"
        shaken.clear()
        for client in clients:
            await client.send(b"hello")
        await w.until(lambda: not w.sessions)
        assert max(at_once) == 1
        assert len(shaken) == len(clients)
        for client in clients:
            client.transport.close()
        await w.settle()


async def test_no_words_stand_behind_half_a_message_of_the_login(clock: MockClock) -> None:
    """The client does not read, and the time for its login is over."""
    async with world() as w:
        client = w.dial(theirs=Script(capacity=4))
        await client.send(m.startup("app", "app", {}))
        await trio.sleep(w.context.settings.limits.login_timeout + 1)
        assert [end.reason for end in w.witness.ends] == ["login took too long"]
        assert (await client.reply()).kinds == ""
        client.transport.close()
        await w.settle()


async def test_no_more_come_in_than_may_though_all_of_them_waited_for_the_first_backend(clock: MockClock) -> None:
    async with world(proxy(limits=Limits(max_client_connections=2)), service_time=0.2) as w:
        clients, replies = [w.dial() for _ in range(5)], list[str]()

        async def login(client: Client) -> None:
            reply = await client.login()
            replies.append(reply.status or ",".join(reply.errors))

        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(login, client)
        assert sorted(replies) == ["53300"] * 3 + ["I"] * 2
        assert len(w.context.registry) == 2
        for client in clients:
            client.transport.close()
        await w.settle()


async def test_a_load_balancers_client_that_says_late_who_it_is_does_not_refill_the_rate(clock: MockClock) -> None:
    async with world(proxy(limits=Limits(max_connections_per_second=1, connection_burst=1))) as w:
        endpoint, clients = Endpoint(w.context, []), []

        async def comes(since: float) -> str:
            mine, proxys = memory_pair("client")
            clients.append(mine)
            w.board.refresh()
            endpoint._greet(proxys, since)  # type: ignore[arg-type]
            reply = await Client(mine, "client").login()
            return reply.status or reply.errors[0]

        await trio.sleep(100)
        since = trio.current_time()
        assert await comes(since) == "I"
        assert await comes(since - 50) == "53300"
        assert await comes(since) == "53300"
        for mine in clients:
            mine.close()
        await w.until(lambda: not len(w.context.registry))
        await w.settle()


async def test_who_is_told_its_end_while_it_waits_gets_no_backend_any_more(clock: MockClock) -> None:
    """The last words wait for a client that does not read; a backend that comes meanwhile must not run its request."""
    async with world(proxy(TargetGroup(max_backends=1))) as w:
        holder, waiter = await w.client(), await w.client(theirs=Script(capacity=100))
        await waiter.send(m.query(waiter.mark("SELECT 1")))  # its answer fills the socket
        await trio.sleep(1)
        await holder.query("BEGIN")
        text = waiter.mark("SELECT 2")
        await waiter.send(m.query(text))
        await trio.sleep(1)
        session = w.context.registry.find(waiter.number, waiter.secret)
        assert isinstance(session, Session)
        session._splice.summon(calls.DEAF)
        await trio.sleep(1)
        assert len(w.context.registry) == 2, "its last words are said already"
        await holder.query("COMMIT")
        await trio.sleep(1)
        assert text not in w.database.times()
        assert w.statistics().borrowed == w.context.counters.waiting == 0
        waiter.transport.close()
        await holder.leave()
        await w.settle()


async def test_last_words_that_are_not_read_hold_no_backend(clock: MockClock) -> None:
    """The client was idle in its transaction for too long."""
    settings = proxy(TargetGroup(max_backends=1), limits=Limits(idle_in_transaction_timeout=20.0))
    async with world(settings) as w:
        client, other = await w.client(theirs=Script(capacity=100)), await w.client()
        await client.send(m.query(client.mark("BEGIN")) + m.query(client.mark("SELECT 1")))
        session = w.context.registry.find(client.number, client.secret)
        assert isinstance(session, Session)
        await w.until(lambda: session.over)
        parted = trio.current_time()
        assert len(w.context.registry) == 2, "its last words are said already"
        assert (await other.query("SELECT 1")).rows == ["1"]
        assert trio.current_time() - parted < 1
        await w.until(lambda: len(w.context.registry) == 1)
        assert trio.current_time() - parted > 4
        client.transport.close()
        await other.leave()
        await w.settle()


@pytest.mark.parametrize("more", [b"", bytes(100_000)])
async def test_last_words_arrive_although_the_client_has_said_more_than_was_read(clock: MockClock, more: bytes) -> None:
    """A close with something unread would be a reset, and take the words with it."""
    async with world(proxy(limits=Limits(max_frame_bytes=4500))) as w:
        client = await w.client()
        await client.send(m.query("x" * 20_000) + more)
        words = b""
        with trio.fail_after(4), pytest.raises(PeerClosed) as gone:
            while True:
                words += await receive(client.transport, 1000)
        assert b"C54000\0" in words
        assert gone.value.__cause__ is None, "a reset"
        client.transport.close()
        await w.settle()


async def test_who_is_told_its_end_and_talks_on_is_not_listened_to_for_long(clock: MockClock) -> None:
    async with world(proxy(limits=Limits(max_frame_bytes=4500))) as w:
        client = await w.client()
        began = trio.current_time()
        await client.send(m.query("x" * 20_000))
        with trio.fail_after(60):
            while not client.transport.other.closed:
                await client.send(bytes(1000))
                await trio.sleep(0.1)
        assert trio.current_time() - began < 10
        client.transport.close()
        await w.settle()


def fails(*_: object, **__: object) -> None:
    raise RuntimeError("a fault of the program")


async def test_a_fault_while_a_session_lets_go_is_told_and_costs_its_backend_alone(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(proxy(TargetGroup(max_backends=1))) as w:
        for how in ("leaves", "is cut"):
            client, other = await w.client(), await w.client()
            await client.query("BEGIN")
            session = w.context.registry.find(client.number, client.secret)
            assert isinstance(session, Session)
            session._splice.has_ear = True
            with monkeypatch.context() as patch:
                patch.setattr(w.context.ears, "leave", fails)
                if how == "leaves":
                    client.transport.close()
                else:
                    session.cut()
                await trio.sleep(1)
            assert (await other.query("SELECT 1")).rows == ["1"]
            assert len(w.witness.internal) == 1
            w.witness.ends.clear()
            await other.leave()
            await w.settle()


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.ENOMEM])
async def test_a_machine_in_trouble_while_last_words_wait_costs_that_client_alone(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Errors of `send` that are not the peer's doing."""
    async with world(proxy(TargetGroup(max_backends=2), idle_client_timeout=20.0)) as w:
        client = await w.client(theirs=Script(capacity=400))
        idle = await w.client()
        client.transport.hold()
        await client.send(m.query(client.mark("BIG 100000")))
        client.transport.let_go()
        await trio.sleep(1)
        session = w.context.registry.find(client.number, client.secret)
        assert isinstance(session, Session)
        proxys = client.transport.other
        session.part(SessionEnd("for a test", "proxy", ""), session_rest(session) + b"words")

        def send(data: bytes, /) -> int:
            raise OSError(number, "trouble")

        monkeypatch.setattr(proxys, "send", send)
        client.transport.let_go()
        await client.reply()
        await trio.sleep(10)
        assert (await idle.query("SELECT 1")).rows == ["1"]
        assert len(w.witness.internal) == 1
        w.witness.ends.clear()
        client.transport.close()
        await idle.leave()
        await w.settle()


def session_rest(session: Session) -> bytes:
    """What the client has not taken yet: it has to be offered again."""
    rest: bytes = session._splice.client_rest
    return rest


async def test_a_board_that_cannot_watch_one_more_watches_nothing_and_lives() -> None:
    """A regular file is what epoll refuses without being at its limits."""
    board = Switchboard()
    try:
        with open(__file__, "rb") as file:
            with pytest.raises(OSError):
                board.watch(file, lambda _: None)
            board.forget(file)
        assert repr(board) == "<Switchboard 0 watched, 0 again>"
    finally:
        board.close()


class FullDoor:
    """A listening socket of a process that has no descriptor left."""

    family = type = proto = 0

    def __init__(self) -> None:
        self.asked = 0

    def _accept(self) -> Any:
        self.asked += 1
        raise OSError(errno.EMFILE, "Too many open files")

    def fileno(self) -> int:
        return 1000


async def test_without_descriptors_a_door_is_tried_ten_times_a_second_however_many_knock(clock: MockClock) -> None:
    async with world() as w:
        full = FullDoor()
        door = Door(full, Address("127.0.0.1", 1), lambda: None)  # type: ignore[arg-type]
        endpoint = Endpoint(w.context, [])
        for _ in range(50):
            endpoint._knock(door, READABLE)
            await trio.sleep(0.01)
        await trio.sleep(0.5)
        assert 8 <= full.asked <= 12
        assert len(w.witness.troubles) == full.asked
