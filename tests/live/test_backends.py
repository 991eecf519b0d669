"""Database connections that change, die or are left dirty: who notices, and who must not."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.live.conftest import connect
from tests.servers.postgres import TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import SYNC, RawClient, bind, copy_data, execute, fields, message, parse, query
from tests.waiting import eventually

pytestmark = pytest.mark.live
Raw = Callable[..., RawClient]


def _restart(server: TestServer, max_connections: int) -> None:
    with server.admin() as admin:
        admin.execute(f"ALTER SYSTEM SET max_connections = {max_connections}")
    server.stop()
    server.start()


def test_the_servers_max_connections_is_followed(fresh_postgres: TestServer) -> None:
    """So many are used and no more: less what it keeps for superusers (3), and two of the proxy's own."""
    with ProxyProcess.for_target(fresh_postgres.target()) as proxy:
        with connect(proxy.port) as client:
            client.execute("SELECT 1")
        for allowed in (12, 20, 9):
            _restart(fresh_postgres, allowed)
            quota = allowed - 3 - 2
            with ExitStack() as stack:
                clients = [stack.enter_context(connect(proxy.port)) for _ in range(quota + 1)]
                for client in clients[:quota]:
                    client.execute("BEGIN")
                assert len({_pid(client) for client in clients[:quota]}) == quota
                clients[quota].pgconn.send_query(b"SELECT 1")
                time.sleep(0.5)
                clients[quota].pgconn.consume_input()
                assert clients[quota].pgconn.is_busy(), "one more waits"
                with fresh_postgres.admin() as admin:
                    row = admin.execute(
                        "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND backend_type = 'client backend'"
                    ).fetchone()
                    assert row == (quota,)
                for client in clients[:quota]:
                    client.execute("COMMIT")
                result = clients[quota].pgconn.get_result()
                assert result is not None
                assert result.get_value(0, 0) == b"1"
                assert clients[quota].pgconn.get_result() is None


def _pid(client: psycopg.Connection) -> int:
    row = client.execute("SELECT pg_backend_pid()").fetchone()
    assert row is not None
    return int(row[0])


def test_exactly_who_used_a_backend_hears_of_its_death(postgres15: TestServer) -> None:
    """In a transaction, in a query, idle: and the others' transactions commit."""
    with ProxyProcess.for_target(postgres15.target(), "--max-backends", "4") as proxy, ExitStack() as stack:
        holder, bystander, idle = (stack.enter_context(connect(proxy.port)) for _ in range(3))
        bystander.execute("CREATE TABLE IF NOT EXISTS bystanders (a int); TRUNCATE bystanders")
        for client in (holder, bystander):
            client.execute("BEGIN")
        bystander.execute("INSERT INTO bystanders VALUES (1)")
        idle.execute("SELECT 1")
        doomed, spared = _pid(holder), _pid(bystander)
        with postgres15.admin() as admin:
            # All of the proxy's but one: also the idle ones, which must be gone before anybody could be lent them.
            killed = admin.execute(
                "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app' AND pid <> %s",
                (spared,),
            ).fetchall()
            assert doomed in {pid for pid, _ in killed}
            eventually(lambda: not any(_alive(admin, pid) for pid, _ in killed))
        with pytest.raises(psycopg.errors.AdminShutdown):
            holder.execute("SELECT 1")
        assert idle.execute("SELECT 2").fetchone() == (2,)
        bystander.execute("COMMIT")
        assert idle.execute("SELECT count(*) FROM bystanders").fetchone() == (1,)
        bystander.execute("DROP TABLE bystanders")


def _alive(admin: psycopg.Connection, pid: int) -> bool:
    return admin.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone() is not None


def test_a_query_whose_backend_is_killed_is_not_repeated(postgres15: TestServer) -> None:
    with ProxyProcess.for_target(postgres15.target(), "--max-backends", "2") as proxy, ExitStack() as stack:
        victim, other = (stack.enter_context(connect(proxy.port)) for _ in range(2))
        other.execute(
            "DROP TABLE IF EXISTS counted_once; CREATE TABLE counted_once (a int); CREATE SEQUENCE IF NOT EXISTS tries"
        )
        victim.pgconn.send_query(b"INSERT INTO counted_once SELECT nextval('tries') FROM pg_sleep(5)")
        with postgres15.admin() as admin:

            def running() -> int:
                row = admin.execute(
                    "SELECT pid FROM pg_stat_activity WHERE query LIKE 'INSERT INTO counted_once%' AND state = 'active'"
                ).fetchone()
                return int(row[0]) if row else 0

            eventually(lambda: running() > 0)
            admin.execute("SELECT pg_terminate_backend(%s)", (running(),))
        result = victim.pgconn.get_result()
        assert result is not None
        assert result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"57P01"
        while victim.pgconn.get_result() is not None:
            pass
        time.sleep(0.3)
        assert other.execute("SELECT count(*) FROM counted_once").fetchone() == (0,)
        other.execute("DROP TABLE counted_once; DROP SEQUENCE tries")


LEFT = {
    "a transaction": (query("BEGIN"), query("INSERT INTO dirt VALUES (1)")),
    "a failed transaction": (query("BEGIN"), query("INSERT INTO dirt VALUES (1)"), query("SELECT 1/0")),
    "a pipeline without Sync": (parse("", "INSERT INTO dirt VALUES (1)"), bind(), execute()),
    "half a COPY": (query("COPY dirt FROM STDIN"), copy_data(b"1\n")),
    "half a message in a COPY": (query("COPY dirt FROM STDIN"), copy_data(b"1\n"), copy_data(b"2\n" * 100)[:50]),
    "a COPY of the extended protocol": (parse("", "COPY dirt FROM STDIN"), bind(), execute(), SYNC, copy_data(b"1\n")),
    "a reply that nobody reads": (
        query("BEGIN; INSERT INTO dirt VALUES (1); SELECT repeat('x', 1000) FROM generate_series(1, 100000)"),
    ),
    "a COPY out that nobody reads": (
        query(
            "BEGIN; INSERT INTO dirt VALUES (1); COPY (SELECT repeat('x', 999) FROM generate_series(1, 99999)) TO STDOUT"
        ),
    ),
    "a query that runs": (query("BEGIN; INSERT INTO dirt VALUES (1); SELECT pg_sleep(30)"),),
    "a temporary table": (query("CREATE TEMP TABLE dirty_temp (a int)"),),
    "a lock": (query("SELECT pg_advisory_lock(4711)"),),
    "a setting": (query("SET search_path = pg_catalog"), query("SET application_name = 'dirty'")),
    "a setting in a transaction": (query("BEGIN"), query("SET search_path = pg_catalog")),
    "a role": (query("SET ROLE bob"),),
    "a listener": (query("LISTEN dirt"),),
    "a cursor": (query("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT"),),
    "a prepared statement": (query("PREPARE dirty AS SELECT 1"),),
    "half a message": (query("SELECT 1")[:7],),
}
CLEAN = """
    SELECT (SELECT count(*) FROM public.dirt) || ' rows, '
        || (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') || ' locks, '
        || (SELECT count(*) FROM pg_class WHERE relname = 'dirty_temp' AND pg_table_is_visible(oid)) || ' tables, '
        || (SELECT count(*) FROM pg_cursors WHERE is_holdable) || ' cursors, '
        || (SELECT count(*) FROM pg_prepared_statements WHERE from_sql) || ' statements, '
        || (SELECT count(*) FROM pg_listening_channels()) || ' channels, '
        || current_setting('search_path') || ', ' || current_user || ', ' || current_setting('application_name')
"""


@pytest.mark.parametrize("rudely", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("left", LEFT)
def test_nothing_of_a_client_that_left_reaches_the_next(
    one_backend: ProxyProcess, raw: Raw, left: str, rudely: bool
) -> None:
    """One database connection; the next client stands in the queue when the first one leaves, and one comes later."""
    expected = b'0 rows, 0 locks, 0 tables, 0 cursors, 0 statements, 0 channels, "$user", public, app, '
    other, leaver = raw(one_backend.port), raw(one_backend.port)
    other.value("DROP TABLE IF EXISTS dirt; CREATE TABLE dirt (a int); SELECT 1")
    leaver.send(*LEFT[left])
    time.sleep(0.3)  # so that it has its backend, as a rule; what comes of it must be right whenever it goes
    other.send(query(CLEAN))
    time.sleep(0.1)
    leaver.reset() if rudely else leaver.close()
    answer = other.until_ready()
    assert [tag for tag, _ in answer] == ["T", "D", "C", "Z"], [fields(body) for tag, body in answer if tag == "E"]
    assert answer[1][1][6:] == expected
    assert raw(one_backend.port).value(CLEAN) == expected
    assert message("Z", b"I")[5:] == answer[-1][1]


def test_a_server_that_stops_answering_is_given_up_in_time_and_taken_again(
    fresh_postgres: TestServer, tmp_path: Path
) -> None:
    """Frozen, not dead: the kernel still accepts for it. Who asks is told, within the time for a connect."""
    file = tmp_path / "rdsp.toml"
    file.write_text(
        f'[[proxies]]\nlisten = "127.0.0.1:0"\ntarget = {{url = "{fresh_postgres.target()}", connect_timeout = 2}}\n'
        "target_group.connection_borrow_timeout = 6\n"
    )
    with ProxyProcess(str(file)) as proxy, connect(proxy.port) as holder, connect(proxy.port) as client:
        holder.execute("BEGIN")
        os.kill(fresh_postgres.pid, signal.SIGSTOP)
        try:
            with pytest.raises(psycopg.OperationalError) as caught:
                client.execute("SELECT 1")
            assert caught.value.sqlstate in ("08001", "08000")
            # The holder's backend is a process of its own, and goes on.
            assert holder.execute("SELECT 2").fetchone() == (2,)
        finally:
            os.kill(fresh_postgres.pid, signal.SIGCONT)
        assert client.execute("SELECT 3").fetchone() == (3,)


def test_an_idle_backend_that_gives_no_sign_of_life_is_replaced(postgres15: TestServer, tmp_path: Path) -> None:
    file = tmp_path / "rdsp.toml"
    file.write_text(
        f'[[proxies]]\nlisten = "127.0.0.1:0"\ntarget = {{url = "{postgres15.target()}"}}\n'
        "target_group.max_backends = 2\ntarget_group.backend_check_interval = 0.2\n"
        "limits.abandoned_query_timeout = 1\n"
    )
    with ProxyProcess(str(file)) as proxy, connect(proxy.port) as client:
        frozen = client.execute("SELECT pg_backend_pid()").fetchone()[0]
        os.kill(frozen, signal.SIGSTOP)
        try:
            proxy.wait_for_log("it doesn't answer")
            assert client.execute("SELECT pg_backend_pid()").fetchone()[0] != frozen
        finally:
            os.kill(frozen, signal.SIGCONT)


def times_slept(pid: int) -> int:
    """How often a process has waited for something: an idle backend is woken by nothing but its client."""
    found = re.search(r"^voluntary_ctxt_switches:\s*(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_a_sign_of_life_changes_nothing(postgres15: TestServer, tmp_path: Path) -> None:
    file = tmp_path / "rdsp.toml"
    file.write_text(
        f'[[proxies]]\nlisten = "127.0.0.1:0"\ntarget = {{url = "{postgres15.target()}"}}\n'
        "target_group.max_backends = 1\ntarget_group.backend_check_interval = 0.1\n"
    )
    with ProxyProcess(str(file)) as proxy, connect(proxy.port) as client:
        (pid,) = client.execute("SELECT pg_backend_pid()").fetchone()
        client.execute("SET work_mem = '7MB'")
        client.execute("SELECT 1", prepare=True)
        for _ in range(3):
            time.sleep(0.15)
            slept = times_slept(pid)
            proxy.tell(signal.SIGHUP)  # it looks around now, and not up to five seconds later
            eventually(lambda before=slept: times_slept(pid) > before)

        assert client.execute("SELECT pg_backend_pid()").fetchone() == (pid,)
        assert client.execute("SHOW work_mem").fetchone() == ("7MB",)
        assert client.execute("SELECT 1", prepare=True).fetchone() == (1,)
