"""Proofs by Ed25519 signatures: MariaDB's ed25519 and PARSEC plug-ins. As `proofs`, arithmetic alone.

The first has a key made of a password of any length, which no ordinary signing function takes: it is put together of
the curve's own operations here. The second has a seed, as RFC 8032 has it.
"""

from __future__ import annotations

import hashlib
from typing import Final

from nacl import bindings
from nacl.exceptions import BadSignatureError, CryptoError

from rdsp_codecs.errors import WireError

CHALLENGE: Final = 32
"""Bytes of either plug-in's challenge."""
SIGNATURE: Final = 64
_LAST: Final = 31

PARSEC_SALT: Final = 18
_PARSEC_ITERATIONS: Final = 1024
_PARSEC_MOST: Final = 3


def _secret(password: bytes) -> tuple[bytes, bytes]:
    """The scalar and the prefix (RFC 8032, section 5.1.5), from the password where the RFC has a seed."""
    digest = bytearray(hashlib.sha512(password).digest())
    digest[0] &= 248
    digest[_LAST] = digest[_LAST] & 63 | 64
    return bytes(digest[:32]), bytes(digest[32:])


def ed25519_stored(password: bytes) -> bytes:
    """What a server keeps of a password: the public key, 32 bytes (and shows in base64)."""
    return bindings.crypto_scalarmult_ed25519_base_noclamp(_secret(password)[0])


def ed25519_response(password: bytes, challenge: bytes) -> bytes:
    """client_ed25519: the signature of the challenge (RFC 8032, section 5.1.6). An empty password signs, too."""
    scalar, prefix = _secret(password)
    public = bindings.crypto_scalarmult_ed25519_base_noclamp(scalar)
    r = bindings.crypto_core_ed25519_scalar_reduce(hashlib.sha512(prefix + challenge).digest())
    point = bindings.crypto_scalarmult_ed25519_base_noclamp(r)
    k = bindings.crypto_core_ed25519_scalar_reduce(hashlib.sha512(point + public + challenge).digest())
    product = bindings.crypto_core_ed25519_scalar_mul(k, scalar)
    return point + bindings.crypto_core_ed25519_scalar_add(product, r)


def ed25519_holds(stored: bytes, challenge: bytes, response: bytes) -> bool:
    """Whether it is the signature of who has the password of which `stored` is kept."""
    if len(response) != SIGNATURE:
        return False
    try:
        bindings.crypto_sign_open(response + challenge, stored)
    except (BadSignatureError, CryptoError):
        return False
    return True


def parsec_parameters(data: bytes) -> tuple[int, bytes]:
    """Iterations and salt, out of what the server says about a user. Raises `WireError`, also for too many of them."""
    if len(data) != 2 + PARSEC_SALT or data[:1] != b"P" or data[1] > _PARSEC_MOST:
        msg = "a malformed salt of PARSEC"
        raise WireError(msg)
    return _PARSEC_ITERATIONS << data[1], data[2:]


def parsec_seed(password: bytes, salt: bytes, iterations: int) -> bytes:
    """The seed of the user's key. Dear: some milliseconds."""
    return hashlib.pbkdf2_hmac("sha512", password, salt, iterations, 32)


def parsec_stored(seed: bytes) -> bytes:
    """What a server keeps: the public key, 32 bytes."""
    return bindings.crypto_sign_seed_keypair(seed)[0]


def parsec_whole(public: bytes, salt: bytes, factor: int) -> bytes:
    """All that a server keeps of a user: how the key is made, and the public one."""
    return b"P" + bytes((factor,)) + salt + public


def parsec_response(seed: bytes, challenge: bytes, nonce: bytes) -> bytes:
    """The client's nonce of 32 bytes, and the signature of both."""
    _, secret = bindings.crypto_sign_seed_keypair(seed)
    return nonce + bindings.crypto_sign(challenge + nonce, secret)[:SIGNATURE]


def parsec_holds(stored: bytes, challenge: bytes, response: bytes) -> bool:
    """Whether it was made with the seed of which `stored` is kept."""
    if len(response) != CHALLENGE + SIGNATURE:
        return False
    return ed25519_holds(stored, challenge + response[:CHALLENGE], response[CHALLENGE:])
