"""PyMySQL: what all drivers do, its own cursors, multi-statements, resets of a connection, time limits, TLS."""

from __future__ import annotations

import functools
from typing import Any

import pymysql
from pymysql.constants import CLIENT
from pymysql.cursors import DictCursor, SSCursor, SSDictCursor

from tests.drivers.programs import mysql_shared
from tests.drivers.programs.mysql_shared import Driver, ask
from tests.drivers.programs.transcript import CA, DATABASE, HOST, PASSWORD, PORT, SCHEMA, USER, crowd, main, part, say


def connect(**more: Any) -> pymysql.Connection[Any]:
    settings = {"host": HOST, "user": USER, "password": PASSWORD, "database": DATABASE, "autocommit": True}
    return pymysql.connect(port=PORT, **{"charset": "utf8mb4", **settings, **more})


def rows_of(connection: Any, name: str, values: tuple[Any, ...]) -> Any:
    with connection.cursor() as cursor:
        cursor.callproc(name, values)
        found = [cursor.fetchall()]
        while cursor.nextset():
            found.append(cursor.fetchall())
        if values:
            cursor.execute("SELECT " + ", ".join(f"@_{name}_{at}" for at in range(len(values))))
            found.append(cursor.fetchall())
        return found


driver = Driver(connect, pymysql.MySQLError, {"local_infile": True}, rows_of)
fails = functools.partial(mysql_shared.fails, driver)


@part
def opening() -> None:
    for more in (
        {}, {"autocommit": None}, {"sql_mode": "TRADITIONAL"}, {"init_command": "SET time_zone = '+02:00'"},
        {"charset": "latin1"}, {"collation": "utf8mb4_bin"}, {"database": None}, {"program_name": "mine"},
        {"ssl_disabled": True},
    ):  # fmt: skip
        with connect(**more) as connection:
            say(more, connection.get_autocommit(), connection.character_set_name(), connection.get_server_info())
            say(ask(connection, "SELECT @@autocommit, @@sql_mode, @@time_zone, @@collation_connection, DATABASE()"))
            say(connection.thread_id() > 0, connection.get_host_info().endswith(str(PORT)))


@part
def cursors() -> None:
    with connect() as connection:
        ask(connection, f"CREATE TABLE {SCHEMA}.rows_ (n INT, t VARCHAR(2000))")
        with connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {SCHEMA}.rows_ VALUES (%s, %s)", [(n, "t" * n) for n in range(2000)])
        for kind in (SSCursor, SSDictCursor, DictCursor):
            with connection.cursor(kind) as cursor:
                cursor.execute(f"SELECT * FROM {SCHEMA}.rows_ ORDER BY n")
                say(cursor.fetchone(), cursor.fetchmany(2))
                say(len(list(cursor)))
        with connection.cursor(SSCursor) as cursor:  # left early: the rest is read
            cursor.execute(f"SELECT * FROM {SCHEMA}.rows_ ORDER BY n")
            say(cursor.fetchone())
        say(ask(connection, "SELECT 'alive'"))
        with connection.cursor(SSCursor) as cursor:
            cursor.execute(f"SELECT n FROM {SCHEMA}.rows_ WHERE n < 5 ORDER BY n")
            cursor.scroll(2, mode="relative")
            say(cursor.fetchall_unbuffered().__next__())
        ask(connection, f"DROP TABLE {SCHEMA}.rows_")
    # left with rows to come
    connection = connect()
    connection.cursor(SSCursor).execute("SELECT REPEAT('x', 1000000) UNION ALL SELECT REPEAT('y', 1000001)")
    connection._force_close()
    with connect() as connection:
        say(ask(connection, "SELECT 'alive'"))


@part
def several_statements() -> None:
    with connect(client_flag=CLIENT.MULTI_STATEMENTS) as connection, connection.cursor() as cursor:
        for text in (
            "SELECT 1; SELECT 2, 'x'",
            "BEGIN; SELECT 1; COMMIT; SELECT 2",
            "SELECT 1; SELECT * FROM nowhere; SELECT 3",
        ):
            try:
                cursor.execute(text)
                while True:
                    say(cursor.rowcount, cursor.fetchall())
                    if not cursor.nextset():
                        break
            except pymysql.MySQLError as error:
                say(mysql_shared.described(error))
        say(ask(connection, "SELECT 'alive'"))
    with connect() as connection:
        fails("not allowed", ask, connection, "SELECT 1; SELECT 2")
    with connect(client_flag=CLIENT.FOUND_ROWS) as connection:
        ask(connection, f"CREATE TABLE {SCHEMA}.found (a INT)")
        ask(connection, f"INSERT INTO {SCHEMA}.found VALUES (1), (1)")
        say(ask(connection, f"UPDATE {SCHEMA}.found SET a = 1"))
        ask(connection, f"DROP TABLE {SCHEMA}.found")


@part
def of_the_connection() -> None:
    with connect() as connection:
        connection.ping()
        connection.select_db(SCHEMA)
        say(ask(connection, "SELECT DATABASE()"), connection.escape("it's"))
        fails("nowhere", connection.select_db, "nowhere")
        connection.set_character_set("utf8mb4", "utf8mb4_unicode_ci")
        say(ask(connection, "SELECT @@collation_connection, 'ü'"))
        connection.autocommit(False)
        say(ask(connection, "SELECT @@autocommit"), connection.get_autocommit())
        connection.begin()
        connection.rollback()
        connection.autocommit(True)
        connection.begin()
        connection.commit()
        connection.ping()
        number = connection.thread_id()
        connection._force_close()
        connection.connect()
        say(ask(connection, "SELECT 'again', DATABASE()"), connection.thread_id() != number)
    say(connection.open)


@crowd
def warned() -> None:
    with connect() as connection:
        say(connection.show_warnings())
        ask(connection, "SELECT CAST('x' AS SIGNED)")
        say(connection.show_warnings())


@crowd  # where it never queues
def ended_by_others() -> None:
    sleeping, killing = connect(read_timeout=30), connect()
    ask(killing, f"KILL {sleeping.thread_id()}")
    fails("killed", ask, sleeping, "SELECT 1")
    with connect(read_timeout=1) as impatient:
        fails("too slow", ask, impatient, "SELECT SLEEP(5)")
        say(impatient.open)
    limit = "max_statement_time = 0.3" if mysql_shared.MARIADB else "max_execution_time = 300"
    ask(killing, f"SET {limit}")
    fails(
        "limit", ask, killing, f"SELECT COUNT(*) FROM {'information_schema.columns a, ' * 3}information_schema.columns"
    )
    say(ask(killing, "SELECT 'alive'"))
    killing.close()


@part
def encrypted() -> None:
    with connect(ssl_ca=CA, ssl_verify_cert=True, ssl_verify_identity=True, host="localhost") as connection:
        say(ask(connection, "SELECT 1"), len(ask(connection, "SELECT REPEAT('t', 3000000)")[0][0]))


mysql_shared.shared(driver)
main()
