"""What a session has set on its backends, as far as it follows the session; and what brings a backend into that state.

A backend is brought into another session's state by the server itself: COM_RESET_CONNECTION undoes whatever was left
there, known or not, and then this session's own settings are made. So nothing has to be known of what others did.
"""

from __future__ import annotations

import functools
import re
import weakref
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Final

import attrs

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.lexer import Facts
from rdsp_codecs.mysql.setting_text import PINNED
from rdsp_codecs.mysql.settings import NOT_KEPT, in_order, names_are_reported, value_text
from rdsp_codecs.mysql.trackers import Changes
from rdsp_codecs.mysql.tracking import VIRTUAL

if TYPE_CHECKING:
    from rdsp_codecs.mysql.state import MySqlState

TRACKING: Final = (
    b"SET SESSION session_track_schema=ON,session_track_system_variables='*',session_track_state_change=ON,"
    b"session_track_transaction_info='CHARACTERISTICS'"
)
"""What every backend is asked to report, with no space or word more: the session's own variables follow."""

_NUMBER: Final = re.compile(rb"-?[0-9]{1,20}(?:\.[0-9]{1,20})?")
_PLAIN: Final = re.compile(rb"[A-Za-z0-9_:,.+\-/ =]*")
_NAME: Final = re.compile(rb"[a-z][a-z0-9_]{1,63}(?:\.[a-z][a-z0-9_]{1,63})?")
_LONGEST: Final = 4096
"""Bytes of a value that follows its session."""
MOST_VARIABLES: Final = 200
"""User variables that follow a session."""
_CONNECTION: Final = b"character_set_connection"
COLLATION: Final = b"collation_connection"
RESULTS: Final = b"character_set_results"
_MODE: Final = b"sql_mode"
_BY_LOGIN: Final = (
    (c.CLIENT_IGNORE_SPACE, b"SESSION sql_mode = CONCAT(@@sql_mode, ',IGNORE_SPACE')"),
    (c.CLIENT_INTERACTIVE, b"SESSION wait_timeout = @@interactive_timeout"),
)
WORDS: Final = frozenset(
    b"character_set_client character_set_results character_set_connection collation_connection autocommit sql_mode"
    b" time_zone tx_isolation transaction_isolation tx_read_only transaction_read_only lc_time_names optimizer_switch"
    b" sql_safe_updates foreign_key_checks unique_checks sql_big_selects sql_notes sql_warnings"
    b" sql_auto_is_null sql_quote_show_create low_priority_updates".split()
)
"""Variables whose values are words: what a text gives them is what a server reports."""
NUMBERS: Final = frozenset(
    b"wait_timeout interactive_timeout net_read_timeout net_write_timeout lock_wait_timeout innodb_lock_wait_timeout"
    b" group_concat_max_len sql_select_limit max_statement_time max_execution_time div_precision_increment"
    b" default_week_format auto_increment_increment auto_increment_offset max_sort_length sort_buffer_size"
    b" join_buffer_size tmp_table_size max_heap_table_size cte_max_recursion_depth max_recursive_iterations".split()
)
"""The same of numbers."""
SWITCHES: Final = frozenset(
    b"autocommit tx_read_only transaction_read_only sql_safe_updates foreign_key_checks unique_checks sql_big_selects"
    b" sql_notes sql_warnings sql_auto_is_null sql_quote_show_create low_priority_updates".split()
)
"""Those of WORDS that are reported as ON and OFF."""
NOISE: Final = frozenset({b"statement_id", b"last_gtid", b"last_insert_id", b"identity"})
"""They are no settings: MariaDB reports the first two with every statement, and the server is asked for the others."""
STAYING: Final = frozenset({*NOT_KEPT, *PINNED}) - NOISE | frozenset(
    b"timestamp default_collation_for_utf8mb4 character_set_collations wsrep_on sql_log_bin query_cache_type"
    b" pseudo_slave_mode session_track_gtids".split()
)
"""Variables that cannot be set on another backend to what they are here, or must not."""
OF_SCHEMA: Final = frozenset({b"character_set_database", b"collation_database"})
"""They follow the current database."""


def can_follow(name: bytes, value: bytes | None) -> bool:
    """Whether a variable can be set to that on any backend."""
    return (
        name not in STAYING
        and name not in VIRTUAL
        and _NAME.fullmatch(name) is not None
        and (value is None or len(value) <= _LONGEST)
    )


def told_by_text(name: bytes, value: bytes | None) -> bytes | None:
    """The value to which a text sets a variable, as a server would report it; None where that is not plain."""
    if value is None or value.upper() in (b"DEFAULT", b"NULL"):
        return None
    if name in NUMBERS:
        return value if _NUMBER.fullmatch(value) is not None else None
    if name not in WORDS:
        return None
    if len(value) > 1 and value[:1] in b"'\"" and value[:1] == value[-1:]:
        value = value[1:-1]
    if value.isdigit():
        value = {b"0": b"OFF", b"1": b"ON"}.get(value, b"") if name in SWITCHES else b""
    if name.startswith((b"character_set_", b"collation_")):
        value = value.lower()
    return value if value and _PLAIN.fullmatch(value) is not None else None


@attrs.frozen(eq=False, weakref_slot=True)
class Settings:
    """What a session has beyond its login. Made by `Interned` alone: equal ones are the same object.

    Attributes:
        schema: the current database, None while it is the login's.
        variables: names and values, in the order in which they are to be set.
        user: user variables, and constants.
        names: the item of a SET that has given character_set_results its collation, which no variable tells; b"": it
            has the one that goes with its value.
        multi: several statements in one text are allowed.
    """

    schema: bytes | None
    variables: tuple[tuple[bytes, bytes | None], ...]
    multi: bool
    user: tuple[tuple[bytes, bytes], ...] = ()
    names: bytes = b""

    @property
    def setting(self) -> bytes:
        """The SQL that has a server report what it does and makes these settings."""
        parts = [TRACKING]
        if self.names:
            parts.append(self.names)
        for name, value in self.variables:
            if name != RESULTS or not self.names:
                parts.append(name + b"=" + value_text(name, value))
        parts += [b"@`%b`=%b" % one for one in self.user]
        return b",".join(parts)


class Interned:
    """One pool's settings.

    Attributes:
        login: what its backends have from the beginning.
        lacks_reset: a server did not know COM_RESET_CONNECTION.
    """

    def __init__(self) -> None:
        self._known: weakref.WeakValueDictionary[object, Settings] = weakref.WeakValueDictionary()
        self.login = self.made(None, {}, multi=True)
        self.lacks_reset = False

    def made(
        self,
        schema: bytes | None,
        variables: Mapping[bytes, bytes | None],
        *,
        multi: bool,
    ) -> Settings:
        """The one object for these."""
        return self._interned(Settings(schema, _ordered(variables), multi))

    def _interned(self, made: Settings) -> Settings:
        key = made.schema, made.variables, made.multi, made.user, made.names
        return self._known.setdefault(key, made)

    def multi(self, settings: Settings, *, multi: bool) -> Settings:
        """The same with that."""
        return self._interned(attrs.evolve(settings, multi=multi))

    def named(self, settings: Settings, names: bytes) -> Settings:
        """The same with that."""
        return self._interned(attrs.evolve(settings, names=names))

    def with_user(self, settings: Settings, given: Mapping[bytes, bytes | None]) -> tuple[Settings, set[bytes]]:
        """The same with user variables; and those among them that cannot follow."""
        user, lost = dict(settings.user), set[bytes]()
        for name, value in given.items():
            user.pop(name, None)
            if value is None or len(value) > _LONGEST or len(user) >= MOST_VARIABLES:
                lost.add(name)
            else:
                user[name] = value  # also NULL: MySQL tells a variable that has it from one that is not there, by types
        return self._interned(attrs.evolve(settings, user=tuple(sorted(user.items())))), lost

    def told(self, settings: Settings, given: Mapping[bytes, bytes | None]) -> tuple[Settings, bytes]:
        """The same with these values, as the server has said them; and the name of one that can't follow, b""."""
        variables, lost = dict(settings.variables), b""
        for name, value in given.items():
            if can_follow(name, value):
                variables[name] = value
            else:
                lost = name
        return self._interned(attrs.evolve(settings, variables=_ordered(variables))), lost

    def unreported(
        self, settings: Settings, meant: Mapping[bytes, bytes | None], reported: Container[bytes]
    ) -> tuple[Settings, list[bytes]]:
        """The same behind a text that set what it `meant`, and of which the server has `reported` less; and the names
        of those that the server must be asked for.

        MariaDB is silent about `SET @@name = ...`, and about the collation of SET NAMES.
        """
        silent = [name for name in meant if name not in reported and name not in NOISE]
        if not silent:
            return settings, []
        variables, unknown = dict(settings.variables), []
        for name in silent:
            value = told_by_text(name, meant[name])
            if value is not None:
                variables[name] = value
            elif name != COLLATION or _CONNECTION not in reported or meant.get(_CONNECTION) is None:
                unknown.append(name)
        return self._interned(attrs.evolve(settings, variables=_ordered(variables))), unknown

    def changed(self, settings: Settings, changes: Changes) -> tuple[Settings, bytes]:
        """What the settings are behind an answer that reports `changes`; and the name of one that can't follow, b""."""
        if not changes.variables and changes.schema is None:
            return settings, b""
        variables, lost = dict(settings.variables), b""
        if any(name == _CONNECTION for name, _ in changes.variables):
            variables.pop(COLLATION, None)  # a character set brings its own
        names = b"" if any(name == RESULTS for name, _ in changes.variables) else settings.names
        for name, value in changes.variables:
            if name in NOISE or name in VIRTUAL or (name in OF_SCHEMA and changes.schema is not None):
                continue
            if can_follow(name, value):
                variables[name] = value
            else:
                lost = name
        schema = settings.schema if changes.schema is None else changes.schema
        made = attrs.evolve(settings, schema=schema, variables=_ordered(variables), names=names)
        return self._interned(made), lost


def _ordered(variables: Mapping[bytes, bytes | None]) -> tuple[tuple[bytes, bytes | None], ...]:
    return tuple([(name, variables[name]) for name in in_order(variables)])


def facts(state: MySqlState, settings: Settings) -> Facts:
    """What a text is read by on a backend that has these settings."""
    own = dict(settings.variables)
    values = {**state.baseline, **own}
    if _CONNECTION in own and COLLATION not in own:
        values.pop(COLLATION, None)  # the character set has brought one that nobody has told
    modes = (values.get(b"sql_mode") or b"").upper().split(b",")
    version = state.server_parameters["server_version"]
    return Facts(
        version_number(version),
        mariadb="mariadb" in version.lower(),
        ansi_quotes=b"ANSI_QUOTES" in modes,
        no_escapes=b"NO_BACKSLASH_ESCAPES" in modes,
        oracle=b"ORACLE" in modes,
        multi=settings.multi,
        client=values.get(b"character_set_client") or b"",
        connection=values.get(b"character_set_connection") or b"",
        collation=values.get(b"collation_connection") or b"",
    )


def misnames(state: MySqlState) -> bool:
    """Whether its reports name other variables than those that were set."""
    return _misnames(state.server_parameters["server_version"])


@functools.lru_cache(maxsize=64)
def _misnames(version: str) -> bool:
    return not names_are_reported(Facts(version_number(version), mariadb="mariadb" in version.lower()))


def version_number(version: str) -> int:
    """As executable comments have it: 101119 is 10.11.19. MariaDB's may stand behind a "5.5.5-"."""
    numbers = re.match(r"(?:5\.5\.5-)?(\d+)\.(\d+)\.(\d+)", version)
    if numbers is None:
        return 0
    major, minor, patch = (int(number) for number in numbers.groups())
    return major * 10000 + minor * 100 + patch


def _by_login(state: MySqlState) -> list[bytes]:
    """What the login has set, by its collation and its flags, and a reset forgets. MariaDB's keeps the collation."""
    made = [text for flag, text in _BY_LOGIN if state.capabilities & flag]
    charset, collation = (state.baseline.get(name) for name in (b"character_set_client", COLLATION))
    if charset and collation and "mariadb" not in state.server_parameters["server_version"].lower():
        made.insert(0, b"NAMES '%s' COLLATE '%s'" % (charset, collation))
    return made


def resets(
    settings: Settings, init_query: bytes, database: bytes, state: MySqlState, *, by_command: bool = True
) -> list[tuple[int, bytes]]:
    """The commands that make any backend one of these settings, in order; each must be answered by OK or rows.

    Args:
        settings: what is wanted.
        init_query: see `RelayPolicy.init_query`.
        database: the login's; b"": there is none, and `settings` has one or the backend never had any.
        state: of the backend. Who has set no sql_mode is read by the one that the backend began with; a reset makes it
            the default of now.
        by_command: False for a new backend of a server without COM_RESET_CONNECTION.
    """
    flags = state.capabilities
    prefix = b"\0\1" if flags & c.CLIENT_QUERY_ATTRIBUTES else b""
    commands = [(r.COM_RESET_CONNECTION, b"")] if by_command else []
    if by_login := _by_login(state):
        commands.append((r.COM_QUERY, prefix + b"SET " + b", ".join(by_login)))
    schema = database if settings.schema is None else settings.schema
    if schema:
        commands.append((r.COM_INIT_DB, schema))
    # Several statements may be allowed now or not; init_query may be several.
    commands.append((r.COM_SET_OPTION, b"\0\0"))
    if by_command and state.init_connect:
        commands.append((r.COM_QUERY, prefix + state.init_connect))
    if init_query:
        commands.append((r.COM_QUERY, prefix + init_query))
    setting, mode = settings.setting, state.baseline.get(_MODE)
    if mode is not None and not any(name == _MODE for name, _ in settings.variables):
        setting += b"," + _MODE + b"=" + value_text(_MODE, mode)
    commands.append((r.COM_QUERY, prefix + setting))
    if not settings.multi:
        commands.append((r.COM_SET_OPTION, b"\1\0"))
    return commands
