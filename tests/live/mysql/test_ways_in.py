"""Through the proxy with real clients: every way to prove a password on both sides, TLS 1.2 and 1.3, every ssl-mode."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mysql.connector
import pymysql
import pytest

from rdsp_codecs.errors import LoginRefused
from rdsp_codecs.mysql import prove
from tests.live.mysql.sidebyside import target
from tests.live.mysql.test_recorded import command_lines
from tests.servers.mysql import CACHING, DATABASE, PASSWORD, SHA256, USER, MySqlServer, certificate, user_of
from tests.servers.mysqlclient import MySqlClient
from tests.servers.proxy import ProxyProcess

pytestmark = [
    pytest.mark.filterwarnings("ignore:ssl.:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.usefixtures("leaving_sockets"),
]
"""For mysql-connector-python."""
CLEAR = "mysql_clear_password"
METHODS = sorted(prove.METHODS)
WAYS = ["clear", "TLSv1.2", "TLSv1.3"]


@pytest.fixture(scope="module")
def ways(tracking: MySqlServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """One process with a proxy for each way to prove a password; their ports."""
    folder = tmp_path_factory.mktemp("ways")
    with ExitStack() as stack:
        found = {}
        for method in METHODS:
            file = folder / f"{method}.toml"
            file.write_text(
                f'[[proxies]]\nlisten = "127.0.0.1:0"\ntarget.url = "{target(tracking)}"\n'
                f'auth_methods = ["{method}"]\ntarget_group.max_backends = 2\n'
            )
            found[method] = stack.enter_context(ProxyProcess(str(file))).port
        yield found


def _refuses(method: str, way: str) -> bool:
    return method == CLEAR and way == "clear"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", METHODS)
def test_our_own_client(ways: dict[str, int], method: str, way: str) -> None:
    if way == "TLSv1.2":
        return  # what the others have
    tls = "disable" if way == "clear" else "require"
    if _refuses(method, way):
        with pytest.raises(LoginRefused) as caught:
            MySqlClient(ways[method], tls=tls)
        assert caught.value.code in ("1251", "2059")
        return
    for _ in range(2):
        with MySqlClient(ways[method], tls=tls) as client:
            assert client.state.plugin == prove.METHODS[method]
            assert client.rows("SELECT CURRENT_USER()") == [(f"{USER}@%".encode(),)]
            if way == "clear":
                assert PASSWORD.encode() not in client.sent
    for wrong in ("", "wrong", PASSWORD + "x", PASSWORD.upper()):
        with pytest.raises(LoginRefused, match=r"Access denied for user 'app'@'%' \(using password: YES\)") as caught:
            MySqlClient(ways[method], USER, wrong, tls=tls)
        assert caught.value.raw[:9] == b"\xff\x15\x04#28000"


def _pymysql(port: int, way: str, password: str = PASSWORD, **more: Any) -> Any:
    given: dict[str, Any] = {"ssl_disabled": True}
    if way != "clear":
        given = {"ssl": {"check_hostname": False}, "ssl_verify_cert": False}
    return pymysql.connect(
        host="127.0.0.1", port=port, user=USER, password=password.encode(), database=DATABASE, **given, **more
    )


def _connector(port: int, way: str, password: str = PASSWORD, *, pure: bool = True) -> Any:
    given: dict[str, Any] = {"ssl_disabled": True} if way == "clear" else {"tls_versions": [way]}
    return mysql.connector.connect(
        host="127.0.0.1", port=port, user=USER, password=password, database=DATABASE, use_pure=pure, **given
    )


@pytest.mark.parametrize("way", ["clear", "TLSv1.3"])
@pytest.mark.parametrize("method", [each for each in METHODS if each != "parsec"])
def test_pymysql(ways: dict[str, int], method: str, way: str) -> None:
    if _refuses(method, way):
        with pytest.raises(pymysql.OperationalError, match="1251"):
            _pymysql(ways[method], way)
        return
    with _pymysql(ways[method], way) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT CURRENT_USER()")
        assert cursor.fetchall() == ((f"{USER}@%",),)
    with pytest.raises(pymysql.OperationalError) as caught:
        _pymysql(ways[method], way, "wrong")
    assert caught.value.args == (1045, "Access denied for user 'app'@'%' (using password: YES)")


@pytest.mark.parametrize("pure", [True, False], ids=["pure", "C"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", [CACHING, SHA256, "mysql_native_password"])
def test_connector(ways: dict[str, int], method: str, way: str, pure: bool) -> None:
    if not pure and not mysql.connector.HAVE_CEXT:
        pytest.skip("it has no C extension here")
    if method == "mysql_native_password" and not pure:
        pytest.skip("its library has that no more")
    if pure and way == "clear" and method == SHA256:
        pytest.skip("it wants TLS for it")
    connection = _connector(ways[method], way, pure=pure)
    cursor = connection.cursor()
    cursor.execute("SELECT CURRENT_USER()")
    assert cursor.fetchall() == [(f"{USER}@%",)]
    connection.close()
    with pytest.raises(mysql.connector.Error) as caught:
        _connector(ways[method], way, "wrong", pure=pure)
    assert (caught.value.errno, caught.value.sqlstate) == (1045, "28000")


def _line(program: list[str], port: int, server: MySqlServer, *more: str) -> subprocess.CompletedProcess[str]:
    plugins = server.installation.plugins
    folder = [f"--plugin-dir={plugins}"] if len(program) > 1 and plugins else []
    folder += ["--commands"] if program[-1].endswith("/mysql") else []  # without it, newer ones have no \\s
    arguments = ["--no-defaults", "--protocol=tcp", "-h127.0.0.1", f"-P{port}", f"-u{USER}", f"-p{PASSWORD}", *folder]
    status = "SHOW STATUS LIKE 'Uptime'; SELECT CURRENT_USER();"
    return subprocess.run(
        [*program, *arguments, "--default-character-set=utf8mb4", *more, "-N", "-B", DATABASE, "-e", status + r"\s"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def _programs(server: MySqlServer, *, of_mysql: bool) -> list[list[str]]:
    found = [one for one in command_lines(server.version) if one[-1].endswith("/mysql") is of_mysql]
    if not found:
        pytest.skip("there is no such command line with this server")
    return found


@pytest.mark.parametrize("method", [CACHING, SHA256, CLEAR])
def test_the_command_line_of_mysql(tracking: MySqlServer, ways: dict[str, int], method: str) -> None:
    for program in _programs(tracking, of_mysql=True):
        more = ["--enable-cleartext-plugin"] if method == CLEAR else []
        for version in ("TLSv1.2", "TLSv1.3"):
            done = _line(program, ways[method], tracking, "--ssl-mode=REQUIRED", f"--tls-version={version}", *more)
            assert f"{USER}@%" in done.stdout, done.stderr
            assert "Cipher in use" in done.stdout
        done = _line(program, ways[method], tracking, "--ssl-mode=DISABLED", "--get-server-public-key", *more)
        if method == CLEAR:
            assert "1251" in done.stderr
        else:
            assert f"{USER}@%" in done.stdout, done.stderr
            assert "Cipher in use" not in done.stdout


@pytest.mark.parametrize("method", [each for each in METHODS if each not in (CLEAR, "parsec")])
def test_the_command_line_of_mariadb(tracking: MySqlServer, ways: dict[str, int], method: str) -> None:
    for program in _programs(tracking, of_mysql=False):
        for version in ("TLSv1.2", "TLSv1.3"):
            done = _line(
                program, ways[method], tracking, "--ssl", "--skip-ssl-verify-server-cert", f"--tls-version={version}"
            )
            assert f"{USER}@%" in done.stdout, (program, done.stderr)
            assert "Cipher in use" in done.stdout
        done = _line(program, ways[method], tracking, "--skip-ssl")
        assert f"{USER}@%" in done.stdout, (program, done.stderr)


def test_the_key_is_made_once(ways: dict[str, int]) -> None:
    keys = set()
    for _ in range(3):
        with MySqlClient(ways[SHA256]) as client:
            start = client.received.index(b"-----BEGIN PUBLIC KEY-----")
            keys.add(bytes(client.received[start : client.received.index(b"-----END", start)]))
    assert len(keys) == 1


@pytest.fixture(scope="module")
def certified(tracking: MySqlServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ProxyProcess, Path]]:
    """A proxy with a certificate of its own for 127.0.0.1 and localhost, that wants TLS; and the certificate's file."""
    folder = tmp_path_factory.mktemp("certified")
    certificate_file, key = folder / "proxy.crt", folder / "proxy.key"
    for path, data in zip((certificate_file, key), certificate(), strict=True):
        path.write_bytes(data)
    file = folder / "rdsp.toml"
    file.write_text(
        f'[[proxies]]\nlisten = "127.0.0.1:0"\ntarget.url = "{target(tracking)}"\nrequire_tls = true\n'
        f'tls.certificate = "{certificate_file}"\ntls.private_key = "{key}"\n'
    )
    with ProxyProcess(str(file)) as proxy:
        yield proxy, certificate_file


@pytest.mark.parametrize("mode", ["DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"])
def test_all_modes_of_mysql(
    tracking: MySqlServer, ways: dict[str, int], certified: tuple[ProxyProcess, Path], tmp_path: Path, mode: str
) -> None:
    proxy, file = certified
    other = tmp_path / "other.crt"
    other.write_bytes(certificate()[0])
    verifies = mode.startswith("VERIFY")
    for program in _programs(tracking, of_mysql=True):
        done = _line(program, proxy.port, tracking, f"--ssl-mode={mode}", *([f"--ssl-ca={file}"] if verifies else []))
        if mode == "DISABLED":
            assert "ERROR 3159 (HY000): This RDS Proxy requires TLS connections." in done.stderr
            done = _line(program, ways[CACHING], tracking, "--ssl-mode=DISABLED")
            assert f"{USER}@%" in done.stdout, done.stderr
            continue
        assert f"{USER}@%" in done.stdout, done.stderr
        assert "Cipher in use" in done.stdout
        if verifies:
            done = _line(program, proxy.port, tracking, f"--ssl-mode={mode}", f"--ssl-ca={other}")
            assert "ERROR 2026" in done.stderr
        if mode == "VERIFY_IDENTITY":
            done = _line(program, proxy.port, tracking, f"--ssl-mode={mode}", f"--ssl-ca={file}", "-hlocalhost")
            assert f"{USER}@%" in done.stdout, done.stderr
            done = _line(program, proxy.port, tracking, f"--ssl-mode={mode}", f"--ssl-ca={file}", "-h127.0.0.2")
            assert done.returncode


@pytest.mark.parametrize("mode", ["--skip-ssl", "--ssl", "--ssl-verify-server-cert"])
def test_all_modes_of_mariadb(tracking: MySqlServer, certified: tuple[ProxyProcess, Path], mode: str) -> None:
    proxy, file = certified
    for program in _programs(tracking, of_mysql=False):
        more = [f"--ssl-ca={file}"] if mode != "--skip-ssl" else []
        done = _line(program, proxy.port, tracking, mode, *more)
        if mode == "--skip-ssl":
            assert "ERROR 3159 (HY000): This RDS Proxy requires TLS connections." in done.stderr
        else:
            assert f"{USER}@%" in done.stdout, done.stderr
            assert "Cipher in use" in done.stdout


@pytest.mark.parametrize("pure", [True, False], ids=["pure", "C"])
def test_modes_of_drivers(certified: tuple[ProxyProcess, Path], tmp_path: Path, pure: bool) -> None:
    proxy, file = certified
    other = tmp_path / "other.crt"
    other.write_bytes(certificate()[0])
    with pytest.raises(pymysql.OperationalError) as caught:
        _pymysql(proxy.port, "clear")
    assert caught.value.args == (3159, "This RDS Proxy requires TLS connections.")
    given: dict[str, Any] = {"host": "127.0.0.1", "port": proxy.port, "user": USER, "database": DATABASE}
    for ca, right in ((file, True), (other, False)):
        verified = {"ssl_ca": str(ca), "ssl_verify_cert": True, "ssl_verify_identity": True}
        try:
            pymysql.connect(**given, password=PASSWORD.encode(), **verified).close()
            assert right
        except pymysql.OperationalError:
            assert not right
        if not pure and not mysql.connector.HAVE_CEXT:
            continue
        try:
            mysql.connector.connect(**given, password=PASSWORD, use_pure=pure, **verified).close()
            assert right
        except mysql.connector.Error:
            assert not right
    with pytest.raises(mysql.connector.Error) as refused:
        _connector(proxy.port, "clear")
    assert (refused.value.errno, refused.value.sqlstate) == (3159, "HY000")


@pytest.mark.parametrize("tls", ["disable", "require", "verify-full"])
def test_backends_prove_themselves_in_every_way_that_a_server_has(tracking: MySqlServer, tls: str) -> None:
    """The proxy's own logins, as users of each plug-in, over TLS and without."""
    scheme = "mariadb" if tracking.version.startswith("mariadb") else "mysql"
    for plugin in tracking.plugins:
        with tracking.admin() as admin, admin.cursor() as cursor:
            cursor.execute("FLUSH PRIVILEGES")  # caching_sha2_password asks for the whole proof again
        user = user_of(plugin)
        url = f"{scheme}://{user}:{quote(PASSWORD)}@127.0.0.1:{tracking.port}/{DATABASE}?sslmode={tls}"
        more = [] if tls != "verify-full" else [f"&sslrootcert={tracking.certificate}"]
        with ProxyProcess.for_target("".join([url, *more])) as proxy:
            for _ in range(2):
                with MySqlClient(proxy.port, user) as client:
                    assert client.rows("SELECT CURRENT_USER()") == [(f"{user}@%".encode(),)]
                    ((_, cipher),) = client.rows("SHOW STATUS LIKE 'Ssl_cipher'")
                    assert bool(cipher) is (tls != "disable")
