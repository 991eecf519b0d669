"""Scripts of clients that set what can be set in every way there is, as a Hypothesis strategy.

None of it may pin. Each turn ends with a look at all that is set.
"""

from __future__ import annotations

from hypothesis import strategies as st

from tests.compare.runner import Script, Step
from tests.servers.rawclient import COPY_DONE, FLUSH, SYNC, bind, copy_data, describe, execute, message, parse, query

BEFORE = (
    "DROP TABLE IF EXISTS set_down",
    "CREATE TABLE set_down (a int)",
    "CREATE OR REPLACE PROCEDURE sets_and_commits() LANGUAGE plpgsql AS $$ BEGIN SET work_mem = '9MB'; COMMIT;"
    " SET TimeZone = 'Japan'; ROLLBACK; SET IntervalStyle = 'iso_8601'; COMMIT; END $$",
    "CREATE OR REPLACE FUNCTION sets_for_itself() RETURNS text LANGUAGE plpgsql SET work_mem = '3MB'"
    " SET TimeZone = 'Cuba' AS $$ BEGIN RETURN current_setting('work_mem'); END $$",
    "CREATE OR REPLACE FUNCTION sets_unseen(name text, value text) RETURNS text LANGUAGE plpgsql AS"
    " $$ BEGIN RETURN set_config(name, value, false); END $$",
    "DROP TABLE IF EXISTS set_by_trigger",
    "CREATE TABLE set_by_trigger (name text, value text)",
    "CREATE OR REPLACE FUNCTION sets_by_trigger() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM set_config(NEW.name, NEW.value, false); RETURN NULL; END $$",
    "CREATE TRIGGER sets BEFORE INSERT ON set_by_trigger FOR EACH ROW EXECUTE FUNCTION sets_by_trigger()",
    "CREATE OR REPLACE FUNCTION sets_zone() RETURNS int LANGUAGE plpgsql AS"
    " $$ BEGIN SET TimeZone = 'Asia/Tokyo'; RETURN 1; END $$",
)
"""What the scripts find in the database."""
PROBE = query(
    "SELECT (SELECT string_agg(name || '=' || setting || '/' || reset_val || '/' || source, '|' ORDER BY name COLLATE"
    " \"C\") FROM pg_settings WHERE source IN ('session', 'client') AND name NOT LIKE 'transaction%'),"
    " current_setting('transaction_isolation'), current_setting('app.x', true),"
    " current_setting('app.Y', true), current_setting('a_$1.b.c', true), current_setting('App2.Odd', true),"
    " current_user, session_user, current_setting('role')"
)
VALUES = {
    "work_mem": ["'5MB'", "6144", "'7 MB'", "-1", "'0x2000'", "'5.5MB'", "'1e4kB'", "'5 QB'"],
    "TimeZone": ["'Japan'", "'UTC'", "-3.5", "'nowhere'", "'<+03>-03'", "'utc'", "'EST5EDT'"],
    "DateStyle": ["'German'", "'DMY'", "'ISO, MDY'", "German, DMY", "'postgres'", "iso", "'ISO, nothing'"],
    "intervalstyle": ["iso_8601", "'postgres'", "'SQL_STANDARD'"],
    "search_path": [
        "''",
        "a, b",
        "\"A,b\", 'c''d'",
        '"$user", public',
        "'é'",
        "pg_catalog",
        "'a, b'",
        "'x''', \"\"\"\"",
    ],
    "seq_page_cost": ["1.23456789", ".5", "1e1", "'2.5'", "-1", "1.1234567890123456"],
    "vacuum_cost_delay": ["'1500us'", "1.0000001", "'0.5 ms'", "3"],
    "application_name": ["'one'", "'Two ''2'''", "''", "'é'", "Word", "'tab\t'"],
    "client_encoding": ["'UTF8'", "'LATIN1'", "sql_ascii", "'nothing'", "unicode"],
    "standard_conforming_strings": ["off", "on"],
    "backslash_quote": ["on", "safe_encoding", "off"],
    "enable_seqscan": ["off", "'yes'", "f", "1", "'tru'"],
    "app.x": ["'1'", "'a\\b''é'", "2.50", "''", "word", "'one', 'two'", "'  '", "Word"],
    "app.Y": ["'one'", "'two'"],
    "a_$1.b.c": ["'odd'", "2"],
    '"App2.Odd"': ["'odder'", "''"],
    '"App2"."Odd"': ["'oddest'"],
    '"a b.c"': ["'refused'"],
    "statement_timeout": ["'1h'", "0", "'90min'", "'1.5h'", "3600000"],
    "lock_timeout": ["'1h'", "'100s'"],
    "default_transaction_read_only": ["off"],
    "default_transaction_isolation": ["'repeatable read'", "serializable"],
    "transaction_isolation": ["'serializable'"],
    "extra_float_digits": ["3", "0", "-15", "99"],
    "bytea_output": ["escape", "'hex'"],
    "xmloption": ["document"],
    "client_min_messages": ["error", "'notice'", "warning"],
    "temp_tablespaces": ["''", "'nowhere'", "pg_default"],
    "default_text_search_config": ["'simple'", "'pg_catalog.english'"],
    "log_min_messages": ["debug1"],
    "max_connections": ["5"],
    "server_version": ["'1'"],
    "no_such_setting": ["1"],
    "lc_monetary": ["'C'", "'nowhere'"],
    "role": ["bob", "none", "nobody_at_all", "'bob'", "app"],
}
NAMES = st.sampled_from(sorted(VALUES))
OWN = NAMES.flatmap(lambda name: st.tuples(st.just(name), st.sampled_from([*VALUES[name], "DEFAULT"])))


def quoted(value: str) -> str:
    """A value as one literal."""
    return value if value.startswith("'") and "'," not in value else "'" + value.replace("'", "''") + "'"


def bare(name: str) -> str:
    """A name as `set_config` takes it."""
    return name.replace('"', "")


SETS = st.builds(
    lambda how, pair, sign: f"{how}{pair[0]}{sign}{pair[1]}",
    st.sampled_from(["SET ", "set ", "SET SESSION ", "SET LOCAL ", "/* c */ SET\n", "SET ", "Set\tLocal "]),
    OWN,
    st.sampled_from([" = ", " TO ", "="]),
)
LOCALS = st.sampled_from(["false", "true", "'f'", "'on'", "false", "1 = 2", "NULL"])
CONFIGS = st.builds(
    lambda form, pair, local: form.format(f"'{bare(pair[0])}', {quoted(pair[1])}, {local}"),
    st.sampled_from(
        [
            "SELECT set_config({})",
            "SELECT set_config({})",
            "select pg_catalog.SET_CONFIG({})",
            "WITH c AS (SELECT set_config({}) AS v) SELECT length(v) FROM c",
            "SELECT set_config({}), 1/0",
            "VALUES (set_config({}))",
            "COPY (SELECT set_config({})) TO STDOUT",
            "DO $$ BEGIN PERFORM set_config({}); END $$",
            "DO $$ BEGIN PERFORM set_config({}); PERFORM 1/0; EXCEPTION WHEN division_by_zero THEN NULL; END $$",
            "EXPLAIN (COSTS OFF, TIMING OFF, SUMMARY OFF, ANALYZE, BUFFERS OFF) SELECT set_config({})",
        ]
    ),
    OWN,
    LOCALS,
)
RESETS = st.builds(lambda word, name: word + name, st.sampled_from(["RESET ", "reset ", "RESET /**/ "]), NAMES)
OTHERS = st.sampled_from(
    [
        "RESET ALL",
        "DISCARD ALL",
        "RESET ROLE",
        "SET ROLE bob",
        "SET ROLE NONE",
        "SET LOCAL ROLE bob",
        "SET SESSION AUTHORIZATION app",
        "SET SESSION AUTHORIZATION bob",
        "SET LOCAL SESSION AUTHORIZATION 'app'",
        "RESET SESSION AUTHORIZATION",
        "SET SESSION AUTHORIZATION DEFAULT",
        "SET TIME ZONE 'Europe/Rome'",
        "SET LOCAL TIME ZONE 'Europe/Rome'",
        "SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE",
        "SET TIME ZONE LOCAL",
        "SET TIME ZONE DEFAULT",
        "RESET TIME ZONE",
        "SET NAMES 'LATIN1'",
        "SET NAMES",
        "SET SCHEMA 'elsewhere'",
        "SET XML OPTION DOCUMENT",
        "SET work_mem FROM CURRENT",
        "SET TimeZone FROM CURRENT",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE, NOT DEFERRABLE",
        "SET CONSTRAINTS ALL DEFERRED",
        "SELECT 1/0",
        "SELECT 1",
        "SELEC",
        "",
        "SHOW app.x",
        "SHOW TimeZone",
        "SELECT sets_for_itself()",
        "SELECT sets_zone()",
        "DO $$ BEGIN SET work_mem = '8MB'; PERFORM 1/0; EXCEPTION WHEN OTHERS THEN SET TimeZone = 'Cuba'; END $$",
        "DO $$ BEGIN SET work_mem = '8MB'; COMMIT; SET app.x = 'gone'; ROLLBACK; END $$",
        "UPDATE pg_settings SET setting = '9MB' WHERE name = 'work_mem'",
        "COPY (SELECT 1) TO STDOUT",
    ]
)
UNSEEN = st.one_of(
    st.just("CALL sets_and_commits()"),
    st.builds(
        lambda form, pair: form.format(f"'{pair[0]}', {quoted(pair[1])}"),
        st.sampled_from(["SELECT sets_unseen({})", "INSERT INTO set_by_trigger VALUES ({})"]),
        OWN.filter(lambda pair: "." not in pair[0]),
    ),
)
"""What only the strict mode finds. Of custom variables it finds those that a text has named."""
WORDS = st.one_of(SETS, SETS, SETS, CONFIGS, CONFIGS, RESETS, OTHERS)
BLOCKS = st.sampled_from(
    [
        "BEGIN",
        "BEGIN",
        "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "COMMIT",
        "END",
        "ROLLBACK",
        "SAVEPOINT s",
        "SAVEPOINT t",
        "ROLLBACK TO s",
        "ROLLBACK TO t",
        "RELEASE s",
        "COMMIT AND CHAIN",
        "ROLLBACK AND CHAIN",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    ]
)
TEXTS = st.one_of(WORDS, WORDS, BLOCKS)
UNSEEN_TEXTS = st.one_of(WORDS, WORDS, BLOCKS, UNSEEN, UNSEEN)


def exchange(text: str) -> bytes:
    """A whole use of the unnamed statement, without Sync."""
    return parse("", text) + bind() + describe("P") + execute()


BOUND = st.builds(
    lambda pair, local: (
        parse("", f"SELECT set_config('{bare(pair[0])}', $1, $2)")
        + bind("", "", (quoted(pair[1])[1:-1].replace("''", "'").encode(), local))
        + execute()
    ),
    OWN,
    st.sampled_from([b"f", b"t", b"false", None, b"neither"]),
)
PARAMETERS = st.builds(
    lambda pair, local: (
        parse("", "SELECT set_config($1, $2, $3)")
        + bind("", "", (bare(pair[0]).encode(), quoted(pair[1])[1:-1].replace("''", "'").encode(), local))
        + describe("P")
        + execute()
    ),
    OWN,
    st.sampled_from([b"f", b"t", b"false", None, b"neither"]),
)
COPY = st.sampled_from(
    [
        query("COPY set_down FROM STDIN") + copy_data(b"7\n8\n") + COPY_DONE,
        query("COPY set_down FROM STDIN") + copy_data(b"x\n") + COPY_DONE,
        query("SET work_mem = '4444kB'; COPY set_down FROM STDIN") + message("f", b"no\0"),
        query("SET work_mem = '5555kB'; COPY set_down FROM STDIN; SET TimeZone = 'Chile/EasterIsland'")
        + copy_data(b"7\n")
        + COPY_DONE,
        exchange("SET work_mem = '6666kB'")
        + exchange("COPY set_down FROM STDIN")
        + copy_data(b"7\n")
        + COPY_DONE
        + SYNC,
        exchange("SET TimeZone = 'Zulu'") + exchange("COPY set_down FROM STDIN") + copy_data(b"x\n") + COPY_DONE + SYNC,
    ]
)


def turns(texts: st.SearchStrategy[str]) -> st.SearchStrategy[list[bytes]]:
    """What a client says in one turn, each with one ReadyForQuery."""
    parts = st.one_of(texts.map(exchange), texts.map(exchange), texts.map(exchange), BOUND, PARAMETERS, st.just(FLUSH))
    several = st.lists(texts, min_size=2, max_size=3).map("; ".join).map(query)
    batch = st.lists(parts, min_size=1, max_size=4).map(lambda parts: b"".join(parts) + SYNC)
    simple = texts.map(query)
    return st.lists(st.one_of(simple, simple, simple, several, batch, batch, COPY), min_size=1, max_size=4)


TURNS = turns(TEXTS)
UNSEEN_TURNS = turns(UNSEEN_TEXTS)
STARTS = st.sampled_from(
    [
        {"application_name": "started"},
        {"options": "-c work_mem=5MB -c search_path=a,b"},
        {"options": "-c app.x=started --app.Y=too"},
        {"options": "-c role=bob -c statement_timeout=1h", "extra_float_digits": "1"},
        {"options": "-c seq_page_cost=1.23456789 -c app.x=a\\ b"},
        {"TimeZone": "Japan", "DateStyle": "German, DMY"},
        {"client_encoding": "LATIN1"},
        {"search_path": '"A b", c', "standard_conforming_strings": "off"},
        {"app.x": "started", "app.other": "1"},
        {"IntervalStyle": "iso_8601", "options": "--work-mem=6MB"},
    ]
)


@st.composite
def setting_scripts(
    draw: st.DrawFn, *, ends: bool, clients: str = "AB", starts: bool = False, unseen: bool = False
) -> Script:
    """Up to eight turns, each followed by a look at what is set.

    Arguments:
        ends: each ends its transaction, and another client looks, too: then there may be fewer backends than clients.
        starts: some clients begin with start-up parameters.
        unseen: functions and triggers set things of which no text tells.
    """
    steps = []
    for _ in range(draw(st.integers(2, 8))):
        who = draw(st.sampled_from(clients))
        said = draw(UNSEEN_TURNS if unseen else TURNS) + (
            [query(draw(st.sampled_from(["COMMIT", "ROLLBACK"])))] if ends else []
        )
        if draw(st.booleans()):
            steps.append(Step(who, (b"".join(said),), ready=len(said)))
        else:
            steps += [Step(who, (one,)) for one in said]
        steps.append(Step(who, (PROBE,)))
        if ends:
            steps.append(Step(draw(st.sampled_from([each for each in clients if each != who])), (PROBE,)))
    begun = {who: draw(STARTS) for who in clients if draw(st.booleans())} if starts else {}
    return Script("drawn", (), tuple(steps), start=begun)
