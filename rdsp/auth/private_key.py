"""An RSA key of this process, for clients that encrypt a password with it where there is no TLS.

Few engines' clients do so, and of those few: it is made when the first one asks, in a thread.
"""

from __future__ import annotations

from typing import Final

import trio
from cryptography.hazmat.primitives.asymmetric import rsa

_BITS: Final = 2048
_EXPONENT: Final = 65537


class PrivateKey:
    """Made once. `repr` shows nothing of it.

    Attributes:
        latest: the key, None as long as nobody has asked for it.
    """

    def __init__(self) -> None:
        self.latest: rsa.RSAPrivateKey | None = None
        self._at_work = trio.Lock()

    async def get(self) -> rsa.RSAPrivateKey:
        """The key. Cancellation: one that is being made is finished, and thrown away."""
        async with self._at_work:
            if self.latest is None:
                self.latest = await trio.to_thread.run_sync(rsa.generate_private_key, _EXPONENT, _BITS)
            return self.latest
