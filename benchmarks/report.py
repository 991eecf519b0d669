"""What a run found, as a table for people and as JSON for everything else; and whether the gates were met."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from benchmarks.cells import GATES, Cell
from benchmarks.idle import Idle
from benchmarks.measure import Measurement, Round, median, ratio

_Show = Callable[[Measurement], str]
HEADINGS = {"direct": "direct", "pgbouncer": "PgBouncer", "rdsp": "rdsp"}


@attrs.define
class Results:
    """Everything a run found, filled as it goes.

    Attributes:
        machine: facts about machine and software. versions: of what was really run, by target.
        rounds: by cell. unsupported: pairs of cell and target that cannot be.
        idle: by target. backends: the database connections a pooler had at the end.
        failures: measurements that went wrong, as sentences.
    """

    machine: dict[str, object] = attrs.field(factory=dict)
    versions: dict[str, str] = attrs.field(factory=dict)
    settings: dict[str, object] = attrs.field(factory=dict)
    rounds: dict[Cell, list[Round]] = attrs.field(factory=dict)
    unsupported: set[tuple[Cell, str]] = attrs.field(factory=set)
    idle: dict[str, list[Idle]] = attrs.field(factory=dict)
    backends: dict[str, int] = attrs.field(factory=dict)
    failures: list[str] = attrs.field(factory=list)

    def missed(self) -> list[str]:
        """The gates that were not met, or not measured although their cell was run, as sentences."""
        faults = []
        for gate in GATES:
            if gate.cell not in self.rounds:
                continue
            found = ratio(self.rounds[gate.cell])
            if found is None:
                faults.append(f"{gate.cell}: not measured against PgBouncer")
            elif found.median > gate.at_most:
                faults.append(f"{gate.cell}: {found.median:.2f} of PgBouncer's CPU, at most {gate.at_most} is allowed")
        return faults

    def table(self) -> str:
        """Markdown: a row per cell."""
        names = list(self.versions)
        poolers = [name for name in names if name != "direct"]
        head = ["cell"]
        head += [f"{HEADINGS[name]} tx/s" for name in names]
        head += [f"{HEADINGS[name]} p50 / p99 ms" for name in names]
        head += [f"{HEADINGS[name]} CPU µs/tx" for name in poolers]
        head += ["ratio (least-most)", "rounds"]
        rows = [self._row(cell, names, poolers) for cell in self.rounds]
        return "\n".join(_line(row) for row in (head, ["---", *["---:"] * (len(head) - 1)], *rows))

    def _row(self, cell: Cell, names: list[str], poolers: list[str]) -> list[str]:
        rounds = self.rounds[cell]
        row = [str(cell)]
        row += [self._figure(cell, name, lambda one: f"{one.rate:,.0f}") for name in names]
        row += [self._figure(cell, name, lambda one: f"{one.p50:.2f} / {one.p99:.2f}") for name in names]
        row += [self._figure(cell, name, lambda one: f"{one.cpu or 0:.1f}") for name in poolers]
        found = ratio(rounds)
        row.append(f"{found.median:.2f} ({found.least:.2f}-{found.most:.2f})" if found else "")
        row.append(str(len(rounds)))
        return row

    def _figure(self, cell: Cell, name: str, show: _Show) -> str:
        if (cell, name) in self.unsupported:
            return "not supported"
        found = median(self.rounds[cell], name)
        return show(found) if found else "failed"

    def idle_table(self) -> str:
        """Markdown: a row per target and kind of client."""
        lines = [["idle clients", "KiB per client", "CPU ms per login"], ["---", "---:", "---:"]]
        for name, found in self.idle.items():
            for one in found:
                what = f"{HEADINGS[name]}, {one.clients:,} {'TLS' if one.tls else 'plain'}"
                lines.append([what, f"{one.kib:.1f}", f"{one.login_cpu:.2f}"])
        return "\n".join(map(_line, lines))

    def document(self) -> dict[str, object]:
        """Everything, for `json.dumps`."""
        return {
            "machine": self.machine,
            "settings": self.settings,
            "versions": self.versions,
            "backends_at_the_end": self.backends,
            "cells": [self._cell(cell) for cell in self.rounds],
            "idle": {name: [attrs.asdict(one) for one in found] for name, found in self.idle.items()},
            "gates": [{**attrs.asdict(gate.cell), "at_most": gate.at_most} for gate in GATES],
            "missed": self.missed(),
            "failures": self.failures,
        }

    def _cell(self, cell: Cell) -> dict[str, object]:
        rounds = self.rounds[cell]
        found = ratio(rounds)
        medians = {name: median(rounds, name) for name in self.versions}
        return {
            **attrs.asdict(cell),
            "median": {name: attrs.asdict(one) for name, one in medians.items() if one},
            "cpu_ratio_to_pgbouncer": attrs.asdict(found) if found else None,
            "not_supported": [name for name in self.versions if (cell, name) in self.unsupported],
            "rounds": [{name: attrs.asdict(one) for name, one in each.items()} for each in rounds],
        }


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def summary(cell: Cell, rounds: list[Round]) -> str:
    """One line, printed while the run goes on."""
    parts = []
    for name in HEADINGS:
        found: Measurement | None = median(rounds, name)
        if found:
            cpu = f" {found.cpu:.1f} µs" if found.cpu else ""
            parts.append(f"{name} {found.rate:,.0f}/s{cpu}")
    found_ratio = ratio(rounds)
    if found_ratio:
        parts.append(f"ratio {found_ratio.median:.2f}")
    return f"{cell!s:32} " + ", ".join(parts)
