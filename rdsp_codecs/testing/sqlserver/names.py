"""What names of tables and procedures are, in SQLite and on the server: databases and schemas are parts of them."""

from __future__ import annotations

from typing import Final

from rdsp_codecs.testing.sqlserver.state import State

_OWN: Final = "substr(name, length(_session('database')) + 6)"
_HERE: Final = "main.sqlite_master WHERE type = 'table' AND name LIKE lower(_session('database')) || '.dbo.%'"
VIEWS: Final = {
    "sys.dm_exec_sessions": (
        "SELECT _system('@@SPID') AS session_id, _session('isolation') AS transaction_isolation_level,"
        " _session('user') AS login_name, _session('user') AS original_login_name, _session('host') AS host_name,"
        " _session('application') AS program_name, _session('language') AS language,"
        " _session('date_format') AS date_format, _system('@@DATEFIRST') AS date_first,"
        " _system('@@TEXTSIZE') AS text_size, _system('@@LOCK_TIMEOUT') AS lock_timeout,"
        " _session('DEADLOCK_PRIORITY') AS deadlock_priority, _session('ROWCOUNT') AS row_count,"
        " _session('context_info') AS context_info, _system('@@TRANCOUNT') AS open_transaction_count,"
        " _session('database_id') AS database_id, 'running' AS status, 1 AS is_user_process"
    ),
    "sys.databases": (
        "SELECT key + 1 AS database_id, value AS name, 0 AS state, 'ONLINE' AS state_desc"
        " FROM json_each(_session('databases'))"
    ),
    "sys.tables": f"SELECT {_OWN} AS name FROM {_HERE}",
    "information_schema.tables": (
        "SELECT _session('database') AS TABLE_CATALOG, 'dbo' AS TABLE_SCHEMA,"
        f" {_OWN} AS TABLE_NAME, 'BASE TABLE' AS TABLE_TYPE FROM {_HERE}"
    ),
}
"""Views of every session."""


def table_name(state: State, parts: list[str]) -> str:
    """SQLite's name, in quotes, of the table with these parts of a name, the last one its own."""
    own = parts[-1].lower()
    if own.startswith("@"):
        return state.frame.tables.get(own, f'"{own}"')
    if own.startswith("#"):
        return f'"{own}"'
    if len(parts) > 1 and f"{parts[-2].lower()}.{own}" in VIEWS:
        return f'"{parts[-2].lower()}.{own}"'
    return '"' + _full(state, parts).replace('"', '""') + '"'


def procedure_key(state: State, parts: list[str]) -> str:
    """A procedure's name on the server."""
    return _full(state, parts)


def _full(state: State, parts: list[str]) -> str:
    database = parts[-3] if len(parts) > 2 and parts[-3] else state.database
    schema = parts[-2] if len(parts) > 1 and parts[-2] else "dbo"
    return f"{database}.{schema}.{parts[-1]}".lower()
