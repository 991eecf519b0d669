"""The programs of the matrix, and for which reasons their sessions may be pinned."""

from __future__ import annotations

from rdsp_codecs.pins import PinReason
from tests.drivers.running import Program

# What each program really does that the protocol cannot carry to another backend; a reason that is not here is a fault.
PSYCOPG = Program.python(
    "psycopg_sync",
    PinReason.SESSION_SETTING,
    PinReason.HOLD_CURSOR,
    PinReason.TEMPORARY_TABLE,
    PinReason.SQL_PREPARED_STATEMENT,
)
PSYCOPG_SESSION = Program.python(
    "psycopg_session",
    PinReason.SESSION_SETTING,
    PinReason.TEMPORARY_TABLE,
    PinReason.ADVISORY_LOCK,
    PinReason.LISTEN,
    PinReason.SQL_PREPARED_STATEMENT,
)
# psycopg itself sends DEALLOCATE ALL after DDL, ROLLBACK and ROLLBACK TO SAVEPOINT, once it has prepared anything.
PSYCOPG_ASYNC = Program.python("psycopg_async", PinReason.SQL_PREPARED_STATEMENT)
# asyncpg turns the JIT compiler off (set_config) while it looks types up.
ASYNCPG = Program.python("asyncpg_program", PinReason.LISTEN, PinReason.SESSION_SETTING)
PG8000 = Program.python("pg8000_program", PinReason.SESSION_SETTING, PinReason.LISTEN)
SQLALCHEMY = Program.python("sqlalchemy_program", PinReason.SESSION_SETTING)
# Django sets TimeZone (set_config) when it connects, unless the server reports what it wants.
DJANGO = Program.python("django_program", PinReason.SESSION_SETTING)
POSTGRES_JS = Program.node("postgres", PinReason.SESSION_SETTING)

PROGRAMS = (
    Program.psql(
        PinReason.SESSION_SETTING,
        PinReason.TEMPORARY_TABLE,
        PinReason.ADVISORY_LOCK,
        PinReason.SQL_PREPARED_STATEMENT,
    ),
    PSYCOPG,
    PSYCOPG.crowds(6, PinReason.SQL_PREPARED_STATEMENT),
    PSYCOPG_SESSION,
    PSYCOPG_SESSION.crowds(12, PinReason.SESSION_SETTING, PinReason.SQL_PREPARED_STATEMENT),
    PSYCOPG_ASYNC,
    PSYCOPG_ASYNC.crowds(12, PinReason.SQL_PREPARED_STATEMENT),
    ASYNCPG,
    ASYNCPG.crowds(6, PinReason.SESSION_SETTING),
    PG8000,
    Program.node("pg", PinReason.SESSION_SETTING, PinReason.LISTEN),
    POSTGRES_JS,
    POSTGRES_JS.crowds(6, PinReason.LISTEN),
    # pgjdbc says SET extra_float_digits and SET application_name for every new connection.
    Program.java("Jdbc", 12, PinReason.SESSION_SETTING, PinReason.LISTEN),
    SQLALCHEMY,
    DJANGO,
    DJANGO.crowds(12, PinReason.SESSION_SETTING, PinReason.HOLD_CURSOR, PinReason.SQL_PREPARED_STATEMENT),
    SQLALCHEMY.crowds(12, PinReason.SESSION_SETTING, PinReason.SQL_PREPARED_STATEMENT),
)
