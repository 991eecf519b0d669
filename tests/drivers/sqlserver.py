"""What the programs of the matrix need at a server of SQL Server's protocol."""

from __future__ import annotations

import ctypes.util
from urllib.parse import quote

import attrs

from tests.drivers.running import NODE, Place, Program, node_packages
from tests.servers.sqlserver_fixtures import DATABASE, PASSWORD, USER, SqlServerProcess


def place(server: SqlServerProcess, port: int) -> Place:
    """Where programs find the server, or a proxy in front of it."""
    return Place(port, str(server.certificate), USER, PASSWORD, {"PGDATABASE": DATABASE})


def target(server: SqlServerProcess) -> str:
    """The URL of a server for the proxy."""
    return f"mssql://{USER}:{quote(PASSWORD)}@127.0.0.1:{server.port}/{DATABASE}"


def odbc() -> str:
    """What the program with Microsoft's driver lacks."""
    try:
        import mssql_python  # noqa: F401
    except ImportError as error:
        return f"mssql-python does not work here: {error}"
    return "" if ctypes.util.find_library("ltdl") else "a library of mssql-python is missing: apt-get install libltdl7"


def tedious() -> str:
    """What the JavaScript program lacks."""
    if not (NODE / "node_modules" / "tedious").exists():
        return node_packages() or "tedious is missing: make test-servers installs it (npm ci)"
    return node_packages()


PYTDS = Program.python("pytds_program")
PYMSSQL = Program.python("pymssql_program")
ODBC = attrs.evolve(Program.python("odbc_program"), needs=odbc)
TEDIOUS = attrs.evolve(Program.node("tedious"), needs=tedious)
PROGRAMS = (PYTDS, PYMSSQL, ODBC, TEDIOUS)
