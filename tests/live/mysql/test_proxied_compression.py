"""Compression towards clients and towards servers, each for itself: nobody sees the other side's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.compression import ZLIB, ZSTD, Packer
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.framing import PacketReader, packets
from rdsp_codecs.mysql.login import CAPABILITIES
from tests.live.mysql.sidebyside import target
from tests.live.mysql.test_proxied_commands import BASE, shown
from tests.live.mysql.test_recorded import SCRIPT, command_lines
from tests.servers.mysql import PASSWORD, USER, MySqlServer
from tests.servers.mysqlclient import MySqlClient
from tests.servers.proxy import ProxyProcess

FLAGS = BASE | c.CLIENT_DEPRECATE_EOF


def a_proxy(server: MySqlServer, backend: str, *more: str) -> ProxyProcess:
    return ProxyProcess.for_target(f"{target(server)}?compression={backend}", "--max-backends", "1", *more)


def has(server: MySqlServer, kind: str) -> bool:
    return kind != ZSTD or server.version == "mysql-9.7"


def a_client(port: int, kind: str, *, tls: str = "disable", flags: int = FLAGS) -> MySqlClient:
    client = MySqlClient(port, tls=tls, parameters={CAPABILITIES: str(flags)}, compression=kind)
    assert bool(client.layer) is bool(kind)
    return client


def both(proxied: MySqlClient, direct: MySqlClient, code: int, body: bytes, files: tuple[bytes, ...] = ()) -> None:
    """Both say the same; the client of the proxy checks the numbers of all packets."""
    assert shown(proxied.ask(code, body, files)) == shown(direct.ask(code, body, files)), body[:80]


@pytest.mark.parametrize(
    ("flags", "tls"), [(FLAGS, "disable"), (BASE, "require")], ids=["deprecated", "classic over TLS"]
)
@pytest.mark.parametrize("backend", ["off", ZLIB, ZSTD])
@pytest.mark.parametrize("kind", ["", ZLIB, ZSTD])
def test_each_side_is_compressed_for_itself(
    tracking: MySqlServer, kind: str, backend: str, tls: str, flags: int
) -> None:
    if not (has(tracking, kind) and has(tracking, backend)):
        pytest.skip("this server has no zstd")
    many = b"".join(b"%05d\n" % n for n in range(60_000))  # more than 256 packets
    with (
        a_proxy(tracking, backend) as proxy,
        a_client(proxy.port, kind, tls=tls, flags=flags) as proxied,
        MySqlClient(tracking.port, parameters={CAPABILITIES: str(flags)}) as direct,
    ):
        for text in (
            b"SELECT 1",
            b"SELECT REPEAT('x', 300000), RAND(5)",
            b"SELECT NULL, 1 UNION ALL SELECT NULL, 2",
            b"SELECT nothing",
            b"SELECT 1; SELECT REPEAT('y', 100000); DO 0",
            b"SET time_zone = '+03:00'",
            b"SELECT @@time_zone",
            b"SELECT LENGTH('" + b"z" * 200_000 + b"')",
        ):
            both(proxied, direct, r.COM_QUERY, text)
        load = b"LOAD DATA LOCAL INFILE 'x' INTO TABLE filed"
        proxied.ask(r.COM_QUERY, b"DELETE FROM filed")
        both(proxied, direct, r.COM_QUERY, load, (many,))
        both(proxied, direct, r.COM_QUERY, b"SELECT COUNT(*) > 60000, MIN(line), MAX(line) FROM filed")
        both(proxied, direct, r.COM_QUERY, load + b"; SELECT 2; " + load, (b"a\n", b"b\nc\n"))
        both(proxied, direct, r.COM_QUERY, load, (b"",))
        both(proxied, direct, r.COM_QUERY, load + b"_", (b"a\n",))
        number = proxied.ask(r.COM_STMT_PREPARE, b"SELECT ?, SLEEP(0)")[0].payload[1:5]
        again = direct.ask(r.COM_STMT_PREPARE, b"SELECT ?, SLEEP(0)")[0].payload[1:5]
        execute = b"\0\1\0\0\0" + b"\0\1\xfd\0" + b"\xfd" + (100_000).to_bytes(3, "little") + b"v" * 100_000
        for _ in range(2):
            meant = direct.ask(r.COM_STMT_EXECUTE, again + execute)
            said = proxied.ask(r.COM_STMT_EXECUTE, number + execute)
            assert [one.payload for one in said if one.part is Part.ROW] == [
                one.payload for one in meant if one.part is Part.ROW
            ]
        proxied.command(r.COM_STMT_CLOSE, number)
        assert proxied.ask(r.COM_PING)[0].part is Part.OK
        if kind:
            assert len(proxied.sent) < 400_000, "what is sent is not compressed"
            assert len(proxied.received) < 200_000, "what comes is not compressed"


@pytest.mark.parametrize("kind", [ZLIB, ZSTD])
def test_a_compressed_session_ends_as_others_do(tracking: MySqlServer, kind: str) -> None:
    if not has(tracking, kind):
        pytest.skip("this server has no zstd")
    with a_proxy(tracking, kind) as proxy:
        with a_client(proxy.port, kind) as client:
            assert client.ask(r.COM_QUERY, b"BEGIN")[0].part is Part.OK
            assert client.ask(r.COM_QUERY, b"INSERT INTO answered (n) VALUES (4711)")[0].part is Part.OK
        # The one backend was reset, by a conversation that is compressed, too.
        with a_client(proxy.port, kind) as client:
            assert client.rows("SELECT COUNT(*) FROM answered WHERE n = 4711") == [(b"0",)]
            client.command(r.COM_QUERY, b"SELECT SLEEP(66)")
        with a_client(proxy.port, kind) as client:
            assert client.rows("SELECT 1") == [(b"1",)]


def _replies(client: MySqlClient) -> list[int]:
    """The compressed packets' numbers of what comes, until nothing does."""
    client.socket.settimeout(0.3)
    data = b""
    try:
        while True:
            data += client.socket.recv(65536)
    except TimeoutError:
        pass
    found, at = [], 0
    while at < len(data):
        found.append(data[at + 3])
        at += 7 + int.from_bytes(data[at : at + 3], "little")
    return found


@pytest.mark.parametrize("split", [1, 2, 5])
def test_the_numbers_of_answers_are_those_of_the_server(tracking: MySqlServer, split: int) -> None:
    """A command may come in several compressed packets; the answer's first has the next number."""
    command = packets(b"\3SELECT '" + b"x" * 1000 + b"'")
    closing = packets(b"\x19\1\0\0\0")
    with a_proxy(tracking, "off") as proxy:
        found = []
        for port in (tracking.port, proxy.port):
            with a_client(port, ZLIB) as client:
                numbers = []
                for _ in range(2):
                    packer = Packer(ZLIB)
                    step = -(-len(command) // split)
                    sent = b"".join(packer.pack(command[at : at + step]) for at in range(0, len(command), step))
                    client.socket.sendall(Packer(ZLIB).pack(closing) + sent)
                    numbers.append(_replies(client)[0])
                found.append(numbers)
        assert found[0] == found[1] == [split, split]


def test_a_client_that_does_not_wait_gets_its_answers_in_order(tracking: MySqlServer) -> None:
    with a_proxy(tracking, ZLIB) as proxy, a_client(proxy.port, ZLIB) as client:
        texts = [b"SELECT %d" % n for n in range(300)]
        client.socket.sendall(b"".join(Packer(ZLIB).pack(packets(b"\3" + text)) for text in texts))
        client.reader = PacketReader(strict=False)  # its layer knows nothing of what was sent
        for n in range(300):
            seen = [client.payload() for _ in range(4)]
            assert seen[2] == bytes((len(str(n)),)) + str(n).encode()


def test_what_is_no_compressed_packet_ends_the_session_and_no_other(tracking: MySqlServer) -> None:
    with a_proxy(tracking, "off") as proxy, a_client(proxy.port, ZLIB) as other:
        for wrong in (
            b"\0\0\0\0\0\0\0",
            b"\x05\0\0\0\x40\0\0hello",
            Packer(ZLIB).pack(packets(b"\3SELECT '" + b"x" * 100 + b"'"))[:-4] + b"\0\0\0\0",
        ):
            client = a_client(proxy.port, ZLIB)
            client.socket.sendall(wrong)
            said = client.receive()
            assert r.read_err(said[4:]).code in (1105, 1156, 1158, 1047, 1835), said
            client.close()
            assert other.rows("SELECT 7") == [(b"7",)]


@pytest.mark.parametrize("allowed", ["[]", '["zlib"]'])
def test_it_is_not_offered_where_the_setting_says_so(tracking: MySqlServer, tmp_path: Path, allowed: str) -> None:
    config = tmp_path / "rdsp.toml"
    config.write_text(
        f'[[proxies]]\nname = "it"\nlisten = "127.0.0.1:0"\ncompression = {allowed}\n'
        f'[proxies.target]\nurl = "{target(tracking)}"\n'
    )
    with ProxyProcess(str(config)) as proxy:
        with MySqlClient(proxy.port) as client:
            offered = client.state.offered
            assert client.rows("SELECT 1") == [(b"1",)]
        assert not offered & c.CLIENT_ZSTD_COMPRESSION_ALGORITHM
        assert bool(offered & c.CLIENT_COMPRESS) is (allowed != "[]")


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("kind", [ZLIB, ZSTD])
def test_command_lines_that_compress_work_through_the_proxy(
    tracking: MySqlServer, tmp_path: Path, kind: str, tls: bool
) -> None:
    file = tmp_path / "rows"
    file.write_text("one\ntwo\n" * 50_000)
    ran = 0
    with a_proxy(tracking, "off") as proxy:
        for program in command_lines(tracking.version):
            of_mysql = program[-1].endswith("/mysql")
            if kind == ZSTD and not of_mysql:
                continue
            if of_mysql:
                mode = ["--ssl-mode=REQUIRED" if tls else "--ssl-mode=DISABLED", "--get-server-public-key"]
                mode += [f"--compression-algorithms={kind}"]
            else:
                mode = [*(["--ssl", "--skip-ssl-verify-server-cert"] if tls else ["--skip-ssl"]), "--compress"]
            script = SCRIPT.format(file=file).replace(
                "SELECT nothing;", "SHOW STATUS LIKE 'Compression'; SELECT REPEAT('abc', 2000000); SELECT nothing;"
            )
            done = subprocess.run(
                [
                    *program, "--no-defaults", "--protocol=tcp", "-h127.0.0.1", f"-P{proxy.port}", f"-u{USER}",
                    f"-p{PASSWORD}", *mode, "--local-infile=1", "--default-character-set=utf8mb4", "-N", "app",
                ],
                input=script, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert "Unknown column 'nothing'" in done.stderr, (program, done.stderr, proxy.log())
            assert done.stdout.splitlines()[-1] == "abc" * 2_000_000
            ran += 1
    assert ran or kind == ZSTD
