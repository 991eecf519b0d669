"""Which modules run, the written ones or the compiled ones: as the environment says, and never a mixture."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from rdsp_codecs.choice import COMPILED, DIGEST_FILE, PYTHON, choose, digest
from tests.waiting import PATIENCE

ROOT = Path(__file__).parent.parent.parent
SUFFIX = EXTENSION_SUFFIXES[0]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Sources of two packages."""
    for package in ("rdsp", "rdsp_codecs"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "one.py").write_text("ONE = 1\n")
    return tmp_path


@pytest.fixture
def compiled(root: Path) -> Path:
    """What was compiled from them."""
    folder = root / "build" / "rdsp_compiled"
    (folder / "rdsp_codecs").mkdir(parents=True)
    (folder / "rdsp_codecs" / f"one{SUFFIX}").touch()
    (folder / DIGEST_FILE).write_text(digest(root) + "\nanother line\n")
    return folder


def test_compiled_modules_run_where_they_are(root: Path, compiled: Path) -> None:
    for wanted in ("", COMPILED):
        choice, modules = choose(wanted, compiled, root)
        assert choice.name == COMPILED
        assert not choice.trouble
        assert modules == {"rdsp_codecs.one": compiled / "rdsp_codecs" / f"one{SUFFIX}"}


def test_the_written_ones_run_when_they_are_asked_for(root: Path, compiled: Path) -> None:
    choice, modules = choose(PYTHON, compiled, root)
    assert (choice.name, choice.trouble, choice.note, modules) == (PYTHON, "", "", {})


def test_nothing_compiled_is_no_trouble_unless_it_is_asked_for(root: Path) -> None:
    choice, modules = choose("", None, root)
    assert (choice.name, choice.trouble, choice.note, modules) == (PYTHON, "", "", {})
    choice, modules = choose(COMPILED, None, root)
    assert choice.name == PYTHON
    assert "no compiled modules" in choice.trouble
    assert not modules


def test_what_was_made_from_other_sources_never_runs(root: Path, compiled: Path) -> None:
    (root / "rdsp" / "one.py").write_text("ONE = 2\n")
    choice, modules = choose("", compiled, root)
    assert choice.name == PYTHON
    assert "other sources" in choice.note
    assert not choice.trouble
    assert not modules
    assert "other sources" in choose(COMPILED, compiled, root)[0].trouble


def test_what_was_made_for_another_python_never_runs(root: Path, compiled: Path) -> None:
    one = compiled / "rdsp_codecs" / f"one{SUFFIX}"
    one.rename(one.with_name("one.cpython-30-x86_64-linux-gnu.so"))
    choice, modules = choose("", compiled, root)
    assert choice.name == PYTHON
    assert "another Python" in choice.note
    assert not modules


def test_a_word_that_is_no_choice_is_told(root: Path, compiled: Path) -> None:
    choice, modules = choose("cython", compiled, root)
    assert "'cython'" in choice.trouble
    assert not modules


def rdsp(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in ("RDSP_SCANNER", "PYTHONPATH")}
    return subprocess.run(
        [sys.executable, "-m", "rdsp", *arguments],
        env={**inherited, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_the_command_says_which_run_and_refuses_what_cannot_be_had() -> None:
    assert rdsp("--version", RDSP_SCANNER=PYTHON).stdout.endswith("(python)\n")
    refused = rdsp("engines", RDSP_SCANNER="fast")
    assert refused.returncode == 2
    assert refused.stderr == "rdsp: RDSP_SCANNER is 'fast'; it may be 'python' or 'compiled'\n"
