"""A folder with one JSON file per database user, in the form of AWS Secrets Manager, read again when a file changes.

Owned by `rdsp.auth.credentials`. The clock is the caller's. A file that cannot be used keeps its last good value and
is reported once. No report and no `repr` has a password.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import attrs

from rdsp.config.secret import is_text

Report = Callable[[str], None]
"""Told once about each thing that is wrong: one line, no secrets."""

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the folder."""

MAX_FILE: Final = 65536
"""Bytes. Secrets Manager's own limit for a secret is the same."""

Signature = tuple[int, int, int]


@attrs.define(eq=False)
class _File:
    """What is known of one file: `user` and `password` are of its last good reading, None before there was one."""

    signature: Signature
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)


@attrs.define(eq=False, repr=False)
class SecretsFolder:
    """Passwords by user, as the folder's `*.json` files say.

    Invariant: what was read stays valid until its file is gone or has a new good value.
    """

    path: str
    report: Report
    version: int = attrs.field(default=0, init=False)
    """Another one whenever the passwords may be others."""
    _files: dict[str, _File] = attrs.field(factory=dict, init=False)
    _by_user: dict[str, tuple[str, ...]] = attrs.field(factory=dict, init=False)
    _changed: bool = attrs.field(default=False, init=False)
    _looked: float | None = attrs.field(default=None, init=False)
    _trouble: str = attrs.field(default="", init=False)

    def __repr__(self) -> str:
        return f"SecretsFolder({self.path!r}, files={len(self._files)})"

    def passwords(self, user: str, now: float) -> tuple[str, ...]:
        """All passwords of a user, that of the newest file first; empty when there is none.

        Args:
            user: compared exactly.
            now: seconds of a clock that never goes back. The disk is looked at once in `LOOK_EVERY`.
        """
        self.look(now)
        return self._by_user.get(user, ())

    def users(self) -> Iterable[str]:
        """All users that have a password here, as far as the last look showed."""
        return self._by_user.keys()

    def look(self, now: float) -> None:
        """Look at the disk, unless that was done just now."""
        if self._looked is not None and now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        try:
            names = sorted(entry for entry in os.listdir(self.path) if entry.endswith(".json") and entry[0] != ".")
        except OSError as error:
            self._complain(f"the secrets folder {self.path} cannot be read: {error.strerror}")
            return
        self._trouble = ""
        seen: set[str] = set()
        for name in names:
            if self._look_at(name):
                seen.add(name)
        for name in self._files.keys() - seen:
            del self._files[name]
            self._changed = True
        if self._changed:
            self._changed = False
            self._sort()

    def _sort(self) -> None:
        by_user: dict[str, list[str]] = {}
        for file in sorted(self._files.values(), key=lambda file: file.signature[0], reverse=True):
            if file.user is not None and file.password is not None:
                by_user.setdefault(file.user, []).append(file.password)
        self._by_user = {user: tuple(passwords) for user, passwords in by_user.items()}
        self.version += 1

    def _complain(self, text: str) -> None:
        if text != self._trouble:
            self._trouble = text
            self.report(text)

    def _look_at(self, name: str) -> bool:
        """Whether the file is there."""
        path = Path(self.path, name)
        try:
            # Through links: a secret mounted by an orchestrator is a link that is pointed elsewhere on rotation.
            status = path.stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            self._broken(name, (0, 0, 0), f"cannot be read: {error.strerror}")
            return True
        signature = (status.st_mtime_ns, status.st_size, status.st_ino)
        known = self._files.get(name)
        if known is not None and known.signature == signature:
            return True
        if not stat.S_ISREG(status.st_mode):
            self._broken(name, signature, "is not a file")
        elif status.st_size > MAX_FILE:
            self._broken(name, signature, f"is larger than {MAX_FILE} bytes")
        else:
            self._read(name, path, signature)
        return True

    def _read(self, name: str, path: Path, signature: Signature) -> None:
        try:
            user, password = parse_secret(path.read_bytes())
        except OSError as error:
            self._broken(name, signature, f"cannot be read: {error.strerror}")
        except BadSecret as error:
            self._broken(name, signature, str(error))
        else:
            self._files[name] = _File(signature, user, password)
            self._changed = True

    def _broken(self, name: str, signature: Signature, text: str) -> None:
        known = self._files.get(name)
        if known is None:
            self._files[name] = _File(signature)
        elif known.signature == signature:
            return
        else:
            known.signature = signature
            self._changed = True
        kept = "; its last good value stays valid" if self._files[name].password is not None else ""
        self.report(f"the secret {os.path.join(self.path, name)} {text}{kept}")


class BadSecret(ValueError):
    """A secret's text is not of the form; says why without showing any of it."""


def parse_secret(data: bytes) -> tuple[str, str]:
    """User and password of a secret. Raises `BadSecret`."""
    try:
        secret = json.loads(data)
    except (UnicodeDecodeError, RecursionError):
        raise BadSecret("is not JSON") from None
    except json.JSONDecodeError as error:
        raise BadSecret(f"is not JSON (line {error.lineno}, column {error.colno})") from None
    except ValueError:  # an integer of thousands of digits
        raise BadSecret("is not JSON") from None
    if not isinstance(secret, dict):
        raise BadSecret("is not a JSON object")
    user, password = secret.get("username"), secret.get("password")
    if not isinstance(user, str) or not user:
        raise BadSecret('has no text under "username"')
    if not isinstance(password, str) or not password:
        raise BadSecret('has no text under "password"')
    for key, text in (("username", user), ("password", password)):
        if not is_text(text):  # JSON has escapes for halves of characters
            raise BadSecret(f'has no text under "{key}" that UTF-8 could hold')
    return user, password
