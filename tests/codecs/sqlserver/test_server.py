"""The reference server's pure half: what it tells of transactions, errors, procedures, state. By its tokens."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator
from pathlib import Path

import pytest

from rdsp_codecs.errors import WireError
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.sqlserver.headers import all_headers
from rdsp_codecs.sqlserver.values import wide
from tests.codecs.sqlserver.asking import Asking, number, server, session, text


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Asking]:
    """A session of a server that nobody else uses."""
    asking = session(server(tmp_path))
    yield asking
    asking.close()


@pytest.fixture
def two(one: Asking) -> Iterator[Asking]:
    """Another session of the same server."""
    asking = session(one.state.server)
    yield asking
    asking.close()


def test_columns_have_the_names_that_they_are_given(one: Asking) -> None:
    (rows, *_) = one.batch("SELECT 'a', 'a' AS 'b', 1 'c', 'a' + 'd', x = 1, [y] = 2, NULL, 3 AS [z z], LEN('e')")
    assert rows[2] == ["", "b", "c", "", "x", "y", "", "z z", ""]


def test_a_query_is_rows_and_how_many(one: Asking) -> None:
    assert one.batch("SELECT 1 AS a, N'x' b, c = 2") == [("rows", [(1, "x", 2)], ["a", "b", "c"]), ("done", 1)]


def test_statements_need_no_mark_between_them(one: Asking) -> None:
    events = one.batch(
        "SET NOCOUNT ON DECLARE @x int = 2 IF @x > 1 SELECT @x ELSE SELECT 0 SELECT CASE WHEN 1=1 THEN 'a' END"
    )
    assert [event[1] for event in events if event[0] == "rows"] == [[(2,)], [("a",)]]
    assert events[-1] == ("done", None)


def test_tables_have_types(one: Asking) -> None:
    one.batch(
        "CREATE TABLE t (id int IDENTITY(1,1) PRIMARY KEY, name nvarchar(20) NOT NULL, price decimal(10,2) NULL,"
        " at datetime2(3), day date, data varbinary(max), flag bit)"
    )
    inserted = one.batch(
        "INSERT INTO t (name, price, at, day, data, flag) VALUES (N'a', 1.5, '2026-01-02T03:04:05.678', '20260103', 0x00FF, 1)"
    )
    assert inserted == [("done", 1)]
    at = datetime.datetime(2026, 1, 2, 3, 4, 5, 678000)
    expected = (1, "a", decimal.Decimal("1.50"), at, datetime.date(2026, 1, 3), b"\0\xff", True)
    assert one.rows("SELECT * FROM t") == [expected]
    assert one.rows("SELECT x.name FROM dbo.t AS x WHERE x.name = 'A'") == [("a",)]
    assert one.value("SELECT SCOPE_IDENTITY()") == 1, "batches are one scope"
    assert one.value("SELECT @@IDENTITY") == 1
    assert one.rows("INSERT t (name) OUTPUT inserted.id VALUES ('b'), ('c')") == [(2,), (3,)]
    assert one.rows("SELECT TOP (1) name FROM t ORDER BY id DESC") == [("c",)]
    assert one.rows("SELECT name FROM t ORDER BY id OFFSET 1 ROWS FETCH NEXT 1 ROWS ONLY") == [("b",)]


def test_a_transaction_of_t_sql_is_told_where_it_begins_and_ends(one: Asking) -> None:
    one.batch("CREATE TABLE t (x int)")
    assert one.batch("BEGIN TRAN INSERT t VALUES (1)") == [("begun",), ("done", None), ("done", 1)]
    assert one.batch("BEGIN TRAN COMMIT") == [("done", None), ("done", None)], "an inner one"
    assert one.value("SELECT @@TRANCOUNT") == 1
    assert one.batch("COMMIT TRANSACTION") == [("committed",), ("done", None)]
    assert one.batch("BEGIN TRAN; DELETE FROM t; ROLLBACK;") == [
        ("begun",),
        ("done", None),
        ("done", 1),
        ("rolled back",),
        ("done", None),
    ]
    assert one.value("SELECT count(*) FROM t") == 1


def test_savepoints_end_nothing(one: Asking) -> None:
    one.batch("CREATE TABLE t (x int)")
    events = one.batch("BEGIN TRAN INSERT t VALUES (1) SAVE TRAN s INSERT t VALUES (2) ROLLBACK TRAN s COMMIT")
    assert [event[0] for event in events if event[0] != "done"] == ["begun", "committed"]
    assert one.rows("SELECT x FROM t") == [(1,)]


def test_requests_to_the_transaction_manager(one: Asking) -> None:
    one.batch("CREATE TABLE t (x int)")
    assert one.request(k.TM_BEGIN_XACT, isolation=4) == [("begun",), ("done", None)]
    first = one.descriptor
    one.batch("INSERT t VALUES (1)")
    assert one.request(k.TM_COMMIT_XACT, begins=True) == [("committed",), ("begun",), ("done", None)]
    assert one.descriptor not in (first, bytes(8))
    one.batch("INSERT t VALUES (2)")
    assert one.request(k.TM_ROLLBACK_XACT) == [("rolled back",), ("done", None)]
    assert one.rows("SELECT x FROM t") == [(1,)]
    assert one.request(k.TM_COMMIT_XACT)[0][:2] == ("error", 3902)
    assert one.value("SELECT transaction_isolation_level FROM sys.dm_exec_sessions WHERE session_id = @@SPID") == 4


def test_implicit_transactions_begin_with_the_first_statement_that_touches_a_table(one: Asking) -> None:
    one.batch("CREATE TABLE t (x int)")
    assert one.batch("SET IMPLICIT_TRANSACTIONS ON") == [("done", None)]
    assert one.batch("SELECT 1") == [("rows", [(1,)], [""]), ("done", 1)]
    assert one.batch("SELECT x FROM t")[0] == ("begun",)
    assert one.batch("IF @@TRANCOUNT > 0 COMMIT TRAN") == [("committed",), ("done", None)]
    assert one.batch("BEGIN TRAN") == [("begun",), ("done", None)]
    assert one.value("SELECT @@TRANCOUNT") == 2
    one.batch("ROLLBACK")
    assert one.descriptor == bytes(8)


def test_a_descriptor_that_is_not_the_transactions_is_refused(one: Asking) -> None:
    one.batch("CREATE TABLE t (x int) BEGIN TRAN")
    own, one.descriptor = one.descriptor, bytes(8)
    assert one.batch("INSERT t VALUES (1)")[0][:2] == ("error", 3989)
    one.descriptor = b"\x99" * 8
    assert one.batch("INSERT t VALUES (1)")[0][:2] == ("error", 3971)
    one.descriptor = own
    one.batch("COMMIT")
    assert one.value("SELECT count(*) FROM t") == 0
    one.descriptor = own
    assert one.batch("SELECT 1")[0][:2] == ("error", 3971), "one that has ended"


def test_an_error_is_told_and_the_next_statement_runs(one: Asking) -> None:
    one.batch("CREATE TABLE t (x int PRIMARY KEY)")
    events = one.batch("BEGIN TRAN INSERT t VALUES (1) INSERT t VALUES (1) SELECT @@ERROR, @@TRANCOUNT COMMIT")
    assert [event[:2] for event in events] == [
        ("begun",),
        ("done", None),
        ("done", 1),
        ("error", 2627),
        ("done, error", None),
        ("rows", [(2627, 1)]),
        ("done", 1),
        ("committed",),
        ("done", None),
    ]


def test_xact_abort_ends_the_transaction_and_the_batch(one: Asking) -> None:
    one.batch("CREATE TABLE t (x int PRIMARY KEY) SET XACT_ABORT ON BEGIN TRAN INSERT t VALUES (1)")
    events = one.batch("INSERT t VALUES (1) SELECT 1")
    assert [event[:2] for event in events] == [("error", 2627), ("rolled back",), ("done, error", None)]
    assert one.value("SELECT count(*) FROM t") == 0
    assert one.batch("BEGIN TRAN RAISERROR('x', 16, 1) SELECT @@TRANCOUNT")[-2][1] == [(1,)], "RAISERROR does not count"
    one.batch("ROLLBACK")


def test_what_is_caught_may_leave_a_transaction_that_can_only_be_rolled_back(one: Asking) -> None:
    one.batch("CREATE TABLE t (x int PRIMARY KEY)")
    events = one.batch(
        "SET XACT_ABORT ON BEGIN TRY BEGIN TRAN INSERT t VALUES (1) INSERT t VALUES (1) END TRY"
        " BEGIN CATCH SELECT ERROR_NUMBER(), XACT_STATE() END CATCH"
    )
    assert ("rows", [(2627, -1)]) in [event[:2] for event in events]
    assert [event[:2] for event in events[-3:]] == [("error", 3998), ("rolled back",), ("done", None)] or events[-1][
        0
    ] == "done"
    assert one.descriptor == bytes(8)
    assert one.value("SELECT count(*) FROM t") == 0


def test_a_text_that_is_not_t_sql_does_not_run_at_all(one: Asking) -> None:
    one.batch("CREATE TABLE t (x int)")
    assert [event[:2] for event in one.batch("INSERT t VALUES (1) SELECT 'open")] == [
        ("error", 105),
        ("done, error", None),
    ]
    assert one.value("SELECT count(*) FROM t") == 0
    assert one.batch("SELECT * FROM missing")[0][:2] == ("error", 208)
    assert one.batch("SELECT missing FROM t")[0][:2] == ("error", 207)
    assert one.batch("SELECT 1/0")[-2][:2] == ("error", 8134)
    assert one.batch("EXEC missing")[0][:2] == ("error", 2812)


def test_temporary_tables_are_the_sessions_and_of_the_scope_that_makes_them(one: Asking, two: Asking) -> None:
    one.batch("CREATE TABLE #t (x int) INSERT #t VALUES (1)")
    assert one.value("SELECT x FROM #t") == 1
    assert two.batch("SELECT x FROM #t")[0][:2] == ("error", 208)
    one.call("sp_executesql", text("CREATE TABLE #u (x int)"))
    assert one.batch("SELECT x FROM #u")[0][:2] == ("error", 208)


def test_a_procedure_with_a_parameter_that_goes_out(one: Asking) -> None:
    one.batch("CREATE PROCEDURE p @a int, @b int OUTPUT AS BEGIN SET NOCOUNT ON SELECT @a SET @b = @a + 1 RETURN 7 END")
    assert one.call("p", number(4), number(None, "@b", output=True)) == [
        ("rows", [(4,)], [""]),
        ("done in procedure", None),
        ("status", 7),
        ("value", "@b", 5),
        ("done procedure", None),
    ]
    events = one.batch("DECLARE @r int, @o int EXEC @r = p 1, @o OUTPUT SELECT @r, @o")
    assert events[-2][:2] == ("rows", [(7, 2)])


def test_handles_are_prepared_run_and_given_up(one: Asking) -> None:
    events = one.call("sp_prepare", number(None, output=True), text("@a int"), text("SELECT @a + 1 AS b"), number(1))
    handle = next(event[2] for event in events if event[0] == "value")
    assert events[0] == ("rows", [], ["b"])
    assert one.call(k.SP_EXECUTE, number(handle), number(41))[0][1] == [(42,)]
    assert one.call("sp_unprepare", number(handle))[-1] == ("done procedure", None)
    assert one.call(k.SP_EXECUTE, number(handle), number(41))[0][:2] == ("error", 8179)
    events = one.call(k.SP_PREPEXEC, number(None, output=True), text("@a int"), text("SELECT @a"), number(5))
    assert [event[0] for event in events] == ["rows", "done in procedure", "status", "value", "done procedure"]


def test_a_reset_leaves_the_isolation_level_and_nothing_else(one: Asking) -> None:
    one.batch("CREATE TABLE t (x int)")
    one.batch(
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE SET NOCOUNT ON SET DATEFIRST 1 SET CONTEXT_INFO 0x0102"
        " CREATE TABLE #t (x int) EXEC sp_set_session_context N'k', N'v' USE other BEGIN TRAN"
    )
    events = one.batch(
        "SELECT @@TRANCOUNT, @@DATEFIRST, SESSION_CONTEXT(N'k'), CONTEXT_INFO(), DB_NAME()", status=f.RESET_CONNECTION
    )
    assert events[:2] == [("reset",), ("rolled back",)]
    assert events[2] == ("changed", k.ENV_DATABASE, "app")
    assert events[3][1] == [(0, 7, None, None, "app")]
    assert events[4] == ("done", 1)
    assert one.batch("SELECT * FROM #t")[0][:2] == ("error", 208)
    assert one.value("SELECT transaction_isolation_level FROM sys.dm_exec_sessions") == 4


def test_a_reset_that_skips_the_transaction_keeps_it(one: Asking) -> None:
    one.batch("CREATE TABLE t (x int) BEGIN TRAN INSERT t VALUES (1) SET NOCOUNT ON")
    events = one.batch("SELECT @@TRANCOUNT", status=f.RESET_CONNECTION_SKIP_TRAN)
    assert events == [("reset",), ("rows", [(1,)], [""]), ("done", 1)]
    one.batch("COMMIT")
    assert one.value("SELECT count(*) FROM t") == 1


def test_a_writer_waits_for_the_one_before_it(one: Asking, two: Asking) -> None:
    one.batch("CREATE TABLE t (x int) INSERT t VALUES (1) BEGIN TRAN UPDATE t SET x = 2")
    assert two.value("SELECT x FROM t") == 1, "readers do not wait"
    with pytest.raises(TimeoutError):
        two.batch("UPDATE t SET x = 3")
    assert two.batch("SET LOCK_TIMEOUT 100 UPDATE t SET x = 3")[1][:2] == ("error", 1222)
    one.batch("COMMIT")
    assert two.batch("UPDATE t SET x = 3") == [("done", 1)]


def test_application_locks_are_held_by_one_session(one: Asking, two: Asking) -> None:
    lock = "DECLARE @r int EXEC @r = sp_getapplock @Resource = 'r', @LockMode = 'Exclusive', @LockOwner = 'Session', @LockTimeout = 0"
    assert one.batch(f"{lock} SELECT @r")[-2][1] == [(0,)]
    assert two.batch(f"{lock} SELECT @r")[-2][1] == [(-1,)]
    one.batch("EXEC sp_releaseapplock @Resource = 'r', @LockOwner = 'Session'")
    assert two.batch(f"{lock} SELECT @r")[-2][1] == [(0,)]


@pytest.mark.parametrize(
    ("kind", "data", "status"),
    [
        (f.PRELOGIN, b"", 0),
        (f.SQL_BATCH, wide("SELECT 1"), 0),
        (f.SQL_BATCH, all_headers(), f.RESET_CONNECTION | f.RESET_CONNECTION_SKIP_TRAN),
        (f.TRANSACTION_MANAGER, all_headers() + b"\x63\0", 0),
        (f.BULK_LOAD, b"\x81\0\0", 0),
    ],
)
def test_a_message_that_breaks_the_protocol_ends_the_connection(
    one: Asking, kind: int, data: bytes, status: int
) -> None:
    with pytest.raises(WireError):
        one.ask(kind, data, status)


def test_an_attention_ends_a_response_and_with_xact_abort_the_transaction(one: Asking) -> None:
    one.batch("CREATE TABLE t (x int) BEGIN TRAN INSERT t VALUES (1)")
    items = one.session.respond(
        f.Message(f.SQL_BATCH, f.EOM, all_headers(one.descriptor) + wide("WAITFOR DELAY '00:01:00'"))
    )
    next(items)
    items.close()
    assert one.session.interrupted()[0] == k.DONE
    assert one.value("SELECT @@TRANCOUNT") == 1
    one.batch("SET XACT_ABORT ON")
    assert one.session.interrupted()[0] == k.ENVCHANGE


def test_rows_that_are_made(one: Asking) -> None:
    rows = one.rows("SELECT value, REPLICATE('x', 10) FROM GENERATE_SERIES(1, 1000)")
    assert len(rows) == 1000
    assert rows[-1] == (1000, "x" * 10)
