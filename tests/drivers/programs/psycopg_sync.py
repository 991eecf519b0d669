"""psycopg 3, synchronous: statements, transactions, pipelines, COPY and cursors."""

from __future__ import annotations

import datetime as dt
import decimal
import ipaddress
import uuid

import psycopg
from psycopg import sql
from psycopg.pq import DiagnosticField, ExecStatus
from psycopg.rows import dict_row
from psycopg.types.composite import CompositeInfo, register_composite
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.json import Jsonb
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range

from tests.drivers.programs.psycopg_help import connect, fails
from tests.drivers.programs.transcript import SCHEMA, described, main, part, say


@part
def types() -> None:
    values = [
        1, -(2**40), 2**62, 1.5, float("inf"), decimal.Decimal("123456789012345678901234567890.123"), "ä€😀", "",
        b"\x00\xff\\", True, None, dt.date(2024, 2, 29), dt.time(1, 2, 3, 4), dt.timedelta(days=3, seconds=1),
        dt.datetime(2024, 2, 29, 1, 2, 3), dt.datetime(2024, 2, 29, 1, 2, 3, tzinfo=dt.UTC),
        uuid.UUID(int=7), Jsonb({"a": [1, None, "x"]}), [1, 2, 3], [["a", None], ['"', "{}"]], Range(1, 5),
        Multirange([Range(1, 2), Range(5, 6)]), ipaddress.ip_address("::1"), ipaddress.ip_network("10.0.0.0/8"),
    ]  # fmt: skip
    with connect() as client:
        client.execute("SET TIME ZONE 'UTC'")
        for binary in (False, True):
            for value in values:
                for placeholder in ("%s", "%t", "%b"):
                    try:
                        row = client.cursor(binary=binary).execute(f"SELECT {placeholder}", [value]).fetchone()
                    except (psycopg.Error, NotImplementedError) as error:
                        row = described(error)
                    say(binary, placeholder, row)


@part
def composites_and_enums() -> None:
    with connect() as client:
        client.execute(f"CREATE TYPE {SCHEMA}.pair AS (a int, b text)")
        client.execute(f"CREATE TYPE {SCHEMA}.mood AS ENUM ('good', 'bad')")
        pair = CompositeInfo.fetch(client, f"{SCHEMA}.pair")
        register_composite(pair, client)
        mood = EnumInfo.fetch(client, f"{SCHEMA}.mood")
        register_enum(mood, client)
        value = pair.python_type(1, "x,\"')")
        for binary in (False, True):
            cursor = client.cursor(binary=binary)
            row = cursor.execute("SELECT %s, %s", (value, mood.enum.bad)).fetchone()
            say([tuple(row[0]), row[1].name])
            row = cursor.execute(f"SELECT ARRAY[(1, 'y'), NULL]::{SCHEMA}.pair[]").fetchone()
            say([tuple(inner) if inner else None for inner in row[0]])
        client.execute(f"DROP TYPE {SCHEMA}.pair, {SCHEMA}.mood")


@part
def prepared() -> None:
    first, second = connect(prepare_threshold=0), connect(prepare_threshold=2)
    second.prepared_max = 3
    first.execute(f"CREATE TABLE {SCHEMA}.prepared (a int, b text)")
    for turn in range(8):
        for client in (first, second):
            for number in range(5):
                row = client.execute(f"SELECT %s::int + {number}, %s::text", (turn, "x" * number)).fetchone()
                say(turn, row)
    select = f"SELECT * FROM {SCHEMA}.prepared ORDER BY a"
    for client in (first, second):
        client.execute(f"INSERT INTO {SCHEMA}.prepared VALUES (%s, %s)", (1, "one"), prepare=True)
        say(client.execute(select, prepare=True).fetchall())
    second.execute(f"ALTER TABLE {SCHEMA}.prepared ADD c date")
    fails("after DDL", first.execute, select)
    second.execute(f"ALTER TABLE {SCHEMA}.prepared DROP c")
    say(first.execute(select).fetchall())
    # the same text with other types is another statement
    for value in (1, 2**40, "text", 1.5, None, dt.date(2020, 1, 1)):
        say(first.execute("SELECT %s", (value,)).fetchone())
    fails("type", first.execute, "SELECT %s::int", ("no number",))
    fails("type again", first.execute, "SELECT %s::int", ("no number",))
    first.execute("DEALLOCATE ALL")
    say(first.execute(select).fetchall())
    first.execute(f"DROP TABLE {SCHEMA}.prepared")
    first.close()
    second.close()


@part
def executemany_and_returning() -> None:
    with connect(autocommit=False) as client, client.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {SCHEMA}.many (a int PRIMARY KEY, b text DEFAULT 'd')")
        client.commit()
        cursor.executemany(f"INSERT INTO {SCHEMA}.many VALUES (%s, %s)", [(n, f"v{n}") for n in range(500)])
        say(cursor.rowcount)
        cursor.executemany(
            f"INSERT INTO {SCHEMA}.many (a) VALUES (%s) RETURNING a, b", [(n,) for n in range(500, 505)], returning=True
        )
        while True:
            say(cursor.fetchall(), cursor.statusmessage)
            if not cursor.nextset():
                break
        client.commit()
        fails("many", cursor.executemany, f"INSERT INTO {SCHEMA}.many VALUES (%s)", [(900,), (901,), (900,), (902,)])
        client.rollback()
        say(cursor.execute(f"SELECT count(*), max(a) FROM {SCHEMA}.many").fetchone())
        client.commit()
        client.execute(f"DROP TABLE {SCHEMA}.many")


@part
def transactions() -> None:
    client, other = connect(autocommit=False), connect()
    other.execute(f"CREATE TABLE {SCHEMA}.tx (a int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    say(client.info.transaction_status.name)
    client.execute(f"INSERT INTO {SCHEMA}.tx VALUES (1)")
    say(client.info.transaction_status.name)
    client.rollback()
    say(other.execute(f"SELECT count(*) FROM {SCHEMA}.tx").fetchone())
    with client.transaction():
        client.execute(f"INSERT INTO {SCHEMA}.tx VALUES (2)")
        for number in range(3):
            try:
                with client.transaction():
                    client.execute(f"INSERT INTO {SCHEMA}.tx VALUES ({number + 10})")
                    client.execute(f"SELECT 1/{number - 1}")
            except psycopg.errors.DivisionByZero as error:
                say(described(error))
        with client.transaction(force_rollback=True):
            client.execute(f"INSERT INTO {SCHEMA}.tx VALUES (99)")
    say(other.execute(f"SELECT array_agg(a ORDER BY a) FROM {SCHEMA}.tx").fetchone())
    client.execute(f"INSERT INTO {SCHEMA}.tx VALUES (2)")
    fails("deferred", client.commit)
    say(client.info.transaction_status.name)
    client.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    client.read_only, client.deferrable = True, True
    say(client.execute("SELECT current_setting('transaction_isolation')").fetchone())
    fails("read only", client.execute, f"INSERT INTO {SCHEMA}.tx VALUES (5)")
    fails("aborted", client.execute, "SELECT 1")
    client.rollback()
    client.isolation_level = client.read_only = client.deferrable = None
    say(client.execute("SHOW transaction_isolation").fetchone())
    client.rollback()
    client.tpc_begin(client.xid(1, SCHEMA, "kept"))
    client.execute(f"INSERT INTO {SCHEMA}.tx VALUES (50)")
    client.tpc_prepare()
    say(client.info.transaction_status.name)
    client.tpc_commit()
    client.tpc_begin(client.xid(1, SCHEMA, "undone"))
    client.execute(f"INSERT INTO {SCHEMA}.tx VALUES (51)")
    client.tpc_prepare()
    say([xid.bqual for xid in other.tpc_recover() if xid.gtrid == SCHEMA])
    client.tpc_rollback()
    try:
        client.tpc_commit(client.xid(1, SCHEMA, "undone"))
    except psycopg.errors.UndefinedObject as error:
        say(error.sqlstate)
    say(other.execute(f"SELECT array_agg(a ORDER BY a) FROM {SCHEMA}.tx").fetchone())
    client.close()
    other.execute(f"DROP TABLE {SCHEMA}.tx")
    other.close()


@part
def errors() -> None:
    with connect() as client:
        client.execute(f"CREATE TABLE {SCHEMA}.parent (a int PRIMARY KEY CHECK (a > 0), b varchar(3) NOT NULL)")
        client.execute(f"CREATE TABLE {SCHEMA}.child (a int REFERENCES {SCHEMA}.parent)")
        table = f"INSERT INTO {SCHEMA}.parent VALUES "
        client.execute(table + "(1, 'x')")
        for text in (
            table + "(1, 'x')", table + "(0, 'x')", table + "(2, NULL)", table + "(2, 'long')", "SELEC 1", "SELECT nix",
            f"INSERT INTO {SCHEMA}.child VALUES (7)", "SELECT * FROM nowhere", "SELECT 'a'::int", "SELECT sqrt(-1)",
            "DO $$ BEGIN RAISE EXCEPTION 'own' USING ERRCODE = 'ZZ001', DETAIL = 'd', HINT = 'h'; END $$",
            "COMMIT; SELECT 1/0", "SELECT 1; SELECT 2/0; SELECT 3", "ROLLBACK PREPARED 'x'", "VACUUM nowhere",
        ):  # fmt: skip
            fails(text, client.execute, text)
            say(client.execute("SELECT %s", ["alive"]).fetchone())
        fails("parameters", client.execute, "SELECT %s::int, %s::date", (1, "31 Feb"))
        client.execute(f"DROP TABLE {SCHEMA}.child, {SCHEMA}.parent")
    for wrong in ({"password": "wrong"}, {"dbname": "nowhere"}, {"user": "nobody_here"}):
        try:
            connect(**wrong)
        except psycopg.OperationalError as error:
            say(str(error).rpartition("FATAL")[2])


@part
def pipelines() -> None:
    with connect(autocommit=False) as client:
        client.execute(f"CREATE TABLE {SCHEMA}.piped (a int PRIMARY KEY)")
        client.commit()
        with client.pipeline() as pipeline:
            cursors = [client.execute("SELECT %s::int, repeat('x', %s)", (n, n)) for n in range(50)]
            pipeline.sync()
            say([cursor.fetchone()[0] for cursor in cursors])
            client.execute(f"INSERT INTO {SCHEMA}.piped VALUES (%s)", (1,))
            with client.transaction():
                client.execute(f"INSERT INTO {SCHEMA}.piped VALUES (%s)", (2,))
                with client.pipeline():
                    say(client.execute("SELECT count(*) FROM " + f"{SCHEMA}.piped").fetchone())
        client.commit()
        for turn in range(3):
            try:
                with client.pipeline():
                    client.execute(f"INSERT INTO {SCHEMA}.piped VALUES (%s)", (100 + turn,))
                    client.execute(f"INSERT INTO {SCHEMA}.piped VALUES (%s)", (1,))
                    client.execute(f"INSERT INTO {SCHEMA}.piped VALUES (%s)", (200 + turn,))
            except psycopg.Error as error:
                say(described(error))
            client.rollback()
        say(client.execute(f"SELECT array_agg(a ORDER BY a) FROM {SCHEMA}.piped").fetchone())
        client.rollback()
        client.autocommit = True
        with client.pipeline(), client.cursor() as cursor:
            cursor.executemany("SELECT %s::text", [(f"r{n}",) for n in range(20)], returning=True)
            say([result.fetchone() for result in cursor.results()])
        client.execute(f"DROP TABLE {SCHEMA}.piped")


@part
def pipelines_of_libpq() -> None:
    """Step by step, where psycopg's own pipeline raises an error as soon as it happens to be there."""
    with connect() as client:
        raw = client.pgconn
        raw.nonblocking = 0
        raw.enter_pipeline_mode()
        for name, text in ((b"", b"SELECT $1::int"), (b"named", b"SELECT 1 / $1::int"), (b"", b"SELECT 'x', $1::text")):
            raw.send_prepare(name, text)
            for value in (b"1", b"0", b"2"):
                raw.send_query_prepared(name, [value])
            raw.send_describe_prepared(name)
            raw.pipeline_sync()
        raw.send_prepare(b"named", b"SELECT 'twice'")
        raw.pipeline_sync()
        raw.send_query_prepared(b"never", [])
        raw.send_query_params(b"SELECT 'not run'", None)
        raw.pipeline_sync()
        raw.send_query_params(b"BEGIN", None)
        raw.send_query_params(b"SELECT 'in'", None)
        raw.pipeline_sync()
        raw.send_query_params(b"SELECT 1/0", None)
        raw.pipeline_sync()
        raw.send_query_params(b"SELECT 'aborted'", None)
        raw.pipeline_sync()
        raw.send_query_params(b"ROLLBACK", None)
        raw.send_query_prepared(b"named", [b"3"])
        raw.pipeline_sync()
        syncs = 0
        while syncs < 9:
            result = raw.get_result()
            if result is None:
                continue
            syncs += result.status == ExecStatus.PIPELINE_SYNC
            values = [result.get_value(row, 0) for row in range(result.ntuples)]
            kinds = [result.param_type(number) for number in range(result.nparams)]
            say(ExecStatus(result.status).name, values, kinds, result.error_field(DiagnosticField.MESSAGE_PRIMARY))
        raw.exit_pipeline_mode()
        say(client.execute("SELECT 'alive'").fetchone())


@part
def copies() -> None:
    with connect() as client, client.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {SCHEMA}.copied (a int, b text, c timestamp)")
        into = f"COPY {SCHEMA}.copied FROM STDIN"
        with cursor.copy(into) as copy:
            for number in range(2000):
                copy.write_row((number, "tab\t\\ ä" * (number % 7), dt.datetime(2020, 1, 1)))
        say(cursor.rowcount, cursor.statusmessage)
        with cursor.copy(into + " (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "text", "timestamp"])
            for number in range(100):
                copy.write_row((number, None, dt.datetime(2021, 1, 1)))
        say(cursor.rowcount)
        with cursor.copy(into + " (FORMAT CSV, HEADER)") as copy:
            copy.write('a,b,c\n1,"x,""y",\n')
            copy.write(b"2,,2020-02-02\n")
        say(cursor.execute(f"SELECT count(*), sum(a), sum(length(b)), min(c), max(c) FROM {SCHEMA}.copied").fetchone())
        for options in ("", " (FORMAT BINARY)", " (FORMAT CSV, HEADER)"):
            query = f"COPY (SELECT a, b FROM {SCHEMA}.copied ORDER BY a, b, c) TO STDOUT{options}"
            with cursor.copy(query) as copy:
                data = b"".join(bytes(block) for block in copy)
            say(options, len(data), data[:40], hash(data) != 0)
        with cursor.copy(sql.SQL("COPY (SELECT generate_series(1, {})) TO STDOUT").format(5)) as copy:
            say(list(copy.rows()))
        with cursor.copy("COPY (VALUES (%s::int, %s)) TO STDOUT", (7, "parameter")) as copy:
            say(list(copy.rows()))
        # left early, by an exception of the client's, and failing at the server
        try:
            with cursor.copy("COPY (SELECT generate_series(1, 200000)) TO STDOUT") as copy:
                say(copy.read_row())
                raise ValueError("enough")
        except ValueError as error:
            say(described(error))
        say(client.execute("SELECT 'alive'").fetchone())
        try:
            with cursor.copy(into) as copy:
                copy.write_row((1, "never", None))
                raise ValueError("changed my mind")
        except ValueError as error:
            say(described(error))

        def broken(text: str) -> None:
            with cursor.copy(into) as copy:
                for _ in range(3000):
                    copy.write(text)

        fails("bad row", broken, "x\ty\tz\n")
        fails("columns", broken, "1\t2\n")
        fails("nowhere", cursor.copy("COPY nowhere FROM STDIN").__enter__)
        fails(
            "in the middle",
            lambda: list(cursor.copy("COPY (SELECT 1/(5-n) FROM generate_series(1,9) n) TO STDOUT").__enter__()),
        )
        say(cursor.execute(f"SELECT count(*) FROM {SCHEMA}.copied").fetchone())
        with client.transaction(), cursor.copy(into) as copy:
            copy.write_row((-1, "in transaction", None))
        say(cursor.execute(f"DELETE FROM {SCHEMA}.copied WHERE a < 0").rowcount)
        cursor.execute(f"DROP TABLE {SCHEMA}.copied")


@part
def cursors() -> None:
    with connect(autocommit=False) as client:
        for binary in (False, True):
            with client.cursor(name="named", binary=binary) as cursor:
                cursor.itersize = 7
                cursor.execute("SELECT n, repeat('y', n) FROM generate_series(1, %s) n", (30,))
                say([row[0] for row in cursor], cursor.rownumber)
        with client.cursor(name="scrolled", scrollable=True) as cursor:
            cursor.execute("SELECT generate_series(1, 100)")
            cursor.scroll(50)
            say(cursor.fetchone())
            cursor.scroll(-10)
            say(cursor.fetchmany(3))
            cursor.scroll(0, mode="absolute")
            say(cursor.fetchone())
        client.commit()
        with client.cursor(name="held", withhold=True) as cursor:
            cursor.execute("SELECT generate_series(1, 20)")
            say(cursor.fetchmany(5))
            client.commit()
            say(cursor.fetchmany(5))
        client.commit()
        fails("no more", client.execute, "FETCH 1 FROM held")
        client.rollback()
    with connect() as client:
        cursor = client.cursor(row_factory=dict_row)
        say(sum(row["n"] for row in cursor.stream("SELECT n FROM generate_series(1, 3000) n")))
        say(sum(row["n"] for row in cursor.stream("SELECT n FROM generate_series(1, %s) n", (3000,), binary=True)))
        for row in cursor.stream("SELECT n FROM generate_series(1, 100000) n"):
            if row["n"] == 3:
                break
        say(client.execute("SELECT 'alive'").fetchone())
        try:
            for row in cursor.stream("SELECT 10/(3-n) AS q FROM generate_series(1, 5) n"):
                say(row)
        except psycopg.Error as error:
            say(described(error))
        plain = psycopg.ClientCursor(client)
        plain.execute("SELECT 1; SELECT 'two', %s; CREATE TEMP TABLE IF NOT EXISTS x (a int); SELECT 3", ("it's",))
        while True:
            say(plain.statusmessage, plain.description and plain.fetchall())
            if not plain.nextset():
                break
        raw = psycopg.RawCursor(client)
        say(raw.execute("SELECT $1::int + $2::int, $1", (1, 2)).fetchone())
        fails("multiple", client.execute, "SELECT %s; SELECT %s", (1, 2))
        say(client.execute("").statusmessage, client.execute("-- nothing").statusmessage)


main()
