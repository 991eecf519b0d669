"""Another PostgreSQL as the client: postgres_fdw, dblink and a subscription, through the proxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import attrs
import psycopg
import pytest

from rdsp.demo.postgres import NotInstalled
from tests.live.conftest import connect
from tests.servers.fixtures import missing
from tests.servers.postgres import DATABASE, PASSWORD, USER, TestServer
from tests.servers.proxy import ProxyProcess
from tests.waiting import eventually

pytestmark = [pytest.mark.live, pytest.mark.matrix]


@attrs.frozen
class Site:
    far: TestServer
    near: TestServer
    proxy: ProxyProcess

    @property
    def conninfo(self) -> str:
        password = PASSWORD.replace("'", "\\'")
        return f"host=127.0.0.1 port={self.proxy.port} user={USER} dbname={DATABASE} password='{password}'"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with ExitStack() as stack:
        servers = []
        for _ in range(2):
            try:
                server = TestServer("15", wal_level="logical")
            except NotInstalled as why:
                missing(why)
            stack.callback(server.remove)
            servers.append(server.create())
        with servers[0].admin() as admin:
            admin.execute(f"ALTER ROLE {USER} REPLICATION")
        with servers[1].admin(DATABASE) as admin:
            admin.execute("CREATE EXTENSION postgres_fdw")
            admin.execute("CREATE EXTENSION dblink")
        proxy = stack.enter_context(ProxyProcess.for_target(servers[0].target(), "--max-backends", "3"))
        yield Site(servers[0], servers[1], proxy)


@pytest.fixture
def near(site: Site) -> Iterator[psycopg.Connection]:
    """A superuser's connection to the server that is the client."""
    with site.near.admin(DATABASE) as admin:
        yield admin


def test_foreign_tables(site: Site, near: psycopg.Connection) -> None:
    """Cursors, prepared statements, savepoints and batches of postgres_fdw, from two sessions on three backends."""
    with connect(site.proxy.port) as client:
        client.execute("CREATE TABLE goods (id int PRIMARY KEY, name text, at timestamptz DEFAULT now())")
    password = PASSWORD.replace("'", "''")
    near.execute(
        f"CREATE SERVER far FOREIGN DATA WRAPPER postgres_fdw OPTIONS"
        f" (host '127.0.0.1', port '{site.proxy.port}', dbname '{DATABASE}', fetch_size '7', batch_size '5')"
    )
    near.execute(f"CREATE USER MAPPING FOR PUBLIC SERVER far OPTIONS (user '{USER}', password '{password}')")
    near.execute("IMPORT FOREIGN SCHEMA public LIMIT TO (goods) FROM SERVER far INTO public")
    with site.near.admin(DATABASE) as other:
        near.execute("INSERT INTO goods (id, name) SELECT g, 'name ' || g FROM generate_series(1, 100) g")
        with near.transaction():
            near.execute("UPDATE goods SET name = 'changed' WHERE id % 10 = 0")
            assert other.execute("SELECT count(*) FROM goods WHERE name = 'changed'").fetchone() == (0,)
            with pytest.raises(psycopg.errors.UniqueViolation), near.transaction():
                near.execute("INSERT INTO goods (id) VALUES (1)")
            near.execute("DELETE FROM goods WHERE name LIKE '%9' AND random() < 2")
        assert other.execute("SELECT count(*), count(DISTINCT name) FROM goods").fetchone() == (90, 81)
        rows = other.execute("SELECT a.id FROM goods a JOIN goods b ON a.id = b.id + 1 ORDER BY 1 LIMIT 3").fetchall()
        assert rows == [(2,), (3,), (4,)]
        near.execute("TRUNCATE goods")
        assert other.execute("SELECT count(*) FROM goods").fetchone() == (0,)
    near.execute("DROP SERVER far CASCADE")


def test_dblink(site: Site, near: psycopg.Connection) -> None:
    near.execute("SELECT dblink_connect('far', %s)", (site.conninfo,))
    near.execute("SELECT dblink_exec('far', 'BEGIN; CREATE TABLE linked (a int)')")
    near.execute("SELECT dblink_exec('far', 'INSERT INTO linked SELECT generate_series(1, 50)')")
    near.execute("SELECT dblink_open('far', 'rows', 'SELECT a FROM linked ORDER BY a')")
    fetched = near.execute("SELECT a FROM dblink_fetch('far', 'rows', 5) AS t(a int)").fetchall()
    assert fetched == [(number,) for number in range(1, 6)]
    near.execute("SELECT dblink_close('far', 'rows')")
    near.execute("SELECT dblink_exec('far', 'COMMIT')")
    assert near.execute("SELECT dblink_send_query('far', 'SELECT count(*) FROM linked')").fetchone() == (1,)
    assert near.execute("SELECT n FROM dblink_get_result('far') AS t(n bigint)").fetchall() == [(50,)]
    assert near.execute("SELECT n FROM dblink_get_result('far') AS t(n bigint)").fetchall() == []
    near.execute("SELECT dblink_exec('far', 'DROP TABLE linked')")
    near.execute("SELECT dblink_disconnect('far')")


def test_a_subscription(site: Site, near: psycopg.Connection) -> None:
    """Its first copy, and then the stream; each over a connection that is its own."""
    with site.far.admin(DATABASE) as far:
        far.execute("CREATE TABLE news (id int PRIMARY KEY, what text)")
        far.execute("INSERT INTO news SELECT g, 'old ' || g FROM generate_series(1, 1000) g")
        far.execute("CREATE PUBLICATION paper FOR TABLE news")
        far.execute(f"GRANT SELECT ON news TO {USER}")
        near.execute("CREATE TABLE news (id int PRIMARY KEY, what text)")
        conninfo = site.conninfo.replace("'", "''")
        near.execute(f"CREATE SUBSCRIPTION reader CONNECTION '{conninfo}' PUBLICATION paper")

        def arrived(count: int) -> bool:
            return near.execute("SELECT count(*) FROM news").fetchone() == (count,)

        eventually(lambda: arrived(1000), 60)
        far.execute("INSERT INTO news SELECT g, 'new ' || g FROM generate_series(1001, 1500) g")
        far.execute("DELETE FROM news WHERE id <= 10")
        eventually(lambda: arrived(1490), 60)
        near.execute("ALTER SUBSCRIPTION reader DISABLE")
        near.execute("DROP SUBSCRIPTION reader")
        eventually(lambda: far.execute("SELECT count(*) FROM pg_replication_slots").fetchone() == (0,))
