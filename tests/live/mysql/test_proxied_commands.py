"""Commands of the protocol through the proxy, packet by packet as at the server."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pymysql
import pytest

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.framing import packets
from rdsp_codecs.mysql.login import CAPABILITIES
from tests.live.mysql.sidebyside import connect, target
from tests.servers.mysql import MySqlServer
from tests.servers.mysqlclient import MySqlClient
from tests.servers.proxy import ProxyProcess
from tests.waiting import eventually

BOTH = [0, c.CLIENT_DEPRECATE_EOF]
BASE = c.CLIENT_MULTI_RESULTS | c.CLIENT_PS_MULTI_RESULTS | c.CLIENT_LOCAL_FILES


@pytest.fixture(params=[1, 2])
def proxy(tracking: MySqlServer, request: pytest.FixtureRequest) -> Iterator[ProxyProcess]:
    with ProxyProcess.for_target(target(tracking), "--max-backends", str(request.param)) as proxy:
        yield proxy


def open_both(tracking: MySqlServer, proxy: ProxyProcess, flags: int) -> tuple[MySqlClient, MySqlClient]:
    parameters = {CAPABILITIES: str(flags | BASE)}
    return MySqlClient(tracking.port, parameters=parameters), MySqlClient(proxy.port, parameters=parameters)


def shown(heard: list[Any]) -> list[Any]:
    """Packets without what is a connection's own: trackers that nobody has asked for."""
    found: list[Any] = []
    for one in heard:
        if one.ok is not None:
            found.append((one.part, one.ok.affected_rows, one.ok.last_insert_id, one.ok.warnings, one.ok.info or b""))
        elif one.part is Part.EOF:
            # The one behind definitions cannot tell of the result, nor of what follows.
            found.append((one.part, (one.status or 0) & (r.SERVER_STATUS_IN_TRANS | r.SERVER_STATUS_AUTOCOMMIT)))
        else:
            found.append((one.part, one.payload))
    return found


@pytest.mark.parametrize("flags", BOTH, ids=["classic", "deprecated"])
def test_answers_are_those_of_the_server(tracking: MySqlServer, proxy: ProxyProcess, flags: int) -> None:
    direct, proxied = open_both(tracking, proxy, flags)
    commands = [
        (r.COM_QUERY, b"SELECT 1, NULL, REPEAT('x', 70000)"),
        (r.COM_QUERY, b"SELECT 1 WHERE 1 = 0"),
        (r.COM_QUERY, b"SELECT nothing"),
        (r.COM_QUERY, b"SELECT 1; DO 0; SELECT 2"),
        (r.COM_INIT_DB, b"other"),
        (r.COM_QUERY, b"SELECT DATABASE()"),
        (r.COM_INIT_DB, b"nothing_of_the_kind"),
        (r.COM_QUERY, b"SELECT DATABASE()"),
        (r.COM_INIT_DB, b"app"),
        (r.COM_FIELD_LIST, b"answered\0%"),
        (r.COM_PING, b""),
        (r.COM_SET_OPTION, b"\1\0"),
        (r.COM_QUERY, b"SELECT 1; SELECT 2"),
        (r.COM_SET_OPTION, b"\0\0"),
        (r.COM_QUERY, b"SELECT 1; SELECT 2"),
        (r.COM_QUERY, b"SET time_zone = '+05:00'"),
        (r.COM_QUERY, b"SELECT @@time_zone"),
        (r.COM_RESET_CONNECTION, b""),
        (r.COM_QUERY, b"SELECT @@time_zone, @@character_set_client, @@collation_connection, DATABASE()"),
        (r.COM_QUERY, b"SET @a = 5"),
        (r.COM_QUERY, b"SELECT @a"),
        (r.COM_RESET_CONNECTION, b""),
        (r.COM_QUERY, b"SELECT @a"),
        (r.COM_QUERY, b"BEGIN"),
        (r.COM_QUERY, b"INSERT INTO answered (n) VALUES (7)"),
        (r.COM_RESET_CONNECTION, b""),
        (r.COM_QUERY, b"SELECT COUNT(*) FROM answered WHERE n = 7"),
        (r.COM_QUERY, b"SELECT LAST_INSERT_ID()"),
        (r.COM_DAEMON, b""),
    ]
    with direct, proxied:
        for code, body in commands:
            meant = shown(direct.ask(code, body))
            if code == r.COM_QUERY and body.startswith(b"INSERT"):
                meant = [(part, rows, 0, warnings, info) for part, rows, _, warnings, info in meant]
                said = shown(proxied.ask(code, body))
                assert [(part, rows, 0, warnings, info) for part, rows, _, warnings, info in said] == meant
                continue
            said = shown(proxied.ask(code, body))
            if code == r.COM_SET_OPTION:  # MySQL counts the warnings of the statement before
                said, meant = [one[:1] for one in said], [one[:1] for one in meant]
            assert said == meant, (code, body)


def test_statistics_and_processes_are_passed_on_and_kills_refused(tracking: MySqlServer, proxy: ProxyProcess) -> None:
    with MySqlClient(proxy.port) as client:
        (heard,) = client.ask(r.COM_STATISTICS)
        assert b"Uptime" in heard.payload
        if tracking.version.startswith("mariadb"):  # MySQL has that no more
            assert client.ask(r.COM_PROCESS_INFO)[0].part is Part.COUNT
        for code, body in (
            (r.COM_QUERY, b"KILL 1 + 1"),
            (r.COM_QUERY, b"SELECT 1; kill 5"),
        ):
            client.command(code, body)
            assert r.read_err(client.payload()).code == 1235
        assert client.rows("SELECT 1") == [(b"1",)]


@pytest.mark.parametrize("flags", BOTH, ids=["classic", "deprecated"])
def test_files_are_passed_on(tracking: MySqlServer, proxy: ProxyProcess, flags: int) -> None:
    direct, proxied = open_both(tracking, proxy, flags)
    text = b"LOAD DATA LOCAL INFILE 'x' INTO TABLE filed"
    # What looks like a command in a file is a file's.
    files = [b"one\n", packets(b"\3SELECT 1"), b"x" * 99 + b"\n"]
    with direct, proxied:
        proxied.ask(r.COM_QUERY, b"DELETE FROM filed")
        assert shown(proxied.ask(r.COM_QUERY, text, files=[b"".join(files)])) == shown(
            direct.ask(r.COM_QUERY, text, files=[b"".join(files)])
        )
        assert shown(proxied.ask(r.COM_QUERY, text + b"; " + text, files=[b"a\n", b"b\nc\n"])) == shown(
            direct.ask(r.COM_QUERY, text + b"; " + text, files=[b"a\n", b"b\nc\n"])
        )
        refused = b"LOAD DATA LOCAL INFILE 'x' INTO TABLE nothing_of_the_kind"
        assert shown(proxied.ask(r.COM_QUERY, refused, files=[b"a\n"])) == shown(
            direct.ask(r.COM_QUERY, refused, files=[b"a\n"])
        )
        assert proxied.rows("SELECT COUNT(*) FROM filed") == direct.rows("SELECT COUNT(*) FROM filed")


def test_commands_that_do_not_wait_are_answered_in_order(tracking: MySqlServer, proxy: ProxyProcess) -> None:
    with MySqlClient(proxy.port) as client:
        number = client.ask(r.COM_STMT_PREPARE, b"SELECT 1")[0].payload[1:5]
        texts = [b"SELECT %d" % n for n in range(300)]
        client.socket.sendall(
            packets(b"\x19" + number) * 200 + b"".join(packets(b"\3" + text) for text in texts) + packets(b"\x0e")
        )
        for n in range(300):
            client.reader.begin(1)
            seen = [client.payload() for _ in range(4)]
            assert seen[2] == bytes((len(str(n)),)) + str(n).encode()
        client.reader.begin(1)
        assert client.payload()[:1] == b"\0"


def test_bytes_may_come_one_by_one(tracking: MySqlServer, proxy: ProxyProcess) -> None:
    with MySqlClient(proxy.port) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in packets(b"\3SELECT 'slowly'"):
            client.socket.sendall(bytes((byte,)))
        client.reader.begin(1)
        assert client.payload() == b"\1"


def test_who_leaves_in_the_middle_leaves_nothing(tracking: MySqlServer, proxy: ProxyProcess) -> None:
    with tracking.admin() as admin, admin.cursor() as cursor:
        cursor.execute("DELETE FROM app.answered")

        def running() -> int:
            cursor.execute("SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%SLEEP(77)%'")
            ((count,),) = cursor.fetchall()
            return int(count) - 1

        leaving = MySqlClient(proxy.port)
        leaving.ask(r.COM_QUERY, b"BEGIN")
        leaving.ask(r.COM_QUERY, b"INSERT INTO answered (n) VALUES (1)")
        leaving.socket.close()
        with connect(proxy.port) as another, another.cursor() as question:
            question.execute("SELECT COUNT(*), LAST_INSERT_ID() FROM answered")
            assert question.fetchall() == ((0, 0),)
        leaving = MySqlClient(proxy.port)
        leaving.command(r.COM_QUERY, b"SELECT SLEEP(77)")
        eventually(lambda: running() == 1)
        leaving.socket.close()
        eventually(lambda: running() == 0)
        leaving = MySqlClient(proxy.port, parameters={CAPABILITIES: str(BASE)})
        leaving.command(r.COM_QUERY, b"LOAD DATA LOCAL INFILE 'x' INTO TABLE filed")
        assert leaving.payload()[:1] == b"\xfb"
        leaving.send(b"half\n", 2)
        leaving.socket.close()
        with connect(proxy.port) as another, another.cursor() as question:
            question.execute("SELECT COUNT(*) FROM answered")
            assert question.fetchall() == ((0,),)


def test_a_wrong_password_and_a_missing_database_are_told(tracking: MySqlServer, proxy: ProxyProcess) -> None:
    with pytest.raises(pymysql.OperationalError, match="1045"):
        connect(proxy.port, password="wrong")
    with pytest.raises(pymysql.OperationalError, match=r"10(44|49)"):
        connect(proxy.port, database="nothing_of_the_kind")
    with connect(proxy.port) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
