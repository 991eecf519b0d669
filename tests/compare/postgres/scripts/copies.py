"""COPY (rows 72 to 75)."""

from tests.compare.runner import Script, says, whispers
from tests.servers.rawclient import COPY_DONE, SYNC, bind, copy_data, execute, message, parse, query

BEFORE = ("DROP TABLE IF EXISTS copied", "CREATE TABLE copied (a int)")
COUNT = "SELECT count(*) FROM copied"


def copy_in() -> bytes:
    """COPY FROM by the extended protocol, with its Sync in front of the data, as libpq sends it."""
    return parse("", "COPY copied FROM STDIN") + bind() + execute() + SYNC


COPIES = (
    Script(
        "in and out by the simple protocol",
        (72,),
        (
            whispers("A", "COPY copied FROM STDIN"),
            says("A", copy_data(b"1\n2"), copy_data(b"\n3\n"), COPY_DONE),
            says("A", "COPY copied TO STDOUT"),
            says("B", COUNT),
        ),
        before=BEFORE,
    ),
    Script(
        "in by the extended protocol",
        (72,),
        (
            whispers("A", copy_in()),
            says("A", copy_data(b"1\n"), COPY_DONE, SYNC),
            says("A", COUNT),
            says("A", parse("", "COPY copied TO STDOUT"), bind(), execute(), SYNC),
            says("B", COUNT),
        ),
        before=BEFORE,
    ),
    Script(
        "fails at its first row, the client goes on",
        (73,),
        (
            whispers("A", "COPY copied FROM STDIN"),
            says("A", copy_data(b"x\n")),
            whispers("A", copy_data(b"2\n"), copy_data(b"3\n"), COPY_DONE),
            says("B", COUNT),
            says("A", COUNT),
        ),
        before=BEFORE,
    ),
    Script(
        "fails by the extended protocol",
        (73,),
        (
            whispers("A", copy_in()),
            says("A", copy_data(b"x\n"), copy_data(b"2\n"), COPY_DONE, SYNC),
            says("A", COUNT),
            says("B", COUNT),
        ),
        before=BEFORE,
    ),
    Script(
        "fails by the extended protocol, and is told before the data end",
        (73,),
        (
            whispers("A", copy_in()),
            whispers("A", copy_data(b"x\n")),
            whispers("A", copy_data(b"2\n"), COPY_DONE),
            says("A", SYNC),
            says("A", COUNT),
        ),
        before=BEFORE,
    ),
    Script(
        "fails before it reads anything, by a trigger",
        (73,),
        (
            whispers("A", copy_in()),
            whispers("A", copy_data(b"1\n"), COPY_DONE, SYNC),
            says("A", COUNT),
            says("B", COUNT),
        ),
        before=(
            *BEFORE,
            "CREATE OR REPLACE FUNCTION refuse_all() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'no'; END $$",
            "CREATE TRIGGER no_copy BEFORE INSERT ON copied FOR EACH STATEMENT EXECUTE FUNCTION refuse_all()",
        ),
    ),
    Script(
        "fails inside a transaction",
        (74,),
        (
            says("A", "BEGIN"),
            whispers("A", "COPY copied FROM STDIN"),
            says("A", copy_data(b"x\n"), COPY_DONE),
            says("A", "SELECT 1"),
            says("A", "ROLLBACK"),
            says("A", COUNT),
        ),
        before=BEFORE,
    ),
    Script(
        "is ended by CopyFail",
        (75,),
        (
            whispers("A", copy_in()),
            says("A", copy_data(b"1\n"), message("f", b"changed my mind\0"), SYNC),
            whispers("A", "COPY copied FROM STDIN"),
            says("A", message("f", b"again\0")),
            says("A", COUNT),
        ),
        before=BEFORE,
    ),
    Script(
        "two in one text",
        (75,),
        (
            whispers("A", "COPY copied FROM STDIN; COPY copied FROM STDIN"),
            whispers("A", copy_data(b"1\n"), COPY_DONE),
            says("A", copy_data(b"2\n"), COPY_DONE),
            says("A", COUNT),
        ),
        before=BEFORE,
    ),
    Script(
        "a statement that must wait stands where the data should",
        (75,),
        (
            says("A", parse("", "COPY copied FROM STDIN"), SYNC),
            says("A", bind(), execute(), SYNC, query("DEALLOCATE s1"), SYNC, ready=3),
            says("B", COUNT),
        ),
        before=BEFORE,
    ),
    Script(
        "of a table that is not there",
        (75,),
        (says("A", "COPY nowhere FROM STDIN"), whispers("A", copy_data(b"1\n"), COPY_DONE), says("A", "SELECT 1")),
    ),
)
