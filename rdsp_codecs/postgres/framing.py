"""PostgreSQL's framing after start-up, and which messages a relay looks at.

The tags are the protocol's own (PostgreSQL documentation, 55.7 "Message Formats").
"""

from __future__ import annotations

from typing import Final

from rdsp_codecs.framing import Framing, interest


def framing(max_frame: int) -> Framing:
    """Both directions after start-up: one type byte, then a length that counts itself but not the type byte."""
    return Framing(header=5, length_at=1, length_size=4, little=False, length_adds=1, tag_at=0, max_frame=max_frame)


CLIENT_INTEREST: Final = interest(whole=bytes(tag for tag in range(256) if tag != ord("d")))
"""From the client every message owes something or is an error; only CopyData streams through."""

SERVER_SIMPLE: Final = interest(whole=b"CEZGS")
"""From the server while only simple queries and function calls are owed."""

SERVER_EXTENDED: Final = interest(whole=b"CEZGS123IsntT")
"""From the server while messages of the extended protocol are owed: every reply is matched one by one."""
