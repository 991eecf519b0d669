"""sysbench against one target, with the CPU of the target's process over the same stretch of time.

As `benchmarks.measure` does it with pgbench: `logged.lua` has sysbench write down every transaction, and the stretch
begins half a second after the first one. sysbench begins when all clients are connected.
"""

from __future__ import annotations

import array
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from benchmarks.machine import family
from benchmarks.measure import PATIENCE, LoadFailed, Measurement, evaluate, number, watch
from benchmarks.mysql.cells import QUERIES, SCRIPTS, Load
from benchmarks.mysql.targets import DATABASE, LIMITED, PASSWORD, USER
from benchmarks.targets import Target

if TYPE_CHECKING:
    from benchmarks.mysql.stage import Stage

LIST = ("cacert.pem", "client-cert.pem", "client-key.pem")
"""What sysbench wants to find in its folder, for TLS: the server's issuer, a client's certificate and its key."""
_COUNTS = {
    "point-selects": 10,
    **dict.fromkeys(("simple-ranges", "sum-ranges", "order-ranges", "distinct-ranges"), 1),
    **dict.fromkeys(("index-updates", "non-index-updates", "delete-inserts"), 1),
    "range-size": 100,
}
"""sysbench's own defaults, said once more: it reads a default of a script that requires another one from memory that
may have been freed, and has then deleted 0, 8 or hundreds of rows in a transaction instead of one.
"""
_LOGGED = Path(__file__).parent / "logged.lua"
_PREPARE_SECONDS = 120.0


@attrs.frozen
class LoadFigures(Measurement):
    """One run against one target.

    Attributes:
        queries: a second; BEGIN and COMMIT are queries.
        query_cpu: microseconds of the target's CPU per query; None for the server itself.
        connections: that the server had from the target, at the most.
    """

    queries: float = attrs.field(kw_only=True)
    query_cpu: float | None = attrs.field(kw_only=True)
    connections: int = attrs.field(kw_only=True)


def _sysbench(stage: Stage, target: Target, *arguments: str, **more: str) -> subprocess.Popen[str]:
    connection = {"host": "127.0.0.1", "port": target.port, "user": USER, "password": PASSWORD, "db": DATABASE}
    return subprocess.Popen(
        [
            *("sysbench", "--db-driver=mysql", *(f"--mysql-{name}={value}" for name, value in connection.items())),
            *(f"--tables={stage.tables}", f"--table-size={stage.rows}", *arguments),
        ],
        env={**os.environ, **more},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=stage.folder,
    )


def prepare(stage: Stage, target: Target) -> None:
    """Make sysbench's tables. Raises `LoadFailed`."""
    process = _sysbench(stage, target, "--threads=2", SCRIPTS["read-write"], "prepare")
    said, _ = process.communicate(timeout=_PREPARE_SECONDS)
    if process.returncode:
        raise LoadFailed(f"sysbench made no tables: {said[-1000:]}")


def measure_load(stage: Stage, target: Target, work: Load, seconds: int) -> LoadFigures:
    """Run a cell. Raises `LoadFailed`."""
    stage.ask("FLUSH STATUS")
    with tempfile.TemporaryDirectory(prefix="log-", dir=stage.folder) as folder:
        process = _run(stage, target, work, seconds, folder)
        readings, memory = watch(process, family(target.pid) if target.pid else [], seconds + PATIENCE)
        said, _ = process.communicate()
        log = read_log(Path(folder))
    if process.returncode or not log:
        raise LoadFailed(f"{target.name} {work}: sysbench ended with status {process.returncode}: {said[-500:]}")
    most = int(stage.ask("SHOW GLOBAL STATUS LIKE 'Max_used_connections'")[0][1]) - 1
    done, per_transaction = counted(said, QUERIES[work.script])
    found = evaluate(log, done, readings, bool(target.pid))
    return LoadFigures(
        found.rate,
        found.p50,
        found.p99,
        found.cpu,
        memory / 1024 if target.pid else None,
        queries=found.rate * per_transaction,
        query_cpu=found.cpu / per_transaction if found.cpu is not None else None,
        # The server counts those too that it has turned away.
        connections=min(most, LIMITED.get(target.name, most)),
    )


def _run(stage: Stage, target: Target, work: Load, seconds: int, folder: str) -> subprocess.Popen[str]:
    return _sysbench(
        stage,
        target,
        *(f"--threads={work.threads}", f"--time={seconds}", "--rand-type=uniform"),
        *(f"--{name}={count}" for name, count in _COUNTS.items()),
        *(f"--db-ps-mode={'auto' if work.prepared else 'disable'}", f"--mysql-ssl={'on' if work.tls else 'off'}"),
        *(str(_LOGGED), "run"),
        LOAD_SCRIPT=SCRIPTS[work.script],
        LOAD_LOG=folder,
    )


def read_log(folder: Path) -> list[tuple[float, float]]:
    """Of every transaction that `logged.lua` wrote down: when it ended, and its latency in milliseconds; in order."""
    found: list[tuple[float, float]] = []
    for path in folder.iterdir():
        values = array.array("d", path.read_bytes())
        found += zip(values[::2], values[1::2], strict=True)
    return sorted(found)


def counted(said: str, expected: int) -> tuple[int, float]:
    """The transactions of sysbench's report, and the queries of one of them. Raises `LoadFailed`.

    Queries of a transaction that was begun anew, after a deadlock, count for the one that came of it.

    Arguments:
        expected: queries of a transaction that is not disturbed.
    """
    done, queries = int(number(r"transactions:\s+(\d+)", said)), int(number(r"queries:\s+(\d+)", said))
    if not done or number(r"reconnects:\s+(\d+)", said):
        raise LoadFailed(f"no transactions, or lost connections: {said[-1000:]}")
    again = int(number(r"ignored errors:\s+(\d+)", said))
    if not expected * done <= queries <= expected * (done + again):
        raise LoadFailed(f"{done} transactions, {again} begun anew, of {expected} queries each are not {queries}")
    return done, queries / done
