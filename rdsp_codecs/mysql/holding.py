"""What a session holds on its backend until it is undone: temporary tables, locks, handlers, statements of text.

A pin stands for each kind as long as one of that kind is there. What a text makes and undoes is known by names
(`effects`); of advisory locks the server is asked. What cannot be named is there until the session ends.

Not seen: GET_LOCK in stored functions, procedures and views. CALL pins anyway, and of tables and variables that
functions make the server says so much as that something has changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from rdsp_codecs.mysql.judging import UNKNOWN, Verdict
from rdsp_codecs.pins import PinBoard, PinReason

KINDS: Final = (
    PinReason.TEMPORARY_TABLE,
    PinReason.TEXT_PREPARED,
    PinReason.OPEN_HANDLER,
    PinReason.TABLE_LOCK,
    PinReason.BACKUP_LOCK,
    PinReason.ADVISORY_LOCK,
)
_TABLE: Final = PinReason.TEMPORARY_TABLE
_LOCK: Final = PinReason.ADVISORY_LOCK
_UNMADE: Final = frozenset({_TABLE, PinReason.TEXT_PREPARED, PinReason.OPEN_HANDLER})
"""Kinds of which one statement that fails has made none."""
_MOST: Final = 1000
"""Names of one kind; more are not told apart."""
Thing = tuple[PinReason, bytes]


class Held:
    """One session's. Invariant: what is there is held; what is held may have gone.

    Attributes:
        doubted: an advisory lock may be there no more: ask `question`.
    """

    def __init__(self) -> None:
        self._names: dict[PinReason, set[bytes]] = {}
        self._statements: dict[bytes, Verdict | None] = {}
        self._schema = b""
        self.doubted = False

    def __bool__(self) -> bool:
        return bool(self._names)

    def begins(self, verdict: Verdict, schema: bytes) -> Verdict:
        """A text is run in this database. Returns what that does: for an EXECUTE what the statement was found to."""
        self._schema = schema
        if verdict.executes is None:
            return verdict
        found = self._statements.get(verdict.executes)
        return UNKNOWN if found is None else replace(found, executes=verdict.executes)

    def ran(self, verdict: Verdict, *, erred: bool) -> None:
        """It is over. Not to be called where surely nothing of it has run."""
        if verdict.renames and _TABLE in self._names:
            self._names[_TABLE] = {b""}
        if not erred:
            for reason, name in verdict.undoes:
                self._drop(reason, self._full(reason, name))
            if verdict.frees_locks:
                self._names.pop(_LOCK, None)
        for reason, name in verdict.makes:
            if not (erred and verdict.alone and reason in _UNMADE):
                self._add(reason, self._full(reason, name))
        if verdict.prepares is not None and not erred and len(self._statements) < _MOST:
            name, what = verdict.prepares
            self._statements[name] = None if what is None else self._here(what)
        elif any(reason is PinReason.TEXT_PREPARED for reason, _ in verdict.makes):
            self._statements.clear()  # one of them may be another one now
        for reason in verdict.pins:
            if reason in KINDS:
                self._add(reason, b"")
        locks = self._names.get(_LOCK)
        touched = verdict.unlocks or any(reason is _LOCK for reason, _ in verdict.makes)
        self.doubted = locks is not None and b"" not in locks and (self.doubted or touched)

    def _here(self, what: Verdict) -> Verdict:
        """The same with names of tables in this database: that is a statement's own from its PREPARE on."""
        makes = frozenset((reason, self._full(reason, name)) for reason, name in what.makes)
        undoes = frozenset((reason, self._full(reason, name)) for reason, name in what.undoes)
        return replace(what, makes=makes, undoes=undoes)

    def _full(self, reason: PinReason, name: bytes) -> bytes:
        """A table's name with its database, as `begins` had that."""
        return self._schema + name if reason is _TABLE and name.startswith(b"\0") else name

    def _add(self, reason: PinReason, name: bytes) -> None:
        names = self._names.setdefault(reason, set())
        names.add(name if len(names) < _MOST and name.isascii() else b"")

    def _drop(self, reason: PinReason, name: bytes) -> None:
        names = self._names.get(reason)
        if names is None or not name:
            return
        names.discard(name)
        if reason is PinReason.TEXT_PREPARED:
            self._statements.pop(name, None)
        if not names:
            del self._names[reason]

    @property
    def question(self) -> bytes:
        """Expressions that are true for each advisory lock that is held, for a SELECT."""
        return b", ".join(b"IS_USED_LOCK(%b) = CONNECTION_ID()" % name for name in sorted(self._names.get(_LOCK, ())))

    def answered(self, values: Sequence[bytes | None]) -> None:
        """What the server said to `question`: one value for each."""
        self.doubted = False
        for name, value in zip(sorted(self._names.get(_LOCK, ())), values, strict=True):
            if value != b"1":
                self._drop(_LOCK, name)

    def forget(self) -> None:
        """The session is as after its login."""
        self._names.clear()
        self._statements.clear()
        self.doubted = False

    def show(self, pins: PinBoard) -> bool:
        """Pin for what is there, and lift pins for what is not. Returns whether one was lifted."""
        lifted = False
        for reason in KINDS:
            if reason in self._names:
                pins.add(reason, "")
            elif pins.lift(reason):
                lifted = True
        return lifted


def only_locks(reasons: Iterable[PinReason]) -> bool:
    """Whether these are the pins that an answer to `Held.question` may lift."""
    return all(reason is _LOCK for reason in reasons)
