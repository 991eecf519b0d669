"""The suites: pg_regress, libpq_pipeline and the isolation tests, each on one target."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from pathlib import Path

from tests.regress.isolation import preparation
from tests.regress.results import FAILED, OK, Run, diffs, first_difference, outcomes, scheduled
from tests.regress.stage import USER, Target, Tree, run_sql

SERIAL, PARALLEL, SHUFFLED = "serial", "parallel", "shuffled"
COMPARED = frozenset(
    {"disallowed_in_pipeline", "multi_pipelines", "nosync", "pipeline_abort", "pipeline_idle", "pipelined_insert"}
    | {"prepared", "simple_pipeline", "singlerow", "transaction"}
)
"""The tests of libpq_pipeline whose messages are the same in every run. uniqviol sends until it happens to read."""

_NOISE = {
    # Holds a connection, but no snapshot, which tests of VACUUM would notice.
    "pauses": "BEGIN;\n\\sleep 3 ms\nCOMMIT;\n",
    "changes": "SET search_path = pg_catalog;\nSET datestyle = 'ISO, DMY';\nSET timezone = 'Asia/Tokyo';\n"
    "SET enable_seqscan = off;\nSET work_mem = '1234kB';\nSET regress.noise = 'loud';\nSET ROLE pg_monitor;\n"
    "BEGIN;\nSET LOCAL default_transaction_read_only = on;\nSET CONSTRAINTS ALL DEFERRED;\nROLLBACK;\n"
    "PREPARE q1 AS SELECT 1;\nEXECUTE q1;\nDEALLOCATE q1;\nDECLARE c CURSOR WITH HOLD FOR SELECT 1;\nCLOSE c;\n"
    "RESET ROLE;\nSELECT set_config('extra_float_digits', '0', false);\nSELECT setseed(0.5);\n",
}
"""What the other clients of `SHUFFLED` do, as scripts of pgbench: nothing that a direct connection would notice."""
_NOISE_CLIENTS, _NOISE_NAME = "3", "pg_regress"
_NOISE_RATES = {"pauses": "150", "changes": "50"}
"""Scripts a second."""
_NOISE_BEGINS = 1.0


def regress(target: Target, tree: Tree, mode: str, keep: Path, seconds: float) -> Run:
    """The regression suite.

    Args:
        mode: `SERIAL`, one test after the other; `PARALLEL`, as many at once as PostgreSQL's own schedule says;
            `SHUFFLED`, one after the other, while other clients use the same connections and change their settings.
        keep: a folder for the output, the diffs and the results of tests that failed.
        seconds: after which the run is ended.
    """
    schedule = tree.sources / "src/test/regress/parallel_schedule"
    return _pg_regress(
        target, tree, "regress", mode, keep, seconds, tree.build / "src/test/regress/pg_regress", schedule
    )


def isolation(target: Target, tree: Tree, mode: str, keep: Path, seconds: float) -> Run:
    """The isolation suite; it has no parallel groups."""
    if target.name != "direct":
        sql = preparation(tree.sources / "src/test/isolation/specs")
        run_sql(target, target.server.port, "regression", sql)
    schedule = tree.sources / "src/test/isolation/isolation_schedule"
    program = tree.build / "src/test/isolation/pg_isolation_regress"
    return _pg_regress(target, tree, "isolation", mode, keep, seconds, program, schedule)


def _pg_regress(
    target: Target, tree: Tree, suite: str, mode: str, keep: Path, seconds: float, program: Path, schedule: Path
) -> Run:
    folder = f"src/test/{suite}"
    command: list[str | Path] = [
        program,
        "--use-existing",
        "--dbname=regression",
        "--host=127.0.0.1",
        f"--port={target.port}",
        f"--user={USER}",
        f"--bindir={tree.binaries}",
        f"--dlpath={tree.build / folder}",
        f"--inputdir={tree.sources / folder}",
        f"--outputdir={target.folder}",
        f"--schedule={schedule}",
    ]
    if mode != PARALLEL:
        command.append("--max-connections=1")
    if mode == SHUFFLED:
        # Each test has an application_name of its own else, and could not share with the others.
        command.append(f"--launcher=env PGAPPNAME={_NOISE_NAME}")
    # A session of the isolation tester that is not seen to be blocked is given up after this many seconds.
    environment = target.environment() | {"PGISOLATIONTIMEOUT": "20"}
    began = time.monotonic()
    with ExitStack() as stack:
        if mode == SHUFFLED:
            stack.enter_context(_noise(target, keep, seconds))
        target.run(command, keep / "output", seconds, environment)
    took = time.monotonic() - began
    found = outcomes((keep / "output").read_text(errors="replace"), scheduled(schedule.read_text()))
    written = target.folder / "regression.diffs"
    parts = diffs(written.read_text(errors="replace")) if written.exists() else {}
    for name, part in parts.items():
        (keep / f"{name}.diff").write_text(part)
        shutil.copy(target.folder / "results" / f"{name}.out", keep / f"{name}.out")
    firsts = {name: first_difference(part) for name, part in parts.items()}
    return Run(suite, target.name, mode, round(took, 1), len(found), _bad(found), firsts)


@contextmanager
def _noise(target: Target, keep: Path, seconds: float) -> Iterator[None]:
    """Other clients that start like pg_regress's, so that they share its database connections."""
    environment = target.environment() | {
        "PGAPPNAME": _NOISE_NAME,
        "PGTZ": "PST8PDT",
        "PGDATESTYLE": "Postgres, MDY",
        "PGOPTIONS": " -c intervalstyle=postgres_verbose",
    }
    started = []
    try:
        for name, text in _NOISE.items():
            script = target.folder / f"{name}.sql"
            script.write_text(text)
            options = [
                "-c",
                _NOISE_CLIENTS,
                "-R",
                _NOISE_RATES[name],
                "-T",
                str(int(seconds)),
                target.connection("regression"),
            ]
            command = [str(target.binaries / "pgbench"), "-n", "-f", str(script), *options]
            started.append(target.start(command, keep / f"noise-{name}", environment))
        time.sleep(_NOISE_BEGINS)
        yield
        for process, name in zip(started, _NOISE, strict=True):
            if process.poll() is not None:
                said = (keep / f"noise-{name}").read_text(errors="replace").splitlines()
                target.faults.append(f"the other clients ({name}) ended: {' / '.join(said[-4:])}")
    finally:
        for process in started:
            process.kill()
            process.wait()


def pipeline(target: Target, tree: Tree, mode: str, keep: Path, seconds: float) -> Run:
    """All tests of libpq_pipeline. Each writes its trace of the messages, which `compared` compares with another run's.

    Args:
        seconds: of each test.
    """
    program = tree.build / "src/test/modules/libpq_pipeline/libpq_pipeline"
    target.run([program, "tests"], keep / "tests", seconds)
    names = (keep / "tests").read_text().split()
    began = time.monotonic()
    found: dict[str, str] = {}
    differences: dict[str, str] = {}
    for name in names:
        trace = target.folder / f"{name}.trace"
        traced: list[str | Path] = ["-t", trace] if name in COMPARED else []
        command: list[str | Path] = [program, *traced, name, target.connection("regression")]
        status = target.run(command, keep / f"{name}.out", seconds)
        found[name] = OK if status == 0 else FAILED
        if trace.exists():
            shutil.copy(trace, keep / f"{name}.trace")
        if status != 0:
            said = (keep / f"{name}.out").read_text(errors="replace").splitlines()
            differences[name] = " / ".join(said[-2:])
    took = round(time.monotonic() - began, 1)
    return Run("libpq_pipeline", target.name, mode, took, len(found), _bad(found), differences)


def _bad(found: dict[str, str]) -> dict[str, str]:
    return {name: outcome for name, outcome in found.items() if outcome != OK}


def compared(run: Run, keep: Path, other: Path) -> Run:
    """The run, with what its messages have otherwise than those of the direct run in `other`.

    Each direction by itself: how the two interleave is up to the network.
    """
    for name in sorted(COMPARED - run.bad.keys()):
        for direction in "FB":
            here, there = (_messages(folder / f"{name}.trace", direction) for folder in (keep, other))
            if here != there:
                run.bad[name] = FAILED
                run.differences[name] = _first_of(there, here)
                break
    return run


def _first_of(there: list[str], here: list[str]) -> str:
    for old, new in zip_longest(there, here, fillvalue=""):
        if old != new:
            return f"-{old} / +{new}"
    return ""


def _messages(trace: Path, direction: str) -> list[str]:
    """One direction's lines of a trace of libpq: "F" from the client, "B" from the server."""
    lines = trace.read_text(errors="replace").splitlines() if trace.exists() else []
    return [line for line in lines if line.startswith(direction)]
