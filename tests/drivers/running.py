"""Run a program of the matrix: against one address, in several copies at once, and tell where transcripts differ."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from rdsp_codecs.pins import PinReason
from tests.servers.postgres import DATABASE, PASSWORD, USER, TestServer
from tests.servers.proxy import ProxyProcess

ROOT = Path(__file__).parent.parent.parent
SECONDS = 500.0


NODE = ROOT / "tests" / "drivers" / "node"


def node_packages() -> str:
    """What the JavaScript programs lack."""
    if shutil.which("node") is None:
        return "node is missing: apt-get install nodejs npm"
    if not (NODE / "node_modules" / "pg").exists():
        return "the packages of tests/drivers/node are missing: make test-servers installs them (npm ci)"
    return ""


def psql() -> str:
    """What psql's program lacks."""
    return "" if shutil.which("psql") else "psql is missing: apt-get install postgresql-client"


JDBC = Path("/usr/share/java/postgresql.jar")


def java() -> str:
    """What the Java programs lack."""
    if shutil.which("javac") is None:
        return "a Java development kit is missing: apt-get install default-jdk-headless"
    if not JDBC.exists():
        return "PostgreSQL's JDBC driver is missing: apt-get install libpostgresql-jdbc-java"
    return ""


@attrs.frozen
class Program:
    """A program of the matrix.

    Attributes:
        name: what the test is called by.
        command: how it is started.
        may_pin: the reasons for which its sessions may be pinned; any other is a fault.
        quick: part of `make test`, which installs no other languages.
        pools: on pools of how many backends it runs; a program with several pinned sessions at once needs one for each.
        needs: says what is missing on this machine to run it; "" if nothing.
    """

    name: str
    command: tuple[str, ...]
    may_pin: frozenset[PinReason] = frozenset()
    quick: bool = False
    pools: tuple[int, ...] = (1, 2)
    needs: Callable[[], str] = lambda: ""

    @classmethod
    def python(cls, module: str, *may_pin: PinReason) -> Program:
        """A module of `tests.drivers.programs`."""
        return cls(module, (sys.executable, "-m", f"tests.drivers.programs.{module}"), frozenset(may_pin), quick=True)

    @classmethod
    def node(cls, script: str, *may_pin: PinReason) -> Program:
        """A script of `tests/drivers/node`."""
        return cls(
            f"node {script}", ("node", f"tests/drivers/node/{script}.mjs"), frozenset(may_pin), needs=node_packages
        )

    @classmethod
    def psql(cls, *may_pin: PinReason) -> Program:
        """psql with a script; its errors come in line with its output."""
        script = 'exec psql -X -q -a -v schema="$MATRIX_SCHEMA" -f tests/drivers/psql/program.sql 2>&1'
        return cls("psql", ("sh", "-c", script), frozenset(may_pin), quick=True, needs=psql)

    @classmethod
    def java(cls, source: str, *may_pin: PinReason) -> Program:
        """A single-file program of `tests/drivers/java`, with PostgreSQL's JDBC driver."""
        command = ("java", "-Dfile.encoding=UTF-8", "-cp", str(JDBC), f"tests/drivers/java/{source}.java")
        return cls(source.lower(), command, frozenset(may_pin), needs=java)

    def crowds(self, backends: int, *may_pin: PinReason) -> Program:
        """The parts of the same program that can have several pinned sessions at once."""
        return attrs.evolve(
            self,
            name=f"{self.name} crowds",
            command=(*self.command, "--crowds"),
            may_pin=frozenset(may_pin),
            quick=False,
            pools=(backends,),
        )


@attrs.frozen
class Place:
    """Where a program finds its server.

    Attributes:
        port: of 127.0.0.1.
        certificate: to trust; "" for none.
        user, password: of the tests.
        more: variables that its programs look at besides.
    """

    port: int
    certificate: str = ""
    user: str = USER
    password: str = PASSWORD
    more: Mapping[str, str] = attrs.field(factory=dict)

    def variables(self, schema: str) -> dict[str, str]:
        """What a program finds in its environment."""
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": DATABASE,
            "MATRIX_SCHEMA": schema,
            "MATRIX_CA": self.certificate,
            **self.more,
        }


def run(program: Program, place: Place, schema: str) -> list[str]:
    """Run one copy of a program, in a schema of its own, and return its transcript."""
    environment = {**os.environ, **place.variables(schema), "PYTHONHASHSEED": "0", "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        program.command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, f"{program.name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    lines = [line.replace(schema, "SCHEMA") for line in done.stdout.splitlines()]
    assert lines[-1:] == ["## end"], f"{program.name} did not come to its end:\n{done.stdout[-2000:]}"
    return lines


def run_copies(program: Program, place: Place, schemas: Sequence[str]) -> list[list[str]]:
    """Run a copy for each schema, all at once."""
    with ThreadPoolExecutor(len(schemas)) as threads:
        return list(threads.map(lambda schema: run(program, place, schema), schemas))


def make_schemas(server: TestServer, schemas: Sequence[str]) -> None:
    """Make them anew, empty, owned by the tests' user."""
    with server.admin(DATABASE) as admin:
        admin.execute("SET client_min_messages = warning; SET lock_timeout = '30s'")
        # What a program that failed has left prepared would hold its locks for ever.
        for (left,) in admin.execute(
            "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
        ).fetchall():
            admin.execute(f"ROLLBACK PREPARED '{left}'")
        for schema in schemas:
            admin.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
            admin.execute(f"CREATE SCHEMA {schema} AUTHORIZATION {USER}")


def difference(direct: list[str], proxied: list[str]) -> str:
    """Where two transcripts differ; empty when they do not."""
    return "\n".join(difflib.unified_diff(direct, proxied, "direct", "proxied", lineterm="", n=3))


def pins(proxy: ProxyProcess) -> set[PinReason]:
    """The reasons for which a proxy has pinned sessions so far."""
    return {PinReason(value) for value in re.findall(r"\breason=([a-z_]+)", proxy.log()) if value in _REASONS}


_REASONS = {reason.value for reason in PinReason}
