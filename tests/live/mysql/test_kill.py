"""A session is ended, or what it runs, by the number that the proxy has given it: it, and never another."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pymysql
import pytest

from tests.live.mysql.sidebyside import connect, target
from tests.live.mysql.test_recorded import command_lines
from tests.servers.mysql import DATABASE, PASSWORD, USER, MySqlServer
from tests.servers.proxy import ProxyProcess
from tests.waiting import PATIENCE, eventually

_INTERRUPTED = (1317, "Query execution was interrupted")
_LONG = "SELECT COUNT(*) FROM information_schema.collations a JOIN information_schema.collations b WHERE SLEEP(30) = 2"
"""Runs until it is interrupted, and is told so: a SLEEP by itself would return 1."""


@pytest.fixture
def pool(tracking: MySqlServer) -> Iterator[ProxyProcess]:
    """A proxy with two backends."""
    with ProxyProcess.for_target(target(tracking), "--max-backends", "2") as proxy:
        yield proxy


class Running:
    """A session of a thread of its own, that runs one text. (PyMySQL runs a text when it connects, too.)"""

    def __init__(self, connection: pymysql.Connection[Any], text: str = _LONG) -> None:
        self.connection = connection
        self.outcome: Any = None
        self._text = text
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(self._text)
                self.outcome = cursor.fetchall()
        except pymysql.MySQLError as error:
            self.outcome = error.args

    def ends(self) -> Any:
        """What it came to."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.outcome


def sleepers(server: MySqlServer) -> int:
    """How many of the long ones run at the server."""
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%SLEEP(30) = 2'")
        return int(cursor.fetchall()[0][0])


def _kill_query(by: Any, number: int) -> None:
    with by.cursor() as cursor:
        cursor.execute(f"KILL QUERY {number}")


@pytest.mark.parametrize("text", ["KILL QUERY {}", " kill  query {} ;"])
def test_a_query_is_ended_and_its_session_and_all_others_go_on(
    tracking: MySqlServer, pool: ProxyProcess, text: str
) -> None:
    with ExitStack() as stack:
        by = stack.enter_context(connect(pool.port))
        one, two = Running(connect(pool.port)), Running(connect(pool.port))
        eventually(lambda: sleepers(tracking) == 2)  # both backends are taken: a KILL needs none
        with by.cursor() as cursor:
            assert cursor.execute(text.format(one.connection.thread_id())) == 0
        assert one.ends() == _INTERRUPTED
        assert sleepers(tracking) == 1
        with one.connection.cursor() as cursor:
            cursor.execute("SELECT 5")
            assert cursor.fetchall() == ((5,),)
        _kill_query(by, two.connection.thread_id())
        assert two.ends() == _INTERRUPTED
        for each in (one, two):
            each.connection.close()
    assert "internal error" not in pool.log()


@pytest.mark.parametrize("how", ["KILL {}", "KILL CONNECTION {}", "COM_PROCESS_KILL"])
def test_a_session_is_ended_with_what_it_runs(tracking: MySqlServer, pool: ProxyProcess, how: str) -> None:
    one, by = Running(connect(pool.port)), connect(pool.port)
    eventually(lambda: sleepers(tracking) == 1)
    number = one.connection.thread_id()
    if how == "COM_PROCESS_KILL":
        by.kill(number)
    else:
        with by.cursor() as cursor:
            cursor.execute(how.format(number))
    assert one.ends()[0] in (1927, 2013)
    eventually(lambda: sleepers(tracking) == 0)
    with pytest.raises(pymysql.OperationalError, match="1094"):
        by.kill(number)
    with by.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == ((1,),)
    by.close()


def test_in_a_transaction_a_session_that_is_ended_is_rolled_back(tracking: MySqlServer, pool: ProxyProcess) -> None:
    one, by = connect(pool.port), connect(pool.port)
    with one.cursor() as cursor, by.cursor() as other:
        other.execute("DELETE FROM numbered")
        cursor.execute("BEGIN")
        cursor.execute("INSERT INTO numbered (n) VALUES (1)")
        other.execute("BEGIN")
        other.execute("INSERT INTO numbered (n) VALUES (2)")
        other.execute(f"KILL {one.thread_id()}")  # while it has a backend of its own
        other.execute("COMMIT")
        with pytest.raises(pymysql.OperationalError):
            cursor.execute("COMMIT")
        other.execute("SELECT n FROM numbered")
        assert other.fetchall() == ((2,),)
    by.close()


def test_what_is_not_there_and_oneself(tracking: MySqlServer, pool: ProxyProcess) -> None:
    for port in (tracking.port, pool.port):
        one, said = connect(port), list[Any]()
        for text in ("KILL QUERY 123456", "KILL 123456", f"KILL QUERY {one.thread_id()}", "SELECT 1"):
            with one.cursor() as cursor:
                try:
                    cursor.execute(text)
                    said.append(cursor.fetchall())
                except pymysql.OperationalError as error:
                    said.append(error.args)
        unknown = (1094, "Unknown thread id: 123456")
        assert said == [unknown, unknown, _INTERRUPTED, ((1,),)]
        with pytest.raises(pymysql.OperationalError, match="1927|1317|2013"):
            one.kill(one.thread_id()) if port == pool.port else one.query(f"KILL {one.thread_id()}")


@pytest.mark.parametrize("asked", ["CONNECTION_ID()", "@@pseudo_thread_id"])
def test_the_number_that_a_server_tells_is_the_sessions_as_long_as_it_lasts(
    tracking: MySqlServer, pool: ProxyProcess, asked: str
) -> None:
    """It would be another session's, on a shared connection: whoever asks keeps its own, and KILL knows it by both."""
    with ExitStack() as stack:
        by, other, one = (stack.enter_context(connect(pool.port)) for _ in range(3))
        with one.cursor() as cursor, by.cursor() as killing:
            cursor.execute(f"SELECT {asked}")
            ((number,),) = cursor.fetchall()
            for _ in range(5):
                killing.execute("SELECT 1")
                cursor.execute(f"SELECT {asked} = {number}, CONNECTION_ID() = {number}")
                assert cursor.fetchall() == ((1, 1),)
            running = Running(one)
            eventually(lambda: sleepers(tracking) == 1)
            assert killing.execute(f"KILL QUERY {number}") == 0
            assert running.ends() == _INTERRUPTED
            cursor.execute("SELECT CONNECTION_ID()")
            assert cursor.fetchall() == ((number,),)
            with pytest.raises(pymysql.OperationalError, match="1094"):
                killing.execute(f"KILL QUERY {number + 1000}")
            assert killing.execute(f"KILL {number}") == 0
        with pytest.raises(pymysql.OperationalError):
            one.query("SELECT 1")

        def gone() -> bool:
            with other.cursor() as cursor:
                try:
                    cursor.execute(f"KILL QUERY {number}")
                except pymysql.OperationalError as error:
                    return bool(error.args[0] == 1094)
            return False

        eventually(gone)


@pytest.mark.parametrize("text", ["KILL CONNECTION_ID()", "KILL CONNECTION connection_id()"])
def test_ones_own_end(tracking: MySqlServer, pool: ProxyProcess, text: str) -> None:
    for port in (tracking.port, pool.port):
        one = connect(port)
        with one.cursor() as cursor:
            with pytest.raises(pymysql.OperationalError, match="1317"):
                cursor.execute("KILL QUERY CONNECTION_ID()")
            cursor.execute("SELECT 1")
            assert cursor.fetchall() == ((1,),)
            with pytest.raises(pymysql.OperationalError, match="1927|1317|2013"):
                cursor.execute(text)
            with pytest.raises((pymysql.OperationalError, pymysql.InterfaceError)):
                cursor.execute("SELECT 1")
                cursor.execute("SELECT 1")


def test_one_that_waits_for_a_backend_is_told(tracking: MySqlServer) -> None:
    with ProxyProcess.for_target(target(tracking), "--max-backends", "1") as proxy:
        by, waiting = connect(proxy.port), connect(proxy.port)
        one = Running(connect(proxy.port))
        eventually(lambda: sleepers(tracking) == 1)
        two = Running(waiting, "SELECT 2")
        _kill_query_until(by, two)
        assert two.ends() in (_INTERRUPTED, ((2,),))
        _kill_query(by, one.connection.thread_id())
        assert one.ends() == _INTERRUPTED
        for each in (one.connection, two.connection, by):
            each.close()


def _kill_query_until(by: Any, running: Running) -> None:
    def ended() -> bool:
        _kill_query(by, running.connection.thread_id())
        return running.outcome is not None

    eventually(ended)


def test_one_that_is_over_harms_nobody(tracking: MySqlServer) -> None:
    """Kills come all the time while the session's short queries run on the one backend that it shares."""
    with ProxyProcess.for_target(target(tracking), "--max-backends", "1") as proxy:
        meant, other, by = connect(proxy.port), connect(proxy.port), connect(proxy.port)
        stop, faults = threading.Event(), list[Any]()

        def runs(connection: Any, may_fail: bool) -> None:
            while not stop.is_set():
                with connection.cursor() as cursor:
                    try:
                        cursor.execute("SELECT BENCHMARK(20000, SHA2('x', 256))")
                    except pymysql.MySQLError as error:
                        if not may_fail or error.args != _INTERRUPTED:
                            faults.append(error.args)
                            return

        threads = [threading.Thread(target=runs, args=each) for each in ((meant, True), (other, False))]
        for thread in threads:
            thread.start()
        for _ in range(100):
            _kill_query(by, meant.thread_id())
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
        assert not faults
        for each in (meant, other, by):
            each.close()


def test_ctrl_c_of_the_command_lines(tracking: MySqlServer, pool: ProxyProcess) -> None:
    for program in command_lines(tracking.version):
        of_mysql = program[-1].endswith("/mysql")
        tls = "--ssl-mode=DISABLED" if of_mysql else "--skip-ssl"
        where = ["-h127.0.0.1", f"-P{pool.port}", f"-u{USER}", f"-p{PASSWORD}", tls, "-B"]
        more = ["--get-server-public-key"] if of_mysql else []
        plugins = tracking.installation.plugins
        more += [f"--plugin-dir={plugins}"] if len(program) > 1 and plugins else []
        arguments = [*program, "--no-defaults", *where, *more, DATABASE, "-e", _LONG]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
            _interrupted(running, lambda: sleepers(tracking) == 1)
        eventually(lambda: sleepers(tracking) == 0)
    with connect(pool.port) as after, after.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchall() == ((1,),)


def _interrupted(running: subprocess.Popen[str], ready: Callable[[], bool]) -> None:
    eventually(ready)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=PATIENCE)
    assert "1317" in said or "interrupted" in said or "Aborted" in said or "aborted" in said, said
