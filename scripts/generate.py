"""Write the reference pages that are made from the program's own tables, or check that they are fresh.

scripts/generate.py --write | --check
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import click

from rdsp.cli.main import cli
from rdsp.config.reference import json_schema, markdown
from rdsp.errors import all_errors
from rdsp_codecs.mysql.refuse import TEXTS as OF_MYSQL
from rdsp_codecs.pins import PIN_TABLE
from rdsp_codecs.postgres.refuse import TEXTS
from rdsp_codecs.problems import ProblemCode
from rdsp_codecs.testing import CHECKS

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "docs" / "reference"


def _generated(source: str) -> str:
    return f"<!-- Made from {source} by `make generate`. Do not edit. -->\n\n"


def pin_reasons() -> str:
    """One section per reason."""
    parts = [
        _generated("rdsp_codecs/pins.py"),
        "# Pin reasons\n\n",
        "A pinned session keeps its database connection, until what pins it is gone or until it ends. Each pin is "
        "logged with its reason and a digest of the statement (never its literals, unless `debug_logging` is on).\n",
    ]
    for reason, facts in PIN_TABLE.items():
        parts.append(
            f"\n## `{reason.value}`\n\n{facts.title}\n\n"
            f"- engines: {', '.join(facts.engines)}\n- until: {facts.until.value}\n- what to do: {facts.advice}\n"
        )
    return "".join(parts)


def errors() -> str:
    """What a client can be told, and the tree behind it."""
    parts = [
        _generated(
            "rdsp_codecs/problems.py, refuse.py of rdsp_codecs/postgres and rdsp_codecs/mysql, and rdsp/errors.py"
        ),
        "# Errors\n\n## What a client is told\n\n",
        "| code | PostgreSQL | text |\n|---|---|---|\n",
    ]
    parts += [
        f"| `{code.value}` | `{TEXTS[code][0]}` | {TEXTS[code][1].replace('{}', '…')} |\n" for code in ProblemCode
    ]
    parts.append("\n| code | MySQL, MariaDB | SQLSTATE | text |\n|---|---|---|---|\n")
    parts += [
        f"| `{code.value}` | `{number}` | `{state}` | {text.replace('{}', '…')} |\n"
        for code, (number, state, text) in ((code, OF_MYSQL[code]) for code in ProblemCode)
    ]
    parts.append("\n## Whose fault, and whether a retry may help\n\n| code | blame | retry |\n|---|---|---|\n")
    parts += [
        f"| `{error.code}` | {error.blame.value} | {'may help' if error.retryable else 'no'} |\n"
        for error in sorted(all_errors(), key=lambda one: one.code)
    ]
    return "".join(parts)


def command_line() -> str:
    """Every command's own help."""
    parts = [_generated("rdsp/cli"), "# Command line\n"]

    def add(command: click.Command, words: list[str]) -> None:
        with click.Context(command, info_name=" ".join(words)) as context:
            parts.append(f"\n## `{' '.join(words)}`\n\n```text\n{command.get_help(context)}\n```\n")
        if isinstance(command, click.Group):
            for name in sorted(command.commands):
                add(command.commands[name], [*words, name])

    add(cli, ["rdsp"])
    return "".join(parts)


def regression_suite() -> str:
    """The score in PostgreSQL's own tests."""
    sys.path.insert(0, str(ROOT))  # tests are not installed
    page = importlib.import_module("tests.regress.page")
    return _generated("tests/regress/kept-*.json and reasons.toml") + str(page.markdown())


def codec_kit() -> str:
    """What each check of the kit looks for."""
    parts = [
        _generated("rdsp_codecs/testing/checks.py"),
        "# The kit for engines\n\n`rdsp_codecs.testing` puts any engine's codec through these checks: "
        "`check_codec(codec, wire)` all of them, `codec_checks(codec, wire)` as parameters of a test. "
        "[How to use it](../tutorial/write-an-engine-codec.md).\n\n| check | what holds |\n|---|---|\n",
    ]
    parts += [f"| `{name}` | {' '.join((check.__doc__ or '').split())} |\n" for name, check in CHECKS.items()]
    return "".join(parts)


PAGES: dict[str, Callable[[], str]] = {
    "pin-reasons.md": pin_reasons,
    "errors.md": errors,
    "cli.md": command_line,
    "codec-kit.md": codec_kit,
    "configuration.md": lambda: _generated("rdsp/config/model.py") + markdown(),
    "regression-suite.md": regression_suite,
    "rdsp-config.schema.json": lambda: json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n",
}


def main() -> int:
    """Exit status 1 when a page is stale."""
    if sys.argv[1:] not in (["--write"], ["--check"]):
        print(__doc__)
        return 2
    stale = []
    for name, make in PAGES.items():
        path, text = FOLDER / name, make()
        if "--write" in sys.argv:
            FOLDER.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(name)
    if stale:
        print(f"stale: {', '.join(stale)} in docs/reference; run: make generate", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
