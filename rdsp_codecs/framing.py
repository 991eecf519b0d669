"""How one direction of one wire is cut into frames: a table of facts, and nothing else.

Engines declare one `Framing` per direction; `rdsp_codecs.scanning` turns it into a scanner. The table never decides
what a frame means.
"""

from __future__ import annotations

import functools
from typing import Final

import attrs

from rdsp_codecs.errors import FrameTooBig, WireError

PASS: Final = 0
"""Interest of a tag: forward the frame in whatever pieces it comes; it is never looked at."""
WHOLE: Final = 1
"""Interest of a tag: hold the frame until it is complete, then ask the judge."""
HEAD: Final = 2
"""Interest of a tag: ask the judge as soon as the head of the frame is there; the rest passes after it."""


@attrs.frozen(cache_hash=True)
class Framing:
    """One direction of one wire.

    | wire | header | length | adds | tag | continuation |
    |---|---|---|---|---|---|
    | PostgreSQL | 5 | @1, 4 bytes, big | 1 | @0 | none |
    | MySQL, MariaDB | 4 | @0, 3 bytes, little | 4 | @4 | payload of 0xFFFFFF |
    | TDS | 8 | @2, 2 bytes, big | 0 | @0 | bit 0 of byte 1 clear |

    Attributes:
        header: bytes needed before length and tag can be read, 4..16. (MySQL's tag is the first payload byte.)
        length_at: offset of the length field.
        length_size: 2, 3 or 4 bytes.
        little: byte order of the length field.
        length_adds: frame bytes = length field + this.
        tag_at: offset of the byte that names the kind of frame.
        full: a payload of this length is continued in the next frame; 0: there is no such rule.
        more_at: offset of a flag byte; -1: there is no such rule.
        more_mask: the frame is the last of its message when this bit is set.
        max_frame: bytes; a longer frame is a `WireError`, and a `FrameTooBig` where the protocol allows it.
        largest: bytes of the longest frame that the protocol allows.
        short_tags: kinds of frames that are never longer than `short_frame` bytes.
        wrong_tags: kinds of frames that there are not.
    """

    header: int = attrs.field(validator=attrs.validators.in_(range(4, 17)))
    length_at: int
    length_size: int = attrs.field(validator=attrs.validators.in_((2, 3, 4)))
    little: bool
    length_adds: int
    tag_at: int
    full: int = 0
    more_at: int = -1
    more_mask: int = 0
    max_frame: int = 1 << 30
    largest: int = 1 << 30
    short_tags: bytes = b""
    short_frame: int = 0
    wrong_tags: bytes = b""

    def limits(self) -> list[int]:
        """The most bytes that a frame of each kind may have, by tag; 0: there is no such kind.

        One list for all equal tables, never to be changed: every session has filters, and 256 entries are 2 KiB.
        """
        return _limits(self)

    def wrong_length(self, total: int) -> WireError:
        """The error for a frame whose length is under `minimum` or over `max_frame`."""
        if self.max_frame < total <= self.largest:
            return FrameTooBig(self.max_frame)
        return WireError(f"frame length {total} is not in {self.minimum}..{self.max_frame}")

    @property
    def minimum(self) -> int:
        """The smallest frame that the length field may declare, in bytes."""
        return max(self.length_at + self.length_size, self.length_adds)


@functools.lru_cache(maxsize=64)
def _limits(framing: Framing) -> list[int]:
    result = [framing.max_frame] * 256
    for tag in framing.short_tags:
        result[tag] = min(framing.short_frame, framing.max_frame)
    for tag in framing.wrong_tags:
        result[tag] = 0
    return result


def interest(whole: bytes = b"", head: bytes = b"") -> bytes:
    """Build an interest table (256 bytes, indexed by tag); every tag not named passes."""
    table = bytearray(256)
    for tag in whole:
        table[tag] = WHOLE
    for tag in head:
        table[tag] = HEAD
    return bytes(table)
