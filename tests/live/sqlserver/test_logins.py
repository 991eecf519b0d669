"""Both login conversations over real sockets and with real TLS: at the reference server, and greeting real drivers."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pymssql
import pytds
import pytest
import trio

from rdsp.config.model import ClientTls
from rdsp.converse import converse
from rdsp.net.tls import Certificates
from rdsp.net.transport import SocketTransport
from rdsp_codecs.api import BackendLogin, ClientLogin, Offer, Turned
from rdsp_codecs.errors import CodecError, LoginRefused
from rdsp_codecs.questions import Admit, Secrets, Welcome
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.sqlserver import login as lo
from rdsp_codecs.sqlserver import tokens as t
from rdsp_codecs.sqlserver.greet import PACKET_SIZE, greet
from rdsp_codecs.sqlserver.headers import all_headers
from rdsp_codecs.sqlserver.line import Line
from rdsp_codecs.sqlserver.login import login
from rdsp_codecs.sqlserver.state import SqlServerState
from rdsp_codecs.sqlserver.values import wide
from rdsp_codecs.sqlserver.walking import TokenWalker
from rdsp_codecs.steps import Conversation, Send
from tests.servers.sqlserver_fixtures import DATABASE, PASSWORD, USER, SqlServerProcess

pytestmark = pytest.mark.live


def how(**more: Any) -> BackendLogin:
    settings = {"database": DATABASE, "parameters": {}, "tls": "prefer", "entropy": os.urandom}
    return BackendLogin(**{"user": USER, "password": PASSWORD, **settings, **more})


def asks(how: BackendLogin, text: str) -> Conversation[tuple[SqlServerState, list[int]]]:
    """Log in and run a batch; the state, and the tokens that answer."""
    state = yield from login(how)
    yield Send(f.packets(f.SQL_BATCH, all_headers() + wide(text), state.packet_size))
    line = Line(1 << 20, 1 << 20)
    line.inbox.loosen()
    answer = yield from line.receive(f.RESPONSE)
    return state, [token for token, _ in TokenWalker().feed(answer.data)]


async def asked(server: SqlServerProcess, how: BackendLogin, text: str = "SELECT 1") -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols([lo.ALPN])
    context.load_verify_locations(server.certificate)
    sock = socket.create_connection(("127.0.0.1", server.port))
    transport = SocketTransport(sock, "server", local=True)
    try:
        with trio.fail_after(20):
            return await converse(asks(how, text), transport, client_context=context, hostname="localhost")
    finally:
        transport.close()


@pytest.mark.parametrize(
    ("more", "encrypted"),
    [({"tls": "disable"}, False), ({"tls": "prefer"}, True), ({"tls": "require"}, True), ({"direct_tls": True}, True)],
)
async def test_a_backend_is_logged_in(sqlserver: SqlServerProcess, more: dict[str, Any], encrypted: bool) -> None:
    state, tokens = await asked(sqlserver, how(**more))
    assert (state.encrypted, state.strict, state.version) == (encrypted, "direct_tls" in more, k.TDS_7_4)
    assert state.packet_size == 8000
    assert state.server_parameters[lo.DATABASE] == DATABASE
    assert tokens[0] == k.COLMETADATA
    assert tokens[-1] == k.DONE


async def test_a_large_request_goes_through_tls_that_has_begun_within_packets(sqlserver: SqlServerProcess) -> None:
    _, tokens = await asked(sqlserver, how(tls="require"), f"SELECT LEN(N'{'x' * 500_000}')")
    assert tokens[0] == k.COLMETADATA


async def test_wrong_passwords_and_databases_are_refused_in_the_server_s_words(sqlserver: SqlServerProcess) -> None:
    with pytest.raises(LoginRefused) as refused:
        await asked(sqlserver, how(password="wrong"))
    assert (refused.value.code, refused.value.password) == ("18456", True)
    with pytest.raises(LoginRefused) as refused:
        await asked(sqlserver, how(database="missing"))
    assert (refused.value.code, refused.value.password) == ("4060", False)


FACE = {
    lo.PROGRAM: "Microsoft SQL Server",
    lo.PROGRAM_VERSION: "10001000",
    lo.DATABASE: DATABASE,
    lo.LANGUAGE: "us_english",
    lo.COLLATION: "0904d00034",
}


async def answer(question: Any) -> Any:
    match question:
        case Secrets(user):
            return (PASSWORD,) if user == USER else ()
        case Admit():
            return Welcome(FACE, 77, b"")
    raise AssertionError(question)


def hosts(offer: Offer, seen: list[Any]) -> Conversation[None]:
    """Greet, and answer whatever is asked behind that with nothing, until the client leaves."""
    found = yield from greet(offer)
    seen.append(found)
    if not isinstance(found, ClientLogin):
        return
    line = Line(1 << 20, 1 << 24)
    line.inbox.loosen()
    line.inbox.put(found.leftover)
    line.size = int(found.parameters[PACKET_SIZE])
    while True:
        message = yield from line.receive(f.SQL_BATCH, f.RPC, f.TRANSACTION_MANAGER, f.ATTENTION)
        token = k.DONEPROC if message.kind == f.RPC else k.DONE
        yield from line.send(f.RESPONSE, t.done(t.Done(token), old=found.protocol < k.TDS_7_2))


@asynccontextmanager
async def greeting(seen: list[Any], **more: Any) -> AsyncIterator[int]:
    """A server that is nothing but our greeting; its port."""
    certificates = Certificates(ClientTls(), lo.ALPN).current
    assert certificates is not None
    settings = {"tls": True, "require_tls": False, "local": True, "open_to_local": False, "max_login_bytes": 65536}
    offer = Offer(**{**settings, "entropy": os.urandom, "mock_salt_key": b"k" * 32, **more})

    async def serve(stream: trio.SocketStream) -> None:
        sock = socket.socket(fileno=os.dup(stream.socket.fileno()))
        await stream.aclose()
        transport = SocketTransport(sock, "client", local=True)
        try:
            await converse(hosts(offer, seen), transport, answer=answer, server_context=certificates.context)
        except CodecError as error:
            seen.append(error)
        finally:
            transport.close()

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def tds(port: int, **more: Any) -> None:
    settings = {"user": USER, "password": PASSWORD, "database": DATABASE, "login_timeout": 10}
    with pytds.connect("127.0.0.1", port=port, autocommit=True, **{**settings, **more}) as connection:
        connection.cursor().execute("SELECT 1")


def freetds(port: int, **more: Any) -> None:
    settings = {"user": USER, "password": PASSWORD, "database": DATABASE, "login_timeout": 10}
    with pymssql.connect("127.0.0.1", port=str(port), autocommit=True, **{**settings, **more}) as connection:
        connection.cursor().execute("SET NOCOUNT ON")


@pytest.mark.parametrize(
    ("connect", "more", "encrypted"),
    [
        (tds, {}, False),
        (freetds, {"tds_version": "7.1", "encryption": "off"}, False),
        (freetds, {"tds_version": "7.4", "encryption": "off"}, False),
        # It asks for its login's encryption, and for no more where the server does not.
        (freetds, {"tds_version": "7.3", "encryption": "request"}, False),
        (freetds, {"tds_version": "7.4", "encryption": "require"}, True),
    ],
)
async def test_drivers_are_greeted(connect: Callable[..., None], more: dict[str, Any], encrypted: bool) -> None:
    seen: list[Any] = []
    with trio.fail_after(30):
        async with greeting(seen) as port:
            await trio.to_thread.run_sync(lambda: connect(port, **more))
    assert isinstance(seen[0], ClientLogin)
    assert (seen[0].user, seen[0].database, seen[0].tls) == (USER, DATABASE, encrypted)


@pytest.mark.parametrize("connect", [tds, freetds])
async def test_drivers_learn_why_they_are_not_let_in(connect: Callable[..., None]) -> None:
    seen: list[Any] = []
    with trio.fail_after(30):
        async with greeting(seen) as port:
            with pytest.raises((pytds.Error, pymssql.Error), match="Login failed for user"):
                await trio.to_thread.run_sync(lambda: connect(port, password="wrong"))
    assert isinstance(seen[0], Turned)
