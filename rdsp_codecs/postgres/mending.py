"""A request that gets through although no backend can be brought into its session's state: it changes what is refused.

A role that was dropped would keep its session from ever being served again, even from taking another role. `syncing`
asks what the first request that is held does, and runs it on a backend that has all the rest. UNLISTEN, for which no
role matters, gets through as well. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from rdsp_codecs.postgres.lexer import NAME_BYTES
from rdsp_codecs.postgres.setting_text import EVERYTHING, VALUE, sole_setting
from rdsp_codecs.postgres.settings import AUTHORIZATION, IDENTITY, ROLE, Settings
from rdsp_codecs.postgres.statements import Statement

_BECOME: Final = re.compile(
    rb"\s*(?:reset\s+session\s+authorization|set\s+session\s+authorization\s+%b)\s*;?\s*" % VALUE, re.IGNORECASE
).fullmatch
_UNLISTEN: Final = re.compile(rb"\s*unlisten\s*\*\s*;?\s*", re.IGNORECASE).fullmatch
_DISCARD_ALL: Final = re.compile(rb"\s*discard\s+all\s*;?\s*", re.IGNORECASE).fullmatch
_QUERY: Final = ord("Q")
_SYNC: Final = ord("S")
_HEADER: Final = 5


def mended(text: bytes) -> frozenset[bytes]:
    """Settings that have another value when the text has succeeded, whatever they had before. Most texts: none."""
    if _DISCARD_ALL(text) is not None:
        return frozenset({EVERYTHING, ROLE, AUTHORIZATION})
    if _BECOME(text) is not None:
        return frozenset({ROLE, AUTHORIZATION})
    sole = sole_setting(text)
    return frozenset() if sole is None else frozenset({sole.name})


def needless(text: bytes) -> frozenset[bytes]:
    """Settings that the text can do without: it does the same, whatever they are. Most texts: none."""
    return frozenset({ROLE, AUTHORIZATION}) if _UNLISTEN(text) is not None else mended(text)


def without(settings: Settings, names: frozenset[bytes]) -> dict[bytes, bytes]:
    """The statements of all but these. With `EVERYTHING` among them no plain setting is left."""
    plain = EVERYTHING in names
    return {
        name: text
        for name, text in settings.statements.items()
        if name not in names and not (plain and name not in IDENTITY and b"." not in name)
    }


def first_request(data: bytes, named: Mapping[bytes, Statement], unnamed: Statement | None) -> tuple[bytes, int]:
    """The only text that the first request runs, and how many bytes the request has; (b"", 0) for any other request.

    Arguments:
        data: what the client has sent, from the beginning of a request on.
        named: the session's prepared statements.
        unnamed: the one without a name.
    """
    if data[:1] == b"Q":
        size = int.from_bytes(data[1:_HEADER], "big") + 1
        return (data[_HEADER : size - 1], size) if _HEADER < size <= len(data) else (b"", 0)
    texts: set[bytes | None] = set()
    meant: dict[bytes, bytes | None] = {}
    at = 0
    while len(data) - at >= _HEADER:
        tag, size = data[at], int.from_bytes(data[at + 1 : at + _HEADER], "big") + 1
        body, at = data[at + _HEADER : at + size], at + size
        if size < _HEADER or at > len(data):
            break
        if tag == _SYNC:
            text = texts.pop() if len(texts) == 1 else None
            return (text, at) if text is not None else (b"", 0)
        if tag == ord("P"):
            name, _, rest = body.partition(b"\0")
            text = meant[name[:NAME_BYTES]] = rest.partition(b"\0")[0]
            texts.add(text)
        elif tag == ord("B"):
            name = body.partition(b"\0")[2].partition(b"\0")[0][:NAME_BYTES]
            known = named.get(name) if name else unnamed
            texts.add(meant.get(name, known.text if known is not None else None))
        elif tag not in b"DE":
            break
    return b"", 0
