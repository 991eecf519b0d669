"""A role whose password is being changed: two are valid for clients, and the server knows the one or the other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.live.conftest import connect
from tests.servers.postgres import DATABASE, TestServer
from tests.servers.proxy import ProxyProcess
from tests.waiting import eventually

pytestmark = pytest.mark.live

ROTATING = "rotating"
OLD, NEW = "the old one", "thé new one"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "user.json").write_text(json.dumps({"username": ROTATING, "password": NEW}))
    return folder


@pytest.fixture(params=["scram-sha-256", "md5"])
def rotating(
    postgres15: TestServer, secrets: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[ProxyProcess]:
    """The server knows the old password, the proxy both, the new one first. Clients prove theirs in either way."""
    _at(postgres15, f"DROP ROLE IF EXISTS {ROTATING}")
    _at(postgres15, f"CREATE ROLE {ROTATING} LOGIN PASSWORD '{OLD}'")
    file = tmp_path / "rdsp.toml"
    file.write_text(
        f'[[proxies]]\nlisten = "127.0.0.1:0"\ntarget.url = "{postgres15.target()}"\ntarget_group.max_backends = 2\n'
        f'auth_methods = ["{request.param}"]\n'
        f'[[proxies.auth]]\nsecrets_folder = "{secrets}"\n'
        f'[[proxies.auth]]\nusername = "{ROTATING}"\npassword = "{OLD}"\n'
    )
    with ProxyProcess(str(file)) as proxy:
        yield proxy


def _at(server: TestServer, text: str) -> None:
    with server.admin() as admin:
        admin.execute(text)


def _new_backends(server: TestServer) -> None:
    """Those that there are close, so that the proxy has to log in."""
    with server.admin() as admin:
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (ROTATING,))

        def gone() -> bool:
            found = admin.execute("SELECT COUNT(*) FROM pg_stat_activity WHERE usename = %s", (ROTATING,)).fetchone()
            return found == (0,)

        eventually(gone)


def _works(proxy: ProxyProcess, password: str) -> bool:
    try:
        with connect(proxy.port, user=ROTATING, password=password, dbname=DATABASE) as client:
            return client.execute("SELECT current_user").fetchone() == (ROTATING,)
    except psycopg.OperationalError as error:
        assert f'password authentication failed for user "{ROTATING}"' in str(error)
        return False


def test_neither_clients_nor_the_proxy_are_locked_out(
    postgres15: TestServer, rotating: ProxyProcess, secrets: Path
) -> None:
    for step in (None, f"ALTER ROLE {ROTATING} PASSWORD '{NEW}'", f"ALTER ROLE {ROTATING} PASSWORD '{OLD}'"):
        if step is not None:
            _at(postgres15, step)
        for _ in range(2):
            _new_backends(postgres15)
            assert _works(rotating, OLD)
            assert _works(rotating, NEW)
            assert not _works(rotating, "another")
    # What is taken away is not valid any more, although the server did not hear of it.
    (secrets / "user.json").unlink()
    eventually(lambda: not _works(rotating, NEW))
    assert _works(rotating, OLD)


def test_where_the_server_takes_neither_its_words_are_told(postgres15: TestServer, rotating: ProxyProcess) -> None:
    _at(postgres15, f"ALTER ROLE {ROTATING} PASSWORD 'a third one'")
    for password in (OLD, NEW):
        assert not _works(rotating, password)
    _at(postgres15, f"ALTER ROLE {ROTATING} PASSWORD '{NEW}'")
    eventually(lambda: _works(rotating, OLD))
