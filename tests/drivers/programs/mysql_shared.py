"""What the DB-API programs for MySQL and MariaDB share: parts that are the same for every driver."""

from __future__ import annotations

import datetime as dt
import decimal
import os
import random
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

from tests.drivers.programs.transcript import SCHEMA, crowd, part, say

MARIADB = bool(os.environ.get("MATRIX_MARIADB"))
TABLE = f"""
    CREATE TABLE {SCHEMA}.kinds (
        id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY, big BIGINT UNSIGNED, tiny TINYINT, price DECIMAL(20, 6), real_ DOUBLE,
        made DATETIME(6), day DATE, spent TIME(3), born YEAR, text_ VARCHAR(200), long_ LONGTEXT, data LONGBLOB,
        bits BIT(12), facts JSON, kind ENUM('a', 'b'), many SET('x', 'y', 'z'), stamp TIMESTAMP(2) NULL
    )"""
COLUMNS = "big, tiny, price, real_, made, day, spent, born, text_, long_, data, bits, facts, kind, many, stamp"
ROWS: list[tuple[Any, ...]] = [
    (
        2**64 - 1, -128, decimal.Decimal("12345678901234.567890"), 0.1, dt.datetime(2026, 2, 3, 4, 5, 6, 789012),
        dt.date(1999, 12, 31), dt.timedelta(hours=-100, milliseconds=5), 1999, "Grüße, 世界 🐬 ' \\ \" %", "z" * 70_000,
        bytes(range(256)), 2**11 + 3, '{"a": [1, null, "ä"]}', "b", "x,z", dt.datetime(2020, 1, 1, 0, 0, 0, 250000),
    ),
    (0, 127, decimal.Decimal("-0.000001"), -2.5e10, None, None, None, None, "", None, b"", 0, "[]", "a", "", None),
    (None,) * 16,
]  # fmt: skip


class Driver(NamedTuple):
    """What the parts need to know of one.

    Attributes:
        connect: opens a connection in autocommit, with what its keywords say.
        error: the base class of its errors.
        infile: the keywords of `connect` that allow LOAD DATA LOCAL.
        rows_of: of a procedure that was called: all its results. Drivers have ways of their own.
    """

    connect: Callable[..., Any]
    error: type[Exception]
    infile: dict[str, Any]
    rows_of: Callable[[Any, str, tuple[Any, ...]], Any]


def described(error: BaseException) -> str:
    """An error as a line: its class, number and words."""
    return f"{type(error).__name__} {error.args[:2] if error.args else ''} {getattr(error, 'sqlstate', '')}"


def fails(driver: Driver, what: str, call: Callable[..., Any], *arguments: Any) -> None:
    """Say how a call fails."""
    try:
        call(*arguments)
    except driver.error as error:
        say(what, described(error))
    else:
        say(what, "did not fail")


def ask(connection: Any, text: str, values: Any = None) -> Any:
    """All rows of one statement."""
    cursor = connection.cursor()
    try:
        cursor.execute(text, values) if values is not None else cursor.execute(text)
        return cursor.fetchall() if cursor.description else cursor.rowcount
    finally:
        cursor.close()


def shared(driver: Driver) -> None:
    """Make them parts of this program."""
    for function in (_values, _transactions, _errors, _bulk, _session, _large, _infile, _turns):
        _register(part, driver, function)
    # What the server alone knows: a procedure may do anything, and so its session keeps its connection.
    for function in (_procedures, _diagnostics):
        _register(crowd, driver, function)


def _register(kind: Callable[[Any], Any], driver: Driver, function: Callable[[Driver], None]) -> None:
    def run() -> None:
        function(driver)

    run.__name__ = function.__name__.strip("_")
    kind(run)


def _values(driver: Driver) -> None:
    connection = driver.connect()
    ask(connection, TABLE)
    marks = ", ".join(["%s"] * 16)
    for row in ROWS:
        cursor = connection.cursor()
        cursor.execute(f"INSERT INTO {SCHEMA}.kinds ({COLUMNS}) VALUES ({marks})", row)
        say(cursor.rowcount, cursor.lastrowid)
        cursor.close()
    cursor = connection.cursor()
    cursor.execute(f"SELECT * FROM {SCHEMA}.kinds ORDER BY id")
    say([(column[0], *column[1:7]) for column in cursor.description])
    for row in cursor.fetchall():
        say([value if not isinstance(value, str) or len(value) < 100 else len(value) for value in row])
    cursor.close()
    say(ask(connection, "SELECT 1, -1, 1.50, 1e0, NULL, 'ä', X'00FF', TRUE, DATE '2020-02-29', TIME '-01:02:03'"))
    say(ask(connection, "SELECT %s, %s, %s, %s", (None, "%s", b"\x00'\\", 2**63)))
    say(ask(connection, f"SELECT COUNT(*), SUM(price), MAX(big) FROM {SCHEMA}.kinds"))
    ask(connection, f"DROP TABLE {SCHEMA}.kinds")
    connection.close()


def _transactions(driver: Driver) -> None:
    connection = driver.connect()
    ask(connection, f"CREATE TABLE {SCHEMA}.done (a INT PRIMARY KEY, b INT) ENGINE=InnoDB")
    connection.close()
    connection = driver.connect(autocommit=False)
    say(ask(connection, "SELECT @@autocommit"))
    ask(connection, f"INSERT INTO {SCHEMA}.done VALUES (1, 1)")
    connection.rollback()
    ask(connection, f"INSERT INTO {SCHEMA}.done VALUES (2, 2)")
    connection.commit()
    ask(connection, f"INSERT INTO {SCHEMA}.done VALUES (3, 3)")
    ask(connection, "SAVEPOINT one")
    ask(connection, f"UPDATE {SCHEMA}.done SET b = 30 WHERE a = 3")
    ask(connection, "SAVEPOINT two")
    fails(driver, "twice", ask, connection, f"INSERT INTO {SCHEMA}.done VALUES (3, 4)")
    ask(connection, "ROLLBACK TO SAVEPOINT one")
    fails(driver, "gone", ask, connection, "ROLLBACK TO SAVEPOINT two")
    ask(connection, "RELEASE SAVEPOINT one")
    connection.commit()
    say(ask(connection, f"SELECT * FROM {SCHEMA}.done ORDER BY a"))
    connection.rollback()
    ask(connection, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
    say(ask(connection, f"SELECT COUNT(*) FROM {SCHEMA}.done"))
    connection.commit()
    ask(connection, "START TRANSACTION READ ONLY")
    fails(driver, "read only", ask, connection, f"INSERT INTO {SCHEMA}.done VALUES (9, 9)")
    connection.rollback()
    ask(connection, f"INSERT INTO {SCHEMA}.done VALUES (5, 5)")
    ask(connection, f"ALTER TABLE {SCHEMA}.done ADD c INT")  # commits
    connection.rollback()
    say(ask(connection, f"SELECT a FROM {SCHEMA}.done ORDER BY a"))
    connection.rollback()
    ask(connection, f"INSERT INTO {SCHEMA}.done VALUES (6, 6, 6)")
    connection.close()  # and so does who leaves
    connection = driver.connect()
    say(ask(connection, f"SELECT a FROM {SCHEMA}.done ORDER BY a"))
    ask(connection, f"DROP TABLE {SCHEMA}.done")
    connection.close()


def _errors(driver: Driver) -> None:
    connection = driver.connect()
    texts = ["SELEC 1", "SELECT nix", "SELECT * FROM nowhere", "SELECT * FROM no_such.table_", "SET sql_mode = 'nix'"]
    texts += ["SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'mine', MYSQL_ERRNO = 4711"]
    texts += ["USE nix", f"CREATE TABLE {SCHEMA}.t (a INT, a INT)", f"DROP TABLE {SCHEMA}.t", "KILL 4294967295"]
    texts += ["DO 1 / 0", "SELECT CAST('x' AS SIGNED)", "SELECT 'a' + 1"]
    for text in texts:
        fails(driver, text, ask, connection, text)
        say(ask(connection, "SELECT 'alive'"))
    for wrong in ({"password": "wrong"}, {"database": "nowhere"}, {"user": "nobody"}):
        try:
            driver.connect(**wrong)
        except driver.error as error:
            # Somebody unknown is asked by MariaDB for one proof or another, by the name; drivers do not have them all.
            say(wrong, *(() if "user" in wrong else (type(error).__name__, error.args[0])))
    connection.close()


def _procedures(driver: Driver) -> None:
    connection = driver.connect()
    ask(connection, f"USE {SCHEMA}")
    ask(
        connection,
        "CREATE PROCEDURE several (IN a INT, INOUT b VARCHAR(20), OUT c DECIMAL(6, 2)) BEGIN"
        " SELECT a AS first, b AS second; SELECT a + 1; SET b = CONCAT(b, '!'), c = a / 4; DO 0; SELECT 'last'; END",
    )
    ask(connection, "CREATE PROCEDURE breaks () BEGIN SELECT 1; SELECT * FROM nowhere; END")
    ask(connection, "CREATE PROCEDURE quiet (OUT a INT) SET a = 7")
    say(driver.rows_of(connection, "several", (6, "x", 0)))
    say(driver.rows_of(connection, "quiet", (0,)))
    fails(driver, "breaks", driver.rows_of, connection, "breaks", ())
    say(ask(connection, "SELECT 'alive'"))
    for name in ("several", "breaks", "quiet"):
        ask(connection, f"DROP PROCEDURE {name}")
    connection.close()


def _bulk(driver: Driver) -> None:
    connection = driver.connect()
    ask(connection, f"CREATE TABLE {SCHEMA}.bulk (id INT AUTO_INCREMENT PRIMARY KEY, n INT, t VARCHAR(300))")
    cursor = connection.cursor()
    insert = f"INSERT INTO {SCHEMA}.bulk (n, t) VALUES (%s, %s)"
    cursor.executemany(insert, [(n, "ä" * (n % 200)) for n in range(3000)])
    say(cursor.rowcount, cursor.lastrowid)
    cursor.executemany(f"UPDATE {SCHEMA}.bulk SET t = %s WHERE n = %s", [(f"changed {n}", n) for n in range(20)])
    say(cursor.rowcount)
    cursor.executemany(f"REPLACE INTO {SCHEMA}.bulk (id, n) VALUES (%s, %s)", [(1, 1), (2, 2)])
    say(cursor.rowcount)
    cursor.execute(f"INSERT INTO {SCHEMA}.bulk (n) VALUES (-1)")
    say(cursor.lastrowid, ask(connection, "SELECT LAST_INSERT_ID()"))
    say(ask(connection, f"SELECT COUNT(*), SUM(LENGTH(t)) FROM {SCHEMA}.bulk"))
    cursor.close()
    ask(connection, f"DROP TABLE {SCHEMA}.bulk")
    connection.close()


def _diagnostics(driver: Driver) -> None:
    """What the statement before has left, asked for by SQL."""
    connection = driver.connect()
    ask(connection, f"CREATE TABLE {SCHEMA}.left_ (id INT AUTO_INCREMENT PRIMARY KEY, n TINYINT)")
    for text, questions in (
        (f"INSERT INTO {SCHEMA}.left_ (n) VALUES (1), (2)", ("SELECT LAST_INSERT_ID(), ROW_COUNT()",)),
        (f"UPDATE {SCHEMA}.left_ SET n = 3", ("SELECT ROW_COUNT()", "SELECT ROW_COUNT()")),
        (f"SELECT SQL_CALC_FOUND_ROWS n FROM {SCHEMA}.left_ LIMIT 1", ("SELECT FOUND_ROWS()", "SELECT ROW_COUNT()")),
        ("SELECT CAST('x' AS SIGNED)", ("SHOW COUNT(*) WARNINGS", "SHOW WARNINGS", "SELECT @@warning_count")),
        ("SELECT * FROM nowhere", ("SHOW ERRORS", "SHOW WARNINGS")),
        (f"INSERT INTO {SCHEMA}.left_ (n) VALUES (1000)", ("SHOW WARNINGS", "SELECT LAST_INSERT_ID()")),
        ("SET sql_mode = 'nix'", ("SHOW WARNINGS",)),
        ("SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'mine', MYSQL_ERRNO = 4711", ("SHOW WARNINGS",)),
        ("GET DIAGNOSTICS @n = NUMBER", ("SELECT @n",)),
    ):
        fails(driver, text, ask, connection, text)
        for question in questions:
            say(ask(connection, question))
    ask(connection, f"DROP TABLE {SCHEMA}.left_")
    connection.close()


def _session(driver: Driver) -> None:
    """What belongs to each of three sessions, on whatever connections they have."""
    first, second, third = (driver.connect() for _ in range(3))
    ask(first, "SET time_zone = '+05:00', sql_mode = 'ANSI_QUOTES'")
    ask(second, "SET NAMES latin1")
    ask(second, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
    ask(third, "SET @one = 1, @two = 'zwei ä', @three = 1.5, @four = NULL")
    ask(third, f"USE {SCHEMA}")
    level = "tx_isolation" if MARIADB else "transaction_isolation"
    for _ in range(2):
        for client in (first, second, third):
            say(ask(client, f"SELECT @@time_zone, @@sql_mode, @@character_set_client, @@{level}, @one, @three, @four"))
            say(ask(client, "SELECT DATABASE()") == ask(client, "SELECT SCHEMA()"), client is third)
    say(ask(third, "SELECT @two, DATABASE()"))
    ask(first, "SET time_zone = DEFAULT, sql_mode = DEFAULT")
    ask(first, "CREATE TEMPORARY TABLE mine (a INT)")
    ask(first, "INSERT INTO mine VALUES (1), (2)")
    say(ask(first, "SELECT * FROM mine"))
    ask(first, "DROP TEMPORARY TABLE mine")
    fails(driver, "not mine", ask, second, "SELECT * FROM mine")
    say(ask(second, f"SELECT GET_LOCK('lock of {SCHEMA}', 10)"))
    say(ask(second, f"SELECT RELEASE_LOCK('lock of {SCHEMA}')"))
    for client in (first, second, third):
        client.close()


def _large(driver: Driver) -> None:
    connection = driver.connect()
    for size in (200, 70_000, 1_000_000, 5_000_000):
        ((text,),) = ask(connection, "SELECT %s", ("ä" * (size // 2),))
        say(size, text == "ä" * (size // 2))
    ((data,),) = ask(connection, "SELECT REPEAT('x', 17000000)")
    say(len(data))
    ask(connection, f"CREATE TABLE {SCHEMA}.many (n INT, t CHAR(100))")
    ask(connection, f"INSERT INTO {SCHEMA}.many VALUES (1, 'x'), (2, 'y')")
    for _ in range(14):
        ask(connection, f"INSERT INTO {SCHEMA}.many SELECT n + 2, t FROM {SCHEMA}.many")
    rows = ask(connection, f"SELECT * FROM {SCHEMA}.many")
    say(len(rows), sum(row[0] for row in rows))
    ask(connection, f"DROP TABLE {SCHEMA}.many")
    connection.close()


def _infile(driver: Driver) -> None:
    connection = driver.connect(**driver.infile)
    ask(connection, f"CREATE TABLE {SCHEMA}.filed (a INT, b VARCHAR(100))")
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "rows")
        with open(file, "w") as written:
            written.writelines(f"{n}\ttext {n}\n" for n in range(20_000))
        say(ask(connection, f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE {SCHEMA}.filed"))
        say(ask(connection, f"SELECT COUNT(*), SUM(a), MAX(b) FROM {SCHEMA}.filed"))
        fails(driver, "nowhere", ask, connection, f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE {SCHEMA}.nowhere")
    say(ask(connection, "SELECT 'alive'"))
    ask(connection, f"DROP TABLE {SCHEMA}.filed")
    connection.close()


def _turns(driver: Driver) -> None:
    """Four sessions in turns, one of them always in error."""
    clients = [driver.connect() for _ in range(4)]
    ask(clients[0], f"CREATE TABLE {SCHEMA}.turns (id INT AUTO_INCREMENT PRIMARY KEY, who INT, n INT)")
    for turn in range(8):
        for number, client in enumerate(clients):
            if number == 3:
                fails(driver, "always", ask, client, f"SELECT {turn} FROM nowhere")
                continue
            ask(client, f"INSERT INTO {SCHEMA}.turns (who, n) VALUES (%s, %s)", (number, turn))
            say(
                ask(client, "SELECT LAST_INSERT_ID()"),
                ask(client, f"SELECT SUM(n) FROM {SCHEMA}.turns WHERE who = {number}"),
            )
    ask(clients[0], f"DROP TABLE {SCHEMA}.turns")
    for client in clients:
        client.close()


def compressed(driver: Driver, *, rows: int = 20_000, **keywords: Any) -> None:
    """A connection that compresses: rows of all lengths, such as do not shrink, many at once, a file.

    Args:
        rows: of a long result.
        keywords: of `connect`, by which it compresses.
    """
    connection = driver.connect(**keywords, **driver.infile)
    for size in (1, 5000, 16_300, 33_000, 70_000, 200_000, 1_000_000, 16_700_000):
        ((data,),) = ask(connection, f"SELECT REPEAT('x', {size})")
        say(size, len(data), set(data) == set("x"))
    for size in (40_000, 3_000_000):  # nothing to gain
        noise = random.Random(size).randbytes(size)
        ((data,),) = ask(connection, "SELECT CAST(%s AS BINARY)", (noise,))
        say(size, bytes(data) == noise)
    ask(connection, f"CREATE TABLE {SCHEMA}.squeezed (n INT, t VARCHAR(100))")
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "rows")
        with open(file, "w") as written:
            written.writelines(f"{n}\ttext {n}\n" for n in range(20_000))
        say(ask(connection, f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE {SCHEMA}.squeezed"))
    found = ask(connection, f"SELECT n, t FROM {SCHEMA}.squeezed ORDER BY n LIMIT {rows}")
    say(len(found), found[0], found[-1], sum(row[0] for row in found))
    fails(driver, "nowhere", ask, connection, "SELECT * FROM nowhere")
    say(ask(connection, "SELECT 'alive'"))
    ask(connection, f"DROP TABLE {SCHEMA}.squeezed")
    connection.close()
