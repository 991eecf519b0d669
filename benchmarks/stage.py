"""The parts under test: a private PostgreSQL, PgBouncer and the proxy, on free ports, stopped by their own ids.

All three use the same certificate towards clients, SCRAM-SHA-256 with the same user, no TLS towards the database, at
most `BACKENDS` backends, and log nothing per connection.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import attrs

from rdsp.demo.postgres import Postgres, free_port
from rdsp.net.tls import self_signed

BIN = Path("/usr/lib/postgresql/15/bin")
USER, PASSWORD, DATABASE = "bench", "bench-password", "postgres"
BACKENDS = 20
SERVER_CONNECTIONS = 620
"""`max_connections` of the server: the direct runs with 512 clients need them, the poolers never come near."""
_START_SECONDS = 20.0
_STOP_SECONDS = 15.0


class NotInstalled(Exception):
    """Something to measure with, or against, is missing. The text says what to install."""


@attrs.define(eq=False)
class Target:
    """Something to connect to.

    Attributes:
        pid: the process whose CPU and memory are counted, 0 for none.
        prepared: prepared statements work in transaction mode.
    """

    name: str
    port: int
    pid: int
    version: str
    prepared: bool = True


class Stage:
    """Everything that runs. A context manager.

    Args:
        scale: of pgbench's tables.
        wanted: names of the targets to start; "direct" always exists.
    """

    def __init__(self, scale: int, wanted: tuple[str, ...] = ("direct", "pgbouncer", "rdsp")) -> None:
        self.scale = scale
        self.targets: dict[str, Target] = {}
        self._wanted = wanted
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Stage:
        if not (BIN / "pgbench").exists():
            raise NotInstalled("PostgreSQL 15 is missing: apt-get install postgresql-15")
        self._tls = self_signed(["localhost", "127.0.0.1"])
        self.folder = Path(tempfile.mkdtemp(prefix="rdsp-bench-", dir=_fast_folder()))
        self.folder.chmod(0o755)
        self.server = Postgres(
            BIN,
            settings={"max_connections": str(SERVER_CONNECTIONS), "shared_buffers": "'256MB'", "autovacuum": "off"},
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
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.server.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> None:
        self.server.start()
        direct = Target("direct", self.server.port, 0, _version([str(BIN / "postgres"), "--version"]))
        self.targets["direct"] = direct
        self._must(direct, "-i", "-q", "-s", str(self.scale))
        if "pgbouncer" in self._wanted:
            self._start_pgbouncer()
        if "rdsp" in self._wanted:
            self._start_rdsp()

    def _start_pgbouncer(self) -> None:
        binary = shutil.which("pgbouncer", path="/usr/sbin:" + os.environ.get("PATH", ""))
        if binary is None:
            raise NotInstalled("PgBouncer is missing: apt-get install pgbouncer (or leave it out by --targets)")
        port = free_port()
        for name, data in zip(("tls.crt", "tls.key"), self._tls, strict=True):
            self._own(name, data)
        users = self._own("users.txt", f'"{USER}" "{PASSWORD}"\n'.encode())
        config = self._own(
            "pgbouncer.ini",
            (
                f"[databases]\n* = host=127.0.0.1 port={self.server.port}\n[pgbouncer]\n"
                f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
                f"auth_type = scram-sha-256\nauth_file = {users}\n"
                f"pool_mode = transaction\ndefault_pool_size = {BACKENDS}\nmax_client_conn = 5000\n"
                "log_connections = 0\nlog_disconnections = 0\nlog_pooler_errors = 0\nlog_stats = 0\n"
                f"client_tls_sslmode = allow\nclient_tls_key_file = {self.folder}/tls.key\n"
                f"client_tls_cert_file = {self.folder}/tls.crt\nserver_tls_sslmode = disable\n"
            ).encode(),
        )
        process = subprocess.Popen(
            [binary, "-q", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **_identity()
        )
        self._processes.append(process)
        version = _version([binary, "--version"])
        # Named statements of the protocol in transaction mode came with 1.21.
        numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
        self._await(Target("pgbouncer", port, process.pid, version, prepared=numbers >= [1, 21]), process)

    def _start_rdsp(self) -> None:
        port = free_port()
        certificate, key = self.folder / "proxy.crt", self.folder / "proxy.key"
        certificate.write_bytes(self._tls[0])
        key.touch(0o600)
        key.write_bytes(self._tls[1])
        config = self.folder / "rdsp.toml"
        config.touch(0o600)
        config.write_text(
            f'[[proxies]]\nlisten = "127.0.0.1:{port}"\n'
            f'[proxies.tls]\ncertificate = "{certificate}"\nprivate_key = "{key}"\n'
            f'[proxies.target]\nurl = "postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.server.port}/{DATABASE}"\n'
            f'tls = "disable"\n[proxies.target_group]\nmax_backends = {BACKENDS}\n[logging]\nlevel = "warning"\n'
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "rdsp", "run", str(config)], stdout=subprocess.DEVNULL, stderr=sys.stderr
        )
        self._processes.append(process)
        version = f"{_version([sys.executable, '-m', 'rdsp', '--version'])} on Python {sys.version.split()[0]}"
        self._await(Target("rdsp", port, process.pid, version), process)

    def _own(self, name: str, data: bytes) -> Path:
        """A file that PgBouncer's user alone can read."""
        path = self.folder / name
        path.touch(0o600)
        path.write_bytes(data)
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(path, account.pw_uid, account.pw_gid)
        return path

    def _await(self, target: Target, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            attempt = self.pgbench(target, "-n", "-t", "1", "-f", str(self.script("SELECT 1;")))
            _, complaints = attempt.communicate(timeout=_START_SECONDS)
            if attempt.returncode == 0:
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{target.name} does not work: {complaints}")
            time.sleep(0.05)
        self.targets[target.name] = target

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


def _fast_folder() -> str | None:
    """Where files live in memory: pgbench writes its log there."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _version(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()[0].strip()


def _identity() -> dict[str, Any]:
    """PgBouncer refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
