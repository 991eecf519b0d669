"""Prepared statements (rows 36 to 52)."""

from tests.compare.runner import Script, says, whispers
from tests.servers.rawclient import FLUSH, SYNC, bind, close, describe, execute, parse


def runs(name: str = "", *values: bytes) -> bytes:
    """Bind, Describe, Execute, Sync."""
    return bind("", name, values) + describe("P") + execute() + SYNC


PREPARED = (
    Script(
        "one name, two clients, two texts",
        (36,),
        (
            says("A", parse("s1", "SELECT 11"), SYNC),
            says("B", parse("s1", "SELECT 22::bigint"), SYNC),
            says("A", runs("s1")),
            says("B", runs("s1")),
            says("A", describe("S", "s1"), SYNC),
        ),
    ),
    Script(
        "the unnamed statement is one's own, also in the next transaction",
        (37,),
        (
            says("A", parse("", "SELECT 11"), SYNC),
            says("B", parse("", "SELECT 22"), SYNC),
            says("A", runs()),
            says("B", runs()),
            says("A", runs()),
        ),
    ),
    Script(
        "a simple query ends the unnamed statement",
        (37,),
        (says("A", parse("", "SELECT 1"), SYNC), says("A", "SELECT 2"), says("A", runs())),
    ),
    Script(
        "no unnamed statement of a stranger's",
        (37,),
        (says("A", parse("", "SELECT 1"), SYNC), says("B", runs()), says("A", runs())),
    ),
    Script(
        "a name twice",
        (38,),
        (
            says("A", parse("s1", "SELECT 1"), SYNC),
            says("A", parse("s1", "SELECT 2"), SYNC),
            says("A", parse("s1", "SELECT nothing"), SYNC),
            says("A", runs("s1")),
        ),
    ),
    Script(
        "parameters that do not fit are told of by the client's own name",
        (38,),
        (
            says("A", parse("s1", "SELECT $1::int, $2::int"), SYNC),
            says("A", bind("", "s1", (b"1",)), SYNC),
            says("B", parse("other", "SELECT $1::int, $2::int"), bind("", "other", (b"1",)), SYNC),
        ),
    ),
    Script(
        "parameters that do not fit a statement whose table has changed",
        (38, 45),
        (
            says("A", parse("p", "SELECT *, $1::int FROM fitting"), SYNC),
            says("B", "BEGIN"),
            says("A", "ALTER TABLE fitting ADD COLUMN b int"),
            says("A", runs("p")),
            says("A", runs("p", b"1", b"2")),
            says("A", runs("p", b"1")),
            says("A", "BEGIN", "SELECT 1/0", runs("p"), "ROLLBACK", ready=4),
            says("B", "COMMIT"),
            says("A", runs("p")),
        ),
        (2,),
        before=("DROP TABLE IF EXISTS fitting", "CREATE TABLE fitting (a int)"),
    ),
    Script(
        "a name twice in one batch",
        (38,),
        (says("A", parse("s1", "SELECT 1"), parse("s1", "SELECT 2"), SYNC), says("A", runs("s1"))),
    ),
    Script(
        "names that nobody has",
        (39, 41),
        (
            says("A", runs("nope")),
            says("A", describe("S", "nope"), SYNC),
            says("A", close("S", "nope"), SYNC),
            says("A", "SELECT 1"),
        ),
    ),
    Script(
        "a Parse that fails leaves its name free",
        (40,),
        (says("A", parse("s1", "SELEC 1"), SYNC), says("A", parse("s1", "SELECT 1"), runs("s1"))),
    ),
    Script(
        "Close and Parse of one name in one batch",
        (42,),
        (
            says("A", parse("s1", "SELECT 1"), SYNC),
            says("A", close("S", "s1"), parse("s1", "SELECT 2"), bind("", "s1"), execute(), SYNC),
            says("B", "SELECT 3"),
            says("A", runs("s1")),
        ),
    ),
    Script(
        "a Close that is skipped closes nothing",
        (42,),
        (
            says("A", parse("s1", "SELECT 1"), SYNC),
            says("A", parse("", "SELEC"), close("S", "s1"), SYNC),
            says("A", runs("s1")),
        ),
    ),
    Script(
        "DEALLOCATE and EXECUTE of a statement of the protocol",
        (43, 44),
        (
            says("A", parse("s1", "SELECT 7"), SYNC),
            says("B", "SELECT 1"),
            says("A", "EXECUTE s1"),
            says("A", runs("s1")),
            says("A", "DEALLOCATE s1"),
            says("A", runs("s1")),
        ),
        (2,),
    ),
    Script(
        "DEALLOCATE ALL",
        (43,),
        (
            says("A", parse("s1", "SELECT 7"), parse("s2", "SELECT 8"), SYNC),
            says("A", "DEALLOCATE ALL"),
            says("A", runs("s1")),
            says("A", parse("s1", "SELECT 9"), runs("s1")),
        ),
    ),
    Script(
        "EXECUTE inside EXPLAIN",
        (44,),
        (says("A", parse("s1", "SELECT 7"), SYNC), says("A", "EXPLAIN (COSTS OFF) EXECUTE s1")),
    ),
    Script(
        "who prepared before a change of the table, and who prepared after it",
        (45, 46),
        (
            says("A", parse("s", "SELECT * FROM changing"), SYNC),
            says("A", runs("s")),
            says("B", "ALTER TABLE changing ADD b int DEFAULT 5"),
            says("A", runs("s")),
            says("B", parse("s", "SELECT * FROM changing"), runs("s")),
            says("A", parse("again", "SELECT * FROM changing"), runs("again")),
            says("A", runs("s")),
            says("B", runs("s")),
        ),
        before=("DROP TABLE IF EXISTS changing", "CREATE TABLE changing AS SELECT 1 AS a"),
    ),
    Script(
        "a table that is dropped and made again, with the same columns",
        (45,),
        (
            says("A", parse("s", "SELECT * FROM remade"), SYNC),
            says("A", runs("s")),
            says("B", "DROP TABLE remade; CREATE TABLE remade AS SELECT 2 AS a"),
            says("A", runs("s")),
            says("B", "DROP TABLE remade"),
            says("A", runs("s")),
            says("A", "SELECT 1"),
        ),
        before=("DROP TABLE IF EXISTS remade", "CREATE TABLE remade AS SELECT 1 AS a"),
    ),
    Script(
        "equal text, other parameter types",
        (49,),
        (
            says("A", parse("i", "SELECT $1", (23,)), SYNC),
            says("A", parse("t", "SELECT $1", (25,)), SYNC),
            says("B", "SELECT 1"),
            says("A", runs("i", b"5")),
            says("A", runs("t", b"5")),
            says("A", runs("i", b"x")),
            says("A", describe("S", "i"), describe("S", "t"), SYNC),
        ),
    ),
    Script(
        "a portal's name is not a statement's",
        (50,),
        (
            says("A", parse("x", "SELECT 1"), SYNC),
            says("A", bind("x", "x"), execute("x"), close("P", "x"), SYNC),
            says("A", runs("x")),
        ),
    ),
    Script(
        "Parse and Describe with Flush, Bind later",
        (60,),
        (
            whispers("A", parse("s", "SELECT 5"), describe("S", "s"), FLUSH),
            says("A", bind("", "s"), execute(), SYNC),
            says("A", runs("s")),
        ),
    ),
    Script(
        "two statements in one batch on a backend that has neither",
        (48,),
        (
            says("A", parse("a", "SELECT 1"), parse("b", "SELECT $1::int + 1"), SYNC),
            says("B", "BEGIN"),
            says("A", bind("", "a"), execute(), bind("", "b", (b"1",)), describe("P"), execute(), SYNC),
            says("B", "COMMIT"),
            says("A", "BEGIN"),
            says("A", bind("", "b", (b"2",)), execute(), bind("", "a"), execute(), SYNC),
            says("A", "COMMIT"),
        ),
        (2,),
    ),
    Script(
        "a statement inside a failed transaction",
        (48,),
        (
            says("A", parse("s", "SELECT 1"), SYNC),
            says("A", "BEGIN"),
            says("A", "SELECT 1/0"),
            says("A", runs("s")),
            says("A", "ROLLBACK"),
            says("A", runs("s")),
        ),
    ),
    Script(
        "three hundred statements",
        (51,),
        (
            says("A", *(parse(f"n{i}", f"SELECT {i}") for i in range(300)), SYNC),
            says("B", *(parse(f"n{i}", f"SELECT {i} + 1") for i in range(300)), SYNC),
            says("A", *(runs(f"n{i}") for i in range(0, 300, 7)), ready=43),
            says("B", *(runs(f"n{i}") for i in range(0, 300, 7)), ready=43),
        ),
    ),
    Script(
        "one text under two search_paths",
        (47,),
        (
            says("A", "SET search_path = first_schema"),
            says("B", "SET search_path = second_schema"),
            says("A", parse("s", "SELECT * FROM named_alike"), runs("s"), ready=1),
            says("B", parse("s", "SELECT * FROM named_alike"), runs("s"), ready=1),
            says("A", runs("s")),
            says("B", runs("s")),
        ),
        (2,),
        before=(
            "DROP SCHEMA IF EXISTS first_schema, second_schema CASCADE",
            "CREATE SCHEMA first_schema",
            "CREATE SCHEMA second_schema",
            "CREATE TABLE first_schema.named_alike AS SELECT 1 AS one",
            "CREATE TABLE second_schema.named_alike AS SELECT 'two' AS two, 3 AS three",
        ),
    ),
    Script(
        "prepare and close, over and over",
        (51,),
        (
            says(
                "A",
                *(parse(f"u{i}", f"SELECT {i}") + runs(f"u{i}") + close("S", f"u{i}") for i in range(200)),
                SYNC,
                ready=201,
            ),
            says("B", "SELECT 1"),
            says("A", runs("u7")),
        ),
    ),
)
