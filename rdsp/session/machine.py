"""The states of a session, as one table. Pure; `splice` and `run` step through it, a test walks it.

Orthogonal facts (transaction status, pins, draining, TLS) are not states; their one coupling is
`rdsp.session.policy.may_release`.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class State(IntEnum):
    """What a session is doing."""

    LOGIN = 0
    """The greeting runs."""
    QUIET = 1
    """Logged in, nothing asked, no backend."""
    WAITING = 2
    """A request is held until a backend is free."""
    BUSY = 3
    """A backend is borrowed and replies are owed."""
    HOLDING = 4
    """A backend is borrowed for a transaction or a pin; nothing is owed."""
    CLOSING = 5
    """Last words are on their way to the client."""
    CLOSED = 6
    """The client's socket is closed."""


class Input(IntEnum):
    """What can happen to a session."""

    LOGGED_IN = 0
    LOGIN_FAILED = 1
    ASKED = 2
    GRANTED = 3
    DENIED = 4
    FREED = 5
    """The request is over and the backend may go back."""
    KEPT = 6
    """The request is over and the backend stays."""
    CLIENT_GONE = 7
    SERVER_GONE = 8
    OVERDUE = 9
    STOP = 10
    FLUSHED = 11
    UNFIT = 12
    """The backend cannot be made like the session: another one is needed."""


S, I = State, Input  # noqa: E741 - the table below is read by its letters

TABLE: Final[dict[tuple[State, Input], State]] = {
    (S.LOGIN, I.LOGGED_IN): S.QUIET,
    (S.LOGIN, I.LOGIN_FAILED): S.CLOSING,
    (S.LOGIN, I.OVERDUE): S.CLOSING,
    (S.LOGIN, I.STOP): S.CLOSING,
    (S.LOGIN, I.CLIENT_GONE): S.CLOSED,
    (S.QUIET, I.ASKED): S.WAITING,
    (S.QUIET, I.OVERDUE): S.CLOSING,
    (S.QUIET, I.STOP): S.CLOSING,
    (S.QUIET, I.CLIENT_GONE): S.CLOSED,
    (S.WAITING, I.GRANTED): S.BUSY,
    (S.WAITING, I.DENIED): S.QUIET,
    (S.WAITING, I.OVERDUE): S.CLOSING,
    (S.WAITING, I.STOP): S.CLOSING,
    (S.WAITING, I.CLIENT_GONE): S.CLOSED,
    (S.BUSY, I.ASKED): S.BUSY,
    (S.BUSY, I.FREED): S.QUIET,
    (S.BUSY, I.UNFIT): S.WAITING,
    (S.BUSY, I.KEPT): S.HOLDING,
    (S.BUSY, I.SERVER_GONE): S.CLOSING,
    (S.BUSY, I.OVERDUE): S.CLOSING,
    (S.BUSY, I.STOP): S.CLOSING,
    (S.BUSY, I.CLIENT_GONE): S.CLOSED,
    (S.HOLDING, I.ASKED): S.BUSY,
    (S.HOLDING, I.FREED): S.QUIET,
    (S.HOLDING, I.SERVER_GONE): S.CLOSING,
    (S.HOLDING, I.OVERDUE): S.CLOSING,
    (S.HOLDING, I.STOP): S.CLOSING,
    (S.HOLDING, I.CLIENT_GONE): S.CLOSED,
    (S.CLOSING, I.FLUSHED): S.CLOSED,
    (S.CLOSING, I.OVERDUE): S.CLOSED,
    (S.CLOSING, I.STOP): S.CLOSING,
    (S.CLOSING, I.CLIENT_GONE): S.CLOSED,
    (S.CLOSING, I.SERVER_GONE): S.CLOSING,
}
"""State and input to next state. What is not in it is a fault of the program."""

HOLDS_BACKEND: Final = frozenset({State.BUSY, State.HOLDING})
"""A backend is held in these states and in no others."""


def advance(state: State, event: Input) -> State:
    """The next state. Raises `KeyError` for an input that the state does not know: a fault of the program."""
    return TABLE[state, event]
