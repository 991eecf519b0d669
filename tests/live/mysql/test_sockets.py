"""Unix sockets on both sides: the file itself is named, for no client of MySQL's looks for one by a port."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import quote

import pymysql
import pytest

from tests.servers.mysql import DATABASE, PASSWORD, USER, MySqlServer
from tests.servers.proxy import ProxyProcess


@pytest.mark.parametrize("scheme", ["mysql", "mariadb"])
def test_the_server_and_the_clients_use_sockets(mysql: MySqlServer, tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}://{USER}:{quote(PASSWORD)}@/{DATABASE}?host={quote(str(mysql.socket), safe='')}"
    path = tmp_path / "proxy.sock"
    with ProxyProcess("--target", url, "--listen", "127.0.0.1:0", "--listen", f"unix:{path}") as proxy:
        for where in ({"host": "127.0.0.1", "port": proxy.port}, {"unix_socket": str(path)}):
            given = {"user": USER, "password": PASSWORD.encode(), "database": DATABASE, "ssl_disabled": True}
            with pymysql.connect(**given, **where) as client, client.cursor() as cursor:
                assert client._sock.family == (socket.AF_UNIX if "unix_socket" in where else socket.AF_INET)
                cursor.execute("SELECT USER(), 6 * 7")
                assert cursor.fetchone() == (f"{USER}@localhost", 42)  # so the server sees a socket
