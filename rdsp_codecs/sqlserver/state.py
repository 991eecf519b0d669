"""What a backend really has, as far as its login and its answers have told."""

from __future__ import annotations

import attrs

from rdsp_codecs.sqlserver.constants import TDS_7_2


@attrs.define(eq=False)
class SqlServerState:
    """See `rdsp_codecs.api.BackendState`.

    Attributes:
        server_parameters: what the server said of itself and of the session at login, see `login`.
        leftover: bytes behind the login.
        version: of the protocol, as LOGINACK has it.
        packet_size: bytes of packets on this connection, with their headers.
        encrypted: all of the connection is.
        strict: it speaks TDS 8.0.
        features: that the server has acknowledged, and its data.
        spid: the server's number for the session.
    """

    server_parameters: dict[str, str]
    leftover: bytes = b""
    version: int = 0
    packet_size: int = 4096
    encrypted: bool = False
    strict: bool = False
    features: dict[int, bytes] = attrs.field(factory=dict)
    spid: int = 0

    @property
    def old(self) -> bool:
        """It speaks 7.1."""
        return self.version < TDS_7_2
