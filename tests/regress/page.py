"""The page of the documentation that is made of the last run that was kept. `make generate` calls it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from tests.regress.results import Results

_HERE = Path(__file__).parent
KEPT = _HERE / "kept.json"
REASONS = _HERE / "reasons.toml"


def reasons() -> dict[tuple[str, str], str]:
    """Why a test does not pass, by suite and name."""
    document = tomllib.loads(REASONS.read_text())
    return {(suite, name): why for suite, found in document.items() for name, why in found.items()}


def markdown() -> str:
    """The page, without its first line."""
    results = Results.of(json.loads(KEPT.read_text()))
    parts = [
        "# Score in PostgreSQL's own tests\n\n",
        "What was run, and how to run it: [PostgreSQL's own tests](../explanation/regression-suite.md). ",
        f"PostgreSQL {results.postgres}, {results.backends} database connections, rdsp {results.rdsp}, {results.day}.\n\n",
        results.summary(),
    ]
    for target in dict.fromkeys(run.target for run in results.runs):
        parts.append(f"\n## Not passed: {target}\n\n{results.table(target, reasons() if target == 'rdsp' else None)}")
    parts.append(
        "\n## Pins\n\nHow often a session was pinned, by [reason](pin-reasons.md). A session can have several.\n\n"
        + results.pins()
    )
    return "".join(parts)
