"""Readers and writers of packets: each gives back what the other one made, and garbage gives one kind of error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.errors import UnsupportedFeatureError, WireError
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import hearing
from rdsp_codecs.mysql import messages as m
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql import trackers as t
from rdsp_codecs.mysql.values import Reader, lenenc, lenenc_integer
from tests.codecs.mysql import strategies as s

ALL = (1 << 38) - 1
NOTHING = c.CLIENT_PROTOCOL_41


@given(s.INT64)
def test_an_integer_is_read_as_it_was_written_and_in_its_shortest_form(value: int) -> None:
    data = lenenc_integer(value)
    reader = Reader(data, "number")

    assert reader.lenenc_integer() == value
    assert reader.left == 0
    assert len(data) == (1 if value < 251 else 3 if value < 65536 else 4 if value < 1 << 24 else 9)


@given(s.greetings())
def test_greetings(what: m.Greeting) -> None:
    assert m.read_greeting(m.greeting(what)) == what


@given(s.HEADS)
def test_requests_for_tls(what: m.LoginHead) -> None:
    data = m.ssl_request(what)
    assert m.read_ssl_request(data) == what
    assert m.is_ssl_request(data) is bool(what.capabilities & c.CLIENT_SSL)


@given(s.responses())
def test_logins(what: m.Response) -> None:
    data = m.response(what)
    assert m.read_response(data, ALL) == what
    assert not m.is_ssl_request(data)
    assert m.read_response(data + b"more", ALL) == what


@given(s.responses())
def test_of_what_was_not_offered_nothing_is_read(what: m.Response) -> None:
    """A client sets flags of its own accord; what it sends follows from what both have."""
    both = c.CLIENT_PROTOCOL_41 | c.CLIENT_SECURE_CONNECTION | c.CLIENT_CONNECT_WITH_DB
    flags = what.head.capabilities & both | c.CLIENT_LONG_PASSWORD
    sent = m.response(
        m.Response(
            m.LoginHead(flags, 0, 33),
            what.user,
            what.proof[:20].replace(b"\0", b"1"),
            b"db" if flags & c.CLIENT_CONNECT_WITH_DB else None,
        )
    )
    claimed = c.CLIENT_PLUGIN_AUTH | c.CLIENT_CONNECT_ATTRS | c.CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
    found = m.read_response((int.from_bytes(sent[:4], "little") | claimed).to_bytes(4, "little") + sent[4:], both)

    assert (found.user, found.plugin, found.attributes) == (what.user, None, None)
    assert found.database == (b"db" if flags & c.CLIENT_CONNECT_WITH_DB else None)


def test_a_length_that_is_written_longer_than_need_be_is_read() -> None:
    """As a client of MariaDB's for JavaScript writes that of its attributes."""
    flags = c.ALWAYS | c.CLIENT_CONNECT_ATTRS
    what = m.Response(m.LoginHead(flags, 0, 33), b"u", b"", None, b"p", ((b"a", b"b"),))
    short = m.response(what)
    assert short.endswith(b"\x04\x01a\x01b")
    for length in (b"\xfc\x04\x00", b"\xfd\x04\x00\x00", b"\xfe\x04" + bytes(7)):
        assert m.read_response(short[:-5] + length + short[-4:], ALL) == what


@given(s.change_users())
def test_changes_of_users(what: m.ChangeUser) -> None:
    assert m.read_change_user(m.change_user(what), ALL) == what


@given(s.NAMES, s.TEXTS)
def test_switches_of_the_way_to_prove_a_password(plugin: bytes, data: bytes) -> None:
    what = m.AuthSwitch(plugin, data)
    assert m.read_auth_switch(m.auth_switch(what)) == what


@given(s.oks())
def test_oks(what: r.Ok) -> None:
    data = r.ok(what)
    read = r.read_ok(data, ALL)
    assert replace(read, changes=t.NO_CHANGES) == what
    if what.trackers is not None:
        assert read.changes == t.changes(what.trackers)
        plain = r.ok(r.without_trackers(what))
        assert r.read_ok(plain, NOTHING) == r.read_ok(plain, ALL)
        assert len(plain) < len(data)


COUNTS = st.sampled_from([0, 1, 250, 251, 65535, 65536, (1 << 24) - 1, 1 << 24, (1 << 64) - 1])
COUNTED = st.builds(
    lambda number, more, info, affected, inserted: r.Ok(
        affected_rows=affected,
        last_insert_id=inserted,
        status=r.SERVER_SESSION_STATE_CHANGED,
        info=info,
        trackers=(t.variable(b"statement_id", b"%d" % number), *more),
    ),
    st.integers(0, 200),
    st.lists(
        st.sampled_from(
            [
                t.text(t.SESSION_TRACK_TRANSACTION_STATE, b"T_______"),
                t.variable(b"x", b"\0\x0f\x0cstatement_id\x011"),
                t.variable(b"statement_id", b"7"),
            ]
        ),
        max_size=2,
    ),
    st.sampled_from([b"", b"\x16\0\x0f\x0cstatement_id", b"Records: 1"]),
    COUNTS,
    COUNTS,
)


def likeness(data: bytes) -> bytes:
    """By which an OK is known again."""
    return r.likeness(data, r.numbers_end(data))


def uncounted(payload: bytes) -> tuple[Any, ...]:
    """All that an OK says but its counts and the number of its statement, where that is the first that has changed."""
    found = r.read_exactly(payload, ALL)
    first, *rest = found.trackers or (t.Tracker(99, b""),)
    number = first.kind == t.SESSION_TRACK_SYSTEM_VARIABLES and first.body.startswith(t.COUNTER)
    shown = replace(found, trackers=None, changes=t.NO_CHANGES, affected_rows=0, last_insert_id=0)
    return shown, found.trackers is None, None if number else first, *rest


@given(COUNTED, COUNTED, st.lists(st.tuples(st.integers(0, 63), st.integers(0, 255)), max_size=3))
def test_oks_that_are_alike_say_the_same(one: r.Ok, other: r.Ok, changed: list[tuple[int, int]]) -> None:
    data = r.ok(one)
    like = bytearray(data)
    for at, byte in changed:
        like[at % len(like)] = byte
    for again in (r.ok(other), bytes(like)):
        if not likeness(data) or likeness(data) != likeness(again):
            continue
        try:
            said = uncounted(again)
        except WireError:
            continue  # it is taken for the other one
        assert said == uncounted(data)
        read, exactly = r.read_ok(again, ALL), r.read_exactly(again, ALL)
        assert (read.affected_rows, read.last_insert_id) == (exactly.affected_rows, exactly.last_insert_id)
        assert r.read_ok(again, ALL).changes.only_transaction == r.read_ok(data, ALL).changes.only_transaction


@given(COUNTED, COUNTS, COUNTS)
def test_what_a_client_is_told_has_its_own_counts(ok: r.Ok, affected: int, inserted: int) -> None:
    for one in (ok, replace(ok, affected_rows=affected, last_insert_id=inserted)):
        said = r.ok(one)
        exactly = r.read_exactly(said, ALL)
        assert hearing._told(said, exactly, None) == r.ok(r.without_trackers(exactly))


def test_the_number_of_the_statement_makes_no_difference() -> None:
    first, second = (
        # Words that no other test has: what is remembered of others may have counts of theirs.
        r.ok(
            r.Ok(
                status=r.SERVER_SESSION_STATE_CHANGED,
                info=b"of this test alone",
                trackers=(t.variable(b"statement_id", number),),
            )
        )
        for number in (b"17", b"18")
    )
    assert likeness(first) == likeness(second)
    assert r.read_ok(first, ALL) is r.read_ok(second, ALL)
    assert r.read_ok(first, ALL).changes.only_transaction


@given(s.ERRS)
def test_errors(what: r.Err) -> None:
    assert r.read_err(r.err(what)) == what


@given(s.PROGRESSES)
def test_reports_of_progress(what: r.Progress) -> None:
    data = r.progress(what)
    assert r.is_progress(data)
    assert r.read_progress(data) == what


@given(s.EOFS)
def test_ends_of_rows(what: r.Eof) -> None:
    data = r.eof(what)
    assert r.is_eof(data)
    assert r.read_eof(data) == what


@given(st.integers(1, 5000), st.sampled_from([None, 0, 1]))
def test_column_counts(columns: int, follow: int | None) -> None:
    what = r.ColumnCount(columns, follow)
    assert r.read_column_count(r.column_count(what), 0 if follow is None else ALL) == what


@given(s.INT32, s.INT16, s.INT16, st.sampled_from([None, 0, 7]), st.sampled_from([None, 0, 1]))
def test_prepared_statements(
    number: int, columns: int, parameters: int, warnings: int | None, follow: int | None
) -> None:
    what = r.Prepared(number, columns, parameters, warnings, None if warnings is None else follow)
    assert r.read_prepared(r.prepared(what), ALL) == what


def test_trackers_say_what_has_changed() -> None:
    entries = (
        t.variable(b"autocommit", b"OFF"),
        t.variable(b"sql_mode", b""),
        t.text(t.SESSION_TRACK_SCHEMA, b"app"),
        t.text(t.SESSION_TRACK_STATE_CHANGE, b"1"),
        t.text(t.SESSION_TRACK_GTIDS, b"uuid:1-5"),
        t.text(t.SESSION_TRACK_TRANSACTION_CHARACTERISTICS, b"START TRANSACTION;"),
        t.text(t.SESSION_TRACK_TRANSACTION_STATE, b"T_______"),
        t.Tracker(t.SESSION_TRACK_USER_VARIABLES, lenenc(b"a") + lenenc(b"1")),
        t.Tracker(t.SESSION_TRACK_USER_VARIABLES, lenenc(b"b")),
        t.Tracker(99, b"?"),
    )
    assert t.read_trackers(t.trackers(entries)) == entries
    assert t.changes(entries) == t.Changes(
        variables=((b"autocommit", b"OFF"), (b"sql_mode", b"")),
        schema=b"app",
        state_changed=True,
        gtids=b"uuid:1-5",
        characteristics=b"START TRANSACTION;",
        transaction=b"T_______",
        user_variables=((b"a", b"1"), (b"b", None)),
        unknown=(99,),
    )
    assert t.changes(()) == t.NO_CHANGES
    of_transaction = t.changes(entries[5:7])
    assert of_transaction.only_transaction
    assert of_transaction.transaction == b"T_______"
    assert not t.changes(entries[4:7]).only_transaction


READERS: list[Callable[[bytes], Any]] = [
    m.read_greeting,
    m.read_ssl_request,
    lambda data: m.read_response(data, ALL),
    lambda data: m.read_change_user(data, ALL),
    m.read_auth_switch,
    lambda data: r.read_ok(data, ALL),
    lambda data: t.changes(r.read_ok(data, ALL).trackers or ()),
    r.read_err,
    r.read_progress,
    r.read_eof,
    r.read_local_infile,
    lambda data: r.read_column_count(data, ALL),
    lambda data: r.read_prepared(data, ALL),
]
GOOD = st.one_of(
    s.greetings().map(m.greeting),
    s.HEADS.map(m.ssl_request),
    s.responses().map(m.response),
    s.change_users().map(m.change_user),
    s.oks().map(r.ok),
    s.ERRS.map(r.err),
    s.PROGRESSES.map(r.progress),
    s.EOFS.map(r.eof),
    st.binary(max_size=60),
)


@given(GOOD, st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=4), st.integers(0, 400))
def test_any_bytes_give_a_value_or_a_codec_error(data: bytes, changes: list[tuple[int, int]], size: int) -> None:
    mutated = bytearray(data)
    for at, value in changes:
        if at < len(mutated):
            mutated[at] = value
    for payload in (bytes(mutated), bytes(mutated[:size])):
        for read in READERS:
            try:
                read(payload)
            except (WireError, UnsupportedFeatureError):
                pass


@given(s.greetings(), st.data())
def test_a_greeting_that_is_cut_off_is_refused(what: m.Greeting, data: st.DataObject) -> None:
    whole = m.greeting(what)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(WireError):
        m.read_greeting(whole[:cut])


def test_what_is_older_than_we_speak_is_said_to_be() -> None:
    with pytest.raises(UnsupportedFeatureError, match="protocol 9"):
        m.read_greeting(b"\x09" + b"3.20\0")
    with pytest.raises(UnsupportedFeatureError, match="older than version 4.1"):
        m.read_response(b"\x05\0\0\0" + bytes(28), ALL)
    with pytest.raises(UnsupportedFeatureError, match="4.0"):
        m.read_auth_switch(b"\xfe")


def test_a_string_with_a_nul_is_not_written() -> None:
    with pytest.raises(WireError):
        m.auth_switch(m.AuthSwitch(b"a\0b", b""))
