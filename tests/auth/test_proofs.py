"""The arithmetic of challenges, against the standard library's own."""

from __future__ import annotations

import hmac

from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs import proofs


@given(st.binary(max_size=200), st.lists(st.binary(max_size=300), min_size=1, max_size=3))
def test_a_key_that_is_prepared_gives_the_hmac_of_every_text(key: bytes, texts: list[bytes]) -> None:
    keyed = proofs.Keyed(key)
    assert [keyed.of(text) for text in texts] == [hmac.digest(key, text, "sha256") for text in texts]


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.binary(max_size=40))
def test_only_the_proof_that_was_made_with_the_key_holds(salted: bytes, text: bytes, other: bytes) -> None:
    proof = proofs.client_proof(salted, text)
    assert proofs.proof_holds(salted, text, proof)
    assert proofs.proof_holds(salted, text, other) is (other == proof)
    assert not proofs.proof_holds(salted, text + b"x", proof)
    assert not proofs.proof_holds(salted, text, proof[:-1])
    assert proofs.server_signature(salted, text) == hmac.digest(
        hmac.digest(salted, b"Server Key", "sha256"), text, "sha256"
    )
