"""What the demo prints: a live table on a terminal, a line per second elsewhere, and the summary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from rich.console import Console
from rich.live import Live
from rich.table import Table

from rdsp.observe.statistics import Statistics


@attrs.frozen
class Moment:
    """One second of the demo.

    Attributes:
        seconds: since the load began.
        proxy: now, with the counts of this second alone.
        load: the clients' own report.
        rate: transactions per second.
    """

    seconds: float
    proxy: Statistics
    load: Mapping[str, Any]
    rate: float

    @property
    def ratio(self) -> float:
        """Clients per database connection."""
        return self.proxy.clients / max(1, self.proxy.backends)


def table(moment: Moment) -> Table:
    """The live view."""
    shown = Table(title=f"rdsp demo, {moment.seconds:.0f} s", show_header=False, min_width=52)
    shown.add_column(style="bold")
    shown.add_column(justify="right")
    proxy, load = moment.proxy, moment.load
    rows = {
        "client connections": f"{proxy.clients}",
        "database connections": f"{proxy.backends} of {proxy.limit}",
        "clients per database connection": f"{moment.ratio:.1f}",
        "borrowed now": f"{proxy.borrowed}",
        "pinned": f"{proxy.pinned}",
        "waiting now": f"{proxy.waiting}",
        "transactions per second": f"{moment.rate:,.0f}",
        "borrow latency, mean": f"{1000 * proxy.mean_borrow_seconds:,.2f} ms",
        "transaction, median / 99 %": f"{load.get('median_ms', 0):,.1f} / {load.get('p99_ms', 0):,.1f} ms",
        "errors": f"{load.get('errors', 0)}",
    }
    for name, value in rows.items():
        shown.add_row(name, value)
    return shown


def line(moment: Moment) -> str:
    """The same for a log."""
    proxy, load = moment.proxy, moment.load
    return (
        f"{moment.seconds:5.1f} s  clients {proxy.clients}  backends {proxy.backends}  ratio {moment.ratio:.1f}"
        f"  borrowed {proxy.borrowed}  pinned {proxy.pinned}  waiting {proxy.waiting}  {moment.rate:,.0f} tx/s"
        f"  borrow {1000 * proxy.mean_borrow_seconds:.2f} ms  errors {load.get('errors', 0)}"
    )


class Screen:
    """Shows moments. Use it as a context manager."""

    def __init__(self) -> None:
        self._console = Console()
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None

    def __enter__(self) -> Screen:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, moment: Moment) -> None:
        """One more second."""
        if self._live is not None:
            self._live.update(table(moment), refresh=True)
        else:
            print(line(moment), flush=True)


def summary(load: Mapping[str, Any], database: str = "PostgreSQL") -> str:
    """The last lines of the demo, from the clients' last report. Database connections are as the database counts."""
    clients, backends = load.get("connected", 0), load.get("most_backends", 0)
    return (
        "summary\n"
        f"  clients: {clients}\n"
        f"  backends: {backends} (at most, counted by {database})\n"
        f"  clients per backend: {clients / max(1, backends):.1f}\n"
        f"  backends that served one client, on average: {load.get('served_by', 0):.1f}\n"
        f"  transactions: {load.get('transactions', 0)} (every answer checked)\n"
        f"  transaction time: median {load.get('median_ms', 0):.1f} ms, 99 % within {load.get('p99_ms', 0):.1f} ms\n"
        f"  errors: {load.get('errors', 0)}"
    )
