"""State between clients (pg_poolers.md 2.2, rows 1 to 35): what A sets, A keeps, and B never sees."""

from tests.compare.runner import Script, leaves, says, whispers
from tests.servers.rawclient import SYNC, bind, execute, parse

TWO = (2,)
"""A keeps its backend in these, so B needs another one."""

STATE = (
    Script(
        "a setting is its owner's alone",
        (1,),
        (says("A", "SET work_mem = '1234kB'"), says("B", "SHOW work_mem"), says("A", "SHOW work_mem")),
        TWO,
    ),
    Script(
        "a setting goes with its owner",
        (1,),
        (says("A", "SET work_mem = '1234kB'"), leaves("A"), says("B", "SHOW work_mem")),
    ),
    Script(
        "search_path of two schemas is kept as it is",
        (2,),
        (says("A", "SET search_path = aa, public"), says("B", "SELECT 1"), says("A", "SHOW search_path")),
        TWO,
    ),
    Script(
        "search_paths that differ by case stay apart",
        (3,),
        (
            says("A", 'SET search_path = "Foo"'),
            leaves("A"),
            says("B", 'SET search_path = "FOO"'),
            says("B", "SHOW search_path"),
            leaves("B"),
            says("C", "SHOW search_path"),
        ),
    ),
    Script(
        "pg_dump empties its search_path",
        (6,),
        (
            says("A", "SELECT pg_catalog.set_config('search_path', '', false)"),
            says("B", "SHOW search_path"),
            says("A", "SHOW search_path"),
        ),
        TWO,
    ),
    Script(
        "a setting in a transaction that is rolled back",
        (7,),
        (says("A", "BEGIN", "SET work_mem = '99MB'", "ROLLBACK", ready=3), leaves("A"), says("B", "SHOW work_mem")),
    ),
    Script(
        "a setting in the middle of a transaction",
        (8,),
        (
            says("A", "BEGIN"),
            says("A", "SELECT 1"),
            says("A", "SET statement_timeout = '1h'"),
            says("A", "COMMIT"),
            says("B", "SHOW statement_timeout"),
            says("A", "SHOW statement_timeout"),
        ),
        TWO,
    ),
    Script(
        "RESET that is rolled back",
        (9,),
        (
            says("A", "SET search_path = aa, public"),
            says("A", "BEGIN", "RESET search_path", "ROLLBACK", ready=3),
            says("B", "SHOW search_path"),
            says("A", "SHOW search_path"),
        ),
        TWO,
    ),
    Script(
        "a setting behind a savepoint",
        (10,),
        (
            says("A", "BEGIN", "SAVEPOINT s", "SET work_mem = '77MB'", "ROLLBACK TO s", "SHOW work_mem", ready=5),
            says("A", "COMMIT"),
        ),
    ),
    Script(
        "SET LOCAL ends with its transaction and keeps nobody",
        (11,),
        (
            says("A", "BEGIN", "SET LOCAL work_mem = '55MB'", "SHOW work_mem", "COMMIT", ready=4),
            says("B", "SHOW work_mem"),
            says("A", "SHOW work_mem"),
            says("B", "BEGIN ISOLATION LEVEL SERIALIZABLE", "SET TRANSACTION READ ONLY", "COMMIT", ready=3),
            says("A", "SHOW transaction_read_only"),
        ),
    ),
    Script(
        "a custom variable of one transaction leaves nothing to others",
        (11, 14),
        (
            says("A", "BEGIN", "SET LOCAL app.tenant = '7'", "SHOW app.tenant", "COMMIT", ready=4),
            says("B", "SELECT current_setting('app.tenant', true) IS NULL"),
            says("A", "SELECT current_setting('app.tenant', true) IS NULL"),
            says("B", "SELECT set_config('app.other', '8', true)", "SELECT 1", ready=2),
            says("A", "SELECT current_setting('app.other', true) IS NULL"),
        ),
        TWO,
    ),
    Script(
        "a role is its owner's alone",
        (15,),
        (says("A", "SET ROLE bob"), says("B", "SELECT current_user"), says("A", "SELECT current_user")),
        TWO,
    ),
    Script(
        "a role goes with its owner",
        (15,),
        (says("A", "SET ROLE bob"), leaves("A"), says("B", "SELECT current_user")),
    ),
    Script(
        "a custom variable reads as missing for others",
        (17,),
        (
            says("A", "SET app.tenant = 'one'"),
            says("B", "SHOW app.tenant"),
            says("A", "SHOW app.tenant"),
            leaves("A"),
            says("C", "SHOW app.tenant"),
        ),
        TWO,
    ),
    Script(
        "a custom variable is gone with its owner, missing and not empty",
        (17,),
        (says("A", "SET app.tenant = 'one'"), leaves("A"), says("B", "SHOW app.tenant")),
    ),
    Script(
        "a temporary table is its owner's alone",
        (18,),
        (
            says("A", "CREATE TEMP TABLE mine (a int)"),
            says("B", "SELECT * FROM mine"),
            says("A", "SELECT * FROM mine"),
        ),
        TWO,
    ),
    Script(
        "a temporary table by SELECT INTO",
        (18,),
        (says("A", "SELECT 1 AS a INTO TEMPORARY mine"), says("B", "SELECT * FROM mine"), says("A", "TABLE mine")),
        TWO,
    ),
    Script(
        "a session's advisory lock",
        (19, 20),
        (
            says("A", "SELECT pg_advisory_lock(42)"),
            says("B", "SELECT pg_try_advisory_lock(42)"),
            says("A", "SELECT pg_advisory_unlock(42)"),
            says("B", "SELECT pg_try_advisory_lock(42)"),
            says("B", "SELECT pg_advisory_unlock(42)"),
        ),
        TWO,
    ),
    Script(
        "an advisory lock of a transaction keeps nobody",
        (19,),
        (
            says("A", "SELECT pg_advisory_xact_lock(43)"),
            says("B", "SELECT pg_try_advisory_xact_lock(43)"),
            says("A", "SELECT 1"),
        ),
    ),
    Script(
        "a notification reaches who listens, and nobody else",
        (23,),
        (
            says("A", "LISTEN news"),
            says("B", "NOTIFY news, 'it''s \"quoted\"'"),
            whispers("A"),
            says("B", "SELECT 1"),
            says("A", "UNLISTEN news"),
        ),
        TWO,
    ),
    Script(
        "a cursor that outlives its transaction",
        (27,),
        (
            says("A", "BEGIN", "DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 3)", "COMMIT", ready=3),
            says("B", "FETCH ALL FROM c"),
            says("A", "FETCH ALL FROM c"),
        ),
        TWO,
    ),
    Script(
        "a cursor that does not",
        (27,),
        (
            says("A", "BEGIN", "DECLARE c CURSOR FOR SELECT generate_series(1, 3)", "FETCH 1 FROM c", ready=3),
            says("A", "COMMIT"),
            says("B", "FETCH ALL FROM c"),
        ),
    ),
    Script(
        "statements prepared in SQL",
        (28,),
        (
            says("A", "PREPARE pp AS SELECT 1"),
            says("B", "EXECUTE pp"),
            says("B", "PREPARE pp AS SELECT 'two'"),
            says("A", "EXECUTE pp"),
            says("B", "EXECUTE pp"),
            says("A", "DEALLOCATE pp"),
            says("A", "EXECUTE pp"),
        ),
        TWO,
    ),
    Script(
        "a statement prepared in SQL goes with its owner",
        (29,),
        (says("A", "BEGIN", "PREPARE pp AS SELECT 1", ready=2), leaves("A"), says("B", "EXECUTE pp")),
    ),
    Script(
        "the seed of random numbers",
        (31,),
        (says("A", "SELECT setseed(0.5)"), says("B", "SELECT 1"), says("A", "SELECT random()")),
        TWO,
    ),
    Script(
        "DISCARD ALL drops one's own statements",
        (32,),
        (
            says("A", parse("s", "SELECT 1"), SYNC),
            says("B", parse("s", "SELECT 2"), SYNC),
            says("A", "DISCARD ALL"),
            says("A", bind("", "s"), execute(), SYNC),
            says("B", bind("", "s"), execute(), SYNC),
        ),
        TWO,
    ),
    Script(
        "what asyncpg says when it gives a connection back",
        (32,),
        (
            says("A", "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;"),
            says("B", "SELECT 1"),
            says("A", "SELECT 2"),
        ),
    ),
    Script(
        "settings behind comments, and two in one text",
        (34,),
        (
            says("A", "/* a /* nested */ comment */ SET work_mem = '3MB'; -- and\nSET statement_timeout = 0"),
            says("A", "SHOW work_mem"),
            leaves("A"),
            says("B", "SHOW work_mem"),
        ),
    ),
    Script(
        "a setting inside a DO block",
        (35,),
        (
            says("A", "DO $$ BEGIN PERFORM set_config('app.hidden', 'x', false); END $$"),
            says("A", "SHOW app.hidden"),
            leaves("A"),
            says("B", "SHOW app.hidden"),
        ),
    ),
    Script(
        "a search_path of forty schemas stays whole",
        (5,),
        (
            says("A", "SET search_path = " + ", ".join(f"a_rather_long_schema_name_{n}" for n in range(40))),
            says("B", "SHOW search_path"),
            says("A", "SHOW search_path"),
        ),
        TWO,
    ),
    Script(
        "session authorization",
        (16,),
        (
            says("A", "SET SESSION AUTHORIZATION bob"),
            says("A", "SET SESSION AUTHORIZATION app"),
            says("B", "SELECT session_user"),
            says("A", "SELECT session_user, current_user"),
            says("A", "RESET SESSION AUTHORIZATION"),
        ),
        TWO,
    ),
    Script(
        "a lock that is taken twice is freed twice",
        (21, 22),
        (
            says("A", "SELECT pg_advisory_lock(44)", "SELECT pg_advisory_lock(44)", ready=2),
            says("A", "SELECT pg_advisory_unlock(44)"),
            says("B", "SELECT pg_try_advisory_lock(44)"),
            says("A", "SELECT pg_advisory_unlock(44)"),
            says("B", "SELECT pg_try_advisory_lock(44)"),
            says("B", "SELECT pg_advisory_unlock(44)"),
            says("B", "SELECT pg_advisory_unlock(44)"),
        ),
        TWO,
    ),
    Script(
        "LISTEN that is rolled back hears nothing, nor does UNLISTEN, nor another database",
        (25,),
        (
            says("A", "BEGIN", "LISTEN never", "ROLLBACK", ready=3),
            says("A", "LISTEN once"),
            says("B", "NOTIFY once, 'elsewhere'"),
            says("A", "NOTIFY never, 'rolled back'"),
            says("A", "NOTIFY once, 'heard'"),
            says("A", "UNLISTEN once"),
            says("A", "NOTIFY once, 'too late'"),
            whispers("A"),
        ),
        TWO,
        start={"B": {"database": "other"}},
    ),
)
