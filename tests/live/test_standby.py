"""A primary and its hot standby, real ones: who writes gets to the primary, also after a failover, and a promotion is
seen as a direct connection sees it.
"""

from __future__ import annotations

import select
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import quote

import psycopg
import pytest

from tests.live.conftest import connect
from tests.servers.postgres import DATABASE, PASSWORD, USER, TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import Message, RawClient, query
from tests.servers.standby import Standby
from tests.waiting import eventually

pytestmark = [pytest.mark.live, pytest.mark.matrix]


@pytest.fixture
def standby(fresh_postgres: TestServer) -> Iterator[Standby]:
    """The standby of `fresh_postgres`."""
    server = Standby(fresh_postgres)
    try:
        yield server.create()
    finally:
        server.remove()


def _target(*servers: TestServer, attrs: str) -> str:
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return f"postgresql://{USER}:{quote(PASSWORD, safe='')}@{hosts}/{DATABASE}?target_session_attrs={attrs}"


def _port(client: psycopg.Connection) -> int:
    row = client.execute("SELECT current_setting('port')").fetchone()
    assert row is not None
    return int(row[0])


def test_who_writes_follows_the_primary_through_a_failover(fresh_postgres: TestServer, standby: Standby) -> None:
    """The standby is named first. What sessions have set and prepared goes with them, and nothing is written twice."""
    with (
        ProxyProcess.for_target(_target(standby, fresh_postgres, attrs="read-write"), "--max-backends", "4") as proxy,
        ExitStack() as stack,
    ):
        idle, holder = (stack.enter_context(connect(proxy.port)) for _ in range(2))
        assert _port(idle) == fresh_postgres.port
        idle.execute("CREATE TABLE written (n int)")
        idle.execute("SET app.tenant = 'me'")
        idle.execute("PREPARE one AS INSERT INTO written VALUES ($1)")
        idle.execute("EXECUTE one (1)")
        holder.execute("BEGIN")
        holder.execute("INSERT INTO written VALUES (100)")
        standby.catch_up()
        fresh_postgres.kill()
        standby.promote()
        with pytest.raises(psycopg.OperationalError):
            holder.execute("SELECT 1")
        idle.execute("EXECUTE one (2)")
        assert _port(idle) == standby.port
        assert idle.execute("SELECT current_setting('app.tenant')").fetchone() == ("me",)
        assert idle.execute("SELECT n FROM written ORDER BY n").fetchall() == [(1,), (2,)]
        with connect(proxy.port) as late:
            assert _port(late) == standby.port


def test_who_writes_waits_for_the_promotion(fresh_postgres: TestServer, standby: Standby) -> None:
    """A standby is not taken for want of anything better."""
    with (
        ProxyProcess.for_target(_target(fresh_postgres, standby, attrs="read-write")) as proxy,
        connect(proxy.port) as client,
    ):
        client.execute("SELECT 1")
        fresh_postgres.kill()
        eventually(lambda: "closed" in proxy.log())
        client.pgconn.send_query(b"SELECT current_setting('port')")
        client.pgconn.flush()
        eventually(lambda: "it lets nobody write" in proxy.log())
        assert not _readable(client)
        standby.promote()
        result = client.pgconn.get_result()
        assert result is not None
        assert result.get_value(0, 0) == str(standby.port).encode()
        assert client.pgconn.get_result() is None


def _readable(client: psycopg.Connection) -> bool:
    return bool(select.select([client.pgconn.socket], [], [], 0)[0])


def _conversation(port: int, standby: Standby) -> list[list[Message]]:
    """What a session is told around a promotion."""
    client = RawClient(port, {"user": USER, "database": DATABASE}, PASSWORD)
    try:
        told = [[(tag, body) for tag, body in client.greeting if tag == "S" and body.startswith(b"in_hot_standby")]]
        for number in range(6):
            if number == 3:
                standby.promote()
            told.append(client.ask(query(f"SELECT {number}, pg_is_in_recovery()")))
            told.append(client.ask(query("CREATE TABLE made_here (); DROP TABLE made_here")))
    finally:
        client.close()
    return told


def test_a_promotion_looks_as_on_a_direct_connection(fresh_postgres: TestServer) -> None:
    """Through several connections, of which each tells by itself that it is no standby's any more."""
    told = []
    for through in (False, True):
        server = Standby(fresh_postgres)
        try:
            server.create()
            if not through:
                told.append(_conversation(server.port, server))
                continue
            with (
                ProxyProcess.for_target(_target(server, attrs="any"), "--max-backends", "4") as proxy,
                ExitStack() as stack,
            ):
                # All four are there before the promotion.
                others = [stack.enter_context(connect(proxy.port)) for _ in range(4)]
                for other in others:
                    other.execute("BEGIN")
                for other in others:
                    other.execute("COMMIT")
                told.append(_conversation(proxy.port, server))
                for other in others:
                    # Every connection is some session's now: none of them is told again that it is on a standby.
                    other.execute("BEGIN")
                for other in others:
                    assert other.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)
                    assert other.pgconn.parameter_status(b"in_hot_standby") == b"off"
                    other.execute("COMMIT")
        finally:
            server.remove()
    assert told[1] == told[0]
