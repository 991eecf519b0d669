"""T-SQL's functions and system variables, as SQLite calls them: those of values, and those that a session answers."""

from __future__ import annotations

import datetime
import json
import uuid
from collections.abc import Callable
from typing import Any, Final

from rdsp_codecs.sqlserver.lexer import tokens
from rdsp_codecs.sqlserver.types import TypeInfo
from rdsp_codecs.testing.sqlserver import declared as d
from rdsp_codecs.testing.sqlserver.names import procedure_key, table_name
from rdsp_codecs.testing.sqlserver.state import NAME, PROGRAM, State
from rdsp_codecs.testing.sqlserver.statements import SqlError

Function = Callable[..., Any]
_VERSION_TEXT: Final = f"{PROGRAM} 2022 (RTM) - 16.0.4096.0 (rdsp's reference server)"
_PROPERTIES: Final = {
    "PRODUCTVERSION": "16.0.4096.0",
    "PRODUCTLEVEL": "RTM",
    "EDITION": "Developer Edition (64-bit)",
    "ENGINEEDITION": 3,
    "SERVERNAME": NAME,
    "COLLATION": "SQL_Latin1_General_CP1_CI_AS",
    "ISCLUSTERED": 0,
    "MACHINENAME": NAME,
}


def functions(state: State) -> dict[str, Function]:
    """By the names that `translating` gives them."""
    return {
        **_VALUES,
        "_system": lambda name: _system(state, name),
        "_session": lambda name: _SESSION[name](state) if name in _SESSION else state.options.numbers[name],
        "_call": lambda name, *values: _call(state, name, *values),
    }


def type_of(name: str) -> TypeInfo:
    """A type by its name."""
    return d.read_type_name(tuple(tokens(name)), 0)[0]


def _cast(value: Any, name: str) -> Any:
    return d.converted(value, type_of(name))


def _divisor(value: Any) -> Any:
    if value == 0:
        raise SqlError(8134, "Divide by zero error encountered.")
    return value


def _length(value: Any) -> int | None:
    return None if value is None else len(value.rstrip(" ") if isinstance(value, str) else str(value))


def _data_length(value: Any) -> int | None:
    if value is None:
        return None
    return 2 * len(value) if isinstance(value, str) else len(value) if isinstance(value, bytes) else 4


def _nothing_of_nothing(function: Function) -> Function:
    return lambda *values: None if None in values else function(*values)


_VALUES: Final[dict[str, Function]] = {
    "_cast": _cast,
    "_divisor": _divisor,
    "_len": _length,
    "_datalength": _data_length,
    "_now": datetime.datetime.now,
    "_newid": uuid.uuid4,
    "_left": _nothing_of_nothing(lambda text, count: str(text)[:count]),
    "_right": _nothing_of_nothing(lambda text, count: str(text)[-count:] if count else ""),
    "_replicate": _nothing_of_nothing(lambda text, count: text * count),
    "_space": _nothing_of_nothing(lambda count: " " * count),
    "_concat": lambda *values: "".join("" if value is None else str(value) for value in values),
    "_charindex": _nothing_of_nothing(
        lambda what, text, *at: text.lower().find(what.lower(), *(n - 1 for n in at)) + 1
    ),
}


_SESSION: Final[dict[str, Callable[[State], Any]]] = {
    "isolation": lambda s: s.options.isolation,
    "user": lambda s: s.login.user,
    "host": lambda s: s.login.host,
    "application": lambda s: s.login.application,
    "language": lambda s: s.options.language,
    "date_format": lambda s: s.options.date_format,
    "context_info": lambda s: s.options.context_info or None,
    "database": lambda s: s.database,
    "database_id": lambda s: s.server.databases.index(s.database) + 1,
    "databases": lambda s: json.dumps(s.server.databases),
}


def _system(state: State, name: str) -> Any:
    try:
        return _SYSTEM[name](state)
    except KeyError:
        raise SqlError(137, f'Must declare the scalar variable "{name}".', severity=15, aborts_batch=True) from None


_SYSTEM: Final[dict[str, Callable[[State], Any]]] = {
    "@@TRANCOUNT": lambda s: s.transactions.count,
    "@@SPID": lambda s: s.spid,
    "@@ROWCOUNT": lambda s: s.rows,
    "@@ERROR": lambda s: s.error,
    "@@IDENTITY": lambda s: s.identity,
    "@@OPTIONS": lambda s: s.options.bits,
    "@@NESTLEVEL": lambda s: s.frame.level,
    "@@VERSION": lambda s: _VERSION_TEXT,
    "@@SERVERNAME": lambda s: NAME,
    "@@LANGUAGE": lambda s: s.options.language,
    "@@LANGID": lambda s: 0,
    "@@DATEFIRST": lambda s: s.options.numbers["DATEFIRST"],
    "@@LOCK_TIMEOUT": lambda s: s.options.numbers["LOCK_TIMEOUT"],
    "@@TEXTSIZE": lambda s: s.options.numbers["TEXTSIZE"],
    "@@MAX_CONNECTIONS": lambda s: 32767,
    "@@MAX_PRECISION": lambda s: 38,
    "@@MICROSOFTVERSION": lambda s: 0x10001000,
    "@@FETCH_STATUS": lambda s: -1,
    "@@PROCID": lambda s: 0,
    "@@DBTS": lambda s: bytes(8),
    "@@CURSOR_ROWS": lambda s: 0,
}


def _call(state: State, name: str, *values: Any) -> Any:
    return _CALLS[name](state, *values)


def _error(state: State, attribute: str) -> Any:
    if not state.frame.errors:
        return None
    error, line = state.frame.errors[-1]
    return line if attribute == "line" else getattr(error, attribute)


def _context(state: State, key: str) -> Any:
    return state.context.get(key, (None, False))[0]


def _object_id(state: State, name: str, *kinds: str) -> int | None:
    parts = [part.strip('[]"') for part in name.split(".")]
    if procedure_key(state, parts) in state.server.procedures:
        return 1 + hash(parts[-1].lower()) % 0x7FFFFFF0
    return 1 + hash(name.lower()) % 0x7FFFFFF0 if state.data.columns(table_name(state, parts)) else None


_CALLS: Final[dict[str, Callable[..., Any]]] = {
    "DB_NAME": lambda s, *of: s.database if not of else s.server.databases[of[0] - 1],
    "DB_ID": lambda s, *of: s.server.databases.index(s.server.database(of[0] if of else s.database)) + 1,
    "SUSER_SNAME": lambda s, *of: s.user,
    "SUSER_NAME": lambda s, *of: s.user,
    "ORIGINAL_LOGIN": lambda s: s.login.user,
    "USER_NAME": lambda s, *of: s.role or ("dbo" if not s.users else s.users[-1]),
    "SCHEMA_NAME": lambda s, *of: "dbo",
    "APP_NAME": lambda s: s.login.application,
    "HOST_NAME": lambda s: s.login.host,
    "SCOPE_IDENTITY": lambda s: s.frame.identity,
    "XACT_STATE": lambda s: -1 if s.transactions.doomed else int(s.transactions.count > 0),
    "CURRENT_TRANSACTION_ID": lambda s: int.from_bytes(s.transactions.descriptor, "little"),
    "OBJECT_ID": _object_id,
    "SERVERPROPERTY": lambda s, name: _PROPERTIES.get(name.upper()),
    "DATABASEPROPERTYEX": lambda s, database, name: {"UPDATEABILITY": "READ_WRITE"}.get(name.upper()),
    "HAS_DBACCESS": lambda s, name: 1,
    "IS_SRVROLEMEMBER": lambda s, *of: 0,
    "SESSIONPROPERTY": lambda s, name: int(name.upper() in s.options.on),
    "SESSION_CONTEXT": _context,
    "CONTEXT_INFO": lambda s: s.options.context_info or None,
    "APPLOCK_MODE": lambda s, who, what, *of: (
        "Exclusive" if what in s.server.locks and s.server.locks[what].owner == s.spid else "NoLock"
    ),
    "ERROR_NUMBER": lambda s: _error(s, "number"),
    "ERROR_MESSAGE": lambda s: _error(s, "text"),
    "ERROR_SEVERITY": lambda s: _error(s, "severity"),
    "ERROR_STATE": lambda s: _error(s, "state"),
    "ERROR_LINE": lambda s: _error(s, "line"),
    "ERROR_PROCEDURE": lambda s: s.frame.procedure or None,
}
