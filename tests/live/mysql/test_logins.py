"""Our login conversation at real servers: every way to prove a password, with TLS and without."""

from __future__ import annotations

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from rdsp_codecs.errors import LoginRefused
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import edwards, proofs
from rdsp_codecs.mysql import messages as m
from rdsp_codecs.mysql.compression import ZLIB, ZSTD
from rdsp_codecs.mysql.framing import PacketReader
from rdsp_codecs.mysql.login import CAPABILITIES
from tests.servers.mysql import (
    CACHING,
    ED25519,
    NATIVE,
    OPEN,
    PARSEC,
    PASSWORD,
    SHA256,
    USER,
    MySqlServer,
    user_of,
)
from tests.servers.mysqlclient import MySqlClient

TLS = pytest.mark.parametrize("tls", ["disable", "require"])


def log_in(server: MySqlServer, user: str = USER, password: str = PASSWORD, **more: object) -> MySqlClient:
    return MySqlClient(server.port, user, password, old=server.version == "mysql-5.6", **more)


def _ask_again(server: MySqlServer) -> None:
    """caching_sha2_password: have the server forget what it has seen proved."""
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute("FLUSH PRIVILEGES")


@TLS
@pytest.mark.parametrize("plugin", [NATIVE, CACHING, SHA256, ED25519, PARSEC])
def test_a_password_is_proved_in_every_way_that_a_server_has(mysql: MySqlServer, plugin: str, tls: str) -> None:
    if plugin not in mysql.plugins:
        pytest.skip(f"{mysql.version} has no {plugin}")
    if (mysql.version, plugin, tls) == ("mysql-5.6", SHA256, "disable"):
        pytest.skip("a server that is built with yaSSL has no RSA keys")
    _ask_again(mysql)
    for _ in range(2):  # the second time caching_sha2_password is fast
        with log_in(mysql, user_of(plugin), tls=tls) as client:
            assert client.state.plugin.decode().removeprefix("client_") == plugin
            assert client.state.encrypted is (tls == "require")
            assert client.rows("SELECT 1") == [(b"1",)]
            ((said, number, cipher),) = [
                client.rows("SELECT USER(), CONNECTION_ID()")[0] + client.rows("SHOW STATUS LIKE 'Ssl_cipher'")[0][1:]
            ]
            assert said == f"{user_of(plugin)}@127.0.0.1".encode()
            assert number == str(client.state.connection_id).encode()
            assert bool(cipher) is (tls == "require")


@TLS
def test_a_wrong_password_is_refused_in_the_servers_words(mysql: MySqlServer, tls: str) -> None:
    for plugin in mysql.plugins:
        if (mysql.version, plugin, tls) == ("mysql-5.6", SHA256, "disable"):
            continue
        for wrong in ("wrong", ""):
            with pytest.raises(LoginRefused) as caught:
                log_in(mysql, user_of(plugin), wrong, tls=tls)
            assert caught.value.code == "1045", plugin
            assert caught.value.text.startswith(f"Access denied for user '{user_of(plugin)}'@'127.0.0.1'")
            assert not caught.value.transient


def test_no_password_is_proved_to_who_asks_for_none(mysql: MySqlServer) -> None:
    with log_in(mysql, OPEN, "") as client:
        assert client.rows("SELECT 1") == [(b"1",)]


def test_caching_sha2_is_first_full_and_then_fast(mysql: MySqlServer) -> None:
    if CACHING not in mysql.plugins:
        pytest.skip("it has no caching_sha2_password")
    _ask_again(mysql)
    with log_in(mysql, user_of(CACHING)) as full:
        assert b"BEGIN PUBLIC KEY" in full.received
    with log_in(mysql, user_of(CACHING)) as again:
        if mysql.version.startswith("mysql"):
            assert b"PUBLIC KEY" not in again.received
            assert b"\x01\x03" in again.received
        else:  # MariaDB's remembers nobody
            assert b"BEGIN PUBLIC KEY" in again.received
    _ask_again(mysql)
    with log_in(mysql, user_of(CACHING), tls="require") as over_tls:
        assert b"PUBLIC KEY" not in over_tls.received
        assert PASSWORD.encode() + b"\0" in over_tls.sent


def test_a_password_is_never_sent_in_clear_without_tls(mysql: MySqlServer) -> None:
    for plugin in mysql.plugins:
        if (mysql.version, plugin) != ("mysql-5.6", SHA256):
            _ask_again(mysql)
            with log_in(mysql, user_of(plugin)) as client:
                assert PASSWORD.encode() not in client.sent


def test_what_servers_keep_of_passwords_is_what_we_compute(mysql: MySqlServer) -> None:
    with mysql.admin() as admin, admin.cursor() as cursor:
        column = "password" if mysql.version == "mysql-5.6" else "authentication_string"
        cursor.execute(f"SELECT user, {column} FROM mysql.user")
        kept = dict(cursor.fetchall())
    password = PASSWORD.encode()
    if NATIVE in mysql.plugins:
        assert kept[user_of(NATIVE)] == "*" + proofs.native_stored(password).hex().upper()
    if ED25519 in mysql.plugins:
        assert kept[user_of(ED25519)] + "=" == base64.b64encode(edwards.ed25519_stored(password)).decode()
    if PARSEC in mysql.plugins:
        head, salt, public = kept[user_of(PARSEC)].split(":")
        seed = edwards.parsec_seed(password, base64.b64decode(salt + "=" * (-len(salt) % 4)), 1024 << int(head[1:]))
        assert base64.b64encode(edwards.parsec_stored(seed)).decode() == public + "="


@pytest.mark.parametrize("flags", [0, c.CLIENT_DEPRECATE_EOF, c.CLIENT_FOUND_ROWS | c.CLIENT_MULTI_RESULTS])
def test_the_connection_has_the_flags_that_its_pool_has(mysql: MySqlServer, flags: int) -> None:
    with log_in(mysql, parameters={CAPABILITIES: "0"}) as first:
        offered = first.state.offered
    missing = c.lacking(offered, flags)
    if missing:
        with pytest.raises(LoginRefused, match=c.names(missing)[0]):
            log_in(mysql, parameters={CAPABILITIES: str(flags)})
        return
    with log_in(mysql, parameters={CAPABILITIES: str(flags)}) as client:
        assert client.flags & c.EQUAL == flags
        assert client.rows("SELECT 1, NULL, ''") == [(b"1", None, b"")]
        assert bool(client.flags & c.CLIENT_SESSION_TRACK) is (mysql.version != "mysql-5.6")


@TLS
@pytest.mark.parametrize("kind", [ZLIB, ZSTD])
def test_compression_is_spoken_behind_the_login(mysql: MySqlServer, kind: str, tls: str) -> None:
    flag = c.CLIENT_ZSTD_COMPRESSION_ALGORITHM if kind == ZSTD else c.CLIENT_COMPRESS
    if kind == ZSTD and mysql.version != "mysql-9.7":
        with pytest.raises(LoginRefused, match="compression by zstd"):
            log_in(mysql, tls=tls, compression=kind)
        return
    with log_in(mysql, tls=tls, compression=kind) as client:
        assert client.flags & flag
        before = len(client.received)
        ((row,),) = client.rows("SELECT REPEAT('abc', 1000000)")
        assert row == b"abc" * 1_000_000
        assert len(client.received) - before < 300_000
        # What is sent is compressed, too: the server says how long it was.
        ((size,),) = client.rows(f"SELECT LENGTH('{'x' * 500_000}')")
        assert size == b"500000"
        assert len(client.sent) < 100_000
        assert client.rows("SELECT 1") == [(b"1",)]


def test_tls_that_is_preferred_is_used(mysql: MySqlServer) -> None:
    with log_in(mysql, tls="prefer") as client:
        assert client.state.encrypted
        assert client.tls_version == ("TLSv1" if mysql.version == "mysql-5.6" else "TLSv1.3")


@pytest.mark.matrix
@pytest.mark.parametrize("plugin", [NATIVE, ED25519, PARSEC])
def test_a_server_proves_its_certificate_as_we_do(mariadb11: MySqlServer, plugin: str) -> None:
    fingerprint = x509.load_pem_x509_certificate(mariadb11.certificate.read_bytes()).fingerprint(hashes.SHA256())
    with log_in(mariadb11, user_of(plugin), tls="require") as client:
        reader = PacketReader()
        reader.feed(bytes(client.received))
        payload = reader.next()
        assert payload is not None
        challenge = m.read_greeting(payload).challenge
        password = PASSWORD.encode()
        if plugin == NATIVE:
            stored = proofs.native_stored(password)
        elif plugin == ED25519:
            stored = edwards.ed25519_stored(password)
        else:
            data = bytes(client.received).partition(b"\x01P\0")[2][:18]
            seed = edwards.parsec_seed(password, data, 1024)
            stored = edwards.parsec_whole(edwards.parsec_stored(seed), data, 0)
        assert client.state.welcome.info == proofs.certificate_proof(stored, challenge, fingerprint)
