"""Relays driven as the runtime drives them (`rdsp.session.splice`), with models of backends behind them.

`Proxy` hands on bytes in pieces of any size and in any order of events; `Lane` goes step by step.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import attrs

from rdsp.session.policy import may_release
from rdsp_codecs import moves
from rdsp_codecs.api import ClientLogin, RelayPolicy
from rdsp_codecs.postgres.relay import PostgresRelay
from rdsp_codecs.postgres.settings import Settings
from rdsp_codecs.postgres.state import PostgresState
from rdsp_codecs.postgres.statements import SharedStatements
from rdsp_codecs.testing.pool import Step
from rdsp_codecs.testing.postgres.server import ModelServer
from rdsp_codecs.testing.postgres.words import World
from rdsp_codecs.transaction import Transaction
from tests.codecs.postgres.conversations import DDL
from tests.servers import rawclient as w

WHO = ClientLogin("app", "app", {}, 3 << 16, tls=False)
STATUS = {b"I": Transaction.NONE, b"T": Transaction.OPEN, b"E": Transaction.FAILED}


@attrs.define(eq=False)
class Backend:
    """A model backend, and what is on its way to it and from it."""

    server: ModelServer
    state: PostgresState = attrs.field(factory=lambda: PostgresState({"TimeZone": "UTC"}))
    coming: bytes = b""
    going: bytes = b""

    spoil: Callable[[bytes], bytes] = lambda data: data

    def run(self, data: bytes) -> None:
        self.server.feed(data)
        self.going += self.spoil(self.server.take())


def settings_of(known: Settings) -> dict[str, str]:
    """What a model backend has that is what the proxy believes it to be."""
    model = ModelServer(World())
    for statement in known.statements.values():
        model.feed(w.query(statement.decode()))
    return model.settings


class Client:
    """One session, and the same client on a connection of its own."""

    def __init__(self, proxy: Proxy, policy: RelayPolicy) -> None:
        self.proxy = proxy
        self.relay = PostgresRelay(WHO, policy, proxy.shared)
        self.direct = ModelServer(proxy.world)
        self.expected = b""
        self.received = b""
        self.coming = b""
        self.backend: Backend | None = None
        self.waiting = False
        self.ended = False
        self.more = False

    # -- the client -----------------------------------------------------------------------------------------------

    def says(self, data: bytes) -> None:
        self.coming += data
        self.direct.feed(data)
        self.expected += self.direct.take()

    def check(self) -> None:
        """Everything was delivered: all that a server must have said by now is there, and nothing that it would not."""
        assert self.received[: len(self.expected)] == self.expected
        assert (self.expected + self.direct.buffered).startswith(self.received)

    # -- the runtime ----------------------------------------------------------------------------------------------

    def events(self) -> list[str]:
        backend = self.backend
        possible = []
        if self.ended:
            return []
        if self.more:
            return ["go on", *["run"] * bool(backend is not None and backend.coming)]
        if self.waiting:
            possible.append("grant")
        elif self.coming and not (backend is not None and self.relay.holds_too_much):
            possible.append("read client")
        if backend is not None:
            possible += ["run"] * bool(backend.coming) + ["read server"] * bool(backend.going)
        return possible

    def happens(self, event: str) -> None:
        proxy, backend = self.proxy, self.backend
        if event == "grant":
            if proxy.free:
                self.waiting = False
                self.attach()
        elif event == "go on":
            self.more = False
            self.heed(self.relay.go_on())
        elif event == "read client":
            data, self.coming = proxy.piece(self.coming)
            self.heed(self.relay.from_client(data))
        elif backend is not None and event == "run":
            data, backend.coming = proxy.piece(backend.coming)
            backend.run(data)
        elif backend is not None:
            data, backend.going = proxy.piece(backend.going)
            self.heed(self.relay.from_server(data))

    def heed(self, signals: int) -> None:
        self.received += b"".join(self.relay.to_client)
        self.relay.to_client.clear()
        if self.relay.to_server:
            assert self.backend is not None
            self.backend.coming += b"".join(self.relay.to_server)
            self.relay.to_server.clear()
        self.proxy.watch(self.relay)
        self.ended = self.ended or bool(signals & (moves.FATAL | moves.BYE))
        self.more = self.more or bool(signals & moves.MORE)
        if signals & moves.WANT_BACKEND:
            assert self.backend is None
            if self.proxy.free and self.proxy.random.random() < 0.7:
                self.attach()
            elif self.proxy.alone and self.relay.answer_alone():
                self.heed(moves.NOTHING)
            else:
                self.waiting = True
        elif signals & moves.OVER:
            self.over()

    def attach(self) -> None:
        proxy = self.proxy
        self.backend = proxy.free.pop(proxy.random.randrange(len(proxy.free)))
        self.heed(self.relay.attached(self.backend.state))

    def over(self) -> None:
        relay, backend = self.relay, self.backend
        assert backend is not None
        assert not self.more
        assert not relay.in_request()
        if not self.proxy.honest:
            return
        assert not backend.going
        # What is still on its way is what a server ignores.
        backend.run(backend.coming)
        backend.coming = b""
        assert not backend.going
        assert backend.server.at_rest
        assert relay.transaction is STATUS[backend.server.status]
        if may_release(relay.transaction, relay.pins, owed=False):
            assert backend.server.outside
            assert backend.server.settings == settings_of(backend.state.settings)
            relay.detached()
            self.backend = None
            self.proxy.free.append(backend)

    def leaves(self) -> None:
        """The client is gone: what becomes of its backend."""
        backend, self.backend = self.backend, None
        self.waiting = False
        if backend is not None:
            relay = self.relay
            if relay.pins or relay.in_doubt() or relay.in_request() or relay.cut_short():
                backend = self.proxy.new_backend()
            elif relay.transaction is not Transaction.NONE:
                backend.run(w.query("ROLLBACK"))
                backend.coming = backend.going = b""
            self.proxy.free.append(backend)


class Proxy:
    """A pool of two backends and the clients of it.

    `honest`: the servers keep to the protocol, so that what they say can be relied on.
    `mode` says how large pieces are: "whole", "bytes" (one to three), or anything.
    """

    CHUNK = 2000
    honest = True
    alone = True

    def __init__(self, seed: int, mode: str = "any", policy: RelayPolicy | None = None) -> None:
        self.random = random.Random(seed)
        self.mode = mode
        self.policy = policy or RelayPolicy()
        self.world = World()
        self.shared = SharedStatements()
        self.free = [self.new_backend(), self.new_backend()]
        self.clients: dict[str, Client] = {}

    def new_backend(self) -> Backend:
        return Backend(ModelServer(self.world, self.random.choice([1, 40, 8192])), spoil=self.spoil)

    def spoil(self, data: bytes) -> bytes:
        """What a server really sends."""
        return data

    def watch(self, relay: PostgresRelay) -> None:
        """Called whenever a relay has done something."""

    def client(self, who: str) -> Client:
        if who not in self.clients:
            self.clients[who] = Client(self, self.policy)
        return self.clients[who]

    def piece(self, data: bytes) -> tuple[bytes, bytes]:
        """What one read brings of `data`, and the rest."""
        size = len(data)
        if self.mode == "bytes":
            size = self.random.randint(1, 3)
        elif self.mode == "any":
            size = self.random.choice([self.random.randint(1, 12), self.random.randint(1, size), size])
        return data[:size], data[size:]

    def happens(self, times: int = 1 << 30) -> None:
        """So many events in any order, or all there are."""
        while times:
            possible = [(client, event) for client in self.clients.values() for event in client.events()]
            if not possible:
                return
            client, event = self.random.choice(possible)
            client.happens(event)
            times -= 1

    def runs(self, steps: list[Step]) -> None:
        # What a Parse that was answered without a backend would have returned before DDL, nobody knows: accepted.
        self.alone = all(step.data != DDL for step in steps)
        for step in steps:
            client = self.client(step.who)
            if step.data is None:
                client.leaves()
                del self.clients[step.who]
                continue
            if step.data == DDL:
                self.happens()
                self.world.version += 1
                continue
            client.says(step.data)
            if not step.waits:
                self.happens(self.random.randint(0, 4))
                continue
            self.happens()
            for each in self.clients.values():
                each.check()
        self.happens()
        for each in self.clients.values():
            each.check()


def cut(seed: int, times: int) -> Callable[[bytes], list[bytes]]:
    """Cuts what it gets into pieces, at most so many times."""
    chance = random.Random(seed)

    def pieces(data: bytes) -> list[bytes]:
        edges = sorted({0, *(chance.randint(0, len(data)) for _ in range(chance.randint(1, times))), len(data)})
        return [data[one:two] for one, two in itertools.pairwise(edges)]

    return pieces


def said(steps: list[Step]) -> bytes:
    """All that the clients say."""
    return b"".join(step.data for step in steps if step.data and step.data != DDL)
