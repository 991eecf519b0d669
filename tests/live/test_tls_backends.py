"""TLS and logins towards the server, with real servers, and with ones that mean harm."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rdsp.net.tls import self_signed
from tests.live.conftest import connect
from tests.live.hostile import until_closed
from tests.live.test_tls import configured, write_pair
from tests.servers.postgres import MD5_PASSWORD, MD5_USER, PASSWORD, USER, TestServer
from tests.servers.proxy import ProxyProcess
from tests.waiting import PATIENCE, asked_again

pytestmark = pytest.mark.live


@contextlib.contextmanager
def impatient(folder: Path, target: str, seconds: float = 2) -> Iterator[ProxyProcess]:
    """A proxy that soon gives up on a server that cannot be logged in to."""
    write_pair(folder, self_signed(["localhost"]))
    with ProxyProcess(configured(folder, target, f"target_group.connection_borrow_timeout = {seconds}")) as proxy:
        yield proxy


def _encrypted(client: psycopg.Connection[Any]) -> tuple[Any, ...] | None:
    return client.execute("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone()


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
@pytest.mark.parametrize("binding", ["disable", "prefer", "require"])
def test_the_proxy_logs_in_to_the_server_by_tls_of_every_kind(
    postgres17: TestServer, negotiation: str, mode: str, binding: str
) -> None:
    target = postgres17.target() + f"?sslmode={mode}&sslnegotiation={negotiation}&channel_binding={binding}"
    if mode != "require":
        target += f"&sslrootcert={postgres17.certificate}"
    with ProxyProcess.for_target(target, "--max-backends", "2") as proxy, connect(proxy.port) as client:
        assert _encrypted(client) == (True, "TLSv1.3")
        with asked_again(client.cancel), pytest.raises(psycopg.errors.QueryCanceled):
            client.execute("SELECT pg_sleep(300)")


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("sslmode=require&sslnegotiation=direct", "Timed-out waiting to acquire"),  # 15 does not know it and hangs up
        ("sslmode=verify-ca", "CERTIFICATE_VERIFY_FAILED"),
        ("sslmode=verify-full", "CERTIFICATE_VERIFY_FAILED"),
    ],
)
def test_a_server_that_is_not_as_it_must_be_is_not_logged_in_to(
    postgres15: TestServer, tmp_path: Path, query: str, text: str
) -> None:
    with impatient(tmp_path, f"{postgres15.target()}?{query}&connect_timeout=5") as proxy:
        with pytest.raises(psycopg.OperationalError, match=text):
            connect(proxy.port)


def test_the_name_of_the_server_is_checked_in_verify_full_only(postgres17: TestServer, tmp_path: Path) -> None:
    target = postgres17.target().replace("127.0.0.1", "127.0.0.2")
    wrong = f"?sslrootcert={postgres17.certificate}&sslmode="
    with socket.socket() as probe:
        reachable = probe.connect_ex(("127.0.0.2", postgres17.port)) == 0
    if reachable:
        with ProxyProcess.for_target(target + wrong + "verify-ca") as proxy, connect(proxy.port) as client:
            assert client.execute("SELECT 1").fetchone() == (1,)
    with impatient(tmp_path, target + wrong + "verify-full") as proxy:
        with pytest.raises(psycopg.OperationalError):
            connect(proxy.port)


@pytest.mark.parametrize("server", ["postgres15", "postgres17"])
def test_prefer_takes_tls_where_it_is(request: pytest.FixtureRequest, server: str) -> None:
    with ProxyProcess.for_target(request.getfixturevalue(server).target()) as proxy, connect(proxy.port) as client:
        assert _encrypted(client) == (True, "TLSv1.3")


def test_prefer_does_without_where_it_is_not_and_require_does_not(postgres18: TestServer, tmp_path: Path) -> None:
    with ProxyProcess.for_target(postgres18.target()) as proxy, connect(proxy.port) as client:
        assert _encrypted(client) == (False, None)
    with impatient(tmp_path, postgres18.target() + "?sslmode=require") as proxy:
        with pytest.raises(psycopg.OperationalError, match="does not support TLS"):
            connect(proxy.port)


@pytest.mark.parametrize(
    ("user", "password", "mode", "works"),
    [
        (MD5_USER, MD5_PASSWORD, "disable", True),
        (MD5_USER, MD5_PASSWORD, "require", True),
        ("clear", PASSWORD, "require", True),
        ("clear", PASSWORD, "prefer", True),
        ("clear_anyway", PASSWORD, "disable", False),
        ("clear_anyway", PASSWORD, "require", True),
        ("tls_only", "tls-password", "require", True),
    ],
)
def test_the_proxy_proves_itself_as_the_server_asks(
    postgres17: TestServer, tmp_path: Path, user: str, password: str, mode: str, works: bool
) -> None:
    """But never by a password in clear over a connection in clear."""
    target = postgres17.target(user, password) + f"?sslmode={mode}"
    with impatient(tmp_path, target, PATIENCE if works else 2) as proxy:
        if works:
            with connect(proxy.port, user=user, password=password) as client:
                assert client.execute("SELECT current_user").fetchone() == (user,)
        else:
            with pytest.raises(psycopg.OperationalError, match="password in clear over an unencrypted connection"):
                connect(proxy.port, user=user, password=password)


class Injector:
    """A server that answers SSLRequest with `S` and clear words behind it, in one write."""

    def __init__(self, words: bytes) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._words = words
        self.heard: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                with sock:
                    sock.settimeout(PATIENCE)
                    sock.recv(8)
                    sock.sendall(self._words)
                    with contextlib.suppress(OSError):
                        self.heard.append(until_closed(sock))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which ends `accept`, too
        self._listener.close()
        self._thread.join(PATIENCE)


@pytest.mark.parametrize("mode", ["prefer", "require"])
@pytest.mark.parametrize("first", [b"S", b"E", b"X"])
def test_words_in_clear_of_a_server_are_not_believed_behind_its_answer(tmp_path: Path, mode: str, first: bytes) -> None:
    """CVE-2021-43767: the same injection, from the server's side; also an error in clear in place of the answer."""
    words = b"\0\0\0\x40SFATAL\0VFATAL\0C28000\0Mplease send your password to somebody else\0\0"
    server = Injector(first + (b"E" + words if first != b"E" else words))
    try:
        with impatient(
            tmp_path, f"postgresql://{USER}:secret@127.0.0.1:{server.port}/x?sslmode={mode}&connect_timeout=3"
        ) as proxy:
            with pytest.raises(psycopg.OperationalError) as told:
                connect(proxy.port, password="secret", dbname="x")
            assert "somebody else" not in str(told.value)
        assert not any(b"user\0" in heard for heard in server.heard), "no start-up packet in clear"
    finally:
        server.close()
