"""Clients that leave in every way, and cancels (rows 20, 76 to 78, 81, 82)."""

from tests.compare.runner import Script, drops, is_cancelled, leaves, says
from tests.servers.rawclient import SYNC, bind, describe, execute, parse, query

BEFORE = ("DROP TABLE IF EXISTS parted", "CREATE TABLE parted (a int)")
INSERT = parse("", "INSERT INTO parted VALUES (1)") + bind() + describe("P") + execute()
COUNT = "SELECT count(*) FROM parted"

ENDINGS = (
    Script(
        "a lock is free when its owner has said good-bye",
        (20,),
        (
            says("A", "SELECT pg_advisory_lock(77)"),
            leaves("A"),
            says("B", "SELECT pg_advisory_lock(77)"),
            says("B", "SELECT pg_advisory_unlock(77)"),
        ),
    ),
    Script(
        "a lock is free when its owner has vanished",
        (20,),
        (
            says("A", "SELECT pg_advisory_lock(78)"),
            drops("A", rudely=True),
            says("B", "SELECT pg_advisory_lock(78)"),
            says("B", "SELECT pg_advisory_unlock(78)"),
        ),
    ),
    Script(
        "who vanishes in a transaction has done nothing",
        (76,),
        (
            says("A", "BEGIN"),
            says("A", "INSERT INTO parted VALUES (1)"),
            drops("A"),
            says("B", COUNT),
            says("B", "LOCK TABLE parted; INSERT INTO parted VALUES (2)"),
            says("B", COUNT),
        ),
        before=BEFORE,
    ),
    Script(
        "who vanishes in a failed transaction leaves nothing of it",
        (76,),
        (says("A", "BEGIN"), says("A", "SELECT 1/0"), drops("A"), says("B", "SELECT 1"), says("A", "SELECT 2")),
    ),
    Script(
        "who vanishes while a large row is on its way",
        (77,),
        (
            says("A", "SELECT repeat('x', 20000000)", ready=-1),
            drops("A", rudely=True),
            says("B", "SELECT 1"),
            says("A", "SELECT 2"),
        ),
    ),
    Script(
        "half a message and gone",
        (78,),
        (
            drops("A", query("INSERT INTO parted VALUES (1)")[:-3]),
            says("B", COUNT),
            drops("A", INSERT, SYNC[:2]),
            says("B", COUNT),
            drops("A", query("BEGIN"), INSERT, SYNC, query("COMMIT")[:-1]),
            says("B", COUNT),
        ),
        before=BEFORE,
    ),
    Script(
        "a copy that is never finished stores nothing",
        (78,),
        (
            drops("A", "COPY parted FROM STDIN", b"d\x00\x00\x00\x061\n"),
            says("B", COUNT),
            drops("A", "COPY parted FROM STDIN", b"d\x00\x00\x00\x061\n", b"d\x00\x00"),
            says("B", COUNT),
        ),
        before=BEFORE,
    ),
    Script(
        "a query is cancelled",
        (81,),
        (
            is_cancelled("A", "SELECT pg_sleep(60)"),
            says("A", "SELECT 1"),
            says("B", "SELECT 2"),
            is_cancelled("A", parse("", "SELECT pg_sleep(60)"), bind(), execute(), SYNC),
            says("A", "SELECT 3"),
        ),
    ),
    Script(
        "a query is cancelled inside a transaction",
        (81,),
        (
            says("A", "BEGIN"),
            is_cancelled("A", "SELECT pg_sleep(60)"),
            says("A", "SELECT 1"),
            says("A", "ROLLBACK"),
            says("B", "SELECT 2"),
        ),
    ),
    Script(
        "the rest of a text dies with its cancelled part",
        (81,),
        (
            is_cancelled("A", "INSERT INTO parted VALUES (1); SELECT pg_sleep(60); INSERT INTO parted VALUES (2)"),
            says("B", COUNT),
        ),
        before=BEFORE,
    ),
)
