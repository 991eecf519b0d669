"""Every program for SQL Server's protocol at the reference server: each asserts what SQL Server would have done.

`make test` runs the Python programs; the matrix the JavaScript one, too.
"""

from __future__ import annotations

import os

import pytest

from tests.drivers import sqlserver as drivers
from tests.drivers.running import Program, run
from tests.servers.sqlserver_fixtures import SqlServerProcess

pytestmark = pytest.mark.live


def parameter(program: Program) -> object:
    return pytest.param(program, marks=() if program.quick else pytest.mark.matrix, id=program.name)


@pytest.mark.parametrize("program", [parameter(program) for program in drivers.PROGRAMS])
def test_the_reference_server_is_taken_for_sql_server(program: Program, sqlserver: SqlServerProcess) -> None:
    if missing := program.needs():
        pytest.fail(missing) if os.environ.get("RDSP_REQUIRE_SERVERS") else pytest.skip(missing)
    run(program, drivers.place(sqlserver, sqlserver.port), f"m_{program.name.replace(' ', '_')}")
