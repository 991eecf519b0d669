"""What the DB-API programs for SQL Server's protocol share: parts that are the same for every driver.

What is said goes into a transcript; what SQL Server's documentation promises is asserted as well, so that a run without
a proxy tests the reference server.
"""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.drivers.programs.transcript import SCHEMA, part, say

KINDS = f"{SCHEMA}_kinds"
TABLE = f"""
    CREATE TABLE {KINDS} (
        id int IDENTITY(1,1) PRIMARY KEY, big bigint, small smallint, flag bit, price decimal(20,6), real_ float,
        made datetime2(6), day date, spent time(3), text_ nvarchar(200), long_ nvarchar(max), data varbinary(max),
        guid uniqueidentifier, old datetime
    )"""
COLUMNS = "big, small, flag, price, real_, made, day, spent, text_, long_, data, guid, old"
ROWS: list[tuple[Any, ...]] = [
    (
        2**63 - 1, -(2**15), True, decimal.Decimal("12345678901234.567890"), 0.1, dt.datetime(2026, 2, 3, 4, 5, 6, 789012),
        dt.date(1999, 12, 31), dt.time(23, 59, 59, 999000), "Grüße, 世界 ' \" %", "z" * 70_000, bytes(range(256)),
        uuid.UUID("01234567-89ab-cdef-0123-456789abcdef"), dt.datetime(2020, 1, 1, 0, 0, 0, 250000),
    ),
    (-(2**63), 0, False, decimal.Decimal("-0.000001"), -2.5e10, None, None, None, "", None, b"", None, None),
    (None,) * 13,
]  # fmt: skip


class Driver(NamedTuple):
    """What the parts need to know of one.

    Attributes:
        connect: opens a connection, with `autocommit` and what else its keywords say.
        error: the base class of its errors.
        mark: what stands for a value in a text.
        number: of the server's error in an exception.
        lacks: columns that the driver writes or reads as something else.
        binary: makes a value of bytes.
    """

    connect: Callable[..., Any]
    error: type[Exception]
    mark: str
    number: Callable[[Exception], int]
    lacks: tuple[str, ...] = ()
    binary: Callable[[bytes], Any] = bytes


def ask(connection: Any, text: str, *values: Any) -> Any:
    """All rows of the first result of one text, or how many rows it has changed."""
    cursor = connection.cursor()
    try:
        cursor.execute(text, values) if values else cursor.execute(text)
        return [tuple(row) for row in cursor.fetchall()] if cursor.description else cursor.rowcount
    finally:
        cursor.close()


def fails(driver: Driver, number: int, connection: Any, text: str, *values: Any) -> None:
    """A text fails with that error."""
    try:
        ask(connection, text, *values)
    except driver.error as error:
        assert driver.number(error) == number, (number, error)
        say("failed", number)
    else:
        raise AssertionError(text)


def expect(actual: Any, expected: Any) -> None:
    """Say it, and that it is so."""
    assert actual == expected, (repr(actual)[:1000], repr(expected)[:1000])
    say(actual)


def shared(driver: Driver) -> None:
    """Make them parts of this program."""
    for function in (_values, _transactions, _errors, _session, _temporary, _procedures, _large, _many):
        _register(driver, function)


def _register(driver: Driver, function: Callable[[Driver], None]) -> None:
    def run() -> None:
        function(driver)

    run.__name__ = function.__name__.strip("_")
    part(run)


def _values(driver: Driver) -> None:
    columns = COLUMNS.split(", ")
    kept = [at for at, name in enumerate(columns) if name not in driver.lacks]
    names = ", ".join(columns[at] for at in kept)
    marks = ", ".join([driver.mark] * len(kept))
    with driver.connect(autocommit=True) as connection:
        ask(connection, f"IF OBJECT_ID('{KINDS}') IS NOT NULL DROP TABLE {KINDS}")
        ask(connection, TABLE)
        for row in ROWS:
            values = [driver.binary(row[at]) if isinstance(row[at], bytes) else row[at] for at in kept]
            ask(connection, f"INSERT INTO {KINDS} ({names}) VALUES ({marks})", *values)
        for row, read in zip(ROWS, ask(connection, f"SELECT {names} FROM {KINDS} ORDER BY id"), strict=True):
            expect(read, tuple(row[at] for at in kept))
        expect(ask(connection, f"SELECT count(*), max(id) FROM {KINDS}"), [(3, 3)])
        expect(ask(connection, f"SELECT id FROM {KINDS} WHERE text_ = {driver.mark}", ROWS[0][8]), [(1,)])


def _transactions(driver: Driver) -> None:
    with driver.connect(autocommit=False) as connection:
        ask(connection, f"CREATE TABLE {SCHEMA}_t (x int PRIMARY KEY)")
        connection.commit()
        ask(connection, f"INSERT INTO {SCHEMA}_t VALUES (1)")
        connection.rollback()
        expect(ask(connection, f"SELECT count(*) FROM {SCHEMA}_t"), [(0,)])
        ask(connection, f"INSERT INTO {SCHEMA}_t VALUES (2)")
        expect(ask(connection, "SELECT @@TRANCOUNT"), [(1,)])
        connection.commit()
        ask(connection, f"INSERT INTO {SCHEMA}_t VALUES (3)")
        ask(connection, "SAVE TRANSACTION here")
        ask(connection, f"INSERT INTO {SCHEMA}_t VALUES (4)")
        ask(connection, "ROLLBACK TRANSACTION here")
        connection.commit()
        expect(ask(connection, f"SELECT x FROM {SCHEMA}_t ORDER BY x"), [(2,), (3,)])
        # An error of a statement leaves the transaction, and another one ends it.
        ask(connection, f"INSERT INTO {SCHEMA}_t VALUES (5)")
        fails(driver, 2627, connection, f"INSERT INTO {SCHEMA}_t VALUES (5)")
        expect(ask(connection, "SELECT @@TRANCOUNT"), [(1,)])
        connection.commit()
        expect(ask(connection, f"SELECT count(*) FROM {SCHEMA}_t"), [(3,)])
        connection.rollback()
    with driver.connect(autocommit=True) as connection:
        ask(connection, f"BEGIN TRAN INSERT INTO {SCHEMA}_t VALUES (6)")
        ask(connection, f"BEGIN TRAN INSERT INTO {SCHEMA}_t VALUES (7) COMMIT")
        expect(ask(connection, "SELECT @@TRANCOUNT"), [(1,)])
        ask(connection, "ROLLBACK")
        expect(ask(connection, f"SELECT count(*), @@TRANCOUNT FROM {SCHEMA}_t"), [(3, 0)])
        ask(connection, f"SET XACT_ABORT ON BEGIN TRAN INSERT INTO {SCHEMA}_t VALUES (8)")
        fails(driver, 2627, connection, f"INSERT INTO {SCHEMA}_t VALUES (8)")
        expect(ask(connection, f"SELECT count(*), @@TRANCOUNT FROM {SCHEMA}_t"), [(3, 0)])


def _errors(driver: Driver) -> None:
    with driver.connect(autocommit=True) as connection:
        fails(driver, 208, connection, f"SELECT * FROM {SCHEMA}_missing")
        fails(driver, 102, connection, "SELEKT 1 FROM")
        fails(driver, 8134, connection, "SELECT 1/0")
        fails(driver, 50000, connection, "RAISERROR('no', 16, 1)")
        fails(driver, 245, connection, "SELECT CAST('x' AS int)")
        fails(driver, 2812, connection, f"EXEC {SCHEMA}_missing")
        expect(ask(connection, "SELECT 1"), [(1,)])
    try:
        driver.connect(autocommit=True, password="wrong")
    except driver.error as error:
        say("not let in", driver.number(error) in (18456, 0))
    else:
        raise AssertionError


def _session(driver: Driver) -> None:
    with driver.connect(autocommit=True) as connection:
        ask(connection, "SET DATEFIRST 1")
        ask(connection, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        ask(connection, "SET LOCK_TIMEOUT 1234")
        ask(connection, "SET CONTEXT_INFO 0x0102")
        expect(ask(connection, "SELECT @@DATEFIRST, @@LOCK_TIMEOUT"), [(1, 1234)])
        level = "SELECT transaction_isolation_level FROM sys.dm_exec_sessions WHERE session_id = @@SPID"
        expect(ask(connection, level), [(4,)])
        expect(ask(connection, "SELECT DB_NAME()"), [("app",)])
        ask(connection, "USE tempdb")
        expect(ask(connection, "SELECT DB_NAME()"), [("tempdb",)])
    with driver.connect(autocommit=True) as connection:
        expect(ask(connection, "SELECT @@DATEFIRST, @@LOCK_TIMEOUT"), [(7, -1)])


def _temporary(driver: Driver) -> None:
    with driver.connect(autocommit=True) as connection:
        ask(connection, "CREATE TABLE #t (x int)")
        ask(connection, "INSERT INTO #t VALUES (1), (2)")
        expect(ask(connection, "SELECT sum(x) FROM #t"), [(3,)])
        with driver.connect(autocommit=True) as other:
            fails(driver, 208, other, "SELECT * FROM #t")
        ask(connection, "DROP TABLE #t")
        fails(driver, 208, connection, "SELECT * FROM #t")


def _procedures(driver: Driver) -> None:
    with driver.connect(autocommit=True) as connection:
        ask(
            connection,
            f"CREATE PROCEDURE {SCHEMA}_p @a int, @b int = 10 AS"
            " BEGIN SET NOCOUNT ON SELECT @a + @b AS sum_ SELECT @a AS a RETURN 3 END",
        )
        cursor = connection.cursor()
        cursor.execute(f"EXEC {SCHEMA}_p {driver.mark}", (4,))
        found = [[tuple(row) for row in cursor.fetchall()]]
        while cursor.nextset():
            if cursor.description:
                found.append([tuple(row) for row in cursor.fetchall()])
        expect(found[:2], [[(14,)], [(4,)]])
        cursor.close()
        expect(ask(connection, f"DECLARE @r int EXEC @r = {SCHEMA}_p 1, 2 SELECT @r AS r")[:1] != [], True)


def _large(driver: Driver) -> None:
    with driver.connect(autocommit=True) as connection:
        for size in (1, 3999, 4001, 1_000_000):
            ((text, length),) = ask(connection, f"SELECT {driver.mark}, LEN({driver.mark})", "ä" * size, "ä" * size)
            expect((text == "ä" * size, length), (True, size))
        rows = ask(connection, "SELECT value, REPLICATE('x', 100) FROM GENERATE_SERIES(1, 20000)")
        expect((len(rows), rows[-1]), (20000, (20000, "x" * 100)))


def _many(driver: Driver) -> None:
    with driver.connect(autocommit=False) as connection:
        ask(connection, f"CREATE TABLE {SCHEMA}_many (n int, t nvarchar(20))")
        cursor = connection.cursor()
        text = f"INSERT INTO {SCHEMA}_many VALUES ({driver.mark}, {driver.mark})"
        cursor.executemany(text, [(n, f"row {n}") for n in range(200)])
        connection.commit()
        expect(ask(connection, f"SELECT count(*), min(t), max(n) FROM {SCHEMA}_many"), [(200, "row 0", 199)])
        connection.commit()
