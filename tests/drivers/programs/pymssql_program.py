"""pymssql, which is FreeTDS: what all drivers do, its versions of the protocol, procedures with values that go out."""

from __future__ import annotations

from typing import Any

import pymssql

from tests.drivers.programs.sqlserver_shared import Driver, ask, expect, shared
from tests.drivers.programs.transcript import DATABASE, HOST, PASSWORD, PORT, SCHEMA, USER, main, part


def connect(**more: Any) -> Any:
    settings = {"user": USER, "password": PASSWORD, "database": DATABASE, "port": str(PORT), "login_timeout": 20}
    return pymssql.connect(HOST, **{"tds_version": "7.4", "charset": "UTF-8", **settings, **more})


def number(error: Exception) -> int:
    first = error.args[0] if error.args else 0
    first = first[0] if isinstance(first, tuple) else first
    return first if isinstance(first, int) else 0


# It writes values into the text, and has no way to write these, or reads them as others.
driver = Driver(connect, pymssql.Error, "%s", number, lacks=("made", "spent", "real_"))
shared(driver)


@part
def versions() -> None:
    for version in ("7.1", "7.2", "7.3", "7.4"):
        for encryption in ("off", "request", "require"):
            with connect(autocommit=True, tds_version=version, encryption=encryption) as connection:
                expect(ask(connection, "SELECT 1, N'ä', @@TRANCOUNT"), [(1, "ä", 0)])
                ask(
                    connection,
                    "CREATE TABLE #t (a nvarchar(max), d date, b varbinary(max)) INSERT #t VALUES (N'x', '2026-01-02', 0x01)",
                )
                expect(str(ask(connection, "SELECT a FROM #t")), "[('x',)]")


@part
def called() -> None:
    with connect(autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE PROCEDURE {SCHEMA}_o @a int, @b int OUTPUT AS BEGIN SELECT @a SET @b = @a * 2 END")
        found = cursor.callproc(f"{SCHEMA}_o", (21, pymssql.output(int)))
        expect(cursor.fetchall(), [(21,)])
        while cursor.nextset():
            pass
        expect(tuple(found)[:1], (21,))


if __name__ == "__main__":
    main()
