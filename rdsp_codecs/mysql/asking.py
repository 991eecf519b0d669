"""The commands that a relay sends for itself, between those of its client: what they are for, and what they told.

A server is made equal to a session (`session_state`), asked what its answers did not say, or listened to: an EOF tells
no changes, and what has changed by rows that ended so is told by the next OK, if at all. So one is caused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rdsp_codecs import moves
from rdsp_codecs.errors import WireError
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql import trackers as t
from rdsp_codecs.mysql.commanding import packet
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.hearing import IDLE, MASKED, OURS, UNMASKED, Hearing
from rdsp_codecs.mysql.holding import only_locks
from rdsp_codecs.mysql.judging import Verdict
from rdsp_codecs.mysql.refuse import refuse
from rdsp_codecs.mysql.session_state import TRACKING
from rdsp_codecs.mysql.traces import ROWS
from rdsp_codecs.mysql.tracking import QUESTION, VIRTUAL, wanted
from rdsp_codecs.mysql.values import Reader
from rdsp_codecs.pins import PinReason
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.relaying import EASILY, RATHER
from rdsp_codecs.transaction import Transaction

if TYPE_CHECKING:
    from rdsp_codecs.api import ClientLogin, RelayPolicy
    from rdsp_codecs.mysql.session_state import Interned
    from rdsp_codecs.mysql.state import MySqlState

_QUESTION: Final = b"SELECT LAST_INSERT_ID()%b LIMIT 1"
"""With a LIMIT, for sessions with a sql_select_limit of 0."""
_BEGIN: Final = b"START TRANSACTION"
_NONE: Final = Transaction.NONE
_OPEN: Final = Transaction.OPEN

_NO_SCHEMA: Final = frozenset({1044, 1049})
"""ER_DBACCESS_DENIED_ERROR, ER_BAD_DB_ERROR."""

SYNC: Final = 0
"""The backend is made this session's. If that fails it is another's that is made so."""
ASK: Final = 1
LISTEN: Final = 2
COUNT: Final = 3
"""ROW_COUNT() is made again what it was."""
PREPARE: Final = 4
MASK: Final = 5
"""The server is to report what the client wants, for one text."""
UNMASK: Final = 6

_HEARS: Final = (ASK, LISTEN, COUNT, MASK, UNMASK)
"""What these commands of ours are told of the session is news."""
BEFORE: Final = (SYNC, ASK, LISTEN, UNMASK)
"""While these are answered, the client's next command is whole where it came in, and nothing of it has gone out."""

Commands = list[tuple[int, bytes]]


class Asking(Hearing):
    """See the module."""

    def __init__(self, who: ClientLogin, policy: RelayPolicy, shared: Interned) -> None:
        super().__init__(who, policy, shared)
        self._purpose = SYNC
        self._ours: list[int] = []
        """Commands that are not answered yet."""
        self._failed = b""
        """The first ERR that answered one of them."""
        self._lacks_schema = False
        """It is all that has failed, and says that the session's database is not there any more, or not for it."""
        self._rows: list[bytes] = []
        self._behind: Commands = []
        """What was sent right behind the client's command, to be told what its rows have changed."""
        self._next = b""
        """What holds for the next transaction alone, while one of ours may use that up."""

    # -- when -----------------------------------------------------------------------------------------------------

    def _boundary(self) -> int:
        """Nothing is owed, and the client has said no more: `OVER`, or a question first."""
        if not self._over or self._mode != IDLE or not self._server.between:
            return moves.NOTHING
        state = self._state
        assert state is not None
        free = not self.pins
        if self._masked != UNMASKED:
            self._unmask()
            return moves.NOTHING
        if self._unknown and state.tracks:
            self._ask()
            return moves.NOTHING
        if self._held.doubted and self.transaction is not _OPEN and only_locks(self.pins.active()):
            self._ask()
            return moves.NOTHING
        blind = self._unheard and self._server.dialogue.status is None
        if free and (self.transaction is Transaction.UNKNOWN or (blind and self.transaction is _NONE)):
            self._ask()
            return moves.NOTHING
        unheard = free and self._unheard and self._outside()
        doubted = free and self._id_doubted and self.transaction is _NONE
        lingers = (unheard and self.transaction is _NONE and not self.contended) or (doubted and not unheard)
        if lingers and not self._parting:
            dear = doubted or self._left.token.worth
            self._over, self.lingers = False, RATHER if dear else EASILY
            return moves.OVER
        if unheard:
            self._listen()
            return moves.NOTHING
        if doubted:
            self._ask()
            return moves.NOTHING
        self._over = self._parting = False
        if free and self.transaction is _NONE:
            tells = state.follows and not self._strayed and not self._tainted
            state.settings = self._settings if tells else None
            state.used = True
            state.last_id = self._id
            left = self._left
            self.keepsake = state.traces = left.token if left.here and state.follows else None
            state.warned = left.dirty
        return moves.OVER

    def reclaimed(self) -> int:
        """See `Relay`."""
        self.lingers, self._parting, self._over = 0, True, True
        return self._boundary()

    def _outside(self) -> bool:
        """No flag says that a transaction is open, and no savepoint keeps one."""
        status = self._server.dialogue.status
        open_ = status is None or bool(status & r.SERVER_STATUS_IN_TRANS)
        return not open_ and (self._autocommit or not self._saved)

    def _is_prompted(self, command: int, verdict: Verdict) -> bool:
        """Whether a command of ours goes in front of it: it would read what another of ours has spoilt, or hide what
        rows before it have changed where that can be told now.
        """
        state = self._state
        assert state is not None
        if self._unheard and self._hides(command, verdict):
            if not state.mariadb or (not self.pins and self._outside()):
                self._listen()
                return True
        elif verdict.reads & ROWS and self._left.uncounted:
            self._count_again()
            return True
        return False

    def _listen_behind(self, command: int, verdict: Verdict) -> None:
        """Send what has the server tell, right behind a command whose rows do not: its client does not wait."""
        state = self._state
        assert state is not None
        if state.capabilities & c.CLIENT_DEPRECATE_EOF or not state.tracks or self.pins:
            return
        if state.mariadb:
            # Its flags tell that there is something, and behind reading in a transaction that nothing has begun always.
            due = self._unheard and verdict.ends and not verdict.releases
            due = due and not self._autocommit and self._trx == t.NO_TRANSACTION
        else:
            due = self._only_reads if command == r.COM_QUERY else self._executes_rows(command, verdict)
            due = due and self.contended and self._autocommit and self.transaction is _NONE
        if due:
            self._behind = self._told_by(state)
            self.to_server += [packet(bytes((one,)) + body, 0) for one, body in self._behind]

    def _executes_rows(self, command: int, verdict: Verdict) -> bool:
        """The command executes a prepared statement that has rows and changes nothing by itself."""
        raise NotImplementedError

    def _told_by(self, state: MySqlState) -> Commands:
        """The commands by which a server tells all that it has not told. Of what diagnostics can be read they change
        ROW_COUNT() alone.

        MariaDB's OK tells nothing where its statement has changed nothing, and that a SET has changed something hides
        that something else has.
        """
        if not state.mariadb:
            return [(r.COM_PING, b"")]
        return [(r.COM_QUERY, self._text(_BEGIN)), (r.COM_QUERY, self._text(b"COMMIT"))]

    def _text(self, text: bytes) -> bytes:
        """The body of a COM_QUERY."""
        return b"\0\1" + text if self._server.dialogue.flags & c.CLIENT_QUERY_ATTRIBUTES else text

    # -- what -----------------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """What LAST_INSERT_ID is now; the answer's flags tell where the transaction stands."""
        state = self._state
        assert state is not None
        commands: Commands = []
        if (self._unheard or self._tainted) and not state.mariadb and not state.capabilities & c.CLIENT_DEPRECATE_EOF:
            commands += self._told_by(state)
        self._asks_where = not (self._unknown or self._held.doubted or self._parting)
        if self._asks_where:
            # It leaves what an error has left.
            self._send_ours([*commands, self._changing_nothing()], ASK)
            return
        self._left.here = 0
        more = [b"@@SESSION." + name for name in sorted(self._unknown)]
        if self._held.doubted:
            more.append(self._held.question)
        commands.append((r.COM_QUERY, self._text(_QUESTION % b"".join([b", " + one for one in more]))))
        self._send_ours(commands, ASK)

    def _listen(self) -> None:
        assert self._state is not None
        self._next = self._pending if self._state.mariadb else b""
        self._send_ours(self._told_by(self._state), LISTEN)

    def _hears_first(self) -> bool:
        """Whether the server is asked now for what it has not told: other commands of ours would have it told unheard.

        Where that cannot be, the session keeps its backend.
        """
        state = self._state
        assert state is not None
        if not self._unheard and (state.mariadb or not self._tainted):
            return False
        if not state.mariadb or (not self.pins and self._outside()):
            self._listen()
            return True
        self._pin(PinReason.UNRECOGNISED_STATE)
        return False

    def _is_masked(self, verdict: Verdict) -> bool:
        """Whether commands of ours go in front of it that have the server report what it should while this runs."""
        state = self._state
        assert state is not None
        if not state.tracks or self._masked == (MASKED if verdict.tracking else UNMASKED):
            return False
        if self._masked != UNMASKED:
            self._unmask()
            return True
        if self._hears_first():
            return True
        self._masked = MASKED
        self._send_ours([(r.COM_QUERY, self._text(self._wanted.setting))], MASK)
        return True

    def _unmask(self) -> None:
        self._masked = UNMASKED
        commands = [(r.COM_QUERY, self._text(TRACKING))]
        if self._asks_wanted:
            commands[:0] = [(r.COM_QUERY, self._text(QUESTION))]
        self._send_ours(commands, UNMASK)

    def _count_again(self) -> None:
        self._left.uncounted = False
        self._send_ours([self._changing_nothing()], COUNT)

    def _changing_nothing(self) -> tuple[int, bytes]:
        """A COM_SET_OPTION. Behind it ROW_COUNT() is -1."""
        return r.COM_SET_OPTION, b"\0\0" if self._settings.multi else b"\1\0"

    def _send_ours(self, commands: Commands, purpose: int = SYNC) -> None:
        self._await_ours(commands, purpose)
        self.to_server += [packet(bytes((command,)) + body, 0) for command, body in commands]

    def _await_ours(self, commands: Commands, purpose: int) -> None:
        self._ours = [command for command, _ in commands]
        self._mode, self._purpose = OURS, purpose
        self._rows.clear()
        self._server.silent = True
        self._server.dialogue.asked(self._ours[0])

    # -- and the answers ------------------------------------------------------------------------------------------

    def _heard(self, part: Part, said: bytes, number: int) -> bytes | None:
        if self._mode != OURS:
            return super()._heard(part, said, number)
        self._heard_ours(part, said)
        return None

    def _heard_ours(self, part: Part, said: bytes) -> None:
        dialogue = self._server.dialogue
        if part is Part.ERR:
            gone = self._ours[0] == r.COM_INIT_DB and r.read_err(said).code in _NO_SCHEMA
            self._lacks_schema = gone and not self._failed
            self._failed = self._failed or said
        elif part is Part.ROW:
            self._rows.append(said)
        elif part is Part.FILE:
            self._failed = self._failed or refuse(Problem(ProblemCode.SYNC_FAILED))
            return
        if dialogue.ok is not None and self._purpose in _HEARS:
            self._heard_late(dialogue.ok)
            if dialogue.ok.trackers is not None:
                changes = dialogue.ok.changes
                if changes.characteristics == _BEGIN + b";":
                    self._next = b""
                own = self._purpose in (MASK, UNMASK) and self._ours[0] == r.COM_QUERY
                self._changed(changes, explained=own)
        if not dialogue.over:
            return
        self._ours.pop(0)
        if self._ours:
            dialogue.asked(self._ours[0])
            return
        self._server.silent = False
        self._mode = IDLE
        self._settled()

    def _settled(self) -> None:
        """Our commands were answered."""
        status, failed = self._server.dialogue.status, self._failed
        if self._purpose == SYNC:
            if status is not None:
                self._autocommit = bool(status & r.SERVER_STATUS_AUTOCOMMIT)
            return  # the relay sees to a failure
        self._failed = b""
        if self._purpose == ASK:
            self._asked(status, failed)
        elif failed or status is None:
            msg = "the server does not say where its session stands"
            raise WireError(msg)
        elif self._purpose == LISTEN:
            self._listened(status)
        elif self._purpose in (MASK, UNMASK):
            self._left.set_over(asked=bool(self._rows))
            if self._rows:
                row = Reader(self._rows[-1], "row")
                self._wanted, self._asks_wanted = wanted([row.value() for _ in VIRTUAL]), False
            self._stand(status)

    def _listened(self, status: int) -> None:
        kept = [part.strip() for part in self._next.split(b";") if part.strip()]
        self._next = b""
        self._unheard = False
        if kept:
            # Our own transaction was the next one.
            self._send_ours([(r.COM_QUERY, self._text(part)) for part in kept], LISTEN)
            return
        self._left.count_lost()
        self.transaction = self._standing(status)

    def _asked(self, status: int | None, failed: bytes) -> None:
        """The answer to our question is here."""
        if failed and self._unknown:
            # One that cannot be asked for.
            self._lose(self._unknown)
            self._unknown.clear()
            return
        if not failed and status is not None and self._asks_where:
            self._stand(status)
            return
        if failed or status is None or not self._rows:
            msg = "the server does not say where its session stands"
            raise WireError(msg)
        row = Reader(self._rows[-1], "row")
        value = row.value() or b""
        if not value.isdigit():
            msg = "LAST_INSERT_ID is no number"
            raise WireError(msg)
        self._id, self._id_doubted = int(value), False
        told = {name: row.value() for name in sorted(self._unknown)}
        self._unknown.clear()
        if told:
            self._settings, lost = self._shared.told(self._settings, told)
            if lost:
                self._lose(told)
        if self._held.doubted:
            values: list[bytes | None] = []
            while row.left:
                values.append(row.value())
            self._held.answered(values)
            self._show_held()
        self._stand(status)

    def _stand(self, status: int) -> None:
        self._autocommit = bool(status & r.SERVER_STATUS_AUTOCOMMIT)
        self.transaction = self._standing(status)

    def _answered(self) -> None:
        super()._answered()
        if self._behind:
            commands, self._behind = self._behind, []
            self._await_ours(commands, LISTEN)
