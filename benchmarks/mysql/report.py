"""What a run with MySQL found: the tables, by `benchmarks.report`."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs

from benchmarks.judge import Gate, figure_of
from benchmarks.mysql.cells import Large, Load
from benchmarks.mysql.judge import gates_of
from benchmarks.mysql.targets import HEADINGS, SHARING, THROUGH
from benchmarks.report import Results


@attrs.define
class MySqlResults(Results):
    """Everything a run found."""

    HEADINGS: ClassVar[dict[str, str]] = HEADINGS
    PEERS: ClassVar[tuple[str, ...]] = SHARING

    def gates_of(self, work: Any) -> list[Gate]:
        return gates_of(work)

    def tables(self) -> str:
        """Markdown: a table per figure; a row per cell, a column per target."""
        everyone = list(self.versions)
        between = [name for name in everyone if name != "direct"]
        loads, large = self.of(Load), self.of(Large)
        rate = figure_of("rate")
        parts = [
            self.table("CPU µs per query", loads, between, lambda one: f"{one.query_cpu:.1f}", figure_of("query_cpu")),
            self.table("transactions per second", loads, everyone, lambda one: f"{one.rate:,.0f}", rate),
            self.table("queries per second", loads, everyone, lambda one: f"{one.queries:,.0f}"),
            self.table("latency p50 / p99 ms", loads, everyone, lambda one: f"{one.p50:.2f} / {one.p99:.2f}"),
            self.table("memory MiB", loads, between, lambda one: f"{one.memory:.0f}"),
            self.table("server connections, the most", loads, everyone, lambda one: f"{one.connections:.0f}"),
            self.table("MB/s", large, everyone, lambda one: f"{one.rate:,.0f}", rate, THROUGH),
            self.table("CPU ms per MB", large, between, lambda one: f"{one.cpu:.2f}"),
        ]
        return "\n\n".join(filter(None, parts))
