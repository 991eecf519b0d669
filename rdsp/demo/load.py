"""The demo's clients: short transactions with pauses over many connections, every answer checked.

A process of its own (`python -m rdsp.demo.load`), so that the proxy has a core for itself where there are two. It
prints one JSON object per second and one at the end, ends by itself after its time, gently when its standard input
is closed, and so never outlives who started it.

Every transaction asks for the number of the database connection at its beginning and its end: a transaction that
was torn between two of them, an answer that belongs to somebody else, an error or a missing answer are all errors.
"""

from __future__ import annotations

import json
import os
import random
import sys
from array import array
from collections.abc import Mapping

import attrs
import trio

from rdsp.demo import mysql_wire, wire
from rdsp.demo.limits import allow_files, mean_pause
from rdsp.demo.wire import Login, ServerError
from rdsp_codecs.errors import CodecError

_LOGINS_AT_ONCE = 16
_LOGIN_SECONDS = 60.0
_PARTING_SECONDS = 10.0
_COUNT_EVERY = 0.2
Connection = wire.Connection | mysql_wire.Connection
WIRES: Mapping[str, type[Connection]] = {
    "postgres": wire.Connection,
    "mysql": mysql_wire.Connection,
    "mariadb": mysql_wire.Connection,
}
"""How the clients of each engine speak."""


@attrs.define(eq=False)
class Tally:
    """What the clients have done so far.

    Attributes:
        backends, most_backends: database connections as the database itself counts them, now and at most.
        seen: process ids of all database connections that answered.
        served: per client, the number of database connections that answered it.
        latencies: seconds of every transaction since all clients are in; `fresh` is where the current second's begin.
    """

    connected: int = 0
    transactions: int = 0
    errors: int = 0
    first_error: str = ""
    backends: int = 0
    most_backends: int = 0
    seen: set[bytes] = attrs.field(factory=set)
    served: dict[int, int] = attrs.field(factory=dict)
    latencies: array[float] = attrs.field(factory=lambda: array("f"))
    fresh: int = 0

    def report(self, *, final: bool) -> None:
        """One line for the parent."""
        seconds = sorted(self.latencies if final else self.latencies[self.fresh :])
        self.fresh = len(self.latencies)
        line = {
            "connected": self.connected,
            "transactions": self.transactions,
            "errors": self.errors,
            "first_error": self.first_error,
            "backends": self.backends,
            "most_backends": self.most_backends,
            "served_by": sum(self.served.values()) / max(1, len(self.served)),
            "median_ms": 1000 * seconds[len(seconds) // 2] if seconds else 0.0,
            "p99_ms": 1000 * seconds[len(seconds) * 99 // 100] if seconds else 0.0,
            "final": final,
        }
        print(json.dumps(line), flush=True)

    def settle(self) -> None:
        """All clients are in: transactions beside a storm of logins do not count as usual ones."""
        del self.latencies[:]
        self.fresh = 0

    def failed(self, text: str) -> None:
        """A client failed, or got a wrong answer."""
        self.errors += 1
        self.first_error = self.first_error or text


class Crowd:
    """All clients.

    Args:
        login: through the proxy. direct: to the database itself, for counting; None: nobody counts.
        wire: how the clients speak; one of `WIRES`.
        pause: seconds; a client rests up to so long between two transactions, half of it on average.
        parting: seconds that a client may need to finish its transaction when the load ends.
    """

    def __init__(
        self,
        login: Login,
        direct: Login | None,
        *,
        pause: float,
        wire: type[Connection] = wire.Connection,
        parting: float = _PARTING_SECONDS,
    ) -> None:
        self.tally = Tally()
        self._wire = wire
        self._login = login
        self._direct = direct
        self._pause = pause
        self._parting = parting
        self._gate = trio.CapacityLimiter(_LOGINS_AT_ONCE)
        self._all_in = trio.Event()
        self._stop = trio.Event()
        self._arrived = 0
        self._left = 0
        self._hurried = False

    def stop(self) -> None:
        """End the load early: every client finishes its transaction and leaves."""
        self._hurried = True
        self._stop.set()

    async def run(self, clients: int, seconds: float) -> None:
        """Connect all clients, let them work for so many seconds (or until `stop`), and see them off.

        Raises nothing for what clients meet: it is in the tally.
        """
        async with trio.open_nursery() as nursery:
            if self._direct is not None:
                nursery.start_soon(self._count, self._direct)
            nursery.start_soon(self._run_for, clients, seconds)
            # From here: a client that gets no answer at all is an error, too.
            async with trio.open_nursery() as inner:
                for number in range(clients):
                    inner.start_soon(self._client, number, clients)
                inner.start_soon(self._see_off, inner.cancel_scope)
            nursery.cancel_scope.cancel()
        if self._left < clients:
            self.tally.failed(f"{clients - self._left} of {clients} clients got no answer for {self._parting:g} s")
        elif self.tally.connected < clients and not self.tally.errors and not self._hurried:
            self.tally.failed(f"only {self.tally.connected} of {clients} clients could connect")

    async def _run_for(self, clients: int, seconds: float) -> None:
        with trio.move_on_after(_LOGIN_SECONDS + clients / 50):
            await self._all_in.wait()
        self.tally.settle()
        with trio.move_on_after(seconds):
            await self._stop.wait()
        self._stop.set()

    async def _see_off(self, scope: trio.CancelScope) -> None:
        await self._stop.wait()
        scope.deadline = trio.current_time() + self._parting

    async def _client(self, number: int, clients: int) -> None:
        connection = None
        try:
            async with self._gate:
                if not self._stop.is_set():
                    connection = await self._wire.open(self._login)
                    self.tally.connected += 1
            self._arrive(clients)
            if connection is not None:
                await self._work(connection, number)
                await connection.leave()
        except (OSError, CodecError, ServerError, ValueError) as error:
            self.tally.failed(f"client {number}: {error}")
            if connection is None:
                self._arrive(clients)
        finally:
            if connection is not None:
                connection.close()
        self._left += 1
        if self._left == clients:
            self._stop.set()

    def _arrive(self, clients: int) -> None:
        """A client's login is over, one way or the other."""
        self._arrived += 1
        if self._arrived == clients:
            self._all_in.set()

    async def _work(self, connection: Connection, number: int) -> None:
        await connection.prepare()
        mine: set[bytes] = set()
        n = 0
        while not self._stop.is_set():
            n += 1
            began = trio.current_time()
            pid = await self._transaction(connection, number, n)
            self.tally.latencies.append(trio.current_time() - began)
            self.tally.transactions += 1
            mine.add(pid)
            self.tally.seen.add(pid)
            self.tally.served[number] = len(mine)
            with trio.move_on_after(random.random() * self._pause):
                await self._stop.wait()

    async def _transaction(self, connection: Connection, number: int, n: int) -> bytes:
        """One transaction in four round trips. Returns the database connection's process id."""
        await connection.begin()
        if connection.status != "T":
            raise ValueError(f"after BEGIN the status is {connection.status!r}")
        mark = number * 1_000_000 + n
        got, pid = await connection.marked(mark)
        sum_, pid_at_end = await connection.added(n)
        await connection.commit()
        if got != str(mark).encode() or sum_ != str(n + 1).encode():
            raise ValueError(f"wrong answers: {got!r} for {mark}, {sum_!r} for {n} + 1")
        if pid is None or pid != pid_at_end:
            raise ValueError(f"a transaction was torn between two database connections: {pid!r}, {pid_at_end!r}")
        if connection.status != "I":
            raise ValueError(f"after COMMIT the status is {connection.status!r}")
        return pid

    async def _count(self, direct: Login) -> None:
        """Ask the database itself how many connections it has."""
        try:
            connection = await self._wire.open(direct)
            try:
                while True:
                    self.tally.backends = await connection.count()
                    self.tally.most_backends = max(self.tally.most_backends, self.tally.backends)
                    await trio.sleep(_COUNT_EVERY)
            finally:
                connection.close()
        except (OSError, CodecError, ServerError, ValueError) as error:
            self.tally.failed(f"the database's connections could not be counted: {error}")


async def _report(tally: Tally) -> None:
    while True:
        await trio.sleep(1)
        tally.report(final=False)


async def _stop_with_stdin(crowd: Crowd) -> None:
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stream:
        while await stream.receive_some():
            pass
    crowd.stop()


async def _run(engine: str, login: Login, direct: Login, clients: int, seconds: float) -> None:
    crowd = Crowd(login, direct, pause=2 * mean_pause(clients), wire=WIRES[engine])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_report, crowd.tally)
        nursery.start_soon(_stop_with_stdin, crowd)
        await crowd.run(clients, seconds)
        nursery.cancel_scope.cancel()
    crowd.tally.report(final=True)


def main() -> None:
    """`python -m rdsp.demo.load PORT DIRECT_PORT CLIENTS SECONDS`; engine and who logs in come from the environment."""
    port, direct_port, clients, seconds = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    user, password = os.environ["RDSP_DEMO_USER"], os.environ["RDSP_DEMO_PASSWORD"]
    database = os.environ["RDSP_DEMO_DATABASE"]
    allow_files()
    login = Login(port, user, password, database)
    direct = Login(direct_port, user, password, database, direct=True)
    trio.run(_run, os.environ["RDSP_DEMO_ENGINE"], login, direct, clients, seconds)


if __name__ == "__main__":
    main()
