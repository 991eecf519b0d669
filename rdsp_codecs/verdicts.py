"""What a judge may answer about a frame: see `rdsp_codecs.filtering`, which asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

KEEP: Final = None
"""The judge's answer: forward the frame as it is."""
DROP: Final = b""
"""The judge's answer: forward nothing of the frame. Any other bytes go out in its place."""


class Head(bytes):
    """The judge's answer to a frame that is not shown whole: goes out for what was shown, and the rest follows it.

    Bytes of any other kind replace the whole frame, and its rest is dropped: a rest that is let through behind
    complete frames would be read as frames.
    """

    __slots__ = ()


STOP: Final = b"\xffSTOP"
"""The judge's answer, compared by identity: forward nothing from this frame on, keep it for `resume`."""

Judge = Callable[[int, bytes, int, int, int], bytes | None]
"""`judge(tag, buffer, start, shown, total)`: the frame's first `shown` bytes stand at `buffer[start:start + shown]`.

`shown == total` unless the frame is over the filter's `max_whole` (or its tag's interest is HEAD): then the rest passes
unseen behind KEEP or a `Head`, and is dropped behind any other answer. A judge may change `interest`.
"""
