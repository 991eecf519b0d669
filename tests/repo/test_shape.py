"""The shape of the repository: what reviews should not have to look for."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from rdsp.config.load import load
from rdsp_codecs.pins import PIN_TABLE, PinReason
from rdsp_codecs.problems import ProblemCode

ROOT = Path(__file__).parent.parent.parent
ENGINE_FILES = {"framing", "messages", "greet", "login", "relay", "session_state", "statements", "upkeep", "refuse"}
LATE_IMPORTS = {
    "rdsp/cli/main.py": "the runtime and the demo are loaded only by the commands that need them",
    "rdsp_codecs/registry.py": "engines are loaded when the configuration names them",
}
MAX_LINES, MAX_FUNCTION = 500, 80


def _tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


TRACKED = _tracked()
PYTHON = [path for path in TRACKED if path.suffix == ".py"]
PACKAGES = [path for path in PYTHON if path.relative_to(ROOT).parts[0] in ("rdsp", "rdsp_codecs")]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PYTHON, ids=_name)
def test_no_file_is_longer_than_it_may_be(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("path", PACKAGES, ids=_name)
def test_functions_are_short_and_modules_say_what_they_are(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "a module says what it is"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno <= MAX_FUNCTION, node.name


@pytest.mark.parametrize("path", PACKAGES, ids=_name)
def test_imports_stand_at_the_top(path: Path) -> None:
    if _name(path) in LATE_IMPORTS:
        return
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            late = [inner for inner in ast.walk(node) if isinstance(inner, ast.Import | ast.ImportFrom)]
            assert not late, f"{node.name} imports late"


def test_every_engine_has_the_same_files() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = project["entry-points"]["rdsp.codecs"].values()
    engines = [ROOT / one.partition(":")[0].replace(".", "/") for one in named]
    assert engines
    for engine in engines:
        assert {path.stem for path in engine.glob("*.py")} >= ENGINE_FILES, engine.name


def test_nothing_names_a_machine() -> None:
    """No absolute path of whoever wrote it, and no registry's host."""
    forbidden = re.compile(
        r"(?<![\w.$])/(?:work|root|home/\w+)/|\b(?:pypi\.org|deb\.debian\.org|registry\.npmjs\.org)\b"
    )
    for path in TRACKED:
        if path.suffix in (".py", ".md", ".toml", ".sh", "") and path != Path(__file__):
            found = forbidden.search(path.read_text(errors="ignore"))
            assert found is None, f"{_name(path)}: {found}"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_every_example_is_a_configuration(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = path.read_text()
    for name in re.findall(r"\$\{(\w+)\}", text):
        monkeypatch.setenv(name, "value")
    # Files that an example names are the user's own.
    for quoted in re.findall(r'(?:certificate|private_key|tls_ca|secrets_folder) = "([^"]+)"', text):
        named = tmp_path / Path(quoted).name
        if "secrets_folder" in text and f'secrets_folder = "{quoted}"' in text:
            named.mkdir(exist_ok=True)
        else:
            named.touch()
        text = text.replace(quoted, str(named))
    copy = tmp_path / path.name
    copy.write_text(text)

    assert load(copy).proxies


def test_there_are_examples() -> None:
    assert list((ROOT / "examples").glob("*.toml"))


def test_every_pin_reason_has_its_row() -> None:
    assert set(PIN_TABLE) == set(PinReason)
    for facts in PIN_TABLE.values():
        assert facts.title.endswith(".")
        assert facts.advice


def test_every_problem_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text()
    for code in ProblemCode:
        assert f"`{code.value}`" in page


def test_the_readmes_commands_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"`?make ([a-z-]+)", readme))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_no_test_kills_by_name_or_sleeps_through() -> None:
    for path in PYTHON:
        if path != Path(__file__):
            text = path.read_text()
            assert not re.search(r"\b(?:pkill|killall)\b", text), _name(path)
