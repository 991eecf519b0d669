"""What a backend really has, as far as its login and its answers have told."""

from __future__ import annotations

import attrs

from rdsp_codecs.sqlserver.constants import TDS_7_2
from rdsp_codecs.sqlserver.headers import NO_TRANSACTION


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
        descriptor: of the open transaction, zeros without.
        used_by: a token of the session that has run the last statement; None: nobody since its login or a reset.
    """

    server_parameters: dict[str, str]
    leftover: bytes = b""
    version: int = 0
    packet_size: int = 4096
    encrypted: bool = False
    strict: bool = False
    features: dict[int, bytes] = attrs.field(factory=dict)
    spid: int = 0
    descriptor: bytes = NO_TRANSACTION
    used_by: object = None

    @property
    def old(self) -> bool:
        """It speaks 7.1."""
        return self.version < TDS_7_2
