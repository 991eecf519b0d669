"""Settings that follow their session (pg_poolers.md 2.2, rows 1 to 17 and 34), set in every way and every form.

B speaks in between, so that A's next word meets a backend that was B's, or with two backends another one.
"""

from tests.compare.runner import Script, Step, says, whispers
from tests.servers.rawclient import COPY_DONE, SYNC, bind, copy_data, describe, execute, parse

B = says("B", "SELECT 1")
CONSTANT = parse("s", "SELECT '01/02/2024'::date") + bind("", "s") + execute() + SYNC
AGAIN = bind("", "s") + execute() + SYNC
NAMED = parse("n", "SELECT set_config($1, $2, $3::bool)")
BROKEN_ROW, ROWS = copy_data(b"zz\n"), copy_data(b"1\n" * 3000)


def batch(text: str) -> bytes:
    """Parse, Bind, Describe, Execute of the unnamed statement, without Sync."""
    return parse("", text) + bind() + describe("P") + execute()


def kept(text: str, *names: str) -> tuple[Step, ...]:
    """A sets something and finds it again, twice, with B in between."""
    shows = says("A", *(f"SHOW {name}" for name in names), ready=len(names))
    return says("A", text), B, shows, B, shows


SETTINGS = (
    Script(
        "values of another encoding are read in the new one",
        (1, 34),
        (
            *kept("SET search_path = 'é', \"ß\"", "search_path"),
            *kept("SET client_encoding = 'LATIN1'", "search_path", "client_encoding"),
            *kept("RESET client_encoding", "search_path"),
        ),
    ),
    Script(
        "a custom variable in another encoding",
        (17, 34),
        (says("A", "SET app.encoded = 'é'"), *kept("SET client_encoding = 'LATIN1'", "app.encoded")),
    ),
    Script(
        "BEGIN in the batch of a SET takes it into the transaction",
        (7, 10),
        (
            says("A", batch("SET work_mem = '5MB'"), batch("BEGIN"), SYNC),
            says("A", "ROLLBACK"),
            says("A", "SHOW work_mem"),
            B,
            says("A", "SHOW work_mem"),
        ),
    ),
    Script(
        "a batch with a SET that fails behind it",
        (7,),
        (
            says("A", batch("SET work_mem = '5MB'"), batch("SELECT 1/0"), SYNC),
            says("A", "SHOW work_mem"),
            B,
            says("A", batch("SET work_mem = '6MB'"), SYNC, batch("SELEC"), SYNC, ready=2),
            B,
            says("A", "SHOW work_mem"),
        ),
    ),
    Script(
        "RESET of a custom variable that nobody has makes an empty one",
        (17,),
        (
            says("A", "RESET app.never_set"),
            says("B", "SELECT current_setting('app.never_set', true) IS NULL"),
            says("A", "SELECT current_setting('app.never_set', true) IS NULL"),
        ),
    ),
    Script(
        "an old name of a setting",
        (34,),
        (says("A", "SET sort_mem = '5MB'"), *kept("RESET work_mem", "work_mem")),
    ),
    Script(
        "what a literal means is settled when its statement is parsed",
        (47,),
        (
            says("A", CONSTANT),
            says("B", "SET DateStyle = 'ISO, DMY'"),
            says("B", CONSTANT),
            says("B", AGAIN),
            says("A", AGAIN),
            says("B", "SET standard_conforming_strings = off"),
            says("B", parse("q", r"SELECT 'a\\b'"), bind("", "q"), execute(), SYNC),
            says("A", parse("q", r"SELECT 'a\\b'"), bind("", "q"), execute(), SYNC),
            says("B", bind("", "q"), execute(), SYNC),
        ),
    ),
    Script(
        "a statement parsed behind SET LOCAL is nobody else's",
        (11, 47),
        (
            says("A", "BEGIN"),
            says("A", batch("SET LOCAL DateStyle = 'ISO, DMY'"), CONSTANT),
            says("A", "COMMIT"),
            says("B", CONSTANT),
            says("B", AGAIN),
        ),
        (2,),
    ),
    Script(
        "dates, zones and intervals",
        (34,),
        (
            *kept("SET DateStyle = 'German'", "DateStyle"),
            *kept("SET DateStyle = 'DMY'", "DateStyle"),
            *kept("SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE", "TimeZone"),
            *kept("SET TIME ZONE 5.5", "TimeZone"),
            *kept("SET TIME ZONE LOCAL", "TimeZone"),
            *kept("SET timezone TO 'posix/Japan'", "TimeZone"),
            *kept("SET IntervalStyle = sql_standard", "IntervalStyle"),
        ),
    ),
    Script(
        "numbers with all their digits",
        (34,),
        (
            *kept("SET seq_page_cost = 1.123456789012345", "seq_page_cost"),
            *kept("BEGIN; SET random_page_cost = 2.00000012345; COMMIT", "random_page_cost"),
            *kept("SET cpu_tuple_cost = 1e-7", "cpu_tuple_cost"),
            says("A", "SELECT name, setting FROM pg_settings WHERE source = 'session' ORDER BY 1"),
        ),
    ),
    Script(
        "lists and empty values",
        (2, 3, 6, 34),
        (
            *kept("SET search_path = ''", "search_path"),
            *kept("SELECT set_config('search_path', '', false)", "search_path"),
            *kept('SET search_path = "a,b", \'c"d\', "$user", public', "search_path"),
            *kept("SET search_path TO DEFAULT", "search_path"),
            *kept("SET application_name = ''", "application_name"),
        ),
    ),
    Script(
        "odd words and white space",
        (34,),
        (
            *kept("/*x*/set/**/work_mem--c\n=/**/'5MB'/**/;;", "work_mem"),
            *kept("\n\t\f SeT\nSESSION\nWORK_MEM\nTO\n'6MB'", "work_mem"),
            *kept("SET \"work_mem\" = '7MB'", "work_mem"),
        ),
    ),
    Script(
        "names and values with special characters",
        (17, 34),
        (
            *kept("SET \"app.weird\" = 'a''b\\c'", "app.weird"),
            *kept("SET app.ünï = 'ß'", "app.ünï"),
            says("A", "SELECT current_setting('app.ÜNÏ', true), current_setting('APP.Weird', true)"),
            says("B", "SELECT current_setting('app.ünï', true)"),
        ),
    ),
    Script(
        "a value of a megabyte",
        (5, 17),
        (
            says("A", "SELECT length(set_config('app.big', repeat('x', 1000000), false))"),
            B,
            says("A", "SELECT md5(current_setting('app.big'))"),
        ),
    ),
    Script(
        "RESET ALL leaves custom variables empty",
        (12, 17),
        (says("A", "SET app.x = '1'"), says("A", "SET work_mem = '5MB'"), *kept("RESET ALL", "app.x", "work_mem")),
    ),
    Script(
        "a commit that fails takes its SET with it",
        (7, 8),
        (
            *kept("BEGIN; SET work_mem = '5MB'; INSERT INTO once VALUES (1), (1); COMMIT", "work_mem"),
            says("A", batch("SET work_mem = '7MB'"), batch("INSERT INTO once VALUES (1), (1)"), SYNC),
            B,
            says("A", "SHOW work_mem"),
        ),
        before=(
            "DROP TABLE IF EXISTS once",
            "CREATE TABLE once (a int CONSTRAINT u UNIQUE DEFERRABLE INITIALLY DEFERRED)",
        ),
    ),
    Script(
        "a procedure that commits what it sets, and a function that the server reports",
        (8, 35),
        (
            says("A", "SET work_mem = '6666kB'"),
            *kept("CALL sets_and_commits()", "work_mem", "TimeZone", "IntervalStyle"),
            *kept("SELECT sets_zone()", "TimeZone"),
        ),
        before=(
            "CREATE OR REPLACE PROCEDURE sets_and_commits() LANGUAGE plpgsql AS $$ BEGIN SET work_mem = '9MB'; COMMIT;"
            " SET TimeZone = 'Japan'; ROLLBACK; SET IntervalStyle = 'iso_8601'; COMMIT; END $$",
            "CREATE OR REPLACE FUNCTION sets_zone() RETURNS int LANGUAGE plpgsql AS"
            " $$ BEGIN SET TimeZone = 'Asia/Tokyo'; RETURN 1; END $$",
        ),
    ),
    Script(
        "a COPY that fails in the middle of a message, in a request that sets something",
        (8, 73),
        (
            whispers("A", "SET work_mem = '5MB'; COPY copied_while FROM STDIN"),
            whispers("A", BROKEN_ROW, ROWS[:3000]),
            whispers("A", ROWS[3000:], COPY_DONE),
            B,
            says("A", "SHOW work_mem"),
        ),
        before=("DROP TABLE IF EXISTS copied_while", "CREATE TABLE copied_while (a int)"),
    ),
    Script(
        "read only, and isolation",
        (11, 34),
        (
            *kept("SET default_transaction_read_only = on", "transaction_read_only"),
            *kept(
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ WRITE",
                "default_transaction_isolation",
                "default_transaction_read_only",
            ),
        ),
    ),
    Script(
        "a setting of an extension",
        (17, 34),
        kept("SET plpgsql.extra_warnings = 'all'", "plpgsql.extra_warnings"),
    ),
    Script(
        "temp_buffers, which a backend with temporary tables keeps",
        (1, 18, 33),
        (
            says("A", "SET temp_buffers = '2MB'"),
            says("A", "CREATE TEMP TABLE buffered (a int)"),
            says("A", "DROP TABLE buffered"),
            B,
            says("B", "SHOW temp_buffers"),
            says("A", "SHOW temp_buffers"),
        ),
    ),
    Script(
        "a SET that is bound in one request and executed in the next",
        (8, 59),
        (
            says("A", "BEGIN"),
            says("A", parse("s", "SET work_mem = '5MB'"), bind("p", "s"), SYNC),
            says("A", execute("p"), SYNC),
            *kept("COMMIT", "work_mem"),
        ),
    ),
    Script(
        "names and values of set_config that come as parameters",
        (8, 17),
        (
            says("A", parse("", "SELECT set_config('app.t', $1, false)"), bind("", "", (b"five",)), execute(), SYNC),
            B,
            says("A", "SHOW app.t"),
            says("A", parse("x", "SELECT set_config('app.t', $1, true)"), bind("", "x", (b"6",)), execute(), SYNC),
            *kept("SELECT 1", "app.t"),
        ),
    ),
    Script(
        "set_config of what a parameter names",
        (8, 17),
        (
            says("A", NAMED, bind("", "n", (b"App.Named", b"1", b"f")), execute(), SYNC),
            B,
            says("A", "SHOW app.named"),
            says("B", "SELECT current_setting('app.named', true)"),
            says("A", bind("", "n", (b"work_mem", b"5MB", b"f")), execute(), SYNC),
            B,
            says("A", bind("", "n", (b"work_mem", b"6MB", b"t")), execute(), SYNC),
            says("A", bind("", "n", (None, b"6MB", b"t")), execute(), SYNC),
            says("A", bind("", "n", (b"work_mem", b"6MB")), execute(), SYNC),
            says("A", bind("", "n", (b"work_mem", b"six", b"f")), execute(), SYNC),
            *kept("SELECT 1", "work_mem", "app.named"),
        ),
    ),
    Script(
        "a setting that a RESET in front of a SET LOCAL leaves as set",
        (17, 19),
        tuple(
            step
            for text in ("BEGIN; RESET work_mem; SET LOCAL work_mem = '5MB'; COMMIT", "SELECT 1", "RESET work_mem")
            for step in (
                says("A", text),
                says("B", "SELECT name, setting FROM pg_settings WHERE source = 'session'"),
                says("A", "SELECT name, setting FROM pg_settings WHERE source = 'session'"),
            )
        ),
    ),
    Script(
        "a lock that was not had, or not for long, keeps nobody",
        (21, 22),
        (
            says("A", "SELECT pg_advisory_lock(91); SELECT pg_advisory_unlock(91)"),
            says("B", "SELECT pg_try_advisory_lock(91)"),
            says("B", "SELECT pg_advisory_unlock(91)"),
            says("A", "SELECT pg_advisory_unlock(91)"),
        ),
    ),
    Script(
        "a channel and a payload with quotes",
        (24, 26),
        (
            says("A", 'LISTEN "a ""b\'; DROP"'),
            says("B", "NOTIFY \"a \"\"b'; DROP\", '\\''''; \"'"),
            whispers("A"),
            says("B", "SELECT pg_notify('a \"b''; DROP', E'\\\\ \\'')"),
            whispers("A"),
            says("A", "UNLISTEN *"),
        ),
        (2,),
    ),
)
