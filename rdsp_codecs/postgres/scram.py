"""SCRAM's messages as the server reads them (RFC 5802, RFC 7677), with PostgreSQL's own complaints (auth-scram.c)."""

from __future__ import annotations

import binascii
import hmac
from typing import Final

from rdsp_codecs import proofs
from rdsp_codecs.postgres.start import Refused, fault
from rdsp_codecs.problems import ProblemCode

_PRINTABLE: Final = bytes(range(0x21, 0x7F))
_END_POINT: Final = b"tls-server-end-point"
_NO_BINDING: Final = (
    "The client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes channel binding data."
)
_NO_DATA: Final = "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data."
_DOWNGRADED: Final = (
    "The client supports SCRAM channel binding but thinks the server does not.  "
    "However, this server does support channel binding."
)


class ClientFirst:
    """A client-first-message: its part behind the GS2 header, the client's nonce, the header."""

    __slots__ = ("bare", "header", "nonce")

    def __init__(self, bare: bytes, nonce: bytes, header: bytes) -> None:
        self.bare: Final = bare
        self.nonce: Final = nonce
        self.header: Final = header


def _malformed(detail: str) -> Refused:
    return fault("08P01", "malformed SCRAM message", D=detail)


def _shown(text: bytes) -> str:
    """The first character as the server shows it in its errors."""
    code = text[0] if text else 0
    return f"'{chr(code)}'" if 0x21 <= code <= 0x7E else f"0x{code:02x}"


class _Attributes:
    """A SCRAM message, one attribute after the other, with the server's own complaints."""

    __slots__ = ("rest",)

    def __init__(self, rest: bytes) -> None:
        self.rest = rest

    def take(self, name: str = "") -> tuple[bytes, bytes]:
        """The next attribute, which must be `name` when that is given: its name and its value."""
        rest = self.rest
        if name and rest[:1] != name.encode():
            raise _malformed(f'Expected attribute "{name}" but found "{_shown(rest)}".')
        if not rest:
            raise _malformed("Attribute expected, but found end of string.")
        if not rest[:1].isalpha():
            raise _malformed(f'Attribute expected, but found invalid character "{_shown(rest)}".')
        if rest[1:2] != b"=":
            raise _malformed(f'Expected character "=" for attribute "{chr(rest[0])}".')
        value, _, self.rest = rest[2:].partition(b",")
        return rest[:1], value


def _whole(body: bytes) -> bytes:
    if not body:
        raise _malformed("The message is empty.")
    if 0 in body:  # asked for as bytes it costs an exception, made and dropped
        raise _malformed("Message length does not match input length.")
    return body


def _header(first: bytes, *, bound: bool, could_bind: bool) -> bytes:
    """The GS2 header: whether the client binds the exchange to its TLS connection, and whether that fits."""
    flag, rest = first[:1], first[1:]
    if flag == b"p":
        if not bound:
            raise _malformed(_NO_BINDING)
        attributes = _Attributes(first)
        _, kind = attributes.take("p")
        if kind != _END_POINT:
            shown = "".join(chr(c) if 0x21 <= c <= 0x7E else "?" for c in kind[:30])
            raise fault("08P01", f'unsupported SCRAM channel-binding type "{shown}"')
        return first[: len(first) - len(attributes.rest)]
    if flag not in (b"n", b"y"):
        raise _malformed(f'Unexpected channel-binding flag "{_shown(flag)}".')
    if bound:
        raise _malformed(_NO_DATA)
    if flag == b"y" and could_bind:
        # Somebody between us may have taken SCRAM-SHA-256-PLUS off our list (RFC 5802, section 6).
        text = "SCRAM channel binding negotiation error"
        raise fault("28000", text, ProblemCode.AUTH_FAILED, D=_DOWNGRADED)
    if rest[:1] != b",":
        raise _malformed(f'Comma expected, but found character "{_shown(rest)}".')
    return first[:2]


def client_first(first: bytes, *, bound: bool, could_bind: bool) -> ClientFirst:
    """Read a client-first-message. Raises `Refused`.

    Args:
        first: the message.
        bound: the client has chosen SCRAM-SHA-256-PLUS.
        could_bind: it was offered that.
    """
    start = _header(_whole(first), bound=bound, could_bind=could_bind)
    rest = first[len(start) :]
    if rest[:1] == b"a":
        text = "client uses authorization identity, but it is not supported"
        raise fault("0A000", text, ProblemCode.UNSUPPORTED)
    if rest[:1] != b",":
        raise _malformed(f'Unexpected attribute "{_shown(rest)}" in client-first-message.')
    bare = rest[1:]
    if bare[:1] == b"m":
        raise fault("0A000", "client requires an unsupported SCRAM extension", ProblemCode.UNSUPPORTED)
    attributes = _Attributes(bare)
    attributes.take("n")
    _, nonce = attributes.take("r")
    if not nonce:  # the server does without; RFC 5802 does not
        raise _malformed("The nonce is empty.")
    if nonce.translate(None, _PRINTABLE):
        raise fault("08P01", "non-printable characters in SCRAM nonce")
    while attributes.rest:
        attributes.take()
    return ClientFirst(bare, nonce, start + b",")


def client_final(body: bytes, nonce: bytes, header: bytes, binding: bytes) -> tuple[bytes, bytes]:
    """Read a client-final-message: the part without the proof, and the proof, 32 bytes. Raises `Refused`.

    Args:
        body: the message.
        nonce: the whole one, ours included.
        header: the GS2 header of the client's first message.
        binding: the hash of our certificate when the exchange is bound to it, else b"".
    """
    attributes = _Attributes(_whole(body))
    _, bound_to = attributes.take("c")
    if bound_to != binascii.b2a_base64(header + binding, newline=False):
        if binding:
            raise fault("28000", "SCRAM channel binding check failed", ProblemCode.AUTH_FAILED)
        raise fault("08P01", "unexpected SCRAM channel-binding attribute in client-final-message")
    _, theirs = attributes.take("r")
    name = value = b""
    while name != b"p":
        without_proof = body[: len(body) - len(attributes.rest) - 1]
        name, value = attributes.take()
    try:
        proof = binascii.a2b_base64(value, strict_mode=True)
    except binascii.Error:
        proof = b""
    if len(proof) != proofs.KEY_BYTES:
        raise _malformed("Malformed proof in client-final-message.")
    if attributes.rest:
        raise _malformed("Garbage found at the end of client-final-message.")
    if not hmac.compare_digest(theirs, nonce):
        raise fault("08P01", "invalid SCRAM response", D="Nonce does not match.")
    return without_proof, proof
