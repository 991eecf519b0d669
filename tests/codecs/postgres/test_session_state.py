"""What each statement does to its session: one table that is also the documentation, and properties over it."""

from __future__ import annotations

import itertools
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres import notable, reading
from rdsp_codecs.postgres.inspection import Look
from rdsp_codecs.postgres.lexer import Kind, tokens
from rdsp_codecs.postgres.notable import Passing, may_matter
from rdsp_codecs.postgres.session_state import (
    HARMLESS,
    Verdict,
    inspect,
)

# Expected words: names of pin reasons; `memory`, `sets` and `resets` of settings, `named` by parameters, `unlocks`,
# `native` and `drops` of prepared statements.
TABLE: list[tuple[str, str]] = [
    # Everyday statements, and words of interest where they mean nothing.
    ("SELECT abalance FROM pgbench_accounts WHERE aid = 12345", ""),
    ("UPDATE pgbench_accounts SET abalance = 1 WHERE aid = 2", ""),
    ("UPDATE t\n   SET x = 1 -- set y = 2\n WHERE z = 3", ""),
    ("INSERT INTO t (a) VALUES ('SET x = 1; LISTEN a')", ""),
    ("DELETE FROM t WHERE note = 'select set_config(''a'', ''b'', false)'", ""),
    ("SELECT $$; SET x = 1$$, $a$ set_config('a','b',false) $b$ $a$", ""),
    ("SELECT E'\\'; SET x = 1; --'", ""),
    ("SELECT 1 /* ; SET x = 1; /* nested */ set_config('a','b',false) */", ""),
    ("SELECT 1 -- ; SET x = 1", ""),
    ("SELECT temp, execute, set_config FROM t", ""),
    ("SELECT temperature, attempt FROM template", ""),
    ("SELECT set_config FROM t WHERE setseed = 1", ""),
    ("BEGIN; UPDATE t SET a = 1; COMMIT", ""),
    ("", ""),
    (" ; ;; ", ""),
    # Settings.
    ("SET work_mem = '1GB'", "sets"),
    ("set search_path to a, b", "sets"),
    ("SET SESSION work_mem = '1GB'", "sets"),
    ("SET TIME ZONE 'UTC'", "sets"),
    ("SET NAMES 'UTF8'", "sets"),
    ("SET ROLE bob", "sets"),
    ("SET ROLE NONE", "sets"),  # the start-up value may be another: ALTER ROLE ... SET role
    ("SET SESSION AUTHORIZATION bob", "sets"),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "sets"),
    ("SET app.tenant = '7'", "sets"),
    ("SET local.x = 1", "sets"),
    ("SET transaction.x TO 1", "sets"),
    ('SET "local" = 1', "sets"),
    ("-- a comment\nSET x = 1", "sets"),
    ("/* one */ /* two */SET x = 1", "sets"),
    ("SELECT 1;SET x = 1", "sets"),
    ("SELECT 1; -- why\n\n  SET x = 1", "sets"),
    ("SELECT 1; /* why */ SET x = 1", "sets"),
    ("SELECT ';'; SELECT 2; SET x = 1; SELECT 3", "sets"),
    ("BEGIN; SET x = 1; ROLLBACK", "sets"),
    ("SET x = 1; RESET x", "sets"),
    ("SET LOCAL work_mem = '1GB'", ""),
    ("BEGIN; SET LOCAL app.tenant = '7'; SELECT 1; COMMIT", "sets"),
    ("SET LOCAL app . tenant TO DEFAULT", "sets"),
    ('SET LOCAL "app.tenant" = 7', "sets"),
    ('SET LOCAL U&"app\\002etenant" = 7', "unrecognised_state sets"),
    ("SELECT set_config(E'app\\056tenant', '7', true)", "session_setting"),
    ('SET LOCAL "work_mem" = 7', ""),
    ("SET LOCAL TIME ZONE 'UTC'", ""),
    ("SET LOCAL SESSION AUTHORIZATION bob", ""),
    ("SELECT set_config('app.tenant', '7', true)", "sets"),
    ("SELECT set_config($1, '7', true)", "named"),
    ("DO $$ BEGIN PERFORM set_config($1, '7', true); END $$", "session_setting"),
    ("SELECT set_config('app' || '.tenant', '7', true)", "session_setting"),
    ("SET LOCAL ROLE bob", ""),
    ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", ""),
    ("SET CONSTRAINTS ALL DEFERRED", ""),
    ("SET LOCAL seed = 0.5", "random_seed"),
    ("UPDATE pg_settings SET setting = '1GB' WHERE name = 'work_mem'", "sets"),
    ('UPDATE ONLY pg_catalog."pg_settings" SET setting = 1', "sets"),
    ("UPDATE ONLY (db.pg_catalog.pg_settings) AS s SET setting = 1", "sets"),
    ("SELECT * FROM pg_settings FOR UPDATE", ""),
    ("UPDATE t SET a = (SELECT setting FROM pg_settings)", ""),
    ("CREATE TABLE t (a int); SELECT execute FROM t", ""),
    # Going back to start-up values: this session's own, so nothing that another could see.
    ("RESET ALL", "resets"),
    ("RESET ROLE", "resets"),
    ("SET x TO DEFAULT", "sets"),
    ("SET SESSION app.x = DEFAULT", "sets"),
    ("SET SESSION AUTHORIZATION DEFAULT", "sets"),
    ("SET x TO DEFAULT, a", "sets"),
    ("SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;", "unlocks resets"),  # asyncpg's pool
    # set_config: local only when its third argument says so literally.
    ("SELECT set_config('a', 'b', false)", "sets"),
    ("SELECT pg_catalog.set_config('search_path', '', false);", "sets"),
    ("SELECT set_config('a', 'b', true)", ""),
    ("SELECT set_config($1, $2, TRUE)", "named"),
    ("SELECT set_config($1, $2::text, 't'::boolean)", "named"),
    ("SELECT set_config($12::text, $2::text, $3)", "named"),
    ("SELECT set_config($1::name, $2, false)", "session_setting"),
    ("SELECT set_config($1 || 'a', $2, false)", "session_setting"),
    ("ALTER TABLE t ALTER a SET DEFAULT currval('s'); SELECT currval('s')", "memory"),
    ("CREATE VIEW v AS SELECT currval('s'); SELECT currval('s')", "memory"),
    ("SELECT set_config('a'::text, 'b', false)", "sets"),
    ("SELECT set_config(concat('a', 'b'), (ARRAY['x', 'y'])[1], 'on')", "session_setting"),
    ("SELECT set_config($1, $2, $3)", "named"),
    ("SELECT set_config('a', 'b', true AND false)", "sets"),
    ("SELECT set_config('a', 'b', 'f')", "sets"),
    ("SELECT set_config('a', 'b', NOT true)", "sets"),
    ("SELECT set_config('a', 'b', is_local => true)", "session_setting"),
    ("SELECT set_config(is_local => false, new_value => 'b', setting_name => true)", "session_setting"),
    ("SELECT set_config('a', set_config('b', 'c', false), true)", "session_setting sets"),
    ("SELECT set_config('a','b',true), set_config('a','b',false)", "sets"),
    ("SELECT \"set_config\" /* x */ ('a', 'b', -- y\n false)", "sets"),
    ("SELECT pg_catalog . set_config\n(\n'a', 'b', false)", "sets"),
    ("SELECT U&\"set\\005fconfig\"('a', 'b', false)", "unrecognised_state"),
    ("SELECT set_config('seed', '0.5', true)", "random_seed"),
    ("SELECT set_limit(0.5)", "session_setting"),
    ("SELECT setseed(0.5), random()", "random_seed"),
    ("VALUES (set_config('a', 'b', false))", "sets"),
    ("COPY (SELECT set_config('a', 'b', false)) TO STDOUT", "sets"),
    ("SELECT query_to_xml('select set_config(''a'', ''b'', false)', true, true, '')", "unrecognised_state"),
    ("SELECT query_to_xml('select 1', true, true, '')", ""),
    # Advisory locks.
    ("SELECT pg_advisory_lock(1)", "advisory_lock"),
    ("SELECT pg_try_advisory_lock_shared(1, 2)", "advisory_lock"),
    ("SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock_shared(2)", ""),
    ("SELECT pg_advisory_unlock(1), pg_advisory_unlock_all()", "unlocks"),
    # Temporary objects.
    ("CREATE TEMP TABLE t (a int)", "temporary_table"),
    ("CREATE TEMPORARY SEQUENCE s", "temporary_table"),
    ("CREATE GLOBAL TEMPORARY TABLE t (a int) ON COMMIT DROP", "temporary_table"),
    ("CREATE OR REPLACE LOCAL TEMP RECURSIVE VIEW v (a) AS SELECT 1", "temporary_table"),
    ("EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1", "temporary_table"),
    ("CREATE/**/TEMP/**/TABLE t (a int)", "temporary_table"),
    ("SELECT 1 INTO TEMP t", "temporary_table"),
    ("SELECT 1 INTO TEMP TABLE t FROM x", "temporary_table"),
    ("SELECT 1 INTO LOCAL TEMPORARY t", "temporary_table"),
    ("SELECT 1 AS insert INTO TEMP values", "temporary_table"),
    ("CREATE TABLE pg_temp.t (a int)", "temporary_table"),
    ('SELECT * FROM "pg_temp_3".t', "temporary_table"),
    ("SELECT pg_temp.f()", "temporary_table"),
    # A path on which tables become temporary ones that do not say so.
    ("SET LOCAL search_path = 'pg_temp'", "temporary_table"),
    ('SET LOCAL search_path = "pg_temp", public', "temporary_table"),
    ("SET LOCAL search_path TO public, pg_temp", "temporary_table"),
    ("SET LOCAL search_path = $$pg_temp$$", "temporary_table"),
    ("SET LOCAL search_path = 'pg_'\n'temp'", "temporary_table"),
    ("SET LOCAL search_path = E'pg\\x5ftemp'", "temporary_table"),
    ("SET LOCAL search_path = U&'pg\\005ftemp'", "temporary_table"),
    ('SET LOCAL search_path = U&"pg\\005ftemp"', "temporary_table unrecognised_state"),
    ("SET LOCAL \"SEARCH_PATH\" = 'pg_temp'", "temporary_table"),
    ("SET LOCAL U&\"search\\005fpath\" = 'pg_temp'", "unrecognised_state sets"),
    ("SET LOCAL search_path = 'PG_TEMP'", "temporary_table"),  # a schema of that name: found and not needed
    ("SET LOCAL SCHEMA 'pg_temp'", "temporary_table"),
    ("SET LOCAL SCHEMA E'pg\\137temp'", "temporary_table"),
    ("DO $$ BEGIN SET LOCAL search_path = 'pg_temp'; END $$", "temporary_table"),
    ("SELECT set_config('search_path', 'pg_temp', true)", "temporary_table"),
    ("SELECT set_config('Search_Path', 'a, \"pg_temp\"', true)", "temporary_table"),
    ("SELECT set_config('search_path', $1, true)", "temporary_table"),
    ("SELECT set_config('search_path', 'pg_' || 'temp', true)", "temporary_table"),
    ("SELECT set_config('search_path', concat('pg_', 'temp'), true)", "temporary_table"),
    ("SELECT set_config('search_path', E'pg\\137temp', true)", "temporary_table"),
    ("SELECT set_config('search_path', 'public, pg_catalog', true)", ""),
    ("SET LOCAL search_path = 'public', \"My schema\", a; SELECT 'pg_temp'", ""),
    ("SET LOCAL SCHEMA 'public'", ""),
    ("SET LOCAL search_path TO DEFAULT", ""),
    ("SET LOCAL search_path FROM CURRENT", ""),
    ("SET LOCAL temp_tablespaces = ''", ""),
    ("SET LOCAL work_mem = 'pg_temp'", ""),
    ("INSERT INTO temp VALUES (1)", ""),
    ("INSERT INTO temp (a) SELECT 1", ""),
    ("INSERT INTO temp SELECT 1", ""),
    ("INSERT INTO temp AS t DEFAULT VALUES", ""),
    ("INSERT INTO temp.t VALUES (1)", ""),
    ("MERGE INTO temp t USING s ON true WHEN MATCHED THEN DO NOTHING", ""),
    ("SELECT 1 INTO temp FROM x", ""),
    ("SELECT * FROM temp", ""),
    ("DROP TABLE temp", ""),
    ("CREATE TABLE t (a int)", ""),
    # Cursors.
    ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "hold_cursor"),
    ("DECLARE c BINARY INSENSITIVE NO SCROLL CURSOR WITH HOLD FOR SELECT 1", "hold_cursor"),
    ("DECLARE c " + "SCROLL " * 70 + "CURSOR WITH HOLD FOR SELECT 1", "hold_cursor"),
    ("DECLARE c CURSOR FOR SELECT 1", ""),
    ("DECLARE c CURSOR WITHOUT HOLD FOR SELECT hold FROM t", ""),
    ("FETCH ALL FROM c; CLOSE c", ""),
    # The rest of what a session keeps.
    ("LISTEN a", "listen"),
    ("UNLISTEN *", ""),
    ("NOTIFY a, 'b'", ""),
    ("LOAD 'auto_explain'", "loaded_library"),
    ("SELECT dblink_connect('c', 'dbname=x')", "foreign_session"),
    ("SELECT public.dblink_connect_u('dbname=x')", "foreign_session"),
    ("SELECT * FROM dblink('dbname=x', 'select 1') AS t (a int)", ""),
    ("SELECT pg_create_logical_replication_slot('s', 'pgoutput')", "replication"),
    ("SELECT pg_copy_physical_replication_slot('a', 'b')", "replication"),
    ("SELECT pg_replication_origin_session_setup('o')", "replication"),
    ("SELECT * FROM pg_replication_slots", ""),
    ("SELECT pg_backup_start('x')", "unrecognised_state"),
    ("SELECT lo_open(1, 2), pg_export_snapshot(), nextval('s'), setval('s', 1)", ""),
    ("SELECT currval('s')", "memory"),
    ("SELECT pg_catalog.lastval ( )", "memory"),
    ("CREATE TABLE t (a int DEFAULT currval('s'))", ""),
    ("ALTER TABLE t ALTER a SET DEFAULT currval('s')", ""),
    ("CREATE TABLE t AS SELECT currval('s')", "memory"),
    # Prepared statements named in SQL.
    ("PREPARE p AS SELECT 1", "native"),
    ("PREPARE p (int) AS SELECT set_config('a', 'b', false)", "native sets"),
    ("EXECUTE p (1)", "native"),
    ("DEALLOCATE p", "native"),
    ("DEALLOCATE PREPARE ALL", "drops"),
    ("DISCARD ALL", "drops resets"),
    ("DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES", ""),
    ("EXPLAIN EXECUTE p", "native"),
    ("EXPLAIN (ANALYZE, BUFFERS) EXECUTE p (1)", "native"),
    ("CREATE TABLE t AS EXECUTE p", "native"),
    ("SELECT 1; CREATE TABLE t AS EXECUTE p", "native"),
    ("PREPARE transaction AS SELECT 1", "native"),
    ("PREPARE TRANSACTION 'x'", ""),
    ("CREATE TRIGGER t AFTER UPDATE ON x EXECUTE FUNCTION f()", ""),
    ("CREATE TRIGGER t AFTER UPDATE ON x EXECUTE PROCEDURE s.f()", ""),
    ("GRANT EXECUTE ON FUNCTION f TO bob", ""),
    # Functions that are only defined are not run.
    ("CREATE FUNCTION f() RETURNS void LANGUAGE sql SET x = 1 AS $$ SELECT set_config('a', 'b', false) $$", ""),
    ("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'SET x = 1'", ""),
    ("CALL p()", ""),
    # Anonymous blocks are run.
    ("DO $$ BEGIN UPDATE t SET a = 1; INSERT INTO t VALUES (1); END $$", ""),
    ("DO LANGUAGE plpgsql $$ DECLARE c CURSOR FOR SELECT 1; BEGIN NULL; END $$", ""),
    ("DO $$ BEGIN SET LOCAL x = 1; GRANT EXECUTE ON FUNCTION f TO bob; END $$", ""),
    ("DO $$ BEGIN SET x = 1; END $$", "sets"),
    ("DO 'BEGIN IF true THEN SET x = ''1''; END IF; END'", "sets"),
    ("DO $$ <<a>> BEGIN PERFORM set_config('a', 'b', false); END $$", "sets"),
    ("DO $$ BEGIN PERFORM pg_advisory_lock(1); RAISE EXCEPTION 'x'; END $$", "advisory_lock"),
    ("DO $$ BEGIN CREATE TEMP TABLE t (a int); LISTEN a; END $$ LANGUAGE 'plpgsql'", "temporary_table listen"),
    ("DO $$ BEGIN EXECUTE 'SET x = 1'; END $$", "unrecognised_state"),
    ("DO $$ DECLARE function text; BEGIN EXECUTE function; END $$", "unrecognised_state"),
    ("DO $$ BEGIN DO $q$ BEGIN LOAD 'x'; END $q$; END $$", "loaded_library"),
    ("DO LANGUAGE plperl $$ 1 $$", "unrecognised_state"),
    ("DO $$ BEGIN NULL; END $$ LANGUAGE plpython3u", "unrecognised_state"),
    ("DO E'BEGIN\\nEND'", "unrecognised_state"),
    ("DO $$ SELECT 'x $$", "unrecognised_state"),
    # What cannot be read, with a hit in it (the server will refuse most of it).
    ("SET LOCAL x = 'a", "unrecognised_state"),
    ("SELECT set_config('a', 'b', true) /* ", "unrecognised_state"),
    ('SELECT 1; RESET "x', "unrecognised_state resets"),
    ("RESET x; SELECT $a$ EXECUTE p", "unrecognised_state sql_prepared_statement native resets"),
]


def words(verdict: Verdict) -> set[str]:
    """A verdict in the words of the table."""
    found = {reason.value for reason, _ in verdict.pins}
    found |= {"native"} if verdict.needs_native_names else set()
    found |= {"drops"} if verdict.drops else set()
    found |= {"memory"} if verdict.reads_sequence_memory else set()
    found |= {"unlocks"} if verdict.unlocks else set()
    found |= {"named"} if verdict.named_by else set()
    assert not verdict.sets or verdict.touches
    return found | ({"sets" if verdict.sets else "resets"} if verdict.touches else set())


@pytest.mark.parametrize(("sql", "expected"), TABLE)
def test_a_text_is_found_to_do_just_what_the_table_says(sql: str, expected: str) -> None:
    verdict = inspect(sql.encode())

    assert words(verdict) == set(expected.split())
    assert (verdict is HARMLESS) == (
        not (expected or verdict.heads or verdict.local or verdict.defines_sequence_memory)
    )


@pytest.mark.parametrize(("sql", "expected"), TABLE)
def test_the_prefilter_lets_nothing_through_that_the_table_knows(sql: str, expected: str) -> None:
    assert may_matter(sql.encode()) or not expected


def test_a_backslash_escapes_a_quote_only_when_strings_do_not_conform() -> None:
    text = rb"SELECT 'a\'; SET x = 1; SELECT ';--'"

    assert words(inspect(text)) == {"sets"}
    assert inspect(text, escapes=True) is HARMLESS
    assert words(inspect(rb"SELECT 'a\\'; SET x = 1", escapes=True)) == {"sets"}
    assert inspect(rb"SELECT B'1', N'\'; SET x = 1'", escapes=True) is HARMLESS


def test_an_encoding_with_ascii_bytes_inside_of_characters_is_not_trusted_after_a_hit() -> None:
    text = "SET LOCAL x = '表'".encode("shift_jis")

    assert words(inspect(text)) == set()
    assert words(inspect(text, multibyte_unsafe=True)) == {"unrecognised_state"}
    assert inspect("SELECT '表'".encode("shift_jis"), multibyte_unsafe=True) is HARMLESS
    assert words(inspect(b"SET LOCAL x = 'a'", multibyte_unsafe=True)) == set()
    native = inspect("SELECT '表'; EXECUTE p".encode("shift_jis"), multibyte_unsafe=True)
    assert words(native) == {"unrecognised_state", "sql_prepared_statement", "native"}


@pytest.mark.parametrize(
    ("text", "defines"),
    [
        ("CREATE TABLE t (a int DEFAULT -currval('s'))", True),
        ("ALTER TABLE t ALTER a SET DEFAULT lastval()", True),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN currval('s'); END $$", True),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT LASTVAL()'", True),
        ("CREATE TABLE t (a serial)", False),
        ("SELECT 'currval'", False),
        ("SELECT currval('s')", False),
    ],
)
def test_what_will_read_sequences_later_is_told(text: str, defines: bool) -> None:
    assert inspect(text.encode()).defines_sequence_memory is defines


@pytest.mark.parametrize(
    ("text", "channels"),
    [
        ("LISTEN Jobs", {b"jobs"}),
        ('SELECT 1; listen "Jo""bs"; /* x */ LISTEN a', {b'Jo"bs', b"a"}),
        ("DO $$ BEGIN IF true THEN LISTEN Inner; END IF; END $$", {b"inner"}),
        ("LISTEN " + "x" * 70, {b"x" * 63}),
        ("LISTEN grün", {b""}),
        ("SELECT 1", set()),
        ("UNLISTEN a", set()),
        ('LISTEN U&"d\\0061"', None),
        ("LISTEN", None),
    ],
)
def test_what_a_text_listens_to_is_told(text: str, channels: set[bytes] | None) -> None:
    assert inspect(text.encode()).channels == channels


def test_a_pin_names_the_statement_that_is_to_blame_without_its_literals() -> None:
    verdict = inspect(b"SELECT 'secret'; LOAD  'Secret'; LISTEN Jobs")

    assert verdict.pins == (
        (PinReason.LOADED_LIBRARY, "load $1; listen jobs"),
        (PinReason.LISTEN, "listen jobs"),
    )


def test_a_pin_in_a_text_that_may_be_read_in_two_ways_shows_nothing_behind_the_doubt() -> None:
    verdict = inspect("SET x = '表', 'secret'".encode("shift_jis"), multibyte_unsafe=True)

    assert all("secret" not in detail for _, detail in verdict.pins)


# -- properties -----------------------------------------------------------------------------------------------------

PIECES = [
    *sorted({piece for sql, _ in TABLE for piece in sql.replace("(", " ( ").split()}),
    "'", '"', "$$", "$a$", "/*", "*/", "--", "\n", ";", "(", ")", ",", "E'", "U&\"", "\\", "'x'", "\x00", "é",
]  # fmt: skip
pieces = st.lists(st.sampled_from(PIECES), max_size=25).map(" ".join)
dense = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
texts = st.one_of(pieces, dense).map(str.encode) | st.binary(max_size=60)


def looked(text: bytes, *, escapes: bool) -> set[str]:
    """What the exact look finds, whatever the prefilter says; `doubtful` for a text that cannot be read."""
    look = Look(text, escapes=escapes)
    look.run()
    if look.doubtful:
        look.reasons.pop(PinReason.UNRECOGNISED_STATE)
    flags: dict[str, object] = {
        "native": look.native,
        "drops": look.drops,
        "memory": look.memory,
        "sets": look.sets,
        "named": bool(look.named_by),
        "resets": bool(look.touches),
        "unlocks": look.unlocks,
        "local": look.local,
        "doubtful": look.doubtful,
    }
    flags |= dict.fromkeys(look.heads, True)
    return {reason.value for reason in look.reasons} | {flag for flag, found in flags.items() if found}


@given(texts, st.booleans())
def test_what_the_exact_look_finds_is_never_missed_by_the_prefilter(text: bytes, escapes: bool) -> None:
    found = looked(text, escapes=escapes)

    # That a text cannot be read (and so may name statements) does not count: the server cannot read it either.
    unread = {"doubtful", "native", "sql_prepared_statement"} if "doubtful" in found else set()
    assert may_matter(text) or found <= unread


def short_filler() -> dict[tuple[bool, bool], object]:
    """The patterns for skipping, for two tokens at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notable, "ITEMS", 2)
        return {(e, f): notable._filler(escapes=e, ends=f).match for e in (False, True) for f in (False, True)}


SHORT_FILLER = short_filler()


@given(texts, st.booleans())
def test_skipping_in_bulk_finds_just_what_a_walk_over_every_token_finds(text: bytes, escapes: bool) -> None:
    skipping = looked(text, escapes=escapes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "FILLER", defaultdict(lambda: lambda *_: None))
        stepping = looked(text, escapes=escapes)

    assert stepping == skipping


@given(texts, st.booleans())
def test_it_does_not_matter_where_skipping_in_bulk_pauses(text: bytes, escapes: bool) -> None:
    at_once = looked(text, escapes=escapes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "FILLER", SHORT_FILLER)
        patch.setattr(reading, "ITEMS", 2)
        in_steps = looked(text, escapes=escapes)

    assert in_steps == at_once


@given(texts, st.booleans(), st.booleans())
def test_no_text_raises_and_no_detail_is_long(text: bytes, escapes: bool, multibyte_unsafe: bool) -> None:
    verdict = inspect(text, escapes=escapes, multibyte_unsafe=multibyte_unsafe)

    assert (verdict == HARMLESS) == (verdict is HARMLESS)
    assert all(len(detail) <= 512 for _, detail in verdict.pins)


GAPS = [" ", "\t\n", "/* ; SET x = 1 */", "/* 'a /* b */ \" */", "-- it's ; SET x\n", " \r\n /**/ "]


@given(st.sampled_from(TABLE), st.data())
def test_case_and_comments_and_blanks_between_tokens_change_nothing(row: tuple[str, str], data: st.DataObject) -> None:
    sql, expected = row
    varied = b""
    for kind, start, end in tokens(sql.encode()):
        piece = sql.encode()[start:end]
        if kind in (Kind.BLANK, Kind.COMMENT):
            piece = data.draw(st.sampled_from(GAPS)).encode()
        elif kind == Kind.MARK and piece in b"();,":
            piece = data.draw(st.sampled_from(["", *GAPS])).encode() + piece + data.draw(st.sampled_from(GAPS)).encode()
        elif kind == Kind.WORD:
            piece = data.draw(st.sampled_from([piece, piece.upper(), piece.lower(), piece.title()]))
        varied += piece

    assert words(inspect(varied)) == set(expected.split())


# A function that runs a text may run any literal of the string: then more is found than both do.
ALONE = [row for row in TABLE if "query_to_xml" not in row[0]]


@given(st.sampled_from(ALONE), st.sampled_from(ALONE))
def test_one_string_of_two_statements_does_what_both_do(first: tuple[str, str], second: tuple[str, str]) -> None:
    if "unrecognised_state" in first[1] or "--" in first[0]:
        return  # what cannot be read takes all behind it along, and so does an open comment
    text = f"{first[0]};{second[0]}".encode()

    both = set(first[1].split()) | set(second[1].split())
    assert words(inspect(text)) == (both - {"resets"} if "sets" in both else both)


@given(texts, st.lists(st.integers(0, 80), max_size=6))
def test_a_text_that_passes_in_pieces_is_looked_at_no_less(text: bytes, cuts: list[int]) -> None:
    passing, edges = Passing(), sorted({0, *(min(cut, len(text)) for cut in cuts), len(text)})
    seen = [passing.may_matter(text[one:two]) for one, two in itertools.pairwise(edges)]

    assert any(seen) or not may_matter(text)


def test_blanks_between_pieces_hide_nothing_and_a_long_harmless_text_does_not_matter() -> None:
    passing = Passing()
    assert not any(
        passing.may_matter(piece) for piece in (b"INSERT INTO t VALUES ('", *[b"set x = 1 " * 500] * 10, b"');")
    )
    assert not any(passing.may_matter(b" " * 100) for _ in range(3))
    assert passing.may_matter(b"set x = 1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("DROP DATABASE a", True),
        ("; -- it is old\n drop/* and unused */database if exists a;", True),
        ("CREATE DATABASE a TEMPLATE b", True),
        ("ALTER DATABASE a RENAME TO b", True),
        ("alter database a\nset tablespace b", True),
        ("ALTER DATABASE a SET search_path = b", False),
        ("SELECT 'DROP DATABASE a'", False),
        ("CREATE TABLE database ()", False),
        ("DROP DATABASES", False),
        ("", False),
    ],
)
def test_who_wants_a_database_for_itself_is_told(text: str, expected: bool) -> None:
    verdict = inspect(text.encode())
    assert verdict.vacates is expected
    assert not verdict.pins
    assert expected or verdict is HARMLESS
