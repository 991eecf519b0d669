"""The few messages that are built or read as messages (PostgreSQL documentation, 55.7 "Message Formats").

Everything else passes as bytes. Bounds are checked; a malformed message is a `WireError`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from rdsp_codecs.errors import WireError
from rdsp_codecs.transaction import Transaction

PROTOCOL_3: Final = 3 << 16
NEWEST: Final = PROTOCOL_3 + 2
"""The newest version that we speak: 3.2 differs from 3.0 in longer cancel keys."""
SSL_REQUEST: Final = 80877103
GSSENC_REQUEST: Final = 80877104
CANCEL_REQUEST: Final = 80877102

ALPN: Final = "postgresql"
"""The protocol's name in a TLS handshake; one that was not asked for by SSLRequest must give it."""

AUTH_OK: Final = 0
AUTH_CLEARTEXT: Final = 3
AUTH_MD5: Final = 5
AUTH_SASL: Final = 10
AUTH_SASL_CONTINUE: Final = 11
AUTH_SASL_FINAL: Final = 12

SCRAM: Final = "SCRAM-SHA-256"
SCRAM_PLUS: Final = "SCRAM-SHA-256-PLUS"

TRANSACTIONS: Final = {ord("I"): Transaction.NONE, ord("T"): Transaction.OPEN, ord("E"): Transaction.FAILED}
"""ReadyForQuery's status."""

_INT = struct.Struct(">I")
_pack: Final = _INT.pack
_with_number: Final = struct.Struct(">cII").pack


def message(tag: bytes, body: bytes = b"") -> bytes:
    """A message with its length."""
    return tag + _pack(len(body) + 4) + body


def untagged(code: int, body: bytes = b"") -> bytes:
    """A start-up packet: length and code, no type byte."""
    return _INT.pack(len(body) + 8) + _INT.pack(code) + body


def startup(user: str, database: str, parameters: Mapping[str, str], protocol: int = PROTOCOL_3) -> bytes:
    """StartupMessage."""
    pairs = {"user": user, "database": database, **parameters}
    body = b"".join(_text(name) + _text(value) for name, value in pairs.items())
    return untagged(protocol, body + b"\0")


def _text(value: str) -> bytes:
    data = value.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        msg = "a start-up value contains NUL"
        raise WireError(msg)
    return data + b"\0"


def read_startup(body: bytes) -> dict[str, str]:
    """The name and value pairs of a StartupMessage, in order; of a repeated name the last value holds.

    Bytes that are not UTF-8 survive a round trip (surrogateescape). Raises `WireError` for a bad layout.
    """
    if not body.endswith(b"\0"):
        msg = "invalid startup packet layout: expected terminator as last byte"
        raise WireError(msg)
    pairs: dict[str, str] = {}
    parts = body.split(b"\0")
    at, end = 0, len(parts) - 2
    while at < end and parts[at]:
        name = parts[at].decode("utf-8", "surrogateescape")
        pairs.pop(name, None)
        pairs[name] = parts[at + 1].decode("utf-8", "surrogateescape")
        at += 2
    if at != end or parts[at]:
        msg = "invalid startup packet layout: expected terminator as last byte"
        raise WireError(msg)
    return pairs


def error(severity: str, code: str, text: str, **more: str) -> bytes:
    """ErrorResponse. `more` are further fields by their one-letter names (D, H, F, R...)."""
    fields = {"S": severity, "V": severity, "C": code, "M": text, **more}
    body = b"".join(name.encode() + value.encode("utf-8", "surrogateescape") + b"\0" for name, value in fields.items())
    return message(b"E", body + b"\0")


def old_error(severity: str, text: str) -> bytes:
    """ErrorResponse of protocol 2 (elog.c, send_message_to_frontend): all that such a client understands."""
    return f"E{severity}:  {text}\n".encode() + b"\0"


def read_fields(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse or NoticeResponse; what is malformed is left out, nothing is raised."""
    fields: dict[str, str] = {}
    for part in body.split(b"\0"):
        if part:
            fields.setdefault(chr(part[0]), part[1:].decode("utf-8", "replace"))
    return fields


def authentication(kind: int, body: bytes = b"") -> bytes:
    """An Authentication message."""
    return _with_number(b"R", len(body) + 8, kind) + body


def parameter_status(name: str, value: str) -> bytes:
    """ParameterStatus."""
    return message(b"S", _text(name) + _text(value))


def backend_key_data(process_id: int, secret: bytes) -> bytes:
    """BackendKeyData."""
    return _with_number(b"K", len(secret) + 8, process_id) + secret


def ready_for_query(status: bytes = b"I") -> bytes:
    """ReadyForQuery."""
    return message(b"Z", status)


def negotiate_protocol_version(protocol: int, unknown: list[str]) -> bytes:
    """NegotiateProtocolVersion: the version that will be spoken, and the options that we do not know."""
    body = _INT.pack(protocol) + _INT.pack(len(unknown)) + b"".join(_text(name) for name in unknown)
    return message(b"v", body)


def read_negotiation(body: bytes) -> tuple[int, list[str]]:
    """Version and unknown options of a NegotiateProtocolVersion. Raises `WireError` for a bad layout."""
    protocol, count = integer(body), integer(body, 4)
    names = body[8:].split(b"\0")
    if len(names) != count + 1 or names.pop() or not all(names):
        msg = "a malformed NegotiateProtocolVersion"
        raise WireError(msg)
    return protocol, [name.decode("utf-8", "surrogateescape") for name in names]


def query(text: str) -> bytes:
    """Query."""
    return message(b"Q", _text(text))


def integer(body: bytes, at: int = 0) -> int:
    """A 4-byte unsigned integer. Raises `WireError` when it is not there."""
    if len(body) < at + 4:
        msg = "a message is too short"
        raise WireError(msg)
    return body[at] << 24 | body[at + 1] << 16 | body[at + 2] << 8 | body[at + 3]


TERMINATE: Final = message(b"X")
SYNC: Final = message(b"S")
FLUSH: Final = message(b"H")
