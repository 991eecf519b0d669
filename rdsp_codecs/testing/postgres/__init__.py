"""PostgreSQL's wire for the kit: strategies of what clients say, and a model of a backend. `WIRE` has both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from hypothesis import strategies as st

from rdsp_codecs.testing.postgres import said
from rdsp_codecs.testing.postgres.server import ModelServer
from rdsp_codecs.testing.postgres.strategies import REQUESTS, frames
from rdsp_codecs.testing.postgres.words import World
from rdsp_codecs.testing.wire import Wire

__all__ = ["WIRE", "ModelServer", "PostgresServer", "PostgresWire", "World"]


class PostgresServer:
    """See `rdsp_codecs.testing.Server`: what a model has flushed."""

    def __init__(self, world: World | None = None, buffer_size: int = 8192) -> None:
        """`buffer_size`: bytes that it says before it flushes by itself."""
        self.model = ModelServer(world or World(), buffer_size)
        self.effects: Sequence[Any] = self.model.inserted

    def feed(self, data: bytes) -> bytes:
        """See `Server`."""
        self.model.feed(data)
        return self.model.take()

    @property
    def in_transaction(self) -> bool:
        """See `Server`."""
        return not self.model.outside

    @property
    def at_rest(self) -> bool:
        """See `Server`."""
        return self.model.at_rest

    @property
    def session(self) -> object:
        """See `Server`: the settings. Prepared statements stand on servers under names of the proxy's."""
        return dict(self.model.settings)


class PostgresWire(Wire):
    """See `Wire`."""

    parameters: ClassVar[Mapping[str, str]] = {
        "server_version": "15.0",
        "client_encoding": "UTF8",
        "TimeZone": "UTC",
        "search_path": "public",
    }
    requests: ClassVar[st.SearchStrategy[bytes]] = REQUESTS
    begin: ClassVar[bytes] = said.query("BEGIN")
    commit: ClassVar[bytes] = said.query("COMMIT")
    changes: ClassVar[Sequence[bytes]] = (said.query("SET work_mem = '5MB'"), said.query("SET TimeZone = 'Japan'"))

    def server(self) -> PostgresServer:
        """See `Wire`."""
        return PostgresServer()

    def long_request(self, size: int) -> bytes:
        """See `Wire`."""
        return said.query("SELECT 1" + " " * size)

    def errors(self, data: bytes) -> int:
        """See `Wire`."""
        found = frames(data)
        for each in found:
            if len(each) < 5 or len(each) != int.from_bytes(each[1:5], "big") + 1:
                msg = f"{each!r} is no message"
                raise ValueError(msg)
        return sum(each[:1] == b"E" for each in found)


WIRE: Final = PostgresWire()
