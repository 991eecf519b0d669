"""The demo's clients notice what goes wrong: against a server that can be told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from rdsp.demo.load import WIRES, Crowd, Tally
from rdsp.demo.wire import Login
from tests.demo.fake import FakeServer
from tests.demo.fake_mysql import FakeMySql
from tests.waiting import PATIENCE

Fake = FakeServer | FakeMySql
WIRE_OF = {FakeServer: "postgres", FakeMySql: "mysql"}
KINDS = pytest.mark.parametrize("kind", WIRE_OF, ids=WIRE_OF.values())


@asynccontextmanager
async def serving(server: Fake) -> AsyncIterator[Login]:
    async with trio.open_nursery() as nursery:
        await nursery.start(server.run)
        yield Login(server.port, "demo", "secret", "postgres")
        nursery.cancel_scope.cancel()


async def load(server: Fake, clients: int = 3, seconds: float = 0.3, parting: float = 5.0) -> Tally:
    async with serving(server) as login:
        crowd = Crowd(login, None, pause=0.01, wire=WIRES[WIRE_OF[type(server)]], parting=parting)
        with trio.fail_after(PATIENCE):
            await crowd.run(clients, seconds)
        return crowd.tally


@KINDS
async def test_right_answers_are_no_errors(kind: type[Fake]) -> None:
    tally = await load(kind())
    assert (tally.errors, tally.first_error) == (0, "")
    assert tally.connected == 3
    assert tally.transactions > 9
    assert tally.served == {0: 1, 1: 1, 2: 1}
    assert len(tally.seen) == 3


@KINDS
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("wrong_value", "wrong answers: b'1"),
        ("wrong_sum", "for 3 + 1"),
        ("torn", "torn between two database connections"),
        ("error", "no luck"),
        ("closes", "the peer closed the connection"),
        ("no_transaction", "after BEGIN the status is 'I'"),
        ("no_commit", "after COMMIT the status is 'T'"),
    ],
)
async def test_every_client_notices(kind: type[Fake], fault: str, told: str) -> None:
    tally = await load(kind(fault), seconds=10)  # ends early: nobody is left
    assert tally.errors == 3
    assert tally.first_error.startswith("client ")
    assert told in tally.first_error
    assert tally.transactions == 6


@KINDS
async def test_an_answer_that_never_comes_is_an_error(kind: type[Fake]) -> None:
    tally = await load(kind("silent"), parting=0.2)
    assert tally.errors == 1
    assert tally.first_error == "3 of 3 clients got no answer for 0.2 s"


@KINDS
async def test_clients_that_cannot_log_in_are_errors_and_the_others_work_on(kind: type[Fake]) -> None:
    tally = await load(kind(refuse_logins=2), clients=5)
    assert tally.connected == 2
    assert tally.errors == 3
    assert "too many" in tally.first_error
    assert tally.transactions > 2


async def test_a_server_that_is_not_there_is_an_error_for_every_client() -> None:
    with trio.fail_after(PATIENCE):
        server = FakeServer()
        async with serving(server) as login:
            pass
        crowd = Crowd(login, None, pause=0.01)
        await crowd.run(4, 60)
    assert (crowd.tally.connected, crowd.tally.errors) == (0, 4)


async def test_a_load_that_is_stopped_early_ends_its_transactions_and_is_no_error() -> None:
    async with serving(FakeServer()) as login:
        crowd = Crowd(login, None, pause=0.01)
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(crowd.run, 30, 3600)
                while crowd.tally.transactions < 60:
                    await trio.sleep(0.01)
                crowd.stop()
    assert crowd.tally.errors == 0


async def test_a_load_that_is_stopped_before_all_are_in_is_no_error() -> None:
    async with serving(FakeServer()) as login:
        crowd = Crowd(login, None, pause=0.01)
        crowd.stop()
        with trio.fail_after(PATIENCE):
            await crowd.run(100, 3600)
    assert (crowd.tally.connected, crowd.tally.errors) == (0, 0)


async def test_a_database_that_cannot_be_counted_is_an_error() -> None:
    async with serving(FakeServer()) as login, serving(FakeServer(refuse_logins=0)) as direct:
        crowd = Crowd(login, direct, pause=0.01)
        with trio.fail_after(PATIENCE):
            await crowd.run(2, 0.2)
    assert "connections could not be counted: 53300 too many" in crowd.tally.first_error
