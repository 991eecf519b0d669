"""What texts do to a session on real servers, against what their verdicts say: nothing may go unsaid."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.codecs.mysql.text_scripts import scripts
from tests.live.mysql.text_sessions import Book, Session
from tests.servers.mysql import MySqlServer

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

_SET_UP = (
    "CREATE TABLE IF NOT EXISTS app.probe (a INT PRIMARY KEY AUTO_INCREMENT, b BIGINT) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS app.unlocked (a INT) ENGINE=InnoDB",
    "DROP PROCEDURE IF EXISTS app.sets",
    "CREATE PROCEDURE app.sets() SET @a = 'of a procedure'",
    "DROP PROCEDURE IF EXISTS app.fills",
    "CREATE PROCEDURE app.fills(OUT x INT) SET x = 7",
)


@pytest.fixture(scope="module")
def ready(mysql: MySqlServer) -> Iterator[MySqlServer]:
    session = Session(mysql)
    for text in _SET_UP:
        assert session.ask(text).error is None, text
    session.close()
    yield mysql


@QUICK
@given(script=scripts, multi=st.booleans())
def test_whatever_changes_a_session_was_said(ready: MySqlServer, script: list[str], multi: bool) -> None:
    session, other = Session(ready, multi=multi), Session(ready)
    try:
        other.ask("SET NAMES latin1, sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'")
        book = Book(session)
        for text in script:
            book.check(book.run(text), other)
    finally:
        session.ask("ROLLBACK")
        session.ask("DROP PROCEDURE IF EXISTS app.made")
        session.close()
        other.close()
