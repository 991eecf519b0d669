"""pg8000: pure Python, its DB-API and its native interface."""

from __future__ import annotations

import datetime as dt
import decimal
import io
import ssl
import uuid
from typing import Any

import pg8000.dbapi
import pg8000.native

from tests.drivers.programs.transcript import CA, DATABASE, HOST, PASSWORD, PORT, SCHEMA, USER, main, part, say


def native(**more: Any) -> pg8000.native.Connection:
    where = {"user": USER, "password": PASSWORD, "host": HOST, "port": PORT, "database": DATABASE}
    return pg8000.native.Connection(**{**where, **more})


def dbapi(**more: Any) -> pg8000.dbapi.Connection:
    where = {"user": USER, "password": PASSWORD, "host": HOST, "port": PORT, "database": DATABASE}
    return pg8000.dbapi.connect(**{**where, **more})


def fails(what: str, call: Any, *arguments: Any, **named: Any) -> None:
    try:
        call(*arguments, **named)
    except (pg8000.native.Error, pg8000.dbapi.Error) as error:
        told = error.args[0]
        if isinstance(told, dict):
            # where in the server's source the error was raised is the version's own affair
            told = {key: value for key, value in told.items() if key not in ("F", "L", "R")}
        say(what, type(error).__name__, told)
    else:
        say(what, "did not fail")


@part
def types() -> None:
    client = native()
    for kind, value in (
        ("int", 1), ("bigint", 2**50), ("numeric", decimal.Decimal("1.50")), ("float8", 2.5), ("text", "ä'\\"),
        ("bytea", b"\0\xfe"), ("bool", False), ("date", dt.date(2020, 2, 29)), ("timestamp", dt.datetime(2020, 1, 1)),
        ("timestamptz", dt.datetime(2020, 1, 1, tzinfo=dt.UTC)), ("uuid", uuid.UUID(int=3)), ("jsonb", {"k": [1]}),
        ("int[]", [1, 2, None]), ("text[]", ["a,b", '"']), ("interval", dt.timedelta(1, 2)), ("inet", "1.2.3.4"),
    ):  # fmt: skip
        say(kind, client.run(f"SELECT CAST(:v AS {kind})", v=value), client.run(f"SELECT CAST(:v AS {kind})", v=None))
    say(client.run("SELECT 1 AS a, 'x' AS b"), [column["name"] for column in client.columns], client.row_count)
    client.close()


@part
def prepared() -> None:
    first, second = native(), native()
    statements = [client.prepare("SELECT CAST(:n AS int) + 1, :t") for client in (first, second)]
    other = second.prepare("SELECT 'other', CAST(:n AS text)")
    for number in range(8):
        for statement in statements:
            say(statement.run(n=number, t="x"))
        say(other.run(n=str(number)))
    first.run(f"CREATE TABLE {SCHEMA}.ddl (a int)")
    first.run(f"INSERT INTO {SCHEMA}.ddl VALUES (1)")
    reading = [client.prepare(f"SELECT * FROM {SCHEMA}.ddl") for client in (first, second)]
    for statement in reading:
        say(statement.run())
    second.run(f"ALTER TABLE {SCHEMA}.ddl ADD b int")
    for statement in reading:
        fails("after DDL", statement.run)
    say(first.run(f"SELECT * FROM {SCHEMA}.ddl"))
    for statement in [*statements, other, *reading]:
        statement.close()
    first.run(f"DROP TABLE {SCHEMA}.ddl")
    first.close()
    second.close()


@part
def transactions() -> None:
    client, other = dbapi(), dbapi()
    other.autocommit = True
    look = other.cursor()
    look.execute(f"CREATE TABLE {SCHEMA}.tx (a int PRIMARY KEY, b text)")
    cursor = client.cursor()
    cursor.execute(f"INSERT INTO {SCHEMA}.tx VALUES (%s, %s) RETURNING a, b", (1, "x"))
    say(cursor.fetchone(), cursor.rowcount)
    client.rollback()
    look.execute(f"SELECT count(*) FROM {SCHEMA}.tx")
    say(look.fetchall())
    cursor.executemany(f"INSERT INTO {SCHEMA}.tx VALUES (%s, %s)", [(n, str(n)) for n in range(50)])
    cursor.execute("SAVEPOINT one")
    fails("twice", cursor.execute, f"INSERT INTO {SCHEMA}.tx VALUES (1, 'again')")
    fails("aborted", cursor.execute, "SELECT 1")
    cursor.execute("ROLLBACK TO SAVEPOINT one")
    client.commit()
    look.execute(f"SELECT count(*), max(b) FROM {SCHEMA}.tx")
    say(look.fetchall())
    client.tpc_begin(client.xid(0, SCHEMA, ""))
    cursor.execute(f"DELETE FROM {SCHEMA}.tx")
    client.tpc_prepare()
    client.tpc_rollback(client.xid(0, SCHEMA, ""))
    look.execute(f"SELECT count(*) FROM {SCHEMA}.tx")
    say(look.fetchall())
    client.rollback()  # pg8000 has begun another one
    look.execute(f"DROP TABLE {SCHEMA}.tx")
    client.close()
    other.close()


@part
def errors() -> None:
    client = native()
    for text in (
        "SELEC 1",
        "SELECT nix",
        "SELECT 1/0",
        "SELECT * FROM nowhere",
        "SELECT 'x'::int",
        "COMMIT; SELECT 1/0",
    ):
        fails(text, client.run, text)
        say(client.run("SELECT 'alive'"))
    fails("parameter", client.run, "SELECT CAST(:n AS int)", n="no number")
    say(client.run("SELECT 'alive'"))
    client.run("SET statement_timeout = '1s'")
    fails("timeout", client.run, "SELECT pg_sleep(300)")
    client.run("RESET statement_timeout")
    client.close()
    fails("password", native, password="wrong")
    fails("database", native, database="nowhere")


@part
def copies() -> None:
    client = native()
    client.run(f"CREATE TABLE {SCHEMA}.copied (a int, b text)")
    client.run(f"COPY {SCHEMA}.copied FROM STDIN", stream=io.BytesIO(b"".join(b"%d\trow\n" % n for n in range(4000))))
    say(client.row_count)
    client.run(f"COPY {SCHEMA}.copied FROM STDIN WITH (FORMAT CSV)", stream=["1,a\n", "2,b\n"])
    out = io.BytesIO()
    client.run(f"COPY (SELECT * FROM {SCHEMA}.copied ORDER BY a, b) TO STDOUT", stream=out)
    say(len(out.getvalue()), out.getvalue()[:30])
    fails("bad", client.run, f"COPY {SCHEMA}.copied FROM STDIN", stream=io.BytesIO(b"x\ty\n" * 10))
    fails(
        "in the middle", client.run, "COPY (SELECT 1/(3-n) FROM generate_series(1,5) n) TO STDOUT", stream=io.BytesIO()
    )
    say(client.run(f"SELECT count(*) FROM {SCHEMA}.copied"))
    client.run(f"DROP TABLE {SCHEMA}.copied")
    client.close()


@part
def settings_notices_and_notifications() -> None:
    client = native(application_name="by pg8000")
    say(client.run("SHOW application_name"))
    say(client.parameter_statuses.get("application_name"), client.parameter_statuses.get("server_encoding"))
    client.run("SET application_name = 'renamed'")
    say(client.parameter_statuses.get("application_name"))
    client.run("DO $$ BEGIN RAISE NOTICE 'noted'; END $$")
    say([notice[b"M"] for notice in client.notices])
    channel = f"channel_{SCHEMA}"
    client.run(f"LISTEN {channel}")
    client.run(f"NOTIFY {channel}, 'to myself'")
    client.run("SELECT 1")
    say([(name, payload) for _, name, payload in client.notifications])
    client.close()


@part
def large() -> None:
    client = native()
    for size in (9_000, 70_000, 3_000_000):
        value = "ö" * size
        say(size, client.run("SELECT CAST(:v AS text)", v=value) == [[value]])
    say(len(client.run("SELECT n, repeat('z', 100) FROM generate_series(1, 20000) n")))
    client.close()


@part
def encrypted() -> None:
    if CA:
        client = native(host="localhost", ssl_context=ssl.create_default_context(cafile=CA))
        say(client.run("SELECT length(repeat('t', 500000))"))
        client.close()


main()
