"""The current database is dropped by somebody else: what the session is told, on the backend that it had and on others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Part
from tests.live.mysql.sidebyside import Side, Two, target
from tests.servers.mysql import MySqlServer
from tests.servers.mysqlclient import MySqlClient
from tests.servers.proxy import ProxyProcess

GONE = "Unknown database 'gone'"


@pytest.fixture
def gone(tracking: MySqlServer) -> Iterator[Any]:
    """Runs SQL as the administrator. There is a database `gone`, with a table."""
    with tracking.admin() as admin, admin.cursor() as cursor:
        cursor.execute("GRANT ALL ON gone.* TO app")
        cursor.execute("DROP DATABASE IF EXISTS gone")
        cursor.execute("CREATE DATABASE gone")
        cursor.execute("CREATE TABLE gone.t (a INT)")
        yield cursor.execute
        cursor.execute("DROP DATABASE IF EXISTS gone")


@pytest.fixture
def proxy(tracking: MySqlServer) -> Iterator[ProxyProcess]:
    """With one backend, which is made each session's in turn."""
    with ProxyProcess.for_target(target(tracking), "--max-backends", "1") as proxy:
        yield proxy
        assert "could not be brought" not in proxy.log()


def alone(tracking: MySqlServer, proxy: ProxyProcess) -> Iterator[None]:
    """What follows is run on a backend that another session had."""
    other = Side(proxy.port)
    try:
        while True:
            other.run("SET @other = 1")
            yield
    finally:
        other.connection.close()


def test_on_the_backend_that_it_had_all_is_as_at_the_server(
    tracking: MySqlServer, proxy: ProxyProcess, gone: Any
) -> None:
    with Two(tracking, proxy) as two:
        two.run("USE gone")
        gone("DROP DATABASE gone")
        for text in (
            "SELECT DATABASE()",
            "SELECT * FROM t",
            "SHOW TABLES",
            "SELECT 1",
            "USE gone",
            "SELECT DATABASE()",
        ):
            two.run(text, free=False)
        gone("CREATE DATABASE gone")
        gone("CREATE TABLE gone.t (b INT)")
        for text in ("SELECT DATABASE()", "SELECT * FROM t", "USE app", "SELECT DATABASE()"):
            two.run(text, free=False)


def test_on_another_one_use_and_a_database_that_is_back_are_as_at_the_server(
    tracking: MySqlServer, proxy: ProxyProcess, gone: Any
) -> None:
    others = alone(tracking, proxy)
    with Two(tracking, proxy) as two:
        two.run("SET @mine = 1")
        for text in ("USE app", "use `other` ; "):
            two.run("USE gone")
            gone("DROP DATABASE gone")
            for _ in range(2):
                next(others)
                two.run("USE gone", free=False)
            next(others)
            two.run(text, free=False)
            two.run("SELECT DATABASE(), @mine", free=False)
            next(others)
            two.run("SELECT DATABASE(), @mine", free=False)
            gone("CREATE DATABASE gone")
            gone("CREATE TABLE gone.t (b INT)")
        two.run("USE gone")
        gone("DROP DATABASE gone")
        next(others)
        two.run("USE gone", free=False)
        gone("CREATE DATABASE gone")
        gone("CREATE TABLE gone.t (c INT)")
        next(others)
        two.run("SELECT DATABASE(), @mine", free=False)
        two.run("SELECT * FROM t", free=False)
    others.close()


def test_on_another_one_nothing_is_read_in_a_database_that_is_not_the_session_s(
    tracking: MySqlServer, proxy: ProxyProcess, gone: Any
) -> None:
    """All but USE is refused in the server's words, and neither session nor backend is lost."""
    gone("CREATE TABLE IF NOT EXISTS app.beside_gone (a INT)")
    others = alone(tracking, proxy)
    mine = Side(proxy.port)
    mine.run("USE gone")
    gone("DROP DATABASE gone")
    for text in ("SELECT * FROM beside_gone", "USE app; SELECT 1", "SELECT 1", "BEGIN"):
        next(others)
        assert mine.run(text) == [(1049, GONE)], text
    next(others)
    assert mine.run("USE app")[0][0] is None
    assert mine.run("SELECT * FROM beside_gone")[0][1] == ()
    mine.connection.close()
    others.close()


def test_com_init_db_and_a_database_that_is_not_the_session_s_any_more(
    tracking: MySqlServer, proxy: ProxyProcess, gone: Any
) -> None:
    others = alone(tracking, proxy)
    with MySqlClient(proxy.port) as mine:
        mine.ask(r.COM_INIT_DB, b"gone")
        gone("REVOKE ALL ON gone.* FROM app")
        next(others)
        (refused,) = mine.ask(r.COM_INIT_DB, b"gone")
        assert refused.part is Part.ERR
        assert r.read_err(refused.payload).code == 1044
        next(others)
        assert mine.ask(r.COM_INIT_DB, b"other")[0].part is Part.OK
        assert mine.rows("SELECT DATABASE()") == [(b"other",)]
    others.close()


def test_a_session_whose_number_was_asked_for_goes_on_behind_a_reset(
    tracking: MySqlServer, proxy: ProxyProcess
) -> None:
    """It keeps its backend, which then reports nothing until it is told to again."""
    with MySqlClient(proxy.port) as mine:
        number = mine.rows("SELECT CONNECTION_ID()")
        for value in (b"1", b"2"):
            mine.query("SET @a = 1, sql_mode = ''")
            assert mine.ask(r.COM_RESET_CONNECTION)[0].part is Part.OK
            assert mine.rows("SELECT @a, @@sql_mode = ''") == [(None, b"0")]
            mine.query("SET @a = " + value.decode())
            assert mine.rows("SELECT @a, CONNECTION_ID()") == [(value, *number[0])]
