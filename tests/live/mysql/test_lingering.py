"""Clients of the classic form keep the backend on which they have read, as long as nobody else needs it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pymysql
import pytest

from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.framing import packets
from tests.live.mysql.sidebyside import connect, target
from tests.servers.mysql import USER, MySqlServer
from tests.servers.proxy import ProxyProcess
from tests.waiting import PATIENCE


@pytest.fixture
def proxy(tracking: MySqlServer) -> Iterator[ProxyProcess]:
    with ProxyProcess.for_target(target(tracking), "--max-backends", "8") as started:
        yield started


@pytest.fixture
def one(tracking: MySqlServer) -> Iterator[ProxyProcess]:
    with ProxyProcess.for_target(target(tracking), "--max-backends", "1") as started:
        yield started


def asked(connection: pymysql.Connection[tuple[object, ...]], text: str) -> object:
    """The first value."""
    with connection.cursor() as cursor:
        cursor.execute(text)
        row = cursor.fetchone()
        return None if row is None else row[0]


def counted(server: MySqlServer, name: str) -> int:
    """How often the server was asked for something."""
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute(f"SHOW GLOBAL STATUS LIKE '{name}'")
        row = cursor.fetchone()
        assert row is not None
        return int(row[1])


def backends(server: MySqlServer) -> set[int]:
    """The connections that the tests' user has at the server."""
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute("SELECT id FROM information_schema.processlist WHERE user = %s", [USER])
        return {row[0] for row in cursor.fetchall()}


def test_who_reads_alone_is_not_asked_about(tracking: MySqlServer, proxy: ProxyProcess) -> None:
    """No command of the proxy's goes with the reads: the server counts a COM_PING among these."""
    with connect(proxy.port) as client:
        asked(client, "SELECT 1")
        before = counted(tracking, "Com_admin_commands")
        for number in range(50):
            assert asked(client, f"SELECT {number}") == number
        assert counted(tracking, "Com_admin_commands") - before < 10


def test_who_comes_gets_a_kept_one_before_another_is_opened(tracking: MySqlServer, proxy: ProxyProcess) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(connect(proxy.port)) for _ in range(6)]
        for number in range(60):
            assert asked(clients[number % 6], f"SELECT {number}") == number
        # On a busy machine the kept one may take too long, and then one more is opened; without it there were six.
        assert len(backends(tracking)) <= 2


def test_what_it_has_changed_meanwhile_is_nobody_elses(tracking: MySqlServer, one: ProxyProcess) -> None:
    """By each way in which the next one gets the backend: reclaimed, left with a good-bye, and without one."""
    for number, leaves in enumerate(("stays", "says good-bye", "breaks off")):
        mine = connect(one.port)
        with connect(one.port) as other:
            assert asked(mine, f"SELECT @hidden := {number}") == number
            assert asked(mine, "SELECT @@session.group_concat_max_len") is not None
            if leaves == "says good-bye":
                mine.close()
            elif leaves == "breaks off":
                mine._sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
                mine._force_close()  # type: ignore[attr-defined]
            else:
                # What pins keeps the backend: nobody else may have it.
                with pytest.raises(pymysql.OperationalError), connect(one.port, read_timeout=0.3):
                    pass
                mine.close()
            assert asked(other, "SELECT @hidden") is None


@pytest.mark.parametrize("leaves", ["a good-bye", "nothing"])
def test_who_leaves_behind_reading_gives_a_clean_backend_back(
    tracking: MySqlServer, one: ProxyProcess, leaves: str
) -> None:
    """No reset is needed: the next one is served by the same connection, whose session the server still knows."""
    with connect(one.port) as first:
        asked(first, "SELECT 1")
    (kept,) = backends(tracking)
    for number in range(10):
        client = connect(one.port)
        assert asked(client, f"SELECT {number}") == number
        if leaves == "a good-bye":
            client.close()
        else:
            client._sock.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
            client._force_close()  # type: ignore[attr-defined]
    with connect(one.port) as last:
        assert asked(last, "SELECT 11") == 11
    assert backends(tracking) == {kept}


def test_half_a_command_keeps_nothing_from_others(one: ProxyProcess) -> None:
    whole = packets(bytes((r.COM_QUERY,)) + b"SELECT 'slow'", 0)
    with connect(one.port) as slow, connect(one.port) as other:
        assert asked(slow, "SELECT 1") == 1
        slow._sock.sendall(whole[:7])  # type: ignore[attr-defined]
        time.sleep(0.05)
        began = time.monotonic()
        assert asked(other, "SELECT 2") == 2
        assert time.monotonic() - began < PATIENCE / 2
        slow._sock.sendall(whole[7:])  # type: ignore[attr-defined]
        slow._next_seq_id = 1  # type: ignore[attr-defined]
        assert slow._read_query_result(unbuffered=False) == 1
        assert slow._result is not None
        assert slow._result.rows == (("slow",),)


def test_a_busy_reader_lets_others_have_the_one_backend(one: ProxyProcess) -> None:
    """Two that read without a pause take turns: neither waits for long."""
    with connect(one.port) as mine, connect(one.port) as other:
        longest = 0.0
        for number in range(200):
            began = time.monotonic()
            assert asked(mine if number % 2 else other, f"SELECT {number}") == number
            longest = max(longest, time.monotonic() - began)
        assert longest < PATIENCE / 4
