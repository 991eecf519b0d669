"""How a client names a session that it wants to be ended: COM_PROCESS_KILL, and KILL with a number.

The number is one that the proxy has given, in the greeting, or one that CONNECTION_ID() has told. `relay` asks; other
forms of KILL are refused there.
"""

from __future__ import annotations

import re
from typing import Final

from rdsp_codecs.mysql import responses as r

_LONGEST: Final = 64
_TEXT: Final = re.compile(
    rb"\s*kill\s+(?:(?:hard|soft)\s+)?(?:(query)\s+|connection\s+)?(?:([0-9]{1,10})|connection_id\s*\(\s*\))\s*;?\s*",
    re.IGNORECASE,
).fullmatch
_NUMBER: Final = 4
_BEGINNINGS: Final = frozenset({b"k", b"K", b" ", b"\t", b"\n", b"\r", b"\f", b"\v"})
"""What a KILL can begin with; asked first, because all texts come here."""


def victim_of(command: bytes, own: int, *, attributes: bool) -> tuple[int, bool] | None:
    """The connection id that a whole command names, and whether all of that session is to end; None: it is no KILL.

    Args:
        command: with its first byte.
        own: the client's own.
        attributes: queries have room for attributes.
    """
    if len(command) > _LONGEST:
        return None
    if command[0] == r.COM_PROCESS_KILL:
        return (int.from_bytes(command[1:], "little"), True) if len(command) == 1 + _NUMBER else None
    at = 3 if attributes else 1
    if command[at : at + 1] not in _BEGINNINGS:
        return None
    # A KILL has no backslash, quote or comment: it is read alike in every mode and character set.
    found = _TEXT(command, at)
    if found is None or (attributes and command[1:3] != b"\0\1"):
        return None
    return own if found[2] is None else int(found[2]), found[1] is None
