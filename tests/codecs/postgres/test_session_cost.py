"""What a look into a text may cost: bounded for any text, enough for all ordinary ones; and what is found on a budget."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdsp_codecs.choice import CHOICE, COMPILED
from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres.inspection import Look
from rdsp_codecs.postgres.session_state import HARMLESS, inspect, tag_pins

pytestmark = pytest.mark.skipif(CHOICE.name == COMPILED, reason="what reads whole texts is not compiled")

HOSTILE = [
    ";", "; ", ";a", "set;", ";set a", ";set local search_path = a", "into ", "create ", "create/*", ";create temp ",
    "temp ", "a-", "a ", "_", "é ", "set_config(", "set_config(1,2,true)+", "set_config('search_path', a, true),",
    "(", "[(", "declare a ", ";declare c " + "a " * 64, ";listen a", "do $$a$$;", "do$$begin ", "do $a", "set a;",
    "/*", "/**/", "/*/**/", "*/ ", "--", "--\n", "--\n set ", ";--\n", "$a", "$a$", "$1", "'", "''", "'a'", "'a'\n",
    "'a'--\n", "e'\\'", "e'a'", "u&'a'", '"', '"a"', 'u&"a"', "\n", " ", "execute ", "explain;", "update/**/",
    "pg_settings ", "pg_temp.", "currval(", "currval/**/", "query_to_xml(", "query_to_xml('a'),",
]  # fmt: skip
BEGINNINGS = ["", "SET a = 1;", "SET LOCAL a = ", "DO $q$ BEGIN ", "SELECT set_config(", "EXPLAIN ", "SELECT ts_stat('"]
SIZE = 1_000_000


def seconds(text: bytes) -> float:
    """CPU time of inspecting a text."""
    started = time.process_time()
    inspect(text)
    return time.process_time() - started


@pytest.mark.parametrize("unit", HOSTILE)
def test_no_text_holds_up_the_others(unit: str) -> None:
    # 0.2 seconds at worst for each; without a budget many of them took 1 to 2, and 16 times that for 16 MB.
    for beginning in BEGINNINGS[:4]:
        ending = " $q$" if "$q$" in beginning else ""

        assert seconds((beginning + unit * (SIZE // len(unit)) + ending).encode()) < 1, beginning


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(BEGINNINGS), st.lists(st.sampled_from([*HOSTILE, ",", ")", "1", "true"]), min_size=1, max_size=6)
)
def test_no_mixture_of_them_does_either(beginning: str, units: list[str]) -> None:
    unit = "".join(units)

    assert seconds((beginning + unit * (SIZE // 2 // len(unit))).encode()) < 1


def test_blocks_inside_of_blocks_do_not_either() -> None:
    body = "begin " + "listen a; '';" * 100_000 + "perform ts_stat('" + "_" * 1_000_000 + "');"
    for depth in range(12):
        body = f"begin do $q{depth}$ {body} $q{depth}$; set local a = 1;"

    assert seconds(body.encode()) + seconds(b"do $q$ " + body.encode() + b" $q$") < 2.5


ROW = "INSERT INTO accounts (a, b, c) VALUES (1234, 'some text in it', 4.5, NULL, now(), 'O''Reilly, Tim O.');\n"
FUNCTION = """--
-- Name: f(integer, text); Type: FUNCTION; Schema: public; Owner: app
--

CREATE FUNCTION public.f(a integer, b text) RETURNS integer
    LANGUAGE plpgsql
    AS $$
DECLARE x int;
BEGIN
  SELECT count(*) INTO x FROM t WHERE a = b; -- it's
  EXECUTE 'SET x = 1';
END
$$;


ALTER FUNCTION public.f(a integer, b text) OWNER TO app;

"""
BLOCK = "DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_type WHERE typname = 'a') THEN CREATE TYPE a AS (b int); END IF; END $$;"


@pytest.mark.parametrize(
    "script",
    [
        ROW * 10_000,
        ROW * 100_000,
        FUNCTION * 3_000,
        BLOCK * 300,
        "BEGIN; SET LOCAL work_mem = '1GB'; SELECT 1; COMMIT;\n" * 1_500,
        "CREATE TABLE t (a int PRIMARY KEY, b text DEFAULT 'x');\nCREATE INDEX ON t (b);\n" * 3_000,
        "INSERT INTO t VALUES ('" + "temp it''s " * 1_000_000 + "')",
    ],
    ids=["rows", "many rows", "functions", "blocks", "transactions", "tables", "long"],
)
def test_ordinary_scripts_are_read_to_their_ends(script: str) -> None:
    assert not inspect((script + ";SET LOCAL work_mem = '1GB'").encode()).pins
    assert [reason for reason, _ in inspect((script + ";LISTEN a").encode()).pins] == [PinReason.LISTEN]


def test_a_huge_text_is_not_pinned_for_its_size() -> None:
    row = b"(1234, 'some text with temp in it', 4.5, NULL, now(), 'O''Reilly'),\n"

    assert inspect(b"INSERT INTO t VALUES " + row * 60_000 + b"(1, 2, 3, 4, 5, 6)") is HARMLESS


def test_what_is_left_when_the_budget_is_used_up_may_do_anything_that_its_words_could() -> None:
    dense = b"SET LOCAL a = 1;" * 100_000

    plain = inspect(dense)
    assert [reason for reason, _ in plain.pins] == [PinReason.UNRECOGNISED_STATE]
    assert not plain.needs_native_names
    assert plain.heads == {b"set"}
    assert tag_pins(b"SET", plain.heads, [reason for reason, _ in plain.pins]) is PinReason.SESSION_SETTING
    assert inspect(dense + b"EXECUTE p").needs_native_names
    assert inspect(dense + b"SELECT lastval()").reads_sequence_memory
    assert inspect(b"DO $$ BEGIN " + dense + b" END $$; EXECUTE p").needs_native_names


PIECES = [
    "SET LOCAL a = 1", "SET b = 2", "EXECUTE p", "SELECT lastval()", "SELECT currval('a')", "DISCARD ALL", "LISTEN a",
    "DO $$ BEGIN PERFORM lastval(); DEALLOCATE ALL; END $$", "SELECT 'x'", "CREATE TEMP TABLE t ()", "a b c",
    "SELECT set_config('search_path', $1, true)", "SET LOCAL search_path = pg_temp", "/* x */", "SELECT ts_stat('a')",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=8).map("; ".join), st.integers(0, 3000))
def test_a_look_on_a_budget_finds_no_less(sql: str, budget: int) -> None:
    full, poor = Look(sql.encode(), escapes=False), Look(sql.encode(), escapes=False, budget=budget)
    full.run()
    poor.run()

    assert poor.native >= full.native
    assert poor.memory >= full.memory
    if PinReason.UNRECOGNISED_STATE not in poor.reasons:
        assert poor.reasons == full.reasons
        assert poor.heads == full.heads
