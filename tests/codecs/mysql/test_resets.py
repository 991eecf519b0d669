"""A server without COM_RESET_CONNECTION: between sessions by COM_CHANGE_USER, and within them never."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rdsp_codecs import moves
from rdsp_codecs.api import ClientLogin, RelayPolicy
from rdsp_codecs.errors import CodecError, LoginRefused, WireError
from rdsp_codecs.mysql import MYSQL, upkeep
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.framing import packets
from rdsp_codecs.mysql.login import CAPABILITIES, COLLATION
from rdsp_codecs.mysql.session_state import TRACKING
from rdsp_codecs.mysql.state import MySqlState
from rdsp_codecs.mysql.statements import READ_BY
from rdsp_codecs.mysql.values import lenenc
from rdsp_codecs.pins import PinReason
from rdsp_codecs.questions import Welcome
from rdsp_codecs.steps import Conversation, Send
from rdsp_codecs.transaction import Transaction
from tests.codecs.mysql.test_logins import how

FLAGS = c.ALWAYS | c.CLIENT_SESSION_TRACK | c.CLIENT_DEPRECATE_EOF | c.CLIENT_PLUGIN_AUTH
UNKNOWN = packets(r.err(r.Err(1047, b"08S01", b"Unknown command")), 1)
NOT_READY = packets(r.err(r.Err(1047, b"08S01", b"WSREP has not yet prepared node for application use")), 1)
DENIED = packets(r.err(r.Err(1045, b"28000", b"Access denied")), 1)
OK = packets(r.ok(r.Ok(status=r.SERVER_STATUS_AUTOCOMMIT)), 1)


def row(*values: bytes) -> bytes:
    """An answer of one row."""
    said = [bytes((len(values),)), *[b"\3def"] * len(values), b"".join(map(lenenc, values))]
    said.append(r.ok(r.Ok(r.EOF, status=r.SERVER_STATUS_AUTOCOMMIT)))
    return b"".join(packets(payload, number) for number, payload in enumerate(said, 1))


class Scripted:
    """Answers commands; `commands` has what it was asked."""

    def __init__(self, **answers: bytes) -> None:
        self.commands: list[bytes] = []
        self.answers = answers

    def answer(self, command: bytes) -> bytes:
        self.commands.append(command)
        if command[0] == r.COM_RESET_CONNECTION:
            return self.answers.get("reset", UNKNOWN)
        if command[0] == r.COM_CHANGE_USER:
            return self.answers.get("change", OK)
        if b"init_connect" in command:
            return self.answers.get("kept", row(b"", b"0"))
        if command.startswith(b"\3SELECT"):
            return row(*[b"utf8mb4"] * len(READ_BY))
        return OK


def run(conversation: Conversation[Any], answer: Callable[[bytes], bytes]) -> None:
    coming = b""
    step = next(conversation)
    try:
        while True:
            if isinstance(step, Send):
                coming = answer(step.data[4:])
                step = conversation.send(None)
            else:
                step = conversation.send(coming)
    except StopIteration:
        pass


def backend(*, tracks: bool = True) -> MySqlState:
    state = MySqlState("8.0.1")
    state.capabilities, state.tracks, state.used = FLAGS if tracks else FLAGS & ~c.CLIENT_SESSION_TRACK, tracks, True
    state.challenge, state.plugin, state.how = b"x" * 20, b"mysql_native_password", how(database="theirs")
    state.init_query, state.last_id, state.warned = "SET @a = 1", 7, True
    return state


@pytest.mark.parametrize("tracks", [True, False])
def test_it_is_logged_in_to_anew(tracks: bool) -> None:
    state, server = backend(tracks=tracks), Scripted()
    run(upkeep.reset(state, Transaction.NONE), server.answer)
    first, *_ = asked = [one for one in server.commands if one[0] != r.COM_RESET_CONNECTION]
    assert len(server.commands) - len(asked) == tracks
    assert first[0] == r.COM_CHANGE_USER
    assert b"app\0" in first
    assert b"theirs\0" in first
    assert (b"\3" + TRACKING in asked) == tracks
    assert b"\3SET @a = 1" in asked
    assert (state.used, state.settings, state.last_id, state.warned) == (False, None, 0, False)


@pytest.mark.parametrize(
    ("error", "answers"),
    [
        (WireError, {"reset": DENIED}),
        (WireError, {"reset": NOT_READY}),
        (LoginRefused, {"change": UNKNOWN}),
        (LoginRefused, {"change": DENIED}),
        (WireError, {"kept": row(b"SET @z = 1", b"0")}),
        (WireError, {"kept": row(b"", b"77")}),
    ],
)
def test_one_that_is_not_made_new_is_not_lent_again(error: type[CodecError], answers: dict[str, bytes]) -> None:
    with pytest.raises(error):
        run(upkeep.reset(backend(), Transaction.NONE), Scripted(**answers).answer)


def resetting() -> Any:
    """A relay that has begun to reset the used backend it was lent."""
    parameters = {CAPABILITIES: str(c.key(FLAGS)), COLLATION: "45"}
    who = ClientLogin("app", "theirs", parameters, FLAGS, tls=False)
    who.welcome = Welcome({"server_version": "8.0.1"}, 7, b"")
    relay: Any = MYSQL.relay(who, RelayPolicy(), MYSQL.shared())
    assert relay.from_client(packets(b"\3SELECT 1", 0)) & moves.WANT_BACKEND
    relay.attached(backend())
    assert relay.to_server[0] == packets(bytes((r.COM_RESET_CONNECTION,)), 0)
    relay.to_server.clear()
    return relay


def test_a_node_that_is_not_ready_knows_the_reset() -> None:
    relay = resetting()
    assert relay.from_server(NOT_READY) == moves.UNFIT
    relay.detached()
    relay.attached(backend())
    assert relay.to_server[0] == packets(bytes((r.COM_RESET_CONNECTION,)), 0)
    assert not relay.pins


def test_where_it_is_told_in_a_session_another_backend_is_taken_and_kept() -> None:
    relay = resetting()
    assert relay.from_server(UNKNOWN) == moves.UNFIT
    assert relay.refused == b""
    relay.detached()
    fresh = backend()
    fresh.used = False
    relay.attached(fresh)
    assert PinReason.NO_TRACKING in relay.pins.active()
    assert relay.resettable
    assert bytes((r.COM_RESET_CONNECTION,)) not in [sent[4:] for sent in relay.to_server]


def test_settings_are_made_on_a_new_backend_without_a_reset() -> None:
    parameters = {CAPABILITIES: str(c.key(FLAGS)), COLLATION: "45"}
    who = ClientLogin("app", "theirs", parameters, FLAGS & ~c.CLIENT_MULTI_STATEMENTS, tls=False)
    who.welcome = Welcome({"server_version": "8.0.1"}, 7, b"")
    shared = MYSQL.shared()
    for round_ in range(2):
        relay: Any = MYSQL.relay(who, RelayPolicy(), shared)
        relay.from_client(packets(b"\3SELECT 1", 0))
        fresh = backend()
        fresh.used = False
        relay.attached(fresh)
        sent = [one[4:5] for one in relay.to_server]
        assert (sent[:1] == [bytes((r.COM_RESET_CONNECTION,))]) == (round_ == 0)
        assert bytes((r.COM_SET_OPTION,)) in sent
        if round_ == 0:
            assert relay.from_server(UNKNOWN) == moves.UNFIT
            assert relay.refused == b"", "the client would be told an error of ours"
