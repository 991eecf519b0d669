"""Several hosts for a target: dead and silent ones are passed over, names have many addresses, cancels find their way."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.parse import quote

import psycopg
import pytest

from tests.live.conftest import connect
from tests.servers.fixtures import _server
from tests.servers.postgres import DATABASE, PASSWORD, USER, TestServer
from tests.servers.proxy import ProxyProcess
from tests.waiting import PATIENCE, asked_again, eventually

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def read_only() -> Iterator[TestServer]:
    """A second server, where nobody writes by default."""
    for server in _server("15"):
        with server.admin() as admin:
            admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            admin.execute("SELECT pg_reload_conf()")
        yield server


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Where connections are accepted by the kernel and nobody ever answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as sock:
        yield sock


def _port(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def _knocked(silent: socket.socket, left: ExitStack) -> int:
    """How many connections there were to it since the last call; they stay open, and unanswered."""
    silent.setblocking(False)
    count = 0
    with suppress(BlockingIOError):
        while True:
            left.enter_context(silent.accept()[0])
            count += 1
    return count


def _url(hosts: str, query: str = "") -> str:
    return f"postgresql://{USER}:{quote(PASSWORD, safe='')}@{hosts}/{DATABASE}{query}"


def test_dead_and_silent_hosts_are_passed_over(postgres15: TestServer, silent: socket.socket) -> None:
    hosts = f"127.0.0.1:1,127.0.0.1:{_port(silent)},127.0.0.1:{postgres15.port}"
    with (
        ExitStack() as left,
        ProxyProcess.for_target(_url(hosts, "?connect_timeout=6"), "--max-backends", "3") as proxy,
    ):
        started = time.monotonic()
        with connect(proxy.port) as first:
            assert first.execute("SELECT 1").fetchone() == (1,)
            # A third of 6 seconds for each; the first refuses at once, so the second gets half of what is left.
            assert time.monotonic() - started > 2.5
            assert _knocked(silent, left) >= 1
            with first.transaction(), connect(proxy.port) as second, second.transaction():
                first.execute("SELECT 1")
                second.execute("SELECT 1")
                assert _knocked(silent, left) == 0, "the silent one is tried behind the others now"


def test_a_server_that_starts_up_is_passed_over(postgres15: TestServer) -> None:
    """It says 57P03 (here: one that only says so), and the next one has no reason to."""
    words = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
    refusal = b"E" + (len(words) + 4).to_bytes(4, "big") + words
    with socket.create_server(("127.0.0.1", 0)) as starting:

        def answer() -> None:
            sock, _ = starting.accept()
            with sock:
                assert sock.recv(8)
                sock.sendall(b"N")
                assert sock.recv(1000)
                sock.sendall(refusal)

        thread = threading.Thread(target=answer)
        thread.start()
        hosts = f"127.0.0.1:{starting.getsockname()[1]},127.0.0.1:{postgres15.port}"
        with ProxyProcess.for_target(_url(hosts)) as proxy, connect(proxy.port) as client:
            assert client.execute("SELECT 1").fetchone() == (1,)
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_read_write_passes_over_a_server_where_nobody_writes(postgres15: TestServer, read_only: TestServer) -> None:
    hosts = f"127.0.0.1:{read_only.port},127.0.0.1:{postgres15.port}"
    for query, expected in (("", read_only), ("?target_session_attrs=read-write", postgres15)):
        with ProxyProcess.for_target(_url(hosts, query)) as proxy, connect(proxy.port) as client:
            row = client.execute("SELECT current_setting('port')").fetchone()
            assert row == (str(expected.port),)


def test_when_no_host_takes_writes_nobody_is_let_in_and_the_log_says_why(read_only: TestServer) -> None:
    query = "?target_session_attrs=read-write"
    with ProxyProcess.for_target(_url(f"127.0.0.1:{read_only.port},127.0.0.1:1", query)) as proxy:
        with pytest.raises(psycopg.OperationalError):
            connect(proxy.port, connect_timeout=3)
        eventually(lambda: "it lets nobody write" in proxy.log())


def test_the_second_host_takes_over_when_the_first_dies(fresh_postgres: TestServer, postgres15: TestServer) -> None:
    hosts = f"127.0.0.1:{fresh_postgres.port},127.0.0.1:{postgres15.port}"
    with ProxyProcess.for_target(_url(hosts)) as proxy:
        with connect(proxy.port) as client:
            assert client.execute("SELECT current_setting('port')").fetchone() == (str(fresh_postgres.port),)
            fresh_postgres.kill()
            eventually(lambda: "closed" in proxy.log())
            assert client.execute("SELECT current_setting('port')").fetchone() == (str(postgres15.port),)


def test_a_cancel_goes_to_the_host_that_runs_the_query(postgres15: TestServer, silent: socket.socket) -> None:
    hosts = f"127.0.0.1:{_port(silent)},127.0.0.1:{postgres15.port}"
    with ProxyProcess.for_target(_url(hosts, "?connect_timeout=3")) as proxy, connect(proxy.port) as client:
        with asked_again(client.cancel_safe), pytest.raises(psycopg.errors.QueryCanceled):
            client.execute("SELECT pg_sleep(300)")


def test_every_address_of_a_name_is_tried(postgres15: TestServer) -> None:
    """The server listens on 127.0.0.1 alone, and `localhost` may also be ::1; for both ways of looking at addresses."""
    for query in ("", "?target_session_attrs=read-write"):
        url = _url(f"localhost:{postgres15.port}", query)
        with ProxyProcess.for_target(url) as proxy, connect(proxy.port) as client:
            assert client.execute("SELECT 1").fetchone() == (1,)
