"""Where the answers of real servers end, for every command and for both forms of result sets."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import pytest

from rdsp_codecs.errors import PeerClosed
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Dialogue, Part
from rdsp_codecs.mysql.framing import PacketWalker
from rdsp_codecs.mysql.login import CAPABILITIES
from tests.live.mysql import corpus
from tests.live.mysql.corpus import Talk
from tests.live.mysql.reading import rewritten
from tests.servers.mysql import ADMIN, ADMIN_PASSWORD, MySqlServer
from tests.servers.mysqlclient import MySqlClient

RESULTS = c.CLIENT_MULTI_RESULTS | c.CLIENT_PS_MULTI_RESULTS | c.CLIENT_LOCAL_FILES
FORMS = {
    "classic": RESULTS,
    "deprecated": RESULTS | c.CLIENT_DEPRECATE_EOF,
    "everything": c.EQUAL & ~c.CLIENT_NO_SCHEMA & ~c.CLIENT_ODBC,
    "classic with everything": c.EQUAL & ~c.CLIENT_NO_SCHEMA & ~c.CLIENT_ODBC & ~c.CLIENT_DEPRECATE_EOF,
}


@pytest.fixture(params=FORMS.values(), ids=FORMS)
def talk(mysql: MySqlServer, request: pytest.FixtureRequest) -> Iterator[Talk]:
    with _client(mysql, request.param) as client:
        yield Talk(client, mariadb=mysql.version.startswith("mariadb"))


def _client(server: MySqlServer, flags: int, compression: str = "") -> MySqlClient:
    with MySqlClient(server.port, parameters={CAPABILITIES: "0"}) as first:
        flags &= first.state.offered
    return MySqlClient(server.port, parameters={CAPABILITIES: str(flags)}, compression=compression)


def _ends(talk: Talk) -> str:
    return "" if talk.client.flags & c.CLIENT_DEPRECATE_EOF else "X"


def _run(talk: Talk) -> None:
    ends = _ends(talk)
    corpus.set_up(talk)
    corpus.simple(talk)
    corpus.texts(talk, ends)
    corpus.transactions(talk)
    corpus.files(talk, ends)
    corpus.statements(talk, ends)
    corpus.left_out(talk, ends)
    corpus.resets(talk)


def test_every_answer_ends_where_we_say(talk: Talk) -> None:
    _run(talk)
    reports = [one for _, answer in talk.heard for one in answer if one.part is Part.PROGRESS]
    assert bool(reports) is bool(talk.client.flags & c.MARIADB_CLIENT_PROGRESS)
    for name, answer in talk.heard:
        for one in answer:
            assert rewritten(one.part, one.payload, talk.client.flags) in (None, one.payload), name
    _replay(talk.client, [1 << 20])
    _replay(talk.client, [1])
    seed = random.Random(7)
    _replay(talk.client, [seed.randint(1, 60) for _ in range(997)])


def _replay(client: MySqlClient, sizes: list[int]) -> None:
    """The same bytes in any pieces, by the walker that holds no rows, give the same answers."""
    dialogue = Dialogue(client.flags)
    walker = PacketWalker(dialogue.wants)
    found, at, turn = 0, client.welcomed, 0
    data = bytes(client.received)
    for index, (command, received) in enumerate(client.said):
        assert at == received
        if command:
            dialogue.asked(command[0])
        else:
            dialogue.given(0)
        end = client.said[index + 1][1] if index + 1 < len(client.said) else len(data)
        while at < end:
            size = min(sizes[turn % len(sizes)], end - at)
            turn += 1
            for payload, length in walker.feed(data[at : at + size]):
                dialogue.told(payload, length)
                found += 1
            at += size
            if at < end:
                assert not (dialogue.over and walker.between), command
        assert walker.between
        assert dialogue.over or dialogue.clients_turn, command
    assert found > 100


@pytest.mark.parametrize("kind", ["zlib", "zstd"])
def test_every_answer_ends_there_under_compression_too(mysql: MySqlServer, kind: str) -> None:
    if kind == "zstd" and mysql.version != "mysql-9.7":
        pytest.skip("it has no zstd")
    with _client(mysql, FORMS["deprecated"], kind) as client:
        _run(Talk(client, mariadb=mysql.version.startswith("mariadb")))


@pytest.mark.parametrize("form", ["classic", "deprecated"])
def test_rows_of_16_megabytes_are_one_packet_each_whatever_they_begin_with(mysql: MySqlServer, form: str) -> None:
    with _client(mysql, FORMS[form]) as client:
        talk = Talk(client, mariadb=mysql.version.startswith("mariadb"))
        ends = _ends(talk)
        full = 0xFFFFFF
        # A value of 16 MB has 4 bytes for its length, one of 16 MiB has 9; the payload is as long as a packet may be, one
        # byte less, one more, and twice that; what it goes on with looks like an end, an error, a file.
        sizes = [
            ("FE", full - 5),
            ("FE", full - 4),
            ("FE", full - 3),
            ("FF", full),
            ("FE", 2 * full - 9),
            ("FB", 2 * full),
        ]
        for byte, size in sizes:
            answer = talk.query(f"SELECT REPEAT(x'{byte}', {size})")
            assert corpus.parts(answer) == "CD" + ends + "R" + ("X" if ends else "O")
            assert len(answer[-2].payload) > size
            talk.heard.clear()
        _replay_large(client)


def _replay_large(client: MySqlClient) -> None:
    dialogue = Dialogue(client.flags)
    walker = PacketWalker(dialogue.wants)
    rows = 0
    data, at = client.received, client.welcomed
    for index, (command, _) in enumerate(client.said):
        dialogue.asked(command[0])
        end = client.said[index + 1][1] if index + 1 < len(client.said) else len(data)
        while at < end:
            piece = bytes(data[at : min(end, at + 65_521)])
            at += len(piece)
            for payload, length in walker.feed(piece):
                assert len(payload) < 100
                rows += dialogue.told(payload, length) is Part.ROW
        assert walker.between
        assert dialogue.over
    assert rows == sum(command[0] == r.COM_QUERY for command, _ in client.said)


def test_a_stream_of_events_is_followed_to_its_end(mysql: MySqlServer) -> None:
    flags = FORMS["deprecated"]
    with MySqlClient(mysql.port, ADMIN, ADMIN_PASSWORD, parameters={CAPABILITIES: "0"}) as first:
        flags &= first.state.offered
    with MySqlClient(mysql.port, ADMIN, ADMIN_PASSWORD, parameters={CAPABILITIES: str(flags)}) as client:
        checksums = b"@master_binlog_checksum = 'NONE', @source_binlog_checksum = 'NONE'"
        client.ask(r.COM_QUERY, b"SET " + checksums + b", @mariadb_slave_capability = 4")
        register = struct.pack("<I3sHII", 77, b"", 0, 0, 0)
        assert corpus.parts(client.ask(r.COM_REGISTER_SLAVE, register)) == "O"
        without_waiting = 1
        answer = client.ask(r.COM_BINLOG_DUMP, struct.pack("<IHI", 4, without_waiting, 78) + b"binlog.000001")
        # The end is an EOF whatever was agreed, and the server closes behind it.
        events = corpus.parts(answer)
        assert set(events[:-1]) == {"B"}
        assert events[-1] == "X"
        assert len(events) > 10
        with pytest.raises((PeerClosed, OSError)):
            client.payload()


def test_a_server_that_closes_an_idle_session_says_so_or_nothing(mysql: MySqlServer) -> None:
    with MySqlClient(mysql.port) as client:
        client.ask(r.COM_QUERY, b"SET SESSION wait_timeout = 1")
        client.reader.begin(0)  # it begins anew
        if mysql.version != "mysql-9.7":
            with pytest.raises((PeerClosed, OSError)):
                client.payload()
            return
        payload = client.payload()
        assert client.dialogue.wants(payload[0], len(payload))
        assert client.dialogue.told(payload, len(payload)) is Part.ERR
        assert r.read_err(payload).code == 4031
        assert client.dialogue.over
