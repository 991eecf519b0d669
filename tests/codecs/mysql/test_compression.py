"""Compressed packets, cut anywhere, and ones that lie about what they hold."""

from __future__ import annotations

import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.errors import WireError
from rdsp_codecs.mysql.compression import ZLIB, ZSTD, Packer, Unpacker

KINDS = st.sampled_from([ZLIB, ZSTD])
PIECES = st.lists(
    st.one_of(st.binary(max_size=80), st.integers(1, 7_000).map(lambda size: b"abc" * size)), min_size=1, max_size=5
)


@given(KINDS, PIECES, st.lists(st.integers(0, 400), max_size=8))
def test_what_was_packed_is_unpacked_whatever_the_cuts(kind: str, pieces: list[bytes], cuts: list[int]) -> None:
    packer, unpacker = Packer(kind), Unpacker(kind)
    data = b"".join(packer.pack(piece) for piece in pieces)
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    found = b"".join(unpacker.feed(data[a:b]) for a, b in zip(places, places[1:], strict=False))

    assert found == b"".join(pieces)
    if any(pieces):
        assert unpacker.last == (packer.number - 1) & 0xFF
    if any(len(piece) > 1000 for piece in pieces):
        assert len(data) < len(found)


@pytest.mark.parametrize("kind", [ZLIB, ZSTD])
def test_more_than_16_megabytes_are_several_packets(kind: str) -> None:
    packer, unpacker = Packer(kind), Unpacker(kind)
    data = bytes(0xFFFFFF + 100)

    assert unpacker.feed(packer.pack(data)) == data
    assert (packer.number, unpacker.last) == (2, 1)


def test_what_would_not_shrink_is_sent_as_it_is() -> None:
    short, random = b"x" * 49, bytes(range(256))
    for data in (short, random):
        assert Packer(ZLIB).pack(data) == len(data).to_bytes(3, "little") + b"\0" + bytes(3) + data


def _packet(body: bytes, before: int) -> bytes:
    return len(body).to_bytes(3, "little") + b"\0" + before.to_bytes(3, "little") + body


@pytest.mark.parametrize("kind", [ZLIB, ZSTD])
@pytest.mark.parametrize("said", [1, 99, 101, 1 << 20])
def test_a_packet_that_unpacks_to_more_or_less_than_it_says_is_refused(kind: str, said: int) -> None:
    body = zlib.compress(b"x" * 100) if kind == ZLIB else zstandard.compress(b"x" * 100)
    assert Unpacker(kind).feed(_packet(body, 100)) == b"x" * 100
    with pytest.raises(WireError, match="does not unpack"):
        Unpacker(kind).feed(_packet(body, said))


@pytest.mark.parametrize("kind", [ZLIB, ZSTD])
def test_a_bomb_is_not_unpacked(kind: str) -> None:
    bomb = bytes(1 << 24)
    body = zlib.compress(bomb) if kind == ZLIB else zstandard.compress(bomb)
    assert len(body) < 1 << 15
    with pytest.raises(WireError):
        Unpacker(kind).feed(_packet(body, 1000))


@given(KINDS, st.binary(max_size=100), st.integers(1, 1000))
def test_garbage_is_refused(kind: str, body: bytes, before: int) -> None:
    unpacker = Unpacker(kind)
    try:
        assert len(unpacker.feed(_packet(body, before))) == before
    except WireError:
        pass
