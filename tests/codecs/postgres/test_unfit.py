"""Backends that cannot be brought into their session's state: what the client is told, and what is tried instead."""

from __future__ import annotations

import pytest

from rdsp_codecs import moves
from rdsp_codecs.api import RelayPolicy
from rdsp_codecs.postgres.messages import error
from rdsp_codecs.postgres.relay import PostgresRelay
from rdsp_codecs.postgres.state import PostgresState
from rdsp_codecs.postgres.statements import SharedStatements
from tests.codecs.postgres.model_proxy import WHO
from tests.servers import rawclient as w

IDLE = w.message("Z", b"I")
DONE = w.message("C", b"SET\0") + IDLE
ENDING = error("FATAL", "57P01", "terminating connection due to administrator command")
WORDS = error("ERROR", "22023", "no")


class Session:
    """A session that has set something, and asks for something now."""

    def __init__(self) -> None:
        self.relay = PostgresRelay(WHO, RelayPolicy(), SharedStatements())
        self.asks("SET work_mem = '5MB'")
        self.relay.attached(PostgresState({}))
        self.relay.to_server.clear()
        assert self.relay.from_server(DONE) & moves.OVER
        self.relay.detached()
        self.relay.to_client.clear()
        self.asks("SELECT 1")

    def asks(self, text: str) -> None:
        assert self.relay.from_client(w.query(text)) & moves.WANT_BACKEND

    def is_synced(self) -> bytes:
        """It is lent another backend; returns what goes to that one."""
        assert self.relay.attached(PostgresState({})) == moves.NOTHING
        sent = b"".join(self.relay.to_server)
        self.relay.to_server.clear()
        assert sent == w.query("SET work_mem = '5MB'")
        return sent

    def lets_go(self) -> None:
        assert not self.relay.to_client
        assert self.relay.refused == b""
        self.relay.detached()


@pytest.mark.parametrize("says_why", [True, False])
def test_a_backend_that_breaks_off_while_it_is_made_ready_costs_the_session_nothing(says_why: bool) -> None:
    session = Session()
    session.is_synced()

    assert (session.relay.from_server(ENDING) if says_why else session.relay.broke_off()) == moves.UNFIT
    session.lets_go()

    session.is_synced()
    session.relay.from_server(DONE)
    assert b"".join(session.relay.to_server) == w.query("SELECT 1")


@pytest.mark.parametrize("says_why", [True, False])
def test_a_server_that_always_breaks_off_ends_the_session_in_the_end(says_why: bool) -> None:
    session = Session()
    for _ in range(3):
        session.is_synced()
        assert (session.relay.from_server(ENDING) if says_why else session.relay.broke_off()) == moves.UNFIT
        session.lets_go()
    session.is_synced()

    if says_why:
        assert session.relay.from_server(ENDING) & moves.FATAL
        assert b"".join(session.relay.to_client) == ENDING
    else:
        assert session.relay.broke_off() == moves.NOTHING


def test_a_backend_that_breaks_off_behind_the_clients_words_is_not_replaced() -> None:
    session = Session()
    session.is_synced()
    session.relay.from_server(DONE)

    assert session.relay.broke_off() == moves.NOTHING
    assert session.relay.from_server(ENDING) & moves.FATAL
