"""Pins: why a backend may not be given back at a boundary.

One table feeds the log line, the metric label and the reference page (docs/reference/pin-reasons.md).
"""

from __future__ import annotations

from enum import Enum, unique

import attrs


class PinUntil(Enum):
    """When a pin ends by itself."""

    SESSION = "the session ends"
    GONE = "what caused it is gone, or the session ends"


@attrs.frozen
class PinFacts:
    """One row of the table.

    Attributes:
        title: one line for logs: `Reason: <title>`, a full sentence.
        engines: names of the engines that can raise it.
        until: when the pin ends.
        advice: what a user can do about it, one or two sentences.
    """

    title: str
    engines: tuple[str, ...]
    until: PinUntil
    advice: str


@unique
class PinReason(Enum):
    """Every reason; the value is the stable code used by logs and metrics."""

    SESSION_SETTING = "session_setting"
    TEMPORARY_TABLE = "temporary_table"
    ADVISORY_LOCK = "advisory_lock"
    LISTEN = "listen"
    HOLD_CURSOR = "hold_cursor"
    SQL_PREPARED_STATEMENT = "sql_prepared_statement"
    STATEMENT_CONSTANT = "statement_constant"
    LOADED_LIBRARY = "loaded_library"
    RANDOM_SEED = "random_seed"
    SEQUENCE_STATE = "sequence_state"
    REPLICATION = "replication"
    FOREIGN_SESSION = "foreign_session"
    TABLE_LOCK = "table_lock"
    BACKUP_LOCK = "backup_lock"
    OPEN_HANDLER = "open_handler"
    USER_VARIABLE = "user_variable"
    UNRECOGNISED_STATE = "unrecognised_state"
    TEXT_PREPARED = "text_prepared"
    PREPARED_STATEMENT = "prepared_statement"
    NO_DATABASE = "no_database"
    DIAGNOSTICS = "diagnostics"
    NO_TRACKING = "no_tracking"
    CONNECTION_NUMBER = "connection_number"

    @property
    def facts(self) -> PinFacts:
        """The row of the table for this reason."""
        return PIN_TABLE[self]


PIN_TABLE: dict[PinReason, PinFacts] = {
    PinReason.SESSION_SETTING: PinFacts(
        "SQL changed session settings that the proxy can't track.",
        ("postgres", "mysql", "mariadb", "sqlserver"),
        PinUntil.SESSION,
        "Settings follow the session, and do not pin. This one was made by `set_config` with a computed name, by an "
        "extension's function or with another role's rights, or the server would not tell: name the setting in the "
        "text, or by a parameter of its own (`set_config($1, $2, false)`).",
    ),
    PinReason.TEMPORARY_TABLE: PinFacts(
        "SQL created or used temporary objects.",
        ("postgres", "mysql", "mariadb", "sqlserver"),
        PinUntil.GONE,
        "Drop them when they are done with, create tables with `ON COMMIT DROP` in a transaction, or use an ordinary "
        "(unlogged) table. MySQL and MariaDB: the proxy can tell that a table is gone if its definition said what "
        "columns it has and nothing of a query (`CREATE TEMPORARY TABLE t AS SELECT`), and it was not renamed.",
    ),
    PinReason.ADVISORY_LOCK: PinFacts(
        "SQL took a session-level advisory lock.",
        ("postgres", "mysql", "mariadb", "sqlserver"),
        PinUntil.GONE,
        "Unlock it soon, or use the transaction-level functions, `pg_advisory_xact_lock` and its kin. MySQL and "
        "MariaDB: the server is asked for locks whose name is a literal (`GET_LOCK('a', 1)`); with others, the pin "
        "ends with `SELECT RELEASE_ALL_LOCKS()`.",
    ),
    PinReason.LISTEN: PinFacts(
        "The session listens for notifications.",
        ("postgres",),
        PinUntil.GONE,
        "It lasts until the shared listener hears for the session. Where the quota has no place for one, give it more, "
        "or keep one connection for listening and use others for work.",
    ),
    PinReason.HOLD_CURSOR: PinFacts(
        "SQL declared a cursor that outlives its transaction.",
        ("postgres", "sqlserver"),
        PinUntil.GONE,
        "Close it, or declare it without `WITH HOLD` and read it inside the transaction.",
    ),
    PinReason.SQL_PREPARED_STATEMENT: PinFacts(
        "SQL named prepared statements in a way that the proxy can't follow.",
        ("postgres",),
        PinUntil.SESSION,
        "`PREPARE`, `EXECUTE` and `DEALLOCATE` follow the session, and do not pin. Here a name began with `rdsp_`, or "
        "what was prepared could not be told: one `PREPARE` of a name in one text.",
    ),
    PinReason.STATEMENT_CONSTANT: PinFacts(
        "A prepared statement has a constant that could not be read alike on another database connection.",
        ("postgres",),
        PinUntil.SESSION,
        "A server reads constants such as `'1.2.2020'::date` when a statement is prepared. This one holds the moment "
        "(`'now'`, `'today'`: use `now()`, `current_date`), or was prepared in a transaction behind `SET LOCAL "
        "DateStyle` or the like, or used after a change of `search_path` or role, too: set `DateStyle`, `TimeZone` and "
        "their kin first of all, or use parameters.",
    ),
    PinReason.LOADED_LIBRARY: PinFacts(
        "SQL loaded a library into the database connection.",
        ("postgres",),
        PinUntil.SESSION,
        "Load it for all connections (`session_preload_libraries`).",
    ),
    PinReason.RANDOM_SEED: PinFacts(
        "SQL set the seed of the random number generator.",
        ("postgres",),
        PinUntil.SESSION,
        "Call `setseed` and `random` in one statement of one transaction on a session of its own.",
    ),
    PinReason.CONNECTION_NUMBER: PinFacts(
        "SQL asked for the number of the database connection.",
        ("mysql", "mariadb"),
        PinUntil.SESSION,
        "What is done with `CONNECTION_ID()`, `@@pseudo_thread_id` or `PS_CURRENT_THREAD_ID()` would be wrong on "
        "another connection. Take the number that the driver has from the greeting (`thread_id()`): it is the "
        "session's own, and KILL takes it.",
    ),
    PinReason.SEQUENCE_STATE: PinFacts(
        "SQL used the session's memory of a sequence.",
        ("postgres", "mysql", "mariadb"),
        PinUntil.SESSION,
        "Use `INSERT ... RETURNING` instead of `currval` and `lastval`.",
    ),
    PinReason.REPLICATION: PinFacts(
        "The session replicates, or uses replication slots or origins.",
        ("postgres", "mysql", "mariadb"),
        PinUntil.SESSION,
        "Count one database connection for every replication connection. Call the functions for slots and origins on "
        "connections of their own.",
    ),
    PinReason.FOREIGN_SESSION: PinFacts(
        "SQL opened a named connection to another database.",
        ("postgres",),
        PinUntil.SESSION,
        "Use `postgres_fdw`, or unnamed `dblink` calls.",
    ),
    PinReason.TABLE_LOCK: PinFacts(
        "SQL locked tables.",
        ("mysql", "mariadb"),
        PinUntil.GONE,
        "`UNLOCK TABLES` soon, or use transactions and `SELECT ... FOR UPDATE`.",
    ),
    PinReason.BACKUP_LOCK: PinFacts(
        "SQL locked the server for a backup.",
        ("mysql", "mariadb"),
        PinUntil.GONE,
        "`UNLOCK INSTANCE` or `BACKUP STAGE END` soon; make backups on connections of their own.",
    ),
    PinReason.OPEN_HANDLER: PinFacts(
        "SQL opened a table by `HANDLER`.",
        ("mysql", "mariadb"),
        PinUntil.GONE,
        "`HANDLER ... CLOSE` soon, or use `SELECT`.",
    ),
    PinReason.USER_VARIABLE: PinFacts(
        "SQL gave a user variable a value that the proxy can't follow.",
        ("mysql", "mariadb"),
        PinUntil.GONE,
        "Variables that are set to literals (`SET @a = 'x'`) follow the session, and do not pin. Set it to one, or to "
        "`NULL`, when it is done with.",
    ),
    PinReason.UNRECOGNISED_STATE: PinFacts(
        "SQL may have changed the session in a way that the proxy doesn't know.",
        ("postgres", "mysql", "mariadb", "sqlserver"),
        PinUntil.SESSION,
        "Report the statement, so that it can be put on one of the lists.",
    ),
    PinReason.TEXT_PREPARED: PinFacts(
        "SQL prepared a statement by name.",
        ("mysql", "mariadb"),
        PinUntil.GONE,
        "`DEALLOCATE PREPARE` it when it is done with, or use the protocol's own prepared statements.",
    ),
    PinReason.PREPARED_STATEMENT: PinFacts(
        "A prepared statement has an open cursor, a parameter that was sent in parts, or a text of more than 1 MB.",
        ("mysql", "mariadb", "sqlserver"),
        PinUntil.GONE,
        "Prepared statements follow the session, and do not pin. Read cursors to their end or close them, and execute "
        "what was sent parameters in parts.",
    ),
    PinReason.NO_DATABASE: PinFacts(
        "The session dropped its current database.",
        ("mysql", "mariadb"),
        PinUntil.GONE,
        "`USE` another one: a database connection that had one cannot be made to have none.",
    ),
    PinReason.DIAGNOSTICS: PinFacts(
        "SQL reads what the statement before it has left (ROW_COUNT, FOUND_ROWS, SHOW WARNINGS).",
        ("mysql", "mariadb", "sqlserver"),
        PinUntil.SESSION,
        "Take counts and warnings from the protocol, where every driver has them, or ask inside of the transaction.",
    ),
    PinReason.NO_TRACKING: PinFacts(
        "The server does not report what a session changes, or cannot undo it.",
        ("mysql", "mariadb"),
        PinUntil.SESSION,
        "Servers do from MySQL 5.7 and MariaDB 10.2 on. With older ones allow as many database connections as clients "
        "work at the same time, and have clients close those that they do not use: each is the next client's then.",
    ),
}


class PinBoard:
    """The active pins of one session, in the order they came. Empty means: may be given back.

    Invariant: a reason stands at most once; its first detail is kept.
    """

    __slots__ = ("_active", "_fresh")

    def __init__(self) -> None:
        self._active: dict[PinReason, str] = {}
        self._fresh: list[PinReason] = []

    def __bool__(self) -> bool:
        return bool(self._active)

    def add(self, reason: PinReason, detail: str) -> bool:
        """Pin. `detail` is a digest or other text without literals. Returns whether the reason is new."""
        if reason in self._active:
            return False
        self._active[reason] = detail
        self._fresh.append(reason)
        return True

    def lift(self, reason: PinReason) -> bool:
        """Take a pin away. Returns whether it was there."""
        return self._active.pop(reason, None) is not None

    @property
    def has_fresh(self) -> bool:
        """Whether `fresh` has anything to tell."""
        return bool(self._fresh)

    def active(self) -> dict[PinReason, str]:
        """Reason to detail, oldest first; a copy."""
        return dict(self._active)

    def fresh(self) -> list[PinReason]:
        """The pins added since the last call."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def __repr__(self) -> str:
        return f"<PinBoard {' '.join(r.value for r in self._active) or 'free'}>"
