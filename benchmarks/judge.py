"""Medians, ratios to PgBouncer, and the gates.

Pure. A ratio is taken round by round, because both sides of one round saw the same machine; the median of those counts.
A gate is held when it is held against every PgBouncer that was measured in the same run, and only by the compiled
proxy; the ratio of the other one is shown all the same.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import attrs

from benchmarks.bulk import BulkFigures
from benchmarks.cells import CPU_CLIENTS, SCRIPTS, Bulk, Cell, Idle, Latency, Logins, Work
from benchmarks.idle import IdleFigures
from benchmarks.latency import LatencyFigures
from benchmarks.logins import LoginFigures
from benchmarks.measure import Measurement
from benchmarks.targets import HEADINGS, PEERS

Figures = Measurement | LatencyFigures | LoginFigures | BulkFigures | IdleFigures
Round = dict[str, Any]
"""One round of one work: the `Figures` of the targets that could do it, by name."""
Figure = Callable[[Round, str], float | None]
"""Takes one number out of a round, for a target; None where it is not there."""


def median(rounds: list[Round], name: str) -> Any:
    """A target's medians over the rounds, field by field; None when it was never measured."""
    found = [one[name] for one in rounds if name in one]
    if not found:
        return None
    kind = type(found[0])
    fields: dict[str, float | None] = {}
    for field in attrs.fields(kind):
        values = [value for one in found if (value := getattr(one, field.name)) is not None]
        fields[field.name] = statistics.median(values) if values else None
    return kind(**fields)


@attrs.frozen
class Ratio:
    """The proxy's figure over PgBouncer's: the median of the rounds' ratios, and their extremes."""

    median: float
    least: float
    most: float


@attrs.frozen
class Gate:
    """What the ratio of a figure may be, or the figure itself.

    Attributes:
        what: the figure's name.
        peers: the targets that it is compared with, each of them.
    """

    what: str
    figure: Figure
    at_most: float | None = None
    at_least: float | None = None
    absolute: bool = False
    peers: tuple[str, ...] = PEERS

    def holds(self, value: float) -> bool:
        """Whether this value is good enough."""
        too_much = self.at_most is not None and value > self.at_most
        return not too_much and not (self.at_least is not None and value < self.at_least)

    @property
    def limit(self) -> str:
        """In words."""
        return f"at most {self.at_most}" if self.at_most is not None else f"at least {self.at_least}"


def figure_of(name: str) -> Figure:
    """The figures' field of this name."""

    def figure(one: Round, target: str) -> float | None:
        return getattr(one[target], name) if target in one else None

    return figure


def added_latency(one: Round, target: str) -> float | None:
    """Milliseconds over those of the direct connection, at the median."""
    return one[target].p50 - one["direct"].p50 if target in one and "direct" in one else None


_NEAR = 0.1
_CPU = Gate("CPU per transaction", figure_of("cpu"), at_most=1.5)
_LATENCY = Gate("added latency", added_latency, at_most=1.5)
_LOGINS = Gate("connections per second", figure_of("rate"), at_least=0.7)
_BULK = Gate("MB/s", figure_of("rate"), at_least=0.7)
_IDLE = Gate("KiB per idle client", figure_of("kib"), at_most=10.0, absolute=True)


def gate_of(work: Work) -> Gate | None:
    """The gate of this work, if it has one."""
    match work:
        case Logins():
            return _LOGINS
        case Bulk():
            return _BULK
        case Idle():
            # What OpenSSL keeps for a connection is no matter of ours.
            return None if work.tls else _IDLE
        case Latency():
            return _LATENCY
        case Cell() if work.script in SCRIPTS and work.clients in CPU_CLIENTS:
            return _CPU
    return None


def gates_of(work: Work) -> list[Gate]:
    """All gates of this work."""
    gate = gate_of(work)
    return [gate] if gate else []


def ratio(rounds: list[Round], figure: Figure, ours: str, theirs: str) -> Ratio | None:
    """None when one side was never measured, or theirs is nothing to divide by."""
    values = []
    for one in rounds:
        mine, other = figure(one, ours), figure(one, theirs)
        if mine is not None and other is not None and other > 0:
            values.append(mine / other)
    return Ratio(statistics.median(values), min(values), max(values)) if values else None


@attrs.frozen
class Verdict:
    """A gate and what came of it.

    Attributes:
        work: what was measured.
        found: the values that were judged, by what they were compared with; none: it could not be measured.
        passed: all of them are good enough. None: not judged.
    """

    work: Any
    gate: Gate
    found: dict[str, float]
    passed: bool | None

    def __str__(self) -> str:
        word = {True: "passed", False: "MISSED", None: "NOT JUDGED"}[self.passed]
        values = ", ".join(f"{value:.2f} {against}" for against, value in self.found.items()) or "not measured"
        return f"{word}: {self.work}: {self.gate.what} {values} ({self.gate.limit})"


def verdicts(
    measured: dict[Any, list[Round]],
    gates: Callable[[Any], list[Gate]] = gates_of,
    headings: dict[str, str] = HEADINGS,
    ours: str = "rdsp",
) -> list[Verdict]:
    """All gates of what was measured.

    Args:
        gates: those of one work. headings: how people know the targets. ours: the target that is judged.
    """
    return [_verdict(work, gate, rounds, headings, ours) for work, rounds in measured.items() for gate in gates(work)]


def near(found: list[Verdict], within: float = _NEAR) -> bool:
    """Whether a gate might be judged otherwise after more rounds: a ratio within a tenth of it, on either side.

    `within`: of it, instead of a tenth.
    """
    return any(
        abs(value / limit - 1) <= within
        for one in found
        for limit in (one.gate.at_most, one.gate.at_least)
        if limit is not None
        for value in one.found.values()
    )


def _verdict(work: Any, gate: Gate, rounds: list[Round], headings: dict[str, str], ours: str) -> Verdict:
    found = {}
    if gate.absolute:
        values = [value for one in rounds if (value := gate.figure(one, ours)) is not None]
        if values:
            found["by itself"] = statistics.median(values)
    else:
        for peer in gate.peers:
            if compared := ratio(rounds, gate.figure, ours, peer):
                found[f"of {headings[peer]}"] = compared.median
    return Verdict(work, gate, found, all(map(gate.holds, found.values())) if found else None)
