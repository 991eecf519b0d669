"""What clients say to a MySQL or MariaDB server, as Hypothesis strategies."""

from __future__ import annotations

from hypothesis import strategies as st

from rdsp_codecs.mysql import responses as r
from rdsp_codecs.testing.mysql import said as w

PLAIN = [
    "SELECT 1",
    "SELECT 2 AS b",
    "SELECT 'two', NULL",
    "SELECT n FROM none",
    "SELECT n FROM three",
    "SELECT LAST_INSERT_ID()",
    "SELEC",
    "",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT a",
    "INSERT INTO t VALUES (1)",
    "INSERT INTO twice VALUES (1)",
    "INSERT INTO stuck VALUES (1)",
    "CREATE TABLE n (a INT)",
    "SELECT @@sql_mode, @@time_zone",
    "SELECT @@collation_connection, @@autocommit",
]
SETTING = [
    "SET time_zone = '+01:00'",
    "SET @@time_zone = '+02:00'",
    "SET SESSION sql_mode = ''",
    "SET sql_mode = 'ANSI_QUOTES', group_concat_max_len = 4000",
    "SET sql_mode = 'NONSENSE', time_zone = '+03:00'",
    "SET NAMES latin1",
    "SET NAMES utf8mb4",
    "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
    "SET character_set_results = latin1",
    "SET NAMES klingon",
    "SET autocommit = 0",
    "SET autocommit = 1",
    "SET foreign_key_checks = 0",
    "SET nothing = 1",
    "USE other",
    "USE nowhere",
]
PINNING = ["SET @x = 'a'", "SELECT @x", "SELECT n FROM view", "SELECT @@group_concat_max_len", "CALL two()"]
TEXTS = st.sampled_from(PLAIN)
QUERIES = st.one_of(
    TEXTS,
    TEXTS,
    st.sampled_from(SETTING),
    st.sampled_from(PINNING),
    st.lists(st.one_of(TEXTS, st.sampled_from(SETTING)), min_size=2, max_size=3).map("; ".join),
)
"""Texts; several statements in one may be allowed or not."""
STATEMENTS = st.one_of(
    st.sampled_from([*PLAIN, "SELECT ?"]).map(w.prepare),
    st.builds(w.execute, st.integers(1, 3)),
    st.builds(w.execute, st.integers(1, 3), st.sampled_from([b"v", b"w"])),
    st.integers(1, 3).map(w.close),
    st.integers(1, 3).map(lambda number: w.command(r.COM_STMT_RESET, number.to_bytes(4, "little"))),
)
"""Statements, by the numbers that a server gives to the first few of a connection. Not all are whole requests:
COM_STMT_CLOSE is not answered."""
UNKNOWN_STATEMENTS = st.one_of(
    st.builds(w.execute, st.integers(1000, 1003)),
    st.integers(1000, 1003).map(lambda number: w.command(r.COM_STMT_RESET, number.to_bytes(4, "little"))),
)
COMMANDS = st.one_of(
    st.just(w.PING),
    st.just(w.RESET),
    st.just(w.STATISTICS),
    st.booleans().map(lambda allowed: w.several(allowed=allowed)),
    st.sampled_from(["shop", "other", "nowhere"]).map(w.use),
    st.just(w.command(r.COM_SET_OPTION, b"\2\0")),
)
REQUESTS = st.one_of(QUERIES.map(w.query), QUERIES.map(w.query), QUERIES.map(w.query), COMMANDS, UNKNOWN_STATEMENTS)
"""Whole requests: commands with the packets that belong to them."""
