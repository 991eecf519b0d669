"""What the Python programs share: parts, and the transcript that they write.

A program is a list of parts. Each opens its own connections, and says what it sees, one line each; the lines must be the
same whoever the program talks to: no process ids, object ids or times of day. libpq's variables say where the server is,
`MATRIX_SCHEMA` which schema is the program's own, `MATRIX_CA` (if set) whose certificates to trust.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

SCHEMA = os.environ.get("MATRIX_SCHEMA", "public")
CA = os.environ.get("MATRIX_CA", "")
HOST, PORT = os.environ.get("PGHOST", "127.0.0.1"), int(os.environ.get("PGPORT", "5432"))
USER, PASSWORD = os.environ.get("PGUSER", ""), os.environ.get("PGPASSWORD", "")
DATABASE = os.environ.get("PGDATABASE", "")
LONGEST = 2000

Part = Callable[[], None] | Callable[[], Awaitable[None]]
_parts: list[tuple[str, Part]] = []
_crowds: list[tuple[str, Part]] = []


def part(function: Part) -> Part:
    """A part of the program; its name is the function's."""
    _parts.append((function.__name__, function))
    return function


def crowd(function: Part) -> Part:
    """A part several of whose sessions may be pinned at once: run by `--crowds`, where there are backends for all."""
    _crowds.append((function.__name__, function))
    return function


def say(*values: Any) -> None:
    """Write one line of the transcript."""
    line = " ".join(value if isinstance(value, str) else repr(value) for value in values)
    if len(line) > LONGEST:
        line = f"{line[:LONGEST]}... {len(line)}"
    print(line.replace("\n", "\\n"), flush=True)


def described(error: BaseException) -> str:
    """An error as a line: its class, SQLSTATE and text, and what caused it."""
    state = getattr(error, "sqlstate", None)
    return f"{type(error).__name__} {state} {error}"


def main() -> None:
    """Run the parts that the command line names, or all. Ends with status 1 at the first fault of the program."""
    wanted = [word for word in sys.argv[1:] if word != "--crowds"]
    for name, function in _crowds if "--crowds" in sys.argv else _parts:
        if wanted and name not in wanted:
            continue
        say(f"## {name}")
        try:
            made = function()
            if made is not None:
                asyncio.run(made)
        except BaseException:
            say(f"!! {name} ended with {traceback.format_exc()}")
            traceback.print_exc()
            sys.exit(1)
    say("## end")
