"""A session keeps the backend that it has read on until it, or somebody else, needs one: then the server is asked first.

The engine is the tests' plain one, with a relay that lingers behind every SELECT.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from rdsp.config.model import TargetGroup
from rdsp.net.memory import Script
from rdsp_codecs import moves
from rdsp_codecs.postgres import messages as m
from rdsp_codecs.problems import Problem
from rdsp_codecs.relaying import EASILY, RATHER
from rdsp_codecs.transaction import Transaction
from tests.runtime.plain_engine import PlainCodec, PlainRelay
from tests.runtime.world import World, proxy, world

QUESTION = m.query("SLEEP 0.1 /*question*/")
"""What it asks before its backend is another's; slow enough for things to happen meanwhile."""


class LingeringRelay(PlainRelay):
    """See the module."""

    def __init__(self, codec: PlainCodec, kind: int) -> None:
        super().__init__(codec)
        self._kind = kind
        self._asking = self._read = self._interrupted = False

    def from_client(self, data: bytes) -> int:
        if self._asking:
            self._from_client += data
            return moves.NOTHING
        if self._interrupted:
            return self.abort(m.message(b"E", b"C57014\0M-\0\0"))
        return super().from_client(data)

    def _forward(self) -> int:
        if self._from_client[:1] == b"Q":
            self._read, self.lingers = self._from_client[5:8] in (b"SEL", b"BIG"), 0
        return super()._forward()

    def from_server(self, data: bytes) -> int:
        if not self._asking:
            signals = super().from_server(data)
            over = signals & moves.OVER and self.transaction is Transaction.NONE
            self.lingers = self._kind if over and self._read else 0
            return signals
        self._from_server += data
        if not self._from_server.endswith(m.message(b"Z", b"I")):
            return moves.NOTHING
        self._from_server, self._asking, self._owed = b"", False, 0
        return moves.OVER | (moves.AGAIN if self._from_client else 0)

    def reclaimed(self) -> int:
        self.lingers, self._asking, self._owed = 0, True, 1
        self.to_server.append(QUESTION)
        return moves.NOTHING

    def answers_us(self) -> bool:
        return self._asking

    def cancellable(self) -> bool:
        return not self._asking and super().cancellable()

    def interrupt(self) -> bool:
        self._interrupted = self._asking and bool(self._from_client)
        return self._interrupted

    def abort(self, problem: Problem | bytes) -> int:
        self._interrupted = False
        return super().abort(problem)

    def detached(self) -> None:
        super().detached()
        self.lingers = 0


class LingeringCodec(PlainCodec):
    """Its engine."""

    kind = EASILY

    def relay(self, who: Any, policy: Any, shared: Any) -> LingeringRelay:
        return LingeringRelay(self, self.kind)


def questions(w: World) -> int:
    """How many were asked."""
    return sum("question" in ran.text for ran in w.database.ran())


@pytest.fixture(params=[EASILY, RATHER])
def codec(request: pytest.FixtureRequest) -> LingeringCodec:
    codec = LingeringCodec()
    codec.kind = request.param
    return codec


ONE = TargetGroup(max_backends=1, connection_borrow_timeout=10)


async def test_it_is_kept_and_nothing_is_asked_until_somebody_waits(clock: MockClock, codec: LingeringCodec) -> None:
    async with world(proxy(ONE), codec=codec) as w:
        one, other = await w.client(), await w.client()
        for n in range(5):
            assert (await one.query(f"SELECT {n}")).rows == [str(n)]
            assert w.statistics().borrowed == 1
        assert questions(w) == 0
        assert (await other.query("SELECT 7")).rows == ["7"]
        assert questions(w) == 1
        assert (await one.query("SELECT 8")).rows == ["8"]
        assert questions(w) == 2
        await one.leave()
        await other.leave()
        await w.settle()
        assert w.context.counters.requests == 7
        assert w.context.counters.transactions == 7


async def test_a_client_that_does_not_read_keeps_it_from_nobody(clock: MockClock, codec: LingeringCodec) -> None:
    """The answer is over at the server, and a part of it stands in the proxy."""
    async with world(proxy(ONE), codec=codec) as w:
        lazy, other = await w.client(theirs=Script(capacity=1000)), await w.client()
        await lazy.send(m.query(lazy.mark("BIG 5000")))
        await trio.sleep(1)
        assert w.statistics().borrowed == 1, "it lingers"
        assert (await other.query("SELECT 7")).rows == ["7"]
        assert len((await lazy.reply()).rows) == 5
        assert (await lazy.query("SELECT 8")).rows == ["8"]
        await lazy.leave()
        await other.leave()
        await w.settle()


async def test_what_comes_while_the_server_is_asked_goes_to_any_backend(
    clock: MockClock, codec: LingeringCodec
) -> None:
    async with world(proxy(ONE), codec=codec) as w:
        one, other = await w.client(), await w.client()
        await one.query("SELECT 1")
        await other.send(m.query(other.mark("SELECT 2")))
        await trio.sleep(0.03)
        assert (await one.query("SELECT 3")).rows == ["3"]
        assert (await other.reply()).rows == ["2"]
        await one.leave()
        await other.leave()
        await w.settle()


async def test_a_cancel_then_ends_what_is_held_and_nothing_else(clock: MockClock, codec: LingeringCodec) -> None:
    async with world(proxy(ONE), codec=codec) as w:
        one, other = await w.client(), await w.client()
        await one.query("SELECT 1")
        await other.send(m.query(other.mark("SELECT 2")))
        await trio.sleep(0.03)
        await one.send(m.query(one.mark("SLEEP 99")))
        await trio.sleep(0.03)
        await w.cancel(one)
        reply = await one.reply()
        assert (reply.errors, reply.status) == (["57014"], "I")
        assert (await other.reply()).rows == ["2"]
        assert not any(connection.cancels for connection in w.database.all)
        assert (await one.query("SELECT 3")).rows == ["3"]
        assert not any("SLEEP 99" in ran.text for ran in w.database.ran())
        await one.leave()
        await other.leave()
        await w.settle()


@pytest.mark.parametrize("politely", [True, False])
async def test_who_leaves_has_it_asked(clock: MockClock, codec: LingeringCodec, politely: bool) -> None:
    async with world(proxy(ONE), codec=codec) as w:
        one, other = await w.client(), await w.client()
        await one.query("SELECT 1")
        if politely:
            await one.leave()
        else:
            one.transport.close()
        assert (await other.query("SELECT 7")).rows == ["7"]
        assert (len(w.database.all), questions(w)) == (1, 1)
        await other.leave()
        await w.settle()


async def test_the_server_may_end_it_before_and_while_it_is_asked(clock: MockClock, codec: LingeringCodec) -> None:
    async with world(proxy(ONE), codec=codec) as w:
        for while_asked in (False, True):
            one, other = await w.client(), await w.client()
            await one.query("SELECT 1")
            if while_asked:
                await other.send(m.query(other.mark("SELECT 2")))
                await trio.sleep(0.03)
            w.database.kill_all()
            await trio.sleep(0.03)
            if not while_asked:
                await other.send(m.query(other.mark("SELECT 2")))
            assert (await other.reply()).rows == ["2"]
            one.transport.close()
            await other.leave()
            await w.settle()


async def test_where_nobody_may_wait_nothing_is_kept(clock: MockClock, codec: LingeringCodec) -> None:
    async with world(proxy(TargetGroup(max_backends=1, connection_borrow_timeout=0)), codec=codec) as w:
        one, other = await w.client(), await w.client()
        await one.query("SELECT 1")
        await trio.sleep(1)
        assert questions(w) == 1
        assert w.statistics().borrowed == 0
        assert (await other.query("SELECT 7")).rows == ["7"]
        await one.leave()
        await other.leave()
        await w.settle()
