"""One session's relay, in front of sessions of the reference server: when it lets go, what it pins, what never goes out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs import moves
from rdsp_codecs.api import ClientLogin, RelayPolicy
from rdsp_codecs.errors import WireError
from rdsp_codecs.pins import PinReason
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.questions import Welcome
from rdsp_codecs.sqlserver import CODEC
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.sqlserver import login as lo
from rdsp_codecs.sqlserver import messages as m
from rdsp_codecs.sqlserver import tokens as t
from rdsp_codecs.sqlserver.greet import PACKET_SIZE
from rdsp_codecs.sqlserver.headers import all_headers
from rdsp_codecs.sqlserver.state import SqlServerState
from rdsp_codecs.sqlserver.statements import verdict
from rdsp_codecs.sqlserver.types import Column, columns
from rdsp_codecs.sqlserver.values import wide
from rdsp_codecs.testing.sqlserver.cells import cell
from rdsp_codecs.testing.sqlserver.declared import VARBINARY_MAX
from rdsp_codecs.testing.sqlserver.state import Server
from rdsp_codecs.transaction import Transaction
from tests.codecs.sqlserver.asking import Asking, Event, number, server, session, text


def relay(size: int = 4096) -> Any:
    parameters = {PACKET_SIZE: str(size), lo.VERSION: str(k.TDS_7_4)}
    who = ClientLogin("sa", "app", parameters, k.TDS_7_4, tls=False, welcome=Welcome({}, 77, b""))
    return CODEC.relay(who, RelayPolicy(), CODEC.shared())


class Backend:
    """A session of the server, and what its relay knows of it."""

    def __init__(self, of: Server, size: int) -> None:
        self.asking = session(of)
        self.state = SqlServerState({}, version=k.TDS_7_4, packet_size=size)
        self._reader = f.MessageReader(numbered=True)

    def answers(self, data: bytes) -> Iterator[bytes]:
        """What the server says to what it is sent."""
        self._reader.feed(data)
        while (message := self._reader.next()) is not None:
            if message.kind == f.ATTENTION:
                yield f.packets(f.RESPONSE, self.asking.session.attention(), self.state.packet_size)
                continue
            said = b"".join(self.asking.session.respond(message))  # type: ignore[arg-type]
            yield f.packets(f.RESPONSE, said, self.state.packet_size)


class Client(Asking):
    """Asks through a relay, with a pool of two backends, of which the one that was free longest is borrowed."""

    def __init__(self, of: Server, *, size: int = 4096, backend_size: int = 8000, step: int = 1 << 20) -> None:
        self.backends = [Backend(of, backend_size), Backend(of, backend_size)]
        self.state = self.backends[0].asking.state
        self.descriptor = bytes(8)
        self.relay = relay(size)
        self.held: Backend | None = None
        self.sent: list[bytes] = []
        self._step = step
        self._size = size

    def close(self) -> None:
        for backend in self.backends:
            backend.asking.close()

    def ask(self, kind: int, data: bytes, status: int) -> list[Event]:
        messages = self.say(f.packets(kind, data, self._size, status=status))
        assert len(messages) == 1
        return self._read(messages[0].data)

    def say(self, data: bytes) -> list[f.Message]:
        """What the client is answered in whole."""
        self._heed(self.relay.from_client(data))
        reader = f.MessageReader(numbered=True)
        reader.feed(b"".join(self.relay.to_client))
        self.relay.to_client.clear()
        found = []
        while (message := reader.next()) is not None:
            found.append(message)
        assert reader.between, "half a message"
        return found

    def _heed(self, signals: int) -> None:
        while True:
            if signals & moves.WANT_BACKEND:
                assert self.held is None
                self.held = self.backends.pop(0)
                signals = self.relay.attached(self.held.state)
                continue
            if self.relay.to_server:
                assert self.held is not None
                data = b"".join(self.relay.to_server)
                self.relay.to_server.clear()
                self.sent.append(data)
                signals = moves.NOTHING
                for answer in self.held.answers(data):
                    for at in range(0, len(answer), self._step):
                        signals |= self.relay.from_server(answer[at : at + self._step])
                continue
            free = not self.relay.pins and self.relay.transaction is Transaction.NONE and not self.relay.in_request()
            if signals & moves.OVER and free and not self.relay.lingers:
                self.give_back()
                signals = self.relay.from_client(b"") if signals & moves.AGAIN else moves.NOTHING
                continue
            return

    def give_back(self) -> None:
        assert self.held is not None
        self.backends.append(self.held)
        self.held = None
        self.relay.detached()

    def reclaim(self) -> None:
        """Others want the backend on which the session lingers."""
        if self.held is not None and self.relay.lingers:
            assert self.relay.reclaimed() & moves.OVER
            self.give_back()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    found = Client(server(tmp_path))
    found.batch("CREATE TABLE t (x int IDENTITY PRIMARY KEY, y int)")
    found.reclaim()
    yield found
    found.close()


def test_a_transaction_keeps_its_backend_and_its_end_gives_it_back(client: Client) -> None:
    assert client.held is None
    assert client.batch("BEGIN TRAN INSERT t (y) VALUES (1)")[0] == ("begun",)
    assert client.held is not None
    client.batch("BEGIN TRAN COMMIT SAVE TRAN s ROLLBACK TRAN s")
    client.reclaim()
    assert client.held is not None, "neither inner levels nor savepoints end it"
    assert client.batch("COMMIT")[0] == ("committed",)
    client.reclaim()
    assert client.held is None
    assert client.value("SELECT count(*) FROM t") == 1


def test_requests_to_the_transaction_manager_are_no_pin(client: Client) -> None:
    client.request(k.TM_BEGIN_XACT)
    client.batch("INSERT t (y) VALUES (1)")
    events = client.request(k.TM_COMMIT_XACT, begins=True)
    assert events[:2] == [("committed",), ("begun",)]
    assert client.relay.transaction is Transaction.OPEN, "the last one counts"
    client.request(k.TM_ROLLBACK_XACT)
    client.reclaim()
    assert client.held is None
    assert not client.relay.pins


def test_an_error_that_ends_the_transaction_is_told_and_gives_the_backend_back(client: Client) -> None:
    client.batch("SET XACT_ABORT ON BEGIN TRAN INSERT t (y) VALUES (1)")
    assert ("rolled back",) in client.batch("INSERT t (y) VALUES (1/0)")
    assert client.relay.transaction is Transaction.NONE
    client.batch("BEGIN TRAN")
    assert ("rolled back",) not in client.batch("RAISERROR('x', 16, 1)"), "another error leaves it"
    assert client.relay.transaction is Transaction.OPEN


def test_a_stale_descriptor_never_goes_out(client: Client) -> None:
    client.batch("BEGIN TRAN")
    stale = client.descriptor
    client.batch("COMMIT")
    client.reclaim()
    client.descriptor = stale
    before = len(client.sent)
    assert client.batch("INSERT t (y) VALUES (1)")[0][:2] == ("error", 3971)
    assert len(client.sent) == before
    client.descriptor = bytes(8)
    assert client.value("SELECT count(*) FROM t") == 0


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("SET NOCOUNT ON", PinReason.SESSION_SETTING),
        ("USE other", PinReason.SESSION_SETTING),
        ("SELECT 1 AS x INTO #t", PinReason.TEMPORARY_TABLE),
        ("CREATE TABLE [#t] (x int)", PinReason.TEMPORARY_TABLE),
        ("EXEC sp_getapplock @Resource = 'r', @LockMode = 'Shared', @LockOwner = 'Session'", PinReason.ADVISORY_LOCK),
        ("sp_set_session_context N'k', N'v'", PinReason.SESSION_SETTING),
        ("DECLARE @s nvarchar(20) = N'SELECT 1' EXEC (@s)", PinReason.UNRECOGNISED_STATE),
        ("EXECUTE AS USER = 'x'", PinReason.UNRECOGNISED_STATE),
    ],
)
def test_what_stays_in_the_session_keeps_the_backend(client: Client, said: str, reason: PinReason) -> None:
    client.batch(said)
    assert list(client.relay.pins.active()) == [reason]
    client.reclaim()
    assert client.held is not None
    assert client.relay.resettable is not said.startswith("EXECUTE AS")


@pytest.mark.parametrize(
    "said",
    [
        "SELECT x, [set] FROM (SELECT 1 AS x, 2 AS [set]) AS q",
        "UPDATE t SET y = 1 WHERE x = 2",
        "DECLARE @x int SET @x = 1",
        "IF EXISTS (SELECT 1 FROM t) DELETE FROM t",
        "-- SET NOCOUNT ON\nSELECT 'USE other; CREATE TABLE #t'",
        "INSERT t (y) VALUES (1) SELECT SCOPE_IDENTITY()",
    ],
)
def test_what_leaves_nothing_does_not_pin(client: Client, said: str) -> None:
    client.batch(said)
    assert not client.relay.pins
    client.reclaim()
    assert client.held is None


def test_prepared_handles_keep_the_backend_until_they_are_given_up(client: Client) -> None:
    events = client.call(k.SP_PREPEXEC, number(None, output=True), text("@a int"), text("SELECT @a"), number(5))
    handle = next(event[2] for event in events if event[0] == "value")
    assert client.relay.pins
    assert client.call(k.SP_EXECUTE, number(handle), number(6))[0][1] == [(6,)]
    client.call(k.SP_UNPREPARE, number(handle))
    assert not client.relay.pins
    client.reclaim()
    assert client.held is None
    client.call(k.SP_EXECUTESQL, text("SELECT @a"), text("@a int"), number(5))
    client.reclaim()
    assert client.held is None


def test_a_client_that_resets_its_session_is_pinned_no_more(client: Client) -> None:
    client.batch("SET DATEFIRST 1 CREATE TABLE #t (x int) BEGIN TRAN")
    events = client.batch("SELECT @@DATEFIRST, @@TRANCOUNT", status=f.RESET_CONNECTION)
    assert events[:2] == [("reset",), ("rolled back",)]
    assert events[2][1] == [(7, 0)]
    assert not client.relay.pins
    client.reclaim()
    assert client.held is None


def test_the_last_identity_is_read_where_it_was_made_or_refused(client: Client) -> None:
    client.batch("INSERT t (y) VALUES (1)")
    assert client.held is not None, "it lingers"
    assert client.value("SELECT SCOPE_IDENTITY()") == 1
    client.batch("INSERT t (y) VALUES (1)")
    client.reclaim()
    assert client.held is None
    assert client.batch("SELECT SCOPE_IDENTITY()")[0][0] == "error"
    assert list(client.relay.pins.active()) == [PinReason.DIAGNOSTICS]
    client.batch("INSERT t (y) VALUES (1)")
    assert client.value("SELECT SCOPE_IDENTITY()") == 3


def test_nobody_reads_what_others_have_left(client: Client) -> None:
    client.batch("INSERT t (y) VALUES (1)")
    client.reclaim()
    other = Client.__new__(Client)
    other.backends, other.relay, other.held, other.sent = client.backends, relay(), None, []
    other.state, other.descriptor, other._step, other._size = client.state, bytes(8), 1 << 20, 4096
    other.backends.reverse()
    assert other.backends[0].state.used_by is not None
    events = other.batch("SELECT @@IDENTITY")
    assert events[0][0] == "error"
    assert "another database connection" in events[0][2]


@pytest.mark.parametrize(
    ("said", "reads"),
    [
        ("SELECT SCOPE_IDENTITY()", True),
        ("INSERT t VALUES (1) SELECT SCOPE_IDENTITY()", False),
        ("INSERT t VALUES (1); SELECT @@IDENTITY", False),
        ("INSERT t DEFAULT VALUES SELECT @@IDENTITY", False),
        ("INSERT t SELECT @@IDENTITY", True),
        ("INSERT t SELECT 1 SELECT @@ROWCOUNT", False),
        ("SELECT 1 UNION ALL SELECT @@ROWCOUNT", True),
        ("SELECT * FROM (SELECT @@ROWCOUNT AS n) AS q", True),
        ("UPDATE t SET y = 1 SELECT @@ROWCOUNT", False),
        ("IF @x = 1 DELETE FROM t; SELECT @@ROWCOUNT", True),
        ("EXEC p; SELECT @@ERROR", True),
        ("MERGE t USING s ON 1 = 1 WHEN MATCHED THEN UPDATE SET y = @@IDENTITY;", True),
        ("MERGE t USING s ON 1 = 1 WHEN MATCHED THEN DELETE; SELECT @@ROWCOUNT", False),
    ],
)
def test_what_is_read_of_the_same_text_is_nobody_else_s(said: str, reads: bool) -> None:
    assert verdict(said).reads is reads


def test_rows_of_a_bulk_load_go_where_they_were_announced(client: Client) -> None:
    client.batch("INSERT BULK t (y int)")
    assert client.relay.in_request()
    info = m.Parameter("y", 0, None, b"").info
    assert info is None
    data = b"\x81" + columns((Column("y", number(1).info or VARBINARY_MAX, 9),), old=False)
    data += b"\xd1" + number(5).value + t.done(t.Done(status=k.DONE_COUNT, rows=1))
    assert client.ask(f.BULK_LOAD, data, 0) == [("done", 1)]
    client.reclaim()
    assert client.held is None
    assert client.value("SELECT y FROM t") == 5


def test_a_bulk_load_that_does_not_come_keeps_nothing(client: Client) -> None:
    client.batch("INSERT BULK t (y int)")
    assert client.value("SELECT count(*) FROM t") == 0, "the client has thought better of it"
    client.reclaim()
    assert client.held is None
    with pytest.raises(WireError):
        client.ask(f.BULK_LOAD, b"\x81\0\0", 0)


def test_a_late_attention_interrupts_nobody(client: Client) -> None:
    client.batch("SELECT 1")
    client.reclaim()
    before = len(client.sent)
    (message,) = client.say(f.packets(f.ATTENTION, b"", 4096))
    assert t.read_done(message.data).status == k.DONE_ATTN
    assert len(client.sent) == before


def test_an_attention_keeps_the_backend_until_it_is_acknowledged() -> None:
    one = relay()
    state = SqlServerState({}, version=k.TDS_7_4)
    batch = f.packets(f.SQL_BATCH, all_headers() + wide("SELECT 1"), 4096)
    assert one.from_client(batch) == moves.WANT_BACKEND
    one.attached(state)
    assert one.from_client(f.packets(f.ATTENTION, b"", 4096)) == moves.NOTHING
    assert b"".join(one.to_server) == batch + f.packets(f.ATTENTION, b"", 4096)
    assert not one.from_server(f.packets(f.RESPONSE, t.done(t.Done()), 4096)) & moves.OVER
    assert one.in_request()
    assert one.from_server(f.packets(f.RESPONSE, t.done(t.Done(status=k.DONE_ATTN)), 4096)) & moves.OVER
    assert not one.in_request()


def test_an_attention_behind_a_request_that_waits_goes_out_behind_it() -> None:
    one = relay()
    batch = f.packets(f.SQL_BATCH, all_headers() + wide("SELECT 1"), 4096)
    one.from_client(batch + f.packets(f.ATTENTION, b"", 4096))
    one.attached(SqlServerState({}, version=k.TDS_7_4))
    assert b"".join(one.to_server) == batch + f.packets(f.ATTENTION, b"", 4096)


_FORGED = st.sampled_from(
    [
        t.env_change(k.ENV_COMMIT_TRANSACTION, b"", b"\1\0\0\0\x3a\0\0\0"),
        t.env_change(k.ENV_ROLLBACK_TRANSACTION, b"", b"\1\0\0\0\x3a\0\0\0"),
        t.env_change(k.ENV_RESET_ACK),
        t.done(t.Done()),
        t.done(t.Done(status=k.DONE_ATTN)),
        b"\xff" * 8,
    ]
)


@given(st.lists(st.one_of(_FORGED, st.binary(max_size=40)), max_size=8).map(b"".join), st.integers(1, 3000))
def test_what_stands_in_rows_ends_no_transaction(forged: bytes, step: int) -> None:
    one = relay()
    one.from_client(f.packets(f.SQL_BATCH, all_headers() + wide("BEGIN TRAN SELECT 1"), 4096))
    one.attached(SqlServerState({}, version=k.TDS_7_4))
    said = t.env_change(k.ENV_BEGIN_TRANSACTION, b"\1\0\0\0\x3a\0\0\0") + t.done(t.Done(status=k.DONE_MORE))
    said += bytes((k.COLMETADATA,)) + columns((Column("a", VARBINARY_MAX, 9),) * 2, old=False)
    said += 2 * (bytes((k.ROW,)) + 2 * cell(VARBINARY_MAX, forged)) + t.done(t.Done(status=k.DONE_COUNT, rows=2))
    whole = f.packets(f.RESPONSE, said, 512)
    for at in range(0, len(whole), step):
        one.from_server(whole[at : at + step])
    assert one.transaction is Transaction.OPEN
    assert not one.in_request()
    reader = f.MessageReader()
    reader.feed(b"".join(one.to_client))
    message = reader.next()
    assert message is not None
    assert message.data == said, "and nothing of it is lost"


@pytest.mark.parametrize(("size", "backend_size"), [(512, 32767), (32767, 512), (4096, 4096)])
@pytest.mark.parametrize("step", [1, 700, 100_000])
def test_packets_are_made_anew(tmp_path: Path, size: int, backend_size: int, step: int) -> None:
    client = Client(server(tmp_path), size=size, backend_size=backend_size, step=step)
    rows = client.rows("SELECT value, REPLICATE(N'x', 100) FROM GENERATE_SERIES(1, 60)")
    assert rows[-1] == (60, "x" * 100)
    assert client.value(f"SELECT LEN(N'{'y' * 5000}')") == 5000
    client.close()


@pytest.mark.parametrize(
    "said", [f.packets(f.RESPONSE, t.done(t.Done()), 4096), b"\x01\x01\x00\x09\0\0\1\0x", b"\x04\x01\x00\x07\0\0\1\0"]
)
def test_a_server_that_speaks_unasked_is_not_believed(said: bytes) -> None:
    one = relay()
    one.from_client(f.packets(f.SQL_BATCH, all_headers() + wide("SELECT 1"), 4096))
    one.attached(SqlServerState({}, version=k.TDS_7_4))
    one.from_server(f.packets(f.RESPONSE, t.done(t.Done()), 4096))
    with pytest.raises(WireError):
        one.from_server(said)


def test_a_request_that_gets_no_backend_is_refused_and_the_next_one_comes() -> None:
    one = relay()
    batch = f.packets(f.SQL_BATCH, all_headers() + wide("SELECT 1"), 4096)
    assert one.from_client(batch) == moves.WANT_BACKEND
    assert one.abort(Problem(ProblemCode.BORROW_TIMEOUT)) == moves.NOTHING
    reader = f.MessageReader()
    reader.feed(b"".join(one.to_client))
    message = reader.next()
    assert message is not None
    assert t.read_note(message.data[: 3 + int.from_bytes(message.data[1:3], "little")]).number == 59501
    assert one.from_client(batch) == moves.WANT_BACKEND
