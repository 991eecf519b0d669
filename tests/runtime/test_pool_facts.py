"""What the pool keeps by user, database and start-up parameters: as long as somebody has them, and no longer."""

from __future__ import annotations

from typing import Any

import attrs
import trio
from trio.testing import MockClock

from rdsp.config.model import TargetGroup
from rdsp.endpoint import listener
from rdsp.net.switchboard import Board, Clock, Switchboard
from rdsp.observe.counters import Counters
from rdsp.observe.dispatch import Observers
from rdsp.pool.backend import Backend
from rdsp.pool.book import Book, BookLimits, Open
from rdsp.pool.facts import KeyFacts
from rdsp.pool.pool import Pool
from rdsp.session.context import SessionContext
from rdsp_codecs.postgres import messages as m
from tests.runtime.world import Client, World, proxy, serve, world


def kept(w: World) -> dict[Any, KeyFacts]:
    facts: dict[Any, KeyFacts] = w.pool._facts
    return facts


async def served(w: World, name: str) -> Client:
    """A client whose session leaves the pool at its end, as the endpoint has it."""
    client = w.dial(name, serve=False)

    async def run() -> None:
        transport = client.transport.other
        try:
            await serve(w.context, transport)
        finally:
            w.pool.leave(transport)

    w.nursery.start_soon(run)
    return client


async def test_facts_stay_while_there_is_a_session_or_a_backend_and_then_go(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(backend_idle_timeout=10.0))) as w:
        client = await served(w, "one")
        assert (await client.login(application_name="x")).status == "I"
        (facts,) = kept(w).values()
        assert (await client.query("SELECT 1")).rows == ["1"]
        await w.until(lambda: w.database.logged_in == 0)
        await trio.sleep(1)
        assert list(kept(w).values()) == [facts], "the session has no backend"
        assert (await client.query("SELECT 2")).rows == ["2"]
        await client.leave()
        await trio.sleep(1)
        assert list(kept(w).values()) == [facts], "the backend has no session"
        await w.until(lambda: w.database.logged_in == 0)
        await trio.sleep(1)
        assert not kept(w)
        assert not w.pool.clients
        await w.settle()


async def test_facts_of_logins_that_fail_are_not_kept(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(connection_borrow_timeout=3))) as w:
        for number, trouble in enumerate([("22023", "nonsense"), None, ("53300", "full")] * 3):
            w.database.refusal, w.database.down = trouble, trouble is None
            client = w.dial()
            assert (await client.login(nonsense=str(number))).errors
            client.transport.close()
        w.database.down = True
        client = w.dial()
        await client.send(m.startup("app", "app", {"gone": "soon"}))
        await trio.sleep(0.1)
        client.transport.close()
        await w.until(lambda: w.statistics().opening == 0)
        await trio.sleep(10)
        assert not kept(w)
        assert not w.pool.clients
        w.database.refusal, w.database.down = None, False
        await w.settle()


_PARTS = (
    "settings", "codec", "pool", "observers", "counters", "registry", "credentials", "deriver", "certificates",
    "mock_salt_key", "policy",
)  # fmt: skip


def on(board: Board, context: SessionContext) -> SessionContext:
    """The same proxy on another board."""
    return SessionContext(board=board, **{name: getattr(context, name) for name in _PARTS})


async def test_the_endpoint_follows_a_reload_of_its_limit() -> None:
    """Real sockets: who comes in over the limit of the moment is turned away."""
    limits = proxy().limits
    async with world() as w:
        board = Switchboard()
        context = on(board, w.context)
        await w.nursery.start(context.errands.run)
        w.nursery.start_soon(board.run)
        endpoint = listener.Endpoint(
            context,
            await listener.open_listeners(attrs.evolve(context.settings, listen=("127.0.0.1:0",)), ""),
            headroom=0,
        )
        w.nursery.start_soon(endpoint.run)
        ((host, port),) = endpoint.addresses

        async def connect(allowed: int) -> trio.SocketStream:
            context.settings = proxy(limits=type(limits)(max_client_connections=allowed))
            return await trio.open_tcp_stream(host, port)

        with trio.fail_after(10):
            first = await connect(1)
            async with await connect(1) as refused:
                assert not await refused.receive_some()
            second = await connect(2)
            while endpoint.connected < 2:
                await trio.sleep(0.01)
            assert context.counters.logins == len(context.greeters) == 2
            async with await connect(2) as refused:
                assert not await refused.receive_some()
            await first.aclose()
            await second.aclose()
            while endpoint.connected:
                await trio.sleep(0.01)
        assert context.counters.logins == len(context.greeters) == len(context.errands) == 0
        endpoint.stop_accepting()


async def test_an_endpoint_that_is_cancelled_leaves_nobody(monkeypatch: Any) -> None:
    """Real sockets: clients in their login, and one that has to say first on whose behalf it comes."""
    async with world() as w:
        board = Switchboard()
        context = on(board, w.context)
        await w.nursery.start(context.errands.run)
        w.nursery.start_soon(board.run)
        settings = context.settings
        endpoint = listener.Endpoint(
            context, await listener.open_listeners(attrs.evolve(settings, listen=("127.0.0.1:0",)), "")
        )
        ((host, port),) = endpoint.addresses
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(endpoint.run)
                one = await trio.open_tcp_stream(host, port)
                while endpoint.connected < 1:
                    await trio.sleep(0.01)
                context.settings = attrs.evolve(settings, proxy_protocol_from=("127.0.0.1/32",))
                two = await trio.open_tcp_stream(host, port)
                while endpoint.connected < 2:
                    await trio.sleep(0.01)
                assert context.counters.logins == 1
                nursery.cancel_scope.cancel()
            assert endpoint.connected == context.counters.logins == len(context.greeters) == 0
            for stream in (one, two):
                assert not await stream.receive_some()
                await stream.aclose()


class Dead:
    """A transport whose other end has closed, which the board has not noticed."""

    peer, local, tls, records, in_handshake = "dead", True, None, None, False

    def recv(self, _: int) -> bytes:
        return b""

    send = recv

    def has_unread(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def fileno(self) -> int:
        return 1


class OneMoment(Board):
    def __init__(self) -> None:
        self.clock = Clock(100.0)
        self.leave = False

    def refresh(self) -> float:
        return self.clock.now

    def forget(self, _: object) -> None:
        pass


async def test_any_number_of_dead_backends_is_passed_over(clock: MockClock) -> None:
    limits = BookLimits(limit=2000, max_idle=2000, max_simultaneous_opens=2000, max_waiters=2000)
    book, board, nothing = Book(limits), OneMoment(), Observers([])
    pool = Pool("p", TargetGroup(), book, Any, board, nothing, Counters(), connect_timeout=1, abandon_timeout=1)  # type: ignore[arg-type]
    waiters = [object() for _ in range(1500)]
    opens = [decision for waiter in waiters for decision in book.wait("k", waiter, 0.0)]
    for waiter in waiters:
        book.left(waiter, 0.0)
    for decision in opens:
        assert isinstance(decision, Open)
        member = decision.member
        book.opened(member, Backend(member, Dead(), None, None, Any, pool.idle_event), 1.0)  # type: ignore[arg-type]
    assert book.statistics().idle == 1500
    assert pool.take("k") is None
    assert not list(book.members())
