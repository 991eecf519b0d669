"""A whole proxy on memory transports: database, pool, sessions, and clients that talk to it."""

from __future__ import annotations

import itertools
import random
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from rdsp.auth.credentials import Credentials
from rdsp.auth.derive import KeyDeriver
from rdsp.config.model import ClientTls, Limits, Proxy, TargetGroup
from rdsp.converse import receive, send_all
from rdsp.net.memory import MemoryTransport, Script, memory_pair
from rdsp.net.memory_board import MemoryBoard
from rdsp.net.tls import Certificates
from rdsp.net.transport import Transport
from rdsp.observe.counters import Counters
from rdsp.observe.dispatch import Observers
from rdsp.observe.events import Observer, SessionEnd
from rdsp.pool.book import Book, BookLimits
from rdsp.pool.opening import Opener
from rdsp.pool.pool import Pool
from rdsp.session.context import SessionContext
from rdsp.session.greeting import Greeter
from rdsp.session.registry import Registry
from rdsp_codecs.api import Codec, RelayPolicy
from rdsp_codecs.errors import PeerClosed
from rdsp_codecs.postgres import CODEC
from rdsp_codecs.postgres import messages as m
from tests.runtime.fake_database import FakeDatabase


@attrs.define(eq=False)
class Reply:
    """What came up to one ReadyForQuery, or up to the end of the stream."""

    rows: list[str] = attrs.field(factory=list)
    tags: list[str] = attrs.field(factory=list)
    errors: list[str] = attrs.field(factory=list)
    """SQLSTATEs."""
    texts: list[str] = attrs.field(factory=list)
    status: str = ""
    """"I", "T", "E", or "" when the stream ended first."""
    kinds: str = ""
    """The messages' types, in order."""
    heard: list[str] = attrs.field(factory=list)
    """Notifications: channel and payload with a blank between them."""
    own: int = 0
    """How many of them the client itself has said."""


class Client:
    """A client that keeps count of what it is told."""

    def __init__(self, transport: MemoryTransport, name: str) -> None:
        self.transport = transport
        self.name = name
        self.serial = 0
        self.number = 0
        self.secret = b""
        self._buffer = b""

    def mark(self, text: str) -> str:
        """The text with its sender."""
        self.serial += 1
        return f"{text} /*{self.name}.{self.serial}*/"

    async def login(self, user: str = "app", database: str = "app", **parameters: str) -> Reply:
        """Log in; the reply has status "I" when that went well."""
        await send_all(self.transport, m.startup(user, database, parameters))
        return await self.reply()

    async def query(self, text: str) -> Reply:
        """One simple query, marked as ours."""
        await self.send(m.query(self.mark(text)))
        return await self.reply()

    async def send(self, data: bytes) -> None:
        """Raises nothing when the proxy has closed: what it said can still be read."""
        try:
            await send_all(self.transport, data)
        except PeerClosed:
            pass

    async def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._buffer += await receive(self.transport, 65536)
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    async def reply(self) -> Reply:
        """Read up to a ReadyForQuery or the end."""
        reply = Reply()
        try:
            while True:
                head = await self._take(5)
                body = await self._take(m.integer(head, 1) - 4)
                tag = head[:1].decode()
                reply.kinds += tag
                match tag:
                    case "D":
                        (size,) = struct.unpack_from(">I", body, 2)
                        reply.rows.append(body[6 : 6 + size].decode())
                    case "C":
                        reply.tags.append(body[:-1].decode())
                    case "E":
                        fields = m.read_fields(body)
                        reply.errors.append(fields["C"])
                        reply.texts.append(fields["M"])
                    case "A":
                        reply.heard.append(body[4:-1].decode().replace("\0", " "))
                        reply.own += m.integer(body) == self.number
                    case "K":
                        self.number, self.secret = m.integer(body), body[4:]
                    case "Z":
                        reply.status = body.decode()
                        return reply
        except PeerClosed:
            return reply

    async def hear(self, count: int) -> list[str]:
        """The next so many notifications (see `Reply.heard`), which nothing else may come between."""
        heard = []
        while len(heard) < count:
            head = await self._take(5)
            assert head[:1] == b"A", head
            body = await self._take(m.integer(head, 1) - 4)
            heard.append(body[4:-1].decode().replace("\0", " "))
        return heard

    async def nothing_more(self, seconds: float = 1.0) -> None:
        """Assert that the client is told nothing for so long."""
        with trio.move_on_after(seconds):
            head = await self._take(1)
            raise AssertionError(head)

    async def prepare_and_run(self, name: str, text: str, value: str) -> Reply:
        """Parse, Bind, Describe, Execute, Sync in one write."""
        await self.send(parse(name, text) + bind(name, value) + DESCRIBE_PORTAL + EXECUTE + m.SYNC)
        return await self.reply()

    async def run_prepared(self, name: str, value: str) -> Reply:
        """Bind, Execute, Sync."""
        await self.send(bind(name, value) + EXECUTE + m.SYNC)
        return await self.reply()

    async def leave(self) -> None:
        """Say good-bye and close."""
        await self.send(m.TERMINATE)
        self.transport.close()


def parse(name: str, text: str) -> bytes:
    """Parse without parameter types."""
    return m.message(b"P", name.encode() + b"\0" + text.encode() + b"\0\0\0")


def bind(name: str, value: str | None = None) -> bytes:
    """Bind of the unnamed portal, with at most one value, all in text."""
    values = b"\0\0" if value is None else struct.pack(">HI", 1, len(value.encode())) + value.encode()
    return m.message(b"B", b"\0" + name.encode() + b"\0\0\0" + values + b"\0\0")


DESCRIBE_PORTAL = m.message(b"D", b"P\0")
EXECUTE = m.message(b"E", b"\0\0\0\0\0")


class Witness(Observer):
    """Remembers how sessions ended and what troubled the pool."""

    def __init__(self) -> None:
        self.ends: list[SessionEnd] = []
        self.pool: list[str] = []
        self.troubles: list[str] = []

    def session_ended(self, session: int, end: SessionEnd) -> None:
        self.ends.append(end)

    def backend_closed(self, proxy: str, number: int, why: str) -> None:
        self.pool.append(f"{number} closed: {why}")

    def backend_open_failed(self, proxy: str, number: int, text: str, transient: bool) -> None:
        self.pool.append(f"{number} failed: {text}")

    def trouble(self, proxy: str, text: str) -> None:
        self.troubles.append(text)

    @property
    def internal(self) -> list[str]:
        """Tracebacks of sessions that failed by the program's fault."""
        return [end.detail for end in self.ends if end.reason == "internal error"]


async def serve(context: SessionContext, transport: Transport) -> bool:
    """One client connection to its end; a cancellation cuts it. Returns False when it brought a cancel request."""
    ended, were_clients = trio.Event(), []

    def left(was_client: bool) -> None:
        were_clients.append(was_client)
        ended.set()

    Greeter(context, transport, None, left).begin(trio.current_time())
    try:
        await ended.wait()
    finally:
        for visit in [*context.greeters, *context.registry]:
            if visit._transport is transport:  # type: ignore[attr-defined]
                visit.cut()
    assert len(were_clients) == 1
    return were_clients[0]


class World:
    """Everything of one simulation."""

    def __init__(
        self,
        nursery: trio.Nursery,
        context: SessionContext,
        database: FakeDatabase,
        board: MemoryBoard,
        witness: Witness,
    ) -> None:
        self.nursery = nursery
        self.context = context
        self.pool = context.pool
        self.database = database
        self.board = board
        self.witness = witness
        self.sessions = 0
        self._names = itertools.count(1)

    def dial(
        self, name: str = "", ours: Script | None = None, theirs: Script | None = None, *, serve: bool = True
    ) -> Client:
        """A connected client that has said nothing yet. `ours` scripts what it writes, `theirs` what it is told."""
        name = name or f"c{next(self._names)}"
        mine, proxys = memory_pair(name, ours, theirs)
        if serve:
            self.nursery.start_soon(self._serve, proxys)
        return Client(mine, name)

    async def _serve(self, transport: MemoryTransport) -> None:
        self.sessions += 1
        try:
            await serve(self.context, transport)
        finally:
            self.sessions -= 1

    async def client(
        self, name: str = "", ours: Script | None = None, theirs: Script | None = None, **how: str
    ) -> Client:
        """A client that has logged in."""
        client = self.dial(name, ours, theirs)
        reply = await client.login(**how)
        assert reply.status == "I", reply
        return client

    async def cancel(self, client: Client) -> None:
        """Send a cancel request for the client over a connection of its own, and wait until that is closed."""
        other = self.dial()
        key = client.number.to_bytes(4, "big") + client.secret
        await other.send(m.untagged(m.CANCEL_REQUEST, key))
        await other.reply()
        other.transport.close()

    def statistics(self) -> Any:
        """The book's."""
        return self.pool.book.statistics()

    async def until(self, condition: Any, seconds: float = 600.0) -> None:
        """Wait for a condition, in virtual time. Raises `trio.TooSlowError`."""
        with trio.fail_after(seconds):
            while not condition():
                await trio.sleep(0.01)

    async def settle(self, seconds: float = 600.0) -> None:
        """Assert that after all clients have left everything is whole and quiet within `seconds`."""
        try:
            await self.until(self._quiet, seconds)
        except trio.TooSlowError:
            msg = f"not quiet: {self.statistics()}, {self.sessions} sessions, {self.board!r}, {self.database!r}"
            raise AssertionError(msg) from None
        statistics = self.statistics()
        assert self.board.watched == statistics.idle, (self.board, statistics)
        assert self.context.counters.waiting == 0
        assert self.context.counters.logins == 0
        assert not len(self.context.registry)
        book, facts = self.pool.book, self.pool._facts.values()
        assert all(any(map(book.knows, each.keys)) for each in facts), "facts of pools without clients and backends"
        assert self.database.logged_in == statistics.idle, (self.database.live, statistics)
        assert not self.database.problems, self.database.problems
        assert not self.witness.internal, self.witness.internal[0]
        known = {member.payload.state.process_id: member.payload.state for member in self.context.pool.book.members()}
        for connection in self.database.live:
            if connection.logged_in:
                assert connection.status == b"I"
                believed = known[connection.number].settings.statements
                assert bool(believed) == bool(connection.settings)
                assert all(value in believed[b"x"].decode() for value in connection.settings.values())
        before = self.board.steps_called
        await trio.sleep(0.015)
        assert self.board.steps_called == before, "the board is busy although nothing happens"

    def _quiet(self) -> bool:
        s = self.statistics()
        return not (self.sessions or s.borrowed or s.waiting or s.opening or s.resetting or s.closing)


class OnlyWay:
    """The places of a target with one server: see `rdsp.pool.opening.Places`, and `Way`."""

    name = hostname = "memory"
    may_use_tls = True

    def __init__(self, connect: Callable[[], Awaitable[Transport]]) -> None:
        self.connect = connect

    async def ways(self) -> list[OnlyWay]:
        return [self]

    def failed(self, way: object) -> None:
        pass

    def served(self, way: object) -> None:
        pass

    def failed_lately(self, way: object) -> bool:
        return False


def proxy(group: TargetGroup | None = None, limits: Limits | None = None, **settings: Any) -> Proxy:
    """A configuration without passwords: local clients are let in, and the database trusts everybody."""
    return Proxy(target_group=group or TargetGroup(), limits=limits or Limits(), **settings)


@asynccontextmanager
async def world(
    settings: Proxy | None = None,
    *,
    max_connections: int = 100,
    service_time: float = 0.001,
    book: BookLimits | None = None,
    shuffle: random.Random | None = None,
    batches: int = 1,
    codec: Codec = CODEC,
    strain: tuple[int, int] = (128, 4096),
) -> AsyncIterator[World]:
    """A running proxy in front of a fake database. `strain`: how many messages a relay looks at in one call, and how many
    replies may be owed.
    """
    settings = settings or proxy()
    group, limits = settings.target_group, settings.limits
    witness = Witness()
    async with trio.open_nursery() as nursery:
        database = FakeDatabase(nursery, max_connections=max_connections, service_time=service_time)
        board = MemoryBoard(shuffle, batches)
        observers, counters = Observers([witness]), Counters()

        async def no_answer(question: object) -> Any:
            raise AssertionError(question)

        opener = Opener(
            codec=codec,
            places=OnlyWay(database.connect),
            tls="disable",
            context=None,
            passwords_of=lambda _: (),
            answer=no_answer,
            init_query=group.init_query,
        )
        pool = Pool(
            "test",
            group,
            Book(book or book_limits(group)),
            opener,
            board,
            observers,
            counters,
            connect_timeout=settings.target.connect_timeout,
            abandon_timeout=limits.abandoned_query_timeout,
        )
        context = SessionContext(
            settings=settings,
            codec=codec,
            pool=pool,
            board=board,
            observers=observers,
            counters=counters,
            registry=Registry(),
            credentials=Credentials(settings),
            deriver=KeyDeriver(),
            certificates=Certificates(ClientTls(enabled=False)),
            mock_salt_key=bytes(32),
            policy=RelayPolicy(
                max_frame=limits.max_frame_bytes,
                max_held=limits.max_held_bytes,
                max_prepared_statements=group.max_prepared_statements,
                max_at_once=strain[0],
                max_owed=strain[1],
            ),
        )
        nursery.start_soon(board.run)
        await nursery.start(pool.run)
        nursery.start_soon(context.ears.run)
        await nursery.start(context.errands.run)
        yield World(nursery, context, database, board, witness)
        nursery.cancel_scope.cancel()


def book_limits(group: TargetGroup) -> BookLimits:
    """As the application makes them; nothing is surplus."""
    return BookLimits(
        limit=1,
        max_idle=1000,
        max_waiters=group.max_waiters,
        wait_timeout=group.connection_borrow_timeout,
        max_simultaneous_opens=group.max_simultaneous_opens,
        idle_timeout=group.backend_idle_timeout,
        lifetime=group.backend_lifetime,
        grows_when_waiting=group.connection_borrow_timeout > 0,
    )


def simulate(main: Callable[..., Awaitable[Any]], *args: Any, seed: int = 0) -> Any:
    """Run `main(*args)` in a Trio of its own with a virtual clock, the same way every time for the same seed."""
    random.seed(seed)
    with pytest.MonkeyPatch.context() as patch:
        # Trio's own switch for deterministic scheduling; nothing but simulations needs it.
        patch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
        patch.setattr(trio._core._run, "_r", random.Random(seed))
        return trio.run(main, *args, clock=trio.testing.MockClock(autojump_threshold=0))
