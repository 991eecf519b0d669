"""What follows a session of what it sets. That servers agree is shown in tests/live/mysql/test_proxied.py."""

from __future__ import annotations

import attrs
import pytest

from rdsp_codecs.mysql.judging import Verdict, judge
from rdsp_codecs.mysql.lexer import Facts
from rdsp_codecs.mysql.session_state import Interned, can_follow, facts, told_by_text
from rdsp_codecs.mysql.state import MySqlState
from rdsp_codecs.mysql.trackers import Changes

FACTS = Facts(
    90704, mariadb=False, multi=True, client=b"utf8mb4", connection=b"utf8mb4", collation=b"utf8mb4_0900_ai_ci"
)


def of(text: str, how: Facts = FACTS) -> Verdict:
    return judge(text.encode(), how)


def test_user_variables_are_made_anew_from_constants() -> None:
    shared = Interned()
    settings, lost = shared.with_user(shared.login, of("SET @a = 1, @b = 'it''s', @c = 1 + 1, @d = NULL").variables)
    assert lost == {b"c"}
    assert settings.setting.endswith(b",@`a`=1,@`b`=_utf8mb4 x'69742773' COLLATE utf8mb4_0900_ai_ci,@`d`=NULL")
    again, lost = shared.with_user(settings, of("SET @A = NULL, @b = 2").variables)
    assert (again.user, lost) == (((b"a", b"NULL"), (b"b", b"2"), (b"d", b"NULL")), set())
    gone, _ = shared.with_user(again, of("SELECT 1, 2, 3 INTO @a, @b, @d").variables)
    assert gone is shared.login
    _, lost = shared.with_user(shared.login, {b"a": b"'" + b"x" * 5000 + b"'"})
    assert lost == {b"a"}
    many, lost = shared.with_user(shared.login, {b"v%d" % n: b"1" for n in range(300)})
    assert (len(many.user), len(lost)) == (200, 100)


def test_what_was_set_and_not_told_is_asked_for() -> None:
    shared = Interned()

    def behind(text: str, *reported: tuple[bytes, bytes]) -> tuple[dict[bytes, bytes | None], list[bytes]]:
        settings, lost = shared.changed(shared.login, Changes(reported))
        assert not lost
        found, unknown = shared.unreported(settings, of(text).settings, {name for name, _ in reported})
        return dict(found.variables), unknown

    assert behind("SET @@foreign_key_checks = 0") == ({b"foreign_key_checks": b"OFF"}, [])
    assert behind("SET @@sql_mode = CONCAT(@@sql_mode, ',ANSI')") == ({}, [b"sql_mode"])
    assert behind("SET max_join_size = 7", (b"max_join_size", b"7")) == ({b"max_join_size": b"7"}, [b"sql_big_selects"])
    sets = [b"character_set_client", b"character_set_connection", b"character_set_results"]
    told = tuple((name, b"latin1") for name in sets)
    assert behind("SET NAMES latin1", *told) == (dict(told), [])
    assert behind("SET CHARACTER SET latin1", *told)[1] == [b"collation_connection"]
    assert behind("SET last_insert_id = 5") == ({}, [])
    settings, lost = shared.told(shared.login, {b"sql_big_selects": b"OFF", b"timestamp": b"5", b"a": None})
    assert (dict(settings.variables), lost) == ({b"sql_big_selects": b"OFF"}, b"a")


@pytest.mark.parametrize(
    ("name", "value", "follows"),
    [
        (b"optimizer_switch", b"a=on,b=off", True),
        (b"character_set_results", None, True),
        (b"timestamp", b"1000.000000", False),
        (b"rand_seed1", b"5", False),
        (b"session_track_schema", b"ON", False),
        (b"x", b"5", False),
        (b"a=1,b", b"5", False),
        (b"rocksdb.setting", b"5", True),
        (b"sql_mode", b"x" * 5000, False),
    ],
)
def test_what_can_follow(name: bytes, value: bytes | None, follows: bool) -> None:
    assert can_follow(name, value) is follows


def test_a_text_tells_a_value_as_servers_report_it() -> None:
    assert told_by_text(b"autocommit", b"0") == b"OFF"
    assert told_by_text(b"character_set_client", b"LATIN1") == b"latin1"
    assert told_by_text(b"wait_timeout", b"'5'") is None
    assert told_by_text(b"max_error_count", b"5") is None
    assert told_by_text(b"sql_mode", b"DEFAULT") is None


def test_a_collation_that_nobody_has_told_is_missed() -> None:
    state, shared = MySqlState("9.7.4"), Interned()
    state.baseline = {b"collation_connection": b"utf8mb4_general_ci", b"character_set_connection": b"utf8mb4"}
    assert facts(state, shared.login).collation == b"utf8mb4_general_ci"
    named, _ = shared.changed(shared.login, Changes(((b"character_set_connection", b"utf8mb4"),)))
    assert facts(state, named).collation == b""
    without = attrs.evolve(FACTS, collation=b"")
    assert of("SET @a = 'x'", without).misses_collation
    assert not of("SET @a = 1", without).misses_collation
    assert not of("SET @a = 'x'").misses_collation


@pytest.mark.parametrize(
    ("text", "explains"),
    [
        ("SET @a = 5, time_zone = '+01:00'", True),
        ("SET sql_mode = CONCAT(@@sql_mode, ',ANSI'), @a = (1 + 2) * IF(1, 2, 3)", True),
        ("SET @a = f()", False),
        ("SET @a = app.concat(1)", False),
        ("SET @a = app . concat (1)", False),
        ("SET @a = `concat`(1)", False),
        ("SET @a = (SELECT b FROM view_of_functions)", False),
        ("USE app", True),
        ("SET @a = 5; SELECT f()", False),
        ("SELECT 1 INTO @a", False),
    ],
)
def test_nothing_is_explained_where_functions_may_run(text: str, explains: bool) -> None:
    assert of(text).explains is explains
