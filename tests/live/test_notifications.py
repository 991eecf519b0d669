"""LISTEN through the proxy: sessions that listen share backends, and hear what they would hear directly."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import attrs
import psycopg
import pytest
from psycopg import sql

from tests.live.conftest import connect
from tests.live.test_faults import config
from tests.servers.postgres import DATABASE, PASSWORD, USER, TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import SYNC, TERMINATE, RawClient, bind, execute, fields, parse, query
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.live
Raw = Callable[..., RawClient]


@attrs.frozen
class Site:
    server: TestServer
    proxy: ProxyProcess

    def backends(self) -> list[tuple[int, str]]:
        """Process ids and names of the proxy's backends."""
        with self.server.admin() as admin:
            return admin.execute(
                "SELECT pid, application_name FROM pg_stat_activity WHERE usename = %s ORDER BY pid", (USER,)
            ).fetchall()

    def listeners(self) -> list[int]:
        return [pid for pid, name in self.backends() if name == "rdsp listener"]


@pytest.fixture(scope="module")
def site(postgres: TestServer) -> Iterator[Site]:
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "3") as proxy:
        yield Site(postgres, proxy)


@pytest.fixture
def listener(site: Site, opened: Any) -> Callable[..., Any]:
    """Makes listening clients whose backends have been given back."""

    def make(*channels: str, **how: Any) -> Any:
        client = opened(site.proxy.port, **how)
        for channel in channels:
            client.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        return client

    return make


def heard(client: psycopg.Connection[Any], count: int, seconds: float = PATIENCE) -> list[tuple[str, str]]:
    """The next notifications, without a word of the client's."""
    return [(one.channel, one.payload) for one in client.notifies(timeout=seconds, stop_after=count)]


def nothing_more(client: psycopg.Connection[Any]) -> None:
    assert heard(client, 1, 0.3) == []


def notify(connection: psycopg.Connection[Any], channel: str, payload: str) -> None:
    connection.execute("SELECT pg_notify(%s, %s)", (channel, payload))


def test_more_sessions_listen_than_there_are_backends_and_all_hear_while_idle(
    site: Site, listener: Any, opened: Any
) -> None:
    clients = [listener("news", f"own {number}") for number in range(12)]
    speaker = opened(site.proxy.port)
    notify(speaker, "news", "to all")
    for number, client in enumerate(clients):
        assert heard(client, 1) == [("news", "to all")]
        notify(speaker, f"own {number}", str(number))
        assert heard(client, 1) == [(f"own {number}", str(number))]
    assert len(site.listeners()) == 1
    for client in clients:
        nothing_more(client)


@pytest.mark.parametrize("name", ['Ch"an', "a b", "ünï", "'; DROP TABLE x; --", "x" * 63, "select"])
def test_names_are_what_they_are(site: Site, listener: Any, opened: Any, name: str) -> None:
    client = listener(name)
    speaker = opened(site.proxy.port)
    notify(speaker, name, 'it\'s "quoted"\\')
    assert heard(client, 1) == [(name, 'it\'s "quoted"\\')]
    assert client.execute("SELECT * FROM pg_listening_channels()").fetchall() == [(name,)]


def test_the_longest_payload_arrives(site: Site, listener: Any) -> None:
    client = listener("long")
    with site.server.admin(DATABASE) as admin:
        notify(admin, "long", "p" * 7999)
    assert heard(client, 1) == [("long", "p" * 7999)]


def test_what_is_rolled_back_is_not_listened_to_and_what_is_not_unlistened_is(
    site: Site, listener: Any, opened: Any
) -> None:
    client, speaker = listener("kept", "gone", autocommit=True), opened(site.proxy.port)
    client.execute("BEGIN")
    client.execute("LISTEN never")
    client.execute("UNLISTEN kept")
    client.execute("ROLLBACK")
    client.execute("BEGIN; SAVEPOINT s; LISTEN neither; ROLLBACK TO s; LISTEN this; COMMIT")
    client.execute("UNLISTEN gone")
    for channel in ("never", "kept", "gone", "neither", "this"):
        notify(speaker, channel, "x")
    assert heard(client, 2) == [("kept", "x"), ("this", "x")]
    nothing_more(client)
    client.execute("UNLISTEN *")
    notify(speaker, "kept", "y")
    nothing_more(client)
    client.close()
    eventually(lambda: not site.listeners())


def test_in_a_transaction_nothing_is_heard_before_its_end(site: Site, listener: Any, opened: Any) -> None:
    client, speaker = listener("t"), opened(site.proxy.port)
    client.execute("BEGIN")
    notify(speaker, "t", "1")
    client.execute("SELECT 1")
    nothing_more(client)
    client.execute("COMMIT")
    assert heard(client, 1) == [("t", "1")]


def test_what_another_said_before_comes_with_the_answer_to_any_request(site: Site, listener: Any, opened: Any) -> None:
    client, speaker = listener("p"), opened(site.proxy.port)
    seen: list[str] = []
    client.add_notify_handler(lambda one: seen.append(one.payload))
    for number in range(30):
        notify(speaker, "p", str(number))
        client.execute("SELECT 1")
        assert seen == [str(number) for number in range(number + 1)]


def kinds(client: RawClient, *texts: str) -> list[tuple[str, str]]:
    """The answers as message types, with channel, payload, and whether the client itself said it."""
    found = []
    for text in texts:
        for tag, body in client.ask(query(text)):
            if tag == "A":
                own = int.from_bytes(body[:4], "big") == client.key[0]
                found.append((tag, f"{own} {body[4:]!r}"))
            else:
                found.append((tag, ""))
    return found


def test_ones_own_notifications_come_where_they_come_directly(site: Site, raw: Raw) -> None:
    texts = (
        "LISTEN own",
        "NOTIFY own, '1'",
        "NOTIFY own, '2'; NOTIFY own, '2'; NOTIFY own, '3'",
        "BEGIN; NOTIFY own, '4'",
        "SELECT 1",
        "COMMIT",
        "BEGIN; NOTIFY own, '5'; ROLLBACK",
        "LISTEN other; NOTIFY other, '6'; NOTIFY own, '7'",
        "NOTIFY own, '8'; SELECT 1/0",
        "UNLISTEN own; NOTIFY own, '9'",
        "NOTIFY other, '10'",
        "SELECT count(*) FROM pg_listening_channels()",
        "UNLISTEN *",
        "NOTIFY other, '11'",
    )
    said = [kinds(raw(port), *texts) for port in (site.server.port, site.proxy.port)]
    assert said[1] == said[0]
    assert sum(tag == "A" for tag, _ in said[0]) == 7


def test_pipelined_requests_are_each_told_of_their_own(site: Site, raw: Raw) -> None:
    def batch(payload: str) -> bytes:
        return parse("", f"NOTIFY pipelined, '{payload}'") + bind() + execute() + SYNC

    said = []
    for port in (site.server.port, site.proxy.port):
        client = raw(port)
        client.ask(query("LISTEN pipelined"))
        messages = client.ask(*[batch(str(number)) for number in range(5)], times=5)
        said.append([(tag, body[4:] if tag == "A" else b"") for tag, body in messages])
    assert said[1] == said[0]


def test_a_notification_of_another_is_not_shown_as_ones_own(site: Site, listener: Any, opened: Any) -> None:
    client, other = listener("who"), listener("who")
    notify(other, "who", "x")
    (one,) = client.notifies(timeout=PATIENCE, stop_after=1)
    assert one.pid != client.info.backend_pid
    (one,) = other.notifies(timeout=PATIENCE, stop_after=1)
    assert one.pid == other.info.backend_pid


def test_an_encoding_of_ones_own_is_kept(site: Site, listener: Any) -> None:
    latin, unicode = listener("enc", client_encoding="LATIN1"), listener("enc")
    with site.server.admin(DATABASE) as admin:
        notify(admin, "enc", "grün")
    assert heard(latin, 1) == heard(unicode, 1) == [("enc", "grün")]
    unicode.execute("SET client_encoding = LATIN1")
    with site.server.admin(DATABASE) as admin:
        notify(admin, "enc", "größer")
    unicode.execute("SELECT 1")
    assert heard(latin, 1) == [("enc", "größer")]


def test_when_the_listener_is_lost_its_sessions_are_ended_and_others_are_not(
    site: Site, listener: Any, raw: Raw, opened: Any
) -> None:
    clients, other = [raw(site.proxy.port) for _ in range(3)], opened(site.proxy.port)
    for client in clients:
        client.ask(query("LISTEN lost"))
    eventually(lambda: len(site.listeners()) == 1)
    clients[0].ask(query("SELECT 1"))
    (pid,) = site.listeners()
    with site.server.admin() as admin:
        admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
    for client in clients:
        tag, body = client.receive()
        assert (tag, fields(body)["C"]) == ("E", "08006")
        assert client.receive() == ("", b"")
    assert other.execute("SELECT 1").fetchone() == (1,)
    again = listener("lost")
    notify(other, "lost", "again")
    assert heard(again, 1) == [("lost", "again")]


def test_where_there_is_one_backend_a_session_that_listens_keeps_it(postgres: TestServer, opened: Any) -> None:
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "1") as proxy:
        client = opened(proxy.port)
        client.execute("LISTEN alone")
        proxy.wait_for_log("listen")
        with postgres.admin(DATABASE) as admin:
            notify(admin, "alone", "x")
        assert heard(client, 1) == [("alone", "x")]
        notify(client, "alone", "mine")
        (one,) = client.notifies(timeout=PATIENCE, stop_after=1)
        assert (one.pid, one.payload) == (client.info.backend_pid, "mine")


def test_a_client_that_does_not_read_is_ended_and_others_hear_on(postgres: TestServer, raw: Raw, opened: Any) -> None:
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "3") as proxy:
        deaf, client = raw(proxy.port), opened(proxy.port)
        deaf.ask(query("LISTEN flood"))
        client.execute("LISTEN quiet")
        with postgres.admin(DATABASE) as admin:
            for _ in range(30):
                admin.execute("SELECT pg_notify('flood', repeat('x', 7990) || n) FROM generate_series(1, 150) n")
            notify(admin, "quiet", "still")
        assert heard(client, 1) == [("quiet", "still")]
        tags = []
        while not tags or tags[-1]:
            tag, body = deaf.receive()
            tags.append(tag)
            if tag == "E":
                assert fields(body)["C"] == "57P05"
        assert tags[-2:] == ["E", ""]
        assert tags.count("A") < 4500


def test_listening_sessions_that_come_and_go_hear_every_word_once_and_in_order(site: Site, opened: Any) -> None:
    """A storm: sessions that listen work, too, on few backends, while others speak without a pause."""
    stop = threading.Event()
    last = [0]

    def speak() -> None:
        with site.server.admin(DATABASE) as admin:
            while not stop.is_set():
                last[0] += 1
                notify(admin, "storm", str(last[0]))

    class Hearer(threading.Thread):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number
            self.far: list[int] = []
            self.own: list[int] = []
            self.said = 0
            self.error: Exception | None = None

        def run(self) -> None:
            try:
                self.work()
            except Exception as error:
                self.error = error

        def take(self, one: psycopg.Notify) -> None:
            if one.channel == "storm":
                self.far.append(int(one.payload))
            else:
                assert one.channel == f"own_{self.number}"
                self.own.append(int(one.payload))

        def work(self) -> None:
            with connect(site.proxy.port) as client:
                client.add_notify_handler(self.take)
                client.execute("LISTEN storm")
                client.execute(f"LISTEN own_{self.number}")
                while not stop.is_set():
                    self.said += 1
                    client.execute(f"NOTIFY own_{self.number}, '{self.said}'")
                    assert self.own[-1] == self.said
                    with client.transaction():
                        client.execute("SELECT pg_sleep(0.001)")
                    time.sleep(0.003 * (self.number % 3))
                client.execute("SELECT 1")

    speaker = threading.Thread(target=speak)
    hearers = [Hearer(number) for number in range(8)]
    speaker.start()
    for hearer in hearers:
        hearer.start()
    # What takes a second on a quiet machine, and as long as it takes on another.
    try:
        eventually(lambda: all(hearer.error or (len(hearer.far) > 100 and hearer.said > 20) for hearer in hearers), 400)
    finally:
        stop.set()
    speaker.join()
    for hearer in hearers:
        hearer.join()
        assert hearer.error is None, hearer.error
        assert hearer.own == list(range(1, hearer.said + 1))
        assert hearer.far == list(range(hearer.far[0], hearer.far[-1] + 1))


def test_asyncpg_listens(site: Site) -> None:
    async def run() -> None:
        how: dict[str, Any] = {"host": "127.0.0.1", "port": site.proxy.port, "user": USER}
        one = await asyncpg.connect(**how, password=PASSWORD, database=DATABASE)
        other = await asyncpg.connect(**how, password=PASSWORD, database=DATABASE)
        seen: asyncio.Queue[tuple[int, str]] = asyncio.Queue()

        def take(_: Any, pid: int, channel: str, payload: Any) -> None:
            assert channel == "jobs"
            seen.put_nowait((pid, payload))

        await one.add_listener("jobs", take)
        for number in range(20):
            await other.execute("SELECT pg_notify('jobs', $1)", str(number))
            assert (await asyncio.wait_for(seen.get(), PATIENCE))[1] == str(number)
            assert await one.fetchval("SELECT $1::int", number) == number
        async with one.transaction():
            await one.execute("NOTIFY jobs, 'own'")
        assert await asyncio.wait_for(seen.get(), PATIENCE) == (one.get_server_pid(), "own")
        await one.remove_listener("jobs", take)
        await other.execute("NOTIFY jobs, 'late'")
        await one.fetchval("SELECT 1")
        assert seen.empty()
        await one.close()
        await other.close()

    asyncio.run(run())


def test_what_a_function_listens_to_is_no_strangers_business(site: Site, raw: Raw) -> None:
    with site.server.admin(DATABASE) as admin:
        admin.execute("CREATE FUNCTION listen_hidden() RETURNS void LANGUAGE plpgsql AS $$ BEGIN LISTEN secret; END $$")
    listening = raw(site.proxy.port)
    listening.ask(query("LISTEN said"))
    for first in (True, False):
        for text in ("SELECT listen_hidden()", "SELECT 1"):
            raw(site.proxy.port).ask(query(text))  # the backend is given back, and listens
        client = raw(site.proxy.port) if first else listening
        for text in ("LISTEN said", "DO $$ BEGIN LISTEN block; END $$", "SELECT 1"):
            client.ask(query(text))
        seen = "SELECT count(*) FROM pg_listening_channels() AS c WHERE c NOT LIKE 'rdsp%'"
        # As soon as another connection listens for it: before that, it has the very backend on which the function did.
        eventually(lambda client=client, seen=seen: client.value(seen) == b"2")
        with site.server.admin(DATABASE) as admin:
            for channel in ("secret", "said", "block"):
                notify(admin, channel, "x")
        heard = [client.receive() for _ in range(2)]
        assert [body[4:] for _, body in heard] == [b"said\0x\0", b"block\0x\0"]
        assert client.until_quiet(0.3) == []
        if first:
            assert listening.receive()[1][4:] == b"said\0x\0"
            listening.until_quiet()


@pytest.mark.parametrize("backends", [1, 3])
def test_the_strict_mode_finds_what_a_function_listens_to(
    postgres: TestServer, raw: Raw, tmp_path: Path, backends: int
) -> None:
    with postgres.admin(DATABASE) as admin:
        admin.execute(
            "CREATE OR REPLACE FUNCTION listen_strictly() RETURNS void LANGUAGE plpgsql AS $$ BEGIN LISTEN found; END $$"
        )
        path = config(tmp_path, postgres.target(), max_backends=backends, strict_session_state="true")
        with ProxyProcess(path) as proxy:
            client = raw(proxy.port)
            client.ask(query("SELECT listen_strictly()"))
            for number in range(3):
                notify(admin, "found", str(number))
                tag, body = client.receive()
                assert (tag, body[4:]) == ("A", b"found\0%d\0" % number)
                client.ask(query("SELECT 1"))


def test_a_session_that_leaves_is_forgotten(site: Site, raw: Raw) -> None:
    for leave in (lambda client: client.send(TERMINATE), RawClient.close, RawClient.reset):
        client = raw(site.proxy.port)
        client.ask(query("LISTEN leaving"))
        eventually(lambda: len(site.listeners()) == 1)
        leave(client)
        eventually(lambda: not site.listeners())


def test_an_error_of_the_clients_own_changes_nothing(site: Site, raw: Raw) -> None:
    client, speaker = raw(site.proxy.port), raw(site.proxy.port)
    client.ask(query("LISTEN still"))
    assert [fields(body)["C"] for tag, body in client.ask(query("SELECT 1/0")) if tag == "E"] == ["22012"]
    speaker.ask(query("NOTIFY still, 'here'"))
    tag, body = client.receive()
    assert (tag, body[4:]) == ("A", b"still\0here\0")
