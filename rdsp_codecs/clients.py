"""A client that logs in, as codecs and the runtime know it. A plain class and compiled: a login looks here often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final


class ClientLogin:
    """A client that got in. `leftover` and `welcome` are set when it is in; nothing changes after that.

    Attributes:
        user: database user.
        database: database name, resolved to the engine's default when the client gave none.
        parameters: start-up parameters other than user and database, as sent.
        protocol: engine-specific version number.
        tls: the client's side is encrypted.
        leftover: bytes that came behind the login; the relay's first input.
        welcome: what it was told about the server.
        own_backend: what it speaks cannot be shared (PostgreSQL: replication): a backend is opened for it alone, as
            the server makes it, and closed with it.
    """

    __slots__ = ("database", "leftover", "own_backend", "parameters", "protocol", "tls", "user", "welcome")

    def __init__(
        self,
        user: str,
        database: str,
        parameters: Mapping[str, str],
        protocol: int,
        tls: bool,
        leftover: bytes = b"",
        welcome: Any = None,
        own_backend: bool = False,
    ) -> None:
        self.user: Final = user
        self.database: Final = database
        self.parameters: Final = parameters
        self.protocol: Final = protocol
        self.tls: Final = tls
        self.leftover = leftover
        self.welcome = welcome
        self.own_backend: Final = own_backend

    def __repr__(self) -> str:
        return f"ClientLogin({self.user!r}, {self.database!r}, {self.parameters!r})"
