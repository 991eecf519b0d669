"""Scenarios of mysql_tds.md A5 that are no comparison of answers: faults, defaults that change, reports, slow readers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rdsp_codecs.errors import PeerClosed, WireError
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.login import CAPABILITIES
from tests.compare.mysql.talking import USUAL, execute, prepare
from tests.live.mysql.sidebyside import target
from tests.servers.mysql import USER, MySqlServer
from tests.servers.mysqlclient import MySqlClient
from tests.servers.proxy import ProxyProcess
from tests.waiting import PATIENCE

pytestmark = pytest.mark.live

MIB = 1 << 20
TEN = "(SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4 UNION ALL SELECT 5) {0}"


@pytest.fixture
def proxy(tracking: MySqlServer) -> Iterator[ProxyProcess]:
    with ProxyProcess.for_target(target(tracking), "--max-backends", "1") as running:
        yield running


def backends(server: MySqlServer) -> list[int]:
    """The connections of the tests' user at the server."""
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE user = %s", (USER,))
        return [number for (number,) in cursor.fetchall()]


def kill(server: MySqlServer, number: int) -> None:
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute(f"KILL CONNECTION {number}")
    deadline = time.monotonic() + PATIENCE
    while number in backends(server):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def memory(proxy: ProxyProcess) -> int:
    text = Path(f"/proc/{proxy.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS:"))) * 1024


def count(client: MySqlClient, text: str) -> int:
    ((value,),) = client.rows(text)
    return int(value or b"")


def test_a_backend_that_dies_in_a_transaction_is_not_replaced(proxy: ProxyProcess, tracking: MySqlServer) -> None:
    """Row 25: its client is told, and nothing is said again to another backend."""
    with MySqlClient(proxy.port) as other:
        before = count(other, "SELECT COUNT(*) FROM answered")
        with MySqlClient(proxy.port) as client:
            client.query("BEGIN")
            assert client.query("INSERT INTO answered (n) VALUES (25)")[0][0] == 0
            (number,) = backends(tracking)
            kill(tracking, number)
            # MariaDB's last words are the answer to nothing.
            with pytest.raises((PeerClosed, ConnectionError, WireError)):
                while client.query("INSERT INTO answered (n) VALUES (26)")[0][0] != 0:
                    pass
        assert count(other, "SELECT COUNT(*) FROM answered") == before
        assert backends(tracking) != [number]


def test_a_backend_that_dies_in_a_statement_of_a_transaction(proxy: ProxyProcess, tracking: MySqlServer) -> None:
    """Row 25, in the middle of an answer that is awaited."""
    with MySqlClient(proxy.port) as client, MySqlClient(proxy.port) as other:
        client.query("BEGIN")
        client.query("UPDATE answered SET n = n + 1")
        client.begin(r.COM_QUERY, (b"\0\1" if client.flags & c.CLIENT_QUERY_ATTRIBUTES else b"") + b"SELECT SLEEP(20)")
        (number,) = backends(tracking)
        time.sleep(0.2)
        kill(tracking, number)
        with pytest.raises((PeerClosed, ConnectionError)):
            assert client.hear()[-1].part is Part.ERR
            client.query("SELECT 1")
        assert other.rows("SELECT 1") == [(b"1",)]


def test_a_default_that_changes_under_the_pool(proxy: ProxyProcess, tracking: MySqlServer) -> None:
    """Row 29: what a session's texts are read by stays what it was when its backend was opened."""
    with tracking.admin() as admin, admin.cursor() as cursor, MySqlClient(proxy.port) as client:
        ((before,),) = client.rows("SELECT @@sql_mode")
        cursor.execute("SELECT @@global.sql_mode, @@global.time_zone")
        ((mode, zone),) = cursor.fetchall()
        try:
            cursor.execute("SET GLOBAL sql_mode = CONCAT(@@global.sql_mode, ',NO_BACKSLASH_ESCAPES,ANSI_QUOTES')")
            cursor.execute("SET GLOBAL time_zone = '+03:00'")
            with MySqlClient(proxy.port) as other:
                other.query("SET @a = 1")
                assert other.rows("SELECT @a") == [(b"1",)]
                # The backend was reset meanwhile, and a server resets to its defaults of now.
                assert client.rows("SELECT @@sql_mode, 'a\\'b', \"x\"") == [(before, b"a'b", b"x")]
                assert other.rows(r"SELECT @a, 'a\'; SET @a = 2; --'") == [(b"1", b"a'; SET @a = 2; --")]
                assert client.rows("SELECT @a") == [(None,)]
                client.query("SET sql_mode = 'ANSI_QUOTES'")
                assert other.rows('SELECT "x"') == [(b"x",)]
                assert client.rows("SELECT @@sql_mode") == [(b"ANSI_QUOTES",)]
        finally:
            cursor.execute("SET GLOBAL sql_mode = %s, GLOBAL time_zone = %s", (mode, zone))


def test_a_client_that_would_remember_definitions_is_sent_them(proxy: ProxyProcess, tracking: MySqlServer) -> None:
    """Row 44: a server would leave out what another session on the backend has seen."""
    flags = str(USUAL | c.MARIADB_CLIENT_CACHE_METADATA | c.CLIENT_DEPRECATE_EOF)
    with MySqlClient(tracking.port) as direct:
        offered = bool(direct.state.offered & c.MARIADB_CLIENT_CACHE_METADATA)
    assert offered == tracking.version.startswith("mariadb")
    with (
        MySqlClient(proxy.port, parameters={CAPABILITIES: flags}) as one,
        MySqlClient(proxy.port, parameters={CAPABILITIES: flags}) as two,
    ):
        assert not one.state.offered & c.MARIADB_CLIENT_CACHE_METADATA
        ids = []
        for client in (one, two):
            (prepared, *_) = client.ask(r.COM_STMT_PREPARE, prepare("SELECT 1 AS a, 'x' AS b").body)
            ids.append(prepared.payload[1:5])
        for _ in range(3):
            for client, number in zip((one, two), ids, strict=True):
                heard = client.ask(r.COM_STMT_EXECUTE, number + execute(1).body)
                assert [each.part for each in heard].count(Part.DEFINITION) == 2
                assert heard[-1].part is not Part.ERR


def test_reports_of_progress_end_no_answer(proxy: ProxyProcess, tracking: MySqlServer) -> None:
    """Row 45: who has asked for them gets them, and his answer behind them; nobody else does."""
    if not tracking.version.startswith("mariadb"):
        pytest.skip("MySQL reports no progress")
    flags = str(USUAL | c.MARIADB_CLIENT_PROGRESS)
    with tracking.admin() as admin, admin.cursor() as cursor:
        cursor.execute("USE app")
        cursor.execute("DROP TABLE IF EXISTS slowly")
        cursor.execute("CREATE TABLE slowly ENGINE=InnoDB AS SELECT seq AS a FROM seq_1_to_1200000")
    try:
        with MySqlClient(proxy.port, parameters={CAPABILITIES: flags}) as client, MySqlClient(proxy.port) as other:
            client.query("SET progress_report_time = 1")
            heard = client.ask(
                r.COM_QUERY, b"ALTER TABLE slowly ADD b VARCHAR(100) DEFAULT 'xxxxxxxxxx', ALGORITHM=COPY"
            )
            parts = [each.part for each in heard]
            assert parts[-1] is Part.OK
            assert Part.PROGRESS in parts[:-1]
            assert client.rows("SELECT COUNT(*) FROM slowly") == [(b"1200000",)]
            other.query("SET progress_report_time = 1")
            told = other.ask(r.COM_QUERY, b"ALTER TABLE slowly DROP b, ALGORITHM=COPY")
            assert [each.part for each in told] == [Part.OK]
    finally:
        with tracking.admin() as admin, admin.cursor() as cursor:
            cursor.execute("DROP TABLE IF EXISTS app.slowly")


def test_a_slow_reader_of_a_large_result_costs_no_memory(proxy: ProxyProcess) -> None:
    """Row 49: what the client does not take stays at the server."""
    tables = ", ".join(TEN.format(name) for name in "abc")
    text = f"SELECT REPEAT('x', 1000000) FROM {tables}"
    with MySqlClient(proxy.port) as client:
        client.rows("SELECT REPEAT('x', 1000000)")
        before = memory(proxy)
        client.command(r.COM_QUERY, (b"\0\1" if client.flags & c.CLIENT_QUERY_ATTRIBUTES else b"") + text.encode())
        client.payload()
        most, received, rows = 0, 0, 0
        for step in range(400):
            if step < 20:
                time.sleep(0.05)
            most = max(most, memory(proxy) - before)
            payload = client.payload()
            if len(payload) >= 1000000:
                rows += 1
                received += len(payload)
            elif rows and len(payload) < 100:
                break
        assert rows == 125
        assert received > 120 * MIB * 0.95
        assert most < 16 * MIB, f"{most / MIB:.1f} MiB"
        assert client.rows("SELECT 1") == [(b"1",)]


def test_what_is_left_where_others_took_the_backend_is_refused(proxy: ProxyProcess) -> None:
    """There is one backend: what another session has overwritten is not made up. From then on it is kept."""
    with MySqlClient(proxy.port) as client, MySqlClient(proxy.port) as other:
        assert client.query("UPDATE numbered SET n = n + 1 LIMIT 0")[0][0] == 0
        client.query("SELECT CAST('x' AS UNSIGNED)")
        assert other.rows("SELECT 1") == [(b"1",)]
        (refused,) = client.query("SHOW WARNINGS")
        assert refused[0] == 0xFF
        assert b"another database connection" in refused
        client.query("SELECT CAST('x' AS UNSIGNED)")
        assert len(client.rows("SHOW WARNINGS")) == 1


def test_who_keeps_a_backend_after_an_insert_gives_it_to_who_waits(proxy: ProxyProcess) -> None:
    """There is one backend, and what it alone knows of a session is asked for when another one needs it."""
    with MySqlClient(proxy.port) as client, MySqlClient(proxy.port) as other:
        for n in range(20):
            (ok,) = client.query(f"INSERT INTO numbered (n) VALUES ({n})")
            started = time.monotonic()
            (own,) = other.query("INSERT INTO numbered (n) VALUES (0)")
            assert time.monotonic() - started < 0.9, "it was given up at once, and not when a second was over"
            given = r.read_ok(ok, client.flags).last_insert_id
            assert count(client, "SELECT LAST_INSERT_ID()") == given
            assert count(other, "SELECT LAST_INSERT_ID()") == r.read_ok(own, other.flags).last_insert_id


def test_a_backend_that_is_kept_after_an_insert_is_free_after_a_while(
    proxy: ProxyProcess, tracking: MySqlServer
) -> None:
    """So that its session survives the loss of it."""
    with MySqlClient(proxy.port) as client:
        (ok,) = client.query("INSERT INTO numbered (n) VALUES (1)")
        time.sleep(6.5)
        (number,) = backends(tracking)
        kill(tracking, number)
        assert count(client, "SELECT LAST_INSERT_ID()") == r.read_ok(ok, client.flags).last_insert_id
