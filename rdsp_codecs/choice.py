"""Which code runs: the modules as they are written, or the same modules compiled (`make wheel`, `scripts/compile.py`).

Compiled modules stand in a package of their own, `rdsp_compiled`, and are found only when a finder of ours looks there:
so the written ones stay in reach, and `RDSP_SCANNER=python` needs nothing undone. `install` runs before any other
module of `rdsp_codecs` or `rdsp` is imported. It never raises: what is wrong is told by `CHOICE.trouble`, which the
command line reports.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Final

VARIABLE: Final = "RDSP_SCANNER"
PYTHON: Final = "python"
COMPILED: Final = "compiled"
PACKAGE: Final = "rdsp_compiled"
DIGEST_FILE: Final = "sources.txt"
"""In the package: `digest` of the sources that it was made from, and a line of `scripts/compile.py`'s own."""
_SOURCES: Final = ("rdsp_codecs", "rdsp")


class Choice:
    """What was chosen.

    Attributes:
        name: PYTHON or COMPILED.
        trouble: why what `RDSP_SCANNER` asks for cannot be had; "": all is well.
        note: why compiled modules that are there are not used; "": there are none, or they are used.
    """

    def __init__(self, name: str, trouble: str = "", note: str = "") -> None:
        self.name = name
        self.trouble = trouble
        self.note = note


class Finder:
    """Finds the compiled modules, in front of all other finders."""

    def __init__(self, found: Mapping[str, Path]) -> None:
        self.found = found

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        file = self.found.get(name)
        return None if file is None else importlib.util.spec_from_file_location(name, file)


def digest(root: Path) -> str:
    """Of all sources under `root`, which holds both packages; "" when they are not there.

    A compiled module has the constants of others inlined, so that all of them count.
    """
    found = hashlib.sha256()
    files = sorted(file for package in _SOURCES for file in (root / package).rglob("*.py"))
    for file in files:
        found.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes() + b"\0")
    return found.hexdigest() if files else ""


def modules_in(folder: Path) -> dict[str, Path]:
    """The compiled modules in a folder that this Python can load."""
    suffix = EXTENSION_SUFFIXES[0]
    files = sorted(folder.rglob("*" + suffix))
    return {".".join(file.relative_to(folder).parts).removesuffix(suffix): file for file in files}


def choose(wanted: str, folder: Path | None, root: Path) -> tuple[Choice, dict[str, Path]]:
    """What is to run, and the compiled modules if it is they. Pure but for the files that it reads.

    Args:
        wanted: the value of `RDSP_SCANNER`; "" takes what there is.
        folder: the package of compiled modules; None: there is none.
        root: where the sources are.
    """
    if wanted not in ("", PYTHON, COMPILED):
        return Choice(PYTHON, f"{VARIABLE} is {wanted!r}; it may be {PYTHON!r} or {COMPILED!r}"), {}
    if wanted == PYTHON:
        return Choice(PYTHON), {}
    if folder is None:
        why = "no compiled modules are installed"
        return Choice(PYTHON, f"{VARIABLE} is {COMPILED!r}, but {why}" if wanted else ""), {}
    modules, sources, made = modules_in(folder), digest(root), folder / DIGEST_FILE
    why = ""
    if not modules:
        why = "the compiled modules are for another Python"
    elif sources and (not made.exists() or made.read_text().split()[:1] != [sources]):
        why = "the compiled modules were made from other sources"
    if why:
        return Choice(PYTHON, f"{VARIABLE} is {COMPILED!r}, but {why}" if wanted else "", why), {}
    return Choice(COMPILED), modules


def install() -> Choice:
    """Choose by the environment, and have compiled modules imported if it is they."""
    spec = importlib.util.find_spec(PACKAGE)
    places = spec.submodule_search_locations if spec is not None else None
    folder = Path(next(iter(places))) if places else None
    choice, modules = choose(os.environ.get(VARIABLE, ""), folder, Path(__file__).parent.parent)
    if modules:
        sys.meta_path.insert(0, Finder(modules))
    return choice


CHOICE: Final = install()
