"""A connection is cut, as the proxy's end does it, at every moment of its life; the pool must be whole each time.

A moment is a step of any of the simulation's tasks: the switchboard's, in which logins and sessions have their steps, one
by one as its batches are of one event, and those of everything that waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio

from rdsp.config.model import Limits, TargetGroup
from rdsp.net.memory import Script
from rdsp_codecs.postgres import messages as m
from tests.runtime.world import Client, World, proxy, serve, simulate, world

Scenario = Callable[[World, Client], Awaitable[None]]


class _CutAt(trio.abc.Instrument):
    """Counts the steps of all tasks while a session is served, and cancels it before step number `at`."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.steps = 0
        self.counting = False
        self.scope = trio.CancelScope()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.counting:
            self.steps += 1
            if self.steps == self.at:
                self.scope.cancel()


async def _simple(w: World, client: Client) -> None:
    await client.login()
    await client.query("SELECT 1")
    await trio.sleep(100)
    await client.leave()


async def _transaction(w: World, client: Client) -> None:
    await client.login()
    await client.query("BEGIN")
    await client.query("SELECT 1")
    await trio.sleep(1000)


async def _waits_and_times_out(w: World, client: Client) -> None:
    holder = await w.client("holder")
    await client.login()
    await holder.query("BEGIN")
    await client.query("SELECT 1")
    await client.query("SELECT 1")
    await holder.query("COMMIT")
    await client.query("SELECT 1")
    holder.transport.close()


async def _waits_for_a_first_backend(w: World, client: Client) -> None:
    w.database.down = True
    await client.login()
    w.database.down = False


async def _cancelled_and_pinned(w: World, client: Client) -> None:
    await client.login()
    await client.query("SET x")
    await client.send(m.query(client.mark("SLEEP 100")))
    await trio.sleep(1)
    await w.cancel(client)
    await client.reply()
    await trio.sleep(1000)


async def _backend_dies(w: World, client: Client) -> None:
    await client.login()
    await client.query("DIE")


async def _idle_too_long_with_full_pipes(w: World, client: Client) -> None:
    await client.login()
    await client.query("BEGIN")
    await client.send(m.query(client.mark("BIG 300000")))
    await trio.sleep(50)
    await client.reply()
    await trio.sleep(1000)


async def _breaks_the_protocol(w: World, client: Client) -> None:
    await client.login()
    await client.query("BEGIN")
    await client.send(b"!\0\0\0\4")
    await client.reply()


async def _login_too_slow(w: World, client: Client) -> None:
    await client.send(m.startup("app", "app", {})[:6])
    await trio.sleep(100)


MOST = 80
"""Moments of one scenario."""

SCENARIOS: dict[str, Scenario] = {
    scenario.__name__.strip("_"): scenario
    for scenario in (
        _simple,
        _transaction,
        _waits_and_times_out,
        _waits_for_a_first_backend,
        _cancelled_and_pinned,
        _backend_dies,
        _idle_too_long_with_full_pipes,
        _breaks_the_protocol,
        _login_too_slow,
    )
}


async def _run(scenario: Scenario, at: int) -> int:
    """Play a scenario, cancel its session's task before step `at` (0: never). Returns the steps it took."""
    group = TargetGroup(max_backends=1, connection_borrow_timeout=5)
    limits = Limits(login_timeout=20.0, idle_in_transaction_timeout=200.0)
    async with world(proxy(group, limits, idle_client_timeout=500.0)) as w:
        cut = _CutAt(at)
        trio.lowlevel.add_instrument(cut)
        client = w.dial("subject", Script(split=[9]), Script(capacity=30_000), serve=False)

        async def session() -> None:
            w.sessions += 1
            cut.counting = True
            with cut.scope:
                await serve(w.context, client.transport.other)
            cut.counting = False
            w.sessions -= 1

        async def play() -> None:
            with trio.move_on_after(2000):
                await scenario(w, client)
            client.transport.close()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(session)
            await play()
        trio.lowlevel.remove_instrument(cut)
        w.database.down = False
        # A backend may have come for nobody just now: its first event is no business of the board's without a cause.
        await trio.sleep(1)
        await w.settle()
        after = await w.client()
        assert (await after.query("SELECT 1")).rows == ["1"]
        await after.leave()
        await w.settle()
        assert cut.steps >= at
        return cut.steps


@pytest.mark.parametrize("name", SCENARIOS)
def test_cancelled_at_any_step_a_session_leaves_the_pool_whole(name: str) -> None:
    scenario = SCENARIOS[name]
    steps = simulate(_run, scenario, 0)
    assert steps > 10, "the scenario hardly waits"
    for at in range(1, steps + 1, max(1, steps // MOST)):
        simulate(_run, scenario, at)


def test_the_whole_proxy_may_be_cancelled_in_the_middle_of_everything() -> None:
    """Every task at once: pool, board and sessions; no socket stays open."""

    async def main(seconds: float) -> None:
        ends = []
        async with world(proxy(TargetGroup(max_backends=2, connection_borrow_timeout=5))) as w:
            w.database.login_delay = 0.01
            w.database.cancel_delay = 0.01

            async def play(scenario: Scenario) -> None:
                client = w.dial()
                ends.append(client.transport.other)
                await scenario(w, client)

            for scenario in (_simple, _transaction, _cancelled_and_pinned, _backend_dies):
                w.nursery.start_soon(play, scenario)
            await trio.sleep(seconds)
            database = w.database
        assert all(end.closed for end in ends)
        assert all(connection.transport.other.closed for connection in database.all)

    for step in range(40):
        simulate(main, step * 0.003, seed=step)
