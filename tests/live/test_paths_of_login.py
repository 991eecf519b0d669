"""A search_path that begins with pg_temp where neither the client nor `init_query` has set it: temporary tables."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.compare.postgres.talking import Quiet, talkers
from tests.compare.runner import Script, run, says
from tests.live.conftest import connect
from tests.servers.postgres import PASSWORD, USER, TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import RawClient

pytestmark = pytest.mark.live

PLACES = {
    "the role": "ALTER ROLE app {}",
    "the database": "ALTER DATABASE other {}",
    "the role in the database": "ALTER ROLE app IN DATABASE other {}",
}
SCRIPT = Script(
    "temporary tables of a path of the login",
    (18,),
    (
        says("A", "CREATE TABLE of_login (a int); INSERT INTO of_login VALUES (1)"),
        says("B", "SELECT to_regclass('of_login')"),
        says("B", "SET search_path = public"),
        says("B", "RESET search_path"),
        says("B", "CREATE TABLE of_login (b int)"),
        says("A", "SELECT * FROM of_login"),
        says("B", "SELECT * FROM of_login"),
    ),
    (2,),
)


@pytest.fixture(params=PLACES.values(), ids=PLACES.keys())
def server(request: pytest.FixtureRequest, postgres: TestServer) -> Iterator[TestServer]:
    """One whose clients of one database make temporary tables of what they create."""
    with postgres.admin() as admin:
        admin.execute(request.param.format("SET search_path = pg_temp, public"))
    yield postgres
    with postgres.admin() as admin:
        admin.execute(request.param.format("RESET search_path"))


def _never() -> bool:
    return False


def test_tables_in_pg_temp_by_the_path_of_a_login_are_one_sessions(server: TestServer) -> None:
    def to(port: int, **parameters: str) -> RawClient:
        return RawClient(port, {"user": USER, "database": "other", **parameters}, PASSWORD)

    quiet = Quiet()
    direct = run(SCRIPT, talkers(lambda **more: to(server.port, **more), _never, quiet.directly))
    with ProxyProcess.for_target(server.target(), "--max-backends", "2") as proxy:
        proxied = run(SCRIPT, talkers(lambda **more: to(proxy.port, **more), _never, quiet.proxied))

        assert proxied == direct
        proxy.wait_for_log("tables are created in pg_temp")


def test_a_backend_that_came_behind_the_setting_pins_who_was_there_before(postgres: TestServer) -> None:
    """The session's first backend has another path."""
    with (
        postgres.admin() as admin,
        ProxyProcess.for_target(postgres.target(), "--max-backends", "2") as proxy,
        connect(proxy.port, dbname="other") as one,
        connect(proxy.port, dbname="other") as two,
    ):
        for client in (one, two):
            client.execute("SELECT 1")
        admin.execute("ALTER ROLE app IN DATABASE other SET search_path = pg_temp")
        try:
            two.execute("BEGIN")
            one.execute("CREATE TABLE made_later (a int)")
            two.execute("COMMIT")
        finally:
            admin.execute("ALTER ROLE app IN DATABASE other RESET search_path")

        proxy.wait_for_log("tables are created in pg_temp")
        assert two.execute("SELECT to_regclass('made_later')").fetchone() == (None,)
        assert one.execute("SELECT count(*) FROM made_later").fetchone() == (0,)
