"""Clients, interleaved, setting everything in every way: what is set must be what it is on direct connections.

None of it may pin. Where there are fewer backends than clients, turns end their transactions.
"""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.compare.postgres.talking import Quiet, connector, talkers
from tests.compare.runner import Script, run
from tests.live.setting_scripts import BEFORE, setting_scripts
from tests.live.test_faults import config
from tests.servers.postgres import TestServer
from tests.servers.proxy import ProxyProcess

pytestmark = pytest.mark.live

Proxies = Callable[[int], ProxyProcess]

QUICK = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def compare(script: Script, server: TestServer, proxy: ProxyProcess) -> None:
    pins = proxy.log().count("was pinned")

    quiet = Quiet()
    direct = run(script, talkers(connector(server.port), listen=quiet.directly))
    proxied = run(script, talkers(connector(proxy.port), listen=quiet.proxied))

    assert proxied == direct, "\n" + "\n".join(difflib.unified_diff(direct, proxied, "direct", "proxied", n=2))
    assert proxy.log().count("was pinned") == pins, proxy.log()[-2000:]


@pytest.fixture(scope="module")
def server(postgres: TestServer) -> TestServer:
    client = connector(postgres.port)()
    for text in BEFORE:
        client.value(text + "; SELECT 1")
    client.close()
    return postgres


@QUICK
@given(script=setting_scripts(ends=True))
def test_what_is_set_is_right_on_one_backend(server: TestServer, proxies: Proxies, script: Script) -> None:
    compare(script, server, proxies(1))


@QUICK
@given(script=setting_scripts(ends=False))
def test_what_is_set_is_right_on_two_backends(server: TestServer, proxies: Proxies, script: Script) -> None:
    compare(script, server, proxies(2))


@QUICK
@given(script=setting_scripts(ends=True, clients="ABC", starts=True))
def test_what_three_set_that_began_differently_is_right(server: TestServer, proxies: Proxies, script: Script) -> None:
    compare(script, server, proxies(2))


def strict_proxy(server: TestServer, backends: int) -> ProxyProcess:
    """A proxy that asks what is set after every transaction."""
    folder = Path(tempfile.mkdtemp(prefix="rdsp-strict-", dir=server.folder))
    return ProxyProcess(config(folder, server.target(), max_backends=backends, strict_session_state="true"))


@pytest.fixture(scope="module")
def strict(server: TestServer) -> Iterator[Proxies]:
    proxies: dict[int, ProxyProcess] = {}
    with ExitStack() as stack:

        def get(backends: int) -> ProxyProcess:
            if backends not in proxies:
                proxies[backends] = stack.enter_context(strict_proxy(server, backends))
            return proxies[backends]

        yield get


@QUICK
@given(script=setting_scripts(ends=False, unseen=True))
def test_the_strict_mode_finds_what_functions_set(server: TestServer, strict: Proxies, script: Script) -> None:
    compare(script, server, strict(2))


@pytest.mark.matrix
@LONG
@given(script=setting_scripts(ends=True, clients="ABC", unseen=True))
def test_the_strict_mode_finds_what_functions_set_for_long(server: TestServer, strict: Proxies, script: Script) -> None:
    compare(script, server, strict(2))


@pytest.mark.matrix
@LONG
@given(script=setting_scripts(ends=True))
def test_what_is_set_is_right_on_one_backend_for_long(server: TestServer, proxies: Proxies, script: Script) -> None:
    compare(script, server, proxies(1))


@pytest.mark.matrix
@LONG
@given(script=setting_scripts(ends=False, starts=True))
def test_what_is_set_is_right_on_two_backends_for_long(server: TestServer, proxies: Proxies, script: Script) -> None:
    compare(script, server, proxies(2))
