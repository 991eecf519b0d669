"""`python -m benchmarks`: the proxy, PgBouncer and a direct connection in turn; a table, JSON, and a gate.

The exit status is 1 when a gate is missed or a measurement failed, and 2 when something to measure with is missing.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path

from benchmarks.cells import CLIENTS, GATES, MODES, Cell, chosen, default, everything, rounds_of
from benchmarks.idle import measure_idle
from benchmarks.machine import Times, connections_to, facts
from benchmarks.measure import PgbenchFailed, Round, measure
from benchmarks.report import HEADINGS, Results, summary
from benchmarks.stage import BACKENDS, NotInstalled, Stage

_QUIET_LOAD = 0.5


def _words(*known: str) -> object:
    """A type for argparse: words separated by commas, each one of `known`."""

    def words(text: str) -> tuple[str, ...]:
        found = tuple(text.split(","))
        wrong = [word for word in found if word not in known]
        if wrong:
            raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: choose from {', '.join(known)}")
        return found

    return words


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--rounds", type=int, default=3, metavar="N", help="rounds of every cell (3); two where there are 512 clients")
    add("--gate-rounds", type=int, default=7, metavar="N", help="rounds of the cells with a gate (7)")
    add("--seconds", type=int, default=2, metavar="S", help="of one measurement; the first half second is dropped (2)")
    add("--quick", action="store_true", help="the cells with a gate alone, and no idle clients")
    add("--full", action="store_true", help="the whole matrix instead of the part that make bench runs")
    add("--only", metavar="TEXT", help="of the whole matrix, the cells whose name contains this text")
    add("--clients", type=_numbers, metavar="N,...", help=f"of the whole matrix, from {CLIENTS}")
    add("--modes", type=_words(*MODES), metavar="MODE,...", help=f"of the whole matrix, from {', '.join(MODES)}")
    add("--targets", type=_words(*HEADINGS), default=tuple(HEADINGS), metavar="NAME,...", help=", ".join(HEADINGS))
    add("--scale", type=int, default=10, metavar="N", help="of pgbench's tables (10)")
    add("--idle", type=int, default=2000, metavar="N", help="idle clients to take the memory of (2000); 0: none")
    add("--json", type=Path, metavar="FILE", help="where to write all figures")
    return parser.parse_args()


def cells_for(options: argparse.Namespace) -> list[Cell]:
    """What the options choose."""
    narrowed = options.only or options.clients or options.modes
    if options.quick:
        cells = [gate.cell for gate in GATES]
    else:
        cells = everything() if options.full or narrowed else default()
    return chosen(
        cells,
        lambda cell: options.only is None or options.only in str(cell),
        lambda cell: options.clients is None or cell.clients in options.clients,
        lambda cell: options.modes is None or cell.mode in options.modes,
    )


def run_cell(stage: Stage, results: Results, cell: Cell, rounds: int, seconds: int) -> None:
    """All rounds of a cell: the targets in turn, and another one first in every round."""
    names = [name for name in stage.targets if name in results.versions]
    for name in names:
        if cell.mode == "prepared" and not stage.targets[name].prepared:
            results.unsupported.add((cell, name))
    able = [name for name in names if (cell, name) not in results.unsupported]
    found = results.rounds[cell] = []
    for number in range(rounds):
        first = number % len(able)
        one: Round = {}
        for name in able[first:] + able[:first]:
            try:
                one[name] = measure(stage, stage.targets[name], cell, seconds)
            except PgbenchFailed as error:
                results.failures.append(f"{cell}, {name}, round {number + 1}: {error}")
                print(f"FAILED {results.failures[-1]}", file=sys.stderr, flush=True)
        found.append(one)
    print(summary(cell, found), file=sys.stderr, flush=True)


def run_idle(stage: Stage, results: Results, clients: int) -> None:
    """Idle clients of every pooler, without TLS and with it."""
    for name, target in stage.targets.items():
        if target.pid and name in results.versions:
            for tls in (False, True):
                try:
                    results.idle.setdefault(name, []).append(measure_idle(target, clients, tls=tls))
                except OSError as error:
                    results.failures.append(f"{clients} idle clients of {name}, TLS {tls}: {error}")
                    print(f"FAILED {results.failures[-1]}", file=sys.stderr, flush=True)


def check_backends(stage: Stage, results: Results) -> None:
    """That the poolers really had no more database connections than they may."""
    for name, target in stage.targets.items():
        if target.pid:
            results.backends[name] = count = connections_to(target.pid, stage.server.port)
            if not 0 < count <= BACKENDS:
                results.failures.append(f"{name} had {count} database connections, not 1..{BACKENDS}")


def run(options: argparse.Namespace, cells: list[Cell]) -> Results:
    """Everything. Raises `NotInstalled`."""
    results = Results(machine=facts())
    results.settings = {
        "backends": BACKENDS,
        "scale": options.scale,
        "seconds": options.seconds,
        "rounds": options.rounds,
        "gate_rounds": options.gate_rounds,
    }
    began, before = time.monotonic(), Times.now()
    with Stage(options.scale, options.targets) as stage:
        results.versions = {name: stage.targets[name].version for name in HEADINGS if name in options.targets}
        for cell in cells:
            run_cell(stage, results, cell, rounds_of(cell, options.rounds, options.gate_rounds), options.seconds)
        check_backends(stage, results)
        if options.idle and not options.quick:
            run_idle(stage, results, options.idle)
    results.machine |= Times.now().since(before) | {"seconds_in_all": round(time.monotonic() - began)}
    return results


def main() -> int:
    """Returns the exit status."""
    options = arguments()
    cells = cells_for(options)
    if not cells:
        print("no cell has all that", file=sys.stderr)
        return 2
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        results = run(options, cells)
    except NotInstalled as missing:
        print(missing, file=sys.stderr)
        return 2
    for facts_ in (results.machine, results.versions):
        print(", ".join(f"{name} {value}" for name, value in facts_.items()) + "\n")
    print(results.table() + "\n")
    if results.idle:
        print(results.idle_table() + "\n")
    if options.json:
        options.json.write_text(json.dumps(results.document(), indent=1, ensure_ascii=False) + "\n")
    load = results.machine["load_before"]
    if isinstance(load, float) and load > _QUIET_LOAD:
        print(f"The machine was not quiet (load {load}): trust ratios, not figures.", file=sys.stderr)
    faults = results.missed()
    for fault in faults:
        print(f"GATE MISSED {fault}", file=sys.stderr)
    return 1 if faults or results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
