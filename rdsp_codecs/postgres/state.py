"""What one PostgreSQL backend really has: the codec's side of a pooled connection."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from rdsp_codecs.postgres.settings import NO_SETTINGS
from rdsp_codecs.postgres.statements import UNKNOWN
from rdsp_codecs.postgres.unnamed import NOTHING, OnBackend

if TYPE_CHECKING:
    from rdsp_codecs.postgres.settings import Context
    from rdsp_codecs.postgres.statements import Statement, StatementKey


class PostgresState(OnBackend):
    """See `rdsp_codecs.api.BackendState`.

    Attributes:
        server_parameters: what the server reports (ParameterStatus), in its order.
        settings: what is set beyond the login; `baseline`: what `init_query` had set.
        process_id, cancel_key: BackendKeyData.
        encrypted: the connection uses TLS.
        replicates: it is a replication connection, which may know no SQL.
        makes_temporary: its search_path has pg_temp from the login on: what a session creates may be temporary.
        leftover: bytes behind the login.
        statements: prepared statements by what they are, least recently used first, with their names here.
        last: what became of the unnamed statement (see `unnamed`).
        epoch: stands for the backend in `Statement.home`; another one since statements were found to be gone.
        garbage: names of statements that nobody will use again.
        last_user: who used it last: a token of the session's.
        sequences_mixed: more than one session may have left values for currval and lastval.
        names_used: how many names of ours were given out.
        natives: statements that stand here under the names of `last_user`'s client, and what they were read by.
    """

    def __init__(self, server_parameters: dict[str, str]) -> None:
        self.server_parameters = server_parameters
        self.process_id = 0
        self.cancel_key = b""
        self.encrypted = False
        self.replicates = False
        self.makes_temporary = False
        self.leftover = b""
        self.statements: OrderedDict[StatementKey, bytes] = OrderedDict()
        self.last = NOTHING
        self.garbage: list[bytes] = []
        self.last_user: object | None = None
        self.sequences_mixed = False
        self.names_used = 0
        self.natives: dict[bytes, tuple[Statement, Context]] = {}
        self.epoch = object()
        self.settings = NO_SETTINGS
        self.baseline = NO_SETTINGS

    def lost_statements(self) -> None:
        """Something that the protocol does not show (DEALLOCATE in a function) has dropped some: use none of them."""
        self.statements.clear()
        self.garbage.clear()
        self.natives.clear()
        self.last = UNKNOWN
        self.epoch = object()
