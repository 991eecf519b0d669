"""The replies still owed: a FIFO of what the server has to answer, and what to do with each answer.

Every pooler has one in some form. A relay owes an entry per message that the server will answer, in the order sent;
replies settle entries in that order. Entries for the proxy's own messages are swallowed instead of forwarded. The
ledger knows no engine: kinds are the engine's own constants.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

from rdsp_codecs.errors import WireError


@attrs.define(eq=False)
class Owed:
    """One reply that will come. Never changed after it was made.

    Attributes:
        kind: what was asked, the engine's constant.
        swallow: the reply is for the proxy and must not reach the client.
        note: what the relay wants to remember; entries without one are shared, so that owing allocates nothing.
        undo: called when the server will not process the message after all (error recovery), newest entry first.
        plain: forwarded, and nobody needs to see it: any number may be settled at once at the end of the request.
    """

    kind: int
    swallow: bool = False
    note: Any = None
    undo: Callable[[], None] | None = None
    plain: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.plain = not self.swallow and self.note is None and self.undo is None


class Ledger:
    """Replies owed, oldest first.

    Invariant: `noted` is the number of entries that are not plain; `empty` holds exactly when every message sent was
    answered or is known to be skipped.
    """

    __slots__ = ("_entries", "noted")

    def __init__(self) -> None:
        self._entries: deque[Owed] = deque()
        self.noted = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def empty(self) -> bool:
        """Nothing is owed."""
        return not self._entries

    @property
    def head(self) -> Owed | None:
        """The oldest entry."""
        return self._entries[0] if self._entries else None

    def owe(self, entry: Owed) -> None:
        """The message for `entry` goes out now."""
        self._entries.append(entry)
        if not entry.plain:
            self.noted += 1

    def owe_plain(self, entry: Owed) -> None:
        """As `owe`, for an entry known to be plain."""
        self._entries.append(entry)

    def settle(self) -> Owed:
        """The oldest entry's reply came. Raises `WireError` when nothing was owed."""
        if not self._entries:
            msg = "a reply came that nobody asked for"
            raise WireError(msg)
        entry = self._entries.popleft()
        if not entry.plain:
            self.noted -= 1
        return entry

    def settle_through(self, kinds: frozenset[int]) -> Owed:
        """The reply that ends a group came: settle everything up to the first entry of one of `kinds`, return that.

        Raises `WireError` when no such entry is owed.
        """
        while self._entries:
            entry = self.settle()
            if entry.kind in kinds:
                return entry
        msg = "the end of a request came that nobody asked for"
        raise WireError(msg)

    def skip_until(self, kind: int) -> bool:
        """Error recovery: the server ignores every message up to the first of `kind`.

        Drops those entries, undoing them newest first, and leaves the entry of `kind` owed. Returns whether there is
        one; if not, the ledger is empty and the next message of `kind` will be the one.
        """
        skipped: list[Owed] = []
        while self._entries and self._entries[0].kind != kind:
            skipped.append(self.settle())
        for entry in reversed(skipped):
            if entry.undo is not None:
                entry.undo()
        return bool(self._entries)

    def remove(self, kind: int, before: int) -> int:
        """Take out all entries of `kind` that stand in front of the first entry of kind `before` (or the end).

        For messages that the server turns out to have ignored. The oldest entry stays. Returns how many.
        """
        kept: deque[Owed] = deque()
        removed, passed = 0, False
        for position, entry in enumerate(self._entries):
            passed = passed or (position > 0 and entry.kind == before)
            if position > 0 and not passed and entry.kind == kind:
                removed += 1
                if not entry.plain:
                    self.noted -= 1
            else:
                kept.append(entry)
        self._entries = kept
        return removed

    def __repr__(self) -> str:
        names = [f"({e.kind})" if e.swallow else str(e.kind) for e in self._entries]
        return f"<Ledger {' '.join(names) or 'empty'}>"
