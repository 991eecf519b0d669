"""psql and pgbench through the proxy."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.postgres import DATABASE, PASSWORD, USER, TestServer, binaries
from tests.servers.proxy import ProxyProcess
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.live
Proxies = Callable[[int], ProxyProcess]


def tool(name: str) -> str:
    """A client program of PostgreSQL 15's package."""
    path = binaries("15") / name
    return str(path) if path.exists() else shutil.which(name) or name


def run(
    port: int, *command: str, user: str = USER, password: str = PASSWORD, **more: str
) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PGPASSWORD": password,
        "PGHOST": "127.0.0.1",
        "PGPORT": str(port),
        "PGUSER": user,
        **more,
    }
    return subprocess.run(
        [tool(command[0]), *command[1:]], env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def test_psql_answers(proxies: Proxies) -> None:
    done = run(proxies(2).port, "psql", "-XAtc", "SELECT 1", "-c", r"\conninfo", DATABASE)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1\n")


def test_psql_copies_and_describes(proxies: Proxies, tmp_path: Path) -> None:
    script = tmp_path / "script.sql"
    script.write_text(
        "CREATE TABLE IF NOT EXISTS by_psql (a int);\nTRUNCATE by_psql;\n"
        "\\copy by_psql from stdin\n1\n2\n3\n\\.\n\\d by_psql\nSELECT sum(a) FROM by_psql;\nDROP TABLE by_psql;\n"
    )
    done = run(proxies(2).port, "psql", "-XAt", "-v", "ON_ERROR_STOP=1", "-f", str(script), DATABASE)

    assert done.returncode == 0, done.stderr
    assert "\n6\n" in done.stdout


def test_ctrl_c_in_a_running_query(proxies: Proxies, postgres: TestServer) -> None:
    environment = {**os.environ, "PGPASSWORD": PASSWORD}
    command = [tool("psql"), "-X", "-h", "127.0.0.1", "-p", str(proxies(2).port), "-U", USER, DATABASE]
    process = subprocess.Popen(
        [*command, "-c", "SELECT pg_sleep(300)"],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    with postgres.admin() as admin:
        asleep = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        eventually(lambda: admin.execute(asleep).fetchone())
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)

    assert "canceling statement due to user request" in errors


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench_of_fifty_clients_on_five_backends(mode: str, postgres: TestServer, proxies: Proxies) -> None:
    port = proxies(5).port
    with postgres.admin(DATABASE) as admin:
        row = admin.execute("SELECT to_regclass('pgbench_accounts')").fetchone()
    if row == (None,):
        made = run(port, "pgbench", "-i", "-q", "-s", "1", DATABASE)
        assert made.returncode == 0, made.stderr
    done = run(port, "pgbench", "-n", "-M", mode, "-c", "50", "-t", "20", DATABASE)

    assert done.returncode == 0, done.stderr
    assert "number of transactions actually processed: 1000/1000" in done.stdout
    assert re.search(r"number of failed transactions: 0 ", done.stdout)


def test_wrong_password_and_unknown_user_look_the_same(proxies: Proxies) -> None:
    port = proxies(2).port
    wrong = run(port, "psql", "-Xc", "SELECT 1", DATABASE, password="wrong")
    unknown = run(port, "psql", "-Xc", "SELECT 1", DATABASE, user="nobody")

    assert wrong.returncode == unknown.returncode == 2
    assert 'FATAL:  password authentication failed for user "app"' in wrong.stderr
    assert 'FATAL:  password authentication failed for user "nobody"' in unknown.stderr


def test_an_unknown_database_gets_the_servers_own_words(proxies: Proxies) -> None:
    done = run(proxies(2).port, "psql", "-Xc", "SELECT 1", "nowhere")

    assert done.returncode == 2
    assert 'FATAL:  database "nowhere" does not exist' in done.stderr


def test_tls_from_the_client(postgres: TestServer, tmp_path: Path) -> None:
    from rdsp.net.tls import self_signed

    certificate, key = self_signed(["localhost", "127.0.0.1"])
    (tmp_path / "tls.crt").write_bytes(certificate)
    (tmp_path / "tls.key").write_bytes(key)
    config = tmp_path / "tls.toml"
    config.write_text(
        f"""
        [[proxies]]
        listen = ["127.0.0.1:0"]
        require_tls = true
        [proxies.tls]
        certificate = "tls.crt"
        private_key = "tls.key"
        [proxies.target]
        url = "{postgres.target()}"
        """
    )
    with ProxyProcess(str(config)) as proxy:
        strict = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(tmp_path / "tls.crt")}
        good = run(proxy.port, "psql", "-XAtc", "SELECT 1", f"host=localhost dbname={DATABASE}", **strict)
        plain = run(proxy.port, "psql", "-XAtc", "SELECT 1", DATABASE, PGSSLMODE="disable")

    assert good.stdout == "1\n", good.stderr
    assert "This RDS Proxy requires TLS connections." in plain.stderr


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_tls_to_the_server(mode: str, postgres15: TestServer, tmp_path: Path) -> None:
    config = tmp_path / "tls.toml"
    config.write_text(
        f"""
        [[proxies]]
        listen = ["127.0.0.1:0"]
        [proxies.target]
        url = "{postgres15.target(user="tls_only", password="tls-password")}"
        tls = "{mode}"
        tls_ca = "{postgres15.certificate}"
        """
    )
    with ProxyProcess(str(config)) as proxy:
        done = run(
            proxy.port,
            "psql",
            "-XAtc",
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
            DATABASE,
            user="tls_only",
            password="tls-password",
        )

    assert done.stdout == "t\n", done.stderr


def test_a_server_with_another_certificate_is_not_trusted(postgres15: TestServer, tmp_path: Path) -> None:
    from rdsp.net.tls import self_signed

    (tmp_path / "other.crt").write_bytes(self_signed(["localhost"])[0])
    config = tmp_path / "tls.toml"
    config.write_text(
        f"""
        [[proxies]]
        listen = ["127.0.0.1:0"]
        [proxies.target]
        url = "{postgres15.target()}"
        tls = "verify-full"
        tls_ca = "other.crt"
        [proxies.target_group]
        connection_borrow_timeout = 1
        """
    )
    with ProxyProcess(str(config)) as proxy:
        done = run(proxy.port, "psql", "-XAtc", "SELECT 1", DATABASE)
        proxy.wait_for_log("CERTIFICATE_VERIFY_FAILED")

    assert done.returncode == 2
    assert "TLS handshake failed: CERTIFICATE_VERIFY_FAILED" in done.stderr
