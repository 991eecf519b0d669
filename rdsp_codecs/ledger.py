"""The replies still owed: a FIFO of what the server has to answer, and what to do with each answer.

Every pooler has one in some form. A relay owes an entry per message that the server will answer, in the order sent;
replies settle entries in that order. Entries for the proxy's own messages are swallowed instead of forwarded. The
ledger knows no engine: kinds are the engine's own constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from mypy_extensions import mypyc_attr

from rdsp_codecs.errors import WireError

_SETTLED: Final = 64
"""From so many settled entries on their places are given back."""


class Owed:
    """One reply that will come. Never changed after it was made.

    Attributes:
        kind: what was asked, the engine's constant.
        swallow: the reply is for the proxy and must not reach the client.
        note: what the relay wants to remember; entries without one are shared, so that owing allocates nothing.
        undo: called when the server will not process the message after all (error recovery), newest entry first.
    """

    __slots__ = ("kind", "note", "swallow", "undo")

    def __init__(
        self, kind: int, *, swallow: bool = False, note: Any = None, undo: Callable[[], None] | None = None
    ) -> None:
        self.kind: Final = kind
        self.swallow: Final = swallow
        self.note: Final = note
        self.undo: Final = undo


@mypyc_attr(allow_interpreted_subclasses=True)
class Batch:
    """Entries of messages that go out together. An abstract class.

    Most such batches are answered as a whole: then nobody looks at the entries, and they need not be made.
    """

    __slots__ = ()

    def entries(self) -> list[Owed]:
        """The entries, in the order sent: a list of the caller's own. Called once at most, while they are owed."""
        raise NotImplementedError


class Ledger:
    """Replies owed, oldest first.

    Invariant: it is empty exactly when every message sent was answered or is known to be skipped; `_entries` is empty
    when nothing is owed, and while a `_batch` is.
    """

    __slots__ = ("_batch", "_entries", "_first")

    def __init__(self) -> None:
        self._entries: list[Owed] = []
        """Behind those that were settled already, up to `_first`."""
        self._first = 0
        self._batch: Batch | None = None
        """What is owed is its entries, which nobody has looked at."""

    def owe(self, entry: Owed) -> None:
        """The message for this entry goes out now."""
        self._listed().append(entry)

    def owe_batch(self, batch: Batch) -> None:
        """The messages of the batch go out now; nothing else is owed. It may not change before it is answered."""
        self._batch = batch

    def _listed(self) -> list[Owed]:
        """The entries, one by one."""
        if self._batch is not None:
            self._entries, self._batch = self._batch.entries(), None
        return self._entries

    def __len__(self) -> int:
        return len(self._listed()) - self._first

    @property
    def empty(self) -> bool:
        """Nothing is owed."""
        return self._batch is None and not self._entries

    @property
    def head(self) -> Owed | None:
        """The oldest entry."""
        entries = self._listed()
        return entries[self._first] if entries else None

    def settle(self) -> Owed:
        """The oldest entry's reply came. Raises `WireError` when nothing was owed."""
        entries = self._listed()
        if not entries:
            msg = "a reply came that nobody asked for"
            raise WireError(msg)
        entry = entries[self._first]
        self._forget()
        return entry

    def _forget(self) -> None:
        """The oldest entry is settled. Each is moved once at most for every one that is forgotten."""
        self._first += 1
        if self._first == len(self._entries):
            self.clear()
        elif self._first >= _SETTLED and self._first * 2 >= len(self._entries):
            del self._entries[: self._first]
            self._first = 0

    def clear(self) -> None:
        """All that is owed has been answered."""
        self._batch = None
        if self._entries:
            self._entries.clear()
            self._first = 0

    def owed(self) -> list[Owed]:
        """All entries, oldest first."""
        return self._listed()[self._first :]

    def has(self, kind: int) -> bool:
        """Whether an entry of `kind` is owed."""
        entries = self._listed()
        return any(entries[at].kind == kind for at in range(self._first, len(entries)))

    def notes(self) -> list[Any]:
        """The notes of what is owed, oldest first."""
        return [entry.note for entry in self.owed()]

    def only(self, kind: int) -> bool:
        """Whether nothing but entries of `kind` are owed."""
        entries = self._listed()
        return all(entries[at].kind == kind for at in range(self._first, len(entries)))

    def drop(self, kind: int) -> None:
        """Take away entries of `kind` at the front: messages that never get a reply of their own."""
        while self._listed() and self._entries[self._first].kind == kind:
            self._forget()

    def replace_head(self, entry: Owed) -> None:
        """The oldest entry, of which there is one, is another now."""
        self._listed()[self._first] = entry

    def take(self, kind: int) -> None:
        """Take away the first entry of `kind`, if there is one: that message had its effect, and gets no reply."""
        entries = self._listed()
        for at in range(self._first, len(entries)):
            if entries[at].kind == kind:
                self._entries = entries[self._first : at] + entries[at + 1 :]
                self._first = 0
                return

    def skip_until(self, kind: int) -> bool:
        """Error recovery: the server ignores every message up to the first of `kind`.

        Drops those entries, undoing them newest first, and leaves the entry of `kind` owed. Returns whether there is
        one; if not, the ledger is empty and the next message of `kind` will be the one.
        """
        skipped: list[Owed] = []
        while self._listed() and self._entries[self._first].kind != kind:
            skipped.append(self.settle())
        for entry in reversed(skipped):
            if entry.undo is not None:
                entry.undo()
        return bool(self._entries)

    def remove(self, kind: int, before: int) -> int:
        """Take out all entries of `kind` that stand in front of the first entry of kind `before` (or the end).

        For messages that the server turns out to have ignored. The oldest entry stays. Returns how many.
        """
        entries = self.owed()
        stop = next((at for at, entry in enumerate(entries) if at and entry.kind == before), len(entries))
        kept = [entry for at, entry in enumerate(entries) if not 0 < at < stop or entry.kind != kind]
        self._entries, self._first = kept, 0
        return len(entries) - len(kept)

    def __repr__(self) -> str:
        names = [f"({e.kind})" if e.swallow else str(e.kind) for e in self.owed()]
        return f"<Ledger {' '.join(names) or 'empty'}>"
