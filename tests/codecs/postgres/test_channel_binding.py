"""SCRAM bound to the TLS connection (RFC 5802 section 6, RFC 5929), and passwords in clear, from both sides."""

from __future__ import annotations

import base64
import random
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.api import ClientLogin, Turned
from rdsp_codecs.errors import CodecError, LoginRefused
from rdsp_codecs.postgres import messages as m
from rdsp_codecs.postgres.greet import greet
from rdsp_codecs.postgres.login import login
from rdsp_codecs.postgres.state import PostgresState
from rdsp_codecs.problems import ProblemCode
from rdsp_codecs.steps import TlsFacts
from rdsp_codecs.testing import duo, play
from tests.codecs.postgres.test_logins import KNOWN, PROOF, _initial, _response, _said, _startup, answerer, how, offer

HASH = bytes(range(32))
TLS = TlsFacts("TLSv1.3", "postgresql", end_point=HASH)
OTHER = TlsFacts("TLSv1.3", "postgresql", end_point=b"o" * 32)
UNKNOWN = TlsFacts("TLSv1.3", "postgresql")
SSL = struct.pack(">II", 8, 80877103)
PLUS, PLAIN = "scram-sha-256-plus", "scram-sha-256"


class Spy:
    """Notes what passes in one direction."""

    def __init__(self) -> None:
        self.sent = b""

    def on(self, conversation: Any) -> Any:
        answer = None
        try:
            step = next(conversation)
            while True:
                self.sent += getattr(step, "data", b"")
                try:
                    answer = yield step
                except CodecError as error:
                    step = conversation.throw(error)
                else:
                    step = conversation.send(answer)
        except StopIteration as stop:
            return stop.value


def _log_in(offered: dict[str, Any], wanted: dict[str, Any], facts: TlsFacts = TLS) -> tuple[Any, Any, bytes, bytes]:
    server, client = Spy(), Spy()
    results = duo(
        server.on(greet(offer(**{"end_point": HASH, **offered}))),
        client.on(login(how(**wanted))),
        KNOWN,
        KNOWN,
        facts=facts,
    )
    return *results, server.sent, client.sent


@pytest.mark.parametrize("want", ["prefer", "require"])
@pytest.mark.parametrize("methods", [(), (PLUS,), (PLUS, PLAIN), (PLAIN, PLUS), (PLUS, "md5"), ("password", PLUS)[1:]])
def test_over_tls_our_two_sides_bind_their_login(want: str, methods: tuple[str, ...]) -> None:
    server, client, said, asked = _log_in({"auth_methods": methods}, {"tls": "require", "channel_binding": want})

    assert isinstance(server, ClientLogin), server
    assert isinstance(client, PostgresState), client
    assert b"SCRAM-SHA-256-PLUS\0" in said
    assert b"SCRAM-SHA-256-PLUS\0" in asked
    assert base64.b64encode(b"p=tls-server-end-point,," + HASH) in asked


@given(seed=st.integers(0, 300), size=st.sampled_from([32, 48, 64]))
def test_a_bound_login_is_one_whatever_the_cuts(seed: int, size: int) -> None:
    cuts, value = random.Random(seed), random.Random(seed).randbytes(size)
    facts = TlsFacts("TLSv1.3", "postgresql", end_point=value)
    server, client = duo(
        greet(offer(end_point=value, auth_methods=(PLUS,))),
        login(how(tls="require")),
        KNOWN,
        KNOWN,
        piece=lambda: cuts.randint(1, 9),
        facts=facts,
    )
    assert isinstance(server, ClientLogin)
    assert isinstance(client, PostgresState)


@pytest.mark.parametrize("want", ["prefer", "require"])
def test_another_certificate_than_ours_lets_nobody_in(want: str) -> None:
    """Somebody between the two ends TLS with a certificate of his own, and hands SCRAM on."""
    server, client, _, _ = _log_in({}, {"tls": "require", "channel_binding": want}, OTHER)
    assert isinstance(server, Turned)
    assert server.problem is not None
    assert server.problem.code is ProblemCode.AUTH_FAILED
    assert isinstance(client, LoginRefused)
    assert (client.code, client.text) == ("28000", "SCRAM channel binding check failed")


@pytest.mark.parametrize(
    ("offered", "wanted", "facts", "flag"),
    [
        ({"auth_methods": (PLAIN,)}, {"tls": "require"}, TLS, b"y,,"),  # we could, the server does not offer it
        ({}, {"tls": "require", "channel_binding": "disable"}, TLS, b"n,,"),
        ({}, {"tls": "require"}, UNKNOWN, b"n,,"),  # a certificate whose hash is not defined
        ({}, {"tls": "disable"}, TLS, b"n,,"),
    ],
)
def test_without_binding_the_flag_says_why(
    offered: dict[str, Any], wanted: dict[str, Any], facts: TlsFacts, flag: bytes
) -> None:
    server, client, _, asked = _log_in(offered, wanted, facts)
    assert isinstance(server, ClientLogin), server
    assert isinstance(client, PostgresState), client
    assert b"SCRAM-SHA-256\0" in asked
    assert flag + b"n=,r=" in asked


@pytest.mark.parametrize(
    ("offered", "wanted", "facts"),
    [
        ({"auth_methods": (PLAIN,)}, {"tls": "require"}, TLS),
        ({}, {"tls": "disable"}, TLS),
        ({}, {"tls": "require"}, UNKNOWN),
        ({"auth_methods": ("md5",)}, {"tls": "require"}, TLS),
        ({"auth_methods": ("password",)}, {"tls": "require"}, TLS),
        ({"open_to_local": True}, {"tls": "require"}, TLS),
    ],
)
def test_binding_that_is_required_is_not_forgone(offered: Any, wanted: Any, facts: TlsFacts) -> None:
    _, client, _, asked = _log_in(offered, {**wanted, "channel_binding": "require"}, facts)
    assert isinstance(client, LoginRefused)
    assert "channel binding is required" in client.text
    assert b"secret" not in asked


def _turned(*chunks: bytes, **more: Any) -> dict[str, str]:
    result, script = play(greet(offer(**{"end_point": HASH, **more})), [SSL, _startup(), *chunks], KNOWN, TLS)
    assert isinstance(result, Turned), result
    return _said(script.sent)


MALFORMED = "malformed SCRAM message"
NO_DATA = "The client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel binding data."


@pytest.mark.parametrize(
    ("first", "mechanism", "code", "text", "detail"),
    [
        (b"y,,n=,r=abc", m.SCRAM, "28000", "SCRAM channel binding negotiation error", "The client supports SCRAM"),
        (b"n,,n=,r=abc", m.SCRAM_PLUS, "08P01", MALFORMED, NO_DATA),
        (b"y,,n=,r=abc", m.SCRAM_PLUS, "08P01", MALFORMED, NO_DATA),
        (b"p=tls-server-end-point,,n=,r=abc", m.SCRAM, "08P01", MALFORMED, "The client selected SCRAM-SHA-256 without"),
        (b"p=tls-unique,,n=,r=abc", m.SCRAM_PLUS, "08P01", 'unsupported SCRAM channel-binding type "tls-unique"', None),
        (
            b"p=" + b"\xe9" * 40 + b",,n=,r=abc",
            m.SCRAM_PLUS,
            "08P01",
            f'unsupported SCRAM channel-binding type "{"?" * 30}"',
            None,
        ),
        (b"p", m.SCRAM_PLUS, "08P01", MALFORMED, 'Expected character "="'),
        (b"p=tls-server-end-point", m.SCRAM_PLUS, "08P01", MALFORMED, 'Unexpected attribute "0x00"'),
        (b"p=tls-server-end-point,a=x,n=,r=abc", m.SCRAM_PLUS, "0A000", "client uses authorization identity", None),
    ],
)
def test_a_downgrade_and_other_first_messages_that_do_not_fit_are_refused(
    first: bytes, mechanism: str, code: str, text: str, detail: str | None
) -> None:
    """A client that says `y` while we offer PLUS was shown another list than ours."""
    said = _turned(_initial(first, mechanism.encode()))
    assert (said["C"], said["M"][: len(text)]) == (code, text)
    assert said.get("D", "").startswith(detail or "")


def test_y_is_right_where_binding_is_not_offered() -> None:
    said = _turned(_initial(b"y,,n=,r=abc"), _response(b"c=eSws,r=x,p=" + PROOF), auth_methods=(PLAIN,))
    assert said["D"] == "Nonce does not match."


@pytest.mark.parametrize(
    "bound",
    [
        b"p=tls-server-end-point,,",
        b"p=tls-server-end-point,," + HASH[:-1],
        b"n,,",
        b"",
        b"p=tls-server-end-point,," + b"o" * 32,
    ],
)
def test_other_binding_data_than_our_certificates_fails(bound: bytes) -> None:
    final = b"c=" + base64.b64encode(bound) + b",r=abc,p=" + PROOF
    said = _turned(_initial(b"p=tls-server-end-point,,n=,r=abc", b"SCRAM-SHA-256-PLUS"), _response(final))
    assert (said["C"], said["M"]) == ("28000", "SCRAM channel binding check failed")


@pytest.mark.parametrize(
    ("more", "mechanism"),
    [
        ({"end_point": b""}, b"SCRAM-SHA-256-PLUS"),
        ({"auth_methods": (PLAIN,)}, b"SCRAM-SHA-256-PLUS"),
        ({"auth_methods": (PLUS,)}, b"SCRAM-SHA-256"),
    ],
)
def test_a_mechanism_that_was_not_offered_cannot_be_chosen(more: dict[str, Any], mechanism: bytes) -> None:
    said = _turned(_initial(b"n,,n=,r=abc", mechanism), **more)
    assert (said["C"], said["M"]) == ("08P01", "client selected an invalid SASL authentication mechanism")


def test_in_clear_no_binding_is_offered() -> None:
    result, script = play(
        greet(offer(end_point=HASH)), [_startup(), _initial(b"n,,n=,r=a", b"SCRAM-SHA-256-PLUS")], KNOWN
    )
    assert isinstance(result, Turned)
    assert b"PLUS" not in script.sent


# -- passwords in clear, and which method is used ------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["secret", "pässwörd", "\u2168", "a\u00adb", "x" * 2000])
def test_a_password_in_clear_lets_in_over_tls(password: str) -> None:
    known = answerer({"app": ("other", password)})
    server, client = duo(
        greet(offer(auth_methods=("password",))), login(how(password=password, tls="require")), known, known, facts=TLS
    )
    assert isinstance(server, ClientLogin), server
    assert isinstance(client, PostgresState), client


@pytest.mark.parametrize(("user", "password"), [("app", "wrong"), ("app", "Secret"), ("nobody", "secret")])
def test_a_wrong_password_in_clear_is_refused_like_an_unknown_user(user: str, password: str) -> None:
    server, client, _, _ = _log_in(
        {"auth_methods": ("password",)}, {"user": user, "password": password, "tls": "require"}
    )
    assert isinstance(server, Turned)
    assert isinstance(client, LoginRefused)
    assert (client.code, client.text) == ("28P01", f'password authentication failed for user "{user}"')


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"", "08P01"), (b"secret", "08P01"), (b"se\0cret\0", "08P01"), (b"\0", "28P01"), (b"\xff\xfe\0", "28P01")],
)
def test_malformed_passwords_in_clear(body: bytes, code: str) -> None:
    assert _turned(_response(body), auth_methods=("password",))["C"] == code


def test_a_password_in_clear_is_never_asked_for_in_clear() -> None:
    result, script = play(greet(offer(auth_methods=("password",))), [_startup(), _response(b"secret\0")], KNOWN)
    assert isinstance(result, Turned)
    assert result.problem is not None
    assert result.problem.code is ProblemCode.TLS_REQUIRED
    assert not script.sent.startswith(b"R")


@pytest.mark.parametrize(
    ("methods", "in_clear", "over_tls"),
    [
        ((), m.AUTH_SASL, m.AUTH_SASL),
        (("md5", PLAIN), m.AUTH_MD5, m.AUTH_MD5),
        (("password", "md5"), m.AUTH_MD5, m.AUTH_CLEARTEXT),
        (("password", PLAIN), m.AUTH_SASL, m.AUTH_CLEARTEXT),
        ((PLUS, "md5"), m.AUTH_MD5, m.AUTH_SASL),
        ((PLUS,), None, m.AUTH_SASL),
        (("password",), None, m.AUTH_CLEARTEXT),
    ],
)
def test_the_first_method_that_the_connection_allows_is_used(
    methods: tuple[str, ...], in_clear: int | None, over_tls: int
) -> None:
    for facts, expected in ((None, in_clear), (TLS, over_tls)):
        chunks = [SSL, _startup()] if facts else [_startup()]
        _, script = play(greet(offer(auth_methods=methods, end_point=HASH)), chunks, KNOWN, facts or TLS)
        said = script.sent.removeprefix(b"S")
        if expected is None:
            assert _said(said)["C"] == "28000"
        else:
            assert said[:1] == b"R"
            assert m.integer(said, 5) == expected


def test_a_method_that_the_certificate_does_not_allow_is_refused() -> None:
    said = _turned(auth_methods=(PLUS,), end_point=b"")
    assert (said["C"], said["M"]) == ("28000", "RDS Proxy supports only IAM, MD5, or SCRAM authentication.")


# -- a server that means harm ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flood", [m.message(b"N", b"SNOTICE\0\0"), m.message(b"N", bytes(100_000))])
def test_a_server_that_never_comes_to_the_point_is_left(flood: bytes) -> None:
    def endless() -> Any:
        while True:
            yield flood * max(1, 60_000 // len(flood))

    conversation = login(how(tls="disable"))
    next(conversation)
    step, chunks, fed = conversation.send(None), endless(), 0
    with pytest.raises(CodecError, match="bytes were sent during login"):
        while fed < 1 << 24:
            data = next(chunks)
            fed += len(data)
            step = conversation.send(data)
    assert step is not None
    assert fed < 1 << 23
