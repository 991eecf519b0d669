"""The gates of the benchmarks with MySQL. Pure.

CPU and transactions are compared with a MySQL Router that shares connections: both with one that may have as many
server connections as it wants, and with one that has as few as the proxy. Large results are compared with one that
passes everything through.
"""

from __future__ import annotations

from benchmarks.judge import Gate, figure_of
from benchmarks.mysql.cells import Large, Load, Work
from benchmarks.mysql.targets import SHARING, THROUGH

CROWD = 64
"""From so many threads on, transactions per second have a gate."""
_CPU = Gate("CPU per query", figure_of("query_cpu"), at_most=0.8, peers=SHARING)
_RATE = Gate("transactions per second", figure_of("rate"), at_least=1.0, peers=SHARING)
_LARGE = Gate("MB/s", figure_of("rate"), at_least=0.7, peers=THROUGH)


def gates_of(work: Work) -> list[Gate]:
    """The gates of this work."""
    match work:
        case Load():
            return [_CPU, _RATE] if work.threads >= CROWD else [_CPU]
        case Large():
            return [_LARGE]
