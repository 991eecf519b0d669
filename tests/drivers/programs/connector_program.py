"""mysql-connector-python, written in Python or (`--c`) over its C library: all that drivers do, prepared cursors, pools."""

from __future__ import annotations

import sys

IN_C = "--c" in sys.argv
if IN_C:
    # First of all: Python's own ssl would bring the machine's OpenSSL in, which may be older than the extension needs.
    import _mysql_connector  # noqa: F401

    sys.argv.remove("--c")

import functools  # noqa: E402
import threading  # noqa: E402
import warnings  # noqa: E402
from typing import Any  # noqa: E402

import mysql.connector as my  # noqa: E402
from mysql.connector.pooling import MySQLConnectionPool  # noqa: E402

from tests.drivers.programs import mysql_shared  # noqa: E402
from tests.drivers.programs.mysql_shared import COLUMNS, ROWS, TABLE, Driver, ask  # noqa: E402
from tests.drivers.programs.transcript import CA, DATABASE, HOST, PASSWORD, PORT, SCHEMA, USER, crowd, main, part, say  # noqa: E402

SETTINGS = {
    "host": HOST, "port": PORT, "user": USER, "password": PASSWORD, "autocommit": True, "use_pure": not IN_C,
    "charset": "utf8mb4", "collation": "utf8mb4_general_ci",
}  # fmt: skip


def connect(**more: Any) -> Any:
    return my.connect(**{"database": DATABASE, **SETTINGS, **more})


def rows_of(connection: Any, name: str, values: tuple[Any, ...]) -> Any:
    warnings.simplefilter("ignore")  # stored_results() shall become a property
    cursor = connection.cursor()
    try:
        out = cursor.callproc(name, values)
        return out, [result.fetchall() for result in cursor.stored_results()]
    finally:
        cursor.close()


driver = Driver(connect, my.Error, {"allow_local_infile": True}, rows_of)
fails = functools.partial(mysql_shared.fails, driver)


@part
def opening() -> None:
    for more in (
        {}, {"autocommit": False}, {"sql_mode": "TRADITIONAL"}, {"time_zone": "+02:00"}, {"charset": "latin1", "collation": "latin1_bin"},
        {"init_command": "SET @a = 5"}, {"ssl_disabled": True}, {"database": None},
    ):  # fmt: skip
        connection = connect(**more)
        say(
            more,
            type(connection).__name__,
            connection.autocommit,
            connection.charset,
            connection.sql_mode,
            connection.time_zone,
        )
        say(connection.database, connection.server_info, connection.is_connected(), connection.connection_id > 0)
        say(ask(connection, "SELECT @@autocommit, @@sql_mode, @@time_zone, @@collation_connection, DATABASE(), @a"))
        connection.close()


@part
def prepared() -> None:
    connection = connect()
    ask(connection, TABLE)
    # Of kinds that it can send in binary form, and read.
    names = [name.strip() for name in COLUMNS.split(",")]
    kept = [
        n
        for n, name in enumerate(names)
        if name in ("tiny", "price", "real_", "made", "day", "text_", "long_", "data", "facts")
    ]
    columns = ", ".join(names[n] for n in kept)
    cursor = connection.cursor(prepared=True)
    for row in ROWS:
        marks = ", ".join(["%s"] * len(kept))
        cursor.execute(f"INSERT INTO {SCHEMA}.kinds ({columns}) VALUES ({marks})", tuple(row[n] for n in kept))
        say(cursor.rowcount, cursor.lastrowid)
    cursor.execute(f"SELECT id, {columns} FROM {SCHEMA}.kinds WHERE id > %s ORDER BY id", (0,))
    say([(column[0], *column[1:7]) for column in cursor.description])
    for row in cursor.fetchall():
        say([value if not isinstance(value, str) or len(value) < 100 else len(value) for value in row])
    cursor.execute(f"SELECT id, text_ FROM {SCHEMA}.kinds WHERE id = %s", (2,))
    say(cursor.fetchall())
    cursor.close()
    first, second = connection.cursor(prepared=True), connection.cursor(prepared=True, dictionary=True)
    for number in range(30):
        first.execute("SELECT %s + 1, %s", (number, "ä" * number))
        say(first.fetchall())
        # Always of one type: MySQL reads a statement's parameters by the types of its first execution.
        second.execute("SELECT %s AS a", (f"text {number}",))
        say(second.fetchall())
    fails("nowhere", first.execute, "SELECT * FROM nowhere WHERE a = %s", (1,))
    fails("parameters", second.execute, "SELECT %s", (1, 2))
    first.close()
    second.close()
    say(ask(connection, "SELECT 'alive'"))
    long = connection.cursor(prepared=True)
    long.execute("SELECT LENGTH(%s)", (b"x" * 3_000_000,))
    say(long.fetchall())
    long.executemany(
        f"INSERT INTO {SCHEMA}.kinds (text_, tiny) VALUES (%s, %s)", [(f"many {n}", n) for n in range(100)]
    )
    say(long.rowcount)
    long.close()
    ask(connection, f"ALTER TABLE {SCHEMA}.kinds DROP big")
    ask(connection, f"DROP TABLE {SCHEMA}.kinds")
    connection.close()


@part
def cursors() -> None:
    connection = connect()
    ask(connection, f"CREATE TABLE {SCHEMA}.rows_ (n INT, t VARCHAR(2000))")
    cursor = connection.cursor()
    cursor.executemany(f"INSERT INTO {SCHEMA}.rows_ VALUES (%s, %s)", [(n, "t" * n) for n in range(2000)])
    cursor.close()
    for kind in (
        {"buffered": True},
        {"buffered": False},
        {"dictionary": True},
        {"raw": True},
        {"buffered": True, "dictionary": True},
    ):
        cursor = connection.cursor(**kind)
        cursor.execute(f"SELECT * FROM {SCHEMA}.rows_ ORDER BY n")
        say(cursor.fetchone(), cursor.fetchmany(2))
        say(len(cursor.fetchall()))
        cursor.close()
    cursor = connection.cursor()
    cursor.execute(f"SELECT * FROM {SCHEMA}.rows_ ORDER BY n")
    say(cursor.fetchone())
    fails("unread", lambda: connection.cursor().execute("SELECT 1"))
    cursor.fetchall()
    cursor.close()
    say(ask(connection, "SELECT 'alive'"))
    ask(connection, f"DROP TABLE {SCHEMA}.rows_")
    connection.close()


@part
def several_statements() -> None:
    connection = connect()
    cursor = connection.cursor()
    for text in (
        "SELECT 1; SELECT 2, 'x'",
        "BEGIN; SELECT 1; COMMIT; SELECT 2",
        "SELECT 1; SELECT * FROM nowhere; SELECT 3",
    ):
        try:
            cursor.execute(text)
            while True:
                say(cursor.rowcount, cursor.fetchall() if cursor.with_rows else None)
                if not cursor.nextset():
                    break
        except Exception as error:  # the C library's own, too
            say(mysql_shared.described(error))
    cursor.close()
    say(ask(connection, "SELECT 'alive'"))
    connection.close()


@part
def of_the_connection() -> None:
    connection = connect()
    connection.ping()
    connection.database = SCHEMA
    say(connection.database)
    connection.set_charset_collation("utf8mb4", "utf8mb4_unicode_ci")
    say(ask(connection, "SELECT @@collation_connection, 'ü'"))
    connection.autocommit = False
    connection.start_transaction(isolation_level="READ COMMITTED", readonly=None if mysql_shared.MARIADB else True)
    say(connection.in_transaction)
    connection.rollback()
    connection.start_transaction(consistent_snapshot=True)
    connection.commit()
    say(connection.in_transaction)
    connection.autocommit = True
    connection.sql_mode = "ANSI"
    connection.time_zone = "+03:00"
    say(ask(connection, "SELECT @@sql_mode, @@time_zone"))
    ask(connection, "SET @mine = 5")
    connection.reset_session({"a": 7}, {"sql_select_limit": 5})
    say(ask(connection, "SELECT @mine, @a, @@sql_mode, @@sql_select_limit, DATABASE()"))
    connection.cmd_reset_connection()
    say(ask(connection, "SELECT @a, @@sql_select_limit, @@collation_connection"))
    connection.cmd_init_db(SCHEMA)
    say(connection.database, connection.cmd_statistics().get("Uptime", 0) >= 0 if not IN_C else None)
    number = connection.connection_id
    connection.reconnect()
    say(connection.is_connected(), connection.connection_id != number)
    connection.disconnect()
    say(connection.is_connected())


@part
def pools() -> None:
    """More threads than connections; each that comes back is reset."""
    pool = MySQLConnectionPool(pool_size=3, pool_name="three", **{**SETTINGS, "database": DATABASE})
    gate = threading.Semaphore(3)
    results: list[int] = []

    def work(number: int) -> None:
        for turn in range(5):
            with gate:
                connection = pool.get_connection()
                ask(connection, "SET @left = 1")
                results.append(ask(connection, "SELECT %s", (number * 10 + turn,))[0][0])
                connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(sorted(results) == sorted(n * 10 + t for n in range(6) for t in range(5)), len(results))
    connection = pool.get_connection()
    say(ask(connection, "SELECT @left"))
    ask(connection, "START TRANSACTION")
    connection.close()
    connection = pool.get_connection()
    say(connection.in_transaction)
    connection.close()
    pool._remove_connections()


@crowd
def another_user() -> None:
    connection = connect()
    ask(connection, "SET @mine = 1, time_zone = '+01:00'")
    connection.cmd_change_user(USER, PASSWORD, SCHEMA)
    say(ask(connection, "SELECT @mine, @@time_zone, DATABASE()"))
    connection.close()


@crowd
def warned() -> None:
    warnings.simplefilter("ignore")  # it warns by Python's means, too
    connection = connect(get_warnings=True)
    cursor = connection.cursor()
    cursor.execute("SELECT CAST('x' AS SIGNED)")
    say(cursor.fetchall(), cursor.warnings, cursor.warning_count)
    cursor.close()
    connection.close()


@crowd  # where it never queues
def ended_by_others() -> None:
    sleeping, killing = connect(), connect()
    ask(killing, f"KILL {sleeping.connection_id}")
    try:
        ask(sleeping, "SELECT 1")
    except my.Error as error:
        say("killed", type(error).__name__, error.errno)
    killing.close()


@part
def compressed() -> None:
    # Written in Python, it fails where a server cuts a packet's header in two.
    mysql_shared.compressed(driver, rows=20_000 if IN_C else 500, compress=True)


@part
def encrypted() -> None:
    connection = connect(ssl_ca=CA, ssl_verify_cert=True, ssl_verify_identity=True, host="localhost")
    say(ask(connection, "SELECT 1"), len(ask(connection, "SELECT REPEAT('t', 3000000)")[0][0]))
    connection.close()


mysql_shared.shared(driver)
main()
