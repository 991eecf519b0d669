"""Challenge and response arithmetic: SCRAM-SHA-256 (RFC 5802, RFC 7677), PostgreSQL's MD5. No wire, no state.

The dear part, PBKDF2, is not here: conversations ask for it (`rdsp_codecs.questions.Derive`).
"""

from __future__ import annotations

import hashlib
import hmac
import stringprep
import unicodedata
from typing import Final

ITERATIONS: Final = 4096
"""What our own side asks of clients, as PostgreSQL's default."""


def sha256_hmac(key: bytes, data: bytes) -> bytes:
    """HMAC-SHA-256."""
    return hmac.digest(key, data, "sha256")


def client_key(salted: bytes) -> bytes:
    """RFC 5802, section 3."""
    return sha256_hmac(salted, b"Client Key")


def stored_key(salted: bytes) -> bytes:
    """RFC 5802, section 3."""
    return hashlib.sha256(client_key(salted)).digest()


def client_proof(salted: bytes, auth_message: bytes) -> bytes:
    """What the client sends."""
    return _xor(client_key(salted), sha256_hmac(stored_key(salted), auth_message))


def proof_holds(salted: bytes, auth_message: bytes, proof: bytes) -> bool:
    """Whether a proof was made with the password behind `salted`. In constant time for a proof of the right length."""
    if len(proof) != hashlib.sha256().digest_size:
        return False
    key = _xor(proof, sha256_hmac(stored_key(salted), auth_message))
    return hmac.compare_digest(hashlib.sha256(key).digest(), stored_key(salted))


def server_signature(salted: bytes, auth_message: bytes) -> bytes:
    """What the server proves itself with."""
    return sha256_hmac(sha256_hmac(salted, b"Server Key"), auth_message)


def _xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def md5_response(user: str, password: str, salt: bytes) -> bytes:
    """What answers AuthenticationMD5Password."""
    inner = hashlib.md5(password.encode() + user.encode(), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()


def prepare_password(password: str) -> bytes:
    """SASLprep (RFC 4013) of a password; one that it prohibits is used as it is, as PostgreSQL does."""
    if password.isascii():
        return password.encode()
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in password if not stringprep.in_table_b1(c))
    prepared = unicodedata.normalize("NFKC", mapped)
    if not prepared or any(_prohibited(c) for c in prepared) or not _bidi_is_fine(prepared):
        return password.encode()
    return prepared.encode()


def _prohibited(c: str) -> bool:
    return (
        stringprep.in_table_c12(c)
        or stringprep.in_table_c21_c22(c)
        or stringprep.in_table_c3(c)
        or stringprep.in_table_c4(c)
        or stringprep.in_table_c5(c)
        or stringprep.in_table_c6(c)
        or stringprep.in_table_c7(c)
        or stringprep.in_table_c8(c)
        or stringprep.in_table_c9(c)
        or stringprep.in_table_a1(c)
    )


def _bidi_is_fine(text: str) -> bool:
    if not any(stringprep.in_table_d1(c) for c in text):
        return True
    if any(stringprep.in_table_d2(c) for c in text):
        return False
    return stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
