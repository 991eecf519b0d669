"""Start a private MySQL or MariaDB server: own data directory, own port, stopped by its own process id.

The tests run several installations by the same class. Everything here blocks: call it before the event loop runs, or
in a thread.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import attrs

from rdsp.demo.postgres import NotInstalled, free_port

_START_SECONDS: Final = 120.0
_PORTS: Final = 3
_BOOTSTRAP: Final = ("system_tables", "performance_tables", "system_tables_data")
"""What mariadb-install-db feeds to a new server, but for its help texts and views."""
_DEBIAN: Final = Path("/usr/sbin/mariadbd")
_MISSING: Final = {
    "mariadbd": "no MariaDB server ({path}); on Debian: apt-get install mariadb-server-core, or say where one is by "
    "--server PROGRAM",
    "mysqld": "no MySQL server ({path}); install MySQL 8.0 or newer, or say where one is by --server PROGRAM; "
    "in a clone `make demo ENGINE=mysql` fetches one",
}


@attrs.frozen
class Installation:
    """The programs of one server.

    Attributes:
        program: the command that runs the server.
        base: its `--basedir`.
        mariadb: it is MariaDB.
        scripts: the folder of the SQL scripts that make MariaDB's system tables.
        plugins: a folder of plugins that is not the installation's own.
        template: a data directory to begin with; None: the server makes one.
        environment: variables that the server needs.
    """

    program: tuple[str | Path, ...]
    base: Path
    mariadb: bool
    scripts: Path | None = None
    plugins: Path | None = None
    template: Path | None = None
    environment: Mapping[str, str] = attrs.field(factory=dict)


def debian_mariadb(plugins: Path | None = None) -> Installation:
    """MariaDB as Debian's package mariadb-server-core installs it. Raises `NotInstalled`.

    Args:
        plugins: the folder with those of the package mariadb-server, where that is not installed itself.
    """
    if not _DEBIAN.exists():
        raise NotInstalled("MariaDB is missing: apt-get install mariadb-server-core")
    if plugins is not None and not plugins.exists():
        plugins = None
    return Installation((_DEBIAN,), Path("/usr"), mariadb=True, scripts=Path("/usr/share/mysql"), plugins=plugins)


def found(program: str, path: Path | None = None) -> Installation:
    """A server that is installed on this machine. Raises `NotInstalled`, with what to install.

    Args:
        program: mysqld or mariadbd.
        path: where it is; None: on PATH, or where Debian's packages put it.
    """
    mariadb = program == "mariadbd"
    if path is None:
        path = Path(shutil.which(program) or _DEBIAN.with_name(program))
    # MariaDB's packages bring a mysqld, too, which is MariaDB.
    if not path.is_file() or _kind(path) != program:
        raise NotInstalled(_MISSING[program].format(path=path))
    base = path.resolve().parent.parent
    if not mariadb:
        return Installation((path,), base, mariadb=False)
    for folder in (base / "share/mariadb", base / "share/mysql"):
        if any((folder / f"{prefix}_system_tables.sql").exists() for prefix in ("mariadb", "mysql")):
            return Installation((path,), base, mariadb=True, scripts=folder)
    msg = f"MariaDB's SQL scripts are missing beside {path}: apt-get install mariadb-server-core"
    raise NotInstalled(msg)


def _kind(program: Path) -> str:
    """What a program is by its own words: mysqld, mariadbd, or "" for something else."""
    try:
        done = subprocess.run(
            [program, "--no-defaults", "--version"], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    if "MariaDB" in done.stdout:
        return "mariadbd"
    return "mysqld" if re.search(r"\bVer [0-9]", done.stdout) else ""


def unpacked(root: Path, program: str) -> Installation:
    """A server out of packages that were unpacked into `root`, with a C library of their own. Raises `NotInstalled`.

    Args:
        root: what stands for the file system's root.
        program: its name in usr/sbin.
    """
    server = root / "usr/sbin" / program
    loaders = sorted(root.glob("usr/lib/*/ld-linux*.so.*"))
    if not server.exists() or not loaders:
        raise NotInstalled(f"{program} is missing in {root.name}")
    loader = loaders[0]
    mariadb = program == "mariadbd"
    return Installation(
        (loader, "--library-path", loader.parent, server),
        root / "usr",
        mariadb=mariadb,
        scripts=root / "usr/share/mariadb" if mariadb else None,
        plugins=root / "usr/lib/mysql/plugin",
    )


class MySql:
    """A private server on 127.0.0.1, with a socket in its folder.

    Invariant: between `start` and `stop` the process `pid` is ours; all files are below `folder`, which `remove`
    deletes.

    Args:
        installation: whose programs.
        settings: options of the server, without their dashes; "" for one without a value.
        first: SQL statements, one line each, that the server runs when it starts for the first time.
        tls: a certificate and its key, PEM.
    """

    def __init__(
        self,
        installation: Installation,
        *,
        settings: Mapping[str, str] | None = None,
        first: Sequence[str] = (),
        tls: tuple[bytes, bytes] | None = None,
    ) -> None:
        self.installation = installation
        self._settings = dict(settings or {})
        self._first = tuple(first)
        self.port = 0
        self.pid = 0
        self.folder = Path(tempfile.mkdtemp(prefix="rdsp-mysql-"))
        self.data = self.folder / "data"
        self.socket = self.folder / "socket"
        self._process: subprocess.Popen[bytes] | None = None
        if tls is not None:
            for name, pem in zip(("server.crt", "server.key"), tls, strict=True):
                path = self.folder / name
                path.write_bytes(pem)
                path.chmod(0o600)
            self._settings |= {"ssl-cert": str(self.folder / "server.crt"), "ssl-key": str(self.folder / "server.key")}

    def start(self) -> None:
        """Make the data directory if there is none, start, and return when connections are accepted.

        Raises `RuntimeError` with the server's log when it does not come up.
        """
        new = not self.data.exists()
        if new:
            self._initialise()
        if self.port:
            self._launch(())
            return
        for attempt in range(_PORTS):
            self.port = free_port()
            try:
                self._launch(self._init_file() if new else ())
                return
            except RuntimeError:
                # Between our look and the server's, somebody else may have taken the port.
                if attempt == _PORTS - 1 or "Address already in use" not in self.log():
                    raise

    def _init_file(self) -> Sequence[str]:
        if not self._first:
            return ()
        file = self.folder / "first.sql"
        file.write_text("".join(f"{statement};\n" for statement in self._first))
        return (f"--init-file={file}",)

    def _command(self, more: Sequence[str]) -> list[str]:
        one = self.installation
        command = [*map(str, one.program), "--no-defaults", f"--basedir={one.base}", f"--datadir={self.data}"]
        command.append(f"--tmpdir={self.folder}")  # servers that start remove others' tables from a common one
        if os.geteuid() == 0:
            command.append("--user=root")
        if one.plugins is not None:
            command.append(f"--plugin-dir={one.plugins}")
        return [*command, *more]

    def _run(self, command: list[str], text: bytes = b"") -> None:
        done = subprocess.run(
            command,
            input=text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env={**os.environ, **self.installation.environment},
            timeout=_START_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError("no data directory could be made:\n" + done.stdout.decode(errors="replace")[-4000:])

    def _initialise(self) -> None:
        one = self.installation
        if one.template is not None:
            shutil.copytree(one.template, self.data)
        elif one.scripts is None:
            self._run(self._command(["--initialize-insecure"]))
        else:
            self.data.mkdir()
            (self.data / "mysql").mkdir()
            prefix = "mariadb_" if (one.scripts / "mariadb_system_tables.sql").exists() else "mysql_"
            scripts = [(one.scripts / f"{prefix}{name}.sql").read_bytes() for name in _BOOTSTRAP]
            options = ["--bootstrap", "--log-warnings=0", "--enforce-storage-engine=", "--max-allowed-packet=8M"]
            # As mariadb-install-db has it: a root without a password, whom a client reaches by any way.
            names = b"USE mysql;\nSET @auth_root_socket=NULL;\n"
            self._run(self._command(options), names + b"\n".join(scripts))

    def _launch(self, more: Sequence[str]) -> None:
        options = {
            "port": str(self.port),
            "bind-address": "127.0.0.1",
            "socket": str(self.socket),
            "pid-file": str(self.folder / "pid"),
            "log-error": str(self.folder / "log"),
            "secure-file-priv": "",
            "innodb-flush-log-at-trx-commit": "0",
            "sync-binlog": "0",
            "innodb-buffer-pool-size": "32M",
            "performance-schema": "OFF",
            **self._settings,
        }
        given = [f"--{name}={value}" for name, value in options.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command([*given, *more]),
                stdout=subprocess.DEVNULL,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env={**os.environ, **self.installation.environment},
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._await_ready()

    def _await_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                # It listens before it is ready, and greets when it is.
                with socket.create_connection(("127.0.0.1", self.port), timeout=_START_SECONDS) as sock:
                    if sock.recv(1):
                        return
            except OSError:
                time.sleep(0.02)
        self.stop(signal.SIGKILL)
        raise RuntimeError("the server did not start:\n" + self.log()[-4000:])

    def stop(self, how: int = signal.SIGTERM) -> None:
        """Stop: SIGTERM ends all sessions, SIGKILL is like a crash."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(30)
        self._process = None
        self.pid = 0

    def log(self) -> str:
        """What the server has logged."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def remove(self) -> None:
        """Stop and delete everything."""
        self.stop(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
