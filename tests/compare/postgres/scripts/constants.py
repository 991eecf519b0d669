"""Constants in prepared statements: the server reads them when a statement is prepared, not when it runs.

A prepares, changes what its constants are read by, and runs the statement on another database connection.
"""

from __future__ import annotations

from tests.compare.postgres.scripts.naming import moved
from tests.compare.postgres.scripts.prepared import runs
from tests.compare.runner import Script, Step, says
from tests.servers.rawclient import SYNC, bind, describe, execute, parse

DAY = "SELECT '01/02/2003'::date"
WHEN = "SELECT extract(epoch FROM '2020-06-01 12:00'::timestamptz)"
SEEN = "SELECT '01/02/2003'::date FROM days"
DMY = "SET DateStyle = 'ISO, DMY'"


def extended(text: str) -> bytes:
    """One statement without a name, up to its Execute."""
    return parse("", text) + bind() + execute()


def both(name: str, body: str, *changes: str) -> tuple[Step, ...]:
    """A statement of SQL and one of the protocol with this text, then some SETs, then both are run, some times."""
    return moved(
        says("A", f"PREPARE {name}s AS {body}"),
        says("A", parse(f"{name}p", body), SYNC),
        says("A", parse("", body), SYNC),
        says("A", runs("")),
        *(says("A", change) for change in changes),
        says("A", f"EXECUTE {name}s"),
        says("A", runs(f"{name}s")),
        says("A", runs(f"{name}p")),
        says("A", f"EXECUTE {name}p"),
        says("A", body),
        says("A", runs(f"{name}p")),
        says("A", describe("S", f"{name}s"), SYNC),
    )


READ_WHEN_PREPARED = {
    "DateStyle": (DAY, DMY),
    "DateStyle in an array": ("SELECT '{01/02/2003,02/03/2003}'::date[]", DMY),
    "DateStyle in a range": ("SELECT '[01/02/2003,02/03/2003)'::daterange", DMY),
    "DateStyle in an INSERT": ("INSERT INTO days VALUES ('01/02/2003') RETURNING a", DMY),
    "DateStyle in a dollar quote": ("SELECT $$01/02/2003$$::date", DMY),
    "DateStyle in EXPLAIN": ("EXPLAIN (COSTS OFF, VERBOSE) SELECT '01/02/2003'::date", DMY),
    "TimeZone": (WHEN, "SET TimeZone = 'Japan'"),
    "TIME ZONE": (WHEN, "SET TIME ZONE 5"),
    "timezone_abbreviations": (
        "SELECT extract(epoch FROM '2020-06-01 12:00 EST'::timestamptz)",
        "SET timezone_abbreviations = 'Australia'",
    ),
    "IntervalStyle": ("SELECT extract(epoch FROM '-1 2:03:04'::interval)", "SET IntervalStyle = 'sql_standard'"),
    "lc_monetary": ("SELECT '12,34'::money::numeric", "SET lc_monetary = 'de_DE.utf8'"),
    "array_nulls": ("SELECT ('{NULL,a}'::text[])[1] IS NULL", "SET array_nulls = off"),
    "transform_null_equals": ("SELECT count(*) FROM days WHERE a = NULL", "SET transform_null_equals = on"),
    "xmloption": ("SELECT '<a/><b/>'::xml IS DOCUMENT", "SET xmloption = document"),
    "standard_conforming_strings": (
        r"SELECT 'a\\b'",
        "SET standard_conforming_strings = off; SET escape_string_warning = off",
    ),
    "backslash_quote": (r"SELECT E'a\'b'", "SET backslash_quote = off"),
    "client_encoding": ("SELECT length('\u00e9'), 1 AS \"\u00e9\"", "SET client_encoding = latin1"),
    "search_path, as of now": ("SELECT a, '01/02/2003'::date FROM read", "SET search_path = reading"),
    "both search_path and DateStyle": ("SELECT a, '01/02/2003'::date FROM read", "SET search_path = reading", DMY),
    "search_path that names nothing new, and DateStyle": (
        "SELECT a, '01/02/2003'::date FROM read",
        "SET search_path = public, nothing",
        DMY,
    ),
    "DateStyle and a role": (DAY, DMY, "SET ROLE bob"),
    "a role and DateStyle": (DAY, "SET ROLE bob", DMY),
    "row_security and DateStyle": (DAY, DMY, "SET row_security = off"),
    "bytes": (r"SELECT '\x41'::bytea, 'no day'", DMY, "SET bytea_output = escape"),
}
MADE = (
    "CREATE SCHEMA IF NOT EXISTS reading",
    "GRANT USAGE ON SCHEMA reading TO PUBLIC",
    "DROP TABLE IF EXISTS days, read, reading.read",
    "CREATE TABLE days (a date)",
    "INSERT INTO days VALUES (NULL)",
    "GRANT ALL ON days TO PUBLIC",
    "CREATE TABLE read AS SELECT 'public'::text AS a",
    "CREATE TABLE reading.read AS SELECT 'reading'::text AS a",
    "GRANT ALL ON read, reading.read TO PUBLIC",
)


def after(name: str, *steps: Step) -> Script:
    """What A does, with B in its way, and then what its statements say."""
    said = (says("A", "EXECUTE s"), says("A", runs("p")), says("A", runs("s")), says("A", "EXECUTE p"))
    return Script(
        f"constants of statements: {name}", (28, 36), moved(*steps, *said, says("A", DAY), *said), (2,), before=MADE
    )


PREPARED = (says("A", f"PREPARE s AS {DAY}"), says("A", parse("p", DAY), SYNC))
LOCAL = "SET LOCAL DateStyle = 'ISO, DMY'"
IN_TRANSACTIONS = (
    after(
        "made under SET LOCAL",
        says("A", "BEGIN", LOCAL, f"PREPARE s AS {DAY}", parse("p", DAY), SYNC, "COMMIT", ready=5),
    ),
    after(
        "made under a SET that is rolled back",
        says("A", "BEGIN", DMY, f"PREPARE s AS {DAY}", parse("p", DAY), SYNC, "ROLLBACK", ready=5),
    ),
    after(
        "made under a SET that is kept",
        says("A", "BEGIN", DMY, f"PREPARE s AS {DAY}", parse("p", DAY), SYNC, "COMMIT", ready=5),
    ),
    after(
        "made in front of a SET in one text", says("A", f"PREPARE s AS {DAY}; {DMY}"), says("A", parse("p", DAY), SYNC)
    ),
    after("made behind a SET in one text", says("A", f"{DMY}; PREPARE s AS {DAY}"), says("A", parse("p", DAY), SYNC)),
    after(
        "made behind a SET in one text, and a RESET",
        says("A", f"{DMY}; PREPARE s AS {DAY}; RESET DateStyle"),
        says("A", parse("p", DAY), SYNC),
    ),
    after("made behind a SET in one write", says("A", DMY, parse("p", DAY), SYNC, f"PREPARE s AS {DAY}", ready=3)),
    after(
        "made by a batch that sets", says("A", extended(DMY), parse("p", DAY), extended(f"PREPARE s AS {DAY}"), SYNC)
    ),
    after(
        "made by a batch that sets and fails",
        says("A", extended(DMY), parse("p", DAY), extended("SELECT 1/0"), SYNC),
        says("A", f"PREPARE s AS {DAY}"),
    ),
    after(
        "made between savepoints",
        says(
            "A",
            "BEGIN",
            "SAVEPOINT a",
            LOCAL,
            f"PREPARE s AS {DAY}",
            "ROLLBACK TO a",
            parse("p", DAY),
            SYNC,
            "COMMIT",
            ready=7,
        ),
    ),
    after(
        "made by set_config",
        says(
            "A",
            "BEGIN",
            "SELECT set_config('datestyle', 'ISO, DMY', true)",
            parse("p", DAY),
            SYNC,
            "COMMIT",
            f"PREPARE s AS {DAY}",
            ready=5,
        ),
    ),
    after(
        "used under SET LOCAL",
        *PREPARED,
        says("A", "BEGIN", LOCAL, runs("p"), "EXECUTE s", DAY, "SHOW DateStyle", "COMMIT", "SHOW DateStyle", ready=8),
    ),
    after(
        "used under SET LOCAL and a savepoint",
        *PREPARED,
        says(
            "A",
            "BEGIN",
            LOCAL,
            "SAVEPOINT a",
            runs("p"),
            DAY,
            "ROLLBACK TO a",
            DAY,
            "SAVEPOINT a",
            "EXECUTE s",
            DAY,
            "RELEASE a",
            DAY,
            "SHOW DateStyle",
            "COMMIT",
            "SHOW DateStyle",
            ready=14,
        ),
    ),
    after(
        "used under a SET that is rolled back",
        *PREPARED,
        says("A", "BEGIN", DMY, runs("p"), "EXECUTE s", DAY, "ROLLBACK", "SHOW DateStyle", ready=7),
    ),
    after(
        "used, then set in the same transaction",
        *PREPARED,
        says("A", DMY),
        says(
            "A",
            "BEGIN",
            runs("p"),
            "EXECUTE s",
            "SET DateStyle = 'SQL, YMD'",
            DAY,
            "SHOW DateStyle",
            "COMMIT",
            "SHOW DateStyle",
            ready=8,
        ),
    ),
    after(
        "used behind SET LOCAL behind SET",
        *PREPARED,
        says(
            "A",
            "BEGIN",
            "SET DateStyle = 'SQL, YMD'",
            LOCAL,
            runs("p"),
            "EXECUTE s",
            DAY,
            "SHOW DateStyle",
            "COMMIT",
            "SHOW DateStyle",
            ready=9,
        ),
    ),
    after(
        "used in a batch that sets",
        *PREPARED,
        says(
            "A",
            extended(LOCAL),
            runs("p")[:-5],
            extended(DAY),
            extended("SHOW DateStyle"),
            SYNC,
            "SHOW DateStyle",
            ready=2,
        ),
    ),
    after(
        "used in a batch with a portal of the client's",
        *PREPARED,
        says("A", DMY),
        says(
            "A",
            parse("", "SELECT generate_series(1, 4)"),
            bind("", ""),
            execute("", 2),
            parse("n", "SELECT 5"),
            bind("named", "n"),
            bind("second", "p"),
            execute("named"),
            execute("second"),
            execute("", 2),
            SYNC,
        ),
    ),
    after(
        "used in a batch with the unnamed statement",
        *PREPARED,
        says("A", DMY),
        says("A", parse("", "SELECT 6"), bind("x", "p"), execute("x"), bind("", ""), execute(), SYNC),
        says("A", runs("")),
    ),
    after(
        "used in a transaction that fails",
        *PREPARED,
        says("A", DMY),
        says("A", "BEGIN", "SELECT 1/0", runs("p"), "EXECUTE s", "ROLLBACK", ready=5),
    ),
    after(
        "used behind an error", *PREPARED, says("A", DMY), says("A", bind("", "nope"), bind("", "p"), execute(), SYNC)
    ),
    after(
        "used in a failed savepoint",
        *PREPARED,
        says("A", DMY),
        says(
            "A",
            "BEGIN",
            "SAVEPOINT a",
            "SELECT 1/0",
            runs("p"),
            "ROLLBACK TO a",
            runs("p"),
            "EXECUTE s",
            DAY,
            "COMMIT",
            ready=9,
        ),
    ),
    after("RESET ALL", says("A", DMY), *PREPARED, says("A", "RESET ALL")),
    after("DISCARD ALL", *PREPARED, says("A", DMY), says("A", "DISCARD ALL"), says("A", parse("p", DAY), SYNC)),
    after(
        "back and forth",
        *PREPARED,
        says("A", DMY),
        says("A", runs("p")),
        says("A", "EXECUTE s"),
        says("A", "RESET DateStyle"),
        says("A", runs("p")),
        says("A", "EXECUTE s"),
        says("A", "SET DateStyle = 'German'"),
    ),
    after(
        "search_path, too, between two uses",
        *PREPARED,
        says("A", "SET search_path = reading"),
        says("A", runs("p")),
        says("A", "EXECUTE s"),
        says("A", DMY),
    ),
    after(
        "search_path under SET LOCAL",
        *PREPARED,
        says("A", "BEGIN; SET LOCAL search_path = reading", runs("p"), "EXECUTE s", "COMMIT", ready=4),
        says("A", "SELECT 1"),
    ),
    after(
        "search_path and constants under SET LOCAL",
        *PREPARED,
        says("A", "BEGIN; SET LOCAL search_path = reading; " + LOCAL, runs("p"), "EXECUTE s", "COMMIT", ready=4),
        says("A", "SELECT 1"),
    ),
    after(
        "both under SET LOCAL, and back",
        *PREPARED,
        says("A", "BEGIN; SET LOCAL search_path = reading; " + LOCAL, runs("p"), "EXECUTE s", "COMMIT", ready=4),
        says("A", "BEGIN; SET LOCAL search_path = reading", runs("p"), "EXECUTE s", "COMMIT", ready=4),
    ),
    after(
        "in a text that names any",
        *PREPARED,
        says("A", DMY),
        says("A", "DO $$ BEGIN EXECUTE 'SELECT 1'; END $$"),
        says("A", "EXECUTE s; EXECUTE p"),
    ),
    after(
        "a role that cannot be looked up by another",
        says("A", "SET ROLE bob"),
        *PREPARED,
        says("A", "RESET ROLE"),
        says("A", DMY),
    ),
    after("a session authorization", *PREPARED, says("A", "SET SESSION AUTHORIZATION app"), says("A", DMY)),
)
SHARED = (
    Script(
        "two share a text, one has set something since",
        (36,),
        (
            says("A", parse("p", SEEN), SYNC),
            says("B", parse("p", SEEN), SYNC),
            says("A", runs("p")),
            says("B", runs("p")),
            says("A", DMY),
            says("A", runs("p")),
            says("B", runs("p")),
            says("C", "ANALYZE days"),
            says("B", runs("p")),
            says("A", "SELECT 1"),
            says("B", runs("p")),
        ),
        before=MADE,
    ),
    Script(
        "another has the plans discarded",
        (36,),
        (
            says("A", parse("p", DAY), SYNC),
            says("A", "PREPARE q AS " + DAY),
            says("B", parse("p", DAY), SYNC),
            says("A", DMY),
            *(
                says(who, said)
                for _ in range(2)
                for who, said in (("A", runs("p")), ("A", "EXECUTE q"), ("B", "DISCARD PLANS"), ("B", runs("p")))
            ),
            says("A", runs("p")),
            says("A", "EXECUTE q"),
            says("A", DAY),
        ),
    ),
    Script(
        "who has the plans discarded reads them anew",
        (36,),
        (
            says("A", parse("p", DAY), SYNC),
            says("A", DMY),
            says("B", runs("")),
            says("A", runs("p")),
            says("A", "DISCARD PLANS"),
            says("A", runs("p")),
        ),
        (1,),
    ),
    Script(
        "a constant that is the moment",
        (36,),
        (
            *(
                says(who, parse(name, f"SELECT '{moment}'::timestamptz < now(), 'now'::timestamptz = now()"), SYNC)
                for who in "AB"
                for name, moment in (("p", "now"), ("q", " Now "))
                if who == "A" or name == "p"
            ),
            says("A", "SELECT pg_sleep(0.01)"),
            says("A", runs("p")),
            says("B", "SELECT pg_sleep(0.01)"),
            says("B", runs("p")),
            says("A", runs("p")),
            says("A", runs("q")),
        ),
        (2,),
    ),
    Script(
        "SQL prepares the moment",
        (28,),
        (
            says("A", "PREPARE p AS SELECT 'now'::timestamptz < now(), $$today$$::date <= current_date"),
            says("A", "SELECT pg_sleep(0.01)"),
            says("B", "BEGIN"),
            says("A", "EXECUTE p"),
            says("B", "COMMIT"),
            says("B", "SELECT 1"),
            says("A", "EXECUTE p"),
            says("A", runs("p")),
        ),
        (2,),
    ),
    Script(
        "the server remarks about a text once",
        (36,),
        moved(
            says("A", parse("p", f"SELECT 1 AS {'n' * 70}"), SYNC),
            says("A", runs("p")),
            says("A", runs("p")),
            says("A", "EXECUTE p"),
            says("A", parse("p", f"SELECT 2 AS {'m' * 70}"), SYNC),
            says("A", parse("", f"SELECT 2 AS {'m' * 70}"), SYNC),
            says("A", runs("")),
            says("A", runs("")),
            says("A", f"PREPARE s AS SELECT 1 AS {'n' * 70}"),
            says("A", "EXECUTE s"),
            says("A", "EXECUTE s"),
            says("A", "SET standard_conforming_strings = off"),
            says("A", parse("q", r"SELECT 'a\\b'"), SYNC),
            says("A", runs("q")),
            says("A", runs("q")),
        ),
        (2,),
    ),
)
MISSING = (
    Script(
        "a constant of a statement whose table is gone",
        (28, 36),
        moved(
            says("A", f"PREPARE s AS {SEEN}"),
            says("A", DMY),
            says("A", "ALTER TABLE days RENAME TO days_gone"),
            says("A", "EXECUTE s"),
            says("A", "SELECT 1"),
            says("A", "EXECUTE s", "SELECT 2", ready=2),
            says("A", "EXECUTE s; SELECT 3"),
            says("A", "ALTER TABLE days_gone RENAME TO days"),
        ),
        (2,),
        before=MADE,
    ),
)
CONSTANTS = (
    *(
        Script(
            f"constants are read when they are prepared: {name}", (28, 36), both("c", body, *changes), (2,), before=MADE
        )
        for name, (body, *changes) in READ_WHEN_PREPARED.items()
    ),
    *IN_TRANSACTIONS,
    *SHARED,
    *MISSING,
)
