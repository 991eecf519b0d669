"""Pins that are lifted: one backend for all, so that nobody else gets on while it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pymysql
import pytest

from rdsp_codecs.pins import PinReason
from tests.live.mysql.sidebyside import SEVERAL, Two, connect, target
from tests.servers.mysql import ADMIN, ADMIN_PASSWORD, MySqlServer
from tests.servers.proxy import ProxyProcess

TABLE, STATEMENT, HANDLER = PinReason.TEMPORARY_TABLE, PinReason.TEXT_PREPARED, PinReason.OPEN_HANDLER
LOCK, TABLES, BACKUP = PinReason.ADVISORY_LOCK, PinReason.TABLE_LOCK, PinReason.BACKUP_LOCK

UNDONE = [
    (TABLE, "CREATE TEMPORARY TABLE t1 (a INT)", "INSERT INTO t1 VALUES (1)", "SELECT * FROM t1", "DROP TABLE t1"),
    (TABLE, "CREATE TEMPORARY TABLE t1 (a INT)", "DROP TEMPORARY TABLE IF EXISTS app.t1, none_such"),
    (TABLE, "CREATE TEMPORARY TABLE other.t1 (a INT)", "USE other", "SELECT COUNT(*) FROM t1", "DROP TABLE t1", "USE app"),
    (TABLE, "CREATE TEMPORARY TABLE t1 LIKE numbered", "CREATE TEMPORARY TABLE t1 (b INT)", "DROP TABLE t1"),
    (STATEMENT, "PREPARE s FROM 'SELECT ?'", "SET @given = 5", "EXECUTE s USING @given", "DEALLOCATE PREPARE S"),
    (STATEMENT, "PREPARE s FROM 'SET time_zone = ''+05:00'''", "EXECUTE s", "DROP PREPARE s;", "SELECT @@time_zone"),
    (STATEMENT, "PREPARE s FROM 'CREATE TEMPORARY TABLE t2 (a INT)'", "USE other", "EXECUTE s", "DROP TABLE app.t2",
     "DEALLOCATE PREPARE s", "USE app"),
    (HANDLER, "HANDLER numbered OPEN AS n", "HANDLER n READ FIRST", "HANDLER n CLOSE"),
    (LOCK, "SELECT GET_LOCK('of {side}', 0)", "SELECT GET_LOCK('of {side}', 0), GET_LOCK('too {side}', 0)",
     "SELECT RELEASE_LOCK('of {side}')", "DO RELEASE_LOCK('too {side}')", "SELECT RELEASE_LOCK('of {side}')"),
    (LOCK, "DO GET_LOCK(CONCAT('of ', '{side}'), 0)", "SELECT RELEASE_ALL_LOCKS()"),
    (TABLES, "LOCK TABLES numbered READ", "SELECT COUNT(*) FROM numbered", "UNLOCK TABLES"),
    (TABLES, "LOCK TABLES numbered READ", "BEGIN", "SELECT COUNT(*) FROM answered", "COMMIT"),
]  # fmt: skip
"""Reason, what causes it, and more, of which the last undoes it."""


@pytest.fixture
def one(tracking: MySqlServer) -> Iterator[ProxyProcess]:
    """A proxy with one backend."""
    with ProxyProcess.for_target(target(tracking), "--max-backends", "1") as proxy:
        yield proxy


def is_kept(port: int, **who: str) -> bool:
    """Whether nobody else gets the one backend."""
    try:
        with connect(port, **who, read_timeout=0.3):
            return False  # PyMySQL has said SET NAMES
    except pymysql.OperationalError:
        return True


def run(session: Two, text: str) -> None:
    """On both sides, with names of their own where the server has one room for all names."""
    said = [side.run(text.format(side=name)) for side, name in ((session.proxied, "p"), (session.direct, "d"))]
    shown = [[one[1:] if one[0] is None or isinstance(one[0], list) else one for one in what] for what in said]
    assert shown[0] == shown[1], text


@pytest.mark.parametrize("script", UNDONE, ids=lambda script: script[1][:40])
def test_what_is_undone_pins_no_more(tracking: MySqlServer, one: ProxyProcess, script: tuple[PinReason, str]) -> None:
    reason, *texts = script
    with ExitStack() as stack:
        mine, another = [stack.enter_context(Two(tracking, one)) for _ in range(2)]
        for _ in range(2):
            for text in texts:
                run(mine, text)
            if "given" in texts[1]:
                run(mine, "SET @given = NULL")
            if texts[1] != "SET @given = 5":
                another.run("SELECT 1")
                mine.compare()
        one.wait_for_log(reason.facts.title)


def test_what_a_query_has_filled_and_what_has_no_name_stays(tracking: MySqlServer) -> None:
    staying = [
        ("CREATE TEMPORARY TABLE t1 AS SELECT 1 AS a", "DROP TABLE t1", "SELECT 1"),
        ("CREATE TEMPORARY TABLE t1 (a INT)", "ALTER TABLE t1 RENAME TO t2", "DROP TABLE t2"),
        ("CREATE TEMPORARY TABLE t1 (a INT)", "DROP TABLE t1, none_such", "SELECT 1"),
        ("DO GET_LOCK(CONCAT('a', 'b{side}'), 0)", "DO RELEASE_LOCK('ab{side}')", "SELECT 1"),
        ("PREPARE s FROM 'DO 0'", "PREPARE t FROM 'DO 0'", "DEALLOCATE PREPARE s"),
        ("SELECT GET_LOCK('a{side}', 0), GET_LOCK('b{side}', 0)", "DO RELEASE_LOCK('a{side}')", "SELECT 1"),
    ]
    with ProxyProcess.for_target(target(tracking), "--max-backends", "1") as one:
        for texts in staying:
            with Two(tracking, one) as mine:
                for text in texts:
                    run(mine, text)
                assert is_kept(one.port), texts
                run(mine, "SELECT 2")


def test_a_lock_that_was_not_had_is_not_held(tracking: MySqlServer, one: ProxyProcess) -> None:
    with connect(tracking.port) as holder, Two(tracking, one) as mine, Two(tracking, one) as another:
        with holder.cursor() as cursor:
            cursor.execute("SELECT GET_LOCK('wanted', 0)")
        assert mine.run("SELECT GET_LOCK('wanted', 0)")[0][1] == ((0,),)
        another.run("SELECT 1")
        holder.cursor().execute("SELECT RELEASE_LOCK('wanted')")
        side = mine.proxied
        assert side.run("SELECT GET_LOCK('wanted', 0)")[0][1] == ((1,),)
        assert mine.direct.run("SELECT GET_LOCK('wanted', 0)")[0][1] == ((0,),)
        assert side.run("SELECT RELEASE_LOCK('wanted')")[0][1] == ((1,),)
        another.run("SELECT 1")


def test_locks_of_the_whole_server_are_pins_until_they_are_released(tracking: MySqlServer) -> None:
    texts = {TABLES: ("FLUSH TABLES WITH READ LOCK", "UNLOCK TABLES")}
    if tracking.version.startswith("mariadb"):
        texts[BACKUP] = ("BACKUP STAGE START", "BACKUP STAGE END")
    else:
        texts[BACKUP] = ("LOCK INSTANCE FOR BACKUP", "UNLOCK INSTANCE")
    who = {"user": ADMIN, "password": ADMIN_PASSWORD}
    url = f"{target(tracking).partition('://')[0]}://{ADMIN}:{ADMIN_PASSWORD}@127.0.0.1:{tracking.port}/app"
    with ProxyProcess.for_target(url, "--max-backends", "1") as proxy:
        for reason, (first, last) in texts.items():
            with connect(proxy.port, **who) as mine, connect(proxy.port, **who) as other:
                mine.cursor().execute(first)
                assert is_kept(proxy.port, **who), first
                mine.cursor().execute(last)
                other.cursor().execute("SELECT 1")
            proxy.wait_for_log(reason.facts.title)


def test_texts_of_several_statements_hold_what_they_make(tracking: MySqlServer, one: ProxyProcess) -> None:
    with Two(tracking, one, **SEVERAL) as mine:
        mine.run("SELECT 1; PREPARE s FROM 'SELECT 5'")
        mine.run("EXECUTE s")
        mine.run("CREATE TEMPORARY TABLE t1 (a INT); INSERT INTO t1 VALUES (1)")
        mine.run("SELECT * FROM t1")
