"""What is too long or not as it should be: the same errors as at the server, and sessions end where they end there."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rdsp_codecs.errors import PeerClosed
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.framing import PacketReader
from rdsp_codecs.mysql.login import CAPABILITIES
from tests.live.mysql.sidebyside import target
from tests.live.mysql.test_proxied_commands import BASE
from tests.servers.mysql import MySqlServer
from tests.servers.mysqlclient import MySqlClient
from tests.servers.proxy import ProxyProcess
from tests.waiting import PATIENCE

FLAGS = {CAPABILITIES: str(BASE | c.CLIENT_DEPRECATE_EOF)}
LONG = 3 << 20
"""Bytes of what is too long for a server that takes a mebibyte."""


@pytest.fixture(scope="module")
def proxy(tracking: MySqlServer) -> Iterator[ProxyProcess]:
    with ProxyProcess.for_target(target(tracking), "--max-backends", "2") as proxy:
        yield proxy


@pytest.fixture
def narrow(tracking: MySqlServer) -> Iterator[ProxyProcess]:
    """Servers' sessions that begin now take a mebibyte; a proxy with none that began before."""
    with tracking.admin() as admin, admin.cursor() as cursor:
        cursor.execute("SELECT @@GLOBAL.max_allowed_packet")
        ((before,),) = cursor.fetchall()
        cursor.execute("SET GLOBAL max_allowed_packet = 1048576")
        try:
            with ProxyProcess.for_target(target(tracking), "--max-backends", "1") as proxy:
                yield proxy
        finally:
            cursor.execute(f"SET GLOBAL max_allowed_packet = {before}")


def _prepared(client: MySqlClient, text: bytes) -> bytes:
    first = client.ask(r.COM_STMT_PREPARE, text)[0]
    assert first.part is Part.PREPARED, first
    return first.payload[1:5]


def _told(client: MySqlClient, number: bytes, code: int, body: bytes) -> list[Any]:
    """What it is answered, without the statement's number, and what a SELECT behind it is answered: a row, or nothing."""
    heard: list[Any] = []
    try:
        if code in (r.COM_STMT_CLOSE, r.COM_STMT_SEND_LONG_DATA):
            client.command(code, body)
            client.socket.settimeout(0.3)
            try:
                error = r.read_err(client.payload())
                heard.append((error.code, error.state, error.text))
            except TimeoutError:
                pass
            client.socket.settimeout(PATIENCE)
        else:
            for one in client.ask(code, body):
                if one.part is Part.ERR:
                    error = r.read_err(one.payload)
                    name = b"(%d)" % int.from_bytes(number, "little")
                    heard.append((error.code, error.state, error.text.replace(name, b"(one)")))
                else:
                    heard.append(one.part)
        heard.append(client.rows("SELECT 7"))
    except (PeerClosed, OSError):
        heard.append("closed")
    return heard


BODIES: dict[str, Callable[[bytes], tuple[int, bytes]]] = {
    "nothing at all": lambda one: (r.COM_STMT_EXECUTE, b""),
    "half a number": lambda one: (r.COM_STMT_EXECUTE, one[:2]),
    "a number alone": lambda one: (r.COM_STMT_EXECUTE, one),
    "no parameters": lambda one: (r.COM_STMT_EXECUTE, one + b"\0\1\0\0\0"),
    "no types": lambda one: (r.COM_STMT_EXECUTE, one + b"\0\1\0\0\0\0\1"),
    "half a type": lambda one: (r.COM_STMT_EXECUTE, one + b"\0\1\0\0\0\0\1\x08"),
    "no value": lambda one: (r.COM_STMT_EXECUTE, one + b"\0\1\0\0\0\0\1\x08\0"),
    "half a value": lambda one: (r.COM_STMT_EXECUTE, one + b"\0\1\0\0\0\0\1\x08\0\1\2"),
    "a long string that is short": lambda one: (r.COM_STMT_EXECUTE, one + b"\0\1\0\0\0\0\1\xfd\0\xfd\xff\xff\xffabc"),
    "a string of no length": lambda one: (r.COM_STMT_EXECUTE, one + b"\0\1\0\0\0\0\1\xfd\0\xfb"),
    "a type that there is not": lambda one: (r.COM_STMT_EXECUTE, one + b"\0\1\0\0\0\0\1\x99\0\1\2\3\4\5\6\7\x08"),
    "fetch nothing": lambda one: (r.COM_STMT_FETCH, b""),
    "fetch of half a statement": lambda one: (r.COM_STMT_FETCH, one[:3]),
    "fetch of no rows": lambda one: (r.COM_STMT_FETCH, one + b"\0"),
    "reset nothing": lambda one: (r.COM_STMT_RESET, b""),
    "reset half": lambda one: (r.COM_STMT_RESET, one[:3]),
    "close half": lambda one: (r.COM_STMT_CLOSE, one[:3]),
    "long data of nothing": lambda one: (r.COM_STMT_SEND_LONG_DATA, b""),
    "long data of a number": lambda one: (r.COM_STMT_SEND_LONG_DATA, one),
    "an option that is short": lambda one: (r.COM_SET_OPTION, b"\0"),
    "an option that there is not": lambda one: (r.COM_SET_OPTION, b"\7\0"),
    "no option": lambda one: (r.COM_SET_OPTION, b""),
    "no text": lambda one: (r.COM_QUERY, b""),
    "nothing to prepare": lambda one: (r.COM_STMT_PREPARE, b""),
    "no database": lambda one: (r.COM_INIT_DB, b""),
    "a list of nothing": lambda one: (r.COM_FIELD_LIST, b""),
    "a list without an end": lambda one: (r.COM_FIELD_LIST, b"numbered"),
    "a command that there is not": lambda one: (0x63, b"abc"),
}


PAST_THE_END = ("fetch nothing", "fetch of half a statement", "reset nothing", "reset half")
"""Here MariaDB reads what stands in its memory behind the packet; the proxy says what MySQL says."""


ANSWERED = ("close half", "long data of nothing", "long data of a number")
"""MySQL has an error for these, which no client waits for: its next answer would be that. The proxy says nothing."""


@pytest.mark.parametrize("what", BODIES)
def test_a_command_that_is_short_is_told_what_the_server_tells(
    tracking: MySqlServer, proxy: ProxyProcess, what: str
) -> None:
    said = []
    for port in (tracking.port, proxy.port):
        with MySqlClient(port, parameters=FLAGS) as client:
            one = _prepared(client, b"SELECT ? + 1")
            said.append(_told(client, one, *BODIES[what](one)))
    if tracking.version.startswith("mariadb") and what in PAST_THE_END:
        said[0] = [(1835, b"HY000", b"Malformed communication packet"), [(b"7",)]]
    elif tracking.version.startswith("mysql") and what in ANSWERED:
        assert said[0] == [(1835, b"HY000", b"Malformed communication packet."), [(b"7",)]]
        del said[0][0]
    assert said[1] == said[0]
    with MySqlClient(proxy.port) as another:
        assert another.rows("SELECT 1") == [(b"1",)]


def _told_at_last(port: int, code: int, body: bytes) -> tuple[int, bytes, bytes] | None:
    """What who says too much is told; None: the server has closed while the rest was under way, and it is lost."""
    with MySqlClient(port, parameters=FLAGS) as client:
        assert client.rows("SELECT 1") == [(b"1",)]
        client.reader = PacketReader(strict=False)  # MariaDB's number is that of the packet that it has not read
        try:
            client.command(code, body)
            error = r.read_err(client.payload())
        except (PeerClosed, OSError):
            return None
        return error.code, error.state, error.text


@pytest.mark.parametrize("code", [r.COM_QUERY, r.COM_STMT_PREPARE], ids=["text", "prepare"])
def test_what_is_too_long_for_the_server_is_told_in_its_words(
    tracking: MySqlServer, narrow: ProxyProcess, code: int
) -> None:
    """At servers it may be lost on the way, as they close. The proxy says it, or that the connection was lost."""
    body = b"SELECT LENGTH('" + b"x" * LONG + b"')"
    told = [{_told_at_last(port, code, body) for _ in range(6)} - {None} for port in (tracking.port, narrow.port)]
    meant = (1153, b"08S01", b"Got a packet bigger than 'max_allowed_packet' bytes")
    lost = (1105, b"08S01", b"The database connection was lost.")
    assert told[0] <= {meant}
    assert told[1]
    assert told[1] <= {meant, lost}
    with MySqlClient(narrow.port) as another:
        assert another.rows("SELECT 1") == [(b"1",)]


def test_a_parameter_that_is_too_long_in_all_is_an_unknown_error(tracking: MySqlServer, narrow: ProxyProcess) -> None:
    """1105, which servers say when the statement is executed; the session goes on."""
    said = []
    for port in (tracking.port, narrow.port):
        with MySqlClient(port, parameters=FLAGS) as client:
            one = _prepared(client, b"SELECT LENGTH(?)")
            here = []
            for _ in range(2):
                for _ in range(3):
                    client.command(r.COM_STMT_SEND_LONG_DATA, one + b"\0\0" + b"x" * 500_000)
                body = one + struct.pack("<BI", 0, 1) + b"\0\1\xfc\0"
                here.append(_told(client, one, r.COM_STMT_EXECUTE, body))
                here.append(_told(client, one, r.COM_STMT_RESET, one))
            said.append(here)
    assert said[1] == said[0]
    assert said[0][0][0][0] == 1105
