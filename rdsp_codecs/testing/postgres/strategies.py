"""What clients say to a PostgreSQL server, as Hypothesis strategies."""

from __future__ import annotations

import struct

from hypothesis import strategies as st

from rdsp_codecs.testing.postgres import said as w


def frames(data: bytes) -> list[bytes]:
    """The messages of `data`; what is no whole message stands last."""
    found = []
    while len(data) >= 5 and len(data) > int.from_bytes(data[1:5], "big") >= 4:
        size = int.from_bytes(data[1:5], "big") + 1
        found.append(data[:size])
        data = data[size:]
    return [*found, data] if data else found


NAMES = st.sampled_from(["", "", "s1", "s2"])
PLAIN = [
    "SELECT 1",
    "SELECT 2 AS b",
    "SELECT 'two'::text, 2",
    "SELECT generate_series(1, 3)",
    "SELECT 1/(2 - generate_series(1, 3)) AS q",
    "SELECT 1/0",
    "SELEC",
    "",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "INSERT INTO t VALUES (1)",
    "DROP TABLE IF EXISTS nothing",
    "COPY t TO STDOUT",
    "SET LOCAL work_mem = '3MB'",
    "SHOW work_mem",
    "TABLE changes",
]
SETTING = ["SET work_mem = '5MB'", "SET TimeZone = 'Japan'", "RESET work_mem"]
NAMING = [
    "PREPARE s1 AS SELECT 1",
    "PREPARE s1 AS SELECT 'two'::text, 2",
    "PREPARE s2 AS SELECT generate_series(1, 3)",
    "DEALLOCATE s2",
    "EXECUTE s1",
    "EXECUTE s2",
    "DEALLOCATE s1",
    "DEALLOCATE ALL",
]
TEXTS = st.sampled_from(PLAIN)
QUERIES = st.one_of(
    TEXTS, TEXTS, st.lists(TEXTS, min_size=2, max_size=3).map("; ".join), st.sampled_from(SETTING + NAMING)
)
PORTALS = st.sampled_from(["", "p"])
VALUES = st.sampled_from([(), (), (b"v",)])
LIMITS = st.sampled_from([0, 0, 1, 2])
COPIED = st.sampled_from([b"1\n2\n", b"x\n", b""])


def parse_and_run(name: str, text: str, limit: int) -> bytes:
    """Parse, Bind, Describe and Execute, without their Sync."""
    values = (b"v",) if "$" in text else ()
    return w.parse(name, text) + w.bind("", name, values) + w.describe("P") + w.execute("", limit)


PARTS = st.one_of(
    st.builds(w.parse, NAMES, st.one_of(TEXTS, st.sampled_from([*SETTING, "SELECT $1::text", "SELECT 1; SELECT 1"]))),
    st.builds(w.parse, st.just(""), st.sampled_from(NAMING)),
    st.builds(parse_and_run, NAMES, st.sampled_from([*PLAIN, "SELECT $1::text"]), LIMITS),
    st.builds(lambda name: w.bind("", name) + w.execute(), NAMES),
    st.builds(w.bind, PORTALS, NAMES, VALUES),
    st.builds(w.describe, st.sampled_from("SP"), NAMES),
    st.builds(w.execute, PORTALS, LIMITS),
    st.builds(w.close, st.sampled_from("SP"), NAMES),
    st.just(w.FLUSH),
)
FUNCTIONS = st.sampled_from([764, 767, 1598]).map(lambda oid: w.message("F", struct.pack(">IHHH", oid, 0, 0, 1)))
BATCHES = st.lists(PARTS, max_size=5).map(b"".join)


def copy_in(data: bytes, end: bytes) -> bytes:
    """What is copied, and its end."""
    return w.copy_data(data) + w.copy_data(b"3\n") + end


FORGET = w.close("S", "") + w.SYNC
COPY_INS = st.builds(copy_in, COPIED, st.sampled_from([w.COPY_DONE, w.message("f", b"no\0")]))
COPY_TEXTS = st.sampled_from(["COPY t FROM STDIN", "COPY t FROM STDIN", "COPY nothing FROM STDIN"])
COPIES = st.one_of(
    st.builds(lambda text, data: w.query(text) + data, COPY_TEXTS, COPY_INS),
    st.builds(lambda text, data: parse_and_run("", text, 0) + data + w.SYNC + FORGET, COPY_TEXTS, COPY_INS),
)
ONE = st.one_of(
    QUERIES.map(w.query), QUERIES.map(w.query), BATCHES.map(lambda data: data + w.SYNC), COPIES, FUNCTIONS,
    st.builds(lambda batch, text: batch + w.query(text) + w.SYNC, BATCHES, QUERIES),
)  # fmt: skip
FEW = st.sampled_from(["", "s1"])
PREPARED = st.builds(
    lambda close, name, text: close + w.parse(name, text) + w.SYNC,
    st.sampled_from([b"", w.close("S", "s1")]),
    FEW,
    st.sampled_from(["SELECT 1", "TABLE changes", "TABLE changes", "SELEC"]),
)
USED = st.builds(
    lambda first, name, again, last: first + w.bind("", name) + w.execute() + again + last,
    st.sampled_from([b"", parse_and_run("", "SELECT 1", 0), w.parse("s2", "SELECT 1"), w.close("S", "")]),
    FEW,
    st.sampled_from([b"", w.bind("", "s2"), w.describe("S", "s1"), w.parse("s1", "SELECT 1")]),
    st.just(w.SYNC),
)
NAMED = st.sampled_from(NAMING)
NAMED_FIRST = st.one_of(
    NAMED.map(w.query), NAMED.map(lambda text: parse_and_run("", text, 0) + w.SYNC),
)  # fmt: skip
"""A text that names statements in SQL; what comes next may come before the proxy has asked what there is now."""
NAMED_LAST = st.one_of(
    COPIES, BATCHES.map(lambda data: data + w.SYNC), st.builds(lambda text: w.execute() + w.query(text) + w.SYNC, NAMED)
)
NAMED_BEHIND = st.builds(lambda first, last: first + last, NAMED_FIRST, NAMED_LAST)
REQUESTS = st.one_of(ONE, NAMED_BEHIND, PREPARED, USED)
"""Whole requests, each up to where the server is ready for the next, or several in one."""
STEPS = st.one_of(
    st.tuples(ONE),
    st.tuples(NAMED_BEHIND),
    st.tuples(ONE),
    st.tuples(PREPARED),
    st.tuples(USED),
    st.tuples(USED),
    st.tuples(BATCHES.filter(bool), BATCHES.map(lambda data: data + w.SYNC)),
    st.tuples(
        COPY_TEXTS.map(lambda text: parse_and_run("", text, 0) + w.SYNC),
        COPY_INS.map(lambda data: data + w.SYNC),
        st.just(FORGET),
    ),
)
