"""What is measured with MySQL: sysbench's matrix, and large results.

Pure. `benchmarks.mysql.load` and `bulk` run it; `benchmarks.mysql.judge` has the gates.
"""

from __future__ import annotations

import itertools

import attrs

from benchmarks.cells import BulkKind

SCRIPTS = {
    "point select": "oltp_point_select",
    "read-only": "oltp_read_only",
    "read-write": "oltp_read_write",
}
"""sysbench's own."""
QUERIES = {"point select": 1, "read-only": 16, "read-write": 20}
"""Of one transaction, BEGIN and COMMIT included."""
THREADS = (16, 64)


@attrs.frozen
class Load:
    """One combination of sysbench's. Attributes: prepared: by prepared statements of the protocol, not by texts."""

    script: str
    prepared: bool
    threads: int
    tls: bool = False

    def __str__(self) -> str:
        mode = "prepared" if self.prepared else "text"
        return f"{self.script} {mode} c={self.threads}{' TLS' if self.tls else ''}"


@attrs.frozen
class Large:
    """A large result for one client."""

    kind: str
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.kind}{' TLS' if self.tls else ''}"


Work = Load | Large

# The server makes the text once: repeating it for every row would be the slowest part.
_ROWS = (
    "SELECT made.text FROM (SELECT REPEAT('x', {width}) AS text LIMIT 1) made, sbtest1 one, sbtest1 two LIMIT {rows}"
)
LARGE = {
    "rows of 1 kB": BulkKind(_ROWS, 1000),
    "rows of 1 MB": BulkKind(_ROWS, 1_000_000),
    # The server is the slow one here.
    "rows of 50 bytes": BulkKind(_ROWS, 50, share=0.25),
}


def quick() -> list[Work]:
    """One script: is it slower than yesterday?"""
    return [Load("point select", prepared, threads) for prepared in (False, True) for threads in THREADS]


def short() -> list[Work]:
    """What `make bench-mysql` runs: every gate, with TLS for one script and one kind of rows."""
    return [
        *(Load(*parts) for parts in itertools.product(SCRIPTS, (False, True), THREADS)),
        *(attrs.evolve(one, tls=True) for one in quick()),
        *(Large(kind) for kind in LARGE),
        Large("rows of 1 kB", tls=True),
    ]


def everything() -> list[Work]:
    """The whole matrix."""
    return [
        *(Load(*parts) for parts in itertools.product(SCRIPTS, (False, True), THREADS, (False, True))),
        *(Large(kind, tls) for kind in LARGE for tls in (False, True)),
    ]
