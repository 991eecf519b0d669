"""The small parts of a session: the table of states, the policy, the bell, the registry."""

from __future__ import annotations

import itertools

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from rdsp.session.bell import Bell
from rdsp.session.machine import HOLDS_BACKEND, TABLE, Input, State, advance
from rdsp.session.policy import may_release
from rdsp.session.registry import Registry
from rdsp_codecs.pins import PinBoard, PinReason
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.transaction import Transaction

LIVE = [state for state in State if state is not State.CLOSED]


def test_every_state_can_be_reached_from_login() -> None:
    reached, todo = {State.LOGIN}, [State.LOGIN]
    while todo:
        state = todo.pop()
        for (origin, _), target in TABLE.items():
            if origin is state and target not in reached:
                reached.add(target)
                todo.append(target)
    assert reached == set(State)


def test_from_every_live_state_a_session_can_end() -> None:
    for state in LIVE:
        ends = {target for (origin, _), target in TABLE.items() if origin is state}
        assert ends & {State.CLOSING, State.CLOSED}, state


@pytest.mark.parametrize("state", LIVE)
def test_in_every_live_state_a_client_that_is_gone_ends_the_session(state: State) -> None:
    assert advance(state, Input.CLIENT_GONE) is State.CLOSED


@pytest.mark.parametrize("state", LIVE)
def test_in_every_live_state_a_stop_is_understood(state: State) -> None:
    assert advance(state, Input.STOP) is State.CLOSING


def test_nothing_leads_out_of_closed() -> None:
    assert not [key for key in TABLE if key[0] is State.CLOSED]


def test_a_backend_comes_by_a_grant_and_goes_when_freed_or_at_the_end() -> None:
    """Backends are held in BUSY and HOLDING and nowhere else."""
    assert {State.BUSY, State.HOLDING} == HOLDS_BACKEND
    for (state, event), target in TABLE.items():
        if state not in HOLDS_BACKEND and target in HOLDS_BACKEND:
            assert event is Input.GRANTED
        if state in HOLDS_BACKEND and target not in HOLDS_BACKEND:
            assert event in (Input.FREED, Input.UNFIT) or target in (State.CLOSING, State.CLOSED)
        if event is Input.SERVER_GONE:
            assert state in HOLDS_BACKEND or state is State.CLOSING


def test_what_the_table_does_not_know_is_a_fault() -> None:
    with pytest.raises(KeyError):
        advance(State.QUIET, Input.GRANTED)


@pytest.mark.parametrize(
    ("transaction", "pinned", "owed"), list(itertools.product(Transaction, [False, True], [False, True]))
)
def test_a_backend_is_free_outside_of_transactions_with_no_pin_and_nothing_owed(
    transaction: Transaction, pinned: bool, owed: bool
) -> None:
    pins = PinBoard()
    if pinned:
        pins.add(PinReason.LISTEN, "")
    free = transaction is Transaction.NONE and not pinned and not owed
    assert may_release(transaction, pins, owed=owed) is free


async def test_a_ring_before_the_wait_is_kept_and_several_count_as_one(clock: MockClock) -> None:
    bell = Bell()
    bell.ring()
    bell.ring()
    await bell.wait()
    with trio.move_on_after(1) as scope:
        await bell.wait()
    assert scope.cancelled_caught


async def test_a_ring_wakes_who_waits(clock: MockClock, nursery: trio.Nursery) -> None:
    bell, woken = Bell(), []

    async def wait() -> None:
        await bell.wait()
        woken.append(trio.current_time())

    nursery.start_soon(wait)
    await wait_all_tasks_blocked()
    bell.ring()
    await wait_all_tasks_blocked()
    assert woken == [0]


async def test_a_ring_in_the_moment_of_a_cancellation_is_not_lost(clock: MockClock) -> None:
    bell = Bell()
    with trio.CancelScope() as scope:
        scope.cancel()
        bell.ring()
        await bell.wait()
    assert scope.cancelled_caught
    with trio.fail_after(1):
        await bell.wait()
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:

            async def both() -> None:
                await wait_all_tasks_blocked()
                scope.cancel()
                bell.ring()

            nursery.start_soon(both)
            await bell.wait()
    with trio.fail_after(1):
        await bell.wait()


class _Session:
    def __init__(self, user: str = "app", alias: int = 0) -> None:
        self.user = user
        self.alias = alias

    def cancel(self) -> None: ...

    def kill(self) -> None: ...
    def stop(self) -> None: ...
    def settings_changed(self) -> None: ...


def test_the_registry_has_sessions_for_others_of_the_same_user_alone() -> None:
    registry, session = Registry(), _Session("app")
    number = registry.new_id()
    registry.add(number, registry.new_secret(), session)
    assert registry.of_user(number, "app") is session
    assert registry.of_user(number, "other") == Problem(ProblemCode.SESSION_OF_ANOTHER, str(number), fatal=False)
    assert registry.of_user(number + 1, "app") == Problem(ProblemCode.NO_SUCH_SESSION, str(number + 1), fatal=False)
    registry.remove(number)
    assert registry.of_user(number, "app") == Problem(ProblemCode.NO_SUCH_SESSION, str(number), fatal=False)


def test_a_session_has_another_name_where_nobody_else_has_it() -> None:
    registry = Registry()
    one, two, three = _Session("app", 12), _Session("app", 13), _Session("other", 13)
    for session in (one, two, three, _Session("app")):
        registry.add(registry.new_id(), b"", session)
    assert registry.of_user(12, "app") is one
    assert registry.of_user(12, "other") == Problem(ProblemCode.SESSION_OF_ANOTHER, "12", fatal=False)
    for number in (0, 13, 14):
        assert registry.of_user(number, "app") == Problem(ProblemCode.NO_SUCH_SESSION, str(number), fatal=False)


def test_the_registry_finds_a_session_only_with_its_whole_key() -> None:
    registry, session = Registry(), _Session()
    number, secret = registry.new_id(), registry.new_secret()
    registry.add(number, secret, session)
    assert registry.find(number, secret) is session
    assert registry.find(number, bytes(4)) is None
    assert registry.find(number, secret + b"\0") is None
    assert registry.find(number + 1, secret) is None
    assert list(registry) == [session]
    registry.remove(number)
    registry.remove(number)
    assert registry.find(number, secret) is None
    assert len(registry) == 0


@pytest.mark.parametrize("worker", [0, 1, 63])
def test_ids_are_no_servers_positive_for_signed_readers_and_carry_the_worker(worker: int) -> None:
    registry = Registry(worker)
    for _ in range(100):
        number = registry.new_id()
        assert 1 << 30 < number < 1 << 31
        assert number >> 24 == 64 + worker


def test_ids_of_connected_sessions_are_not_given_out_again() -> None:
    registry = Registry()
    registry._serial = (1 << 24) - 3  # just before it begins anew
    ours = 1 << 30
    registry.add(ours + 2, b"1234", _Session())
    numbers = [registry.new_id() - ours for _ in range(4)]
    assert numbers == [(1 << 24) - 2, (1 << 24) - 1, 1, 3]
