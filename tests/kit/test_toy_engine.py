"""The example engine as a stranger has it: installed by pip beside rdsp, found, run by a real proxy, put through the kit."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from rdsp_toy.client import Client, Refused

from tests.kit.conftest import EXAMPLE
from tests.servers.proxy import ProxyProcess
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed the example: without the network, out of a copy."""
    folder = tmp_path_factory.mktemp("toy")
    source, target = folder / "source", folder / "site"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    install = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run(
        [*install, "--no-build-isolation", "--target", str(target), str(source)], check=True, timeout=PATIENCE
    )
    return target


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is started now has it on its path."""
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(site), before])))
    return site


@pytest.fixture
def server(installed: Path) -> Iterator[int]:
    """A toy server's port."""
    command = [sys.executable, "-m", "rdsp_toy.server", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=installed) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"port (\d+)", process.stdout.readline())
            assert found is not None
            yield int(found[1])
        finally:
            process.kill()


@pytest.fixture
def proxy(server: int) -> Iterator[int]:
    """A proxy's port, with two connections to that server."""
    with ProxyProcess.for_target(f"toy://app:secret@127.0.0.1:{server}/shop", "--max-backends", "2") as running:
        yield running.port


def test_it_is_listed(installed: Path) -> None:
    command = [sys.executable, "-m", "rdsp", "engines"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    rows = {row[0]: row[1:] for row in map(str.split, done.stdout.splitlines())}
    assert rows["toy"] == ["1", "1.0", "rdsp-toy-engine", "TOY", "toy", "7007"]


def test_its_own_tests_pass(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 5, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b1\d passed", done.stdout)


async def test_clients_share_connections_and_keep_what_is_theirs(proxy: int) -> None:
    clients = [await Client.connect(proxy) for _ in range(10)]
    used = set()

    async def lives(client: Client, name: str) -> None:
        assert await client.ask(f"SET lang {name}") == ["OK I set"]
        for turn in range(10):
            assert await client.ask("SHOW lang") == [f"OK I {name}"]
            assert await client.ask("BEGIN") == ["OK T begin"]
            here = await client.ask("SHOW connection")
            assert await client.ask(f"PUT {name} {turn}") == ["OK T put"]
            assert await client.ask("COUNT 2") == ["ROW 1", "ROW 2", "OK T counted"]
            assert await client.ask("SHOW connection") == here
            used.add(here[0])
            assert await client.ask("COMMIT") == ["OK I commit"]
            assert await client.ask(f"GET {name}") == [f"OK I {turn}"]

    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            for number, client in enumerate(clients):
                nursery.start_soon(lives, client, f"x{number}")
    assert len(used) == 2
    for client in clients:
        await client.say("QUIT")
        assert await client.line() == ""
        await client.stream.aclose()


async def test_requests_may_be_said_without_waiting(proxy: int) -> None:
    client, other = await Client.connect(proxy), await Client.connect(proxy)
    await client.stream.send_all(b"SET lang fr\nBEGIN\nSHOW la")
    assert await other.ask("SHOW lang") == ["OK I en"]
    await client.stream.send_all(b"ng\nno such thing\nCOMMIT\nSHOW lang\nQUIT\n")
    said = [await client.line() for _ in range(7)]
    assert said == ["OK I set", "OK T begin", "OK T fr", "ERROR T no such command", "OK I commit", "OK I fr", ""]
    await client.stream.aclose()
    await other.stream.aclose()


async def test_a_transaction_that_its_client_leaves_is_rolled_back(proxy: int) -> None:
    for _ in range(3):
        client = await Client.connect(proxy)
        assert await client.ask("BEGIN") == ["OK T begin"]
        assert await client.ask("PUT k left") == ["OK T put"]
        await client.stream.aclose()
    client = await Client.connect(proxy)
    for _ in range(5):
        assert await client.ask("GET k") == ["ERROR I no such key"]
    await client.stream.aclose()


async def test_a_cancel_reaches_what_runs(proxy: int) -> None:
    client, other = await Client.connect(proxy), await Client.connect(proxy)
    await client.say("SLEEP 600")
    with trio.fail_after(PATIENCE):
        answer = ""

        async def wait() -> None:
            nonlocal answer
            answer = await client.line()
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            while True:  # a cancel that comes before the request hits nothing
                await client.cancel(proxy)
                await trio.sleep(0.05)
    assert answer == "ERROR I cancelled"
    assert await other.ask("PING") == ["OK I pong"]
    await client.stream.aclose()
    await other.stream.aclose()


async def test_who_has_no_password_is_told_so_in_the_protocols_words(proxy: int) -> None:
    for user, password in (("app", "wrong"), ("nobody", "secret")):
        with pytest.raises(Refused, match=rf"^ERROR I client\.auth_failed {user}$"):
            await Client.connect(proxy, user, password)
    client = await Client.connect(proxy)
    assert await client.ask("x" * 70000) == ["ERROR I client.frame_too_big 65536"]
    assert await client.line() == ""
    await client.stream.aclose()
