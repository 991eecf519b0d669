"""The layer that compresses: both roles against each other, and against peers that number otherwise, or lie."""

from __future__ import annotations

import random
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.errors import WireError
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql.compressing import ZSTD_LEVEL, Asking, Serving, agreed, towards_client, towards_server
from rdsp_codecs.mysql.compression import ZLIB, ZSTD, Packer, Unpacker
from rdsp_codecs.mysql.framing import FULL, packets
from rdsp_codecs.testing.duo import unwrapped

KINDS = st.sampled_from([ZLIB, ZSTD])
PAYLOADS = st.one_of(st.binary(min_size=1, max_size=90), st.integers(1, 9_000).map(lambda size: b"abc" * size))
CUTS = st.lists(st.integers(1, 3000), min_size=1, max_size=20)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    found, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        found.append(data[at : at + size])
        at, turn = at + size, turn + 1
    return found


def through(sender: Asking | Serving, receiver: Asking | Serving, data: bytes, sizes: list[int]) -> bytes:
    """What arrives of it, whatever the cuts on both sides of the layers."""
    wrapped = b"".join(sender.wrap(piece) for piece in cut(data, sizes))
    return b"".join(unwrapped(receiver, piece) for piece in cut(wrapped, sizes[::-1]))


def numbers(data: bytes) -> list[int]:
    """Those of the compressed packets."""
    found, at = [], 0
    while at < len(data):
        found.append(data[at + 3])
        at += 7 + int.from_bytes(data[at : at + 3], "little")
    return found


def stream(payloads: list[bytes], first: int = 0) -> bytes:
    return b"".join(packets(payload, (first + n) & 0xFF) for n, payload in enumerate(payloads))


@given(KINDS, st.lists(st.tuples(PAYLOADS, st.lists(PAYLOADS, min_size=1, max_size=5)), max_size=5), CUTS)
def test_both_roles_hand_on_what_they_are_given(
    kind: str, talk: list[tuple[bytes, list[bytes]]], sizes: list[int]
) -> None:
    client, server = Asking(kind, 1), Serving(kind, 1)
    for command, answer in talk:
        asked = packets(b"\3" + command)
        assert through(client, server, asked, sizes) == asked
        told = stream([b"\1" + each for each in answer], 1)
        assert through(server, client, told, sizes) == told
    assert not client.begun
    assert not server.begun


@pytest.mark.parametrize("kind", [ZLIB, ZSTD])
@pytest.mark.parametrize("lines", [0, 1, 254, 255, 256, 300])
def test_a_file_is_numbered_on_from_the_servers_wish(kind: str, lines: int) -> None:
    client, server = Asking(kind, 1), Serving(kind, 1)
    for _ in range(2):
        asked = packets(b"\3LOAD DATA LOCAL INFILE 'x' INTO TABLE t")
        assert through(client, server, asked, [1 << 20]) == asked
        wish = packets(b"\xfbx", 1)
        assert through(server, client, wish, [1 << 20]) == wish
        file = stream([*[b"line\n"] * lines, b""], 2)
        sent = b"".join(client.wrap(piece) for piece in cut(file, [700]))
        assert numbers(sent) == [(2 + n) & 0xFF for n in range(len(numbers(sent)))]
        assert unwrapped(server, sent) == file
        done = packets(b"\0\0\0\2\0\0\0", 3 + lines & 0xFF)
        told = server.wrap(done)
        assert numbers(told) == [2 + len(numbers(sent))]
        assert unwrapped(client, told) == done
    assert numbers(client.wrap(packets(b"\3SELECT 1"))) == [0]


@pytest.mark.parametrize("kind", [ZLIB, ZSTD])
def test_what_a_peer_numbers_as_it_likes_gets_the_numbers_that_it_would_have(kind: str) -> None:
    """As MySQL does: after a flush the ordinary packets go on with the number of the compressed ones."""
    client = Asking(kind, 1)
    client.wrap(packets(b"\3SELECT 1"))
    packer = Packer(kind)
    packer.number = 1
    first = packer.pack(packets(b"\1", 1) + packets(b"definition", 2) + packets(b"row", 3))
    second = packer.pack(packets(b"row", 2) + packets(b"\xfe\0\0\2\0\0\0", 3))
    assert unwrapped(client, first + second) == stream([b"\1", b"definition", b"row", b"row", b"\xfe\0\0\2\0\0\0"], 1)

    server, packer = Serving(kind, 1), Packer(kind)
    assert unwrapped(server, packer.pack(packets(b"\3LOAD"))) == packets(b"\3LOAD")
    server.wrap(packets(b"\xfbfile", 1))
    packer.number = 2
    file = packer.pack(packets(b"a\n", 2) + packets(b"b\n", 3)) + packer.pack(packets(b"c\n", 3) + packets(b"", 4))
    assert unwrapped(server, file) == stream([b"a\n", b"b\n", b"c\n", b""], 2)


@pytest.mark.parametrize("rows", [3, 252, 253, 254, 255, 509, 600])
def test_an_answer_of_any_length_is_numbered_on_from_its_command(rows: int) -> None:
    """Also where its last packet's number is just before the one that the next answer begins with."""
    server = Serving(ZLIB, 1)
    for _ in range(3):
        unwrapped(server, Packer(ZLIB).pack(packets(b"\x19\1\0\0\0")))
        unwrapped(server, Packer(ZLIB).pack(packets(b"\3SELECT 1")))
        answer = stream([b"\1", *[b"x" * 30] * rows, b"\xfe\0\0\2\0\0\0"], 1)
        told = [number for piece in cut(answer, [500]) for number in numbers(server.wrap(piece))]
        assert told == [(1 + n) & 0xFF for n in range(len(told))]


def test_a_client_that_does_not_wait_is_told_each_answers_own_numbers() -> None:
    server = Serving(ZLIB, 1)
    commands = b"".join(Packer(ZLIB).pack(packets(b"\3SELECT %d" % n)) for n in range(3))
    assert unwrapped(server, commands) == b"".join(packets(b"\3SELECT %d" % n) for n in range(3))
    answer = stream([b"\1", *[b"x" * 30] * 300, b"\xfe\0\0\2\0\0\0"], 1)
    for _ in range(3):
        told = [number for piece in cut(answer, [1000]) for number in numbers(server.wrap(piece))]
        assert told == list(range(1, len(told) + 1))


@pytest.mark.parametrize("kind", [ZLIB, ZSTD])
@pytest.mark.parametrize("size", [FULL - 8, FULL - 1, FULL, FULL + 1, 2 * FULL, 2 * FULL + 5])
def test_the_boundaries_at_16_megabytes(kind: str, size: int) -> None:
    client, server = Asking(kind, 1), Serving(kind, 1)
    asked = packets(b"\3" + b"x" * (size - 1))
    assert through(client, server, asked, [1 << 16]) == asked
    last = (size // FULL) & 0xFF
    told = packets(b"y" * size, last + 1)
    assert through(server, client, told, [1 << 16]) == told
    assert not client.begun


def pieces(data: bytes, kind: str) -> list[bytes]:
    """What each compressed packet holds."""
    found, at = [], 0
    while at < len(data):
        size = 7 + int.from_bytes(data[at : at + 3], "little")
        unpacker = Unpacker(kind)
        found.append(unpacker.feed(data[at : at + size]))
        at += size
    return found


def ends_whole(piece: bytes) -> bool:
    """It is some packets, and nothing else."""
    at = 0
    while at < len(piece):
        at += 4 + int.from_bytes(piece[at : at + 3], "little")
    return at == len(piece)


@given(
    KINDS,
    st.lists(st.one_of(PAYLOADS, st.sampled_from([70_000, 300_000]).map(lambda size: bytes(range(256)) * (size >> 8)))),
    CUTS,
    st.booleans(),
)
def test_a_client_finds_each_packet_in_one_compressed_packet(
    kind: str, payloads: list[bytes], sizes: list[int], bites: bool
) -> None:
    """Whatever the pieces that it comes in: Connector/Python looks no further than into the next one."""
    server = Serving(kind, 1)
    unwrapped(server, Packer(kind).pack(packets(b"\3SELECT")))
    told = stream(payloads, 1)
    wrapped = b"".join(server.wrap(piece) for piece in cut(told, [1 << 16] if bites else sizes))
    found = pieces(wrapped, kind)
    assert b"".join(found) == told
    assert all(map(ends_whole, found))
    assert numbers(wrapped) == [(1 + n) & 0xFF for n in range(len(found))]


@pytest.mark.parametrize("kind", [ZLIB, ZSTD])
@pytest.mark.parametrize("size", [FULL - (1 << 17) - 4, FULL - 1, FULL, 2 * FULL + 5])
def test_a_packet_that_no_compressed_one_can_hold_is_in_two(kind: str, size: int) -> None:
    """And a row that does not shrink still has a length of three bytes."""
    server = Serving(kind, 1)
    unwrapped(server, Packer(kind).pack(packets(b"\3SELECT")))
    told = packets(random.Random(1).randbytes(size), 1)
    wrapped = b"".join(server.wrap(piece) for piece in cut(told, [1 << 16]))
    found = pieces(wrapped, kind)
    assert b"".join(found) == told
    assert len(found) <= 2 * (1 + size // FULL)
    assert (len(found) == 1) == (size < FULL - (1 << 17) - 3)


@pytest.mark.parametrize("kind", [ZLIB, ZSTD])
def test_a_long_packet_that_shrinks_is_gathered_in_little_memory(kind: str) -> None:
    server = Serving(kind, 1)
    unwrapped(server, Packer(kind).pack(packets(b"\3SELECT")))
    bite = bytes(1 << 16)
    server.wrap((FULL - 1).to_bytes(3, "little") + b"\1" + bite)
    tracemalloc.start()
    try:
        out = [server.wrap(bite) for _ in range(200)]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not any(out)
    assert most < 1 << 20


def _packet(body: bytes, before: int, number: int = 0) -> bytes:
    return len(body).to_bytes(3, "little") + bytes((number,)) + before.to_bytes(3, "little") + body


def _packed(kind: str, data: bytes) -> bytes:
    return zlib.compress(data) if kind == ZLIB else zstandard.compress(data)


@pytest.mark.parametrize("kind", [ZLIB, ZSTD])
def test_a_bomb_takes_no_memory_and_is_given_in_pieces(kind: str) -> None:
    """16 KB that are 16 MB, again and again: what the layer has is what was fed."""
    bomb = _packet(_packed(kind, packets(bytes(FULL - 5), 0)), FULL - 1)
    assert len(bomb) < 20_000
    server = Serving(kind, 1)
    tracemalloc.start()
    try:
        longest, size = 0, 0
        for _ in range(2):
            piece = server.unwrap(bomb, 1 << 16)
            while piece or server.more:
                longest, size = max(longest, len(piece)), size + len(piece)
                piece = server.unwrap(b"", 1 << 16)
                if not piece:
                    break
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == 2 * (FULL - 1)
    assert longest <= 1 << 16
    assert most < 1 << 20


@pytest.mark.parametrize("kind", [ZLIB, ZSTD])
@pytest.mark.parametrize("size", [60, 60_000, 400_000])
def test_a_wrong_checksum_is_seen_before_the_last_byte_is_given(kind: str, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    compressor = zstandard.ZstdCompressor(write_checksum=True)
    body = bytearray(zlib.compress(data, 0) if kind == ZLIB else compressor.compress(data))
    body[-1] ^= 1
    server, given = Serving(kind, 1), b""
    with pytest.raises(WireError, match="does not unpack"):
        for piece in cut(_packet(bytes(body), len(data)), [1000]):
            given += unwrapped(server, piece)
    assert len(given) < len(data)
    if size < 1 << 16:
        assert not given


@pytest.mark.parametrize("kind", [ZLIB, ZSTD])
@pytest.mark.parametrize(
    "wrong",
    ["nothing", "says less", "says more", "junk behind", "never ends", "much for little", "truncated"],
)
def test_a_packet_that_lies_is_refused(kind: str, wrong: str) -> None:
    data = packets(b"\3" + b"abc" * 100)
    body = _packed(kind, data)
    lies = {
        "nothing": _packet(b"", 0),
        "says less": _packet(body, len(data) - 1),
        "says more": _packet(body, len(data) + 1),
        "junk behind": _packet(body + b"junk", len(data)),
        "never ends": _packet(body[:-5], len(data)),
        "much for little": _packet(bytes(1 << 16), 100),
        "truncated": _packet(body[:10], len(data)),
    }
    if (kind, wrong) == (ZSTD, "junk behind"):
        return  # what stands behind a frame is never looked at
    server = Serving(kind, 1)
    with pytest.raises(WireError):
        unwrapped(server, lies[wrong])


@given(KINDS, st.binary(max_size=300), st.integers(0, 1000), st.booleans())
def test_garbage_is_refused_or_is_bytes(kind: str, body: bytes, before: int, headed: bool) -> None:
    layer = Serving(kind, 1)
    try:
        unwrapped(layer, _packet(body, before) if headed else body)
    except WireError:
        pass


def test_what_is_agreed() -> None:
    both = c.CLIENT_COMPRESS | c.CLIENT_ZSTD_COMPRESSION_ALGORITHM
    assert (agreed(both), agreed(c.CLIENT_ZSTD_COMPRESSION_ALGORITHM), agreed(0)) == (ZLIB, ZSTD, "")
    assert towards_client(0, 22) is None
    assert towards_server(0) is None
    # A level costs everybody's time: it is bounded.
    high, own = towards_client(c.CLIENT_ZSTD_COMPRESSION_ALGORITHM, 22), Serving(ZSTD, ZSTD_LEVEL)
    assert isinstance(high, Serving)
    text = packets(b"".join(b"%d " % n for n in range(5000)), 1)
    assert high.wrap(text) == own.wrap(text)
