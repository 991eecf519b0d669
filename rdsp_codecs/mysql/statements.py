"""Binary prepared statements that follow their session: what the client has, and what a backend has of it.

A client's statement has a number of ours, counted in its session; on each backend it has the number that the server
gave it there. Nothing here decides when something is sent (`preparing` does), or reads what executes one (`executing`).

What makes two statements the same: equal text, read under an equal `Context`. Sessions share those of a backend then.
"""

from __future__ import annotations

import functools
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Final

import attrs

from rdsp_codecs.mysql.words import word_of

if TYPE_CHECKING:
    from rdsp_codecs.mysql.judging import Verdict

LAST: Final = 0xFFFFFFFF
"""MariaDB: the statement that was prepared last."""
LONG_DATA: Final = 1
CURSOR: Final = 2
ALONE: Final = 4
"""Why a statement is bound to one backend: a part of a parameter is there, rows of it are there, or its text is."""

TEXT: Final = ord("t")
CONNECTION: Final = b"character_set_connection"
COLLATION: Final = b"collation_connection"
READ_BY: Final = (b"sql_mode", b"character_set_client", CONNECTION, COLLATION)
"""What a server reads texts by, in the order in which it is to be set."""

Types = tuple[int, bytes, bytes]
"""Of how many parameters, their types as they are sent, and the family of each: one byte, TEXT for strings and NULL."""
UNSURE: Final[Types] = (-1, b"", b"")
"""They were sent in a way that does not tell which they are, or nobody knows whether the server took them."""


@attrs.frozen(cache_hash=True)
class Context:
    """What a server reads a text by. `context` makes them.

    Attributes:
        schema: the current database, b"" for none.
        variables: names and values, in the order in which they are to be set.
    """

    schema: bytes
    variables: tuple[tuple[bytes, bytes], ...]


@functools.lru_cache(maxsize=1024)
def context(schema: bytes, variables: tuple[tuple[bytes, bytes], ...]) -> Context:
    """Equal ones are mostly the same object, so that backends' statements are found without comparing them."""
    return Context(schema, variables)


@attrs.frozen(eq=False, weakref_slot=True)
class Key:
    """A text as it is read under a context: one object for all statements that may share a backend's."""

    text: bytes
    context: Context


_keys: weakref.WeakValueDictionary[tuple[bytes, Context], Key] = weakref.WeakValueDictionary()


def _key_of(text: bytes, context: Context) -> Key:
    found = _keys.get((text, context))
    if found is None:
        found = _keys[text, context] = Key(text, context)
    return found


class Statement:
    """One of one session.

    Attributes:
        number: the client's.
        text: SQL; None when it was too long to keep.
        context: what it was read by.
        verdict: what inspection found in the text.
        word: how the text begins (`words.word_of`).
        parameters, columns: as the client was told, 16 bits each.
        types: those of its parameters that the client sent last; None: it has sent none.
        families: MySQL's servers go on to treat a parameter as what it was first, unless that was a text: what that was
            in this session. Empty with MariaDB's, which do not.
        bonds: LONG_DATA, CURSOR, ALONE.
        lost: what was sent of a parameter did not get to a backend.
        scrolled: it was executed with a cursor.
    """

    __slots__ = (
        "_key", "bonds", "columns", "context", "families", "lost", "number", "parameters", "scrolled", "text", "types",
        "verdict", "word",
    )  # fmt: skip

    def __init__(self, text: bytes | None, context: Context, verdict: Verdict) -> None:
        self.text = text
        self.context = context
        self.verdict = verdict
        self.word = word_of(text or b"")
        self.number = self.parameters = self.columns = 0
        self.types: Types | None = None
        self.families = b""
        self.bonds = 0 if text is not None else ALONE
        self.lost = self.scrolled = False
        self._key = None if text is None else _key_of(text, context)

    @property
    def key(self) -> Hashable:
        """Equal for those that may share a backend's; the statement itself where its text is not kept."""
        return self if self._key is None else self._key


class Made:
    """One that a backend has.

    Attributes:
        number: the server's.
        columns: how many its result has, as the server said last.
        types: those that it has for its parameters; None: it was never sent any.
        families: as in `Statement`, of all who have used it.
        owner: whose long data or cursor it holds.
        scrolled: it has had a cursor: MySQL's servers open one from then on, and send no rows without being asked.
    """

    __slots__ = ("columns", "families", "number", "owner", "scrolled", "types")

    def __init__(self, number: int, columns: int) -> None:
        self.number = number
        self.columns = columns
        self.types: Types | None = None
        self.families = b""
        self.owner: Statement | None = None
        self.scrolled = False


def joined(before: bytes, now: bytes) -> bytes:
    """Families of parameters behind a use that sends these."""
    if before == now or len(before) != len(now):
        return now
    return bytes([old if old != TEXT else new for old, new in zip(before, now, strict=True)])


class Shelf:
    """What one backend has. Invariant: least recently used first; one with an owner is not taken off by `spare`."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: OrderedDict[Hashable, Made] = OrderedDict()

    def __len__(self) -> int:
        return len(self._made)

    def find(self, statement: Statement) -> Made | None:
        """The one that this statement can use."""
        for key in (statement, statement.key):
            found = self._made.get(key)
            if found is not None and self._suits(found, statement):
                self._made.move_to_end(key)
                return found
        return None

    def _suits(self, made: Made, statement: Statement) -> bool:
        if made.owner is not None and made.owner is not statement:
            return False
        if made.scrolled and not statement.scrolled:
            return False
        # Where its session has sent no types, those of others would be taken for its own.
        if statement.types is None and made.types is not None:
            return False
        if made.families == statement.families:
            return True
        pairs = zip(made.families, statement.families, strict=False)
        return all(theirs in (ours, TEXT) for theirs, ours in pairs)

    def put(self, statement: Statement, made: Made) -> None:
        """The server has made it. Where another stands in its place it is this session's alone."""
        key = statement.key
        self._made[statement if key in self._made else key] = made

    def clear_place(self, statement: Statement, *, again: bool) -> list[int]:
        """A statement is about to be made: numbers that are to be closed, because it takes their place.

        `again`: it was made before, and what others have in its place does not suit it.
        """
        numbers: list[int] = []
        for key in (statement,) if again else (statement, statement.key):
            found = self._made.get(key)
            if found is not None and found.owner is None:
                del self._made[key]
                numbers.append(found.number)
        return numbers

    def drop(self, statement: Statement) -> list[int]:
        """The statement is closed: numbers that nobody else can use."""
        numbers: list[int] = []
        for key in (statement, statement.key):
            found = self._made.get(key)
            if found is not None and (key is statement or found.owner is statement):
                del self._made[key]
                numbers.append(found.number)
        return numbers

    def spare(self, most: int, is_needed: Callable[[Hashable], bool]) -> list[int]:
        """Take off what was not used for longest, down to `most`: numbers that are to be closed."""
        return [self._made.pop(key).number for key in self._candidates(most, is_needed)]

    def _candidates(self, most: int, is_needed: Callable[[Hashable], bool]) -> list[Hashable]:
        surplus = len(self._made) - most
        if surplus <= 0:
            return []
        free = (key for key, made in self._made.items() if made.owner is None and not is_needed(key))
        return [key for key, _ in zip(free, range(surplus), strict=False)]

    def clear(self) -> None:
        """The server has forgotten all of them."""
        self._made.clear()


class Book:
    """One session's statements by the client's numbers.

    Attributes:
        last: the one that was prepared last, None where that failed or was closed.
    """

    __slots__ = ("_counted", "_found", "_known", "last")

    def __init__(self) -> None:
        self._known: dict[int, Statement] = {}
        self._found: Statement | None = None
        """What was found last: it is asked for several times per command."""
        self._counted = 0
        self.last: Statement | None = None

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Statement]:
        return iter(self._known.values())

    def find(self, number: int) -> Statement | None:
        """The statement of that number."""
        found = self._found
        if found is None or found.number != number:
            found = self._found = self._known.get(number)
        return found

    def add(self, statement: Statement) -> None:
        """It was prepared: it gets a number."""
        self._counted += 1
        statement.number = self._counted
        self._known[statement.number] = self.last = statement

    def failed(self) -> None:
        """One was not prepared; servers count it."""
        self._counted += 1
        self.last = None

    def close(self, statement: Statement) -> None:
        """The client closes it."""
        del self._known[statement.number]
        self._found = None
        if self.last is statement:
            self.last = None

    def clear(self) -> None:
        """All are gone. Numbers go on."""
        self._found = None
        self._known.clear()
        self.last = None
