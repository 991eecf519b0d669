"""What proves a password and what does not. That real servers and clients think so, too, is shown in tests/live."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.errors import WireError
from rdsp_codecs.mysql import edwards as e
from rdsp_codecs.mysql import proofs as p

PASSWORDS = st.binary(min_size=1, max_size=60).filter(lambda password: not password.endswith(b"\0"))
"""Without NUL at the end, that HMAC (PARSEC) does not tell from none."""
CHALLENGES = st.binary(min_size=20, max_size=20)
LONG_CHALLENGES = st.binary(min_size=32, max_size=32)
KEY = rsa.generate_private_key(65537, 2048)
PEM = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

WAYS = {
    "native": (p.native_stored, p.native_response, p.native_holds),
    "caching": (p.caching_stored, p.caching_response, p.caching_holds),
    "ed25519": (e.ed25519_stored, e.ed25519_response, e.ed25519_holds),
    "parsec": (
        lambda password: e.parsec_stored(e.parsec_seed(password, b"s" * 18, 10)),
        lambda password, challenge: e.parsec_response(e.parsec_seed(password, b"s" * 18, 10), challenge, b"n" * 32),
        e.parsec_holds,
    ),
}
Way = tuple[Callable[..., bytes], Callable[..., bytes], Callable[..., bool]]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@given(PASSWORDS, PASSWORDS, LONG_CHALLENGES, LONG_CHALLENGES, st.integers(0, 95), st.integers(1, 255))
def test_the_right_password_proves_itself_and_nothing_else_does(
    way: Way, password: bytes, other: bytes, challenge: bytes, later: bytes, at: int, change: int
) -> None:
    stored, respond, holds = way
    proof = respond(password, challenge)
    kept = stored(password)

    assert holds(kept, challenge, proof)
    assert holds(stored(other), challenge, proof) is (other == password)
    assert holds(kept, later, proof) is (later == challenge)
    assert not holds(kept, challenge, b"")
    assert not holds(kept, challenge, proof[:-1])
    assert not holds(kept, challenge, proof + b"\0")
    wrong = bytearray(proof)
    wrong[at % len(proof)] ^= change
    assert not holds(kept, challenge, bytes(wrong))


def test_no_password_is_proved_by_nothing() -> None:
    assert p.native_response(b"", b"c" * 20) == p.caching_response(b"", b"c" * 20) == b""
    for stored, _, holds in (WAYS["native"], WAYS["caching"]):
        assert not holds(stored(b""), b"c" * 20, b"")


def test_known_values() -> None:
    """What MySQL and MariaDB themselves say of these passwords."""
    assert p.native_stored(b"password").hex().upper() == "2470C0C06DEE42FD1618BB99005ADCA2EC9D1E19"
    assert base64.b64encode(e.ed25519_stored(b"secret")) == b"ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY="


@given(PASSWORDS, CHALLENGES)
def test_a_password_that_was_encrypted_is_read_by_who_has_the_key(password: bytes, challenge: bytes) -> None:
    data = p.encrypted(password, challenge, PEM)

    assert p.decrypted(data, challenge, KEY) == password + b"\0"
    assert p.decrypted(data[:-1], challenge, KEY) is None
    assert p.decrypted(bytes(256), challenge, KEY) is None
    assert p.decrypted(data, b"x" * 20, KEY) != password + b"\0" or challenge == b"x" * 20


def test_what_is_no_fitting_key_is_refused() -> None:
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    other = curve.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for key in (b"", b"-----BEGIN PUBLIC KEY-----\n", PEM[:-40], other, PEM + b" " * (1 << 14)):
        with pytest.raises(WireError, match="public key"):
            p.encrypted(b"secret", b"c" * 20, key)
    with pytest.raises(WireError, match="too long"):
        p.encrypted(b"x" * 214, b"c" * 20, PEM)
    p.encrypted(b"x" * 213, b"c" * 20, PEM)


def test_a_password_in_clear_is_compared_whole() -> None:
    assert p.clear_holds(b"secret", b"secret\0")
    assert p.clear_holds(b"secret", b"secret")
    assert not p.clear_holds(b"secret", b"secre\0")
    assert not p.clear_holds(b"secret", b"secret\0\0")


@pytest.mark.parametrize("data", [b"", b"P", b"P\x00" + b"s" * 17, b"P\x04" + b"s" * 18, b"Q\x00" + b"s" * 18])
def test_salts_that_cannot_be_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        e.parsec_parameters(data)


def test_a_salt_says_how_often() -> None:
    assert e.parsec_parameters(b"P\x00" + b"s" * 18) == (1024, b"s" * 18)
    assert e.parsec_parameters(b"P\x03" + b"s" * 18) == (8192, b"s" * 18)
