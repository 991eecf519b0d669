"""The events of a proxy, as a class whose methods do nothing: an observer overrides those it wants.

After Trio's instruments: dispatch lists hold only the hooks that somebody overrides. None is called per chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from rdsp_codecs.pins import PinReason
from rdsp_codecs.problems import Problem


@attrs.frozen
class SessionEnd:
    """How a session ended.

    Attributes:
        reason: one line, for logs.
        blame: "client", "server", "proxy" or "operator".
        detail: more, for logs; never a secret.
    """

    reason: str
    blame: str
    detail: str = ""


class Observer:
    """All hooks. `session` is the client's connection id, `number` a database connection's, `proxy` a proxy's name."""

    def ready(self, proxy: str, address: str, engine: str, target: str) -> None:
        """A listener is open."""

    def session_started(self, session: int, proxy: str, peer: str) -> None:
        """A client connected."""

    def session_admitted(self, session: int, user: str, database: str, tls: bool) -> None:
        """It logged in."""

    def session_ended(self, session: int, end: SessionEnd) -> None:
        """It is gone."""

    def refused(self, proxy: str, peer: str, problem: Problem, user: str) -> None:
        """A client was not let in."""

    def backend_opening(self, proxy: str, number: int) -> None:
        """A database connection is being opened."""

    def backend_opened(self, proxy: str, number: int, server: str, seconds: float) -> None:
        """It is logged in."""

    def backend_open_failed(self, proxy: str, number: int, text: str, transient: bool) -> None:
        """It could not be opened."""

    def backend_closed(self, proxy: str, number: int, why: str) -> None:
        """A database connection is closed."""

    def pinned(self, session: int, number: int, reason: PinReason, detail: str) -> None:
        """A session was pinned; `detail` is a digest, or text when debug logging is on."""

    def unpinned(self, session: int) -> None:
        """What a session was pinned for is gone."""

    def borrow_failed(self, session: int, problem: Problem) -> None:
        """It did not get one."""

    def cancel_asked(self, session: int | None, outcome: str) -> None:
        """A cancel request came (None: for nobody), or could not be delivered."""

    def draining(self, proxy: str) -> None:
        """A proxy lets nobody new in."""

    def reloaded(self, changes: Sequence[Any]) -> None:
        """A new configuration was taken over, as far as each change's reload class allows."""

    def reload_failed(self, text: str) -> None:
        """A new configuration could not be read; the old one stays."""

    def certificate_renewed(self, proxy: str, path: str) -> None:
        """The files of the clients' certificate have changed; new connections are shown the new one."""

    def trouble(self, proxy: str, text: str) -> None:
        """Something of this machine stands in the way (descriptors, memory, an observer that failed)."""
