"""Replication through the proxy: the client keeps its backend, and the events pass as they come."""

from __future__ import annotations

import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.login import CAPABILITIES
from tests.live.mysql.test_proxied_commands import BASE
from tests.servers.mysql import ADMIN, ADMIN_PASSWORD, MySqlServer, installation
from tests.servers.mysqlclient import MySqlClient
from tests.servers.proxy import ProxyProcess
from tests.waiting import eventually


@pytest.fixture(scope="module")
def replicated(mysql: MySqlServer) -> Iterator[ProxyProcess]:
    scheme = "mariadb" if mysql.version.startswith("mariadb") else "mysql"
    url = f"{scheme}://{ADMIN}:{quote(ADMIN_PASSWORD)}@127.0.0.1:{mysql.port}/app?sslmode=disable"
    with mysql.admin() as admin, admin.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE IF NOT EXISTS app.replicated (a INT PRIMARY KEY AUTO_INCREMENT, b LONGTEXT) ENGINE=MyISAM"
        )
    with ProxyProcess.for_target(url, "--max-backends", "4") as proxy:
        yield proxy


def admin(port: int, compression: str = "") -> MySqlClient:
    return MySqlClient(port, ADMIN, ADMIN_PASSWORD, parameters={CAPABILITIES: str(BASE)}, compression=compression)


def place(client: MySqlClient, mysql: MySqlServer) -> tuple[bytes, int]:
    """Where the server's log ends."""
    row = client.rows("SHOW BINARY LOG STATUS" if mysql.version == "mysql-9.7" else "SHOW MASTER STATUS")[0]
    assert row[0] is not None
    assert row[1] is not None
    return row[0], int(row[1])


def events(client: MySqlClient) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each event that comes."""
    while True:
        payload = client.payload()
        assert payload[0] == 0, payload
        yield payload[5], payload[20:]


@pytest.mark.parametrize("compression", ["", "zlib"])
@pytest.mark.parametrize("gtid", [False, True])
def test_a_replica_is_sent_events(mysql: MySqlServer, replicated: ProxyProcess, gtid: bool, compression: str) -> None:
    if gtid and mysql.version != "mysql-9.7":
        pytest.skip("COM_BINLOG_DUMP_GTID is MySQL's, and this server has no GTIDs")
    number = 4000 + 10 * gtid + bool(compression)
    with admin(replicated.port) as writer, admin(replicated.port, compression) as replica:
        name, position = place(writer, mysql)
        # As replicas do before they ask: without checksums.
        replica.ask(r.COM_QUERY, b"SET @master_binlog_checksum = 'NONE', @source_binlog_checksum = 'NONE'")
        me = struct.pack("<I", number) + b"\4here" + b"\0\0" + struct.pack("<HII", 3306, 0, 0)
        assert replica.ask(r.COM_REGISTER_SLAVE, me)[0].part is Part.OK
        if gtid:
            sets = struct.pack("<Q", 0)
            body = struct.pack("<HII", 4, number, len(name)) + name + struct.pack("<QI", position, len(sets)) + sets
            replica.command(r.COM_BINLOG_DUMP_GTID, body)
        else:
            replica.command(r.COM_BINLOG_DUMP, struct.pack("<IHI", position, 0, number) + name)
        coming = events(replica)
        kind, body = next(coming)
        assert kind == 4, "the first event says where the log begins"
        assert body[8:].startswith(name)
        mark = b"mark-%d-" % number
        for text in (mark + b"small", mark + b"x" * 200_000, mark + b"y" * 17_000_000):
            assert writer.ask(r.COM_QUERY, b"INSERT INTO replicated (b) VALUES ('" + text + b"')")[0].part is Part.OK
            begun = time.monotonic()
            while text not in next(coming)[1]:
                assert time.monotonic() - begun < 30
        # It is asked nothing more, and leaves; its backend is nobody else's.
    with mysql.admin() as connection, connection.cursor() as cursor:

        def dumps() -> int:
            cursor.execute("SELECT COUNT(*) FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'")
            ((count,),) = cursor.fetchall()
            return int(count)

        eventually(lambda: dumps() == 0)
    replicated.wait_for_log("replication")


def _program(mysql: MySqlServer) -> list[str] | None:
    """The program that reads a server's log, where it was unpacked with the server."""
    one = installation(mysql.version)
    for name in ("mysqlbinlog", "mariadb-binlog"):
        found = one.base / "bin" / name
        if found.exists() and len(one.program) > 1:
            return [*map(str, one.program[:-1]), str(found)]
    return None


@pytest.mark.matrix
def test_the_servers_own_program_reads_the_log(mysql: MySqlServer, replicated: ProxyProcess, tmp_path: Path) -> None:
    program = _program(mysql)
    if program is None:
        pytest.skip("this server came without the program")
    with admin(replicated.port) as writer:
        writer.ask(r.COM_QUERY, b"INSERT INTO replicated (b) VALUES ('for the program')")
        name, position = place(writer, mysql)
    mode = "--ssl-mode=DISABLED" if mysql.version.startswith("mysql") else "--skip-ssl"
    more = ["--get-server-public-key"] if mysql.version.startswith("mysql") else []
    written = {}
    for port in (mysql.port, replicated.port):
        done = subprocess.run(
            [
                *program, "--no-defaults", "--read-from-remote-server", "--protocol=tcp", "-h127.0.0.1", f"-P{port}",
                f"-u{ADMIN}", f"-p{ADMIN_PASSWORD}", mode, *more, f"--stop-position={position}", "--raw",
                f"--result-file={tmp_path}/{port}-", name.decode(),
            ],
            capture_output=True, text=True, timeout=100, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        written[port] = (tmp_path / f"{port}-{name.decode()}").read_bytes()
    assert written[mysql.port] == written[replicated.port]
    assert b"for the program" in written[mysql.port]
