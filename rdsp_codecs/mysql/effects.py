"""What the text of a statement does to its session: the proxy's own knowledge of MySQL's and MariaDB's SQL.

`verdict(text, facts)` is all that is called from outside; it is pure, and `Facts` is all that it goes by: the relay
makes new ones whenever the server reports another sql_mode or character set. Trackers report most of what a session
sets (see `trackers`); this says the rest, and for a server without trackers everything. It must never guess that
something was harmless: what begins with a word that is not known, or cannot be read, pins as UNRECOGNISED_STATE; and it
must never pin because of a text's size.

A verdict says what happens if all of the text succeeds. Behind an ERR, what it makes, sets and leaves may have happened
or not, and what it undoes may not have; only a text of one head whose syntax is refused (1064) surely did nothing.

Not visible here: what stored functions, procedures, triggers and views do; `Verdict.calls` tells of those that a
statement runs by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from rdsp_codecs.mysql.inspection import Look
from rdsp_codecs.mysql.lexer import Facts
from rdsp_codecs.mysql.notable import may_matter
from rdsp_codecs.mysql.words import Kill
from rdsp_codecs.pins import PinReason


@attrs.frozen
class Verdict:
    """What was found in one text.

    Attributes:
        pins: reasons to pin the session for good, each once, with where its statement begins in the text.
        makes: what stays on the connection until it is undone, each with a name: TEMPORARY_TABLE ("database NUL table",
            the database empty for the one that is the default before the text), TEXT_PREPARED (in lower case),
            OPEN_HANDLER, TABLE_LOCK (b"tables" or b"global"), BACKUP_LOCK, ADVISORY_LOCK (the lock's name as a
            literal). An empty name: it cannot be told.
        undoes: such things that are gone behind it. Take them away first, then add what it makes.
        unlocks: it may release advisory locks; ask whether IS_USED_LOCK(name) is the connection's own number.
        renames: tables may have other names behind it: no temporary table is known by its name any more.
        variables: user variables that it sets (name in lower case) and the constant, as SQL that means the same in
            every session; None: the value is computed.
        settings: system variables of the session that it sets (see `settings.canonical` for the name), and the value as
            SQL where it is one word, number or literal; None: it is computed, or follows from another one. Trackers do
            not report all of them, so ask for what they did not name.
        role: SET ROLE, as it can be said again; None: there is none.
        names: the item of a SET that gives character_set_results a collation of its own; b"": that of the character set
            alone; None: it sets none, or one that pins.
        reads: what it reads of the session's memory of statements before: names in `notable` (LAST_INSERT_ID,
            FOUND_ROWS, ROW_COUNT, DIAGNOSTICS, SEQUENCE, LAST_GTID, INSERT_ID, PROFILES), of what is
            reported of it (TRACKING) and of what the connection is (CONNECTION_ID, PROCESSLIST).
        leaves: what it leaves in that memory that no answer tells: LAST_INSERT_ID(expr), SQL_CALC_FOUND_ROWS,
            sequences.
        transaction: flags of `words`: BEGINS, ENDS, CHAINS...
        calls: it runs code that the text does not show: CALL, EXECUTE.
        prepares: for a text that is one PREPARE and runs nothing, the name in lower case and the text, None where that
            cannot be told. All else says what may happen when it is executed.
        executes: for a text that is one EXECUTE and runs no more than that, the name in lower case.
        strange: a value in a SET may run a function that is not the server's own.
        fills: a temporary table may be made of a query's rows.
        kills: KILL statements.
        uses: the database of the last USE.
        local_file: LOAD DATA LOCAL.
        heads: the first words of its statements, in lower case; b"" for one that begins otherwise. Empty for
            `HARMLESS`.
        doubtful: a part of it could not be read.
    """

    pins: tuple[tuple[PinReason, int], ...] = ()
    makes: frozenset[tuple[PinReason, bytes]] = frozenset()
    undoes: frozenset[tuple[PinReason, bytes]] = frozenset()
    unlocks: bool = False
    renames: bool = False
    variables: Mapping[bytes, bytes | None] = attrs.field(factory=dict)
    settings: Mapping[bytes, bytes | None] = attrs.field(factory=dict)
    role: bytes | None = None
    names: bytes | None = None
    reads: frozenset[bytes] = frozenset()
    leaves: frozenset[bytes] = frozenset()
    transaction: int = 0
    calls: bool = False
    prepares: tuple[bytes, bytes | None] | None = None
    executes: bytes | None = None
    fills: bool = False
    strange: bool = False
    kills: tuple[Kill, ...] = ()
    uses: bytes | None = None
    local_file: bool = False
    heads: tuple[bytes, ...] = ()
    doubtful: bool = False


HARMLESS: Final = Verdict()
"""The one verdict of all texts in which the prefilter finds nothing: compare by identity."""


def verdict(text: bytes, facts: Facts) -> Verdict:
    """What a text does.

    Arguments:
        text: SQL, one statement or, for `facts.multi`, several, in the client's character set.
        facts: what the server reads it by.

    Takes time linear in the text.
    """
    if not may_matter(text, facts):
        return HARMLESS
    look = Look(text, facts)
    look.run()
    return Verdict(
        pins=tuple(look.pins.items()),
        makes=frozenset(look.makes),
        undoes=frozenset(look.undoes),
        unlocks=look.unlocks,
        renames=look.renames,
        variables=look.variables,
        settings=look.settings,
        role=look.role,
        names=look.names,
        reads=frozenset(look.reads),
        leaves=frozenset(look.leaves),
        transaction=look.transaction,
        calls=look.calls,
        prepares=look.prepares,
        executes=look.executes,
        fills=look.fills,
        strange=look.strange,
        kills=tuple(look.kills),
        uses=look.uses,
        local_file=look.local_file,
        heads=tuple(look.heads),
        doubtful=look.doubtful,
    )
