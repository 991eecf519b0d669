"""A real server with what the tests of sessions through the proxy need."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator

import pytest

from tests.servers.mysql import MySqlServer


@pytest.fixture
def leaving_sockets() -> Iterator[None]:
    """For a driver that leaves the socket of a login that failed to the garbage collector: it is collected here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


@pytest.fixture(scope="module")
def tracking(mysql: MySqlServer) -> MySqlServer:
    """A server that reports what sessions change, with tables for the tests."""
    if mysql.version == "mysql-5.6":
        pytest.skip("it reports nothing: every session keeps its backend")
    with mysql.admin() as admin, admin.cursor() as cursor:
        for database in ("app", "other"):
            cursor.execute(f"CREATE TABLE IF NOT EXISTS {database}.numbered (id INT AUTO_INCREMENT PRIMARY KEY, n INT)")
        cursor.execute("CREATE TABLE IF NOT EXISTS app.filed (line VARCHAR(100))")
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS app.answered (id INT AUTO_INCREMENT PRIMARY KEY, n INT) ENGINE=InnoDB"
        )
    return mysql
