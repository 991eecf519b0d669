"""What a session holds until it is undone. That servers agree is shown in tests/live/mysql/test_lifted.py."""

from __future__ import annotations

import pytest

from rdsp_codecs.mysql.holding import Held
from rdsp_codecs.mysql.judging import UNKNOWN, Verdict, judge
from rdsp_codecs.mysql.lexer import Facts
from rdsp_codecs.pins import PinBoard, PinReason

FACTS = Facts(90704, mariadb=False, multi=True)
TABLE, STATEMENT, LOCK = PinReason.TEMPORARY_TABLE, PinReason.TEXT_PREPARED, PinReason.ADVISORY_LOCK


class Session:
    def __init__(self) -> None:
        self.held, self.pins = Held(), PinBoard()

    def run(self, text: str, schema: str = "app", *, erred: bool = False) -> Verdict:
        found = self.held.begins(judge(text.encode(), FACTS), schema.encode())
        self.held.ran(found, erred=erred)
        self.held.show(self.pins)
        return found

    def after(self, *texts: str) -> set[PinReason]:
        for text in texts:
            self.run(text)
        return set(self.pins.active())


@pytest.mark.parametrize(
    ("texts", "reasons"),
    [
        (["CREATE TEMPORARY TABLE a (b INT)"], {TABLE}),
        (["CREATE TEMPORARY TABLE a (b INT)", "DROP TABLE app.a"], set()),
        (["CREATE TEMPORARY TABLE a (b INT)", "DROP TABLE other.a"], {TABLE}),
        (["CREATE TEMPORARY TABLE a (b INT)", "DROP TABLE A"], {TABLE}),
        (["CREATE TEMPORARY TABLE a SELECT 1", "DROP TABLE a"], {TABLE}),
        (["CREATE TEMPORARY TABLE a (b INT) /* x */ AS TABLE c", "DROP TABLE a"], {TABLE}),
        (["CREATE TEMPORARY TABLE a (b INT)", "ALTER TABLE a RENAME b", "DROP TABLE a"], {TABLE}),
        (["CREATE TEMPORARY TABLE a (b INT); DROP TABLE a"], {TABLE}),
        (["ALTER TABLE a RENAME b"], set()),
        (["DO GET_LOCK('a', 1)", "DO RELEASE_LOCK('a')"], {LOCK}),
        (["DO GET_LOCK(a, 1)", "SELECT RELEASE_ALL_LOCKS()"], set()),
        (["DO GET_LOCK(a, 1)", "SELECT IF(1, 2, RELEASE_ALL_LOCKS())"], {LOCK}),
        (["SELECT SERVICE_GET_READ_LOCKS('a', 'b', 1)"], {LOCK}),
        (["PREPARE a FROM 'DO 0'", "PREPARE a FROM 'DO 1'", "DEALLOCATE PREPARE A"], set()),
        (["PREPARE a FROM @b"], {STATEMENT}),
    ],
)  # fmt: skip
def test_what_is_there(texts: list[str], reasons: set[PinReason]) -> None:
    assert Session().after(*texts) == reasons


def test_what_fails_undoes_nothing_and_may_have_made_what_is_no_object() -> None:
    session = Session()
    session.run("CREATE TEMPORARY TABLE a (b INT)", erred=True)
    assert not session.pins
    session.run("CREATE TEMPORARY TABLE a (b INT); DO 0", erred=True)
    assert session.pins
    session.run("DROP TABLE a, c", erred=True)
    assert session.pins
    session.run("DROP TABLE a")
    assert not session.pins
    session.run("FLUSH TABLES WITH READ LOCK", erred=True)
    session.run("SELECT GET_LOCK('a', 1), f()", erred=True)
    assert set(session.pins.active()) == {PinReason.TABLE_LOCK, LOCK}
    assert session.held.doubted


def test_the_server_is_asked_for_locks_that_have_names() -> None:
    session = Session()
    session.run("SELECT GET_LOCK('b', 1), GET_LOCK('a''', 1)")
    assert session.held.question == b"IS_USED_LOCK('b') = CONNECTION_ID(), IS_USED_LOCK(x'6127') = CONNECTION_ID()"
    session.held.answered([None, b"1"])
    assert not session.held.doubted
    assert not session.held.show(session.pins)
    session.run("DO RELEASE_LOCK('a''')")
    assert session.held.doubted
    session.held.answered([b"0"])
    assert session.held.show(session.pins)
    session.run("DO GET_LOCK(CONCAT('a'), 1)")
    session.run("DO GET_LOCK('b', 1)")
    assert not session.held.doubted


def test_an_execute_does_what_was_prepared() -> None:
    session = Session()
    session.run("PREPARE a FROM 'CREATE TEMPORARY TABLE b (c INT)'")
    session.run("USE other")
    session.run("EXECUTE a", schema="other")
    session.run("DEALLOCATE PREPARE a", schema="other")
    session.run("DROP TABLE b", schema="other")
    assert set(session.pins.active()) == {TABLE}
    session.run("DROP TABLE app.b", schema="other")
    assert not session.pins
    session.run("PREPARE a FROM 'SET time_zone = ''+01:00'''")
    assert session.run("EXECUTE a;").settings == {b"time_zone": b"'+01:00'"}
    assert session.run("EXECUTE a USING @x, @y").settings
    assert session.run("EXECUTE a USING f()").pins
    assert session.run("EXECUTE a; SELECT 1").pins == (PinReason.UNRECOGNISED_STATE,)
    assert session.run("PREPARE b FROM 'KILL 5'").kills
    assert session.run("EXECUTE nothing").pins == UNKNOWN.pins
    session.run("SELECT 1; PREPARE a FROM 'DO 0'")
    assert session.run("EXECUTE a").pins == UNKNOWN.pins
    session.held.forget()
    assert not session.held
