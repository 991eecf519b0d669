"""What a session has its server report of it, as it believes; its backend reports what the proxy has to know.

Only while a text runs that reads or sets one of `VIRTUAL`, the backend has the session's own values (`Asking`). Of what
a backend reports its client is told what it would be told by a server of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import attrs

from rdsp_codecs.mysql import trackers as t
from rdsp_codecs.mysql.settings import value_text

VIRTUAL: Final = (
    b"session_track_schema",
    b"session_track_system_variables",
    b"session_track_state_change",
    b"session_track_transaction_info",
)
"""In the order of `Wanted.values`."""
QUESTION: Final = b"SELECT " + b",".join(b"@@SESSION." + name for name in VIRTUAL) + b" LIMIT 1"
READS: Final = 1
SETS: Final = 2
"""What a text does with them."""

_TOLD: Final = frozenset(
    b"autocommit character_set_client character_set_connection character_set_results redirect_url time_zone".split()
)
"""Variables that servers report to who has not chosen others."""
_COUNTER: Final = b"statement_id"
_YES: Final = (b"1", b"ON")


@attrs.frozen(cache_hash=True)
class Wanted:
    """What one session wants. Made by `wanted`, but for `LOGIN`.

    Attributes:
        schema, state: as the variables say.
        variables: those that are reported; None: all.
        transaction: kinds of trackers.
        values: of `VIRTUAL`, as a server has said them; (): the server's own.
    """

    schema: bool = True
    state: bool = False
    variables: frozenset[bytes] | None = _TOLD
    transaction: tuple[int, ...] = ()
    values: tuple[bytes, ...] = ()

    def tells(self, entry: t.Tracker) -> bool:
        """Whether a server that reports so reports this."""
        kind = entry.kind
        if kind == t.SESSION_TRACK_SYSTEM_VARIABLES:
            wanted = self.variables
            return wanted is None or all(name in wanted for name, _ in t.changes((entry,)).variables)
        if kind == t.SESSION_TRACK_SCHEMA:
            return self.schema
        if kind == t.SESSION_TRACK_STATE_CHANGE:
            return self.state
        return kind == t.SESSION_TRACK_GTIDS or kind in self.transaction

    @property
    def counts(self) -> bool:
        """The number of the statement is reported."""
        return self.variables is None or _COUNTER in self.variables

    @property
    def setting(self) -> bytes:
        """The SQL that has a server report so."""
        values = [value_text(name, value) for name, value in zip(VIRTUAL, self.values, strict=False)]
        pairs = zip(VIRTUAL, values or [b"DEFAULT"] * len(VIRTUAL), strict=True)
        return b"SET SESSION " + b",".join(b"%b=%b" % pair for pair in pairs)


LOGIN: Final = Wanted()
"""What servers report to who has chosen nothing."""


def wanted(values: Sequence[bytes | None]) -> Wanted:
    """What a session wants that has been told these values of `VIRTUAL`."""
    said = tuple(value or b"" for value in values)
    schema, listed, state, transaction = said
    names = frozenset(name.strip().lower() for name in listed.split(b","))
    kinds: tuple[int, ...] = ()
    if transaction in (b"STATE", b"CHARACTERISTICS"):
        kinds += (t.SESSION_TRACK_TRANSACTION_STATE,)
    if transaction == b"CHARACTERISTICS":
        kinds += (t.SESSION_TRACK_TRANSACTION_CHARACTERISTICS,)
    return Wanted(schema in _YES, state in _YES, None if b"*" in names else names, kinds, said)


_MOST_JOKERS: Final = 4
_LONGEST: Final = 64


def is_like(pattern: bytes | None) -> bool:
    """Whether LIKE may find one of `VIRTUAL` by this; None: it is not known."""
    if pattern is None or not pattern.isascii() or b"\\" in pattern:
        return True
    if len(pattern) > _LONGEST or pattern.count(b"%") > _MOST_JOKERS:
        return True
    like = re.compile(re.escape(pattern.lower()).replace(b"_", b".").replace(b"%", b".*"))
    return any(like.fullmatch(name) is not None for name in VIRTUAL)
