"""What a session is after RESETCONNECTION: as after its login, but for the isolation level ([MS-TDS] 2.2.3.1.2)."""

from __future__ import annotations

from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver.tokens import env_change
from rdsp_codecs.testing.sqlserver.state import State


def reset(state: State, *, keep: bool = False, acknowledged: bool = False) -> bytes:
    """Make it so, and what the client is told.

    Where the acknowledgement stands among the other tokens is not specified: it is the first one here.

    Args:
        state: of the session.
        keep: an open transaction stays (RESETCONNECTIONSKIPTRAN).
        acknowledged: by an ENVCHANGE of its own; not where a procedure was called for it.
    """
    said = [env_change(k.ENV_RESET_ACK)] if acknowledged else []
    outcome = state.transactions.reset(keep=keep)
    state.data.apply(outcome)
    said.append(outcome.tokens)
    for table in state.data.temporary():
        state.data.run(f'DROP TABLE temp."{table}"', {}, writes=False)
    before, isolation = state.options, state.options.isolation
    state.options = state.options_at_login()
    state.options.isolation = isolation
    database = state.server.database(state.login.database or "master")
    if database != state.database:
        said.append(env_change(k.ENV_DATABASE, database, state.database))
        state.database = database
    if before.language != state.options.language:
        said.append(env_change(k.ENV_LANGUAGE, state.options.language, before.language))
    forget(state)
    state.handles.clear()
    state.cursors.clear()
    state.context.clear()
    state.users.clear()
    state.rows = state.error = 0
    state.identity = state.scope = None
    state.frame.identity = None
    return b"".join(said)


def forget(state: State) -> None:
    """Its application locks are everybody's again."""
    for resource, lock in list(state.server.locks.items()):
        if lock.owner == state.spid:
            del state.server.locks[resource]
    state.server.ended += 1
