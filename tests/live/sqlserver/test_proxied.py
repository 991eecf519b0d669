"""The proxy in front of the reference server, with a small pool: who gets a backend, and what nobody leaves on one."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytds
import pytest

from tests.drivers import sqlserver as drivers
from tests.servers.proxy import ProxyProcess
from tests.servers.sqlserver_fixtures import DATABASE, PASSWORD, USER, SqlServerProcess
from tests.waiting import PATIENCE

pytestmark = pytest.mark.live


def proxied(server: SqlServerProcess, folder: Any, backends: int) -> ProxyProcess:
    config = folder / f"proxy{backends}.toml"
    config.write_text(
        f"""
        [[proxies]]
        name = "small"
        listen = ["127.0.0.1:0"]
        [proxies.target]
        url = "{drivers.target(server)}"
        [proxies.target_group]
        max_backends = {backends}
        connection_borrow_timeout = 2
        """
    )
    return ProxyProcess(str(config))


@pytest.fixture
def one(sqlserver: SqlServerProcess, tmp_path: Any) -> Iterator[ProxyProcess]:
    """With one backend."""
    with proxied(sqlserver, tmp_path, 1) as proxy:
        yield proxy


def connect(proxy: ProxyProcess, **more: Any) -> Any:
    """By python-tds, which sets nothing at its login: FreeTDS does, which keeps its backend as yet."""
    settings = {"user": USER, "password": PASSWORD, "database": DATABASE, "login_timeout": 20}
    return pytds.connect("127.0.0.1", port=proxy.port, **{**settings, **more})


def ask(connection: Any, text: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(text)
        return cursor.fetchall() if cursor.description else None


def table(connection: Any, name: str) -> None:
    ask(connection, f"IF OBJECT_ID('{name}') IS NOT NULL DROP TABLE {name}")
    ask(connection, f"CREATE TABLE {name} (x int)")


def test_sessions_take_turns_on_one_backend(one: ProxyProcess) -> None:
    with connect(one, autocommit=True) as first, connect(one, autocommit=True) as second:
        table(first, "turns")
        for number in range(5):
            ask(first, f"INSERT INTO turns VALUES ({number})")
            assert ask(second, "SELECT count(*) FROM turns") == [(number + 1,)]
        assert ask(first, "SELECT @@SPID") == ask(second, "SELECT @@SPID")


def test_whoever_waits_too_long_is_told_so_and_may_try_again(one: ProxyProcess) -> None:
    with connect(one, autocommit=True) as first, connect(one, autocommit=True) as second:
        table(first, "waits")
        ask(first, "BEGIN TRAN INSERT INTO waits VALUES (1)")
        with pytest.raises(pytds.Error, match="Timed-out waiting to acquire database connection"):
            ask(second, "SELECT 1")
        ask(first, "COMMIT")
        assert ask(second, "SELECT count(*) FROM waits") == [(1,)]


def test_a_client_that_leaves_in_a_transaction_leaves_nothing(one: ProxyProcess) -> None:
    leaver = connect(one, autocommit=True)
    table(leaver, "leaves")
    ask(leaver, "SET DATEFIRST 2 BEGIN TRAN INSERT INTO leaves VALUES (1)")
    ask(leaver, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE CREATE TABLE #t (x int)")
    leaver.close()
    with connect(one, autocommit=True) as next_:
        assert ask(next_, "SELECT count(*) FROM leaves") == [(0,)]
        level = "SELECT transaction_isolation_level FROM sys.dm_exec_sessions WHERE session_id = @@SPID"
        assert ask(next_, level) == [(2,)]
        assert ask(next_, "SELECT @@DATEFIRST, @@TRANCOUNT") == [(7, 0)]
        with pytest.raises(pytds.Error, match="Invalid object name"):
            ask(next_, "SELECT * FROM #t")


_LONG = """
import sys, pytds
port, user, password, database = sys.argv[1:]
connection = pytds.connect("127.0.0.1", database, user, password, port=int(port), autocommit=True)
cursor = connection.cursor()
print("begun", flush=True)
cursor.execute("WAITFOR DELAY '00:02:00'")
"""


def test_a_client_that_is_killed_in_a_long_request_does_not_keep_the_backend(one: ProxyProcess) -> None:
    arguments = [str(one.port), USER, PASSWORD, DATABASE]
    with subprocess.Popen([sys.executable, "-c", _LONG, *arguments], stdout=subprocess.PIPE) as leaver:
        assert leaver.stdout is not None
        leaver.stdout.readline()
        time.sleep(0.5)
        leaver.kill()
    deadline = time.monotonic() + PATIENCE
    with connect(one, autocommit=True) as next_:
        while True:
            try:
                assert ask(next_, "SELECT 1") == [(1,)]
                break
            except pytds.Error:
                assert time.monotonic() < deadline


def test_many_transactions_of_many_sessions_on_few_backends(sqlserver: SqlServerProcess, tmp_path: Any) -> None:
    with proxied(sqlserver, tmp_path, 2) as proxy:
        with connect(proxy, autocommit=True) as first:
            table(first, "many")
            ask(first, "INSERT INTO many VALUES (0)")

        def work(number: int) -> None:
            with connect(proxy, autocommit=False) as connection:
                for turn in range(10):
                    ask(connection, "UPDATE many SET x = x + 1")
                    ask(connection, "SELECT x FROM many")
                    connection.rollback() if turn % 2 else connection.commit()

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(work, range(8)))
        with connect(proxy, autocommit=True) as last:
            assert ask(last, "SELECT x, @@TRANCOUNT FROM many") == [(40, 0)]
