"""ER_NEED_REPREPARE: a server that has given up preparing a statement again, whose tables change too often, says so."""

from __future__ import annotations

from typing import Any

from rdsp_codecs import moves
from rdsp_codecs.api import ClientLogin, RelayPolicy
from rdsp_codecs.mysql import MYSQL
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.framing import packets
from rdsp_codecs.mysql.login import CAPABILITIES, COLLATION
from rdsp_codecs.mysql.state import MySqlState
from rdsp_codecs.mysql.statements import READ_BY
from rdsp_codecs.questions import Welcome
from rdsp_codecs.transaction import Transaction

FLAGS = c.ALWAYS | c.CLIENT_SESSION_TRACK | c.CLIENT_DEPRECATE_EOF | c.CLIENT_PLUGIN_AUTH | c.CLIENT_MULTI_STATEMENTS
REPREPARE = packets(r.err(r.Err(1615, b"HY000", b"Prepared statement needs to be re-prepared")), 1)
PREPARE = packets(b"\x16DELETE FROM t", 0)
PREPARED = packets(b"\0" + (91).to_bytes(4, "little") + bytes(7), 1)
OK = packets(r.ok(r.Ok(status=r.SERVER_STATUS_AUTOCOMMIT)), 1)


def said(outbox: list[bytes]) -> bytes:
    data = b"".join(outbox)
    outbox.clear()
    return data


def test_it_is_passed_on_and_the_statement_is_there_afterwards() -> None:
    who = ClientLogin("app", "theirs", {CAPABILITIES: str(c.key(FLAGS)), COLLATION: "45"}, FLAGS, tls=False)
    who.welcome = Welcome({"server_version": "8.0.1"}, 7, b"")
    relay: Any = MYSQL.relay(who, RelayPolicy(), MYSQL.shared())
    state = MySqlState("8.0.1")
    state.capabilities, state.tracks = FLAGS, True
    state.baseline = dict.fromkeys(READ_BY, b"utf8mb4")
    assert relay.from_client(PREPARE) & moves.WANT_BACKEND
    relay.attached(state)
    assert said(relay.to_server) == PREPARE
    relay.from_server(PREPARED)
    number = said(relay.to_client)[5:9]
    execute = b"\x17" + number + b"\0\1\0\0\0"
    for answer in (REPREPARE, REPREPARE, OK):
        if relay._state is None:
            relay.attached(state)
        relay.from_client(packets(execute, 0))
        sent = said(relay.to_server)
        if sent.endswith(PREPARE):
            relay.from_server(PREPARED)
            sent = said(relay.to_server)
        assert sent == packets(b"\x17" + (91).to_bytes(4, "little") + b"\0\1\0\0\0", 0)
        signals = relay.from_server(answer)
        assert said(relay.to_client) == answer
        for _ in range(3):
            if not said(relay.to_server):
                break
            signals = relay.from_server(OK)  # to the question where the transaction stands
        assert signals & moves.OVER
        assert relay.transaction is Transaction.NONE
        assert not relay.pins
