"""What came out of a run: read from pg_regress's own output, kept as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

OK, FAILED, NOT_RUN = "ok", "failed", "not run"

_TAP = re.compile(r"^(not )?ok \d+\s+[-+] (\S+)\s+\d+ ms", re.MULTILINE)
"""From PostgreSQL 16 on."""
_CLASSIC = re.compile(r"^(?:test)?\s+(\S+)\s+\.\.\. (ok|FAILED|failed)", re.MULTILINE)
_DIFF = re.compile(r"^diff .* (\S+)/results/(\S+)\.out$", re.MULTILINE)


def outcomes(output: str, expected: list[str]) -> dict[str, str]:
    """What pg_regress's output says of each test, and `NOT_RUN` of those `expected` that it says nothing of."""
    found = {name: FAILED if bad else OK for bad, name in _TAP.findall(output)}
    for name, word in _CLASSIC.findall(output):
        found.setdefault(name, OK if word == "ok" else FAILED)
    return {name: found.get(name, NOT_RUN) for name in dict.fromkeys([*expected, *found])}


def scheduled(schedule: str) -> list[str]:
    """The tests of a schedule file, in its order."""
    return [
        name
        for line in schedule.splitlines()
        if line.startswith("test:")
        for name in line.removeprefix("test:").split()
    ]


def diffs(text: str) -> dict[str, str]:
    """`regression.diffs`, one part per test."""
    marks = list(_DIFF.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return {mark.group(2): text[mark.start() : end] for mark, end in zip(marks, ends, strict=True)}


def first_difference(diff: str) -> str:
    """The first two lines that are not the same, for a table."""
    lines = diff[diff.find("\n@@") + 1 :].splitlines()
    return " / ".join([line for line in lines if line.startswith(("-", "+"))][:2])


@attrs.define(eq=False)
class Run:
    """One suite on one target.

    Attributes:
        suite: "regress", "libpq_pipeline" or "isolation".
        mode: "serial", "parallel" or "shuffled".
        seconds: how long it took.
        count: how many tests there are.
        bad: those that did not pass: `FAILED` or `NOT_RUN` by name.
        differences: their first difference by name.
        faults: what the proxy logged that it never should.
        pins: how often the proxy has pinned, by reason.
    """

    suite: str
    target: str
    mode: str
    seconds: float
    count: int
    bad: dict[str, str]
    differences: dict[str, str] = attrs.field(factory=dict)
    faults: list[str] = attrs.field(factory=list)
    pins: dict[str, int] = attrs.field(factory=dict)

    @property
    def score(self) -> str:
        """As "215/217"."""
        return f"{self.count - len(self.bad)}/{self.count}"


@attrs.define(eq=False)
class Results:
    """All runs.

    Attributes:
        postgres: the version whose suites these are.
        backends: the most that the proxy may have.
        rdsp: the proxy's version.
        day: of the run, as 2026-01-31.
    """

    postgres: str
    backends: int
    rdsp: str
    day: str
    runs: list[Run] = attrs.field(factory=list)

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return attrs.asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Results:
        """From `document`."""
        return cls(**{**document, "runs": [Run(**run) for run in document["runs"]]})

    def heading(self) -> str:
        """What ran, in a sentence."""
        return f"{self.backends} database connections, rdsp {self.rdsp}, {self.day}."

    def summary(self) -> str:
        """A table of the scores, in Markdown."""
        lines = ["| suite | target | mode | passed | seconds |", "|---|---|---|---|---|"]
        lines += [f"| {run.suite} | {run.target} | {run.mode} | {run.score} | {run.seconds:.0f} |" for run in self.runs]
        return "\n".join(lines) + "\n"

    def pins(self) -> str:
        """A table of the proxy's pins, in Markdown."""
        runs = [run for run in self.runs if run.target == "rdsp"]
        reasons = sorted({reason for run in runs for reason in run.pins})
        lines = [f"| pins | {' | '.join(f'{run.suite}, {run.mode}' for run in runs)} |", "|---" * (len(runs) + 1) + "|"]
        lines += [f"| `{reason}` | {' | '.join(str(run.pins.get(reason, 0)) for run in runs)} |" for reason in reasons]
        return "\n".join(lines) + "\n"

    def failures(self, target: str) -> dict[tuple[str, str], dict[str, Run]]:
        """By suite and test, the runs on a target by mode that it did not pass."""
        found: dict[tuple[str, str], dict[str, Run]] = {}
        for run in self.runs:
            if run.target == target:
                for name in run.bad:
                    found.setdefault((run.suite, name), {})[run.mode] = run
        return found

    def table(self, target: str, reasons: Mapping[tuple[str, str], str] | None = None) -> str:
        """Every test that this target does not pass, where, and (with `reasons` by suite and test) why; in Markdown."""
        lines = []
        for (suite, name), runs in self.failures(target).items():
            shown = next((run.differences[name] for run in runs.values() if name in run.differences), "")
            where = ", ".join(mode if run.bad[name] == FAILED else f"{mode} ({NOT_RUN})" for mode, run in runs.items())
            cells = [suite, f"`{name}`", where, _code(shown)]
            if reasons is not None:
                cells.append(reasons.get((suite, name), "not known yet"))
            lines.append(f"| {' | '.join(cells)} |\n")
        if not lines:
            return "None.\n"
        why, rule = ("", "") if reasons is None else (" why |", "---|")
        return f"| suite | test | in mode | first difference |{why}\n|---|---|---|---|{rule}\n" + "".join(lines)


def _code(text: str) -> str:
    """As code inside a table's cell."""
    shortened = text if len(text) <= 160 else text[:157] + "..."
    escaped = shortened.replace("`", "'").replace("|", "\\|")
    return f"`{escaped}`" if escaped else ""
