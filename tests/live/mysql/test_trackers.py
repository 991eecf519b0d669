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
