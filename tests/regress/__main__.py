"""`python -m tests.regress --sources DIR [--build DIR] --bin DIR`: PostgreSQL's own suites through the proxy.

Prints a table and every test that does not pass through the proxy, keeps the diffs, and writes all as JSON. The exit
status is 1 when a test fails through the proxy that passes directly, and 2 when something is missing.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Collection
from importlib.metadata import version
from pathlib import Path

from tests.regress.page import reasons
from tests.regress.results import Results, Run
from tests.regress.stage import POOLERS, NotThere, Target, Tree, staged
from tests.regress.suites import PARALLEL, SERIAL, SHUFFLED, compared, isolation, pipeline, regress

MODES = (SERIAL, PARALLEL, SHUFFLED)
SUITES: dict[str, tuple[Callable[[Target, Tree, str, Path, float], Run], tuple[str, ...], float]] = {
    "regress": (regress, MODES, 900.0),
    "libpq_pipeline": (pipeline, (SERIAL,), 30.0),
    "isolation": (isolation, (SERIAL,), 900.0),
}
"""By name: how it is run, in which modes, and after how many seconds it (or each test) is ended."""
PGBOUNCER = {("regress", SERIAL), ("regress", PARALLEL)}
"""What PgBouncer is tried with: the others stop at its first mistake, or wait for their time to be up."""
TARGETS = ("direct", "rdsp", *POOLERS)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.regress", description=__doc__)
    add = parser.add_argument
    add("--sources", type=Path, required=True, metavar="DIR", help="PostgreSQL's sources")
    add("--build", type=Path, metavar="DIR", help="where they were built, with the test programs (the sources)")
    add("--bin", type=Path, required=True, metavar="DIR", help="bin of the installation of that build")
    add("--backends", type=int, default=40, metavar="N", help="database connections of the proxy (40)")
    add(
        "--suites",
        type=_words(SUITES),
        default=("regress", "libpq_pipeline"),
        metavar="NAME,...",
        help=", ".join(SUITES),
    )
    add("--targets", type=_words(TARGETS), default=("direct", "rdsp"), metavar="NAME,...", help=", ".join(TARGETS))
    add("--modes", type=_words(MODES), default=MODES, metavar="MODE,...", help="of regress")
    add(
        "--keep",
        type=Path,
        default=Path("regress-output"),
        metavar="DIR",
        help="for outputs and diffs (regress-output)",
    )
    add("--json", type=Path, metavar="FILE", help="where to write all results")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting of the server, for a try")
    return parser.parse_args()


def _words(known: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    def words(text: str) -> tuple[str, ...]:
        found = tuple(text.split(","))
        wrong = [word for word in found if word not in known]
        if wrong:
            raise argparse.ArgumentTypeError(f"{', '.join(wrong)}: choose from {', '.join(known)}")
        return found

    return words


def run_all(options: argparse.Namespace, tree: Tree, results: Results) -> None:
    """Every suite on every target, each on a fresh server."""
    settings = dict(part.partition("=")[::2] for part in options.set)
    for suite in options.suites:
        method, modes, seconds = SUITES[suite]
        for name in options.targets:
            for mode in (mode for mode in modes if mode in options.modes or len(modes) == 1):
                if name in POOLERS and (suite, mode) not in PGBOUNCER:
                    continue
                keep = (options.keep / f"{suite}-{name}-{mode}").resolve()
                keep.mkdir(parents=True, exist_ok=True)
                for old in keep.iterdir():
                    old.unlink()
                with staged(name, tree, options.backends, keep, settings) as target:
                    run = method(target, tree, mode, keep, seconds)
                run.faults, run.pins = target.faults, dict(target.pins)
                direct = options.keep / f"{suite}-direct-{mode}"
                if suite == "libpq_pipeline" and name != "direct" and direct.exists():
                    compared(run, keep, direct)
                results.runs.append(run)
                print(f"{suite}, {name}, {mode}: {run.score} in {run.seconds:.0f} s", file=sys.stderr, flush=True)


def regressions(results: Results) -> list[str]:
    """What fails through the proxy and not directly, and what the proxy complained of."""
    direct = {(run.suite, run.mode): run.bad for run in results.runs if run.target == "direct"}
    found = []
    for run in results.runs:
        if run.target == "rdsp":
            bad = run.bad.keys() - direct.get((run.suite, run.mode), {}).keys()
            found += [f"{run.suite}, {run.mode}: {name}" for name in sorted(bad)]
            found += [f"{run.suite}, {run.mode}: {fault}" for fault in run.faults]
    return found


def main() -> int:
    """Returns the exit status."""
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # so that servers and proxies are stopped
    try:
        tree = Tree(*(path.resolve() for path in (options.sources, options.build or options.sources, options.bin)))
        results = Results(tree.version, options.backends, version("rdsp"), time.strftime("%Y-%m-%d", time.gmtime()))
        run_all(options, tree, results)
    except NotThere as missing:
        print(missing, file=sys.stderr)
        return 2
    print(results.summary())
    if "rdsp" in options.targets:
        print(results.pins())
    for name in dict.fromkeys(run.target for run in results.runs):
        print(f"## Not passed: {name}\n\n{results.table(name, reasons())}")
    if options.json:
        options.json.write_text(json.dumps(results.document(), indent=1, ensure_ascii=False) + "\n")
    found = regressions(results)
    for line in found:
        print(f"DIFFERS {line}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
