"""The engines of MySQL and MariaDB, for tests that run the proxy: they are not among the engines that users have yet."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.mysql import MySqlServer

_ENTRY_POINTS = "[rdsp.codecs]\nmysql = rdsp_codecs.mysql:MYSQL\nmariadb = rdsp_codecs.mysql:MARIADB\n"


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """They are installed, for processes that are started meanwhile."""
    folder = tmp_path_factory.mktemp("engines")
    found = folder / "rdsp_mysql-0.dist-info"
    found.mkdir()
    (found / "METADATA").write_text("Metadata-Version: 2.1\nName: rdsp-mysql\nVersion: 0\n")
    (found / "entry_points.txt").write_text(_ENTRY_POINTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=":")
        yield


@pytest.fixture(scope="module")
def tracking(mysql: MySqlServer, engines: None) -> MySqlServer:
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
