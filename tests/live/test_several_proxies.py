"""Several proxies in one process: two servers of different versions, one of them twice. Nothing crosses over."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import psycopg
import pytest

from tests.servers.postgres import DATABASE, PASSWORD, USER, TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import SYNC, Message, RawClient, bind, execute, fields, parse, query
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.live

ROUNDS = 25
CLIENTS = 3
BACKENDS = 3
"""Of each proxy; one of them hears."""
WHERE = "SELECT current_user || ' ' || current_database() || ' ' || current_setting('port') || ' {}'"


@attrs.frozen
class Place:
    """One proxy, and what is behind it."""

    name: str
    server: TestServer
    user: str
    database: str

    @property
    def lines(self) -> str:
        """Of the configuration."""
        target = self.server.target(self.user, PASSWORD, self.database)
        return (
            f'[[proxies]]\nname = "{self.name}"\nlisten = "127.0.0.1:0"\ntarget.url = "{target}"\n'
            f"target_group.max_backends = {BACKENDS}\n"
        )

    def dial(self, port: int) -> RawClient:
        return RawClient(port, {"user": self.user, "database": self.database}, PASSWORD)

    def own(self, number: int) -> str:
        """What `WHERE` gives one of its clients."""
        return f"{self.user} {self.database} {self.server.port} {self.name}{number}"


@pytest.fixture(scope="module")
def places(postgres15: TestServer, postgres18: TestServer) -> list[Place]:
    return [
        Place("old", postgres15, USER, DATABASE),
        Place("new", postgres18, USER, DATABASE),
        Place("again", postgres15, "bob", "other"),
    ]


@pytest.fixture
def file(tmp_path: Path, places: list[Place]) -> Path:
    path = tmp_path / "rdsp.toml"
    path.write_text("".join(place.lines for place in places))
    return path


@pytest.fixture
def proxy(file: Path, places: list[Place]) -> Iterator[ProxyProcess]:
    with ProxyProcess(str(file)) as running:
        eventually(lambda: len(running.ports) == len(places))
        yield running


def ports(proxy: ProxyProcess) -> dict[str, int]:
    """Where each one listens, as it says."""
    return {name: int(port) for name, port in re.findall(r'proxy "(\w+)" is ready on \S+:(\d+)', proxy.log())}


def value(answer: list[Message]) -> str:
    """The one value of an answer."""
    assert not [fields(body) for tag, body in answer if tag == "E"]
    (row,) = (body for tag, body in answer if tag == "D")
    return row[6:].decode()


def works(place: Place, port: int, number: int) -> None:
    """A client with settings and statements that have the same names everywhere, and say whose they are."""
    client, own = place.dial(port), place.own(number)
    memory = f"{1000 + 10 * number + ord(place.name[0])}kB"
    client.ask(parse("q", WHERE.format(f"{place.name}{number}")), SYNC)
    client.ask(query(f"SET work_mem = '{memory}'"))
    client.ask(query(f"PREPARE mine AS {WHERE.format(f'{place.name}{number}')}"))
    for turn in range(ROUNDS):
        assert value(client.ask(bind("", "q") + execute() + SYNC)) == own
        assert value(client.ask(query("EXECUTE mine"))) == own
        assert value(client.ask(query("SHOW work_mem"))) == memory
        client.ask(query("BEGIN"), query(f"SET LOCAL work_mem = '{turn + 64}kB'"), times=2)
        assert value(client.ask(query("SHOW work_mem"))) == f"{turn + 64}kB"
        client.ask(query("COMMIT" if turn % 2 else "ROLLBACK"))
    client.close()


def hears(place: Place, port: int, number: int) -> None:
    """A client that is told what others say in its own database, all of it and in order."""
    listener, speaker = place.dial(port), place.dial(port)
    listener.ask(query("LISTEN news"))
    for turn in range(ROUNDS):
        speaker.ask(query(f"NOTIFY news, '{place.name} {turn}'"))
    for turn in range(ROUNDS):
        tag, body = listener.receive(PATIENCE)
        assert (tag, body[4:]) == ("A", f"news\0{place.name} {turn}\0".encode())
    assert [tag for tag, _ in listener.ask(query("SELECT 1"))] == ["T", "D", "C", "Z"]
    listener.close()
    speaker.close()


def is_cancelled(place: Place, port: int, number: int) -> None:
    """A client whose queries are cancelled, and only they."""
    client, other = place.dial(port), place.dial(port)
    for _ in range(3):
        client.send(query("SELECT pg_sleep(600)"))
        answer = client.cancel_until_answered() + client.until_ready()
        assert [fields(body)["C"] for tag, body in answer if tag == "E"] == ["57014"]
        assert other.value("SELECT 1 FROM pg_sleep(0.05)") == b"1"
    client.close()
    other.close()


def cancel_at(port: int, client: RawClient) -> None:
    """Send the client's cancel request there."""
    own, client.port = client.port, port
    client.cancel()
    client.port = own


def all_at_once(proxy: ProxyProcess, places: list[Place], meanwhile: Callable[[], None] = lambda: None) -> None:
    """Clients of all kinds on all of them."""
    where = ports(proxy)
    jobs = [works] * CLIENTS + [hears, is_cancelled]
    with ThreadPoolExecutor(len(jobs) * len(places)) as pool:
        running = [
            pool.submit(job, place, where[place.name], number) for place in places for number, job in enumerate(jobs)
        ]
        meanwhile()
        for one in running:
            one.result()


def test_nothing_crosses_from_one_to_another(proxy: ProxyProcess, places: list[Place]) -> None:
    all_at_once(proxy, places)

    for place in places:
        with place.server.admin() as admin:
            # What was closed is still there for a moment.
            eventually(lambda place=place, admin=admin: 1 <= backends(admin, place) <= BACKENDS)  # type: ignore[misc]


def backends(admin: psycopg.Connection[Any], place: Place) -> int:
    """How many server connections its user has to its database."""
    counted = "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND datname = %s"
    row = admin.execute(counted, (place.user, place.database)).fetchone()
    assert row is not None
    return int(row[0])


def test_a_cancel_that_comes_to_another_proxy_hits_nobody(proxy: ProxyProcess, places: list[Place]) -> None:
    where = ports(proxy)
    clients = [place.dial(where[place.name]) for place in places]
    for client in clients:
        client.send(query("SELECT 1 FROM pg_sleep(1)"))
    for client in clients:
        for port in where.values():
            if port != client.port:
                cancel_at(port, client)
    for client in clients:
        assert [tag for tag, _ in client.until_ready()] == ["T", "D", "C", "Z"]
        client.close()


def test_a_reload_without_one_of_them_leaves_all_serving(proxy: ProxyProcess, places: list[Place], file: Path) -> None:
    """It goes with the next start; that it is to go is said."""

    def reloads() -> None:
        file.write_text("".join(place.lines for place in places[:2]))
        proxy.tell(signal.SIGHUP)
        proxy.wait_for_log("proxies[again]")

    all_at_once(proxy, places, reloads)

    assert "needs a restart" in proxy.log()
    for place in places:
        works(place, ports(proxy)[place.name], 7)
