"""`python -m benchmarks`: the proxy, PgBouncer and a direct connection in turn; tables, JSON, and gates.

The exit status is 1 when a gate is missed or a measurement failed, and 2 when something to measure with is missing.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

import attrs

from benchmarks import cells
from benchmarks.bulk import measure_bulk
from benchmarks.cells import CLIENTS, MODES, SETTINGS, Bulk, Cell, Idle, Latency, Logins, Work, rounds_of
from benchmarks.idle import measure_idle
from benchmarks.judge import Figures, Round, near, verdicts
from benchmarks.latency import measure_latency
from benchmarks.logins import follows, measure_logins
from benchmarks.machine import Times, connections_to, facts
from benchmarks.measure import LoadFailed, measure
from benchmarks.report import Results, summary
from benchmarks.run import failed, given_up, numbers, say_missing, status, turned, words_of
from benchmarks.stage import Stage
from benchmarks.targets import BACKENDS, HEADINGS, PEERS

_PARTS = {
    "short": cells.short,
    "quick": cells.quick,
    "cpu": cells.cpu,
    "settings": cells.settings,
    "full": cells.everything,
}
_TARGETS = {
    "quick": ("direct", "pgbouncer", "rdsp"),
    "short": ("direct", "pgbouncer", "pgbouncer-new", "rdsp"),
    "cpu": ("pgbouncer", "pgbouncer-new", "rdsp"),
}
"""What is measured where nothing else is said; all there is, for the other parts."""


_PAGE = """<!-- Written by `python -m benchmarks --page`. Do not edit. -->

# Benchmark

One run. What is measured, how, what has a gate, and what was tried: [performance](../explanation/performance.md).

"""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("part", nargs="?", choices=_PARTS, default="short", help="what to measure (short)")
    add("--rounds", type=int, default=3, metavar="N", help="of everything (3); two at most where there are 512 clients")
    add(
        "--near",
        type=int,
        default=0,
        metavar="N",
        help="rounds of what is found near its gate, within a tenth (no more)",
    )
    add("--seconds", type=int, default=2, metavar="S", help="of one measurement; the first half second is dropped (2)")
    add("--megabytes", type=int, default=256, metavar="M", help="of one bulk measurement (256)")
    add("--only", metavar="TEXT,...", help="of these, what has one of these texts in its name")
    add("--clients", type=numbers, metavar="N,...", help=f"pgbench alone, from {CLIENTS}")
    add("--modes", type=words_of(*MODES), metavar="MODE,...", help=f"pgbench alone, from {', '.join(MODES)}")
    add("--targets", type=words_of(*HEADINGS), metavar="NAME,...", help=", ".join(HEADINGS))
    add("--scale", type=int, default=10, metavar="N", help="of pgbench's tables (10)")
    add("--idle", type=int, default=5000, metavar="N", help="idle clients to take the memory of (5000)")
    add("--json", type=Path, metavar="FILE", help="where to write all figures")
    add("--page", type=Path, metavar="FILE", help="where to write the tables as a page of the manual")
    options = parser.parse_args()
    options.targets = options.targets or _TARGETS.get(options.part, tuple(HEADINGS))
    return options


def chosen(options: argparse.Namespace) -> list[Work]:
    """What the options choose."""
    found: list[Work] = []
    for work in _PARTS[options.part]():
        if isinstance(work, Idle):
            work = attrs.evolve(work, clients=options.idle)
        wanted = options.only is None or any(text in str(work) for text in options.only.split(","))
        if options.clients is not None:
            wanted = wanted and isinstance(work, Cell) and work.clients in options.clients
        if options.modes is not None:
            wanted = wanted and isinstance(work, Cell) and work.mode in options.modes
        if wanted:
            found.append(work)
    return found


def measured(stage: Stage, name: str, work: Idle | Logins | Bulk | Cell, options: argparse.Namespace) -> Figures:
    """One measurement of one target. Raises `OSError` or `LoadFailed`."""
    match work:
        case Idle():
            with stage.fresh(name) as target:
                return measure_idle(target, work)
        case Logins():
            return measure_logins(stage.targets[name], work, options.seconds)
        case Bulk():
            return measure_bulk(stage.targets[name], work, options.megabytes)
        case Cell():
            return measure(stage, stage.targets[name], work, options.seconds)


def able(stage: Stage, work: Work) -> list[str]:
    """The targets that can do this at all."""
    return [
        name
        for name, target in stage.targets.items()
        if not (isinstance(work, Cell | Latency) and work.mode == "prepared" and not target.prepared)
        and not (isinstance(work, Idle) and not target.pid)
    ]


def run_all_rounds(stage: Stage, results: Results, work: Work, options: argparse.Namespace) -> None:
    """All rounds: the targets in turn, and another one first in every round."""
    names = able(stage, work)
    results.unsupported |= {(work, name) for name in stage.targets if name not in names}
    found = results.rounds[work] = []
    planned = rounds_of(work, options.rounds)
    number = 0
    while number < planned or (number < options.near and near(verdicts({work: found}))):
        found.append(run_round(stage, results, work, turned(names, number), options))
        names = [name for name in names if (work, name) not in results.given_up]
        number += 1
    print(summary(work, found), file=sys.stderr, flush=True)


def run_round(stage: Stage, results: Results, work: Work, names: list[str], options: argparse.Namespace) -> Round:
    """One round: the targets one after the other, or all at once where that is how it is measured."""
    one: Round = {}
    if isinstance(work, Latency):
        try:
            one |= measure_latency({name: stage.targets[name] for name in names}, work, options.seconds)
        except OSError as error:
            failed(results, f"{work}: {error}")
        return one
    for name in names:
        try:
            one[name] = measured(stage, name, work, options)
        except (LoadFailed, OSError, RuntimeError) as error:
            if name in PEERS:
                given_up(results, work, name, f"{work}, {name}: {error}")
            else:
                failed(results, f"{work}, {name}: {error}")
    return one


def check_follows(stage: Stage, results: Results) -> None:
    """Which target gives every session the settings that it has made: a pooler that does not is cheap to run."""
    scripts = {work.script for work in results.rounds if isinstance(work, Cell)}
    for setting in sorted({SETTINGS[name].followed for name in scripts & SETTINGS.keys()} - {""}):
        for name, target in stage.targets.items():
            try:
                results.follows[name, setting] = follows(target, setting)
            except OSError as error:
                failed(results, f"{setting} of {name}: {error}")


def check_backends(stage: Stage, results: Results) -> None:
    """That the poolers really had no more database connections than they may."""
    for name, target in stage.targets.items():
        if target.pid:
            results.backends[name] = count = connections_to(target.pid, stage.server.port)
            if count > BACKENDS:
                failed(results, f"{name} had {count} database connections, not at most {BACKENDS}")


def run(options: argparse.Namespace, works: list[Work]) -> Results:
    """Everything. Raises `NotInstalled`."""
    results = Results(machine=facts())
    names = ("scale", "seconds", "rounds", "megabytes")
    results.settings = {"backends": BACKENDS, **{name: getattr(options, name) for name in names}}
    began, before = time.monotonic(), Times.now()
    with Stage(options.scale, options.targets) as stage:
        if "direct" not in options.targets:
            del stage.targets["direct"]
        results.missing = stage.missing
        say_missing(results)
        results.versions = {name: stage.targets[name].version for name in HEADINGS if name in stage.targets}
        for work in works:
            run_all_rounds(stage, results, work, options)
        check_backends(stage, results)
        check_follows(stage, results)
    results.machine |= Times.now().since(before) | {"seconds_in_all": round(time.monotonic() - began)}
    return results


def main() -> int:
    """Returns the exit status."""
    options = arguments()
    works = chosen(options)
    if not works:
        print("nothing has all that", file=sys.stderr)
        return 2
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def everything() -> Results:
        results = run(options, works)
        if options.page:
            options.page.write_text(_PAGE + results.text())
        return results

    return status(everything, options.json, lambda names: "rdsp" in names and bool(names & set(PEERS)))


if __name__ == "__main__":
    sys.exit(main())
