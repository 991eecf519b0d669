"""How a session's peers are read: how much at once, for how long, and to their end. Compiled, as `splice` is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rdsp.net.moving import received
from rdsp.net.transport import WOULD_BLOCK
from rdsp_codecs.relaying import Relay

CHUNK: Final = 65536
"""Bytes per read."""
READS: Final = 8
"""Reads per step before other sessions get their turn, if none is long."""
LONG: Final = 0.002
"""Seconds that a read, and all that comes of it, may take before others get their turn."""
FEW: Final = 479
"""Bytes per read where no more are likely to come: Python's own allocator has room for so many (512, less the header of
`bytes`). For more the C library takes memory from the top of its heap, and gives it back, for every message.
"""
MANY_READS: Final = 16
"""Reads for much data, behind one that found much: an answer that is read in two pieces is sent on in two."""
LEAST: Final = 4096
START: Final = 8192
"""Bytes of a session's first reads, before anything is known of what it asks for."""


def paced(chunk: int, seconds: float) -> int:
    """Bytes for the next read, after one of `chunk` bytes that took so long: 64 KiB of tiny statements take 30 ms."""
    return max(LEAST, chunk >> 2) if seconds > LONG else min(CHUNK, chunk << 1)


def many_left(many: int, size: int) -> int:
    """How many reads for much data are still to come, after one that found `size` bytes."""
    if size >= FEW:
        return MANY_READS
    return many - 1 if many else 0


def left_the_queue(relay: Relay, recv: Callable[[int], bytes]) -> bool:
    """Whether a client whose request waits, and whose end of the stream is told of, has left without a good-bye.

    What it has said before that is held in the relay.
    """
    while not relay.holds_too_much:
        try:
            data = received(recv, CHUNK)
        except WOULD_BLOCK:
            return False
        if not data:
            return not relay.holds_goodbye()
        relay.from_client(data)
    return True
