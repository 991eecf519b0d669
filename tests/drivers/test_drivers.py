"""Every program of the matrix, directly and through the proxy: the transcripts are the same, and pins are the expected.

`make test` runs each Python program once, two copies on a pool of one backend; the matrix runs all programs, three copies, on pools
of one and of two backends, on every version of PostgreSQL.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rdsp.net.tls import self_signed
from tests.drivers.programs_list import PROGRAMS
from tests.drivers.running import Place, Program, difference, make_schemas, pins, run, run_copies
from tests.servers.postgres import TestServer
from tests.servers.proxy import ProxyProcess

pytestmark = pytest.mark.live

SCHEMAS = ("matrix_a", "matrix_b", "matrix_c")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the proxies' certificate and key."""
    folder = tmp_path_factory.mktemp("tls")
    crt, key = self_signed(["localhost", "127.0.0.1"])
    (folder / "tls.crt").write_bytes(crt)
    (folder / "tls.key").write_bytes(key)
    return folder


@pytest.fixture
def proxied(certificate: Path, tmp_path: Path) -> Iterator[Callable[[TestServer, int], ProxyProcess]]:
    """A proxy of the test's own, with a certificate, so that its log tells of this test's pins only."""
    started: list[ProxyProcess] = []

    def start(server: TestServer, backends: int) -> ProxyProcess:
        config = tmp_path / "proxy.toml"
        config.write_text(
            f"""
            [[proxies]]
            name = "matrix"
            listen = ["127.0.0.1:0"]
            [proxies.tls]
            certificate = "{certificate / "tls.crt"}"
            private_key = "{certificate / "tls.key"}"
            [proxies.target]
            url = "{server.target()}"
            [proxies.target_group]
            max_backends = {backends}
            """
        )
        proxy = ProxyProcess(str(config))
        started.append(proxy)
        return proxy

    yield start
    for proxy in started:
        with proxy:
            pass


_direct: dict[tuple[str, str], list[str]] = {}


def direct(program: Program, server: TestServer) -> list[str]:
    """What the program sees without a proxy; asked once for each version."""
    key = (program.name, server.version)
    if key not in _direct:
        make_schemas(server, SCHEMAS[:1])
        own = str(server.certificate) if server.version == "15" else ""
        _direct[key] = run(program, Place(server.port, own), SCHEMAS[0])
    return _direct[key]


def check(program: Program, server: TestServer, proxy: ProxyProcess, certificate: Path, copies: int) -> None:
    """Fails where a copy of the program sees something else through the proxy, or pins for another reason."""
    missing = program.needs()
    if missing:
        pytest.fail(missing) if os.environ.get("RDSP_REQUIRE_SERVERS") else pytest.skip(missing)
    truth = direct(program, server)
    make_schemas(server, SCHEMAS)
    # The embedded builds have no TLS: there the programs go without it on both ways.
    place = Place(proxy.port, str(certificate / "tls.crt") if server.version == "15" else "")
    for transcript in run_copies(program, place, SCHEMAS[:copies]):
        found = difference(truth, transcript)
        assert not found, f"{program.name}\n{found[:20_000]}"
    assert pins(proxy) <= program.may_pin


QUICK = [pytest.param(program, id=program.name) for program in PROGRAMS if program.quick]
ALL = [
    pytest.param(program, pool, id=f"{program.name}, pool of {pool}") for program in PROGRAMS for pool in program.pools
]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("program", QUICK)
def test_two_at_once_see_what_a_direct_connection_sees(
    program: Program, postgres15: TestServer, proxied: Callable[[TestServer, int], ProxyProcess], certificate: Path
) -> None:
    check(program, postgres15, proxied(postgres15, program.pools[0]), certificate, 2)


@pytest.mark.matrix
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("program", "pool"), ALL)
def test_three_at_once_see_what_a_direct_connection_sees(
    program: Program,
    pool: int,
    postgres: TestServer,
    proxied: Callable[[TestServer, int], ProxyProcess],
    certificate: Path,
) -> None:
    check(program, postgres, proxied(postgres, pool), certificate, 3)


def test_the_matrix_notices_a_difference(postgres15: TestServer) -> None:
    """A program that tells which way it goes, by its port: the comparison must see it."""
    assert difference(["## a", "1"], ["## a", "2"])
    make_schemas(postgres15, SCHEMAS[:1])
    telling = Program("telling", ("sh", "-c", 'echo "$1"; echo "## end"', "sh", "one"))
    other = Program("telling", ("sh", "-c", 'echo "$1"; echo "## end"', "sh", "two"))
    place = Place(postgres15.port)
    assert difference(run(telling, place, "x"), run(other, place, "x"))
    with pytest.raises(AssertionError, match="did not come to its end"):
        run(Program("short", ("echo", "only this")), place, "x")
