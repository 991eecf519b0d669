"""Challenge and response arithmetic: SCRAM-SHA-256 (RFC 5802, RFC 7677), PostgreSQL's MD5. No wire, no state.

The dear part, PBKDF2, is not here: conversations ask for it (`rdsp_codecs.questions.Derive`). Compiled: every login
passes it.
"""

from __future__ import annotations

import hashlib
import hmac
import stringprep
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Final

ITERATIONS: Final = 4096
"""What our own side asks of clients, as PostgreSQL's default."""

KEY_BYTES: Final = 32

END_POINT: Final = b"p=tls-server-end-point,,"
"""The GS2 header of an exchange that is bound to the server's certificate (RFC 5802 section 7, RFC 5929)."""

_CANDIDATES: Final = 2
"""Passwords that a proof is compared with at least: a user has two while one is changed."""


_BLOCK: Final = 64
_number: Final = int.from_bytes
_sha256: Final = hashlib.sha256
_INNER: Final = bytes(x ^ 0x36 for x in range(256))
_OUTER: Final = bytes(x ^ 0x5C for x in range(256))


class Keyed:
    """HMAC-SHA-256 with one key (RFC 2104), for many texts.

    What depends on the key alone is worked out once: OpenSSL's own HMAC looks its parts up by name every time, which
    takes three times as long as both hashes.
    """

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = (key if len(key) <= _BLOCK else hashlib.sha256(key).digest()).ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER))
        self._outer = hashlib.sha256(block.translate(_OUTER))

    def of(self, data: bytes) -> bytes:
        """The HMAC of a text."""
        inner = self._inner.copy()
        inner.update(data)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()


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


class Verifier:
    """What a proof is compared with, and what answers it (RFC 5802, section 3): the stored key and the server's key."""

    __slots__ = ("_server", "_signs", "stored")

    def __init__(self, salted: bytes) -> None:
        self.stored: Final = stored_key(salted)
        self._signs: Final = Keyed(self.stored)
        self._server: Final = Keyed(sha256_hmac(salted, b"Server Key"))

    def holds(self, auth_message: bytes, proof: bytes) -> bool:
        """Whether a proof was made with the password. In constant time for a proof of the right length."""
        if len(proof) != KEY_BYTES:
            return False
        key = _xor(proof, self._signs.of(auth_message))
        return hmac.compare_digest(_sha256(key).digest(), self.stored)

    def signature(self, auth_message: bytes) -> bytes:
        """What the server proves itself with."""
        return self._server.of(auth_message)


@lru_cache(maxsize=1 << 16)
def verifier(salted: bytes) -> Verifier:
    """The verifier of a derived key.

    Remembered like `salted` itself, and worked out together with it: how long a proof takes must not tell who is known.
    """
    return Verifier(salted)


def proof_holds(salted: bytes, auth_message: bytes, proof: bytes) -> bool:
    """See `Verifier.holds`."""
    return verifier(salted).holds(auth_message, proof)


def server_signature(salted: bytes, auth_message: bytes) -> bytes:
    """See `Verifier.signature`."""
    return verifier(salted).signature(auth_message)


_keyed = lru_cache(maxsize=64)(Keyed)
"""For keys of this process's own, of which each proxy has one."""


def scram_salt(key: bytes, user: str) -> bytes:
    """The salt that our own side shows a user, whether it is known or not: always the same one while `key` is."""
    return _keyed(key).of(user.encode("utf-8", "surrogateescape"))[:16]


def candidates(key: bytes, salt: bytes, passwords: Sequence[str]) -> list[tuple[bytes, bytes]]:
    """Prepared passwords and salts to compare a user's proof with: its own ones, then nobody's, two at least.

    Args:
        key: the key of salts.
        salt: the user's own, `scram_salt`.
    """
    found = [(_prepared(password), salt) for password in passwords]
    return found + [_nobodys(key)] * (_CANDIDATES - len(found))


@lru_cache(maxsize=64)
def _nobodys(key: bytes) -> tuple[bytes, bytes]:
    """The same for all users: what was worked out for one that is not known is remembered for the next."""
    return key.hex().encode(), key[:16]


def keys_of(key: bytes, users: Iterable[tuple[str, Sequence[str]]]) -> Iterator[tuple[bytes, bytes]]:
    """The passwords and salts of all candidates of all these users: to be derived before anybody proves one.

    Whoever waits for a derivation before he is refused, or does not, learns which users there are.
    """
    for user, passwords in users:
        salt = scram_salt(key, user)
        for password in passwords:
            yield _prepared(password), salt
    yield _nobodys(key)


def _xor(a: bytes, b: bytes) -> bytes:
    """Of two keys."""
    number: int = _number(a, "big") ^ _number(b, "big")
    return number.to_bytes(KEY_BYTES, "big")


def md5_response(user: str, password: str, salt: bytes) -> bytes:
    """What answers AuthenticationMD5Password."""
    inner = hashlib.md5(password.encode() + user.encode("utf-8", "surrogateescape"), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()


def prepare_password(password: str) -> bytes:
    """SASLprep (RFC 4013) of a password; one that it prohibits is used as it is, as PostgreSQL does.

    Bytes that are no UTF-8 may be in it as surrogates (`surrogateescape`).
    """
    if password.isascii():
        return password.encode()
    prepared = unicodedata.normalize("NFKC", "".join(map(_mapped, password)))
    if not prepared or any(map(_prohibited, prepared)) or not _bidi_is_fine(prepared):
        return password.encode("utf-8", "surrogateescape")
    return prepared.encode()


# For passwords of users, which come again and again: that one takes longer than another would tell who is known.
_prepared = lru_cache(maxsize=1 << 14)(prepare_password)


# Verdicts on single characters are remembered, so that a password beyond ASCII takes hardly longer than any other one.


@lru_cache(maxsize=4096)
def _mapped(c: str) -> str:
    return " " if stringprep.in_table_c12(c) else "" if stringprep.in_table_b1(c) else c


@lru_cache(maxsize=4096)
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


_in_table_d1 = lru_cache(maxsize=4096)(stringprep.in_table_d1)


def _bidi_is_fine(text: str) -> bool:
    if not any(map(_in_table_d1, text)):
        return True
    if any(stringprep.in_table_d2(c) for c in text):
        return False
    return stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])
