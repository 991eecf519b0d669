"""Simple queries on a connection that no session has: what a login and the upkeep ask."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

from rdsp_codecs.conversation import Inbox, bounded
from rdsp_codecs.postgres import messages as m
from rdsp_codecs.postgres.state import PostgresState
from rdsp_codecs.steps import Send

MAX_MESSAGE: Final = 1 << 24


def run(text: str, state: PostgresState) -> Generator[Any, Any, tuple[bytes | None, list[bytes], bytes]]:
    """One simple query: its error (a body) or None, the DataRows' bodies, and the status byte at the end.

    What the server reports meanwhile is noted in the state.
    """
    inbox = Inbox()
    yield Send(m.query(text))
    error: bytes | None = None
    rows: list[bytes] = []
    while True:
        head = yield from inbox.take(5)
        body = yield from inbox.take(bounded(m.integer(head, 1), 4, MAX_MESSAGE) - 4)
        match head[:1]:
            case b"E":
                error = body
            case b"D":
                rows.append(body)
            case b"S":
                note(state, body)
            case b"Z":
                return error, rows, body


def note(state: PostgresState, body: bytes) -> None:
    """A ParameterStatus."""
    name, value = (part.decode("utf-8", "surrogateescape") for part in body[:-1].partition(b"\0")[::2])
    state.server_parameters = {**state.server_parameters, name: value}
