"""Which passwords a database user has, for clients to prove and for the proxy to log in with.

Made by the application from a proxy's configuration; asked by the session's login and by the pool. Never asks a server
and never says whether it is the user or the password that is unknown: an unknown user has no passwords.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import trio

from rdsp.auth.folder import Report, SecretsFolder
from rdsp.config.model import Proxy
from rdsp_codecs import proofs


def _no_report(text: str) -> None:
    """Where nobody listens."""


class Credentials:
    """The passwords of one proxy.

    Sources, newest first: secrets folders (which change while the proxy runs), the target's own user, then the
    `[[proxies.auth]]` entries in their order. `repr` shows how many users there are and nothing else.

    Args:
        settings: the proxy's.
        clock: seconds that never go back; says when to look at folders again.
        report: told once about each secret that cannot be used.
    """

    def __init__(
        self, settings: Proxy, *, clock: Callable[[], float] = time.monotonic, report: Report = _no_report
    ) -> None:
        self._clock = clock
        self._report = report
        self._fixed: dict[str, tuple[str, ...]] = {}
        self._folders: dict[str, SecretsFolder] = {}
        self.open_to_local = False
        self._updates = 0
        self._ahead: tuple[object, ...] = ()
        """What the passwords were when their keys were worked out."""
        self._at_work = trio.Lock()
        self.update(settings)

    def __repr__(self) -> str:
        return f"Credentials(users={len(self._fixed)}, folders={len(self._folders)})"

    def update(self, settings: Proxy) -> None:
        """Take over a new configuration. Folders that stay keep what they know."""
        fixed: dict[str, list[str]] = {}
        target = settings.target
        if target.username is not None and target.password is not None:
            fixed.setdefault(target.username, []).append(target.password.value)
        for entry in settings.auth:
            if entry.username is not None and entry.password is not None:
                fixed.setdefault(entry.username, []).append(entry.password.value)
        self._fixed = {user: tuple(dict.fromkeys(passwords)) for user, passwords in fixed.items()}
        paths = [entry.secrets_folder for entry in settings.auth if entry.secrets_folder is not None]
        self._folders = {path: self._folders.get(path) or SecretsFolder(path, self._report) for path in paths}
        self._updates += 1
        # A folder without a file in it is still a source: its owner wants passwords to be asked for.
        self.open_to_local = not settings.has_passwords

    def passwords(self, user: str) -> tuple[str, ...]:
        """All valid passwords, newest first, each once; empty for an unknown user.

        May read small files of a secrets folder, about once a second at most.
        """
        fixed = self._fixed.get(user, ())
        if not self._folders:
            return fixed
        found: list[str] = []
        now = self._clock()
        for folder in self._folders.values():
            found += folder.passwords(user, now)
        found += fixed
        return tuple(dict.fromkeys(found))

    def are_ahead(self) -> bool:
        """Whether `work_ahead` has nothing to do."""
        return self._version() == self._ahead

    async def work_ahead(self, derive: Callable[[bytes, bytes, int], Awaitable[bytes]], salt_key: bytes) -> None:
        """Have the keys of all users worked out and remembered, before any client proves one.

        To be called for every client, before it has said who it is: so a login never waits for a key of its own, and
        the time of a refusal does not say whether the user is known, nor whether it has been here. Returns at once
        when no password has changed.

        Args:
            derive: remembers what it gives.
            salt_key: the key of clients' salts.

        Cancellation: what was worked out stays so; the next caller does the rest.
        """
        if self.are_ahead():
            return
        async with self._at_work:
            while (version := self._version()) != self._ahead:
                users = set(self._fixed).union(*(folder.users() for folder in self._folders.values()))
                if users:
                    known = [(user, self.passwords(user)) for user in sorted(users)]
                    for password, salt in proofs.keys_of(salt_key, known):
                        proofs.verifier(await derive(password, salt, proofs.ITERATIONS))
                self._ahead = version

    def _version(self) -> tuple[object, ...]:
        if not self._folders:
            return (self._updates,)
        now = self._clock()
        for folder in self._folders.values():
            folder.look(now)
        return (self._updates, *(folder.version for folder in self._folders.values()))

    def knows(self, user: str) -> bool:
        """Whether the user has any password here."""
        return bool(self.passwords(user))
