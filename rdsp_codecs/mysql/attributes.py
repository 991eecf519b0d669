"""Query attributes: named values in front of a COM_QUERY's text ("COM_QUERY", CLIENT_QUERY_ATTRIBUTES).

They pass to the server as they are; to look at the text one has to know where it begins.
"""

from __future__ import annotations

from typing import Final

from rdsp_codecs.errors import WireError
from rdsp_codecs.mysql.values import Reader

NONE: Final = b"\0\1"
"""No attributes, in one set of them."""
_SIZES: Final = {0x01: 1, 0x02: 2, 0x03: 4, 0x04: 4, 0x05: 8, 0x08: 8}
"""Of numbers, by the code of their type. Types that no client sends are not here: servers may differ."""
_TIMES: Final = frozenset({0x07, 0x0A, 0x0B, 0x0C})
_LONGEST_TIME: Final = 12
_TEXTS: Final = frozenset({0x0F, 0xF6, 0xFC, 0xFD, 0xFE})
_UNSIGNED: Final = 0x8000
_MOST: Final = 1000


def text_of(body: bytes) -> bytes | None:
    """The text of a COM_QUERY's body; None where it cannot be told where that begins."""
    if body[:2] == NONE:
        return body[2:]
    reader = Reader(body, "query attributes")
    try:
        count, sets = reader.lenenc_integer(), reader.lenenc_integer()
        if sets != 1 or count > _MOST:
            return None
        if count:
            nulls = reader.take((count + 7) // 8)
            if reader.integer(1) != 1:
                return None
            kinds = list[int]()
            for _ in range(count):
                kinds.append(reader.integer(2) & ~_UNSIGNED)
                reader.lenenc()
            for at, kind in enumerate(kinds):
                if not nulls[at // 8] >> at % 8 & 1 and not _skip(reader, kind):
                    return None
        return reader.rest()
    except WireError:
        return None


def _skip(reader: Reader, kind: int) -> bool:
    """Past a value; False where its type is not known."""
    if kind in _TEXTS:
        reader.lenenc()
    elif kind in _TIMES:
        size = reader.integer(1)
        reader.take(size)
        return size <= _LONGEST_TIME
    elif kind in _SIZES:
        reader.take(_SIZES[kind])
    else:
        return False
    return True
