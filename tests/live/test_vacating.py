"""Statements that want a database to themselves, right behind the last client that was in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from tests.live.conftest import connect
from tests.servers.postgres import TestServer
from tests.servers.proxy import ProxyProcess
from tests.waiting import eventually

pytestmark = pytest.mark.live


def _simple(client: psycopg.Connection, text: str) -> None:
    result = client.pgconn.exec_(text.encode())
    if result.status not in (psycopg.pq.ExecStatus.COMMAND_OK, psycopg.pq.ExecStatus.TUPLES_OK):
        raise psycopg.errors.lookup((result.error_field(psycopg.pq.DiagnosticField.SQLSTATE) or b"").decode())(
            result.error_message.decode()
        )


def _extended(client: psycopg.Connection, text: str) -> None:
    client.execute(text, prepare=True)


@pytest.fixture(scope="module")
def proxy(postgres: TestServer) -> Any:
    with postgres.admin() as admin:
        admin.execute("ALTER ROLE app CREATEDB")
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "6") as started:
        yield started
    with postgres.admin() as admin:
        admin.execute("ALTER ROLE app NOCREATEDB")


def _visit(port: int, database: str) -> None:
    """Three clients at once, so that there are as many backends; one leaves in a transaction."""
    clients = [connect(port, dbname=database) for _ in range(3)]
    for client in clients:
        client.execute("BEGIN")
    for client in clients[1:]:
        client.execute("COMMIT")
    for client in clients:
        client.close()


@pytest.mark.parametrize("run", [_simple, _extended])
def test_a_database_is_free_when_its_clients_have_left(
    proxy: ProxyProcess, run: Callable[[psycopg.Connection, str], None]
) -> None:
    with connect(proxy.port) as client:
        for _ in range(3):
            run(client, "CREATE DATABASE left_behind")
            _visit(proxy.port, "left_behind")
            run(client, "ALTER DATABASE left_behind RENAME TO left_alone")
            _visit(proxy.port, "left_alone")
            run(client, "CREATE DATABASE copied TEMPLATE left_alone")
            _visit(proxy.port, "copied")
            run(client, "-- both are\n/* in use */ drop  DATABASE copied;")
            run(client, "DROP DATABASE left_alone")


def test_a_database_with_a_client_in_it_is_in_use(proxy: ProxyProcess) -> None:
    """As on a direct connection: after the server's five seconds."""
    with connect(proxy.port) as client:
        client.execute("CREATE DATABASE in_use")
        try:
            with connect(proxy.port, dbname="in_use") as inside:
                inside.execute("SELECT 1")
                with pytest.raises(psycopg.errors.ObjectInUse):
                    client.execute("DROP DATABASE in_use")
                assert inside.execute("SELECT 2").fetchone() == (2,)
        finally:
            client.execute("DROP DATABASE in_use")


def test_who_leaves_while_the_server_waits_is_waited_for(proxy: ProxyProcess, postgres: TestServer) -> None:
    with connect(proxy.port) as client, postgres.admin() as admin:
        client.execute("CREATE DATABASE leaving")
        inside = connect(proxy.port, dbname="leaving")
        inside.execute("SELECT 1")
        client.pgconn.send_query(b"DROP DATABASE leaving")
        client.pgconn.flush()
        running = "SELECT 1 FROM pg_stat_activity WHERE query = 'DROP DATABASE leaving' AND state = 'active'"
        eventually(lambda: admin.execute(running).fetchone() is not None)
        inside.close()
        result = client.pgconn.get_result()
        assert result is not None
        assert result.status == psycopg.pq.ExecStatus.COMMAND_OK, result.error_message
        assert client.pgconn.get_result() is None
