"""System variables of a session as values: which names are one variable, what changes with what, how one is set again.

A value is what the server shows (SHOW VARIABLES, a tracker, @@name as text), None for NULL. What trackers do not do:
they do not name what changes along (`also_changes`; SET NAMES does not report collation_connection), some of MariaDB's
name the wrong variable (`names_are_reported`), and SET x = DEFAULT of an unchanged variable may change it (MySQL's
foreign_key_checks): so a variable is put back by the value that it had at login, never by DEFAULT.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from rdsp_codecs.mysql.constants import quoted
from rdsp_codecs.mysql.lexer import Facts

NOT_KEPT: Final = frozenset(
    b"statement_id last_gtid in_transaction error_count warning_count rand_seed1 rand_seed2 insert_id pseudo_thread_id"
    b" gtid_next gtid_seq_no gtid_binlog_pos gtid_current_pos gtid_binlog_state max_allowed_packet net_buffer_length"
    b" max_user_connections wsrep_gtid_seq_no".split()
)
"""Variables that are reported or shown, and that no SET on another connection brings back."""
_ALIASES: Final = {
    b"storage_engine": b"default_storage_engine",
    b"identity": b"last_insert_id",
    b"pseudo_replica_mode": b"pseudo_slave_mode",
    b"log_slow_query_time": b"long_query_time",
    b"log_slow_min_examined_row_limit": b"min_examined_row_limit",
    b"log_slow_query": b"slow_query_log",
    b"tmp_memory_table_size": b"tmp_table_size",
    b"max_insert_delayed_threads": b"max_delayed_threads",
}
"""Other names of one variable, and the one that every version that knows them has."""
_NEW: Final = {b"tx_isolation": b"transaction_isolation", b"tx_read_only": b"transaction_read_only"}
_OLD: Final = {new: old for old, new in _NEW.items()}
_SINCE: Final = 80000
"""From which version on MySQL has only the new of these names; MariaDB has the old ones in every version."""
_PAIRS: Final = {
    b"character_set_connection": b"collation_connection",
    b"character_set_database": b"collation_database",
    b"character_set_server": b"collation_server",
    b"max_join_size": b"sql_big_selects",
    b"log_slow_filter": b"log_queries_not_using_indexes",
}
"""Variables of which the first one sets the second one, too, when it is set."""
_MISNAMING: Final = 110000
"""MariaDB's trackers of 10.11 name what was set; those of 11.8 the first variable that is kept in the same word."""
_NULLABLE: Final = frozenset(
    b"character_set_results innodb_ft_user_stopword_table innodb_tmpdir default_tmp_storage_engine"
    b" enforce_storage_engine external_table_storage_engine".split()
)
"""Variables that trackers and SHOW call empty when they are NULL; @@name tells."""
_TEXTS: Final = frozenset(
    b"default_master_connection session_track_system_variables external_table_secondary_storage_engine".split()
)
"""Variables whose value is any text, and may look like a number."""
_NUMBER: Final = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?").fullmatch
_NAME: Final = re.compile(rb"[a-z0-9_$]+(?:\.[a-z0-9_$]+)*").fullmatch


def canonical(name: bytes, facts: Facts) -> bytes:
    """The name under which a variable is kept, in lower case."""
    name = name.lower()
    name = _ALIASES.get(name, name)
    has_new = not facts.mariadb and facts.version >= _SINCE
    return (_NEW if has_new else _OLD).get(name, name)


def also_changes(name: bytes) -> bytes | None:
    """What is set along with a variable, and not reported: ask for it."""
    other = _PAIRS.get(name)
    if other is None and name.startswith(b"collation_"):
        return b"character_set" + name.removeprefix(b"collation")
    return other


def names_are_reported(facts: Facts) -> bool:
    """Whether a tracker's name is that of the variable that was set; otherwise ask for all that a text sets, and behind
    code that the text does not show (`effects.Verdict.calls`) for everything.
    """
    return not (facts.mariadb and facts.version >= _MISNAMING)


def value_text(name: bytes, value: bytes | None) -> bytes:
    """What stands behind the equals sign to give a variable this value, in every sql_mode and character set."""
    if value is None or (not value and name in _NULLABLE):
        return b"NULL"
    if name == b"system_versioning_asof" and value == b"DEFAULT":
        return value
    if _NUMBER(value) is not None and name not in _TEXTS:
        return value
    return quoted(value)


def question(names: Iterable[bytes]) -> bytes:
    """A query for the values of variables of the session: one row, in their order. `names` must not be empty.

    There is no row where the session's sql_select_limit is 0.
    """
    return b"SELECT " + b", ".join(b"@@SESSION." + _checked(name) for name in names)


def set_statement(settings: Mapping[bytes, bytes | None], variables: Mapping[bytes, bytes] | None = None) -> bytes:
    """The SET that gives system variables these values, and user variables these constants (see `constants`).

    Raises `ValueError` for a name that is none, and when there is nothing to set.
    """
    items = [b"@@SESSION.%b = %b" % (_checked(name), value_text(name, settings[name])) for name in in_order(settings)]
    items += [b"@`%b` = %b" % (name, value) for name, value in sorted((variables or {}).items())]
    if not items:
        raise ValueError("nothing to set")
    return b"SET " + b", ".join(items)


def in_order(names: Iterable[bytes]) -> list[bytes]:
    """What sets others along comes before them; autocommit last: it may begin a transaction."""
    return sorted(names, key=_rank)


_SECONDS: Final = frozenset(_PAIRS.values())


def _rank(name: bytes) -> tuple[int, bytes]:
    return (2 if name == b"autocommit" else 1 if name in _SECONDS else 0), name


def _checked(name: bytes) -> bytes:
    if _NAME(name) is None:
        raise ValueError(f"not the name of a variable: {name!r}")
    return name
