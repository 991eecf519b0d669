"""Scripts of two clients that name prepared statements in SQL and by the protocol, as a Hypothesis strategy."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.compare.runner import Script, Step
from tests.servers.rawclient import COPY_DONE, FLUSH, SYNC, bind, close, copy_data, describe, execute, parse, query

LONG_NAME = "n" * 70
NAMES = st.sampled_from(["s1", "s1", "s1", "s2", "s2", "", "S1", "é", LONG_NAME, "n" * 63])
"""Names as the protocol has them."""
SQL_NAMES = st.sampled_from(["s1", "s1", "s1", "S1", '"s1"', "s2", "s2", '"S1"', "é", LONG_NAME, "prepare", "s1/**/"])
"""Names as SQL has them."""
HEADS = st.sampled_from(
    [
        "{} AS SELECT 'in sql'",
        "{} AS SELECT 2, 'two'",
        "{} (int) AS SELECT $1 + 1",
        "{} (text, numeric(5, 2)) AS SELECT $1, $2",
        "{} AS SELECT $1::int + 5",
        "{} AS INSERT INTO differs VALUES (2)",
        "{} AS INSERT INTO differs VALUES (3) RETURNING a",
        "{} /* AS */ AS -- AS\n SELECT count(*) FROM differs",
        "{} AS SELECT 1/0",
        "{} AS SELECT nothing",
        "{} AS SELECT e'\\'AS;'",
        "{} AS SELECT now() - now(), $1::text",
        "{} AS SELECT '01/02/2003'::date",
        "{} AS SELECT '01/02/2003'::date",
        "{} AS SELECT '{{03/04/2003,NULL}}'::date[], extract(epoch FROM '2020-06-01 12:00'::timestamptz)",
        "{} AS SELECT extract(epoch FROM '-1 2:03:04'::interval), e'\\'01/02/2003'",
        "{} AS SELECT 'now'::timestamptz <= now()",
    ]
)
CALLED = st.sampled_from(["{}", "{}", "{}", "{}(1)", "{}('a', 1.5)"])
NAMING = st.one_of(
    st.builds(lambda head, name: "PREPARE " + head.format(name), HEADS, SQL_NAMES),
    st.builds(lambda head, name: "PREPARE " + head.format(name), HEADS, SQL_NAMES),
    st.builds(lambda call, name: "EXECUTE " + call.format(name), CALLED, SQL_NAMES),
    st.builds(lambda call, name: "EXECUTE " + call.format(name), CALLED, SQL_NAMES),
    st.builds(lambda call, name: "EXPLAIN (COSTS OFF) EXECUTE " + call.format(name), CALLED, SQL_NAMES),
    SQL_NAMES.map("DEALLOCATE {}".format),
    SQL_NAMES.map("DEALLOCATE PREPARE {}".format),
    st.sampled_from(["DEALLOCATE ALL", "DEALLOCATE PREPARE ALL", "DISCARD ALL"]),
)
OTHERS = st.sampled_from(
    [
        "SELECT 1",
        "BEGIN",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT a",
        "ROLLBACK TO a",
        "SELECT 1/0",
        "SELEC",
        "SET DateStyle = 'German'",
        "SET DateStyle = 'ISO, YMD'",
        "SET LOCAL DateStyle = 'SQL, DMY'",
        "RESET DateStyle",
        "SET work_mem = '5MB'",
        "SET DateStyle = 'ISO, DMY'",
        "SET LOCAL DateStyle = 'ISO, DMY'",
        "SET TimeZone = 'Japan'",
        "SET LOCAL TIME ZONE 5",
        "SET IntervalStyle = 'sql_standard'",
        "SELECT set_config('DateStyle', 'ISO, DMY', true)",
        "SET search_path = pg_catalog, public",
        "SET LOCAL search_path = pg_catalog, public",
        "SET search_path = public",
        "RESET ALL",
        "SET standard_conforming_strings = off",
        "DO $$ BEGIN EXECUTE 'DEALLOCATE s1'; END $$",
        "DO $$ BEGIN EXECUTE 'PREPARE s1 AS SELECT 5'; END $$",
    ]
)
TEXTS = st.one_of(NAMING, NAMING, NAMING, OTHERS)
SEVERAL = st.lists(TEXTS, min_size=2, max_size=4).map("; ".join)
QUERIES = st.one_of(NAMING, NAMING, OTHERS, SEVERAL).map(query)
PLAIN = st.sampled_from(
    [
        "SELECT 7",
        "SELECT $1::int",
        "SELECT 'x', $1::text",
        "SELEC",
        "SELECT '01/02/2003'::date",
        "SELECT '01/02/2003'::date, a FROM differs",
        "SELECT extract(epoch FROM '2020-06-01 12:00'::timestamptz), '{NULL}'::text[]",
        "SELECT '[today,tomorrow)'::daterange @> current_date",
    ]
)
PARSED = st.one_of(PLAIN, PLAIN, NAMING, OTHERS)
VALUES = st.sampled_from([(), (), (), (b"1",), (b"x", b"2")])
LIMITS = st.sampled_from([0, 0, 0, 1])
PORTALS = st.sampled_from(["", "", "p"])
COPY = parse("", "COPY differs FROM STDIN") + bind() + execute() + copy_data(b"7\n") + COPY_DONE
PARTS = st.one_of(
    st.builds(parse, NAMES, PARSED),
    st.builds(lambda name, text: parse(name, text) + bind("", name) + execute(), NAMES, PARSED),
    st.builds(lambda text: parse("", text) + bind() + describe("P") + execute(), NAMING),
    st.builds(bind, PORTALS, NAMES, VALUES),
    st.builds(lambda name, values: bind("", name, values) + describe("P") + execute(), NAMES, VALUES),
    st.builds(lambda name, values: bind("", name, values) + describe("P") + execute(), NAMES, VALUES),
    st.builds(lambda name: describe("S", name), NAMES),
    st.builds(describe, st.just("P"), PORTALS),
    st.builds(execute, PORTALS, LIMITS),
    st.builds(lambda name: close("S", name), NAMES),
    st.just(FLUSH),
)
BATCH = st.lists(PARTS, min_size=1, max_size=5).map(b"".join)
ONE = st.one_of(QUERIES, QUERIES, BATCH.map(lambda data: data + SYNC), st.just(COPY + SYNC))
ANSWERED = st.lists(ONE, min_size=1, max_size=3).map(lambda ones: (b"".join(ones), len(ones)))
BEHIND = st.one_of(st.just(b""), BATCH)


@st.composite
def naming_scripts(draw: st.DrawFn) -> Script:
    """A script of up to fourteen turns of two clients."""
    steps = []
    for _ in range(draw(st.integers(2, 14))):
        who = draw(st.sampled_from("AB"))
        kind = draw(st.integers(0, 23))
        if kind <= 2:
            steps.append(Step(who, (draw(BATCH),), ready=-1))
            steps.append(Step(who, (draw(BEHIND) + SYNC,)))
        elif kind == 3:
            # A query behind messages without a Sync: what it is answered depends on whether they fail.
            steps.append(Step(who, (draw(BATCH) + draw(QUERIES) + SYNC,), ready=0))
        else:
            data, ready = draw(ANSWERED)
            steps.append(Step(who, (data,), ready=ready))
    return Script("drawn", (), tuple(steps))
