"""What real servers report of a session's state, once they are asked for all of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql import trackers as t
from rdsp_codecs.mysql.dialogue import Part
from tests.servers.mysql import ADMIN, ADMIN_PASSWORD, DATABASE, MySqlServer
from tests.servers.mysqlclient import MySqlClient


class Tracked:
    """A session that reports everything."""

    def __init__(self, client: MySqlClient, *, mariadb: bool) -> None:
        self.client = client
        self.mariadb = mariadb
        wanted = "session_track_system_variables = '*', session_track_state_change = ON"
        self.query(f"SET SESSION {wanted}, session_track_transaction_info = 'CHARACTERISTICS'")
        if not mariadb:
            self.query("SET SESSION session_track_gtids = 'OWN_GTID'")
        self.query("CREATE TABLE IF NOT EXISTS tracked (a INT PRIMARY KEY) ENGINE=InnoDB")
        self.query("DELETE FROM tracked")

    def query(self, text: str) -> t.Changes:
        """Run it; all that its answer reports, and of what is reported twice the last."""
        heard = self.client.ask(r.COM_QUERY, text.encode())
        assert heard[-1].part is not Part.ERR, heard[-1]
        entries = [entry for one in heard if one.ok for entry in one.ok.trackers or ()]
        return t.changes(entries)


@pytest.fixture
def tracked(mysql: MySqlServer) -> Iterator[Tracked]:
    if mysql.version == "mysql-5.6":
        pytest.skip("it reports nothing")
    with MySqlClient(mysql.port) as client:
        yield Tracked(client, mariadb=mysql.version.startswith("mariadb"))


def test_variables_are_reported_as_they_were_set(tracked: Tracked) -> None:
    changes = tracked.query("SET sql_mode = 'ANSI_QUOTES', time_zone = '+01:00', autocommit = 0")
    assert {(b"sql_mode", b"ANSI_QUOTES"), (b"time_zone", b"+01:00"), (b"autocommit", b"OFF")} <= set(changes.variables)
    changes = tracked.query("SET NAMES latin1")
    assert dict(changes.variables)[b"character_set_client"] == b"latin1"
    assert dict(changes.variables)[b"character_set_results"] == b"latin1"
    assert dict(tracked.query("SET autocommit = 1").variables)[b"autocommit"] == b"ON"


def test_the_database_is_reported_and_also_that_there_is_none(mysql: MySqlServer, tracked: Tracked) -> None:
    assert tracked.client.state.welcome.trackers is not None
    assert t.changes(tracked.client.state.welcome.trackers).schema == DATABASE.encode()
    assert tracked.query("USE other").schema == b"other"
    with MySqlClient(mysql.port, ADMIN, ADMIN_PASSWORD) as client:
        admin = Tracked(client, mariadb=tracked.mariadb)
        admin.query("CREATE DATABASE IF NOT EXISTS gone")
        admin.query("USE gone")
        dropped = admin.client.ask(r.COM_QUERY, b"DROP DATABASE gone")[-1]
        assert dropped.ok is not None
        assert t.changes(dropped.ok.trackers or ()).schema == b""
        assert dropped.ok.status & r.SERVER_STATUS_DB_DROPPED


def test_transactions_are_reported_by_letters_and_by_the_words_that_make_them_anew(tracked: Tracked) -> None:
    began = tracked.query("START TRANSACTION READ WRITE")
    assert began.transaction == b"T_______"
    assert began.characteristics == b"START TRANSACTION READ WRITE;"
    assert tracked.query("INSERT INTO tracked VALUES (1)").transaction == b"T___W___"
    assert tracked.query("SELECT * FROM tracked").transaction == b"T_R_W_S_"
    assert tracked.query("COMMIT").transaction == t.NO_TRANSACTION
    assert tracked.query("SELECT * FROM tracked").transaction is None
    # What holds for the next transaction alone is there before it begins.
    assert tracked.query("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").characteristics == (
        b"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;"
    )
    assert tracked.query("SELECT * FROM tracked").characteristics == b""


def test_locked_tables_are_a_letter(tracked: Tracked) -> None:
    assert tracked.query("LOCK TABLES tracked READ").transaction == b"_______L"
    assert tracked.query("UNLOCK TABLES").transaction == t.NO_TRANSACTION


def test_without_autocommit_the_first_statement_begins_a_transaction(tracked: Tracked) -> None:
    tracked.query("SET autocommit = 0")
    assert tracked.query("SELECT * FROM tracked").transaction == b"I_R___S_"
    assert tracked.query("COMMIT").transaction == t.NO_TRANSACTION


def test_what_a_move_would_lose_is_reported(tracked: Tracked) -> None:
    assert tracked.query("CREATE TEMPORARY TABLE lost (a INT)").state_changed
    assert tracked.query("PREPARE lost FROM 'SELECT 1'").state_changed
    assert tracked.query("SELECT 1").state_changed is None


def test_user_variables_are_reported_by_who_has_that(tracked: Tracked) -> None:
    changes = tracked.query("SET @a = 'x'")
    assert changes.state_changed or changes.user_variables
    assert not changes.unknown


def test_gtids_are_reported(tracked: Tracked) -> None:
    changes = tracked.query("INSERT INTO tracked VALUES (7)")
    if tracked.mariadb:
        assert changes.gtids is None
        assert dict(changes.variables)[b"last_gtid"].startswith(b"0-1-")
    else:
        assert changes.gtids is not None
        assert b":" in changes.gtids


def _without_noise(changes: t.Changes) -> list[bytes]:
    """The variables that were reported, but for those that come with every statement."""
    return [name for name, _ in changes.variables if name not in (b"statement_id", b"last_gtid")]


@pytest.mark.parametrize(
    "text", ["SELECT GET_LOCK('x', 0)", "SELECT SQL_CALC_FOUND_ROWS 1", "SELECT LAST_INSERT_ID(77)", "SELECT @b := 3"]
)
def test_nothing_is_reported_of_locks_found_rows_ids_and_variables_that_a_select_sets(
    tracked: Tracked, text: str
) -> None:
    changes = tracked.query(text)
    assert not _without_noise(changes)
    assert not changes.state_changed
    assert changes.transaction is None


def test_a_value_for_one_statement_is_at_least_a_change(mysql: MySqlServer, tracked: Tracked) -> None:
    """MariaDB 11.8 does not say which; the others do."""
    for text, name in (("SET SESSION last_insert_id = 5", b"last_insert_id"), ("SET timestamp = 1000", b"timestamp")):
        changes = tracked.query(text)
        assert changes.state_changed
        assert _without_noise(changes) == ([] if mysql.version == "mariadb-11.8" else [name])


def test_a_savepoint_without_autocommit_begins_a_transaction_that_no_flag_shows(tracked: Tracked) -> None:
    """MySQL bug 107875; MariaDB has it, too."""
    tracked.query("SET autocommit = 0")
    for text in ("SAVEPOINT a", "SELECT 1"):
        (heard,) = tracked.client.ask(r.COM_QUERY, text.encode())[-1:]
        assert heard.status is not None
        assert not heard.status & r.SERVER_STATUS_IN_TRANS


def test_behind_an_error_a_ping_tells_where_the_transaction_stands(tracked: Tracked) -> None:
    tracked.query("BEGIN")
    assert tracked.client.ask(r.COM_QUERY, b"SELECT nothing")[-1].status is None
    (pong,) = tracked.client.ask(r.COM_PING)
    assert pong.status is not None
    assert pong.status & r.SERVER_STATUS_IN_TRANS


def test_a_reset_ends_the_reports_and_keeps_the_database(tracked: Tracked) -> None:
    tracked.query("USE other")
    (reset,) = tracked.client.ask(r.COM_RESET_CONNECTION)
    assert reset.ok is not None
    assert not reset.ok.trackers
    ((names, state, database),) = tracked.client.rows(
        "SELECT @@session_track_system_variables, @@session_track_state_change, DATABASE()"
    )
    assert names is not None
    assert b"*" not in names
    assert (state, database) == (b"0", b"other")


def test_mariadbs_flag_for_quotes_may_be_wrong_behind_a_procedure(tracked: Tracked) -> None:
    """A procedure's own sql_mode is undone at its end; what is reported of it is right, MariaDB's flag is not."""
    tracked.query("DROP PROCEDURE IF EXISTS quoting")
    tracked.query("CREATE PROCEDURE quoting() SET SESSION sql_mode = 'ANSI_QUOTES'")
    ((before,),) = tracked.client.rows("SELECT @@sql_mode")
    assert dict(tracked.query("CALL quoting()").variables).get(b"sql_mode") == before
    assert tracked.client.rows('SELECT @@sql_mode, "text"') == [(before, b"text")]
    status = tracked.client.ask(r.COM_PING)[-1].status or 0
    assert bool(status & r.SERVER_STATUS_ANSI_QUOTES) is tracked.mariadb
