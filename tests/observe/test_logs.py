from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp.config.diff import Change
from rdsp.config.model import Logging, Reload
from rdsp.observe.dispatch import Observers
from rdsp.observe.events import SessionEnd
from rdsp.observe.logs import LINES_PER_SECOND, LogObserver
from rdsp_codecs.choice import CHOICE
from rdsp_codecs.pins import PinReason
from rdsp_codecs.problems import Problem, ProblemCode

END = SessionEnd("the client requested that the connection close", "client")


class Log:
    """A `LogObserver` on a text in memory, with a clock of the test's."""

    def __init__(self, level: str = "info", format: str = "console") -> None:
        self.now = 0.0
        self.stream = io.StringIO()
        self.observer = LogObserver(Logging(level=level, format=format), stream=self.stream, clock=lambda: self.now)

    def lines(self) -> list[str]:
        self.observer.close()
        return self.stream.getvalue().splitlines()

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.observer.close()


def without_time(line: str) -> str:
    time, _, rest = line.partition(" ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", time), line
    return rest


def test_a_pin_is_logged_in_rds_proxys_form(log: Log) -> None:
    log.observer.session_started(11, "default", "127.0.0.1:4000")
    log.observer.pinned(11, 3, PinReason.SESSION_SETTING, "set search_path to $1,$2,$3")
    (line,) = log.lines()
    assert without_time(line) == (
        "[WARNING] [proxyEndpoint=default] [clientConnection=11] The client session was pinned to the database "
        "connection [dbConnection=3] for the remainder of the session. The proxy can't reuse this connection until "
        "the session ends. Reason: SQL changed session settings that the proxy can't track. "
        'Digest: "set search_path to $1,$2,$3". dbConnection=3 reason=session_setting'
    )


def test_a_pin_in_json_has_its_fields() -> None:
    log = Log(format="json")
    log.observer.session_started(11, "default", "127.0.0.1:4000")
    log.observer.pinned(11, 3, PinReason.LISTEN, "listen jobs")
    (one,) = log.objects()
    assert one.pop("timestamp")
    assert "Reason: The session listens for notifications." in one.pop("event")
    assert one == {
        "level": "warning",
        "proxyEndpoint": "default",
        "clientConnection": 11,
        "dbConnection": 3,
        "reason": "listen",
    }


def test_hundreds_of_clients_that_come_and_go_leave_no_line_at_info(log: Log) -> None:
    for session in range(500):
        log.observer.session_started(session, "default", "127.0.0.1:4000")
        log.observer.session_admitted(session, "app", "shop", False)
        log.observer.session_ended(session, END)
    assert log.lines() == []


def test_at_debug_every_client_has_its_lines() -> None:
    log = Log("debug")
    for session in range(100):
        log.observer.session_started(session, "default", "127.0.0.1:4000")
        log.observer.session_ended(session, END)
    lines = log.lines()
    assert len(lines) == 200
    assert without_time(lines[0]) == (
        "[DEBUG] [proxyEndpoint=default] [clientConnection=0] A new client connected from 127.0.0.1:4000."
    )
    assert "Reason: the client requested that the connection close. blame=client" in lines[1]


def test_a_flood_of_refusals_is_a_few_lines_and_a_sum(log: Log) -> None:
    for _ in range(500):
        log.observer.refused("default", "127.0.0.1:4000", Problem(ProblemCode.AUTH_FAILED, "eve"), "eve")
    log.observer.backend_closed("default", 1, "it was too old")
    log.now = 1.5
    log.observer.backend_closed("default", 2, "it was too old")
    lines = log.lines()
    assert sum("A client was not let in." in line for line in lines) == LINES_PER_SECOND
    (told,) = [line for line in lines if "left out" in line]
    assert without_time(told) == (
        f"[WARNING] {500 - LINES_PER_SECOND} more lines of one kind were left out. "
        f'kind="refused client.auth_failed" left_out={500 - LINES_PER_SECOND}'
    )
    # The sum comes by itself with the next event, and before it.
    assert lines.index(told) == len(lines) - 2


def test_what_was_left_out_is_told_at_the_end_too(log: Log) -> None:
    for _ in range(LINES_PER_SECOND + 3):
        log.observer.trouble("default", "accept: Too many open files")
    assert "3 more lines" in log.lines()[-1]


def test_an_internal_error_is_an_error_with_its_traceback_indented(log: Log) -> None:
    log.observer.session_started(5, "default", "127.0.0.1:4000")
    log.observer.session_ended(5, SessionEnd("internal error", "proxy", "Traceback:\n  File x\nKeyError: 'y'\n"))
    first, *below = log.lines()
    assert without_time(first) == (
        "[ERROR] [proxyEndpoint=default] [clientConnection=5] The client connection closed. "
        "Reason: internal error. blame=proxy"
    )
    assert below == ["    detail| Traceback:", "    detail|   File x", "    detail| KeyError: 'y'"]


@given(st.text(min_size=1))
def test_no_client_can_write_a_line_that_looks_like_another(name: str) -> None:
    log = Log()
    log.observer.refused("default", "127.0.0.1:4000", Problem(ProblemCode.AUTH_FAILED, name), name)
    log.observer.pinned(1, 2, PinReason.LISTEN, name)
    text = "\n".join(log.lines())
    heads = [line for line in text.split("\n") if not line.startswith("    ")]
    assert len(heads) == 2
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]", text)


def test_an_endless_name_is_cut(log: Log) -> None:
    log.observer.refused("default", "127.0.0.1:4000", Problem(ProblemCode.AUTH_FAILED), "u" * 100_000)
    (line,) = log.lines()
    assert len(line) < 1500


def test_the_ready_line_goes_to_stdout_and_not_to_the_log(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    log.observer.ready("default", "127.0.0.1:6432", "postgres", "db.internal:5432")
    expected = f'rdsp: proxy "default" is ready on 127.0.0.1:6432 (postgres, target db.internal:5432, {CHOICE.name})\n'
    assert capsys.readouterr().out == expected
    assert log.lines() == []


def test_a_closed_stdout_does_not_silence_the_log(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    stream = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, "stdout", stream)
    observers = Observers([log.observer])
    observers.ready("default", "127.0.0.1:6432", "postgres", "db:5432")
    observers.trouble("default", "something else")
    monkeypatch.undo()
    with pytest.raises(BrokenPipeError):
        stream.close()
    assert observers.failures == 0
    first, second = log.lines()
    assert "The proxy is ready." in first
    assert "something else" in second


@pytest.mark.parametrize(
    ("level", "expected"),
    [("debug", ["debug", "info", "warning", "error"]), ("warning", ["warning", "error"]), ("error", ["error"])],
)
def test_a_level_leaves_out_what_is_less_severe(level: str, expected: list[str]) -> None:
    log = Log(level, "json")
    log.observer.session_started(1, "default", "peer")
    log.observer.backend_opened("default", 1, "127.0.0.1:5432", 0.01)
    log.observer.backend_open_failed("default", 2, "connection refused", True)
    log.observer.trouble("default", "no")
    assert [one["level"] for one in log.objects()] == expected


def test_the_rest_of_the_events_say_what_happened() -> None:
    log = Log("debug", "json")
    log.observer.session_started(9, "default", "peer")
    log.observer.session_admitted(9, "app", "shop", True)
    log.observer.borrow_failed(9, Problem(ProblemCode.BORROW_TIMEOUT, "120"))
    log.observer.cancel_asked(9, "passed on")
    log.observer.cancel_asked(None, "wrong key")
    log.observer.draining("default")
    log.observer.reloaded([Change("proxies[default].require_tls", "false", "true", Reload.LIVE)])
    log.observer.reloaded([])
    log.observer.reload_failed("rdsp.toml: line 3: no")
    events = [(one["level"], one["event"]) for one in log.objects()[1:]]
    assert events == [
        ("debug", "The client logged in."),
        ("warning", "A request got no database connection."),
        ("debug", "A cancel request: passed on."),
        ("debug", "A cancel request: wrong key."),
        ("info", "The proxy drains."),
        ("info", "Configuration changed."),
        ("info", "The configuration is unchanged."),
        ("error", "The configuration could not be read again; the old one stays."),
    ]


def test_sessions_that_ended_are_forgotten(log: Log) -> None:
    for session in range(10):
        log.observer.session_started(session, "default", "peer")
        log.observer.session_ended(session, END)
    assert log.observer._proxies == {}
