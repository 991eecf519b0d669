"""Clients that leave in the middle of a request: its backend is kept where the request soon ends, and never leaks."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from rdsp.config.model import TargetGroup
from rdsp.net.switchboard import Board
from rdsp.session.aftermath import MOST, SECONDS, Aftermath
from rdsp.session.context import SessionContext
from rdsp.session.splice import Splice
from rdsp_codecs.postgres import messages as m
from tests.runtime.world import EXECUTE, Client, World, bind, parse, proxy, world

ONE = TargetGroup(max_backends=1)
SHORT, LONG = f"SLEEP {SECONDS / 2}", f"SLEEP {SECONDS * 150}"


def _logins(w: World) -> int:
    return sum(connection.logged_in for connection in w.database.all)


def _cancelled(w: World) -> list[str]:
    return [text for connection in w.database.all for text in connection.cancels if text]


async def _leaves_behind(w: World, *messages: bytes, by: Callable[[Client], None]) -> Client:
    """A client says this, and is gone while the first of it runs."""
    client = await w.client()
    await client.send(b"".join(messages))
    await trio.sleep(SECONDS / 10)
    by(client)
    return client


def _closes(client: Client) -> None:
    client.transport.close()


def _resets(client: Client) -> None:
    client.transport.reset()


async def _is_well(w: World) -> None:
    """The next client sees nothing of what was before, and all is whole."""
    async with trio.open_nursery() as nursery:
        for _ in range(2):

            async def comes() -> None:
                client = await w.client()
                assert (await client.query("SHOWX")).rows == [""]
                assert (await client.prepare_and_run("s", "SELECT $1", "1")).errors == []
                assert (await client.query("SELECT 2")).rows == ["2"]
                await client.leave()

            nursery.start_soon(comes)
    await w.settle()


def _q(text: str) -> bytes:
    return m.query(text)


KEPT = {
    "a query": (_q(SHORT),),
    "several": (_q(SHORT), _q("SELECT 1"), _q("SELECT 2"), _q("SELECT 3")),
    "one that fails": (_q(SHORT), _q("FAIL"), _q("SELECT 1")),
    "an extended query": (parse("s", SHORT), bind("s"), EXECUTE, m.SYNC),
    "several batches": (parse("", SHORT), bind(""), EXECUTE, m.SYNC, parse("s", "SELECT 1"), m.SYNC, bind("s"), m.SYNC),
    "a transaction": (_q("BEGIN"), _q(SHORT)),
    "a failed transaction": (_q("BEGIN"), _q(SHORT), _q("FAIL")),
    "a setting": (_q(SHORT), _q("SET x")),
    "a good-bye": (_q(SHORT), m.TERMINATE),
    "half a message that was held back": (_q(SHORT), _q("SELECT 1")[:7]),
    "a large answer": (_q(SHORT), _q(f"BIG {MOST // 2}")),
}


@pytest.mark.parametrize("leaves", [_closes, _resets])
@pytest.mark.parametrize("messages", KEPT.values(), ids=KEPT.keys())
async def test_a_request_that_soon_ends_costs_no_backend(
    messages: tuple[bytes, ...], leaves: Callable[[Client], None], clock: MockClock
) -> None:
    async with world(proxy(ONE)) as w:
        await _leaves_behind(w, *messages, by=leaves)
        await _is_well(w)

        assert _logins(w) == 1
        assert not _cancelled(w)
        assert not w.witness.troubles


CLOSED = {
    "one that takes long": (_q(LONG),),
    "several that take long together": (_q(SHORT),) * 3,
    "a setting in a transaction": (_q(SHORT), _q("BEGIN"), _q("SET x")),
    "one that takes long in a transaction": (_q("BEGIN"), _q(LONG)),
    "no Sync": (parse("", SHORT), bind(""), EXECUTE, m.FLUSH),
    "half a message": (_q("COPYIN 100"), m.message(b"d", b"x" * 10), m.message(b"d", b"x" * 10)[:9]),
    "COPY data without an end": (_q("COPYIN 100"), m.message(b"d", b"x" * 10)),
    "an answer that is too large": (_q(SHORT), _q(f"BIG {MOST * 4}")),
}


@pytest.mark.parametrize("leaves", [_closes, _resets])
@pytest.mark.parametrize("messages", CLOSED.values(), ids=CLOSED.keys())
async def test_any_other_is_cancelled_and_its_backend_closed(
    messages: tuple[bytes, ...], leaves: Callable[[Client], None], clock: MockClock
) -> None:
    async with world(proxy(ONE)) as w:
        await _leaves_behind(w, *messages, by=leaves)
        await _is_well(w)

        assert _logins(w) == 2
        assert not w.witness.troubles


async def test_it_is_cancelled_when_its_time_is_over_and_not_earlier(clock: MockClock) -> None:
    async with world(proxy(ONE)) as w:
        await _leaves_behind(w, _q(LONG), by=_closes)
        left = trio.current_time()
        await w.until(lambda: _cancelled(w))
        assert SECONDS <= trio.current_time() - left < SECONDS * 2
        assert _cancelled(w) == [LONG]
        await _is_well(w)


async def test_whoever_waits_gets_the_backend_when_the_request_is_over(clock: MockClock) -> None:
    async with world(proxy(ONE)) as w:
        other = await w.client()
        await _leaves_behind(w, _q(SHORT), by=_closes)
        assert (await other.query("SELECT 1")).rows == ["1"]
        assert _logins(w) == 1
        await other.leave()
        await w.settle()


async def test_requests_that_no_server_was_sent_are_not_run_for_nobody(clock: MockClock) -> None:
    """Behind a setting the server is asked first; what is held back meanwhile waits for a backend in vain."""
    async with world(proxy(ONE)) as w:
        client = await w.client()
        await client.query("SET x")
        other = await w.client()
        await other.query("SHOWX")
        await client.send(_q(SHORT) + _q("SELECT 1") + _q("SELECT 2"))
        await trio.sleep(0.0015)
        client.transport.close()
        assert (await other.query("SHOWX")).rows == [""]
        await other.leave()
        await _is_well(w)
        assert _logins(w) == 1


async def test_a_server_that_dies_meanwhile_is_replaced(clock: MockClock) -> None:
    async with world(proxy(ONE)) as w:
        await _leaves_behind(w, _q(SHORT), _q("DIE"), by=_closes)
        await _is_well(w)
        assert _logins(w) == 2
        assert any("the server closed it while it was borrowed" in line for line in w.witness.pool)


async def test_a_pinned_session_keeps_nothing_for_others(clock: MockClock) -> None:
    async with world(proxy(ONE)) as w:
        await _leaves_behind(w, _q(SHORT), _q("SELECT pg_advisory_lock(1)"), _q("LOAD 'x'"), by=_closes)
        await _is_well(w)
        assert _logins(w) == 2


async def test_clients_that_ask_and_leave_in_a_loop_cost_no_logins(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=3))) as w:

        async def loops() -> None:
            for _ in range(30):
                client = await w.client()
                await client.send(_q("SELECT 1") * 5)
                await trio.sleep(w.database.service_time / 2)
                client.transport.close()

        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(loops)
        await _is_well(w)
        assert _logins(w) <= 3
        assert w.database.stray_cancels == 0
        assert not _cancelled(w)


@pytest.mark.parametrize("what", ["the time is not kept", "no turn can be asked for"])
async def test_a_fault_on_the_way_to_it_keeps_no_backend(
    what: str, clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until what runs has been handed over, it is the session's, whose end gives its backend back."""
    faults: list[str] = []

    class Faulty(Board):
        def again(self, *_: object) -> None:
            faults.append(what)
            raise ArithmeticError(what)

        call = again

    def falls(context: SessionContext, splice: Splice) -> None:
        with monkeypatch.context() as patch:
            if what == "the time is not kept":
                context = cast("SessionContext", SimpleNamespace(errands=Faulty(), board=context.board))
            else:
                patch.setattr(splice, "_board", Faulty())
            Aftermath(context, splice)

    monkeypatch.setattr("rdsp.session.run.Aftermath", falls)
    async with world(proxy(ONE)) as w:
        await _leaves_behind(w, _q(SHORT), by=_closes)
        await w.until(lambda: bool(faults))
        assert what in w.witness.internal[0]
        w.witness.ends.clear()
        await _is_well(w)
        assert len(faults) == 1
        assert _logins(w) == 2
