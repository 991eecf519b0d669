"""Every script, on pools of several sizes and with both forms of results, against a direct connection."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rdsp_codecs.mysql import capabilities as c
from tests.compare.mysql.scripts import ALL
from tests.compare.mysql.scripts.elsewhere import ELSEWHERE, KNOWN, KNOWN_OF_MYSQL, NOT_YET
from tests.compare.mysql.talking import DATABASE, USUAL, talkers
from tests.compare.runner import Script, run
from tests.live.mysql.sidebyside import target
from tests.servers.mysql import USER, MySqlServer
from tests.servers.proxy import ProxyProcess

pytestmark = pytest.mark.live

FORMS = {"classic": USUAL, "deprecated": USUAL | c.CLIENT_DEPRECATE_EOF}
CASES = [
    pytest.param(script, pool, form, id=f"{'-'.join(map(str, script.numbers))} {script.name}, pool of {pool}, {form}")
    for script in ALL
    for pool in script.pools
    for form in FORMS
]


@pytest.fixture(scope="module")
def proxies(tracking: MySqlServer) -> Iterator[Callable[[int, int], ProxyProcess]]:
    """One proxy for each size of pool and form of results: clients of different ones would need each other's places."""
    running: dict[tuple[int, int], ProxyProcess] = {}
    with tracking.admin() as admin, admin.cursor() as cursor:
        cursor.execute(f"GRANT RELOAD ON *.* TO {USER}")
        cursor.execute("SET GLOBAL local_infile = 1")

    def proxy(size: int, flags: int) -> ProxyProcess:
        key = size, flags
        if key not in running:
            running[key] = ProxyProcess.for_target(
                target(tracking).removesuffix("/app"), "--max-backends", str(size)
            ).__enter__()
        return running[key]

    yield proxy
    for each in running.values():
        each.__exit__(None, None, None)
    with tracking.admin() as admin, admin.cursor() as cursor:
        cursor.execute(f"REVOKE RELOAD ON *.* FROM {USER}")


def prepare(script: Script, server: MySqlServer) -> None:
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        cursor.execute(f"GRANT ALL ON {DATABASE}.* TO {USER}")
        cursor.execute(f"USE {DATABASE}")
        for text in script.before:
            cursor.execute(text)


def _flags(script: Script, form: str) -> int:
    """What the clients of a script have together: where it is not alike, they are of several pools."""
    flags = FORMS[form]
    for start in script.start.values():
        flags = (flags | start.get("more", 0)) & ~start.get("less", 0)
    return flags


@pytest.mark.parametrize(("script", "pool", "form"), CASES)
def test_the_proxy_answers_as_the_server_does(
    script: Script,
    pool: int,
    form: str,
    tracking: MySqlServer,
    proxies: Callable[[int, int], ProxyProcess],
    request: pytest.FixtureRequest,
) -> None:
    known = KNOWN if tracking.version.startswith("mariadb") else KNOWN | KNOWN_OF_MYSQL
    for name in {script.name, f"{script.name}, {form}", f"{script.name}, pool of {pool}"} & known.keys():
        request.applymarker(pytest.mark.xfail(reason=known[name], strict=True, raises=AssertionError))
    prepare(script, tracking)
    direct = run(script, talkers(tracking.port, FORMS[form]))
    prepare(script, tracking)
    proxied = run(script, talkers(proxies(pool, _flags(script, form)).port, FORMS[form]))

    difference = "\n".join(difflib.unified_diff(direct, proxied, "direct", "proxied", lineterm="", n=2))
    assert proxied == direct, "\n" + difference


def test_every_scenario_has_its_script_or_says_why_not() -> None:
    compared = {number for script in ALL for number in script.numbers}
    assert compared | set(ELSEWHERE) | set(NOT_YET) == set(range(1, 51))
    assert not compared & set(NOT_YET)
    assert {name.partition(", ")[0] for name in {*KNOWN, *KNOWN_OF_MYSQL}} <= {s.name.partition(", ")[0] for s in ALL}
    for why, path, name in ELSEWHERE.values():
        assert why
        assert f"def {name}(" in Path(path).read_text()


def test_the_runner_notices_a_leak(mariadb10: MySqlServer) -> None:
    """Two clients that really are one connection: the runner must see what leaks between them."""
    leaking = next(script for script in ALL if script.name == "variables of one's own")
    prepare(leaking, mariadb10)
    shared = talkers(mariadb10.port)()

    one = run(leaking, lambda **_: shared)
    prepare(leaking, mariadb10)
    apart = run(leaking, talkers(mariadb10.port))

    assert one != apart
