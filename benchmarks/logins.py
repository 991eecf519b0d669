"""New connections per second, and whether a session's settings follow it; `python -m benchmarks.logins` is one worker.

Workers are processes of their own, so that one interpreter is not the limit; each connects, asks `SELECT 1` and says
goodbye, again and again.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time

import attrs

from benchmarks.cells import Logins
from benchmarks.machine import cpu_seconds, family
from benchmarks.targets import DATABASE, PASSWORD, USER, Target
from benchmarks.wire import GOODBYE, connect, query

WORKERS = 4
_END_SECONDS = 60.0


@attrs.frozen
class LoginFigures:
    """What was found. Attributes: rate: a second. cpu: milliseconds of the target's CPU for one; None: the server."""

    rate: float
    cpu: float | None


def measure_logins(target: Target, work: Logins, seconds: int) -> LoginFigures:
    """Let the workers connect for so long. Raises `OSError` when one of them fails."""
    pids = family(target.pid) if target.pid else []
    command = [sys.executable, "-m", "benchmarks.logins", str(target.port), str(seconds), str(int(work.tls))]
    with contextlib.ExitStack() as stack:
        workers = []
        for _ in range(WORKERS):
            worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(worker)
            stack.callback(worker.kill)
            workers.append(worker)
        for worker in workers:
            _line(worker)
        cpu = cpu_seconds(pids)
        for worker in workers:
            assert worker.stdin
            worker.stdin.write("go\n")
            worker.stdin.flush()
        found = [_line(worker).split() for worker in workers]
        spent = cpu_seconds(pids) - cpu
    count = sum(int(number) for number, _ in found)
    rate = sum(int(number) / float(lasted) for number, lasted in found)
    return LoginFigures(rate, spent * 1000 / count if pids else None)


def _line(worker: subprocess.Popen[str]) -> str:
    assert worker.stdout
    line = worker.stdout.readline()
    if not line:
        raise OSError(f"a worker ended with status {worker.wait(_END_SECONDS)}; its complaint is above")
    return line


def follows(target: Target, setting: str) -> bool:
    """Whether sessions with different values of a setting all see their own, one after the other. Raises `OSError`."""
    with contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(connect(target.port, USER, PASSWORD, DATABASE)) for _ in range(4)]
        for number, sock in enumerate(sessions):
            query(sock, f"SET {setting} TO kind_{number}")
        return all(
            query(sock, f"SHOW {setting}")[0].endswith(f"kind_{number}".encode())
            for _ in range(2)
            for number, sock in enumerate(sessions)
        )


def main() -> None:
    """One worker: PORT SECONDS TLS; prints a line when it could begin, and at the end the count and the seconds."""
    port, seconds, tls = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1"

    def one() -> None:
        with connect(port, USER, PASSWORD, DATABASE, tls=tls) as sock:
            query(sock, "SELECT 1")
            sock.sendall(GOODBYE)

    one()
    print("ready", flush=True)
    sys.stdin.readline()
    count, began = 0, time.monotonic()
    while (lasted := time.monotonic() - began) < seconds:
        one()
        count += 1
    print(count, lasted, flush=True)


if __name__ == "__main__":
    main()
