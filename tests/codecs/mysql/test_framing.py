"""Packets, cut anywhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.errors import FrameTooBig, WireError
from rdsp_codecs.mysql.framing import FULL, HEADER, SERVER_FRAMING, PacketReader, packets

PAYLOADS = st.lists(st.binary(max_size=40), max_size=6)


def _pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in zip(places, places[1:], strict=False)]


@given(PAYLOADS, st.lists(st.integers(0, 300), max_size=10), st.integers(0, 255))
def test_payloads_come_out_as_they_went_in_whatever_the_cuts(
    payloads: list[bytes], cuts: list[int], first: int
) -> None:
    data = b"".join(packets(payload, first + index) for index, payload in enumerate(payloads))
    reader = PacketReader()
    reader.begin(first)
    found: list[bytes] = []
    for piece in _pieces(data, cuts):
        reader.feed(piece)
        while (payload := reader.next()) is not None:
            found.append(payload)

    assert found == payloads
    assert reader.between


def test_every_split_of_a_few_packets_gives_the_same() -> None:
    payloads = [b"", b"a", b"bcd" * 5, b""]
    data = b"".join(packets(payload, index) for index, payload in enumerate(payloads))
    for cut in range(len(data) + 1):
        reader = PacketReader()
        found = []
        for piece in (data[:cut], data[cut:]):
            reader.feed(piece)
            while (payload := reader.next()) is not None:
                found.append(payload)
        assert found == payloads


@pytest.mark.parametrize("size", [FULL - 1, FULL, FULL + 1, 2 * FULL - 1, 2 * FULL, 2 * FULL + 7])
def test_a_payload_of_16_megabytes_and_more_is_continued(size: int) -> None:
    payload = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    data = packets(payload, 254)
    reader = PacketReader()
    reader.begin(254)
    count = size // FULL + 1

    assert len(data) == size + count * HEADER
    assert data[3] == 254
    reader.feed(data[:-1])
    assert reader.next() is None
    assert reader.needed == 1
    reader.feed(data[-1:])
    assert reader.next() == payload
    assert reader.last == (254 + count - 1) & 0xFF
    assert reader.between


def test_what_is_needed_leads_from_packet_to_packet_without_a_byte_too_many() -> None:
    data = packets(b"x" * 10) + packets(b"y", 1)
    reader, at, found = PacketReader(), 0, []
    while len(found) < 2:
        size = reader.needed
        reader.feed(data[at : at + size])
        at += size
        if (payload := reader.next()) is not None:
            found.append((payload, at))

    assert found == [(b"x" * 10, 14), (b"y", 19)]


def test_a_payload_over_the_limit_is_refused_by_its_head_alone() -> None:
    reader = PacketReader(most=100)
    reader.feed(packets(b"x" * 100) + packets(b"x" * 101, 1)[:4])

    assert reader.next() == b"x" * 100
    with pytest.raises(FrameTooBig):
        reader.next()


def test_the_parts_of_a_payload_count_together() -> None:
    reader = PacketReader(most=FULL + 10)
    reader.feed(packets(b"x" * (FULL + 11))[: FULL + 2 * HEADER])

    with pytest.raises(FrameTooBig):
        reader.next()


def test_a_packet_out_of_order_is_an_error_and_not_where_nobody_counts() -> None:
    reader = PacketReader()
    reader.feed(packets(b"a", 0) + packets(b"b", 2))
    assert reader.next() == b"a"
    with pytest.raises(WireError, match="packet 2 came where 1 was due"):
        reader.next()

    free = PacketReader(strict=False)
    free.feed(packets(b"a", 7) + packets(b"b", 2))
    assert (free.next(), free.next()) == (b"a", b"b")


def test_the_tables_say_what_a_packet_is() -> None:
    assert SERVER_FRAMING.full == FULL
    assert SERVER_FRAMING.minimum == HEADER
    assert SERVER_FRAMING.max_frame == FULL + HEADER
