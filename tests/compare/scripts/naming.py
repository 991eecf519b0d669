"""Prepared statements that SQL names, moved from one database connection to another (rows 28, 43 to 47).

With two database connections, whoever holds one in a transaction sends the other client to the other one.
"""

from tests.compare.runner import Script, Step, leaves, says, whispers
from tests.compare.scripts.prepared import runs
from tests.servers.rawclient import (
    COPY_DONE,
    FLUSH,
    SYNC,
    bind,
    close,
    copy_data,
    describe,
    execute,
    parse,
    query,
)


def moved(*steps: Step) -> tuple[Step, ...]:
    """The steps of A, and between them B takes A's database connection into a transaction of its own."""
    found: list[Step] = []
    for number, step in enumerate(steps):
        found += [step, says("B", "COMMIT" if number % 2 else "BEGIN")]
    return tuple(found) if len(steps) % 2 == 0 else (*found, says("B", "COMMIT"))


NAMING = (
    Script(
        "names of every kind",
        (28, 44),
        moved(
            says("A", 'PREPARE Upper AS SELECT 1; PREPARE "Upper" AS SELECT 2; PREPARE "a ""b" AS SELECT 3'),
            says("A", f"PREPARE {'n' * 70} AS SELECT 4; PREPARE \u00e9t\u00e9 AS SELECT 5; PREPARE \u00c9 AS SELECT 6"),
            says("A", 'EXECUTE upper; EXECUTE "Upper"; EXECUTE "upper"; EXECUTE "a ""b"'),
            says("A", f"EXECUTE {'n' * 63}"),
            says("A", f"EXECUTE {'n' * 80}"),
            says("A", "EXECUTE \u00e9t\u00e9; EXECUTE \u00c9; EXECUTE \u00e9"),
            says("A", runs("upper"), runs("Upper"), runs('a "b'), runs("n" * 63), runs("n" * 70), ready=5),
            says("A", runs("\u00e9t\u00e9"), runs("\u00c9"), ready=2),
            says("A", close("S", "Upper"), close("S", "n" * 66), SYNC),
            says("A", 'EXECUTE "Upper"', f"EXECUTE {'n' * 63}", "EXECUTE upper", ready=3),
        ),
        (2,),
    ),
    Script(
        "a notice about a text comes once, and again for a Parse that is refused",
        (28, 44),
        moved(
            says("A", parse("", f"SELECT 1 AS {'n' * 70}") + bind() + execute() + SYNC),
            says("A", bind() + execute() + SYNC),
            says("A", parse("p", f"SELECT 2 AS {'n' * 70}") + SYNC),
            says("A", runs("p")),
            says("A", parse("p", f"SELECT 3 AS {'n' * 70}") + SYNC),
            says("A", "DO $$ BEGIN EXECUTE 'DEALLOCATE p; PREPARE q AS SELECT 4'; END $$"),
            says("A", parse("p", "SELECT 5") + SYNC, parse("q", "SELECT 6") + SYNC, "EXECUTE q", ready=3),
        ),
        (2,),
    ),
    Script(
        "types, comments and AS where it does not count",
        (28, 49),
        moved(
            says(
                "A",
                "PREPARE p (int, numeric(5, 2), /* AS */ timestamp(3) with time zone, text[]) AS -- AS SELECT\n SELECT $1, $2, $3 IS NULL, $4",
            ),
            says("A", "EXECUTE p (1, 2.345, NULL, '{AS}')"),
            says("A", describe("S", "p"), SYNC),
            says("A", runs("p", b"1", b"2.345", b"now", b"{a}")),
            says(
                "A",
                "/* PREPARE p */ PREPARE\"q\"AS(SELECT 1)UNION(SELECT 2)ORDER BY 1;;; SELECT 'PREPARE x AS SELECT 1'",
            ),
            says("A", "EXECUTE q", "EXECUTE x", "EXECUTE q(1)", "EXECUTE p", ready=4),
            says("A", "PREPARE r AS SELECT $1 + 1; PREPARE t (unknown) AS SELECT $1::date"),
            says("A", "EXECUTE r(1)", "EXECUTE t('2001-01-01')", "EXECUTE r('x')", ready=3),
        ),
        (2,),
    ),
    Script(
        "one name, several times in one text",
        (28,),
        moved(
            says("A", "PREPARE p AS SELECT 1; EXECUTE p; DEALLOCATE p; PREPARE p AS SELECT 'two'; EXECUTE p"),
            says("A", "EXECUTE p"),
            says("A", "DEALLOCATE p; PREPARE p AS SELECT 3"),
            says("A", "EXECUTE p"),
            says("A", "PREPARE p AS SELECT 4; SELECT 5"),
            says("A", "EXECUTE p"),
        ),
        (2,),
    ),
    Script(
        "what a rollback does not take back",
        (28, 29),
        moved(
            says("A", "BEGIN; PREPARE p AS SELECT 1; ROLLBACK"),
            says("A", "EXECUTE p"),
            says("A", "BEGIN; SAVEPOINT a; DEALLOCATE p; PREPARE p AS SELECT 2; ROLLBACK TO a; COMMIT"),
            says("A", "EXECUTE p"),
            says("A", "PREPARE q AS SELECT 1; SELECT 1/0"),
            says("A", "EXECUTE q"),
            says("A", "BEGIN", "DEALLOCATE p", "SELECT 1/0", "EXECUTE p", "COMMIT", ready=5),
            says("A", "EXECUTE p"),
        ),
        (2,),
    ),
    Script(
        "a table that goes between PREPARE and EXECUTE",
        (45, 46),
        (
            says("A", "PREPARE p AS SELECT * FROM going", parse("q", "SELECT * FROM going"), SYNC, ready=2),
            says("B", "BEGIN"),
            says("A", "EXECUTE p"),
            says("A", "DROP TABLE going"),
            says("B", "COMMIT"),
            says("A", "EXECUTE p", "EXECUTE p", "SELECT 1", ready=3),
            says("B", "BEGIN"),
            says("A", "EXECUTE p"),
            says("A", runs("q")),
            says("A", runs("p"), ready=1),
            says("A", "BEGIN", "EXECUTE p", "SELECT 1", "ROLLBACK", ready=4),
            says("A", "CREATE TABLE going AS SELECT 2 AS a"),
            says("B", "COMMIT"),
            says("A", "EXECUTE p"),
            says("A", "DEALLOCATE p"),
            says("A", runs("q")),
        ),
        (2,),
        before=("DROP TABLE IF EXISTS going", "CREATE TABLE going AS SELECT 1 AS a"),
    ),
    Script(
        "pipelines that name statements in both ways",
        (43, 44),
        moved(
            says("A", parse("p", "SELECT 1"), parse("q", "SELECT $1::int"), SYNC),
            says(
                "A",
                parse("", "EXECUTE p"),
                bind(),
                describe("P"),
                execute(),
                parse("", "DEALLOCATE p"),
                bind(),
                execute(),
                parse("p", "SELECT 'two'"),
                bind("", "p"),
                execute(),
                SYNC,
            ),
            says("A", "EXECUTE p", "EXECUTE q(5)", ready=2),
            says(
                "A",
                "DEALLOCATE p",
                parse("p", "SELECT 3"),
                bind("", "p"),
                execute(),
                SYNC,
                "EXECUTE p",
                "DEALLOCATE ALL",
                runs("p"),
                ready=5,
            ),
            says("A", parse("e", "PREPARE p AS SELECT 7"), bind("", "e"), execute(), SYNC),
            says("A", runs("p")),
            says("A", runs("e")),
            says("A", close("S", "p"), bind("", "e"), execute(), bind("", "p"), execute(), SYNC),
            says("A", parse("x", "EXECUTE p"), SYNC),
            says("A", bind("", "x"), describe("P"), execute(), SYNC),
            says("A", "DEALLOCATE p"),
            says("A", runs("x")),
            says("A", "PREPARE p AS SELECT 8"),
            says("A", runs("x")),
        ),
        (2,),
    ),
    Script(
        "errors in front of a name and behind it",
        (43, 44),
        moved(
            says("A", parse("p", "SELECT 1"), SYNC),
            says("A", bind("", "nope"), parse("", "DEALLOCATE p"), bind(), execute(), SYNC),
            says("A", runs("p")),
            says("A", parse("", "DEALLOCATE p"), bind(), execute(), bind("", "nope"), SYNC),
            says("A", runs("p")),
            whispers("A", parse("p", "SELECT 2"), bind("", "nope"), FLUSH),
            says("A", "EXECUTE p", SYNC),
            says("A", "EXECUTE p"),
            whispers("A", parse("", "PREPARE p AS SELECT 3"), bind(), execute(), FLUSH),
            says("A", bind("", "p"), execute(), query("EXECUTE p"), SYNC),
            says("A", "EXECUTE p"),
        ),
        (2,),
    ),
    Script(
        "COPY and portals around a name",
        (44,),
        moved(
            says("A", parse("p", "SELECT generate_series(1, 4)"), SYNC),
            says(
                "A",
                "BEGIN",
                bind("c", "p"),
                execute("c", 2),
                query("EXECUTE p"),
                execute("c", 1),
                query("DEALLOCATE p"),
                execute("c"),
                SYNC,
                ready=4,
            ),
            says("A", "EXECUTE p", "ROLLBACK", "EXECUTE p", ready=3),
            says("A", parse("p", "SELECT 1"), SYNC),
            says("A", parse("", "COPY copied FROM STDIN"), bind(), execute(), copy_data(b"1\n"), COPY_DONE, SYNC),
            says("A", query("COPY copied FROM STDIN"), copy_data(b"x\n"), COPY_DONE, query("EXECUTE p"), ready=2),
            says(
                "A",
                query("COPY copied FROM STDIN; EXECUTE p"),
                copy_data(b"5\n"),
                COPY_DONE,
                query("EXECUTE p"),
                ready=2,
            ),
            says(
                "A",
                "PREPARE c AS SELECT count(*) FROM copied; COPY copied FROM STDIN",
                copy_data(b"5\n"),
                COPY_DONE,
                "EXECUTE c",
                ready=2,
            ),
        ),
        (2,),
        before=("DROP TABLE IF EXISTS copied", "CREATE TABLE copied (a int); GRANT ALL ON copied TO PUBLIC"),
    ),
    Script(
        "one who leaves in the middle",
        (29,),
        (
            says("A", "PREPARE p AS SELECT 'A'"),
            says("B", "PREPARE p AS SELECT 'B'"),
            Step(
                "C", (query("PREPARE p AS SELECT 'C'"), query("EXECUTE p"), parse("", "EXECUTE p"), FLUSH), leaves=True
            ),
            says("A", "EXECUTE p"),
            says("B", "EXECUTE p"),
            leaves("A"),
            says("D", "EXECUTE p"),
            says("D", runs("p")),
            says("B", "EXECUTE p", "DEALLOCATE ALL", "EXECUTE p", ready=3),
        ),
    ),
    Script(
        "parameters that do not fit",
        (38, 44),
        moved(
            says("A", "PREPARE p (int) AS SELECT $1", parse("q", "SELECT $1::int"), SYNC, ready=2),
            says("A", runs("p")),
            says("A", runs("p", b"1", b"2")),
            says("A", runs("p", b"x")),
            says("A", "EXECUTE q", "EXECUTE q(1, 2)", "EXECUTE p", "EXECUTE p('x')", ready=4),
            says("A", "BEGIN", "EXECUTE q(3)", runs("q"), ready=3),
            says("A", "ROLLBACK", runs("q"), ready=2),
        ),
        (2,),
    ),
    Script(
        "a query that names behind a message that fails",
        (44,),
        (
            says("A", "PREPARE p AS SELECT 1"),
            says("B", "PREPARE p AS SELECT 1"),
            whispers("B", execute(), query("PREPARE p AS SELECT 1"), SYNC),
            says("B", "SELECT 1"),
        ),
    ),
    Script(
        "three clients, one name",
        (28, 36, 44),
        tuple(
            says(who, text)
            for text in (
                "PREPARE p AS SELECT '{}'",
                "EXECUTE p",
                "DEALLOCATE p; PREPARE p AS SELECT 2, '{}'",
                "EXECUTE p",
            )
            for who in "ABC"
            for text in (text.format(who),)
        ),
    ),
)
