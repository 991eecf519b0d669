"""LOAD DATA LOCAL INFILE: allowed, refused, broken off, and asked for by a server though nothing wants a file."""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path

import pymysql
import pytest

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.framing import packets
from rdsp_codecs.mysql.login import CAPABILITIES
from tests.live.mysql.sidebyside import connect, target
from tests.live.mysql.test_proxied_commands import BASE
from tests.live.mysql.test_recorded import command_lines
from tests.servers.mysql import PASSWORD, USER, MySqlServer
from tests.servers.mysqlclient import MySqlClient
from tests.servers.proxy import ProxyProcess
from tests.waiting import PATIENCE, eventually

LOAD = b"LOAD DATA LOCAL INFILE 'x' INTO TABLE filed"


def configured(server: MySqlServer, folder: Path, *, allowed: bool) -> ProxyProcess:
    config = folder / "rdsp.toml"
    config.write_text(
        f'[[proxies]]\nname = "it"\nlisten = "127.0.0.1:0"\nlocal_files = {str(allowed).lower()}\n'
        f'[proxies.target]\nurl = "{target(server)}"\n[proxies.target_group]\nmax_backends = 1\n'
    )
    return ProxyProcess(str(config))


@pytest.mark.parametrize("allowed", [True, False])
def test_it_is_allowed_or_refused_by_setting(tracking: MySqlServer, tmp_path: Path, allowed: bool) -> None:
    file = tmp_path / "rows"
    file.write_text("one\ntwo\nthree\n")
    text = f"DELETE FROM filed; LOAD DATA LOCAL INFILE '{file}' INTO TABLE filed; SELECT COUNT(*) FROM filed;"
    refusal = (3948, 4166, 1148)
    with configured(tracking, tmp_path, allowed=allowed) as proxy:
        with connect(proxy.port, local_infile=True) as connection, connection.cursor() as cursor:
            cursor.execute("DELETE FROM filed")
            if allowed:
                assert cursor.execute(f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE filed") == 3
            else:
                # As at a server, where the client has not the flag: in its own words.
                with pytest.raises(pymysql.MySQLError) as told:
                    cursor.execute(f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE filed")
                with (
                    connect(tracking.port, local_infile=False) as direct,
                    direct.cursor() as other,
                    pytest.raises(pymysql.MySQLError) as meant,
                ):
                    other.execute(f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE filed")
                assert told.value.args == meant.value.args
                assert told.value.args[0] in refusal
            connection.commit()
            cursor.execute("SELECT 7")
            assert cursor.fetchall() == ((7,),)
        for program in command_lines(tracking.version):
            mode = "--ssl-mode=DISABLED" if program[-1].endswith("/mysql") else "--skip-ssl"
            more = ["--get-server-public-key"] if program[-1].endswith("/mysql") else []
            done = subprocess.run(
                [
                    *program, "--no-defaults", "--protocol=tcp", "-h127.0.0.1", f"-P{proxy.port}", f"-u{USER}",
                    f"-p{PASSWORD}", mode, *more, "--local-infile=1", "-N", "app",
                ],
                input=text, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            if allowed:
                assert done.stdout == "3\n", done.stderr
            else:
                assert any(str(code) in done.stderr for code in (*refusal, 2068)), done.stderr


def test_what_goes_wrong_in_the_middle_leaks_nothing(tracking: MySqlServer, tmp_path: Path) -> None:
    with tracking.admin() as admin, admin.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS app.filed_once")
        cursor.execute("CREATE TABLE app.filed_once (a INT PRIMARY KEY) ENGINE=InnoDB")
    once = LOAD.replace(b"filed", b"filed_once")
    parameters = {CAPABILITIES: str(BASE | c.CLIENT_DEPRECATE_EOF)}
    with configured(tracking, tmp_path, allowed=True) as proxy:
        # An error in the middle of a file, of which much is to come: it is said at the end, and the session goes on.
        with MySqlClient(proxy.port, parameters=parameters) as client:
            strict = b"SET sql_mode = 'STRICT_ALL_TABLES'"
            assert client.ask(r.COM_QUERY, strict)[0].part is Part.OK
            heard = client.ask(r.COM_QUERY, once, [b"1\nwrong\n" + b"2\n" * 200_000])
            assert heard[-1].part in (Part.ERR, Part.OK)
            assert client.rows("SELECT COUNT(*) FROM filed_once")[0][0] in (b"0", b"1", b"2", b"3")
            client.ask(r.COM_QUERY, b"DELETE FROM filed_once")
        # Who leaves in the middle has loaded nothing, and nobody else finds the rest of it.
        for sent in (b"", b"5\n", b"5\n" * 100_000):
            client = MySqlClient(proxy.port, parameters=parameters)
            client.ask(r.COM_QUERY, b"BEGIN")
            client.command(r.COM_QUERY, (b"\0\1" if client.flags & c.CLIENT_QUERY_ATTRIBUTES else b"") + once)
            assert client.payload()[:1] == b"\xfb"
            if sent:
                client.send(sent, 2)
            client.socket.close()
            with MySqlClient(proxy.port, parameters=parameters) as other:
                assert other.rows("SELECT COUNT(*), 7 FROM filed_once") == [(b"0", b"7")]

        def running() -> int:
            with tracking.admin() as admin, admin.cursor() as cursor:
                cursor.execute("SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'LOAD%'")
                ((count,),) = cursor.fetchall()
            return int(count)

        eventually(lambda: running() == 0)


class Asking:
    """Between the proxy and a server: answers the query `SELECT 'file'` as one who is after the client's files."""

    def __init__(self, server: MySqlServer) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.got: list[bytes] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                proxy, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server.port), timeout=PATIENCE)
            threading.Thread(target=self._carry, args=(server, proxy, None), daemon=True).start()
            threading.Thread(target=self._carry, args=(proxy, server, proxy), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, asked: socket.socket | None) -> None:
        wants = False
        try:
            while data := source.recv(65536):
                if wants:
                    self.got.append(data)
                elif asked is not None and b"SELECT 'file'" in data:
                    wants = True
                    asked.sendall(packets(b"\xfb/etc/passwd", 1))
                else:
                    sink.sendall(data)
        except OSError:
            pass
        for one in (source, sink):
            one.close()

    def close(self) -> None:
        self._listener.close()


@pytest.mark.parametrize("gives", [True, False])
def test_a_server_that_asks_for_a_file_unasked_gets_none(tracking: MySqlServer, gives: bool) -> None:
    asking = Asking(tracking)
    try:
        url = target(tracking).replace(f":{tracking.port}/", f":{asking.port}/") + "?sslmode=disable"
        with ProxyProcess.for_target(url) as proxy:
            flags = BASE if gives else BASE & ~c.CLIENT_LOCAL_FILES
            with MySqlClient(proxy.port, parameters={CAPABILITIES: str(flags)}) as client:
                assert client.rows("SELECT 1") == [(b"1",)]
                prefix = b"\0\1" if client.flags & c.CLIENT_QUERY_ATTRIBUTES else b""
                client.command(r.COM_QUERY, prefix + b"SELECT 'file'")
                told = client.payload()
                assert told[:1] == b"\xff", "the client was asked for a file"
                assert b"broke its protocol" in told
            assert not asking.got
    finally:
        asking.close()
