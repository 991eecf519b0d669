"""The ledger as a rule machine against a plain list of what a server still has to answer."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rdsp_codecs.errors import WireError
from rdsp_codecs.ledger import Batch, Ledger, Owed

WORK, SYNC, MARK = 1, 2, 3


class Listed(Batch):
    """A batch that is not made late."""

    def __init__(self, entries: list[Owed]) -> None:
        self._entries = entries
        self.asked = 0

    def entries(self) -> list[Owed]:
        self.asked += 1
        assert self.asked == 1
        return list(self._entries)


class LedgerMachine(RuleBasedStateMachine):
    """Owes, settles and skips, and compares with a list."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.model: list[Owed] = []
        self.undone: list[Owed] = []

    @rule(kind=st.sampled_from([WORK, SYNC, MARK]), swallow=st.booleans())
    def owe(self, kind: int, swallow: bool) -> None:
        entry = self.entry(kind, swallow)
        self.ledger.owe(entry)
        self.model.append(entry)

    def entry(self, kind: int, swallow: bool) -> Owed:
        entry = Owed(kind, swallow=swallow, undo=lambda: self.undone.append(entry))
        return entry

    @precondition(lambda self: not self.model)
    @rule(kinds=st.lists(st.sampled_from([WORK, SYNC, MARK]), min_size=1, max_size=5))
    def owe_batch(self, kinds: list[int]) -> None:
        self.model = [self.entry(kind, False) for kind in kinds]
        self.ledger.owe_batch(Listed(self.model))
        assert not self.ledger.empty

    @rule()
    def clear(self) -> None:
        self.ledger.clear()
        self.model = []
        assert self.ledger.empty

    @precondition(lambda self: self.model)
    @rule()
    def settle(self) -> None:
        assert self.ledger.settle() is self.model.pop(0)

    @precondition(lambda self: not self.model)
    @rule()
    def settling_nothing_is_an_error(self) -> None:
        with pytest.raises(WireError):
            self.ledger.settle()

    @rule()
    def skip_until_sync(self) -> None:
        self.undone.clear()
        at = next((i for i, entry in enumerate(self.model) if entry.kind == SYNC), len(self.model))
        skipped, self.model = self.model[:at], self.model[at:]

        assert self.ledger.skip_until(SYNC) == bool(self.model)
        assert self.undone == skipped[::-1]

    @rule()
    def drop_marks_at_the_front(self) -> None:
        self.ledger.drop(MARK)
        while self.model and self.model[0].kind == MARK:
            self.model.pop(0)

    @precondition(lambda self: self.model)
    @rule(kind=st.sampled_from([WORK, SYNC, MARK]))
    def the_oldest_turns_into_another(self, kind: int) -> None:
        self.model[0] = self.entry(kind, False)
        self.ledger.replace_head(self.model[0])

    @rule(kind=st.sampled_from([WORK, SYNC, MARK]))
    def take_the_first_of_a_kind(self, kind: int) -> None:
        self.ledger.take(kind)
        at = next((i for i, entry in enumerate(self.model) if entry.kind == kind), None)
        if at is not None:
            del self.model[at]

    @rule()
    def remove_syncs_before_the_first_mark(self) -> None:
        stop = next((i for i, entry in enumerate(self.model) if i and entry.kind == MARK), len(self.model))
        kept = [entry for i, entry in enumerate(self.model) if not 0 < i < stop or entry.kind != SYNC]

        assert self.ledger.remove(SYNC, before=MARK) == len(self.model) - len(kept)
        self.model = kept

    @invariant()
    def is_empty_when_the_model_is(self) -> None:
        assert self.ledger.empty == (not self.model)

    @rule()
    def agrees_with_the_model(self) -> None:
        assert len(self.ledger) == len(self.model)
        assert self.ledger.head is (self.model[0] if self.model else None)
        assert self.ledger.owed() == self.model
        assert self.ledger.has(SYNC) == any(entry.kind == SYNC for entry in self.model)


TestLedger = LedgerMachine.TestCase
