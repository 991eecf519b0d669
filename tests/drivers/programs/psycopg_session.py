"""psycopg 3, synchronous: settings, locks, notifications, cancels, pools: what belongs to a session."""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from tests.drivers.programs.psycopg_help import connect, fails
from tests.drivers.programs.transcript import CA, SCHEMA, crowd, described, main, part, say
from tests.waiting import PATIENCE, asked_again


@part
def notices() -> None:
    with connect() as client:
        client.add_notice_handler(lambda d: say("notice", d.severity, d.sqlstate, d.message_primary, d.message_hint))
        for level in ("DEBUG", "INFO", "NOTICE", "WARNING"):
            client.execute(f"DO $$ BEGIN RAISE {level} 'level %', 7 USING HINT = 'h'; END $$")
        client.execute(f"DROP TABLE IF EXISTS {SCHEMA}.never")
        client.execute("COMMIT")
        client.execute("BEGIN; ROLLBACK; ROLLBACK")
        client.execute("SET LOCAL work_mem = '4MB'")
        client.execute("SET client_min_messages = debug1")
        client.execute("DO $$ BEGIN RAISE DEBUG 'now'; END $$")
        client.execute("RESET client_min_messages")
        client.execute("DO $$ BEGIN RAISE DEBUG 'not any more'; END $$")


@part
def large() -> None:
    with connect() as client:
        for size in (10_000, 70_000, 1_000_000, 12_000_000):
            text, data = "ä" * (size // 2), bytes(size)
            for binary in (False, True):
                row = client.cursor(binary=binary).execute("SELECT %s::text, %b::bytea", (text, data)).fetchone()
                say(size, row == (text, data))
        say(len(client.execute("SELECT '" + "q" * 2_000_000 + "'").fetchone()[0]))
        say(client.execute(f"SELECT array_length(ARRAY[{','.join(['%s::int'] * 20000)}], 1)", [1] * 20000).fetchone())
        say(len(client.execute(f"SELECT {','.join(str(n) for n in range(1600))}").fetchone()))
        say(len(client.execute("SELECT repeat('z', 100) FROM generate_series(1, 50000)").fetchall()))
        fails("too many", client.execute, f"SELECT {','.join(str(n) for n in range(1700))}")


@part
def settings() -> None:
    first = connect(options="-c work_mem=1234kB -c search_path=pg_catalog", application_name="first app")
    second = connect(client_encoding="latin1")
    third = connect()
    ask = "SELECT current_setting('work_mem'), current_setting('search_path'), current_setting('application_name')"

    def all_say() -> None:
        for client in (first, second, third):
            say(client.execute(ask).fetchone(), client.info.parameter_status("client_encoding"))

    all_say()
    say(second.execute("SELECT 'ü'").fetchone(), second.info.encoding, third.info.encoding)
    fails("latin1", second.execute, "SELECT chr(8364)")
    first.execute("SET work_mem = '5MB'")
    all_say()
    second.execute("SET search_path = 'a', \"B c\", public")
    third.execute("SELECT set_config('application_name', 'it''s third', false)")
    all_say()
    say(third.info.parameter_status("application_name"))
    first.execute("RESET work_mem")
    second.execute("RESET ALL")
    third.execute("SET application_name TO DEFAULT")
    all_say()
    with first.transaction(force_rollback=True):
        first.execute("SET work_mem = '7MB'")
        all_say_first = first.execute(ask).fetchone()
        say(all_say_first)
    say(first.execute(ask).fetchone())
    third.execute("SET TIME ZONE 'Asia/Tokyo'")
    say(third.info.timezone, third.execute("SELECT '2020-01-01 00:00Z'::timestamptz").fetchone())
    first.execute("SET app.tenant = 'one'")
    say(first.execute("SELECT current_setting('app.tenant', true)").fetchone())
    say(second.execute("SELECT current_setting('app.tenant', true)").fetchone())
    third.execute("SET statement_timeout = '1s'")
    fails("timeout", third.execute, "SELECT pg_sleep(300)")
    third.execute("DISCARD ALL")
    say(third.execute("SHOW statement_timeout").fetchone(), third.info.timezone == first.info.timezone)
    fails("no such", third.execute, "SET nix = 1")
    fails("bad", third.execute, "SET work_mem = 'lots'")
    for client in (first, second, third):
        client.close()


@part
def temporary_tables_and_locks() -> None:
    client = connect()
    client.execute("CREATE TEMP TABLE mine (a int) ON COMMIT PRESERVE ROWS")
    client.execute("INSERT INTO mine VALUES (1)")
    say(client.execute("SELECT * FROM mine").fetchall())
    client.execute("SELECT pg_advisory_lock(hashtext(%s))", (SCHEMA,))
    say(client.execute("SELECT pg_advisory_unlock(hashtext(%s))", (SCHEMA,)).fetchone())
    client.execute("PREPARE by_sql (int) AS SELECT $1 + 1")
    say(client.execute("EXECUTE by_sql (41)").fetchone())
    client.execute("DEALLOCATE by_sql")
    fails("gone", client.execute, "EXECUTE by_sql (41)")
    client.execute("DROP TABLE mine")
    client.close()
    with connect() as other:
        fails("not mine", other.execute, "SELECT * FROM mine")
        fails("not prepared", other.execute, "EXECUTE by_sql (41)")


@part
def notifications() -> None:
    with connect() as client:
        channel = f"channel_{SCHEMA}"
        client.execute(f"LISTEN {channel}")
        client.execute(f"NOTIFY {channel}, 'first'")
        client.execute("SELECT pg_notify(%s, %s)", (channel, "second ä"))
        with client.transaction(force_rollback=True):
            client.execute(f"NOTIFY {channel}, 'rolled back'")
        with client.transaction():
            for payload in ("a", "b", "a"):
                client.execute(f"NOTIFY {channel}, '{payload}'")
        for notification in client.notifies(timeout=PATIENCE, stop_after=4):
            say(notification.channel, notification.payload, notification.pid > 0)
        client.execute(f"UNLISTEN {channel}")
        client.execute(f"NOTIFY {channel}, 'unheard'")
        say(list(client.notifies(timeout=0.2)))


@crowd  # where it never queues: a cancel of who waits is told at another moment
def cancels() -> None:
    with connect() as client:
        client.cancel_safe(timeout=PATIENCE)  # with nothing running it hits nothing
        say(client.execute("SELECT 'alive'").fetchone())
        for prepare in (False, True):
            with asked_again(client.cancel_safe):
                fails("cancelled", partial(client.execute, "SELECT pg_sleep(%s)", (300,), prepare=prepare))
            say(client.execute("SELECT 'alive'").fetchone())
        with client.cursor() as cursor:
            with asked_again(client.cancel):
                try:
                    list(cursor.copy("COPY (SELECT pg_sleep(300)) TO STDOUT").__enter__())
                except psycopg.Error as error:  # another class when the cancel comes before the COPY has begun
                    say("COPY", "canceling statement due to user request" in str(error))
        client.autocommit = False
        client.execute("SELECT 1")
        with asked_again(client.cancel_safe):
            fails("in a transaction", client.execute, "SELECT pg_sleep(300)")
        say(client.info.transaction_status.name)
        client.rollback()
        client.execute("SET LOCAL statement_timeout = '500ms'")
        fails("timeout", client.execute, "SELECT pg_sleep(300)")
        client.rollback()


@part
def ended_by_an_administrator() -> None:
    client = connect()
    try:
        client.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    except psycopg.Error as error:
        say(type(error).__name__, error.sqlstate, client.closed, client.broken)
    with connect() as client:
        say(client.execute("SELECT 'alive'").fetchone())


@part
def pools() -> None:
    """Reset of a connection that comes back, checks before it goes out, more threads than connections."""
    resets = []

    def reset(connection: psycopg.Connection[Any]) -> None:
        resets.append(1)
        connection.execute("DISCARD ALL" if len(resets) % 10 == 0 else "RESET ALL")

    pool = ConnectionPool(
        min_size=1,
        max_size=3,
        kwargs={"autocommit": True, "prepare_threshold": None},  # psycopg does not know what DISCARD ALL drops
        reset=reset,
        check=ConnectionPool.check_connection,
        open=False,
    )
    with pool:
        results: list[int] = []

        def work(number: int) -> None:
            for turn in range(5):
                with pool.connection(timeout=60) as connection, connection.transaction():
                    results.append(connection.execute("SELECT %s::int", (number * 10 + turn,)).fetchone()[0])

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        say(sorted(results) == sorted(n * 10 + t for n in range(8) for t in range(5)), len(results))
        try:
            with pool.connection(timeout=60) as connection, connection.transaction():
                connection.execute("SELECT 1/0")
        except psycopg.Error as error:
            say(described(error))
        with pool.connection(timeout=60) as connection:
            connection.execute("BEGIN")  # left open: the pool rolls it back
        with pool.connection(timeout=60) as connection:
            say(connection.info.transaction_status.name)


@part
def taking_turns() -> None:
    """Four clients, in turns: alike named statements of different texts, one of them always in error."""
    clients = [connect(prepare_threshold=0) for _ in range(4)]
    clients[0].execute(f"CREATE TABLE {SCHEMA}.turns (who int, n int)")
    for turn in range(10):
        for number, client in enumerate(clients):
            if number == 3:
                try:
                    client.execute(f"SELECT {turn} / %s", (0,))
                except psycopg.Error as error:
                    say(described(error))
                continue
            client.execute(f"INSERT INTO {SCHEMA}.turns VALUES ({number}, %s)", (turn,))
            say(
                number,
                client.execute(f"SELECT sum(n) FROM {SCHEMA}.turns WHERE who = {number}", prepare=True).fetchone(),
            )
    with connect() as another:
        another.execute(f"DROP TABLE {SCHEMA}.turns")
    for client in clients:
        try:
            client.execute(f"SELECT sum(n) FROM {SCHEMA}.turns WHERE who = {clients.index(client)}")
        except psycopg.Error as error:
            say(described(error))
        client.close()


@part
def encrypted() -> None:
    if CA:
        with connect(sslmode="verify-full", sslrootcert=CA, host="localhost") as client:
            say(client.pgconn.ssl_in_use, client.execute("SELECT 1").fetchone())
            say(len(client.execute("SELECT repeat('t', 3000000)").fetchone()[0]))
    with connect(sslmode="disable") as client:
        say(client.pgconn.ssl_in_use, client.execute("SELECT 2").fetchone())


main()
