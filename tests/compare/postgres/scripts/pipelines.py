"""Pipelines, errors, portals (rows 53 to 71)."""

import struct

from tests.compare.runner import Script, says, whispers
from tests.servers.rawclient import FLUSH, SYNC, bind, describe, execute, message, parse


def batch(text: str) -> bytes:
    """Parse, Bind, Describe, Execute of the unnamed statement, without Sync."""
    return parse("", text) + bind() + describe("P") + execute()


PIPELINES = (
    Script(
        "an error in the middle of a batch",
        (53,),
        (says("A", batch("SELECT 1"), batch("SELECT 1/0"), batch("SELECT 3"), SYNC), says("A", "SELECT 4")),
    ),
    Script(
        "an error is told before the Sync",
        (54,),
        (whispers("A", parse("", "SELEC"), FLUSH), whispers("A", batch("SELECT 1")), says("A", SYNC)),
    ),
    Script("fifty queries in one write", (55,), (says("A", *(f"SELECT {i}" for i in range(50)), ready=50),)),
    Script(
        "fifty batches in one write", (56,), (says("A", *(batch(f"SELECT {i}") + SYNC for i in range(50)), ready=50),)
    ),
    Script(
        "an implicit transaction is one",
        (57,),
        (
            says("A", batch("INSERT INTO implicit VALUES (1)"), batch("INSERT INTO implicit VALUES (1/0)"), SYNC),
            says("B", "SELECT count(*) FROM implicit"),
            says("A", batch("INSERT INTO implicit VALUES (2)"), batch("INSERT INTO implicit VALUES (3)"), SYNC),
            says("B", "SELECT count(*) FROM implicit"),
        ),
        before=("DROP TABLE IF EXISTS implicit", "CREATE TABLE implicit (a int)"),
    ),
    Script(
        "BEGIN by the extended protocol",
        (58,),
        (
            says("A", batch("BEGIN"), SYNC, batch("SELECT 1"), SYNC, ready=2),
            says("A", batch("SELECT 2"), SYNC),
            says("A", batch("COMMIT"), SYNC),
        ),
    ),
    Script(
        "a portal is read page by page",
        (59,),
        (
            whispers("A", parse("", "SELECT generate_series(1, 5)"), bind("p"), execute("p", 2), FLUSH),
            whispers("A", execute("p", 2), FLUSH),
            says("A", execute("p", 2), SYNC),
            says("A", execute("p", 2), SYNC),
        ),
    ),
    Script(
        "a portal lives as long as its transaction",
        (59,),
        (
            says("A", "BEGIN"),
            says("A", parse("", "SELECT generate_series(1, 5)"), bind("p"), execute("p", 2), SYNC),
            says("A", execute("p", 2), SYNC),
            says("A", "COMMIT"),
            says("A", execute("p", 2), SYNC),
        ),
    ),
    Script(
        "a query behind messages without Sync",
        (61,),
        (
            says("A", batch("SELECT 1"), "SELECT 2"),
            says("A", parse("", "SELEC"), "SELECT 3", SYNC),
            says("A", "SELECT 4"),
        ),
    ),
    Script(
        "Describe behind the last Execute",
        (62,),
        (says("A", parse("s", "SELECT 1"), bind("", "s"), execute(), describe("S", "s"), SYNC),),
    ),
    Script(
        "two errors in a row, and one in COMMIT",
        (64,),
        (
            says("A", "BEGIN"),
            says("A", "SELECT 1/0"),
            says("A", "SELECT 1"),
            says("A", "COMMIT"),
            says("A", "BEGIN", "INSERT INTO child VALUES (1)", "COMMIT", ready=3),
            says("A", "SELECT 1"),
        ),
        before=(
            "DROP TABLE IF EXISTS child, parent",
            "CREATE TABLE parent (a int PRIMARY KEY)",
            "CREATE TABLE child (a int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
        ),
    ),
    Script(
        "a function call",
        (65,),
        (
            says("A", message("F", struct.pack(">IHHHiIH", 1598, 0, 0, 0, 0, 0, 0)[:10] + struct.pack(">H", 1))),
            says("A", message("F", struct.pack(">IHH", 2026, 0, 0) + struct.pack(">H", 7))),
            says("A", "SELECT 1"),
        ),
    ),
    Script(
        "parameter reports in a pipeline",
        (66,),
        (
            says("A", "SET TimeZone = 'Asia/Tokyo'", "SET DateStyle = 'German'", ready=2),
            says("A", "SHOW TimeZone", "SHOW DateStyle", ready=2),
            says("A", "RESET DateStyle"),
        ),
    ),
    Script(
        "notices at any point",
        (67,),
        (
            says("A", "DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END $$"),
            says("A", batch("DROP TABLE IF EXISTS there_is_no_such_table"), batch("SELECT 1"), SYNC),
        ),
    ),
    Script(
        "nothing at all",
        (68,),
        (says("A", ""), says("A", ";"), says("A", SYNC), says("A", batch(""), SYNC), says("A", SYNC, SYNC, ready=2)),
    ),
    Script(
        "several statements in one text, with transactions inside",
        (63,),
        (
            says("A", "SELECT 1; SELECT 2; SELECT 1/0; SELECT 3"),
            says("A", "BEGIN; SELECT 1; COMMIT; SELECT 2"),
            says("A", "SELECT 1; BEGIN; SELECT 2"),
            says("A", "SELECT 3; ROLLBACK; SELECT 4"),
        ),
    ),
    Script(
        "byte by byte",
        (70,),
        (
            says("A", "SELECT 'slow'", slowly=True),
            says("A", parse("s", "SELECT $1::text"), bind("", "s", (b"slow",)), execute(), SYNC, slowly=True),
            says("A", bind("", "s", (b"again",)), execute(), SYNC, slowly=True),
        ),
    ),
    Script(
        "rows larger than any buffer",
        (69,),
        (
            says("A", "SELECT repeat('x', 3000000)"),
            says("A", f"SELECT length('{'y' * 2000000}')"),
            says("A", parse("", "SELECT length($1)"), bind("", "", (b"z" * 3000000,)), execute(), SYNC),
            says("A", "SELECT generate_series(1, 20000)"),
        ),
    ),
    Script(
        "ON COMMIT DROP",
        (71,),
        (
            says("A", "BEGIN", "CREATE TEMP TABLE brief (a int) ON COMMIT DROP", "TABLE brief", "COMMIT", ready=4),
            says("A", "TABLE brief"),
        ),
    ),
)
