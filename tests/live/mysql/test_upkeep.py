"""Conversations with an idle server, at real ones."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

import attrs
import pytest

from rdsp_codecs.api import BackendLogin
from rdsp_codecs.errors import LoginRefused, WireError
from rdsp_codecs.mysql import upkeep
from rdsp_codecs.mysql.login import COLLATION, change_user
from rdsp_codecs.mysql.state import MySqlState
from rdsp_codecs.steps import Conversation
from rdsp_codecs.transaction import Transaction
from tests.live.mysql.minirelay import drive
from tests.servers.mysql import DATABASE, PASSWORD, SHA256, USER, MySqlServer, user_of
from tests.servers.mysqlclient import MySqlClient
from tests.waiting import eventually

HOW = BackendLogin(user=USER, password=PASSWORD, database=DATABASE, parameters={}, tls="disable", entropy=os.urandom)


@pytest.fixture(params=["", "zlib"])
def client(mysql: MySqlServer, request: pytest.FixtureRequest) -> Any:
    with MySqlClient(mysql.port, compression=request.param) as client:
        yield client


def run(client: MySqlClient, conversation: Conversation[Any]) -> Any:
    return drive(conversation, client.socket, None, client.layer)[0]


def value(client: MySqlClient, text: str) -> bytes | None:
    answer = run(client, upkeep.query(client.state, text))
    assert answer.error is None, answer
    return answer.rows[0][0]


@pytest.mark.parametrize("tracks", [True, False])
def test_a_reset_rolls_back_and_makes_the_session_new(mysql: MySqlServer, client: MySqlClient, tracks: bool) -> None:
    """But for its database where it is COM_RESET_CONNECTION's. MySQL 5.6 does not know that, and says so."""
    state: MySqlState = client.state
    state.how, state.tracks, state.used = HOW, tracks, True
    value(client, "SELECT 1")
    run(client, upkeep.query(state, "CREATE TABLE IF NOT EXISTS kept (a INT) ENGINE=InnoDB; DELETE FROM kept"))
    run(client, upkeep.prepare(state, "SET @y = 3"))
    run(client, upkeep.query(state, "SET @x = 1, @y = 2, sql_mode = ''; USE other; BEGIN"))
    run(client, upkeep.query(state, "INSERT INTO app.kept VALUES (1)"))
    run(client, upkeep.reset(state, Transaction.OPEN))
    anew = mysql.version == "mysql-5.6" or not tracks
    assert state.used is not anew
    assert value(client, "SELECT COUNT(*) FROM app.kept") == b"0"
    assert value(client, "SELECT @x") is None
    assert value(client, "SELECT @y") == (b"3" if anew else None)
    assert value(client, "SELECT @@sql_mode") != b""
    assert value(client, "SELECT DATABASE()") == (b"app" if anew else b"other")


def test_a_probe_wants_an_idle_server_outside_of_a_transaction(client: MySqlClient) -> None:
    run(client, upkeep.probe(client.state))
    value(client, "SELECT 1")
    run(client, upkeep.query(client.state, "BEGIN"))
    with pytest.raises(WireError):
        run(client, upkeep.probe(client.state))


def test_an_init_query_is_run_and_refused(client: MySqlClient) -> None:
    run(client, upkeep.prepare(client.state, "SET time_zone = '+02:00'; SET @y = 5"))
    assert value(client, "SELECT @@time_zone") == b"+02:00"
    assert value(client, "SELECT @y") == b"5"
    with pytest.raises(LoginRefused, match="1193"):
        run(client, upkeep.prepare(client.state, "SET @y = 6; SET nothing_of_the_kind = 1"))
    with pytest.raises(LoginRefused, match="transaction"):
        run(client, upkeep.prepare(client.state, "BEGIN"))


def test_limits_and_roles_are_asked(mysql: MySqlServer, client: MySqlClient) -> None:
    assert run(client, upkeep.max_connections(client.state)) == 60 - 1
    assert run(client, upkeep.is_writable(client.state)) is True
    with mysql.admin() as admin, admin.cursor() as cursor:
        cursor.execute("SET GLOBAL read_only = 1")
        try:
            assert run(client, upkeep.is_writable(client.state)) is False
        finally:
            cursor.execute("SET GLOBAL read_only = 0")


def test_a_running_query_is_cancelled_and_nothing_else(mysql: MySqlServer, client: MySqlClient) -> None:
    answers: list[upkeep.Answer] = []

    def sleep() -> None:
        answers.append(run(client, upkeep.query(client.state, "SELECT SLEEP(600), 7 FROM DUAL WHERE SLEEP(0) = 0")))

    def running() -> bool:
        with mysql.admin() as admin, admin.cursor() as cursor:
            cursor.execute("SHOW PROCESSLIST")
            return any(row[0] == client.state.connection_id and "SLEEP" in str(row[7]) for row in cursor.fetchall())

    thread = threading.Thread(target=sleep)
    thread.start()
    eventually(running)
    killed: list[Any] = []

    def kill() -> bool:
        # A KILL that overtakes the query's beginning does nothing: again, until it is through.
        with socket.create_connection(("127.0.0.1", mysql.port)) as sock:
            killed.append(drive(upkeep.cancel(client.state, HOW), sock, None)[0])
        thread.join(0.2)
        return not thread.is_alive()

    eventually(kill)
    assert all(killed)
    assert answers[0].error is not None or answers[0].rows == [(b"1", b"7")]
    assert value(client, "SELECT 1") == b"1"


def test_who_is_gone_cannot_be_cancelled(mysql: MySqlServer) -> None:
    state = MySqlState("")
    state.connection_id = 987654
    with MySqlClient(mysql.port) as client:
        client.write(upkeep.goodbye())
        assert client.socket.recv(10) == b""
    with socket.create_connection(("127.0.0.1", mysql.port)) as sock:
        assert drive(upkeep.cancel(state, HOW), sock, None)[0] is False


@pytest.mark.parametrize("tls", ["disable", "require"])
def test_a_user_is_changed_by_every_plug_in_and_the_session_is_new(mysql: MySqlServer, tls: str) -> None:
    if (mysql.version, tls) == ("mysql-5.6", "require"):
        pytest.skip("the same as without, but for sha256_password, which it answers without asking")
    for plugin in mysql.plugins:
        if (mysql.version, plugin) == ("mysql-5.6", SHA256):
            continue
        with MySqlClient(mysql.port, tls=tls) as client:
            run(client, upkeep.query(client.state, "SET @x = 1; USE other"))
            how = BackendLogin(
                user=user_of(plugin),
                password=PASSWORD,
                database=DATABASE,
                parameters={COLLATION: "45"},
                tls=tls,
                entropy=os.urandom,
            )
            run(client, change_user(client.state, how))
            assert client.state.plugin.decode().removeprefix("client_") == plugin
            assert value(client, "SELECT USER()") == f"{user_of(plugin)}@127.0.0.1".encode()
            assert value(client, "SELECT @x") is None
            assert value(client, "SELECT DATABASE()") == DATABASE.encode()
            wrong = attrs.evolve(how, password="wrong")
            with pytest.raises(LoginRefused, match="1045"):
                run(client, change_user(client.state, wrong))
