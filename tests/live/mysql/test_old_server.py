"""MySQL 5.6 through the proxy: it reports nothing, so that each session has a backend of its own from its first command."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.framing import packets
from rdsp_codecs.mysql.login import CAPABILITIES, COLLATION
from tests.live.mysql.sidebyside import Side, connect, target
from tests.live.mysql.test_proxied_commands import shown
from tests.servers.mysql import MySqlServer
from tests.servers.mysqlclient import MySqlClient
from tests.servers.proxy import ProxyProcess
from tests.waiting import eventually

pytestmark = pytest.mark.matrix
FLAGS = c.CLIENT_MULTI_RESULTS | c.CLIENT_PS_MULTI_RESULTS | c.CLIENT_LOCAL_FILES


@pytest.fixture(scope="module")
def server(mysql5: MySqlServer) -> MySqlServer:
    with mysql5.admin() as admin, admin.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS app.old (id INT AUTO_INCREMENT PRIMARY KEY, a LONGTEXT) ENGINE=InnoDB"
        )
    return mysql5


def url(server: MySqlServer, more: str = "") -> str:
    """Its own TLS is 1.0, which no OpenSSL of today speaks by itself."""
    return f"{target(server)}?sslmode=disable{more}"


@pytest.fixture
def proxy(server: MySqlServer) -> Iterator[ProxyProcess]:
    with ProxyProcess.for_target(url(server), "--max-backends", "2") as proxy:
        yield proxy


def running(server: MySqlServer, what: str) -> int:
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute(f"SELECT COUNT(*) FROM information_schema.processlist WHERE {what} AND id <> CONNECTION_ID()")
        ((count,),) = cursor.fetchall()
        return int(count)


TEXTS = [
    "SELECT ROW_COUNT()",
    "SELECT 1, NULL, 'ä'",
    "SELECT nothing",
    "SELEC 1",
    "INSERT INTO old (a) VALUES ('x'), ('y')",
    "SELECT LAST_INSERT_ID() > 0, ROW_COUNT()",
    "SELECT SQL_CALC_FOUND_ROWS a FROM old LIMIT 1",
    "SELECT FOUND_ROWS() > 1",
    "SELECT 1/0",
    "SHOW WARNINGS",
    "SET @x = 5, sql_mode = 'ANSI_QUOTES'",
    "SELECT @x, @@sql_mode",
    "BEGIN",
    "UPDATE old SET a = 'z'",
    "ROLLBACK",
    "SELECT COUNT(*) FROM old WHERE a = 'z'",
    "CREATE TEMPORARY TABLE kept (a INT)",
    "SELECT * FROM kept",
    "SELECT GET_LOCK(CONCAT('old', CONNECTION_ID()), 1)",
    "SELECT RELEASE_LOCK(CONCAT('old', CONNECTION_ID()))",
    "PREPARE s FROM 'SELECT ?'",
    "EXECUTE s USING @x",
    "USE other",
    "SELECT DATABASE()",
    "DROP TEMPORARY TABLE app.kept",
    "DELETE FROM app.old",
]


def test_sessions_are_as_at_the_server(server: MySqlServer, proxy: ProxyProcess) -> None:
    direct, proxied = Side(server.port), Side(proxy.port)
    for text in TEXTS:
        said, meant = proxied.run(text), direct.run(text)
        if "INSERT" in text:  # the second one's ids are others
            said, meant = [one[:3] for one in said], [one[:3] for one in meant]
        elif "DELETE" in text or "UPDATE" in text:
            continue
        assert said == meant, text
    direct.connection.close()
    proxied.connection.close()
    proxy.wait_for_log("no_tracking")


def test_commands_are_as_at_the_server(server: MySqlServer, proxy: ProxyProcess) -> None:
    parameters = {CAPABILITIES: str(FLAGS)}
    with (
        MySqlClient(server.port, parameters=parameters) as direct,
        MySqlClient(proxy.port, parameters=parameters) as proxied,
    ):
        assert not proxied.flags & (c.CLIENT_SESSION_TRACK | c.CLIENT_DEPRECATE_EOF)
        for code, body in (
            (r.COM_PING, b""),
            (r.COM_INIT_DB, b"other"),
            (r.COM_INIT_DB, b"app"),
            (r.COM_FIELD_LIST, b"old\0"),
            (r.COM_SET_OPTION, b"\0\0"),
            (r.COM_QUERY, b"SELECT 1; SELECT nothing; SELECT 2"),
            (r.COM_SET_OPTION, b"\1\0"),
            (r.COM_QUERY, b"SELECT 1; SELECT 2"),
            (r.COM_QUERY, b"SELECT REPEAT('x', 17000000)"),
            (r.COM_REFRESH, b"\2"),
            (r.COM_RESET_CONNECTION, b""),
            (r.COM_QUERY, b"SELECT 7"),
        ):
            said, meant = proxied.ask(code, body), direct.ask(code, body)
            assert shown(said) == shown(meant), (code, body)
        assert proxied.ask(r.COM_STATISTICS)[0].part is Part.TEXT
        prepared = [one.ask(r.COM_STMT_PREPARE, b"SELECT ? + 1, ?")[0].payload[1:5] for one in (direct, proxied)]
        execute = b"\0\1\0\0\0" + b"\0\1\xfd\0\xfd\0" + b"\x0241\x03abc"
        for _ in range(2):
            meant, said = [
                one.ask(r.COM_STMT_EXECUTE, number + execute)
                for one, number in zip((direct, proxied), prepared, strict=True)
            ]
            assert shown(said) == shown(meant)
        proxied.command(r.COM_STMT_CLOSE, prepared[1])
        proxied.ask(r.COM_QUERY, b"DELETE FROM old")
        text = b"LOAD DATA LOCAL INFILE 'x' INTO TABLE old (a)"
        assert shown(proxied.ask(r.COM_QUERY, text, [b"a\nb\n"]))[-1][0] is Part.OK
        assert proxied.rows("SELECT COUNT(*) FROM old")[0][0] == b"2"
        proxied.ask(r.COM_QUERY, b"DELETE FROM old")


@pytest.mark.parametrize("kind", ["off", "zlib"])
@pytest.mark.parametrize("tls", ["disable", "require"])
def test_clients_use_tls_and_compression_though_it_has_others(server: MySqlServer, tls: str, kind: str) -> None:
    with ProxyProcess.for_target(url(server, f"&compression={kind}"), "--max-backends", "2") as proxy:
        for compression in ("", "zlib"):
            with MySqlClient(proxy.port, tls=tls, compression=compression) as client:
                assert client.tls_version == ("TLSv1.3" if tls == "require" else "")
                assert client.rows("SELECT 1, REPEAT('x', 100000)") == [(b"1", b"x" * 100_000)]


def test_what_a_session_left_nobody_finds(server: MySqlServer) -> None:
    with ProxyProcess.for_target(url(server), "--max-backends", "1") as proxy:
        for way in ("left", "said good-bye", "in the middle"):
            client = MySqlClient(proxy.port)
            assert client.rows("SELECT @x, @@sql_mode = 'ANSI_QUOTES'") == [(None, b"0")], way
            client.query("SET @x = 1, sql_mode = 'ANSI_QUOTES'")
            client.query("BEGIN")
            client.query("INSERT INTO old (a) VALUES ('left')")
            if way == "said good-bye":
                client.write(packets(b"\1"))
            elif way == "in the middle":
                client.command(r.COM_QUERY, b"SELECT SLEEP(55)")
                eventually(lambda: running(server, "info LIKE '%SLEEP(55)%'") == 1)
            client.close()
        with MySqlClient(proxy.port) as client:
            assert client.rows("SELECT @x, COUNT(*) FROM old WHERE a = 'left'") == [(None, b"0")]
        assert running(server, "info LIKE '%SLEEP(55)%'") == 0


LEFT = [
    ["SET @x = 1, sql_mode = 'ANSI_QUOTES', sql_select_limit = 0, autocommit = 0, character_set_results = ucs2"],
    ["USE other"],
    ["CREATE TEMPORARY TABLE kept (a INT)"],
    ["SELECT GET_LOCK('old', 1)"],
    ["LOCK TABLES old WRITE"],
    ["FLUSH TABLES WITH READ LOCK"],
    ["PREPARE s FROM 'SELECT 1'"],
    ["HANDLER old OPEN"],
    ["BEGIN", "INSERT INTO old (a) VALUES ('left')"],
    ["XA START 'a'", "INSERT INTO old (a) VALUES ('left')"],
    ["XA START 'a'", "INSERT INTO old (a) VALUES ('left')", "XA END 'a'", "XA PREPARE 'a'"],
    ["SET SESSION TRANSACTION READ ONLY"],
    ["INSERT INTO old (a) VALUES ('mine')", "SELECT SQL_CALC_FOUND_ROWS 1/0 UNION SELECT 2 LIMIT 1"],
]
SEEN = [
    "SELECT ROW_COUNT(), FOUND_ROWS(), LAST_INSERT_ID(), CONNECTION_ID()",
    "SHOW WARNINGS",
    "SHOW SESSION VARIABLES WHERE variable_name NOT IN ('timestamp', 'rand_seed1', 'rand_seed2')",
    "SELECT DATABASE(), @x, @y, IS_FREE_LOCK('old'), NOW() > '2020-01-01'",
    "SELECT * FROM kept",
    "HANDLER old READ FIRST",
    "SELECT COUNT(*) FROM old WHERE a = 'left'",
    "TRUNCATE old",
    "INSERT INTO old (a) VALUES ('mine')",
]


def seen(client: MySqlClient) -> list[Any]:
    """What a session finds that comes first of all."""
    return [shown(client.ask(r.COM_QUERY, text.encode())) for text in SEEN]


@pytest.mark.parametrize("collation", [33, 45, 192])
@pytest.mark.parametrize("compression", ["off", "zlib"])
def test_a_backend_is_the_next_session_s_as_if_it_were_new(
    server: MySqlServer, tmp_path: Path, compression: str, collation: int
) -> None:
    """By COM_CHANGE_USER, on the connection that it is."""
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute("GRANT RELOAD ON *.* TO app")
        cursor.execute("TRUNCATE app.old")
    file = tmp_path / "rdsp.toml"
    file.write_text(
        f'[[proxies]]\nlisten = "127.0.0.1:0"\ntarget = {{url = "{url(server, f"&compression={compression}")}"}}\n'
        """target_group = {init_query = "SET @y = 5, time_zone = '+02:00'", max_backends = 1}\n"""
    )
    flags = FLAGS | c.CLIENT_IGNORE_SPACE | c.CLIENT_INTERACTIVE
    parameters = {CAPABILITIES: str(flags), COLLATION: str(collation)}
    found = []
    with ProxyProcess(str(file)) as proxy:
        for left in [*LEFT, []]:
            with MySqlClient(proxy.port, parameters=parameters) as client:
                found.append(seen(client))
                for text in left:
                    client.ask(r.COM_QUERY, text.encode())
        for left, one in zip(LEFT, found[1:], strict=True):
            for text, now, first in zip(SEEN, one, found[0], strict=True):
                assert now == first, (left, text)
        assert "was closed" not in proxy.log()


@pytest.mark.parametrize("more", ["", '"EXCLUDE_VARIABLE_SETS"'])
def test_what_a_change_of_the_user_does_not_undo_closes(server: MySqlServer, tmp_path: Path, more: str) -> None:
    file = tmp_path / "rdsp.toml"
    file.write_text(
        f'[[proxies]]\nlisten = "127.0.0.1:0"\ntarget = {{url = "{url(server)}"}}\n'
        f"target_group = {{session_pinning_filters = [{more}], max_backends = 1}}\n"
    )
    with ProxyProcess(str(file)) as proxy:
        for name in ("insert_id", "profiling", "timestamp", "rand_seed1", "rand_seed2"):
            with MySqlClient(proxy.port) as client:
                found = client.rows("SELECT @@insert_id, RAND() > 0.0001, NOW() > '2020-01-01'")
                assert found == [(b"0", b"1", b"1")], name
                assert client.rows("SHOW PROFILES") == []
                client.query(f"SET {name} = 1")
                client.query("SELECT 'profiled'")
        proxy.wait_for_log("dbConnection=5")


def test_a_backend_is_not_lent_again_where_logins_run_something(server: MySqlServer) -> None:
    """COM_CHANGE_USER runs no init_connect."""
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute("SET GLOBAL init_connect = 'SET @z = 7'")
        try:
            with ProxyProcess.for_target(url(server), "--max-backends", "1") as proxy:
                for _ in range(2):
                    with MySqlClient(proxy.port) as client:
                        assert client.rows("SELECT @z") == [(b"7",)]
        finally:
            cursor.execute("SET GLOBAL init_connect = ''")


def test_a_password_that_was_changed_meanwhile_costs_a_login_and_no_session(server: MySqlServer) -> None:
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute("CREATE USER moving IDENTIFIED BY 'first'")
        try:
            with ProxyProcess.for_target(f"mysql://moving:first@127.0.0.1:{server.port}?sslmode=disable") as proxy:
                with MySqlClient(proxy.port, "moving", "first", "") as client:
                    client.rows("SELECT 1")
                    cursor.execute("SET PASSWORD FOR moving = PASSWORD('second')")
                proxy.wait_for_log("it could not be reset")
                cursor.execute("SET PASSWORD FOR moving = PASSWORD('first')")
                with MySqlClient(proxy.port, "moving", "first", "") as client:
                    assert client.rows("SELECT 1") == [(b"1",)]
        finally:
            cursor.execute("DROP USER moving")


def test_a_query_is_killed_by_another_session(server: MySqlServer) -> None:
    with ProxyProcess.for_target(url(server), "--max-backends", "2") as proxy:
        one, other = connect(proxy.port), connect(proxy.port)
        with one.cursor() as cursor, other.cursor() as second:
            cursor.execute("SELECT 1")
            one._execute_command(3, "SELECT SLEEP(44)")
            eventually(lambda: running(server, "info LIKE '%SLEEP(44)%'") == 1)
            begun = time.monotonic()
            second.execute(f"KILL QUERY {one.thread_id()}")
            assert one._read_query_result() is not None
            assert time.monotonic() - begun < 20
        one.close()
        other.close()


@pytest.mark.parametrize("user", ["native_user", "app"])
def test_passwords_are_proved(server: MySqlServer, user: str) -> None:
    with ProxyProcess.for_target(url(server).replace("://app:", f"://{user}:")) as proxy:
        with connect(proxy.port, user=user) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT USER(), CONNECTION_ID() > 0")
            ((said, _),) = cursor.fetchall()
            assert said.startswith(user + "@")
        with pytest.raises(pymysql.OperationalError, match="1045"):
            connect(proxy.port, user=user, password="wrong")
