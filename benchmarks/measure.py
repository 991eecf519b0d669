"""One measurement: pgbench against one target, with the CPU of the target's process over the same stretch of time.

The stretch begins `WARM_UP` after pgbench's first transaction, so that neither the logins of the clients nor those of
the backends count, and ends with its last but one reading of the CPU clock. `benchmarks.__main__` calls it.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from pathlib import Path

import attrs

from benchmarks.cells import BUILT_IN, MANY, Cell
from benchmarks.machine import cpu_seconds, family, memory_kib
from benchmarks.stage import Stage
from benchmarks.targets import Target

WARM_UP = 0.5
"""Seconds."""
_READ_EVERY = 0.025
_MEMORY_EVERY = 20
"""Readings of the CPU clock: asking for memory takes the kernel a walk over all pages."""
_SAMPLED = 0.2
"""Part of the transactions whose times pgbench writes down. Writing all of them costs pgbench several percent."""
PATIENCE = 20
"""Seconds over its time that the load may take: then it hangs."""
_MANY_CONNECT = 7
Reading = tuple[float, float]
"""When (seconds since the epoch, as pgbench's log has them) and the CPU used up to then (seconds)."""


@attrs.frozen
class Measurement:
    """One run against one target.

    Attributes:
        rate: transactions per second.
        p50, p99: latency in milliseconds.
        cpu: microseconds of the target's CPU per transaction; None for the server itself, which has many processes.
        memory: of the target with these clients, at the most, in MiB; None for the server.
    """

    rate: float
    p50: float
    p99: float
    cpu: float | None
    memory: float | None = None


class LoadFailed(Exception):
    """The load's program could not connect, or a transaction failed. The text has what it said."""


def measure(stage: Stage, target: Target, cell: Cell, seconds: int) -> Measurement:
    """Run a cell. Raises `LoadFailed`."""
    with tempfile.TemporaryDirectory(prefix="log-", dir=stage.folder) as folder:
        process = stage.pgbench(
            target,
            *("-n", "-M", cell.mode, "-c", str(cell.clients), "-j", "1", "-T", str(seconds + _connecting(cell))),
            *(("-f", str(stage.script(cell.text))) if cell.text else ("-b", BUILT_IN[cell.script])),
            *("-D", f"scale={stage.scale}", "-D", "fresh=1"),
            *("-l", f"--sampling-rate={_SAMPLED}", f"--log-prefix={folder}/log"),
            tls=cell.tls,
        )
        pids = family(target.pid) if target.pid else []
        readings, memory = watch(process, pids, seconds + _connecting(cell) + PATIENCE)
        said, complaints = process.communicate()
        if process.returncode:
            raise LoadFailed(f"{target.name} {cell}: {complaints[-500:]}")
        log = _log(Path(folder))
    failed = int(number(r"number of failed transactions: (\d+)", said))
    if failed or not log:
        raise LoadFailed(f"{target.name} {cell}: {failed} failed transactions, {len(log)} in the log")
    done = int(number(r"number of transactions actually processed: (\d+)", said))
    found = evaluate(log, done, readings, bool(target.pid))
    return attrs.evolve(found, memory=memory / 1024) if target.pid else found


def _connecting(cell: Cell) -> int:
    """Seconds more for many clients: pgbench's time begins with the first connection and not with the first query."""
    return _MANY_CONNECT if cell.clients >= MANY else 0


def watch(process: subprocess.Popen[str], pids: list[int], most: float) -> tuple[list[Reading], int]:
    """Read the CPU clock until the load's process ends; after `most` seconds it is killed.

    Returns the readings, and the most memory seen, in KiB.
    """
    readings: list[Reading] = []
    memory = 0
    deadline = time.monotonic() + most
    while process.poll() is None:
        if len(readings) % _MEMORY_EVERY == 0:
            memory = max(memory, memory_kib(pids))
        readings.append((time.time(), cpu_seconds(pids)))
        if time.monotonic() > deadline:
            process.kill()
        time.sleep(_READ_EVERY)
    return readings, memory


def _log(folder: Path) -> list[tuple[float, float]]:
    """Of every transaction in pgbench's log: when it ended, and its latency in milliseconds."""
    found = []
    for path in folder.iterdir():
        for line in path.read_text().splitlines():
            # client_id transaction_no time script_no time_epoch time_us
            fields = line.split()
            found.append((int(fields[4]) + int(fields[5]) / 1e6, int(fields[2]) / 1000))
    return sorted(found)


def evaluate(log: list[tuple[float, float]], done: int, readings: list[Reading], counts_cpu: bool) -> Measurement:
    """Cut out the stretch that counts.

    Args:
        log: of transactions, in order: when each ended (seconds since the epoch), and its latency in milliseconds.
        done: all transactions; the sampled log shares them out.

    Raises `LoadFailed` when nothing is left.
    """
    begun, ended = log[0][0] - log[0][1] / 1000, log[-1][0]
    inside = [reading for reading in readings if begun + WARM_UP <= reading[0] <= ended]
    if len(inside) < 2:
        raise LoadFailed("the measurement was too short for its warm-up")
    (start, cpu_before), (end, cpu_after) = inside[0], inside[-1]
    latencies = sorted(latency for when, latency in log if start < when <= end)
    if not latencies:
        raise LoadFailed("no transaction was logged in the stretch that counts")
    count = done * len(latencies) / len(log)
    return Measurement(
        rate=count / (end - start),
        p50=_quantile(latencies, 0.5),
        p99=_quantile(latencies, 0.99),
        cpu=(cpu_after - cpu_before) * 1e6 / count if counts_cpu else None,
    )


def _quantile(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def number(pattern: str, text: str) -> float:
    """The number that a pattern finds. Raises `LoadFailed` when it finds none."""
    found = re.search(pattern, text)
    if found is None:
        raise LoadFailed(f"no {pattern!r} in what was said: {text[-500:]}")
    return float(found.group(1))
