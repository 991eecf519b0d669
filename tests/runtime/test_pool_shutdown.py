"""The end of a whole proxy: what a drain waits for, and signals that come while it ends."""

from __future__ import annotations

import signal
import socket
import time

import pytest
import trio
from trio.testing import MockClock

from rdsp.app import App, RunningProxy
from rdsp.config.model import Config, TargetGroup, Tcp
from rdsp.endpoint.listener import Endpoint
from rdsp.observe.dispatch import Observers
from rdsp.pool.cancelling import LAST_ONES
from rdsp.pool.servers import Servers
from rdsp_codecs.postgres import messages as m
from tests.runtime.world import World, proxy, simulate, world
from tests.servers.proxy import ProxyProcess
from tests.waiting import PATIENCE


def application(w: World) -> App:
    app = App(Config(proxies=(w.context.settings,)), Observers([]))
    app.proxies["default"] = RunningProxy(
        w.context, Endpoint(w.context, []), w.pool, Servers(w.context.settings.target, 5432, "", Tcp())
    )
    return app


async def test_a_drain_does_not_wait_long_for_who_says_nothing(clock: MockClock) -> None:
    async with world() as w:
        silent, client = w.dial(), await w.client()
        await client.query("BEGIN")
        await trio.sleep(1)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(application(w).drain)
            await trio.sleep(0.5)
            assert (await client.query("COMMIT")).status == "I"
        assert 1.9 < trio.current_time() - began < 2.5
        silent.transport.close()
        client.transport.close()
        await w.settle()


async def test_what_runs_behind_a_drain_is_cancelled_and_nothing_else_is(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=10))) as w:
        app = application(w)
        busy = [await w.client() for _ in range(10)]
        for client in busy[1:]:
            await client.send(m.query(client.mark("SLEEP 1000")))
        await busy[0].query("SELECT 1")
        gone, waiter = await w.client(), await w.client()
        await gone.send(m.query(gone.mark("SLEEP 2000")))
        await trio.sleep(1)
        await waiter.send(m.query(waiter.mark("SLEEP 3000")))
        await trio.sleep(0.1)
        w.database.cancel_delay = 0.5
        gone.transport.close()
        await trio.sleep(0.1)
        await app.cancel_the_rest()
        await trio.sleep(0)
        hit = [text.split(" /")[0] for c in w.database.all for text in c.cancels]
        assert hit.count("SLEEP 1000") == 9
        assert set(hit) <= {"SLEEP 1000", "SLEEP 2000", ""}
        assert w.database.most_cancelling <= 4
        assert (await waiter.reply()).errors == ["57P01"]  # and none of the backends has come to it
        for client in (*busy, waiter):
            client.transport.close()
        await w.settle()


async def test_a_server_that_takes_no_cancels_does_not_keep_the_proxy(clock: MockClock) -> None:
    async with world() as w:
        app = application(w)
        busy = [await w.client() for _ in range(10)]
        for client in busy:
            await client.send(m.query(client.mark("SLEEP 100")))
        await trio.sleep(1)
        w.database.cancel_delay = 20.0
        began = trio.current_time()
        await app.cancel_the_rest()
        assert trio.current_time() - began == pytest.approx(LAST_ONES, abs=0.1)
        for client in busy:
            client.transport.close()
        await w.until(lambda: w.database.logged_in == 0)
        await w.settle()


async def test_a_drain_lets_a_login_finish_and_tells_one_that_cannot(clock: MockClock) -> None:
    async with world() as w:
        w.database.login_delay = 1.0
        quick, slow = w.dial(), w.dial()
        await quick.send(m.startup("app", "app", {}))
        await trio.sleep(0.5)
        w.database.login_delay = 100.0
        await slow.send(m.startup("slow", "app", {}))
        began = trio.current_time()
        await application(w).drain()
        assert 1.9 < trio.current_time() - began < 2.5
        w.nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            reply = await quick.reply()
            assert (reply.status, reply.errors) == ("I", [])
            assert (await quick.reply()).errors == ["57P01"]
            assert (await slow.reply()).errors == ["57P01"]


@pytest.mark.parametrize("seed", range(10))
def test_sessions_in_a_transaction_end_with_the_pool_without_a_fault(seed: int) -> None:
    async def main() -> None:
        async with world() as w:
            for _ in range(5):
                await (await w.client()).query("BEGIN")
            w.nursery.cancel_scope.cancel()
        assert len(w.witness.ends) == 5
        assert not w.witness.internal, w.witness.internal[0]

    simulate(main, seed=seed)


def test_no_signal_breaks_the_end() -> None:
    with ProxyProcess.for_target("postgresql://app:x@127.0.0.1:1/app") as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port)):
            proxy.tell(signal.SIGTERM)
            proxy.wait_for_log("drains")
            deadline = time.monotonic() + PATIENCE
            while proxy.process.poll() is None and time.monotonic() < deadline:
                proxy.tell(signal.SIGTERM)
                time.sleep(0.001)
        assert proxy.process.wait(PATIENCE) == 0
