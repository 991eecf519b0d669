"""What the benchmarks with MySQL say about their gates, and how they read what sysbench says."""

from __future__ import annotations

import array
from pathlib import Path

import pytest

from benchmarks.bulk import BulkFigures
from benchmarks.judge import Round
from benchmarks.measure import LoadFailed
from benchmarks.mysql.cells import Large, Load, Work, everything, short
from benchmarks.mysql.judge import gates_of
from benchmarks.mysql.large import ended
from benchmarks.mysql.load import LoadFigures, counted, read_log
from benchmarks.mysql.report import MySqlResults
from benchmarks.mysql.targets import HEADINGS, able

TEXT = Load("point select", False, 64)
REPORT = """SQL statistics:
    queries performed:
        total:                           {queries}
    transactions:                        {done}  (99.00 per sec.)
    queries:                             {queries} (1980.00 per sec.)
    ignored errors:                      3      (0.00 per sec.)
    reconnects:                          {lost}      (0.00 per sec.)
"""


def _figures(query_cpu: float, rate: float) -> LoadFigures:
    return LoadFigures(rate, 1.0, 2.0, query_cpu, 30.0, queries=rate, query_cpu=query_cpu, connections=20)


def _outcomes(work: Work, one: Round) -> dict[str, bool | None]:
    results = MySqlResults(rounds={work: [one]}, versions=dict.fromkeys(HEADINGS, ""))
    return {verdict.gate.what: verdict.passed for verdict in results.verdicts()}


def test_cpu_and_transactions_are_held_only_against_both_routers_that_share() -> None:
    one = {"rdsp": _figures(8, 1000), "router": _figures(10, 1000), "router-few": _figures(10, 1000)}
    one["router-through"] = _figures(1, 9000)
    assert _outcomes(TEXT, one) == {"CPU per query": True, "transactions per second": True}
    one["router-few"] = _figures(9.9, 1001)
    assert _outcomes(TEXT, one) == {"CPU per query": False, "transactions per second": False}


def test_large_results_are_compared_with_the_router_that_passes_through() -> None:
    one = {"rdsp": BulkFigures(70, 1), "router": BulkFigures(200, 1), "router-through": BulkFigures(100, 1)}
    assert _outcomes(Large("rows of 1 kB"), one) == {"MB/s": True}
    one["rdsp"] = BulkFigures(69, 1)
    assert _outcomes(Large("rows of 1 kB"), one) == {"MB/s": False}


def test_without_the_proxy_nothing_is_judged() -> None:
    assert set(_outcomes(TEXT, {"router": _figures(10, 1000)}).values()) == {None}


@pytest.mark.parametrize("works", [short(), everything()], ids=["short", "full"])
def test_every_gate_of_the_release_is_measured(works: list[Work]) -> None:
    assert {gate.what for work in works for gate in gates_of(work)} == {
        "CPU per query",
        "transactions per second",
        "MB/s",
    }
    loads = {(one.script, one.prepared, one.threads) for one in works if isinstance(one, Load)}
    scripts = ("point select", "read-only", "read-write")
    assert loads == {(script, prepared, threads) for script in scripts for prepared in (0, 1) for threads in (16, 64)}
    assert {one.tls for one in works} == {False, True}
    assert len(set(works)) == len(works)


def test_a_router_that_may_have_few_connections_cannot_prepare_for_many() -> None:
    prepared = Load("read-only", True, 64)
    assert not able("router-few", prepared)
    assert able("router-few", TEXT)
    assert able("router-few", Load("read-only", True, 16))
    assert able("router", prepared)
    results = MySqlResults(versions={"router": "9", "router-few": "9"})
    results.rounds[prepared] = [{"router": _figures(12.34, 1000)}]
    results.unsupported.add((prepared, "router-few"))
    assert "| read-only prepared c=64 | 12.3 | not supported | 1 |" in results.tables()
    assert "12.34" in str(results.document())


def test_queries_are_counted_by_sysbench() -> None:
    assert counted(REPORT.format(queries=2000, done=100, lost=0), 20) == (100, 20.0)
    assert counted(REPORT.format(queries=2060, done=100, lost=0), 20) == (100, 20.6)


@pytest.mark.parametrize(("queries", "done", "lost"), [(0, 0, 0), (180, 9, 1), (1800, 100, 0), (2061, 100, 0)])
def test_a_run_that_did_nothing_lost_connections_or_did_other_things_is_no_measurement(
    queries: int, done: int, lost: int
) -> None:
    with pytest.raises(LoadFailed):
        counted(REPORT.format(queries=queries, done=done, lost=lost), 20)


def test_the_transactions_of_all_threads_come_in_the_order_of_their_ends(tmp_path: Path) -> None:
    for thread, values in enumerate(([1.0, 10.0, 3.0, 30.0], [2.0, 20.0], [])):
        (tmp_path / str(thread)).write_bytes(array.array("d", values).tobytes())
    assert read_log(tmp_path) == [(1.0, 10.0), (2.0, 20.0), (3.0, 30.0)]


def test_a_result_ends_with_its_last_packet() -> None:
    end = b"\x05\0\0\x07\xfe\0\0\x22\0"
    assert ended(end)
    assert not any(ended((b"xxxx" + end)[cut : cut + 9]) for cut in range(4))
    assert not ended(end[1:])
