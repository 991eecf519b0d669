"""The proxy as a process of its own, as a user runs it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from tests.servers.leftovers import forget, watch
from tests.waiting import PATIENCE


class ProxyProcess:
    """`rdsp run` as a subprocess on a free port; use it as a context manager.

    Args:
        arguments: what follows `rdsp run`.
    """

    def __init__(self, *arguments: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="rdsp-proxy-")
        self._log_path = Path(self._folder.name) / "log"
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rdsp", "run", *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        watch(self.process.pid, signal.SIGKILL, self._folder.name)
        self.ports: list[int] = []
        self._output: list[str] = []
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    def for_target(cls, target: str, *more: str) -> ProxyProcess:
        """By command line alone."""
        return cls("--target", target, "--listen", "127.0.0.1:0", *more)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for raw in self.process.stdout:
            line = raw.decode()
            self._output.append(line)
            found = re.search(r"ready on \S+:(\d+)", line)
            if found:
                self.ports.append(int(found.group(1)))
                self._ready.set()
        self._ready.set()

    @property
    def port(self) -> int:
        """Where the first proxy listens."""
        assert self._ready.wait(PATIENCE), "the proxy is not ready"
        assert self.ports, f"the proxy did not start:\n{self.log()}"
        return self.ports[0]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def log(self) -> str:
        """Everything it has logged."""
        return "".join(self._output) + self._log_path.read_text(errors="replace")

    def wait_for_log(self, text: str, seconds: float = PATIENCE) -> None:
        """Return when the log contains `text`."""
        deadline = time.monotonic() + seconds
        while text not in self.log():
            assert time.monotonic() < deadline, f"{text!r} was not logged:\n{self.log()[-4000:]}"
            time.sleep(0.01)

    def tell(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, seconds: float = 40.0) -> int:
        """End it and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
                raise
        forget(self.process.pid)
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.returncode

    def discard(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """End it, however it ended, and delete what it left. Returns its exit status and its log."""
        status = self.stop(number)
        log = self.log()
        self._folder.cleanup()
        return status, log

    def __enter__(self) -> ProxyProcess:
        assert self.port
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.stop()
        log = self.log()
        self._folder.cleanup()
        assert "Traceback" not in log, log
        assert "internal error" not in log, log
