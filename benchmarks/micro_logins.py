"""What a login costs the proxy's own code: `python -m benchmarks.micro_logins`, microseconds of CPU per login.

As `benchmarks.micro`, in one thread: a client on the loopback interface connects, proves its password by SCRAM-SHA-256,
asks `SELECT 1` of a server with canned answers, and leaves. Only the switchboard's batches are timed
(`time.thread_time_ns`), with the kernel's part in them. Of many logins the quartiles are shown: two versions can be
compared, in turn, where `make bench` is all noise.

    python -m benchmarks.micro_logins [--logins 2000]
    RDSP_SCANNER=compiled PYTHONPATH=build/compiled python -m benchmarks.micro_logins

`--calls` counts instead what Python calls, per login, of functions that are not compiled and of built-in ones.
"""

from __future__ import annotations

import argparse
import gc
import socket
import statistics
import struct
import time
from functools import partial
from typing import Any, Final

import trio

from benchmarks.micro import _answers, _First, _Pair, count_calls
from benchmarks.targets import DATABASE, PASSWORD, USER
from benchmarks.wire import GOODBYE, _scram, query, until_ready
from rdsp.app import _build
from rdsp.auth.derive import KeyDeriver
from rdsp.config.load import loads
from rdsp.endpoint.listener import Endpoint, open_listeners
from rdsp.net.switchboard import Switchboard
from rdsp.observe.dispatch import Observers
from rdsp.pool.backend import Backend
from rdsp.pool.book import Open
from rdsp.pool.facts import KeyFacts
from rdsp.session.login import key_of
from rdsp_codecs.api import ClientLogin
from rdsp_codecs.choice import CHOICE
from rdsp_codecs.postgres.state import PostgresState

_CONFIGURATION: Final = f"""
[[proxies]]
listen = "127.0.0.1:0"
target.url = "postgresql://{USER}:{PASSWORD}@127.0.0.1:1/{DATABASE}"
target.tls = "disable"
"""
_REPORTED: Final = {
    "application_name": "", "client_encoding": "UTF8", "DateStyle": "ISO, MDY", "default_transaction_read_only": "off",
    "in_hot_standby": "off", "integer_datetimes": "on", "IntervalStyle": "postgres", "is_superuser": "on",
    "server_encoding": "UTF8", "server_version": "15.18", "session_authorization": USER,
    "standard_conforming_strings": "on", "TimeZone": "Etc/UTC",
}  # fmt: skip
"""What a server of version 15 reports."""
_STARTUP: Final = struct.pack(">I", 3 << 16) + f"user\0{USER}\0database\0{DATABASE}\0\0".encode()
_WARM: Final = 50
_COUNTED: Final = 100


class Bench:
    """A proxy with one database connection, whose switchboard is driven by hand."""

    async def open(self) -> None:
        """Everything up to the first login."""
        self.board = Switchboard()
        settings = loads(_CONFIGURATION).proxies[0]
        self.context, _ = _build(settings, self.board, Observers([]), KeyDeriver())
        context = self.context
        await context.credentials.work_ahead(context.deriver.derive, context.mock_salt_key)
        doors = await open_listeners(settings, "")
        self.endpoint = Endpoint(context, doors)
        for door in doors:
            self.board.watch(door, partial(self.endpoint._knock, door))
        self._open_backend()
        self.spent = 0

    def _open_backend(self) -> None:
        context, pool = self.context, self.context.pool
        key = key_of(context, ClientLogin(USER, DATABASE, {}, 3 << 16, tls=False), 0)
        facts = pool.enter(self, key, lambda: KeyFacts(key, USER, DATABASE, {}, context.codec.shared()))
        waiter, pair, way = _First(), _Pair(), None
        (decision,) = pool.book.wait(key, waiter, self.board.now)
        assert isinstance(decision, Open)
        state = PostgresState(dict(_REPORTED))
        facts.parameters = state.server_parameters
        backend = Backend(decision.member, pair, state, way, facts, pool.idle_event)  # type: ignore[arg-type]
        self.board.watch(pair, backend.event)
        for grant in pool.book.opened(decision.member, backend, self.board.now):
            grant.waiter.granted(grant.member.payload)  # type: ignore[union-attr]
        pool.give_back(backend)
        self.server = pair.peer_end

    def turn(self) -> None:
        """One batch, timed; the server answers what it was asked in it."""
        begun = time.thread_time_ns()
        self.board._batch(0)
        self.spent += time.thread_time_ns() - begun
        try:
            asked = self.server.recv(65536)
        except BlockingIOError:
            return
        self.server.send(_answers(asked))

    def login(self) -> float:
        """One client from its connection to its end. Returns the microseconds of the proxy's CPU."""
        self.spent = 0
        with socket.create_connection(self.endpoint.addresses[0]) as sock:
            client: Any = _Client(sock, self)
            client.sendall(struct.pack(">I", len(_STARTUP) + 4) + _STARTUP)
            _scram(client, PASSWORD)
            until_ready(client)
            assert query(client, "SELECT 1")
            client.sendall(GOODBYE)
        while len(self.context.registry):
            self.turn()
        return self.spent / 1000


class _Client:
    """A socket for `benchmarks.wire` that lets the proxy go on while there is nothing to read."""

    def __init__(self, sock: socket.socket, bench: Bench) -> None:
        sock.setblocking(False)
        self.sendall = sock.sendall
        self._recv = sock.recv
        self._bench = bench

    def recv(self, size: int) -> bytes:
        while True:
            try:
                return self._recv(size)
            except BlockingIOError:
                self._bench.turn()


async def _main(options: argparse.Namespace) -> None:
    """Within Trio, whose clock sessions ask for."""
    bench = Bench()
    await bench.open()
    for _ in range(_WARM):
        bench.login()
    gc.collect()
    gc.freeze()
    if options.calls:
        count_calls(bench.login, _COUNTED)
        return
    low, middle, high = statistics.quantiles((bench.login() for _ in range(options.logins)), n=4)
    print(f"{CHOICE.name}: {low:.0f}, {middle:.0f}, {high:.0f} µs per login (quartiles of {options.logins})")


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro_logins", description=__doc__.splitlines()[0])
    parser.add_argument("--logins", type=int, default=2000)
    parser.add_argument("--calls", action="store_true", help="count calls instead")
    trio.run(_main, parser.parse_args())


if __name__ == "__main__":
    main()
