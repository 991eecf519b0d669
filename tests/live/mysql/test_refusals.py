"""Everything that only a proxy has to say, as a real driver gets it: number, SQLSTATE and text, and who is left alone."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest

from rdsp_codecs.errors import LoginRefused, PeerClosed
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.framing import packets
from tests.live.mysql.sidebyside import connect, target
from tests.servers.mysql import USER, MySqlServer
from tests.servers.mysqlclient import MySqlClient
from tests.servers.proxy import ProxyProcess
from tests.waiting import PATIENCE, eventually

Told = tuple[int, str, str]


@contextmanager
def limited(server: MySqlServer, folder: Path, *settings: str, url: str = "") -> Iterator[ProxyProcess]:
    file = folder / "rdsp.toml"
    lines = "\n".join(settings)
    file.write_text(f'[[proxies]]\nlisten = "127.0.0.1:0"\ntarget.url = "{url or target(server)}"\n{lines}\n')
    with ProxyProcess(str(file)) as proxy:
        yield proxy


def _told(payload: bytes) -> Told:
    error = r.read_err(payload)
    return error.code, (error.state or b"").decode(), error.text.decode()


def _refused(proxy: ProxyProcess, user: str = USER, tls: str = "disable") -> Told:
    with pytest.raises(LoginRefused) as caught:
        MySqlClient(proxy.port, user, tls=tls)
    return _told(caught.value.raw)


def _last_words(client: MySqlClient, number: int = 0) -> Told:
    client.reader.begin(number)
    words = _told(client.payload())
    with pytest.raises((PeerClosed, OSError)):
        client.payload()
    return words


def test_a_wrong_password_and_no_such_user(tracking: MySqlServer, tmp_path: Path) -> None:
    with limited(tracking, tmp_path) as proxy:
        assert _refused(proxy, "nobody") == (1045, "28000", "Access denied for user 'nobody'@'%' (using password: YES)")
        with pytest.raises(LoginRefused) as caught:
            MySqlClient(proxy.port, USER, "wrong")
        assert _told(caught.value.raw) == (1045, "28000", f"Access denied for user '{USER}'@'%' (using password: YES)")


def test_tls_is_required(tracking: MySqlServer, tmp_path: Path) -> None:
    with limited(tracking, tmp_path, "require_tls = true") as proxy:
        assert _refused(proxy) == (3159, "HY000", "This RDS Proxy requires TLS connections.")
        MySqlClient(proxy.port, tls="require").close()


def test_a_way_that_is_not_taken(tracking: MySqlServer, tmp_path: Path) -> None:
    with limited(tracking, tmp_path, 'auth_methods = ["mysql_clear_password"]') as proxy:
        with pytest.raises(pymysql.OperationalError) as caught:
            connect(proxy.port)
        text = "The proxy does not take a password by the way that the client has: mysql_native_password"
        assert caught.value.args == (1251, text)


def test_no_backend_in_time(tracking: MySqlServer, tmp_path: Path) -> None:
    settings = "target_group.max_backends = 1\ntarget_group.connection_borrow_timeout = 1"
    with (
        limited(tracking, tmp_path, settings) as proxy,
        MySqlClient(proxy.port) as one,
        MySqlClient(proxy.port) as two,
    ):
        one.query("BEGIN")
        before = time.monotonic()
        (words,) = two.query("SELECT 1")
        assert _told(words) == (9501, "HY000", "Timed-out waiting to acquire database connection")
        assert 0.9 < time.monotonic() - before < PATIENCE
        one.query("COMMIT")
        assert two.rows("SELECT 1") == [(b"1",)]


def test_too_many_that_wait(tracking: MySqlServer, tmp_path: Path) -> None:
    settings = "target_group.max_backends = 1\ntarget_group.max_waiters = 0"
    with (
        limited(tracking, tmp_path, settings) as proxy,
        MySqlClient(proxy.port) as one,
        MySqlClient(proxy.port) as two,
    ):
        one.query("BEGIN")
        (words,) = two.query("SELECT 1")
        assert _told(words) == (1040, "HY000", "Too many requests are waiting for a database connection")
        one.query("COMMIT")
        assert two.rows("SELECT 1") == [(b"1",)]


def test_too_many_clients(tracking: MySqlServer, tmp_path: Path) -> None:
    with limited(tracking, tmp_path, "limits.max_client_connections = 1") as proxy:
        with MySqlClient(proxy.port) as one:
            assert _refused(proxy) == (1040, "HY000", "Number simultaneous connections exceeded (1)")
            assert one.rows("SELECT 1") == [(b"1",)]
        eventually(lambda: _gets_in(proxy))


def _gets_in(proxy: ProxyProcess) -> bool:
    try:
        MySqlClient(proxy.port).close()
    except LoginRefused:
        return False
    return True


def test_too_many_at_once(tracking: MySqlServer, tmp_path: Path) -> None:
    with limited(tracking, tmp_path, "limits.max_connections_per_second = 1\nlimits.connection_burst = 1") as proxy:
        one = MySqlClient(proxy.port)
        words = None
        for _ in range(20):
            try:
                MySqlClient(proxy.port).close()
            except LoginRefused as error:
                words = _told(error.raw)
                break
        assert words == (1040, "HY000", "Connections rate limit exceeded (1)")
        assert one.rows("SELECT 1") == [(b"1",)]
        one.close()


def test_a_login_that_takes_too_long(tracking: MySqlServer, tmp_path: Path) -> None:
    with limited(tracking, tmp_path, "limits.login_timeout = 1") as proxy:
        MySqlClient(proxy.port).close()
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE) as silent:
            said = b""
            while data := silent.recv(65536):
                said += data
        assert b"\xff\x87\x04#08S01Got timeout reading communication packets" in said


def test_clients_that_say_nothing(tracking: MySqlServer, tmp_path: Path) -> None:
    with limited(tracking, tmp_path, "idle_client_timeout = 1") as proxy, MySqlClient(proxy.port) as idle:
        assert idle.rows("SELECT 1") == [(b"1",)]
        text = "The client was disconnected by the server because of inactivity."
        assert _last_words(idle) == (4031, "HY000", text)


def test_a_transaction_that_is_left_alone(tracking: MySqlServer, tmp_path: Path) -> None:
    with (
        limited(tracking, tmp_path, "limits.idle_in_transaction_timeout = 1") as proxy,
        MySqlClient(proxy.port) as idle,
    ):
        idle.query("BEGIN")
        text = "The client was disconnected because its transaction was idle."
        assert _last_words(idle) == (4031, "HY000", text)


def test_a_lifetime_that_is_over(tracking: MySqlServer, tmp_path: Path) -> None:
    with limited(tracking, tmp_path, "limits.client_lifetime = 1") as proxy, MySqlClient(proxy.port) as client:
        assert client.rows("SELECT 1") == [(b"1",)]
        text = "The client was disconnected because its maximum lifetime is over."
        assert _last_words(client) == (4031, "HY000", text)
        with MySqlClient(proxy.port) as changing:  # whoever becomes somebody else does not begin anew
            with pytest.raises((LoginRefused, PeerClosed, OSError)):
                for _ in range(10_000):
                    changing.change_user()


def test_the_proxy_ends(tracking: MySqlServer, tmp_path: Path) -> None:
    with limited(tracking, tmp_path) as proxy, MySqlClient(proxy.port) as client:
        proxy.tell(signal.SIGTERM)
        assert _last_words(client) == (1053, "08S01", "Server shutdown in progress")


def test_no_server_is_there(tracking: MySqlServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as place:
        port = place.getsockname()[1]
    url = target(tracking).replace(f":{tracking.port}/", f":{port}/")
    settings = "target_group.connection_borrow_timeout = 1"
    with limited(tracking, tmp_path, settings, url=url) as proxy:
        with pytest.raises(LoginRefused) as caught:
            MySqlClient(proxy.port)
        # Nothing was agreed yet: as at servers, such an error has no SQLSTATE.
        assert (caught.value.code, caught.value.raw[3:4]) in (("1105", b"T"), ("9501", b"T"))


def test_the_server_goes_in_the_middle(tracking: MySqlServer, tmp_path: Path) -> None:
    with limited(tracking, tmp_path) as proxy, MySqlClient(proxy.port) as client:
        client.query("BEGIN")
        ((number,),) = client.rows("SELECT CONNECTION_ID()")
        with tracking.admin() as admin, admin.cursor() as cursor:
            cursor.execute(f"KILL {(number or b'').decode()}")
        client.reader.begin(0)
        number_told, state, text = _told(client.payload())
        assert (number_told, state, text) in (
            (1105, "08S01", "The database connection was lost."),
            (1927, "70100", "Connection was killed"),  # MariaDB says so before it closes
        )


def test_what_is_malformed_or_too_long(tracking: MySqlServer, tmp_path: Path) -> None:
    with limited(tracking, tmp_path, "limits.max_frame_bytes = 1048576") as proxy:
        with MySqlClient(proxy.port) as client:
            client.write(packets(b"\x03SELECT 1", 3))
            number, state, text = _last_words(client, 4)
            assert (number, state) == (1835, "HY000")
            assert text.startswith("Malformed communication packet: ")
        with MySqlClient(proxy.port) as client:
            client.write(packets(b"\x03SELECT '" + b"x" * 2_000_000 + b"'", 0)[:100])
            assert _last_words(client, 1)[:2] == (1153, "08S01")
        with MySqlClient(proxy.port) as client:
            assert client.rows("SELECT 1") == [(b"1",)]


def test_what_it_does_not_support(tracking: MySqlServer, tmp_path: Path) -> None:
    with limited(tracking, tmp_path) as proxy, MySqlClient(proxy.port) as client:
        assert _told(client.query("KILL 1 + 1")[0]) == (1235, "42000", "This proxy doesn't yet support 'KILL'")
        assert _told(client.query("KILL 123456")[0]) == (1094, "HY000", "Unknown thread id: 123456")
        assert client.rows("SELECT 1") == [(b"1",)]
