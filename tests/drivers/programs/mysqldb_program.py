"""mysqlclient (MySQLdb), over MariaDB's C library: what all drivers do, its own cursors and calls.

Debian's package, and so Debian's own Python runs it.
"""

from __future__ import annotations

import functools
from typing import Any

import MySQLdb
from MySQLdb.cursors import DictCursor, SSCursor

from tests.drivers.programs import mysql_shared
from tests.drivers.programs.mysql_shared import Driver, ask
from tests.drivers.programs.transcript import CA, DATABASE, HOST, PASSWORD, PORT, SCHEMA, USER, crowd, main, part, say


def connect(**more: Any) -> Any:
    database = more.pop("database", DATABASE)
    return MySQLdb.connect(
        **{"host": HOST, "port": PORT, "user": USER, "password": PASSWORD, "db": database, "autocommit": True,
           "charset": "utf8mb4", **more}
    )  # fmt: skip


def rows_of(connection: Any, name: str, values: tuple[Any, ...]) -> Any:
    cursor = connection.cursor()
    cursor.callproc(name, values)
    found = [cursor.fetchall()]
    while cursor.nextset():
        found.append(cursor.fetchall())
    if values:
        cursor.execute("SELECT " + ", ".join(f"@_{name}_{at}" for at in range(len(values))))
        found.append(cursor.fetchall())
    cursor.close()
    return found


driver = Driver(connect, MySQLdb.Error, {"local_infile": 1}, rows_of)
fails = functools.partial(mysql_shared.fails, driver)


@part
def opening() -> None:
    for more in (
        {},
        {"sql_mode": "TRADITIONAL"},
        {"init_command": "SET time_zone = '+02:00'"},
        {"charset": "latin1"},
        {"ssl": {"ca": CA}},
    ):
        connection = connect(**more)
        say(sorted(more), connection.get_autocommit(), connection.character_set_name(), connection.get_server_info())
        say(ask(connection, "SELECT @@autocommit, @@sql_mode, @@time_zone, @@collation_connection, DATABASE()"))
        connection.close()


@part
def of_the_connection() -> None:
    connection = connect()
    connection.ping()
    connection.select_db(SCHEMA)
    say(ask(connection, "SELECT DATABASE()"), connection.thread_id() > 0, connection.stat().startswith("Uptime"))
    connection.set_character_set("latin1")
    say(ask(connection, "SELECT @@character_set_client"), connection.info())
    connection.autocommit(False)
    connection.rollback()
    connection.autocommit(True)
    cursor = connection.cursor(SSCursor)
    cursor.execute("SELECT 1 UNION SELECT 2 UNION SELECT 3")
    say(cursor.fetchone())
    cursor.close()
    connection.close()
    connection = connect(client_flag=1 << 16)  # CLIENT_MULTI_STATEMENTS
    cursor = connection.cursor(DictCursor)
    cursor.execute("SELECT 1 AS a; SELECT 2 AS b")
    say(cursor.fetchall(), cursor.nextset(), cursor.fetchall())
    cursor.close()
    connection.close()


@crowd
def another_user() -> None:
    connection = connect()
    ask(connection, "SET @mine = 1, time_zone = '+01:00'")
    connection.change_user(USER, PASSWORD, SCHEMA)
    say(ask(connection, "SELECT @mine, @@time_zone, DATABASE()"))
    connection.close()


@part
def compressed() -> None:
    mysql_shared.compressed(driver, compress=True)


mysql_shared.shared(driver)
main()
