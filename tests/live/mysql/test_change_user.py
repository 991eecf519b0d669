"""COM_CHANGE_USER: a client is somebody else from then on, as after a login, and nothing of who it was is left."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mysql.connector
import pymysql
import pytest

from rdsp_codecs.errors import LoginRefused, PeerClosed
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import messages as m
from rdsp_codecs.mysql import proofs
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.framing import packets
from rdsp_codecs.mysql.login import CAPABILITIES, COLLATION
from tests.live.mysql.sidebyside import connect, target
from tests.servers.mysql import DATABASE, PASSWORD, USER, MySqlServer
from tests.servers.mysqlclient import MySqlClient
from tests.servers.proxy import ProxyProcess
from tests.waiting import eventually

SECOND, SECONDS_PASSWORD = "second", "sécond's"
THIRD = "third"
"""Known to the proxy with a password that the server does not take."""


@pytest.fixture(scope="module")
def people(tracking: MySqlServer) -> MySqlServer:
    """Another user, who may see one database alone, and one that both may not."""
    with tracking.admin() as admin, admin.cursor() as cursor:
        for text in (
            "CREATE DATABASE IF NOT EXISTS of_second",
            "CREATE DATABASE IF NOT EXISTS of_nobody",
            f"CREATE USER IF NOT EXISTS {SECOND} IDENTIFIED BY '{SECONDS_PASSWORD.replace(chr(39), chr(39) * 2)}'",
            f"GRANT ALL ON of_second.* TO {SECOND}",
            f"CREATE USER IF NOT EXISTS {THIRD} IDENTIFIED BY 'what the server knows'",
            "CREATE TABLE IF NOT EXISTS app.of_changed (n INT) ENGINE=InnoDB",
            "DELETE FROM app.of_changed",
        ):
            cursor.execute(text)
    return tracking


@contextmanager
def proxied(server: MySqlServer, folder: Path, *settings: str, backends: int = 3) -> Iterator[ProxyProcess]:
    file = folder / "rdsp.toml"
    lines = "\n".join(settings)
    file.write_text(
        f'[[proxies]]\nlisten = "127.0.0.1:0"\ntarget.url = "{target(server)}"\n'
        f"target_group.max_backends = {backends}\n{lines}\n"
        f'[[proxies.auth]]\nusername = "{SECOND}"\npassword = "{SECONDS_PASSWORD}"\n'
        f'[[proxies.auth]]\nusername = "{THIRD}"\npassword = "what the proxy knows"\n'
    )
    with ProxyProcess(str(file)) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def proxy(people: MySqlServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with proxied(people, tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


_WHO = "SELECT CURRENT_USER(), DATABASE(), @@collation_connection"


def _as_second(client: MySqlClient, **more: Any) -> r.Ok:
    return client.change_user(SECOND, SECONDS_PASSWORD, "of_second", **more)


@pytest.mark.parametrize("tls", ["disable", "require"])
@pytest.mark.parametrize("flags", [0, c.CLIENT_DEPRECATE_EOF | c.CLIENT_QUERY_ATTRIBUTES], ids=["classic", "newer"])
def test_it_is_somebody_else_and_back_as_at_the_server(
    people: MySqlServer, proxy: ProxyProcess, flags: int, tls: str
) -> None:
    if c.lacking(people_flags(people), flags):
        pytest.skip("it has no query attributes")
    parameters = {CAPABILITIES: str(flags | c.CLIENT_MULTI_RESULTS)}
    said = []
    for port in (people.port, proxy.port):
        with MySqlClient(port, tls=tls, parameters=parameters) as client:
            here: list[Any] = [client.rows(_WHO)]
            for collation in ("45", "33", "8"):
                here += [_as_second(client, parameters={COLLATION: collation}), client.rows(_WHO)]
                here += [client.change_user(database="other"), client.rows(_WHO)]
            number = client.state.connection_id
        here.append(number > 0)
        said.append(here)
    assert said[1] == said[0]
    assert said[0][2][0][0] == f"{SECOND}@%".encode()


def people_flags(server: MySqlServer) -> int:
    with MySqlClient(server.port) as client:
        return client.state.offered


def test_nothing_of_the_session_before_is_left(people: MySqlServer, proxy: ProxyProcess) -> None:
    told = [
        "SELECT @a, @@sql_mode = '', @@time_zone, @@autocommit, LAST_INSERT_ID()",
        "SELECT @@sql_select_limit, @@character_set_results, @@transaction_isolation"
        if people.version.startswith("mysql")
        else "SELECT @@sql_select_limit, @@character_set_results, @@tx_isolation",
    ]
    left = [
        "SET @a = 5, sql_mode = '', time_zone = '+03:00', autocommit = 0, sql_select_limit = 77",
        "SET NAMES latin1",
        "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SELECT LAST_INSERT_ID(99)",
        "CREATE TEMPORARY TABLE of_mine (n INT)",
        "PREPARE mine FROM 'SELECT 1'",
        "SELECT GET_LOCK('mine', 0)",
        "BEGIN",
        "INSERT INTO app.of_changed VALUES (1)",
    ]
    said = []
    for port in (people.port, proxy.port):
        with MySqlClient(port) as client:
            fresh = [client.rows(text) for text in told[1:]]
            for text in left:
                assert client.query(text)[-1][0] != 0xFF, text
            prepared = client.ask(r.COM_STMT_PREPARE, b"SELECT 7")[0]
            statement = prepared.payload[1:5]
            client.change_user()
            here: list[Any] = [client.rows(text) for text in told]
            assert here[1:] == fresh
            here.append(client.query("SELECT * FROM of_mine")[0][:9])
            here.append(client.query("EXECUTE mine")[0][:9])
            (executed,) = client.ask(r.COM_STMT_EXECUTE, statement + b"\0\1\0\0\0")
            here.append(r.read_err(executed.payload).code)
            here.append(client.rows("SELECT COUNT(*) FROM app.of_changed"))
            with MySqlClient(people.port) as other:
                eventually(lambda: other.rows("SELECT IS_FREE_LOCK('mine')") == [(b"1",)])
        said.append(here)
    assert said[1] == said[0]
    assert [one[:1] for one in said[0][2:4]] == [b"\xff", b"\xff"]


def test_the_new_user_never_has_the_privileges_of_the_one_before(people: MySqlServer, tmp_path: Path) -> None:
    """With one backend for all: it is closed and opened again as the other user, in whatever state it was left."""
    with proxied(people, tmp_path, backends=1) as proxy, MySqlClient(proxy.port) as client:
        for left in ("DO 0", "BEGIN", "CREATE TEMPORARY TABLE t (n INT)", "SELECT nothing", "SET @a = UUID()"):
            client.query(left)
            _as_second(client)
            assert client.rows(_WHO)[0][:2] == (f"{SECOND}@%".encode(), b"of_second")
            assert r.read_err(client.query("SELECT * FROM app.of_changed")[0]).code == 1142
            client.query(left)
            client.change_user()
            assert client.rows(_WHO)[0][:2] == (f"{USER}@%".encode(), DATABASE.encode())


def test_a_thousand_changes(people: MySqlServer, proxy: ProxyProcess) -> None:
    with MySqlClient(proxy.port) as client, MySqlClient(proxy.port) as other:
        for turn in range(500):
            _as_second(client)
            if turn % 10 == 0:
                assert client.rows("SELECT CURRENT_USER()") == [(f"{SECOND}@%".encode(),)]
            client.change_user()
            if turn % 10 == 0:
                assert client.rows("SELECT CURRENT_USER()") == [(f"{USER}@%".encode(),)]
        assert other.rows("SELECT 1") == [(b"1",)]
    with people.admin() as admin, admin.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM information_schema.processlist WHERE user IN ('app', 'second')")
        assert cursor.fetchall()[0][0] <= 3


@pytest.mark.parametrize("begun", ["DO 0", "BEGIN", "CREATE TEMPORARY TABLE t (n INT)"])
@pytest.mark.parametrize(
    ("user", "password", "database", "code"),
    [
        (SECOND, "wrong", "of_second", 1045),
        (SECOND, "", "of_second", 1045),
        (SECOND, PASSWORD, "of_second", 1045),
        ("nobody", PASSWORD, DATABASE, 1045),
        ("", "", DATABASE, 1045),
        (THIRD, "what the proxy knows", "", 1045),
        (THIRD, "what the server knows", "", 1045),
        (SECOND, SECONDS_PASSWORD, "of_nobody", 1044),
        (SECOND, SECONDS_PASSWORD, DATABASE, 1044),
    ],
)
def test_who_fails_is_out(
    people: MySqlServer, proxy: ProxyProcess, user: str, password: str, database: str, code: int, begun: str
) -> None:
    """As at MySQL's servers: MariaDB's give back the session before, which a proxy must not do for nobody's guess."""
    with MySqlClient(proxy.port) as client:
        client.query(begun)
        with pytest.raises(LoginRefused) as caught:
            client.change_user(user, password, database)
        assert (caught.value.code, caught.value.raw[3:4]) == (str(code), b"#")
        with pytest.raises((PeerClosed, OSError)):
            client.rows("SELECT 1")
            client.rows("SELECT 1")
    with MySqlClient(proxy.port) as another:
        assert another.rows("SELECT 1") == [(b"1",)]


def test_the_log_names_who_was_refused(people: MySqlServer, proxy: ProxyProcess) -> None:
    with MySqlClient(proxy.port) as client, pytest.raises(LoginRefused):
        client.change_user(SECOND, "wrong")
    with MySqlClient(proxy.port) as client, pytest.raises(LoginRefused):
        client.change_user("who_is_this", "wrong")
    proxy.wait_for_log("who_is_this")


def _change(plugin: bytes | None = b"mysql_native_password", tail: bytes = b"") -> bytes:
    attributes = ((b"program_name", b"x" * 300), (b"", b""))
    asked = m.ChangeUser(SECOND.encode(), b"12345678901234567890", b"of_second", 45, plugin, attributes)
    return m.change_user(asked) + tail


def test_attributes_bytes_behind_and_pieces(people: MySqlServer, proxy: ProxyProcess) -> None:
    """Byte by byte, with attributes, and with something behind them, which servers leave alone."""
    with MySqlClient(proxy.port) as client:
        for tail in (b"", b"\0", b"behind"):
            for byte in packets(_change(tail=tail), 0):
                client.write(bytes((byte,)))
            client.reader.begin(1)
            switch = m.read_auth_switch(client.payload())
            password = SECONDS_PASSWORD.encode()
            for byte in packets(_PROOFS[switch.plugin](password, switch.data[:20]), 2):
                client.write(bytes((byte,)))
            client.reader.begin(3)
            while (payload := client.payload())[0] == 1:
                pass
            assert payload[0] == 0
            assert client.rows("SELECT CURRENT_USER()") == [(f"{SECOND}@%".encode(),)]


_PROOFS = {proofs.NATIVE: proofs.native_response, proofs.CACHING: proofs.caching_response}


@pytest.mark.parametrize(
    "body",
    [
        b"", b"second", b"second\0", b"second\0\xff123", b"second\0\0", b"second\0\0of_second",
        _change()[1:40], _change()[1:-5], b"\0" * 70_000, b"second\0\0of_second\0\0\x09",
    ],
)  # fmt: skip
def test_what_is_malformed_ends_the_session(people: MySqlServer, proxy: ProxyProcess, body: bytes) -> None:
    with MySqlClient(proxy.port) as client:
        client.rows("SELECT 1")
        client.command(r.COM_CHANGE_USER, body)
        first = client.payload()
        if first[0] == 0xFE:  # as far as servers read, it was whole
            client.send(b"", 2)
            client.reader.begin(3)
            first = client.payload()
        assert first[0] == 0xFF
        with pytest.raises((PeerClosed, OSError)):
            client.rows("SELECT 1")
            client.rows("SELECT 1")


def test_commands_that_are_sent_behind_it_are_no_proof(people: MySqlServer, proxy: ProxyProcess) -> None:
    query = packets(b"\x03SELECT 1", 0)
    with MySqlClient(proxy.port) as client:
        client.write(packets(_change(), 0) + query * 3)
        client.reader.begin(1)
        assert client.payload()[0] == 0xFE
        assert r.read_err(client.payload()).code == 1835
        with pytest.raises((PeerClosed, OSError)):
            client.payload()


def test_it_comes_behind_commands_that_are_answered_first(people: MySqlServer, proxy: ProxyProcess) -> None:
    with MySqlClient(proxy.port, parameters={CAPABILITIES: str(c.CLIENT_DEPRECATE_EOF)}) as client:
        query = b"SELECT REPEAT('x', 3000000)"
        client.write(packets(b"\x03BEGIN", 0) + packets(b"\x03" + query, 0) + packets(_change(), 0))
        client.reader.begin(1)
        assert client.payload()[0] == 0
        client.reader.begin(1)
        rows = [client.payload() for _ in range(4)]
        assert len(rows[2]) > 3_000_000
        client.reader.begin(1)
        switch = m.read_auth_switch(client.payload())
        client.send(_PROOFS[switch.plugin](SECONDS_PASSWORD.encode(), switch.data[:20]), 2)
        client.reader.begin(3)
        while (payload := client.payload())[0] == 1:
            pass
        assert payload[0] == 0
        assert client.rows("SELECT CURRENT_USER()") == [(f"{SECOND}@%".encode(),)]


def test_who_leaves_in_the_middle_leaks_nothing(people: MySqlServer, proxy: ProxyProcess) -> None:
    for _ in range(20):
        with MySqlClient(proxy.port) as client:
            client.query("BEGIN")
            client.write(packets(_change(), 0))
        with MySqlClient(proxy.port) as client:
            client.query("BEGIN")
            client.write(packets(_change(), 0))
            client.reader.begin(1)
            client.payload()
    with people.admin() as admin, admin.cursor() as cursor:

        def idle() -> bool:
            cursor.execute("SELECT COUNT(*) FROM information_schema.innodb_trx")
            return bool(cursor.fetchall()[0][0] == 0)

        eventually(idle)
    with MySqlClient(proxy.port) as client:
        assert client.rows("SELECT 1") == [(b"1",)]


def test_a_proof_must_come_within_the_time_for_a_login(people: MySqlServer, tmp_path: Path) -> None:
    with proxied(people, tmp_path, "limits.login_timeout = 1") as proxy, MySqlClient(proxy.port) as client:
        client.write(packets(_change(), 0))
        client.reader.begin(1)
        assert client.payload()[0] == 0xFE
        client.reader.begin(0)
        assert r.read_err(client.payload()).code == 1159
        with pytest.raises((PeerClosed, OSError)):
            client.payload()


def test_it_counts_as_a_login(people: MySqlServer, tmp_path: Path) -> None:
    limits = "limits.max_connections_per_second = 1\nlimits.connection_burst = 3"
    with proxied(people, tmp_path, limits) as proxy, MySqlClient(proxy.port) as client:
        client.change_user()
        client.change_user()
        with pytest.raises(LoginRefused, match="rate limit") as caught:
            for _ in range(100):
                client.change_user()
        assert caught.value.code == "1040"
        with pytest.raises((PeerClosed, OSError)):
            client.rows("SELECT 1")
            client.rows("SELECT 1")


def test_it_keeps_its_place_and_its_number(people: MySqlServer, tmp_path: Path) -> None:
    with proxied(people, tmp_path, "limits.max_client_connections = 2") as proxy:
        with MySqlClient(proxy.port) as one, MySqlClient(proxy.port) as two:
            for _ in range(3):
                _as_second(one)
            with pytest.raises(LoginRefused, match="exceeded"):
                MySqlClient(proxy.port)
            with pytest.raises(AssertionError, match="not owner"):
                two.rows(f"KILL {one.state.connection_id}")
            _as_second(two)
            assert two.query(f"KILL {one.state.connection_id}")[0][0] == 0
            assert r.read_err(_next(one)).code == 1927
        eventually(lambda: _welcome(proxy))


def _next(client: MySqlClient) -> bytes:
    client.reader.begin(0)
    return client.payload()


def _welcome(proxy: ProxyProcess) -> bool:
    try:
        MySqlClient(proxy.port).close()
    except LoginRefused:
        return False
    return True


def test_one_that_proves_can_be_killed_by_who_it_was(people: MySqlServer, proxy: ProxyProcess) -> None:
    with MySqlClient(proxy.port) as one, MySqlClient(proxy.port) as two:
        one.write(packets(_change(), 0))
        one.reader.begin(1)
        assert one.payload()[0] == 0xFE
        assert two.query(f"KILL {one.state.connection_id}")[0][0] == 0
        assert r.read_err(_next(one)).code == 1927
        with pytest.raises((PeerClosed, OSError)):
            one.payload()


def test_a_proxy_that_stops_does_not_wait_for_a_proof(people: MySqlServer, tmp_path: Path) -> None:
    with proxied(people, tmp_path) as proxy, MySqlClient(proxy.port) as client:
        client.write(packets(_change(), 0))
        client.reader.begin(1)
        assert client.payload()[0] == 0xFE
        assert proxy.stop() == 0
        assert r.read_err(_next(client)).code == 1053


def test_a_client_that_does_not_read_gets_all_in_order(people: MySqlServer, proxy: ProxyProcess) -> None:
    """What it has not taken of a result stands in front of the question for its password."""
    with MySqlClient(proxy.port, parameters={CAPABILITIES: str(c.CLIENT_DEPRECATE_EOF)}) as client:
        client.write(packets(b"\x03SELECT REPEAT('x', 15000000)", 0) + packets(_change(), 0))
        time.sleep(1)
        client.reader.begin(1)
        rows = [client.payload() for _ in range(4)]
        assert len(rows[2]) > 15_000_000
        client.reader.begin(1)
        assert m.read_auth_switch(client.payload()).plugin in _PROOFS


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_compressed(people: MySqlServer, proxy: ProxyProcess, compression: str) -> None:
    """The frames' numbers go on within the exchange, as they do with a server."""
    if compression == "zstd" and not people.version.startswith("mysql"):
        pytest.skip("its servers have none")
    for port in (people.port, proxy.port):
        with MySqlClient(port, compression=compression) as client:
            for _ in range(3):
                _as_second(client)
                assert client.rows("SELECT REPEAT('x', 100000)") == [(b"x" * 100_000,)]
                client.change_user()
                assert client.rows("SELECT CURRENT_USER()") == [(f"{USER}@%".encode(),)]
            with pytest.raises(LoginRefused, match="1045"):
                client.change_user(SECOND, "wrong")


def test_in_a_cursor_and_in_a_transaction_with_prepared_statements(people: MySqlServer, proxy: ProxyProcess) -> None:
    with MySqlClient(proxy.port) as client:
        client.query("BEGIN")
        client.query("INSERT INTO app.of_changed VALUES (2)")
        heard = client.ask(r.COM_STMT_PREPARE, b"SELECT n FROM app.of_changed")
        statement = heard[0].payload[1:5]
        client.ask(r.COM_STMT_EXECUTE, statement + b"\1\1\0\0\0")
        _as_second(client)
        (fetched,) = client.ask(r.COM_STMT_FETCH, statement + b"\1\0\0\0")
        assert fetched.part is Part.ERR
        client.change_user()
        assert client.rows("SELECT COUNT(*) FROM app.of_changed WHERE n = 2") == [(b"0",)]


@pytest.mark.usefixtures("leaving_sockets")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("pure", [True, False], ids=["pure", "C"])
def test_connector(people: MySqlServer, proxy: ProxyProcess, pure: bool, tls: bool) -> None:
    if not pure and not mysql.connector.HAVE_CEXT:
        pytest.skip("it has no C extension here")
    connection = mysql.connector.connect(
        host="127.0.0.1", port=proxy.port, user=USER, password=PASSWORD, database=DATABASE, ssl_disabled=not tls,
        use_pure=pure,
    )  # fmt: skip
    cursor = connection.cursor()
    for _ in range(3):
        cursor.execute("SET @a = 5")
        connection.cmd_change_user(SECOND, SECONDS_PASSWORD, "of_second")
        cursor.execute("SELECT CURRENT_USER(), DATABASE(), @a, @@character_set_client")
        assert cursor.fetchall() == [(f"{SECOND}@%", "of_second", None, "utf8mb4")]
        connection.cmd_change_user(USER, PASSWORD, DATABASE)
        cursor.execute("SELECT CURRENT_USER(), DATABASE()")
        assert cursor.fetchall() == [(f"{USER}@%", DATABASE)]
    with pytest.raises(mysql.connector.Error) as caught:
        connection.cmd_change_user(SECOND, "wrong", "of_second")
    assert (caught.value.errno, caught.value.sqlstate) == (1045, "28000")
    with pytest.raises(mysql.connector.Error):
        cursor.execute("SELECT 1")
    connection.shutdown()


def test_pymysql_goes_on_behind_it(people: MySqlServer, proxy: ProxyProcess) -> None:
    """A driver that knows nothing of it meets what another one has left on the shared backends."""
    with MySqlClient(proxy.port) as client:
        for _ in range(5):
            _as_second(client)
            client.query("SET @a = 5, time_zone = '+03:00'")
            client.change_user()
            client.query("SET @a = 6, time_zone = '+04:00'")
    with connect(proxy.port) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @a, @@time_zone = @@GLOBAL.time_zone")
        assert cursor.fetchall() == ((None, 1),)
    with pytest.raises(pymysql.OperationalError, match="1044"):
        connect(proxy.port, user=SECOND, password=SECONDS_PASSWORD.encode(), database=DATABASE)
