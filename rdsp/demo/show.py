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
    """One second of the demo."""

    seconds: float
    proxy: Statistics
    load: Mapping[str, Any]
    rate: float

    @property
    def borrow_micros(self) -> float:
        """Mean time to get a database connection, in microseconds; a borrow without a wait counts as 0."""
        return 1e6 * self.proxy.wait_seconds / self.proxy.borrows if self.proxy.borrows else 0.0

    @property
    def ratio(self) -> float:
        """Clients per database connection."""
        return self.proxy.clients / max(1, self.proxy.backends)


def table(moment: Moment) -> Table:
    """The live view."""
    shown = Table(title="rdsp demo", show_header=False, min_width=48)
    shown.add_column(style="bold")
    shown.add_column(justify="right")
    rows = {
        "clients": f"{moment.proxy.clients}",
        "database connections": f"{moment.proxy.backends} of {moment.proxy.limit}",
        "borrowed now": f"{moment.proxy.borrowed}",
        "pinned": f"{moment.proxy.pinned}",
        "waiting now": f"{moment.proxy.waiting}",
        "transactions per second": f"{moment.rate:,.0f}",
        "mean borrow latency": f"{moment.borrow_micros:,.0f} µs",
        "clients per connection": f"{moment.ratio:.1f}",
        "errors": f"{moment.load.get('errors', 0)}",
    }
    for name, value in rows.items():
        shown.add_row(name, value)
    return shown


def line(moment: Moment) -> str:
    """The same for a log."""
    return (
        f"{moment.seconds:5.1f} s  clients {moment.proxy.clients}  backends {moment.proxy.backends}"
        f"  borrowed {moment.proxy.borrowed}  pinned {moment.proxy.pinned}  waiting {moment.proxy.waiting}"
        f"  {moment.rate:,.0f} tx/s  borrow {moment.borrow_micros:,.0f} us  ratio {moment.ratio:.1f}"
        f"  errors {moment.load.get('errors', 0)}"
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


def summary(moment: Moment, most_backends: int) -> str:
    """The last lines of the demo."""
    return (
        "summary\n"
        f"  clients: {moment.load.get('connected', 0)}\n"
        f"  backends: {most_backends}\n"
        f"  transactions: {moment.load.get('transactions', 0)}\n"
        f"  clients per backend: {moment.load.get('connected', 0) / max(1, most_backends):.1f}\n"
        f"  errors: {moment.load.get('errors', 0)}"
    )
