"""What the two halves of a relay share: the ledger, and where the request stands.

`requests` writes it while client messages go out, `replies` while the server's come back, `relay` reads it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

import attrs

from rdsp_codecs.ledger import Ledger, Owed
from rdsp_codecs.pins import PinBoard, PinReason
from rdsp_codecs.postgres.statements import SharedStatements, StatementBook
from rdsp_codecs.transaction import Transaction

if TYPE_CHECKING:
    from rdsp_codecs.api import RelayPolicy
    from rdsp_codecs.postgres.state import PostgresState


class Kind(IntEnum):
    """What a reply answers. `COPY_END` marks CopyDone and CopyFail, which have no reply of their own."""

    QUERY = 1
    FUNCTION = 2
    PARSE = 3
    BIND = 4
    DESCRIBE = 5
    EXECUTE = 6
    CLOSE = 7
    SYNC = 8
    COPY_END = 9


QUERY: Final = Owed(Kind.QUERY)
FUNCTION: Final = Owed(Kind.FUNCTION)
BIND: Final = Owed(Kind.BIND)
DESCRIBE: Final = Owed(Kind.DESCRIBE)
EXECUTE: Final = Owed(Kind.EXECUTE)
CLOSE: Final = Owed(Kind.CLOSE)
PARSE: Final = Owed(Kind.PARSE)
SYNC: Final = Owed(Kind.SYNC)
COPY_END: Final = Owed(Kind.COPY_END)
SWALLOWED_CLOSE: Final = Owed(Kind.CLOSE, swallow=True)
UNCERTAIN_SYNC: Final = Owed(Kind.SYNC, note="uncertain")
PROBE: Final = Owed(Kind.CLOSE, swallow=True)
SWALLOWED_QUERY: Final = Owed(Kind.QUERY, swallow=True)
SWALLOWED_SYNC: Final = Owed(Kind.SYNC, swallow=True)


@attrs.frozen
class Replace:
    """Note of an owed reply that will be an error, made to fail by us: the client gets these bytes instead."""

    error: bytes


@attrs.define(eq=False)
class Learn:
    """Note of an owed description of a statement: its shape is remembered, or compared with what it was.

    Attributes:
        statement: the statement described.
        resumes: the client's messages wait for this reply (a prologue).
        types: the ParameterDescription that came first.
    """

    statement: object
    resumes: bool = False
    types: bytes = b""


@attrs.define(eq=False)
class Dialogue:
    """The shared state.

    Attributes:
        policy: limits and switches.
        shared: what the pool's sessions know about statements.
        ledger: replies owed.
        pins: why the backend may not be given back.
        statements: the session's prepared statements.
        transaction: the status of the last ReadyForQuery.
        state: the backend attached, None when there is none.
        token: stands for the session on its backends.
        texts: SQL of the statements sent since the last end of a request.
        injected: bytes for the server that go out behind what was forwarded so far.
        paused: client messages wait for the replies of a prologue.
        skipping: the server ignores everything up to a Sync that the client has not sent yet.
        copying: a CopyInResponse came, and the client has not ended its data.
        copy_syncs: Syncs that the server ignored if it was in COPY when it read them.
        probe_due: a COPY failed with `copy_syncs` in doubt: the client's next Sync is followed by a probe.
        settling: the client's messages wait until nothing is owed, because what they mean depends on the answers.
        uncertain: batches under way that name or close statements, and may fail.
        prologue_failed: the server skips because of an error in messages of ours.
        native: statements have the client's own names on the (pinned) backend.
        extended: messages of the extended protocol are owed.
        over: a ReadyForQuery came with nothing else owed.
        fatal: the server said that it ends the connection.
        reported: parameters whose reported value differs from the one at the backend's login.
    """

    policy: RelayPolicy
    shared: SharedStatements
    ledger: Ledger = attrs.field(factory=Ledger)
    pins: PinBoard = attrs.field(factory=PinBoard)
    statements: StatementBook = attrs.field(factory=StatementBook)
    transaction: Transaction = Transaction.NONE
    state: PostgresState | None = None
    token: object = attrs.field(factory=object)
    texts: list[bytes] = attrs.field(factory=list)
    injected: list[bytes] = attrs.field(factory=list)
    paused: bool = False
    skipping: bool = False
    copying: bool = False
    copy_syncs: int = 0
    probe_due: bool = False
    settling: bool = False
    uncertain: int = 0
    prologue_failed: bool = False
    native: bool = False
    extended: bool = False
    over: bool = False
    fatal: bool = False
    reported: set[str] = attrs.field(factory=set)

    def pin(self, reason: PinReason, detail: str) -> None:
        """Pin the session; the caller of the relay learns of it by the flag `PINNED`."""
        self.pins.add(reason, detail)
