"""Command tags of the server: which of them pin, and which are excused by what the texts of the request show."""

from __future__ import annotations

import pytest

from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres.session_state import (
    HARMLESS_TAG_HEADS,
    HARMLESS_TAGS,
    PINNING_TAGS,
    function_pins,
    inspect,
    tag_pins,
)

TAGS_18 = """
???|ALTER ACCESS METHOD|ALTER AGGREGATE|ALTER CAST|ALTER COLLATION|ALTER CONSTRAINT|ALTER CONVERSION|ALTER DATABASE
ALTER DEFAULT PRIVILEGES|ALTER DOMAIN|ALTER EVENT TRIGGER|ALTER EXTENSION|ALTER FOREIGN DATA WRAPPER
ALTER FOREIGN TABLE|ALTER FUNCTION|ALTER INDEX|ALTER LANGUAGE|ALTER LARGE OBJECT|ALTER MATERIALIZED VIEW
ALTER OPERATOR|ALTER OPERATOR CLASS|ALTER OPERATOR FAMILY|ALTER POLICY|ALTER PROCEDURE|ALTER PUBLICATION|ALTER ROLE
ALTER ROUTINE|ALTER RULE|ALTER SCHEMA|ALTER SEQUENCE|ALTER SERVER|ALTER STATISTICS|ALTER SUBSCRIPTION|ALTER SYSTEM
ALTER TABLE|ALTER TABLESPACE|ALTER TEXT SEARCH CONFIGURATION|ALTER TEXT SEARCH DICTIONARY|ALTER TEXT SEARCH PARSER
ALTER TEXT SEARCH TEMPLATE|ALTER TRANSFORM|ALTER TRIGGER|ALTER TYPE|ALTER USER MAPPING|ALTER VIEW|ANALYZE|BEGIN|CALL
CHECKPOINT|CLOSE|CLOSE CURSOR|CLOSE CURSOR ALL|CLUSTER|COMMENT|COMMIT|COMMIT PREPARED|COPY|COPY FROM
CREATE ACCESS METHOD|CREATE AGGREGATE|CREATE CAST|CREATE COLLATION|CREATE CONSTRAINT|CREATE CONVERSION
CREATE DATABASE|CREATE DOMAIN|CREATE EVENT TRIGGER|CREATE EXTENSION|CREATE FOREIGN DATA WRAPPER
CREATE FOREIGN TABLE|CREATE FUNCTION|CREATE INDEX|CREATE LANGUAGE|CREATE MATERIALIZED VIEW|CREATE OPERATOR
CREATE OPERATOR CLASS|CREATE OPERATOR FAMILY|CREATE POLICY|CREATE PROCEDURE|CREATE PUBLICATION|CREATE ROLE
CREATE ROUTINE|CREATE RULE|CREATE SCHEMA|CREATE SEQUENCE|CREATE SERVER|CREATE STATISTICS|CREATE SUBSCRIPTION
CREATE TABLE|CREATE TABLE AS|CREATE TABLESPACE|CREATE TEXT SEARCH CONFIGURATION|CREATE TEXT SEARCH DICTIONARY
CREATE TEXT SEARCH PARSER|CREATE TEXT SEARCH TEMPLATE|CREATE TRANSFORM|CREATE TRIGGER|CREATE TYPE
CREATE USER MAPPING|CREATE VIEW|DEALLOCATE|DEALLOCATE ALL|DECLARE CURSOR|DELETE|DISCARD|DISCARD ALL|DISCARD PLANS
DISCARD SEQUENCES|DISCARD TEMP|DO|DROP ACCESS METHOD|DROP AGGREGATE|DROP CAST|DROP COLLATION|DROP CONSTRAINT
DROP CONVERSION|DROP DATABASE|DROP DOMAIN|DROP EVENT TRIGGER|DROP EXTENSION|DROP FOREIGN DATA WRAPPER
DROP FOREIGN TABLE|DROP FUNCTION|DROP INDEX|DROP LANGUAGE|DROP MATERIALIZED VIEW|DROP OPERATOR|DROP OPERATOR CLASS
DROP OPERATOR FAMILY|DROP OWNED|DROP POLICY|DROP PROCEDURE|DROP PUBLICATION|DROP ROLE|DROP ROUTINE|DROP RULE
DROP SCHEMA|DROP SEQUENCE|DROP SERVER|DROP STATISTICS|DROP SUBSCRIPTION|DROP TABLE|DROP TABLESPACE
DROP TEXT SEARCH CONFIGURATION|DROP TEXT SEARCH DICTIONARY|DROP TEXT SEARCH PARSER|DROP TEXT SEARCH TEMPLATE
DROP TRANSFORM|DROP TRIGGER|DROP TYPE|DROP USER MAPPING|DROP VIEW|EXECUTE|EXPLAIN|FETCH|GRANT|GRANT ROLE
IMPORT FOREIGN SCHEMA|INSERT|LISTEN|LOAD|LOCK TABLE|LOGIN|MERGE|MOVE|NOTIFY|PREPARE|PREPARE TRANSACTION
REASSIGN OWNED|REFRESH MATERIALIZED VIEW|REINDEX|RELEASE|RESET|REVOKE|REVOKE ROLE|ROLLBACK|ROLLBACK PREPARED
SAVEPOINT|SECURITY LABEL|SELECT|SELECT FOR KEY SHARE|SELECT FOR NO KEY UPDATE|SELECT FOR SHARE|SELECT FOR UPDATE
SELECT INTO|SET|SET CONSTRAINTS|SHOW|START TRANSACTION|TRUNCATE TABLE|UNLISTEN|UPDATE|VACUUM
"""
"""Every command tag of PostgreSQL 18; 15 and 16 have the same but LOGIN."""


def test_every_command_tag_of_postgresql_18_is_on_one_of_the_two_lists() -> None:
    tags = {tag.encode() for line in TAGS_18.split("\n") for tag in line.split("|") if tag}

    assert len(tags) == 193
    assert tags == HARMLESS_TAGS | PINNING_TAGS.keys()
    assert not HARMLESS_TAGS & PINNING_TAGS.keys()


def test_no_tag_that_may_pin_begins_like_one_that_is_not_looked_at() -> None:
    for tag in PINNING_TAGS:
        for behind in (b"", b"\0", b"\0Z\0\0\0\5I"):
            assert (tag + behind)[:6] not in HARMLESS_TAG_HEADS


@pytest.mark.parametrize(
    "tag",
    ["SELECT 5", "INSERT 0 1", "UPDATE 3", "DELETE 0", "MERGE 7", "BEGIN", "COMMIT", "ROLLBACK", "START TRANSACTION",
     "FETCH 10", "COPY 90", "MOVE 1"],
)  # fmt: skip
def test_the_tags_of_everyday_need_no_second_look(tag: str) -> None:
    assert (tag.encode() + b"\0Z\0\0\0\5I")[:6] in HARMLESS_TAG_HEADS
    assert tag_pins(tag.encode(), {b"set"}, [PinReason.SESSION_SETTING]) is None


TAG_TABLE: list[tuple[str, list[str], str]] = [
    ("SET", ["SET x = 1"], ""),  # the server is asked what is set
    ("SET", [], "session_setting"),
    ("SET", ["SELECT 1"], "session_setting"),
    ("SET", ["SET LOCAL x = 1", "SELECT set_config(a, b, false)"], "session_setting"),
    ("SET", ["SET LOCAL x = 'a"], "session_setting"),
    ("SET", ["BEGIN; SET LOCAL x = 1; SET TRANSACTION READ ONLY; COMMIT"], ""),
    ("SET", ["SET x TO DEFAULT"], ""),
    ("SET CONSTRAINTS", ["SET CONSTRAINTS ALL DEFERRED"], ""),
    ("RESET", ["RESET ALL"], ""),
    ("LISTEN", [], "listen"),
    ("UNLISTEN", [], ""),
    ("LOAD", [], "loaded_library"),
    ("PREPARE", [], "sql_prepared_statement"),
    ("PREPARE TRANSACTION", [], ""),
    ("DEALLOCATE ALL", [], "sql_prepared_statement"),
    ("DISCARD ALL", [], "sql_prepared_statement"),
    ("DISCARD TEMP", [], ""),
    ("DECLARE CURSOR", ["DECLARE c CURSOR FOR SELECT 1"], ""),
    ("DECLARE CURSOR", ["DECLARE c CURSOR WITH HOLD FOR SELECT 1"], "hold_cursor"),
    ("DECLARE CURSOR", ["SELECT 1"], "hold_cursor"),
    ("DO", ["DO $$ BEGIN NULL; END $$"], ""),
    ("DO", ["DO $$ BEGIN SET x = 1; END $$"], ""),
    ("DO", ["DO $$ BEGIN PERFORM set_config(a, b, false); END $$"], "session_setting"),
    ("DO", [], "unrecognised_state"),
    ("CALL", ["CALL p()"], ""),
    ("CREATE TABLE", ["CREATE TABLE t ()"], ""),
    ("CREATE TABLE", ["CREATE TEMP TABLE t ()"], "temporary_table"),
    ("CREATE VIEW", ["CREATE TEMP VIEW v AS SELECT 1"], "temporary_table"),
    ("ALTER TABLE", ["ALTER TABLE t SET (a = 1)"], ""),
    ("EXPLAIN", [], ""),
    ("CREATE PALACE", [], "unrecognised_state"),
    ("???", [], "unrecognised_state"),
    ("", [], "unrecognised_state"),
]


@pytest.mark.parametrize(("tag", "sqls", "expected"), TAG_TABLE)
def test_a_command_tag_pins_just_as_the_table_says(tag: str, sqls: list[str], expected: str) -> None:
    verdicts = [inspect(sql.encode()) for sql in sqls]
    heads = {head for verdict in verdicts for head in verdict.heads}
    reasons = list(dict.fromkeys(reason for verdict in verdicts for reason, _ in verdict.pins))

    assert tag_pins(tag.encode(), heads, reasons) == (PinReason(expected) if expected else None)


@pytest.mark.parametrize(
    ("sql", "heads"),
    [
        ("SET LOCAL a = 1; SET b = 2; SELECT 1", {b"set"}),
        ("DECLARE c CURSOR FOR SELECT 1; /* x */ DO $$ BEGIN SET LOCAL a = 1; END $$", {b"declare", b"do"}),
        ("SELECT set_config('a', 'b', false); RESET a", set()),
        ("UPDATE t SET a = 1", set()),
    ],
)
def test_a_verdict_tells_which_statements_a_tag_may_belong_to(sql: str, heads: set[bytes]) -> None:
    assert inspect(sql.encode()).heads == heads


def test_a_call_by_oid_pins_unless_it_works_on_large_objects() -> None:
    lo_open, loread, set_config = 952, 954, 2078

    assert function_pins(lo_open) is function_pins(loread) is None
    assert function_pins(set_config) is PinReason.UNRECOGNISED_STATE
    assert function_pins(16384) is PinReason.UNRECOGNISED_STATE
