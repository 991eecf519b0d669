"""How a client proves its password, as the server sees it: every plug-in of `proofs` and `edwards`.

Part of `greet`'s conversation. The proxy knows passwords, so a proof of caching_sha2_password is judged at once and the
password itself is never asked for. An unknown user sees the same exchange as a known one with a wrong password.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from rdsp_codecs.api import Offer
from rdsp_codecs.mysql import edwards, proofs
from rdsp_codecs.mysql import messages as m
from rdsp_codecs.mysql.line import Line
from rdsp_codecs.proofs import scram_salt
from rdsp_codecs.questions import PrivateKey
from rdsp_codecs.steps import Ask

METHODS: Final = {
    "caching_sha2_password": proofs.CACHING,
    "mysql_native_password": proofs.NATIVE,
    "ed25519": proofs.ED25519,
    "parsec": proofs.PARSEC,
    "sha256_password": proofs.SHA256,
    "mysql_clear_password": proofs.CLEAR,
}
"""Names for `auth_methods`, and the plug-ins that clients know. The last needs TLS; the one before it does without."""
DEFAULT: Final = ("caching_sha2_password", "mysql_native_password")
OWN_CHALLENGE: Final = (proofs.ED25519, proofs.PARSEC)
"""Plug-ins whose challenge is longer than the greeting's: a greeting does not name them."""
_CANDIDATES: Final = 2
_PARSEC_ITERATIONS: Final = 1024

Judged = Generator[Any, Any, list[bool]]


def challenge_of(entropy: Callable[[int], bytes], size: int = m.CHALLENGE) -> bytes:
    """A challenge without a NUL, and in ASCII without "$": what servers send."""
    return bytes(33 + byte % 90 if 33 + byte % 90 != ord("$") else 126 for byte in entropy(size))


def possible(offer: Offer, *, encrypted: bool) -> list[bytes]:
    """The plug-ins that this connection allows, preferred first."""
    wanted = [METHODS[name] for name in offer.auth_methods or DEFAULT if name in METHODS]
    return [plugin for plugin in wanted if encrypted or plugin != proofs.CLEAR]


class Prover:
    """One client's proof.

    Args:
        offer: of the greeting.
        encrypted: there is TLS.
        line: the connection.

    Attributes:
        challenge: the last one that the client was sent.
        stored: what a server would keep of the password that was proved; b"" for plug-ins of which MariaDB's clients
            make no use of it (`proofs.certificate_proof`).
    """

    def __init__(self, offer: Offer, line: Line, *, encrypted: bool) -> None:
        self._offer = offer
        self._line = line
        self._encrypted = encrypted
        self.challenge = b""
        self.stored = b""

    def holds(
        self, response: m.Response, greeted: bytes, challenge: bytes, passwords: tuple[str, ...]
    ) -> Generator[Any, Any, bool | None]:
        """Whether the client has one of the passwords; None: it has no way to prove one that is allowed.

        A client that has chosen an allowed plug-in of its own keeps it, another one is asked to switch to the first.
        """
        allowed = possible(self._offer, encrypted=self._encrypted)
        if not allowed:
            return None
        self.challenge = challenge
        plugin = response.plugin or proofs.NATIVE
        # The greeting's challenge holds for the plug-in that it named; a client may have answered it for another one.
        answered = plugin not in OWN_CHALLENGE and (plugin == greeted or bool(response.proof))
        if plugin in allowed and answered:
            return (yield from self._holds(plugin, response.user, response.proof, challenge, passwords))
        return (yield from self._switched(allowed[0], response.user, passwords))

    def holds_anew(
        self, asked: m.ChangeUser, challenge: bytes, passwords: tuple[str, ...]
    ) -> Generator[Any, Any, bool | None]:
        """The same for one that has been somebody else until now, and was sent this challenge last; b"": it was none.

        Its proof counts for nothing: as at servers, it is asked for another one. MariaDB's give the same challenge
        again for mysql_native_password, and its clients' library answers that one, whatever it is sent.
        """
        allowed = possible(self._offer, encrypted=self._encrypted)
        if not allowed:
            return None
        plugin = asked.plugin if asked.plugin in allowed else allowed[0]
        again = plugin == proofs.NATIVE and len(challenge) == m.CHALLENGE
        return (yield from self._switched(plugin, asked.user, passwords, challenge if again else b""))

    def _switched(
        self, plugin: bytes, user: bytes, passwords: tuple[str, ...], challenge: bytes = b""
    ) -> Generator[Any, Any, bool]:
        """Ask for a proof by this plug-in, and judge it."""
        long = plugin in OWN_CHALLENGE
        challenge = challenge or challenge_of(self._offer.entropy, edwards.CHALLENGE if long else m.CHALLENGE)
        self.challenge = challenge
        tail = b"" if long else b"\0"
        said = yield from self._line.exchange(m.auth_switch(m.AuthSwitch(plugin, challenge + tail)))
        return (yield from self._holds(plugin, user, said, challenge, passwords))

    def _holds(
        self, plugin: bytes, user: bytes, said: bytes, challenge: bytes, passwords: tuple[str, ...]
    ) -> Generator[Any, Any, bool]:
        known = [password.encode("utf-8", "surrogateescape") for password in passwords if password]
        # For an unknown user the same work is done on a password that nobody has.
        known += [self._offer.entropy(16).hex().encode() for _ in range(_CANDIDATES - len(known))]
        found = yield from self._judge(plugin, user, said, challenge, known)
        return any(found)

    def _judge(self, plugin: bytes, user: bytes, said: bytes, challenge: bytes, known: list[bytes]) -> Judged:
        if plugin == proofs.NATIVE:
            kept = [proofs.native_stored(one) for one in known]
            return self._kept(kept, [proofs.native_holds(one, challenge, said) for one in kept])
        if plugin == proofs.ED25519:
            kept = [edwards.ed25519_stored(one) for one in known]
            return self._kept(kept, [edwards.ed25519_holds(one, challenge, said) for one in kept])
        if plugin == proofs.CACHING:
            found = [proofs.caching_holds(proofs.caching_stored(one), challenge, said) for one in known]
            if any(found):
                yield from self._line.send(m.more_data(proofs.CACHING_FAST))
            return found
        if plugin == proofs.PARSEC:
            return (yield from self._parsec(user, said, challenge, known))
        # MariaDB's clients ask for the key over TLS, too.
        if plugin == proofs.SHA256 and (not self._encrypted or said == proofs.SHA256_WANTS_KEY):
            return (yield from self._sha256(said, challenge, known))
        return [proofs.clear_holds(one, said) for one in known]

    def _parsec(self, user: bytes, said: bytes, challenge: bytes, known: list[bytes]) -> Judged:
        name = user.decode("utf-8", "surrogateescape")
        salt = (scram_salt(self._offer.mock_salt_key, name) * 2)[: edwards.PARSEC_SALT]
        if not said:
            said = yield from self._line.exchange(m.more_data(b"P\0" + salt))
        keys = [edwards.parsec_stored(edwards.parsec_seed(one, salt, _PARSEC_ITERATIONS)) for one in known]
        found = [edwards.parsec_holds(one, challenge, said) for one in keys]
        return self._kept([edwards.parsec_whole(one, salt, 0) for one in keys], found)

    def _kept(self, kept: list[bytes], found: list[bool]) -> list[bool]:
        """Remember what is kept of the password that was proved."""
        if any(found):
            self.stored = kept[found.index(True)]
        return found

    def _sha256(self, said: bytes, challenge: bytes, known: list[bytes]) -> Judged:
        key: RSAPrivateKey = yield Ask(PrivateKey())
        if said == proofs.SHA256_WANTS_KEY:
            said = yield from self._line.exchange(m.more_data(public_pem(key)))
        clear = proofs.decrypted(said, challenge, key)
        return [clear is not None and proofs.clear_holds(one, clear) for one in known]


def public_pem(key: RSAPrivateKey) -> bytes:
    """The public half, as clients ask for it."""
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(encoding, form)
