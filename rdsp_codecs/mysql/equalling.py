"""A backend is made a session's: what goes out for that, what becomes of it where it fails, and what undoes it all.

`session_state` has the commands and `asking` sends them; `relay` says when.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from rdsp_codecs import moves
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.asking import SYNC
from rdsp_codecs.mysql.attributes import text_of
from rdsp_codecs.mysql.hearing import IDLE, OURS
from rdsp_codecs.mysql.preparing import Preparing
from rdsp_codecs.mysql.refuse import refuse
from rdsp_codecs.mysql.session_state import resets
from rdsp_codecs.pins import PinReason
from rdsp_codecs.problems import Problem, ProblemCode

if TYPE_CHECKING:
    from rdsp_codecs.mysql.state import MySqlState

_MOST_BREAKS: Final = 10
_USE: Final = re.compile(rb"(?i)\s*USE\s+(?:`[^`]+`|[A-Z0-9_$]+)\s*;?\s*\Z").match
_UNDONE: Final = frozenset(
    {
        PinReason.NO_TRACKING,
        PinReason.CONNECTION_NUMBER,
        PinReason.DIAGNOSTICS,
        PinReason.TEMPORARY_TABLE,
        PinReason.ADVISORY_LOCK,
        PinReason.TABLE_LOCK,
        PinReason.OPEN_HANDLER,
        PinReason.USER_VARIABLE,
        PinReason.TEXT_PREPARED,
        PinReason.PREPARED_STATEMENT,
    }
)
"""Not all that a SET makes: MySQL 5.6 keeps insert_id, the seeds of RAND() and profiles."""


class Equalling(Preparing):
    """See the module."""

    def _pump(self) -> int:
        raise NotImplementedError

    def _made_mine(self, state: MySqlState) -> list[tuple[int, bytes]]:
        """The commands that make the backend this session's, whatever it is now."""
        init_query = self._policy.init_query.encode("utf-8", "surrogateescape")
        by_command = state.used or not self._shared.lacks_reset
        commands = resets(self._settings, init_query, self._database, state, by_command=by_command)
        state.shelf.clear()
        return commands

    def _without_schema(self) -> int:
        """All is made but the database, which is not there: what names another one goes on, all else is refused.

        On a backend that has another database names would mean other tables.
        """
        state, head = self._state, self._in.next()
        assert state is not None
        if head is not None and self._in.whole and self._names_schema(head) and not self._interrupted:
            self._failed, self._adrift = b"", True
            return self._pump()
        error = self._failed
        self._unfit()
        self.refused, self.unharmed = error, True
        state.used, state.settings = True, None
        return moves.UNFIT

    def _names_schema(self, head: bytes) -> bool:
        """Whether the command is a USE and nothing else."""
        if head[0] != r.COM_QUERY:
            return head[0] == r.COM_INIT_DB
        text = text_of(head[1:]) if self._flags & c.CLIENT_QUERY_ATTRIBUTES else head[1:]
        return text is not None and _USE(text) is not None

    def _answered(self) -> None:
        super()._answered()
        if self._adrift:
            self._adrift = False
            if self._erred and self._state is not None:
                self._state.follows = False  # it still has another database than the session

    def _unfit(self) -> int:
        state, error = self._state, self._failed
        assert state is not None
        self._failed = b""
        self._server.silent = False
        self._mode = IDLE
        self._ours.clear()
        self.unharmed = False
        self.refused = b"" if state.used else error
        if error and not self._shared.lacks_reset and r.unknown_command(error):
            # From now on each session keeps its backend, and has a new one made its own without a reset.
            self._shared.lacks_reset, self.refused = True, b""
        return moves.UNFIT

    def broke_off(self) -> int:
        """See `Relay`."""
        if self._state is None or self._mode != OURS or self._purpose != SYNC:
            return moves.NOTHING
        # Where one fresh one after the other breaks off, none will be better.
        self._breaks += not self._state.used
        self._failed = b"" if self._breaks < _MOST_BREAKS else refuse(Problem(ProblemCode.SYNC_FAILED))
        return self._unfit()

    @property
    def resettable(self) -> bool:
        """See `Relay`: where every session pins, and what it left is such as a login in mid-session undoes."""
        pins = self.pins.active()
        return not pins or (PinReason.NO_TRACKING in pins and _UNDONE.issuperset(pins) and not self._strayed)
