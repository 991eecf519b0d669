"""Every program for SQL Server's protocol at the reference server: each asserts what SQL Server would have done. And
through the proxy: transcripts are the same.

`make test` runs the Python programs; the matrix the JavaScript one, too.
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import pytest

from rdsp_codecs.pins import PinReason
from tests.drivers import sqlserver as drivers
from tests.drivers.running import Program, difference, pins, run
from tests.drivers.test_drivers import certificate
from tests.servers.proxy import ProxyProcess
from tests.servers.sqlserver_fixtures import SqlServerProcess

__all__ = ["certificate"]

pytestmark = pytest.mark.live


def parameter(program: Program) -> object:
    return pytest.param(program, marks=() if program.quick else pytest.mark.matrix, id=program.name)


@pytest.mark.parametrize("program", [parameter(program) for program in drivers.PROGRAMS])
def test_the_reference_server_is_taken_for_sql_server(program: Program, sqlserver: SqlServerProcess) -> None:
    if missing := program.needs():
        pytest.fail(missing) if os.environ.get("RDSP_REQUIRE_SERVERS") else pytest.skip(missing)
    run(program, drivers.place(sqlserver, sqlserver.port), f"m_{program.name.replace(' ', '_')}")


# What the programs do that keeps their backends, as long as what a session sets is not synced.
MAY_PIN = {
    PinReason.SESSION_SETTING,
    PinReason.TEMPORARY_TABLE,
    PinReason.PREPARED_STATEMENT,
    PinReason.UNRECOGNISED_STATE,
}
BACKENDS = 3


@pytest.mark.parametrize("program", [parameter(program) for program in drivers.PROGRAMS])
def test_it_sees_the_same_through_the_proxy(
    program: Program, sqlserver: SqlServerProcess, certificate: Path, tmp_path: Path
) -> None:
    if missing := program.needs():
        pytest.fail(missing) if os.environ.get("RDSP_REQUIRE_SERVERS") else pytest.skip(missing)
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
        url = "{drivers.target(sqlserver)}"
        [proxies.target_group]
        max_backends = {BACKENDS}
        """
    )
    name = program.name.replace(" ", "_")
    truth = run(program, drivers.place(sqlserver, sqlserver.port), f"t_{name}")
    with ProxyProcess(str(config)) as proxy:
        place = attrs.evolve(drivers.place(sqlserver, proxy.port), certificate=str(certificate / "tls.crt"))
        assert not difference(truth, run(program, place, f"p_{name}"))
        assert pins(proxy) <= MAY_PIN
