"""Tables change between executions of a prepared statement: each execution is answered as at the server."""

from __future__ import annotations

from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Part
from tests.live.mysql.sidebyside import target
from tests.live.mysql.test_proxied_commands import shown
from tests.servers.mysql import MySqlServer
from tests.servers.mysqlclient import MySqlClient
from tests.servers.proxy import ProxyProcess

CHANGES = [
    "ALTER TABLE changing ADD COLUMN b INT DEFAULT 5",
    "ALTER TABLE changing MODIFY a VARCHAR(20)",
    "ALTER TABLE changing DROP COLUMN b",
    "DROP TABLE changing",
    "CREATE TABLE changing (a INT, c VARCHAR(10))",
    "INSERT INTO changing VALUES (1, 'x')",
    "RENAME TABLE changing TO changed",
    "CREATE VIEW changing AS SELECT a FROM changed",
    "DROP VIEW changing",
    "RENAME TABLE changed TO changing",
    *["ALTER TABLE changing ADD COLUMN d INT", "ALTER TABLE changing DROP COLUMN d"] * 20,
]


def test_a_statement_whose_table_was_changed_is_answered_as_at_the_server(tracking: MySqlServer) -> None:
    """On the backend that it was prepared on, and on one that another session had meanwhile."""
    with (
        tracking.admin(database="app") as admin,
        admin.cursor() as cursor,
        ProxyProcess.for_target(target(tracking), "--max-backends", "1") as proxy,
        MySqlClient(tracking.port) as direct,
        MySqlClient(proxy.port) as proxied,
        MySqlClient(proxy.port) as other,
    ):
        cursor.execute("DROP VIEW IF EXISTS changing")
        cursor.execute("DROP TABLE IF EXISTS changing, changed")
        cursor.execute("CREATE TABLE changing (a INT)")
        cursor.execute("INSERT INTO changing VALUES (1)")
        for text in (b"SELECT * FROM changing", b"SELECT COUNT(*) FROM changing WHERE a = 1"):
            pairs = [(one, one.ask(r.COM_STMT_PREPARE, text)[0].payload[1:5]) for one in (direct, proxied)]
            for turn, change in enumerate(CHANGES):
                cursor.execute(change)
                if turn % 2:
                    other.query("SET @other = 1")
                meant, said = [shown(one.ask(r.COM_STMT_EXECUTE, number + b"\0\1\0\0\0")) for one, number in pairs]
                assert said == meant, (text, change)
            cursor.execute("ALTER TABLE changing DROP COLUMN c")
            assert proxied.ask(r.COM_PING)[0].part is Part.OK
        cursor.execute("DROP TABLE changing")
