"""How a connection begins, from both sides: TLS first or asked for, GSSAPI, the protocol's version, its parameters."""

from __future__ import annotations

import random
import re
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.api import CancelAsked, ClientLogin, Turned
from rdsp_codecs.errors import LoginRefused, WireError
from rdsp_codecs.postgres import messages as m
from rdsp_codecs.postgres.greet import greet
from rdsp_codecs.postgres.login import enter, login
from rdsp_codecs.postgres.state import PostgresState
from rdsp_codecs.postgres.upkeep import cancel, is_writable, max_connections
from rdsp_codecs.steps import HasUnread, Receive, Send, StartTls, TlsFacts, TlsSide
from rdsp_codecs.testing import duo, play
from tests.codecs.postgres.test_logins import KEY, KNOWN, _said, _startup, how, offer

SSL, GSS = struct.pack(">II", 8, 80877103), struct.pack(">II", 8, 80877104)
OPEN = offer(open_to_local=True)
ALPN = TlsFacts("TLSv1.3", "postgresql")


def _key(sent: bytes) -> bytes:
    """The secret in BackendKeyData, which stands in front of the last ReadyForQuery."""
    at = sent.rindex(b"K\0\0\0", 0, len(sent) - 6)
    return sent[at + 9 : -6]


# -- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("minor", "size"), [(0, 4), (1, 4), (2, 32)])
def test_versions_that_we_speak_are_not_negotiated_and_the_cancel_key_fits_them(minor: int, size: int) -> None:
    result, script = play(greet(OPEN), [_startup(code=(3 << 16) + minor)], KNOWN)

    assert isinstance(result, ClientLogin)
    assert result.protocol == (3 << 16) + minor
    assert script.sent[:1] == b"R"
    assert _key(script.sent) == result.welcome.cancel_secret == KEY[:size]


@pytest.mark.parametrize("minor", [3, 99, 9999, 65535])
def test_newer_minor_versions_are_negotiated_down_to_ours(minor: int) -> None:
    """Row 93: 3.9999 is what libpq 19 asks for, to keep servers honest."""
    result, script = play(greet(OPEN), [_startup(code=(3 << 16) + minor)], KNOWN)

    assert isinstance(result, ClientLogin)
    assert result.protocol == (3 << 16) + 2
    assert script.sent.startswith(m.message(b"v", struct.pack(">II", (3 << 16) + 2, 0)))
    assert len(_key(script.sent)) == 32


@pytest.mark.parametrize("minor", [0, 2, 9999])
def test_unknown_options_are_named_and_go_no_further(minor: int) -> None:
    extra = b"_pq_.test_protocol_negotiation\0on\0_pq_.other\0\0"
    result, script = play(greet(OPEN), [_startup(code=(3 << 16) + minor, extra=extra)], KNOWN)

    names = b"_pq_.test_protocol_negotiation\0_pq_.other\0"
    assert script.sent.startswith(m.message(b"v", struct.pack(">II", (3 << 16) + min(minor, 2), 2) + names))
    assert isinstance(result, ClientLogin)
    assert result.parameters == {}


def test_a_version_is_negotiated_also_with_who_gives_no_user() -> None:
    body = b"database\0db\0\0"
    _, script = play(greet(OPEN), [struct.pack(">II", len(body) + 8, (3 << 16) + 9) + body], KNOWN)
    assert script.sent[:1] == b"v"
    assert _said(script.sent)["C"] == "28000"


@pytest.mark.parametrize("major", [0, 4, 1234, 65535])
def test_newer_major_versions_are_refused(major: int) -> None:
    result, script = play(greet(offer()), [_startup(code=major << 16)], KNOWN)
    assert isinstance(result, Turned)
    said = _said(script.sent)
    assert (said["C"], said["M"]) == ("0A000", f"unsupported frontend protocol {major}.0: server supports 3.0 to 3.2")


@pytest.mark.parametrize("major", [1, 2])
def test_older_major_versions_are_refused_in_words_that_they_understand(major: int) -> None:
    result, script = play(greet(offer()), [_startup(code=major << 16)], KNOWN)
    assert isinstance(result, Turned)
    assert script.sent == b"EFATAL:  unsupported frontend protocol %d.0: server supports 3.0 to 3.2\n\0" % major


@given(minor=st.sampled_from([0, 1, 2, 9999]), seed=st.integers(0, 99))
def test_both_sides_agree_on_a_version_whatever_the_cuts(minor: int, seed: int) -> None:
    cuts = random.Random(seed)
    asking = how(max_protocol_version="latest" if minor else "3.0")
    server, client = duo(greet(offer()), login(asking), KNOWN, KNOWN, piece=lambda: cuts.randint(1, 9))
    assert isinstance(server, ClientLogin), server
    assert isinstance(client, PostgresState), client
    assert client.cancel_key == server.welcome.cancel_secret
    assert len(client.cancel_key) == (32 if minor else 4)


def _backend(key: bytes, *, pid: int = 1, encrypted: bool = False) -> PostgresState:
    state = PostgresState({})
    state.process_id, state.cancel_key, state.encrypted = pid, key, encrypted
    return state


def _log_in(*messages: bytes, version: str = "latest") -> Any:
    return play(login(how(tls="disable", max_protocol_version=version)), [b"".join(messages)], KNOWN)[0]


WELCOME = m.authentication(m.AUTH_OK) + m.backend_key_data(7, b"abcd") + m.ready_for_query()


SAID = m.message(b"C", b"SHOW\0") + m.ready_for_query()


@pytest.mark.parametrize(
    ("at_login", "asked", "temporary"),
    [
        ("", m.message(b"D", b"\0\1\0\0\0\x0fPG_TEMP, public") + SAID, True),
        ("", m.message(b"D", b'\0\1\0\0\0\x0f"$user", public') + SAID, False),
        ("", m.message(b"E", b"SERROR\0C57014\0Mcancelled\0\0") + m.ready_for_query(), True),
        ("pg_temp", b"", True),
        ('"$user", public', b"", False),
    ],
    ids=["asked", "asked, not temporary", "not said", "reported", "reported, not temporary"],
)
def test_a_path_of_the_login_that_makes_tables_temporary_is_seen(at_login: str, asked: bytes, temporary: bool) -> None:
    reported = m.parameter_status("search_path", at_login) if at_login else b""
    welcome = m.authentication(m.AUTH_OK) + reported + m.backend_key_data(7, b"abcd") + m.ready_for_query()
    state, script = play(enter(how(tls="disable")), [welcome, *([asked] if asked else [])], KNOWN)

    assert state.makes_temporary is temporary
    assert (b"SHOW search_path" in script.sent) is bool(asked)


def test_an_older_server_negotiates_us_down() -> None:
    state = _log_in(m.negotiate_protocol_version(3 << 16, []), WELCOME)
    assert (state.process_id, state.cancel_key) == (7, b"abcd")


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("3.0", m.negotiate_protocol_version(3 << 16, [])),
        ("latest", m.negotiate_protocol_version((3 << 16) + 2, [])),
        ("latest", m.negotiate_protocol_version((3 << 16) + 3, [])),
        ("latest", m.negotiate_protocol_version(2 << 16, [])),
        ("latest", m.negotiate_protocol_version(3 << 16, ["_pq_.x"])),
        ("latest", m.negotiate_protocol_version(3 << 16, []) * 2),
        ("latest", m.message(b"v", b"\0\3\0\0")),
        ("latest", m.message(b"v", b"\0\3\0\0\0\0\0\1")),
        ("latest", m.message(b"v", b"\0\3\0\0\xff\xff\xff\xff")),
    ],
)
def test_a_server_negotiates_nothing_that_was_not_asked_for(version: str, said: bytes) -> None:
    with pytest.raises(WireError):
        _log_in(said, WELCOME, version=version)


@pytest.mark.parametrize("size", [0, 257])
def test_a_cancel_key_of_an_impossible_length_is_refused(size: int) -> None:
    with pytest.raises(WireError):
        _log_in(m.authentication(m.AUTH_OK) + m.message(b"K", bytes(4 + size)) + m.ready_for_query())


@pytest.mark.parametrize("size", [4, 32, 256])
def test_a_cancel_request_carries_the_whole_key(size: int) -> None:
    key = bytes(range(size % 256)) or b"x" * size
    state = _backend(key, pid=77)
    _, script = play(cancel(state, "disable", direct_tls=False), [], KNOWN)
    result, _ = play(greet(offer()), [script.sent], KNOWN)
    assert result == CancelAsked(77, key)


# -- TLS and GSSAPI ----------------------------------------------------------------------------------------------------


def _answers(*requests: bytes, **more: Any) -> bytes:
    """What is said to requests of 8 bytes each, then to a start-up packet: the answers up to the first R or E."""
    _, script = play(greet(offer(open_to_local=True, **more)), [*requests, _startup()], KNOWN)
    return script.sent[: min(at for tag in b"RE" if (at := script.sent.find(tag)) >= 0) + 1]


@pytest.mark.parametrize(
    ("requests", "tls", "without"),
    [
        ((), b"R", b"R"),
        ((GSS,), b"NR", b"NR"),
        ((SSL,), b"SR", b"NR"),
        ((GSS, SSL), b"NSR", b"NNR"),
        ((SSL, GSS), b"SE", b"NNR"),
        ((SSL, SSL), b"SE", b"NE"),
        ((GSS, GSS), b"NE", b"NE"),
        ((SSL, GSS, SSL), b"SE", b"NNE"),
        ((GSS, SSL, GSS), b"NSE", b"NNE"),
    ],
)
def test_requests_in_any_order_are_answered_as_the_server_does(
    requests: tuple[bytes, ...], tls: bytes, without: bytes
) -> None:
    """Row 94: `N`, and the client goes on on the same socket."""
    assert _answers(*requests) == tls
    assert _answers(*requests, tls=False) == without


@pytest.mark.parametrize(("request_", "what"), [(SSL, "SSL"), (GSS, "GSSAPI encryption")])
def test_who_does_not_wait_for_the_answer_is_refused(request_: bytes, what: str) -> None:
    conversation = greet(offer(tls=False))
    assert next(conversation) == Receive(1024, peek=True)
    assert conversation.send(request_ + b"more") == Receive(len(request_))
    assert conversation.send(request_) == HasUnread()
    assert conversation.send(True) == Send(b"N")
    said = conversation.send(None)
    assert isinstance(said, Send)
    assert _said(said.data)["M"] == f"received unencrypted data after {what} request"


def test_direct_tls_is_taken_without_reading_a_byte_of_it() -> None:
    conversation = greet(OPEN)
    assert next(conversation) == Receive(1024, peek=True)
    assert conversation.send(b"\x16") == StartTls(TlsSide.SERVER)
    assert conversation.send(ALPN) == Receive(4)


def test_direct_tls_logs_in_and_asks_for_no_more_of_it() -> None:
    result, script = play(greet(OPEN), [b"\x16", SSL, GSS, _startup()], KNOWN, ALPN)
    assert isinstance(result, ClientLogin)
    assert result.tls
    assert (script.tls, script.sent[:3]) == ([0], b"NNR")

    server, client = duo(greet(OPEN), login(how(tls="require", direct_tls=True)), KNOWN, KNOWN, facts=ALPN)
    assert isinstance(server, ClientLogin), server
    assert server.tls
    assert isinstance(client, PostgresState), client
    assert client.encrypted


@pytest.mark.parametrize("alpn", ["", "http/1.1", "postgres"])
def test_direct_tls_without_the_protocols_name_is_closed_without_a_word(alpn: str) -> None:
    result, script = play(greet(OPEN), [b"\x16", _startup()], KNOWN, TlsFacts("TLSv1.3", alpn))
    assert isinstance(result, Turned)
    assert result.problem is not None
    assert "without ALPN" in result.problem.subject
    assert script.sent == b""


def test_direct_tls_where_there_is_none_is_closed_and_not_left_hanging() -> None:
    """Row 95."""
    result, script = play(greet(offer(tls=False)), [b"\x16\x03\x01\x02\x00\x01"], KNOWN)
    assert isinstance(result, Turned)
    assert (script.sent, script.tls) == (b"", [])


def test_tls_that_was_asked_for_needs_no_name() -> None:
    result, _ = play(greet(OPEN), [SSL, _startup()], KNOWN, TlsFacts("TLSv1.3"))
    assert isinstance(result, ClientLogin)


@pytest.mark.parametrize("alpn", ["", "http/1.1"])
def test_a_server_of_direct_tls_that_does_not_give_the_name_is_refused(alpn: str) -> None:
    """Else bytes of ours might be taken for another protocol's, or another's for PostgreSQL's."""
    with pytest.raises(LoginRefused, match="ALPN"):
        play(login(how(tls="require", direct_tls=True)), [], KNOWN, TlsFacts("TLSv1.3", alpn))


@pytest.mark.parametrize(
    ("tls", "encrypted", "direct", "first"),
    [
        ("disable", False, False, None),
        ("prefer", False, False, SSL),
        ("prefer", True, False, SSL),
        ("require", True, False, SSL),
        ("require", True, True, StartTls(TlsSide.CLIENT)),
    ],
)
def test_a_cancel_is_encrypted_as_its_connection_is(tls: str, encrypted: bool, direct: bool, first: Any) -> None:
    state = _backend(b"abcd", encrypted=encrypted)
    step = next(cancel(state, tls, direct_tls=direct))
    if isinstance(first, StartTls):
        assert step == first
    else:
        assert isinstance(step, Send)
        assert (step.data == SSL) == (first == SSL)


def test_a_cancel_key_of_an_encrypted_connection_is_not_sent_in_clear() -> None:
    state = _backend(b"abcd", encrypted=True)
    with pytest.raises(LoginRefused):
        play(cancel(state, "prefer", direct_tls=False), [b"N"], KNOWN)
    _, script = play(cancel(_backend(b"abcd"), "prefer", direct_tls=False), [b"N"], KNOWN)
    assert script.sent.endswith(b"abcd")


# -- parameters --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "o", "2", "tru e", "Database", "databas", "yess", "-1"])
def test_a_value_of_replication_that_is_none_gets_the_servers_own_words(value: str) -> None:
    _, script = play(greet(OPEN), [_startup(extra=b"replication\0%b\0" % value.encode())], KNOWN)
    said = _said(script.sent)
    assert (said["C"], said["M"]) == ("22023", f'invalid value for parameter "replication": "{value}"')
    assert said["H"] == 'Valid values are: "false", 0, "true", 1, "database".'


@pytest.mark.parametrize("value", ["0", "f", "FALSE", "fal", "n", "no", "of", "OFF"])
def test_a_replication_that_is_none_is_no_replication(value: str) -> None:
    result, _ = play(greet(OPEN), [_startup(extra=b"replication\0%b\0" % value.encode())], KNOWN)
    assert isinstance(result, ClientLogin)
    assert result.parameters == {}


def test_parameters_go_on_as_they_came() -> None:
    given = {
        "options": "-c a=b --c-d=e",
        "DateStyle": "German",
        "datestyle": "ISO",
        "search_path": '"a b", c',
        "x.y": "",
    }
    extra = b"".join(f"{name}\0{value}\0".encode() for name, value in given.items())
    result, _ = play(greet(OPEN), [_startup(extra=extra + b"DateStyle\0SQL\0")], KNOWN)
    assert isinstance(result, ClientLogin)
    assert list(result.parameters) == ["options", "datestyle", "search_path", "x.y", "DateStyle"]
    assert result.parameters == {**given, "DateStyle": "SQL"}


@pytest.mark.parametrize(
    "conversation",
    [max_connections(PostgresState({})), is_writable(PostgresState({}))],
    ids=["max_connections", "is_writable"],
)
def test_the_proxys_own_questions_name_the_schema_of_every_function_and_operator(conversation: Any) -> None:
    """CVE-2025-12819: a search_path of the client's start-up parameters holds there, too."""
    step = next(conversation)
    assert isinstance(step, Send)
    text = re.sub(r"'[^']*'", "", step.data[5:-1].decode())
    bare = re.sub(r"OPERATOR\(pg_catalog\.\S+\)|pg_catalog\.\w+|::int\b|coalesce|SELECT|NOT|AND", "", text)
    assert set(re.findall(r"[^\s(),]+", bare)) <= {"true", "0"}, bare
