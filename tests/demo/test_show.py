from __future__ import annotations

import io

from rich.console import Console

from rdsp.demo.show import Moment, Screen, line, summary, table
from rdsp.observe.statistics import Statistics

PROXY = Statistics(
    clients=500, backends=10, limit=10, borrowed=9, pinned=1, waiting=3, borrows=1000, waits=10, wait_seconds=0.5
)
LOAD = {
    "connected": 500,
    "transactions": 12345,
    "errors": 2,
    "most_backends": 10,
    "served_by": 9.5,
    "median_ms": 1.25,
    "p99_ms": 20.0,
}
MOMENT = Moment(3.2, PROXY, LOAD, 2468.4)


def test_a_line_says_what_happens() -> None:
    assert line(MOMENT) == (
        "  3.2 s  clients 500  backends 10  ratio 50.0  borrowed 9  pinned 1  waiting 3  2,468 tx/s"
        "  borrow 0.50 ms  errors 2"
    )


def test_the_table_says_the_same() -> None:
    stream = io.StringIO()
    Console(file=stream, width=80).print(table(MOMENT))
    text = stream.getvalue()
    for value in ("500", "10 of 10", "50.0", "2,468", "0.50 ms", "1.2 / 20.0 ms"):
        assert f" {value} " in text, value


def test_before_the_first_database_connection_nothing_is_divided_by_it() -> None:
    assert Moment(0.0, Statistics(clients=7), {}, 0.0).ratio == 7.0
    assert "clients: 0\n" in summary({})


def test_the_summary_has_the_figures_of_the_load() -> None:
    text = summary(LOAD)
    for row in (
        "clients: 500\n",
        "backends: 10 ",
        "clients per backend: 50.0\n",
        "average: 9.5\n",
        "transactions: 12345 ",
        "errors: 2",
    ):
        assert f"  {row}" in text or row in text


def test_without_a_terminal_every_second_is_a_line(capsys) -> None:  # type: ignore[no-untyped-def]
    with Screen() as screen:
        screen.show(MOMENT)
        screen.show(MOMENT)
    assert capsys.readouterr().out == f"{line(MOMENT)}\n" * 2
