"""What a session has set on its backends, as far as it follows the session; and what brings a backend into that state.

A backend is brought into another session's state by the server itself: COM_RESET_CONNECTION undoes whatever was left
there, known or not, and then this session's own settings are made. So nothing has to be known of what others did.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Final

import attrs

from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.lexer import Facts
from rdsp_codecs.mysql.trackers import Changes

if TYPE_CHECKING:
    from rdsp_codecs.mysql.state import MySqlState

TRACKING: Final = (
    b"SET SESSION session_track_schema=ON,session_track_system_variables='*',session_track_state_change=ON,"
    b"session_track_transaction_info='CHARACTERISTICS'"
)
"""What every backend is asked to report, with no space or word more: the session's own variables follow."""

_WORD: Final = re.compile(rb"[A-Za-z0-9_:,.+\-/ =]*")
_NUMBER: Final = re.compile(rb"-?[0-9]{1,20}(?:\.[0-9]{1,20})?")

_CONNECTION: Final = b"character_set_connection"
_COLLATION: Final = b"collation_connection"
READ_BY: Final = (b"sql_mode", b"character_set_client", b"character_set_connection", b"collation_connection")
"""What a server reads texts by."""
_FIRST: Final = tuple(
    b"character_set_client character_set_results character_set_connection collation_connection".split()
)
"""These are set in this order: a character set brings its own collation with it."""
WORDS: Final = frozenset(_FIRST) | frozenset(
    b"autocommit sql_mode time_zone tx_isolation transaction_isolation tx_read_only transaction_read_only lc_time_names"
    b" optimizer_switch sql_safe_updates foreign_key_checks unique_checks sql_big_selects sql_notes sql_warnings"
    b" sql_auto_is_null sql_quote_show_create low_priority_updates".split()
)
"""Variables whose values are written as they are reported, in quotes."""
NUMBERS: Final = frozenset(
    b"wait_timeout interactive_timeout net_read_timeout net_write_timeout lock_wait_timeout innodb_lock_wait_timeout"
    b" group_concat_max_len sql_select_limit max_statement_time max_execution_time div_precision_increment"
    b" default_week_format auto_increment_increment auto_increment_offset max_sort_length sort_buffer_size"
    b" join_buffer_size tmp_table_size max_heap_table_size cte_max_recursion_depth max_recursive_iterations".split()
)
"""The same, without quotes."""
SWITCHES: Final = frozenset(
    b"autocommit tx_read_only transaction_read_only sql_safe_updates foreign_key_checks unique_checks sql_big_selects"
    b" sql_notes sql_warnings sql_auto_is_null sql_quote_show_create low_priority_updates".split()
)
"""Those of WORDS that are reported as ON and OFF."""
_RESULTS: Final = b"character_set_results"
_EMPTY: Final = (b"sql_mode", _RESULTS)
NOISE: Final = frozenset({b"statement_id", b"last_gtid"})
"""MariaDB reports them with every statement; they are no settings."""
OF_SCHEMA: Final = frozenset({b"character_set_database", b"collation_database"})
"""They follow the current database."""


def can_follow(name: bytes, value: bytes | None) -> bool:
    """Whether a variable can be set to that on any backend."""
    if value is None:
        return False
    if name in NUMBERS:
        return _NUMBER.fullmatch(value) is not None
    return name in WORDS and bool(value or name in _EMPTY) and _WORD.fullmatch(value) is not None


def _written(name: bytes, value: bytes) -> bytes:
    if name in NUMBERS:
        return value
    return b"'" + value + b"'" if value or name != _RESULTS else b"NULL"


def told_by_text(name: bytes, value: bytes | None) -> bytes | None:
    """The value to which a text sets a variable, as a server would report it; None where that is not plain."""
    if value is None or value.upper() == b"DEFAULT":
        return None
    if len(value) > 1 and value[:1] in b"'\"" and value[:1] == value[-1:]:
        value = value[1:-1]
    if name in WORDS and value.isdigit():
        value = {b"0": b"OFF", b"1": b"ON"}.get(value, b"") if name in SWITCHES else b""
    return value if can_follow(name, value) and value else None


@attrs.frozen(eq=False, weakref_slot=True)
class Settings:
    """What a session has beyond its login. Made by `Interned` alone: equal ones are the same object.

    Attributes:
        schema: the current database, None while it is the login's.
        variables: names and values, in the order in which they are to be set.
        multi: several statements in one text are allowed.
    """

    schema: bytes | None
    variables: tuple[tuple[bytes, bytes], ...]
    multi: bool

    @property
    def setting(self) -> bytes:
        """The SQL that has a server report what it does and makes these settings."""
        parts = [TRACKING]
        for name, value in self.variables:
            parts.append(name + b"=" + _written(name, value))
        return b",".join(parts)


class Interned:
    """One pool's settings. `login`: what its backends have from the beginning."""

    def __init__(self) -> None:
        self._known: weakref.WeakValueDictionary[object, Settings] = weakref.WeakValueDictionary()
        self.login = self.made(None, {}, multi=True)

    def made(self, schema: bytes | None, variables: Mapping[bytes, bytes], *, multi: bool) -> Settings:
        """The one object for these."""
        first = [(name, variables[name]) for name in _FIRST if name in variables]
        rest = sorted((name, value) for name, value in variables.items() if name not in _FIRST)
        key = schema, tuple(first + rest), multi
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = Settings(*key)
        return found

    def multi(self, settings: Settings, *, multi: bool) -> Settings:
        """The same with that."""
        return self.made(settings.schema, dict(settings.variables), multi=multi)

    def unreported(
        self, settings: Settings, meant: Mapping[bytes, bytes | None], reported: Container[bytes]
    ) -> tuple[Settings, bytes]:
        """The same behind a text that set what it `meant`, and of which the server has `reported` less.

        MariaDB is silent about `SET @@name = ...`, and about the collation of SET NAMES.
        """
        silent = [name for name in meant if name not in reported]
        if not silent:
            return settings, b""
        variables, lost = dict(settings.variables), b""
        for name in silent:
            value = told_by_text(name, meant[name])
            if value is not None:
                variables[name] = value.lower() if name == _COLLATION else value
            elif name != _COLLATION or _CONNECTION not in reported or meant.get(_CONNECTION) is None:
                lost = name
        return self.made(settings.schema, variables, multi=settings.multi), lost

    def changed(self, settings: Settings, changes: Changes) -> tuple[Settings, bytes]:
        """What the settings are behind an answer that reports `changes`; and the name of one that can't follow, b""."""
        if not changes.variables and changes.schema is None:
            return settings, b""
        variables, lost = dict(settings.variables), b""
        if any(name == _CONNECTION for name, _ in changes.variables):
            variables.pop(_COLLATION, None)  # a character set brings its own
        for name, value in changes.variables:
            if name in NOISE or (name in OF_SCHEMA and changes.schema is not None):
                continue
            if value is None or not can_follow(name, value):
                lost = name
            else:
                variables[name] = value
        schema = settings.schema if changes.schema is None else changes.schema
        return self.made(schema, variables, multi=settings.multi), lost


def facts(state: MySqlState, settings: Settings) -> Facts:
    """What a text is read by on a backend that has these settings."""
    values = {**state.baseline, **dict(settings.variables)}
    modes = values.get(b"sql_mode", b"").upper().split(b",")
    version = state.server_parameters["server_version"]
    return Facts(
        version_number(version),
        mariadb="mariadb" in version.lower(),
        ansi_quotes=b"ANSI_QUOTES" in modes,
        no_escapes=b"NO_BACKSLASH_ESCAPES" in modes,
        oracle=b"ORACLE" in modes,
        multi=settings.multi,
        client=values.get(b"character_set_client", b""),
        connection=values.get(b"character_set_connection", b""),
        collation=values.get(b"collation_connection", b""),
    )


def version_number(version: str) -> int:
    """As executable comments have it: 101119 is 10.11.19. MariaDB's may stand behind a "5.5.5-"."""
    numbers = re.match(r"(?:5\.5\.5-)?(\d+)\.(\d+)\.(\d+)", version)
    if numbers is None:
        return 0
    major, minor, patch = (int(number) for number in numbers.groups())
    return major * 10000 + minor * 100 + patch


def resets(settings: Settings, init_query: bytes, database: bytes, attributes: bool) -> list[tuple[int, bytes]]:
    """The commands that make any backend one of these settings, in order; each must be answered by OK or rows.

    Args:
        settings: what is wanted.
        init_query: see `RelayPolicy.init_query`.
        database: the login's; b"": there is none, and `settings` has one or the backend never had any.
        attributes: queries have room for attributes.
    """
    prefix = b"\0\1" if attributes else b""
    commands = [(r.COM_RESET_CONNECTION, b"")]
    schema = database if settings.schema is None else settings.schema
    if schema:
        commands.append((r.COM_INIT_DB, schema))
    # Several statements may be allowed now or not; init_query may be several.
    commands.append((r.COM_SET_OPTION, b"\0\0"))
    if init_query:
        commands.append((r.COM_QUERY, prefix + init_query))
    commands.append((r.COM_QUERY, prefix + settings.setting))
    if not settings.multi:
        commands.append((r.COM_SET_OPTION, b"\1\0"))
    return commands
