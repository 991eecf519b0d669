"""What a statement leaves on its backend for the next one to read: ROW_COUNT, FOUND_ROWS, warnings and errors.

The relay asks whether it is here, or can be made here by statements of ours. Wrong values must never be read: what is
not sure counts as not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.executing import EXECUTING
from rdsp_codecs.relaying import Keepsake

if TYPE_CHECKING:
    from rdsp_codecs.mysql.judging import Verdict

ROWS: Final = 1
"""ROW_COUNT."""
CONDITIONS: Final = 2
"""Warnings and errors, and how many there are."""
FOUND: Final = 4
"""FOUND_ROWS."""
OTHERS: Final = 8
ALL: Final = ROWS | CONDITIONS | FOUND | OTHERS

_SILENT: Final = frozenset({r.COM_STMT_PREPARE, r.COM_STMT_CLOSE, r.COM_STMT_SEND_LONG_DATA, r.COM_STATISTICS})
"""Commands that count no rows, and make no warnings but by an error."""
_KNOWN: Final = frozenset({r.COM_PING, r.COM_INIT_DB, r.COM_SET_OPTION, r.COM_RESET_CONNECTION})
"""Commands of which it is known how many rows they count."""
_CHANGES: Final = frozenset({b"insert", b"update", b"delete", b"replac"})
_CLEARED: Final = b"SELECT 1 FROM (SELECT 1) t LIMIT %d"
"""It counts -1 rows and clears warnings, at MariaDB, too, where statements without a table leave them; and it finds as
many rows as it has."""
COUNTS_NONE: Final = b"SET SESSION last_insert_id=%d"
"""It counts 0 rows, and leaves all else, where that is the value already. DO would find a row at MySQL."""
CLEARS: Final = _CLEARED % 1


class Traces:
    """One session's.

    Attributes:
        here: what can be read on the backend on which the session has last been.
        rows: ROW_COUNT where a statement of ours can make it (0, -1); None where it cannot.
        warned: there may be warnings or errors.
        count: how many warnings and errors the last answer told that could make some.
        dirty: there may be some on that backend.
        found: whether FOUND_ROWS may be anything but 0.
        reads: the session reads such things, or has prepared to.
        uncounted: ROW_COUNT is 0 there where it was -1: a COM_SET_OPTION has it so again.
        token: with it the session finds the backend again; another one whenever it has to go elsewhere.
    """

    __slots__ = ("_mariadb", "count", "dirty", "found", "here", "reads", "rows", "token", "uncounted", "warned")

    def __init__(self, *, mariadb: bool) -> None:
        self._mariadb = mariadb
        self.reads = False
        self.token = Keepsake()
        self.here = 0
        self.rows: int | None = 0
        self.count = 0
        self.warned = self.found = self.dirty = self.uncounted = False

    def begin(self) -> None:
        """As behind a login."""
        self.moves()
        self.rows = self.count = 0
        self.warned = self.found = False

    def moves(self) -> None:
        """The session is on a backend where it was not before, or others were since."""
        self.token = Keepsake()
        self.here = 0
        self.dirty = self.uncounted = False

    def count_lost(self) -> None:
        """A command of ours was answered by an OK, and left all but ROW_COUNT as it was."""
        if self.rows is None:
            self.here &= ~ROWS
        else:
            self.uncounted = self.rows < 0

    def set_over(self, *, asked: bool) -> None:
        """A SET of ours was run here, which leaves FOUND_ROWS; and `asked`, a SELECT, which leaves nothing."""
        self.here &= 0 if asked else FOUND
        self.uncounted = False

    def _cleared(self) -> None:
        """The session has no warnings any more, wherever it is."""
        self.warned = False
        self.count = 0
        self.here &= ~CONDITIONS

    def pinged(self) -> None:
        """A COM_PING has counted no rows, and no server has seen it."""
        self.here &= ~ROWS
        self.rows = 0

    def reset(self) -> None:
        """The same of a COM_STMT_RESET, which tells of no warnings, and leaves those that there are."""
        self.pinged()
        self.count = 0

    def failed(self) -> None:
        """A command has failed that no server has seen."""
        self.here &= ~(CONDITIONS | ROWS)
        self.warned = True
        self.count = 1
        self.rows = -1

    def answered(
        self, command: int, verdict: Verdict, word: bytes, ok: r.Ok | None, warnings: int, erred: bool
    ) -> None:
        """A command of the client's was answered.

        Args:
            word: how its text begins, six letters.
            ok: the last packet where it is an OK, and not the end of rows.
            warnings: how many the answer counts.
        """
        warned = erred or warnings > 0
        self.token.worth = warned or verdict.calculates or self.reads
        if erred:
            self.here |= CONDITIONS
            self.warned = self.dirty = True
            self.count = 1
        elif command == r.COM_STMT_PREPARE and not self._mariadb:
            self._cleared()
        if command in _SILENT:
            if erred:
                self.here, self.rows, self.uncounted = self.here | ROWS, -1, False
            return
        self.here |= ROWS
        self.uncounted = False
        if erred or ok is None:
            self.rows = -1
        else:
            self.rows = None if ok.affected_rows else 0
            self.token.worth = self.token.worth or self.rows is None
        if command == r.COM_STMT_RESET and not erred:
            self.count = 0
        if command != r.COM_QUERY and command not in EXECUTING:
            if command not in _KNOWN:
                self.rows = None
            return
        self.here |= OTHERS
        if (verdict.calculates or word == b"select") and not erred:
            self.here |= FOUND
            self.found = True
        elif not verdict.single or word not in _CHANGES:
            self.found = True
        self._heed_conditions(verdict, word, max(warnings, int(erred)))

    def _heed_conditions(self, verdict: Verdict, word: bytes, warnings: int) -> None:
        if warnings:
            self.here |= CONDITIONS
            self.warned = self.dirty = True
            self.count = warnings
            return
        self.count = 0
        if verdict.reads & CONDITIONS:
            return  # it leaves them as they are, and counts none of its own
        if not self._mariadb or not self.warned or word in _CHANGES:
            # At MariaDB only what has to do with tables clears them.
            self.here |= CONDITIONS
            self.warned = self.dirty = False

    def made(self, reads: int, last_id: int) -> list[bytes] | None:
        """The statements by which all of these can be read here; None: only elsewhere, if at all."""
        lacking = reads & ~self.here
        if lacking & OTHERS or self.warned or self.rows is None or (lacking & FOUND and self.found):
            return None
        texts = [_CLEARED % (0 if lacking & FOUND else 1)]
        if self.rows == 0:
            texts.append(COUNTS_NONE % last_id)
        self.here |= ROWS | CONDITIONS
        self.here = self.here | FOUND if lacking & FOUND else self.here & ~FOUND
        return texts
