"""Two clients, interleaved, doing anything at all: through the proxy they must see what two direct connections see.

Hypothesis writes the steps. With two backends neither client can stand in the other's way, whatever it holds.
"""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from tests.compare.postgres.talking import Quiet, connector, talkers
from tests.compare.runner import Script, Step, run
from tests.live.naming_scripts import naming_scripts
from tests.servers.postgres import TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import (
    COPY_DONE,
    FLUSH,
    SYNC,
    bind,
    close,
    copy_data,
    describe,
    execute,
    message,
    parse,
    query,
)
from tests.waiting import PATIENCE, eventually

pytestmark = pytest.mark.live

NAMES = st.sampled_from(["", "", "s1", "s2"])
TEXTS = st.sampled_from(
    [
        "SELECT 1",
        "SELECT 'two'::text, 2",
        "SELECT 1/0",
        "SELEC",
        "",
        "INSERT INTO differs VALUES (1) RETURNING a",
        "SELECT count(*) FROM differs",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT a",
        "ROLLBACK TO a",
        "SET LOCAL work_mem = '3MB'",
        "SHOW work_mem",
        "SELECT generate_series(1, 3)",
        "DO $$ BEGIN RAISE NOTICE 'n'; END $$",
    ]
)
PINNING = st.sampled_from(
    [
        "SET work_mem = '5MB'",
        "RESET work_mem",
        "PREPARE s1 AS SELECT 'in sql'",
        "EXECUTE s1",
        "EXECUTE s2",
        "DEALLOCATE s1",
        "DEALLOCATE ALL",
        "DISCARD ALL",
        "SELECT set_config('work_mem', '6MB', false)",
        "SELECT set_config('work_mem', '7MB', true)",
        "CREATE TEMP TABLE IF NOT EXISTS t (a int)",
        "SELECT * FROM t",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "FETCH c",
        "SELECT pg_advisory_lock(5)::text, pg_advisory_unlock(5)",
        "SET app.custom = 'x'",
        "SHOW app.custom",
    ]
)
SEVERAL = st.lists(TEXTS, min_size=1, max_size=3).map("; ".join)
PARTS = st.one_of(
    st.builds(parse, NAMES, TEXTS),
    st.builds(lambda name, text: parse(name, text) + bind("", name) + execute(), NAMES, TEXTS),
    st.builds(lambda portal, name: bind(portal, name), st.sampled_from(["", "p"]), NAMES),
    st.builds(lambda name: bind("", name) + describe("P") + execute(), NAMES),
    st.builds(describe, st.sampled_from("SP"), NAMES),
    st.builds(execute, st.sampled_from(["", "p"]), st.sampled_from([0, 0, 1])),
    st.builds(close, st.sampled_from("SP"), NAMES),
    st.just(FLUSH),
)
BATCH = st.lists(PARTS, max_size=6).map(lambda parts: b"".join(parts) + SYNC)
COPY = st.sampled_from(
    [
        query("COPY differs FROM STDIN") + copy_data(b"7\n8\n") + COPY_DONE,
        query("COPY differs FROM STDIN") + copy_data(b"7\nx\n") + copy_data(b"9\n") + COPY_DONE,
        query("COPY differs FROM STDIN") + message("f", b"no\0"),
        query("COPY differs TO STDOUT"),
        query("COPY nothing FROM STDIN") + copy_data(b"7\n") + COPY_DONE,
        parse("", "COPY differs FROM STDIN") + bind() + execute() + copy_data(b"7\n") + COPY_DONE + SYNC,
        parse("", "COPY differs FROM STDIN") + bind() + execute() + copy_data(b"x\n") + COPY_DONE + SYNC,
    ]
)
ONE = st.one_of(TEXTS.map(query), TEXTS.map(query), SEVERAL.map(query), PINNING.map(query), BATCH, BATCH, COPY)
ANSWERED = st.lists(ONE, min_size=1, max_size=3).map(lambda ones: (b"".join(ones), len(ones)))
UNSYNCED = st.tuples(st.lists(PARTS, min_size=1, max_size=4).map(b"".join), st.lists(PARTS, max_size=3).map(b"".join))


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """A script of up to fourteen turns."""
    steps = []
    for _ in range(draw(st.integers(1, 14))):
        who = draw(st.sampled_from("AB"))
        if draw(st.integers(0, 5)) == 0:
            first, second = draw(UNSYNCED)
            steps.append(Step(who, (first,), ready=-1))
            steps.append(Step(who, (second + SYNC,)))
        else:
            data, ready = draw(ANSWERED)
            steps.append(Step(who, (data,), ready=ready))
    return Script("drawn", (), tuple(steps))


def compare(script: Script, server: TestServer, port: int) -> None:
    """Run a script on both.

    What makes the server itself break off, crash (15.18 does) or speak of a fault of its own (18 does) is no example.
    """
    crashes = _crashes(server)
    lines, quiet = [], Quiet()
    # A server that waits for its client, which waits for it (COPY data that never comes), is no example either.
    runs = ((server.port, quiet.directly, 3.0), (port, quiet.proxied, PATIENCE))
    for target, listen, seconds in runs:
        eventually(lambda: _make_table(server))
        try:
            lines.append(run(script, talkers(connector(target), listen=listen, seconds=seconds)))
        except OSError as error:
            lines.append([f"lost: {type(error).__bases__[0].__name__}"])
    internal = any("'C': 'XX000'" in line for line in lines[0])
    if internal or _crashes(server) > crashes or (lines[0] or [""])[0].startswith("lost"):
        eventually(lambda: _make_table(server))
        reject()
    assert lines[1] == lines[0]


def _crashes(server: TestServer) -> int:
    return server.log().count("was terminated by signal")


def _make_table(server: TestServer) -> bool:
    try:
        with server.admin("app") as admin:
            admin.execute("DROP TABLE IF EXISTS differs; CREATE TABLE differs (a int); GRANT ALL ON differs TO app")
    except psycopg.OperationalError:
        return False
    return True


KINDS = {"anything": scripts(), "names in SQL and in the protocol": naming_scripts()}


@pytest.mark.parametrize("examples", [80, pytest.param(800, marks=[pytest.mark.matrix, pytest.mark.timeout(1800)])])
@pytest.mark.parametrize("kind", KINDS)
def test_two_clients_see_what_two_direct_connections_see(
    postgres15: TestServer, two_backends: ProxyProcess, kind: str, examples: int
) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(script=KINDS[kind])
    def holds(script: Script) -> None:
        compare(script, postgres15, two_backends.port)

    holds()
