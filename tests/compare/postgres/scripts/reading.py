"""What a text says by settings that are only just changed, and what only looks like one name (pg_poolers.md 2.2, 17, 21).

Each hides something from who reads it by other rules than the server does. B sees whether it was found.
"""

from tests.compare.runner import Script, Step, says
from tests.servers.rawclient import SYNC, bind, execute, message, parse

B = says("B", "SELECT 1")
HIDDEN_BY_BACKSLASH = r"SELECT '\'', pg_advisory_lock(88) --'"
"""A lock where a backslash escapes, else a literal."""
HIDDEN_WITHOUT = r"SELECT '\', pg_advisory_lock(88) --'"
"""The other way round."""
HIDDEN_BY_ENCODING = b"SELECT E'\x83\\', pg_advisory_lock(88) --'"
"""A lock where 83 5C is one character."""
B_TRIES = says("B", "SELECT pg_try_advisory_lock(88)")
LONG, CUT = "x" * 70, "x" * 63


def shown(who: str, name: str) -> Step:
    return says(who, f"SELECT current_setting('{name}', true)")


def raw(text: bytes) -> bytes:
    """Query, of bytes in any encoding."""
    return message("Q", text + b"\0")


READING = (
    Script(
        "a text behind SET LOCAL of standard_conforming_strings",
        (21,),
        (
            says("A", "BEGIN", "SET LOCAL standard_conforming_strings = off", HIDDEN_BY_BACKSLASH, "COMMIT", ready=4),
            B_TRIES,
        ),
        (2,),
    ),
    Script(
        "a text behind the end of a SET LOCAL of standard_conforming_strings",
        (21,),
        (
            says("A", "BEGIN", "SET LOCAL standard_conforming_strings = off", ready=2),
            says("A", "COMMIT", HIDDEN_WITHOUT, ready=2),
            B_TRIES,
        ),
        (2,),
    ),
    Script(
        "a text behind a SET of client_encoding",
        (21,),
        (says("A", "SET client_encoding = 'SJIS'", raw(HIDDEN_BY_ENCODING), ready=2), B_TRIES),
        (2,),
    ),
    Script(
        "a text behind a RESET to an encoding that is read otherwise",
        (21,),
        (
            says("A", "SET client_encoding = 'UTF8'"),
            says("A", "RESET ALL", raw(HIDDEN_BY_ENCODING), ready=2),
            B_TRIES,
        ),
        (2,),
        start={"A": {"client_encoding": "SJIS"}},
    ),
    Script(
        "a query that comes as a parameter",
        (21,),
        (
            says(
                "A",
                parse("", "SELECT query_to_xml($1, true, false, '')"),
                bind("", "", (b"SELECT pg_advisory_lock(88)",)),
                execute(),
                SYNC,
            ),
            B_TRIES,
        ),
        (2,),
    ),
    Script(
        "a query that is put together",
        (21,),
        (says("A", "SELECT query_to_xml('SELECT pg_advisory' || '_lock(88)', true, false, '')"), B_TRIES),
        (2,),
    ),
    Script(
        "a name that is too long only in the server's encoding",
        (17,),
        (
            says("A", raw(f"BEGIN; SET long4.{'é' * 40} = 'v'; COMMIT".encode("latin-1"))),
            *(says(who, raw(f"SELECT current_setting('long4.{'é' * 31}', true)".encode("latin-1"))) for who in "BA"),
        ),
        (2,),
        start={who: {"client_encoding": "LATIN1", "client_min_messages": "error"} for who in "AB"},
    ),
    Script(
        "a name whose parameter is of a type that changes it",
        (17,),
        tuple(
            step
            for type_oid, name, found in ((1042, "app.padded   ", "app.padded"), (19, f"app.{LONG}", f"app.{'x' * 59}"))
            for step in (
                says(
                    "A",
                    parse("", "SELECT set_config($1, $2, false)", (type_oid, 25)),
                    bind("", "", (name.encode(), b"v")),
                    execute(),
                    SYNC,
                ),
                shown("B", found),
                shown("A", found),
            )
        ),
        (2,),
    ),
    Script(
        "a search_path that begins with pg_temp from the beginning",
        (18,),
        (
            says("A", "CREATE TABLE path_of_start (a int)"),
            says("B", "SELECT to_regclass('path_of_start')"),
            says("A", "SELECT count(*) FROM path_of_start"),
        ),
        (2,),
        start={key: {"search_path": "pg_temp"} for key in "AB"},
    ),
    Script(
        "a search_path that begins with pg_temp by options",
        (18,),
        (
            says("A", "CREATE TABLE path_of_options (a int)"),
            says("B", "SELECT to_regclass('path_of_options')"),
            says("A", "SELECT count(*) FROM path_of_options"),
        ),
        (2,),
        start={key: {"options": r"-csearch_path=\"pg\_temp\""} for key in "AB"},
    ),
    Script(
        "of a custom variable's name 63 bytes count",
        (17,),
        (
            says("A", f"BEGIN; SET long1.{LONG} = 'v'; COMMIT"),
            shown("B", f"long1.{CUT}"),
            shown("A", f"long1.{CUT}"),
            says("A", f"SET long1.{LONG}y = 'w'"),
            B,
            shown("A", f"long1.{CUT}"),
            says("A", f"SET long1.{CUT} = 'z'"),
            B,
            shown("A", f"long1.{CUT}"),
            says("A", f"SELECT set_config('long1.{LONG}', 'another', false)"),
            B,
            shown("A", f"long1.{LONG}"),
            says("A", f'RESET Long1."{LONG.upper()}"'),
            shown("A", f"long1.{CUT}"),
            shown("B", f"long1.{CUT}"),
        ),
    ),
    Script(
        "a local custom variable with a long name stays behind",
        (17,),
        (
            says("A", f'BEGIN; SET LOCAL "Long2".{LONG} = 1; COMMIT'),
            shown("B", f"long2.{CUT}"),
            shown("A", f"long2.{CUT}"),
        ),
    ),
    Script(
        "a long name that is cut between two characters",
        (17,),
        (
            says("A", f"BEGIN; SET long3.{'x' * 62}é = 'v'; COMMIT"),
            shown("B", f"long3.{'x' * 62}"),
            shown("A", f"long3.{'x' * 62}"),
        ),
        (2,),
    ),
)
