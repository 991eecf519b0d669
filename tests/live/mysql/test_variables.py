"""Whatever value a session shows for a variable, another one can be given it; and who reports what was set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rdsp_codecs.mysql import settings as s
from tests.live.mysql.text_sessions import Session
from tests.servers.mysql import MySqlServer

_VALUES = (
    b"0",
    b"1",
    b"7",
    b"4096",
    b"1000000",
    b"0.5",
    b"'OFF'",
    b"'ON'",
    b"NULL",
    b"''",
    b"'latin1'",
    b"'latin1_bin'",
    b"'5'",
    b"'MyISAM'",
)
_CANNOT = {1229, 1238, 1621}
"""Of the server, read-only, or read-only in a session."""
_LEFT_OUT = s.NOT_KEPT | {
    b"wsrep_on",
    b"profiling",
    b"sql_log_bin",
    b"debug_no_thread_alarm",
    b"timestamp",
    b"query_cache_type",
}
"""And what needs something else to be set first; a timestamp that is not set moves."""


@pytest.fixture
def sessions(mysql: MySqlServer) -> Iterator[tuple[Session, Session]]:
    one, other = Session(mysql), Session(mysql)
    yield one, other
    one.close()
    other.close()


def shown(session: Session, name: bytes) -> bytes | None:
    rows = session.ask(s.question([name])).rows
    return rows[0][0] if rows else b"0"  # sql_select_limit


def test_every_value_can_be_set_again(sessions: tuple[Session, Session]) -> None:
    one, other = sessions
    tried = 0
    for name in sorted(one.settings().keys() - _LEFT_OUT):
        if one.ask(b"SET SESSION %b = @@SESSION.%b" % (name, name)).error in _CANNOT:
            continue
        was = shown(one, name)
        for value in _VALUES:
            if one.ask(b"SET SESSION %b = %b" % (name, value)).error is None:
                tried += 1
                now = shown(one, name)
                text = s.set_statement({name: now})
                assert other.ask(text).error is None, text
                assert shown(other, name) == now, text
        for session in sessions:
            assert session.ask(s.set_statement({name: was})).error is None, name
    assert tried > 200


def test_all_variables_at_once_make_a_session_like_another(sessions: tuple[Session, Session]) -> None:
    one, other = sessions
    one.ask("SET NAMES latin1 COLLATE latin1_bin")
    one.ask(
        "SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES', time_zone = '+01:00', max_join_size = 100, autocommit = 0"
    )
    one.ask("SET character_set_results = NULL, lc_time_names = de_DE, sql_safe_updates = 1, foreign_key_checks = 0")
    wanted = {}
    for name in one.settings().keys() - _LEFT_OUT:
        if one.ask(b"SET SESSION %b = @@SESSION.%b" % (name, name)).error is None:
            wanted[name] = shown(one, name)
    assert other.ask(s.set_statement(wanted, {b"a": b"5"})).error is None
    assert {name: shown(other, name) for name in wanted} == wanted
    assert other.ask("SELECT @a").rows == [(b"5",)]


def test_a_default_may_be_something_else_than_it_was(sessions: tuple[Session, Session]) -> None:
    """Why no variable is put back by DEFAULT: MySQL's default of some is the opposite."""
    one, _ = sessions
    before = shown(one, b"foreign_key_checks")
    one.ask("SET SESSION foreign_key_checks = DEFAULT")
    assert (shown(one, b"foreign_key_checks") == before) is one.mariadb


def test_what_is_set_is_reported_by_name_or_known_to_be_not(sessions: tuple[Session, Session]) -> None:
    one, _ = sessions
    if not one.tracked:
        return
    facts = one.facts()
    wrong = set()
    for name in sorted(one.settings().keys() - _LEFT_OUT):
        answer = one.ask(b"SET SESSION %b = @@SESSION.%b" % (name, name))
        if answer.error is None:
            reported = {s.canonical(told, facts) for told, _ in answer.changes.variables}
            if s.canonical(name, facts) not in reported:
                wrong.add(name)
    assert (not wrong) is s.names_are_reported(facts), wrong


def test_the_collation_that_goes_with_a_character_set_is_not_reported(sessions: tuple[Session, Session]) -> None:
    one, _ = sessions
    if not one.tracked:
        return
    answer = one.ask("SET NAMES latin1")
    reported = dict(answer.changes.variables)
    assert reported[b"character_set_connection"] == b"latin1"
    assert b"collation_connection" not in reported
    assert shown(one, b"collation_connection") == b"latin1_swedish_ci"
