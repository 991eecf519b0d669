"""Statements that SQL drops, when what they are about is gone: psycopg says DEALLOCATE ALL after each DROP, ALTER and ROLLBACK."""

from __future__ import annotations

from tests.compare.runner import Script, Step, says
from tests.servers.rawclient import SYNC, bind, close, describe, execute, parse

MADE = (
    "DROP TABLE IF EXISTS dropping_a, dropping_b",
    "CREATE TABLE dropping_a AS SELECT 1 AS a",
    "CREATE TABLE dropping_b AS SELECT 2 AS b",
)


def runs(name: str) -> bytes:
    """One statement, bound and executed, up to its Sync."""
    return bind("", name) + execute() + SYNC


def extended(text: str) -> bytes:
    """What psycopg sends for a statement without results when it prepares nothing."""
    return parse("", text) + bind() + describe("P") + execute() + SYNC


def preparing(who: str) -> tuple[Step, ...]:
    """Two statements of the protocol and one of SQL, each on a table of its own or on none."""
    return (
        says(who, parse("a1", "SELECT * FROM dropping_a"), runs("a1")),
        says(who, parse("b1", "SELECT * FROM dropping_b"), runs("b1")),
        says(who, "PREPARE q1 AS SELECT * FROM dropping_a"),
    )


def afterwards(who: str) -> tuple[Step, ...]:
    """Which of the names are still known."""
    return (
        *(says(who, runs(name)) for name in ("a1", "b1", "q1")),
        *(says(who, f"EXECUTE {name}") for name in ("a1", "b1", "q1")),
        says(who, parse("a1", "SELECT 'anew'"), runs("a1")),
        says(who, "EXECUTE a1"),
    )


def dropping(name: str, *steps: Step, pools: tuple[int, ...] = (1, 2)) -> Script:
    """The two clients prepare alike, A does something, then both tell what they have."""
    return Script(
        name,
        (43, 45),
        (*preparing("A"), *preparing("B"), *steps, *afterwards("A"), *afterwards("B")),
        pools,
        before=MADE,
    )


DROP = "DROP TABLE dropping_a"
DROPPING = (
    dropping("DEALLOCATE ALL after the table is gone", says("A", DROP), says("A", "DEALLOCATE ALL")),
    dropping(
        "DEALLOCATE ALL by the extended protocol after the table is gone",
        says("A", extended(DROP)),
        says("A", extended("DEALLOCATE ALL")),
    ),
    dropping("DEALLOCATE ALL after another has dropped the table", says("B", DROP), says("A", "DEALLOCATE ALL")),
    *(
        dropping(f"{text}, when the first table is gone", says("B", DROP), says("A", text), says("A", text))
        for text in (
            "DEALLOCATE a1",
            'DEALLOCATE "a1"',
            " deallocate Prepare A1 ; ",
            "DEALLOCATE b1",
            "DEALLOCATE q1",
            "EXECUTE a1",
            "EXECUTE b1",
            "DISCARD ALL",
            "DISCARD PLANS",
            "DEALLOCATE a1; EXECUTE b1",
            "DEALLOCATE q1; DEALLOCATE a1; EXPLAIN (COSTS OFF) EXECUTE b1",
            "DEALLOCATE a1; PREPARE a1 AS SELECT 'anew'; EXECUTE a1",
            "PREPARE a1 AS SELECT 'in the way'; EXECUTE b1",
        )
    ),
    dropping("DROP and DEALLOCATE ALL in one text", says("A", f"{DROP}; DEALLOCATE ALL; SELECT 'behind'")),
    dropping(
        "DROP and DEALLOCATE ALL in one pipeline",
        says("A", extended(DROP), extended("DEALLOCATE ALL"), extended("SELECT 'behind'"), ready=3),
    ),
    dropping(
        "DEALLOCATE ALL and a Bind of what it drops in one batch",
        says("A", parse("", "DEALLOCATE ALL") + bind() + execute() + runs("b1")),
    ),
    dropping(
        "DEALLOCATE ALL and a Parse of a name that it frees in one batch",
        says("A", parse("", "DEALLOCATE ALL") + bind() + execute() + parse("b1", "SELECT 'newer'") + runs("b1")),
        says("A", runs("b1")),
    ),
    dropping(
        "DEALLOCATE ALL in a transaction that is rolled back",
        says("A", "BEGIN"),
        says("A", DROP),
        says("A", "DEALLOCATE ALL"),
        says("A", parse("c1", "SELECT 'kept'"), runs("c1")),
        says("A", "ROLLBACK"),
        says("A", runs("c1")),
    ),
    dropping(
        "DEALLOCATE ALL in a transaction that has failed",
        says("A", "BEGIN"),
        says("A", "SELECT 1/0"),
        says("A", "DEALLOCATE ALL"),
        says("A", extended("DEALLOCATE a1")),
        says("A", "ROLLBACK"),
    ),
    dropping(
        "DEALLOCATE ALL after ROLLBACK TO",
        says("A", "BEGIN"),
        says("A", "SAVEPOINT s"),
        says("A", runs("a1")),
        says("A", "SELECT 1/0"),
        says("A", "ROLLBACK TO s"),
        says("A", extended("DEALLOCATE ALL")),
        says("A", runs("b1")),
        says("A", "COMMIT"),
    ),
    *(
        dropping(
            f"{text}, behind a savepoint, on another backend",
            says("A", "BEGIN"),
            says("B", "SELECT 1"),
            says("A", "COMMIT"),
            says("B", "BEGIN"),
            says("A", "BEGIN"),
            says("A", "SAVEPOINT s"),
            says("A", text),
            says("A", "ROLLBACK TO s"),
            *(says("A", f"EXECUTE {name}") for name in ("a1", "b1")),
            says("A", runs("b1")),
            says("A", "ROLLBACK TO s"),
            says("A", "EXECUTE b1"),
            says("A", "ROLLBACK"),
            says("B", "COMMIT"),
            pools=(2,),
        )
        for text in (
            "DEALLOCATE a1; PREPARE b1 AS SELECT 'in the way'",
            "DEALLOCATE b1; PREPARE a1 AS SELECT 'in the way'",
            "DEALLOCATE q1; PREPARE q1 AS SELECT 'anew'; PREPARE b1 AS SELECT 'in the way'",
        )
    ),
    dropping("DEALLOCATE ALL behind an error in one text", says("A", "SELECT 1/0; DEALLOCATE ALL")),
    dropping("an error behind DEALLOCATE ALL in one text", says("A", "DEALLOCATE ALL; SELECT 1/0")),
    dropping(
        "a prepared DEALLOCATE ALL",
        says("A", parse("d1", "DEALLOCATE ALL"), SYNC),
        says("B", DROP),
        says("A", runs("d1")),
        says("A", runs("d1")),
    ),
    dropping(
        "DEALLOCATE of a statement in a transaction that is rolled back",
        says("A", "BEGIN"),
        says("A", DROP),
        says("A", "DEALLOCATE a1"),
        says("A", runs("a1")),
        says("A", "ROLLBACK"),
    ),
    dropping(
        "DEALLOCATE of a statement in a transaction that has failed",
        says("A", "BEGIN"),
        says("A", "SELECT 1/0"),
        says("A", "DEALLOCATE b1"),
        says("A", "ROLLBACK"),
    ),
    dropping(
        "DEALLOCATE of a statement before the first query of a transaction",
        says("A", "BEGIN"),
        says("A", "DEALLOCATE b1"),
        says("A", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"),
        says("A", "ROLLBACK"),
    ),
    dropping(
        "DEALLOCATE of several statements in one write",
        says("A", "DEALLOCATE a1", "DEALLOCATE b1", "EXECUTE b1", parse("b1", "SELECT 'newer'"), runs("b1"), ready=4),
    ),
    dropping(
        "DEALLOCATE behind unsynced messages",
        says("A", parse("c1", "SELECT 'unsynced'") + bind("", "b1") + execute(), "DEALLOCATE b1", runs("c1"), ready=2),
    ),
    *(
        dropping(
            f"{text} by the extended protocol, when the first table is gone", says("B", DROP), says("A", extended(text))
        )
        for text in ("DEALLOCATE a1", "DEALLOCATE PREPARE q1", "PREPARE a1 AS SELECT 'newer'")
    ),
    *(
        dropping(f"{text}, when the first table is gone, in words of its own", says("B", DROP), says("A", text))
        for text in (
            "/* gone */ DEALLOCATE a1",
            "DEALLOCATE a1; DEALLOCATE none; DEALLOCATE q1",
            "DEALLOCATE a1; PREPARE a1 AS SELECT 'newer'",
            "DEALLOCATE b1; PREPARE a1 AS SELECT 'newer'",
            "PREPARE q1 AS SELECT 'newer'; SELECT 2",
        )
    ),
    *(
        dropping(
            f"in a transaction in which the first table goes, {text}, then {behind}",
            says("A", "BEGIN"),
            says("A", DROP),
            says("A", extended(text)),
            says("A", behind),
            says("A", "ROLLBACK"),
        )
        for text, behind in (
            ("DEALLOCATE a1", "PREPARE a1 AS SELECT 'newer'"),
            ("/**/ DEALLOCATE q1", "EXECUTE q1"),
            ("PREPARE a1 AS SELECT 'newer'", "EXECUTE a1"),
        )
    ),
    *(
        dropping(
            f"{text} in a transaction, then {name}",
            says("B", "SELECT 1"),
            says("A", "BEGIN"),
            says("A", "SAVEPOINT s"),
            says("A", extended(text)),
            *failing,
            says("A", *behind, ready=len(behind)),
            says("A", "COMMIT"),
            says("B", DROP),
        )
        for text, failing in (
            ("DEALLOCATE a1", ()),
            ("PREPARE a1 AS SELECT 'newer'", (says("A", describe("S", "a1") + SYNC), says("A", "ROLLBACK TO s"))),
        )
        for name, behind in (
            ("uses", ("EXECUTE a1", runs("a1"), "EXECUTE a1")),
            ("a Close and another", (close("S", "a1") + SYNC, "PREPARE a1 AS SELECT 'newest'", runs("a1"))),
            ("a Parse", (parse("a1", "SELECT 'newest'") + runs("a1"), "EXECUTE a1")),
            ("it is dropped", ("DEALLOCATE a1", "PREPARE a1 AS SELECT 'newest'", "EXECUTE a1")),
        )
    ),
    dropping(
        "a prepared DEALLOCATE, bound and dropped by another word first",
        says("A", parse("d1", "DEALLOCATE a1"), SYNC),
        says("B", DROP),
        says("A", bind("p", "d1") + execute("p") + SYNC),
        says("A", runs("d1")),
        says("A", parse("a1", "SELECT 'newer'"), runs("a1")),
        says("B", "SELECT 1"),
        says("A", runs("d1")),
        says("A", runs("d1")),
    ),
    dropping(
        "a Bind of what stays without a name, sent before that is known",
        says(
            "A",
            parse("", "DEALLOCATE ALL") + bind("", "none") + parse("", "SELECT 1") + SYNC,
            bind() + execute() + parse("a1", "SELECT 'newer'") + SYNC,
            ready=2,
        ),
        says("A", parse("a1", "SELECT 'newest'") + SYNC),
    ),
    dropping(
        "DEALLOCATE of a statement that SQL has executed",
        says("A", "EXECUTE a1"),
        says("B", "SELECT 1"),
        says("A", "DEALLOCATE a1"),
    ),
)
