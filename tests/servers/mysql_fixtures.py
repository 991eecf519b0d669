"""Fixtures for real MySQL and MariaDB servers: as those for PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.fixtures import running
from tests.servers.mysql import VERSIONS, MySqlServer


def _server(version: str) -> Iterator[MySqlServer]:
    return running(MySqlServer, version)


@pytest.fixture(scope="session")
def mariadb10() -> Iterator[MySqlServer]:
    """MariaDB 10.11 of Debian."""
    yield from _server("mariadb-10.11")


@pytest.fixture(scope="session")
def mariadb11() -> Iterator[MySqlServer]:
    """MariaDB 11.8 of Debian's unstable."""
    yield from _server("mariadb-11.8")


@pytest.fixture(scope="session")
def mysql9() -> Iterator[MySqlServer]:
    """MySQL 9.7 of Debian's unstable."""
    yield from _server("mysql-9.7")


@pytest.fixture(scope="session")
def mysql5() -> Iterator[MySqlServer]:
    """MySQL 5.6, for the old protocol."""
    yield from _server("mysql-5.6")


_FIXTURES = dict(zip(VERSIONS, ("mariadb10", "mariadb11", "mysql9", "mysql5"), strict=True))


def each_version(only: tuple[str, ...] = VERSIONS) -> list[object]:
    """Parameters for a test: the first version in `make test`, the others in the matrix."""
    return [pytest.param(v, marks=() if v == VERSIONS[0] else pytest.mark.matrix, id=v) for v in only]


@pytest.fixture(scope="session", params=each_version())
def mysql(request: pytest.FixtureRequest) -> MySqlServer:
    """Every version, one after the other: MariaDB 10.11 in `make test`, the others in the matrix."""
    server: MySqlServer = request.getfixturevalue(_FIXTURES[request.param])
    return server
