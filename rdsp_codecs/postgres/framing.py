"""PostgreSQL's framing after start-up, and which messages a relay looks at.

The tags are the protocol's own (PostgreSQL documentation, 55.7 "Message Formats").
"""

from __future__ import annotations

from typing import Final

from rdsp_codecs.framing import Framing, interest


def framing(max_frame: int) -> Framing:
    """Both directions after start-up: one type byte, then a length that counts itself but not the type byte."""
    return Framing(
        header=5, length_at=1, length_size=4, little=False, length_adds=1, tag_at=0, max_frame=max_frame
    )


CLIENT_INTEREST: Final = interest(whole=bytes(tag for tag in range(256) if tag != ord("d")))
"""From the client every message owes something or is an error; only CopyData streams through."""

SERVER_QUIET: Final = interest(whole=b"CEZGHWS")
"""From the server while everything owed is plain: tags, errors, the end, COPY, parameters."""

SERVER_NOTED: Final = interest(whole=b"CEZGHWS123IsntTVA")
"""From the server while some reply is to be swallowed or remembered: every reply is matched one by one."""
