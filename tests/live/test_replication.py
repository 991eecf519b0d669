"""Replication connections: backends of their own, and everything passes."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import psycopg
import pytest

from rdsp.demo.postgres import NotInstalled
from tests.live.conftest import connect
from tests.servers import rawclient
from tests.servers.fixtures import missing
from tests.servers.postgres import DATABASE, PASSWORD, USER, TestServer, binaries
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import RawClient, query
from tests.waiting import eventually

pytestmark = pytest.mark.live
Raw = Callable[..., RawClient]


@attrs.frozen
class Site:
    server: TestServer
    proxy: ProxyProcess

    def active(self) -> int:
        """How many replication connections the server has."""
        with self.server.admin() as admin:
            row = admin.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'").fetchone()
            assert row is not None
            return int(row[0])


@pytest.fixture(
    scope="module",
    params=["15", pytest.param("16", marks=pytest.mark.matrix), pytest.param("18", marks=pytest.mark.matrix)],
)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    try:
        server = TestServer(request.param, wal_level="logical", max_wal_senders="6", max_replication_slots="8")
    except NotInstalled as why:
        missing(why)
    try:
        server.create()
        with server.admin() as admin:
            admin.execute(f"ALTER ROLE {USER} REPLICATION")
        with ProxyProcess.for_target(server.target(), "--max-backends", "4") as proxy:
            yield Site(server, proxy)
    finally:
        server.remove()


def untimed(messages: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Without what differs from one moment to the next: rows, which hold positions in the log."""
    return [(tag, b"" if tag == "D" else body) for tag, body in messages]


@pytest.mark.parametrize("mode", ["true", "database"])
def test_commands_get_the_servers_own_answers(site: Site, raw: Raw, mode: str) -> None:
    said = []
    for port in (site.server.port, site.proxy.port):
        client = raw(port, replication=mode)
        answers = [untimed(client.ask(query(text))) for text in ("IDENTIFY_SYSTEM", "SHOW wal_level", "SELECT 1", "?")]
        answers.append(untimed(client.ask(query("CREATE_REPLICATION_SLOT s TEMPORARY PHYSICAL"))))
        answers.append(untimed(client.ask(query("IDENTIFY_SYSTEM"), query("SHOW wal_level"), times=2)))
        reported = {name: value for name, value in client.parameters.items() if name != "application_name"}
        said.append((reported, answers))
        client.send(rawclient.TERMINATE)
        assert client.receive() == ("", b"")
    assert said[1] == said[0]
    eventually(lambda: site.active() == 0)


def test_the_backend_is_nobody_elses_and_is_closed_at_the_end(site: Site, raw: Raw) -> None:
    first, second = raw(site.proxy.port, replication="database"), raw(site.proxy.port, replication="database")
    pids = {client.value("SELECT pg_backend_pid()") for client in (first, second, first, second)}
    assert len(pids) == 2
    first.value("CREATE TEMP TABLE t AS SELECT 1; SELECT 1")
    first.close()
    second.close()
    eventually(lambda: site.active() == 0)
    third = raw(site.proxy.port, replication="database")
    assert third.value("SELECT pg_backend_pid()") not in pids
    assert third.value("SELECT to_regclass('t')::text") is None
    ordinary = connect(site.proxy.port)
    assert ordinary.execute("SELECT backend_type FROM pg_stat_activity WHERE pid = pg_backend_pid()").fetchone() == (
        "client backend",
    )
    ordinary.close()


def stream(client: RawClient, slot: str) -> None:
    """Begin to stream a slot."""
    client.ask(query(f"CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL pgoutput"))
    client.send(query(f"START_REPLICATION SLOT {slot} LOGICAL 0/0 (proto_version '1', publication_names 'p')"))
    assert client.receive()[0] == "W"


def changes(client: RawClient, count: int) -> list[bytes]:
    """So many changes of rows, as they come."""
    found: list[bytes] = []
    while len(found) < count:
        tag, body = client.receive()
        assert tag == "d"
        if body[:1] == b"w" and body[25:26] == b"I":
            found.append(body[25:])
    return found


def feedback(position: int) -> bytes:
    """A standby status update."""
    return rawclient.copy_data(b"r" + struct.pack(">QQQqB", position, position, position, 0, 1))


@pytest.fixture
def table(site: Site) -> Iterator[Any]:
    with site.server.admin(DATABASE) as admin:
        admin.execute("DROP TABLE IF EXISTS logged; CREATE TABLE logged (a int, b text)")
        admin.execute(
            "GRANT ALL ON logged TO PUBLIC; DROP PUBLICATION IF EXISTS p; CREATE PUBLICATION p FOR TABLE logged"
        )
        yield admin


def test_changes_stream_while_both_sides_speak_and_the_stream_ends_in_order(site: Site, raw: Raw, table: Any) -> None:
    client = raw(site.proxy.port, replication="database")
    stream(client, "both_ways")
    table.execute("INSERT INTO logged SELECT n, repeat('x', 20000) FROM generate_series(1, 300) n")
    assert len(changes(client, 300)) == 300
    for position in range(1, 50):
        client.send(feedback(position))
    table.execute("INSERT INTO logged VALUES (7, 'seven')")
    assert b"seven" in changes(client, 1)[0]
    client.send(rawclient.COPY_DONE)
    tags = [tag for tag, _ in client.until_ready() if tag != "d"]
    assert tags[0] == "c"
    assert tags[-1] == "Z"
    assert client.value("SELECT 1") == b"1"


def test_a_cancel_ends_the_stream_as_it_does_directly(site: Site, raw: Raw, table: Any) -> None:
    ends = []
    for port in (site.server.port, site.proxy.port):
        client = raw(port, replication="database")
        stream(client, "cancelled")
        client.cancel()
        messages = [(tag, rawclient.fields(body).get("C")) for tag, body in client.until_ready() if tag != "d"]
        ends.append(messages)
        client.close()
        eventually(lambda: site.active() == 0)
    assert ends[1] == ends[0]
    assert ("E", "57014") in ends[1]


def test_a_client_that_vanishes_in_a_stream_leaves_no_backend(site: Site, raw: Raw, table: Any) -> None:
    client = raw(site.proxy.port, replication="database")
    stream(client, "left")
    assert site.active() == 1
    client.reset()
    eventually(lambda: site.active() == 0)


def test_replication_counts_in_the_quota(site: Site, raw: Raw) -> None:
    with ProxyProcess.for_target(site.server.target(), "--max-backends", "2") as proxy:
        clients = [raw(proxy.port, replication="true") for _ in range(2)]
        for client in clients:
            assert client.ask(query("IDENTIFY_SYSTEM"))[-1][0] == "Z"
        assert site.active() == 2
        with pytest.raises(psycopg.OperationalError, match="timeout"):
            connect(proxy.port, connect_timeout=2)  # it waits for its turn
        clients[0].close()
        eventually(lambda: site.active() == 1)
        assert raw(proxy.port).value("SELECT 1") == b"1"


def test_a_stopping_proxy_ends_streams_at_once_with_a_word(site: Site, raw: Raw, table: Any) -> None:
    proxy = ProxyProcess.for_target(site.server.target(), "--max-backends", "2")
    with proxy:
        client = raw(proxy.port, replication="database")
        stream(client, "stopped")
        proxy.stop()
        rest = client.until_ready()
        assert [rawclient.fields(body)["C"] for tag, body in rest if tag == "E"] == ["57P01"]


OPTIONS = ("-o", "proto_version=1", "-o", "publication_names=p")


def environment(port: int) -> dict[str, str]:
    return {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": USER, "PGPASSWORD": PASSWORD}


def test_pg_basebackup_makes_a_backup(site: Site, tmp_path: Path) -> None:
    program = binaries(site.server.version) / "pg_basebackup"
    with ProxyProcess.for_target(site.server.target()) as proxy:
        command = [str(program), "-D", str(tmp_path / "copy"), "-X", "stream", "-c", "fast"]
        subprocess.run(command, env=environment(proxy.port), check=True, capture_output=True, timeout=120)
    assert (tmp_path / "copy" / "backup_manifest").exists()
    assert (tmp_path / "copy" / "base").is_dir()


def test_pg_recvlogical_receives(site: Site, tmp_path: Path, table: Any) -> None:
    program, out = str(binaries(site.server.version) / "pg_recvlogical"), tmp_path / "out"
    base = [program, "-d", DATABASE, "-S", "received", "-P", "pgoutput"]
    env = environment(site.proxy.port)
    subprocess.run([*base, "--create-slot"], env=env, check=True, capture_output=True, timeout=60)
    receiver = subprocess.Popen(
        [*base, "--start", "-f", str(out), "-F", "0", *OPTIONS], env=env, stderr=subprocess.PIPE
    )
    try:
        table.execute("INSERT INTO logged VALUES (42, 'forty-two')")
        eventually(lambda: out.exists() and b"forty-two" in out.read_bytes())
    finally:
        receiver.terminate()
        receiver.communicate(timeout=20)
    eventually(lambda: site.active() == 0)
    subprocess.run([*base, "--drop-slot"], env=env, check=True, capture_output=True, timeout=60)
