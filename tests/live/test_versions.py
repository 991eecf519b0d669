"""Protocol versions, start-up parameters and requests before them, directly at PostgreSQL 18 and through the proxy.

The version that clients get is the proxy's own, so the server that it is compared with is the one that speaks the same;
the server behind the proxy may be any.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from collections.abc import Iterator

import psycopg
import pytest

from tests.live.conftest import connect
from tests.live.hostile import GSS_REQUEST, SSL_REQUEST, knock, startup, until_closed
from tests.servers.postgres import DATABASE, PASSWORD, USER, TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import RawClient, fields, query
from tests.waiting import PATIENCE, asked_again, eventually

pytestmark = pytest.mark.live

V3 = 3 << 16


@pytest.fixture(scope="module")
def proxy18(postgres18: TestServer) -> Iterator[ProxyProcess]:
    with ProxyProcess.for_target(postgres18.target(), "--max-backends", "4") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def proxy15(postgres15: TestServer) -> Iterator[ProxyProcess]:
    with ProxyProcess.for_target(postgres15.target(), "--max-backends", "4") as proxy:
        yield proxy


def login(port: int, code: int = V3, **parameters: str) -> RawClient:
    return RawClient(port, {"user": USER, "database": DATABASE, **parameters}, PASSWORD, code=code)


def raw_answer(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
        sock.sendall(data)
        return until_closed(sock)


# -- versions (rows 92 and 93) ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("minor", [0, 1, 2, 3, 9999])
@pytest.mark.parametrize("options", [{}, {"_pq_.test_protocol_negotiation": "on", "_pq_.x": ""}])
def test_a_version_is_answered_as_postgresql_18_answers_it(
    postgres18: TestServer, proxy18: ProxyProcess, minor: int, options: dict[str, str]
) -> None:
    direct, proxied = (login(port, V3 + minor, **options) for port in (postgres18.port, proxy18.port))
    try:
        assert [m for m in proxied.greeting if m[0] == "v"] == [m for m in direct.greeting if m[0] == "v"]
        assert [tag for tag, _ in proxied.greeting] == [tag for tag, _ in direct.greeting]
        assert len(proxied.key[1]) == len(direct.key[1]) == (32 if minor >= 2 else 4)
        assert proxied.value("SELECT 1") == b"1"
    finally:
        direct.close()
        proxied.close()


@pytest.mark.parametrize("code", [0, 5, 1 << 16, 2 << 16, (2 << 16) + 9, 4 << 16, 0x7FFFFFFF])
def test_another_protocol_is_refused_byte_for_byte(postgres18: TestServer, proxy18: ProxyProcess, code: int) -> None:
    direct, proxied = (raw_answer(port, startup(code=code)) for port in (postgres18.port, proxy18.port))
    if direct[:1] == b"E" and direct[1:2] == b"F":  # protocol 2's form
        assert proxied == direct
    else:
        said, expected = fields(proxied[5:]), fields(direct[5:])
        assert {k: said.get(k) for k in "SVCM"} == {k: expected.get(k) for k in "SVCM"}


@pytest.mark.parametrize("version", ["3.0", "3.2", "latest"])
def test_libpq_speaks_any_version_with_any_server(proxy15: ProxyProcess, version: str) -> None:
    with connect(proxy15.port, max_protocol_version=version) as client:
        assert client.pgconn.full_protocol_version == (30000 if version == "3.0" else 30002)
        assert client.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("version", ["3.0", "3.2"])
@pytest.mark.parametrize("kind", ["cancel", "cancel_safe"])
def test_a_cancel_with_a_key_of_either_length_reaches_its_query(proxy15: ProxyProcess, version: str, kind: str) -> None:
    with connect(proxy15.port, max_protocol_version=version) as client, connect(proxy15.port) as other:
        with asked_again(getattr(client, kind)), pytest.raises(psycopg.errors.QueryCanceled):
            client.execute("SELECT pg_sleep(300)")
        assert other.execute("SELECT 1").fetchone() == (1,)
        assert client.execute("SELECT 2").fetchone() == (2,)


def test_a_part_of_a_long_key_cancels_nothing(proxy15: ProxyProcess, postgres15: TestServer) -> None:
    victim = login(proxy15.port, V3 + 2)
    pid, key = victim.key
    victim.send(query("SELECT pg_sleep(1.5), 'slept'"))
    with postgres15.admin() as admin:
        eventually(
            lambda: admin.execute("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'").fetchone() is not None
        )
        for wrong in (key[:4], key[:31], key + b"x", bytes(32), key[:31] + bytes([key[31] ^ 1])):
            assert raw_answer(proxy15.port, struct.pack(">III", 12 + len(wrong), 80877102, pid) + wrong) == b""
        assert any(b"slept" in body for _, body in victim.until_ready())
    victim.close()


@pytest.mark.parametrize("version", ["3.0", "latest"])
@pytest.mark.parametrize("server", ["postgres15", "postgres18"])
def test_towards_the_server_any_version_works_and_cancels(
    request: pytest.FixtureRequest, server: str, version: str
) -> None:
    """15 knows 3.0 only and negotiates down; 18 gives a long key for `latest`, and must be cancelled with all of it."""
    target = request.getfixturevalue(server).target() + f"?max_protocol_version={version}"
    with ProxyProcess.for_target(target, "--max-backends", "2") as proxy, connect(proxy.port) as client:
        with asked_again(client.cancel), pytest.raises(psycopg.errors.QueryCanceled):
            client.execute("SELECT pg_sleep(300)")
        assert client.execute("SELECT 1").fetchone() == (1,)


# -- requests in front of the start-up packet (row 94) --------------------------------------------------------------------


@pytest.mark.parametrize(
    "requests",
    [(GSS_REQUEST,), (GSS_REQUEST, SSL_REQUEST), (GSS_REQUEST, GSS_REQUEST), (GSS_REQUEST, SSL_REQUEST, GSS_REQUEST)],
    ids=["gss", "gss ssl", "gss gss", "gss ssl gss"],
)
def test_encryption_that_there_is_not_is_refused_and_the_client_goes_on(
    postgres18: TestServer, tmp_path_factory: pytest.TempPathFactory, requests: tuple[bytes, ...]
) -> None:
    path = tmp_path_factory.mktemp("proxy") / "proxy.toml"
    path.write_text(f'[[proxies]]\nlisten = "127.0.0.1:0"\ntls.enabled = false\ntarget.url = "{postgres18.target()}"\n')
    with ProxyProcess(str(path)) as proxy:
        told = []
        for port in (postgres18.port, proxy.port):
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
                answers = b""
                for one in (*requests, startup()):
                    with contextlib.suppress(ConnectionError):
                        sock.sendall(one)
                        answers += sock.recv(1000)[:1]
                told.append(answers)
        assert told[1] == told[0]


@pytest.mark.parametrize("data", [GSS_REQUEST + startup(), GSS_REQUEST + SSL_REQUEST], ids=["start-up", "ssl"])
def test_who_does_not_wait_for_the_answer_is_refused_as_at_the_server(
    postgres18: TestServer, proxy18: ProxyProcess, data: bytes
) -> None:
    direct, proxied = (raw_answer(port, data) for port in (postgres18.port, proxy18.port))
    assert direct[:1] == proxied[:1] == b"N"
    said, expected = fields(proxied[6:]), fields(direct[6:])
    assert {name: said.get(name) for name in "SVCMD"} == {name: expected.get(name) for name in "SVCMD"}


def test_libpq_asks_for_gssapi_and_goes_on(proxy15: ProxyProcess) -> None:
    with connect(proxy15.port, gssencmode="prefer", sslmode="disable") as client:
        assert client.execute("SELECT 1").fetchone() == (1,)


# -- start-up parameters ---------------------------------------------------------------------------------------------------

GOOD: dict[str, dict[str, str]] = {
    "-c": {"options": "-c geqo=off"},
    "-c without a space": {"options": "-cgeqo=off"},
    "--name=value": {"options": "--geqo=off"},
    "a dash for an underscore": {"options": "--statement-timeout=1234"},
    "many": {"options": "-c geqo=off   -c statement_timeout=1234 --work_mem=1234kB"},
    "an escaped space": {"options": r"-c application_name=a\ b"},
    "an escaped backslash": {"options": r"-c application_name=a\\b"},
    "the last one holds": {"options": "-c geqo=off -c geqo=on"},
    "a list": {"options": "-c search_path=one,two"},
    "the parameter beats the option": {"options": "-c work_mem=1MB", "work_mem": "2MB"},
    "one letter": {"options": "-f s -e"},
    "a custom variable": {"options": "-c app.tenant=t1", "app.other": "x"},
    "an empty value": {"search_path": "", "application_name": ""},
    "quoting": {"search_path": "\"a b\", 'c', D", "application_name": 'it\'s "me"'},
    "client_encoding": {"client_encoding": "latin1"},
    "client_encoding in options": {"options": "-c client_encoding=sql_ascii"},
    "letter case of names": {"DATESTYLE": "German", "timezone": "Europe/Vienna"},
    "isolation": {"default_transaction_isolation": "serializable", "default_transaction_read_only": "on"},
    "a role": {"role": "bob"},
    "unusual characters": {"application_name": "é\t\x01\x7f"},
}
BAD: dict[str, dict[str, str]] = {
    "an unknown parameter": {"nonsense": "1"},
    "an unknown parameter in options": {"options": "-c nonsense=1"},
    "a bad value": {"work_mem": "much"},
    "a bad value in options": {"options": "-c work_mem=much"},
    "an unknown switch": {"options": "-Z"},
    "no value": {"options": "-c geqo"},
    "an empty name": {"options": "-c ="},
    "an empty name without a space": {"options": "-c=1"},
    "an empty long name": {"options": "--=1"},
    "nothing behind -c": {"options": "-c"},
    "a word": {"options": "word"},
    "a parameter of the server's": {"shared_buffers": "1GB"},
    "a parameter of a superuser's": {"log_statement": "all"},
    "a bad encoding": {"client_encoding": "nonsense"},
    "a bad time zone": {"TimeZone": "Nowhere/Atall"},
    "a role that may not be taken": {"role": "postgres"},
    "replication": {"replication": "perhaps"},
    "an unknown database": {"database": "nowhere"},
    "an empty name of a parameter in quotes": {'"': "1"},
}
ASKED = (
    "SELECT string_agg(name || '=' || setting || ' ' || source, E'\\n' ORDER BY name) FROM pg_settings"
    " WHERE source IN ('client', 'command line', 'session')"
    " AND name NOT IN ('config_file', 'data_directory', 'hba_file', 'ident_file', 'port', 'unix_socket_directories')"
)


def outcome(port: int, parameters: dict[str, str]) -> object:
    """What a client with these start-up parameters sees: the reports and settings, or the error."""
    try:
        client = login(port, **parameters)
    except ConnectionRefusedError as refused:
        said = dict(refused.args[0])
        return {name: said.get(name) for name in "SVCMDHFR"}
    except ConnectionResetError:
        return "closed"
    try:
        return (
            client.parameters,
            client.value(ASKED),
            client.value("SELECT current_user || current_schemas(true)::text"),
        )
    finally:
        client.close()


@pytest.mark.parametrize("version", ["15", "18"])
@pytest.mark.parametrize("parameters", [*GOOD.values(), *BAD.values()], ids=[*GOOD, *BAD])
def test_start_up_parameters_do_what_they_do_directly(
    request: pytest.FixtureRequest, version: str, parameters: dict[str, str]
) -> None:
    server, proxy = request.getfixturevalue(f"postgres{version}"), request.getfixturevalue(f"proxy{version}")
    direct, proxied = outcome(server.port, parameters), outcome(proxy.port, parameters)

    if "replication" in parameters:
        assert isinstance(direct, dict)
        assert direct.pop("F"), "where it stands in the server's source, which is no use without the server's version"
        assert direct.pop("R")
        assert isinstance(proxied, dict)
        proxied = {name: text for name, text in proxied.items() if name not in "FR"}
    assert proxied == direct
    assert (parameters in GOOD.values()) == isinstance(direct, tuple), direct


def test_a_missing_user_is_told_in_the_servers_words(postgres18: TestServer, proxy18: ProxyProcess) -> None:
    for pairs in (b"", b"database\0app\0", b"user\0\0"):
        told = [knock(port, startup(pairs), texts=True) for port in (postgres18.port, proxy18.port)]
        assert told[1] == told[0] == ["FATAL 28000", "Mno PostgreSQL user name specified in startup packet"]


def test_options_of_any_form_get_the_servers_own_answer(postgres15: TestServer, proxy15: ProxyProcess) -> None:
    """CVE-2026-107349: PgBouncer looped for ever on `-c=`. The proxy leaves the text to the server, whatever it is."""
    choose = random.Random(15)
    parts = [
        "-c",
        "--",
        "=",
        " ",
        "\\",
        "-",
        "geqo",
        "work_mem",
        "off",
        "1MB",
        "'",
        '"',
        ",",
        "\t",
        "é",
        "-c=",
        "--=",
        "x.y",
    ]
    for _ in range(60):
        options = "".join(choose.choice(parts) for _ in range(choose.randint(1, 9)))
        direct, proxied = (outcome(port, {"options": options}) for port in (postgres15.port, proxy15.port))
        assert proxied == direct, options
