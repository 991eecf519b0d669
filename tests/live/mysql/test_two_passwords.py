"""A user whose password is being changed: two are valid, for clients, and at the server now the one and now the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rdsp_codecs.errors import LoginRefused
from tests.live.mysql.sidebyside import target
from tests.servers.mysql import DATABASE, MySqlServer
from tests.servers.mysqlclient import MySqlClient
from tests.servers.proxy import ProxyProcess
from tests.waiting import eventually

ROTATING = "rotating"
OLD, NEW = "the old one", "thé new one"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    return folder


@pytest.fixture
def rotating(tracking: MySqlServer, secrets: Path, tmp_path: Path) -> Iterator[ProxyProcess]:
    """The server knows the old password, the proxy both, the new one first."""
    for text in (
        f"DROP USER IF EXISTS {ROTATING}",
        f"CREATE USER {ROTATING} IDENTIFIED BY '{OLD}'",
        f"GRANT ALL ON {DATABASE}.* TO {ROTATING}",
    ):
        _at(tracking, text)
    (secrets / "user.json").write_text(json.dumps({"username": ROTATING, "password": NEW}))
    file = tmp_path / "rdsp.toml"
    file.write_text(
        f'[[proxies]]\nlisten = "127.0.0.1:0"\ntarget.url = "{target(tracking)}"\ntarget_group.max_backends = 2\n'
        f'[[proxies.auth]]\nsecrets_folder = "{secrets}"\n'
        f'[[proxies.auth]]\nusername = "{ROTATING}"\npassword = "{OLD}"\n'
    )
    with ProxyProcess(str(file)) as proxy:
        yield proxy


def _at(server: MySqlServer, *texts: str) -> None:
    with server.admin() as admin, admin.cursor() as cursor:
        for text in texts:
            cursor.execute(text)


def _new_backends(server: MySqlServer) -> None:
    """Those that there are close, so that the proxy has to log in."""
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute(f"SELECT id FROM information_schema.processlist WHERE user = '{ROTATING}'")
        for (number,) in cursor.fetchall():
            cursor.execute(f"KILL {number}")

        def gone() -> bool:
            cursor.execute(f"SELECT COUNT(*) FROM information_schema.processlist WHERE user = '{ROTATING}'")
            return bool(cursor.fetchall()[0][0] == 0)

        eventually(gone)


def _works(proxy: ProxyProcess, password: str, tls: str = "disable") -> bool:
    try:
        with MySqlClient(proxy.port, ROTATING, password, tls=tls) as client:
            return client.rows("SELECT CURRENT_USER()") == [(f"{ROTATING}@%".encode(),)]
    except LoginRefused as error:
        assert error.code == "1045"
        return False


def test_neither_clients_nor_the_proxy_are_locked_out(
    tracking: MySqlServer, rotating: ProxyProcess, secrets: Path
) -> None:
    retain = " RETAIN CURRENT PASSWORD" if tracking.version.startswith("mysql") else ""
    for step in (
        None,  # the server knows the old one alone
        f"ALTER USER {ROTATING} IDENTIFIED BY '{NEW}'{retain}",
        f"ALTER USER {ROTATING} DISCARD OLD PASSWORD" if retain else None,
    ):
        if step is not None:
            _at(tracking, step)
        for _ in range(2):
            _new_backends(tracking)
            for tls in ("disable", "require"):
                assert _works(rotating, OLD, tls)
                assert _works(rotating, NEW, tls)
                assert not _works(rotating, "another", tls)
                assert not _works(rotating, "", tls)
    # What is taken away is not valid any more, although the server did not hear of it.
    (secrets / "user.json").unlink()
    eventually(lambda: not _works(rotating, NEW))
    assert _works(rotating, OLD)  # on the backends that there are


def test_a_change_of_user_has_both_too(tracking: MySqlServer, rotating: ProxyProcess) -> None:
    with MySqlClient(rotating.port) as client:
        for password in (OLD, NEW, OLD):
            client.change_user(ROTATING, password, DATABASE)
            assert client.rows("SELECT CURRENT_USER()") == [(f"{ROTATING}@%".encode(),)]
            client.change_user()


def test_where_the_server_takes_neither_its_words_are_told(tracking: MySqlServer, rotating: ProxyProcess) -> None:
    _at(tracking, f"ALTER USER {ROTATING} IDENTIFIED BY 'a third one'")
    with pytest.raises(LoginRefused, match=f"Access denied for user '{ROTATING}'@") as caught:
        MySqlClient(rotating.port, ROTATING, NEW)
    assert caught.value.code == "1045"
    _at(tracking, f"ALTER USER {ROTATING} IDENTIFIED BY '{NEW}'")
    eventually(lambda: _works(rotating, OLD))
