"""What statements leave to be read, in sessions interleaved at random: directly, and through a pool of four.

A session whose backend others have taken may be refused once (decision 22): what it is told from then on is not
compared. A wrong value is never right.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from tests.compare.mysql.talking import DATABASE, USUAL, Command, execute, prepare, query, resets, talkers
from tests.compare.runner import says
from tests.live.mysql.sidebyside import target
from tests.servers.mysql import USER, MySqlServer
from tests.servers.proxy import ProxyProcess

pytestmark = pytest.mark.live

FORMS = {"classic": USUAL, "deprecated": USUAL | c.CLIENT_DEPRECATE_EOF}
LEAVING = (
    "SELECT 1", "SELECT a FROM left_over", "SELECT SQL_CALC_FOUND_ROWS a FROM left_over LIMIT 1", "SELECT 1 + 'x'",
    "SELECT 1 + 'x', 1 + 'y'", "SELEC", "SELECT * FROM nowhere", "INSERT INTO left_over VALUES (1), (2)",
    "INSERT INTO left_over VALUES ('x')", "UPDATE left_over SET a = a + 0", "DELETE FROM left_over WHERE a = 99",
    "SET @a = 1", "DROP TABLE IF EXISTS nothing", "BEGIN", "COMMIT", "ROLLBACK",
)  # fmt: skip
READING = (
    "SHOW WARNINGS", "SHOW ERRORS", "SHOW COUNT(*) WARNINGS", "SELECT @@warning_count, @@error_count",
    "SELECT ROW_COUNT()", "SELECT FOUND_ROWS()", "GET DIAGNOSTICS @n = NUMBER, @r = ROW_COUNT", "SELECT @n, @r",
)  # fmt: skip
PREPARED = ("SHOW WARNINGS", "SELECT ROW_COUNT()", "SELECT @@warning_count", "SELECT 1 + 'x'", "SELECT 1", "SELEC")
COMMANDS = st.one_of(
    st.sampled_from(LEAVING).map(query),
    st.sampled_from(READING).map(query),
    st.just(Command(r.COM_PING)),
    st.sampled_from(PREPARED).map(prepare),
    st.integers(1, 3).map(execute),
    st.integers(1, 3).map(resets),
)
STEPS = st.lists(st.tuples(st.sampled_from("ABC"), COMMANDS), min_size=4, max_size=30)
REFUSED = "is on another database connection"


@pytest.fixture(scope="module")
def proxy(tracking: MySqlServer) -> Iterator[ProxyProcess]:
    with ProxyProcess.for_target(target(tracking).removesuffix("/app"), "--max-backends", "4") as started:
        yield started


def said(port: int, flags: int, server: MySqlServer, steps: list[tuple[str, Command]]) -> list[tuple[str, list[str]]]:
    """What each step was answered. A session's first statement is read behind one that leaves nothing."""
    with server.admin() as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
        cursor.execute(f"GRANT ALL ON {DATABASE}.* TO {USER}")
        cursor.execute(f"DROP TABLE IF EXISTS {DATABASE}.left_over")
        # No locks: they would have the sessions wait for one another.
        cursor.execute(f"CREATE TABLE {DATABASE}.left_over (a INT) ENGINE=MyISAM")
        cursor.execute(f"INSERT INTO {DATABASE}.left_over VALUES (5), (6), (7)")
    connect = talkers(port, flags)
    clients = {}
    answers: list[tuple[str, list[str]]] = []
    try:
        for who, command in steps:
            if who not in clients:
                clients[who] = connect()
                clients[who].take(says(who, "SELECT 1 FROM left_over"))
            answers.append((who, clients[who].take(says(who, command))))
    finally:
        for client in clients.values():
            client.close()
    return answers


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS)
def test_no_value_is_wrong(
    tracking: MySqlServer, proxy: ProxyProcess, form: str, steps: list[tuple[str, Command]]
) -> None:
    direct = said(tracking.port, FORMS[form], tracking, steps)
    proxied = said(proxy.port, FORMS[form], tracking, steps)
    refused: set[str] = set()
    for at, ((who, meant), (_, told)) in enumerate(zip(direct, proxied, strict=True)):
        if any(REFUSED in line for line in told):
            refused.add(who)
        if who not in refused:
            lines = "\n".join(difflib.unified_diff(meant, told, "direct", "proxied", lineterm=""))
            assert told == meant, f"{who} says {steps[at][1]}\n{lines}"
