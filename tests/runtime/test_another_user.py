"""A login in mid-session (`moves.ANEW`): the `Greeter` in a session's place, its connection, its number and its leftovers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from rdsp.config.model import Limits, TargetGroup
from rdsp.session.greeting import Greeter
from rdsp_codecs import moves
from rdsp_codecs.api import ClientLogin, Greeting, Offer, RelayPolicy
from rdsp_codecs.choice import CHOICE, COMPILED
from rdsp_codecs.postgres import messages as m
from rdsp_codecs.relaying import Relay
from rdsp_codecs.steps import Conversation, HasUnread, Receive
from tests.runtime.plain_engine import PlainCodec, PlainRelay, _whole
from tests.runtime.world import Client, World, proxy, world

ANOTHER = b"U"


class ChangingRelay(PlainRelay):
    """Has a message more: a start-up message in mid-session, behind a `U` and its length."""

    def __init__(self, codec: PlainCodec) -> None:
        super().__init__(codec)
        self._anew = False

    def from_client(self, data: bytes) -> int:
        self._from_client += data
        if self._anew:
            return moves.NOTHING
        if self._from_client[:1] == ANOTHER and _whole(self._from_client):
            if self._owed or self._from_server:
                return moves.NOTHING
            self._anew = True
            return moves.ANEW
        return self._forward() if self._attached else self._wants()

    def _forward(self) -> int:
        whole, at = _whole(self._from_client), 0
        while at < whole and self._from_client[at : at + 1] != ANOTHER:
            at += 1 + m.integer(self._from_client, at + 1)
        rest, self._from_client = self._from_client[at:], self._from_client[:at]
        signals = super()._forward()
        self._from_client += rest
        return signals

    def from_server(self, data: bytes) -> int:
        signals = super().from_server(data)
        if not signals & moves.OVER or not self._from_client:
            return signals
        free = self.transaction is m.TRANSACTIONS[ord("I")]
        return signals | moves.AGAIN if free else self.from_client(b"")

    def greet_anew(self, offer: Offer) -> Conversation[Greeting]:
        """As to a new client, whose first bytes are those that stand behind the `U`."""
        held, self._from_client = self._from_client[5:], b""
        greeting = self._codec.greet(offer)
        step: Any = next(greeting)
        try:
            while True:
                if held and isinstance(step, Receive):
                    data = held[: step.limit or None]
                    held = held if step.peek else held[len(data) :]
                    step = greeting.send(data)
                elif held and isinstance(step, HasUnread):
                    step = greeting.send(True)
                else:
                    step = greeting.send((yield step))
        except StopIteration as stop:
            found: Greeting = stop.value
        if isinstance(found, ClientLogin):
            found.leftover += held
        return found


class ChangingCodec(PlainCodec):
    def relay(self, who: ClientLogin, policy: RelayPolicy, shared: Any) -> Relay:
        return ChangingRelay(self)


def another(user: str, database: str = "app") -> bytes:
    return m.message(ANOTHER, m.startup(user, database, {}))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Greeter]]:
    """Those that begin in a session's place. Compiled classes cannot be watched so."""
    if CHOICE.name == COMPILED:
        pytest.skip("puts things into objects that only the written modules let in")
    found: list[Greeter] = []
    begin = Greeter.begin

    def watched(greeter: Greeter, since: float) -> None:
        if greeter.user:
            found.append(greeter)
        begin(greeter, since)

    monkeypatch.setattr(Greeter, "begin", watched)
    yield found


async def _becomes(w: World, client: Client, user: str) -> None:
    """It does, and is told its number again."""
    before = client.number
    await client.send(another(user))
    reply = await client.reply()
    assert (reply.status, client.number) == ("I", before), reply
    assert len(w.context.registry) == w.sessions


async def test_it_is_another_session_on_the_same_connection(clock: MockClock, seen: list[Greeter]) -> None:
    async with world(proxy(TargetGroup(max_backends=3)), codec=ChangingCodec()) as w:
        client, other = await w.client(), await w.client()
        for user in ("second", "app", "app", "second"):
            assert (await client.query("SELECT 1")).rows == ["1"]
            await _becomes(w, client, user)
            assert (await client.query("SELECT 2")).rows == ["2"]
            assert (await other.query("SELECT 3")).rows == ["3"]
        assert [each.user for each in seen] == ["app", "second", "app", "app"]
        assert w.context.counters.logins == 0
        await client.leave()
        await other.leave()
        await w.settle()
        assert len(w.witness.ends) == 2, "a session that gives way has not ended"


@pytest.mark.parametrize("begun", [False, True])
async def test_answers_come_first_and_what_was_open_is_rolled_back(
    clock: MockClock, seen: list[Greeter], begun: bool
) -> None:
    """All in one write: requests, the wish, and a request of the new session's."""

    async with world(proxy(TargetGroup(max_backends=1)), codec=ChangingCodec()) as w:
        client = await w.client()
        first = m.query("BEGIN") if begun else m.query("SELECT 1")
        await client.send(first + m.query("SELECT 2") + another("app") + m.query("SELECT 3"))
        replies = [await client.reply() for _ in range(4)]
        assert [each.status for each in replies] == [*("TT" if begun else "II"), "I", "I"]
        assert [each.rows for each in replies] == [[] if begun else ["1"], ["2"], [], ["3"]]
        assert len(seen) == 1
        await client.leave()
        await w.settle()


async def test_who_does_not_say_who_it_is_has_the_time_of_a_login(clock: MockClock, seen: list[Greeter]) -> None:
    async with world(proxy(limits=Limits(login_timeout=5)), codec=ChangingCodec()) as w:
        client, other = await w.client(), await w.client()
        await trio.sleep(100)
        half = m.startup("second", "app", {})[:-4]
        await client.send(m.message(ANOTHER, half))
        began = trio.current_time()
        reply = await client.reply()
        assert (len(reply.errors), reply.status) == (1, "")
        assert 5 <= trio.current_time() - began < 6
        assert (await other.query("SELECT 1")).rows == ["1"]
        assert len(seen) == 1
        await other.leave()
        await w.settle()
        assert w.witness.ends[0].reason == "login took too long"


@pytest.mark.parametrize("how", ["leaves", "garbage", "killed", "stopped"])
async def test_whoever_ends_in_it_leaves_nothing(clock: MockClock, seen: list[Greeter], how: str) -> None:
    async with world(proxy(TargetGroup(max_backends=1)), codec=ChangingCodec()) as w:
        client = await w.client()
        await client.query("BEGIN")
        half = m.startup("second", "app", {})[:-4]
        await client.send(m.message(ANOTHER, half))
        await w.until(lambda: len(seen) == 1)
        assert len(w.context.registry) == 1, "a KILL, or a cancel, would not find it"
        if how == "leaves":
            client.transport.close()
        elif how == "garbage":
            await client.send(b"\xff" * 100)
            assert (await client.reply()).errors
        else:
            seen[0].kill() if how == "killed" else seen[0].stop()
            assert len((await client.reply()).errors) == 1
        await w.settle()
        assert len(w.witness.ends) == 1
        another_one = await w.client()
        assert (await another_one.query("SELECT 1")).rows == ["1"]
        await another_one.leave()
        await w.settle()
