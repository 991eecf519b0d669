"""`Secret`: a text that hides itself, and how one is written in a file (`${NAME}` stands for an environment variable).

Used by the model, the loader and the credentials. Nothing here ever puts a value into an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from rdsp.config.units import BadValue

_VARIABLE: Final = re.compile(r"\$?\$\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)


@attrs.frozen(repr=False)
class Secret:
    """A password. `repr`, `str` and `format` hide it; compare as usual; `value` gives it."""

    value: str

    def __repr__(self) -> str:
        return "Secret(***)"


def is_text(value: str) -> bool:
    """Whether UTF-8 can hold `value`. What came from bytes that are not UTF-8 (an environment variable) it cannot."""
    return not any("\ud800" <= c <= "\udfff" for c in value)


def mentions_variable(text: str) -> bool:
    """Whether `text` has a `${NAME}` that would be replaced."""
    return any(not found[0].startswith("$$") for found in _VARIABLE.finditer(text))


def expand(text: str, environ: Mapping[str, str], literal: Callable[[str], str] = str) -> str:
    """Put environment variables in.

    Args:
        text: as written; `$${NAME}` stands for a literal `${NAME}`.
        environ: where variables come from; their values are taken as they are.
        literal: applied to what stands between them (percent-decoding, in a URL).

    Raises `BadValue` naming the variable that is not set, or not UTF-8.
    """
    out: list[str] = []
    position = 0
    for found in _VARIABLE.finditer(text):
        out.append(literal(text[position : found.start()]))
        position = found.end()
        if found[0].startswith("$$"):
            out.append(found[0][1:])
            continue
        value = environ.get(found[1])
        if value is None:
            raise BadValue(f"the environment variable {found[1]} is not set")
        if not is_text(value):
            raise BadValue(f"the environment variable {found[1]} is not UTF-8 text")
        out.append(value)
    out.append(literal(text[position:]))
    return "".join(out)
