"""System variables as values. What servers make of them is shown in tests/live/mysql/test_variables.py."""

from __future__ import annotations

import pytest

from rdsp_codecs.mysql.lexer import facts
from rdsp_codecs.mysql.settings import (
    also_changes,
    canonical,
    in_order,
    names_are_reported,
    question,
    set_statement,
    value_text,
)
from tests.codecs.mysql.test_effects import MARIADB, MYSQL


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (b"sort_buffer_size", b"300000", b"300000"),
        (b"timestamp", b"1000.500000", b"1000.500000"),
        (b"default_master_connection", b"5", b"'5'"),
        (b"autocommit", b"ON", b"'ON'"),
        (b"sql_mode", b"", b"''"),
        (b"init", b"a'b\\", b"x'6127625c'"),
        (b"character_set_results", b"", b"NULL"),
        (b"default_tmp_storage_engine", b"", b"NULL"),
        (b"innodb_tmpdir", None, b"NULL"),
        (b"time_zone", b"+01:00", b"'+01:00'"),
        (b"system_versioning_asof", b"DEFAULT", b"DEFAULT"),
    ],
)
def test_a_value_is_said_alike_in_every_mode(name: bytes, value: bytes | None, text: bytes) -> None:
    assert value_text(name, value) == text


def test_one_variable_has_one_name() -> None:
    assert canonical(b"TX_isolation", MYSQL) == canonical(b"transaction_isolation", MYSQL) == b"transaction_isolation"
    assert canonical(b"transaction_read_only", MARIADB) == b"tx_read_only"
    assert canonical(b"identity", MARIADB) == b"last_insert_id"
    assert canonical(b"wsrep_OSU_method", MARIADB) == b"wsrep_osu_method"


def test_what_is_set_along_comes_behind() -> None:
    names = [b"autocommit", b"collation_connection", b"character_set_connection", b"time_zone"]
    assert in_order(names) == [b"character_set_connection", b"time_zone", b"collation_connection", b"autocommit"]
    assert also_changes(b"character_set_connection") == b"collation_connection"
    assert also_changes(b"collation_server") == b"character_set_server"
    assert also_changes(b"time_zone") is None


def test_statements() -> None:
    assert (
        set_statement({b"b": b"1", b"a": b"x"}, {b"v": b"NULL"})
        == b"SET @@SESSION.a = 'x', @@SESSION.b = 1, @`v` = NULL"
    )
    assert question([b"a", b"b.c"]) == b"SELECT @@SESSION.a, @@SESSION.b.c"
    for wrong in ({b"a = 1, b": b"1"}, {}):
        with pytest.raises(ValueError, match="nothing to set|not the name"):
            set_statement(wrong)


def test_facts_come_of_what_a_server_says() -> None:
    def version(said: str) -> tuple[int, bool]:
        made = facts(
            said, b"ANSI_QUOTES", multi=False, client=b"UTF8MB4", connection=b"latin1", collation=b"latin1_bin"
        )
        assert (made.ansi_quotes, made.no_escapes, made.oracle, made.client) == (True, False, False, b"utf8mb4")
        return made.version, made.mariadb

    assert version("5.5.5-10.11.19-MariaDB-0+deb12u1-log") == (101119, True)
    assert version("11.8.9-MariaDB-4 from Debian-log") == (110809, True)
    assert version("9.7.4-2") == (90704, False)
    assert version("5.6.24-log") == (50624, False)
    assert version("something else") == (50000, False)
    assert names_are_reported(MARIADB)
