"""Where a transaction ends, and with it the session's claim on its backend: there is one for all of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pymysql
import pytest

from tests.live.mysql.sidebyside import SEVERAL, Two, target
from tests.live.mysql.test_lifted import is_kept
from tests.servers.mysql import MySqlServer
from tests.servers.proxy import ProxyProcess

OPEN, FREE = True, False


@pytest.fixture
def one(tracking: MySqlServer) -> Iterator[ProxyProcess]:
    """A proxy with one backend."""
    with tracking.admin() as admin, admin.cursor() as cursor:
        for database in ("app", "other"):
            cursor.execute(f"CREATE TABLE IF NOT EXISTS {database}.rows_of (a INT PRIMARY KEY, b INT) ENGINE=InnoDB")
            cursor.execute(f"REPLACE INTO {database}.rows_of VALUES (1, 1), (2, 2)")
    with ProxyProcess.for_target(target(tracking), "--max-backends", "1") as proxy:
        yield proxy


SCRIPTS = {
    "without autocommit": [
        ("SET autocommit = 0", FREE), ("SELECT 1", FREE), ("SELECT @@autocommit", FREE), ("SELECT nothing", FREE),
        ("SELECT a FROM rows_of", OPEN), ("SELECT 2", OPEN), ("COMMIT", FREE),
        ("SAVEPOINT s", OPEN), ("SELECT 3", OPEN), ("INSERT INTO rows_of VALUES ({n}, 1)", OPEN),
        ("ROLLBACK TO s", OPEN), ("SELECT nothing", OPEN), ("ROLLBACK", FREE),
        ("UPDATE rows_of SET b = b + 1 WHERE a = 1", OPEN), ("INSERT INTO rows_of VALUES (1, 1)", OPEN),
        ("SET autocommit = 1", FREE), ("SELECT b > 1 FROM rows_of WHERE a = 1", FREE),
    ],
    "chained": [
        ("BEGIN", OPEN), ("COMMIT AND CHAIN", OPEN), ("ROLLBACK AND CHAIN", OPEN), ("ROLLBACK AND NO CHAIN", FREE),
        ("START TRANSACTION READ ONLY", OPEN), ("UPDATE rows_of SET b = 1", OPEN), ("COMMIT", FREE),
        ("BEGIN", OPEN), ("CREATE TABLE IF NOT EXISTS ended (a INT)", FREE),
    ],
    "the next transaction": [
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", OPEN), ("SELECT 1", OPEN), ("SELECT * FROM nothing", OPEN),
        ("SELECT COUNT(*) > 1 FROM rows_of", FREE),
        ("SET TRANSACTION READ ONLY", OPEN), ("INSERT INTO rows_of VALUES ({n}, 1)", OPEN), ("COMMIT", FREE),
        ("INSERT INTO rows_of VALUES ({n}, 1)", FREE), ("DELETE FROM rows_of WHERE a = {n}", FREE),
    ],
    "two phases": [
        ("XA START '{side}'", OPEN), ("INSERT INTO rows_of VALUES ({n}, 1)", OPEN), ("COMMIT", OPEN),
        ("XA END '{side}'", OPEN), ("SELECT 1", OPEN), ("XA PREPARE '{side}'", None), ("XA COMMIT '{side}'", FREE),
        ("DELETE FROM rows_of WHERE a = {n}", FREE),
        ("XA START '{side}'", OPEN), ("XA END '{side}'", OPEN), ("XA ROLLBACK '{side}'", FREE),
        ("XA BEGIN '{side}'", OPEN), ("XA END '{side}'", OPEN), ("XA COMMIT '{side}' ONE PHASE", FREE),
        ("XA ROLLBACK 'none such'", FREE),
    ],
    "by text": [
        ("BEGIN; SELECT 1; SAVEPOINT a", OPEN), ("SELECT nothing; SELECT 1", OPEN), ("SELECT 1; COMMIT", FREE),
        ("SELECT 1; BEGIN; SELECT nothing", OPEN), ("ROLLBACK; SELECT nothing", FREE),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_backend_is_kept_as_long_as_flags_and_reports_say(
    tracking: MySqlServer, one: ProxyProcess, name: str
) -> None:
    flags = SEVERAL if name == "by text" else {}
    with Two(tracking, one, **flags) as mine:
        for side, database in ((mine.proxied, "app"), (mine.direct, "other")):
            side.run(f"USE {database}")
        for text, held in SCRIPTS[name]:
            said = [
                side.run(text.format(side=which, n=number))
                for side, which, number in ((mine.proxied, "p", 70), (mine.direct, "d", 80))
            ]
            shown = [repr(one).replace("other.", "app.").replace("80", "70") for one in said]
            assert shown[0] == shown[1], text
            if held is not None:
                assert is_kept(one.port) is held, text
    assert "was pinned" not in one.log()


def test_a_deadlock_ends_a_transaction_and_the_backend_is_free_as_soon_as_that_is_heard(tracking: MySqlServer) -> None:
    with tracking.admin() as admin, admin.cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS app.locked (a INT PRIMARY KEY, b INT) ENGINE=InnoDB")
        cursor.execute("REPLACE INTO app.locked VALUES (1, 1), (2, 2)")
    with ProxyProcess.for_target(target(tracking), "--max-backends", "2") as proxy:
        with Two(tracking, proxy) as a, Two(tracking, proxy) as b:
            first, second = a.proxied, b.proxied
            for side, row in ((first, 1), (second, 2)):
                side.run("BEGIN")
                side.run(f"UPDATE locked SET b = 0 WHERE a = {row}")
            heard: list[object] = []
            thread = threading.Thread(target=lambda: heard.append(first.run("UPDATE locked SET b = 0 WHERE a = 2")))
            thread.start()
            heard.append(second.run("UPDATE locked SET b = 0 WHERE a = 1"))
            thread.join()
            assert repr(heard).count("(1213") == 1
            for side in (first, second):
                side.run("SELECT 1")
                side.run("ROLLBACK")
            assert not is_kept(proxy.port)
            assert a.run("SELECT b FROM locked ORDER BY a")[0][1] == ((1,), (2,))
        assert "was pinned" not in proxy.log()


@pytest.mark.parametrize("text", ["COMMIT RELEASE", "ROLLBACK WORK RELEASE"])
def test_a_released_connection_is_closed(tracking: MySqlServer, one: ProxyProcess, text: str) -> None:
    with Two(tracking, one) as mine, Two(tracking, one) as another:
        for side in (mine.direct, mine.proxied):
            side.run("BEGIN")
            assert [len(one) for one in side.run(text)] == [5]  # an error has two
            with pytest.raises(pymysql.OperationalError), side.connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        another.run("SELECT 1")


def test_a_function_that_fails_has_changed_nobody_elses_settings(tracking: MySqlServer, one: ProxyProcess) -> None:
    """MariaDB does not report what has changed by the time of an error."""
    with tracking.admin() as admin, admin.cursor() as cursor:
        cursor.execute("DROP FUNCTION IF EXISTS app.fails")
        cursor.execute(
            "CREATE FUNCTION app.fails() RETURNS INT DETERMINISTIC BEGIN"
            " SET SESSION time_zone = '+07:00'; SIGNAL SQLSTATE '45000'; RETURN 1; END"
        )
    with Two(tracking, one) as mine, Two(tracking, one) as another:
        assert mine.proxied.run("SELECT fails()")[0][0] == 1644
        if tracking.version.startswith("mysql"):
            assert mine.proxied.run("SELECT @@time_zone")[0][1] == (("+07:00",),)
            return  # that has pinned: it may have changed more
        another.run("SELECT @@time_zone")


def test_questions_of_the_proxys_are_answered_where_a_session_has_a_limit_of_no_rows(
    tracking: MySqlServer, one: ProxyProcess
) -> None:
    with Two(tracking, one) as mine, Two(tracking, one) as another:
        mine.run("SET sql_select_limit = 0", free=False)
        mine.run("SELECT 1", free=False)
        for side, table in ((mine.direct, "app"), (mine.proxied, "other")):
            assert side.run(f"INSERT INTO {table}.numbered (n) VALUES (1)")[0][2] == 1
        another.run("SELECT 1")
        mine.run("SET sql_select_limit = DEFAULT")
        another.run("SELECT 1")


def test_what_a_failed_question_has_left_can_be_read(tracking: MySqlServer) -> None:
    """Nobody else has used the backend meanwhile, and the proxy has asked nothing."""
    with ProxyProcess.for_target(target(tracking), "--max-backends", "2") as proxy, Two(tracking, proxy) as mine:
        for text in ("SELECT nothing", "SHOW COLUMNS FROM nothing", "SELEC 1", "SELECT 1 FROM nothing"):
            mine.run(text, free=False)
            mine.run("SHOW ERRORS", free=False)
            mine.run("SELECT ROW_COUNT()", free=False)
        mine.run("SELECT CAST('x' AS SIGNED), 1/0", free=False)
        mine.run("SHOW WARNINGS", free=False)
        assert "was pinned" not in proxy.log()
