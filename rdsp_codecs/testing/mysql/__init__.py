"""MySQL's wire for the kit: strategies of what clients say, and a model of a server. `WIRE` has both.

`CLASSIC` is the same for a client with none of the newer capabilities: EOFs end its results, and it is told no changes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar, Final

from hypothesis import strategies as st

from rdsp_codecs.api import BackendLogin
from rdsp_codecs.clients import ClientLogin
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.framing import PacketReader
from rdsp_codecs.mysql.login import AUTOCOMMIT, CAPABILITIES, COLLATION, change_user
from rdsp_codecs.steps import Conversation
from rdsp_codecs.testing.mysql import said
from rdsp_codecs.testing.mysql.server import ModelServer
from rdsp_codecs.testing.mysql.strategies import REQUESTS
from rdsp_codecs.testing.wire import Server, Wire

__all__ = ["CLASSIC", "WIRE", "ModelServer", "MySqlServer", "MySqlWire"]

_NEWER: Final = c.CLIENT_DEPRECATE_EOF | c.CLIENT_SESSION_TRACK
_SPOKEN: Final = c.ALWAYS | c.TRANSLATED | c.CLIENT_MULTI_RESULTS | c.CLIENT_PS_MULTI_RESULTS | c.CLIENT_DEPRECATE_EOF


class MySqlServer:
    """See `rdsp_codecs.testing.Server`.

    Args:
        flags: that the connection speaks.
        mariadb: the server is of that family.
    """

    def __init__(self, flags: int = _SPOKEN, *, mariadb: bool = False) -> None:
        self.model = ModelServer(flags, mariadb=mariadb)

    def feed(self, data: bytes) -> bytes:
        """See `Server`."""
        return self.model.feed(data)

    @property
    def in_transaction(self) -> bool | None:
        """See `Server`. A server does not tell by its flags whether a statement has begun one with autocommit off, nor
        by an error that it has rolled back.
        """
        model = self.model
        if model.open or model.marked:
            return True
        return None if model.begun else False

    @property
    def at_rest(self) -> bool:
        """See `Server`."""
        return self.model.between

    @property
    def session(self) -> Hashable:
        """See `Server`: settings, but for what is reported of them."""
        model = self.model
        kept = [(name, value) for name, value in model.variables.items() if not name.startswith("session_track_")]
        return model.schema, model.several, model.results, tuple(kept), tuple(sorted(model.own.items()))

    @property
    def effects(self) -> Sequence[Any]:
        """See `Server`."""
        return self.model.inserted


class MySqlWire(Wire):
    """See `Wire`.

    Args:
        classic: clients have no CLIENT_DEPRECATE_EOF and no CLIENT_SESSION_TRACK, as most of them.
    """

    mariadb: ClassVar[bool] = False
    parameters: ClassVar[Mapping[str, str]] = {
        "server_version": "8.4.7",
        CAPABILITIES: str(c.offered(_SPOKEN | c.EQUAL & ~c.EXTENDED, tls=True, zlib=False, zstd=False)),
        COLLATION: "45",
        AUTOCOMMIT: "1",
    }
    requests: ClassVar[st.SearchStrategy[bytes]] = REQUESTS
    begin: ClassVar[bytes] = said.query("BEGIN")
    commit: ClassVar[bytes] = said.query("COMMIT")
    changes: ClassVar[Sequence[bytes]] = (
        said.query("SET time_zone = '+01:00'"),
        said.query("SET NAMES latin1"),
        said.query("SET sql_mode = 'ANSI_QUOTES'"),
        said.query("USE other"),
        said.several(allowed=False),
        said.query("INSERT INTO t VALUES (1)"),
    )

    def __init__(self, *, classic: bool = False) -> None:
        self._lacks = _NEWER if classic else 0

    def server(self) -> MySqlServer:
        """See `Wire`."""
        return MySqlServer(mariadb=self.mariadb)

    def own_server(self) -> MySqlServer:
        """See `Wire`."""
        return MySqlServer(_SPOKEN & ~self._lacks, mariadb=self.mariadb)

    def logged_in(self, server: Server, who: ClientLogin) -> None:
        """See `Wire`."""
        assert isinstance(server, MySqlServer)
        server.model.flags = _SPOKEN & (who.protocol | ~c.CLIENT_DEPRECATE_EOF)

    def client(self, who: ClientLogin) -> ClientLogin:
        """See `Wire`."""
        if not self._lacks:
            return who
        parameters = {**who.parameters, CAPABILITIES: str(int(who.parameters[CAPABILITIES]) & ~self._lacks)}
        return ClientLogin(
            who.user, who.database, parameters, who.protocol & ~self._lacks, who.tls, welcome=who.welcome
        )

    def anew(self, state: Any, how: BackendLogin) -> Conversation[None]:
        """See `Wire`."""
        return change_user(state, how)

    def long_request(self, size: int) -> bytes:
        """See `Wire`."""
        return said.query("SELECT 1" + " " * size)

    def errors(self, data: bytes) -> int:
        """See `Wire`."""
        reader, found = PacketReader(strict=False), 0
        reader.feed(data)
        while (payload := reader.next()) is not None:
            if payload[:1] == bytes((r.ERR,)):
                r.read_err(payload)
                found += 1
        if not reader.between:
            msg = f"{data!r} does not end with a packet"
            raise ValueError(msg)
        return found


WIRE: Final = MySqlWire()
CLASSIC: Final = MySqlWire(classic=True)
