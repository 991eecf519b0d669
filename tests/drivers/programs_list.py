"""The programs of the matrix, and for which reasons their sessions may be pinned."""

from __future__ import annotations

from rdsp_codecs.pins import PinReason
from tests.drivers.running import Program

# What each program really does that the protocol cannot carry to another backend; a reason that is not here is a fault.
PSYCOPG_SESSION = Program.python(
    "psycopg_session", PinReason.TEMPORARY_TABLE, PinReason.ADVISORY_LOCK, PinReason.LISTEN
)
POSTGRES_JS = Program.node("postgres")

PROGRAMS = (
    Program.psql(PinReason.TEMPORARY_TABLE, PinReason.ADVISORY_LOCK),
    Program.python("psycopg_sync", PinReason.HOLD_CURSOR, PinReason.TEMPORARY_TABLE),
    PSYCOPG_SESSION,
    PSYCOPG_SESSION.crowds(12),
    Program.python("psycopg_async"),
    Program.python("asyncpg_program", PinReason.LISTEN),
    Program.python("pg8000_program", PinReason.LISTEN),
    Program.node("pg", PinReason.LISTEN),
    POSTGRES_JS,
    POSTGRES_JS.crowds(6, PinReason.LISTEN),
    Program.java("Jdbc", PinReason.LISTEN),
    Program.python("sqlalchemy_program"),
    # Outside of transactions Django declares its server-side cursors WITH HOLD.
    Program.python("django_program", PinReason.HOLD_CURSOR),
)
