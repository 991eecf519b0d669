"""The clients' certificate, followed as its files change; and what a login is bound to."""

from __future__ import annotations

import hashlib
import os
import ssl
from pathlib import Path
from typing import Any

import attrs
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from rdsp.config.model import ClientTls
from rdsp.net.tls import Certificates, end_point, self_signed
from tests.live.test_tls import certificate, der, write_pair


@attrs.define
class Files:
    """A certificate on disk, and what was said about it."""

    folder: Path
    said: list[str] = attrs.field(factory=list)
    renewed: list[str] = attrs.field(factory=list)

    @property
    def settings(self) -> ClientTls:
        return ClientTls(certificate=str(self.folder / "proxy.crt"), private_key=str(self.folder / "proxy.key"))

    def write(self) -> bytes:
        """A new pair; returns the hash of the certificate."""
        pair = self_signed(["localhost"])
        write_pair(self.folder, pair)
        return hashlib.sha256(der(pair[0])).digest()

    def follow(self) -> Certificates:
        return Certificates(self.settings, "postgresql", renewed=self.renewed.append, report=self.said.append)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def _now(certificates: Certificates) -> bytes:
    assert certificates.current is not None
    return certificates.current.end_point


def test_changed_files_are_used_when_two_looks_saw_them_alike(files: Files) -> None:
    first = files.write()
    certificates = files.follow()
    context = certificates.current
    for _ in range(3):
        certificates.look()
    assert certificates.current is context, "nothing has changed, and nothing was read"

    second = files.write()
    certificates.look()
    assert _now(certificates) == first, "whoever writes them may be at it"
    certificates.look()
    assert _now(certificates) == second
    assert files.renewed == [str(files.folder / "proxy.crt")]
    assert files.said == []


def test_files_that_go_on_changing_are_waited_for(files: Files) -> None:
    first = files.write()
    certificates = files.follow()
    for size in range(1, 5):
        (files.folder / "proxy.crt").write_bytes(b"x" * size)
        certificates.look()
    assert _now(certificates) == first
    assert files.said == []


def test_a_broken_pair_is_reported_once_and_a_good_one_behind_it_is_used(files: Files) -> None:
    first = files.write()
    certificates = files.follow()
    (files.folder / "proxy.crt").write_bytes(self_signed(["localhost"])[0])  # of another key
    for _ in range(5):
        certificates.look()
    assert _now(certificates) == first
    assert len(files.said) == 1
    assert "stays in use" in files.said[0]
    second = files.write()
    certificates.look()
    certificates.look()
    assert _now(certificates) == second


def test_what_is_gone_is_reported_once_and_used_when_it_is_back(files: Files) -> None:
    first = files.write()
    certificates = files.follow()
    (files.folder / "proxy.key").rename(files.folder / "kept")
    for _ in range(4):
        certificates.look()
    assert len(files.said) == 1
    assert _now(certificates) == first
    (files.folder / "kept").rename(files.folder / "proxy.key")
    for _ in range(2):
        certificates.look()
    assert len(files.said) == 1
    assert _now(certificates) == first


def test_a_link_that_is_pointed_elsewhere_is_a_change(files: Files) -> None:
    """As an orchestrator mounts secrets: the folder is a link, and all files change at once."""
    for name in ("one", "two"):
        (files.folder / name).mkdir()
        write_pair(files.folder / name, self_signed([name]))
    link = files.folder / "now"
    link.symlink_to("one")
    settings = ClientTls(certificate=str(link / "proxy.crt"), private_key=str(link / "proxy.key"))
    certificates = Certificates(settings, renewed=files.renewed.append)
    before = _now(certificates)
    (files.folder / "next").symlink_to("two")
    os.replace(files.folder / "next", link)
    certificates.look()
    certificates.look()
    assert _now(certificates) != before
    assert len(files.renewed) == 1


def test_settings_are_read_whole_or_not_at_all(files: Files) -> None:
    first = files.write()
    certificates = files.follow()
    with pytest.raises(OSError, match="No such file"):
        certificates.prepare(ClientTls(certificate=str(files.folder / "none"), private_key=str(files.folder / "none")))
    assert _now(certificates) == first
    second = files.write()
    prepared = certificates.prepare(files.settings)
    assert _now(certificates) == first
    certificates.use(prepared)
    assert _now(certificates) == second
    certificates.use(certificates.prepare(ClientTls(enabled=False)))
    assert certificates.current is None
    certificates.look()


def test_a_self_signed_certificate_stays_the_same_over_a_reload() -> None:
    certificates = Certificates(ClientTls())
    context = certificates.current
    certificates.use(certificates.prepare(ClientTls()))
    assert certificates.current is context
    certificates.use(certificates.prepare(ClientTls(self_signed_names=("other",))))
    assert certificates.current is not context


def test_a_chain_is_bound_to_its_first_certificate(files: Files) -> None:
    leaf, other = self_signed(["leaf"]), self_signed(["other"])
    write_pair(files.folder, (leaf[0] + other[0], leaf[1]))
    assert _now(files.follow()) == hashlib.sha256(der(leaf[0])).digest()


RSA_KEY = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    ("key", "algorithm", "more", "expected"),
    [
        (RSA_KEY, hashes.SHA256(), {}, "sha256"),
        (RSA_KEY, hashes.SHA384(), {}, "sha384"),
        (RSA_KEY, hashes.SHA512(), {}, "sha512"),
        (RSA_KEY, hashes.SHA224(), {}, "sha224"),
        (
            RSA_KEY,
            hashes.SHA512(),
            {"rsa_padding": padding.PSS(padding.MGF1(hashes.SHA512()), padding.PSS.DIGEST_LENGTH)},
            "sha512",
        ),
        (ec.generate_private_key(ec.SECP384R1()), hashes.SHA384(), {}, "sha384"),
        (ec.generate_private_key(ec.SECP256R1()), hashes.SHA256(), {}, "sha256"),
        (ed25519.Ed25519PrivateKey.generate(), None, {}, ""),
    ],
)
def test_the_hash_that_binds_is_that_of_the_signature(key: Any, algorithm: Any, more: Any, expected: str) -> None:
    """RFC 5929, section 4.1."""
    shown = der(certificate(key, algorithm, **more)[0])
    assert end_point(shown) == (hashlib.new(expected, shown).digest() if expected else b"")


@pytest.mark.parametrize("weak", ["md5", "sha1"])
def test_a_weak_hash_is_replaced(weak: str) -> None:
    """RFC 5929: SHA-256 for MD5 and SHA-1. Signers of today make none, so openssl's identifiers are put in by hand."""
    shown = bytearray(der(certificate(RSA_KEY, hashes.SHA256())[0]))
    ours, theirs = (bytes.fromhex("2a864886f70d0101") + bytes([n]) for n in (0x0B, {"md5": 4, "sha1": 5}[weak]))
    changed = bytes(shown.replace(ours, theirs))
    assert changed != bytes(shown)
    assert end_point(changed) == hashlib.sha256(changed).digest()


@pytest.mark.parametrize("nothing", [b"", b"nonsense", b"\x30\x82\x01\x00"])
def test_what_is_no_certificate_binds_to_nothing(nothing: bytes) -> None:
    assert end_point(nothing) == b""


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(files: Files) -> None:
    files.write()
    key = serialization.load_pem_private_key((files.folder / "proxy.key").read_bytes(), None)
    (files.folder / "proxy.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x")
        )
    )
    with pytest.raises(ssl.SSLError, match="encrypted"):
        files.follow()
