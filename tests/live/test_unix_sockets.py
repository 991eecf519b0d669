"""Unix sockets on both sides: real drivers over them, who owns the files, who is a client of this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from tests.servers.postgres import DATABASE, PASSWORD, USER, TestServer, binaries
from tests.servers.proxy import ProxyProcess
from tests.waiting import PATIENCE, asked_again, eventually

pytestmark = pytest.mark.live
PORT = 6543


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short enough for a socket."""
    return tmp_path_factory.mktemp("s")


@pytest.fixture
def proxy(postgres15: TestServer, folder: Path) -> Iterator[ProxyProcess]:
    with ProxyProcess("--target", postgres15.target(), "--listen", f"unix:{folder}:{PORT}") as running:
        yield running


def _connect(folder: Path | str, **more: object) -> psycopg.Connection:
    settings = {"user": USER, "password": PASSWORD, "dbname": DATABASE, "autocommit": True, **more}
    return psycopg.connect(host=str(folder), port=PORT, **settings)


@pytest.mark.usefixtures("proxy")
def test_psql_psycopg_and_asyncpg_find_the_socket_in_its_directory(folder: Path) -> None:
    with _connect(folder) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        assert not connection.pgconn.ssl_in_use

    async def by_asyncpg() -> int:
        connection = await asyncpg.connect(host=str(folder), port=PORT, user=USER, password=PASSWORD, database=DATABASE)
        try:
            return await connection.fetchval("SELECT 2")
        finally:
            await connection.close()

    assert asyncio.run(by_asyncpg()) == 2
    assert _psql(folder, USER, "SELECT 3").stdout == "3\n"


def _psql(host: Path | str, user: str, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [binaries("15") / "psql", "-h", host, "-p", str(PORT), "-U", user, "-d", DATABASE, "-Atc", text],
        env={**os.environ, "PGPASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        check=False,
    )


def _is_cancelled(connection: psycopg.Connection) -> None:
    with asked_again(connection.cancel_safe), pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute("SELECT pg_sleep(300)")


@pytest.mark.usefixtures("proxy")
def test_a_query_is_cancelled_over_unix_sockets(folder: Path) -> None:
    with _connect(folder) as connection:
        _is_cancelled(connection)


def test_the_socket_has_its_permissions_and_is_removed_at_the_end(postgres15: TestServer, folder: Path) -> None:
    file = folder / "rdsp.toml"
    group = os.getgid()
    file.write_text(
        f"[[proxies]]\nlisten = 'unix:{folder}/own.socket'\nunix_socket_permissions = '0600'\n"
        f"unix_socket_group = '{group}'\ntarget.url = \"{postgres15.target()}\"\n"
    )
    path = folder / "own.socket"
    proxy = ProxyProcess(str(file))
    try:
        eventually(lambda: "is ready on unix:" in proxy.log())
        status = path.stat()
        assert stat.S_ISSOCK(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert status.st_gid == group
    finally:
        proxy.discard()
    assert not path.exists()
    assert not (folder / "own.socket.lock").exists()


def test_a_dead_proxys_socket_is_replaced_and_a_living_ones_is_not(postgres15: TestServer, folder: Path) -> None:
    arguments = ("--target", postgres15.target(), "--listen", f"unix:{folder}:{PORT}")
    killed = ProxyProcess(*arguments)
    assert killed.port
    killed.discard(signal.SIGKILL)
    assert (folder / f".s.PGSQL.{PORT}").exists()
    with ProxyProcess(*arguments):
        _refused(arguments, f"cannot listen on {folder}/.s.PGSQL.{PORT}: another proxy has locked")
        with _connect(folder) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_what_is_not_ours_stays(postgres15: TestServer, folder: Path) -> None:
    """A server's socket without a lock of ours, a full queue, a plain file, and the real server's own."""
    path = folder / f".s.PGSQL.{PORT}"
    arguments = ("--target", postgres15.target(), "--listen", f"unix:{folder}:{PORT}")
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen(1)
        _refused(arguments, "another process answers there")
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            try:
                one.connect(str(path))
            except BlockingIOError:
                break
        else:
            pytest.fail("the queue does not fill up")
        _refused(arguments, "another process answers there")
        for one in waiting:
            one.close()
    path.unlink()
    path.write_text("precious")
    _refused(arguments, "there is a file that is no socket")
    assert path.read_text() == "precious"
    of_server = f"unix:{postgres15.folder}:{postgres15.port}"
    _refused(("--target", postgres15.target(), "--listen", of_server), "another process answers there")
    with psycopg.connect(
        host=str(postgres15.folder), port=postgres15.port, user=USER, password=PASSWORD, dbname=DATABASE
    ) as direct:
        assert direct.execute("SELECT 1").fetchone() == (1,)


def _refused(arguments: tuple[str, ...], why: str) -> None:
    proxy = ProxyProcess(*arguments)
    proxy.process.wait(PATIENCE)
    status, log = proxy.discard()
    assert status == 1
    assert why in log


def test_without_a_password_clients_over_unix_sockets_are_let_in(postgres15: TestServer, folder: Path) -> None:
    """They are clients of this machine, also over an abstract socket; the server is reached over its own socket."""
    target = f"postgresql://trusted@/{DATABASE}?host={postgres15.folder}&port={postgres15.port}"
    abstract = f"@rdsp-test-{os.getpid()}"
    listen = ("--listen", f"unix:{folder}:{PORT}", "--listen", f"unix:{abstract}:{PORT}")
    with ProxyProcess("--target", target, *listen):
        for host in (folder, abstract):
            done = _psql(host, "trusted", "SELECT current_user, inet_client_addr() IS NULL")
            assert (done.stdout, done.stderr) == ("trusted|t\n", "")


def test_a_server_is_reached_over_its_socket_with_a_password_and_cancelled_there(
    postgres15: TestServer, folder: Path
) -> None:
    """Whatever `tls` says: as with libpq, there is none on a Unix socket."""
    file = folder / "rdsp.toml"
    file.write_text(
        f"[[proxies]]\nlisten = '127.0.0.1:0'\n[proxies.target]\nhost = '{postgres15.folder}'\n"
        f"port = {postgres15.port}\ndatabase = '{DATABASE}'\nusername = '{USER}'\npassword = \"{PASSWORD}\"\n"
        "tls = 'verify-full'\n"
    )
    with ProxyProcess(str(file)) as proxy:
        with psycopg.connect(
            host="127.0.0.1", port=proxy.port, user=USER, password=PASSWORD, dbname=DATABASE, autocommit=True
        ) as connection:
            assert connection.execute("SELECT inet_client_addr()").fetchone() == (None,)
            _is_cancelled(connection)
