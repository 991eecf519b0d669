"""Every script, on pools of one and two backends, against a direct connection."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compare.postgres.scripts import ALL
from tests.compare.postgres.scripts.elsewhere import ELSEWHERE
from tests.compare.postgres.talking import Quiet, connector, talkers
from tests.compare.runner import Script, run
from tests.servers.postgres import TestServer
from tests.servers.proxy import ProxyProcess

pytestmark = pytest.mark.live


def prepare(script: Script, server: TestServer) -> None:
    direct = connector(server.port)()
    for text in script.before:
        direct.value(text + "; SELECT 1")
    direct.close()


CASES = [
    pytest.param(script, pool, id=f"{'-'.join(map(str, script.numbers))} {script.name}, pool of {pool}")
    for script in ALL
    for pool in script.pools
]


@pytest.mark.parametrize(("script", "pool"), CASES)
def test_the_proxy_answers_as_the_server_does(
    script: Script, pool: int, postgres: TestServer, proxies: Callable[[int], ProxyProcess]
) -> None:
    watcher = connector(postgres.port)()

    def asleep() -> bool:
        return watcher.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == b"1"

    prepare(script, postgres)
    quiet = Quiet()
    direct = run(script, talkers(connector(postgres.port), asleep, quiet.directly))
    prepare(script, postgres)
    proxied = run(script, talkers(connector(proxies(pool).port), asleep, quiet.proxied))
    watcher.close()

    difference = "\n".join(difflib.unified_diff(direct, proxied, "direct", "proxied", lineterm="", n=2))
    assert proxied == direct, "\n" + difference


def test_there_are_enough_scripts() -> None:
    assert len(ALL) >= 30
    assert len({script.name for script in ALL}) == len(ALL)


def test_what_a_server_says_of_itself_at_login(postgres: TestServer, proxies: Callable[[int], ProxyProcess]) -> None:
    direct, proxied = connector(postgres.port)(), connector(proxies(2).port)()

    assert list(proxied.parameters.items()) == list(direct.parameters.items())
    direct.close()
    proxied.close()


def test_the_runner_notices_a_leak(postgres15: TestServer) -> None:
    """Two clients that really are one connection: the runner must see what leaks between them."""
    leaking = next(script for script in ALL if script.name == "a setting is its owner's alone")
    shared = connector(postgres15.port)()

    one = run(leaking, talkers(lambda **_: shared))
    apart = run(leaking, talkers(connector(postgres15.port)))

    assert one != apart


def test_every_scenario_has_its_script_or_says_why_not() -> None:
    compared = {number for script in ALL for number in script.numbers}

    assert compared | set(ELSEWHERE) == set(range(1, 101))
    for why, path, name in ELSEWHERE.values():
        assert why
        assert f"def {name}(" in Path(path).read_text()
