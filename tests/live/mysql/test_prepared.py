"""Binary prepared statements through the proxy, packet by packet as at the server, while sessions change backends."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.login import CAPABILITIES
from tests.live.mysql.sidebyside import target
from tests.servers.mysql import MySqlServer
from tests.servers.mysqlclient import MySqlClient
from tests.servers.proxy import ProxyProcess

BASE = c.CLIENT_MULTI_RESULTS | c.CLIENT_PS_MULTI_RESULTS
SHAPES = {
    "classic": BASE,
    "deprecated": BASE | c.CLIENT_DEPRECATE_EOF,
    "attributes": BASE | c.CLIENT_DEPRECATE_EOF | c.CLIENT_QUERY_ATTRIBUTES,
}
_PASSING = r.SERVER_STATUS_IN_TRANS | r.SERVER_STATUS_AUTOCOMMIT
_OF_RESULT = r.SERVER_STATUS_CURSOR_EXISTS | r.SERVER_STATUS_LAST_ROW_SENT | r.SERVER_STATUS_METADATA_CHANGED
READ_ONLY_CURSOR = 1
_CONFIGURATION = """
[[proxies]]
listen = "127.0.0.1:0"
target.url = "{target}"
target_group.max_backends = 1
{settings}
"""
LONGLONG, STRING, BLOB = 8, 253, 252


@pytest.fixture(params=[("classic", 1), ("deprecated", 1), ("deprecated", 2), ("attributes", 1)], ids=str)
def how(request: pytest.FixtureRequest, tracking: MySqlServer) -> tuple[str, int]:
    """The shape of the sessions, and how many backends they have."""
    if request.param[0] == "attributes" and tracking.version.startswith("mariadb"):
        pytest.skip("MariaDB has no attributes")
    shape, backends = request.param
    return shape, backends


@pytest.fixture
def proxy(tracking: MySqlServer, how: tuple[str, int]) -> Iterator[ProxyProcess]:
    with ProxyProcess.for_target(target(tracking), "--max-backends", str(how[1])) as proxy:
        yield proxy


def shown(heard: list[Any]) -> list[Any]:
    """Packets without what is a connection's own: trackers that nobody has asked for."""
    found: list[Any] = []
    for one in heard:
        status = one.status or 0
        if one.ok is not None:
            kept = status & (_PASSING | _OF_RESULT)
            found.append((one.part, one.ok.affected_rows, one.ok.warnings, one.ok.info or b"", kept))
        elif one.part is Part.EOF:
            found.append((one.part, status & (_PASSING | _OF_RESULT)))
        else:
            found.append((one.part, one.payload))
    return found


def _text(value: Any) -> bytes:
    data = value.encode() if isinstance(value, str) else bytes(value)
    return bytes((len(data),)) + data


class Pair:
    """A session at the server and one through the proxy."""

    def __init__(self, server: MySqlServer, proxy: ProxyProcess, flags: int) -> None:
        parameters = {CAPABILITIES: str(flags)}
        self.direct = MySqlClient(server.port, parameters=parameters)
        self.proxied = MySqlClient(proxy.port, parameters=parameters)
        self.direct_numbers: dict[int, int] = {}
        self.attributes = bool(self.direct.flags & c.CLIENT_QUERY_ATTRIBUTES)

    def ask(self, code: int, body: bytes = b"", number: int | None = None) -> list[Any]:
        """`number`: of the statement that is named by the first four bytes; servers count theirs beyond sessions."""
        theirs = body if number is None else self.direct_numbers.get(number, number).to_bytes(4, "little") + body[4:]
        said, meant = shown(self.proxied.ask(code, body)), shown(self.direct.ask(code, theirs))
        if code == r.COM_STMT_PREPARE and meant[0][0] is Part.PREPARED:
            own, number = meant[0][1], int.from_bytes(said[0][1][1:5], "little")
            self.direct_numbers[number] = int.from_bytes(own[1:5], "little")
            meant[0] = (Part.PREPARED, own[:1] + number.to_bytes(4, "little") + own[5:])
        elif number in self.direct_numbers:
            name, own = b"(%d)" % number, b"(%d)" % self.direct_numbers[number]
            meant = [(one[0], one[1].replace(own, name)) if one[0] is Part.ERR else one for one in meant]
        assert said == meant, (code, body[:100])
        return said

    def query(self, text: bytes) -> list[Any]:
        return self.ask(r.COM_QUERY, (b"\0\1" if self.attributes else b"") + text)

    def once(self, text: bytes) -> None:
        """Run it at the server alone, which both sides see."""
        self.direct.ask(r.COM_QUERY, (b"\0\1" if self.attributes else b"") + text)

    def prepare(self, text: bytes) -> int:
        """Its number through the proxy."""
        said = self.ask(r.COM_STMT_PREPARE, text)
        assert said[0][0] is Part.PREPARED, said
        return int.from_bytes(said[0][1][1:5], "little")

    def execute(
        self, number: int, *values: Any, types: bool = True, cursor: int = 0, skip: tuple[int, ...] = ()
    ) -> Any:
        """`skip`: parameters that were sent as long data."""
        flags = cursor | (8 if self.attributes else 0)
        body = struct.pack("<IBI", number, flags, 1)
        if self.attributes:
            body += bytes((len(values),))
        if values:
            nulls = sum(1 << at for at, value in enumerate(values) if value is None)
            body += nulls.to_bytes((len(values) + 7) // 8, "little") + bytes((types,))
            for value in values if types else ():
                kind = LONGLONG if isinstance(value, int) else BLOB if isinstance(value, bytearray) else STRING
                body += bytes((kind, 0)) + (b"\0" if self.attributes else b"")
            for at, value in enumerate(values):
                if at not in skip and value is not None:
                    is_int = isinstance(value, int)
                    body += struct.pack("<q", value) if is_int else _text(value)
        return self.ask(r.COM_STMT_EXECUTE, body, number)

    def number(self, code: int, number: int, more: bytes = b"") -> list[Any]:
        return self.ask(code, number.to_bytes(4, "little") + more, number)

    def close(self) -> None:
        self.direct.close()
        self.proxied.close()


@pytest.fixture
def sessions(tracking: MySqlServer, proxy: ProxyProcess, how: tuple[str, int]) -> Iterator[tuple[Pair, Pair, Pair]]:
    """Three of one shape. Two have settings of their own: they take each other's backends, which are reset then."""
    flags = SHAPES[how[0]]
    with ExitStack() as stack:
        made = [Pair(tracking, proxy, flags) for _ in range(3)]
        for pair in made:
            stack.callback(pair.close)
        made[1].query(b"SET time_zone = '+07:00'")
        yield made[0], made[1], made[2]


def test_statements_follow_and_their_types_with_them(
    sessions: tuple[Pair, Pair, Pair], proxy: ProxyProcess, tracking: MySqlServer
) -> None:
    one, two, three = sessions
    texts = [b"SELECT ? + 1, ?", b"SELECT 'fixed'", b"DO ?", b"SELECT @@time_zone, ?, ?, ?, ?, ?, ?, ?, ?, ?"]
    numbers = {pair: [pair.prepare(text) for text in texts] for pair in sessions}
    assert numbers[one] == [1, 2, 3, 4]
    many = (1, "b", None, 4, "e", 6, None, "h", 9)
    for pair in sessions:
        pair.execute(numbers[pair][0], 41, "x")
        pair.execute(numbers[pair][3], *many)
    for turn in range(3):
        for pair in sessions:
            pair.execute(numbers[pair][0], turn, "as before", types=False)
            pair.execute(numbers[pair][1])
        for pair in (three, one, two, one):
            pair.execute(numbers[pair][2], "a string")
            pair.execute(numbers[pair][3], *many, types=False)
            pair.execute(numbers[pair][0], None, "null", types=False)
    # What another has sent for the same text is not what this one has sent.
    number, other = one.prepare(b"SELECT ?"), two.prepare(b"SELECT ?")
    for value in (5, "5.5abc", 300, "x", None):
        one.execute(number, value)
    two.execute(other, "5.5abc")
    three.execute(three.prepare(b"SELECT ?"), "7.5abc")
    two.execute(other, "8.5abc", types=False)
    one.execute(numbers[one][0], 8, "x", types=False)
    third = three.prepare(texts[0])
    three.execute(third, 8, "x")
    three.execute(numbers[three][0], 9, "y", types=False)
    assert "was pinned" not in proxy.log()


def test_errors_name_the_clients_numbers(sessions: tuple[Pair, Pair, Pair], proxy: ProxyProcess) -> None:
    two = sessions[1]
    for _ in range(3):
        two.number(r.COM_STMT_CLOSE, two.prepare(b"SELECT 1"))
    for pair in sessions:
        for command, more in (
            (r.COM_STMT_EXECUTE, b"\0\1\0\0\0"),
            (r.COM_STMT_RESET, b""),
            (r.COM_STMT_FETCH, b"\1\0\0\0"),
        ):
            pair.number(command, 77777, more)
        pair.ask(r.COM_STMT_EXECUTE, b"\1\0")
        pair.ask(r.COM_STMT_PREPARE, b"SELECT nothing")
        pair.ask(r.COM_STMT_PREPARE, b"SELEC")
        pair.ask(r.COM_STMT_PREPARE, b"SELECT 1; SELECT 2")
        number = pair.prepare(b"SELECT ?")
        pair.number(r.COM_STMT_FETCH, number, b"\1\0\0\0")
        pair.number(r.COM_STMT_RESET, number)
        pair.number(r.COM_STMT_CLOSE, 99999)
        pair.number(r.COM_STMT_SEND_LONG_DATA, 99999, b"\0\0x")
        pair.execute(number, 5)
        pair.number(r.COM_STMT_CLOSE, number)
        pair.number(r.COM_STMT_EXECUTE, number, b"\0\1\0\0\0")
    for pair in sessions:
        pair.query(b"SELECT 1")
    assert "was pinned" not in proxy.log()


def test_tables_that_change_are_not_hidden(sessions: tuple[Pair, Pair, Pair], tracking: MySqlServer) -> None:
    one, two, _ = sessions
    one.once(b"DROP TABLE IF EXISTS shaped")
    one.once(b"CREATE TABLE shaped (a INT)")
    numbers = {pair: pair.prepare(b"SELECT * FROM shaped") for pair in (one, two)}
    for change in (b"ADD b INT", b"ADD d VARCHAR(5)", b"DROP a", b"MODIFY b BIGINT"):
        for pair in (one, two, one):
            pair.execute(numbers[pair])
        one.once(b"ALTER TABLE shaped " + change)
        late = two.prepare(b"SELECT * FROM shaped")
        two.execute(late)
        for pair in (one, two, one, two):
            pair.execute(numbers[pair])
    one.once(b"DROP TABLE shaped")
    for pair in (one, two, one):
        assert pair.execute(numbers[pair])[0][0] is Part.ERR
    one.once(b"CREATE TABLE shaped (a INT)")
    for pair in (one, two, one):
        pair.execute(numbers[pair])
    two.ask(r.COM_STMT_PREPARE, b"SELECT * FROM shapeless")


def _make_tables(one: Pair) -> None:
    for schema in (b"app", b"other"):
        one.once(b"CREATE TABLE IF NOT EXISTS %b.whose (name VARCHAR(9))" % schema)
        one.once(b"DELETE FROM %b.whose" % schema)
        one.once(b"INSERT INTO %b.whose VALUES ('%b')" % (schema, schema))


def test_names_are_looked_up_where_they_were_when_it_was_prepared(
    sessions: tuple[Pair, Pair, Pair], proxy: ProxyProcess
) -> None:
    """The server reports a change of state for the way there and back, so that it pins from the first one on."""
    one, two, _ = sessions
    _make_tables(one)
    text = b"SELECT name FROM whose"
    first = one.prepare(text)
    one.ask(r.COM_INIT_DB, b"other")
    second = one.prepare(text)
    two.query(b"SELECT 2")
    one.execute(second)
    two.query(b"SELECT 2")
    assert "was pinned" not in proxy.log()
    for _ in range(2):
        for number in (first, second):
            one.execute(number)
        one.query(b"SELECT DATABASE()")
    one.close()
    two.query(b"SELECT name FROM whose")


def test_a_text_means_what_it_meant_when_it_was_prepared(
    sessions: tuple[Pair, Pair, Pair], tracking: MySqlServer, proxy: ProxyProcess
) -> None:
    one, two, three = sessions
    _make_tables(one)
    before = one.prepare(b"SELECT \"a\" 'b'")
    one.query(b"SET sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'")
    after = one.prepare(b"SELECT \"name\" || '!' FROM whose")
    plain = three.prepare(b"SELECT '%b', 'a' || 'b'" % "ä".encode())
    for pair, number in ((one, before), (one, after), (three, plain)) * 2:
        pair.execute(number)
        two.query(b"SELECT 2")
    one.query(b'SELECT "name" FROM whose')
    three.query(b"SET NAMES latin1")
    three.execute(plain)
    two.query(b"SELECT 2")
    three.execute(plain)
    three.query(b"SELECT LENGTH(@@collation_connection), LENGTH(@@character_set_client), LENGTH(@@sql_mode), 'a' = 'A'")
    assert "was pinned" not in proxy.log()


def test_what_a_statement_does_is_heeded_when_it_runs(
    sessions: tuple[Pair, Pair, Pair], proxy: ProxyProcess, tracking: MySqlServer
) -> None:
    one, two, three = sessions
    insert, count = one.prepare(b"INSERT INTO answered (n) VALUES (?)"), one.prepare(b"SELECT COUNT(*) FROM numbered")
    commit, zone = one.prepare(b"COMMIT"), two.prepare(b"SET time_zone = '+04:00'")
    schema = 0
    if tracking.version.startswith("mariadb"):  # MySQL does not prepare these
        schema = two.prepare(b"USE other")
        one.execute(one.prepare(b"BEGIN"))
    else:
        one.query(b"BEGIN")
    one.execute(count)
    one.execute(commit)
    ask = two.prepare(b"SELECT @@time_zone, DATABASE()")
    two.execute(zone)
    one.query(b"SELECT 1")
    two.execute(ask)
    if schema:
        two.execute(schema)
    three.query(b"SELECT DATABASE()")
    two.query(b"SELECT DATABASE(), @@time_zone")
    one.proxied.rows("SELECT 1")
    said = one.proxied.ask(r.COM_STMT_EXECUTE, _insert(one, insert))
    last = said[-1].ok.last_insert_id
    three.query(b"SELECT 5")
    two.query(b"SELECT 5")
    assert one.proxied.rows("SELECT LAST_INSERT_ID()") == [(str(last).encode(),)]
    assert "was pinned" not in proxy.log()
    variable = one.prepare(b"SET @a = ?")
    one.execute(variable, 5)
    proxy.wait_for_log("was pinned")


def _insert(pair: Pair, number: int) -> bytes:
    if pair.attributes:
        return struct.pack("<IBI", number, 8, 1) + b"\1\0\1" + bytes((LONGLONG, 0, 0)) + struct.pack("<q", 5)
    return struct.pack("<IBI", number, 0, 1) + b"\0\1" + bytes((LONGLONG, 0)) + struct.pack("<q", 5)


def test_resets_and_logins_anew_forget_statements(sessions: tuple[Pair, Pair, Pair], proxy: ProxyProcess) -> None:
    one, two, _ = sessions
    number = one.prepare(b"SELECT 1")
    other = two.prepare(b"SELECT 1")
    one.ask(r.COM_RESET_CONNECTION)
    one.number(r.COM_STMT_EXECUTE, number, b"\0\1\0\0\0")
    two.execute(other)
    again = one.prepare(b"SELECT 1")
    assert again == number + 1
    one.execute(again)


@pytest.mark.parametrize("end", ["read out", "reset", "closed", "executed again", "connection reset"])
def test_a_cursor_keeps_its_backend_until_its_end(
    tracking: MySqlServer, end: str, sessions: tuple[Pair, Pair, Pair], proxy: ProxyProcess
) -> None:
    one = sessions[0]
    # MySQL 9.7 goes on to open one: `test_a_statement_that_has_had_a_cursor_gets_another_one`.
    repeats = tracking.version.startswith("mariadb")
    if end == "executed again" and not repeats:
        pytest.skip("it does not end so")
    number = one.prepare(b"SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT ?")
    same = one.prepare(b"SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT ?")
    one.execute(number, 3, cursor=READ_ONLY_CURSOR)
    one.number(r.COM_STMT_FETCH, number, (1).to_bytes(4, "little"))
    one.query(b"SELECT 'between'")
    one.execute(same, 4, cursor=READ_ONLY_CURSOR)
    one.number(r.COM_STMT_FETCH, same, (2).to_bytes(4, "little"))
    one.number(r.COM_STMT_FETCH, number, (1).to_bytes(4, "little"))
    one.number(r.COM_STMT_RESET, same)
    proxy.wait_for_log("prepared_statement")
    if end == "read out":
        one.number(r.COM_STMT_FETCH, number, (5).to_bytes(4, "little"))
        one.number(r.COM_STMT_FETCH, number, (5).to_bytes(4, "little"))
    elif end == "reset":
        one.number(r.COM_STMT_RESET, number)
        one.number(r.COM_STMT_FETCH, number, (5).to_bytes(4, "little"))
    elif end == "closed":
        one.number(r.COM_STMT_CLOSE, number)
    elif end == "executed again":
        one.execute(number, 6)
    else:
        one.ask(r.COM_RESET_CONNECTION)
    # With one backend these would wait for it.
    for pair in sessions[1:]:
        pair.query(b"SELECT 5")
        pair.execute(pair.prepare(b"SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT ?"), 9)
    if repeats and end not in ("closed", "connection reset"):
        one.execute(number, 7)


def test_a_statement_that_has_had_a_cursor_gets_another_one(
    tracking: MySqlServer, how: tuple[str, int], sessions: tuple[Pair, Pair, Pair], proxy: ProxyProcess
) -> None:
    """MySQL 9.7 says definitions and an OK, with no flag, and the rows are to be fetched. MariaDB sends them."""
    if how[0] != "classic" and not tracking.version.startswith("mariadb"):
        pytest.skip("behind definitions an OK is read as a row: a client waits for ever, directly, too")
    one, two, three = sessions
    text = b"SELECT 1 UNION ALL SELECT 2 UNION ALL SELECT 3"
    numbers = {pair: pair.prepare(text) for pair in (one, three)}
    one.execute(numbers[one], cursor=READ_ONLY_CURSOR)
    one.number(r.COM_STMT_FETCH, numbers[one], (5).to_bytes(4, "little"))
    one.number(r.COM_STMT_FETCH, numbers[one], (5).to_bytes(4, "little"))
    # Nobody else gets it.
    three.execute(numbers[three])
    three.execute(numbers[three], cursor=READ_ONLY_CURSOR)
    three.number(r.COM_STMT_FETCH, numbers[three], (5).to_bytes(4, "little"))
    three.number(r.COM_STMT_FETCH, numbers[three], (5).to_bytes(4, "little"))
    one.execute(numbers[one])
    one.query(b"SELECT 'between'")
    one.number(r.COM_STMT_FETCH, numbers[one], (2).to_bytes(4, "little"))
    one.number(r.COM_STMT_RESET, numbers[one])
    two.query(b"SELECT 5")


def test_long_data_keeps_its_backend_until_it_is_used(sessions: tuple[Pair, Pair, Pair], proxy: ProxyProcess) -> None:
    one, two, three = sessions
    number = one.prepare(b"SELECT CRC32(?), LENGTH(?), ?")
    one.execute(number, bytearray(b"a"), bytearray(b"b"), 5)
    for turn in range(2):
        two.query(b"SELECT 2")
        one.number(r.COM_STMT_SEND_LONG_DATA, number, b"\0\0" + b"x" * 100_000)
        one.number(r.COM_STMT_SEND_LONG_DATA, number, b"\1\0" + b"y" * 5)
        one.number(r.COM_STMT_SEND_LONG_DATA, number, b"\0\0" + b"z" * 5)
        one.query(b"SELECT 'between'")
        one.execute(number, bytearray(b""), bytearray(b""), 6, types=bool(turn), skip=(0, 1))
        three.query(b"SELECT 3")
        one.execute(number, bytearray(b"c"), bytearray(b"d"), 7, types=False)
    one.number(r.COM_STMT_SEND_LONG_DATA, number, b"\0\0x")
    one.number(r.COM_STMT_RESET, number)
    two.query(b"SELECT 2")
    one.execute(number, bytearray(b"e"), bytearray(b"f"), 8)
    one.number(r.COM_STMT_SEND_LONG_DATA, number, b"\0\0x")
    one.number(r.COM_STMT_CLOSE, number)
    two.query(b"SELECT 2")


def test_statements_that_nobody_uses_are_closed_on_backends(tracking: MySqlServer, tmp_path: Path) -> None:
    file = tmp_path / "rdsp.toml"
    file.write_text(_CONFIGURATION.format(target=target(tracking), settings="target_group.max_prepared_statements = 5"))
    with ProxyProcess(str(file)) as proxy:
        with tracking.admin() as admin, admin.cursor() as cursor:

            def prepared() -> int:
                cursor.execute("SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'")
                return int(cursor.fetchall()[0][1])

            before = prepared()
            pairs = [Pair(tracking, proxy, BASE) for _ in range(2)]
            direct = 0
            for turn in range(20):
                for pair in pairs:
                    number = pair.prepare(b"SELECT %d" % turn)
                    direct += 1
                    pair.execute(number)
            for number in range(1, 21):
                for pair in pairs:
                    pair.execute(number)
            assert prepared() - before - direct <= 5
            for pair in pairs:
                pair.close()
        assert "was pinned" not in proxy.log()
