"""`rdsp engines` with packages of strangers really on the path: what is broken is named, and harms nothing else."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rdsp.cli.main import BAD_CONFIG, FAILED
from tests.cli.test_run import READY, TARGET, running
from tests.waiting import PATIENCE as LIMIT

Put = Callable[..., None]

GOOD = """
from rdsp_codecs.postgres import PostgresCodec
class Codec(PostgresCodec):
    name = "{0}"
    schemes = ("{0}",)
CODEC = Codec()
"""
BROKEN = {
    "older": GOOD + "Codec.api = 0\n",
    "lacking": GOOD + "Codec.relay = Codec.refuse = None\n",
    "importing": "import a_package_that_is_not_there\n",
    "ungrammatical": "def\n",
    "leaving": "import sys\nsys.exit('I have to go')\n",
    "misnamed": GOOD.replace('name = "{0}"', 'name = "other"'),
    "empty": "",
}
SAID = {
    "older": 'the engine "older" (older_engine:CODEC) is for API 0, this is API 1',
    "lacking": 'the engine "lacking" (lacking_engine:CODEC) lacks or has of a wrong type: refuse, relay',
    "importing": "cannot be loaded: ModuleNotFoundError: No module named 'a_package_that_is_not_there'",
    "ungrammatical": "cannot be loaded: SyntaxError: invalid syntax (ungrammatical_engine.py, line 1)",
    "leaving": "cannot be loaded: SystemExit: I have to go",
    "misnamed": 'the engine "misnamed" (misnamed_engine:CODEC) calls itself "other"',
    "empty": "cannot be loaded: AttributeError: module 'empty_engine' has no attribute 'CODEC'",
}


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Install a package as pip would: a module, and its metadata beside it. `rdsp` then runs with it."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")])))

    def do(name: str, text: str, *, engine: str = "", metadata: str | None = None) -> None:
        (site / f"{name}_engine.py").write_text(text.format(engine or name))
        info = site / f"{name}_database-1.2.dist-info"
        info.mkdir()
        if metadata is None:
            metadata = f"Metadata-Version: 2.1\nName: {name}-database\nVersion: 1.2\n"
        (info / "METADATA").write_text(metadata)
        (info / "entry_points.txt").write_text(f"[rdsp.codecs]\n{engine or name} = {name}_engine:CODEC\n")

    return do


def engines() -> tuple[int, dict[str, list[str]], list[str]]:
    """Exit status, the table's rows by name, and the lines on stderr."""
    command = [sys.executable, "-m", "rdsp", "engines"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    rows = [line.split() for line in done.stdout.splitlines()]
    return done.returncode, {row[0]: row[1:] for row in rows}, done.stderr.splitlines()


def test_engines_are_listed_with_api_version_and_origin(put: Put) -> None:
    put("toy", GOOD)
    status, rows, said = engines()
    assert (status, said) == (0, [])
    assert rows["ENGINE"] == ["API", "VERSION", "FROM", "FAMILY", "URL", "SCHEMES", "PORT"]
    assert rows["toy"] == ["1", "1.2", "toy-database", "POSTGRESQL", "toy", "5432"]
    assert rows["postgres"][2:5] == ["built", "in", "POSTGRESQL"]
    assert rows["mysql"][2:] == ["built", "in", "MYSQL", "mysql", "3306"]
    assert rows["mariadb"][2:] == ["built", "in", "MYSQL", "mariadb", "3306"]


@pytest.mark.parametrize(
    ("text", "engine"),
    [
        ("target.url = 'mysql://app@127.0.0.1/shop'", "mysql"),
        ("target.url = 'mariadb://app@127.0.0.1/shop'", "mariadb"),
        ("engine_family = 'MYSQL'\ntarget.host = '127.0.0.1'", "mysql"),
        ("engine = 'mariadb'\nengine_family = 'MYSQL'\ntarget.host = '127.0.0.1'", "mariadb"),
    ],
)
def test_a_file_says_in_several_ways_that_the_database_is_mysqls_or_mariadbs(
    tmp_path: Path, text: str, engine: str
) -> None:
    file = tmp_path / "rdsp.toml"
    file.write_text(f"[[proxies]]\nlisten = '127.0.0.1:0'\n{text}\n")
    done = subprocess.run([sys.executable, "-m", "rdsp", "check", file], capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"default ({engine})\n")
    assert "127.0.0.1:3306" in done.stdout


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (
            "mysq://app@h/d",
            'the URL scheme "mysq" (there are: mariadb, mssql, mysql, postgres, postgresql, sqlserver); did you mean "mysql"?',
        ),
        ("mysql+pymysql://app@h/d", 'the URL scheme "mysql+pymysql" (there are: '),
        ("mysql://app@h/d?sslnegotiation=direct", 'the engine "mysql" does not have this'),
        ("mariadb://app:secret@h:0/d", "the port is not in 1..65535"),
    ],
)
def test_a_url_that_no_engine_can_serve_is_told(url: str, said: str) -> None:
    with running("--target", url, "--listen", "127.0.0.1:0") as proxy:
        status, out, errors = proxy.end()
    assert (status, out) == (BAD_CONFIG, "")
    assert said in errors
    assert "secret" not in errors


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_one_is_named_in_one_line_and_the_others_are_listed(put: Put, kind: str) -> None:
    put("toy", GOOD)
    put(kind, BROKEN[kind])
    status, rows, said = engines()
    assert status == FAILED
    (line,) = said
    assert line.startswith(f'rdsp: the engine "{kind}" ({kind}_engine:CODEC) ')
    assert line.endswith(SAID[kind])
    assert set(rows) >= {"postgres", "toy"}
    assert kind not in rows


def test_two_of_one_name_are_both_named_and_neither_is_used(put: Put) -> None:
    put("one", GOOD, engine="twin")
    put("other", GOOD, engine="twin")
    status, rows, said = engines()
    assert status == FAILED
    expected = "one_engine:CODEC of one-database 1.2 and other_engine:CODEC of other-database 1.2"
    assert said == [f'rdsp: two engines are called "twin": {expected}']
    assert "postgres" in rows


def test_one_with_a_name_of_ours_is_named_and_not_used(put: Put) -> None:
    put("false", GOOD, engine="postgres")
    status, rows, (line,) = engines()
    assert status == FAILED
    assert rows["postgres"][2:4] == ["built", "in"]
    assert "false_engine:CODEC of false-database 1.2 is not used" in line


def test_metadata_without_a_name_costs_only_the_name(put: Put) -> None:
    put("toy", GOOD, metadata="")
    status, rows, _ = engines()
    assert status == 0
    assert rows["toy"][:3] == ["1", "-", "toy_engine:CODEC"]


def test_a_proxy_of_another_engine_runs_beside_all_that_are_broken(put: Put, tmp_path: Path) -> None:
    for kind, text in BROKEN.items():
        put(kind, text)
    put("one", GOOD, engine="twin")
    put("other", GOOD, engine="twin")
    file = tmp_path / "rdsp.toml"
    file.write_text(f"[[proxies]]\nlisten = '127.0.0.1:0'\ntarget.url = '{TARGET}'\nengine = 'postgres'\n")
    for arguments in (["--target", TARGET, "--listen", "127.0.0.1:0"], [file]):
        with running(*arguments) as proxy:
            socket.create_connection(("127.0.0.1", int(proxy.wait_for("stdout", READY)[2])), LIMIT).close()
            proxy.process.send_signal(signal.SIGTERM)
            status, _, said = proxy.end()
        assert status == 0
        assert not any(kind in said for kind in [*BROKEN, "twin"])


@pytest.mark.parametrize("kind", BROKEN)
def test_who_asks_for_a_broken_one_is_told_what_is_wrong_with_it(put: Put, kind: str) -> None:
    put(kind, BROKEN[kind])
    target = f"{kind}://app@127.0.0.1:1/shop"
    with running("--target", target, "--listen", "127.0.0.1:0") as proxy:
        status, out, said = proxy.end()
    assert (status, out) == (BAD_CONFIG, "")
    (line,) = said.splitlines()
    assert SAID[kind] in line
