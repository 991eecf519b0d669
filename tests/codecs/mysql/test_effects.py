"""What texts do to their session. That servers agree is shown in tests/live/mysql/test_texts.py."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rdsp_codecs.mysql import notable as n
from rdsp_codecs.mysql import words as w
from rdsp_codecs.mysql.effects import HARMLESS, Verdict, verdict
from rdsp_codecs.mysql.inspection import Look
from rdsp_codecs.mysql.lexer import Facts
from rdsp_codecs.mysql.notable import may_matter
from rdsp_codecs.mysql.words import Kill
from rdsp_codecs.pins import PinReason
from tests.codecs.mysql.test_lexer import facts, pieces
from tests.codecs.mysql.text_scripts import texts

MARIADB = Facts(101119, mariadb=True, multi=True, collation=b"utf8mb4_general_ci")
MYSQL = Facts(90704, mariadb=False, multi=True, collation=b"utf8mb4_0900_ai_ci")


def of(text: str | bytes, how: Facts = MARIADB) -> Verdict:
    return verdict(text if isinstance(text, bytes) else text.encode(), how)


def found(text: str | bytes, how: Facts = MARIADB) -> dict[str, Any]:
    """What differs from nothing at all, but for the first words."""
    one = attrs.asdict(of(text, how), recurse=False)
    return {name: value for name, value in one.items() if value != getattr(HARMLESS, name) and name != "heads"}


def pins(text: str, how: Facts = MARIADB) -> set[PinReason]:
    return {reason for reason, _ in of(text, how).pins}


@given(pieces | st.binary(max_size=60), facts)
def test_any_bytes_have_a_verdict(text: bytes, how: Facts) -> None:
    assert verdict(text, how) == verdict(text, how)


class Slow(Look):
    """Skips nothing."""

    def _skip(self) -> None:
        pass


def result(look: Look) -> dict[str, Any]:
    look.run()
    return {name: value for name, value in vars(look).items() if not name.startswith("_") and name != "left"}


@given(pieces | texts.map(str.encode), facts)
@example(b"SELECT INTO/**/@a", MARIADB)
@example(b"SELECT 1 -- \n INTO -- \n @a", MARIADB)
@example(b"INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = LAST_INSERT_ID(a)", MYSQL)
def test_nothing_that_matters_is_skipped(text: bytes, how: Facts) -> None:
    slow = result(Slow(text, how))
    assert result(Look(text, how)) == slow
    if not may_matter(text, how):
        nothing = {name: value for name, value in slow.items() if value and name not in ("heads", "statements")}
        # What implicitly commits is no news, and a text that cannot be read is refused as a whole.
        assert not nothing.keys() - {"transaction", "doubtful", "pins"}
        assert slow["doubtful"] or not slow["pins"]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        "  /* hello */ select a from t where b = 'get_loc'",
        "INSERT INTO t VALUES (1, 'x')",
        "(SELECT 1) UNION (SELECT 2);",
        "UPDATE t SET a = 1 -- done",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "SELECT 1 ;\n",
    ],
)
def test_nothing_is_found_in_plain_statements_by_the_prefilter_alone(text: str) -> None:
    assert of(text) is HARMLESS


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO t VALUES ('a@b.c', \"@a := 1\", '/*! SET @a = 1 */', `@b`)",
        "SELECT 'GET_LOCK(1, 1)', get_lock FROM t",
        "SELECT 1 /* ; SET @a = 1 */",
        "SELECT 1 # ; SET @a = 1",
        "SELECT 1 /*!99999 , @a := 1 */",
        "SELECT @a, @@sql_mode, @b = 1 FROM t",
        "SELECT a INTO OUTFILE '/tmp/@a' FROM t",
        "GRANT ALL ON x.* TO 'a'@'b', c@d",
        "CREATE DEFINER = `a`@`b` PROCEDURE p(INOUT x INT) BEGIN SET @a = 1; CREATE TEMPORARY TABLE t (a INT); END",
        "CREATE FUNCTION f() RETURNS INT RETURN GET_LOCK('a', 1)",
        "CREATE EVENT e ON SCHEDULE EVERY 1 DAY DO SET @a = 1",
        "SHOW VARIABLES LIKE '%@a%'",
        "EXPLAIN SELECT @a",
        "SET GLOBAL max_connections = 5, @@global.sort_buffer_size = 7, @@persist.x = 3",
        "SET DEFAULT ROLE a TO b@c",
        "SET STATEMENT max_statement_time = 1 FOR SELECT 1",
    ],
)
def test_what_only_looks_like_an_effect_is_none(text: str) -> None:
    assert set(found(text)) <= {"transaction"}, found(text)


def variables(text: str, how: Facts = MARIADB) -> dict[bytes, bytes | None]:
    return dict(of(text, how).variables)


def test_user_variables_are_kept_as_constants_where_they_are_constants() -> None:
    assert variables("SET @a = 1, @B := -1.50, @`c d` = NULL, @e = TRUE, @f = x'4f', @g = 1e3, @h = + 5") == {
        b"a": b"1", b"b": b"-1.50", b"e": b"TRUE", b"f": b"x'4f'", b"g": b"1e3", b"h": b"+5",
    }  # fmt: skip
    assert pins("SET @`c d` = NULL") == {PinReason.USER_VARIABLE}
    assert variables("SET @a = 'x', @b = 'it''s', @c = 'ä', @d = 'a' 'b', @e = 'x' COLLATE utf8mb4_bin") == {
        b"a": b"_utf8mb4 'x' COLLATE utf8mb4_general_ci",
        b"b": b"_utf8mb4 x'69742773' COLLATE utf8mb4_general_ci",
        b"c": b"_utf8mb4 x'c3a4' COLLATE utf8mb4_general_ci",
        b"d": b"_utf8mb4 'ab' COLLATE utf8mb4_general_ci",
        b"e": b"_utf8mb4 'x' COLLATE utf8mb4_bin",
    }
    assert variables(r"SET @a = 'a\'\n\%\\', @b = 'a\0'") == {
        b"a": b"_utf8mb4 x'61270a5c255c' COLLATE utf8mb4_general_ci",
        b"b": b"_utf8mb4 x'6100' COLLATE utf8mb4_general_ci",
    }
    assert variables("SET @a = DATE'2020-02-29', @b = time '10:00:00.5', @c = TIMESTAMP'2020-01-01 00:00:00'") == {
        b"a": b"DATE '2020-02-29'", b"b": b"TIME '10:00:00.5'", b"c": b"TIMESTAMP '2020-01-01 00:00:00'",
    }  # fmt: skip
    assert variables("SET @a = _latin1'x' COLLATE latin1_bin, @b = _binary'x'") == {
        b"a": b"_latin1 'x' COLLATE latin1_bin", b"b": b"_binary 'x'",
    }  # fmt: skip
    plain = attrs.evolve(MARIADB, no_escapes=True)
    assert variables(r"SET @a = 'a\'", plain) == {b"a": b"_utf8mb4 x'615c' COLLATE utf8mb4_general_ci"}
    latin = attrs.evolve(MARIADB, client=b"latin1", connection=b"ucs2", collation=b"ucs2_bin")
    assert of(b"SET @a = '\xe4'", latin).variables == {b"a": b"CONVERT(_latin1 x'e4' USING ucs2) COLLATE ucs2_bin"}


@pytest.mark.parametrize(
    "text",
    [
        "SET @a = 1 + 1",
        "SET @a = @b",
        "SET @a = N'x'",
        "SET @a = _latin1'x'",
        "SET @a = _latin1'ä' COLLATE latin1_bin",
        "SET @a = DATE'2021-02-29'",
        "SET @a = DATE'2020-00-00'",
        "SET @a = TIMESTAMP'2020-01-01 00:00:00+01:00'",
        "SET @a = ?",
        "SET @a = (SELECT 1)",
        "SET @a = now()",
        "SELECT @a := 1",
        "SELECT 1 INTO @a",
        "SELECT 1, 2 FROM t INTO @b, @a",
        "UPDATE t SET x = @a := x",
        "CALL p(1, @a)",
        "GET DIAGNOSTICS @a = NUMBER",
        "LOAD DATA INFILE 'x' INTO TABLE t (x, @a) SET y = @a",
        "EXPLAIN FORMAT = JSON INTO @a SELECT 1",
        "SET sort_buffer_size = (@a := 1)",
        "/*! SELECT @a /*!50101 := */ 5 */",
        "SELECT 1; SELECT @a /* */ := 5",
        "BEGIN NOT ATOMIC IF x THEN SET @a = 1; END IF; END",
        "EXECUTE IMMEDIATE 'SET @a = 1'",
        "PREPARE s FROM 'SELECT @a := 1'",
        "SET STATEMENT sort_buffer_size = 1 FOR SET @a = now()",
    ],
)
def test_what_else_sets_a_variable_is_said_too(text: str) -> None:
    assert variables(text).get(b"a", b"none") is None


def test_settings() -> None:
    assert of("SET a = 1, SESSION b = ON, @@c = 'x', LOCAL d = DEFAULT, @@session.e = 1 + 1, GLOBAL f = 1").settings == {
        b"a": b"1", b"b": b"ON", b"c": b"'x'", b"d": b"DEFAULT", b"e": None,
    }  # fmt: skip
    assert of("SET NAMES 'latin1' COLLATE latin1_bin").settings == {
        b"character_set_client": b"'latin1'",
        b"character_set_results": b"'latin1'",
        b"character_set_connection": b"'latin1'",
        b"collation_connection": b"LATIN1_BIN",
    }
    assert of("SET TX_ISOLATION = 'SERIALIZABLE', identity = 5", MYSQL).settings == {
        b"transaction_isolation": b"'SERIALIZABLE'",
        b"last_insert_id": b"5",
    }
    assert of("SET timestamp = 0, max_join_size = 7").settings == {
        b"timestamp": b"DEFAULT", b"max_join_size": b"7", b"sql_big_selects": None,
    }  # fmt: skip
    assert of("SET CHARACTER SET utf8").settings[b"character_set_client"] is None
    assert of("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY", MYSQL).settings == {
        b"transaction_isolation": b"'READ-COMMITTED'",
        b"transaction_read_only": b"1",
    }
    assert of("SET TRANSACTION READ ONLY").transaction == w.NEXT
    assert of("SET ROLE a, `b`@'c'").role == b"SET ROLE a, `b`@'c'"
    assert pins('SET ROLE "a"') == {PinReason.SESSION_SETTING}
    assert pins("SET RESOURCE GROUP x") == {PinReason.SESSION_SETTING}
    assert not pins("SET RESOURCE GROUP x FOR 5")
    assert pins("SET rand_seed1 = 5") == {PinReason.RANDOM_SEED}
    assert pins("SET nonsense") == {PinReason.UNRECOGNISED_STATE}


T, S, H = PinReason.TEMPORARY_TABLE, PinReason.TEXT_PREPARED, PinReason.OPEN_HANDLER
L, B, A = PinReason.TABLE_LOCK, PinReason.BACKUP_LOCK, PinReason.ADVISORY_LOCK


@pytest.mark.parametrize(
    ("text", "makes", "undoes"),
    [
        ("CREATE TEMPORARY TABLE a (b INT)", {(T, b"\0a")}, set()),
        ("CREATE OR REPLACE TEMPORARY TABLE IF NOT EXISTS `a b`.c AS SELECT 1", {(T, b"a b\0c")}, set()),
        ("CREATE TEMPORARY TABLE 'a'", {(T, b"")}, set()),
        ("DROP TEMPORARY TABLE IF EXISTS a, b.c", set(), {(T, b"\0a"), (T, b"b\0c")}),
        ("USE b; DROP TABLE a, c.d", set(), {(T, b"c\0d")}),
        ("USE b; CREATE TEMPORARY TABLE a (b INT)", {(T, b"")}, set()),
        ("DROP TABLE a", set(), {(T, b"\0a")}),
        ("PREPARE S FROM 'SELECT 1'", {(S, b"s")}, set()),
        ("DEALLOCATE PREPARE `s`", set(), {(S, b"s")}),
        ("DROP PREPARE s", set(), {(S, b"s")}),
        ("HANDLER a.t OPEN", {(H, b"t")}, set()),
        ("HANDLER t OPEN AS u", {(H, b"u")}, set()),
        ("HANDLER u CLOSE", set(), {(H, b"u")}),
        ("HANDLER u READ FIRST", set(), set()),
        ("LOCK TABLES a READ, b WRITE", {(L, b"tables")}, set()),
        ("FLUSH TABLES WITH READ LOCK", {(L, b"global")}, set()),
        ("FLUSH NO_WRITE_TO_BINLOG TABLES a, b FOR EXPORT", {(L, b"global")}, set()),
        ("UNLOCK TABLES", set(), {(L, b"tables"), (L, b"global")}),
        ("START TRANSACTION READ ONLY;", set(), {(L, b"tables")}),
        ("LOCK INSTANCE FOR BACKUP", {(B, b"instance")}, set()),
        ("UNLOCK INSTANCE", set(), {(B, b"instance")}),
        ("BACKUP STAGE START", {(B, b"stage")}, set()),
        ("BACKUP STAGE END", set(), {(B, b"stage")}),
        ("SELECT GET_LOCK('a', 1), `Get_Lock` (\"b'\", 2)", {(A, b"'a'"), (A, b"x'6227'")}, set()),
        ("DO GET_LOCK(CONCAT('a'), 1)", {(A, b"")}, set()),
        ("/*!GET_LOCK*/SELECT 1 /*! , GET_LOCK('a', 1) */", {(A, b"'a'")}, set()),
        ("EXECUTE IMMEDIATE 'SELECT GET_LOCK(''a'', 1)'", {(A, b"'a'")}, set()),
        ("SELECT 1; CREATE TEMPORARY TABLE a (b INT)", {(T, b"\0a")}, set()),
    ],
)
def test_what_stays_and_what_goes(text: str, makes: set[Any], undoes: set[Any]) -> None:
    assert set(of(text).makes) == makes
    assert set(of(text).undoes) == undoes
    if not text.startswith("/*!GET"):
        assert not of(text).pins


@pytest.mark.parametrize(
    ("text", "reads", "leaves"),
    [
        ("SELECT LAST_INSERT_ID()", {n.LAST_INSERT_ID}, set()),
        ("INSERT INTO t VALUES (last_insert_id ( ))", {n.LAST_INSERT_ID}, set()),
        ("UPDATE t SET a = LAST_INSERT_ID(a + 1)", set(), {n.LAST_INSERT_ID}),
        ("SELECT @@identity, @@session.last_insert_id", {n.LAST_INSERT_ID}, set()),
        ("SELECT SQL_CALC_FOUND_ROWS * FROM t LIMIT 1", set(), {n.FOUND_ROWS}),
        ("SELECT FOUND_ROWS(), ROW_COUNT()", {n.FOUND_ROWS, n.ROW_COUNT}, set()),
        ("SHOW WARNINGS LIMIT 1", {n.DIAGNOSTICS}, set()),
        ("SHOW COUNT(*) ERRORS", {n.DIAGNOSTICS}, set()),
        ("SELECT @@warning_count", {n.DIAGNOSTICS}, set()),
        ("SHOW FULL PROCESSLIST", {n.PROCESSLIST}, set()),
        ("SELECT CONNECTION_ID(), @@pseudo_thread_id", {n.CONNECTION_ID}, set()),
        ("SELECT NEXT VALUE FOR s, NEXTVAL(s)", set(), {n.SEQUENCE}),
        ("SELECT PREVIOUS VALUE FOR s", {n.SEQUENCE}, set()),
        ("SELECT LASTVAL(s)", {n.SEQUENCE}, set()),
        ("SELECT @@last_gtid", {n.LAST_GTID}, set()),
        ("SELECT WSREP_LAST_SEEN_GTID()", {n.LAST_GTID}, set()),
        ("SET last_insert_id = 5", set(), {n.LAST_INSERT_ID}),
    ],
)
def test_what_a_session_remembers(text: str, reads: set[bytes], leaves: set[bytes]) -> None:
    assert set(of(text).reads) == reads
    assert set(of(text).leaves) == leaves


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("BEGIN", w.BEGINS | w.IMPLICIT),
        ("START TRANSACTION WITH CONSISTENT SNAPSHOT;", w.BEGINS),
        ("COMMIT WORK", w.ENDS),
        ("COMMIT AND CHAIN NO RELEASE", w.ENDS | w.CHAINS),
        ("COMMIT AND NO CHAIN", w.ENDS),
        ("ROLLBACK RELEASE", w.ENDS | w.RELEASES),
        ("ROLLBACK TO a", w.SAVEPOINT),
        ("ROLLBACK WORK TO SAVEPOINT a", w.SAVEPOINT),
        ("SAVEPOINT a", w.SAVEPOINT),
        ("RELEASE SAVEPOINT a", w.SAVEPOINT),
        ("XA START 'a'", w.XA),
        ("ALTER TABLE t ADD b INT", w.IMPLICIT),
        ("CREATE TEMPORARY TABLE t (a INT)", 0),
        ("SELECT 1; COMMIT", w.ENDS),
    ],
)
def test_transactions(text: str, flags: int) -> None:
    assert of(text).transaction == flags


def test_kills() -> None:
    assert of("KILL 5").kills == (Kill(5),)
    assert of("KILL QUERY 5;").kills == (Kill(5, query=True),)
    assert of("KILL SOFT CONNECTION 7").kills == (Kill(7, soft=True),)
    for text in ("KILL CONNECTION_ID()", "KILL QUERY ID 5", "KILL USER a@b", "KILL 5 + 1", "KILL @a"):
        assert [one.connection for one in of(text).kills] == [None], text


@pytest.mark.parametrize(
    "text",
    [
        "FROB",
        "PREPARE s FROM @a",
        "EXECUTE IMMEDIATE CONCAT('a')",
        "SELECT @a; SELECT 'x",
        "PREPARE s FROM 'CALL p(?)'",
    ],
)
def test_what_is_not_known_pins(text: str) -> None:
    assert pins(text) == {PinReason.UNRECOGNISED_STATE}


BODIES = [
    "CREATE PROCEDURE p() BEGIN IF a THEN SET b = 1; ELSEIF c THEN SET d = IF(1, 2, 3); ELSE BEGIN END; END IF; END",
    "CREATE PROCEDURE IF NOT EXISTS p(a INT) x: LOOP LEAVE x; END LOOP x",
    "CREATE FUNCTION f(a INT) RETURNS INT DETERMINISTIC RETURN CASE WHEN a THEN 1 ELSE 2 END",
    "CREATE FUNCTION f() RETURNS INT IF a THEN RETURN 1; ELSE RETURN 2; END IF",
    "CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW SET NEW.a = CASE NEW.b WHEN 1 THEN 2 END",
    "CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW CASE NEW.b WHEN 1 THEN SET NEW.a = 1; ELSE BEGIN END; END CASE",
    "CREATE DEFINER = a@b EVENT e ON SCHEDULE EVERY 1 DAY COMMENT 'x' DO BEGIN WHILE a DO SET b = 1; END WHILE; END",
    "CREATE PROCEDURE p() BEGIN DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; END; REPEAT SET a = 1; UNTIL b END REPEAT; END",
    "CREATE PROCEDURE p() BEGIN DECLARE CONTINUE HANDLER FOR NOT FOUND SET x = 1; SELECT CASE WHEN 1 THEN 2 END; END",
    "CREATE PROCEDURE p() SELECT REPEAT('a', 3), IF(1, 2, 3)",
]


@pytest.mark.parametrize("body", BODIES)
def test_a_routines_end_is_found(body: str) -> None:
    assert found(body) == {"transaction": w.IMPLICIT}
    behind = of(body + "; SET @a = 5")
    assert behind.variables == {b"a": b"5"}
    assert not behind.pins


@pytest.mark.parametrize("body", [body for body in BODIES if "END" in body[-10:] and ";" in body])
def test_a_routine_whose_end_is_not_sure_is_not_trusted(body: str) -> None:
    cut = body.rpartition("END")[0]
    assert pins(cut + "; SET @a = 5") == {PinReason.UNRECOGNISED_STATE}
    assert not of(cut, attrs.evolve(MARIADB, multi=False)).pins


def test_a_blank_that_is_no_blank_elsewhere_is_not_trusted() -> None:
    latin = attrs.evolve(MARIADB, client=b"latin1")
    assert of(b"SELECT\xa0GET_LOCK('a', 1)", latin).pins
    assert of(b"SELECT 1,\xa0GET_LOCK('a', 1)", latin).pins
    assert not of(b"SELECT '@\xa0GET_LOCK'", latin).pins


def test_half_a_character_hides_no_lock() -> None:
    text = b"SELECT '\xbf\\' OR GET_LOCK('a', 1) -- '"
    assert of(text, attrs.evolve(MARIADB, client=b"gbk")).makes == {(PinReason.ADVISORY_LOCK, b"'a'")}
    assert not of(text).makes
