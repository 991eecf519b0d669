"""Clients that leave in the middle of a request, at a real server: what becomes of their backend, and of their work."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.live.conftest import connect
from tests.servers.postgres import TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import SYNC, RawClient, bind, copy_data, execute, message, parse, query
from tests.waiting import eventually

pytestmark = pytest.mark.live

TRIES = 30


def test_a_backend_whose_client_left_in_a_query_that_soon_ended_is_lent_again(
    postgres15: TestServer, raw: Callable[..., RawClient]
) -> None:
    """What is soon is told by the clock: on a busy machine one of many tries will do. Closed, it is never the same."""
    waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with ProxyProcess.for_target(postgres15.target(), "--max-backends", "1") as proxy, postgres15.admin("app") as admin:
        for _ in range(TRIES):
            before = raw(proxy.port).value("SELECT pg_backend_pid()")
            admin.execute("SELECT pg_advisory_lock(77)")
            leaver = raw(proxy.port)
            leaver.send(query("SELECT pg_advisory_xact_lock(77)"), query("SELECT 1"), query("SET work_mem = '1234kB'"))
            eventually(lambda: admin.execute(waits).fetchone() == (1,))
            leaver.socket.shutdown(socket.SHUT_WR)
            assert leaver.receive()[0] == "", "the proxy has noticed"
            admin.execute("SELECT pg_advisory_unlock(77)")

            after = raw(proxy.port)
            assert after.value("SHOW work_mem") != b"1234kB"
            if after.value("SELECT pg_backend_pid()") == before:
                return
    raise AssertionError("every backend was closed")


INSERT = "INSERT INTO left_behind VALUES (1)"
LEFT = {
    "several queries": ((query(INSERT),) * 5, False),
    "a transaction": ((query("BEGIN"), query(INSERT), query("SELECT pg_sleep(0.01)")), True),
    "a batch without a Sync": ((parse("", INSERT), bind(), execute(), parse("", "SELECT 1")), True),
    "batches": ((parse("", INSERT), bind(), execute(), SYNC) * 3, False),
    "half a message": ((query("BEGIN"), query(INSERT), query("COMMIT")[:-3]), True),
    "half a long message": ((query("BEGIN"), query(INSERT), query("COMMIT" + " " * 300_000)[:-3]), True),
    "a COPY in": ((query("COPY left_behind FROM STDIN"), copy_data(b"1\n" * 5)), True),
    "half a COPY in": ((query("COPY left_behind FROM STDIN"), copy_data(b"1\n" * 5)[:-2]), True),
    "a COPY out": ((query("BEGIN"), query(INSERT), query("COPY (SELECT generate_series(1, 3000000)) TO STDOUT")), True),
    "rows without end": ((query("BEGIN"), query(INSERT), query("SELECT generate_series(1, 3000000)")), True),
    "a function call": ((query("BEGIN"), query(INSERT), message("F", b"\0\0\4\xcb\0\0\0\0\0\0")), True),
    "settings and roles": (
        (query("SET work_mem = '1234kB'"), query("SET ROLE bob"), query("BEGIN; SET app.left = 'x'")),
        True,
    ),
    "temporary tables": ((query("CREATE TEMP TABLE of_who_left (a int)"), query("SELECT pg_advisory_lock(78)")), True),
    "statements": ((parse("s", "SELECT 1"), SYNC, query("PREPARE p AS SELECT 2"), query("EXECUTE p")), True),
}


@pytest.mark.parametrize("rudely", [False, True], ids=["closes", "resets"])
@pytest.mark.parametrize(("messages", "undone"), LEFT.values(), ids=LEFT.keys())
def test_the_next_client_finds_nothing_of_one_that_left(
    messages: tuple[bytes, ...], undone: bool, rudely: bool, one_backend: ProxyProcess, raw: Callable[..., RawClient]
) -> None:
    with connect(one_backend.port) as owner:
        owner.execute("DROP TABLE IF EXISTS left_behind; CREATE TABLE left_behind (a int)")
        leaver = raw(one_backend.port)
        leaver.send(*messages)
        leaver.reset() if rudely else leaver.close()

        found = raw(one_backend.port)
        assert found.value("SELECT current_user || current_setting('work_mem')") == b"app4MB"
        assert found.value("SELECT coalesce(current_setting('app.left', true), 'none')") == b"none"
        assert found.value("SELECT count(*) FROM pg_prepared_statements WHERE name IN ('s', 'p')") == b"0"
        assert found.value("SELECT to_regclass('of_who_left') IS NULL") == b"t"
        assert found.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == b"0"
        count = int(found.value("SELECT count(*) FROM left_behind") or b"")
        assert count == 0 if undone else count <= len(messages)
        assert found.value("SELECT count(*) FROM pg_stat_activity WHERE state ~ 'in transaction'") == b"0"
