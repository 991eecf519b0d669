"""What the programs of the matrix need at servers of MySQL and MariaDB."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import quote

import attrs

from rdsp_codecs.pins import PinReason
from tests.drivers.running import NODE, Place, Program
from tests.servers.mysql import MySqlServer

USER, PASSWORD = "matrix", "matrix ' secret"
"""In letters that every driver encodes alike; it proves itself in the server's own default way."""
DATABASE = "matrix"
"""Where sessions begin; what a program makes is in a database of its own."""
SYSTEM_PYTHON = "/usr/bin/python3"


def target(server: MySqlServer) -> str:
    """The URL of a server for the proxy."""
    scheme = "mariadb" if server.installation.mariadb else "mysql"
    return f"{scheme}://{USER}:{quote(PASSWORD)}@127.0.0.1:{server.port}/"


def make_databases(server: MySqlServer, names: tuple[str, ...]) -> None:
    """Make them anew, empty, with the programs' user."""
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute("SET sql_notes = 0")
        cursor.execute(f"CREATE USER IF NOT EXISTS {USER} IDENTIFIED BY %s", (PASSWORD,))
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        cursor.execute(f"GRANT ALL ON {DATABASE}.* TO {USER}")
        for name in names:
            cursor.execute(f"DROP DATABASE IF EXISTS {name}")
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
            cursor.execute(f"GRANT ALL ON {name}.* TO {USER}")


def place(server: MySqlServer, port: int, certificate: Path) -> Place:
    """Where programs find the server, or a proxy in front of it."""
    more = {
        "PGDATABASE": DATABASE,
        "MATRIX_MARIADB": "1" if server.installation.mariadb else "",
        "MATRIX_CLIENT": " ".join(client(server)),
    }
    return Place(port, str(certificate), USER, PASSWORD, more)


def client(server: MySqlServer) -> list[str]:
    """The command line that came with a server."""
    one = server.installation
    name = "mariadb" if one.mariadb else "mysql"
    if len(one.program) > 1:
        plugins = [f"--plugin-dir={one.plugins}"] if one.plugins else []
        # MySQL's newest takes no \\u and \\G out of a script unless it is told to.
        more = [] if one.mariadb else ["--commands"]
        return [*map(str, one.program[:-1]), str(one.base / "bin" / name), "--no-defaults", *plugins, *more]
    return [shutil.which(name) or name, "--no-defaults"]


def node_packages() -> str:
    """What the JavaScript programs lack."""
    if shutil.which("node") is None:
        return "node is missing: apt-get install nodejs npm"
    if not (NODE / "node_modules" / "mysql2").exists():
        return "the packages of tests/drivers/node are missing: make test-servers installs them (npm ci)"
    return ""


def system_mysqldb() -> str:
    """What the program with Debian's mysqlclient lacks."""
    if not Path("/usr/lib/python3/dist-packages/MySQLdb").exists():
        return "mysqlclient is missing: apt-get install python3-mysqldb"
    return ""


def sysbench() -> str:
    """What sysbench's runs lack."""
    return "" if shutil.which("sysbench") else "sysbench is missing: apt-get install sysbench"


# What the parts do that all Python programs share: a temporary table and a lock by name, both let go.
_SHARED = (PinReason.TEMPORARY_TABLE, PinReason.ADVISORY_LOCK)
_CALLS = (PinReason.UNRECOGNISED_STATE, PinReason.USER_VARIABLE)
"""A procedure may do anything, and fills the variables that stand for its parameters."""


def _crowds(program: Program, *parts: str) -> Program:
    """The parts of a program that pin, or must not queue."""
    made = program.crowds(12, *_CALLS)
    return attrs.evolve(made, command=(*made.command, *parts))


PYMYSQL = Program.python("pymysql_program", *_SHARED)
CONNECTOR = Program.python("connector_program", *_SHARED)
CONNECTOR_C = attrs.evolve(CONNECTOR, name="connector_program in C", command=(*CONNECTOR.command, "--c"))
AIOMYSQL = Program.python("aiomysql_program")
MYSQLDB = Program(
    "mysqldb_program",
    (SYSTEM_PYTHON, "-m", "tests.drivers.programs.mysqldb_program"),
    frozenset(_SHARED),
    needs=system_mysqldb,
)
MYSQL2 = attrs.evolve(Program.node("mysql2"), needs=node_packages)
SQLALCHEMY = Program.python("sqlalchemy_mysql_program")
DJANGO = Program.python("django_mysql_program")
CLIENT = Program(
    "command line",
    ("sh", "tests/drivers/mysql_client/run"),
    frozenset((PinReason.TEXT_PREPARED,)),
)
_CROWDED = ("procedures", "ended_by_others")

PROGRAMS: tuple[Program, ...] = (
    PYMYSQL,
    _crowds(PYMYSQL, *_CROWDED),
    CONNECTOR,
    _crowds(CONNECTOR, *_CROWDED, "another_user"),
    CONNECTOR_C,
    _crowds(CONNECTOR_C, *_CROWDED, "another_user"),
    AIOMYSQL,
    AIOMYSQL.crowds(6),
    MYSQLDB,
    _crowds(MYSQLDB, "procedures", "another_user"),
    SQLALCHEMY,
    DJANGO,
    CLIENT,
    MYSQL2,
    _crowds(MYSQL2, *_CROWDED, "another_user"),
)
