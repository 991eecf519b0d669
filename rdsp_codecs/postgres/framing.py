"""PostgreSQL's framing after start-up, and which messages a relay looks at.

The tags are the protocol's own (PostgreSQL documentation, 55.7 "Message Formats").
"""

from __future__ import annotations

import functools
from typing import Final

from rdsp_codecs.filtering import Wire
from rdsp_codecs.framing import Framing, interest

_KNOWN: Final = b"QFXBPCDEHSdcf"
_SHORT_FRAME: Final = 10001
"""The type byte and PQ_SMALL_MESSAGE_LIMIT (libpq.h)."""


@functools.lru_cache(maxsize=64)
def client_framing(max_frame: int) -> Framing:
    """After start-up: one type byte, then a length that counts itself but not the type byte.

    Which messages there are and which are short is PostgreSQL's own rule (postgres.c, SocketBackend).
    """
    return Framing(
        header=5,
        length_at=1,
        length_size=4,
        little=False,
        length_adds=1,
        tag_at=0,
        max_frame=max_frame,
        short_tags=b"XCDEHScf",
        short_frame=_SHORT_FRAME,
        wrong_tags=bytes(tag for tag in range(256) if tag not in _KNOWN),
    )


@functools.lru_cache(maxsize=64)
def client_wire(max_frame: int) -> Wire:
    """What filters need of `client_framing`."""
    return Wire(client_framing(max_frame))


SERVER_FRAMING: Final = Framing(header=5, length_at=1, length_size=4, little=False, length_adds=1, tag_at=0)
"""The same from the server, which is believed in how long its messages are, up to 1 GiB."""

SERVER_WIRE: Final = Wire(SERVER_FRAMING)

CLIENT_INTEREST: Final = interest(whole=bytes(tag for tag in range(256) if tag != ord("d")))
"""From the client every message owes something or is an error; only CopyData streams through."""

SERVER_SIMPLE: Final = interest(whole=b"CEZGSA")
"""From the server while only simple queries and function calls are owed."""

SERVER_EXTENDED: Final = interest(whole=b"CEZGSA123IsntTN")
"""From the server while messages of the extended protocol are owed: every reply is matched one by one, notices too."""

SERVER_ASKING: Final = interest(whole=b"CEZGSA123IsntTDN")
"""From the server while it owes answers to the proxy's own queries: rows may not be the client's."""
