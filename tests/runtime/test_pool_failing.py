"""Users, databases and programs that fail while others do not: what each costs the rest."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
import trio
from trio.testing import MockClock

import rdsp.pool.cancelling
from rdsp.config.addresses import check_host
from rdsp.config.model import TargetGroup
from rdsp.config.units import BadValue
from rdsp.pool.opening import Opener
from rdsp_codecs.errors import PeerClosed
from rdsp_codecs.postgres import messages as m
from tests.runtime.fake_connection import Connection
from tests.runtime.world import World, proxy, world


def refuse(w: World, user: str, refusal: tuple[str, str] | None) -> None:
    """The database lets everybody in but one user: it is refused, or hung up on."""

    def why_not(newcomer: Connection) -> tuple[str, str] | None:
        if newcomer.user != user:
            return None
        if refusal is None:
            raise PeerClosed("hung up")
        return refusal

    w.database.why_not = why_not  # type: ignore[method-assign]


async def test_logins_that_the_server_hangs_up_on_hold_up_nobody(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=2))) as w:
        first = await w.client()
        refuse(w, "hopeless", None)
        hopeless = [w.dial() for _ in range(3)]
        for number, client in enumerate(hopeless):
            await client.send(m.startup("hopeless", "app", {"a.b": str(number)}))
        await trio.sleep(10)
        assert w.statistics().open_failures > 6
        began = trio.current_time()
        other = await w.client(user="other")
        assert (await other.query("SELECT 1")).rows == ["1"]
        assert trio.current_time() - began < 0.1
        refuse(w, "nobody", None)
        for client in hopeless:
            assert (await client.reply()).status == "I", "the server lets it in again"
        for client in (first, other, *hopeless):
            await client.leave()
        await w.settle()


@pytest.mark.parametrize("routine", ["InitializeSessionUserId", "CheckMyDatabase"])
async def test_a_connection_limit_of_one_role_or_database_is_no_limit_of_the_server(
    clock: MockClock, routine: str
) -> None:
    async with world(proxy(TargetGroup(max_backends=20))) as w:
        limited = [await w.client(user="limited") for _ in range(2)]
        # The text's end is the next field of the server's message.
        refuse(w, "limited", ("53300", f'too many connections for role "limited"\0R{routine}'))
        await limited[0].query("BEGIN")
        await limited[1].send(m.query(limited[1].mark("SELECT 1")))
        await trio.sleep(1)
        began = trio.current_time()
        others = [await w.client(user="other") for _ in range(15)]
        for client in others:
            assert (await client.query("BEGIN")).status == "T"
        assert trio.current_time() - began < 1
        assert w.statistics().limit == 20
        await limited[0].query("COMMIT")
        assert (await limited[1].reply()).rows == ["1"]
        for client in (*limited, *others):
            await client.leave()
        await w.settle()


async def test_who_logs_in_after_a_quiet_time_may_wait_for_the_whole_borrow_timeout(clock: MockClock) -> None:
    """Nothing has told the board meanwhile how late it is."""
    async with world(proxy(TargetGroup(connection_borrow_timeout=2))) as w:
        w.database.login_delay = 0.3
        clients = []
        for number in range(8):
            clients.append(await w.client(user=f"u{number}"))
            await trio.sleep(4 + number / 10)
        for client in clients:
            await client.leave()
        await w.settle()


async def test_a_backend_that_a_pool_task_gives_back_after_a_quiet_time_is_idle_since_then(clock: MockClock) -> None:
    async with world(proxy(TargetGroup(max_backends=1, backend_idle_timeout=4.0))) as w:
        client = await w.client()
        await client.query("BEGIN")
        w.database.service_time = 4.5  # of the rollback
        client.transport.close()
        await w.until(lambda: w.statistics().idle == 1)
        (member,) = w.pool.book.members()
        assert trio.current_time() - member.idle_since < 0.1
        w.database.service_time = 0.0
        await w.settle()


@pytest.mark.parametrize("zero", [{"connection_borrow_timeout": 0}, {"max_waiters": 0}], ids=str)
async def test_where_nobody_may_wait_logins_do_and_pools_grow(clock: MockClock, zero: dict[str, Any]) -> None:
    async with world(proxy(TargetGroup(max_backends=20, **zero))) as w:
        w.database.login_delay = 0.3
        clients = [await w.client(user=user) for user in ("one", "one", "two")]
        assert (await clients[0].query("BEGIN")).status == "T"
        reply = await clients[1].query("SELECT 1")
        assert (reply.errors, reply.status) in ((["08000"], "I"), (["53300"], "I"))
        await trio.sleep(1)
        assert (await clients[1].query("SELECT 1")).rows == ["1"]
        assert w.statistics().opened == 3
        for client in clients:
            await client.leave()
        await w.settle()


async def test_a_fault_of_the_program_in_opening_is_not_repeated_at_once(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens = []

    async def broken(*_: Any) -> NoReturn:
        opens.append(trio.current_time())
        await trio.sleep(0.01)
        raise UnicodeError("label empty or too long")

    async with world() as w:
        with monkeypatch.context() as patch:
            patch.setattr(Opener, "open", broken)
            client = w.dial()
            await client.send(m.startup("app", "app", {}))
            await trio.sleep(10)
            assert 5 < len(opens) < 12
            assert any("label empty" in text for text in w.witness.troubles)
        assert (await client.reply()).status == "I"
        await client.leave()
        await w.settle()


async def test_a_fault_of_the_program_about_a_borrowed_backend_is_told_to_its_borrower(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> NoReturn:
        raise RuntimeError("a fault of the program")

    async with world(proxy(TargetGroup(max_backends=1))) as w:
        client, other = await w.client(), await w.client()
        await client.send(m.query(client.mark("SLEEP 1000")))
        await trio.sleep(1)
        with monkeypatch.context() as patch:
            patch.setattr(rdsp.pool.cancelling, "cancel_quietly", broken)
            with trio.fail_after(60):
                await w.cancel(client)
                assert (await client.reply()).errors == ["08006"]
        assert (await other.query("SELECT 1")).rows == ["1"]
        client.transport.close()
        await other.leave()
        w.database.kill_all()
        await w.settle()


async def test_a_socket_that_cannot_be_watched_is_closed(clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> NoReturn:
        raise OSError(28, "no more watches")

    async with world() as w:
        w.database.login_delay = 0.1
        client = w.dial()
        await trio.sleep(0.1)
        with monkeypatch.context() as patch:
            patch.setattr(w.board, "watch", full)
            await client.send(m.startup("app", "app", {}))
            other = w.dial()
            await trio.sleep(1)
            assert w.database.logged_in == 0
            assert other.transport.other.closed
        (end,) = w.witness.ends
        assert end.reason == "internal error"
        assert "no more watches" in end.detail
        w.witness.ends.clear()
        assert (await client.reply()).status == "I"
        await client.leave()
        await w.settle()


@pytest.mark.parametrize("name", ["a..b", "a.", "db.example.", "a" * 63, "10.0.0.1", "a_b-c"])
def test_a_host_name_has_labels_that_can_be_looked_up(name: str) -> None:
    if ".." in name:
        with pytest.raises(BadValue):
            check_host(name)
    else:
        assert check_host(name) == name
    for bad in (f"{name}..", f"{name}.{'x' * 64}", f".{name}"):
        with pytest.raises(BadValue):
            check_host(bad)
