"""MySQL 5.6 through the proxy: it reports nothing, so that each session has a backend of its own from its first command."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pymysql
import pytest

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.framing import packets
from rdsp_codecs.mysql.login import CAPABILITIES
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
    """There is no COM_RESET_CONNECTION: its backend is closed."""
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
