"""mssql-python, which is Microsoft's own ODBC driver: what all drivers do, encryption, cursors that a time limit ends."""

from __future__ import annotations

from typing import Any

import mssql_python

from tests.drivers.programs.sqlserver_shared import Driver, ask, expect, shared
from tests.drivers.programs.transcript import DATABASE, HOST, PASSWORD, PORT, USER, main, part, say

_NUMBERS = {
    "Invalid object name": 208,
    "Incorrect syntax": 102,
    "Divide by zero": 8134,
    "Conversion failed": 245,
    "Could not find stored procedure": 2812,
    "Violation of": 2627,
    "]no": 50000,
}
"""The driver keeps the server's words, and not its numbers."""


def connect(*, autocommit: bool, password: str = PASSWORD, **more: str) -> Any:
    words = {"Encrypt": "no", "TrustServerCertificate": "yes", **more}
    place = f"Server={HOST},{PORT};Database={DATABASE};UID={USER};PWD={{{password}}};"
    return mssql_python.connect(
        place + ";".join(f"{name}={value}" for name, value in words.items()), autocommit=autocommit
    )


def number(error: Exception) -> int:
    return next((number for words, number in _NUMBERS.items() if words in str(error)), 0)


driver = Driver(connect, mssql_python.Error, "?", number)
shared(driver)


@part
def encrypted() -> None:
    with connect(autocommit=True, Encrypt="yes") as connection:
        expect(ask(connection, "SELECT REPLICATE('x', 20000)"), [("x" * 20_000,)])


@part
def time_limits() -> None:
    connection = connect(autocommit=True)
    connection.timeout = 1
    try:
        ask(connection, "WAITFOR DELAY '00:00:30'")
    except mssql_python.Error:
        say("ended")
    else:
        raise AssertionError
    connection.timeout = 0
    expect(ask(connection, "SELECT 1"), [(1,)])
    connection.close()


if __name__ == "__main__":
    main()
