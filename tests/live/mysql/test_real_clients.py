"""Real clients log in to our greeting and work through it on a backend that our login opened with their flags."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pymysql
import pytest

from rdsp_codecs.api import ClientLogin, Turned
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.problems import ProblemCode
from tests.live.mysql.minirelay import CLIENTS_PASSWORD, CLIENTS_USER, MiniRelay
from tests.live.mysql.test_recorded import SCRIPT, command_lines
from tests.servers.mysql import MySqlServer

METHODS = ["caching_sha2_password", "mysql_native_password", "sha256_password", "ed25519", "mysql_clear_password"]


def _connect(relay: MiniRelay, password: str = CLIENTS_PASSWORD, *, tls: bool) -> pymysql.Connection:
    given = {"ssl": {"check_hostname": False}, "ssl_verify_cert": False} if tls else {"ssl_disabled": True}
    return pymysql.connect(
        host="127.0.0.1", port=relay.port, user=CLIENTS_USER, password=password, local_infile=True, **given
    )


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("method", METHODS)
def test_pymysql_proves_its_password_by_every_plug_in(
    mariadb10: MySqlServer, tmp_path: Path, method: str, tls: bool
) -> None:
    refused = method == "mysql_clear_password" and not tls
    with MiniRelay(mariadb10, tmp_path, (method,)) as relay:
        if refused:
            with pytest.raises(pymysql.OperationalError, match="1251"):
                _connect(relay, tls=tls)
        else:
            with _connect(relay, tls=tls) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT 1, NULL, REPEAT('x', 100000)")
                assert cursor.fetchall() == ((1, None, "x" * 100_000),)
                assert connection.thread_id() == 4242
            with pytest.raises(pymysql.OperationalError, match="1045"):
                _connect(relay, "wrong", tls=tls)
    if refused:
        (turned,) = relay.greeted
        assert isinstance(turned, Turned)
        return
    first, second = relay.greeted
    assert isinstance(first, ClientLogin)
    assert (first.user, first.database, first.tls) == (CLIENTS_USER, "app", tls)
    assert second.problem.code is ProblemCode.AUTH_FAILED
    assert not relay.troubles


def test_pymysql_works_on_a_backend_that_reports_more_than_it_asked_for(mysql: MySqlServer, tmp_path: Path) -> None:
    """The backend has session tracking, PyMySQL has not: it is not shown what it would take for a message."""
    file = tmp_path / "rows"
    file.write_text("one\ntwo\n" * 100)
    with MiniRelay(mysql, tmp_path) as relay:
        with _connect(relay, tls=True) as connection, connection.cursor() as cursor:
            for text in SCRIPT.format(file=file).split(";")[:-2]:
                cursor.execute(text)
            cursor.execute("USE other")
            assert cursor.execute("SELECT DATABASE()") == 1
            assert cursor.fetchall() == (("other",),)
    assert not relay.troubles
    assert {Part.OK, Part.EOF, Part.ROW, Part.FILE} <= set(relay.parts)


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
def test_command_lines_work_through_it(mysql: MySqlServer, tmp_path: Path, tls: bool) -> None:
    file = tmp_path / "rows"
    file.write_text("one\ntwo\n" * 100)
    for program in command_lines(mysql.version):
        of_mysql = program[-1].endswith("/mysql")
        if of_mysql:
            mode = ["--ssl-mode=REQUIRED" if tls else "--ssl-mode=DISABLED", "--get-server-public-key"]
        else:
            mode = ["--ssl", "--skip-ssl-verify-server-cert"] if tls else ["--skip-ssl"]
        with MiniRelay(mysql, tmp_path) as relay:
            done = subprocess.run(
                [
                    *program, "--no-defaults", "--protocol=tcp", "-h127.0.0.1", f"-P{relay.port}", f"-u{CLIENTS_USER}",
                    f"-p{CLIENTS_PASSWORD}", *mode, "--local-infile=1", "--default-character-set=utf8mb4", "-N", "app",
                ],
                input=SCRIPT.format(file=file), capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
        assert "Unknown column 'nothing'" in done.stderr, (program, done.stderr, relay.greeted, relay.troubles)
        assert done.stdout.splitlines()[-1] == "other"
        assert not relay.troubles
        assert relay.greeted[0].tls is tls
        assert {Part.OK, Part.ROW, Part.FILE, Part.ERR} <= set(relay.parts)


@pytest.mark.matrix
@pytest.mark.parametrize("method", ["mysql_native_password", "ed25519"])
def test_a_certificate_is_proved_to_a_client_that_cannot_verify_it(
    mariadb11: MySqlServer, tmp_path: Path, method: str
) -> None:
    """MariaDB's own client demands it of every host but this one's ordinary name."""
    program = command_lines(mariadb11.version)[-1]
    for proved in (True, False):
        with MiniRelay(mariadb11, tmp_path, (method,), host="127.0.0.2", proved=proved) as relay:
            done = subprocess.run(
                [
                    *program, "--no-defaults", "--protocol=tcp", "-h127.0.0.2", f"-P{relay.port}", f"-u{CLIENTS_USER}",
                    f"-p{CLIENTS_PASSWORD}", "--ssl", f"--plugin-dir={mariadb11.installation.plugins}", "-N", "-e", "SELECT 7", "app",
                ],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
        if proved:
            assert done.stdout == "7\n", (done.stderr, relay.troubles)
        else:
            assert "Certificate verification failure" in done.stderr
