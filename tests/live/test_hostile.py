"""A client that means harm: bytes no driver would send, floods, and lies.

Where the server answers, the proxy answers alike. Nobody else notices, no backend is lost or left changed, memory stays
bounded: behind every test an innocent session is asked, and all backends are taken at once. What is not so yet is
marked, with the reason.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.servers.postgres import DATABASE, PASSWORD, USER, TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import (
    COPY_DONE,
    SYNC,
    Message,
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

pytestmark = pytest.mark.live

END = query("SELECT 'the end'")
SSL_REQUEST, GSS_REQUEST = struct.pack(">II", 8, 80877103), struct.pack(">II", 8, 80877104)
WHO = f"user\0{USER}\0database\0{DATABASE}\0".encode()
MIB = 1 << 20


def startup(pairs: bytes = WHO, code: int = 3 << 16) -> bytes:
    return struct.pack(">II", len(pairs) + 9, code) + pairs + b"\0"


def sasl(first: bytes = b"n,,n=,r=abcdefghij", mechanism: bytes = b"SCRAM-SHA-256") -> bytes:
    return message("p", mechanism + b"\0" + struct.pack(">I", len(first)) + first)


NO_RESPONSE = message("p", b"SCRAM-SHA-256\0\xff\xff\xff\xff")


def cancel_request(pid: int, key: bytes) -> bytes:
    return struct.pack(">III", 12 + len(key), 80877102, pid) + key


def until_closed(sock: socket.socket) -> bytes:
    """All that comes until the other side closes or resets. Raises `TimeoutError`."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while more := sock.recv(1 << 16):
            data += more
    return data


def knock(port: int, data: bytes, seconds: float = 5.0, *, final: bytes = b"", texts: bool = False) -> list[str]:
    """What a newcomer is told for these bytes until the connection is closed. Raises `TimeoutError` when it is not.

    With `final` that is sent, too, when SCRAM's challenge has come; its nonce is put in for `%n`.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as sock:
        sock.sendall(data)
        answer, told = b"", []
        while final and b",i=" not in answer:
            answer += sock.recv(1000)
        if final:
            nonce = answer[answer.index(b"r=") + 2 :].split(b",")[0]
            sock.sendall(message("p", final.replace(b"%n", nonce)))
        answer += until_closed(sock)
    while len(answer) >= 5:
        size = struct.unpack(">I", answer[1:5])[0] + 1
        received = chr(answer[0]), answer[5:size]
        told.append(shown(received))
        if texts and received[0] == "E":
            told += [part.decode("latin-1") for part in received[1].split(b"\0") if part[:1] in (b"M", b"D")]
        answer = answer[size:]
    return told


def shown(received: Message) -> str:
    """A message in short: errors by severity and SQLSTATE, ReadyForQuery with its status, others by their tags."""
    tag, body = received
    if tag == "E":
        parts = {part[:1]: part[1:].decode("latin-1") for part in body.split(b"\0")}
        return f"{parts[b'S']} {parts[b'C']}"
    return f"Z {body.decode()}" if tag == "Z" else tag


def hear(client: RawClient) -> list[str]:
    """What comes back up to the answer to `END`, or the end of the connection."""
    told: list[str] = []
    with contextlib.suppress(ConnectionError):
        while (received := client.receive(10))[0]:
            told.append(shown(received))
            if received[0] == "D" and received[1].endswith(b"the end"):
                return [*told, *map(shown, client.until_ready())]
    return [*told, "closed"]


def login(port: int, **parameters: str) -> RawClient:
    return RawClient(port, {"user": USER, "database": DATABASE, **parameters}, PASSWORD)


class Scene:
    """A server, a proxy in front of it, an innocent session of the proxy's, and others that do harm."""

    def __init__(self, server: TestServer, proxy: ProxyProcess) -> None:
        self.server, self.proxy, self.port = server, proxy, proxy.port
        self.innocent = login(self.port)
        self.clients = [self.innocent]
        assert self.innocent.value("SELECT 'before'") == b"before"
        self.before = self.memory()

    def login(self, port: int = 0, **parameters: str) -> RawClient:
        self.clients.append(login(port or self.port, **parameters))
        return self.clients[-1]

    def memory(self) -> int:
        return int(Path(f"/proc/{self.proxy.pid}/statm").read_text().split()[1]) * 4096

    def processor_time(self) -> float:
        """Seconds that the proxy has computed."""
        fields = Path(f"/proc/{self.proxy.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def grew(self) -> float:
        """By how many MiB the proxy is larger than before."""
        return (self.memory() - self.before) / MIB

    def both(self, *parts: bytes) -> list[list[str]]:
        """What the server and what the proxy answer to each part in a write of its own, and to a query behind them.

        The innocent session's query shows that the proxy has read a part before the next one is sent.
        """
        clients = [self.login(self.server.port), self.login()]
        for part in (*parts, SYNC + END):
            for client in clients:
                with contextlib.suppress(ConnectionError):
                    client.send(part)
            assert self.innocent.value("SELECT 1") == b"1"
        return [hear(client) for client in clients]

    def make_table(self) -> None:
        with self.server.admin(DATABASE) as admin:
            admin.execute("DROP TABLE IF EXISTS harm; CREATE TABLE harm (a int); GRANT ALL ON harm TO PUBLIC")

    def leave(self) -> None:
        for client in self.clients:
            client.close()

    def assert_all_is_well(self, backends: int) -> None:
        """The innocent session goes on; all backends can be had at once, and each is as after its login."""
        assert self.innocent.value("SELECT 'after'") == b"after"
        self.leave()
        fresh = [self.login() for _ in range(backends)]
        for client in fresh:
            assert client.ask(query("BEGIN"))[-1] == ("Z", b"T")
            assert client.value("SELECT count(*) FROM pg_settings WHERE source = 'session'") == b"0"
        assert len({client.value("SELECT pg_backend_pid()") for client in fresh}) == backends


@contextlib.contextmanager
def staged(server: TestServer, folder: Path, backends: int = 2, **limits: object) -> Iterator[Scene]:
    """A scene with a proxy of its own."""
    path, top = folder / "proxy.toml", {"idle_client_timeout": limits.pop("idle_client_timeout", 60)}
    path.write_text(
        '[[proxies]]\nlisten = "127.0.0.1:0"\n'
        + "".join(f"{name} = {value}\n" for name, value in top.items())
        + f'target.url = "{server.target()}"\ntarget_group.max_backends = {backends}\n'
        + "".join(f"limits.{name} = {value}\n" for name, value in limits.items())
    )
    with ProxyProcess(str(path)) as proxy:
        scene = Scene(server, proxy)
        try:
            yield scene
            scene.assert_all_is_well(backends)
        finally:
            scene.leave()


@pytest.fixture(scope="module")
def proxy(postgres15: TestServer) -> Iterator[ProxyProcess]:
    with ProxyProcess.for_target(postgres15.target(), "--max-backends", "2") as proxy:
        yield proxy


@pytest.fixture
def scene(postgres15: TestServer, proxy: ProxyProcess) -> Iterator[Scene]:
    scene = Scene(postgres15, proxy)
    try:
        yield scene
        scene.assert_all_is_well(2)
    finally:
        scene.leave()


def wrong(reason: str, raises: type[BaseException] = AssertionError) -> pytest.MarkDecorator:
    return pytest.mark.xfail(strict=True, reason=reason, raises=raises)


def cases(table: Mapping[str, bytes | tuple[bytes, str]]) -> list[Any]:
    """Parameters from a table of what is sent by its name; with a reason where the proxy does not do right."""
    pairs = {name: entry if isinstance(entry, tuple) else (entry, "") for name, entry in table.items()}
    return [pytest.param(d, id=name, marks=[wrong(why)] if why else []) for name, (d, why) in pairs.items()]


# -- before and during the login ------------------------------------------------------------------------------------

LOGINS: dict[str, bytes | tuple[bytes, str]] = {
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
CLOSED_ON: dict[str, bytes | tuple[bytes, str]] = {
    **{f"length {n}": struct.pack(">iI", n, 3 << 16) for n in (0, 3, 4, 7, 0x7FFFFFFF, -1)},
    "10,005 bytes": startup(WHO + b"x\0" + b"y" * (10_005 - 9 - len(WHO) - 3) + b"\0"),
    "10,000 parameters": startup(WHO + b"".join(b"p%d\0v\0" % number for number in range(10_000))),
    "HTTP": b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
    "a cancel without a key": cancel_request(1, b""),
    "a cancel with a long key": cancel_request(1, bytes(1000)),
}


@pytest.mark.parametrize("data", cases(LOGINS))
def test_a_login_that_is_wrong_fails_as_at_the_server(scene: Scene, data: bytes) -> None:
    assert knock(scene.port, data, texts=True) == knock(scene.server.port, data, texts=True)


@pytest.mark.parametrize("data", cases(CLOSED_ON))
def test_what_is_no_start_up_packet_is_closed_at_once(scene: Scene, data: bytes) -> None:
    assert knock(scene.server.port, data) == []
    assert knock(scene.port, data) == []


def test_nothing_in_clear_behind_an_ssl_request_is_believed(scene: Scene) -> None:
    for data in (SSL_REQUEST + startup(), SSL_REQUEST * 2):
        with socket.create_connection(("127.0.0.1", scene.port), timeout=5) as sock:
            sock.sendall(data)
            answer = until_closed(sock)
            assert answer[:1] == b"S" and b"SCRAM" not in answer
    with socket.create_connection(("127.0.0.1", scene.port), timeout=5) as sock:
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
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
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
    with staged(postgres15, tmp_path, login_timeout=1) as scene, ThreadPoolExecutor(100) as pool:
        stalled = [pool.submit(knock, scene.port, data) for data in stages * 20]
        assert scene.innocent.value("SELECT 1") == b"1"
        assert {told.result()[-1] for told in stalled} == {"FATAL 57P05"}


def test_who_stalls_in_the_tls_handshake_is_sent_away(postgres15: TestServer, tmp_path: Path) -> None:
    with staged(postgres15, tmp_path, login_timeout=0.2) as scene:
        before = scene.processor_time()
        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda _: knock(scene.port, SSL_REQUEST, 2), range(20)))
        assert scene.processor_time() - before < 1


# -- after the login ------------------------------------------------------------------------------------------------

MESSAGES: dict[str, bytes | tuple[bytes, str]] = {
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


@pytest.mark.parametrize("data", cases(MESSAGES))
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
        client.socket.settimeout(1)
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
