"""The parts under test: a private PostgreSQL, PgBouncer and the proxy, on free ports, stopped by their own ids."""

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


@attrs.define(eq=False)
class Target:
    """Something to connect to. `pid` is the process whose CPU is counted, 0 for none."""

    name: str
    port: int
    pid: int
    version: str
    prepared: bool = True


class Stage:
    """Everything that runs. A context manager."""

    def __init__(self, scale: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rdsp-bench-"))
        self.folder.chmod(0o755)
        self._scale = scale
        self._processes: list[subprocess.Popen[bytes]] = []
        self.targets: dict[str, Target] = {}

    def __enter__(self) -> Stage:
        self._tls = self_signed(["localhost", "127.0.0.1"])
        self.server = Postgres(BIN, settings={"max_connections": "620"}, superuser=(USER, PASSWORD), tls=self._tls)
        try:
            self.server.start()
            self._certificate()
            self._fill()
            self.targets["direct"] = Target(
                "direct", self.server.port, 0, _version([str(BIN / "postgres"), "--version"])
            )
            self._start_pgbouncer()
            self._start_rdsp()
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
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        self.server.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _certificate(self) -> None:
        for name, data in zip(("tls.crt", "tls.key"), self._tls, strict=True):
            path = self.folder / name
            path.write_bytes(data)
            path.chmod(0o600)
            _give(path)

    def _fill(self) -> None:
        done = self.pgbench(
            self.targets.get("x") or Target("", self.server.port, 0, ""), "-i", "-q", "-s", str(self._scale)
        )
        if done.returncode:
            raise RuntimeError(done.stderr)

    def _start_pgbouncer(self) -> None:
        binary = shutil.which("pgbouncer", path="/usr/sbin:" + os.environ.get("PATH", ""))
        if binary is None:
            print("pgbouncer is missing (apt-get install pgbouncer): there will be no ratios", file=sys.stderr)
            return
        port = free_port()
        users = self.folder / "users.txt"
        users.write_text(f'"{USER}" "{PASSWORD}"\n')
        config = self.folder / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host=127.0.0.1 port={self.server.port}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\n"
            f"auth_file = {users}\npool_mode = transaction\ndefault_pool_size = {BACKENDS}\nmax_client_conn = 6000\n"
            "log_connections = 0\nlog_disconnections = 0\nstats_period = 600\n"
            f"client_tls_sslmode = allow\nclient_tls_key_file = {self.folder}/tls.key\n"
            f"client_tls_cert_file = {self.folder}/tls.crt\n"
        )
        for path in (users, config):
            _give(path)
        process = subprocess.Popen(
            [binary, "-q", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **_identity()
        )
        self._processes.append(process)
        version = _version([binary, "--version"])
        # Named statements of the protocol in transaction mode came with 1.21.
        numbers = [int(part) for part in re.findall(r"\d+", version)[:2]]
        self.targets["pgbouncer"] = Target("pgbouncer", port, process.pid, version, prepared=numbers >= [1, 21])
        self._await(port)

    def _start_rdsp(self) -> None:
        port = free_port()
        config = self.folder / "rdsp.toml"
        config.write_text(
            f'[[proxies]]\nlisten = ["127.0.0.1:{port}"]\n[proxies.tls]\n'
            f'certificate = "tls.crt"\nprivate_key = "tls.key"\n[proxies.target]\n'
            f'url = "postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.server.port}/{DATABASE}"\ntls = "disable"\n'
            f"[proxies.target_group]\nmax_backends = {BACKENDS}\n[logging]\nlevel = 'warning'\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "rdsp", "run", str(config)], stdout=subprocess.DEVNULL, stderr=sys.stderr
        )
        self._processes.append(process)
        version = f"rdsp on Python {sys.version.split()[0]}"
        self.targets["rdsp"] = Target("rdsp", port, process.pid, version)
        self._await(port)

    def _await(self, port: int) -> None:
        probe = Target("", port, 0, "")
        for _ in range(200):
            if self.pgbench(probe, "-n", "-t", "1", "-f", str(self.script("SELECT 1;"))).returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError(f"nothing answers on port {port}")

    def script(self, text: str) -> Path:
        """A pgbench script."""
        path = self.folder / (re.sub(r"\W+", "-", text)[:40] + ".sql")
        path.write_text(text + "\n")
        return path

    def pgbench(self, target: Target, *arguments: str, tls: bool = False) -> subprocess.CompletedProcess[str]:
        """Run pgbench against a target."""
        environment = {
            **os.environ,
            "PGPASSWORD": PASSWORD,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(target.port),
            "PGUSER": USER,
            "PGSSLMODE": "require" if tls else "disable",
        }
        return subprocess.run(
            [str(BIN / "pgbench"), *arguments, DATABASE],
            env=environment,
            capture_output=True,
            text=True,
            cwd=self.folder,
            timeout=180,
            check=False,
        )


def cpu_micros(pid: int) -> float:
    """CPU that a process has used, user and system, all threads: from the scheduler's own account, in microseconds."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1000


def memory_kib(pid: int) -> int:
    """The proportional set size of a process."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError("no Pss")


def _version(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()[0].strip()


def _identity() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(path, account.pw_uid, account.pw_gid)
