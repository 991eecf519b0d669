"""Commands that few clients use: the last prepared statement by -1, arrays of values, limits of a server, what it tells."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.framing import packets
from rdsp_codecs.mysql.login import CAPABILITIES
from tests.live.mysql.sidebyside import target
from tests.live.mysql.test_proxied_commands import BASE, shown
from tests.servers.mysql import MySqlServer
from tests.servers.mysqlclient import MySqlClient
from tests.servers.proxy import ProxyProcess

LAST = b"\xff\xff\xff\xff"
ONE_VALUE = b"\0\1\0\0\0" + b"\0\1\xfd\0" + b"\x0241"
BULK = BASE | c.CLIENT_DEPRECATE_EOF | c.MARIADB_CLIENT_STMT_BULK_OPERATIONS


@pytest.fixture
def one(tracking: MySqlServer) -> Iterator[ProxyProcess]:
    with ProxyProcess.for_target(target(tracking), "--max-backends", "1") as proxy:
        yield proxy


def opened(port: int, flags: int = BASE) -> MySqlClient:
    return MySqlClient(port, parameters={CAPABILITIES: str(flags)})


def without_numbers(heard: list) -> list:
    """A statement's number is a connection's own."""
    return [(part, *rest) if part is not Part.PREPARED else (part, rest[0][5:]) for part, *rest in shown(heard)]


def test_the_last_prepared_statement_is_meant_by_minus_one(tracking: MySqlServer, one: ProxyProcess) -> None:
    with opened(tracking.port) as direct, opened(one.port) as proxied, opened(one.port) as other:
        for code, body in (
            (r.COM_STMT_EXECUTE, LAST + ONE_VALUE),
            (r.COM_STMT_PREPARE, b"SELECT ? + 1"),
            (r.COM_STMT_EXECUTE, LAST + ONE_VALUE),
            (r.COM_STMT_PREPARE, b"SELECT 'second', ?"),
            (r.COM_STMT_EXECUTE, LAST + ONE_VALUE),
            (r.COM_STMT_RESET, LAST),
            (r.COM_STMT_EXECUTE, LAST + ONE_VALUE),
        ):
            said, meant = without_numbers(proxied.ask(code, body)), without_numbers(direct.ask(code, body))
            assert said == meant, (code, body)
            # The one backend is another session's meanwhile.
            assert other.rows("SELECT 1") == [(b"1",)]
        if not tracking.version.startswith("mariadb"):
            return
        # Together with its PREPARE, as MariaDB's drivers say it.
        both = packets(b"\x16SELECT 'both', ?") + packets(b"\x17" + LAST + ONE_VALUE)
        for client in (direct, proxied):
            client.write(both)
            for code in (r.COM_STMT_PREPARE, r.COM_STMT_EXECUTE):
                client.reader.begin(1)
                client.dialogue.asked(code)
                while not client.dialogue.over:
                    payload = client.payload()
                    client.dialogue.told(payload, len(payload))
                    if payload[:1] == b"\x04":
                        assert payload == b"\x04both\x0241" or b"both" in payload


def test_arrays_of_values_follow_their_statement(tracking: MySqlServer, one: ProxyProcess) -> None:
    if not tracking.version.startswith("mariadb"):
        pytest.skip("COM_STMT_BULK_EXECUTE is MariaDB's")
    values = b"".join(b"\0" + bytes((len(text),)) + text for text in (b"a", b"bc", b"def")) + b"\1"
    with opened(one.port, BULK) as client, opened(one.port, BULK) as other:
        assert client.flags & c.MARIADB_CLIENT_STMT_BULK_OPERATIONS
        client.ask(r.COM_QUERY, b"DELETE FROM filed")
        number = client.ask(r.COM_STMT_PREPARE, b"INSERT INTO filed VALUES (?)")[0].payload[1:5]
        for turn in range(3):
            heard = client.ask(r.COM_STMT_BULK_EXECUTE, number + b"\x80\0" + b"\xfd\0" + values)
            assert heard[-1].ok is not None, heard
            assert heard[-1].ok.affected_rows == 4
            # Another session's, whose statements take the place of this one's.
            assert other.rows("SELECT 1") == [(b"1",)]
            other.ask(r.COM_QUERY, b"SET @a = %d" % turn)
        assert client.rows("SELECT COUNT(*), COUNT(line), MAX(line) FROM filed") == [(b"12", b"9", b"def")]
        client.ask(r.COM_QUERY, b"DELETE FROM filed")


@pytest.mark.parametrize("size", [(1 << 20) - 100, (1 << 20) + 100, 9 << 20])
def test_long_texts_are_prepared_and_follow_or_stay(tracking: MySqlServer, size: int) -> None:
    with ProxyProcess.for_target(target(tracking), "--max-backends", "2") as proxy:
        with opened(proxy.port) as client, opened(proxy.port) as other:
            number = client.ask(r.COM_STMT_PREPARE, b"SELECT ?, LENGTH('" + b"x" * size + b"')")[0].payload[1:5]
            for _ in range(3):
                heard = client.ask(r.COM_STMT_EXECUTE, number + ONE_VALUE)
                (row,) = [each.payload for each in heard if each.part is Part.ROW]
                assert row.startswith(b"\0\0\x0241")
                assert int.from_bytes(row[5:9], "little") == size
                assert other.rows("SELECT 1") == [(b"1",)]
            client.command(r.COM_STMT_CLOSE, number)
            assert client.rows("SELECT 7") == [(b"7",)]


def test_a_server_with_too_many_statements_says_so(tracking: MySqlServer, one: ProxyProcess) -> None:
    """Once: those that the proxy has kept there make room for the next one."""
    with tracking.admin() as admin, admin.cursor() as cursor:
        cursor.execute("SELECT @@global.max_prepared_stmt_count")
        ((before,),) = cursor.fetchall()
        with opened(one.port) as client:
            number = client.ask(r.COM_STMT_PREPARE, b"SELECT 'kept', ?")[0].payload[1:5]
            cursor.execute("SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'")
            ((_, now),) = cursor.fetchall()
            cursor.execute(f"SET GLOBAL max_prepared_stmt_count = {now}")
            try:
                (heard,) = client.ask(r.COM_STMT_PREPARE, b"SELECT 'one too many'")
                assert r.read_err(heard.payload).code == 1461
                for _ in range(2):
                    answer = client.ask(r.COM_STMT_EXECUTE, number + ONE_VALUE)
                    assert Part.ROW in [each.part for each in answer], answer
                assert client.rows("SELECT 7") == [(b"7",)]
            finally:
                cursor.execute(f"SET GLOBAL max_prepared_stmt_count = {before}")
            assert client.ask(r.COM_STMT_PREPARE, b"SELECT 'one more'")[0].part is Part.PREPARED


def test_what_servers_tell_is_passed_on(tracking: MySqlServer, one: ProxyProcess) -> None:
    with opened(tracking.port) as direct, opened(one.port) as proxied:
        for code, body in (
            (r.COM_DEBUG, b""),
            (r.COM_SET_OPTION, b"\7\0"),
            (r.COM_REFRESH, b"\1"),
            (0x1D, b""),
            (0x55, b"x"),
        ):
            said, meant = shown(proxied.ask(code, body)), shown(direct.ask(code, body))
            assert said == meant, code
        said, meant = proxied.ask(r.COM_STATISTICS), direct.ask(r.COM_STATISTICS)
        assert [one.part for one in said] == [one.part for one in meant] == [Part.TEXT]
        said, meant = proxied.ask(r.COM_PROCESS_INFO), direct.ask(r.COM_PROCESS_INFO)
        kinds = [[one.part for one in heard if one.part is not Part.ROW] for heard in (said, meant)]
        assert kinds[0] == kinds[1]
        assert proxied.rows("SELECT 7") == [(b"7",)]
