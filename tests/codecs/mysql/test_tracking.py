"""What a session has reported of itself, and which texts read or set that."""

from __future__ import annotations

import pytest

from rdsp_codecs.mysql import trackers as t
from rdsp_codecs.mysql.judging import judge
from rdsp_codecs.mysql.lexer import Facts
from rdsp_codecs.mysql.tracking import LOGIN, READS, SETS, VIRTUAL, wanted
from rdsp_codecs.pins import PinReason

FACTS = Facts(90700, mariadb=False, client=b"utf8mb4", connection=b"utf8mb4")
SCHEMA = t.text(t.SESSION_TRACK_SCHEMA, b"app")
STATE = t.text(t.SESSION_TRACK_STATE_CHANGE, b"1")
STANDING = t.text(t.SESSION_TRACK_TRANSACTION_STATE, t.NO_TRANSACTION)
NEXT = t.text(t.SESSION_TRACK_TRANSACTION_CHARACTERISTICS, b"")
GTIDS = t.text(t.SESSION_TRACK_GTIDS, b"a:1")
ZONE, MODE = t.variable(b"time_zone", b"UTC"), t.variable(b"sql_mode", b"")
ALL = (SCHEMA, STATE, STANDING, NEXT, GTIDS, ZONE, MODE)


@pytest.mark.parametrize(
    ("text", "does", "pins"),
    [
        (b"SELECT @@session_track_schema", READS, False),
        (b"SELECT @@SESSION.Session_Track_System_Variables, 1", READS, False),
        (b"SHOW VARIABLES", READS, False),
        (b"SHOW LOCAL VARIABLES LIKE 'SESSION\\_t%'", READS, False),
        (b"SHOW VARIABLES LIKE 'session_track_%'", READS, False),
        (b"SHOW VARIABLES WHERE Variable_name = 'x'", READS, False),
        (b"SHOW VARIABLES WHERE variable_name NOT IN ('a') AND VALUE IN('b')", READS, False),
        (b"SHOW VARIABLES WHERE app.in ('a')", READS, True),
        (b"SHOW VARIABLES WHERE Variable_name IN (f())", READS, True),
        (b"SHOW VARIABLES LIKE 'version%'", 0, False),
        (b"SHOW GLOBAL VARIABLES", 0, False),
        (b"SHOW STATUS", 0, False),
        (b"SELECT '@@session_track_schema'", 0, False),
        (b"SET session_track_schema = 0, sql_mode = ''", SETS, False),
        (b"SET @@session_track_system_variables = CONCAT(@@session_track_system_variables, ',a')", SETS, False),
        (b"SET GLOBAL session_track_schema = 0", 0, False),
        (b"SET @x = @@session_track_schema", READS, False),
        (b"SELECT @@session_track_schema, f()", READS, True),
        (b"SELECT @@session_track_schema FROM v", READS, True),
        (b"SET session_track_schema = f()", SETS, True),
        (b"SET session_track_schema = 0; SELECT 1", SETS, True),
        (b"SHOW VARIABLES WHERE f()", READS, True),
    ],
)
def test_what_a_text_does_and_whether_it_shows_all_that_it_does(text: bytes, does: int, pins: bool) -> None:
    found = judge(text, FACTS if b";" not in text else Facts(90700, mariadb=False, multi=True))

    assert found.tracking == does
    assert (PinReason.UNRECOGNISED_STATE in found.pins) is pins
    assert not any(name in found.settings for name in VIRTUAL)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((b"1", b"time_zone,autocommit", b"0", b"OFF"), {SCHEMA, GTIDS, ZONE}),
        ((b"0", b"", b"1", b"STATE"), {STATE, STANDING, GTIDS}),
        ((b"ON", b"*", b"ON", b"CHARACTERISTICS"), set(ALL)),
        ((b"0", b"SQL_mode, x", b"0", b"OFF"), {MODE, GTIDS}),
        ((b"0", None, b"0", b"OFF"), {GTIDS}),
    ],
)
def test_a_client_is_told_what_it_wants(values: tuple[bytes | None, ...], told: set[t.Tracker]) -> None:
    assert {one for one in ALL if wanted(values).tells(one)} == told


def test_who_wants_nothing_of_its_own_is_told_what_servers_tell() -> None:
    assert {one for one in ALL if LOGIN.tells(one)} == {SCHEMA, GTIDS, ZONE}
    assert LOGIN.setting.count(b"=DEFAULT") == len(VIRTUAL)


def test_a_backend_is_made_to_report_what_the_session_believes() -> None:
    own = wanted((b"1", b"5", b"0", b"OFF"))

    assert own.setting == (
        b"SET SESSION session_track_schema=1,session_track_system_variables='5',session_track_state_change=0,"
        b"session_track_transaction_info='OFF'"
    )
    assert not own.counts
    assert wanted((b"1", b"*", b"0", b"OFF")).counts


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (b"SET NAMES utf8mb4", b"NAMES 'utf8mb4'"),
        (b"SET NAMES 'LATIN1' COLLATE latin1_bin", b"NAMES 'latin1' COLLATE 'latin1_bin'"),
        (b"SET NAMES DEFAULT", b"NAMES DEFAULT"),
        (b"SET NAMES utf8mb4 COLLATE DEFAULT", b"NAMES 'utf8mb4'"),
        (b"SET CHARACTER SET latin1", b""),
        (b"SET CHARACTER SET DEFAULT", b"CHARACTER SET DEFAULT"),
        (b"SET NAMES utf8mb4 COLLATE utf8mb4_bin, character_set_results = latin1", b""),
        (b"SET character_set_results = DEFAULT", b"character_set_results=DEFAULT"),
        (b"SET character_set_results = NULL", b""),
        (b"SET character_set_client = latin1", None),
        (b"SET character_set_results = 46", None),
        (b"SET character_set_results = @x", None),
    ],
)
def test_what_gives_results_their_collation(text: bytes, names: bytes | None) -> None:
    found = judge(text, FACTS)

    assert found.names == names
    unknown = names is None and b"results" in text
    assert (PinReason.SESSION_SETTING in found.pins) is unknown
