"""The PROXY protocol live: trusted and untrusted peers, TLS behind a header, slow senders, and HAProxy itself."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from rdsp.demo.postgres import NotInstalled
from tests.live.conftest import connect
from tests.servers.fixtures import missing
from tests.servers.postgres import DATABASE, TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import message
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.live
V1 = b"PROXY TCP4 203.0.113.7 10.0.0.1 51234 5432\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack(">H", 12 + 7) + bytes([203, 0, 113, 7, 10, 0, 0, 1])
V2 += struct.pack(">HH", 51234, 5432) + b"\x04\0\x04\0\0\0\0"
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
PARAMETERS = f"user\0trusted\0database\0{DATABASE}\0\0".encode()
START_UP = struct.pack(">II", 8 + len(PARAMETERS), 196608) + PARAMETERS


@pytest.fixture(scope="module")
def proxy(postgres15: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    """Trusts 127.0.0.1, not 127.0.0.2; without passwords."""
    file = tmp_path_factory.mktemp("c") / "rdsp.toml"
    file.write_text(
        f"[logging]\nlevel = 'debug'\n[[proxies]]\nlisten = '0.0.0.0:0'\nproxy_protocol_from = ['127.0.0.1']\n"
        f"limits.login_timeout = 4\ntarget.url = 'postgresql://trusted@127.0.0.1:{postgres15.port}/{DATABASE}'\n"
    )
    with ProxyProcess(str(file)) as running:
        yield running


def _dial(proxy: ProxyProcess, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE, source_address=(source, 0))


def _all(sock: socket.socket) -> bytes:
    """Everything up to the end of file, or a reset."""
    got = b""
    try:
        while data := sock.recv(4096):
            got += data
    except ConnectionResetError:
        pass
    return got


@pytest.mark.parametrize("header", [V1, V2])
def test_the_client_that_a_header_names_is_logged_and_is_no_client_of_this_machine(
    proxy: ProxyProcess, header: bytes
) -> None:
    with _dial(proxy) as sock:
        sock.sendall(header + START_UP)
        # Not let in without a password: it is asked for one, by SCRAM.
        assert sock.recv(1) == b"R"
        assert sock.recv(8)[4:] == struct.pack(">I", 10)
    proxy.wait_for_log("A new client connected from 203.0.113.7:51234")


def test_a_health_check_and_a_client_of_this_machine_are_let_in(proxy: ProxyProcess) -> None:
    for header in (LOCAL, V1.replace(b"203.0.113.7", b"127.0.0.9")):
        with _dial(proxy) as sock:
            sock.sendall(header + START_UP)
            assert sock.recv(9) == message("R", struct.pack(">I", 0))


def test_a_header_byte_by_byte_is_the_same(proxy: ProxyProcess) -> None:
    with _dial(proxy) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in V1.replace(b"203.0.113.7", b"127.0.0.8") + START_UP:
            sock.sendall(bytes([byte]))
        assert sock.recv(9) == message("R", struct.pack(">I", 0))


def test_tls_begins_right_behind_a_header(proxy: ProxyProcess) -> None:
    """Header and SSLRequest in one packet, and for direct TLS header and ClientHello."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["postgresql"])
    for request in (struct.pack(">II", 8, 80877103), b""):
        with _dial(proxy) as sock:
            sock.sendall(V2 + request)
            if request:
                assert sock.recv(1) == b"S"
            with context.wrap_socket(sock) as tls:
                tls.sendall(START_UP)
                assert tls.recv(1) == b"R"


def test_a_trusted_peer_without_a_header_is_closed_without_a_word(proxy: ProxyProcess) -> None:
    for start in (START_UP, struct.pack(">II", 8, 80877103), b"\x16\x03\x01\0\0", b"PROXY TCP4 x y 1 2\r\n"):
        with _dial(proxy) as sock:
            sock.sendall(start)
            assert _all(sock) == b""
    proxy.wait_for_log("does not begin with a PROXY protocol header")


@pytest.mark.parametrize("header", [V1, V2])
def test_a_header_from_elsewhere_is_refused(proxy: ProxyProcess, header: bytes) -> None:
    with _dial(proxy, "127.0.0.2") as sock:
        sock.sendall(START_UP)
        assert sock.recv(9) == message("R", struct.pack(">I", 0))
    with _dial(proxy, "127.0.0.2") as sock:
        sock.sendall(header + START_UP)
        assert _all(sock) == b""


def test_who_does_not_finish_its_header_is_closed_when_the_time_for_a_login_is_over(proxy: ProxyProcess) -> None:
    """Also when the header was all that came late: the two share one time."""
    for start in (b"", V2[:14]):
        with _dial(proxy) as sock:
            started = time.monotonic()
            sock.sendall(start)
            assert _all(sock) == b""
            assert time.monotonic() - started > 3.5
    with _dial(proxy) as sock:
        started = time.monotonic()
        time.sleep(2)
        sock.sendall(V2)
        assert b"authentication timeout" in _all(sock)
        assert time.monotonic() - started < 6, "not as much time again"
    with _dial(proxy) as sock:
        sock.sendall(LOCAL + START_UP)
        assert sock.recv(9) == message("R", struct.pack(">I", 0))


def test_a_header_may_be_demanded_on_unix_sockets(
    postgres15: TestServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("s")
    file = folder / "rdsp.toml"
    file.write_text(
        f"[logging]\nlevel = 'debug'\n[[proxies]]\nlisten = ['unix:{folder}:6543', '127.0.0.1:0']\n"
        f"proxy_protocol_from = ['unix']\n"
        f"target.url = 'postgresql://trusted@127.0.0.1:{postgres15.port}/{DATABASE}'\n"
    )
    with ProxyProcess(str(file)) as proxy:
        for start, answer in (
            (V1 + START_UP, message("R", struct.pack(">I", 10) + b"SCRAM-SHA-256\0\0")),
            (LOCAL + START_UP, message("R", struct.pack(">I", 0))),
            (START_UP, b""),
        ):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(PATIENCE)
                eventually(lambda: len(proxy.ports) == 2)
                sock.connect(str(folder / ".s.PGSQL.6543"))
                sock.sendall(start)
                assert (sock.recv(len(answer)) if answer else _all(sock)) == answer
        with socket.create_connection(("127.0.0.1", proxy.ports[1]), timeout=PATIENCE) as sock:
            sock.sendall(START_UP)
            assert sock.recv(9) == message("R", struct.pack(">I", 0))
        proxy.wait_for_log("A new client connected from 203.0.113.7:51234")


@pytest.fixture(scope="module")
def haproxy() -> str:
    """HAProxy's program. Debian puts it where an ordinary user does not look."""
    found = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")
    return found or missing(NotInstalled("HAProxy is missing: apt-get install haproxy"))


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn"])
def test_haproxy_speaks_to_it(postgres15: TestServer, tmp_path: Path, haproxy: str, version: str) -> None:
    file = tmp_path / "rdsp.toml"
    file.write_text(
        f"[logging]\nlevel = 'debug'\n[[proxies]]\nlisten = '127.0.0.1:0'\nproxy_protocol_from = ['127.0.0.0/8']\n"
        f'target.url = "{postgres15.target()}"\n'
    )
    with ProxyProcess(str(file)) as proxy, socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        settings = tmp_path / "haproxy.cfg"
        settings.write_text(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n"
            f"listen db\n  bind 127.0.0.1:{port}\n  server one 127.0.0.1:{proxy.port} {version} check inter 200ms\n"
        )
        balancer = subprocess.Popen([haproxy, "-db", "-f", settings], stderr=subprocess.DEVNULL)
        try:
            eventually(lambda: _listens(port))
            for mode in ("disable", "require"):
                with connect(port, sslmode=mode) as client:
                    assert client.execute("SELECT 1").fetchone() == (1,)
                    local = client.pgconn.socket
                    with socket.socket(fileno=os.dup(local)) as same:
                        mine = same.getsockname()[1]
                proxy.wait_for_log(f"A new client connected from 127.0.0.1:{mine}")
            with pytest.raises(psycopg.OperationalError):
                connect(proxy.port, connect_timeout=5)
        finally:
            balancer.send_signal(signal.SIGTERM)
            balancer.wait(PATIENCE)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
