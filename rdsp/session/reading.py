"""How a session's peers are read: how much at once, for how long, and to their end. Compiled, as `splice` is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from rdsp.net.moving import received
from rdsp.net.transport import WOULD_BLOCK
from rdsp_codecs.api import Relay

CHUNK: Final = 65536
"""Bytes per read."""
READS: Final = 8
"""Reads per step before other sessions get their turn, if none is long."""
LONG: Final = 0.002
"""Seconds that a read, and all that comes of it, may take before others get their turn."""
LEAST: Final = 4096
START: Final = 8192
"""Bytes of a session's first reads, before anything is known of what it asks for."""


def paced(chunk: int, seconds: float) -> int:
    """Bytes for the next read, after one of `chunk` bytes that took so long: 64 KiB of tiny statements take 30 ms."""
    return max(LEAST, chunk >> 2) if seconds > LONG else min(CHUNK, chunk << 1)


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
