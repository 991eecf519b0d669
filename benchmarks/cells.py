"""What is measured: the matrix of cells, one measurement of one target, and the medians over rounds."""

from __future__ import annotations

import itertools
import re
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path

import attrs

from benchmarks.machines import Stage, Target, cpu_micros

SCRIPTS = {
    "select1": "SELECT 1;",
    "select-only": r"""\set aid random(1, 100000 * :scale)
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;""",
}
MODES = ("simple", "extended", "prepared")
CLIENTS = (1, 16, 64, 512)


@attrs.frozen
class Cell:
    """One combination."""

    script: str
    mode: str
    clients: int
    tls: bool

    def __str__(self) -> str:
        return f"{self.script} {self.mode} c={self.clients}{' TLS' if self.tls else ''}"


GATE = (Cell("select1", "simple", 16, False), Cell("select1", "simple", 64, False))
GATE_RATIO = 2.0
"""CPU per transaction of the proxy may be at most so many times PgBouncer's in the gate's cells."""


def everything() -> list[Cell]:
    """The whole matrix."""
    return [Cell(*parts) for parts in itertools.product(SCRIPTS, MODES, CLIENTS, (False, True))]


def short() -> list[Cell]:
    """What `make bench` runs: SELECT 1 in all modes with all numbers of clients; select-only, and TLS, at 16 and 64."""
    return [
        cell
        for cell in everything()
        if (cell.script == "select1" and not cell.tls)
        or (cell.clients in (16, 64) and not (cell.tls and (cell.script == "select-only" or cell.mode == "extended")))
    ]


@attrs.frozen
class Measurement:
    """One run of one target.

    Attributes:
        rate: transactions per second, without the time to connect.
        cpu: microseconds of CPU of the proxy process per transaction; 0 for the direct connection.
        p50, p99: latency in milliseconds.
    """

    rate: float
    cpu: float
    p50: float
    p99: float


def measure(stage: Stage, target: Target, cell: Cell, seconds: float) -> Measurement | None:
    """One measurement; None when the target cannot do this. Raises `RuntimeError` when pgbench fails."""
    if cell.mode == "prepared" and not target.prepared:
        return None
    with tempfile.TemporaryDirectory(dir=stage.folder) as folder:
        before = cpu_micros(target.pid) if target.pid else 0.0
        done = stage.pgbench(
            target,
            *("-n", "-M", cell.mode, "-c", str(cell.clients), "-j", "1", "-T", str(max(1, round(seconds)))),
            *("-f", str(stage.script(SCRIPTS[cell.script])), "-D", "scale=10"),
            *("-l", "--sampling-rate=0.2", f"--log-prefix={folder}/log"),
            tls=cell.tls,
        )
        used = cpu_micros(target.pid) - before if target.pid else 0.0
        if done.returncode:
            raise RuntimeError(f"{target.name} {cell}: {done.stderr[-500:]}")
        latencies = sorted(_latencies(Path(folder)))
    count = int(_number(r"actually processed: (\d+)", done.stdout))
    failed = int(_number(r"failed transactions: (\d+)", done.stdout))
    if failed or not latencies:
        raise RuntimeError(f"{target.name} {cell}: {failed} failed transactions")
    rate = _number(r"tps = ([\d.]+)", done.stdout)
    return Measurement(rate, used / count, _quantile(latencies, 0.5), _quantile(latencies, 0.99))


def _latencies(folder: Path) -> Iterator[float]:
    for path in folder.iterdir():
        for line in path.read_text().splitlines():
            yield int(line.split()[2]) / 1000


def _quantile(ordered: list[float], part: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"no {pattern!r} in what pgbench said")
    return float(found.group(1))


def median(measurements: list[Measurement]) -> Measurement:
    """Field by field."""
    return Measurement(*(statistics.median(values) for values in zip(*map(attrs.astuple, measurements), strict=True)))


def ratio(ours: list[Measurement], theirs: list[Measurement]) -> float:
    """The median of the ratios of CPU per transaction, round by round: both sides of a round saw the same machine."""
    return statistics.median(a.cpu / b.cpu for a, b in zip(ours, theirs, strict=True))
