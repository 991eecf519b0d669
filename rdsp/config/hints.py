"""What somebody who wrote an unknown key may have meant. Pure; called by the loader."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from typing import Any, Final

from rdsp.config.model import Config, settings, tables

_HUMP: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def unknown_key(model: type[Any], key: str) -> str:
    """The text of a fault: the right name, or the right table, or only that the key is unknown."""
    wanted = _HUMP.sub("_", key).lower().replace("-", "_")
    here = [*settings(model), *tables(model)]
    for where, other in all_tables():
        for name, about in settings(other).items():
            if key == about.rds or wanted == name:
                return f'unknown key; did you mean "{name}"' + ("?" if other is model else f" in {where}?")
    near = difflib.get_close_matches(wanted, here, n=1)
    if near:
        return f'unknown key; did you mean "{near[0]}"?'
    elsewhere = {name: where for where, other in all_tables() for name in settings(other)}
    near = difflib.get_close_matches(wanted, elsewhere, n=1, cutoff=0.8)
    return f'unknown key; did you mean "{near[0]}" in {elsewhere[near[0]]}?' if near else "unknown key"


def all_tables(model: type[Any] = Config, path: str = "") -> Iterator[tuple[str, type[Any]]]:
    """Every table as a file writes its head, with its class: `[proxies.target]`; the file itself: "the top level"."""
    if not path:
        yield "the top level", model
    for key, table in tables(model).items():
        inner = f"{path}.{key}" if path else key
        yield (f"[[{inner}]]" if table.many else f"[{inner}]"), table.model
        yield from all_tables(table.model, inner)
