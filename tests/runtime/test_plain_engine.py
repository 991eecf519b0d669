"""An engine in plain Python runs in the runtime, also where that and the class it derives from are compiled."""

from __future__ import annotations

import inspect

import pytest
from trio.testing import MockClock

from rdsp.config.model import TargetGroup
from rdsp_codecs.choice import CHOICE, COMPILED
from rdsp_codecs.problems import Problem
from rdsp_codecs.relaying import Relay
from tests.runtime.plain_engine import PlainCodec, PlainRelay
from tests.runtime.world import proxy, world

OFFERED = [name for name in vars(PlainRelay) if not name.startswith("_") and name in vars(Relay)]
LEFT_OUT = [
    "alias", "answer_alone", "answers_us", "ear_key", "endless", "go_on", "interrupt", "kept", "lost_ear", "mark", "needs_ear", "nudged", "reclaimed",
    "resettable", "unheard", "variant",
]  # fmt: skip
OF_FLAGS = ["greet_anew", "killed", "victim"]
"""Asked of those alone that have said `ANEW` or `KILL`."""


def test_it_is_plain_python_whatever_it_derives_from() -> None:
    assert inspect.isfunction(PlainRelay.from_client)
    assert inspect.isfunction(vars(Relay)["from_client"]) == (CHOICE.name != COMPILED)


def test_it_has_all_that_a_relay_must_have() -> None:
    lacking = {name for name in vars(Relay) if not name.startswith("_") and name not in vars(PlainRelay)}
    attributes = {
        "contended", "keepsake", "lingers", "pins", "refused", "to_client", "to_server", "transaction", "unharmed",
    }  # fmt: skip
    assert lacking == attributes | set(LEFT_OUT) | set(OF_FLAGS)


class Lacking(Relay):
    """Derived, and nothing written."""


@pytest.mark.parametrize("name", [*OFFERED, *OF_FLAGS])
def test_what_an_engine_must_have_and_leaves_out_says_so(name: str) -> None:
    taken = {
        "greet_anew": None,
        "killed": None,
        "from_client": b"",
        "from_server": b"",
        "attached": None,
        "abort": b"",
        "refusal": b"",
    }
    arguments = (taken[name],) if name in taken else ()
    with pytest.raises(NotImplementedError):
        getattr(Lacking(), name)(*arguments)  # a property raises before it is called


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_an_engine_may_leave_out_is_not_there(name: str) -> None:
    """But that a reset undoes all, which holds where nothing pins."""
    found = getattr(Lacking(), name)
    assert bool(found() if callable(found) else found) is (name == "resettable")


async def test_its_sessions_share_backends_at_the_ends_of_transactions(clock: MockClock) -> None:
    codec = PlainCodec()
    async with world(proxy(TargetGroup(max_backends=1)), codec=codec) as w:
        one, other = await w.client(), await w.client()
        for client in (one, other, one, other):
            assert (await client.query("SELECT 1")).rows == ["1"]
        assert len(w.database.live) == 1

        assert (await one.query("BEGIN")).status == "T"
        await other.send(b"Q\0\0\0\x0dSELECT 2\0")
        await w.until(lambda: w.statistics().waiting == 1)
        assert (await one.query("SELECT 3")).rows == ["3"]
        assert (await one.query("COMMIT")).status == "I"
        assert (await other.reply()).rows == ["2"]

        assert codec.chunks >= 8, "another relay was in between"
        await one.leave()
        await other.leave()
        await w.settle()


async def test_who_gets_no_backend_is_told_so_by_it_and_goes_on(clock: MockClock) -> None:
    settings = proxy(TargetGroup(max_backends=1, connection_borrow_timeout=1))
    async with world(settings, codec=PlainCodec()) as w:
        holder, client = await w.client(), await w.client()
        await holder.query("BEGIN")
        refused = await client.query("SELECT 1")
        assert (len(refused.errors), refused.status) == (1, "I")
        await holder.query("COMMIT")
        assert (await client.query("SELECT 1")).rows == ["1"]
        await holder.leave()
        await client.leave()
        await w.settle()


async def test_its_fault_costs_its_own_session_alone(clock: MockClock) -> None:
    async with world(codec=PlainCodec()) as w:
        client, other = await w.client(), await w.client()
        await client.send(b"S\0\0\0\4" + b"Q\0\0\0\x0dSELECT 2\0")
        assert (await client.reply()).status == ""
        assert (await other.query("SELECT 1")).rows == ["1"]
        client.transport.close()
        await other.leave()
        await w.settle()


class Numbered(PlainRelay):
    """It cannot say anything now: its refusals have a place, and this is none."""

    def may_speak(self) -> bool:
        return False

    def refusal(self, problem: Problem | bytes) -> bytes:
        raise AssertionError(problem)


async def test_it_is_not_asked_for_last_words_where_it_may_not_speak(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec = PlainCodec()
    monkeypatch.setattr(codec, "relay", lambda who, policy, shared: Numbered(codec))
    async with world(codec=codec) as w:
        idle, busy = await w.client(), await w.client()
        await busy.send(b"Q\0\0\0\x0dSLEEP 99\0")
        await w.until(lambda: w.statistics().borrowed == 1)
        w.database.kill_all()
        assert (await busy.reply()).status == ""
        await idle.send(b"S\0\0\0\4" + b"Q\0\0\0\x0dSELECT 2\0")
        assert (await idle.reply()).errors == []
        assert w.witness.internal == []
        for client in (idle, busy):
            client.transport.close()
        await w.settle()
