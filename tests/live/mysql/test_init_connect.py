"""A server's `init_connect`: every session begins behind it, on whichever backend, as at the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rdsp_codecs.mysql import upkeep
from tests.live.mysql.sidebyside import connect, target
from tests.servers.mysql import DATABASE, PASSWORD, MySqlServer
from tests.servers.proxy import ProxyProcess

USERS = {"begun": "", "begun_super": "SUPER", "begun_admin": "CONNECTION_ADMIN"}
TEXTS = ("SET @z = 7, time_zone = '+03:00'; SET sql_mode = 'ANSI_QUOTES'", "SET autocommit = 0")
SEEN = "SELECT @z, @@time_zone, @@sql_mode, @@autocommit"


@pytest.fixture
def server(tracking: MySqlServer) -> Iterator[MySqlServer]:
    with tracking.admin() as admin, admin.cursor() as cursor:
        for user, privilege in USERS.items():
            name = privilege.replace("_", " ") if tracking.version.startswith("mariadb") else privilege
            cursor.execute(f"DROP USER IF EXISTS {user}")
            cursor.execute(f"CREATE USER {user} IDENTIFIED BY %s", (PASSWORD,))
            cursor.execute(f"GRANT SELECT, INSERT ON {DATABASE}.* TO {user}")
            if name:
                cursor.execute(f"GRANT {name} ON *.* TO {user}")
        cursor.execute("CREATE TABLE IF NOT EXISTS app.logins (a INT)")
        cursor.execute("DELETE FROM app.logins")
    yield tracking
    with tracking.admin() as admin, admin.cursor() as cursor:
        cursor.execute("SET GLOBAL init_connect = ''")


def _set(server: MySqlServer, text: str) -> None:
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute("SET GLOBAL init_connect = %s", (text,))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("user", USERS)
def test_every_session_begins_as_at_the_server(server: MySqlServer, user: str, text: str) -> None:
    _set(server, text)
    with connect(server.port, user=user) as direct, direct.cursor() as cursor:
        cursor.execute(SEEN)
        meant = cursor.fetchall()
    url = target(server).replace("app:", f"{user}:", 1)
    with ProxyProcess.for_target(url, "--max-backends", "1") as proxy:
        for what in ("SET @a = 1", "SET @z = 8", "SET time_zone = '+05:00'", "SET sql_mode = ''", "SELECT 1", "BEGIN"):
            for charset in ("utf8mb4", "latin1"):
                with connect(proxy.port, user=user, charset=charset) as client, client.cursor() as cursor:
                    cursor.execute(SEEN)
                    assert cursor.fetchall() == meant, what
                    cursor.execute(what)


@pytest.mark.parametrize("more", ["; INSERT INTO app.logins VALUES (1)", ", @y = app.notes_login()"])
def test_what_does_more_than_to_set_is_not_run_again(server: MySqlServer, more: str) -> None:
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute("SET GLOBAL log_bin_trust_function_creators = 1")
        cursor.execute("DROP FUNCTION IF EXISTS app.notes_login")
        cursor.execute(
            "CREATE FUNCTION app.notes_login() RETURNS INT BEGIN INSERT INTO app.logins VALUES (1); RETURN 1; END"
        )
        cursor.execute("GRANT EXECUTE ON app.* TO begun")
    _set(server, "SET @z = 7" + more)
    with ProxyProcess.for_target(target(server).replace("app:", "begun:", 1), "--max-backends", "1") as proxy:
        for number in range(5):
            with connect(proxy.port, user="begun") as client, client.cursor() as cursor:
                cursor.execute(f"SET @a = {number}")
        with server.admin() as admin, admin.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM app.logins")
            ((count,),) = cursor.fetchall()
            assert 0 < count <= 3, "by logins of the proxy's"


@pytest.mark.parametrize(
    ("grant", "exempt", "of_old"),
    [
        (b"GRANT USAGE ON *.* TO `a`@`%`", False, False),
        (b"GRANT SELECT, SUPER ON *.* TO `a`@`%`", False, True),
        (b"GRANT SELECT, CONNECTION ADMIN ON *.* TO `a`@`%`", True, True),
        (b"GRANT CONNECTION_ADMIN,ROLE_ADMIN ON *.* TO `a`@`%` WITH GRANT OPTION", True, True),
        (b"GRANT ALL PRIVILEGES ON *.* TO `a`@`%` WITH GRANT OPTION", True, True),
        (b"GRANT ALL PRIVILEGES ON `a`.* TO `a`@`%`", False, False),
    ],
)
def test_who_is_exempt(grant: bytes, exempt: bool, of_old: bool) -> None:
    assert bool(upkeep._EXEMPT(grant)) is exempt
    assert bool(upkeep._EXEMPT_OF_OLD(grant)) is of_old
