"""What the benchmarks say about their gates."""

from __future__ import annotations

import attrs
import pytest

from benchmarks.cells import MODES, Bulk, Cell, Idle, Latency, Logins, Work, everything, short
from benchmarks.idle import IdleFigures
from benchmarks.judge import Round, gate_of, near, verdicts
from benchmarks.latency import LatencyFigures
from benchmarks.logins import LoginFigures
from benchmarks.measure import Measurement
from benchmarks.report import Results
from benchmarks.run import failed, given_up, status

CPU = Cell("select1", "prepared", 64)


def _cpu(**figures: float) -> Round:
    return {name.replace("_", "-"): Measurement(1000.0, 0.1, 0.2, cpu, 1.0) for name, cpu in figures.items()}


def _latency(**figures: float) -> Round:
    return {name: LatencyFigures(p50, 1.0, 1000.0) for name, p50 in figures.items()}


def _outcome(work: Work, *rounds: Round) -> bool | None:
    (verdict,) = verdicts({work: list(rounds)})
    return verdict.passed


def test_a_gate_is_held_only_against_both_pgbouncers() -> None:
    assert _outcome(CPU, _cpu(rdsp=15, pgbouncer=10, pgbouncer_new=10)) is True
    assert _outcome(CPU, _cpu(rdsp=15, pgbouncer=10, pgbouncer_new=9)) is False


def test_what_was_not_measured_is_not_held() -> None:
    assert _outcome(CPU, _cpu(rdsp=15)) is None
    assert _outcome(CPU, _cpu(pgbouncer=10)) is None


def test_the_proxy_that_is_not_compiled_does_not_count() -> None:
    assert _outcome(CPU, _cpu(rdsp=10, rdsp_python=90, pgbouncer=10)) is True


def test_ratios_are_taken_round_by_round_and_their_median_counts() -> None:
    rounds = [_cpu(rdsp=10, pgbouncer=10), _cpu(rdsp=140, pgbouncer=100), _cpu(rdsp=40, pgbouncer=10)]
    (verdict,) = verdicts({CPU: rounds})
    assert verdict.found == {"of PgBouncer (Debian)": 1.4}


def test_a_figure_near_its_gate_is_measured_more_often_on_whichever_side_it_is() -> None:
    for ours, more in ((13.4, False), (13.6, True), (15.0, True), (16.4, True), (16.6, False)):
        assert near(verdicts({CPU: [_cpu(rdsp=ours, pgbouncer=10, pgbouncer_new=20)]})) is more
    assert not near(verdicts({CPU: [_cpu(rdsp=15)]}))


def test_what_a_peer_cannot_do_fails_nobody_and_is_said() -> None:
    fine = {attrs.evolve(CPU, clients=16): [_cpu(rdsp=10, pgbouncer_new=10)]}
    results = Results({"load_before": 0.1}, {"rdsp": "1", "pgbouncer-new": "2"}, rounds={**fine, CPU: [_cpu(rdsp=15)]})
    assert status(lambda: results, None, bool) == 1  # nobody says why
    given_up(results, CPU, "pgbouncer-new", "it hangs")
    assert status(lambda: results, None, bool) == 0
    assert "GIVEN UP it hangs" in results.text()
    assert "NOT JUDGED" in results.text()
    failed(results, "the proxy hangs")
    assert status(lambda: results, None, bool) == 1


def test_a_peer_that_can_do_nothing_is_no_excuse() -> None:
    results = Results({"load_before": 0.1}, {"rdsp": "1", "pgbouncer-new": "2"}, rounds={CPU: [_cpu(rdsp=15)]})
    given_up(results, CPU, "pgbouncer-new", "it is broken")
    assert status(lambda: results, None, bool) == 1


def test_latency_is_what_is_added_to_a_direct_connection() -> None:
    latency = Latency("simple")
    assert _outcome(latency, _latency(direct=0.10, pgbouncer=0.12, rdsp=0.125)) is True
    assert _outcome(latency, _latency(direct=0.10, pgbouncer=0.12, rdsp=0.135)) is False
    assert _outcome(latency, _latency(pgbouncer=0.12, rdsp=0.12)) is None


def test_rates_may_not_be_too_low_and_memory_not_too_high() -> None:
    for ours, passed in ((70.0, True), (69.0, False)):
        assert _outcome(Logins(), {"rdsp": LoginFigures(ours, 1), "pgbouncer": LoginFigures(100, 1)}) is passed
    for kib, passed in ((10.0, True), (10.1, False)):
        assert _outcome(Idle(5000), {"rdsp": IdleFigures(kib, 1.0)}) is passed


@pytest.mark.parametrize("works", [short(), everything()], ids=["short", "full"])
def test_every_gate_of_the_release_is_measured(works: list[Work]) -> None:
    gates = {gate.what for work in works if (gate := gate_of(work))}
    assert gates == {"CPU per transaction", "added latency", "connections per second", "MB/s", "KiB per idle client"}
    modes = {(work.mode, work.clients) for work in works if isinstance(work, Cell) and gate_of(work)}
    assert modes >= {(mode, clients) for mode in ("simple", "extended", "prepared") for clients in (16, 64)}
    assert {work.mode for work in works if isinstance(work, Latency)} == set(MODES)
    assert {work.kind for work in works if isinstance(work, Bulk)} >= {"COPY out", "rows of 1 kB"}
    assert len(set(works)) == len(works)
