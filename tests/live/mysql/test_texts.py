"""What texts do to a session on real servers, against what their verdicts say: nothing may go unsaid."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rdsp_codecs.mysql.effects import verdict
from tests.codecs.mysql.text_scripts import ASSIGNED, scripts, soups
from tests.live.mysql.text_sessions import Book, Session
from tests.servers.mysql import MySqlServer

QUICK = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))

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
        session.close()
        other.ask("DROP PROCEDURE IF EXISTS app.made")
        other.ask("DROP TABLE IF EXISTS app.tmp1, app.tmp2")  # where TEMPORARY stood in a comment
        other.close()


CHARSETS = ("utf8mb4", "latin1", "gbk", "sjis", "big5", "cp932", "gb2312", "euckr", "ujis", "binary", "koi8r")
MODES = ("", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "ANSI_QUOTES,NO_BACKSLASH_ESCAPES")


@MANY
@given(text=soups, charset=st.sampled_from(CHARSETS), mode=st.sampled_from(MODES))
def test_what_is_code_is_read_as_code_and_nothing_else(
    ready: MySqlServer, text: bytes, charset: str, mode: str
) -> None:
    session = Session(ready, multi=False)
    try:
        session.ask(f"SET NAMES {charset}, sql_mode = '{mode}'")
        found = verdict(text, session.facts())
        if session.ask(text).error is not None:
            return
        columns = ", ".join(f"@v{number} IS NOT NULL" for number in range(1, ASSIGNED + 1))
        row = session.ask(f"SELECT {columns}").rows[0]
        really = {b"v%d" % number for number, is_set in enumerate(row, 1) if is_set == b"1"}
        assert found.doubtful or found.variables.keys() == really
    finally:
        session.close()
