"""Scanners against the plainest thing that could be right."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.errors import WireError
from rdsp_codecs.framing import Framing, interest
from rdsp_codecs.scanning import compile_scanner

_TAGS = b"DZ"


def _framing(most: int) -> Framing:
    return Framing(header=5, length_at=1, length_size=4, little=False, length_adds=1, tag_at=0, max_frame=most)


def _plain(buffer: bytes, position: int, end: int, wanted: bytes, most: int) -> tuple[int, int]:
    while position + 5 <= end:
        (length,) = struct.unpack(">I", buffer[position + 1 : position + 5])
        if length < 4 or length + 1 > most:
            raise WireError("length")
        if buffer[position] in wanted:
            return position, length + 1
        position += length + 1
    return position, 0


_sizes = st.one_of(
    st.integers(0, 300), st.sampled_from([65_530, 65_535, 65_536, 65_540, 1 << 17, 1 << 24, (1 << 30) - 1, 1 << 31])
)


@given(
    st.lists(st.tuples(st.sampled_from(_TAGS), _sizes, st.booleans()), max_size=8),
    st.integers(0, 20),
    st.sampled_from([b"", b"Z", b"DZ"]),
    st.sampled_from([200, 65_536, 70_000, 1 << 30]),
)
def test_frames_of_a_tag_and_a_length_are_cut_as_their_lengths_say(
    frames: list[tuple[int, int, bool]], cut: int, wanted: bytes, most: int
) -> None:
    # Large frames have their lengths only, unless they are among the short ones: what stands behind is a frame or not.
    buffer = b"".join(
        bytes([tag]) + struct.pack(">I", size) + (b"D" * min(max(size - 4, 0), 1 << 17) if whole else b"")
        for tag, size, whole in frames
    )
    end = max(0, len(buffer) - cut)
    scan = compile_scanner(_framing(most))
    try:
        expected = _plain(buffer, 0, end, wanted, most)
    except WireError:
        with pytest.raises(WireError):
            scan(buffer, 0, end, interest(whole=wanted))
    else:
        assert scan(buffer, 0, end, interest(whole=wanted)) == expected
