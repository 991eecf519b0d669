"""What can go wrong with a real server: it dies, is full, is slow, is not there; and the proxy's own signals."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.live.conftest import connect
from tests.servers.postgres import TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import FLUSH, SYNC, TERMINATE, RawClient, bind, copy_data, execute, fields, parse, query
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.live


def config(folder: Path, target: str, **group: object) -> str:
    """A configuration file with settings of the pool."""
    path = folder / "proxy.toml"
    settings = "\n".join(f"{name} = {value}" for name, value in group.items())
    path.write_text(
        f'[[proxies]]\nlisten = ["127.0.0.1:0"]\n[proxies.target]\nurl = "{target}"\n'
        f"[proxies.target_group]\n{settings}\n"
    )
    return str(path)


def test_a_full_pool_tells_who_waits_and_the_session_lives_on(
    postgres: TestServer, tmp_path: Path, raw: Callable[..., RawClient]
) -> None:
    path = config(tmp_path, postgres.target(), max_backends=1, connection_borrow_timeout=1)
    with ProxyProcess(path) as proxy, connect(proxy.port, autocommit=False) as holder:
        holder.execute("SELECT 1")
        client = raw(proxy.port)
        began = time.monotonic()
        answer = client.ask(query("SELECT 2"))
        waited = time.monotonic() - began

        assert [tag for tag, _ in answer] == ["E", "Z"]
        assert fields(answer[0][1])["C"] == "08000"
        assert fields(answer[0][1])["M"] == "Timed-out waiting to acquire database connection."
        assert waited > 0.9
        holder.rollback()
        assert client.value("SELECT 3") == b"3"


def test_a_backend_that_dies_is_its_borrowers_affair_alone(postgres: TestServer) -> None:
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "3") as proxy:
        victim, other = connect(proxy.port), connect(proxy.port)
        victim.autocommit = False
        row = victim.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        with postgres.admin() as admin:
            admin.execute("SELECT pg_terminate_backend(%s)", (row[0],))
        with pytest.raises(psycopg.OperationalError):
            for _ in range(50):
                victim.execute("SELECT 1")
                time.sleep(0.01)
        assert other.execute("SELECT 2").fetchone() == (2,)
        with connect(proxy.port) as again:
            assert again.execute("SELECT 3").fetchone() == (3,)
        other.close()
        victim.close()


def test_idle_backends_that_are_terminated_are_replaced_unseen(postgres: TestServer) -> None:
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "2") as proxy, connect(proxy.port) as client:
        for _ in range(5):
            row = client.execute("SELECT pg_backend_pid()").fetchone()
            assert row is not None
            with postgres.admin() as admin:
                admin.execute("SELECT pg_terminate_backend(%s)", (row[0],))
            eventually(lambda pid=row[0]: not _alive(postgres, pid))  # type: ignore[misc]
            assert client.execute("SELECT 1").fetchone() == (1,)


def _alive(server: TestServer, pid: int) -> bool:
    with server.admin() as admin:
        row = admin.execute("SELECT count(*) FROM pg_stat_activity WHERE pid = %s", (pid,)).fetchone()
    return bool(row and row[0])


def test_the_database_is_killed_and_started_again_under_load(fresh_postgres: TestServer) -> None:
    stop = threading.Event()
    answered, wrong = [0], []

    def work(port: int, number: int) -> None:
        client: psycopg.Connection[Any] | None = None
        n = 0
        while not stop.is_set():
            n += 1
            try:
                client = client or connect(port, connect_timeout=30)
                row = client.execute("SELECT %s::int, %s::int", (number, n)).fetchone()
                if row != (number, n):
                    wrong.append((row, number, n))
                answered[0] += 1
            except psycopg.Error:
                client = None
        if client is not None:
            client.close()

    with ProxyProcess.for_target(fresh_postgres.target(), "--max-backends", "4") as proxy:
        threads = [threading.Thread(target=work, args=(proxy.port, number)) for number in range(12)]
        for thread in threads:
            thread.start()
        for _ in range(2):
            eventually(lambda: answered[0] > 50)
            fresh_postgres.kill()
            fresh_postgres.start()
            before = answered[0]
            eventually(lambda before=before: answered[0] > before + 200)  # type: ignore[misc]
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)

        assert not wrong
        with connect(proxy.port) as client:
            assert client.execute("SELECT 1").fetchone() == (1,)


def test_a_database_that_comes_up_within_the_borrow_timeout_is_waited_for(
    fresh_postgres: TestServer, tmp_path: Path
) -> None:
    fresh_postgres.stop()
    with ProxyProcess(config(tmp_path, fresh_postgres.target(), connection_borrow_timeout=30)) as proxy:
        starter = threading.Timer(1.0, fresh_postgres.start)
        starter.start()
        with connect(proxy.port, connect_timeout=30) as client:
            assert client.execute("SELECT 1").fetchone() == (1,)
        starter.join()


def test_a_database_that_is_down_is_told_after_the_borrow_timeout(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        target = f"postgresql://app:x@127.0.0.1:{nobody.getsockname()[1]}/app"
        with ProxyProcess(config(tmp_path, target, connection_borrow_timeout=1)) as proxy:
            with pytest.raises(psycopg.OperationalError, match="Timed-out waiting to acquire database connection"):
                connect(proxy.port, password="x")


def test_a_server_that_is_full_is_absorbed(postgres: TestServer) -> None:
    """Others take the server's connections; the proxy makes do with what it gets."""
    crowd = []
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "30") as proxy:
        with connect(proxy.port) as client:
            client.execute("SELECT 1")
        try:
            while True:
                crowd.append(postgres.admin() if len(crowd) > 200 else connect(postgres.port))
        except psycopg.OperationalError:
            pass
        crowd.pop().close()
        crowd.pop().close()
        try:
            answers: list[Any] = []

            def work(number: int) -> None:
                with connect(proxy.port) as client:
                    answers.append(client.execute("SELECT pg_sleep(0.01), %s::int", (number,)).fetchone())

            threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
            assert sorted(row[1] for row in answers) == list(range(20))
        finally:
            for connection in crowd:
                connection.close()


def test_users_and_databases_share_one_quota(postgres: TestServer) -> None:
    """One backend for two databases in turn: the idle one of the other gives way."""
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "1") as proxy:
        with connect(proxy.port) as one, connect(proxy.port, dbname="other") as two:
            for _ in range(5):
                assert one.execute("SELECT current_database()").fetchone() == ("app",)
                assert two.execute("SELECT current_database()").fetchone() == ("other",)


def test_clients_are_told_what_init_query_has_set(
    postgres: TestServer, tmp_path: Path, raw: Callable[..., RawClient]
) -> None:
    text = "SET TimeZone = 'Asia/Tokyo'; SET standard_conforming_strings = off; SET client_encoding = 'LATIN1'"
    with ProxyProcess(config(tmp_path, postgres.target(), max_backends=1, init_query=f'"{text}"')) as proxy:
        client = raw(proxy.port)

        told = [client.parameters[name] for name in ("TimeZone", "standard_conforming_strings", "client_encoding")]
        assert told == ["Asia/Tokyo", "off", "LATIN1"]
        assert client.value("SELECT '\\'', pg_advisory_lock(1) --'") == b"'"
        proxy.wait_for_log("was pinned")


def test_a_path_of_init_query_that_begins_with_pg_temp_pins(
    postgres: TestServer, tmp_path: Path, raw: Callable[..., RawClient]
) -> None:
    with ProxyProcess(config(tmp_path, postgres.target(), init_query='"SET search_path = pg_temp"')) as proxy:
        one, two = raw(proxy.port), raw(proxy.port)
        one.ask(query("CREATE TABLE only_one (a int)"))

        assert two.value("SELECT to_regclass('only_one') IS NULL") == b"t"
        assert one.value("SELECT count(*) FROM only_one") == b"0"


def test_init_query_runs_once_per_backend(postgres: TestServer, tmp_path: Path) -> None:
    path = config(tmp_path, postgres.target(), init_query="\"SET work_mem = '4321kB'; SET app.x = 'init'\"")
    with ProxyProcess(path) as proxy, connect(proxy.port) as client:
        assert client.execute("SHOW work_mem").fetchone() == ("4321kB",)
        assert client.execute("SHOW app.x").fetchone() == ("init",)
        assert "was pinned" not in proxy.log()


def test_a_pin_is_logged_with_its_reason_and_without_literals(postgres: TestServer) -> None:
    with ProxyProcess.for_target(postgres.target()) as proxy, connect(proxy.port) as client:
        client.execute("SELECT setseed(0.5), 'a secret name'")
        proxy.wait_for_log("select setseed($1), $2")
        log = proxy.log()

    assert "was pinned" in log
    assert "SQL set the seed of the random number generator." in log
    assert "a secret name" not in log


def test_sigterm_lets_a_transaction_finish_and_sends_idle_clients_away(postgres: TestServer) -> None:
    with ProxyProcess.for_target(postgres.target()) as proxy:
        idle = RawClient(proxy.port, {"user": "app", "database": "app"}, _password())
        busy = connect(proxy.port, autocommit=False)
        busy.execute("SELECT 1")
        proxy.tell(signal.SIGTERM)
        tag, body = idle.receive()
        assert (tag, fields(body)["C"]) == ("E", "57P01")
        assert idle.receive()[0] == ""
        assert busy.execute("SELECT 2").fetchone() == (2,)
        with pytest.raises(psycopg.OperationalError):
            connect(proxy.port, connect_timeout=3)
        busy.commit()
        assert proxy.process.wait(PATIENCE) == 0
        busy.close()
        idle.close()


def _password() -> str:
    from tests.servers.postgres import PASSWORD

    return PASSWORD


def test_sighup_takes_over_what_it_can_and_says_what_it_cannot(postgres: TestServer, tmp_path: Path) -> None:
    path = config(tmp_path, postgres.target(), max_backends=1, connection_borrow_timeout=60)
    with ProxyProcess(path) as proxy, connect(proxy.port) as client:
        assert client.execute("SELECT 1").fetchone() == (1,)
        config(tmp_path, postgres.target(), max_backends=1, backend_idle_timeout=77)
        proxy.tell(signal.SIGHUP)
        proxy.wait_for_log("backend_idle_timeout")
        assert client.execute("SELECT 2").fetchone() == (2,)
        Path(path).write_text("nonsense = [")
        proxy.tell(signal.SIGHUP)
        proxy.wait_for_log("the old one stays")
        assert client.execute("SELECT 3").fetchone() == (3,)


def test_a_slow_client_that_sends_half_a_message_holds_no_backend(
    postgres: TestServer, raw: Callable[..., RawClient]
) -> None:
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "1") as proxy:
        slow, other = raw(proxy.port), raw(proxy.port)
        whole = query("SELECT 'slow'")
        slow.send(whole[:9])
        assert other.value("SELECT 1") == b"1"
        slow.send(whole[9:])
        assert [tag for tag, _ in slow.until_ready()] == ["T", "D", "C", "Z"]


def test_garbage_ends_its_own_session_only(postgres: TestServer, raw: Callable[..., RawClient]) -> None:
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "1") as proxy:
        bad, other = raw(proxy.port), raw(proxy.port)
        bad.send(b"\xff\x00\x00\x00\x04")
        tag, body = bad.receive()
        assert (tag, fields(body)["C"]) == ("E", "08P01")
        bad = raw(proxy.port)
        bad.send(b"Q\x00\x00\x00\x01")
        assert bad.receive()[0] == "E"
        assert other.value("SELECT 1") == b"1"


def test_a_client_that_does_not_read_stalls_only_itself(postgres: TestServer, raw: Callable[..., RawClient]) -> None:
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "2") as proxy:
        lazy, other = raw(proxy.port), raw(proxy.port)
        lazy.send(query("SELECT repeat('x', 1000000) FROM generate_series(1, 200)"))
        before = _memory(proxy.pid)
        for number in range(200):
            assert other.value(f"SELECT {number}") == str(number).encode()
        assert _memory(proxy.pid) - before < 30_000_000
        assert sum(len(body) for tag, body in lazy.until_ready() if tag == "D") > 200_000_000


def _memory(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def test_a_statement_in_front_of_a_good_bye_is_done(postgres: TestServer, raw: Callable[..., RawClient]) -> None:
    """Query and Terminate in one write, then close: a server runs the query first, so it runs here too."""
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "1") as proxy:
        reader = raw(proxy.port)
        reader.value("DROP TABLE IF EXISTS parting; CREATE TABLE parting (a int); SELECT 1")
        for _ in range(10):
            leaver = raw(proxy.port)
            leaver.send(query("INSERT INTO parting SELECT 1 FROM pg_sleep(0.05)"), TERMINATE)
            leaver.close()
        eventually(lambda: reader.value("SELECT count(*) FROM parting") == b"10")


def test_half_a_pipeline_and_a_good_bye_give_the_backend_back(
    postgres15: TestServer, raw: Callable[..., RawClient]
) -> None:
    """pg_poolers.md 2.2, row 78: without its Sync the request is never answered, and the server rolls it back."""
    with ProxyProcess.for_target(postgres15.target(), "--max-backends", "1") as proxy:
        leaver, other = raw(proxy.port), raw(proxy.port)
        leaver.send(parse("", "SELECT 1"), bind(), execute(), TERMINATE)
        leaver.close()
        other.send(query("SELECT 2"))
        assert [tag for tag, _ in other.until_ready()] == ["T", "D", "C", "Z"]


def test_what_was_never_synced_is_rolled_back(postgres15: TestServer, raw: Callable[..., RawClient]) -> None:
    """Answered by Flush, but its implicit transaction still open: the next client must not commit it."""
    with ProxyProcess.for_target(postgres15.target(), "--max-backends", "1") as proxy:
        other = raw(proxy.port)
        other.value("DROP TABLE IF EXISTS unsynced; CREATE TABLE unsynced (a int); SELECT 1")
        for ending in ((), (TERMINATE,)):
            leaver = raw(proxy.port)
            leaver.send(parse("", "INSERT INTO unsynced VALUES (1)"), bind(), execute(), FLUSH)
            assert [leaver.receive()[0] for _ in range(3)] == ["1", "2", "C"]
            leaver.send(*ending)
            leaver.close()
            assert other.value("SELECT 1") == b"1"
            assert other.value("SELECT count(*) FROM unsynced") == b"0"


def test_a_good_bye_in_the_middle_of_a_copy_rolls_it_back(
    postgres15: TestServer, raw: Callable[..., RawClient]
) -> None:
    with ProxyProcess.for_target(postgres15.target(), "--max-backends", "1") as proxy:
        other = raw(proxy.port)
        other.value("DROP TABLE IF EXISTS halved; CREATE TABLE halved (a int); SELECT 1")
        for begin in (
            (query("COPY halved FROM STDIN"),),
            (parse("", "COPY halved FROM STDIN"), bind(), execute()),
            (parse("", "COPY halved FROM STDIN"), bind(), execute(), SYNC),
        ):
            leaver = raw(proxy.port)
            leaver.send(*begin, copy_data(b"1\n"), TERMINATE)
            leaver.close()
            assert other.value("SELECT count(*) FROM halved") == b"0"


def test_nothing_behind_a_good_bye_is_done(postgres15: TestServer, raw: Callable[..., RawClient]) -> None:
    with ProxyProcess.for_target(postgres15.target(), "--max-backends", "1") as proxy:
        other = raw(proxy.port)
        other.value("DROP TABLE IF EXISTS late; CREATE TABLE late (a int); SELECT 1")
        leaver = raw(proxy.port)
        leaver.send(query("INSERT INTO late VALUES (1)"), TERMINATE, query("INSERT INTO late VALUES (2)"))
        assert [tag for tag, _ in leaver.until_ready()] == ["C", "Z"]
        assert leaver.receive()[0] == ""
        assert other.value("SELECT string_agg(a::text, ',') FROM late") == b"1"
