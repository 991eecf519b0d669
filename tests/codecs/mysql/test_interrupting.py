"""A cancel that comes while the backend does something of the proxy's: the command held behind that is refused."""

from __future__ import annotations

from typing import Any

import pytest

from rdsp_codecs import moves
from rdsp_codecs.api import ClientLogin, RelayPolicy
from rdsp_codecs.mysql import MYSQL
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.framing import packets
from rdsp_codecs.mysql.login import CAPABILITIES, COLLATION
from rdsp_codecs.mysql.state import MySqlState
from rdsp_codecs.mysql.statements import READ_BY
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.questions import Welcome
from tests.codecs.mysql.test_resets import OK, row

FLAGS = c.ALWAYS | c.CLIENT_SESSION_TRACK | c.CLIENT_PLUGIN_AUTH | c.CLIENT_MULTI_STATEMENTS
HELD = packets(b"\3UPDATE t SET a = 1", 0)
INTERRUPTED = 1317
STATUS = r.SERVER_STATUS_AUTOCOMMIT.to_bytes(2, "little")
READ = b"".join(
    packets(each, number) for number, each in enumerate((b"\1", b"\3def", b"\xfe\0\0" + STATUS, b"\0011"), 1)
) + packets(b"\xfe\0\0" + STATUS, 5)
"""One row in the classic form."""


def backend(*, used: bool) -> MySqlState:
    state = MySqlState("8.0.1")
    state.capabilities, state.tracks, state.used = FLAGS, True, used
    state.baseline = dict.fromkeys(READ_BY, b"utf8mb4")
    return state


def new_relay() -> Any:
    who = ClientLogin("app", "theirs", {CAPABILITIES: str(c.key(FLAGS)), COLLATION: "45"}, FLAGS, tls=False)
    who.welcome = Welcome({"server_version": "8.0.1"}, 7, b"")
    return MYSQL.relay(who, RelayPolicy(), MYSQL.shared())


def taken(outbox: list[bytes]) -> bytes:
    data = b"".join(outbox)
    outbox.clear()
    return data


def errors(outbox: list[bytes]) -> list[int]:
    """Codes of the ERRs, one in each of what is written."""
    found = [r.read_err(each[4:]).code for each in outbox if each[4] == r.ERR]
    outbox.clear()
    return found


def answered(relay: Any) -> int:
    """Answer what it asks until it asks nothing. Returns all flags."""
    signals = 0
    for _ in range(20):
        sent = taken(relay.to_server)
        if not sent:
            break
        assert HELD not in sent
        while sent:
            size = int.from_bytes(sent[:3], "little") + 4
            command, sent = sent[4:size], sent[size:]
            signals |= relay.from_server(row(b"0") if command.startswith(b"\3SELECT") else OK)
    return signals


def test_behind_what_makes_the_backend_the_session_s() -> None:
    relay = new_relay()
    assert relay.from_client(HELD + packets(b"\3DO 2", 0)) & moves.WANT_BACKEND
    assert not relay.interrupt(), "the runtime ends the wait by itself"
    relay.attached(backend(used=True))
    assert relay.to_server
    assert relay.interrupt()
    while not relay.to_client:
        relay.from_server(OK)
    assert errors(relay.to_client) == [INTERRUPTED]
    assert taken(relay.to_server).endswith(packets(b"\3DO 2", 0)), "the one behind it runs"
    assert not relay.interrupt(), "what runs is the server's to cancel"


def lingering() -> Any:
    """Its backend is about to be asked what the read before has changed."""
    relay = new_relay()
    relay.from_client(packets(b"\3SELECT f()", 0))
    relay.attached(backend(used=False))
    answered_login = 0
    while not taken(relay.to_server).endswith(packets(b"\3SELECT f()", 0)):
        relay.from_server(OK)
        answered_login += 1
        assert answered_login < 10
    assert relay.from_server(READ) & moves.OVER
    taken(relay.to_client)
    assert relay.lingers
    relay.reclaimed()
    assert relay.to_server, "it asks"
    return relay


def test_behind_a_question_of_the_proxy_s() -> None:
    relay = lingering()
    relay.from_client(HELD)
    assert relay.interrupt()
    signals = answered(relay)
    if signals & moves.AGAIN and not relay.to_client:
        relay.detached()
        assert not relay.from_client(b"") & moves.WANT_BACKEND
    assert errors(relay.to_client) == [INTERRUPTED]
    relay.from_client(HELD)
    assert not relay.to_client, "only the one that was cancelled is refused"


@pytest.mark.parametrize("held", [b"", packets(b"\x19" + bytes(4), 0), packets(b"\1", 0), HELD[:9], b"\1\0\0\7\3"])
def test_what_is_not_there_or_has_no_answer_is_not_refused(held: bytes) -> None:
    relay = lingering()
    relay._in.feed(held)
    assert not relay.interrupt()


def test_a_wait_that_ends_otherwise_ends_the_cancel() -> None:
    relay = new_relay()
    relay.from_client(HELD + HELD)
    relay.attached(backend(used=True))
    assert relay.interrupt()
    relay.detached()
    relay.abort(Problem(ProblemCode.BORROW_TIMEOUT, fatal=False))
    assert relay.from_client(b"") & moves.WANT_BACKEND
    assert len(errors(relay.to_client)) == 1
