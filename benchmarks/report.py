"""What a run found, as tables for people and as JSON for everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import attrs

from benchmarks.cells import SETTINGS, Bulk, Cell, Idle, Latency, Logins
from benchmarks.judge import Figure, Gate, Round, Verdict, added_latency, figure_of, gates_of, median, ratio, verdicts
from benchmarks.targets import HEADINGS, OURS, PEERS

_Show = Callable[[Any], str]


@attrs.define
class Results:
    """Everything a run found, filled as it goes. What it says of targets and tables a subclass may say otherwise.

    Attributes:
        machine: facts about machine and software. versions: of what was really run, by target.
        missing: of what was wanted and cannot be had, why, by target.
        rounds: by what was measured. unsupported: pairs of that and target that cannot be.
        follows: for targets and settings, whether sessions see their own.
        backends: the database connections a pooler had at the end.
        failures: measurements that went wrong, as sentences.
        given_up: what a target that we are compared with could not do, as sentences, by work and target.
    """

    HEADINGS: ClassVar[dict[str, str]] = HEADINGS
    PEERS: ClassVar[tuple[str, ...]] = PEERS

    machine: dict[str, object] = attrs.field(factory=dict)
    versions: dict[str, str] = attrs.field(factory=dict)
    missing: dict[str, str] = attrs.field(factory=dict)
    settings: dict[str, object] = attrs.field(factory=dict)
    rounds: dict[Any, list[Round]] = attrs.field(factory=dict)
    unsupported: set[tuple[Any, str]] = attrs.field(factory=set)
    follows: dict[tuple[str, str], bool] = attrs.field(factory=dict)
    backends: dict[str, int] = attrs.field(factory=dict)
    failures: list[str] = attrs.field(factory=list)
    given_up: dict[tuple[Any, str], str] = attrs.field(factory=dict)

    def verdicts(self) -> list[Verdict]:
        """All gates of what was measured, for the compiled proxy."""
        return verdicts(self.rounds, self.gates_of, self.HEADINGS)

    def unexcused(self) -> list[Verdict]:
        """Gates that were not judged, and no target that works elsewhere was given up over them."""
        measured = {name for rounds in self.rounds.values() for one in rounds for name in one}
        gave_up = {work for work, name in self.given_up if name in measured}
        return [one for one in self.verdicts() if one.passed is None and one.work not in gave_up]

    def gates_of(self, work: Any) -> list[Gate]:
        """The gates of something that was measured."""
        return gates_of(work)

    def text(self) -> str:
        """Everything, for people: what was run, the tables, the gates, what went wrong."""
        parts = [
            ", ".join(f"{name} {value}" for name, value in facts.items())
            for facts in (self.machine, self.settings, self.versions)
        ]
        parts += [f"Not measured: {self.HEADINGS[name]}: {why}" for name, why in self.missing.items()]
        ends = [*map(str, self.verdicts()), *(f"FAILED {sentence}" for sentence in self.failures)]
        ends += [f"GIVEN UP {sentence}" for sentence in self.given_up.values()]
        return "\n\n".join([*parts, self.tables(), "\n".join(f"- {end}" for end in ends)]) + "\n"

    def tables(self) -> str:
        """Markdown: a table per figure; a row per cell, a column per target."""
        poolers = [name for name in self.versions if name != "direct"]
        everyone = list(self.versions)
        cells = [work for work in self.rounds if isinstance(work, Cell) and work.script not in SETTINGS]
        parts = [
            self.table("CPU µs per transaction", cells, poolers, lambda one: f"{one.cpu:.1f}", figure_of("cpu")),
            self.table("transactions per second", cells, everyone, lambda one: f"{one.rate:,.0f}"),
            self.table("latency p50 / p99 ms", cells, everyone, lambda one: f"{one.p50:.2f} / {one.p99:.2f}"),
            self._latency_table(everyone),
            self.table("memory MiB", cells, poolers, lambda one: f"{one.memory:.0f}"),
            self._settings_table(poolers),
            self.table(
                "connections per second", self.of(Logins), everyone, lambda one: f"{one.rate:,.0f}", figure_of("rate")
            ),
            self.table(
                "CPU ms per connection", self.of(Logins), poolers, lambda one: f"{one.cpu:.2f}", figure_of("cpu")
            ),
            self.table("MB/s", self.of(Bulk), everyone, lambda one: f"{one.rate:,.0f}", figure_of("rate")),
            self.table("CPU ms per MB", self.of(Bulk), poolers, lambda one: f"{one.cpu:.2f}", figure_of("cpu")),
            self.table("KiB per idle client", self.of(Idle), poolers, lambda one: f"{one.kib:.1f}"),
            self.table("CPU ms per login, one at a time", self.of(Idle), poolers, lambda one: f"{one.login_cpu:.2f}"),
        ]
        return "\n\n".join(filter(None, parts))

    def of(self, kind: type[Any]) -> list[Any]:
        """What was measured of this kind."""
        return [work for work in self.rounds if isinstance(work, kind)]

    def table(
        self,
        what: str,
        works: Sequence[Any],
        names: list[str],
        show: _Show,
        compared: Figure | None = None,
        peers: tuple[str, ...] = (),
    ) -> str:
        """Markdown, with a column of ratios for each of `peers` (else all of them) where something is `compared`."""
        peers = peers or self.PEERS
        if not works:
            return ""
        pairs = [(ours, peer) for ours in OURS for peer in peers if ours in names and peer in names and compared]
        head = [what, *(self.HEADINGS[name] for name in names)]
        head += [f"{self.HEADINGS[ours]} / {self.HEADINGS[peer]} (least-most)" for ours, peer in pairs]
        head.append("rounds")
        lines = [head, ["---", *["---:"] * (len(head) - 1)]]
        for work in works:
            rounds = self.rounds[work]
            line = [str(work), *(self._figure(work, name, show) for name in names)]
            for ours, peer in pairs:
                found = ratio(rounds, compared, ours, peer) if compared else None
                line.append(f"{found.median:.2f} ({found.least:.2f}-{found.most:.2f})" if found else "")
            lines.append([*line, str(len(rounds))])
        return "\n".join(map(_line, lines))

    def _latency_table(self, names: list[str]) -> str:
        """With the ratio of what is added to the direct connection's median."""
        return self.table(
            "latency, one client that asks all in turn: p50 / p99 ms",
            self.of(Latency),
            names,
            lambda one: f"{one.p50:.3f} / {one.p99:.3f}",
            added_latency,
        )

    def _figure(self, work: Any, name: str, show: _Show) -> str:
        if (work, name) in self.unsupported:
            return "not supported"
        found = median(self.rounds[work], name)
        return show(found) if found else "failed"

    def _settings_table(self, poolers: list[str]) -> str:
        """CPU of scripts that set something, and how much more that is than scripts as long that set nothing."""
        works = [work for work in self.rounds if isinstance(work, Cell) and work.script in SETTINGS]
        if not works:
            return ""
        head = ["settings: CPU µs (more than without)", *(HEADINGS[name] for name in poolers)]
        lines = [head, ["---", *["---:"] * len(poolers)]]
        for work in works:
            setting, line = SETTINGS[work.script], [work.script]
            for name in poolers:
                found = median(self.rounds[work], name)
                plain = median(self.rounds.get(attrs.evolve(work, script=setting.plain), []), name)
                text = f"{found.cpu:.1f}" if found else "failed"
                text += f" ({found.cpu - plain.cpu:+.1f})" if found and plain else ""
                if setting.followed and not self.follows.get((name, setting.followed), True):
                    text += " wrong answers"
                line.append(text)
            lines.append(line)
        return "\n".join(map(_line, lines))

    def document(self) -> dict[str, object]:
        """Everything, for `json.dumps`."""
        return {
            "machine": self.machine,
            "settings": self.settings,
            "versions": self.versions,
            "missing": self.missing,
            "backends_at_the_end": self.backends,
            "measured": [self._measured(work) for work in self.rounds],
            "sessions_see_their_own": [
                {"target": name, "setting": setting, "true": seen} for (name, setting), seen in self.follows.items()
            ],
            "gates": [
                {
                    "work": str(one.work),
                    "figure": one.gate.what,
                    "limit": one.gate.limit,
                    "found": one.found,
                    "passed": one.passed,
                }
                for one in self.verdicts()
            ],
            "failures": self.failures,
            "given_up": list(self.given_up.values()),
        }

    def _measured(self, work: Any) -> dict[str, object]:
        rounds = self.rounds[work]
        medians = {name: median(rounds, name) for name in self.versions}
        return {
            "kind": type(work).__name__.lower(),
            "name": str(work),
            **attrs.asdict(work),
            "median": {name: attrs.asdict(one) for name, one in medians.items() if one},
            "ratios": self._ratios(work, rounds),
            "not_supported": [name for name in self.versions if (work, name) in self.unsupported],
            "rounds": [{name: attrs.asdict(one) for name, one in each.items()} for each in rounds],
        }

    def _ratios(self, work: Any, rounds: list[Round]) -> list[dict[str, object]]:
        """Of what the gates look at, of both ways to run the proxy, to all that they are compared with."""
        return [
            {"figure": gate.what, "of": ours, "to": peer, **attrs.asdict(found)}
            for gate in self.gates_of(work)
            for ours in OURS
            for peer in gate.peers
            if (found := ratio(rounds, gate.figure, ours, peer))
        ]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def summary(work: Any, rounds: list[Round], names: Iterable[str] = HEADINGS) -> str:
    """One line for each target, printed while the run goes on."""
    parts = []
    for name in names:
        found = median(rounds, name)
        if found:
            shown = ((field.name, getattr(found, field.name)) for field in attrs.fields(type(found)))
            parts.append(f"{name} " + " ".join(f"{what} {value:,.2f}" for what, value in shown if value is not None))
    return f"{work}\n  " + "\n  ".join(parts)
