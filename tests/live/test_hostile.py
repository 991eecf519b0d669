"""A client that means harm: bytes no driver would send, floods, and lies.

Where the server answers, the proxy answers alike. Nobody else notices, no backend is lost or left changed, memory stays
bounded: behind every test an innocent session is asked, and all backends are taken at once.
"""

from __future__ import annotations

import socket
import ssl
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.hostile import (
    GSS_REQUEST,
    MIB,
    NO_RESPONSE,
    SSL_REQUEST,
    WHO,
    Scene,
    cancel_request,
    hear,
    knock,
    sasl,
    shown,
    staged,
    startup,
    until_closed,
)
from tests.servers.postgres import DATABASE, PASSWORD, USER, TestServer
from tests.servers.rawclient import (
    COPY_DONE,
    SYNC,
    RawClient,
    bind,
    close,
    copy_data,
    describe,
    execute,
    message,
    parse,
    query,
)
from tests.waiting import PATIENCE

pytestmark = pytest.mark.live


# -- before and during the login ------------------------------------------------------------------------------------

LOGINS: dict[str, bytes] = {
    "no body": struct.pack(">II", 8, 3 << 16),
    "no terminator": struct.pack(">II", 16, 3 << 16) + b"user\0app",
    "a name without a value": struct.pack(">II", 13, 3 << 16) + b"user\0",
    "no user": startup(b"database\0app\0"),
    "an unknown mechanism": startup() + sasl(mechanism=b"SCRAM-SHA-999"),
    "a query before the password": startup() + query("SELECT 1"),
    "an empty SASL message": startup() + message("p"),
    "a mechanism without its NUL": startup() + message("p", b"SCRAM-SHA-256"),
    "no length of a response": startup() + message("p", b"SCRAM-SHA-256\0"),
    "too large a length of a response": startup() + message("p", b"SCRAM-SHA-256\0\0\0\0\2n"),
    "too small a length of a response": startup() + message("p", b"SCRAM-SHA-256\0\0\0\0\1n,,"),
    "a response although there is none": startup() + message("p", b"SCRAM-SHA-256\0\xff\xff\xff\xffn,,n=,r=abc"),
    "none, and an empty one": startup() + NO_RESPONSE + message("p"),
    "none, twice": startup() + NO_RESPONSE * 2,
    "nonsense for SCRAM": startup() + sasl(b"nonsense"),
    "a NUL in SCRAM": startup() + sasl(b"n,,n=,r=abc\0"),
    "SCRAM as somebody else": startup() + sasl(b"n,a=other,n=,r=abc"),
    "SCRAM with an extension": startup() + sasl(b"n,,m=x,n=,r=abc"),
    "SCRAM without a name": startup() + sasl(b"n,,r=abc"),
    "a nonce that cannot be printed": startup() + sasl(b"n,,n=,r=\x01"),
    "a bad attribute": startup() + sasl(b"n,,n=,r=abc,\xe9=x"),
    "channel binding": startup() + sasl(b"p=tls-unique,,n=,r=abc"),
    "another nonce": startup() + sasl() + message("p", b"c=biws,r=other,p=" + b"A" * 43 + b"="),
    "no proof": startup() + sasl() + message("p", b"c=biws,r=other"),
    "a query instead of the proof": startup() + sasl() + query("SELECT 1"),
    "a length of 3": startup() + b"p\0\0\0\3",
    "a length of 1025": startup() + b"p\0\0\4\1",
    "a huge length": startup() + b"p\x7f\0\0\0",
    "a length of 3 of the proof": startup() + sasl() + b"p\0\0\0\3",
    "a huge length of the proof": startup() + sasl() + b"p\x7f\0\0\0",
}
CLOSED_ON: dict[str, bytes] = {
    **{f"length {n}": struct.pack(">iI", n, 3 << 16) for n in (0, 3, 4, 7, 0x7FFFFFFF, -1)},
    "10,005 bytes": startup(WHO + b"x\0" + b"y" * (10_005 - 9 - len(WHO) - 3) + b"\0"),
    "10,000 parameters": startup(WHO + b"".join(b"p%d\0v\0" % number for number in range(10_000))),
    "HTTP": b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
    "a cancel without a key": cancel_request(1, b""),
    "a cancel with a long key": cancel_request(1, bytes(1000)),
}


@pytest.mark.parametrize("data", LOGINS.values(), ids=LOGINS)
def test_a_login_that_is_wrong_fails_as_at_the_server(scene: Scene, data: bytes) -> None:
    assert knock(scene.port, data, texts=True) == knock(scene.server.port, data, texts=True)


@pytest.mark.parametrize("data", CLOSED_ON.values(), ids=CLOSED_ON)
def test_what_is_no_start_up_packet_is_closed_at_once(scene: Scene, data: bytes) -> None:
    assert knock(scene.server.port, data) == []
    assert knock(scene.port, data) == []


def test_nothing_in_clear_behind_an_ssl_request_is_believed(scene: Scene) -> None:
    for data in (SSL_REQUEST + startup(), SSL_REQUEST * 2):
        with socket.create_connection(("127.0.0.1", scene.port), timeout=PATIENCE) as sock:
            sock.sendall(data)
            answer = until_closed(sock)
            assert answer[:1] == b"S" and b"SCRAM" not in answer
    with socket.create_connection(("127.0.0.1", scene.port), timeout=PATIENCE) as sock:
        for request, answer in ((GSS_REQUEST, b"N"), (SSL_REQUEST, b"S")):
            sock.sendall(request)
            assert sock.recv(9) == answer
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(sock) as tls:
            tls.sendall(SSL_REQUEST)
            assert b"C0A000\0" in until_closed(tls)


def test_who_is_not_let_in_cannot_tell_why_and_forges_no_log_line(scene: Scene) -> None:
    for user, password in ((USER, "wrong"), (USER, ""), ("nobody", "wrong"), ("x\n2026 [ERROR] forged", "")):
        for port in (scene.server.port, scene.port):
            with pytest.raises(ConnectionRefusedError) as refused:
                RawClient(port, {"user": user, "database": DATABASE}, password)
            told = refused.value.args[0]
            assert (told["S"], told["C"]) == ("FATAL", "28P01")
            assert told["M"] == f'password authentication failed for user "{user}"'
    assert "\n2026 [ERROR] forged" not in scene.proxy.log()


class SlowClient(RawClient):
    """Logs in byte by byte."""

    def __init__(self, port: int) -> None:
        self.port, self._buffer, self.parameters, self.greeting = port, b"", {}, []
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.send(startup())
        self._log_in(PASSWORD)

    def send(self, *messages: bytes) -> None:
        self.send_slowly(*messages)


def test_a_login_byte_by_byte_is_a_login(scene: Scene) -> None:
    slow = SlowClient(scene.port)
    assert slow.value("SELECT 'slow'") == b"slow"
    slow.close()


def test_who_stalls_in_the_login_is_sent_away(postgres15: TestServer, tmp_path: Path) -> None:
    stages = (b"", startup()[:9], startup(), startup() + b"p\0\0\1\0", startup() + sasl())
    with staged(postgres15, tmp_path, login_timeout=3) as scene, ThreadPoolExecutor(100) as pool:
        stalled = [pool.submit(knock, scene.port, data) for data in stages * 20]
        assert scene.innocent.value("SELECT 1") == b"1"
        assert {told.result()[-1] for told in stalled} == {"FATAL 57P05"}


def test_who_stalls_in_the_tls_handshake_is_sent_away(postgres15: TestServer, tmp_path: Path) -> None:
    with staged(postgres15, tmp_path, login_timeout=2) as scene:
        before = scene.processor_time()
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda _: knock(scene.port, SSL_REQUEST), range(20)))
        assert scene.processor_time() - before < 1


# -- after the login ------------------------------------------------------------------------------------------------

MESSAGES: dict[str, bytes] = {
    "Query without its NUL": message("Q", b"SELECT 1"),
    "an empty Query": message("Q"),
    "two texts in a Query": message("Q", b"SELECT 1\0SELECT 2\0"),
    "an empty Parse": message("P"),
    "Parse with one text": message("P", b"\0"),
    "Parse without types": message("P", b"\0SELECT 1\0"),
    "Parse with too many types": message("P", b"x\0SELECT 1\0\xff\xff"),
    "Parse with more behind it": message("P", b"x\0SELECT 1\0\0\0more"),
    "an empty Bind": message("B"),
    "Bind without a statement": message("B", b"p\0s"),
    "Bind without counts": message("B", b"\0\0"),
    "Bind with too many formats": message("B", b"\0\0\xff\xff"),
    "Bind with too many values": message("B", b"\0\0\0\0\xff\xff"),
    "Bind with a huge value": message("B", b"\0\0\0\0\0\1\x7f\xff\xff\xff"),
    "Bind with a negative size": message("B", b"\0\0\0\0\0\1\xff\xff\xff\xfe\0\0"),
    "Describe of nothing known": message("D", b"x\0"),
    "Describe without a name": message("D", b"S"),
    "Describe without NUL": message("D", b"Sab"),
    "Close of nothing known": message("C", b"x\0"),
    "Close of a portal without NUL": message("C", b"Pab"),
    "Close without NUL": message("C", b"Sab"),
    "Close with more behind it": message("C", b"Sab\0more"),
    "Execute without a count": message("E", b"\0"),
    "an empty Execute": message("E"),
    "Execute of no portal": execute("never"),
    "an empty FunctionCall": message("F"),
    "FunctionCall with a huge count": message("F", b"\0\0\0\1\0\0\xff\xff"),
    "Sync with more in it": message("S", b"more"),
    "Flush with more in it": message("H", b"more"),
    "CopyData outside of COPY": copy_data(b"x"),
    "CopyDone outside of COPY": COPY_DONE,
    "CopyFail outside of COPY": message("f", b"x"),
    "a Query during COPY": query("CREATE TEMP TABLE t (a int); COPY t FROM STDIN") + query("SELECT 2"),
    "a password after the login": message("p", b"x\0"),
    "strangers' names": bind("", "rdsp_1") + SYNC + describe("S", "rdsp_2") + SYNC + close("S", "rdsp_1"),
    "strangers' names in SQL": query("EXECUTE rdsp_1") + query("DEALLOCATE rdsp_1"),
    "names like the proxy's": parse("rdsp_1", "SELECT 1") + bind("", "rdsp_1") + SYNC + query("EXECUTE rdsp_1"),
    "the name of nobody": parse("rdsp_0", "SELECT 1") + SYNC + query("EXECUTE rdsp_0"),
    "a name that is no UTF-8": message("P", b"\xe9\0SELECT 1\0\0\0"),
    "long names": parse("x" * 63, "SELECT 1") + parse("x" * 64, "SELECT 1"),
    "an error that ends with VFATAL": query("DO $$BEGIN RAISE 'VFATAL'; END$$"),
    "a long error": query(f"DO $$BEGIN RAISE '%', repeat('x', {17 * MIB}); END$$"),
}


@pytest.mark.parametrize("data", MESSAGES.values(), ids=MESSAGES)
def test_malformed_messages_are_answered_as_by_the_server(scene: Scene, data: bytes) -> None:
    direct, proxied = scene.both(data)
    assert proxied == direct


@pytest.mark.parametrize("tag", "DC")
def test_an_empty_describe_or_close_is_answered_as_by_the_server(
    postgres15: TestServer, tmp_path: Path, tag: str
) -> None:
    with staged(postgres15, tmp_path) as scene:
        direct, proxied = scene.both(message(tag))
        assert proxied == direct


@pytest.mark.parametrize("length", [6, 5])
def test_names_in_another_encoding_are_names(scene: Scene, length: int) -> None:
    told = []
    for port in (scene.server.port, scene.port):
        client = scene.login(port, client_encoding="LATIN1")
        again = message("P", b"\xe9\0SELECT 1\0\0\0") + SYNC
        answers = [*client.ask(again), *client.ask(message("B", b"\0\xe9\0" + bytes(6)), SYNC), *client.ask(again)]
        assert [shown(one) for one in answers] == ["1", "Z I", "2", "Z I", "ERROR 42P05", "Z I"]
        told.append([body.split(b"\0")[:4] for tag, body in answers if tag == "E" and length == 5])
    assert told[1] == told[0]


def test_messages_that_only_a_server_sends_end_the_session(scene: Scene) -> None:
    for tag in (*"123ANRTVWGIKZnstv", "\0", "~"):
        direct, proxied = scene.both(message(tag, b"abcd"))
        assert proxied == direct == ["FATAL 08P01", "closed"]


@pytest.mark.parametrize("data", [b"~\0\0\1\0", b"H\3\0\0\0" + bytes(60000)], ids=["unknown", "a Flush of 48 MiB"])
def test_a_message_that_cannot_be_right_is_refused_at_its_head(scene: Scene, data: bytes) -> None:
    for port in (scene.server.port, scene.port):
        client = scene.login(port)
        client.send(data)
        client.socket.settimeout(PATIENCE)
        until_closed(client.socket)


@pytest.mark.parametrize("before", [b"", query("BEGIN"), query("COPY harm FROM STDIN")], ids=["idle", "BEGIN", "COPY"])
def test_impossible_lengths_end_the_session(scene: Scene, before: bytes) -> None:
    scene.make_table()
    for tag in b"Qd~":
        for length in (0, 1, 2, 3, 0x7FFFFFFF, -1):
            client = scene.login()
            client.send(before + bytes([tag]) + struct.pack(">i", length))
            assert hear(client)[-2:] == ["FATAL 08P01", "closed"]


@pytest.mark.parametrize("rude", [False, True], ids=["close", "reset"])
def test_half_a_message_and_an_end_leave_nothing_behind(scene: Scene, rude: bool) -> None:
    scene.make_table()
    for half in (
        query("SELECT 1")[:7],
        query("BEGIN; INSERT INTO harm VALUES (1)") + query("COMMIT")[:7],
        query("COPY harm FROM STDIN") + copy_data(b"1\n") + copy_data(b"2\n")[:6],
        parse("", "INSERT INTO harm VALUES (1)") + bind() + execute() + SYNC[:3],
        query("SET work_mem = '7MB'") + query("SELECT " + "1" * 17 * MIB)[:MIB],
    ):
        client = scene.login()
        client.send(half)
        assert scene.innocent.value("SELECT 1") == b"1"
        client.reset() if rude else client.close()
        assert scene.innocent.value("SELECT count(*) FROM harm") == b"0"
