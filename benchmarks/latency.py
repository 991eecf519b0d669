"""Latency at one client: one that asks all targets in turn, a few dozen times each, again and again.

What a proxy adds is a few hundredths of a millisecond, and less than what the machine itself changes by between one
second and the next: targets that are measured one after the other cannot be compared (pgbench's figures for one client
stand in the tables all the same). The client is one blocking socket per target, whose own time is in all figures alike.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import time

import attrs

from benchmarks.cells import Latency
from benchmarks.targets import DATABASE, PASSWORD, USER, Target
from benchmarks.wire import connect, message, until_ready

_IN_A_ROW = 50
"""Transactions of one target before the next one's turn; one more goes before them that does not count."""
_READY = b"Z\0\0\0\5I"
_MOST_BYTES = 1000
_SYNC = message(b"S", b"")
_RUN = message(b"D", b"P\0") + message(b"E", b"\0" + bytes(4)) + _SYNC


@attrs.frozen
class LatencyFigures:
    """What was found, in milliseconds, as pgbench has it. Attributes: rate: transactions per second."""

    p50: float
    p99: float
    rate: float


def measure_latency(targets: dict[str, Target], work: Latency, seconds: float) -> dict[str, LatencyFigures]:
    """Ask each target for about so many seconds. Raises `OSError` when an answer is not the expected one."""
    found: dict[str, list[float]] = {name: [] for name in targets}
    with contextlib.ExitStack() as stack:
        sockets = {
            name: stack.enter_context(connect(target.port, USER, PASSWORD, DATABASE))
            for name, target in targets.items()
        }
        request = _request(work.mode)
        for sock in sockets.values():
            if work.mode == "prepared":
                sock.sendall(message(b"P", b"s\0SELECT 1;\0\0\0") + _SYNC)
                until_ready(sock)
        names = list(targets)
        until = time.monotonic() + seconds * len(names)
        while time.monotonic() < until:
            names.append(names.pop(0))  # nobody always comes after the same one
            for name in names:
                sock = sockets[name]
                _ask(sock, request)
                found[name] += [_ask(sock, request) for _ in range(_IN_A_ROW)]
    return {name: _figures(each) for name, each in found.items()}


def _request(mode: str) -> bytes:
    """`SELECT 1` as pgbench asks for it in this mode."""
    if mode == "simple":
        return message(b"Q", b"SELECT 1;\0")
    bind = b"\0s\0" if mode == "prepared" else b"\0\0"
    parse = b"" if mode == "prepared" else message(b"P", b"\0SELECT 1;\0\0\0")
    return parse + message(b"B", bind + bytes(6)) + _RUN


def _ask(sock: socket.socket, request: bytes) -> float:
    """Seconds until the whole answer was there."""
    began = time.perf_counter()
    sock.sendall(request)
    answer = sock.recv(_MOST_BYTES)
    while not answer.endswith(_READY):
        more = sock.recv(_MOST_BYTES)
        if not more or len(answer) > _MOST_BYTES:
            raise OSError(f"the answer is not one row: {answer[:100]!r}")
        answer += more
    return time.perf_counter() - began


def _figures(seconds: list[float]) -> LatencyFigures:
    hundredths = statistics.quantiles(seconds, n=100)
    return LatencyFigures(hundredths[49] * 1000, hundredths[98] * 1000, 1 / statistics.mean(seconds))
