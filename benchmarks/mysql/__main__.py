"""`python -m benchmarks.mysql`: the proxy, MySQL Router and a direct connection in turn; tables, JSON, and gates.

The exit status is 1 when a gate is missed or a measurement failed, and 2 when something to measure with is missing.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from benchmarks.judge import Round, near, verdicts
from benchmarks.machine import Times, facts
from benchmarks.measure import LoadFailed
from benchmarks.mysql import cells
from benchmarks.mysql.cells import Load, Work
from benchmarks.mysql.judge import gates_of
from benchmarks.mysql.large import measure_large
from benchmarks.mysql.load import measure_load
from benchmarks.mysql.report import MySqlResults
from benchmarks.mysql.stage import Stage
from benchmarks.mysql.targets import HEADINGS, SHARING, THROUGH, able
from benchmarks.report import summary
from benchmarks.run import failed, numbers, say_missing, status, turned, words_of
from benchmarks.targets import BACKENDS, OURS

_PARTS = {"short": cells.short, "quick": cells.quick, "full": cells.everything}
_NEAR = 0.2
"""Of a gate: medians of three rounds of two seconds differ by as much."""
_TARGETS = tuple(name for name in HEADINGS if name != "rdsp-python")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mysql", description=__doc__)
    add = parser.add_argument
    add("part", nargs="?", choices=_PARTS, default="short", help="what to measure (short)")
    add("--rounds", type=int, default=3, metavar="N", help="of everything (3)")
    add("--near", type=int, default=0, metavar="N", help="rounds of what is found near its gate (no more)")
    add("--seconds", type=int, default=2, metavar="S", help="of one measurement; the first half second is dropped (2)")
    add("--megabytes", type=int, default=256, metavar="M", help="of one large result (256)")
    add("--only", metavar="TEXT,...", help="of these, what has one of these texts in its name")
    add("--threads", type=numbers, metavar="N,...", help="sysbench alone, with so many")
    add("--targets", type=words_of(*HEADINGS), default=_TARGETS, metavar="NAME,...", help=", ".join(HEADINGS))
    add("--tables", type=int, default=4, metavar="N", help="of sysbench's (4)")
    add("--rows", type=int, default=25_000, metavar="N", help="in each of them (25000)")
    add("--json", type=Path, metavar="FILE", help="where to write all figures")
    return parser.parse_args()


def chosen(options: argparse.Namespace) -> list[Work]:
    """What the options choose."""
    return [
        work
        for work in _PARTS[options.part]()
        if (options.only is None or any(text in str(work) for text in options.only.split(",")))
        and (options.threads is None or (isinstance(work, Load) and work.threads in options.threads))
    ]


def run_round(stage: Stage, results: MySqlResults, work: Work, names: list[str], options: argparse.Namespace) -> Round:
    """One round: the targets one after the other."""
    one: Round = {}
    for name in names:
        try:
            with stage.running(name) as target:
                if isinstance(work, Load):
                    one[name] = found = measure_load(stage, target, work, options.seconds)
                    if name in OURS and found.connections > BACKENDS:
                        failed(results, f"{work}, {name}: {found.connections} server connections")
                else:
                    one[name] = measure_large(stage, target, work, options.megabytes)
        except (LoadFailed, OSError, RuntimeError) as error:
            failed(results, f"{work}, {name}: {error}")
    return one


def run(options: argparse.Namespace, works: list[Work]) -> MySqlResults:
    """Everything. Raises `NotInstalled`."""
    results = MySqlResults(machine=facts())
    said = ("tables", "rows", "seconds", "rounds", "megabytes")
    results.settings = {"backends": BACKENDS, **{name: getattr(options, name) for name in said}}
    began, before = time.monotonic(), Times.now()
    with Stage(options.tables, options.rows, options.targets) as stage:
        results.missing, results.versions = stage.missing, stage.versions
        say_missing(results)
        for work in works:
            found = results.rounds[work] = []
            names = [name for name in stage.versions if able(name, work)]
            results.unsupported |= {(work, name) for name in stage.versions if name not in names}
            order = (turned(names, number) for number in range(options.rounds))
            found.extend(run_round(stage, results, work, each, options) for each in order)
            judged = [name for name in names if name in OURS or any(name in gate.peers for gate in gates_of(work))]
            while len(found) < options.near and near(verdicts({work: found}, gates_of, HEADINGS), _NEAR):
                found.append(run_round(stage, results, work, turned(judged, len(found)), options))
            print(summary(work, found, HEADINGS), file=sys.stderr, flush=True)
    results.machine |= Times.now().since(before) | {"seconds_in_all": round(time.monotonic() - began)}
    return results


def main() -> int:
    """Returns the exit status."""
    options = arguments()
    works = chosen(options)
    if not works:
        print("nothing has all that", file=sys.stderr)
        return 2
    return status(lambda: run(options, works), options.json, lambda names: names >= {"rdsp", *SHARING, *THROUGH})


if __name__ == "__main__":
    sys.exit(main())
