"""python-tds: what all drivers do, its versions of the protocol, bulk loads, resets of a connection, TLS."""

from __future__ import annotations

import io
from typing import Any

import pytds

from tests.drivers.programs.sqlserver_shared import Driver, ask, expect, shared
from tests.drivers.programs.transcript import CA, DATABASE, HOST, PASSWORD, PORT, SCHEMA, USER, main, part


def connect(**more: Any) -> Any:
    settings = {"user": USER, "password": PASSWORD, "database": DATABASE, "port": PORT, "login_timeout": 20}
    return pytds.connect(HOST, **{**settings, **more})


driver = Driver(connect, pytds.Error, "%s", lambda error: getattr(error, "number", 0), binary=pytds.Binary)
shared(driver)


@part
def versions() -> None:
    for version in (pytds.tds_base.TDS72, pytds.tds_base.TDS73, pytds.tds_base.TDS74):
        with connect(autocommit=True, tds_version=version) as connection:
            expect(ask(connection, "SELECT 1, N'ä', @@TRANCOUNT"), [(1, "ä", 0)])


@part
def packet_sizes() -> None:
    for size in (512, 4096, 32767):
        with connect(autocommit=True, blocksize=size) as connection:
            rows = ask(connection, "SELECT value, REPLICATE('x', 50) FROM GENERATE_SERIES(1, 500)")
            expect((len(rows), rows[-1][0]), (500, 500))
            expect(ask(connection, "SELECT LEN(%s)", "y" * 20_000), [(20_000,)])


@part
def encrypted() -> None:
    with connect(autocommit=True, cafile=CA, validate_host=False) as connection:
        expect(ask(connection, "SELECT REPLICATE('x', 20000)"), [("x" * 20_000,)])
    with connect(autocommit=True, cafile=CA, validate_host=False, enc_login_only=True) as connection:
        expect(ask(connection, "SELECT 2"), [(2,)])


@part
def bulk() -> None:
    with connect(autocommit=True) as connection:
        ask(connection, f"CREATE TABLE {SCHEMA}_bulk (a int, b varchar(20))")
        with connection.cursor() as cursor:
            cursor.copy_to(io.StringIO("1\tone\n2\ttwo\n"), f"{SCHEMA}_bulk", columns=("a", "b"))
        expect(ask(connection, f"SELECT b FROM {SCHEMA}_bulk ORDER BY b"), [("one",), ("two",)])


@part
def pooled() -> None:
    # A connection that is closed is kept by the driver, and reset when it is used again.
    for _ in range(3):
        connection = connect(autocommit=True, pooling=True)
        expect(ask(connection, "SELECT @@DATEFIRST, @@TRANCOUNT"), [(7, 0)])
        ask(connection, "SET DATEFIRST 2")
        connection.close()


if __name__ == "__main__":
    main()
