"""PBKDF2-HMAC-SHA-256 in worker threads, remembered: the dear part of SCRAM (RFC 5802 section 2.2, `Hi`).

Answers the question `Derive` of logins on both sides. Never keeps a password: the memory is keyed by a digest made
with a key of this process alone.
"""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from typing import Final

import trio

from rdsp.errors import InternalError

KEY_BYTES: Final = 32
_digest: Final = hashlib.blake2b


class KeyDeriver:
    """Derived keys, the last used ones remembered.

    Invariants: at most `threads` derivations run at once; equal ones asked for at the same time run once; at most
    `remembered` results are kept.

    Args:
        remembered: 0 or more; more than all users have passwords, or time tells who is known (`Credentials`).
        threads: 1 or more. The hash lets other threads run, so two keep a small machine's other core busy at most.
    """

    def __init__(self, *, remembered: int = 1 << 16, threads: int = 2) -> None:
        self._most = remembered
        self._limiter = trio.CapacityLimiter(threads)
        self._digest_key = os.urandom(32)
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._running: dict[bytes, trio.Event] = {}
        self.derived = 0
        """How many were worked out, for statistics and tests; `recalled`: how many were remembered."""
        self.recalled = 0

    def __repr__(self) -> str:
        return f"KeyDeriver(remembered={len(self._known)}, running={len(self._running)})"

    async def derive(self, password: bytes, salt: bytes, iterations: int) -> bytes:
        """The 32 bytes of PBKDF2-HMAC-SHA-256.

        Args:
            password: already prepared (SASLprep), UTF-8.
            salt: any length.
            iterations: 1 or more; capped by whoever asks.

        Cancellation: takes effect at once while it waits for a thread or for somebody else's equal derivation; one
        that has begun is finished first, and remembered. Raises `InternalError` for less than one iteration.
        """
        if iterations < 1:
            raise InternalError(f"a key of {iterations} iterations was asked for")
        key = self._key(password, salt, iterations)
        while True:
            found = self._known.get(key)
            if found is not None:
                self.recalled += 1
                self._known.move_to_end(key)
                await trio.lowlevel.checkpoint()
                return found
            other = self._running.get(key)
            if other is None:
                return await self._derive(key, password, salt, iterations)
            # When the other one was cancelled before it had a thread, there is no result, and we try ourselves.
            await other.wait()

    def recall(self, password: bytes, salt: bytes, iterations: int) -> bytes | None:
        """What `derive` would give, if it is remembered."""
        key = self._key(password, salt, iterations)
        found = self._known.get(key)
        if found is not None:
            self.recalled += 1
            self._known.move_to_end(key)
        return found

    def forget(self) -> None:
        """Drop everything remembered."""
        self._known.clear()

    async def _derive(self, key: bytes, password: bytes, salt: bytes, iterations: int) -> bytes:
        done = self._running[key] = trio.Event()
        try:
            result = await trio.to_thread.run_sync(
                hashlib.pbkdf2_hmac, "sha256", password, salt, iterations, KEY_BYTES, limiter=self._limiter
            )
            self.derived += 1
            self._known[key] = result
            while len(self._known) > self._most:
                self._known.popitem(last=False)
        finally:
            del self._running[key]
            done.set()
        return result

    def _key(self, password: bytes, salt: bytes, iterations: int) -> bytes:
        # Lengths first: "ab" with salt "c" is not "a" with salt "bc".
        # The key comes first and is of one length. As BLAKE2's own key it would take a block of its own.
        text = b"%b%d %d %d %b%b" % (self._digest_key, len(password), len(salt), iterations, password, salt)
        return _digest(text).digest()
