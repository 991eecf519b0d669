"""The parts under test: a private MySQL server, and Router or the proxy in front of it, stopped by their own ids.

All show the same certificate to clients and speak to the server without TLS, as the same user with
caching_sha2_password; but a Router that passes through leaves both to its client and the server. A target is started
anew for each measurement, so that none of them holds server connections while another one is measured.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pymysql

from benchmarks.mysql.load import LIST, prepare
from benchmarks.mysql.targets import DATABASE, KINDS, LIMITED, PASSWORD, SERVER, USER, Place
from benchmarks.stage import fast_folder, stop
from benchmarks.targets import NotInstalled, Target
from rdsp.demo.mysql import MySql, unpacked
from rdsp.demo.postgres import NotInstalled as NoServer
from rdsp.demo.postgres import free_port
from tests.servers.mysql import certificate

_ADMIN, _ADMIN_PASSWORD = "bench_admin", "admin-password"
_CONNECTIONS = 300
_START_SECONDS = 20.0
_FIRST = (
    f"CREATE USER {USER} IDENTIFIED BY '{PASSWORD}'",
    f"CREATE USER {_ADMIN} IDENTIFIED BY '{_ADMIN_PASSWORD}'",
    f"GRANT ALL ON *.* TO {_ADMIN}",
    f"GRANT ALL ON {DATABASE}.* TO {USER}",
    f"CREATE DATABASE {DATABASE}",
)


class Stage:
    """Everything that runs. A context manager.

    Args:
        tables: of sysbench's. rows: in each.
        wanted: names of the targets.

    Attributes:
        versions: of what can be measured, by name. missing: of what cannot, why.
        folder: the load runs in it; the certificates that it wants to find lie there.
    """

    def __init__(self, tables: int, rows: int, wanted: tuple[str, ...]) -> None:
        self.tables = tables
        self.rows = rows
        self.versions: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self._wanted = wanted

    def __enter__(self) -> Stage:
        if shutil.which("sysbench") is None:
            raise NotInstalled("sysbench is missing: apt-get install sysbench")
        try:
            installation = unpacked(SERVER, "mysqld")
        except NoServer as error:
            raise NotInstalled(
                f"MySQL could not be had from Debian unstable (scripts/unstable says why): {error}"
            ) from error
        # With an RSA key: without TLS, Router has its clients send it their passwords by the key of its certificate.
        self._tls = certificate()
        with contextlib.ExitStack() as stack:
            self.folder = Path(tempfile.mkdtemp(prefix="rdsp-bench-", dir=fast_folder()))
            stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
            # sysbench has no options for these names; the server looks for who has issued the client's certificate.
            for name, pem in zip(LIST, (self._tls[0], *self._tls), strict=True):
                (self.folder / name).write_bytes(pem)
            self.server = MySql(installation, settings=self._settings(), first=_FIRST, tls=self._tls)
            stack.callback(self.server.remove)
            self.server.start()
            self._admin = stack.enter_context(
                pymysql.connect(
                    host="127.0.0.1", port=self.server.port, user=_ADMIN, password=_ADMIN_PASSWORD, autocommit=True
                )
            )
            self._prepare()
            self._end = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.close()

    def _settings(self) -> dict[str, str]:
        return {
            "max-connections": str(_CONNECTIONS),
            "innodb-buffer-pool-size": "256M",
            "mysqlx": "OFF",
            "skip-name-resolve": "ON",
            # The disk is not what is measured.
            "skip-log-bin": "",
            "ssl-ca": str(self.folder / LIST[0]),
        }

    def _prepare(self) -> None:
        prepare(self, self._direct())
        for name in self._wanted:
            try:
                with self.running(name) as target:
                    self.versions[name] = target.version
            except NotInstalled as missing:
                self.missing[name] = str(missing)

    def _direct(self) -> Target:
        return Target("direct", self.server.port, 0, f"MySQL {self.ask('SELECT VERSION()')[0][0]}")

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """What the server answers to somebody who may do everything."""
        with self._admin.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    @contextlib.contextmanager
    def running(self, name: str) -> Iterator[Target]:
        """A target that nobody has used. Raises `NotInstalled`, or `RuntimeError` when it does not work."""
        self._await_none(USER)
        # One connection is the administrator's.
        self.ask(f"SET GLOBAL max_connections = {LIMITED.get(name, _CONNECTIONS) + 1}")
        if name not in KINDS:
            yield self._direct()
            return
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        port = free_port()
        process, version = KINDS[name](Place(folder, port, self.server.port, self._tls))
        try:
            target = Target(name, port, process.pid, version)
            self._await_greeting(target, process, folder)
            self._await_none("unauthenticated user")
            yield target
        finally:
            stop([process])
            shutil.rmtree(folder, ignore_errors=True)

    def _await_none(self, user: str) -> None:
        """Wait until the server has no connection of this user any more."""
        deadline = time.monotonic() + _START_SECONDS
        while any(row[1] == user for row in self.ask("SHOW PROCESSLIST")):
            if time.monotonic() > deadline:
                raise RuntimeError(f"server connections of {user} do not end")
            time.sleep(0.02)

    def _await_greeting(self, target: Target, process: subprocess.Popen[bytes], folder: Path) -> None:
        """Wait until a client would be greeted; it is not logged in, which would leave a connection in a pool."""
        deadline = time.monotonic() + _START_SECONDS
        while not greeted(target.port):
            if process.poll() is not None or time.monotonic() > deadline:
                said = (folder / "said").read_text(errors="replace")[-1000:]
                raise RuntimeError(f"{target.name} does not work: {said}")
            time.sleep(0.05)

    def connect(self, target: Target, *, tls: bool = False) -> pymysql.Connection[Any]:
        """A client of a target's. Raises `pymysql.MySQLError`."""
        return pymysql.connect(
            host="127.0.0.1",
            port=target.port,
            user=USER,
            password=PASSWORD,
            database=DATABASE,
            ssl={"ca": str(self.folder / LIST[0]), "check_hostname": False} if tls else None,
            ssl_disabled=not tls,
            read_timeout=60,
        )


def greeted(port: int) -> bool:
    """Whether somebody there speaks as a MySQL server does, which is the first to say something."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_START_SECONDS) as sock:
            return bool(sock.recv(1))
    except OSError:
        return False
