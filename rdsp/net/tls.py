"""TLS for clients: certificates from PEM files, followed as the files change, or self-signed, made at start.

`rdsp.app` makes `Certificates` and has it look at the files; a handshake itself is `rdsp.net.transport`'s.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
import ssl
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from rdsp.config.model import ClientTls

_VALID_DAYS: Final = 825
LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the files."""

Signature = tuple[tuple[int, int, int] | str, ...]


def end_point(certificate: bytes) -> bytes:
    """The hash of a certificate (DER) for the channel binding "tls-server-end-point" (RFC 5929, section 4.1).

    b"" for no certificate, and for one whose signature has no single hash function (Ed25519): it binds to nothing.
    """
    try:
        parsed = x509.load_der_x509_certificate(certificate)
        algorithm = parsed.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return b""
    if algorithm is None:
        return b""
    return parsed.fingerprint(hashes.SHA256() if isinstance(algorithm, (hashes.MD5, hashes.SHA1)) else algorithm)


@attrs.frozen
class ServerTls:
    """What clients are shown.

    Attributes:
        context: for handshakes.
        end_point: see `end_point`, of the certificate that it shows.
        fingerprint: SHA-256 of that one; b"" where it could not be read.
    """

    context: ssl.SSLContext
    end_point: bytes
    fingerprint: bytes = b""


@attrs.frozen
class Prepared:
    """Settings, what was made of them, and what their files looked like before they were read."""

    settings: ClientTls
    tls: ServerTls | None
    signature: Signature = ()


def _nothing(text: str) -> None:
    """Where nobody listens."""


class Certificates:
    """What the clients of one proxy are shown, now.

    Invariant: `current` comes from files that were whole and fit together; what is broken changes nothing.

    Args:
        settings: the proxy's.
        alpn: the engine's name in handshakes, "" for none.
        renewed: called with the certificate's path when other files are in use.
        report: called once for files that cannot be used.

    Raises `OSError` or `ssl.SSLError` for files that cannot be used.
    """

    def __init__(
        self,
        settings: ClientTls,
        alpn: str = "",
        *,
        renewed: Callable[[str], None] = _nothing,
        report: Callable[[str], None] = _nothing,
    ) -> None:
        self._alpn = alpn
        self._renewed = renewed
        self._report = report
        self._seen: Signature | None = None
        self._used = Prepared(settings, None)
        self.use(self._read(settings))

    @property
    def current(self) -> ServerTls | None:
        """For the next handshake; None: TLS is not offered."""
        return self._used.tls

    def prepare(self, settings: ClientTls) -> Prepared:
        """Read what new settings name, to be taken over by `use`. Files are read anew also under the same names.

        Raises `OSError` or `ssl.SSLError` for files that cannot be used.
        """
        if settings == self._used.settings and settings.certificate is None:
            return self._used
        return self._read(settings)

    def use(self, prepared: Prepared) -> None:
        """From now on."""
        self._used, self._seen = prepared, prepared.signature

    def look(self) -> None:
        """Take over changed files, once two looks have seen them alike: who writes them is at it until then.

        Connections that exist keep theirs. Files that cannot be used are reported once, and the ones in use stay.
        """
        settings = self._used.settings
        if self._used.tls is None or settings.certificate is None:
            return
        signature = _signature(settings)
        if signature == self._used.signature:
            return
        if signature != self._seen:
            self._seen = signature
            return
        try:
            self.use(self._read(settings))
        except OSError as error:
            self._used = attrs.evolve(self._used, signature=signature)
            self._report(
                f"the certificate {settings.certificate} has changed and cannot be used: {_text(error)}; "
                "the one that was read before stays in use"
            )
        else:
            self._renewed(settings.certificate)

    def _read(self, settings: ClientTls) -> Prepared:
        if not settings.enabled:
            return Prepared(settings, None)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # No tickets: sessions are not resumed, as at the server, and nothing comes unasked behind a handshake.
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
        context.num_tickets = 0
        if self._alpn:
            context.set_alpn_protocols([self._alpn])
        signature = _signature(settings)
        if settings.certificate is not None:
            return Prepared(settings, _load(context, settings.certificate, settings.private_key), signature)
        certificate, key = self_signed(settings.self_signed_names)
        with tempfile.TemporaryDirectory(prefix="rdsp-") as folder:
            # `ssl` reads chains from files only; this one exists for an instant, readable by its owner alone.
            path = Path(folder) / "chain.pem"
            path.touch(mode=0o600)
            path.write_bytes(key + certificate)
            return Prepared(settings, _load(context, str(path), None), signature)


def _load(context: ssl.SSLContext, certificate: str, key: str | None) -> ServerTls:
    context.load_cert_chain(certificate, key, password=_no_password)
    try:
        leaf = x509.load_pem_x509_certificates(Path(certificate).read_bytes())[0]
    except ValueError:  # OpenSSL reads it, and this reader does not
        return ServerTls(context, b"")
    shown = leaf.public_bytes(serialization.Encoding.DER)
    return ServerTls(context, end_point(shown), hashlib.sha256(shown).digest())


def _no_password() -> NoReturn:
    """Else OpenSSL would ask for it on the terminal."""
    raise ssl.SSLError("the private key is encrypted")


def _text(error: OSError) -> str:
    return error.strerror or (getattr(error, "reason", None) and str(error.reason)) or str(error)  # type: ignore[attr-defined]


def _signature(settings: ClientTls) -> Signature:
    """What the files look like from outside; through links, which an orchestrator points elsewhere."""
    found: list[tuple[int, int, int] | str] = []
    for path in (settings.certificate, settings.private_key):
        if path is None:
            continue
        try:
            status = os.stat(path)
        except OSError as error:
            found.append(str(error.strerror))
        else:
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


def self_signed(names: Sequence[str]) -> tuple[bytes, bytes]:
    """A certificate for these host names and addresses, and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "rdsp")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=_VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
