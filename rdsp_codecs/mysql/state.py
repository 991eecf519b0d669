"""What one MySQL or MariaDB backend really has: the codec's side of a database connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rdsp_codecs.mysql.responses import Ok
from rdsp_codecs.mysql.statements import Context, Shelf

if TYPE_CHECKING:
    from rdsp_codecs.api import BackendLogin
    from rdsp_codecs.mysql.lexer import Facts
    from rdsp_codecs.mysql.session_state import Settings
    from rdsp_codecs.relaying import Keepsake


class MySqlState:
    """See `rdsp_codecs.api.BackendState`.

    Attributes:
        server_parameters: what the server said of itself at login: "server_version".
        mariadb: the server is of that family.
        leftover: bytes behind the login.
        connection_id: the server's, for KILL.
        offered: the server's flags; capabilities: those that the connection speaks.
        collation: the server's default, its lower 8 bits.
        encrypted: the connection uses TLS, or a Unix socket: nobody can listen in.
        challenge: the greeting's, which COM_CHANGE_USER answers, too.
        plugin: how the password was proved.
        how: it logged in; None for one that has not begun (`upkeep.begin`).
        init_connect: SETs that the server runs behind every login of this user, and not behind COM_RESET_CONNECTION.
        init_query: what was run behind them.
        welcome: the OK that ended the login, with what it says of the session.
        tracks: it reports what its session changes.
        settings: what it has (`session_state.Settings`), None where nobody knows; a new one has those of its login.
        used: a session has borrowed it.
        follows: it still reports: no COM_RESET_CONNECTION has ended that.
        autocommit: whether that is on.
        last_id: LAST_INSERT_ID.
        baseline: what it had, of what texts are read by, before any session used it.
        reads_by: by what it reads texts with the settings `reads_for`; None: that is to be found out.
        shelf: the prepared statements that it has.
        warned: it may have warnings or errors of the last session's.
        traces: a token of the session that ran the last statement, if what that has left can still be read.
    """

    def __init__(self, server_version: str) -> None:
        self.server_parameters = {"server_version": server_version}
        self.mariadb: Final = is_mariadb(server_version)
        self.leftover = b""
        self.connection_id = 0
        self.offered = 0
        self.capabilities = 0
        self.collation = 0
        self.encrypted = False
        self.challenge = b""
        self.plugin = b""
        self.how: BackendLogin | None = None
        self.init_connect = b""
        self.init_query = ""
        self.welcome = Ok()
        self.tracks = False
        self.settings: Settings | None = None
        self.used = False
        self.follows = True
        self.autocommit = True
        self.last_id = 0
        self.baseline: dict[bytes, bytes] = {}
        self.reads_by: tuple[Facts, Context] | None = None
        self.reads_for: Settings | None = None
        self.shelf = Shelf()
        self.warned = False
        self.traces: Keepsake | None = None


def is_mariadb(version: str) -> bool:
    """Whether a server that says this of itself is of MariaDB's family."""
    return "mariadb" in version.lower()
