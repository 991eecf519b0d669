"""What is measured: pgbench's matrix, latency, logins, bulk data, idle clients, and sessions whose settings differ.

Pure. `benchmarks.measure`, `latency`, `logins`, `bulk` and `idle` run it; `benchmarks.judge` has the gates.
"""

from __future__ import annotations

import itertools

import attrs

SCRIPTS = {
    "select1": "SELECT 1;",
    "select-only": r"""\set aid random(1, 100000 * :scale)
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;""",
    "tpcb": "",
}
"""Scripts of the matrix by name; an empty one is pgbench's own (`BUILT_IN`)."""
BUILT_IN = {"tpcb": "tpcb-like"}
MODES = ("simple", "extended", "prepared")
CLIENTS = (1, 16, 64, 512)
MANY = 512
"""From so many clients on, connecting takes longer than measuring: fewer rounds."""


def _once(setting: str) -> str:
    """A script whose clients differ in a setting, which each of them sets once, before its first transaction."""
    return rf"""\if :fresh
\set fresh 0
\set kind :client_id % 4
SET {setting} TO kind_:kind;
\endif
SELECT 1;"""


PLAIN = {
    "begin": "BEGIN;\nSELECT 2;\nSELECT 1;\nCOMMIT;",
    "two": "SELECT 2;\nSELECT 1;",
}
"""What a script of `SETTINGS` is compared with: as many statements, none of which sets anything."""


@attrs.frozen
class Setting:
    """A script that sets something. Attributes: plain: the script to compare with. followed: see `logins.follows`."""

    text: str
    plain: str
    followed: str = ""


SETTINGS = {
    "4 search_paths": Setting(_once("search_path"), "select1", "search_path"),
    "4 application_names": Setting(_once("application_name"), "select1", "application_name"),
    "SET LOCAL": Setting("BEGIN;\nSET LOCAL search_path TO kind_1;\nSELECT 1;\nCOMMIT;", "begin"),
    "SET": Setting("SET search_path TO kind_1;\nSELECT 1;", "two"),
    "SET, 4 values": Setting("\\set kind random(0, 3)\nSET search_path TO kind_:kind;\nSELECT 1;", "two"),
}
"""Sessions whose settings differ, 64 clients on 20 backends: what following them costs."""


@attrs.frozen
class Cell:
    """One combination of pgbench's."""

    script: str
    mode: str
    clients: int
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.script} {self.mode} c={self.clients}{' TLS' if self.tls else ''}"

    @property
    def text(self) -> str:
        """The script; empty: `BUILT_IN` names it."""
        if self.script in SETTINGS:
            return SETTINGS[self.script].text
        return PLAIN.get(self.script) or SCRIPTS[self.script]


@attrs.frozen
class Latency:
    """One client that asks all targets for `SELECT 1` in turn."""

    mode: str

    def __str__(self) -> str:
        return f"latency {self.mode}"


@attrs.frozen
class Logins:
    """New connections: SCRAM, one `SELECT 1`, and goodbye, by several processes that do nothing else."""

    tls: bool = False

    def __str__(self) -> str:
        return f"new connections{' TLS' if self.tls else ''}"


@attrs.frozen
class Bulk:
    """Much data out to one client."""

    kind: str
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.kind}{' TLS' if self.tls else ''}"


@attrs.frozen
class Idle:
    """Clients that have asked once and now do nothing, of a freshly started target."""

    clients: int
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.clients:,} idle clients{' TLS' if self.tls else ''}"


Work = Cell | Latency | Logins | Bulk | Idle


@attrs.frozen
class BulkKind:
    """What is asked for. Attributes: row: the statement for one row, `width` bytes of text. share: of the amount."""

    statement: str
    width: int
    share: float = 1.0
    extended: bool = False


_ROWS = "SELECT repeat('x', {width}) FROM generate_series(1, {rows})"
BULK = {
    "COPY out": BulkKind(f"COPY ({_ROWS}) TO STDOUT", 1000),
    "rows of 1 kB": BulkKind(_ROWS, 1000),
    "rows of 1 kB, extended": BulkKind(_ROWS, 1000, extended=True),
    "rows of 1 MB": BulkKind(_ROWS, 1_000_000),
    # The server is the slow one here.
    "rows of 50 bytes": BulkKind(_ROWS, 50, share=0.25),
}

CPU_CLIENTS = (16, 64)


def short() -> list[Work]:
    """What `make bench-postgres` runs: the cells that have a gate, with SELECT 1 for every mode; and some without."""
    return [
        *(Idle(5000, tls) for tls in (False, True)),
        *(Cell("select1", mode, clients) for mode in MODES for clients in (*CPU_CLIENTS, 1)),
        *(Latency(mode) for mode in MODES),
        Cell("select-only", "prepared", 16),
        Cell("tpcb", "simple", 16),
        Cell("select1", "simple", 16, tls=True),
        Cell("select1", "extended", 64, tls=True),
        *(Logins(tls) for tls in (False, True)),
        *(Bulk(kind) for kind in BULK),
    ]


def quick() -> list[Work]:
    """The two oldest gates alone: is it slower than yesterday?"""
    return [Cell("select1", "simple", clients) for clients in CPU_CLIENTS]


def cpu() -> list[Work]:
    """Every cell whose CPU has a gate."""
    return [Cell(*parts) for parts in itertools.product(SCRIPTS, MODES, CPU_CLIENTS, (False, True))]


def settings() -> list[Work]:
    """Sessions whose settings differ, and what they are compared with."""
    names = dict.fromkeys(name for each in SETTINGS.values() for name in (each.plain,))
    return [Cell(name, "simple", 64) for name in (*names, *SETTINGS)]


def everything() -> list[Work]:
    """The whole matrix."""
    matrix = [Cell(*parts) for parts in itertools.product(SCRIPTS, MODES, CLIENTS, (False, True))]
    return [
        *(Idle(5000, tls) for tls in (False, True)),
        *matrix,
        *(Latency(mode) for mode in MODES),
        *(one for one in settings() if one not in matrix),
        *(Logins(tls) for tls in (False, True)),
        *(Bulk(kind, tls) for kind in BULK for tls in (False, True)),
    ]


def rounds_of(work: Work, rounds: int) -> int:
    """How often it is measured."""
    if isinstance(work, Idle):
        return 1
    return min(rounds, 2) if isinstance(work, Cell) and work.clients >= MANY else rounds
