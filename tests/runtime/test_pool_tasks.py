"""The pool's own tasks: what they do when the server, or the program itself, does not play along."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
import trio
from trio.testing import MockClock

import rdsp.pool.cancelling
from rdsp.config.model import TargetGroup
from rdsp.session.machine import TABLE
from rdsp.session.splice import Splice
from rdsp_codecs.postgres import messages as m
from tests.compiled import looks_inside
from tests.runtime.storm import Weather, storm
from tests.runtime.world import proxy, simulate, world

ONE = TargetGroup(max_backends=1)


async def test_a_fault_of_the_program_in_a_task_costs_one_backend_and_not_the_pool(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> NoReturn:
        raise RuntimeError("a fault of the program")

    async with world(proxy(ONE)) as w:
        client, other = await w.client(), await w.client()
        await client.send(m.query(client.mark("SLEEP 1000")))
        await trio.sleep(1)
        monkeypatch.setattr(rdsp.pool.cancelling, "cancel_quietly", broken)
        client.transport.close()
        assert (await other.query("SELECT 1")).rows == ["1"]
        assert any("a fault of the program" in text for text in w.witness.troubles)
        monkeypatch.undo()
        await other.leave()
        await w.until(lambda: w.database.logged_in <= 1)


async def test_a_backend_whose_cancel_never_settled_is_nobody_elses(clock: MockClock) -> None:
    async with world(proxy(ONE)) as w:
        client, other = await w.client(), await w.client()
        w.database.cancel_delay = 1000.0
        await client.send(m.query(client.mark("SLEEP 5")))
        await trio.sleep(1)
        await w.cancel(client)
        assert (await client.reply()).rows == ["slept"]
        first = {connection.number for connection in w.database.live if connection.logged_in}
        assert (await other.query("SELECT 1")).rows == ["1"]
        second = {connection.number for connection in w.database.live if connection.logged_in}
        assert first.isdisjoint(second)
        assert any("cancel" in text for text in w.witness.pool)
        await client.leave()
        await other.leave()
        w.database.cancel_delay = 0.0
        await w.until(lambda: w.database.logged_in <= 1)


async def test_a_servers_other_limit_is_learned_when_its_connections_are_lost(clock: MockClock) -> None:
    """It changes with a restart only; nobody waits for a minute until the next question is due."""
    group = TargetGroup(reserved_connections=0)
    async with world(proxy(group), max_connections=3) as w:
        for limit in (3, 7, 2):
            w.database.max_connections = limit
            w.database.kill_all()
            await trio.sleep(1)
            clients = [await w.client() for _ in range(limit)]
            for client in clients:
                assert (await client.query("BEGIN")).status == "T"
            assert w.statistics().limit == limit
            assert w.statistics().borrowed == limit
            for client in clients:
                await client.leave()
            await w.until(lambda: not w.statistics().borrowed and not w.statistics().resetting)


async def test_where_the_server_keeps_its_limit_to_itself_max_backends_counts(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=3))) as w:
        w.database.keeps_its_limit = True
        clients = [await w.client() for _ in range(3)]
        for client in clients:
            assert (await client.query("BEGIN")).status == "T"
        assert w.statistics().borrowed == 3
        assert len([text for text in w.witness.troubles if "max_backends" in text]) == 1
        for client in clients:
            await client.leave()
        await w.settle()


async def test_without_waiting_every_user_gets_a_first_backend(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=4, connection_borrow_timeout=0))) as w:
        first = await w.client(user="one")
        assert (await first.query("SELECT 1")).rows == ["1"]
        second = w.dial()
        reply = await second.login(user="two")
        if reply.errors:
            await trio.sleep(1)
            second = await w.client(user="two")
        assert (await second.query("SELECT 2")).rows == ["2"]
        await first.leave()
        await second.leave()
        await w.settle()


@looks_inside
def test_every_step_of_a_session_stands_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The splice sets its state itself, for speed: whatever it does in a storm must be a row of the machine."""
    slot: Any = Splice.state
    seen = set()

    class Watched:
        def __get__(self, splice: Splice | None, _: object = None) -> Any:
            return self if splice is None else slot.__get__(splice)

        def __set__(self, splice: Splice, state: Any) -> None:
            try:
                seen.add((slot.__get__(splice), state))
            except AttributeError:
                pass  # its first
            slot.__set__(splice, state)

    monkeypatch.setattr(Splice, "state", Watched())
    weather = Weather(clients=15, backends=2, seconds=120.0, think=1.0, kills=3.0, outages=15.0, rude=1.0, split=0.3)
    simulate(storm, weather, 3, seed=3)

    steps = {(before, after) for before, after in seen if before is not after}
    table = {(before, after) for (before, _), after in TABLE.items()}
    # A backend that is idle is had without standing in the queue: two rows in one step.
    table |= {(a, d) for a, b in table for c, d in table if b is c and b.name == "WAITING" and d.name == "BUSY"}
    assert steps <= table, steps - table
    assert len(steps) >= 6, steps
