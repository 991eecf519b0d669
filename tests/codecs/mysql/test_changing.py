"""COM_CHANGE_USER without a network: our client against our proof of it, and what the relay tells of it."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs import moves
from rdsp_codecs.api import ClientLogin, RelayPolicy, Turned
from rdsp_codecs.errors import FrameTooBig, LoginRefused
from rdsp_codecs.mysql import MYSQL
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import messages as m
from rdsp_codecs.mysql.framing import packets
from rdsp_codecs.mysql.greet import greet
from rdsp_codecs.mysql.login import CHALLENGE, COLLATION, change_user, login
from rdsp_codecs.mysql.prove import METHODS
from rdsp_codecs.mysql.state import MySqlState
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.questions import Admit, Secrets
from rdsp_codecs.steps import Receive
from rdsp_codecs.testing import duo
from tests.codecs.mysql.test_logins import FACE, KNOWN, answerer, how, offer, seeded

BOTH = answerer({"app": ("other", "secret"), "second": ("seconds",)})


def logged_in(tls: str = "require", method: str = "caching_sha2_password") -> tuple[ClientLogin, MySqlState]:
    server, client = duo(greet(offer(auth_methods=(method,)), FACE), login(how(tls=tls)), KNOWN, KNOWN)
    assert isinstance(server, ClientLogin)
    return server, client


def relay_of(who: ClientLogin) -> Any:
    return MYSQL.relay(who, RelayPolicy(), MYSQL.shared())


def changed(who: ClientLogin, state: MySqlState, given: Any, piece: Any = None, answer: Any = BOTH, **more: Any) -> Any:
    """What both sides come to."""
    relay = relay_of(who)

    def until_it_asks() -> Any:
        """The relay reads the command, as in a session, and the runtime then drives what it makes."""
        while not (signals := relay.from_client((yield Receive()))):
            pass
        assert signals == moves.ANEW
        assert not relay.in_request()
        assert not relay.owes()
        return (yield from relay.greet_anew(offer(**more)))

    extra = {} if piece is None else {"piece": piece}
    return duo(until_it_asks(), change_user(state, given), answer, answer, **extra)


@given(seed=st.integers(0, 1000), method=st.sampled_from(sorted(METHODS)), tls=st.sampled_from(["disable", "require"]))
def test_who_proves_a_password_is_that_user_whatever_the_cuts(seed: int, method: str, tls: str) -> None:
    who, state = logged_in(tls)
    cuts = random.Random(seed)
    given = how("second", "seconds", database="theirs", parameters={COLLATION: "33"})
    server, client = changed(who, state, given, lambda: cuts.randint(1, 90), auth_methods=(method,))
    if method == "mysql_clear_password" and tls == "disable":
        assert isinstance(server, Turned)
        return
    assert isinstance(server, ClientLogin), server
    assert client is None
    assert (server.user, server.database, server.tls) == ("second", "theirs", tls == "require")
    assert server.protocol == who.protocol
    assert server.parameters == {**who.parameters, COLLATION: "33", CHALLENGE: server.parameters[CHALLENGE]}
    assert state.plugin == METHODS[method]


@given(method=st.sampled_from(sorted(METHODS)), user=st.sampled_from(["app", "second", "nobody", ""]))
def test_a_wrong_password_and_an_unknown_user_are_told_the_same(method: str, user: str) -> None:
    for password in ("wrong", "", "seconds" if user == "app" else "secret"):
        who, state = logged_in()
        server, client = changed(who, state, how(user, password), auth_methods=(method,))
        assert server == Turned(Problem(ProblemCode.AUTH_FAILED, user), user)
        assert isinstance(client, LoginRefused), client
        assert (client.code, client.text) == ("1045", f"Access denied for user '{user}'@'%' (using password: YES)")


@pytest.mark.parametrize("problem", list(ProblemCode))
def test_who_is_not_admitted_is_told_why(problem: ProblemCode) -> None:
    for refusal in (Problem(problem), None):
        who, state = logged_in()
        answer = BOTH if refusal else answerer({"app": ("secret",)}, admitted=Problem(problem))
        server, client = changed(who, state, how(), answer=answer, refusal=refusal)
        assert server == Turned(Problem(problem), "app")
        assert isinstance(client, LoginRefused)


def test_tls_that_is_required_by_now() -> None:
    who, state = logged_in("disable")
    server, client = changed(who, state, how(), require_tls=True)
    assert server.problem.code is ProblemCode.TLS_REQUIRED
    assert client.code == "3159"


@pytest.mark.parametrize("method", ["mysql_native_password", "caching_sha2_password"])
def test_a_proof_in_the_command_counts_for_nothing(method: str) -> None:
    """Another one is asked for; of mysql_native_password by the same challenge, which MariaDB's library answers."""
    who, state = logged_in("disable", method)
    asked: list[Any] = []

    def heard(question: Any) -> Any:
        asked.append(type(question))
        return BOTH(question)

    changed(who, state, how(), answer=heard, auth_methods=(method,))
    assert asked == [Secrets, Admit]
    relay = relay_of(who)
    command = m.change_user(m.ChangeUser(b"app", b"x" * 20, b"", 45, method.encode()))
    assert relay.from_client(packets(command, 0)) == moves.ANEW
    conversation = relay.greet_anew(offer(auth_methods=(method,), entropy=seeded(9)))
    next(conversation)
    switch = m.read_auth_switch(conversation.send(("secret",)).data[4:])
    assert (switch.data[:-1] == state.challenge) == (method == "mysql_native_password")


def test_a_client_that_cannot_switch_is_refused() -> None:
    who, _ = logged_in()
    old = ClientLogin("app", "", who.parameters, who.protocol & ~c.CLIENT_PLUGIN_AUTH, tls=True, welcome=who.welcome)
    relay = relay_of(old)
    assert relay.from_client(packets(m.change_user(m.ChangeUser(b"app", b"x" * 20, b"", 45)), 0)) == moves.ANEW
    conversation = relay.greet_anew(offer())
    step = next(conversation)
    while not hasattr(step, "data"):
        step = conversation.send(KNOWN(step.question))
    assert step.data[3:7] == b"\1\xff" + (1251).to_bytes(2, "little")


def test_without_a_password_commands_may_follow_at_once() -> None:
    who, _ = logged_in()
    relay = relay_of(who)
    command = m.change_user(m.ChangeUser(b"second", b"", b"theirs", 45, b"caching_sha2_password"))
    behind = packets(b"\x03SELECT 1", 0)
    assert relay.from_client(packets(command, 0) + behind) == moves.ANEW
    conversation = relay.greet_anew(offer(open_to_local=True))
    step = next(conversation)
    assert isinstance(step.question, Admit)
    step = conversation.send(BOTH(step.question))
    assert step.data[3:5] == b"\1\0"
    with pytest.raises(StopIteration) as stop:
        conversation.send(None)
    assert stop.value.value.leftover == behind


@pytest.mark.parametrize("collation", [256, 2304, 65535])
def test_a_collation_that_no_login_can_have_is_refused(collation: int) -> None:
    who, state = logged_in()
    server, client = changed(who, state, how(parameters={COLLATION: str(collation)}))
    assert server.problem == Problem(ProblemCode.UNSUPPORTED, f"COM_CHANGE_USER with collation {collation}")
    assert client.code == "1235"


def test_the_relay_takes_nothing_behind_it() -> None:
    who, _ = logged_in()
    relay = relay_of(who)
    command = packets(m.change_user(m.ChangeUser(b"second", b"", b"", 45, b"parsec")), 0)
    assert relay.from_client(command[:-1]) == 0
    assert relay.from_client(command[-1:]) == moves.ANEW
    assert relay.from_client(packets(b"\x03SELECT 1", 0)) == 0
    assert relay.refusal(Problem(ProblemCode.SHUTTING_DOWN))[3] == 1
    with pytest.raises(FrameTooBig):
        MYSQL.relay(who, RelayPolicy(max_held=100), MYSQL.shared()).from_client(packets(b"\x11" + b"x" * 1000, 0)[:500])
