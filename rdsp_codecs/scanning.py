"""Scanners: walk over frames by their length fields and stop at the first one somebody is interested in.

`compile_scanner` makes one from a `Framing` table; `rdsp_codecs.filtering` calls it. A scanner looks at headers only,
allocates nothing per frame, and is the one place that a compiled module may replace.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable

from rdsp_codecs.framing import Framing

Scanner = Callable[[bytes, int, int, bytes], tuple[int, int]]
"""`scan(buffer, position, end, interest)` starts at a frame boundary and returns `(stop, total)`:

* total > 0: the interesting frame of `total` bytes begins at `stop` (it may reach beyond `end`);
* total == 0, stop > end: all passed, and the last passing frame still owes `stop - end` bytes;
* total == 0, stop <= end: all passed but a header that is cut off at `stop`.

Raises `WireError` for a length that is too small or over `max_frame`.
"""

_FORMATS = {(2, False): ">H", (2, True): "<H", (4, False): ">I", (4, True): "<I", (3, True): "<I", (3, False): ">I"}


@functools.lru_cache(maxsize=64)
def compile_scanner(framing: Framing) -> Scanner:
    """The scanner of one framing table, which all its filters share. A 3-byte length is read as 4 bytes and masked."""
    if _is_tag_and_length(framing):
        return _tag_and_length(framing)
    at, mask, shift = framing.length_at, (1 << (8 * framing.length_size)) - 1, 0
    if framing.length_size == 3 and not framing.little:
        shift = 8
    if framing.length_size == 3 and framing.header < at + 4:
        msg = "a 3-byte length needs a fourth byte in the header"
        raise ValueError(msg)
    unpack = struct.Struct(_FORMATS[framing.length_size, framing.little]).unpack_from
    header, adds, tag_at = framing.header, framing.length_adds, framing.tag_at
    minimum, maximum = framing.minimum, framing.max_frame

    def scan(buffer: bytes, position: int, end: int, interest: bytes) -> tuple[int, int]:
        last = end - header
        while position <= last:
            total = (unpack(buffer, position + at)[0] >> shift & mask) + adds
            if total < minimum or total > maximum:
                raise framing.wrong_length(total)
            if interest[buffer[position + tag_at]]:
                return position, total
            position += total
        return position, 0

    return scan


def _is_tag_and_length(framing: Framing) -> bool:
    """Whether a frame begins with one byte for its kind and four for its length, the highest first."""
    length = (framing.length_at, framing.length_size, framing.little)
    return framing.header == 5 and framing.tag_at == 0 and length == (1, 4, False)


def _tag_and_length(framing: Framing) -> Scanner:
    """The scanner of that frequent form, without a call per frame: compiled, it takes a tenth of the time.

    Large results are scanned row by row, so this is most of what they cost.
    """
    minimum, maximum, adds = framing.minimum, framing.max_frame, framing.length_adds

    def scan(buffer: bytes, position: int, end: int, interest: bytes) -> tuple[int, int]:
        least, most, more, last = minimum, maximum, adds, end - 5
        while position <= last:
            total = (buffer[position + 3] << 8 | buffer[position + 4]) + more
            high = buffer[position + 1] << 8 | buffer[position + 2]
            if high:
                total += high << 16
            if total < least or total > most:
                raise framing.wrong_length(total)
            if interest[buffer[position]]:
                return position, total
            position += total
        return position, 0

    return scan
