"""Three sessions say what comes, and a fourth one spoils whatever backend is free: each hears what it would hear alone."""

from __future__ import annotations

import random
from contextlib import ExitStack

import pytest

from tests.live.mysql.sidebyside import Side, Two, target
from tests.servers.mysql import MySqlServer
from tests.servers.proxy import ProxyProcess

TEXTS = r"""
SET @a = {n}
SET @b = 'x{n}'
SET @a = NULL
SET @b = 'z' COLLATE utf8mb4_bin
SELECT @a, @b, HEX(@b), COLLATION(@b), @@collation_connection
SET @c = 1, time_zone = 'x'
SET @b = 'it\'s'
SET @b = 'back\\'
SET @b = @@sql_mode
SELECT 1 + 1 INTO @a
SELECT @c
SET NAMES latin1
SET NAMES utf8mb4
SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci
SET CHARACTER SET latin1
SET collation_connection = latin1_bin
SET character_set_results = NULL
SET time_zone = '+0{d}:00'
SELECT @@time_zone
SET sql_mode = 'ANSI_QUOTES'
SET sql_mode = ''
SET sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')
SELECT @@sql_mode, 'a\'b'
SELECT "x"
SET @@foreign_key_checks = {z}
SELECT @@foreign_key_checks, @@lc_time_names
SET lc_time_names = 'de_DE'
SET autocommit = {z}
SELECT @@autocommit
COMMIT
ROLLBACK
BEGIN
SELECT COUNT(*) FROM numbered
SAVEPOINT s
ROLLBACK TO s
CREATE TEMPORARY TABLE t1 (a INT)
INSERT INTO t1 VALUES ({n})
SELECT * FROM t1
DROP TEMPORARY TABLE t1
DROP TABLE IF EXISTS t1
PREPARE s FROM 'SELECT ?, @a'
PREPARE s FROM 'SET time_zone = ''+0{d}:00'''
EXECUTE s USING @b
EXECUTE s
DEALLOCATE PREPARE s
HANDLER numbered OPEN
HANDLER numbered READ FIRST LIMIT 0
HANDLER numbered CLOSE
LOCK TABLES numbered READ
UNLOCK TABLES
SELECT nothing
SELEC
SET time_zone = 'x'
SET max_error_count = {n}
SET sort_buffer_size = 65536 + {n} * 1024
SELECT @@sort_buffer_size, @@max_error_count
SET SESSION max_join_size = {n}00000
SELECT @@max_join_size, @@sql_big_selects
USE other
USE app
SELECT DATABASE()
SET TRANSACTION READ ONLY
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED
SELECT LAST_INSERT_ID({n})
SELECT LAST_INSERT_ID()
SET last_insert_id = {n}
SELECT GET_LOCK('{side}{i}', 0)
SELECT RELEASE_LOCK('{side}{i}')
SELECT RELEASE_ALL_LOCKS()
""".strip().split("\n")  # fmt: skip
SPOILING = (
    "SELECT 1", "SET time_zone = '+09:00'", "SET @a = 99", "SET sql_mode = 'ANSI'", "SELECT LAST_INSERT_ID(5)",
    "SET NAMES latin1", "SELECT nothing",
)  # fmt: skip
STEPS = 60


@pytest.mark.parametrize("seed", range(6))
def test_sessions_do_not_notice_each_other(tracking: MySqlServer, seed: int) -> None:
    chance = random.Random(seed)
    with ExitStack() as stack:
        # One more than can be kept.
        proxy = stack.enter_context(ProxyProcess.for_target(target(tracking), "--max-backends", "4"))
        sessions = [stack.enter_context(Two(tracking, proxy)) for _ in range(3)]
        other = Side(proxy.port)
        stack.callback(other.connection.close)
        told: list[list[str]] = [[], [], []]
        for _ in range(STEPS):
            i = chance.randrange(3)
            text = chance.choice(TEXTS)
            given = {"n": chance.randrange(1, 60), "d": chance.randrange(1, 9), "z": chance.randrange(2), "i": i}
            said = sessions[i].proxied.run(text.format(side="p", **given))
            meant = sessions[i].direct.run(text.format(side="d", **given))
            told[i].append(text.format(side="p", **given))
            assert repr(said) == repr(meant).replace(f"'d{i}'", f"'p{i}'"), told[i]
            other.run(chance.choice(SPOILING))
