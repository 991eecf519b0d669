"""Settings that a backend cannot take over, or that end its connection; and clients that leave at the worst moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from psycopg import sql

from tests.compare.postgres.talking import shown
from tests.servers.postgres import PASSWORD, TestServer
from tests.servers.proxy import ProxyProcess
from tests.servers.rawclient import SYNC, RawClient, fields, parse, query
from tests.waiting import eventually

pytestmark = pytest.mark.live

Raw = Callable[..., RawClient]


@pytest.fixture
def proxy(postgres15: TestServer) -> Iterator[ProxyProcess]:
    with ProxyProcess.for_target(postgres15.target(), "--max-backends", "1") as proxy:
        yield proxy


def test_a_role_that_is_gone_is_told_and_keeps_nobody_else(
    postgres15: TestServer, proxy: ProxyProcess, raw: Raw
) -> None:
    with postgres15.admin() as admin:
        admin.execute("CREATE ROLE passing; GRANT passing TO app")
        one, other = raw(proxy.port), raw(proxy.port)
        one.ask(query("SET ROLE passing"))
        # What the other leaves to be closed on the backend is not waited for behind the role that cannot be set.
        other.ask(parse("s", "SELECT 1"), SYNC)
        other.ask(parse("s", "SELECT 1"), SYNC)
        admin.execute("DROP ROLE passing")

    answer = one.ask(query("SELECT current_user"))

    assert [tag for tag, _ in answer] == ["E", "Z"]
    assert fields(answer[0][1])["M"] == 'role "passing" does not exist'
    assert other.value("SELECT current_user") == b"app"


def test_what_another_role_s_rights_have_set_stays_with_its_session(
    postgres15: TestServer, proxy: ProxyProcess, raw: Raw
) -> None:
    with postgres15.admin() as admin:
        admin.execute("CREATE ROLE chief SUPERUSER; GRANT chief TO app")
    one = raw(proxy.port)

    for text in ("SET ROLE chief", "SET session_replication_role = replica", "RESET ROLE"):
        assert one.ask(query(text))[0][0] == "C"

    assert one.value("SHOW session_replication_role") == b"replica"
    proxy.wait_for_log("set with the rights of another role")
    one.close()
    assert raw(proxy.port).value("SHOW session_replication_role") == b"origin"
    with postgres15.admin() as admin:
        admin.execute("DROP ROLE chief")


def test_a_limit_on_idleness_ends_its_own_session_and_no_other(proxy: ProxyProcess, raw: Raw) -> None:
    one = raw(proxy.port)
    one.ask(query("SET idle_session_timeout = '300ms'"))

    assert [tag for tag, _ in one.until_ready()] == ["E", ""]
    assert raw(proxy.port).value("SHOW idle_session_timeout") == b"0"


@pytest.mark.parametrize("text", ["SET app.left = '1'; SELECT 1", "SET app.left = '1'"])
def test_who_vanishes_in_a_transaction_leaves_no_custom_variable(proxy: ProxyProcess, raw: Raw, text: str) -> None:
    one = raw(proxy.port)
    one.ask(query(text), query("BEGIN"), times=2)
    one.value("SELECT 1")
    one.close()

    assert raw(proxy.port).value("SELECT current_setting('app.left', true) IS NULL") == b"t"


def test_a_value_that_is_too_long_to_be_held_keeps_its_session_alive(proxy: ProxyProcess, raw: Raw) -> None:
    one = raw(proxy.port)

    one.ask(query("SELECT length(set_config('app.big', repeat('x', 20000000), false))"))

    assert one.value("SELECT length(current_setting('app.big'))") == b"20000000"
    one.close()
    assert raw(proxy.port).value("SELECT current_setting('app.big', true) IS NULL") == b"t"


@pytest.mark.parametrize("rest", ["SET NAMES 'LATIN1'", "SET client_encoding = 'LATIN1'; SET client_encoding = 'UTF8'"])
def test_a_name_that_another_encoding_spells_otherwise_is_nobody_elses(
    proxy: ProxyProcess, raw: Raw, rest: str
) -> None:
    one = raw(proxy.port)

    one.ask(query("SELECT set_config('app.ünï', '1', false)"), query(rest), times=2)

    one.close()
    assert raw(proxy.port).value("SELECT current_setting('app.ünï', true) IS NULL") == b"t"


def test_a_lock_that_is_given_up_at_once_frees_the_session(proxy: ProxyProcess, raw: Raw) -> None:
    one, other = raw(proxy.port), raw(proxy.port)

    for _ in range(20):
        # The second query comes while the server is asked about the first.
        one.ask(query("SELECT pg_advisory_lock(5)"))
        one.ask(query("SELECT pg_advisory_unlock(5)"))
        assert other.value("SELECT 1") == b"1"


def test_a_text_that_a_pipelined_setting_turns_into_another_is_not_trusted(proxy: ProxyProcess, raw: Raw) -> None:
    one = raw(proxy.port)

    hidden = query(r"SELECT 'a\'; /* ' ; SET work_mem = '9MB'; -- */")
    answer = one.ask(query("SET standard_conforming_strings = off"), hidden, times=2)

    assert "C b'SET\\x00'" in shown(answer)[3:]
    one.close()
    eventually(lambda: raw(proxy.port).value("SHOW work_mem") == b"4MB")


def test_a_superuser_that_becomes_another_user_and_takes_a_role_stays_that(postgres15: TestServer, raw: Raw) -> None:
    where = "SELECT session_user || ' ' || current_user || ' ' || current_setting('role')"
    with postgres15.admin() as admin:
        admin.execute(sql.SQL("CREATE ROLE boss SUPERUSER LOGIN PASSWORD {}").format(PASSWORD))
    with ProxyProcess.for_target(postgres15.target("boss"), "--max-backends", "1") as proxy:
        one, other = raw(proxy.port, user="boss"), raw(proxy.port, user="boss")
        one.ask(query("SET log_statement = 'none'"))
        for text, now in (
            ("SET SESSION AUTHORIZATION app", "app app none"),
            ("SET ROLE bob", "app bob bob"),
            ("SET work_mem = '7MB'", "app bob bob"),
            ("SET SESSION AUTHORIZATION bob", "bob bob none"),
            ("RESET SESSION AUTHORIZATION", "boss boss none"),
        ):
            assert one.ask(query(text))[0][0] == "C"
            assert other.value("SELECT current_user") == b"boss"
            assert one.value(where) == now.encode()
        assert one.value("SHOW log_statement") == b"none"
        assert "was pinned" not in proxy.log()
        # What only a superuser sees cannot be asked for by who is none any longer.
        one.ask(query("SET dynamic_library_path = '/nowhere'"))
        one.ask(query("SET SESSION AUTHORIZATION app"))
        proxy.wait_for_log("the server did not say what is set")
        one.ask(query("RESET SESSION AUTHORIZATION"))
        assert one.value("SHOW dynamic_library_path") == b"/nowhere"
        one.close()
        other.close()
    with postgres15.admin() as admin:
        admin.execute("DROP ROLE boss")


@pytest.mark.parametrize("limit", ["statement_timeout", "transaction_timeout"])
def test_a_tiny_limit_of_the_clients_does_not_hit_the_question(postgres18: TestServer, raw: Raw, limit: str) -> None:
    with ProxyProcess.for_target(postgres18.target(), "--max-backends", "1") as proxy:
        one, other = raw(proxy.port), raw(proxy.port)
        # So many that the question about them takes longer than the limit.
        for some in range(0, 1200, 100):
            one.ask(query(";".join(f"SET many.n{n} = '{n}'" for n in range(some, some + 100))))
        one.ask(query(f"SET {limit} = 25"))
        for number in range(3):
            one.ask(query(f"BEGIN; SET work_mem = '{number + 5}MB'; COMMIT"))
            assert other.value("SHOW work_mem") == b"4MB"

        assert one.value("SHOW work_mem") == b"7MB"
        assert one.value(f"SHOW {limit}") == b"25ms"
        assert other.value(f"SHOW {limit}") == b"0"
        assert "was pinned" not in proxy.log()


def test_a_backend_that_is_ended_while_it_is_made_ready_is_replaced(postgres15: TestServer, raw: Raw) -> None:
    with ProxyProcess.for_target(postgres15.target(), "--max-backends", "2") as proxy, postgres15.admin() as admin:
        one, other, third = (raw(proxy.port) for _ in range(3))
        one.ask(query("SET ROLE bob"))
        other.ask(query("BEGIN"))
        third.ask(query("BEGIN"))
        other.ask(query("COMMIT"))
        third.ask(query("COMMIT"))
        # No backend can find out about a role that it does not know already.
        admin.execute("BEGIN; LOCK TABLE pg_authid IN ACCESS EXCLUSIVE MODE")
        one.send(query("SELECT current_user"))
        waits = "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'pg_authid'::regclass"
        eventually(lambda: bool(admin.execute(waits).fetchall()))
        ((pid,),) = admin.execute(waits).fetchall()
        admin.execute("SELECT pg_terminate_backend(%s)", (pid,))
        admin.execute("ROLLBACK")

        assert [tag for tag, _ in one.until_ready()] == ["T", "D", "C", "Z"]
        assert one.value("SELECT current_user") == b"bob"
