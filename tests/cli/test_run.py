"""`rdsp run` as a process of its own: it comes up, follows its signals, and says why it cannot.

The target is a port where nothing listens: the proxy must come up without its database.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.waiting import PATIENCE as LIMIT

TARGET = "postgresql://app:hunter2@127.0.0.1:1/shop"
READY = re.compile(r'rdsp: proxy "(\S+)" is ready on 127\.0\.0\.1:(\d+) ')


class Running:
    """A proxy's process. Its output is collected by threads, so that no pipe fills up."""

    def __init__(self, *arguments: str | Path) -> None:
        command = [sys.executable, "-m", "rdsp", "run", *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._lines: dict[str, list[str]] = {"stdout": [], "stderr": []}
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._collect, args=(name,)) for name in self._lines]
        for thread in self._threads:
            thread.start()

    def _collect(self, name: str) -> None:
        for line in getattr(self.process, name):
            with self._changed:
                self._lines[name].append(line)
                self._changed.notify_all()

    def wait_for(self, name: str, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """The first line of an output with the pattern in it."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: next(filter(None, (re.search(pattern, line) for line in self._lines[name])), None), LIMIT
            )
        assert found, f"no {pattern!r} in {self._lines}"
        return found

    def end(self) -> tuple[int, str, str]:
        """Exit status and both outputs."""
        status = self.process.wait(LIMIT)
        for thread in self._threads:
            thread.join(LIMIT)
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return status, "".join(self._lines["stdout"]), "".join(self._lines["stderr"])


@contextmanager
def running(*arguments: str | Path) -> Iterator[Running]:
    proxy = Running(*arguments)
    try:
        yield proxy
    finally:
        if proxy.process.poll() is None:
            proxy.process.kill()
        proxy.end()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_comes_up_without_its_database_and_ends_with_status_0(ending: signal.Signals) -> None:
    with running("--target", TARGET, "--listen", "127.0.0.1:0", "--max-backends", "5") as proxy:
        port = int(proxy.wait_for("stdout", READY)[2])
        socket.create_connection(("127.0.0.1", port), LIMIT).close()
        proxy.process.send_signal(ending)
        status, out, err = proxy.end()
    assert (status, "Traceback" in err) == (0, False)
    assert "hunter2" not in out + err


def test_a_reload_with_a_broken_file_is_told_and_the_proxy_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "rdsp.toml"
    good = f"[[proxies]]\nname = 'a'\nlisten = '127.0.0.1:0'\ntarget.url = '{TARGET}'\n"
    file.write_text(good)
    with running(file) as proxy:
        port = int(proxy.wait_for("stdout", READY)[2])
        file.write_text(good + "idle_client_timeout = 0\n")
        proxy.process.send_signal(signal.SIGHUP)
        proxy.wait_for("stderr", r"proxies\[0\]\.idle_client_timeout: 0 is not in 1\.\.28800 seconds")
        socket.create_connection(("127.0.0.1", port), LIMIT).close()
        proxy.process.send_signal(signal.SIGTERM)
        status, out, err = proxy.end()
    assert status == 0
    assert "hunter2" not in out + err


def test_an_address_in_use_is_one_line_and_status_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running("--target", TARGET, "--listen", f"127.0.0.1:{port}") as proxy:
            status, out, err = proxy.end()
    assert (status, out) == (1, "")
    (line,) = err.splitlines()
    assert line.startswith("rdsp: ")
    assert "in use" in line


def test_a_certificate_that_is_none_is_one_line_and_status_2(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("no PEM")
    file = tmp_path / "rdsp.toml"
    file.write_text(
        f"[[proxies]]\nlisten = '127.0.0.1:0'\ntarget.url = '{TARGET}'\n"
        "tls = {certificate = 'cert.pem', private_key = 'key.pem'}\n"
    )
    with running(file) as proxy:
        status, out, err = proxy.end()
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert "tls" in err


def test_a_bad_file_starts_nothing(tmp_path: Path) -> None:
    file = tmp_path / "rdsp.toml"
    file.write_text("[[proxies]]\nlisten = 'x'\n")
    with running(file) as proxy:
        status, out, err = proxy.end()
    assert (status, out) == (2, "")
    assert err.splitlines() == [
        f'{file}: proxies[0].listen: "x": expected "HOST:PORT", "[IPV6]:PORT", a port, "unix:/DIRECTORY:PORT" or "unix:/FILE"',
        f"{file}: proxies[0].target: missing; give url, or host and what goes with it",
    ]
