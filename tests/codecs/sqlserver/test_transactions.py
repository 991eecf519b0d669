"""How the model counts transactions, and what it tells of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import tokens as t
from rdsp_codecs.sqlserver.headers import NO_TRANSACTION
from rdsp_codecs.testing.sqlserver.transactions import Action, Outcome, Transactions, descriptors


def told(outcome: Outcome) -> list[tuple[int, bytes, bytes]]:
    if not outcome.tokens:
        return []
    change = t.read_env_change(outcome.tokens)
    return [(change.kind, change.new, change.old)]


def number(outcome: Outcome) -> int:
    return outcome.error.number if outcome.error is not None else 0


@pytest.fixture
def session() -> Transactions:
    return Transactions(descriptors())


def test_only_the_outermost_level_is_told(session: Transactions) -> None:
    begun = session.begin()
    assert told(begun) == [(k.ENV_BEGIN_TRANSACTION, session.descriptor, b"")]
    first = session.descriptor
    assert session.begin() == Outcome()
    assert session.count == 2
    assert session.commit() == Outcome()
    assert session.descriptor == first
    ended = session.commit()
    assert (ended.action, told(ended)) == (Action.COMMIT, [(k.ENV_COMMIT_TRANSACTION, b"", first)])
    assert session.descriptor == NO_TRANSACTION
    session.begin()
    assert session.descriptor not in (first, NO_TRANSACTION)


def test_a_rollback_ends_all_levels(session: Transactions) -> None:
    session.begin("outer")
    session.begin("inner")
    assert number(session.rollback("inner")) == 6401
    descriptor = session.descriptor
    assert told(session.rollback("outer")) == [(k.ENV_ROLLBACK_TRANSACTION, b"", descriptor)]
    assert session.count == 0


def test_savepoints_are_not_told(session: Transactions) -> None:
    assert number(session.save("s")) == 628
    session.begin()
    for name in ("a", "b", "a", "c"):
        assert session.save(name) == Outcome(Action.SAVE, name)
    assert session.rollback("a") == Outcome(Action.ROLLBACK_TO, "a")
    assert number(session.rollback("c")) == 6401, "it went with the one before it"
    assert session.rollback("b") == Outcome(Action.ROLLBACK_TO, "b")
    assert session.rollback("a") == Outcome(Action.ROLLBACK_TO, "a")
    assert session.count == 1


def test_what_has_no_transaction_is_an_error(session: Transactions) -> None:
    assert number(session.commit()) == 3902
    assert number(session.rollback()) == 3903


def test_implicit_transactions_begin_with_what_touches_something(session: Transactions) -> None:
    assert session.touch() == Outcome()
    session.implicit = True
    assert session.touch().action is Action.BEGIN
    assert session.touch() == Outcome()
    assert session.commit().action is Action.COMMIT
    assert session.touch().action is Action.BEGIN


def test_an_error_ends_it_where_it_aborts(session: Transactions) -> None:
    session.begin()
    assert session.failed(aborts=False) == Outcome()
    assert session.count == 1
    descriptor = session.descriptor
    assert told(session.failed(aborts=True)) == [(k.ENV_ROLLBACK_TRANSACTION, b"", descriptor)]
    assert session.failed(aborts=True) == Outcome()


def test_one_that_is_doomed_can_be_rolled_back_and_nothing_else(session: Transactions) -> None:
    session.begin()
    session.save("s")
    assert session.failed(aborts=True, caught=True) == Outcome()
    assert (session.doomed, session.count) == (True, 1)
    assert number(session.commit()) == 3930
    assert number(session.save("r")) == 3930
    assert number(session.rollback("s")) == 3931
    ended = session.batch_ends()
    assert (number(ended), ended.action, [kind for kind, _, _ in told(ended)]) == (3998, Action.ROLLBACK, [10])
    assert session.batch_ends() == Outcome()


def test_a_reset_rolls_back_unless_it_is_to_skip_that(session: Transactions) -> None:
    session.begin()
    session.implicit = True
    descriptor = session.descriptor
    assert session.reset(keep=True) == Outcome()
    assert (session.descriptor, session.implicit) == (descriptor, False)
    assert told(session.reset()) == [(k.ENV_ROLLBACK_TRANSACTION, b"", descriptor)]


STEPS = ("begin", "commit", "rollback", "save", "to", "fails", "aborts", "caught", "ends", "reset")


@given(st.lists(st.sampled_from(STEPS), max_size=40))
def test_what_is_told_says_where_it_stands(steps: list[str]) -> None:
    """A client that heeds ENVCHANGE alone knows the descriptor, and the data have one transaction at the most."""
    session, known, is_open = Transactions(descriptors()), NO_TRANSACTION, False
    for step in steps:
        before = session.count
        match step:
            case "begin":
                outcome = session.begin("n")
            case "commit":
                outcome = session.commit()
            case "rollback":
                outcome = session.rollback()
            case "save":
                outcome = session.save("s")
            case "to":
                outcome = session.rollback("s")
            case "fails":
                outcome = session.failed(aborts=False)
            case "aborts":
                outcome = session.failed(aborts=True)
            case "caught":
                outcome = session.failed(aborts=True, caught=True)
            case "ends":
                outcome = session.batch_ends()
            case _:
                outcome = session.reset()
        for kind, new, old in told(outcome):
            if kind == k.ENV_BEGIN_TRANSACTION:
                assert known == NO_TRANSACTION
                known = new
            else:
                assert old == known
                known = NO_TRANSACTION
        assert known == session.descriptor
        assert (known == NO_TRANSACTION) is (session.count == 0)
        if outcome.action is Action.BEGIN:
            assert not is_open
            is_open = True
        elif outcome.action in (Action.COMMIT, Action.ROLLBACK):
            assert is_open
            is_open = False
        assert is_open is (session.count > 0)
        if outcome.error is not None and step != "ends":
            assert session.count == before
