"""How servers introduce themselves to clients that have not said who they are: one attempt, for all who ask meanwhile."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from rdsp.pool.introducing import Introductions
from rdsp.pool.opening import Opener
from rdsp_codecs.errors import LoginRefused
from rdsp_codecs.problems import Problem, ProblemCode
from tests.runtime.world import proxy, world

TIMEOUT = 10.0
UNREACHABLE = ProblemCode.SERVER_UNREACHABLE


class Transport:
    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Server:
    """A way, and what is behind it. `trouble`: raised by `connect`, or waited for."""

    hostname = ""
    may_use_tls = False

    def __init__(self, name: str, trouble: Exception | float | None = None) -> None:
        self.name = name
        self.trouble = trouble
        self.connects = 0

    async def connect(self) -> Transport:
        self.connects += 1
        trouble = self.trouble
        await trio.sleep(trouble if isinstance(trouble, float) else 0.001)
        if isinstance(trouble, Exception):
            raise trouble
        return Transport()


class Codec:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def introduce(self) -> Iterator[Any]:
        if self.error is not None:
            raise self.error
        return {"version": "8"}
        yield


class Places:
    def __init__(self, *servers: Server) -> None:
        self.servers = servers
        self.told: list[str] = []

    async def ways(self) -> tuple[Server, ...]:
        return self.servers

    def failed(self, way: Server) -> None:
        self.told.append(f"{way.name} failed")

    def served(self, way: Server) -> None:
        self.told.append(f"{way.name} served")


async def nobody(_question: Any) -> Any:
    raise AssertionError


def opener_of(*servers: Server, codec: Codec) -> Opener:
    return Opener(
        codec=cast(Any, codec), places=cast(Any, Places(*servers)), tls="disable", context=None,
        passwords_of=lambda _: (), answer=nobody,
    )  # fmt: skip


@asynccontextmanager
async def introductions(*servers: Server, codec: Codec | None = None, faults: list[str] | None = None) -> Any:
    report: Callable[[str], None] = [].append if faults is None else faults.append
    made = Introductions(opener_of(*servers, codec=codec or Codec()), TIMEOUT, report)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.run)
        yield made
        nursery.cancel_scope.cancel()


async def ask_all(ask: Callable[[], Awaitable[Any]], count: int) -> list[Any]:
    answers: list[Any] = []

    async def one() -> None:
        answers.append(await ask())

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    return answers


async def test_an_attempt_that_fails_has_failed_for_all_who_waited(clock: MockClock) -> None:
    server = Server("gone", 1e6)
    async with introductions(server) as made:
        began = trio.current_time()
        answers = await ask_all(made.ask, 1000)
        assert trio.current_time() - began == pytest.approx(TIMEOUT)
        assert {answer.code for answer in answers} == {UNREACHABLE}
        assert server.connects == 1

        server.trouble = None
        assert await made.ask() == {"version": "8"}, "who comes later has another attempt made"
        assert await made.ask() == {"version": "8"}
        assert server.connects == 2


async def test_clients_that_leave_at_once_make_no_connections_of_their_own(clock: MockClock) -> None:
    server = Server("slow", 5.0)
    async with introductions(server) as made:
        for _ in range(200):
            with trio.move_on_after(0.01):
                await made.ask()
        assert server.connects == 1
        assert await made.ask() == {"version": "8"}
        assert server.connects == 1


async def test_a_server_that_does_not_answer_is_not_waited_for_with_all_the_time_there_is(clock: MockClock) -> None:
    dead, alive = Server("dead", 1e6), Server("alive")
    async with introductions(dead, alive) as made:
        assert await made.ask() == {"version": "8"}
        assert made._opener.places.told == ["dead failed", "alive served"]


@pytest.mark.parametrize(
    ("codec", "answer"),
    [
        (Codec(LoginRefused("", "blocked", raw=b"no")), b"no"),
        (Codec(LoginRefused("", "blocked")), ProblemCode.SERVER_LOGIN_FAILED),
        (Codec(ConnectionResetError("gone")), UNREACHABLE),
        (Codec(RuntimeError("a fault")), UNREACHABLE),
    ],
)
async def test_why_nothing_is_said(clock: MockClock, codec: Codec, answer: Any) -> None:
    faults: list[str] = []
    async with introductions(Server("one"), codec=codec, faults=faults) as made:
        for _ in range(2):
            said = await made.ask()
            assert (said.code if isinstance(said, Problem) else said) == answer
    assert ["RuntimeError: a fault" in fault for fault in faults] == [True] * 2 * isinstance(codec.error, RuntimeError)


async def test_a_login_that_tells_it_meanwhile_is_believed(clock: MockClock) -> None:
    async with introductions(Server("gone", ConnectionRefusedError("no"))) as made:
        async with trio.open_nursery() as nursery:
            answers: list[Any] = []
            nursery.start_soon(partial(_append, answers, made))
            await trio.testing.wait_all_tasks_blocked()
            made.latest = {"version": "9"}
        assert answers == [{"version": "9"}]


async def _append(answers: list[Any], made: Introductions) -> None:
    answers.append(await made.ask())


async def test_nobody_is_kept_waiting_when_the_pool_ends(clock: MockClock) -> None:
    answers: list[Any] = []
    async with trio.open_nursery() as nursery:
        async with introductions(Server("slow", 5.0)) as made:
            nursery.start_soon(_append, answers, made)
            await trio.testing.wait_all_tasks_blocked()
    answers.append(await made.ask())
    assert [answer.code for answer in answers] == [ProblemCode.SHUTTING_DOWN] * 2


async def test_a_pool_makes_the_attempts_and_outlives_an_engines_fault(clock: MockClock) -> None:
    async with world(proxy()) as w:
        said = await w.pool.introductions.ask()
        assert said.code == UNREACHABLE, "PostgreSQL's clients speak first"
        assert 'the engine "postgres" asks' in w.witness.troubles.pop()
        client = await w.client()
        assert (await client.query("SELECT 1")).rows == ["1"]
        assert await w.pool.introductions.ask() == w.pool.introductions.latest
        await client.leave()
        await w.settle()
