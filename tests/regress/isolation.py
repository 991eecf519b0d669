"""Prepares a database for the isolation tests behind a proxy: tells the tester which of its sessions is blocked.

The tester asks the server, by the process id that it was told at login. Behind a proxy that is the proxy's own. So the
function that it asks is put aside, and one in its place finds the process at that moment by application_name, which
the tester sets to the test's and the session's name.
"""

from __future__ import annotations

import re
from pathlib import Path

_SESSION = re.compile(r'^\s*session\s+(?:"([^"]+)"|(\w+))', re.MULTILINE)

_FUNCTION = """\
SET allow_system_table_mods = on;
ALTER FUNCTION pg_catalog.pg_isolation_test_session_is_blocked(int, int[]) RENAME TO pg_isolation_test_native;
CREATE FUNCTION pg_catalog.pg_isolation_test_session_is_blocked(asked int, others int[]) RETURNS bool
LANGUAGE sql VOLATILE AS $$
    WITH sessions AS (
        SELECT number, pid
        FROM tester.sessions JOIN pg_catalog.pg_stat_activity
            ON application_name = 'isolation/' || test || '/' || name
        WHERE test = split_part(current_setting('application_name'), '/', 2)
    )
    SELECT coalesce(bool_or(pg_catalog.pg_isolation_test_native(
        pid, (SELECT pg_catalog.array_agg(pid) FROM sessions))), false)
    FROM sessions WHERE number = pg_catalog.array_position(others, asked)
$$;
"""


def session_names(spec: str) -> list[str]:
    """The sessions of a test, in the order in which the tester logs them in."""
    return [quoted or plain for quoted, plain in _SESSION.findall(spec)]


def preparation(specs: Path) -> str:
    """SQL that prepares a database for the tests in this folder."""
    rows = [
        f"('{spec.stem}', {number}, '{name}')"
        for spec in sorted(specs.glob("*.spec"))
        for number, name in enumerate(session_names(spec.read_text()), 1)
    ]
    return (
        "CREATE SCHEMA tester;\nCREATE TABLE tester.sessions (test text, number int, name text);\n"
        f"INSERT INTO tester.sessions VALUES {', '.join(rows)};\n{_FUNCTION}"
    )
