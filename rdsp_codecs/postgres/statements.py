"""Prepared statements that follow the session: names, what each statement looked like, and what a backend has.

Used by the client half of the relay (`requests`) and, when descriptions come back, by the server half (`replies`).
A client's statement has the client's name in the session and a name of ours on every backend that has it. Nothing
here decides when something is sent.

What makes two statements the same: equal text, read under equal settings, equal parameter types as the server resolved
them, and an equal row description. The last is why DDL is never hidden: who prepared before it has another statement
than who prepared after it.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from rdsp_codecs.errors import WireError
from rdsp_codecs.postgres.constants import fixed_by, owned
from rdsp_codecs.postgres.lexer import NAME_BYTES
from rdsp_codecs.postgres.session_state import HARMLESS
from rdsp_codecs.postgres.settings import Context, KnownSettings, Settings
from rdsp_codecs.postgres.unnamed import NOTHING, InSession, Put

if TYPE_CHECKING:
    from rdsp_codecs.ledger import Owed
    from rdsp_codecs.postgres.session_state import Verdict
    from rdsp_codecs.postgres.state import PostgresState

PREFIX: Final = b"rdsp_"
"""Our names on a backend: `rdsp_1`, `rdsp_2`... counted per backend."""

NOBODY: Final = PREFIX + b"x" + os.urandom(12).hex().encode()
"""A name that no statement ever has, because nobody can know it: closing it is answered and does nothing, binding it
is an error.
"""

_LENGTH = struct.Struct(">I")
_COUNT = struct.Struct(">H")
_FIELD = struct.Struct(">IhIhih")

_REPORTED_MAX: Final = 7
_numbers: Final = itertools.count()
_EVICTED_AT_ONCE: Final = 1000
_UTILITY_HEADS: Final = frozenset({b"set", b"do"})
"""Statements that begin so are looked into when they run."""

StatementKey = tuple[bytes, bytes, bytes, Context]
Inspect = Callable[[bytes], "Verdict"]


class Statement:
    """One prepared statement of one session.

    Attributes:
        text: SQL without its NUL; None when it was too long to keep: it then lives on one pinned backend.
        sent: parameter types as the client's Parse had them.
        types: parameter types as Parse and ParameterDescription carry them (count, then OIDs), resolved once known.
        verdict: what inspection found in the text.
        shape: the row description, reduced by `shape_of`; None until the server has described the statement.
        key: the statement's identity on backends; None while `shape` is.
        home: the `PostgresState.epoch` in which `home_name` is valid although `key` may not be known yet.
        assumed: the client was told that it is parsed on the word of another session's; its shape was not shown to it.
        bound: the client has bound it (so it was, or will be, executed).
        bind_reply: what a Bind of it by its name is owed, once there was one.
        changed: it was to stand under the client's name on this backend, and returns something else there.
        context: the settings that its text was read by (see `constants`).
        result: for one that names statements, the RowDescription or NoData of its Parse, which stays what it was.
        unsure: it was used since where settings were in doubt that its names are looked up by.
        source: what `pg_prepared_statements` shows as its text where SQL made it.
    """

    __slots__ = (
        "_fixed",
        "assumed",
        "bind_reply",
        "bound",
        "changed",
        "context",
        "home",
        "home_name",
        "key",
        "result",
        "sent",
        "shape",
        "source",
        "text",
        "types",
        "unsure",
        "verdict",
    )

    def __init__(
        self, text: bytes | None, types: bytes, verdict: Verdict, *, assumed: bool = False, context: Context = ()
    ) -> None:
        self.text = text
        self.sent = self.types = types
        self.verdict = verdict
        self.shape: bytes | None = None
        self.key: StatementKey | None = None
        self.home: object | None = None
        self.home_name = b""
        self.assumed = assumed
        self.bound = False
        self.changed = False
        self.bind_reply: Owed | None = None
        self.context = context
        self.source: bytes | None = None
        self.result = b""
        self.unsure = False
        self._fixed: frozenset[bytes] | None = None

    @property
    def fixed(self) -> frozenset[bytes]:
        """The settings that decide what its constants are."""
        if self._fixed is None:
            utility = self.verdict.needs_native_names or not _UTILITY_HEADS.isdisjoint(self.verdict.heads)
            self._fixed = fixed_by(self.text or b"", utility=utility)
        return self._fixed

    def described(self, types: bytes, shape: bytes) -> None:
        """The server described the statement."""
        self.types = types
        self.shape = shape
        if self.text is not None:
            self.key = (self.text, types, shape, self.context)

    def read_again(self, context: Context) -> None:
        """It is parsed anew, by these settings; a server does so, too, where its names are looked up by others."""
        self.context = context
        self.unsure = False
        if self.text is not None and self.shape is not None:
            self.key = (self.text, self.types, self.shape, context)

    def keep_apart(self) -> None:
        """Its session has other settings now than it was read by: who has not must not share it.

        A server that has to look up its names anew, after DDL, reads its constants by the settings of who uses it.
        """
        unsure = self.unsure
        self.read_again(owned(self.context, next(_numbers)))
        self.unsure = unsure


UNKNOWN: Final = Put(Statement(None, b"", HARMLESS))
"""On a backend: there may be an unnamed statement, and whose it is is not known. No session has this one."""


class SharedStatements:
    """What the sessions of one pool have learned about texts: enough to answer a Parse while no backend is free.

    A driver that prepares its statements one by one, waiting for each, may itself be what the holders of all backends
    wait for. Invariant: bounded; an entry says that a server of this pool has parsed this text with these types.
    """

    __slots__ = ("_known", "_reported", "baseline", "custom", "sequence_minded", "settings")

    TEXTS: Final = 1000
    TEXT_BYTES: Final = 16384
    CUSTOM: Final = 1000

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[bytes, bytes, Context], tuple[bytes, bytes]] = OrderedDict()
        self._reported: list[dict[str, str]] = []
        self.settings = KnownSettings()
        self.baseline: Settings | None = None
        """What backends have from the beginning, since there was one."""
        self.custom: dict[bytes, None] = {}
        """Custom variables that texts of this pool have named lately (the strict mode asks for them)."""
        self.sequence_minded = False
        """A session of this pool has asked for currval or lastval: backends forget sequences when they change hands."""

    def reported(self, parameters: dict[str, str]) -> dict[str, str]:
        """The mapping that stands for equal ones: what backends reported at login is compared by identity."""
        for known in self._reported:
            if known == parameters:
                return known
        self._reported = [*self._reported[-_REPORTED_MAX:], parameters]
        return parameters

    def named(self, custom: Iterable[bytes]) -> None:
        """A text names custom variables."""
        for name in custom:
            self.custom.pop(name, None)
            self.custom[name] = None
        while len(self.custom) > self.CUSTOM:
            del self.custom[next(iter(self.custom))]

    def learn(self, statement: Statement) -> None:
        """A server has described the statement."""
        if statement.text is None or statement.shape is None or len(statement.text) > self.TEXT_BYTES:
            return
        key = (statement.text, statement.sent, statement.context)
        self._known[key] = (statement.types, statement.shape)
        self._known.move_to_end(key)
        if len(self._known) > self.TEXTS:
            self._known.popitem(last=False)

    def assume(self, text: bytes, sent: bytes, verdict: Verdict, context: Context) -> Statement | None:
        """The statement as another session knows it, None when nobody does."""
        known = self._known.get((text, sent, context))
        if known is None:
            return None
        statement = Statement(text, sent, verdict, assumed=True, context=context)
        statement.described(*known)
        return statement


class StatementBook(InSession):
    """The prepared statements of one session under the client's names.

    Invariant: `named` and `unnamed` are what a direct connection's server would have after all messages handed on so
    far, assuming that those still unanswered succeed; the ledger's undo functions correct it when they do not.

    Attributes:
        altered: the session's settings may be others than those that some statement was read by.
    """

    __slots__ = ("altered", "named")

    def __init__(self) -> None:
        self.altered = False
        self.named: dict[bytes, Statement] = {}
        self.last = NOTHING

    def name(self, name: bytes, statement: Statement | None) -> Callable[[], None]:
        """From now on the client's `name` means `statement`, or nothing. Returns what undoes that."""
        before = self.named.pop(name, None)

        def undo() -> None:
            self.named.pop(name, None)
            if before is not None:
                self.named[name] = before

        if statement is not None:
            self.named[name] = statement
        return undo

    def forget(self, name: bytes) -> None:
        """The client's `name` means nothing any more."""
        self.named.pop(name, None)

    def name_on(self, state: PostgresState, statement: Statement) -> bytes | None:
        """The statement's name on this backend, None when the backend does not have it."""
        if statement.key is not None:
            name = state.statements.get(statement.key)
            if name is not None:
                state.statements.move_to_end(statement.key)
                statement.assumed = False  # from now on it has been executed as it is known
                return name
        return statement.home_name if statement.home is state.epoch else None

    def settle_on(self, state: PostgresState, statement: Statement) -> None:
        """A statement just parsed on `state` under `home_name` was described: register it, or the older twin."""
        key = statement.key
        if key is None:
            return
        twin = state.statements.get(key)
        if twin is None:
            state.statements[key] = statement.home_name
        elif twin != statement.home_name:
            state.garbage.append(statement.home_name)
        statement.home, statement.home_name = None, b""


def parsed_alone(
    data: bytes, book: StatementBook, shared: SharedStatements, inspect: Inspect, context: Context, most: int
) -> int:
    """How many Parse messages `data` holds, when it is nothing but those, and a Sync: new names, and known texts.

    Then the names are the book's from now on, `most` at most. 0 when it is anything else.
    """
    found: dict[bytes, Statement] = {}
    at, end = 0, len(data) - 5
    if end <= 0 or data[end:] != b"S\0\0\0\4":
        return 0
    while at < end:
        size = _LENGTH.unpack_from(data, at + 1)[0] + 1
        name, _, rest = data[at + 5 : at + size].partition(b"\0")
        name = name[:NAME_BYTES]
        text, _, types = rest.partition(b"\0")
        if data[at] != ord("P") or at + size > end or not name or name in found or name in book.named:
            return 0
        verdict = inspect(text)
        statement = None if verdict.needs_native_names else shared.assume(text, types, verdict, context)
        if statement is None:
            return 0
        found[name] = statement
        at += size
    if len(book.named) + len(found) > most:
        return 0
    book.named.update(found)
    return len(found)


def new_name(state: PostgresState) -> bytes:
    """A name that no statement of this backend has or had."""
    state.names_used += 1
    return b"%s%d" % (PREFIX, state.names_used)


def foreign_name(name: bytes) -> bytes:
    """A client's name as it may reach a backend although the session has no such statement.

    The server's own error then names it; but a name that looks like one of ours must never hit a stranger's.
    """
    return name + b"?" if name.startswith(PREFIX) else name


def frame(tag: bytes, *parts: bytes) -> bytes:
    """A message: type byte, length, parts."""
    size = 4
    for part in parts:
        size += len(part)
    return b"".join((tag, _LENGTH.pack(size), *parts))


def parse_frame(name: bytes, statement: Statement) -> bytes:
    """Parse of a known statement, with its resolved parameter types (so that they cannot be inferred anew)."""
    return frame(b"P", name, b"\0", statement.text or b"", b"\0", statement.types)


def close_frame(name: bytes) -> bytes:
    """Close of a statement."""
    return frame(b"C", b"S", name, b"\0")


def bind_frame(portal: bytes, name: bytes) -> bytes:
    """Bind without parameters."""
    return frame(b"B", portal, b"\0", name, b"\0\0\0\0\0\0\0")


def execute_frame(portal: bytes, rows: int = 0) -> bytes:
    """Execute; `rows` 0: all of them."""
    return frame(b"E", portal, b"\0", _LENGTH.pack(rows))


def describe_frame(name: bytes) -> bytes:
    """Describe of a statement."""
    return frame(b"D", b"S", name, b"\0")


def failing_frame() -> bytes:
    """A Bind that always fails: how the server is told to skip to the client's Sync."""
    return bind_frame(b"", NOBODY)


def evict(state: PostgresState, limit: int) -> list[bytes]:
    """Names to close so that the backend has at most `limit` statements, least recently used first, and no garbage.

    Only between requests: nothing in flight may use them. A session may leave very many: not all are closed at once.
    """
    names, state.garbage = state.garbage[:_EVICTED_AT_ONCE], state.garbage[_EVICTED_AT_ONCE:]
    while len(state.statements) > limit and len(names) < _EVICTED_AT_ONCE:
        names.append(state.statements.popitem(last=False)[1])
    return names


def shape_of(payload: bytes) -> bytes:
    """Reduce a RowDescription payload to what PostgreSQL compares: names, types, type modifiers.

    The table's OID and attribute number may change without a change of the result (PostgreSQL: equalRowTypes).
    Raises `WireError` for a malformed payload.
    """
    try:
        (count,) = _COUNT.unpack_from(payload)
        parts, at = [payload[:2]], 2
        for _ in range(count):
            end = payload.index(b"\0", at) + 1
            _table, _column, type_oid, _size, modifier, _format = _FIELD.unpack_from(payload, end)
            parts.append(b"%b%d %d;" % (payload[at:end], type_oid, modifier))
            at = end + _FIELD.size
    except (struct.error, ValueError) as error:
        msg = "malformed RowDescription"
        raise WireError(msg) from error
    return b"".join(parts)


NO_ROWS: Final = b""
"""The shape of a statement that returns no rows."""
