"""PRELOGIN: a list of options with offsets into what stands behind it ([MS-TDS] 2.2.6.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rdsp_codecs.errors import WireError

VERSION: Final = 0
ENCRYPTION: Final = 1
INSTANCE: Final = 2
THREAD_ID: Final = 3
MARS: Final = 4
TRACE_ID: Final = 5
FEDAUTH_REQUIRED: Final = 6
NONCE: Final = 7
TERMINATOR: Final = 0xFF

ENCRYPT_OFF: Final = 0
"""Only the login is encrypted."""
ENCRYPT_ON: Final = 1
ENCRYPT_NOT_SUPPORTED: Final = 2
ENCRYPT_REQUIRED: Final = 3
ENCRYPT_STRICT: Final = 4
"""TLS stands below all of it already (TDS 8.0)."""
ENCRYPT_CLIENT_CERTIFICATE: Final = 0x80
"""A bit: the client proves itself by a certificate. Only inside of Azure."""

_ENTRY: Final = 5

Options = Mapping[int, bytes]


def prelogin(options: Options) -> bytes:
    """The message's data; `options` in their order, `VERSION` first, as the specification wants it."""
    at = _ENTRY * len(options) + 1
    table, values = bytearray(), bytearray()
    for name, value in options.items():
        table += bytes((name,)) + at.to_bytes(2, "big") + len(value).to_bytes(2, "big")
        values += value
        at += len(value)
    return bytes(table) + bytes((TERMINATOR,)) + bytes(values)


def read_prelogin(data: bytes) -> dict[int, bytes]:
    """The options. Those that nobody knows are among them. Raises `WireError`."""
    options: dict[int, bytes] = {}
    at = 0
    while True:
        if at >= len(data):
            msg = "a malformed PRELOGIN: its list has no end"
            raise WireError(msg)
        name = data[at]
        if name == TERMINATOR:
            break
        if at + _ENTRY > len(data):
            msg = "a malformed PRELOGIN: half an option"
            raise WireError(msg)
        offset, size = int.from_bytes(data[at + 1 : at + 3], "big"), int.from_bytes(data[at + 3 : at + 5], "big")
        if offset + size > len(data):
            msg = f"a malformed PRELOGIN: option {name} ends behind it"
            raise WireError(msg)
        if name in options:
            msg = f"a malformed PRELOGIN: option {name} comes twice"
            raise WireError(msg)
        options[name] = data[offset : offset + size]
        at += _ENTRY
    if next(iter(options), None) != VERSION:
        msg = "a malformed PRELOGIN: it does not begin with VERSION"
        raise WireError(msg)
    return options


def option(options: Options, name: int, default: int) -> int:
    """An option of one byte."""
    value = options.get(name, b"")
    return value[0] if value else default
