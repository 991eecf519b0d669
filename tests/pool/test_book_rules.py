"""The pool's book: a rule machine for all cases together. `test_book` has single ones."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rdsp.pool.book import Book, BookLimits, Close, Decision, Fail, Grant, Member, MemberState, Open, OpenFailure
from rdsp_codecs.relaying import Keepsake
from tests.pool.test_book import Waiter

KEYS = st.sampled_from("abc")


class BookMachine(RuleBasedStateMachine):
    """Plays the runtime: carries out every decision, late and in any order, and checks what must always hold."""

    @initialize(limit=st.integers(1, 4), opens=st.integers(1, 3), idle=st.integers(0, 4))
    def begin(self, limit: int, opens: int, idle: int) -> None:
        self.now = 0.0
        self.limit = limit
        self.book = Book(
            BookLimits(
                limit=limit, max_idle=idle, max_simultaneous_opens=opens, max_waiters=6, wait_timeout=30.0,
                idle_timeout=20.0, lifetime=60.0,
            )
        )  # fmt: skip
        self.waiting: list[Waiter] = []
        self.answered: set[int] = set()
        self.opening: list[Member] = []
        self.closing: list[Member] = []
        self.borrowed: list[Member] = []
        self.numbers = 0
        self.total = 0
        self.opens = opens
        self.failed_at: dict[str, float] = {}
        self.busy = False
        self.keepsakes: list[Keepsake] = []
        self.left: dict[Keepsake, Member] = {}
        """Where each was left, and nobody has been since."""

    def carry_out(self, decisions: Any) -> None:
        for decision in decisions:
            self.apply(decision)

    def apply(self, decision: Decision) -> None:
        match decision:
            case Grant(waiter, member):
                self.answer(waiter)
                assert member.key == waiter.key
                assert member.state is MemberState.BORROWED
                assert member not in self.borrowed
                self.borrowed.append(member)
                self.left = {keepsake: at for keepsake, at in self.left.items() if at is not member}
            case Open(member):
                assert member.state is MemberState.OPENING
                if member.key in self.failed_at:
                    assert self.now >= self.failed_at[member.key] + self.book.limits.backoff_first
                self.opening.append(member)
            case Close(member, _):
                assert member.state is MemberState.CLOSING
                assert member not in self.borrowed
                self.closing.append(member)
            case Fail(waiter, _):
                self.answer(waiter)

    def answer(self, waiter: Waiter) -> None:
        assert waiter.number not in self.answered
        assert waiter in self.waiting
        self.answered.add(waiter.number)
        self.waiting.remove(waiter)

    @rule(key=KEYS, first=st.booleans(), mine=st.integers(0, 3), lingers=st.booleans())
    def ask(self, key: str, first: bool, mine: int, lingers: bool) -> None:
        keepsake = self.keepsakes[mine] if mine < len(self.keepsakes) else None
        own = None if keepsake is None else self.left.get(keepsake)
        there = own is not None and own.state is MemberState.IDLE and own.key == key
        member = self.book.take(key, self.now, None, keepsake)
        if there:
            assert member is own
        if member is not None:
            if member.keepsake is not None and member.keepsake.worth and not there:
                free = [m for m in self.book.members() if m.state is MemberState.IDLE and m.key == key]
                assert all(m.keepsake is not None and m.keepsake.worth for m in free)
                assert all(m.idle_since >= member.idle_since for m in free)
            self.left = {each: at for each, at in self.left.items() if at is not member}
            self.borrowed.append(member)
            return
        self.numbers += 1
        waiter = Waiter(key, self.numbers)
        self.waiting.append(waiter)
        promised = lingers and any(member.key == key for member in self.borrowed)
        self.carry_out(self.book.wait(key, waiter, self.now, 40.0 if first else 0.0, promised=promised))

    def promised(self, key: str) -> int:
        """How many members of the key are believed to be about to come back."""
        return sum(each == key and self.now < until for each, until in self.book._promised)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(waiter)
        self.carry_out(self.book.left(waiter, self.now))

    @precondition(lambda self: self.borrowed)
    @rule(data=st.data(), reset=st.booleans(), leaves=st.sampled_from([None, False, True]))
    def give_back(self, data: st.DataObject, reset: bool, leaves: bool | None) -> None:
        member = data.draw(st.sampled_from(self.borrowed))
        self.borrowed.remove(member)
        self.left = {keepsake: at for keepsake, at in self.left.items() if at is not member}
        member.keepsake = None
        if leaves is not None:
            member.keepsake = keepsake = Keepsake()
            keepsake.worth = leaves
            self.keepsakes = [keepsake, *self.keepsakes[:3]]
            self.left[keepsake] = member
        if reset:
            self.carry_out(self.book.resetting(member, self.now))
        else:
            waiter = self.book.hand_over(member, self.now)
            if waiter is not None:
                self.carry_out([Grant(waiter, member)])
                return
        self.carry_out(self.book.give_back(member, self.now))

    @rule(every=st.floats(0.0, 20.0), answers=st.booleans())
    def check(self, every: float, answers: bool) -> None:
        member = self.book.due_for_check(self.now, every)
        if member is None:
            return
        assert member.state is MemberState.RESETTING
        assert self.now - member.idle_since >= every
        if answers:
            self.carry_out(self.book.checked(member, self.now))
        else:
            self.carry_out(self.book.gone(member, self.now))

    @precondition(lambda self: self.keepsakes)
    @rule(data=st.data())
    def a_session_ends(self, data: st.DataObject) -> None:
        keepsake = data.draw(st.sampled_from(self.keepsakes))
        self.keepsakes.remove(keepsake)
        self.left.pop(keepsake, None)
        self.carry_out(self.book.forget(keepsake))
        assert keepsake.place is None

    @precondition(lambda self: self.borrowed)
    @rule(data=st.data(), gently=st.booleans())
    def lose(self, data: st.DataObject, gently: bool) -> None:
        member = data.draw(st.sampled_from(self.borrowed))
        self.borrowed.remove(member)
        if gently:
            self.carry_out(self.book.closing(member, self.now))
            self.closing.append(member)
        else:
            self.carry_out(self.book.gone(member, self.now))

    @precondition(lambda self: self.opening)
    @rule(data=st.data(), outcome=st.sampled_from([None, None, None, *OpenFailure]))
    def finish_opening(self, data: st.DataObject, outcome: OpenFailure | None) -> None:
        member = data.draw(st.sampled_from(self.opening))
        self.opening.remove(member)
        if outcome in (OpenFailure.UNREACHABLE, OpenFailure.REFUSED_KEY):
            self.failed_at.setdefault(member.key, self.now)
        else:
            self.failed_at.pop(member.key, None)
        if outcome is None:
            self.busy = False
            self.carry_out(self.book.opened(member, object(), self.now))
        else:
            self.busy = self.busy or outcome is OpenFailure.REFUSED_BUSY
            self.carry_out(self.book.open_failed(member, self.now, outcome, "refused"))

    @precondition(lambda self: self.closing)
    @rule(data=st.data())
    def finish_closing(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from(self.closing))
        self.closing.remove(member)
        self.carry_out(self.book.gone(member, self.now))

    @rule(seconds=st.floats(0.01, 40.0))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.carry_out(self.book.tick(self.now))

    @rule()
    def the_keeper_wakes(self) -> None:
        deadline = self.book.next_deadline(self.now)
        if deadline is not None:
            self.now = max(self.now, deadline)
            self.carry_out(self.book.tick(self.now))

    @rule(limit=st.integers(1, 5))
    def resize(self, limit: int) -> None:
        self.limit = limit
        self.carry_out(self.book.resize(limit, self.now))

    @rule()
    def everything_comes_to_rest(self) -> None:
        """All that is borrowed comes back and all that opens succeeds: then nobody waits for ever."""
        for _ in range(400):
            if not (self.waiting or self.borrowed or self.opening or self.closing):
                break
            for member in list(self.opening):
                self.opening.remove(member)
                self.failed_at.pop(member.key, None)
                self.busy = False
                self.carry_out(self.book.opened(member, object(), self.now))
            for member in list(self.borrowed):
                self.borrowed.remove(member)
                self.carry_out(self.book.give_back(member, self.now))
            for member in list(self.closing):
                self.closing.remove(member)
                self.carry_out(self.book.gone(member, self.now))
            self.now += 0.3
            self.carry_out(self.book.tick(self.now))
        assert not self.waiting

    def teardown(self) -> None:
        if not hasattr(self, "book"):
            return
        self.carry_out(self.book.drain(self.now))
        for member in list(self.borrowed):
            self.borrowed.remove(member)
            self.carry_out(self.book.give_back(member, self.now))
        for member in list(self.opening):
            self.opening.remove(member)
            self.carry_out(self.book.opened(member, object(), self.now))
        for member in list(self.closing):
            self.closing.remove(member)
            self.carry_out(self.book.gone(member, self.now))
        assert not self.waiting
        assert not list(self.book.members())

    @invariant()
    def nothing_is_forgotten(self) -> None:
        if not hasattr(self, "book"):
            return
        statistics = self.book.statistics()
        assert statistics.opening == len(self.opening)
        assert statistics.borrowed == len(self.borrowed)
        assert statistics.closing == len(self.closing)
        assert statistics.waiting == len(self.waiting)

    @invariant()
    def the_quota_holds(self) -> None:
        if not hasattr(self, "book"):
            return
        total = len(list(self.book.members()))
        # A quota that fell may be exceeded for a while; then the number only falls.
        assert total <= max(self.limit, self.total)
        self.total = total

    @invariant()
    def nobody_waits_while_a_fitting_member_is_idle(self) -> None:
        if not hasattr(self, "book"):
            return
        idle = [member for member in self.book.members() if member.state is MemberState.IDLE]
        free = {member.key for member in idle if member.keepsake is None or not member.keepsake.worth}
        waiting = [waiter.key for waiter in self.waiting]
        assert not free & set(waiting)
        for key in {member.key for member in idle} & set(waiting):
            # For a kept one somebody waits only while another is on its way, and not for long.

            cleaned = [m for m in self.book.members() if m.state is MemberState.RESETTING and m.key == key]
            coming = [member for member in self.opening if member.key == key]
            assert waiting.count(key) <= len(coming) + len(cleaned) + len(self.closing) + self.promised(key)

    @invariant()
    def the_shelves_hold_what_is_idle(self) -> None:
        if not hasattr(self, "book"):
            return
        shelves = self.book._shelves
        idle = {member for member in self.book.members() if member.state is MemberState.IDLE}
        assert len(shelves.all()) == shelves.count == len(idle)
        assert set(shelves.all()) == idle
        assert {member for kept in shelves.kept.values() for member in kept} == {m for m in idle if m.kept}
        assert all(list(kept) == sorted(kept, key=lambda m: m.idle_since) for kept in shelves.kept.values())
        assert all(member.keepsake is not None and member.keepsake.worth for member in idle if member.kept)

    @invariant()
    def a_key_that_fails_holds_up_no_other(self) -> None:
        """While there is room, whoever waits for another key has an open under way."""
        if not hasattr(self, "book") or self.busy:
            return
        statistics = self.book.statistics()
        if len(self.opening) >= self.opens or statistics.limit <= len(list(self.book.members())):
            return
        opening = [member.key for member in self.opening]
        for key in {waiter.key for waiter in self.waiting} - self.failed_at.keys():
            waiting = len([waiter for waiter in self.waiting if waiter.key == key])
            assert opening.count(key) + self.promised(key) >= waiting

    @invariant()
    def the_keeper_knows_when_to_try_again(self) -> None:
        """Somebody waits, and no event will come: then time must."""
        if hasattr(self, "book") and self.waiting and not (self.opening or self.borrowed or self.closing):
            deadline = self.book.next_deadline(self.now)
            assert deadline is not None
            assert deadline <= self.now + self.book.limits.backoff_max

    @invariant()
    def nothing_is_kept_of_keys_that_are_gone(self) -> None:
        if not hasattr(self, "book"):
            return
        known = {member.key for member in self.book.members()} | {waiter.key for waiter in self.waiting}
        assert {key for key in "abc" if self.book.knows(key)} == known
        assert self.book._idle.keys() <= known


TestBook = BookMachine.TestCase
