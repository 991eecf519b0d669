"""Where a session's transaction stands, as SQL Server counts it, and the tokens by which it tells. Pure.

What SQL Server tells of transactions is the same for T-SQL and for transaction manager requests: an ENVCHANGE where the
outermost one begins or ends, and nothing of inner levels and of savepoints ([MS-TDS] 2.2.7.9, 2.2.6.9).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from enum import Enum
from typing import Final

import attrs

from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver.headers import NO_TRANSACTION
from rdsp_codecs.sqlserver.tokens import Note, env_change

_NO_COMMIT: Final = (3902, "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.")
_NO_ROLLBACK: Final = (3903, "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION.")
_NO_SAVE: Final = (628, "Cannot issue SAVE TRANSACTION when there is no active transaction.")
_NO_SUCH_NAME: Final = 6401
_UNCOMMITTABLE: Final = (
    3930,
    "The current transaction cannot be committed and cannot support operations that write to the log file. Roll back "
    "the transaction.",
)
_NO_SAVEPOINT: Final = (
    3931,
    "The current transaction cannot be committed and cannot be rolled back to a savepoint. Roll back the entire "
    "transaction.",
)
_DOOMED_AT_THE_END: Final = (
    3998,
    "Uncommittable transaction is detected at the end of the batch. The transaction is rolled back.",
)
_LONGEST_NAME: Final = 32


class Action(Enum):
    """What becomes of the data."""

    NOTHING = "nothing"
    BEGIN = "begin"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    SAVE = "save"
    ROLLBACK_TO = "rollback to"


@attrs.frozen
class Outcome:
    """What a statement about transactions comes to.

    Attributes:
        action: to be done with the data; name: of its savepoint.
        tokens: what the client is told besides, in front of the DONE.
        error: why nothing was done.
    """

    action: Action = Action.NOTHING
    name: str = ""
    tokens: bytes = b""
    error: Note | None = None


def descriptors() -> Iterator[bytes]:
    """Those of one server: none comes twice, and none is zeros."""
    for number in itertools.count(0x3A00000001):
        yield number.to_bytes(8, "little")


class Transactions:
    """One session's.

    Invariant: `descriptor` is zeros exactly where `count` is 0; then there are no savepoints, and nothing is doomed.

    Attributes:
        count: @@TRANCOUNT.
        descriptor: eight bytes, which requests name in their headers.
        implicit: IMPLICIT_TRANSACTIONS is on.
        doomed: an error has left a transaction that can only be rolled back (XACT_STATE() is -1).

    Args:
        descriptors: the server's.
    """

    def __init__(self, descriptors: Iterator[bytes]) -> None:
        self._descriptors = descriptors
        self._name = ""
        self._savepoints: list[str] = []
        self.count = 0
        self.descriptor = NO_TRANSACTION
        self.implicit = False
        self.doomed = False

    def begin(self, name: str = "") -> Outcome:
        """BEGIN TRANSACTION, or TM_BEGIN_XACT. Only the outermost one's name counts."""
        self.count += 1
        if self.count > 1:
            return Outcome()
        self.descriptor, self._name = next(self._descriptors), name[:_LONGEST_NAME]
        return Outcome(Action.BEGIN, tokens=env_change(k.ENV_BEGIN_TRANSACTION, self.descriptor, b""))

    def touch(self) -> Outcome:
        """A statement comes that begins a transaction where IMPLICIT_TRANSACTIONS is on, and none is open."""
        return self.begin() if self.implicit and not self.count else Outcome()

    def commit(self) -> Outcome:
        """COMMIT, or TM_COMMIT_XACT: one level. A name that stands behind it is not looked at."""
        if not self.count:
            return _refused(_NO_COMMIT)
        if self.doomed:
            return _refused(_UNCOMMITTABLE)
        self.count -= 1
        return Outcome() if self.count else self._ended(Action.COMMIT, k.ENV_COMMIT_TRANSACTION)

    def rollback(self, name: str = "") -> Outcome:
        """ROLLBACK, or TM_ROLLBACK_XACT: all levels, or up to the savepoint of that name."""
        if not self.count:
            return _refused(_NO_ROLLBACK)
        name = name[:_LONGEST_NAME]
        if not name or (name == self._name and name not in self._savepoints):
            return self._ended(Action.ROLLBACK, k.ENV_ROLLBACK_TRANSACTION)
        if name not in self._savepoints:
            text = f"Cannot roll back {name}. No transaction or savepoint of that name was found."
            return _refused((_NO_SUCH_NAME, text))
        if self.doomed:
            return _refused(_NO_SAVEPOINT)
        # The last one of that name; it stays.
        last = len(self._savepoints) - self._savepoints[::-1].index(name)
        del self._savepoints[last:]
        return Outcome(Action.ROLLBACK_TO, name)

    def save(self, name: str) -> Outcome:
        """SAVE TRANSACTION, or TM_SAVE_XACT. One name may be given several times."""
        if not self.count:
            return _refused(_NO_SAVE)
        if self.doomed:
            return _refused(_UNCOMMITTABLE)
        self._savepoints.append(name[:_LONGEST_NAME])
        return Outcome(Action.SAVE, self._savepoints[-1])

    def failed(self, *, aborts: bool, caught: bool = False) -> Outcome:
        """A statement has failed.

        Args:
            aborts: by XACT_ABORT, or by an error that ends the transaction whatever is set.
            caught: within TRY: such a transaction stays, and can only be rolled back.
        """
        if not self.count or not aborts:
            return Outcome()
        if caught:
            self.doomed = True
            return Outcome()
        return self._ended(Action.ROLLBACK, k.ENV_ROLLBACK_TRANSACTION)

    def batch_ends(self) -> Outcome:
        """A doomed transaction does not outlive its batch."""
        if not self.doomed:
            return Outcome()
        ended = self._ended(Action.ROLLBACK, k.ENV_ROLLBACK_TRANSACTION)
        return attrs.evolve(ended, error=_note(_DOOMED_AT_THE_END))

    def reset(self, *, keep: bool = False) -> Outcome:
        """RESETCONNECTION: what is open is rolled back; `keep`: RESETCONNECTIONSKIPTRAN."""
        self.implicit = False
        if keep or not self.count:
            return Outcome()
        return self._ended(Action.ROLLBACK, k.ENV_ROLLBACK_TRANSACTION)

    def _ended(self, action: Action, kind: int) -> Outcome:
        ended, self.descriptor = self.descriptor, NO_TRANSACTION
        self.count, self.doomed, self._name = 0, False, ""
        self._savepoints.clear()
        return Outcome(action, tokens=env_change(kind, b"", ended))


def _refused(why: tuple[int, str]) -> Outcome:
    return Outcome(error=_note(why))


def _note(why: tuple[int, str]) -> Note:
    number, text = why
    return Note(number, 1, 16, text)
