"""Both login conversations: against each other, cut anywhere; against garbage; and against what has hurt others."""

from __future__ import annotations

import base64
import hashlib
import random
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.api import BackendLogin, CancelAsked, ClientLogin, Offer, Turned
from rdsp_codecs.errors import CodecError, LoginRefused, WireError
from rdsp_codecs.postgres.greet import greet
from rdsp_codecs.postgres.login import login
from rdsp_codecs.postgres.messages import read_fields
from rdsp_codecs.postgres.refuse import TEXTS, refuse
from rdsp_codecs.postgres.state import PostgresState
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.questions import Admit, Derive, Secrets, Welcome
from rdsp_codecs.steps import Receive, Send
from rdsp_codecs.testing import duo, play

PARAMETERS = {"server_version": "15.0", "client_encoding": "UTF8", "TimeZone": "Etc/UTC"}


KEY = b"abcd" + bytes(range(28))


def seeded(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def offer(**more: Any) -> Offer:
    settings = {"tls": True, "require_tls": False, "local": True, "open_to_local": False}
    return Offer(**{**settings, "entropy": seeded(1), "mock_salt_key": b"k" * 32, **more})


def how(user: str = "app", password: str | None = "secret", **more: Any) -> BackendLogin:
    settings = {"database": "db", "parameters": {"application_name": "x"}, "tls": "prefer", "entropy": seeded(2)}
    return BackendLogin(user=user, password=password, **{**settings, **more})


def answerer(passwords: dict[str, tuple[str, ...]], admitted: Any = None) -> Callable[[Any], Any]:
    def answer(question: Any) -> Any:
        match question:
            case Secrets(user):
                return passwords.get(user, ())
            case Derive(password, salt, iterations):
                return hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
            case Admit():
                return admitted or Welcome(PARAMETERS, 77, KEY)
        raise AssertionError(question)

    return answer


KNOWN = answerer({"app": ("secret",)})


@given(
    seed=st.integers(0, 1000),
    method=st.sampled_from(["scram-sha-256", "md5"]),
    tls=st.sampled_from(["prefer", "disable"]),
)
def test_our_two_sides_log_in_against_each_other_whatever_the_cuts(seed: int, method: str, tls: str) -> None:
    cuts = random.Random(seed)
    server, client = duo(
        greet(offer(auth_methods=(method,))), login(how(tls=tls)), KNOWN, KNOWN, piece=lambda: cuts.randint(1, 9)
    )

    assert isinstance(server, ClientLogin), server
    assert (server.user, server.database, server.parameters) == ("app", "db", {"application_name": "x"})
    assert server.tls == (tls == "prefer")
    assert isinstance(client, PostgresState), client
    assert client.server_parameters == PARAMETERS
    assert (client.process_id, client.cancel_key) == (77, b"abcd")


@pytest.mark.parametrize("method", ["scram-sha-256", "md5"])
@pytest.mark.parametrize(("user", "password"), [("app", "wrong"), ("nobody", "secret"), ("app", "")])
def test_wrong_passwords_and_unknown_users_are_refused_alike(method: str, user: str, password: str) -> None:
    server, client = duo(greet(offer(auth_methods=(method,))), login(how(user, password)), KNOWN, KNOWN)

    assert isinstance(server, Turned)
    assert server.problem is not None
    assert server.problem.code is ProblemCode.AUTH_FAILED
    assert isinstance(client, LoginRefused)
    assert client.code == "28P01"
    assert client.text == f'password authentication failed for user "{user}"'


def test_an_unknown_user_sees_the_same_challenge_each_time() -> None:
    salts = set()
    for _ in range(3):
        _, script = play(greet(offer()), [_startup(user="ghost"), _initial(b"n,,n=,r=abc")], KNOWN)
        salts.add(script.sent.split(b",s=")[1].split(b",")[0])
    assert len(salts) == 1


@pytest.mark.parametrize("passwords", [("new", "secret"), ("secret", "old")])
def test_each_of_several_valid_passwords_lets_in(passwords: tuple[str, ...]) -> None:
    server, _ = duo(greet(offer()), login(how()), answerer({"app": passwords}), KNOWN)
    assert isinstance(server, ClientLogin)


@pytest.mark.parametrize("password", ["pässwörd", "\u2168", "a\u00adb", "\u0627\u0031", "x" * 2000])
def test_passwords_beyond_ascii(password: str) -> None:
    server, client = duo(greet(offer()), login(how(password=password)), answerer({"app": (password,)}), KNOWN)
    assert isinstance(server, ClientLogin), server
    assert isinstance(client, PostgresState)


@given(data=st.binary(max_size=300), cut=st.integers(1, 40))
def test_garbage_at_the_door_is_turned_away(data: bytes, cut: int) -> None:
    chunks = [data[at : at + cut] for at in range(0, len(data), cut)]
    try:
        result, _ = play(greet(offer()), chunks, KNOWN)
    except WireError:
        return
    assert isinstance(result, (Turned, CancelAsked))


@given(at=st.integers(0, 400), flip=st.integers(1, 255), seed=st.integers(0, 3))
def test_one_changed_byte_of_a_server_never_gets_past_with_another_exception(at: int, flip: int, seed: int) -> None:
    _, spoken = play(greet(offer(open_to_local=True)), [_startup()], KNOWN)
    words = bytearray(spoken.sent)
    words[at % len(words)] ^= flip
    try:
        result, _ = play(login(how(tls="disable")), [bytes(words)], KNOWN)
    except CodecError:
        return
    assert isinstance(result, PostgresState)


def _startup(user: str = "app", code: int = 3 << 16, extra: bytes = b"") -> bytes:
    body = b"user\0" + user.encode() + b"\0database\0db\0" + extra + b"\0"
    return struct.pack(">II", len(body) + 8, code) + body


def _initial(first: bytes, mechanism: bytes = b"SCRAM-SHA-256") -> bytes:
    return _response(mechanism + b"\0" + struct.pack(">I", len(first)) + first)


def _response(body: bytes) -> bytes:
    return b"p" + struct.pack(">I", len(body) + 4) + body


def _said(words: bytes) -> dict[str, str]:
    """The fields of the last ErrorResponse."""
    return read_fields(words[words.rindex(b"SFATAL\0") :])


def _turned(*chunks: bytes, **more: Any) -> dict[str, str]:
    result, script = play(greet(offer(**more)), chunks, KNOWN)
    assert isinstance(result, Turned), result
    return _said(script.sent)


def test_a_missing_user_gets_the_servers_own_words() -> None:
    body = b"database\0db\0\0"
    said = _turned(struct.pack(">II", len(body) + 8, 3 << 16) + body)
    assert (said["C"], said["M"]) == ("28000", "no PostgreSQL user name specified in startup packet")


def test_tls_may_be_demanded() -> None:
    said = _turned(_startup(), require_tls=True)
    assert (said["C"], said["M"]) == ("28000", "This RDS Proxy requires TLS connections.")


def test_gss_encryption_is_refused_and_the_client_may_go_on() -> None:
    result, script = play(greet(offer(open_to_local=True)), [struct.pack(">II", 8, 80877104), _startup()], KNOWN)
    assert script.sent.startswith(b"N")
    assert isinstance(result, ClientLogin)


def test_nothing_behind_an_ssl_request_is_read_before_the_handshake() -> None:
    """CVE-2021-3935 and its kin: what stands behind the request in clear belongs to the handshake."""
    taken = 0
    conversation = greet(offer())
    step = next(conversation)
    wire = struct.pack(">II", 8, 80877103) + _startup()
    while isinstance(step, Receive):
        assert step.limit > 0
        given = wire[taken : taken + step.limit]
        taken += 0 if step.peek else step.limit
        step = conversation.send(given)

    assert step == Send(b"S")
    assert taken == 8


def test_a_second_startup_message_in_the_middle_of_scram_lets_nobody_in() -> None:
    """CVE-2026-107350."""
    assert _turned(_startup(user="ghost"), _initial(b"n,,n=,r=abc"), _startup(user="app"))["C"] == "08P01"


@pytest.mark.parametrize(
    ("first", "code", "detail"),
    [
        (b"", "08P01", "The message is empty."),
        (b"n", "08P01", 'Comma expected, but found character "0x00".'),
        (b"n,,", "08P01", 'Expected attribute "n" but found "0x00".'),
        (b"n,,n=,r=", "08P01", "The nonce is empty."),
        (b"p=tls-unique,,n=,r=abc", "08P01", "The client selected SCRAM-SHA-256 without channel binding, but "),
        (b"n,a=other,n=,r=abc", "0A000", None),
        (b"n,,m=x,n=,r=abc", "0A000", None),
        (b"n,b=,n=,r=abc", "08P01", "Unexpected attribute \"'b'\" in client-first-message."),
        (b"n,,r=abc", "08P01", 'Expected attribute "n" but found "\'r\'".'),
        (b"x,,n=,r=abc", "08P01", "Unexpected channel-binding flag \"'x'\"."),
        (b"n,,n=,r=a\x01", "08P01", None),
        (b"n,,n=,r=a\0", "08P01", "Message length does not match input length."),
        (b"n,,n=,r=a,x", "08P01", 'Expected character "=" for attribute "x".'),
        (b"n,,n=,r=a,\xe9=", "08P01", 'Attribute expected, but found invalid character "0xe9".'),
    ],
)
def test_malformed_first_messages_of_scram(first: bytes, code: str, detail: str | None) -> None:
    said = _turned(_startup(), _initial(first))
    assert said["C"] == code
    assert said.get("D", "").startswith(detail or "")
    assert ("D" in said) == (detail is not None)


@pytest.mark.parametrize(
    "final", [b"", b"c=biws", b"c=biws,p=AAAA", b"c=biws,r=other,p=AAAA", b"c=eSws,r=abc,p=AAAA", b"c=biws,r=abc"]
)
def test_malformed_final_messages_of_scram_without_the_nonce(final: bytes) -> None:
    """CVE-2026-19888: a final message without a nonce."""
    assert _turned(_startup(), _initial(b"n,,n=,r=abc"), _response(final))["C"] == "08P01"


def _with_nonce(final: bytes) -> dict[str, str]:
    """What is said to a final message in which `%n` stands for the nonce."""
    start = [_startup(), _initial(b"n,,n=,r=abc")]
    _, script = play(greet(offer()), start, KNOWN)
    nonce = script.sent.split(b"r=")[1].split(b",")[0]  # the same in every run, as its source is seeded
    return _turned(*start, _response(final.replace(b"%n", nonce)))


PROOF = base64.b64encode(b"x" * 32)


@pytest.mark.parametrize("proof", [b"", b"AAAA", PROOF[:-1], base64.b64encode(b"x" * 33), b"!!!!", b" " + PROOF])
def test_a_proof_that_is_not_32_bytes_is_malformed_and_not_wrong(proof: bytes) -> None:
    said = _with_nonce(b"c=biws,r=%n,p=" + proof)
    assert (said["C"], said["M"]) == ("08P01", "malformed SCRAM message")
    assert said["D"] == "Malformed proof in client-final-message."


@pytest.mark.parametrize(
    ("final", "text"),
    [
        (b"c=eSws,r=%n,p=" + PROOF, "unexpected SCRAM channel-binding attribute in client-final-message"),
        (b"c=biws,r=%nx,p=" + PROOF, "Nonce does not match."),
        (b"c=biws,r=%n,1=,p=" + PROOF, "Attribute expected, but found invalid character \"'1'\"."),
        (b"c=biws,r=%n", "Attribute expected, but found end of string."),
        (b"c=biws,r=%n,p=" + PROOF + b",p=" + PROOF, "Garbage found at the end of client-final-message."),
        (b"c=biws,r=%n,p=" + PROOF, 'password authentication failed for user "app"'),
        (b"c=biws,r=%n,x=y,p=" + PROOF, 'password authentication failed for user "app"'),
    ],
)
def test_final_messages_of_scram_with_the_nonce(final: bytes, text: str) -> None:
    said = _with_nonce(final)
    assert text in (said["M"], said.get("D"))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "invalid string in message"),
        (b"SCRAM-SHA-256", "invalid string in message"),
        (b"SCRAM-SHA-256\0", "insufficient data left in message"),
        (b"SCRAM-SHA-256\0\0\0\0\2n", "insufficient data left in message"),
        (b"SCRAM-SHA-256\0\0\0\0\0n", "invalid message format"),
        (b"SCRAM-SHA-256\0\xff\xff\xff\xfen", "insufficient data left in message"),
        (b"SCRAM-SHA-256\0\xff\xff\xff\xffn", "invalid message format"),
        (b"SCRAM-SHA-1\0", "client selected an invalid SASL authentication mechanism"),
    ],
)
def test_malformed_initial_responses(body: bytes, text: str) -> None:
    said = _turned(_startup(), _response(body))
    assert (said["C"], said["M"]) == ("08P01", text)


def test_an_initial_response_may_come_in_the_next_message() -> None:
    none = _response(b"SCRAM-SHA-256\0\xff\xff\xff\xff")
    result, script = play(greet(offer()), [_startup(), none, _response(b"n,,n=,r=abc")], KNOWN)
    assert result == Turned(None, "app")
    assert b"R" + struct.pack(">II", 8, 11) + b"R" in script.sent
    assert b"r=abc" in script.sent
    assert _turned(_startup(), none, _response(b""))["D"] == "The message is empty."


@pytest.mark.parametrize("size", [0, 3, 1025, 1 << 20, (1 << 31) - 1, (1 << 32) - 1])
def test_password_messages_of_impossible_sizes(size: int) -> None:
    """CVE-2026-107348: lengths are bounded before anything is done with them. What is said is the server's."""
    message = b"p" + struct.pack(">I", size)
    said = _turned(_startup(), message)
    assert (said["C"], said["M"]) == ("28P01", 'password authentication failed for user "app"')
    assert _turned(_startup(), _initial(b"n,,n=,r=abc"), message)["C"] == "28P01"
    if size != 1025:
        result, script = play(greet(offer(auth_methods=("md5",))), [_startup(), message], KNOWN)
        assert isinstance(result, Turned)
        assert result.problem is not None
        assert len(script.sent) == 13, "the question, and no answer"


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        (b"", "08P01", "invalid password packet size"),
        (b"md5", "08P01", "invalid password packet size"),
        (b"md5\0\0", "08P01", "invalid password packet size"),
        (b"m\0d\0", "08P01", "invalid password packet size"),
        (b"\0", "28P01", "empty password returned by client"),
        (b"x" * 60000 + b"\0", "28P01", 'password authentication failed for user "app"'),
    ],
)
def test_malformed_passwords(body: bytes, code: str, text: str) -> None:
    said = _turned(_startup(), _response(body), auth_methods=("md5",))
    assert (said["C"], said["M"]) == (code, text)


@pytest.mark.parametrize("method", ["scram-sha-256", "md5"])
def test_a_name_that_is_no_utf_8_is_refused_like_another(method: str) -> None:
    start = _startup(user="X").replace(b"X", b"\xe9")
    answer = _initial(b"n,,n=,r=abc") if method != "md5" else _response(b"md5" + b"0" * 32 + b"\0")
    result, script = play(greet(offer(auth_methods=(method,))), [start, answer], KNOWN)
    assert isinstance(result, Turned)
    assert method != "md5" or b'Mpassword authentication failed for user "\xe9"\0' in script.sent


def test_another_message_instead_of_a_response() -> None:
    for start in (b"", _initial(b"n,,n=,r=abc")):
        said = _turned(_startup(), start, b"Q\0\0\0\4")
        assert (said["C"], said["M"]) == ("08P01", "expected SASL response, got message type 81")
    said = _turned(_startup(), b"Q\0\0\0\4", auth_methods=("md5",))
    assert (said["C"], said["M"]) == ("08P01", "expected password response, got message type 81")


@pytest.mark.parametrize("size", [0, 7, 10_005, 1 << 20, (1 << 31) - 1, (1 << 32) - 1])
def test_first_packets_of_impossible_sizes_are_closed_without_a_word(size: int) -> None:
    result, script = play(greet(offer(max_login_bytes=1 << 20)), [struct.pack(">II", size, 3 << 16)], KNOWN)
    assert result == Turned(Problem(ProblemCode.PROTOCOL_VIOLATION, "invalid length of startup packet"), "")
    assert script.sent == b""


def test_the_largest_first_packet_is_read_unless_the_configuration_says_less() -> None:
    start = _startup(extra=b"x\0" + b"y" * 9971 + b"\0")
    assert len(start) == 10_004
    result, _ = play(greet(offer(open_to_local=True)), [start], KNOWN)
    assert isinstance(result, ClientLogin)
    said = _turned(start, max_login_bytes=10_003)
    assert (said["C"], said["M"]) == ("54000", "A message of the client exceeds 10003 bytes.")


@pytest.mark.parametrize("key", [b"", bytes(300)])
def test_a_cancel_request_of_a_wrong_size_is_closed_without_a_word(key: bytes) -> None:
    result, script = play(greet(offer()), [struct.pack(">III", 12 + len(key), 80877102, 77) + key], KNOWN)
    assert isinstance(result, Turned)
    assert script.sent == b""


def test_a_cancel_request_is_understood() -> None:
    result, _ = play(greet(offer()), [struct.pack(">III", 16, 80877102, 77) + b"abcd"], KNOWN)
    assert result == CancelAsked(77, b"abcd")


def test_a_client_without_password_gets_in_from_this_machine_only_where_the_target_has_none() -> None:
    result, _ = play(greet(offer(open_to_local=True)), [_startup()], KNOWN)
    assert isinstance(result, ClientLogin)
    result, _ = play(greet(offer(open_to_local=True, local=False)), [_startup()], KNOWN)
    assert isinstance(result, Turned)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            Problem(ProblemCode.TOO_MANY_CLIENTS, "100"),
            "The maximum number of client connections to the proxy exceeded 100.",
        ),
        (Problem(ProblemCode.BORROW_TIMEOUT), "Timed-out waiting to acquire database connection."),
    ],
)
def test_who_is_not_admitted_is_told_why(answer: Problem, text: str) -> None:
    server, client = duo(greet(offer()), login(how()), answerer({"app": ("secret",)}, answer), KNOWN)
    assert isinstance(server, Turned)
    assert isinstance(client, LoginRefused)
    assert client.text == text


def _server_says(*messages: bytes) -> Any:
    return play(login(how(tls="disable")), [b"".join(messages)], KNOWN)


def _auth(kind: int, body: bytes = b"") -> bytes:
    return b"R" + struct.pack(">II", len(body) + 8, kind) + body


def test_a_server_that_asks_for_a_clear_password_in_clear_is_refused() -> None:
    with pytest.raises(LoginRefused, match="clear"):
        _server_says(_auth(3))


@pytest.mark.parametrize("iterations", [b"0", b"99999999", b"-1", b"x", b"9" * 40])
def test_a_servers_iteration_count_is_capped(iterations: bytes) -> None:
    """CVE-2026-6669."""
    conversation = login(how(tls="disable"))
    next(conversation)
    conversation.send(None)
    step = conversation.send(_auth(10, b"SCRAM-SHA-256\0\0"))
    nonce = step.data.rsplit(b"r=", 1)[1]
    conversation.send(None)
    with pytest.raises((LoginRefused, WireError)):
        conversation.send(_auth(11, b"r=" + nonce + b"server,s=c2FsdA==,i=" + iterations))


@pytest.mark.parametrize("nonce", [b"", b"other", b"KEEP", b"KEEP" + b"x" * 5000])
def test_a_servers_nonce_must_extend_ours(nonce: bytes) -> None:
    conversation = login(how(tls="disable"))
    next(conversation)
    conversation.send(None)
    step = conversation.send(_auth(10, b"SCRAM-SHA-256\0\0"))
    ours = step.data.rsplit(b"r=", 1)[1]
    conversation.send(None)
    with pytest.raises(WireError):
        conversation.send(_auth(11, b"r=" + nonce.replace(b"KEEP", ours) + b",s=c2FsdA==,i=4096"))


def test_an_error_without_a_code_is_survived() -> None:
    """CVE-2026-6665. What is no whole error is not handed on to a client either."""
    for body in (
        b"\0",
        b"",
        b"SFATAL\0Mno\0\0",
        b"SFATAL\0C28000\0Mno",
        b"SFATAL\0C28000\0\0",
        b"SFATAL\0C28000\0\0Mno\0\0",
    ):
        with pytest.raises(LoginRefused) as refused:
            _server_says(b"E" + struct.pack(">I", 4 + len(body)) + body)
        assert refused.value.raw == b""
    whole = b"SFATAL\0C28000\0Mno\0\0"
    with pytest.raises(LoginRefused) as refused:
        _server_says(b"E" + struct.pack(">I", 4 + len(whole)) + whole)
    assert refused.value.raw.endswith(whole)


def test_tls_that_is_demanded_is_not_forgone() -> None:
    with pytest.raises(LoginRefused):
        play(login(how(tls="require")), [b"N"], KNOWN)


@pytest.mark.parametrize("code", list(ProblemCode))
@pytest.mark.parametrize("fatal", [True, False])
def test_every_problem_has_words(code: ProblemCode, fatal: bool) -> None:
    words = refuse(Problem(code, "subject", fatal=fatal))
    said = read_fields(words[5:])

    assert said["C"] == TEXTS[code][0]
    assert len(said["C"]) == 5
    assert said["S"] == said["V"] == ("FATAL" if fatal else "ERROR")
    assert "{}" not in said["M"]
