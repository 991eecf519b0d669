"""Every limit of a proxy, reached by a real client: its name, its words, and who is left alone."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.live.conftest import connect
from tests.servers.postgres import DATABASE, PASSWORD, USER, TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import SYNC, RawClient, bind, close, execute, fields, message, parse, query
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.live
Told = list[tuple[str, str, str]]


@contextmanager
def limited(server: TestServer, folder: Path, *settings: str) -> Iterator[ProxyProcess]:
    """A proxy with these settings."""
    file = folder / "rdsp.toml"
    lines = "\n".join(settings)
    file.write_text(f'[[proxies]]\nlisten = "127.0.0.1:0"\ntarget.url = "{server.target()}"\n{lines}\n')
    with ProxyProcess(str(file)) as proxy:
        yield proxy


def login(proxy: ProxyProcess) -> RawClient:
    return RawClient(proxy.port, {"user": USER, "database": DATABASE}, PASSWORD)


def told(messages: list[tuple[str, bytes]]) -> Told:
    """Severity, SQLSTATE and text of the errors."""
    found = [fields(body) for tag, body in messages if tag == "E"]
    return [(one["S"], one["C"], one["M"]) for one in found]


def refused(proxy: ProxyProcess) -> Told:
    """What a login is told."""
    try:
        login(proxy).close()
    except ConnectionRefusedError as error:
        words = error.args[0]
        return [(words["S"], words["C"], words["M"])]
    return []


def too_many_clients(proxy: ProxyProcess) -> Told:
    first, second = login(proxy), login(proxy)
    found = refused(proxy)
    assert first.value("SELECT 1") == second.value("SELECT 1") == b"1"
    first.close()
    eventually(lambda: not refused(proxy))
    second.close()
    return found


def too_fast(proxy: ProxyProcess) -> Told:
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: refused(proxy), range(24)))
    # The burst, and one for each second since.
    assert 3 <= results.count([]) <= 3 + time.monotonic() - began
    eventually(lambda: refused(proxy) == [])
    return next(result for result in results if result)


def slow_login(proxy: ProxyProcess) -> Told:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE) as sock:
        started = time.monotonic()
        data = b""
        while piece := sock.recv(1000):
            data += piece
        assert time.monotonic() - started > 0.9
    return told([(chr(data[0]), data[5:])])


def long_login(proxy: ProxyProcess) -> Told:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE) as sock:
        body = b"user\0app\0application_name\0" + b"x" * 2000 + b"\0\0"
        sock.sendall(struct.pack(">II", len(body) + 8, 3 << 16) + body)
        data = b""
        try:
            while piece := sock.recv(1000):
                data += piece
        except ConnectionResetError:
            pass
    return told([(chr(data[0]), data[5:])])


def waiting_too_long(proxy: ProxyProcess) -> Told:
    holder, waiter = login(proxy), login(proxy)
    holder.value("BEGIN; SELECT 1")
    started = time.monotonic()
    found = told(waiter.ask(query("SELECT 1")))
    assert time.monotonic() - started > 0.9
    holder.value("COMMIT; SELECT 1")
    assert waiter.value("SELECT 2") == b"2"
    holder.close()
    waiter.close()
    return found


def too_many_waiters(proxy: ProxyProcess) -> Told:
    holder, first, second = login(proxy), login(proxy), login(proxy)
    holder.value("BEGIN; SELECT 1")
    first.send(query("SELECT 1"))
    second.send(query("SELECT 2"))
    found = told(second.until_ready())  # at once, though the first one waits on
    holder.value("COMMIT; SELECT 1")
    assert [tag for tag, _ in first.until_ready()] == ["T", "D", "C", "Z"]
    assert second.value("SELECT 3") == b"3"
    for client in (holder, first, second):
        client.close()
    return found


def big_frame(proxy: ProxyProcess) -> Told:
    found = []
    for frame in (
        query("SELECT '" + "x" * 5000 + "'"),
        parse("", "SELECT '" + "x" * 5000 + "'") + SYNC,
        message("d", bytes(5000)),
        # So much that it is still being sent when it is refused.
        query("SELECT '" + "x" * 3_000_000 + "'"),
    ):
        client = login(proxy)
        assert client.value("SELECT 1") == b"1"
        found.append(told(client.ask(frame)))
        client.close()
    assert all(one == found[0] for one in found)
    client = login(proxy)
    assert client.value("SELECT '" + "x" * 4000 + "'") == b"x" * 4000
    client.close()
    return found[0]


def too_many_statements(proxy: ProxyProcess) -> Told:
    client = login(proxy)
    for number in range(3):
        assert not told(client.ask(parse(f"s{number}", f"SELECT {number}"), SYNC))
    found = told(client.ask(parse("s3", "SELECT 3"), SYNC))
    # A text that is wrong is told so first, as for a name that exists; and what is there goes on working.
    assert [one[1] for one in told(client.ask(parse("s3", "SELEC 3"), SYNC))] == ["42601"]
    assert [one[1] for one in told(client.ask(parse("s1", "SELECT 3"), SYNC))] == ["42P05"]
    assert [one[1] for one in told(client.ask(bind("", "s3"), execute(), SYNC))] == ["26000"]
    assert ("D", b"\0\1\0\0\0\1" + b"2") in client.ask(bind("", "s2"), execute(), SYNC)
    assert not told(client.ask(parse("", "SELECT 3"), bind(), execute(), SYNC))
    # One that is closed makes room, and all of it holds in the middle of a transaction and of a pipeline.
    assert not told(client.ask(query("BEGIN")))
    assert not told(client.ask(close("S", "s0"), parse("s3", "SELECT 3"), SYNC))
    assert told(client.ask(parse("s4", "SELECT 4"), bind("", "s4"), execute(), SYNC)) == found
    assert client.ask(query("ROLLBACK"))[-1] == ("Z", b"I")
    assert ("D", b"\0\1\0\0\0\1" + b"3") in client.ask(bind("", "s3"), execute(), SYNC)
    # The same for names that SQL makes.
    made = "PREPARE s5 AS SELECT 5"
    assert told(client.ask(query(made))) == found
    assert told(client.ask(parse("", made), bind(), execute(), SYNC)) == found
    assert told(client.ask(query("PREPARE s3 AS SELECT 5")))[0][1] == "42P05"
    assert not told(client.ask(query(f"DEALLOCATE s2; {made}")))
    assert client.value("EXECUTE s5") == b"5"
    assert told(client.ask(parse("s4", "SELECT 4"), SYNC)) == found
    # What the text does not tell in time is kept by the server, and the session with it.
    for text in ("DEALLOCATE s5", "BEGIN", made, "PREPARE s6 AS SELECT 6", "COMMIT"):
        assert not told(client.ask(query(text)))
    proxy.wait_for_log("was pinned")
    assert client.value("EXECUTE s6") == b"6"
    client.close()
    return found


def idle_session(proxy: ProxyProcess) -> Told:
    client = login(proxy)
    client.value("SELECT 1")
    found = told(client.until_ready())
    client.close()
    return found


def idle_in_transaction(proxy: ProxyProcess) -> Told:
    client, other = login(proxy), login(proxy)
    client.value("BEGIN; SELECT 1")
    found = told(client.until_ready())
    assert other.value("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'") == b"0"
    client.close()
    other.close()
    return found


LIMITS: list[tuple[Callable[[ProxyProcess], Told], tuple[str, ...], tuple[str, str, str]]] = [
    (
        too_many_clients,
        ("limits.max_client_connections = 2",),
        ("FATAL", "53300", "The maximum number of client connections to the proxy exceeded 2."),
    ),
    (
        too_fast,
        ("limits.max_connections_per_second = 1", "limits.connection_burst = 3"),
        ("FATAL", "53300", "Rate of connection to proxy exceeded 1."),
    ),
    (
        slow_login,
        ("limits.login_timeout = 1",),
        ("FATAL", "57P05", "terminating connection due to authentication timeout"),
    ),
    (
        long_login,
        ("limits.max_login_bytes = 1000",),
        ("FATAL", "54000", "A message of the client exceeds 1000 bytes."),
    ),
    (
        waiting_too_long,
        ("target_group.max_backends = 1", "target_group.connection_borrow_timeout = 1"),
        ("ERROR", "08000", "Timed-out waiting to acquire database connection."),
    ),
    (
        too_many_waiters,
        ("target_group.max_backends = 1", "target_group.max_waiters = 1"),
        ("ERROR", "53300", "Too many requests are waiting for a database connection."),
    ),
    (
        big_frame,
        ("limits.max_frame_bytes = 4500",),
        ("FATAL", "54000", "A message of the client exceeds 4500 bytes."),
    ),
    (
        too_many_statements,
        ("limits.max_session_statements = 3",),
        ("ERROR", "53400", "This session has 3 prepared statements, and the proxy keeps no more."),
    ),
    (
        idle_session,
        ("idle_client_timeout = 2",),
        ("FATAL", "57P05", "terminating connection due to idle-session timeout"),
    ),
    (
        idle_in_transaction,
        ("limits.idle_in_transaction_timeout = 1",),
        ("FATAL", "25P03", "terminating connection due to idle-in-transaction timeout"),
    ),
]


@pytest.mark.parametrize(("reach", "settings", "expected"), LIMITS, ids=[limit[0].__name__ for limit in LIMITS])
def test_a_limit_has_a_name_and_words(
    postgres15: TestServer,
    tmp_path: Path,
    reach: Callable[[ProxyProcess], Told],
    settings: tuple[str, ...],
    expected: tuple[str, str, str],
) -> None:
    with limited(postgres15, tmp_path, *settings) as proxy:
        assert reach(proxy) == [expected]


def test_cancel_requests_do_not_count_as_new_clients(postgres15: TestServer, tmp_path: Path) -> None:
    """A bucket that fills so slowly that only what was given back can let the second client in."""
    settings = ("limits.max_connections_per_second = 1", "limits.connection_burst = 1")
    with limited(postgres15, tmp_path, *settings) as proxy:
        client = login(proxy)
        time.sleep(1.1)
        started = time.monotonic()
        client.send(query("SELECT pg_sleep(20)"))
        client.cancel_until_answered()
        client.until_ready()
        if time.monotonic() - started < 0.8:
            assert refused(proxy) == []
        client.close()


@pytest.mark.parametrize(
    ("setting", "begin"), [("idle_in_transaction_session_timeout", "BEGIN"), ("idle_session_timeout", "SELECT 1")]
)
def test_idleness_ends_in_the_servers_own_words(
    postgres15: TestServer, tmp_path: Path, setting: str, begin: str
) -> None:
    """The same as from a server whose own setting is reached."""
    with psycopg.connect(
        host="127.0.0.1", port=postgres15.port, user=USER, password=PASSWORD, dbname=DATABASE, autocommit=True
    ) as direct:
        direct.execute(f"SET {setting} = '300ms'; {begin}")
        eventually(lambda: _readable(direct))
        with pytest.raises(psycopg.Error) as own:
            direct.execute("SELECT 1")
    ours = {
        "idle_in_transaction_session_timeout": "limits.idle_in_transaction_timeout = 2",
        "idle_session_timeout": "idle_client_timeout = 2",
    }
    with limited(postgres15, tmp_path, ours[setting]) as proxy, connect(proxy.port, sslmode="disable") as client:
        client.execute(begin)
        eventually(lambda: _readable(client))
        with pytest.raises(psycopg.Error) as proxied:
            client.execute("SELECT 1")
    assert type(own.value) is type(proxied.value)
    assert own.value.sqlstate == proxied.value.sqlstate
    assert str(own.value).splitlines()[0] == str(proxied.value).splitlines()[0]


def _readable(connection: psycopg.Connection) -> bool:
    with socket.socket(fileno=os.dup(connection.pgconn.socket)) as same:
        same.settimeout(PATIENCE)
        return len(same.recv(5, socket.MSG_PEEK)) == 5


def test_a_transaction_that_goes_on_is_not_idle(postgres15: TestServer, tmp_path: Path) -> None:
    """Nor is one whose query takes long, nor a session without one."""
    with limited(postgres15, tmp_path, "limits.idle_in_transaction_timeout = 2") as proxy:
        with connect(proxy.port) as client, connect(proxy.port) as quiet:
            client.execute("BEGIN")
            for _ in range(4):
                time.sleep(0.6)
                client.execute("SELECT 1")
            client.execute("SELECT pg_sleep(2.5)")
            client.execute("COMMIT")
            time.sleep(2.3)
            assert client.execute("SELECT 1").fetchone() == quiet.execute("SELECT 1").fetchone() == (1,)


def _resident(process: int) -> int:
    """Bytes of memory in use."""
    text = Path(f"/proc/{process}/status").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("VmRSS:"))) * 1024


@pytest.mark.parametrize("kind", ["one message", "many messages"])
def test_a_session_that_waits_holds_a_bounded_number_of_bytes(
    postgres15: TestServer, tmp_path: Path, kind: str
) -> None:
    """Its client is not read any more; nothing is lost, and everything runs when a backend is there."""
    if kind == "one message":
        data, ends = query("SELECT length('" + "x" * (48 << 20) + "')"), 1
    else:
        one = query("SELECT length('" + "x" * (1 << 20) + "')")
        data, ends = one * 48, 48
    settings = ("target_group.max_backends = 1", 'limits.max_held_bytes = "1MiB"')
    with limited(postgres15, tmp_path, *settings) as proxy:
        holder, waiter = login(proxy), login(proxy)
        holder.value("BEGIN; SELECT 1")
        before = _resident(proxy.pid)
        waiter.socket.setblocking(False)
        sent = 0
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            try:
                sent += waiter.socket.send(data[sent : sent + 65536])
            except BlockingIOError:
                time.sleep(0.01)
        assert sent < len(data) // 2
        assert _resident(proxy.pid) - before < 12 << 20
        holder.value("COMMIT; SELECT 1")
        waiter.socket.settimeout(PATIENCE)
        waiter.socket.sendall(data[sent:])
        answers = waiter.until_ready(ends)
        assert sum(tag == "D" for tag, _ in answers) == ends
        assert not told(answers)
        assert _resident(proxy.pid) - before < 24 << 20
        holder.close()
        waiter.close()
