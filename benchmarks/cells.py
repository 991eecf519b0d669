"""What is measured: the matrix of cells, the part of it that `make bench` runs, and the gates.

Pure; `benchmarks.measure` runs a cell.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import attrs

SCRIPTS = {
    "select1": "SELECT 1;",
    "select-only": r"""\set aid random(1, 100000 * :scale)
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;""",
}
MODES = ("simple", "extended", "prepared")
CLIENTS = (1, 16, 64, 512)
MANY = 512
"""From so many clients on, connecting takes longer than measuring: fewer rounds."""


@attrs.frozen
class Cell:
    """One combination."""

    script: str
    mode: str
    clients: int
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.script} {self.mode} c={self.clients}{' TLS' if self.tls else ''}"


@attrs.frozen
class Gate:
    """The proxy's CPU per transaction may be at most `at_most` times PgBouncer's in this cell, in the same run."""

    cell: Cell
    at_most: float


GATES = (
    Gate(Cell("select1", "simple", 16), 2.0),
    Gate(Cell("select1", "simple", 64), 2.0),
)

DEFAULT: dict[tuple[str, str, bool], tuple[int, ...]] = {
    ("select1", "simple", False): CLIENTS,
    ("select1", "extended", False): CLIENTS,
    ("select1", "prepared", False): CLIENTS,
    ("select-only", "simple", False): (16, 64),
    ("select-only", "prepared", False): (16, 64),
    ("select1", "simple", True): CLIENTS,
    ("select-only", "prepared", True): (16,),
}
"""What `make bench` runs: script, mode, TLS to numbers of clients.

Left out, because they showed nothing that their neighbours do not show: select-only differs from SELECT 1 by what the
server does and by one row, so its extreme client numbers and its extended mode are missing; TLS costs the same per byte
in every mode, so it is measured once over all client numbers and once with prepared statements. `--full` runs all.
"""


def everything() -> list[Cell]:
    """The whole matrix."""
    return [Cell(*parts) for parts in itertools.product(SCRIPTS, MODES, CLIENTS, (False, True))]


def default() -> list[Cell]:
    """The part of the matrix that `make bench` runs, gates first."""
    gates = [gate.cell for gate in GATES]
    return gates + [
        cell
        for (script, mode, tls), numbers in DEFAULT.items()
        for cell in (Cell(script, mode, clients, tls) for clients in numbers)
        if cell not in gates
    ]


def chosen(cells: list[Cell], *wanted: Callable[[Cell], bool]) -> list[Cell]:
    """The cells that every filter wants."""
    return [cell for cell in cells if all(filter_(cell) for filter_ in wanted)]


def rounds_of(cell: Cell, rounds: int, gate_rounds: int) -> int:
    """How often a cell is measured."""
    if any(gate.cell == cell for gate in GATES):
        return gate_rounds
    return min(rounds, 2) if cell.clients >= MANY else rounds
