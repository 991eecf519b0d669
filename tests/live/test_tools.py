"""PostgreSQL's own programs, each on a direct connection and through the proxy: the same output and exit status."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from rdsp.demo.postgres import NotInstalled
from tests.servers.fixtures import missing
from tests.servers.postgres import ADMIN, ADMIN_PASSWORD, PASSWORD, USER, TestServer, binaries
from tests.servers.proxy import ProxyProcess

pytestmark = [pytest.mark.live, pytest.mark.matrix]

_SHOP = """
CREATE SCHEMA deep;
CREATE TABLE deep.things (a int PRIMARY KEY, b text, c bytea, d jsonb, e numrange);
INSERT INTO deep.things SELECT g, repeat('x', g % 90), decode(md5(g::text), 'hex'), jsonb_build_object('k', g),
    numrange(g, g + 1) FROM generate_series(1, 3000) g;
CREATE VIEW deep.some AS SELECT * FROM deep.things WHERE a < 10;
CREATE MATERIALIZED VIEW deep.counted AS SELECT count(*) FROM deep.things;
CREATE FUNCTION deep.f(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE SEQUENCE deep.s;
COMMENT ON TABLE deep.things IS 'ünïcode';
SELECT lo_from_bytea(0, 'abcdef');
"""

_SESSION = r"""
\set ON_ERROR_ROLLBACK on
BEGIN;
SELECT 1/0;
SELECT 2;
COMMIT;
SELECT 1 AS a \gset
\echo :a
SELECT 'SELECT ' || g FROM generate_series(1, 3) g \gexec
SELECT 1 AS x, 'a' AS y \gdesc
\copy (SELECT * FROM deep.things ORDER BY a LIMIT 3) TO stdout
\copy deep.things(a, b) FROM stdin
100001	q
\.
\copy deep.things(a, b) FROM stdin
not a number	q
\.
DELETE FROM deep.things WHERE a > 100000;
\encoding LATIN1
SELECT 'b', repeat('x', 3);
\encoding UTF8
\c :restored
SELECT current_database();
\c - app
\c shop postgres
SELECT current_database(), current_user;
\errverbose
SELECT a, b, c FROM deep.things ORDER BY a LIMIT 2 \crosstabview a b c
\set FETCH_COUNT 100
SELECT count(*) FROM (SELECT generate_series(1, 1000)) x;
SELECT generate_series(1, 300);
\sf deep.f
\d+ deep.*
\df deep.*
\lo_list
\dn+
\dp deep.*
\du
"""

PROGRAMS = {
    "createdb and dropdb": "createdb -e -T template0 -E UTF8 x1 && dropdb -e x1; dropdb x1",
    "createuser and dropuser": "createuser -e u1; createuser -e --createdb --role=app u2; dropuser -e u1; dropuser -e u2",
    "psql": "psql -v restored={restored} shop < {session}",
    "psql -l": "psql -l",
    "psql -1": "psql -1 -v ON_ERROR_STOP=1 shop -c 'SELECT 1' -c 'SELECT 1/0' -c 'SELECT 3'",
    "pg_dump": "pg_dump shop",
    "pg_dump --inserts": "pg_dump --inserts --column-inserts --serializable-deferrable shop",
    "pg_dump -Fc": "pg_dump -Fc -f {folder}/shop.dump shop && pg_restore -l {folder}/shop.dump",
    "pg_dump -Fd -j 4": "pg_dump -Fd -j 4 -f {folder}/shop shop && pg_restore -l {folder}/shop",
    "pg_restore -j 4": "dropdb --if-exists {restored}; createdb {restored} && pg_restore -j 4 -d {restored} {folder}/shop"
    " && pg_dump {restored}",
    "pg_restore -1": "dropdb {restored} && createdb {restored} && pg_restore -1 -d {restored} {folder}/shop.dump"
    " && pg_dump {restored}",
    "pg_restore -C": "pg_restore -C --clean --if-exists -d postgres {folder}/shop.dump && pg_dump shop",
    "pg_dumpall": "pg_dumpall",
    "vacuumdb": "vacuumdb -j 3 -z shop; vacuumdb -a --analyze-in-stages; vacuumdb -f -t deep.things shop",
    "reindexdb": "reindexdb -j 3 -S deep shop; reindexdb --concurrently shop; reindexdb -s shop",
    "clusterdb": "clusterdb shop",
    "pg_amcheck": "pg_amcheck -j 3 shop",
    "vacuumlo": "vacuumlo -v -n shop",
    "pg_isready": "pg_isready -q",
    "pg_basebackup": "pg_basebackup -D {folder}/backup -X stream -c fast && pg_verifybackup {folder}/backup",
    "pg_receivewal": "mkdir {folder}/wal && timeout 3 pg_receivewal -D {folder}/wal --no-loop",
    "pgbench -i": "pgbench -q -i -I dtGvpf --partitions=3 --partition-method=hash --foreign-keys {restored}"
    " > {folder}/said 2>&1; psql {restored} -c '\\d+ pgbench_accounts'",
    "pgbench, simple": "pgbench -n -c 8 -j 2 -t 100 -M simple {restored}",
    "pgbench, extended": "pgbench -n -c 8 -j 2 -t 100 -M extended --max-tries=3 {restored}",
    "pgbench, prepared": "pgbench -n -c 8 -j 2 -t 100 -M prepared {restored}",
}
"""What is run, in this order: some need what those before them have made."""


@attrs.frozen
class Site:
    server: TestServer
    proxy: ProxyProcess
    folder: Path

    def run(self, program: str, *, through: bool) -> list[str]:
        """Exit status, output and errors, line by line, without what is never twice the same."""
        folder = self.folder / ("through" if through else "direct")
        folder.mkdir(exist_ok=True)
        port = self.proxy.port if through else self.server.port
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PG")},
            "PGHOST": "127.0.0.1",
            "PGPORT": str(port),
            "PGUSER": ADMIN,
            "PGPASSFILE": str(self.folder / "passwords"),
            "LC_ALL": "C",
            "PATH": f"{binaries(self.server.version)}:{os.environ['PATH']}",
        }
        # The proxy does not see who else is in a database: each has one to drop.
        restored = "restored_2" if through else "restored_1"
        command = program.format(folder=folder, session=self.folder / "session.sql", restored=restored)
        done = subprocess.run(
            command, shell=True, env=environment, capture_output=True, timeout=100, stdin=subprocess.DEVNULL
        )
        said = done.stdout + b"\n-- standard error\n" + done.stderr
        lines = [f"exit status {done.returncode}", *said.decode(errors="replace").splitlines()]
        for mine, everyones in ((str(folder), "FOLDER"), (f"port {port}", "port PORT")):
            lines = [line.replace(mine, everyones) for line in lines]
        return [_UNLIKE.sub("*", line) for line in lines]


_UNLIKE = re.compile(
    r"(?<=restrict )\w+|(?<=restored_)[12]|SCRAM-SHA-256\$\S+|^; +Archive created at .*|(?<=Started on ).*|(?<=Completed on ).*"
    r"|^(?:latency|tps|initial connection time|number of failed).*|[0-9.]+ s(?= |\))"
)
"""Random words of dumps, whose database it is, salts, times."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("tools")
    passwords = folder / "passwords"
    passwords.write_text(
        "".join(f"*:*:*:{user}:{word}\n" for user, word in ((ADMIN, ADMIN_PASSWORD), (USER, PASSWORD)))
    )
    passwords.chmod(0o600)
    (folder / "session.sql").write_text(_SESSION)
    try:
        server = TestServer("15", wal_level="logical")
    except NotInstalled as why:
        missing(why)
    try:
        server.create()
        with server.admin() as admin:
            admin.execute("CREATE DATABASE shop")
            admin.execute("CREATE DATABASE restored_1")
            admin.execute("CREATE DATABASE restored_2")
        with server.admin("shop") as admin:
            admin.execute(_SHOP)
            admin.execute("CREATE EXTENSION amcheck")
        configuration = folder / "rdsp.toml"
        configuration.write_text(
            f"""
            [[proxies]]
            name = "tools"
            engine_family = "POSTGRESQL"
            listen = "127.0.0.1:0"
            [proxies.target]
            url = "{server.target(ADMIN, ADMIN_PASSWORD, "postgres")}"
            [proxies.target_group]
            max_backends = 8
            [[proxies.auth]]
            username = "{USER}"
            password = "{PASSWORD}"
            """
        )
        with ProxyProcess(str(configuration)) as proxy:
            yield Site(server, proxy, folder)
    finally:
        server.remove()


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_does_the_same_through_the_proxy(site: Site, program: str) -> None:
    direct = site.run(program, through=False)
    assert site.run(program, through=True) == direct
