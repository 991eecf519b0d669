"""Clients that leave or stop in the middle, cancels at odd moments, and backends that differ: found by review."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.postgres import TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import (
    COPY_DONE,
    SYNC,
    TERMINATE,
    RawClient,
    bind,
    copy_data,
    execute,
    fields,
    message,
    parse,
    query,
)
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.live

Raw = Callable[..., RawClient]
COPY = "COPY ends FROM STDIN"
ENDINGS = {
    "a stray CopyDone": (parse("", "SELECT 1"), COPY_DONE, TERMINATE),
    "a stray CopyFail": (parse("", "SELECT 1"), message("f", b"no\0"), TERMINATE),
    "a stray CopyDone, and a Sync behind the good-bye": (parse("", "SELECT 1"), COPY_DONE, TERMINATE, SYNC),
    "a COPY without Sync": (parse("", COPY), bind(), execute(), copy_data(b"1\n"), COPY_DONE, TERMINATE),
    "half a COPY without Sync": (parse("", COPY), bind(), execute(), copy_data(b"1\n"), TERMINATE),
    "two ends of a COPY": (query(COPY), copy_data(b"1\n"), COPY_DONE, COPY_DONE, TERMINATE),
    "a wrong Parse and a stray CopyDone": (parse("", "SELEC"), COPY_DONE, TERMINATE),
}


@pytest.mark.parametrize("rudely", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_no_ending_keeps_the_backend(one_backend: ProxyProcess, raw: Raw, ending: str, rudely: bool) -> None:
    other = raw(one_backend.port)
    other.value("DROP TABLE IF EXISTS ends; CREATE TABLE ends (a int); SELECT 1")
    leaver = raw(one_backend.port)
    leaver.send(*ENDINGS[ending])
    time.sleep(0.1)  # so that it is in the middle of it; right must be what comes of it at any moment
    leaver.reset() if rudely else leaver.close()
    other.send(query("SELECT 2"))
    assert [tag for tag, _ in other.until_ready()] == ["T", "D", "C", "Z"]


def test_a_cancel_ends_a_statement_that_is_being_parsed_on_its_new_backend(postgres15: TestServer, raw: Raw) -> None:
    """The Parse waits for a lock. It is the proxy's own, but the client waits for it."""
    with ProxyProcess.for_target(postgres15.target(), "--max-backends", "2") as proxy:
        client, other, locker = raw(proxy.port), raw(proxy.port), raw(postgres15.port)
        client.value("DROP TABLE IF EXISTS locked; CREATE TABLE locked (a int); SELECT 1")
        client.ask(parse("s", "SELECT a FROM locked"), SYNC)
        other.value("BEGIN; SELECT 1")  # on the backend that has it
        with postgres15.admin("app") as admin:
            admin.execute("GRANT ALL ON locked TO app")
        locker.value("BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE; SELECT 1")
        client.send(bind("", "s"), execute(), SYNC)
        answers = client.cancel_until_answered() + client.until_ready()
        assert [fields(body)["C"] for tag, body in answers if tag == "E"] == ["57014"]
        locker.value("COMMIT; SELECT 1")
        assert [tag for tag, _ in client.ask(bind("", "s"), execute(), SYNC)] == ["2", "C", "Z"]


def test_a_client_hears_what_its_new_backend_reports_otherwise(postgres15: TestServer, raw: Raw) -> None:
    """ALTER ROLE changes what new connections begin with; old ones live on beside them."""
    try:
        with ProxyProcess.for_target(postgres15.target(), "--max-backends", "2") as proxy:
            holder, client = raw(proxy.port), raw(proxy.port)
            assert client.parameters["DateStyle"] == "ISO, MDY"
            holder.value("BEGIN; SELECT 1")
            with postgres15.admin("app") as admin:
                admin.execute("ALTER ROLE app SET datestyle TO 'German'")
            told = client.ask(query("SELECT date '2024-03-02'"))
            assert ("S", b"DateStyle\0German, DMY\0") in told
            assert [body[6:] for tag, body in told if tag == "D"] == [b"02.03.2024"]
            assert not [tag for tag, _ in client.ask(query("SELECT 1")) if tag == "S"]
            holder.value("COMMIT; SELECT 1")
            assert {tag for tag, _ in holder.ask(query("SELECT 1"))} <= set("STDCZ")
    finally:
        with postgres15.admin("app") as admin:
            admin.execute("ALTER ROLE app RESET datestyle")


def test_who_left_half_a_message_in_a_transaction_is_idle_in_it(
    postgres15: TestServer, raw: Raw, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("half") / "proxy.toml"
    path.write_text(
        f'[[proxies]]\nlisten = "127.0.0.1:0"\ntarget.url = "{postgres15.target()}"\ntarget_group.max_backends = 1\n'
        "limits.idle_in_transaction_timeout = 1\n"
    )
    with ProxyProcess(str(path)) as proxy:
        half, other = raw(proxy.port), raw(proxy.port)
        half.value("BEGIN; SELECT 1")
        half.send(query("SELECT 2")[:7])
        other.send(query("SELECT 3"))
        assert [tag for tag, _ in other.until_ready()] == ["T", "D", "C", "Z"]
        assert [fields(body)["C"] for tag, body in half.until_ready() if tag == "E"] == ["25P03"]


@pytest.mark.parametrize("signals", [1, 2], ids=["the time is over", "a second signal"])
def test_what_still_runs_when_the_proxy_stops_is_cancelled_at_the_server(
    postgres15: TestServer, raw: Raw, tmp_path: Path, signals: int
) -> None:
    """A server does not notice by itself, before it has something to say, that nobody is there any more."""
    text = f"SELECT pg_sleep(3000), {signals}"
    file = tmp_path / "rdsp.toml"
    limits = f"limits = {{ drain_timeout = {1 if signals == 1 else 600} }}"
    target = f"target.url = '{postgres15.target()}'"
    file.write_text(f"[[proxies]]\nname = 'a'\nlisten = '127.0.0.1:0'\n{target}\n{limits}\n")
    with ProxyProcess(str(file)) as proxy, postgres15.admin("app") as admin:

        def running() -> int:
            row = admin.execute("SELECT count(*) FROM pg_stat_activity WHERE query = %s", (text,)).fetchone()
            assert row is not None
            return int(row[0])

        clients = [raw(proxy.port) for _ in range(6)]
        for client in clients[:3]:
            client.send(query(text))
        for client in clients[3:]:
            client.value("BEGIN; SELECT 1")
            client.send(parse("", text), bind(), execute(), SYNC)
        eventually(lambda: running() == len(clients))
        proxy.process.send_signal(signal.SIGTERM)
        if signals > 1:
            proxy.wait_for_log("drain")
            proxy.process.send_signal(signal.SIGINT)
        assert proxy.process.wait(PATIENCE) == 0
        eventually(lambda: not running())
