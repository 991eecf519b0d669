"""A small PostgreSQL server for simulations: one Trio task per connection over memory transports.

It knows a few words in place of SQL, behaves as PostgreSQL does where the proxy can tell the difference (statuses,
prepared statements, skipping to Sync, cancels by a second connection, queries that run on after their client left),
and writes down what ran where and for whom. Every text carries its sender as `/*name.serial*/`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

import trio

from rdsp.net.memory import MemoryTransport, Script, memory_pair
from tests.codecs.postgres.model_queue import Heard
from tests.runtime.fake_connection import Connection, Ran


class FakeDatabase:
    """The server: its limits, its troubles, and everything that ran.

    Attributes:
        max_connections: what it tells, and enforces with 53300.
        down: nobody listens.
        hangs: connections are accepted and never answered.
        refusal: a SQLSTATE and a text for every login.
        service_time: seconds that every statement takes.
        login_delay, cancel_delay: seconds.
        quitters: so many connections end right behind the answer to the proxy's first question.
        scripts: gives the scripts of a new connection (what the proxy writes, what the server writes).
        problems: what must never happen and did.
        queue: all notifications; queue_is_full: no more are taken.
        most_cancelling: how many cancel requests were on their way at once.
        stray_cancels: cancel requests for connections that were gone.
    """

    def __init__(self, nursery: trio.Nursery, *, max_connections: int = 100, service_time: float = 0.001) -> None:
        self._nursery = nursery
        self.max_connections = max_connections
        self.service_time = service_time
        self.down = False
        self.hangs = False
        self.refusal: tuple[str, str] | None = None
        self.login_delay = 0.0
        self.cancel_delay = 0.0
        self.quitters = 0
        self.keeps_its_limit = False
        self.queue: list[Heard] = []
        self.queue_is_full = False
        self.scripts: Callable[[], tuple[Script, Script]] = lambda: (Script(), Script())
        self.all: list[Connection] = []
        self.live: dict[Connection, None] = {}  # a set would have them in the order of addresses
        self.problems: list[str] = []
        self.stray_cancels = self.cancelling = self.most_cancelling = 0
        self.most = 0

    async def connect(self) -> MemoryTransport:
        """For the proxy's opener."""
        await trio.lowlevel.checkpoint()
        if self.down:
            raise ConnectionRefusedError(111, "nobody listens")
        here, there = memory_pair(f"database-{len(self.all) + 1}", *self.scripts())
        connection = Connection(self, there, len(self.all) + 1)
        self.all.append(connection)
        self._nursery.start_soon(self._serve, connection)
        return here

    async def _serve(self, connection: Connection) -> None:
        self.live[connection] = None
        try:
            if self.hangs:
                with connection.life:
                    await trio.sleep_forever()
                connection.transport.close()
            else:
                await connection.serve()
        finally:
            self.live.pop(connection, None)

    def signal(self, by: Connection) -> None:
        """Something may stand in the queue that others have not read."""
        for connection in self.live:
            if connection is not by:
                connection.signal()

    def notify(self, channel: str, payload: str) -> None:
        """Somebody says it who is no client of the proxy's."""
        self.queue.append((0, channel, payload))
        for connection in self.live:
            connection.signal()

    def soon(self, task: Callable[[], Awaitable[None]]) -> None:
        """Have it done beside."""
        self._nursery.start_soon(task)

    def count(self) -> None:
        """A connection has logged in."""
        self.most = max(self.most, self.logged_in)

    @property
    def logged_in(self) -> int:
        return sum(connection.logged_in for connection in self.live)

    def why_not(self, newcomer: Connection) -> tuple[str, str] | None:
        if self.refusal is not None:
            return self.refusal
        if self.logged_in >= self.max_connections:
            return "53300", "sorry, too many clients already"
        return None

    def cancel(self, number: int, key: bytes) -> None:
        """A cancel request was read."""
        for connection in self.live:
            if connection.number == number and connection.key == key:
                running = connection.running
                connection.cancels.append(connection.ran[-1].text if running else "")
                if running is not None:
                    running.cancel()
                return
        self.stray_cancels += 1

    def kill_all(self) -> None:
        """Every connection ends, as at a fast shutdown."""
        for connection in list(self.live):
            connection.terminate()

    def ran(self) -> Iterator[Ran]:
        """Everything that ran, connection after connection."""
        for connection in self.all:
            yield from connection.ran

    def times(self) -> Counter[str]:
        """How often each text was begun."""
        return Counter(ran.text for ran in self.ran() if ran.who)

    def __repr__(self) -> str:
        return f"<FakeDatabase {len(self.live)} live, {len(self.problems)} problems>"
