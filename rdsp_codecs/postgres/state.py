"""What one PostgreSQL backend really has: the codec's side of a pooled connection."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import attrs

from rdsp_codecs.postgres.unnamed import NOTHING, UNKNOWN, OnBackend, Put

if TYPE_CHECKING:
    from rdsp_codecs.postgres.statements import StatementKey


@attrs.define(eq=False)
class PostgresState(OnBackend):
    """See `rdsp_codecs.api.BackendState`.

    Attributes:
        server_parameters: ParameterStatus at login, in the server's order.
        process_id, cancel_key: BackendKeyData.
        leftover: bytes behind the login.
        statements: prepared statements by what they are, least recently used first, with their names here.
        last: what became of the unnamed statement (see `unnamed`).
        epoch: stands for the backend in `Statement.home`; another one since statements were found to be gone.
        garbage: names of statements that nobody will use again.
        last_user: who used it last: a token of the session's.
        sequences_mixed: more than one session may have left values for currval and lastval.
        names_used: how many names of ours were given out.
    """

    server_parameters: dict[str, str]
    process_id: int = 0
    cancel_key: bytes = attrs.field(default=b"", repr=False)
    leftover: bytes = b""
    statements: OrderedDict[StatementKey, bytes] = attrs.field(factory=OrderedDict, repr=False)
    last: Put = attrs.field(default=NOTHING, repr=False)
    garbage: list[bytes] = attrs.field(factory=list, repr=False)
    last_user: object | None = attrs.field(default=None, repr=False)
    sequences_mixed: bool = False
    names_used: int = 0
    epoch: object = attrs.field(factory=object, repr=False)

    def lost_statements(self) -> None:
        """Something that the protocol does not show (DEALLOCATE in a function) has dropped some: use none of them."""
        self.statements.clear()
        self.garbage.clear()
        self.last = UNKNOWN
        self.epoch = object()
