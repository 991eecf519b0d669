"""What has hurt other poolers, tried here: security bugs of section 2.3 of the study, and secrets that change (99, 100).

Those that are about bytes of a login are in `tests/codecs/postgres/test_logins.py` and its neighbours, by the same names.
Bugs in what is not there (an administration console, auth_query, client certificates, a query cache) have no test.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.live.conftest import connect
from tests.live.hostile import Scene, knock, sasl, startup, until_closed
from tests.servers.postgres import DATABASE, USER, TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import RawClient
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.live


# -- by their names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["nobody", USER])
@pytest.mark.parametrize("where", [0, 1])
def test_a_second_start_up_message_lets_nobody_in(scene: Scene, user: str, where: int) -> None:
    """CVE-2026-107350: in the middle of SCRAM, for a database that does not exist, as another user."""
    begin = [startup(f"user\0{user}\0database\0nowhere\0".encode()), sasl()][: where + 1]
    again = startup(f"user\0{USER}\0database\0{DATABASE}\0".encode())
    for port in (scene.server.port, scene.port):
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
            for part in begin:
                sock.sendall(part)
                assert sock.recv(1000)[:1] == b"R"
            sock.sendall(again)
            answer = until_closed(sock)
        assert b"C08P01\0" in answer
        assert b"R\0\0\0\x08\0\0\0\0" not in answer, "AuthenticationOk"


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFFFB, 0x80000004])
@pytest.mark.parametrize("tag", [b"", b"p", b"Q", b"X"])
def test_lengths_over_two_billion_end_their_connection_and_cost_nothing(scene: Scene, tag: bytes, size: int) -> None:
    """CVE-2026-107348: such lengths went through signed arithmetic and looped."""
    began = scene.processor_time()
    if tag in (b"", b"p"):
        knock(scene.port, (startup() if tag else b"") + tag + struct.pack(">II", size, 3 << 16))
    else:
        client = scene.login()
        client.send(tag + struct.pack(">I", size))
        client.socket.settimeout(PATIENCE)
        until_closed(client.socket)
    assert scene.processor_time() - began < 1
    assert scene.grew() < 20


def test_a_message_that_is_announced_and_dripped_grows_nothing(scene: Scene) -> None:
    """CVE-2026-6668: a buffer grew in a loop. A password of 65 KB may be announced; it is kept as it comes, and no more."""
    socks = []
    for _ in range(30):
        sock = socket.create_connection(("127.0.0.1", scene.port), timeout=PATIENCE)
        sock.sendall(startup())
        assert sock.recv(1000)[:1] == b"R"
        sock.sendall(b"p" + struct.pack(">I", 1024) + b"SCRAM")
        socks.append(sock)
    began = scene.processor_time()
    for _ in range(20):
        for sock in socks:
            sock.sendall(b"x")
    assert scene.innocent.value("SELECT 1") == b"1"
    assert scene.processor_time() - began < 2
    assert scene.grew() < 20
    for sock in socks:
        sock.close()


def test_a_search_path_of_a_clients_does_not_reach_the_proxys_own_questions(
    postgres15: TestServer, tmp_path: Path
) -> None:
    """CVE-2025-12819: the client's start-up parameters hold on the connection that the proxy itself asks."""
    with postgres15.admin(DATABASE) as admin:
        admin.execute(f"DROP SCHEMA IF EXISTS evil CASCADE; CREATE SCHEMA evil AUTHORIZATION {USER}")
        admin.execute(f"SET ROLE {USER}")
        for name in ("minus", "equal"):
            result = "int AS 'SELECT 1'" if name == "minus" else "bool AS 'SELECT false'"
            admin.execute(f"CREATE FUNCTION evil.{name}(int, int) RETURNS {result} LANGUAGE sql")
        admin.execute("CREATE OPERATOR evil.- (FUNCTION = evil.minus, LEFTARG = int, RIGHTARG = int)")
        admin.execute("CREATE OPERATOR evil.= (FUNCTION = evil.equal, LEFTARG = int, RIGHTARG = int)")
        admin.execute("CREATE FUNCTION evil.current_setting(text) RETURNS text LANGUAGE sql AS $$ SELECT '1' $$")
    try:
        path = tmp_path / "proxy.toml"
        path.write_text(
            f'[[proxies]]\nlisten = "127.0.0.1:0"\ntarget.url = "{postgres15.target()}"\n'
            "target_group.connection_borrow_timeout = 30\n"
        )
        with ProxyProcess(str(path)) as proxy, contextlib.ExitStack() as stack:
            evil = stack.enter_context(connect(proxy.port, options="-c search_path=evil,pg_catalog"))
            assert evil.execute("SELECT 7 - 3, current_setting('port')").fetchone() == (1, "1"), "it works on itself"
            others = [stack.enter_context(connect(proxy.port, autocommit=False)) for _ in range(4)]
            assert len({other.execute("SELECT pg_backend_pid()").fetchone() for other in others}) == 4
    finally:
        with postgres15.admin(DATABASE) as admin:
            admin.execute("DROP SCHEMA evil CASCADE")


class Liar:
    """A server that says these words to whoever logs in, the answer to SSLRequest aside."""

    def __init__(self, words: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._words = words
        self.guests = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.guests += 1
                with sock, contextlib.suppress(OSError):
                    sock.settimeout(PATIENCE)
                    if sock.recv(8)[4:] == struct.pack(">I", 80877103):
                        sock.sendall(b"N")
                    sock.recv(1000)
                    self._words(sock)
                    until_closed(sock)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(PATIENCE)


def _asks_for(iterations: bytes, nonce: bytes = b"") -> Callable[[socket.socket], None]:
    def words(sock: socket.socket) -> None:
        sock.sendall(b"R" + struct.pack(">II", 23, 10) + b"SCRAM-SHA-256\0\0")
        theirs = sock.recv(1000).rsplit(b"r=", 1)[1]
        challenge = b"r=" + theirs + b"server" + nonce + b",s=c2FsdA==,i=" + iterations
        sock.sendall(b"R" + struct.pack(">II", len(challenge) + 8, 11) + challenge)

    return words


def _says(words: bytes) -> Callable[[socket.socket], None]:
    return lambda sock: sock.sendall(words)


LIES = {
    "CVE-2026-6669, iterations without an end": _asks_for(b"2000000000"),
    "CVE-2026-6669, iterations in many digits": _asks_for(b"9" * 1000),
    "CVE-2026-6664, a nonce of 60 KB": _asks_for(b"4096", b"x" * 60_000),
    "CVE-2026-6665, an error without a code": _says(b"E" + struct.pack(">I", 5) + b"\0"),
    "an error without its end": _says(b"E" + struct.pack(">I", 9) + b"Mabcd"),
    "a huge length": _says(b"R\x7f\xff\xff\xff\0\0\0\0"),
    "a length of 2^31": _says(b"R\x80\0\0\0\0\0\0\0"),
    "a length of nothing": _says(b"R\0\0\0\0"),
    "a report before the login": _says(b"S" + struct.pack(">I", 8) + b"a\0b\0"),
    "an unknown method": _says(b"R" + struct.pack(">II", 8, 99)),
    "an old error": _says(b"Ethis is no message\0"),
    "HTTP": _says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_server_that_lies_costs_nothing_and_takes_nobody_with_it(tmp_path: Path, name: str) -> None:
    server = Liar(LIES[name])
    path = tmp_path / "proxy.toml"
    path.write_text(
        f'[[proxies]]\nlisten = "127.0.0.1:0"\ntarget.url = "postgresql://u:p@127.0.0.1:{server.port}/d?connect_timeout=3"\n'
        "target_group.connection_borrow_timeout = 2\n"
    )
    try:
        with ProxyProcess(str(path)) as proxy:
            with pytest.raises(psycopg.OperationalError) as told:
                connect(proxy.port, user="u", password="p", dbname="d")
            assert "Timed-out" in str(told.value) or "could not log in" in str(told.value), told.value
            fields = Path(f"/proc/{proxy.pid}/stat").read_text().rsplit(")", 1)[1].split()
            assert (int(fields[11]) + int(fields[12])) / 100 < 5, "seconds of processor time, start included"
            assert proxy.process.poll() is None
    finally:
        server.close()


# -- secrets and roles that change (rows 99 and 100) ------------------------------------------------------------------------

PASSWORDS = {
    "long": "x" * 900,
    "beyond ASCII": "pässwörd Ⅷ",
    "mapped to nothing": "so\u00adft",
    "mapped to a space": "a\u00a0b",
    "prohibited, so taken as it is": "tab\tand\u0627\u0031",
    "with quotes": "'\"\\%${x}",
}


@pytest.fixture
def role(postgres18: TestServer) -> Iterator[Callable[..., str]]:
    """Makes roles that are gone afterwards."""
    names: list[str] = []

    def make(password: str, *settings: str, more: str = "") -> str:
        names.append(f"role{len(names)}")
        with postgres18.admin() as admin:
            for setting in settings:
                admin.execute(f"SET {setting}")
            quoted = password.replace("'", "''")
            admin.execute(f"DROP ROLE IF EXISTS {names[-1]}")
            admin.execute(f"CREATE ROLE {names[-1]} LOGIN PASSWORD '{quoted}' {more}")
        return names[-1]

    yield make
    with postgres18.admin() as admin:
        for name in names:
            admin.execute(f"DROP ROLE IF EXISTS {name}, {name}_renamed")


def secrets(folder: Path, **users: str) -> Path:
    for user, password in users.items():
        new = folder / f"{user}.new"
        new.write_text(json.dumps({"username": user, "password": password}))
        new.rename(folder / f"{user}.json")
    return folder


@contextlib.contextmanager
def with_secrets(
    server: TestServer, folder: Path, seconds: float = 30, **users: str
) -> Iterator[tuple[ProxyProcess, Path]]:
    kept = folder / "secrets"
    kept.mkdir()
    secrets(kept, **users)
    path = folder / "proxy.toml"
    path.write_text(
        f'[[proxies]]\nlisten = "127.0.0.1:0"\ntarget.host = "127.0.0.1"\ntarget.port = {server.port}\n'
        f"target_group.max_backends = 4\ntarget_group.connection_borrow_timeout = {seconds}\n[[proxies.auth]]\nsecrets_folder = '{kept}'\n"
    )
    with ProxyProcess(str(path)) as proxy:
        yield proxy, kept


@pytest.mark.parametrize("name", PASSWORDS)
def test_passwords_of_every_kind_work_as_they_do_directly(
    postgres18: TestServer, role: Callable[..., str], tmp_path: Path, name: str
) -> None:
    password = PASSWORDS[name]
    user = role(password)
    with with_secrets(postgres18, tmp_path, **{user: password}) as (proxy, _):
        for port in (postgres18.port, proxy.port):
            with connect(port, user=user, password=password) as client:
                assert client.execute("SELECT current_user").fetchone() == (user,)


@pytest.mark.parametrize(("iterations", "works"), [(1, True), (100_000, True), (250_000, False)])
def test_the_servers_iterations_may_be_others_within_reason(
    postgres18: TestServer, role: Callable[..., str], tmp_path: Path, iterations: int, works: bool
) -> None:
    user = role("secret", f"scram_iterations = {iterations}")
    with with_secrets(postgres18, tmp_path, **{user: "secret"}) as (proxy, _):
        if works:
            with connect(proxy.port, user=user, password="secret", dbname=DATABASE) as client:
                assert client.execute("SELECT 1").fetchone() == (1,)
        else:
            with pytest.raises(psycopg.OperationalError, match="250000 SCRAM iterations"):
                connect(proxy.port, user=user, password="secret", dbname=DATABASE)


def _refusal(port: int, user: str, password: str) -> dict[str, str]:
    with pytest.raises(ConnectionRefusedError) as refused:
        RawClient(port, {"user": user, "database": DATABASE}, password).close()
    return {name: text for name, text in refused.value.args[0].items() if name != "L"}


CHANGES = {
    "CVE-2025-2291, a password that is not valid any more": "ALTER ROLE {} VALID UNTIL '2020-01-01'",
    "a role that may not log in": "ALTER ROLE {} NOLOGIN",
    "a role that was renamed": "ALTER ROLE {0} RENAME TO {0}_renamed",
    "another password": "ALTER ROLE {} PASSWORD 'another'",
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_the_server_says_of_a_role_is_what_the_client_is_told(
    postgres18: TestServer, role: Callable[..., str], tmp_path: Path, name: str
) -> None:
    user = role("secret")
    with with_secrets(postgres18, tmp_path, **{user: "secret"}) as (proxy, _):
        with postgres18.admin() as admin:
            admin.execute(CHANGES[name].format(user))
        direct = _refusal(postgres18.port, user, "secret")
        assert _refusal(proxy.port, user, "secret") == direct


def test_a_password_that_is_changed_on_the_server_first_is_asked_for_and_not_hammered(
    postgres18: TestServer, role: Callable[..., str], tmp_path: Path
) -> None:
    user = role("first")

    def attempts() -> int:
        return postgres18.log().count(f'password authentication failed for user "{user}"')

    with with_secrets(postgres18, tmp_path, 3, **{user: "first"}) as (proxy, folder):
        with connect(proxy.port, user=user, password="first", autocommit=False) as old:
            old.execute("SELECT 1")
            with postgres18.admin() as admin:
                admin.execute(f"ALTER ROLE {user} PASSWORD 'second'")
            old.execute("SELECT 2")  # who is in goes on
            with connect(proxy.port, user=user, password="first") as new, pytest.raises(psycopg.Error):
                new.execute("SELECT 3")  # another database connection, which needs the password
            time.sleep(1.5)  # whatever would be tried again by itself has been tried by now
            assert 1 <= attempts() <= 12
            secrets(folder, **{user: "second"})

            def is_in() -> bool:
                try:
                    with connect(proxy.port, user=user, password="second") as client:
                        return client.execute("SELECT 4").fetchone() == (4,)
                except psycopg.Error:
                    return False

            eventually(is_in)
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                connect(proxy.port, user=user, password="first")
            old.rollback()
            assert old.execute("SELECT 5").fetchone() == (5,)
