"""What follows the session over a pool of one database connection: settings, statements that SQL names, and pins that end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.live.conftest import connect
from tests.live.test_faults import config
from tests.servers.postgres import DATABASE, TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import SYNC, RawClient, bind, close, execute, parse, query

pytestmark = pytest.mark.live


def ask(client: psycopg.Connection[Any], text: str) -> Any:
    """The first column of the first row, the command's tag, or the SQLSTATE of its error."""
    try:
        cursor = client.execute(text)
    except psycopg.Error as error:
        return error.sqlstate
    row = cursor.fetchone() if cursor.description is not None else None
    return row[0] if row is not None else cursor.statusmessage


@contextmanager
def pair(proxy: ProxyProcess) -> Iterator[tuple[psycopg.Connection[Any], psycopg.Connection[Any]]]:
    """Two clients that prepare nothing by themselves."""
    with connect(proxy.port) as one, connect(proxy.port) as two:
        one.prepare_threshold = two.prepare_threshold = None
        yield one, two


def test_sessions_with_different_settings_share_a_database_connection(postgres: TestServer) -> None:
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "1") as proxy, pair(proxy) as (one, two):
        ask(one, "SET work_mem = '8MB'")
        ask(two, "SET work_mem = '16MB'")
        ask(one, "SELECT set_config('search_path', '', false)")

        shown = [(ask(c, "SHOW work_mem"), ask(c, "SHOW search_path")) for c in (one, two, one, two)]

        assert shown == [("8MB", ""), ("16MB", '"$user", public')] * 2
        assert ask(one, "SELECT pg_backend_pid()") == ask(two, "SELECT pg_backend_pid()")
        assert "was pinned" not in proxy.log()


def test_a_custom_variable_is_never_seen_by_who_set_none(postgres: TestServer) -> None:
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "2") as proxy, pair(proxy) as (one, two):
        ask(one, "BEGIN; SET LOCAL app.tenant = '7'; COMMIT")
        ask(one, "SET app.name = 'x'")

        for _ in range(3):
            assert ask(two, "SELECT current_setting('app.tenant', true) IS NULL")
            assert ask(two, "SHOW app.name") == "42704"
            assert ask(one, "SHOW app.tenant") == ""
            assert ask(one, "SHOW app.name") == "x"
        assert "was pinned" not in proxy.log()


def test_statements_that_sql_names_follow_the_session(postgres: TestServer) -> None:
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "1") as proxy, pair(proxy) as (one, two):
        assert ask(one, "PREPARE p (int) AS SELECT $1 + 1") == "PREPARE"
        assert ask(two, "EXECUTE p (1)") == "26000"
        assert ask(two, "PREPARE p AS SELECT 'two'") == "PREPARE"
        assert [ask(c, t) for c, t in ((one, "EXECUTE p (1)"), (two, "EXECUTE p"), (one, "EXECUTE p (2)"))] == [
            2,
            "two",
            3,
        ]
        assert ask(one, "PREPARE p AS SELECT 1") == "42P05"
        assert ask(one, "SELECT 1; PREPARE q AS SELECT 5; EXECUTE q") == 1
        assert ask(two, "DEALLOCATE ALL") == "DEALLOCATE ALL"
        assert [ask(one, "EXECUTE q"), ask(two, "EXECUTE p"), ask(one, "DEALLOCATE p"), ask(one, "EXECUTE p (1)")] == [
            5, "26000", "DEALLOCATE", "26000"
        ]  # fmt: skip
        assert "was pinned" not in proxy.log()


def test_what_a_statement_does_to_the_session_is_found_out_when_sql_executes_it(postgres: TestServer) -> None:
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "2") as proxy, pair(proxy) as (one, two):
        ask(one, "PREPARE s AS SELECT set_config('work_mem', '9MB', false)")
        ask(two, "SELECT 1")
        ask(one, "EXECUTE s")

        assert [ask(two, "SHOW work_mem"), ask(one, "SHOW work_mem")] == ["4MB", "9MB"]


def test_dropping_all_statements_needs_none_of_their_tables(postgres: TestServer) -> None:
    """psycopg says DEALLOCATE ALL by itself when it sees the tag of a DROP."""
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "1") as proxy, connect(proxy.port) as client:
        client.prepare_threshold = 0
        for _ in range(2):
            client.execute("CREATE TABLE gone (a int)")
            client.execute("SELECT * FROM gone")
            client.execute("DROP TABLE gone")
            client.execute("SELECT 1")
        assert "was pinned" not in proxy.log()


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("SELECT pg_advisory_lock(11)", "SELECT pg_advisory_unlock(11)"),
        ("CREATE TEMP TABLE mine (a int)", "DROP TABLE mine"),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "CLOSE c"),
        ("SELECT pg_advisory_lock(11), pg_advisory_lock(12)", "DISCARD ALL"),
    ],
)
def test_a_pin_ends_with_what_caused_it(postgres: TestServer, begin: str, end: str) -> None:
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "2") as proxy, pair(proxy) as (one, two):
        ask(one, begin)
        proxy.wait_for_log("was pinned")
        assert ask(one, "SELECT pg_backend_pid()") != ask(two, "SELECT pg_backend_pid()")

        ask(one, end)

        proxy.wait_for_log("isn't pinned any longer")
        assert ask(one, "SELECT pg_backend_pid()") == ask(two, "SELECT pg_backend_pid()")


@pytest.mark.parametrize(
    "text",
    ["BEGIN; CREATE TEMP TABLE t (a int) ON COMMIT DROP; COMMIT", "SELECT pg_advisory_xact_lock(1)",
     "SELECT pg_advisory_lock(1); SELECT pg_advisory_unlock(1)"],
)  # fmt: skip
def test_what_leaves_nothing_behind_does_not_pin(postgres: TestServer, text: str) -> None:
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "1") as proxy, pair(proxy) as (one, two):
        ask(one, text)

        assert ask(two, "SELECT 1") == 1
        assert "was pinned" not in proxy.log()


HIDDEN = """
CREATE OR REPLACE FUNCTION hidden_setting() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN EXECUTE 'set work_' || 'mem = ''9MB'''; END $$;
CREATE OR REPLACE FUNCTION hidden_table() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN EXECUTE 'create te' || 'mp table hidden (a int)'; END $$
"""


def test_the_strict_mode_finds_what_functions_do(postgres: TestServer, tmp_path: Path) -> None:
    with postgres.admin(DATABASE) as admin:
        admin.execute(HIDDEN)
    path = config(tmp_path, postgres.target(), max_backends=2, strict_session_state="true")
    with ProxyProcess(path) as proxy, pair(proxy) as (one, two):
        ask(one, "SELECT hidden_setting()")
        assert [ask(two, "SHOW work_mem"), ask(one, "SHOW work_mem")] == ["4MB", "9MB"]

        ask(two, "SELECT hidden_table()")
        assert [ask(one, "SELECT count(*) FROM hidden"), ask(two, "SELECT count(*) FROM hidden")] == ["42P01", 0]


def test_currval_is_never_a_strangers(postgres: TestServer) -> None:
    with postgres.admin(DATABASE) as admin:
        admin.execute("CREATE SEQUENCE IF NOT EXISTS numbers; GRANT ALL ON numbers TO PUBLIC")
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "1") as proxy, pair(proxy) as (one, two):
        ask(one, "SELECT nextval('numbers')")
        ask(two, "SELECT 1")

        assert ask(two, "SELECT currval('numbers')") == "55000"
        ask(two, "BEGIN")
        mine = ask(two, "SELECT nextval('numbers')")
        assert ask(two, "SELECT currval('numbers')") == mine


def test_a_default_that_reads_a_sequence_is_never_given_a_former_value(postgres: TestServer) -> None:
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "2") as proxy, pair(proxy) as (one, two):
        for text in (
            "CREATE SEQUENCE read_later",
            "CREATE TABLE read_by (a int, b int DEFAULT currval('read_later'))",
            "CREATE FUNCTION read_by() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN currval('read_later'); END $$",
        ):
            ask(one, text)
        for text in ("INSERT INTO read_by (a) VALUES (1) RETURNING b", "SELECT read_by()"):
            ask(one, "SELECT setval('read_later', 1, false)")
            assert ask(one, "SELECT nextval('read_later')") == 1
            ask(two, "BEGIN")  # takes the connection that the other has just given back
            assert ask(one, "SELECT nextval('read_later')") == 2
            ask(two, "COMMIT")
            # Whatever connection it gets: what it was last given, or an error.
            for _ in range(3):
                assert ask(one, text) in (2, "55000")
            ask(two, "SELECT nextval('read_later')")
            assert ask(one, text) in (2, "55000")
        for text in ("DROP FUNCTION read_by()", "DROP TABLE read_by", "DROP SEQUENCE read_later"):
            ask(one, text)


def test_sequences_can_be_made_to_pin(postgres: TestServer, tmp_path: Path) -> None:
    with postgres.admin(DATABASE) as admin:
        admin.execute("CREATE SEQUENCE IF NOT EXISTS numbers; GRANT ALL ON numbers TO PUBLIC")
    path = config(tmp_path, postgres.target(), max_backends=2, pin_sequences="true")
    with ProxyProcess(path) as proxy, pair(proxy) as (one, two):
        mine = ask(one, "SELECT nextval('numbers')")
        ask(two, "SELECT nextval('numbers')")

        assert ask(one, "SELECT currval('numbers')") == mine
        assert ask(two, "SELECT lastval()") == mine + 1


def test_a_database_connection_that_cannot_take_a_setting_is_replaced(postgres: TestServer) -> None:
    """PostgreSQL does not change temp_buffers behind a temporary table."""
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "1") as proxy, pair(proxy) as (one, two):
        ask(two, "SET temp_buffers = '1600kB'")
        before = ask(one, "SELECT pg_backend_pid()")
        ask(one, "CREATE TEMP TABLE mine (a int)")
        ask(one, "INSERT INTO mine VALUES (1)")
        ask(one, "DROP TABLE mine")

        assert ask(two, "SHOW temp_buffers") == "1600kB"
        assert ask(two, "SELECT pg_backend_pid()") != before
        assert ask(one, "SHOW temp_buffers") == "8MB"


def test_a_setting_that_nobody_can_have_any_longer_is_refused_in_the_servers_words(postgres: TestServer) -> None:
    with postgres.admin() as admin:
        admin.execute("DROP ROLE IF EXISTS doomed; CREATE ROLE doomed; GRANT doomed TO app")
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "2") as proxy, pair(proxy) as (one, two):
        ask(one, "SET ROLE doomed")
        ask(two, "SELECT 1")
        with postgres.admin() as admin:
            admin.execute("DROP ROLE doomed")

        ask(two, "BEGIN")  # takes the one that has the role
        assert ask(one, "SELECT current_user") in ("22023", "42704")
        ask(two, "COMMIT")
        assert ask(two, "SELECT current_user") == "app"


def test_a_name_means_what_a_client_makes_it_right_behind_the_end_of_the_old_one(
    postgres: TestServer, raw: Callable[..., RawClient]
) -> None:
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "1") as proxy:
        client = raw(proxy.port)
        client.ask(parse("s", "SELECT 1"), SYNC)
        for number in range(50):
            client.ask(query("DEALLOCATE s"))
            client.ask(parse("s", f"SELECT {number}"), SYNC)
            answer = client.ask(bind("", "s"), execute(), SYNC)
            assert [tag for tag, _ in answer] == ["2", "D", "C", "Z"]
            client.ask(query("BEGIN; PREPARE t AS SELECT 1; COMMIT"))
            assert client.value("EXECUTE t") == b"1"
            client.ask(query("DEALLOCATE t"))


def test_a_huge_query_pins_only_for_what_is_in_it(postgres: TestServer) -> None:
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "2") as proxy, pair(proxy) as (one, two):
        for ending in ("", "; SELECT 2"):
            assert ask(one, f"SELECT length('{'x' * (17 << 20)}'){ending}") == 17 << 20
            assert ask(two, "SELECT 1") == 1
        assert "was pinned" not in proxy.log()

        ask(one, f"SELECT length('{'x' * (17 << 20)}'); SET work_mem = '7MB'")

        proxy.wait_for_log("something in a query over max_held_bytes")
        assert [ask(two, "SHOW work_mem"), ask(one, "SHOW work_mem")] == ["4MB", "7MB"]


@pytest.mark.parametrize(
    "local", ["SET LOCAL DateStyle = 'ISO, DMY'", "SELECT set_config('datestyle', 'ISO, DMY', true)"]
)
def test_a_statement_read_under_a_local_setting_is_nobody_elses(
    postgres: TestServer, raw: Callable[..., RawClient], local: str
) -> None:
    text = "SELECT '01/02/2020'::date::text"
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "1") as proxy:
        days = []
        for before in (local, "SELECT 1", local):
            client = raw(proxy.port)
            client.ask(query(f"BEGIN; {before}"))
            client.ask(parse("s", text), SYNC)
            days.append(dict(client.ask(bind("", "s"), execute(), SYNC))["D"][6:])
            client.ask(query("COMMIT"))
            client.close()  # which may be pinned: its statement cannot be read so again

        assert days == [b"2020-02-01", b"2020-01-02", b"2020-02-01"]


def test_a_statement_that_sql_has_named_is_gone_when_the_protocol_closes_it(
    postgres: TestServer, raw: Callable[..., RawClient]
) -> None:
    with ProxyProcess.for_target(postgres.target(), "--max-backends", "1") as proxy:
        client = raw(proxy.port)
        client.ask(query("PREPARE p AS SELECT 1"))
        client.ask(close("S", "p"), SYNC)

        assert [tag for tag, _ in client.ask(bind("", "p"), execute(), SYNC)] == ["E", "Z"]
        assert [tag for tag, _ in client.ask(parse("p", "SELECT 2"), bind("", "p"), execute(), SYNC)] == list("12DCZ")
