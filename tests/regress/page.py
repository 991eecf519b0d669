"""The page of the documentation that is made of the runs that were kept. `make generate` calls it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from tests.regress.results import Results

_HERE = Path(__file__).parent
KEPT = tuple(sorted(_HERE.glob("kept-*.json")))
"""One file per major version."""
_PINS = "How often a session was pinned, by [reason](pin-reasons.md). A session can have several.\n\n"
REASONS = _HERE / "reasons.toml"


def reasons() -> dict[tuple[str, str], str]:
    """Why a test does not pass, by suite and name."""
    document = tomllib.loads(REASONS.read_text())
    return {(suite, name): why for suite, found in document.items() for name, why in found.items()}


def kept() -> list[Results]:
    """The kept runs, the oldest version of PostgreSQL first."""
    return [Results.of(json.loads(path.read_text())) for path in KEPT]


def markdown() -> str:
    """The page, without its first line."""
    parts = [
        "# Score in PostgreSQL's own tests\n\n",
        "What was run, and how to run it: [PostgreSQL's own tests](../explanation/regression-suite.md).\n",
    ]
    for results in kept():
        parts += [f"\n## PostgreSQL {results.postgres}\n\n", results.heading() + "\n\n", results.summary()]
        for target in ("direct", "rdsp"):
            why = reasons() if target == "rdsp" else None
            parts.append(f"\n### {results.postgres}, not passed: {target}\n\n{results.table(target, why)}")
        parts += [f"\n### {results.postgres}, pins\n\n", _PINS, results.pins()]
    return "".join(parts)
