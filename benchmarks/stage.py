"""The parts under test: a private PostgreSQL and the poolers, on free ports, stopped by their own ids.

All use the same certificate towards clients, SCRAM-SHA-256 with the same user, no TLS towards the database, at most
`BACKENDS` backends, and log nothing per connection. `benchmarks.targets` starts the poolers.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from benchmarks.targets import BIN, DATABASE, KINDS, PASSWORD, USER, NotInstalled, Place, Target, first_line
from benchmarks.wire import connect, query
from rdsp.demo.postgres import Postgres, free_port
from rdsp.net.tls import self_signed

SERVER_CONNECTIONS = 620
"""`max_connections` of the server: the direct runs with 512 clients need them, the poolers never come near."""
_START_SECONDS = 20.0
_STOP_SECONDS = 15.0


class Stage:
    """Everything that runs. A context manager.

    Args:
        scale: of pgbench's tables.
        wanted: names of the targets to start; "direct" always exists.

    Attributes:
        targets: what runs, by name. missing: of what was wanted and cannot be had, why.
    """

    def __init__(self, scale: int, wanted: tuple[str, ...]) -> None:
        self.scale = scale
        self.targets: dict[str, Target] = {}
        self.missing: dict[str, str] = {}
        self._wanted = wanted
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Stage:
        if not (BIN / "pgbench").exists():
            raise NotInstalled("PostgreSQL 15 is missing: apt-get install postgresql-15")
        self._tls = self_signed(["localhost", "127.0.0.1"])
        self.folder = Path(tempfile.mkdtemp(prefix="rdsp-bench-", dir=fast_folder()))
        self.folder.chmod(0o755)
        self.server = Postgres(
            BIN,
            settings={
                "max_connections": str(SERVER_CONNECTIONS),
                "shared_buffers": "'256MB'",
                "autovacuum": "off",
                # The disk is not what is measured.
                "synchronous_commit": "off",
            },
            superuser=(USER, PASSWORD),
            tls=self._tls,
        )
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stop(self._processes)
        self.server.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        self.server.start()
        direct = Target("direct", self.server.port, 0, first_line([str(BIN / "postgres"), "--version"]))
        self.targets["direct"] = direct
        self._must(direct, "-i", "-q", "-s", str(self.scale))
        with connect(self.server.port, USER, PASSWORD, DATABASE) as sock:
            row = query(sock, f"SELECT rolpassword FROM pg_authid WHERE rolname = '{USER}'")[0]
        # Of the row: two bytes for the number of columns, four for the length.
        self.place = Place(self.folder, self.server.port, row[6:].decode(), self._tls)
        for name in self._wanted:
            if name in KINDS:
                try:
                    self.targets[name], process = self._launch(name)
                except NotInstalled as missing:
                    self.missing[name] = str(missing)
                else:
                    self._processes.append(process)

    def _launch(self, name: str) -> tuple[Target, subprocess.Popen[bytes]]:
        """Start a pooler, and wait until it works. Raises `NotInstalled` or `RuntimeError`."""
        port = free_port()
        process, version, prepared = KINDS[name](self.place, name, port)
        target = Target(name, port, process.pid, version, prepared)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            attempt = self.pgbench(target, "-n", "-t", "1", "-f", str(self.script("SELECT 1;")))
            _, complaints = attempt.communicate(timeout=_START_SECONDS)
            if attempt.returncode == 0:
                return target, process
            if process.poll() is not None or time.monotonic() > deadline:
                stop([process])
                raise RuntimeError(f"{name} does not work: {complaints}")
            time.sleep(0.05)

    @contextlib.contextmanager
    def fresh(self, name: str) -> Iterator[Target]:
        """One more of this target, which nobody has used."""
        target, process = self._launch(name)
        try:
            yield target
        finally:
            stop([process])

    def script(self, text: str) -> Path:
        """A pgbench script with this text."""
        path = self.folder / (re.sub(r"\W+", "-", text)[:40] + ".sql")
        path.write_text(text + "\n")
        return path

    def pgbench(self, target: Target, *arguments: str, tls: bool = False) -> subprocess.Popen[str]:
        """Start pgbench against a target."""
        return subprocess.Popen(
            [str(BIN / "pgbench"), *arguments, DATABASE],
            env={
                **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
                "PGPASSWORD": PASSWORD,
                "PGHOST": "127.0.0.1",
                "PGPORT": str(target.port),
                "PGUSER": USER,
                "PGSSLMODE": "require" if tls else "disable",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
        )

    def _must(self, target: Target, *arguments: str) -> None:
        process = self.pgbench(target, *arguments)
        _, complaints = process.communicate(timeout=120)
        if process.returncode:
            raise RuntimeError(f"pgbench {arguments}: {complaints}")


def fast_folder() -> str | None:
    """Where files live in memory: pgbench writes its log there."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """End processes of ours, by force where they do not end by themselves, and wait for it."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
