"""psycopg 3 through the proxy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from tests.live.conftest import connect
from tests.servers.postgres import MD5_PASSWORD, MD5_USER, TestServer
from tests.servers.proxy import ProxyProcess
from tests.waiting import PATIENCE, asked_again, eventually

pytestmark = pytest.mark.live
Proxies = Callable[[int], ProxyProcess]


def test_prepared_statements_follow_the_session(proxies: Proxies, opened: Any) -> None:
    port = proxies(2).port
    clients = [opened(port, prepare_threshold=0) for _ in range(6)]
    for turn in range(20):
        for number, client in enumerate(clients):
            row = client.execute("SELECT %s::int + %s::int, %s::text", (turn, number, "x")).fetchone()
            assert row == (turn + number, "x")


def test_pipeline_mode_with_an_error_in_the_middle(proxies: Proxies, opened: Any) -> None:
    client = opened(proxies(2).port)
    with client.pipeline() as pipeline:
        cursors = [client.execute("SELECT %s::int", (i,)) for i in range(50)]
        pipeline.sync()
        assert [cursor.fetchone() for cursor in cursors] == [(i,) for i in range(50)]
    with pytest.raises(psycopg.errors.DivisionByZero), client.pipeline():
        client.execute("SELECT 1")
        client.execute("SELECT 1/0")
        client.execute("SELECT 2")
    assert client.execute("SELECT 3").fetchone() == (3,)


def test_copy_in_out_and_broken(proxies: Proxies, opened: Any) -> None:
    client = opened(proxies(2).port)
    client.execute("DROP TABLE IF EXISTS copied_by_psycopg")
    client.execute("CREATE TABLE copied_by_psycopg (a int, b text)")
    with client.cursor() as cursor, cursor.copy("COPY copied_by_psycopg FROM STDIN") as copy:
        for number in range(5000):
            copy.write_row((number, "x" * 100))
    with client.cursor() as cursor, cursor.copy("COPY copied_by_psycopg TO STDOUT") as copy:
        assert sum(1 for _ in copy.rows()) == 5000
    for _ in range(3):
        with pytest.raises(psycopg.errors.InvalidTextRepresentation), client.cursor() as cursor:
            with cursor.copy("COPY copied_by_psycopg FROM STDIN") as copy:
                for _ in range(2000):
                    copy.write(b"no number\tx\n")
        assert client.execute("SELECT count(*) FROM copied_by_psycopg").fetchone() == (5000,)


def test_server_side_cursors_live_in_their_transaction(proxies: Proxies, opened: Any) -> None:
    client = opened(proxies(2).port, autocommit=False)
    with client.cursor(name="c") as cursor:
        cursor.execute("SELECT generate_series(1, 1000)")
        assert sum(row[0] for row in cursor) == 500500
    client.commit()


def test_cancel_reaches_the_running_query_and_no_other(proxies: Proxies, opened: Any) -> None:
    port = proxies(2).port
    victim, other = opened(port), opened(port)
    for _ in range(10):
        with asked_again(victim.cancel), pytest.raises(psycopg.errors.QueryCanceled):
            victim.execute("SELECT pg_sleep(300)")
        assert other.execute("SELECT 1").fetchone() == (1,)
        assert victim.execute("SELECT 2").fetchone() == (2,)


def test_a_cancel_that_comes_too_late_hits_nobody(proxies: Proxies) -> None:
    """Cancels race the ends of short queries, on one backend shared with others."""
    port = proxies(1).port
    stop = threading.Event()
    failures: list[BaseException] = []

    def bystander() -> None:
        with connect(port) as client:
            while not stop.is_set():
                try:
                    assert client.execute("SELECT pg_sleep(0.002), 7").fetchone() == ("", 7)
                except BaseException as error:
                    failures.append(error)
                    return

    threads = [threading.Thread(target=bystander) for _ in range(2)]
    for thread in threads:
        thread.start()
    with connect(port) as client:
        for number in range(60):
            canceller = threading.Timer(0.001 * (number % 8), client.cancel)
            canceller.start()
            try:
                client.execute("SELECT pg_sleep(0.003)")
            except psycopg.errors.QueryCanceled:
                pass
            canceller.join()
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert not failures


def test_a_cancel_ends_the_wait_for_a_backend(proxies: Proxies, opened: Any) -> None:
    port = proxies(1).port
    holder, waiter = opened(port, autocommit=False), opened(port)
    holder.execute("SELECT 1")
    with asked_again(waiter.cancel), pytest.raises(psycopg.errors.QueryCanceled):
        waiter.execute("SELECT 2")
    holder.rollback()
    assert waiter.execute("SELECT 3").fetchone() == (3,)


def test_notices_reach_their_session(proxies: Proxies, opened: Any) -> None:
    client = opened(proxies(2).port)
    notices: list[str] = []
    client.add_notice_handler(lambda diagnostic: notices.append(diagnostic.message_primary or ""))
    client.execute("DO $$ BEGIN RAISE NOTICE 'for you'; END $$")
    assert notices == ["for you"]


def test_large_values_both_ways(proxies: Proxies, opened: Any) -> None:
    client = opened(proxies(2).port)
    value = "ä" * 4_000_000
    assert client.execute("SELECT %s::text", (value,)).fetchone() == (value,)


def test_many_clients_on_three_backends_get_their_own_answers(postgres: TestServer) -> None:
    """Forty clients, each with rows of its own: simple, prepared, COPY, errors, rollbacks; every answer is checked."""
    with postgres.admin("other") as admin:
        admin.execute("DROP TABLE IF EXISTS own; CREATE TABLE own (client int, n int)")
        admin.execute("GRANT ALL ON own TO app")
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "3") as proxy:

        def work(number: int) -> int:
            with connect(proxy.port, prepare_threshold=2, dbname="other") as client:
                for n in range(30):
                    _turn(client, number, n)
                row = client.execute("SELECT count(*), sum(n) FROM own WHERE client = %s", (number,)).fetchone()
                assert row == (60, 2 * sum(range(30))), row
            return number

        with ThreadPoolExecutor(40) as threads:
            assert sorted(threads.map(work, range(40))) == list(range(40))
        assert postgres_backends(postgres) <= 3


def _turn(client: psycopg.Connection[Any], number: int, n: int) -> None:
    with client.transaction():
        client.execute("INSERT INTO own VALUES (%s, %s)", (number, n))
        assert client.execute("SELECT max(n) FROM own WHERE client = %s", (number,)).fetchone() == (n,)
    with pytest.raises(psycopg.errors.DivisionByZero), client.transaction():
        client.execute("INSERT INTO own VALUES (%s, 1000)", (number,))
        client.execute("SELECT 1/0")
    with client.cursor() as cursor, cursor.copy("COPY own FROM STDIN") as copy:
        copy.write_row((number, n))
    assert client.execute(f"SELECT {number}, {n}", prepare=False).fetchone() == (number, n)


def postgres_backends(server: TestServer) -> int:
    with server.admin() as admin:
        row = admin.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'other' AND usename = 'app'"
        ).fetchone()
    assert row is not None
    return int(row[0])


def test_md5_and_other_databases_through_one_proxy(postgres: TestServer, tmp_path: Any) -> None:
    config = tmp_path / "proxy.toml"
    config.write_text(
        f"""
        [[proxies]]
        name = "two-users"
        listen = ["127.0.0.1:0"]
        auth_methods = ["md5"]
        [proxies.target]
        url = "{postgres.target()}"
        [proxies.target_group]
        max_backends = 2
        [[proxies.auth]]
        username = "{MD5_USER}"
        password = "{MD5_PASSWORD}"
        """
    )
    with ProxyProcess(str(config)) as proxy:
        for _ in range(4):
            with connect(proxy.port, user=MD5_USER, password=MD5_PASSWORD, dbname="other") as client:
                assert client.execute("SELECT current_user, current_database()").fetchone() == (MD5_USER, "other")
            with connect(proxy.port) as client:
                assert client.execute("SELECT current_user, current_database()").fetchone() == ("app", "app")
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            connect(proxy.port, user=MD5_USER, password="wrong")


def test_a_client_killed_in_mid_query_leaves_no_query_behind(proxies: Proxies, postgres: TestServer) -> None:
    client = connect(proxies(2).port)
    thread = threading.Thread(target=lambda: pytest.raises(psycopg.Error, client.execute, "SELECT pg_sleep(300)"))
    thread.start()

    def running() -> bool:
        with postgres.admin() as admin:
            row = admin.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep(300)%'"
            ).fetchone()
        return bool(row and row[0])

    eventually(running)
    import os
    import socket

    with socket.socket(fileno=os.dup(client.fileno())) as sock:
        sock.shutdown(socket.SHUT_RDWR)
    eventually(lambda: not running())
    thread.join(PATIENCE)
    client.close()


def test_a_transaction_left_open_is_rolled_back(proxies: Proxies, opened: Any) -> None:
    port = proxies(1).port
    client = opened(port)
    client.execute("DROP TABLE IF EXISTS left_open")
    leaver = connect(port, autocommit=False)
    leaver.execute("CREATE TABLE left_open (a int)")
    leaver.pgconn.finish()
    assert client.execute("SELECT to_regclass('left_open')").fetchone() == (None,)


def test_lastval_is_ones_own_or_a_named_error_and_never_a_strangers(proxies: Proxies, opened: Any) -> None:
    """pg_poolers.md 2.2, row 30. The first question of a pool may be refused; a transaction tried again is served."""
    port = proxies(1).port
    stranger, client = opened(port), opened(port)
    client.execute("DROP SEQUENCE IF EXISTS counted")
    client.execute("CREATE SEQUENCE counted")

    def ask() -> Any:
        with client.transaction():
            mine = client.execute("SELECT nextval('counted')").fetchone()
            return mine, client.execute("SELECT lastval(), currval('counted')").fetchone()

    stranger.execute("SELECT nextval('counted')")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="lent this database connection"):
        client.execute("SELECT lastval()")
    mine, answer = ask()
    assert answer == (mine[0], mine[0])
    other = connect(proxies(2).port)
    try:
        other.execute("SELECT nextval('counted')")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            opened(proxies(2).port).execute("SELECT currval('counted')")
    finally:
        other.close()
