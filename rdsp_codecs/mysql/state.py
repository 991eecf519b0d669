"""What one MySQL or MariaDB backend really has: the codec's side of a database connection."""

from __future__ import annotations

from rdsp_codecs.mysql.responses import Ok


class MySqlState:
    """See `rdsp_codecs.api.BackendState`.

    Attributes:
        server_parameters: what the server said of itself at login: "server_version".
        leftover: bytes behind the login.
        connection_id: the server's, for KILL.
        offered: the server's flags; capabilities: those that the connection speaks.
        collation: the server's default, its lower 8 bits.
        encrypted: the connection uses TLS.
        challenge: the greeting's, which COM_CHANGE_USER answers, too.
        plugin: how the password was proved.
        welcome: the OK that ended the login, with what it says of the session.
    """

    def __init__(self, server_version: str) -> None:
        self.server_parameters = {"server_version": server_version}
        self.leftover = b""
        self.connection_id = 0
        self.offered = 0
        self.capabilities = 0
        self.collation = 0
        self.encrypted = False
        self.challenge = b""
        self.plugin = b""
        self.welcome = Ok()
