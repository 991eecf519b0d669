"""Definitions that a server leaves out, or says more in: each client gets those that it has asked for, and always its own.

Sessions share one backend, or have two; what each is told is compared, packet by packet, with a direct connection's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.login import CAPABILITIES
from tests.live.mysql.sidebyside import target
from tests.live.mysql.test_prepared import READ_ONLY_CURSOR, Pair
from tests.live.mysql.test_proxied_commands import BASE
from tests.servers.mysql import MySqlServer
from tests.servers.mysqlclient import MySqlClient
from tests.servers.proxy import ProxyProcess

SHAPES = {
    "classic": BASE | c.CLIENT_MULTI_STATEMENTS,
    "deprecated": BASE | c.CLIENT_MULTI_STATEMENTS | c.CLIENT_DEPRECATE_EOF,
}


@pytest.fixture(params=[1, 2], ids=["one backend", "two"])
def proxy(tracking: MySqlServer, request: pytest.FixtureRequest) -> Iterator[ProxyProcess]:
    with ProxyProcess.for_target(target(tracking), "--max-backends", str(request.param)) as proxy:
        yield proxy


Opens = Callable[[int], Pair]


@pytest.fixture
def opens(tracking: MySqlServer, proxy: ProxyProcess) -> Iterator[Opens]:
    with ExitStack() as stack:

        def open_pair(flags: int) -> Pair:
            pair = Pair(tracking, proxy, flags)
            stack.callback(pair.close)
            assert pair.proxied.flags & c.EQUAL & flags == pair.direct.flags & c.EQUAL & flags
            return pair

        yield open_pair


def _definitions(said: list[tuple[Part, object]]) -> int:
    return [part for part, *_ in said].count(Part.DEFINITION)


@pytest.mark.parametrize("shape", SHAPES)
def test_who_wants_no_definitions_gets_none_and_all_others_theirs(
    tracking: MySqlServer, opens: Opens, shape: str
) -> None:
    """MySQL's `resultset_metadata`: a setting of the session, which the backend has only while that has it."""
    if not tracking.version.startswith("mysql"):
        pytest.skip("MariaDB has no optional definitions")
    flags = SHAPES[shape] | c.CLIENT_OPTIONAL_RESULTSET_METADATA
    without, usual, plain = opens(flags), opens(flags), opens(SHAPES[shape])
    before = without.prepare(b"SELECT ?, 1 AS one")
    without.query(b"SET resultset_metadata = 'NONE'")
    behind = without.prepare(b"SELECT ?, 2 AS two, 'x' AS three")
    numbers = usual.prepare(b"SELECT ?, 1 AS one"), plain.prepare(b"SELECT ?, 1 AS one")
    for turn in range(4):
        assert not _definitions(without.query(b"SELECT %d, 'x'" % turn))
        assert _definitions(usual.query(b"SELECT %d, 'x'" % turn)) == 2
        assert _definitions(plain.query(b"SELECT %d, 'x'" % turn)) == 2
        for pair, number in zip((usual, plain), numbers, strict=True):
            assert _definitions(pair.execute(number, turn)) == 2
        for number in (before, behind):
            assert not _definitions(without.execute(number, turn))
        assert not _definitions(without.query(b"SELECT 1; SELECT 2; SELECT nothing"))
        assert _definitions(usual.query(b"SELECT 1; SELECT 2; SELECT nothing")) == 2
        without.execute(before, turn, cursor=READ_ONLY_CURSOR)
        without.number(r.COM_STMT_FETCH, before, (9).to_bytes(4, "little"))
        without.number(r.COM_STMT_RESET, before)
        without.query(b"SHOW VARIABLES LIKE 'resultset_metadata'")
        usual.query(b"SHOW VARIABLES LIKE 'resultset_metadata'")
    without.ask(r.COM_RESET_CONNECTION)
    assert _definitions(without.query(b"SELECT 1")) == 1
    without.query(b"SET SESSION resultset_metadata = NONE")
    assert not _definitions(without.query(b"SELECT 1"))
    # A client that has not said that it can do without them may not set it.
    assert plain.query(b"SET resultset_metadata = NONE")[0][0] is Part.ERR
    assert _definitions(plain.query(b"SELECT 1")) == 1


@pytest.mark.parametrize("shape", SHAPES)
def test_definitions_say_more_to_whom_they_are_to_say_more(tracking: MySqlServer, opens: Opens, shape: str) -> None:
    """MariaDB's extended metadata: names of types and formats, in the definitions of texts and prepared statements."""
    if not tracking.version.startswith("mariadb"):
        pytest.skip("MySQL has no extended definitions")
    more, usual = opens(SHAPES[shape] | c.MARIADB_CLIENT_EXTENDED_METADATA), opens(SHAPES[shape])
    assert more.proxied.flags & c.MARIADB_CLIENT_EXTENDED_METADATA
    with tracking.admin() as admin, admin.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS app.told_more")
        cursor.execute("CREATE TABLE app.told_more (j JSON, p POINT, i INET6, u UUID, n INT)")
        cursor.execute("INSERT INTO app.told_more (j, i, u, n) VALUES ('[1]', '::1', UUID(), 5)")
    text = b"SELECT j, p, i, u, n FROM told_more WHERE n = ?"
    numbers = [pair.prepare(text) for pair in (more, usual)]
    for turn in range(4):
        told = []
        for pair, number in zip((more, usual), numbers, strict=True):
            told.append(pair.query(b"SELECT j, p, i, u, n FROM told_more"))
            told.append(pair.execute(number, 5 + turn % 2))
            pair.ask(r.COM_FIELD_LIST, b"told_more\0%")
        assert b"json" in told[0][1][1]
        assert b"json" in told[1][1][1]
        assert b"json" not in told[2][1][1]
        assert b"json" not in told[3][1][1]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_server_that_remembers_definitions_is_never_asked_to(
    tracking: MySqlServer, proxy: ProxyProcess, opens: Opens, shape: str
) -> None:
    """MariaDB's cached metadata is not offered, nor agreed with who wants it all the same: all definitions come, and
    those of a table that was altered are the new ones.
    """
    flags = SHAPES[shape] | c.MARIADB_CLIENT_CACHE_METADATA
    pairs = [opens(SHAPES[shape]) for _ in range(2)]
    with MySqlClient(proxy.port, parameters={CAPABILITIES: str(flags)}) as asking:
        assert not asking.state.offered & c.MARIADB_CLIENT_CACHE_METADATA
        assert not asking.flags & c.MARIADB_CLIENT_CACHE_METADATA
        assert not c.agreed(asking.state.offered, flags) & c.MARIADB_CLIENT_CACHE_METADATA
    with tracking.admin() as admin, admin.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS app.remembered")
        cursor.execute("CREATE TABLE app.remembered (a INT)")
        numbers = [pair.prepare(b"SELECT * FROM remembered") for pair in pairs]
        for turn in range(5):
            for pair, number in zip(pairs, numbers, strict=True):
                for _ in range(2):
                    assert _definitions(pair.execute(number)) == 1 + turn
            cursor.execute(f"ALTER TABLE app.remembered ADD b{turn} VARCHAR(10)")
