"""What changes while rows are sent that an EOF ends: no server tells it there, and no other session may find it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.login import CAPABILITIES
from tests.live.mysql.sidebyside import Two, target
from tests.live.mysql.test_lifted import is_kept
from tests.servers.mysql import MySqlServer
from tests.servers.mysqlclient import MySqlClient
from tests.servers.proxy import ProxyProcess

FUNCTIONS = {
    "variable": "SET @hidden = 5",
    "setting": "SET SESSION group_concat_max_len = 2000",
    "table": "CREATE TEMPORARY TABLE IF NOT EXISTS hidden_one (a INT)",
}
QUESTIONS = {
    "variable": "SELECT @hidden",
    "setting": "SELECT @@group_concat_max_len",
    "table": "SELECT COUNT(*) FROM hidden_one",
}


@pytest.fixture(scope="module")
def ready(tracking: MySqlServer) -> MySqlServer:
    with tracking.admin() as admin, admin.cursor() as cursor:
        cursor.execute("SET GLOBAL log_bin_trust_function_creators = 1")
        cursor.execute("USE app")
        cursor.execute("CREATE TABLE IF NOT EXISTS rows_of (a INT PRIMARY KEY, b INT) ENGINE=InnoDB")
        cursor.execute("REPLACE INTO rows_of VALUES (1, 1), (2, 2)")
        for name, body in FUNCTIONS.items():
            cursor.execute(f"DROP FUNCTION IF EXISTS makes_{name}")
            cursor.execute(f"CREATE FUNCTION makes_{name}() RETURNS INT DETERMINISTIC BEGIN {body}; RETURN 1; END")
            cursor.execute(f"CREATE OR REPLACE VIEW view_{name} AS SELECT makes_{name}() AS a FROM rows_of")
    return tracking


@pytest.fixture
def one(ready: MySqlServer) -> Iterator[ProxyProcess]:
    with ProxyProcess.for_target(target(ready), "--max-backends", "1") as proxy:
        yield proxy


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("begins", ["", "BEGIN", "SET autocommit = 0"])
@pytest.mark.parametrize("then", ["SELECT 1", "SET @other = 1"])
def test_what_a_view_changes_stays_with_its_session(
    ready: MySqlServer, one: ProxyProcess, name: str, begins: str, then: str
) -> None:
    """It keeps its backend, as it does where an OK tells: nobody else can have it, and the session finds it."""
    with Two(ready, one) as mine:
        mine.run("SELECT 0", free=False)
        if begins:
            mine.run(begins, free=False)
        mine.run(f"SELECT * FROM view_{name}", free=False)
        mine.run(then, free=False)
        if begins:
            mine.run("COMMIT", free=False)
        mine.run(QUESTIONS[name], free=False)
        assert is_kept(one.port)
        mine.run(QUESTIONS[name], free=False)
    with Two(ready, one) as other:
        other.run(QUESTIONS[name], free=False)


@pytest.mark.parametrize("binary", [False, True])
def test_reading_alone_keeps_no_backend(ready: MySqlServer, one: ProxyProcess, binary: bool) -> None:
    """Also of views, also without autocommit behind COMMIT, and where the server's flag says more than there is."""
    texts = ["SELECT * FROM rows_of", "SHOW TABLES LIKE 'rows_of'", "(SELECT 1)", "SELECT * FROM rows_of WHERE a = 7"]
    with MySqlClient(one.port, parameters={CAPABILITIES: str(c.CLIENT_MULTI_RESULTS)}) as client:
        for before, after in (("SELECT 0", "SELECT 0"), ("BEGIN", "COMMIT"), ("SET autocommit = 0", "ROLLBACK")):
            for text in texts:
                assert client.ask(r.COM_QUERY, before.encode())[-1].part is not Part.ERR
                if binary:
                    number = client.ask(r.COM_STMT_PREPARE, text.encode())[0].payload[1:5]
                    heard = client.ask(r.COM_STMT_EXECUTE, number + b"\0\1\0\0\0")
                else:
                    heard = client.ask(r.COM_QUERY, text.encode())
                assert heard[-1].part is Part.EOF
                assert not any(
                    each.part is Part.EOF and (each.status or 0) & r.SERVER_SESSION_STATE_CHANGED for each in heard
                )
                assert client.ask(r.COM_QUERY, after.encode())[-1].part is not Part.ERR
                assert not is_kept(one.port)


def test_no_rows_change_what_the_next_text_is_read_by(ready: MySqlServer) -> None:
    """Servers give a caller back what a function has set of that. So a text may be read although something is unheard."""
    names = ("sql_mode", "character_set_client", "character_set_connection", "collation_connection")
    values = ("NO_BACKSLASH_ESCAPES,ANSI_QUOTES", "latin1", "latin1", "latin1_german1_ci")
    question = "SELECT " + ", ".join(f"@@SESSION.{name}" for name in names)
    with ready.admin() as admin, admin.cursor() as cursor:
        cursor.execute("USE app")
        cursor.execute("DROP FUNCTION IF EXISTS makes_modes")
        body = "; ".join(f"SET SESSION {name} = '{value}'" for name, value in zip(names, values, strict=True))
        cursor.execute(f"CREATE FUNCTION makes_modes() RETURNS INT DETERMINISTIC BEGIN {body}; RETURN 1; END")
        cursor.execute(question)
        before = cursor.fetchall()
        cursor.execute("SELECT makes_modes()")
        cursor.execute(question)
        assert cursor.fetchall() == before != (values,)


TRACES = [
    "SELECT ROW_COUNT()",
    "SELECT FOUND_ROWS()",
    "SHOW WARNINGS",
    "SELECT @@warning_count",
    "SHOW COUNT(*) WARNINGS",
]


@pytest.mark.parametrize("question", TRACES)
@pytest.mark.parametrize("autocommit", [0, 1])
def test_what_rows_leave_can_be_read_behind_commands_of_the_proxys(
    ready: MySqlServer, one: ProxyProcess, question: str, autocommit: int
) -> None:
    texts = [
        "SELECT * FROM rows_of LIMIT 1",
        "SELECT SQL_CALC_FOUND_ROWS a FROM rows_of LIMIT 1",
        "SELECT CAST('x' AS SIGNED) FROM rows_of",
        "DELETE FROM rows_of WHERE a > 100",
        "SELECT table_name FROM information_schema.tables WHERE table_name = 'rows_of'",
    ]
    with Two(ready, one) as mine:
        mine.run(f"SET autocommit = {autocommit}", free=False)
        for text in texts:
            mine.run(text, free=False)
            mine.run(question, free=False)
            if not autocommit:
                mine.run("COMMIT", free=False)
                mine.run(question, free=False)
