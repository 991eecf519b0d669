"""Both login conversations: against each other, cut anywhere; against garbage; and what must not let anybody in."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.api import BackendLogin, ClientLogin, Offer, Turned
from rdsp_codecs.errors import CodecError, LoginRefused, WireError
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.questions import Admit, Secrets, Welcome
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.sqlserver import login as lo
from rdsp_codecs.sqlserver import login7 as l7
from rdsp_codecs.sqlserver import prelogin as p
from rdsp_codecs.sqlserver import tokens as t
from rdsp_codecs.sqlserver.greet import PACKET_SIZE, greet
from rdsp_codecs.sqlserver.login import login
from rdsp_codecs.sqlserver.refuse import TEXTS, refuse
from rdsp_codecs.sqlserver.walking import TokenWalker
from rdsp_codecs.steps import TlsFacts
from rdsp_codecs.testing import duo, play

FACE = {
    lo.PROGRAM: "Microsoft SQL Server",
    lo.PROGRAM_VERSION: "10001000",
    lo.DATABASE: "app",
    lo.LANGUAGE: "us_english",
    lo.COLLATION: "0904d00034",
    lo.FEATURES: "0a:01",
}
STRICT = TlsFacts("TLSv1.3", lo.ALPN)


def seeded(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def offer(**more: Any) -> Offer:
    settings = {"tls": True, "require_tls": False, "local": True, "open_to_local": False, "max_login_bytes": 65536}
    return Offer(**{**settings, "entropy": seeded(1), "mock_salt_key": b"k" * 32, **more})


def how(user: str = "app", password: str | None = "secret", **more: Any) -> BackendLogin:
    settings = {"database": "app", "parameters": {}, "tls": "prefer", "entropy": seeded(2)}
    return BackendLogin(user=user, password=password, **{**settings, **more})


def answer(question: Any) -> Any:
    match question:
        case Secrets(user):
            return {"app": ("new", "secret")}.get(user, ())
        case Admit():
            return Welcome(FACE, 77, b"")
    raise AssertionError(question)


def both(offered: Offer, asked: BackendLogin, **more: Any) -> tuple[Any, Any]:
    return duo(greet(offered), login(asked), answer, answer, **more)


@pytest.mark.parametrize("tls", ["disable", "prefer", "require"])
@pytest.mark.parametrize("password", ["secret", "new"])
def test_who_knows_a_password_is_let_in(tls: str, password: str) -> None:
    found, state = both(offer(), how(password=password, tls=tls))
    assert isinstance(found, ClientLogin)
    assert (found.user, found.database, found.tls) == ("app", "app", tls != "disable")
    assert state.encrypted == found.tls
    assert state.version == k.TDS_7_4
    assert state.packet_size == int(found.parameters[PACKET_SIZE]) == 8000
    assert {name: state.server_parameters[name] for name in FACE if name != lo.FEATURES} == {
        name: value for name, value in FACE.items() if name != lo.FEATURES
    }


@pytest.mark.parametrize(("user", "password"), [("app", "wrong"), ("app", ""), ("nobody", "secret"), ("nobody", "")])
def test_nobody_else_is(user: str, password: str) -> None:
    found, error = both(offer(), how(user, password))
    assert isinstance(found, Turned)
    assert found.problem == Problem(ProblemCode.AUTH_FAILED, user)
    assert isinstance(error, LoginRefused)
    assert (error.code, error.password) == ("18456", True)
    assert error.text == f"Login failed for user '{user}'."


def test_strict_is_tls_below_all_of_it() -> None:
    found, state = both(offer(), how(direct_tls=True), facts=STRICT)
    assert isinstance(found, ClientLogin)
    assert found.tls
    assert state.strict
    assert state.encrypted
    found, error = both(offer(), how(direct_tls=True), facts=TlsFacts("TLSv1.3"))
    assert isinstance(error, LoginRefused | WireError)
    assert not isinstance(found, ClientLogin)


def test_where_tls_is_required_nobody_comes_without() -> None:
    found, error = both(offer(require_tls=True), how(tls="disable"))
    assert isinstance(error, LoginRefused), "the server demands it"
    assert isinstance(found, Turned)
    found, _ = both(offer(require_tls=True), how(tls="prefer"))
    assert isinstance(found, ClientLogin)
    for tls in ("require", "verify-full"):
        found, error = both(offer(tls=False), how(tls=tls))
        assert isinstance(error, LoginRefused)
        assert not isinstance(found, ClientLogin)


def client(login7: l7.Login7, encryption: int = p.ENCRYPT_NOT_SUPPORTED) -> list[bytes]:
    """What a driver says."""
    hello = p.prelogin({p.VERSION: bytes(6), p.ENCRYPTION: bytes((encryption,)), p.MARS: b"\1"})
    return [f.packets(f.PRELOGIN, hello, 4096), f.packets(f.LOGIN7, l7.login7(login7), 4096)]


PLAIN = l7.Login7(user="app", password="secret", database="app")


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"flags2": l7.INTEGRATED_SECURITY}, ProblemCode.AUTH_METHOD_REFUSED),
        ({"sspi": b"NTLMSSP"}, ProblemCode.AUTH_METHOD_REFUSED),
        ({"features": ((k.FEATURE_FEDAUTH, b"\2"),)}, ProblemCode.AUTH_METHOD_REFUSED),
        ({"flags3": l7.CHANGE_PASSWORD, "new_password": "x"}, ProblemCode.UNSUPPORTED),
        ({"attach_file": "x.mdf"}, ProblemCode.UNSUPPORTED),
    ],
)
def test_other_logins_are_refused_in_words(changed: dict[str, Any], code: ProblemCode) -> None:
    found, script = play(greet(offer()), client(attrs.evolve(PLAIN, **changed)), answer)
    assert isinstance(found, Turned)
    assert found.problem is not None
    assert found.problem.code is code
    assert said(script.sent, 2)[-2][0] == k.ERROR


def said(sent: bytes, at: int) -> list[tuple[int, bytes]]:
    """The tokens of the answer with that number, 1 the first."""
    reader = f.MessageReader(numbered=True)
    reader.feed(bytes(sent))
    messages = []
    while (message := reader.next()) is not None:
        messages.append(message)
    assert all(message.kind == f.RESPONSE for message in messages)
    return list(TokenWalker().feed(messages[at - 1].data))


def test_what_of_a_login_changes_the_session_is_kept_for_its_backends() -> None:
    asked = attrs.evolve(
        PLAIN,
        packet_size=512,
        type_flags=l7.READ_ONLY_INTENT,
        language="Deutsch",
        lcid=0x407,
        application="mine",
        features=((k.FEATURE_UTF8, b""), (k.FEATURE_SESSION_RECOVERY, b"")),
    )
    found, script = play(greet(offer()), client(asked), answer)
    assert isinstance(found, ClientLogin)
    again = lo.login_of(how(parameters={n: v for n, v in found.parameters.items() if n != PACKET_SIZE}))
    for name in ("version", "flags1", "flags2", "type_flags", "language", "lcid", "database", "user"):
        assert getattr(again, name) == getattr(asked, name), name
    assert again.features == ((k.FEATURE_UTF8, b""),), "session recovery is not acknowledged to clients"
    assert found.parameters[PACKET_SIZE] == "512"
    tokens = said(script.sent, 2)
    acknowledged = next(t.read_feature_ack(data) for token, data in tokens if token == k.FEATUREEXTACK)
    assert acknowledged == {k.FEATURE_UTF8: b"\1"}


@pytest.mark.parametrize("version", [k.TDS_7_1, k.TDS_7_2, k.TDS_7_3A, k.TDS_7_3B, k.TDS_7_4, 0x75000000])
def test_every_version_is_answered_in_its_own(version: int) -> None:
    found, script = play(greet(offer()), client(attrs.evolve(PLAIN, version=version)), answer)
    assert isinstance(found, ClientLogin)
    assert found.protocol == min(version, k.TDS_7_4)
    reader = f.MessageReader()
    reader.feed(bytes(script.sent))
    reader.next()
    message = reader.next()
    assert message is not None
    tokens = dict(TokenWalker(old=version == k.TDS_7_1).feed(message.data))
    assert t.read_login_ack(tokens[k.LOGINACK])[0] == found.protocol


def test_a_login_that_nobody_encrypts_is_refused_where_tls_is_required() -> None:
    found, script = play(greet(offer(require_tls=True)), client(PLAIN), answer)
    assert isinstance(found, Turned)
    assert found.problem == Problem(ProblemCode.TLS_REQUIRED)
    assert t.read_note(said(script.sent, 2)[0][1]).text == "This RDS Proxy requires TLS connections."


def test_a_client_that_encrypts_its_login_alone_is_not_encrypted_behind_it() -> None:
    found, script = play(greet(offer()), client(PLAIN, p.ENCRYPT_OFF), answer)
    assert isinstance(found, ClientLogin)
    assert not found.tls
    assert len(script.tls) == 1
    found, _ = play(greet(offer(require_tls=True)), client(PLAIN, p.ENCRYPT_OFF), answer)
    assert isinstance(found, ClientLogin)
    assert found.tls, "all of it, where that is required"


@given(st.lists(st.integers(1, 600), min_size=1, max_size=30))
def test_a_login_may_come_in_any_pieces(sizes: list[int]) -> None:
    whole = b"".join(client(PLAIN))
    chunks, at = [], 0
    for size in sizes:
        chunks.append(whole[at : at + size])
        at += size
    chunks.append(whole[at:])
    found, _ = play(greet(offer()), chunks, answer)
    assert isinstance(found, ClientLogin)


@given(st.integers(0, 400), st.integers(0, 255), st.booleans())
def test_garbage_lets_nobody_in_and_ends_in_words(at: int, byte: int, cut: bool) -> None:
    whole = bytearray(b"".join(client(attrs.evolve(PLAIN, password="wrong"))))
    at %= len(whole)
    whole[at] = byte
    data = bytes(whole[:at] if cut else whole)
    found, _ = play(greet(offer()), [data] if data else [b"\x12"], answer)
    assert isinstance(found, Turned)


@given(st.binary(max_size=300))
def test_a_server_that_talks_nonsense_is_a_codec_error(data: bytes) -> None:
    hello = f.packets(f.RESPONSE, p.prelogin({p.VERSION: bytes(6), p.ENCRYPTION: b"\2"}), 4096)
    with pytest.raises(CodecError):
        play(login(how(tls="disable")), [hello, data], answer)
    with pytest.raises(CodecError):
        play(login(how(tls="disable")), [data], answer)
    with pytest.raises(CodecError):
        play(login(how(tls="disable")), [hello, f.packets(f.RESPONSE, data, 4096)], answer)


@pytest.mark.parametrize("code", list(ProblemCode))
@pytest.mark.parametrize("old", [False, True])
def test_every_problem_is_an_error_and_the_end_of_a_response(code: ProblemCode, old: bool) -> None:
    assert code in TEXTS
    tokens = list(TokenWalker(old=old).feed(refuse(Problem(code, "it"), old=old)))
    assert [token for token, _ in tokens] == [k.ERROR, k.DONE]
    note = t.read_note(tokens[0][1], old=old)
    assert note.severity > 10
    assert "{}" not in note.text
