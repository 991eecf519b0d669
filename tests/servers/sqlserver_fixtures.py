"""The reference server for SQL Server's protocol as a process of its own, and a fixture for it."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.leftovers import forget, watch
from tests.waiting import PATIENCE

USER, PASSWORD, DATABASE = "app", "pass;word 1", "app"


class SqlServerProcess:
    """`python -m tests.servers.sqlserver` on a free port; use it as a context manager.

    Attributes:
        port: where it listens.
        certificate: PEM, of whom to trust.

    Args:
        arguments: more of its options.
    """

    def __init__(self, *arguments: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="rdsp-sqlserver-")
        self.certificate = Path(self._folder.name) / "ca.crt"
        command = [
            sys.executable,
            "-m",
            "tests.servers.sqlserver",
            "--user",
            f"{USER}:{PASSWORD}",
            "--database",
            DATABASE,
        ]
        options = ["--folder", self._folder.name, "--certificate", str(self.certificate), *arguments]
        self.process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
        )
        watch(self.process.pid, signal.SIGKILL, self._folder.name)
        assert self.process.stdout is not None
        word, number = self.process.stdout.readline().split()
        assert word == "port"
        self.port = int(number)

    def __enter__(self) -> SqlServerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE)
        alive = self.process.poll() is None
        if alive:
            self.process.kill()
            self.process.wait()
        forget(self.process.pid)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._folder.cleanup()
        assert not alive, "the server did not end"
        assert self.process.returncode == 0, "the server had a fault of its own; its standard error has it"


@pytest.fixture(scope="session")
def sqlserver() -> Iterator[SqlServerProcess]:
    """A reference server that lets clients encrypt as they like."""
    with SqlServerProcess() as server:
        yield server
