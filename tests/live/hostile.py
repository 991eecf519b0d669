"""What tests of hostile clients share: the bytes they send, and the scene that must be whole behind every one of them.

Behind a test an innocent session is asked, and all backends are taken at once.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from tests.servers.postgres import DATABASE, PASSWORD, USER, TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import SYNC, Message, RawClient, message, query
from tests.waiting import PATIENCE

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


def knock(port: int, data: bytes, seconds: float = PATIENCE, *, final: bytes = b"", texts: bool = False) -> list[str]:
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
        while (received := client.receive())[0]:
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
    path, top = folder / "proxy.toml", {"idle_client_timeout": limits.pop("idle_client_timeout", 600)}
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
