"""Statements that SQL drops, when what they are about is gone: psycopg says DEALLOCATE ALL after each DROP, ALTER and ROLLBACK."""

from __future__ import annotations

from tests.compare.runner import Script, Step, says
from tests.servers.rawclient import SYNC, bind, describe, execute, parse

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
        says(who, parse("a", "SELECT * FROM dropping_a"), runs("a")),
        says(who, parse("b", "SELECT * FROM dropping_b"), runs("b")),
        says(who, "PREPARE q AS SELECT * FROM dropping_a"),
    )


def afterwards(who: str) -> tuple[Step, ...]:
    """Which of the names are still known."""
    return (
        *(says(who, runs(name)) for name in "abq"),
        *(says(who, f"EXECUTE {name}") for name in "abq"),
        says(who, parse("a", "SELECT 'anew'"), runs("a")),
        says(who, "EXECUTE a"),
    )


def dropping(name: str, *steps: Step) -> Script:
    """The two clients prepare alike, A does something, then both tell what they have."""
    return Script(
        name,
        (43, 45),
        (*preparing("A"), *preparing("B"), *steps, *afterwards("A"), *afterwards("B")),
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
    dropping("DEALLOCATE of a statement whose table is gone", says("B", DROP), says("A", "DEALLOCATE a")),
    dropping(
        "DEALLOCATE of another statement than that whose table is gone", says("B", DROP), says("A", "DEALLOCATE b")
    ),
    dropping("EXECUTE of a statement whose table is gone", says("B", DROP), says("A", "EXECUTE a")),
    dropping("EXECUTE of another statement than that whose table is gone", says("B", DROP), says("A", "EXECUTE b")),
    dropping("DISCARD ALL after the table is gone", says("B", DROP), says("A", "DISCARD ALL")),
    dropping("DISCARD PLANS after the table is gone", says("B", DROP), says("A", "DISCARD PLANS")),
    dropping("PREPARE of a name whose table is gone", says("B", DROP), says("A", "PREPARE a AS SELECT 1")),
    dropping(
        "DROP and DEALLOCATE ALL in one text",
        says("A", f"{DROP}; DEALLOCATE ALL; SELECT 'behind'"),
    ),
    dropping(
        "DROP and DEALLOCATE ALL in one pipeline",
        says("A", extended(DROP), extended("DEALLOCATE ALL"), extended("SELECT 'behind'"), ready=3),
    ),
    dropping(
        "DEALLOCATE ALL and a Bind of what it drops in one batch",
        says("A", parse("", "DEALLOCATE ALL") + bind() + execute() + runs("b")),
    ),
    dropping(
        "DEALLOCATE ALL and a Parse of a name that it frees in one batch",
        says("A", parse("", "DEALLOCATE ALL") + bind() + execute() + parse("b", "SELECT 'newer'") + runs("b")),
        says("A", runs("b")),
    ),
    dropping(
        "DEALLOCATE ALL in a transaction that is rolled back",
        says("A", "BEGIN"),
        says("A", DROP),
        says("A", "DEALLOCATE ALL"),
        says("A", parse("c", "SELECT 'kept'"), runs("c")),
        says("A", "ROLLBACK"),
        says("A", runs("c")),
    ),
    dropping(
        "DEALLOCATE ALL in a transaction that has failed",
        says("A", "BEGIN"),
        says("A", "SELECT 1/0"),
        says("A", "DEALLOCATE ALL"),
        says("A", extended("DEALLOCATE a")),
        says("A", "ROLLBACK"),
    ),
    dropping(
        "DEALLOCATE ALL after ROLLBACK TO",
        says("A", "BEGIN"),
        says("A", "SAVEPOINT s"),
        says("A", runs("a")),
        says("A", "SELECT 1/0"),
        says("A", "ROLLBACK TO s"),
        says("A", extended("DEALLOCATE ALL")),
        says("A", runs("b")),
        says("A", "COMMIT"),
    ),
    dropping(
        "DEALLOCATE ALL behind an error in one text",
        says("A", "SELECT 1/0; DEALLOCATE ALL"),
    ),
    dropping(
        "an error behind DEALLOCATE ALL in one text",
        says("A", "DEALLOCATE ALL; SELECT 1/0"),
    ),
    dropping(
        "a table that changes, and DEALLOCATE ALL",
        says("B", "ALTER TABLE dropping_a ADD c int DEFAULT 7"),
        says("A", "EXECUTE a"),
        says("A", "EXECUTE q"),
        says("A", runs("a")),
        says("A", extended("DEALLOCATE ALL")),
    ),
    dropping(
        "a prepared DEALLOCATE ALL",
        says("A", parse("d", "DEALLOCATE ALL"), SYNC),
        says("B", DROP),
        says("A", runs("d")),
        says("A", runs("d")),
    ),
)
