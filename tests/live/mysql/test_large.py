"""Messages over 16 MB, that are parted into packets, in both directions and in every way to say them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rdsp_codecs.errors import PeerClosed
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.compression import ZLIB
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.login import CAPABILITIES
from tests.live.mysql.sidebyside import target
from tests.live.mysql.test_proxied_commands import BASE
from tests.servers.mysql import MySqlServer
from tests.servers.mysqlclient import MySqlClient
from tests.servers.proxy import ProxyProcess

FULL = 0xFFFFFF
MATRIX = pytest.mark.matrix
FORMS = {
    "classic": (BASE, "disable", ""),
    "deprecated": (BASE | c.CLIENT_DEPRECATE_EOF, "disable", ""),
    "classic over TLS": (BASE, "require", ""),
    "compressed": (BASE | c.CLIENT_DEPRECATE_EOF, "disable", ZLIB),
}
NEAR = [FULL, pytest.param(FULL - 1, marks=MATRIX), pytest.param(FULL + 1, marks=MATRIX), 2 * FULL, 2 * FULL + 70_000]


def _marked(name: str) -> object:
    """One form in `make test`, the others in the matrix."""
    return pytest.param(FORMS[name], id=name, marks=() if name == "classic" else pytest.mark.matrix)


@pytest.fixture(params=[_marked(name) for name in FORMS])
def client(large: ProxyProcess, request: pytest.FixtureRequest) -> Iterator[MySqlClient]:
    flags, tls, compression = request.param
    with MySqlClient(large.port, tls=tls, parameters={CAPABILITIES: str(flags)}, compression=compression) as client:
        yield client


@pytest.fixture(scope="module")
def large(tracking: MySqlServer) -> Iterator[ProxyProcess]:
    with ProxyProcess.for_target(target(tracking), "--max-backends", "1") as proxy:
        with MySqlClient(proxy.port) as first:
            first.ask(r.COM_QUERY, b"CREATE TABLE IF NOT EXISTS largest (a LONGBLOB)")
        yield proxy


def resident(proxy: ProxyProcess, what: str) -> int:
    """Bytes: VmRSS, or VmHWM for the most that there were."""
    for line in Path(f"/proc/{proxy.pid}/status").read_text().splitlines():
        if line.startswith(what + ":"):
            return int(line.split()[1]) << 10
    raise AssertionError(what)


def one(heard: list, part: Part = Part.ROW) -> bytes:
    (found,) = [each.payload for each in heard if each.part is part]
    return found


def number(value: bytes) -> int:
    """The one value of a text row that is a number."""
    return int(value[1:])


@pytest.mark.parametrize("size", NEAR)
def test_a_text_of_any_length_is_run(client: MySqlClient, size: int) -> None:
    """The payload, with the command's byte, is exactly so long."""
    head, tail = b"SELECT LENGTH('", b"')"
    attributes = 2 if client.flags & c.CLIENT_QUERY_ATTRIBUTES else 0
    text = head + b"x" * (size - 1 - attributes - len(head) - len(tail)) + tail
    assert number(one(client.ask(r.COM_QUERY, b"\0\1"[:attributes] + text))) == len(text) - len(head) - len(tail)
    assert client.rows("SELECT 7") == [(b"7",)]


@pytest.mark.parametrize("size", NEAR)
def test_a_row_of_any_length_is_told(client: MySqlClient, size: int) -> None:
    lengths = 4 if size - 4 < 1 << 24 else 9
    row = one(client.ask(r.COM_QUERY, b"SELECT REPEAT('y', %d)" % (size - lengths)))
    assert len(row) == size
    assert row.count(b"y") >= size - 9
    assert client.rows("SELECT 7") == [(b"7",)]


def _execute(statement: bytes, value: bytes | None) -> bytes:
    body = statement + b"\0\1\0\0\0" + b"\0\1\xfc\0"
    return body if value is None else body + b"\xfe" + len(value).to_bytes(8, "little") + value


@pytest.mark.parametrize(
    "size", [FULL + 5, pytest.param(FULL - 30, marks=MATRIX), pytest.param(2 * FULL + 5, marks=MATRIX)]
)
def test_a_value_of_any_length_is_bound_and_sent_in_pieces(client: MySqlClient, size: int) -> None:
    prepared = client.ask(r.COM_STMT_PREPARE, b"SELECT LENGTH(?), ?")[0].payload[1:5]
    client.ask(r.COM_STMT_RESET, prepared)
    again = client.ask(r.COM_STMT_PREPARE, b"INSERT INTO largest SELECT ?")[0].payload[1:5]
    value = b"v" * size
    client.ask(r.COM_QUERY, b"DELETE FROM largest")
    assert client.ask(r.COM_STMT_EXECUTE, _execute(again, value))[-1].part is Part.OK
    assert number(one(client.ask(r.COM_QUERY, b"SELECT LENGTH(a) FROM largest"))) == size
    client.ask(r.COM_QUERY, b"DELETE FROM largest")
    for at in range(0, size, 5_000_000):
        client.command(r.COM_STMT_SEND_LONG_DATA, again + b"\0\0" + value[at : at + 5_000_000])
    assert client.ask(r.COM_STMT_EXECUTE, _execute(again, None))[-1].part is Part.OK
    assert number(one(client.ask(r.COM_QUERY, b"SELECT LENGTH(a) FROM largest"))) == size
    fetched = client.ask(r.COM_STMT_PREPARE, b"SELECT a FROM largest")[0].payload[1:5]
    assert len(one(client.ask(r.COM_STMT_EXECUTE, fetched + b"\0\1\0\0\0"))) > size
    client.command(r.COM_STMT_CLOSE, again)
    client.command(r.COM_STMT_CLOSE, fetched)
    assert client.rows("SELECT 7") == [(b"7",)]


def test_a_line_of_a_file_is_as_long_as_it_likes(client: MySqlClient) -> None:
    client.ask(r.COM_QUERY, b"DELETE FROM largest")
    text = b"LOAD DATA LOCAL INFILE 'x' INTO TABLE largest"
    client.command(r.COM_QUERY, (b"\0\1" if client.flags & c.CLIENT_QUERY_ATTRIBUTES else b"") + text)
    assert client.payload()[:1] == b"\xfb"
    line = b"z" * (FULL + 1000) + b"\n"
    client.send(line, 2)
    client.send(b"", 4)
    client.reader.begin(5)
    assert client.payload()[:1] == b"\0"
    assert number(one(client.ask(r.COM_QUERY, b"SELECT LENGTH(a) FROM largest"))) == FULL + 1000


def test_what_passes_in_pieces_takes_no_memory(large: ProxyProcess) -> None:
    """Rows of 32 MB are never here as a whole; a text is, up to `max_held_bytes` and what Python makes of it."""
    with MySqlClient(large.port) as client:
        client.rows("SELECT 1")
        before = resident(large, "VmRSS")
        Path(f"/proc/{large.pid}/clear_refs").write_text("5")
        for _ in range(3):
            assert len(one(client.ask(r.COM_QUERY, b"SELECT REPEAT('y', 33000000)"))) > 33_000_000
        assert resident(large, "VmHWM") - before < 16 << 20
        text = b"SELECT LENGTH('" + b"x" * 33_000_000 + b"')"
        attributes = b"\0\1" if client.flags & c.CLIENT_QUERY_ATTRIBUTES else b""
        for _ in range(3):
            assert number(one(client.ask(r.COM_QUERY, attributes + text))) == 33_000_000
        assert resident(large, "VmHWM") - before < 120 << 20


def test_a_long_text_is_run_on_a_backend_that_others_have_used(large: ProxyProcess) -> None:
    """And not, where it reads what the statement before it has left: that was on another connection."""
    long = b"'" + b"x" * 17_000_000 + b"'"
    parameters = {CAPABILITIES: str(BASE)}
    with MySqlClient(large.port, parameters=parameters) as one, MySqlClient(large.port, parameters=parameters) as other:
        one.ask(r.COM_QUERY, b"DELETE FROM largest")
        one.ask(r.COM_QUERY, b"INSERT INTO largest VALUES (1), (2)")
        assert other.rows("SELECT 1") == [(b"1",)]
        heard = one.ask(r.COM_QUERY, b"INSERT INTO largest VALUES (" + long + b")")
        assert [each.part for each in heard] == [Part.OK]
    with MySqlClient(large.port, parameters=parameters) as one, MySqlClient(large.port, parameters=parameters) as other:
        one.ask(r.COM_QUERY, b"INSERT INTO largest VALUES (1), (2)")
        assert other.rows("SELECT 1") == [(b"1",)]
        try:
            (heard,) = one.ask(r.COM_QUERY, b"INSERT INTO largest VALUES (" + long + b"), (ROW_COUNT())")
            assert r.read_err(heard.payload).code == 1153
        except (OSError, PeerClosed):
            pass  # it was told, and the rest of what it said was not read any more
        assert other.rows("SELECT COUNT(*) FROM largest WHERE LENGTH(a) > 99") == [(b"1",)]
