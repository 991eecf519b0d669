"""Texts that are one SET or RESET of one setting and nothing else: what they do is known without asking the server.

`session_state` calls it. A pattern decides: what does not match is no such text, whatever it may be.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from rdsp_codecs.postgres.lexer import NAME_BYTES
from rdsp_codecs.postgres.settings import AUTHORIZATION, ENCODING, ROLE

EVERYTHING: Final = b"*"
"""In place of a name: any setting (with no dot in it)."""
CHARACTERISTICS: Final = b"characteristics"
OF_TRANSACTIONS: Final = (
    b"default_transaction_isolation", b"default_transaction_read_only", b"default_transaction_deferrable"
)  # fmt: skip
"""What SET SESSION CHARACTERISTICS AS TRANSACTION sets, one of them or all."""
FORMS: Final = {
    b"time": (b"timezone", 2),
    b"names": (ENCODING, 1),
    b"schema": (b"search_path", 1),
    b"xml": (b"xmloption", 2),
    CHARACTERISTICS: (CHARACTERISTICS, 1),
}
"""Settings that SET and RESET name by words of their own, and how many those are (SET TIME ZONE, SET XML OPTION...)."""


@attrs.frozen
class Sole:
    """What such a text does when it succeeds outside a transaction.

    Attributes:
        name: the setting, lower case; `EVERYTHING` for RESET ALL.
        statement: what sets it again (see `settings`), None where it goes back to its value at login.
    """

    name: bytes
    statement: bytes | None


VALUE: Final = rb"""(?:[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)|'(?:[^'\\\n\r]|'')*'|"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)"""
"""A pattern: one value in plain words."""
_SET: Final = re.compile(
    rb"\s*set\s+(?:session\s+(?!authorization\b|characteristics\b))?"
    rb"(?:(?P<name>[a-z_][a-z0-9_$]*(?:\.[a-z_][a-z0-9_$]*)*)(?:\s*=\s*|\s+to\s+)"
    rb"|(?P<special>time\s+zone|role|names)\s+)"
    rb"(?P<value>%b(?:\s*,\s*%b)*)\s*;?\s*" % (VALUE, VALUE),
    re.IGNORECASE,
).fullmatch
_RESET: Final = re.compile(
    rb"\s*(?:reset\s+(?P<name>time\s+zone|[a-z_][a-z0-9_$]*(?:\.[a-z_][a-z0-9_$]*)*)|set\s+(?:session\s+)?names)\s*;?\s*",
    re.IGNORECASE,
).fullmatch
_LONGEST: Final = 4096
"""Bytes; a longer text is left to the server."""
_NOT_SETTINGS: Final = frozenset(
    b"local session transaction constraints xml names schema seed transaction_isolation transaction_read_only"
    b" transaction_deferrable sort_mem vacuum_mem".split()
)
"""Names that mean something else behind SET, or that end with their transaction, or that are old ones for others."""
_RELATIVE: Final = frozenset({b"datestyle"})
"""Settings whose new value depends on the old one: `SET DateStyle = 'DMY'` leaves the output format as it is."""


def sole_setting(text: bytes) -> Sole | None:
    """What the text does if it is one SET or RESET of one setting in plain words; None if it is not surely that."""
    if len(text) > _LONGEST or not text.isascii() or b"\\" in text or b"\0" in text:
        return None
    found = _SET(text)
    if found is not None:
        special, value = found["special"], found["value"]
        name = found["name"].lower() if special is None else _special(special)
        if name in _NOT_SETTINGS or name == AUTHORIZATION:
            return None
        if len(name) > NAME_BYTES and any(len(part) > NAME_BYTES for part in name.split(b".")):
            return None  # less of it counts
        if value.lower() in (b"default", b"local") and (value.lower() == b"default" or name == b"timezone"):
            return None if b"." in name or name == ROLE else Sole(name, None)
        if name in _RELATIVE:
            return None
        words = special if special is not None and name != ENCODING else (found["name"] or ENCODING) + b" ="
        return Sole(name, b"SET %b %b" % (words, value))
    found = _RESET(text)
    if found is None:
        return None
    name = _special(found["name"]) if found["name"] is not None else ENCODING
    if b"." in name or name in _NOT_SETTINGS or name == AUTHORIZATION or name == b"session":
        return None  # a custom variable keeps an empty value: the server is asked
    return Sole(EVERYTHING if name == b"all" else name, None)


def _special(words: bytes) -> bytes:
    parts = words.lower().split()
    name, size = FORMS.get(parts[0], (parts[0], 1))
    return name if len(parts) == size else parts[0]
