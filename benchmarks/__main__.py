"""`python -m benchmarks`: run the matrix, print a table, write JSON, and fail when the gate is missed."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
from pathlib import Path

import attrs
import trio

from benchmarks.cells import GATE, GATE_RATIO, Cell, Measurement, everything, measure, median, ratio, short
from benchmarks.idle import per_client
from benchmarks.machines import BACKENDS, Stage

Results = dict[Cell, dict[str, list[Measurement]]]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="of every cell; the gate's cells get two more")
    parser.add_argument("--seconds", type=float, default=2.0, help="of one measurement")
    parser.add_argument("--full", action="store_true", help="the whole matrix, not only what make bench runs")
    parser.add_argument("--quick", action="store_true", help="the gate's cells alone")
    parser.add_argument("--scale", type=int, default=10, help="of pgbench's tables")
    parser.add_argument("--idle", type=int, default=2000, help="idle clients for the memory figure; 0: leave it out")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    return parser.parse_args()


def run(stage: Stage, cells: list[Cell], rounds: int, seconds: float) -> Results:
    """All measurements: the targets of a cell in turn, so that all of them see the same machine."""
    results: Results = {}
    for cell in cells:
        found: dict[str, list[Measurement]] = {name: [] for name in stage.targets}
        for _ in range(rounds + (2 if cell in GATE else 0)):
            for name, target in stage.targets.items():
                measurement = measure(stage, target, cell, seconds)
                if measurement is not None:
                    found[name].append(measurement)
        results[cell] = found
        print(line(cell, found), flush=True)
    return results


def line(cell: Cell, found: dict[str, list[Measurement]]) -> str:
    """A row of the table."""
    parts = [f"{cell!s:32}"]
    for name, measurements in found.items():
        if not measurements:
            parts.append(f"{name}: not supported")
            continue
        middle = median(measurements)
        cpu = f" {middle.cpu:6.1f} us" if middle.cpu else ""
        parts.append(f"{name}: {middle.rate:8,.0f} tx/s p50 {middle.p50:6.2f} p99 {middle.p99:7.2f} ms{cpu}")
    if found.get("pgbouncer") and found.get("rdsp"):
        parts.append(f"ratio {ratio(found['rdsp'], found['pgbouncer']):.2f}")
    return " | ".join(parts)


def missed(results: Results) -> list[str]:
    """The gate's cells whose ratio is too high."""
    faults = []
    for cell in GATE:
        found = results.get(cell, {})
        if found.get("pgbouncer") and found.get("rdsp"):
            value = ratio(found["rdsp"], found["pgbouncer"])
            if value > GATE_RATIO:
                faults.append(f"{cell}: {value:.2f} of PgBouncer's CPU per transaction, at most {GATE_RATIO} wanted")
    return faults


def document(stage: Stage, results: Results, idle: dict[str, float]) -> dict[str, object]:
    """Everything as JSON."""
    return {
        "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "backends": BACKENDS},
        "targets": {name: target.version for name, target in stage.targets.items()},
        "idle_kib_per_client": idle,
        "cells": [
            {
                **attrs.asdict(cell),
                "median": {name: attrs.asdict(median(runs)) for name, runs in found.items() if runs},
                "rounds": {name: [attrs.asdict(one) for one in runs] for name, runs in found.items()},
                "cpu_ratio_to_pgbouncer": (
                    ratio(found["rdsp"], found["pgbouncer"]) if found.get("pgbouncer") and found.get("rdsp") else None
                ),
            }
            for cell, found in results.items()
        ],
    }


def main() -> int:
    """Returns the exit status."""
    options = arguments()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 16384)), hard))
    cells = list(GATE) if options.quick else everything() if options.full else short()
    with Stage(options.scale) as stage:
        for target in stage.targets.values():
            print(f"{target.name}: {target.version}")
        results = run(stage, cells, options.rounds, options.seconds)
        idle: dict[str, float] = {}
        if options.idle and not options.quick:
            for name in ("pgbouncer", "rdsp"):
                if name in stage.targets:
                    idle[name] = trio.run(per_client, stage.targets[name], options.idle)
                    print(f"memory per idle client at {options.idle}: {name} {idle[name]:.1f} KiB", flush=True)
        if options.json:
            options.json.write_text(json.dumps(document(stage, results, idle), indent=1) + "\n")
    faults = missed(results)
    for fault in faults:
        print(f"MISSED {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
