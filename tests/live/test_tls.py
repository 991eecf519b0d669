"""TLS on both sides with real drivers and servers: asked for and direct, bound logins, certificates that change.

PostgreSQL 17 is the oldest server that takes TLS without being asked; psycopg's own libpq is new enough to do so.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import select
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import trio
import trio_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from rdsp.net.tls import self_signed
from tests.live.conftest import connect
from tests.live.hostile import SSL_REQUEST, sasl, startup, until_closed
from tests.servers.postgres import DATABASE, PASSWORD, USER, TestServer
from tests.servers.proxy import ProxyProcess
from tests.waiting import PATIENCE, asked_again, eventually

pytestmark = pytest.mark.live


def write_pair(folder: Path, pair: tuple[bytes, bytes]) -> None:
    """As an operator would: each file whole, one after the other."""
    for name, data in zip(("proxy.crt", "proxy.key"), pair, strict=True):
        (folder / f"{name}.new").write_bytes(data)
        os.replace(folder / f"{name}.new", folder / name)


@contextlib.contextmanager
def halted(proxy: ProxyProcess) -> Iterator[None]:
    """The proxy does not run meanwhile: it cannot look twice at what is half written, however slow the writer is."""
    proxy.tell(signal.SIGSTOP)
    stat = Path(f"/proc/{proxy.pid}/stat")
    eventually(lambda: stat.read_text().rsplit(")", 1)[1].split()[0] == "T")
    try:
        yield
    finally:
        proxy.tell(signal.SIGCONT)


def break_pair(folder: Path, first: tuple[bytes, bytes], second: tuple[bytes, bytes], broken: str) -> None:
    """Make what was the first pair unusable."""
    if broken == "garbage":
        (folder / "proxy.crt").write_bytes(b"nonsense")
    elif broken == "another key":
        (folder / "proxy.crt").write_bytes(second[0])
    elif broken == "encrypted":
        key = serialization.load_pem_private_key(first[1], None)
        (folder / "proxy.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"hidden"),
            )
        )
    else:
        (folder / "proxy.key").unlink()


def certificate(key: Any, algorithm: Any, **signing: Any) -> tuple[bytes, bytes]:
    """A certificate for localhost with a key and signature of some kind."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, algorithm, **signing)
    )
    pem = serialization.Encoding.PEM
    return built.public_bytes(pem), key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def configured(folder: Path, target: str, *lines: str) -> str:
    """A configuration whose certificate is `proxy.crt` in the folder."""
    path = folder / "proxy.toml"
    head = ("[[proxies]]", 'listen = "127.0.0.1:0"', f'target.url = "{target}"', "target_group.max_backends = 4")
    files = ('tls.certificate = "proxy.crt"', 'tls.private_key = "proxy.key"')
    path.write_text("\n".join((*head, *files, *lines)) + "\n")
    return str(path)


def shown(port: int, *, direct: bool = False) -> bytes:
    """The certificate that a newcomer is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["postgresql"])
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
        if not direct:
            sock.sendall(SSL_REQUEST)
            assert sock.recv(1) == b"S"
        with context.wrap_socket(sock) as tls:
            return tls.getpeercert(binary_form=True) or b""


def der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    write_pair(folder, self_signed(["localhost", "127.0.0.1"]))
    return folder


@pytest.fixture(scope="module")
def proxy(postgres17: TestServer, folder: Path) -> Iterator[ProxyProcess]:
    with ProxyProcess(configured(folder, postgres17.target())) as proxy:
        yield proxy


# -- clients -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
@pytest.mark.parametrize("binding", ["disable", "prefer", "require"])
@pytest.mark.parametrize("version", ["3.0", "latest"])
def test_libpq_logs_in_by_tls_of_every_kind(
    postgres17: TestServer, proxy: ProxyProcess, folder: Path, negotiation: str, binding: str, version: str
) -> None:
    """And at the server itself, by the same settings."""
    more = {"sslnegotiation": negotiation, "channel_binding": binding, "max_protocol_version": version}
    for port, root in ((postgres17.port, postgres17.certificate), (proxy.port, folder / "proxy.crt")):
        with connect(
            port, host="localhost", hostaddr="127.0.0.1", sslmode="verify-full", sslrootcert=str(root), **more
        ) as client:
            assert client.pgconn.ssl_in_use
            assert client.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("negotiation", ["postgres", "direct"])
def test_a_cancel_goes_over_tls_as_its_connection_does(proxy: ProxyProcess, negotiation: str) -> None:
    with connect(proxy.port, sslmode="require", sslnegotiation=negotiation) as client:
        with asked_again(client.cancel_safe), pytest.raises(psycopg.errors.QueryCanceled):
            client.execute("SELECT pg_sleep(300)")


def _context(*alpn: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(list(alpn))
    return context


@pytest.mark.parametrize("alpn", [(), ("http/1.1",), ("postgres",), ("postgresql",), ("h2", "postgresql")])
def test_direct_tls_needs_the_protocols_name_as_at_the_server(
    postgres17: TestServer, proxy: ProxyProcess, alpn: tuple[str, ...]
) -> None:
    """The server ends the handshake itself over a wrong name, and the proxy ends the connection behind it."""
    told = []
    for port in (postgres17.port, proxy.port):
        with (
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock,
            contextlib.suppress(ssl.SSLError, OSError),
        ):
            with _context(*alpn).wrap_socket(sock) as tls:
                tls.sendall(startup())
                told.append(tls.recv(1))
                continue
        told.append(b"")
    assert told == ([b"R", b"R"] if "postgresql" in alpn else [b"", b""])


def test_asyncpg_by_tls_asked_for_and_direct(proxy: ProxyProcess) -> None:
    async def ask(**more: Any) -> Any:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=proxy.port, user=USER, password=PASSWORD, database=DATABASE, **more
        )
        try:
            return await connection.fetchval("SELECT 1")
        finally:
            await connection.close()

    async def main() -> None:
        async with trio_asyncio.open_loop():
            run = trio_asyncio.aio_as_trio(ask)
            assert await run(ssl=_context()) == 1
            assert await run(ssl=_context("postgresql"), direct_tls=True) == 1
            with pytest.raises((OSError, asyncpg.PostgresError)):
                await run(ssl=_context(), direct_tls=True)

    trio.run(main)


def test_psql_by_tls(proxy: ProxyProcess, folder: Path) -> None:
    for psql in ("/usr/lib/postgresql/15/bin/psql",):
        done = subprocess.run(
            [
                psql,
                "-Atc",
                "SELECT 40 + 2",
                f"host=localhost hostaddr=127.0.0.1 port={proxy.port} user={USER} dbname={DATABASE} sslmode=verify-full"
                f" sslrootcert={folder / 'proxy.crt'} channel_binding=require",
            ],
            env={**os.environ, "PGPASSWORD": PASSWORD},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.stdout.strip(), done.returncode) == ("42", 0), done.stderr


@pytest.mark.parametrize("data", [bytes.fromhex("1603010200") + bytes(600), bytes.fromhex("16030100050100000100")])
def test_a_handshake_of_nonsense_is_closed(postgres17: TestServer, proxy: ProxyProcess, data: bytes) -> None:
    """Row 95."""
    for port in (postgres17.port, proxy.port):
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
            sock.sendall(data)
            assert until_closed(sock)[:1] in (b"\x15", b""), "an alert of TLS at the most"


@pytest.mark.parametrize("name", ["postgres17", "proxy"])
@pytest.mark.parametrize("data", [SSL_REQUEST + startup(), SSL_REQUEST + startup() + sasl(), SSL_REQUEST * 2])
def test_nothing_in_clear_behind_an_ssl_request_is_taken_for_the_clients(
    request: pytest.FixtureRequest, name: str, data: bytes
) -> None:
    """CVE-2021-3935, CVE-2021-43766: what an attacker puts in front of the handshake is never read as if from inside."""
    with socket.create_connection(("127.0.0.1", request.getfixturevalue(name).port), timeout=PATIENCE) as sock:
        sock.sendall(data)
        answer = until_closed(sock)
        assert answer[:1] == b"S"
        assert b"SCRAM" not in answer


# -- channel binding, whatever the certificate -----------------------------------------------------------------------------

KINDS: dict[str, Callable[[], tuple[bytes, bytes]]] = {
    "RSA, SHA-256": lambda: certificate(rsa.generate_private_key(65537, 2048), hashes.SHA256()),
    "RSA, SHA-512": lambda: certificate(rsa.generate_private_key(65537, 2048), hashes.SHA512()),
    "ECDSA, SHA-384": lambda: certificate(ec.generate_private_key(ec.SECP384R1()), hashes.SHA384()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_login_is_bound_to_certificates_of_any_kind(postgres17: TestServer, tmp_path: Path, kind: str) -> None:
    write_pair(tmp_path, KINDS[kind]())
    with ProxyProcess(configured(tmp_path, postgres17.target())) as proxy:
        with connect(proxy.port, sslmode="require", channel_binding="require") as client:
            assert client.execute("SELECT 1").fetchone() == (1,)


def test_a_certificate_that_binds_to_nothing_serves_without(postgres17: TestServer, tmp_path: Path) -> None:
    write_pair(tmp_path, certificate(ed25519.Ed25519PrivateKey.generate(), None))
    with ProxyProcess(configured(tmp_path, postgres17.target())) as proxy:
        with connect(proxy.port, sslmode="require", channel_binding="disable") as client:
            assert client.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="channel binding"):
            connect(proxy.port, sslmode="require", channel_binding="require")


class Relay:
    """Somebody between client and proxy who ends TLS on both sides: his certificate, the proxy's SCRAM."""

    def __init__(self, port: int, pair: tuple[bytes, bytes], folder: Path) -> None:
        (folder / "middle.pem").write_bytes(pair[0] + pair[1])
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "middle.pem")
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        sock, _ = self._listener.accept()
        sock.settimeout(PATIENCE)
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self._target), timeout=PATIENCE) as inner,
        ):
            assert sock.recv(8) == SSL_REQUEST
            inner.sendall(SSL_REQUEST)
            sock.sendall(inner.recv(1))
            with self._context.wrap_socket(sock, server_side=True) as outside, _context().wrap_socket(inner) as inside:
                self._copy(outside, inside)

    @staticmethod
    def _copy(outside: ssl.SSLSocket, inside: ssl.SSLSocket) -> None:
        while True:
            for source in select.select([outside, inside], [], [], 10)[0] or [None]:
                data = source.recv(1 << 16) if source is not None else b""
                if not data:
                    return
                (inside if source is outside else outside).sendall(data)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which ends `accept`, too
        self._listener.close()
        self._thread.join(PATIENCE)


@pytest.mark.parametrize("want", ["prefer", "require"])
def test_somebody_in_the_middle_with_a_certificate_of_his_own_gets_no_login(
    proxy: ProxyProcess, tmp_path: Path, want: str
) -> None:
    middle = Relay(proxy.port, self_signed(["localhost"]), tmp_path)
    try:
        with pytest.raises(psycopg.OperationalError, match="SCRAM channel binding check failed"):
            connect(middle.port, sslmode="require", channel_binding=want)
    finally:
        middle.close()


# -- methods ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("methods", "in_clear", "over_tls"),
    [
        ('["scram-sha-256-plus"]', None, True),
        ('["scram-sha-256"]', True, True),
        ('["md5"]', True, True),
        ('["password"]', None, True),
        ('["password", "scram-sha-256"]', True, True),
    ],
)
def test_methods_can_be_chosen_and_refused(
    postgres17: TestServer, tmp_path: Path, methods: str, in_clear: bool | None, over_tls: bool
) -> None:
    write_pair(tmp_path, self_signed(["localhost"]))
    with ProxyProcess(configured(tmp_path, postgres17.target(), f"auth_methods = {methods}")) as proxy:
        for mode, works in (("disable", in_clear), ("require", over_tls)):
            if works is None:
                with pytest.raises(psycopg.OperationalError, match="requires TLS connections"):
                    connect(proxy.port, sslmode=mode)
                continue
            with connect(proxy.port, sslmode=mode) as client:
                assert client.execute("SELECT 1").fetchone() == (1,)
            for user, password in ((USER, "wrong"), ("nobody", PASSWORD)):
                with pytest.raises(psycopg.OperationalError, match=f'password authentication failed for user "{user}"'):
                    connect(proxy.port, sslmode=mode, user=user, password=password)


def test_tls_that_is_required_is_required_of_all_kinds(postgres17: TestServer, tmp_path: Path) -> None:
    write_pair(tmp_path, self_signed(["localhost"]))
    with ProxyProcess(configured(tmp_path, postgres17.target(), "require_tls = true")) as proxy:
        with pytest.raises(psycopg.OperationalError, match=r"This RDS Proxy requires TLS connections\."):
            connect(proxy.port, sslmode="disable")
        for negotiation in ("postgres", "direct"):
            with connect(proxy.port, sslmode="require", sslnegotiation=negotiation) as client:
                assert client.execute("SELECT 1").fetchone() == (1,)


# -- certificates that change --------------------------------------------------------------------------------------------------


def test_a_changed_certificate_is_shown_to_newcomers_and_drops_nobody(postgres17: TestServer, tmp_path: Path) -> None:
    first, second = (self_signed(["localhost"]) for _ in range(2))
    write_pair(tmp_path, first)
    with ProxyProcess(configured(tmp_path, postgres17.target())) as proxy:
        with connect(proxy.port, sslmode="require", channel_binding="require") as old:
            assert shown(proxy.port) == shown(proxy.port, direct=True) == der(first[0])
            write_pair(tmp_path, second)
            eventually(lambda: shown(proxy.port) == der(second[0]))
            proxy.wait_for_log("The certificate has changed")
            assert old.execute("SELECT 1").fetchone() == (1,)
            with connect(proxy.port, sslmode="require", channel_binding="require") as new:
                assert new.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("broken", ["garbage", "another key", "gone", "encrypted"])
def test_a_broken_certificate_leaves_the_old_one_and_is_reported_once(
    postgres17: TestServer, tmp_path: Path, broken: str
) -> None:
    first, second = (self_signed(["localhost"]) for _ in range(2))
    write_pair(tmp_path, first)
    with ProxyProcess(configured(tmp_path, postgres17.target())) as proxy:
        assert shown(proxy.port) == der(first[0])
        with halted(proxy):
            break_pair(tmp_path, first, second, broken)
        proxy.wait_for_log("has changed and cannot be used")
        assert shown(proxy.port) == der(first[0])
        with halted(proxy):
            write_pair(tmp_path, second)
        eventually(lambda: shown(proxy.port) == der(second[0]))
        assert proxy.log().count("has changed and cannot be used") == 1
