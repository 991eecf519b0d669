"""The list of modules that are compiled (`tool.rdsp.compiled`): what mypyc accepts, and what then does not work."""

from __future__ import annotations

import importlib
import inspect
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
COMPILED: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["rdsp"]["compiled"]


@pytest.mark.parametrize("name", COMPILED)
def test_no_class_stands_between_two_that_are_compiled(name: str) -> None:
    """Its attributes would not be found: those of a compiled class have their places by what it derives from."""
    for found in vars(importlib.import_module(name)).values():
        if not inspect.isclass(found) or found.__module__ != name:
            continue
        bases = [base for base in found.__mro__[1:] if base.__module__.startswith("rdsp")]
        written = [base for base in bases if base.__module__ not in COMPILED]
        between = [base for base in written if any(above.__module__ in COMPILED for above in base.__mro__[1:])]
        assert not between, f"{found.__name__} derives from {between[0]}, which is to be compiled, too"


def test_the_list_is_in_order() -> None:
    codecs = [name for name in COMPILED if name.startswith("rdsp_codecs.")]
    assert len(set(COMPILED)) == len(COMPILED)
    assert codecs == sorted(codecs, key=lambda name: (name.count("."), name))
