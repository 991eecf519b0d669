"""What rows have changed unheard, and commands of the proxy's own: no answer to these may take the news along."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.framing import packets
from rdsp_codecs.mysql.login import CAPABILITIES
from tests.live.mysql.sidebyside import target
from tests.live.mysql.test_lifted import is_kept
from tests.live.mysql.test_refusals import limited
from tests.live.mysql.test_unheard import FUNCTIONS, ready  # noqa: F401 - a fixture
from tests.servers.mysql import MySqlServer
from tests.servers.mysqlclient import Heard, MySqlClient
from tests.servers.proxy import ProxyProcess

CLASSIC = {CAPABILITIES: str(c.CLIENT_MULTI_RESULTS)}


@pytest.fixture
def one(ready: MySqlServer) -> Iterator[ProxyProcess]:  # noqa: F811
    with ProxyProcess.for_target(target(ready), "--max-backends", "1") as proxy:
        yield proxy


def client(proxy: ProxyProcess) -> MySqlClient:
    return MySqlClient(proxy.port, parameters=CLASSIC)


def rows(who: MySqlClient, text: str) -> list[bytes]:
    heard = who.ask(r.COM_QUERY, text.encode())
    assert heard[-1].part is not Part.ERR, (text, heard[-1].payload)
    return [each.payload for each in heard if each.part is Part.ROW]


def prepared(who: MySqlClient, text: str) -> bytes:
    return who.ask(r.COM_STMT_PREPARE, text.encode())[0].payload[1:5]


def executed(who: MySqlClient, number: bytes) -> list[Heard]:
    return who.ask(r.COM_STMT_EXECUTE, number + b"\0\1\0\0\0")


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("text", ["SHOW VARIABLES LIKE 'session_track%'", "SET session_track_schema = 1"])
@pytest.mark.parametrize("begins", [True, False])
def test_a_text_that_runs_masked_hides_nothing(one: ProxyProcess, name: str, text: str, begins: bool) -> None:
    with client(one) as mine:
        rows(mine, "SELECT 0")
        if begins:
            rows(mine, "BEGIN")
        rows(mine, f"SELECT * FROM view_{name}")
        rows(mine, text)
        if begins:
            rows(mine, "COMMIT")
        assert is_kept(one.port)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("begins", [True, False])
def test_a_statement_that_is_prepared_again_hides_nothing(one: ProxyProcess, name: str, begins: bool) -> None:
    with ExitStack() as stack:
        mine, other, third = (stack.enter_context(client(one)) for _ in range(3))
        rows(third, "SET sql_mode = 'ANSI_QUOTES'")
        number = prepared(mine, "SELECT a FROM rows_of WHERE a = 1")
        rows(mine, "SET sql_mode = 'ANSI_QUOTES'")
        rows(other, "SET time_zone = '+01:00'")  # the backend is reset for it, and has no statement any more
        if begins:
            rows(mine, "BEGIN")
        rows(mine, f"SELECT * FROM view_{name}")
        assert executed(mine, number)[-1].part is not Part.ERR
        if begins:
            rows(mine, "COMMIT")
        assert is_kept(one.port)


def test_what_only_its_own_session_reads_is_not_asked_for_too_soon(ready: MySqlServer) -> None:  # noqa: F811
    """A session that has lingered for another reason before lingers anew."""
    with ProxyProcess.for_target(target(ready), "--max-backends", "4") as proxy:
        for pause in (0.8, 0.9, 0.95, 1.0):
            with client(proxy) as mine:
                rows(mine, "SELECT 1")
                time.sleep(pause)
                rows(mine, "INSERT INTO numbered (n) VALUES (1)")
                time.sleep(0.15)
                assert rows(mine, "SELECT ROW_COUNT()") == [b"\x011"]


def test_what_comes_with_a_kill_is_answered(one: ProxyProcess) -> None:
    with client(one) as mine:
        rows(mine, "BEGIN")
        mine.socket.sendall(packets(b"\3KILL QUERY 1", 0) + packets(b"\3SELECT 'behind'", 0))
        said = b""
        while said.count(b"behind") < 2:  # the column's name, and the value
            more = mine.socket.recv(4096)
            assert more
            said += more


def test_a_kill_behind_a_masked_text_keeps_nothing_from_others(one: ProxyProcess) -> None:
    with client(one) as mine, client(one) as other:
        mine.socket.sendall(packets(b"\3SET session_track_schema = 1", 0) + packets(b"\3KILL QUERY 1", 0))
        time.sleep(0.3)
        assert rows(other, "SELECT 2") == [b"\x012"]


def test_what_follows_a_use_of_a_database_that_is_gone_waits_for_nothing(
    ready: MySqlServer,  # noqa: F811
    one: ProxyProcess,
) -> None:
    with ready.admin() as admin, admin.cursor() as cursor:
        cursor.execute("CREATE DATABASE IF NOT EXISTS dropped_soon")
        cursor.execute("GRANT ALL ON dropped_soon.* TO app")
        with client(one) as mine, client(one) as other:
            rows(mine, "USE dropped_soon")
            rows(other, "SET time_zone = '+01:00'")
            cursor.execute("DROP DATABASE dropped_soon")
            assert mine.ask(r.COM_QUERY, b"USE dropped_soon")[-1].part is Part.ERR
            began = time.monotonic()
            mine.ask(r.COM_QUERY, b"SELECT 1")
            assert time.monotonic() - began < 0.8


def test_who_waits_for_an_answer_is_not_idle(ready: MySqlServer, tmp_path: Path) -> None:  # noqa: F811
    """Also where its statement is prepared again first, on the backend on which it lingers."""
    with limited(ready, tmp_path, "idle_client_timeout = 1") as proxy, client(proxy) as mine, client(proxy) as other:
        number = prepared(mine, "SELECT SLEEP(2.5)")
        rows(other, "SET time_zone = '+01:00'")
        rows(mine, "SELECT 1")
        assert executed(mine, number)[-1].part is Part.EOF
