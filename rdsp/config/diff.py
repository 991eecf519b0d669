"""What differs between two configurations, and what it takes to have each difference in force.

Called on reload. Pure. Proxies are matched by name. Values are shown as text, secrets hidden.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import attrs

from rdsp.config.model import Config, Proxy, Reload, UserAuth, settings, tables

NOT_SET: Final = "(not set)"
_OTHER_SECRET: Final = "(another secret)"  # noqa: S105 - a word for people, not a secret


@attrs.frozen
class Change:
    """One difference.

    Attributes:
        path: `proxies[NAME].target_group.max_backends`.
        old, new: as text; `(not set)` for what is not there; never a secret.
        reload: what it takes.
    """

    path: str
    old: str
    new: str
    reload: Reload

    def __str__(self) -> str:
        return f"{self.path}: {self.old} -> {self.new} ({self.reload.help})"


def compare(old: Config, new: Config) -> list[Change]:
    """All differences, in the order of the model; proxies that are gone or new at the end."""
    changes = list(_plain(old.logging, new.logging, "logging"))
    before = {proxy.name: proxy for proxy in old.proxies}
    after = {proxy.name: proxy for proxy in new.proxies}
    for name, proxy in before.items():
        if name in after:
            changes += _proxy(proxy, after[name], f"proxies[{name}]")
    for name in before.keys() - after.keys():
        changes.append(Change(f"proxies[{name}]", "there", NOT_SET, Reload.RESTART))
    for name in after.keys() - before.keys():
        changes.append(Change(f"proxies[{name}]", NOT_SET, "there", Reload.RESTART))
    return changes


def _proxy(old: Proxy, new: Proxy, path: str) -> Iterator[Change]:
    yield from _plain(old, new, path)
    for key, table in tables(Proxy).items():
        if not table.many:
            yield from _plain(getattr(old, key), getattr(new, key), f"{path}.{key}")
    if old.auth != new.auth:
        before, after = _users(old.auth), _users(new.auth)
        yield Change(f"{path}.auth", before, _OTHER_SECRET if before == after else after, Reload.NEW_SESSIONS)


def _plain(old: Any, new: Any, path: str) -> Iterator[Change]:
    for key, about in settings(type(old)).items():
        before, after = getattr(old, key, None), getattr(new, key, None)
        if before == after:
            continue
        texts = [NOT_SET if value is None else about.kind.show(value) for value in (before, after)]
        if texts[0] == texts[1]:
            texts[1] = _OTHER_SECRET
        yield Change(f"{path}.{key}", texts[0], texts[1], about.reload)


def _users(entries: tuple[UserAuth, ...]) -> str:
    names = [entry.username or f"folder {entry.secrets_folder}" for entry in entries]
    return ", ".join(names) or NOT_SET
