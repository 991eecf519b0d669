"""What the suites run against: a fresh private server, and the proxy or PgBouncer in front of it.

Everything has its own folder and a free port, is stopped by its own process id, and lives for one run only: what one
run leaves in the database must not help or hurt the next.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs

from benchmarks.targets import NotInstalled, first_line, unstable_pgbouncer
from rdsp.demo.postgres import Postgres, free_port
from tests.servers.proxy import ProxyProcess

USER, PASSWORD = "postgres", "regress-password"
SETTINGS = {
    # As pg_regress sets them for a server of its own.
    "max_prepared_transactions": "2",
    "max_connections": "100",
    "synchronous_commit": "on",  # one of the tests wants it so
    # A pooler that leaks a transaction or a lock must fail tests, not stop the run.
    "lock_timeout": "'8s'",
    "idle_in_transaction_session_timeout": "'20s'",
}
DATABASE_SETTINGS = (
    *(f"lc_{kind} TO 'C'" for kind in ("messages", "monetary", "numeric", "time")),
    "bytea_output TO 'hex'",
    "timezone_abbreviations TO 'Default'",
)
"""What pg_regress sets on a database that it makes itself (`create_database` in pg_regress.c)."""
_START_SECONDS = 20.0
_PINNED = re.compile(r"was pinned to .* reason=(\w+)")


class NotThere(Exception):
    """Something that the suites need is missing; the text says what."""


@attrs.frozen
class Tree:
    """PostgreSQL's sources, a build of them with the test programs, and the installation's `bin`.

    Raises `NotThere` when it is not complete.
    """

    sources: Path
    build: Path
    binaries: Path

    def __attrs_post_init__(self) -> None:
        for needed in (
            self.sources / "src/test/regress/parallel_schedule",
            self.build / "src/test/regress/pg_regress",
            self.build / "src/test/regress/regress.so",
            self.binaries / "postgres",
            self.binaries / "psql",
        ):
            if not needed.exists():
                raise NotThere(f"{needed} does not exist")

    @property
    def version(self) -> str:
        """What psql says it is: "16.2"."""
        said = subprocess.run([self.binaries / "psql", "--version"], capture_output=True, text=True, check=True)
        return said.stdout.split()[2]


@attrs.define(eq=False)
class Target:
    """Something to connect to, and the server behind it.

    Attributes:
        folder: of this run, the server's user's.
        faults: what the proxy logged that it never should; known when the run is over.
        pins: how often it has pinned, by reason; likewise.
    """

    name: str
    port: int
    server: Postgres
    folder: Path
    binaries: Path
    faults: list[str] = attrs.field(factory=list)
    pins: Counter[str] = attrs.field(factory=Counter)

    def environment(self) -> dict[str, str]:
        """Of a libpq program that connects here: nothing of the caller's own PG variables."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return kept | {"PGPASSWORD": PASSWORD, "PGSSLMODE": "disable", "PGGSSENCMODE": "disable"}

    def connection(self, database: str) -> str:
        """A connection string."""
        return f"host=127.0.0.1 port={self.port} user={USER} password={PASSWORD} dbname={database}"

    def start(
        self, command: Sequence[str | Path], output: Path, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a program as the server's user, with its output in a file and a process group of its own."""
        with output.open("wb") as file:
            return subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=environment or self.environment(),
                start_new_session=True,
                **self.server.identity(),
            )

    def run(
        self, command: Sequence[str | Path], output: Path, seconds: float, environment: dict[str, str] | None = None
    ) -> int | None:
        """`start`, and wait. Returns the exit status; None when time was up, and the process group was killed."""
        process = self.start(command, output, environment)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@contextmanager
def staged(name: str, tree: Tree, backends: int, keep: Path, settings: dict[str, str]) -> Iterator[Target]:
    """A target on a fresh server with an empty database `regression`.

    Args:
        name: "direct", "rdsp" or one of `POOLERS`.
        backends: how many database connections it may have.
        keep: a folder for what should outlive the run, such as the proxy's log.
        settings: of the server, over `SETTINGS`.
    """
    server = Postgres(tree.binaries, settings=SETTINGS | settings, superuser=(USER, PASSWORD))
    try:
        server.start()
        folder = server.folder / "run"
        folder.mkdir()
        _give(folder, server)
        target = Target("direct", server.port, server, folder, tree.binaries)
        make_database(target)
        if name == "rdsp":
            with _rdsp(target, backends, keep) as proxied:
                yield proxied
        elif name in POOLERS:
            with _pgbouncer(target, POOLERS[name](folder), backends, keep) as proxied:
                yield proxied
        else:
            yield target
    finally:
        (keep / "server.log").write_text(server.log())
        server.remove()


def _give(path: Path, server: Postgres) -> None:
    """Make the server's user the owner."""
    identity = server.identity()
    if identity:
        os.chown(path, identity["user"], identity["group"])


def make_database(target: Target, name: str = "regression") -> None:
    """What pg_regress would do if it were not told to use what is there."""
    run_sql(target, target.port, "postgres", f'CREATE DATABASE "{name}" TEMPLATE=template0')
    settings = [f'ALTER DATABASE "{name}" SET {setting};' for setting in DATABASE_SETTINGS]
    run_sql(target, target.port, "postgres", "".join(settings))


def run_sql(target: Target, port: int, database: str, sql: str) -> None:
    """Have psql run this. Raises `subprocess.CalledProcessError`."""
    where = f"host=127.0.0.1 port={port} user={USER} dbname={database}"
    command = [str(target.binaries / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", where]
    subprocess.run(
        command, input=sql, check=True, env=target.environment(), stdout=subprocess.PIPE, text=True, timeout=60
    )


@contextmanager
def _rdsp(direct: Target, backends: int, keep: Path) -> Iterator[Target]:
    url = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{direct.port}/postgres"
    proxy = ProxyProcess.for_target(url, "--max-backends", str(backends))
    try:
        target = Target("rdsp", proxy.port, direct.server, direct.folder, direct.binaries)
        yield target
    finally:
        try:
            proxy.stop()
        except subprocess.TimeoutExpired:
            target.faults.append("the proxy did not end when told to")
        log = proxy.log()
        (keep / "proxy.log").write_text(log)
        target.pins.update(_PINNED.findall(log))
        target.faults += [line for line in log.splitlines() if "Traceback" in line or "internal error" in line]


@contextmanager
def _pgbouncer(direct: Target, command: list[str], backends: int, keep: Path) -> Iterator[Target]:
    """PgBouncer in transaction mode. Versions before 1.20 cannot take `options`, and are told to ignore it."""
    version = first_line([*command, "--version"]).removeprefix("PgBouncer ")
    ignored = "extra_float_digits"
    if [int(part) for part in version.split(".")[:2]] < [1, 20]:
        ignored += ",options"
    port = free_port()
    users, config = direct.folder / "users.txt", direct.folder / "pgbouncer.ini"
    users.write_text(f'"{USER}" "{PASSWORD}"\n')
    config.write_text(
        f"[databases]\n* = host=127.0.0.1 port={direct.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {users}\n"
        f"pool_mode = transaction\ndefault_pool_size = {backends}\nmax_client_conn = 500\n"
        f"ignore_startup_parameters = {ignored}\n"
    )
    for path in (users, config):
        _give(path, direct.server)
    with (keep / "proxy.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, str(config)],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=direct.folder,
            **direct.server.identity(),
        )
        target = Target(f"PgBouncer {version}", port, direct.server, direct.folder, direct.binaries)
        try:
            _await(target)
            yield target
        finally:
            process.kill()
            process.wait()


def _installed(_: Path) -> list[str]:
    program = shutil.which("pgbouncer", path="/usr/sbin:" + os.environ.get("PATH", ""))
    if program is None:
        raise NotThere("PgBouncer is not installed")
    return [program]


def _unstable(folder: Path) -> list[str]:
    try:
        return unstable_pgbouncer(folder)
    except NotInstalled as missing:
        raise NotThere(f"the newest PgBouncer: {missing}") from missing


POOLERS: dict[str, Callable[[Path], list[str]]] = {"pgbouncer": _installed, "pgbouncer-unstable": _unstable}
"""The machine's own and Debian unstable's: what makes the command, in a folder of the run's."""


def _await(target: Target) -> None:
    deadline = time.monotonic() + _START_SECONDS
    probe = [str(target.binaries / "psql"), "-X", "-c", "SELECT 1", target.connection("postgres")]
    while subprocess.run(probe, capture_output=True, env=target.environment(), check=False, timeout=30).returncode:
        if time.monotonic() > deadline:
            raise NotThere(f"{target.name} does not answer")
        time.sleep(0.1)
