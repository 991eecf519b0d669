"""The kit's pool with all that is PostgreSQL's own: buffers of servers, tables that change, what is believed of settings."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from typing import Any

import attrs

from rdsp_codecs.api import ClientLogin, RelayPolicy
from rdsp_codecs.postgres import CODEC
from rdsp_codecs.postgres.settings import Settings
from rdsp_codecs.postgres.state import PostgresState
from rdsp_codecs.testing.pool import ANSWERS, BOUNDARIES, SESSIONS, STUCK, TRANSACTIONS, Client, Pool, Step
from rdsp_codecs.testing.postgres import ModelServer, PostgresServer, PostgresWire, World
from rdsp_codecs.transaction import Transaction
from tests.codecs.postgres.conversations import DDL
from tests.servers import rawclient as w

WHO = ClientLogin("app", "app", {}, 3 << 16, tls=False)


@attrs.define(eq=False)
class Backend:
    """A model backend, and what is on its way to it and from it."""

    server: ModelServer
    state: PostgresState = attrs.field(factory=lambda: PostgresState({"TimeZone": "UTC"}))
    coming: bytes = b""
    going: bytes = b""

    def run(self, data: bytes) -> None:
        self.server.feed(data)
        self.going += self.server.take()


def settings_of(known: Settings) -> dict[str, str]:
    """What a model backend has that is what the proxy believes it to be."""
    model = ModelServer(World())
    for statement in known.statements.values():
        model.feed(w.query(statement.decode()))
    return model.settings


class Wire(PostgresWire):
    """Servers of one world; those of the proxy's flush at other times than the clients' own."""

    def __init__(self, seed: int) -> None:
        self.world = World()
        self.random = random.Random(seed)
        self.sizes = [1, 40, 8192]

    def server(self) -> PostgresServer:
        return PostgresServer(self.world, self.random.choice(self.sizes))


class Session(Client):
    """A client that is told nothing late, either."""

    pool: Proxy
    direct: Any

    def own_server(self) -> PostgresServer:
        return PostgresServer(self.pool.world)

    def check(self) -> None:
        super().check()
        # All that a server must have said by now is there, and nothing that it would not.
        assert self.received[: len(self.expected)] == self.expected
        assert (self.expected + self.direct.model.buffered).startswith(self.received)

    def _look_at(self, backend: Any) -> None:
        super()._look_at(backend)
        if self.relay.transaction is Transaction.NONE and not self.relay.pins:
            assert backend.server.session == settings_of(backend.state.settings)


class Proxy(Pool):
    """A pool of two backends and the clients of it."""

    CHUNK = 2000
    make_client = Session

    def __init__(self, seed: int, mode: str = "any", policy: RelayPolicy | None = None, *, honest: bool = True) -> None:
        enforced = (ANSWERS, BOUNDARIES, SESSIONS, STUCK, TRANSACTIONS) if honest else ()
        wire = Wire(seed)
        self.world = wire.world
        super().__init__(CODEC, wire, seed, enforced, mode=mode, policy=policy, honest=honest)

    def runs(self, steps: list[Step]) -> None:
        # What a Parse that was answered without a backend would have returned before DDL, nobody knows: accepted.
        self.alone = all(step.data != DDL for step in steps)
        super().runs(steps)

    def interferes(self, step: Step) -> bool:
        if step.data == DDL:
            self.happens()
            self.world.version += 1
        return step.data == DDL


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
