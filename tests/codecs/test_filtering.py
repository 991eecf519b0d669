"""The chunk filter against a frame-by-frame reference: same bytes out, whatever the splits, for every wire."""

from __future__ import annotations

import struct
from collections.abc import Callable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.errors import FrameTooBig, WireError
from rdsp_codecs.filtering import HEAD_BYTES, ChunkFilter
from rdsp_codecs.framing import Framing, interest
from rdsp_codecs.postgres.framing import client_framing
from rdsp_codecs.scanning import compile_scanner
from rdsp_codecs.verdicts import DROP, KEEP, STOP


@attrs.frozen
class Wire:
    """A framing and how to build a frame of it."""

    framing: Framing
    build: Callable[[int, bytes], bytes]


def _postgres(tag: int, body: bytes) -> bytes:
    return bytes([tag]) + struct.pack(">I", len(body) + 4) + body


def _mysql(tag: int, body: bytes) -> bytes:
    return struct.pack("<I", len(body) + 1)[:3] + b"\x07" + bytes([tag]) + body


def _tds(tag: int, body: bytes) -> bytes:
    return bytes([tag, 1]) + struct.pack(">H", len(body) + 8) + b"\0\0\0\0" + body


WIRES = {
    "postgres": Wire(Framing(header=5, length_at=1, length_size=4, little=False, length_adds=1, tag_at=0), _postgres),
    "mysql": Wire(Framing(header=5, length_at=0, length_size=3, little=True, length_adds=4, tag_at=4), _mysql),
    "tds": Wire(Framing(header=8, length_at=2, length_size=2, little=False, length_adds=0, tag_at=0), _tds),
}

KEPT, DROPPED, REPLACED, PASSING = ord("K"), ord("D"), ord("R"), ord("P")
INTEREST = interest(whole=bytes([KEPT, DROPPED, REPLACED]))


def judge(tag: int, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
    if tag == DROPPED:
        return DROP
    if tag == REPLACED:
        return b"<replaced>"
    return KEEP


def expected(wire: Wire, frames: list[tuple[int, bytes]]) -> bytes:
    out = b""
    for tag, body in frames:
        out += {DROPPED: b"", REPLACED: b"<replaced>"}.get(tag, wire.build(tag, body))
    return out


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:], strict=False) if a < b]


FRAMES = st.lists(st.tuples(st.sampled_from([KEPT, DROPPED, REPLACED, PASSING]), st.binary(max_size=60)), max_size=12)
CUTS = st.lists(st.integers(min_value=0, max_value=2000), max_size=20)


@pytest.mark.parametrize("name", WIRES)
@given(frames=FRAMES, cuts=CUTS)
def test_any_split_gives_the_bytes_of_a_frame_by_frame_reference(name: str, frames, cuts) -> None:
    wire = WIRES[name]
    out: list[bytes] = []
    filter_ = ChunkFilter(wire.framing, INTEREST, judge, out, max_whole=1 << 20)
    data = b"".join(wire.build(tag, body) for tag, body in frames)
    for chunk in split(data, cuts):
        filter_.push(chunk)

    assert b"".join(out) == expected(wire, frames)
    assert filter_.empty


@pytest.mark.parametrize("name", WIRES)
@given(frames=FRAMES, cuts=CUTS, rest=st.integers(min_value=1, max_value=200))
def test_a_cut_stream_forwards_nothing_that_was_not_judged(name: str, frames, cuts, rest) -> None:
    wire = WIRES[name]
    out: list[bytes] = []
    filter_ = ChunkFilter(wire.framing, INTEREST, judge, out, max_whole=1 << 20)
    data = b"".join(wire.build(tag, body) for tag, body in frames)
    for chunk in split(data[: max(0, len(data) - rest)], cuts):
        filter_.push(chunk)

    assert expected(wire, frames).startswith(b"".join(out))


@given(tag=st.sampled_from([KEPT, DROPPED]), size=st.integers(HEAD_BYTES, 5 * HEAD_BYTES), cuts=CUTS)
def test_a_frame_over_the_limit_is_judged_by_its_head_and_the_rest_follows(tag: int, size: int, cuts) -> None:
    wire = WIRES["postgres"]
    out: list[bytes] = []
    shown_sizes: list[tuple[int, int]] = []

    def watch(tag: int, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        shown_sizes.append((shown, total))
        return judge(tag, buffer, start, shown, total)

    filter_ = ChunkFilter(wire.framing, INTEREST, watch, out, max_whole=100)
    data = wire.build(tag, b"x" * size) + wire.build(PASSING, b"after")
    for chunk in split(data, cuts):
        filter_.push(chunk)

    assert b"".join(out) == (b"" if tag == DROPPED else wire.build(tag, b"x" * size)) + wire.build(PASSING, b"after")
    assert shown_sizes[0][0] >= HEAD_BYTES
    assert len(shown_sizes) == 1


def test_a_chunk_in_which_all_is_kept_leaves_as_the_same_object() -> None:
    out: list[bytes] = []
    filter_ = ChunkFilter(WIRES["postgres"].framing, INTEREST, judge, out, max_whole=100)
    data = _postgres(PASSING, b"one") + _postgres(KEPT, b"two")
    filter_.push(data)

    assert out[0] is data


@given(cuts=CUTS)
def test_a_stopped_frame_is_judged_again_and_nothing_behind_it_is_lost(cuts) -> None:
    out: list[bytes] = []
    stops = [True]

    def stopping(tag: int, buffer: bytes, start: int, shown: int, total: int) -> bytes | None:
        return STOP if tag == KEPT and stops[0] else KEEP

    filter_ = ChunkFilter(WIRES["postgres"].framing, INTEREST, stopping, out, max_whole=100)
    data = _postgres(PASSING, b"one") + _postgres(KEPT, b"two") + _postgres(PASSING, b"three")
    filter_.push(data)
    assert b"".join(out) == _postgres(PASSING, b"one")

    stops[0] = False
    filter_.resume()
    assert b"".join(out) == data


@given(length=st.one_of(st.integers(0, 3), st.integers(1 << 20, (1 << 32) - 1)))
def test_a_length_out_of_range_is_a_wire_error(length: int) -> None:
    framing = attrs.evolve(WIRES["postgres"].framing, max_frame=1 << 20)
    filter_ = ChunkFilter(framing, INTEREST, judge, [], max_whole=100)

    with pytest.raises(WireError):
        filter_.push(b"P" + struct.pack(">I", length) + b"xxxx")


@given(data=st.binary(max_size=400), cuts=CUTS)
def test_garbage_is_a_wire_error_or_passes_but_is_never_lost_or_doubled(data: bytes, cuts) -> None:
    out: list[bytes] = []
    filter_ = ChunkFilter(WIRES["postgres"].framing, interest(), judge, out, max_whole=100)
    try:
        for chunk in split(data, cuts):
            filter_.push(chunk)
    except WireError:
        return
    assert b"".join(out) + filter_.take() == data


def test_a_legal_frame_over_the_limit_is_told_from_a_broken_length() -> None:
    """Whatever its kind, and however little of it is there."""
    framing = client_framing(100)
    for tag in b"QdPS":
        for length, kind in [(101, FrameTooBig), (1 << 29, FrameTooBig), ((1 << 31) - 1, WireError), (3, WireError)]:
            passing = ChunkFilter(framing, bytes(256), judge, [], 100)
            judging = ChunkFilter(framing, bytes([1]) * 256, judge, [], 100)
            for filtering in (passing, judging):
                with pytest.raises(WireError) as caught:
                    filtering.push(bytes([tag]) + length.to_bytes(4, "big"))
                assert type(caught.value) is kind
                assert getattr(caught.value, "limit", 100) == 100


def test_equal_tables_share_what_is_made_of_them() -> None:
    """Each session has filters of its own, and thousands of sessions may be idle."""
    one, other = client_framing(1000), attrs.evolve(client_framing(1000))
    assert one is not other
    assert compile_scanner(one) is compile_scanner(other)
    assert one.limits() is other.limits()
    assert one.limits() != client_framing(1001).limits()
