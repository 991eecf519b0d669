"""How passwords are proved, as arithmetic: both sides of every plug-in. No wire, no state.

What a client answers to a challenge is made by `..._response`; `..._holds` compares one with what is known, in
constant time for answers of the right length. Passwords are bytes: UTF-8 where they came from a configuration.

(MySQL Internals, "Authentication Method"; the plug-ins of MariaDB: `auth_ed25519` and `auth_parsec`.)
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from rdsp_codecs.errors import WireError

NATIVE: Final = b"mysql_native_password"
CACHING: Final = b"caching_sha2_password"
SHA256: Final = b"sha256_password"
CLEAR: Final = b"mysql_clear_password"
ED25519: Final = b"client_ed25519"
PARSEC: Final = b"parsec"

NATIVE_BYTES: Final = 20
CACHING_BYTES: Final = 32

CACHING_WANTS_KEY: Final = b"\x02"
SHA256_WANTS_KEY: Final = b"\x01"
"""A client that has no TLS asks for the server's public key."""
CACHING_FAST: Final = b"\x03"
CACHING_FULL: Final = b"\x04"
"""What a server says to a proof of caching_sha2_password: it holds; it cannot tell, and wants the password itself."""

_MOST_KEY: Final = 1 << 14
_KEY_BITS: Final = (1024, 16384)


def _xor(data: bytes, pad: bytes) -> bytes:
    """Two of the same length."""
    size = len(data)
    return (int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def native_stored(password: bytes) -> bytes:
    """What a server keeps of a password for mysql_native_password (and shows as hexadecimal digits behind a star)."""
    return _sha1(_sha1(password))


def native_response(password: bytes, challenge: bytes) -> bytes:
    """mysql_native_password: b"" for no password."""
    if not password:
        return b""
    return _xor(_sha1(password), _sha1(challenge + native_stored(password)))


def native_holds(stored: bytes, challenge: bytes, response: bytes) -> bool:
    """Whether a response was made with the password of which `stored` is kept."""
    if len(response) != NATIVE_BYTES:
        return False
    return hmac.compare_digest(_sha1(_xor(response, _sha1(challenge + stored))), stored)


def caching_stored(password: bytes) -> bytes:
    """What a server keeps in its cache of a password for caching_sha2_password."""
    return _sha256(_sha256(password))


def caching_response(password: bytes, challenge: bytes) -> bytes:
    """caching_sha2_password: b"" for no password."""
    if not password:
        return b""
    return _xor(_sha256(password), _sha256(caching_stored(password) + challenge))


def caching_holds(stored: bytes, challenge: bytes, response: bytes) -> bool:
    """Whether a response was made with the password of which `stored` is kept."""
    if len(response) != CACHING_BYTES:
        return False
    return hmac.compare_digest(_sha256(_xor(response, _sha256(stored + challenge))), stored)


def certificate_proof(stored: bytes, challenge: bytes, fingerprint: bytes) -> bytes:
    """What MariaDB's servers prove their certificate with, from 11.4 on: the `info` of the OK that ends a login.

    Whoever knows the password can tell by it that nobody stands between, and its clients do where they cannot verify a
    certificate in another way.

    Args:
        stored: what a server keeps of the password: mysql_native_password, ed25519 or PARSEC.
        challenge: the greeting's.
        fingerprint: SHA-256 of the server's certificate, DER.
    """
    return b"\x01" + _sha256(stored + challenge + fingerprint).hex().upper().encode()


def clear_holds(password: bytes, response: bytes) -> bool:
    """Whether it is the password in clear, with or without the NUL that clients put behind it."""
    return hmac.compare_digest(response.removesuffix(b"\0"), password)


def _covered(data: bytes, challenge: bytes) -> bytes:
    """XOR with the challenge, again and again."""
    return _xor(data, (challenge * (len(data) // len(challenge) + 1))[: len(data)])


_OAEP: Final = padding.OAEP(mgf=padding.MGF1(hashes.SHA1()), algorithm=hashes.SHA1(), label=None)  # noqa: S303


def encrypted(password: bytes, challenge: bytes, public_key: bytes) -> bytes:
    """The password for a server whose RSA key this is (PEM), as the two SHA-256 plug-ins take it without TLS.

    Raises `WireError` for what is no such key, and for a password that is too long for it.
    """
    if len(public_key) > _MOST_KEY:
        msg = "the server's public key is too long"
        raise WireError(msg)
    try:
        key = serialization.load_pem_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm) as error:
        msg = "the server's public key cannot be read"
        raise WireError(msg) from error
    low, high = _KEY_BITS
    if not isinstance(key, rsa.RSAPublicKey) or not low <= key.key_size <= high:
        msg = "the server's public key is no RSA key of a reasonable size"
        raise WireError(msg)
    try:
        return key.encrypt(_covered(password + b"\0", challenge), _OAEP)
    except ValueError as error:
        msg = "the password is too long for the server's public key"
        raise WireError(msg) from error


def decrypted(data: bytes, challenge: bytes, private_key: rsa.RSAPrivateKey) -> bytes | None:
    """The password that a client has sent so, with its NUL; None when it is nothing of the kind.

    Takes about a millisecond, with a key of 2048 bits.
    """
    try:
        covered = private_key.decrypt(data, _OAEP)
    except ValueError:
        return None
    return _covered(covered, challenge)
