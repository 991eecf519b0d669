"""Sessions through the proxy are like sessions at the server: what they are told, and what they have set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pymysql
import pytest
from pymysql.constants import CLIENT

from rdsp_codecs.pins import PinReason
from tests.live.mysql.sidebyside import SEVERAL, Two, connect, target
from tests.live.mysql.test_lifted import is_kept
from tests.servers.mysql import ADMIN, ADMIN_PASSWORD, MySqlServer
from tests.servers.proxy import ProxyProcess


@pytest.fixture
def one(tracking: MySqlServer) -> Iterator[ProxyProcess]:
    """A proxy with one backend, which all sessions share: nobody may keep it."""
    with ProxyProcess.for_target(target(tracking), "--max-backends", "1") as proxy:
        yield proxy


SETTINGS = [
    ["SET time_zone = '+03:00'", "SET sql_mode = 'ANSI_QUOTES'", "SET sql_mode = ''"],
    ["SET NAMES latin1", "SET NAMES utf8mb4", "SET NAMES utf8mb4 COLLATE utf8mb4_bin"],
    ["SET character_set_client = latin1", "SET NAMES latin1"],
    ["SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", "SET SESSION TRANSACTION READ ONLY"],
    ["SET foreign_key_checks = 0, unique_checks=OFF", "SET sql_select_limit = 3", "SELECT 1"],
    ["SET @@session.wait_timeout = 77", "SET @@group_concat_max_len = 5", "SET lc_time_names = 'de_DE'"],
    ["USE other", "SELECT DATABASE()", "USE app", "USE nothing_of_the_kind", "SELECT DATABASE()"],
    ["SELECT nothing", "SELEC 1", "SET sql_mode = 'nothing'", "SET time_zone = 'nowhere'"],
    ["SET @@foreign_key_checks = 0", "SET @@sql_mode = 'ANSI'", "SET @@time_zone = '+01:00'"],
    ["SET character_set_results = NULL", "SET NAMES latin1 COLLATE latin1_bin", "SET NAMES DEFAULT"],
    ["SET sql_safe_updates = 1, sql_big_selects = 1", "SET sql_notes=0", "SET div_precision_increment = 2"],
    ["SET net_read_timeout=31, net_write_timeout=61, interactive_timeout=100, lock_wait_timeout=5"],
    ["SET innodb_lock_wait_timeout = 3, tmp_table_size = 1048576, max_heap_table_size=1048576"],
    ["SET sort_buffer_size = 65536, join_buffer_size = 65536, max_sort_length = 100, default_week_format = 1"],
    [
        "SET auto_increment_increment = 2",
        "SET auto_increment_offset = 2",
        "SET sql_warnings = 1, low_priority_updates = 1",
    ],
    ["SET CHARACTER SET latin1", "SET CHARSET DEFAULT", "SET CHARACTER SET utf8mb4"],
    ["SET collation_connection = latin1_bin", "SET NAMES DEFAULT", "SET @@collation_connection = utf8mb4_bin"],
    ["SET NAMES utf8mb4 COLLATE utf8mb4_bin", "SET character_set_connection = latin1", "SET NAMES utf8mb4"],
    ["SET SESSION max_join_size = 5000", "SET @@sql_mode = CONCAT(@@sql_mode, ',ANSI')", "SELECT 1"],
    ["SET @@session.max_join_size = DEFAULT, @@sort_buffer_size = 2 * 32768", "SET SESSION big_tables = ON"],
    [
        "SET @@long_query_time = 0.25, session max_error_count = 7",
        "SET range_alloc_block_size = 8192",
        "SET max_error_count = 'x'",
    ],
    ["SET @@time_zone = '+01:00', sql_mode = 'no such'", "SET sql_mode = DEFAULT, time_zone = @@global.time_zone"],
    [
        "SET @a = 5",
        "SELECT @a, @b",
        "SET @b = 'ä', @a = -1.50",
        "SELECT @a, @b, COLLATION(@b), HEX(@b)",
        "SET @a = NULL",
        "SELECT @a, @b, @a IS NULL",
        "SET @b = x'4142', @c := 1e3, @d = TRUE, @e = DATE'2020-01-01'",
        "SELECT @b, @c, @d, @e",
        "SET NAMES latin1",
        "SET @b = 'it''s \\\\ \\n'",
        "SELECT HEX(@b), COLLATION(@b)",
    ],
    ["SET @x = 1, time_zone = '+02:00'", "SELECT @x, @@time_zone", "SET time_zone = '+03:00', @x = 'y'", "SELECT @x"],
    ["SET optimizer_switch = 'mrr=on'", "SET sql_quote_show_create = 0", "SET sql_auto_is_null = 1"],
]


@pytest.mark.parametrize("texts", SETTINGS, ids=lambda texts: texts[0][:40])
def test_settings_follow_their_sessions_over_one_backend(
    tracking: MySqlServer, one: ProxyProcess, texts: list[str]
) -> None:
    with ExitStack() as stack:
        first, second, third = [stack.enter_context(Two(tracking, one)) for _ in range(3)]
        for text in texts:
            first.run(text)
            second.run("SELECT 2")
            if text.startswith("SET"):
                third.run(text)
        first.compare()
        second.compare()
    assert "was pinned" not in one.log()


def test_computed_variables_pin_until_they_are_set_to_what_can_follow(tracking: MySqlServer, one: ProxyProcess) -> None:
    with Two(tracking, one) as mine, Two(tracking, one) as another:
        for first, last in (
            ("SET @a = 1 + 1", "SET @a = 5"),
            ("SELECT 1, 2 INTO @a, @b", "SET @a = NULL, @b = 'x'"),
            ("SELECT @a := @a + 1", "SET @A = 0"),
            ("SET @old = @@sql_mode, sql_mode = 'ANSI'", "SET @old = NULL"),
        ):
            mine.run(first)
            assert is_kept(one.port), first
            mine.run("SELECT @a, @b, @old")
            mine.run(last)
            another.run("SELECT @a, @b, @old")
            mine.run("SELECT @a, @b, @old")


def test_a_database_that_is_dropped_is_missed_until_another_one_is_used(
    tracking: MySqlServer, one: ProxyProcess
) -> None:
    user = {"user": ADMIN, "password": ADMIN_PASSWORD, "database": None}
    scheme, _, rest = target(tracking).partition("://")
    with ProxyProcess.for_target(f"{scheme}://{ADMIN}:{ADMIN_PASSWORD}@{rest.rpartition('@')[2]}") as proxy:
        with connect(proxy.port, **user) as mine, mine.cursor() as cursor:
            for text in ("CREATE DATABASE dropped", "USE dropped", "DROP DATABASE dropped"):
                cursor.execute(text)
            cursor.execute("SELECT DATABASE()")
            assert cursor.fetchall() == ((None,),)
            proxy.wait_for_log(PinReason.NO_DATABASE.facts.title)
            cursor.execute("USE app")
            cursor.execute("SELECT DATABASE()")
            assert cursor.fetchall() == (("app",),)


def test_sets_do_not_pin_where_that_is_excluded(tracking: MySqlServer, tmp_path: Path) -> None:
    """What cannot follow may be lost then, but nobody else gets it."""
    given = (
        f'[[proxies]]\nlisten = "127.0.0.1:0"\ntarget = {{url = "{target(tracking)}"}}\n'
        'target_group = {session_pinning_filters = ["EXCLUDE_VARIABLE_SETS"], max_backends = 1}\n'
    )
    file = tmp_path / "rdsp.toml"
    file.write_text(given)
    with ProxyProcess(str(file)) as proxy, connect(proxy.port) as mine, Two(tracking, proxy) as another:
        for text, question in (
            ("SET @a = 1 + 1", "SELECT @a"),
            ("SET timestamp = 1000", "SELECT NOW() > '2000-01-01'"),
            ("SET rand_seed1 = 5, rand_seed2 = 6", "SELECT RAND() = RAND()"),
        ):
            mine.cursor().execute(text)
            another.run(question)
            mine.cursor().execute("SELECT 1")
        assert "was pinned" not in proxy.log()


def test_transactions_belong_to_their_sessions(tracking: MySqlServer) -> None:
    with ProxyProcess.for_target(target(tracking), "--max-backends", "2") as proxy, ExitStack() as stack:
        one, two = [stack.enter_context(Two(tracking, proxy)) for _ in range(2)]
        for side in (one.direct, one.proxied):
            side.run("CREATE TABLE IF NOT EXISTS app.sums (a INT PRIMARY KEY) ENGINE=InnoDB")
        one.run("DELETE FROM app.sums")
        for side, rows in ((one.direct, (10, 11)), (one.proxied, (20, 21))):
            side.run("BEGIN")
            assert side.run(f"INSERT INTO app.sums VALUES ({rows[0]})")[0][2] == 1
            assert side.run(f"INSERT INTO app.sums VALUES ({rows[0]})")[0][0] == 1062
            assert side.run(f"INSERT INTO app.sums VALUES ({rows[1]})")[0][2] == 1
            assert two.proxied.run("SELECT COUNT(*) FROM app.sums WHERE a = 20")[0][1] == ((0,),)
            side.run("COMMIT")
        assert two.run("SELECT a FROM app.sums ORDER BY a")[0][1] == ((10,), (11,), (20,), (21,))
        for side, row in ((one.direct, 30), (one.proxied, 40)):
            side.run("SET autocommit = 0")
            side.run(f"INSERT INTO app.sums VALUES ({row})")
            assert two.proxied.run(f"SELECT COUNT(*) FROM app.sums WHERE a = {row}")[0][1] == ((0,),)
            side.run("ROLLBACK")
        assert two.run("SELECT COUNT(*) FROM app.sums")[0][1] == ((4,),)
        one.run("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", free=False)
        one.run("START TRANSACTION READ ONLY", free=False)
        one.run("INSERT INTO app.sums VALUES (50)", free=False)
        one.run("SAVEPOINT a", free=False)
        one.run("ROLLBACK TO a", free=False)
        one.run("COMMIT AND CHAIN", free=False)
        one.run("ROLLBACK")
        assert "was pinned" not in proxy.log()


def test_last_insert_id_is_the_sessions_own(tracking: MySqlServer, one: ProxyProcess) -> None:
    with ExitStack() as stack:
        sessions = [stack.enter_context(Two(tracking, one)) for _ in range(3)]
        for number, session in enumerate(sessions):
            for side, table in ((session.direct, "app"), (session.proxied, "other")):
                side.run(f"CREATE TABLE IF NOT EXISTS {table}.ids{number} (id INT AUTO_INCREMENT PRIMARY KEY, n INT)")
                side.run(f"USE {table}")
            assert session.run("SELECT LAST_INSERT_ID()", free=False)[0][1] == ((0,),)
        for turn in range(3):
            for number, session in enumerate(sessions):
                session.run(f"INSERT INTO ids{number} (n) VALUES (1), (2)", free=False)
                session.run(f"INSERT INTO ids{number} (id, n) VALUES ({1000 * (turn + 1)}, 3)", free=False)
            for session in sessions:
                session.run("SELECT LAST_INSERT_ID(), @@last_insert_id, @@identity", free=False)
        sessions[0].run("SELECT LAST_INSERT_ID(77)", free=False)
        sessions[1].run("SELECT LAST_INSERT_ID()", free=False)
        sessions[0].run("SELECT LAST_INSERT_ID()", free=False)
        for number, session in enumerate(sessions):
            for side, table in ((session.direct, "app"), (session.proxied, "other")):
                side.run(f"DROP TABLE {table}.ids{number}")
    assert "was pinned" not in one.log()


def test_what_cannot_follow_pins_and_ends_with_its_session(tracking: MySqlServer) -> None:
    pinning = {
        "SELECT 6 INTO @a": "SELECT @a",
        "CREATE TEMPORARY TABLE numbered (x INT)": "SHOW COLUMNS FROM numbered",
        "SELECT GET_LOCK('mine', 0)": "SELECT IS_USED_LOCK('mine') IS NULL",
        "PREPARE a FROM 'SELECT 7'": "EXECUTE a",
        "SET timestamp = 1000": "SELECT NOW()",
        "SET ROLE NONE": "SELECT CURRENT_ROLE()",
        "HANDLER app.numbered OPEN": "HANDLER app.numbered READ FIRST",
        "LOCK TABLES app.numbered READ": "SELECT COUNT(*) FROM app.numbered LIMIT 0",
    }
    with ProxyProcess.for_target(target(tracking), "--max-backends", "2") as proxy:
        for count, (text, question) in enumerate(pinning.items(), 1):
            with Two(tracking, proxy) as session, Two(tracking, proxy) as another:
                if text != "SELECT GET_LOCK('mine', 0)":
                    session.run(text)
                else:
                    assert session.proxied.run(text)[0][1] == ((1,),)
                    assert session.direct.run(text)[0][1] == ((0,),)
                for _ in range(3):
                    another.run("SELECT 1")
                    session.run(question, free=False)
                    if "HANDLER" not in text and "LOCK" not in text and "EXECUTE" not in question:
                        another.run(question, free=False)
                proxy.wait_for_log("was pinned")
                assert proxy.log().count("pinned client left") < count


def test_several_statements_and_results(tracking: MySqlServer) -> None:
    with ProxyProcess.for_target(target(tracking), "--max-backends", "2") as proxy:
        with Two(tracking, proxy, **SEVERAL) as session, Two(tracking, proxy) as another:
            session.run("SELECT 1; SELECT 2, 3; DO 0; SELECT 4")
            session.run("SELECT 1; SELECT nothing; SELECT 3")
            session.run("BEGIN; SELECT 1", free=False)
            session.run("SELECT 5", free=False)
            session.run("ROLLBACK; SET @x = 5")
            session.run("SELECT @x")
            another.run("SELECT 1; SELECT 2")
            another.run("SELECT ';', 'a;b'")


def test_large_results_and_texts(tracking: MySqlServer, one: ProxyProcess) -> None:
    with Two(tracking, one) as session:
        session.run("SELECT REPEAT('x', 5000000), REPEAT('y', 100)", free=False)
        long = "x" * 3_000_000
        assert session.run(f"SELECT LENGTH('{long}')", free=False)[0][1] == ((3_000_000,),)
        rows = " UNION ALL ".join(f"SELECT {n}, REPEAT('z', 300)" for n in range(2000))
        assert len(session.run(rows, free=False)[0][1]) == 2000
        for size in (0xFFFFFF - 5, 0xFFFFFF - 4, 0xFFFFFF, 0x1FFFFFE - 5, 0x1FFFFFE - 4, 0x1FFFFFE):
            ((_, ((text, number),), *_),) = session.proxied.run(f"SELECT REPEAT('x', {size}), 1")
            assert (len(text), number) == (size, 1)
        session.run("SELECT 1")


def test_what_functions_do_behind_a_select_is_heard(tracking: MySqlServer) -> None:
    """Also for PyMySQL, which expects an EOF behind rows: that one would not tell."""
    with tracking.admin() as admin, admin.cursor() as cursor:
        for name, what in (("zoned", "SESSION time_zone = '+09:00'"), ("sets", "@z = 5")):
            cursor.execute(f"DROP FUNCTION IF EXISTS app.{name}")
            cursor.execute(f"CREATE FUNCTION app.{name}() RETURNS INT DETERMINISTIC BEGIN SET {what}; RETURN 1; END")
        cursor.execute("CREATE OR REPLACE VIEW app.setting AS SELECT app.sets() AS one")
    with ProxyProcess.for_target(target(tracking), "--max-backends", "2") as proxy, ExitStack() as stack:
        one, two, three = [stack.enter_context(Two(tracking, proxy)) for _ in range(3)]
        for side in (one.direct, one.proxied):
            side.run("SELECT zoned()")
        two.run("SELECT @@time_zone")
        one.run("SELECT @@time_zone")
        three.run("SELECT 1")
    with ProxyProcess.for_target(target(tracking), "--max-backends", "2") as proxy, ExitStack() as stack:
        one, two = [stack.enter_context(Two(tracking, proxy)) for _ in range(2)]
        one.run("SELECT * FROM setting")
        for _ in range(3):
            two.run("SELECT 1")
        proxy.wait_for_log("was pinned")
        two.run("SELECT @z")
        one.run("SELECT @z")


@pytest.mark.parametrize("flags", [CLIENT.IGNORE_SPACE, CLIENT.INTERACTIVE, CLIENT.IGNORE_SPACE | CLIENT.INTERACTIVE])
def test_settings_that_a_login_makes_by_its_flags_stay_with_the_session(
    tracking: MySqlServer, one: ProxyProcess, flags: int
) -> None:
    """Node's mysql2 has IGNORE_SPACE, command lines have INTERACTIVE."""
    with tracking.admin() as admin, admin.cursor() as cursor:
        cursor.execute("SET GLOBAL interactive_timeout = 12345")
    try:
        with Two(tracking, one, client_flag=flags) as first, Two(tracking, one, client_flag=flags) as second:
            for _ in range(2):
                for two in (first, second):
                    two.run("SELECT @@sql_mode, @@wait_timeout, CONCAT ('a', 'b')")
            first.run("SELECT COUNT (*) FROM (SELECT 1) a")
            second.run("SET sql_mode = ''")
            first.run("SELECT @@sql_mode")
            second.run("SELECT COUNT (*) FROM (SELECT 1) a")
    finally:
        with tracking.admin() as admin, admin.cursor() as cursor:
            cursor.execute("SET GLOBAL interactive_timeout = DEFAULT")


@pytest.mark.parametrize("collation", ["utf8mb4_unicode_ci", "latin1_german1_ci", "utf8mb4_bin"])
def test_the_collation_of_a_login_stays_with_the_session(
    tracking: MySqlServer, one: ProxyProcess, collation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Node's mysql2 and aiomysql say it in the login's packet, and never again."""
    monkeypatch.setattr(pymysql.connections.Connection, "set_character_set", lambda *_: None)
    with Two(tracking, one, collation=collation, charset=collation.partition("_")[0]) as first:
        with Two(tracking, one) as second:
            for _ in range(2):
                first.run("SELECT @@collation_connection, @@character_set_results, COLLATION('ü')")
                second.run("SELECT @@collation_connection, COLLATION('ü')")
            first.run("SET time_zone = '+02:00'")
            second.run("SELECT @@collation_connection")
            first.run("SELECT @@collation_connection, @@character_set_client, CHARSET('ü')")
