"""Both login conversations: against each other, cut anywhere; against garbage; and what must not let anybody in."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.api import BackendLogin, ClientLogin, Offer, Turned
from rdsp_codecs.errors import CodecError, LoginRefused, WireError
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import messages as m
from rdsp_codecs.mysql import proofs
from rdsp_codecs.mysql.framing import packets
from rdsp_codecs.mysql.greet import Face, greet
from rdsp_codecs.mysql.login import CAPABILITIES, login
from rdsp_codecs.mysql.prove import METHODS, challenge_of
from rdsp_codecs.mysql.refuse import TEXTS, refuse
from rdsp_codecs.mysql.responses import Err, Ok, err, ok, read_err
from rdsp_codecs.mysql.state import MySqlState
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.questions import Admit, PrivateKey, Secrets, Welcome
from rdsp_codecs.testing import duo, play

KEY = rsa.generate_private_key(65537, 2048)
SERVER = (1 << 32) - 1 & ~(c.CLIENT_CAPABILITY_EXTENSION | c.CLIENT_MULTI_FACTOR_AUTHENTICATION)
FACE = Face(b"9.7.4", SERVER, 255, 77)


def seeded(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def offer(**more: Any) -> Offer:
    settings = {"tls": True, "require_tls": False, "local": True, "open_to_local": False}
    return Offer(**{**settings, "entropy": seeded(1), "mock_salt_key": b"k" * 32, **more})


def how(user: str = "app", password: str | None = "secret", **more: Any) -> BackendLogin:
    settings = {"database": "db", "parameters": {}, "tls": "prefer", "entropy": seeded(2)}
    return BackendLogin(user=user, password=password, **{**settings, **more})


def answerer(passwords: dict[str, tuple[str, ...]], admitted: Any = None) -> Callable[[Any], Any]:
    def answer(question: Any) -> Any:
        match question:
            case Secrets(user):
                return passwords.get(user, ())
            case PrivateKey():
                return KEY
            case Admit():
                return admitted or Welcome({"server_version": "9.7.4"}, 77, b"")
        raise AssertionError(question)

    return answer


KNOWN = answerer({"app": ("other", "secret")})
TLS = st.sampled_from(["prefer", "disable", "require"])


@given(seed=st.integers(0, 1000), method=st.sampled_from(sorted(METHODS)), tls=TLS)
def test_our_two_sides_log_in_against_each_other_whatever_the_cuts(seed: int, method: str, tls: str) -> None:
    cuts = random.Random(seed)
    server, client = duo(
        greet(offer(auth_methods=(method,)), FACE), login(how(tls=tls)), KNOWN, KNOWN, piece=lambda: cuts.randint(1, 90)
    )
    if method == "mysql_clear_password" and tls == "disable":
        assert isinstance(server, Turned)
        assert isinstance(client, LoginRefused)
        return
    assert isinstance(server, ClientLogin), server
    assert isinstance(client, MySqlState), client
    assert (server.user, server.database, server.tls) == ("app", "db", tls != "disable")
    assert server.protocol == client.capabilities
    assert server.parameters[CAPABILITIES] == str(c.key(client.capabilities))
    assert client.plugin == METHODS[method]
    assert (client.connection_id, client.encrypted) == (77, server.tls)
    assert client.server_parameters == {"server_version": "9.7.4"}


@given(method=st.sampled_from(sorted(METHODS)), user=st.sampled_from(["app", "nobody"]), tls=TLS)
def test_a_wrong_password_and_an_unknown_user_are_told_the_same(method: str, user: str, tls: str) -> None:
    if method == "mysql_clear_password":
        tls = "require"
    for password in ("wrong", "secre", "secret ", ""):
        server, client = duo(
            greet(offer(auth_methods=(method,)), FACE), login(how(user, password, tls=tls)), KNOWN, KNOWN
        )
        assert server == Turned(Problem(ProblemCode.AUTH_FAILED, user), user)
        assert isinstance(client, LoginRefused), client
        assert client.code == "1045"
        assert client.text == f"Access denied for user '{user}'@'%' (using password: YES)"


def test_a_client_keeps_its_own_way_where_that_is_allowed_and_switches_where_not() -> None:
    """A greeting names one plug-in; whoever answers by another one has said which."""
    for methods, plugin in (
        (("caching_sha2_password", "mysql_native_password"), proofs.NATIVE),
        (("caching_sha2_password",), proofs.CACHING),
    ):
        face = Face(b"8", SERVER, 255, 1)
        conversation = greet(offer(auth_methods=methods, tls=False), face)
        said = next(conversation).data
        greeting = m.read_greeting(said[4:])
        assert greeting.plugin == proofs.CACHING
        flags = c.ALWAYS
        proof = proofs.native_response(b"secret", greeting.challenge)
        response = m.Response(m.LoginHead(flags, 0, 33), b"app", proof, None, proofs.NATIVE)
        step = conversation.send(None)
        data = packets(m.response(response), 1)
        for size in (4, len(data) - 4):
            step = conversation.send(data[:size])
            data = data[size:]
        step = conversation.send(("secret",))
        if plugin == proofs.CACHING:
            switch = m.read_auth_switch(step.data[4:])
            assert switch.plugin == proofs.CACHING
            assert switch.data[:-1] != greeting.challenge
        else:
            assert isinstance(step.question, Admit)


def test_a_client_must_use_tls_where_that_is_required() -> None:
    server, client = duo(greet(offer(require_tls=True), FACE), login(how(tls="disable")), KNOWN, KNOWN)
    assert isinstance(server, Turned)
    assert isinstance(client, LoginRefused)
    assert (client.code, client.text) == ("3159", "This RDS Proxy requires TLS connections.")
    server, _ = duo(greet(offer(tls=False), FACE), login(how(tls="require")), KNOWN, KNOWN)
    assert isinstance(server, Turned)


def test_who_is_not_admitted_is_told_why() -> None:
    refused = answerer({"app": ("secret",)}, Problem(ProblemCode.BORROW_TIMEOUT))
    _, client = duo(greet(offer(), FACE), login(how()), refused, KNOWN)
    assert isinstance(client, LoginRefused)
    assert client.code == "9501"
    words = answerer({"app": ("secret",)}, err(Err(1049, b"42000", b"Unknown database 'db'")))
    _, client = duo(greet(offer(), FACE), login(how()), words, KNOWN)
    assert isinstance(client, LoginRefused)
    assert client.code == "1049"


def test_every_problem_has_words_that_its_reader_understands() -> None:
    for code in ProblemCode:
        found = read_err(refuse(Problem(code, "x")))
        assert found.code == TEXTS[code][0]
        assert found.state is not None
        assert b"{}" not in found.text


def _server(*payloads: bytes, first: m.Greeting | None = None) -> list[bytes]:
    greeting = first or m.Greeting(b"8.0", 1, b"c" * 20, c.ALWAYS & ~c.CLIENT_SSL, 255, 2, proofs.NATIVE)
    chunks = [packets(m.greeting(greeting), 0)]
    number = 2
    for payload in payloads:
        chunks.append(packets(payload, number))
        number += 2
    return chunks


def test_a_password_is_not_given_away_to_who_asks_for_it_in_clear() -> None:
    for plugin in (proofs.CLEAR, b"dialog", b"authentication_ldap_sasl_client"):
        with pytest.raises(LoginRefused, match="2059") as caught:
            play(login(how(tls="disable")), _server(m.auth_switch(m.AuthSwitch(plugin, b"x" * 21))), KNOWN)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "payloads",
    [
        (m.auth_switch(m.AuthSwitch(proofs.NATIVE, b"c" * 19)),),
        (m.auth_switch(m.AuthSwitch(proofs.ED25519, b"c" * 20)),),
        (m.auth_switch(m.AuthSwitch(proofs.NATIVE, b"c" * 20)),) * 2,
        (m.auth_switch(m.AuthSwitch(proofs.CACHING, b"c" * 20)), m.more_data(b"\x05")),
        (m.auth_switch(m.AuthSwitch(proofs.CACHING, b"c" * 20)), m.more_data(b"\x04"), m.more_data(b"no key")),
        (m.auth_switch(m.AuthSwitch(proofs.PARSEC, b"c" * 32)), m.more_data(b"P\x09" + b"s" * 18)),
        (m.more_data(b"more"),),
        (b"",),
        (b"\0",),
    ],
)
def test_a_server_that_breaks_the_rules_is_refused(payloads: tuple[bytes, ...]) -> None:
    with pytest.raises(WireError):
        play(login(how(tls="disable")), _server(*payloads), KNOWN)


def test_a_packet_out_of_order_and_words_before_tls_are_refused() -> None:
    with pytest.raises(WireError, match="packet 5 came where 2 was due"):
        play(login(how(tls="disable")), [*_server(), packets(ok(Ok()), 5)], KNOWN)


def test_a_server_that_is_full_says_so_before_it_greets() -> None:
    with pytest.raises(LoginRefused) as caught:
        play(login(how()), [packets(err(Err(1040, None, b"Too many connections")))], KNOWN)
    assert caught.value.transient
    assert not caught.value.own_limit
    with pytest.raises(LoginRefused) as caught:
        play(login(how(tls="disable")), _server(err(Err(1203, b"42000", b"User app already has"))), KNOWN)
    assert caught.value.own_limit


@given(st.lists(st.binary(max_size=80), max_size=4), st.booleans())
def test_garbage_ends_either_conversation_with_a_codec_error_or_a_refusal(chunks: list[bytes], framed: bool) -> None:
    said = [packets(chunk, 2 * index + 1) for index, chunk in enumerate(chunks)] if framed else chunks
    result, _ = play(greet(offer(), FACE), said, KNOWN)
    assert isinstance(result, Turned)
    try:
        play(login(how(tls="disable")), [*_server(), *said], KNOWN)
    except CodecError:
        pass


def test_a_challenge_has_no_nul_and_is_another_one_each_time() -> None:
    drawn = {challenge_of(seeded(seed)) for seed in range(300)}
    assert len(drawn) == 300
    assert not any(set(one) & {0, ord("$")} for one in drawn)
    assert all(len(one) == 20 and one.isascii() for one in drawn)
