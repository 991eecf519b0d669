"""What statements begin with, and what is said of the transaction."""

from __future__ import annotations

from typing import Final

import attrs

BEGINS: Final = 1
"""BEGIN, START TRANSACTION."""
ENDS: Final = 2
"""COMMIT, ROLLBACK."""
CHAINS: Final = 4
"""And another one begins at once."""
RELEASES: Final = 8
"""And the server closes the connection."""
SAVEPOINT: Final = 16
"""SAVEPOINT, RELEASE SAVEPOINT, ROLLBACK TO."""
XA: Final = 32
IMPLICIT: Final = 64
"""It may end a transaction as COMMIT does: DDL and its kin."""
NEXT: Final = 128
"""SET TRANSACTION: for the next transaction alone."""

_COMMITTING: Final = (
    b"alter analyze cache change check checksum create drop flush grant import install load lock optimize rename repair"
    b" reset restart revoke shutdown stop truncate uninstall unlock purge clone begin"
)
_OTHERS: Final = (
    b"commit deallocate delete desc describe do execute explain get handler help insert kill prepare release replace"
    b" resignal return rollback savepoint select set show signal start table update use values with xa"
    b" call backup binlog"
)
HEADS: Final = dict.fromkeys(_COMMITTING.split(), IMPLICIT) | dict.fromkeys(_OTHERS.split(), 0)
"""Every word that begins a statement of which this module's users know what it does; and whether it may commit."""


@attrs.frozen
class Kill:
    """KILL.

    Attributes:
        connection: the connection's number; None where it cannot be told (an expression, MariaDB's USER and QUERY ID).
        query: only what it runs.
        soft: MariaDB's SOFT.
    """

    connection: int | None
    query: bool = False
    soft: bool = False


def word_of(text: bytes) -> bytes:
    """How a text begins: up to six letters, in lower case."""
    return text[:40].lstrip()[:6].lower()
