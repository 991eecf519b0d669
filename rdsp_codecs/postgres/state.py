"""What one PostgreSQL backend really has: the codec's side of a pooled connection."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from rdsp_codecs.postgres.statements import Statement, StatementKey


@attrs.define(eq=False)
class PostgresState:
    """See `rdsp_codecs.api.BackendState`.

    Attributes:
        server_parameters: ParameterStatus at login, in the server's order.
        process_id, cancel_key: BackendKeyData.
        leftover: bytes behind the login.
        statements: prepared statements by what they are, least recently used first, with their names here.
        unnamed: the unnamed statement, as the session that parsed it knows it.
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
    unnamed: Statement | None = attrs.field(default=None, repr=False)
    garbage: list[bytes] = attrs.field(factory=list, repr=False)
    last_user: object | None = attrs.field(default=None, repr=False)
    sequences_mixed: bool = False
    names_used: int = 0
