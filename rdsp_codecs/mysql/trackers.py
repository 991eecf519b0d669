"""What an OK packet says about the session's state ("Session State Information"): read, written, left out.

The block is a row of entries, each a type and a length-encoded body. What we do not know is kept as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import attrs

from rdsp_codecs.mysql.values import Reader, lenenc, lenenc_integer

SESSION_TRACK_SYSTEM_VARIABLES: Final = 0
SESSION_TRACK_SCHEMA: Final = 1
SESSION_TRACK_STATE_CHANGE: Final = 2
SESSION_TRACK_GTIDS: Final = 3
SESSION_TRACK_TRANSACTION_CHARACTERISTICS: Final = 4
SESSION_TRACK_TRANSACTION_STATE: Final = 5
SESSION_TRACK_USER_VARIABLES: Final = 12
"""MariaDB's own."""

NO_TRANSACTION: Final = b"________"
"""SESSION_TRACK_TRANSACTION_STATE when there is none and no table is locked."""


@attrs.frozen
class Tracker:
    """One entry.

    Attributes:
        kind: SESSION_TRACK_...; others are kept, too.
        body: what stands in it, as it came.
    """

    kind: int
    body: bytes


@dataclass(frozen=True)
class Changes:
    """What the entries of one OK packet say.

    Attributes:
        variables: system variables and their new values, in order; MariaDB reports what has no value as None.
        schema: the default database, b"" when there is none any more; None: nothing was said.
        state_changed: something has changed that a move to another server would lose; None: nothing was said.
        gtids: the set of transactions, None: nothing was said.
        characteristics: SQL that makes the transaction's characteristics anew, b"" when it has the session's;
            None: nothing was said.
        transaction: eight letters, see `NO_TRANSACTION`; None: nothing was said.
        user_variables: MariaDB's, as `variables`.
        unknown: kinds that are not among these.
        only_transaction: nothing was said but where the transaction stands, and the number of the statement.
    """

    variables: tuple[tuple[bytes, bytes | None], ...] = ()
    schema: bytes | None = None
    state_changed: bool | None = None
    gtids: bytes | None = None
    characteristics: bytes | None = None
    transaction: bytes | None = None
    user_variables: tuple[tuple[bytes, bytes | None], ...] = ()
    unknown: tuple[int, ...] = ()
    only_transaction: bool = False


NO_CHANGES: Final = Changes()


def read_trackers(block: bytes) -> tuple[Tracker, ...]:
    """The entries of a block. Raises `WireError`."""
    reader = Reader(block, "session state block")
    found: list[Tracker] = []
    while reader.left:
        kind = reader.integer(1)
        found.append(Tracker(kind, reader.lenenc()))
    return tuple(found)


def trackers(entries: Iterable[Tracker]) -> bytes:
    """A block of entries."""
    return b"".join(bytes((one.kind,)) + lenenc(one.body) for one in entries)


def changes(entries: Sequence[Tracker]) -> Changes:
    """What entries say. Of what is said twice the last holds. Raises `WireError` for a body that cannot be."""
    variables: list[tuple[bytes, bytes | None]] = []
    user: list[tuple[bytes, bytes | None]] = []
    said: dict[str, bytes | bool] = {}
    unknown: list[int] = []
    for one in entries:
        kind = one.kind
        if kind == SESSION_TRACK_SYSTEM_VARIABLES:
            variables += _pairs(one.body)
        elif kind == SESSION_TRACK_USER_VARIABLES:
            user += _pairs(one.body)
        elif kind == SESSION_TRACK_STATE_CHANGE:
            # The one kind whose text has no length of its own.
            said["state_changed"] = one.body == b"1"
        elif kind == SESSION_TRACK_GTIDS:
            said["gtids"] = _gtids(one.body)
        elif kind in _ONE_STRING:
            said[_ONE_STRING[kind]] = _one(one)
        else:
            unknown.append(kind)
    only = bool(entries) and all(one.kind in _OF_TRANSACTION or _is_counter(one) for one in entries)
    return Changes(
        tuple(variables),
        user_variables=tuple(user),
        unknown=tuple(unknown),
        only_transaction=only,
        **said,  # type: ignore[arg-type]
    )


_OF_TRANSACTION: Final = (SESSION_TRACK_TRANSACTION_CHARACTERISTICS, SESSION_TRACK_TRANSACTION_STATE)


_ONE_STRING: Final = {
    SESSION_TRACK_SCHEMA: "schema",
    SESSION_TRACK_TRANSACTION_CHARACTERISTICS: "characteristics",
    SESSION_TRACK_TRANSACTION_STATE: "transaction",
}


COUNTER: Final = b"\x0cstatement_id"
"""How the variable begins, as its name and its length, by which MySQL counts statements: it is in every report."""


def _is_counter(entry: Tracker) -> bool:
    return entry.kind == SESSION_TRACK_SYSTEM_VARIABLES and entry.body.startswith(COUNTER)


def _one(entry: Tracker) -> bytes:
    """A body that is one length-encoded string."""
    reader = Reader(entry.body, f"session state entry of type {entry.kind}")
    text = reader.lenenc()
    reader.close()
    return text


def _gtids(body: bytes) -> bytes:
    """One byte for the encoding, of which there is one, and a string."""
    reader = Reader(body, "session state entry of type 3")
    if reader.integer(1):
        raise reader.fault("an encoding of GTIDs that is not known")
    text = reader.lenenc()
    reader.close()
    return text


def _pairs(body: bytes) -> list[tuple[bytes, bytes | None]]:
    """Names and values; a user variable that has become NULL comes without one."""
    reader = Reader(body, "session state entry of variables")
    found: list[tuple[bytes, bytes | None]] = []
    while reader.left:
        name = reader.lenenc()
        found.append((name, reader.value() if reader.left else None))
    return found


def variable(name: bytes, value: bytes, kind: int = SESSION_TRACK_SYSTEM_VARIABLES) -> Tracker:
    """The entry that reports one variable."""
    return Tracker(kind, lenenc(name) + lenenc(value))


def text(kind: int, value: bytes) -> Tracker:
    """The entry of a kind that holds one string."""
    if kind == SESSION_TRACK_STATE_CHANGE:
        return Tracker(kind, value)
    prefix = lenenc_integer(0) if kind == SESSION_TRACK_GTIDS else b""
    return Tracker(kind, prefix + lenenc(value))
