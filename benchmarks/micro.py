"""What the proxy's own code costs: `python -m benchmarks.micro`, microseconds of CPU per transaction.

One thread runs sessions and backends over socket pairs, with canned answers of a server; only the steps of the proxy
are timed (`time.thread_time`), two `recv` and two `send` among them. Of many runs the least counts, so that the figures
hardly depend on what else the machine does: two versions can be compared where `make bench` is all noise.

    python -m benchmarks.micro [--sessions 16] [--backends 20] [--runs 100]
    RDSP_SCANNER=compiled PYTHONPATH=build/compiled python -m benchmarks.micro

With more sessions than backends, requests queue for a backend. `--calls simple` counts instead what Python calls, per
transaction, of functions that are not compiled and of built-in ones.
"""

from __future__ import annotations

import argparse
import gc
import random
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import trio

from rdsp.config.model import TargetGroup
from rdsp.net.switchboard import READABLE, Board, Clock, Step
from rdsp.observe.counters import Counters
from rdsp.observe.dispatch import Observers
from rdsp.pool.backend import Backend
from rdsp.pool.book import Book, BookLimits, Open
from rdsp.pool.facts import KeyFacts
from rdsp.pool.pool import Pool
from rdsp.session.splice import Splice
from rdsp_codecs.api import ClientLogin, RelayPolicy
from rdsp_codecs.choice import CHOICE
from rdsp_codecs.postgres.relay import PostgresRelay
from rdsp_codecs.postgres.state import PostgresState
from rdsp_codecs.postgres.statements import SharedStatements

_KEY: Final = ("bench", "postgres", ())
_PER_RUN: Final = 10
"""Transactions of each session in a run."""
_TRIES: Final = 1000
"""Rounds after which the backends must have the prepared statement."""
_SETTLED: Final = 50
"""Rounds without a prologue after which none is to come."""


def _message(tag: bytes, body: bytes = b"") -> bytes:
    return tag + struct.pack(">I", len(body) + 4) + body


_TEXT: Final = b"SELECT 1;\0"
_READY: Final = _message(b"Z", b"I")
_FIELD: Final = struct.pack(">H", 1) + b"?column?\0" + struct.pack(">IhIhih", 0, 0, 23, 4, -1, 0)
_DESCRIPTION: Final = _message(b"T", _FIELD)
_ROWS: Final = _message(b"D", struct.pack(">HI", 1, 1) + b"1") + _message(b"C", b"SELECT 1\0")
_SYNC: Final = _message(b"S")
_REPLIES: Final = {
    b"P": _message(b"1"),
    b"B": _message(b"2"),
    b"E": _ROWS,
    b"S": _READY,
    b"C": _message(b"3"),
    b"Q": _DESCRIPTION + _ROWS + _READY,
}
_NO_PARAMETERS: Final = _message(b"t", struct.pack(">H", 0))


def _parse(name: bytes) -> bytes:
    return _message(b"P", name + b"\0" + _TEXT + b"\0\0")


def _execute(name: bytes) -> bytes:
    """Bind, Describe of the portal, Execute, Sync: as pgbench sends them."""
    bind = _message(b"B", b"\0" + name + b"\0" + struct.pack(">HHHH", 0, 0, 1, 0))
    return bind + _message(b"D", b"P\0") + _message(b"E", b"\0\0\0\0\0") + _SYNC


def _answers(data: bytes) -> bytes:
    """What a server says to whole messages."""
    out, at = b"", 0
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at + 1)
        tag = data[at : at + 1]
        if tag == b"D":
            out += (_NO_PARAMETERS if data[at + 5] == ord("S") else b"") + _DESCRIPTION
        else:
            out += _REPLIES[tag]
        at += size + 1
    return out


class _Pair:
    """A `Transport` on one end of a socket pair; `peer_end` is the other."""

    def __init__(self) -> None:
        self._own, self.peer_end = socket.socketpair()
        self._own.setblocking(False)
        self.peer_end.setblocking(False)
        self.peer, self.local, self.tls, self.records, self.in_handshake = "pair", True, None, None, False
        self.recv, self.send, self.fileno = self._own.recv, self._own.send, self._own.fileno

    def has_unread(self) -> bool:
        return False


class _Board(Board):
    """One that waits for nothing: the benchmark calls the steps."""

    def __init__(self) -> None:
        self.clock = Clock(1.0)
        self.leave = False
        self.queue: list[tuple[Step, int]] = []

    def refresh(self) -> float:
        return self.clock.now

    def watch(self, transport: object, step: Step) -> None:
        """Nothing to watch."""

    def forget(self, transport: object) -> None:
        """Nothing was watched."""

    def again(self, step: Step, mask: int) -> None:
        self.queue.append((step, mask))


class _First:
    """A waiter for a backend's opening."""

    backend: Backend

    def granted(self, backend: Backend) -> None:
        self.backend = backend

    def failed(self, refusal: object) -> None:
        raise RuntimeError(refusal)


class Bench:
    """Sessions, backends and their pool."""

    def __init__(self, sessions: int, backends: int) -> None:
        self.board: Any = _Board()
        self.book = Book(BookLimits(limit=backends, max_idle=backends, max_simultaneous_opens=backends))
        counters, shared = Counters(), SharedStatements()
        observers, opener = Observers([]), None
        self.pool = Pool(
            "bench", TargetGroup(), self.book, opener, self.board, observers, counters,  # type: ignore[arg-type]
            connect_timeout=1, abandon_timeout=1,
        )  # fmt: skip
        self.backends = self._opened(backends)
        self.prologues = 0
        """How often a backend got something else first than what the client sent."""
        self.sessions = []
        for _ in range(sessions):
            login = ClientLogin("bench", "postgres", {}, 3 << 16, tls=False)
            relay = PostgresRelay(login, RelayPolicy(), shared)
            pair: Any = _Pair()
            self.sessions.append(Splice(pair, relay, self.pool, _KEY, self.board, counters, lambda: None))

    def _opened(self, number: int) -> list[Backend]:
        waiters = [_First() for _ in range(number)]
        decisions = [decision for waiter in waiters for decision in self.book.wait(_KEY, waiter, 1.0)]
        for decision in decisions:
            assert isinstance(decision, Open)
            pair: Any = _Pair()
            way: Any = None
            facts = KeyFacts(_KEY, "bench", "postgres", {})
            backend = Backend(decision.member, pair, PostgresState({}), way, facts, self.pool.idle_event)
            for grant in self.book.opened(decision.member, backend, 1.0):
                grant.waiter.granted(grant.member.payload)  # type: ignore[union-attr]
        backends = [waiter.backend for waiter in waiters]
        for backend in backends:
            self.pool.give_back(backend)
        return backends

    def round(self, request: bytes, answer: bytes = b"") -> float:
        """One request of every session. Returns seconds of CPU of the proxy's steps.

        Args:
            answer: the server's to every request; b"": it looks at what it was sent (prologues, names).
        """
        for session in self.sessions:
            _other(session.client).send(request)
        spent = _timed([(session.client_event, READABLE) for session in self.sessions])
        while True:
            busy = [backend for backend in self.backends if backend.borrower is not None]
            if not busy:
                break
            for backend in busy:
                sent = _other(backend.transport).recv(65536)
                self.prologues += sent[:1] != request[:1]
                _other(backend.transport).send(answer or _answers(sent))
            spent += _timed([(backend.event, READABLE) for backend in busy])
        for session in self.sessions:
            got = _other(session.client).recv(65536)
            if session.fault is not None or got[-len(_READY) :] != _READY:
                raise RuntimeError(session.fault or got)
        queue, self.board.queue = self.board.queue, []
        spent += _timed(queue)
        return spent

    def prepare(self) -> None:
        """Every session has the statement "P0", and all backends that it gets have it too."""
        self.round(_parse(b"P0") + _SYNC)
        settled = 0
        for _ in range(_TRIES):
            before = self.prologues
            random.shuffle(self.sessions)
            self.round(_execute(b"P0"))
            settled = settled + 1 if self.prologues == before else 0
            if settled == _SETTLED:
                return
        raise RuntimeError("some backend never got the statement")

    def least(self, request: bytes, answer: bytes, runs: int) -> float:
        """Microseconds per transaction: the least of `runs` runs."""
        for _ in range(5):
            self.round(request, answer)
        best = min(sum(self.round(request, answer) for _ in range(_PER_RUN)) for _ in range(runs))
        return best / _PER_RUN / len(self.sessions) * 1e6


def _other(transport: Any) -> socket.socket:
    end: socket.socket = transport.peer_end
    return end


def _timed(steps: list[tuple[Callable[[int], None], int]]) -> float:
    begun = time.thread_time()
    for step, mask in steps:
        step(mask)
    return time.thread_time() - begun


def count_calls(work: Callable[[], object], runs: int, parts: int = 1) -> None:
    """Print what each of the `parts` of `work` calls, the benchmark's own calls left out, from so many runs."""
    found: Counter[str] = Counter()

    def seen(frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            found[f"{frame.f_globals.get('__name__')}.{frame.f_code.co_qualname}"] += 1
        elif event == "c_call":
            found[f"built-in {getattr(argument, '__qualname__', argument)}"] += 1

    sys.setprofile(seen)
    for _ in range(runs):
        work()
    sys.setprofile(None)
    for name, number in found.most_common():
        if not name.startswith(("benchmarks.", "__main__.")):
            print(f"{number / runs / parts:8.2f}  {name}")


_REQUESTS: Final = {
    "simple": _message(b"Q", _TEXT),
    "extended": _parse(b"") + _execute(b""),
    "prepared": _execute(b"P0"),
}


async def _main(options: argparse.Namespace) -> None:
    """Within Trio, whose clock the pool asks for."""
    bench = Bench(options.sessions, options.backends)
    gc.disable()  # a collection in one run of many would not count anyway
    print(f"{CHOICE.name}, {options.sessions} sessions, {options.backends} backends")
    for name, request in _REQUESTS.items():
        if name == "prepared":
            bench.prepare()
        answer = _answers(request)
        if not options.calls:
            print(f"{name:10} {bench.least(request, answer, options.runs):6.2f} µs per transaction")
        elif options.calls == name:
            bench.round(request, answer)
            count_calls(partial(bench.round, request, answer), _PER_RUN, len(bench.sessions))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.micro", description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=16)
    parser.add_argument("--backends", type=int, default=20)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--calls", choices=tuple(_REQUESTS), help="count calls instead")
    trio.run(_main, parser.parse_args())


if __name__ == "__main__":
    main()
