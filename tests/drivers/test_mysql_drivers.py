"""Every program for MySQL and MariaDB, directly and through the proxy: transcripts are the same, pins are the expected.

As `test_drivers` for PostgreSQL. `make test` runs each Python program once at MariaDB 10.11, two copies on a pool of one
database connection; the matrix all programs, three copies, at MariaDB 10.11 and 11.8 and MySQL 9.7.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rdsp_codecs.pins import PinReason
from tests.drivers import mysql
from tests.drivers.running import Program, difference, pins, run, run_copies
from tests.drivers.test_drivers import certificate
from tests.servers.mysql import MySqlServer
from tests.servers.proxy import ProxyProcess

__all__ = ["certificate"]

pytestmark = pytest.mark.live

DATABASES = ("matrix_a", "matrix_b", "matrix_c")
SERVERS = {"mariadb-10.11": "mariadb10", "mariadb-11.8": "mariadb11", "mysql-9.7": "mysql9"}


@pytest.fixture
def proxied(certificate: Path, tmp_path: Path) -> Iterator[Callable[[MySqlServer, int], ProxyProcess]]:
    """A proxy of the test's own, with a certificate, so that its log tells of this test's pins only."""
    started: list[ProxyProcess] = []

    def start(server: MySqlServer, backends: int) -> ProxyProcess:
        config = tmp_path / "proxy.toml"
        config.write_text(
            f"""
            [[proxies]]
            name = "matrix"
            listen = ["127.0.0.1:0"]
            [proxies.tls]
            certificate = "{certificate / "tls.crt"}"
            private_key = "{certificate / "tls.key"}"
            [proxies.target]
            url = "{mysql.target(server)}"
            [proxies.target_group]
            max_backends = {backends}
            """
        )
        proxy = ProxyProcess(str(config))
        started.append(proxy)
        return proxy

    yield start
    for proxy in started:
        with proxy:
            pass


_direct: dict[tuple[str, str], list[str]] = {}


def direct(program: Program, server: MySqlServer) -> list[str]:
    """What the program sees without a proxy; asked once for each server."""
    key = (program.name, server.version)
    if key not in _direct:
        mysql.make_databases(server, DATABASES[:1])
        _direct[key] = run(program, mysql.place(server, server.port, server.certificate), DATABASES[0])
    return _direct[key]


def check(program: Program, server: MySqlServer, proxy: ProxyProcess, certificate: Path, copies: int) -> None:
    """Fails where a copy of the program sees something else through the proxy, or pins for another reason."""
    missing = program.needs()
    if missing:
        pytest.fail(missing) if os.environ.get("RDSP_REQUIRE_SERVERS") else pytest.skip(missing)
    truth = direct(program, server)
    mysql.make_databases(server, DATABASES)
    place = mysql.place(server, proxy.port, certificate / "tls.crt")
    for transcript in run_copies(program, place, DATABASES[:copies]):
        found = difference(truth, transcript)
        assert not found, f"{program.name}\n{found[:20_000]}"
    assert pins(proxy) <= program.may_pin


QUICK = [pytest.param(program, id=program.name) for program in mysql.PROGRAMS if program.quick]
ALL = [
    pytest.param(program, pool, id=f"{program.name}, pool of {pool}")
    for program in mysql.PROGRAMS
    for pool in program.pools
]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("program", QUICK)
def test_two_at_once_see_what_a_direct_connection_sees(
    program: Program, mariadb10: MySqlServer, proxied: Callable[[MySqlServer, int], ProxyProcess], certificate: Path
) -> None:
    check(program, mariadb10, proxied(mariadb10, program.pools[0]), certificate, 2)


@pytest.mark.matrix
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("version", SERVERS)
@pytest.mark.parametrize(("program", "pool"), ALL)
def test_three_at_once_see_what_a_direct_connection_sees(
    program: Program,
    pool: int,
    version: str,
    request: pytest.FixtureRequest,
    proxied: Callable[[MySqlServer, int], ProxyProcess],
    certificate: Path,
) -> None:
    server: MySqlServer = request.getfixturevalue(SERVERS[version])
    check(program, server, proxied(server, pool), certificate, 3)


@pytest.mark.matrix
@pytest.mark.parametrize("statements", ["auto", "disable"])
@pytest.mark.parametrize("version", SERVERS)
def test_sysbench_runs_its_transactions_on_two_connections(
    version: str,
    statements: str,
    request: pytest.FixtureRequest,
    proxied: Callable[[MySqlServer, int], ProxyProcess],
) -> None:
    """With eight threads, in binary prepared statements and in texts; nothing pins."""
    if missing := mysql.sysbench():
        pytest.fail(missing) if os.environ.get("RDSP_REQUIRE_SERVERS") else pytest.skip(missing)
    server: MySqlServer = request.getfixturevalue(SERVERS[version])
    mysql.make_databases(server, DATABASES[:1])
    proxy = proxied(server, 2)
    command = [
        "sysbench", "oltp_read_write", "--db-driver=mysql", "--mysql-host=127.0.0.1", f"--mysql-port={proxy.port}",
        f"--mysql-user={mysql.USER}", f"--mysql-password={mysql.PASSWORD}", f"--mysql-db={DATABASES[0]}",
        "--tables=2", "--table-size=500", "--threads=8", "--events=300", "--time=120", f"--db-ps-mode={statements}",
    ]  # fmt: skip
    for step in ("prepare", "run", "cleanup"):
        done = subprocess.run([*command, step], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        assert "FATAL" not in done.stdout + done.stderr
        if step == "run":
            found = re.search(r"transactions: +(\d+)", done.stdout)
            assert found is not None
            assert int(found[1]) == 300, done.stdout
    assert pins(proxy) == set()


def test_the_matrix_notices_a_pin_that_nobody_expected(
    mariadb10: MySqlServer, proxied: Callable[[MySqlServer, int], ProxyProcess], certificate: Path
) -> None:
    """The same program, had it no reason to pin."""
    proxy = proxied(mariadb10, 1)
    program = Program.python("pymysql_program")
    program = Program(program.name, (*program.command, "session"))
    mysql.make_databases(mariadb10, DATABASES[:1])
    run(program, mysql.place(mariadb10, proxy.port, certificate / "tls.crt"), DATABASES[0])
    assert pins(proxy) == {PinReason.TEMPORARY_TABLE, PinReason.ADVISORY_LOCK}
