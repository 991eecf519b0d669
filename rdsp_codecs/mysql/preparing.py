"""Prepared statements on the backend that a session has at the moment: numbers are exchanged, and what is not there is
prepared in front of the request that needs it.

`relay` has the rest of what comes from the client, `hearing` what comes from the server. A backend is kept only while
it alone has something of a statement: an open cursor, a parameter that was sent in parts, a text too long to keep.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Final

from rdsp_codecs.errors import WireError
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import executing as x
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.asking import PREPARE, Asking
from rdsp_codecs.mysql.commanding import packet
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.framing import FULL
from rdsp_codecs.mysql.hearing import ANSWER
from rdsp_codecs.mysql.judging import HARMLESS, Verdict
from rdsp_codecs.mysql.lexer import Facts
from rdsp_codecs.mysql.refuse import refuse
from rdsp_codecs.mysql.session_state import facts
from rdsp_codecs.mysql.statements import (
    ALONE,
    COLLATION,
    CONNECTION,
    CURSOR,
    LAST,
    LONG_DATA,
    READ_BY,
    UNSURE,
    Context,
    Made,
    Statement,
    joined,
)
from rdsp_codecs.mysql.statements import (
    context as context_of,
)
from rdsp_codecs.mysql.streams import LASTING
from rdsp_codecs.mysql.traces import CONDITIONS
from rdsp_codecs.pins import PinReason
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.transaction import Transaction

if TYPE_CHECKING:
    from rdsp_codecs.api import ClientLogin, RelayPolicy
    from rdsp_codecs.mysql.session_state import Interned
    from rdsp_codecs.mysql.state import MySqlState

_LONGEST_TEXT: Final = 1 << 20
"""Bytes of a text that is kept to be prepared again; one that is longer keeps its backend."""
_UNKNOWN: Final = 1243
_NO_CURSOR: Final = 1421
_MALFORMED: Final = 1835
_FETCH: Final = 9
_LONG_DATA: Final = 7
"""Bytes of a COM_STMT_FETCH, and the fewest of a COM_STMT_SEND_LONG_DATA, as far as servers mind."""
_SHORT: Final = (r.COM_STMT_FETCH, r.COM_STMT_SEND_LONG_DATA)
_TOO_MANY: Final = 1461
_WORD: Final = re.compile(rb"[A-Za-z0-9_,]*").fullmatch
_NAMES_SCHEMA: Final = re.compile(rb"database|schema", re.IGNORECASE).search
_STATE_CHANGED: Final = Problem(ProblemCode.STATE_CHANGED)
_ASIDE: Final = {
    r.COM_STMT_EXECUTE: b"mysqld_stmt_execute",
    r.COM_STMT_RESET: b"mysqld_stmt_reset",
    r.COM_STMT_FETCH: b"mysqld_stmt_fetch",
    r.COM_STMT_BULK_EXECUTE: b"mysqld_stmt_bulk_execute",
}
"""What MariaDB calls the commands in errors."""


class Preparing(Asking):
    """See the module."""

    def __init__(self, who: ClientLogin, policy: RelayPolicy, shared: Interned) -> None:
        super().__init__(who, policy, shared)
        self._statement: Statement | None = None
        """Whose command is under way, or is to be prepared by the one under way."""
        self._made: Made | None = None
        """The same on the backend."""
        self._counted = False
        """The first result's columns were told."""
        self._aftercare = 0
        """How many of our commands undo what was set to prepare one."""

    # -- what needs no backend ------------------------------------------------------------------------------------

    def _names_statement(self, head: bytes) -> bool:
        """Deal with a command that names a statement, where no backend is needed: then it is done."""
        command = head[0]
        number = x.number_of(head)
        dot = b"" if self._mariadb else b"."
        if number is None or (command in _SHORT and self._is_short(head)):
            self._reply(command, r.Err(_MALFORMED, b"HY000", b"Malformed communication packet" + dot))
            return True
        statement = self._find(number)
        if statement is None:
            if command == r.COM_STMT_BULK_EXECUTE and not self._flags & c.MARIADB_CLIENT_STMT_BULK_OPERATIONS:
                return False  # it is refused whatever it names
            where = _ASIDE.get(command, b"") if self._mariadb else b"mysql_stmt_precheck"
            text = b"Unknown prepared statement handler (%d) given to %b" % (number, where)
            self._reply(command, r.Err(_UNKNOWN, b"HY000", text))
            return True
        if command == r.COM_STMT_FETCH and not statement.bonds & CURSOR:
            self._reply(
                command, r.Err(_NO_CURSOR, b"HY000", b"The statement (%d) has no open cursor%b" % (number, dot))
            )
            return True
        if command == r.COM_STMT_RESET and not statement.bonds & ~ALONE:
            statement.lost = False
            self._left.reset()
            self._in.take()
            self._say(r.ok(r.Ok(status=self._status())))
            return True
        if command == r.COM_STMT_CLOSE:
            self._close(statement)
            return True
        return False

    def _is_short(self, head: bytes) -> bool:
        """Whether a command of `_SHORT` lacks something, and the server minds."""
        least = _LONG_DATA if head[0] == r.COM_STMT_SEND_LONG_DATA else 0 if self._mariadb else _FETCH
        return self._in.whole and len(head) < least

    def _find(self, number: int) -> Statement | None:
        found = self._book.find(number)
        return self._book.last if found is None and number == LAST and self._mariadb else found

    def _status(self) -> int:
        """Flags for an answer of ours: those of the session."""
        known = self._server.dialogue.status
        status = 0 if known is None else known & LASTING & ~r.SERVER_STATUS_AUTOCOMMIT
        if self._state is not None and self.transaction is not Transaction.NONE:
            status |= r.SERVER_STATUS_IN_TRANS
        return status | (r.SERVER_STATUS_AUTOCOMMIT if self._autocommit else 0)

    def _say(self, payload: bytes) -> None:
        """Answer the command that was just taken."""
        self.to_client.append(packet(payload, self._in.number + 1))

    def _reply(self, command: int, error: r.Err) -> None:
        """Let the command go nowhere, with an error where it is answered at all."""
        if command not in x.SILENT:
            self._left.failed()
        if self._in.whole:
            self._in.take()
            if command not in x.SILENT:
                self._say(r.err(error))
            return
        if command not in x.SILENT:
            self.to_client.append(packet(r.err(error), self._in.last_number + 1))
        self._in.begin_streaming(dropping=True)

    def _close(self, statement: Statement) -> None:
        self._in.take()
        self._book.close(statement)
        state = self._state
        if state is not None:
            self._send_closes(state.shelf.drop(statement))
        statement.bonds = 0
        self._mind_bonds()

    def _send_closes(self, numbers: Iterable[int]) -> None:
        """The backend is to forget these."""
        self.to_server += [packet(bytes((r.COM_STMT_CLOSE,)) + number.to_bytes(4, "little"), 0) for number in numbers]

    def _mind_bonds(self) -> None:
        """Pin while a statement is bound to this backend, and no longer."""
        if any(statement.bonds for statement in self._book):
            self._pin(PinReason.PREPARED_STATEMENT)
        elif self.pins.lift(PinReason.PREPARED_STATEMENT):
            self._unpinned = True

    def _executes_rows(self, command: int, verdict: Verdict) -> bool:
        statement = self._statement
        return command == r.COM_STMT_EXECUTE and verdict is HARMLESS and statement is not None and statement.columns > 0

    # -- what goes to the backend ---------------------------------------------------------------------------------

    def _begin_prepare(self, head: bytes, verdict: Verdict) -> bool:
        """COM_STMT_PREPARE is about to go out. Returns whether it may."""
        state = self._state
        assert state is not None
        most = self._policy.max_session_statements
        if len(self._book) >= most:
            self._reply(head[0], r.read_err(refuse(Problem(ProblemCode.TOO_MANY_STATEMENTS, str(most)))))
            return False
        text = head[1:] if self._in.whole and len(head) <= _LONGEST_TEXT else None
        self._statement = Statement(text, self._context_now(), verdict)
        self._make_room(state, self._statement, again=False)
        return True

    def _make_room(self, state: MySqlState, statement: Statement, *, again: bool) -> None:
        shelf = state.shelf
        self._send_closes(shelf.clear_place(statement, again=again))
        self._send_closes(shelf.spare(self._policy.max_prepared_statements - 1, self._is_needed))

    def _is_needed(self, key: Hashable) -> bool:
        """Whether one on this backend must stay: what a pin is for may be what its text was read by."""
        return bool(self.pins) and any(key is statement or key == statement.key for statement in self._book)

    def _begin_naming(self, head: bytes) -> bytes | None:
        """A command about a statement is about to go out. Returns it as it must be for this backend.

        None: not yet, the statement is being prepared; or not at all, and it was answered.
        """
        state = self._state
        assert state is not None
        command, number = head[0], x.number_of(head)
        assert number is not None
        statement = self._statement = self._find(number)
        if statement is None:
            return x.renumbered(head, LAST - 1)  # it is refused by its kind, and must not find another's
        place = x.NOTHING
        if command in x.EXECUTING:
            attributes = bool(state.capabilities & c.CLIENT_QUERY_ATTRIBUTES)
            place = x.binding(head, statement.parameters, attributes=attributes)
            if place.types is not None:
                statement.types = place.types
                statement.families = b"" if self._mariadb else joined(statement.families, place.types[2])
            if statement.lost:
                statement.lost = False
                self._decline(command)
                return None
        scrolls = command == r.COM_STMT_EXECUTE and bool(head[x.NUMBER_END] & x.CURSORS) and not self._mariadb
        statement.scrolled = statement.scrolled or scrolls
        made = state.shelf.find(statement)
        if made is None:
            self._prepare(state, statement, command)
            return None
        made.scrolled = made.scrolled or scrolls
        self._made = made
        out = self._typed(head, statement, made, place)
        if out is None:
            self._decline(command)
            return None
        self._adds = 0
        self._counted = False
        if command in x.EXECUTING and statement.columns and made.columns != statement.columns:
            self._adds = r.SERVER_STATUS_METADATA_CHANGED
            statement.columns = made.columns
        if command == r.COM_STMT_SEND_LONG_DATA:
            self._bind(statement, made, statement.bonds | LONG_DATA)
        return out

    def _typed(self, head: bytes, statement: Statement, made: Made, place: x.Binding) -> bytes | None:
        """The command for this backend, with types that the client leaves out. None: they cannot be put in."""
        out, types = x.renumbered(head, made.number), statement.types
        if place.at and place.types is None and types is not None and made.types != types:
            if types[0] != place.count or not self._in.whole:
                return None
            out = x.with_types(out, place, types)
            if len(out) // FULL != len(head) // FULL:
                return None  # the answer's packets would have other numbers
        if place.at or place.types is not None:
            made.types = types
            if types is not None and not self._mariadb:
                made.families = joined(made.families, types[2])
        return out

    def _decline(self, command: int) -> None:
        """What this request needs is on another backend, or nowhere."""
        self._over = True
        self._reply(command, r.read_err(refuse(_STATE_CHANGED)))

    def _bind(self, statement: Statement, made: Made, bonds: int) -> None:
        statement.bonds = bonds
        made.owner = statement if bonds else None
        self._mind_bonds()

    # -- preparing again ------------------------------------------------------------------------------------------

    def _prepare(self, state: MySqlState, statement: Statement, command: int) -> None:
        """Have the backend make it, by what it was read by; the request follows behind."""
        now, then = self._context_now(), statement.context
        text = statement.text
        if not then.schema:
            # No name in it is looked up in a database, unless it asks for the name of that.
            then = context_of(now.schema if text is None or _NAMES_SCHEMA(text) is None else b"", then.variables)
        sure = (bool(now.schema) or not then.schema) and (bool(then.schema) or not now.schema) and not self._unread
        if text is None or not sure or not all(_WORD(value) for _, value in now.variables + then.variables):
            if command == r.COM_STMT_SEND_LONG_DATA:
                statement.lost = True
            self._decline(command)
            return
        attributes = bool(state.capabilities & c.CLIENT_QUERY_ATTRIBUTES)
        before, after = _between(now, then, attributes), _between(then, now, attributes)
        if before and self._hears_first():
            return  # and comes here again; COM_STMT_PREPARE_OK itself tells nothing
        self._make_room(state, statement, again=True)
        self._aftercare = len(after)
        if not self._mariadb:
            self._left.here &= ~CONDITIONS
        self._send_ours([*before, (r.COM_STMT_PREPARE, text), *after], PREPARE)

    def _heard_ours(self, part: Part, said: bytes) -> None:
        if self._purpose == PREPARE and part is Part.ERR and len(self._ours) <= self._aftercare:
            msg = "a session's settings could not be set again behind a statement that was prepared by others"
            raise WireError(msg)
        prepared = self._server.dialogue.prepared
        if self._purpose == PREPARE and prepared is not None:
            self._made = Made(prepared.statement_id, prepared.columns)
        super()._heard_ours(part, said)

    def _settled(self) -> None:
        """Our commands were answered."""
        if self._purpose != PREPARE:
            super()._settled()
            return
        state, statement, made, failed = self._state, self._statement, self._made, self._failed
        assert state is not None
        assert statement is not None
        self._failed, self._made = b"", None
        if not failed:
            assert made is not None
            state.shelf.put(statement, made)
            return
        if made is not None:
            self._send_closes([made.number])
        error = r.read_err(failed)
        self._mind_too_many(error.code)
        head = self._in.next()
        assert head is not None
        if head[0] == r.COM_STMT_SEND_LONG_DATA:
            statement.lost = True
        self._over = self._ran = True
        self._reply(head[0], error)

    def _mind_too_many(self, code: int) -> None:
        """Give up what is only kept for later, where the server has no room."""
        state = self._state
        if code == _TOO_MANY and state is not None:
            self._send_closes(state.shelf.spare(0, self._is_needed))

    # -- answers --------------------------------------------------------------------------------------------------

    def _heard(self, part: Part, said: bytes, number: int) -> bytes | None:
        dialogue = self._server.dialogue
        statement, mode, prepared = self._statement, self._mode, dialogue.prepared
        if mode == ANSWER and part is Part.PREPARED and prepared is not None and statement is not None:
            state = self._state
            assert state is not None
            statement.parameters, statement.columns = prepared.parameters, prepared.columns
            self._book.add(statement)
            made = Made(prepared.statement_id, prepared.columns)
            state.shelf.put(statement, made)
            if statement.bonds:
                self._bind(statement, made, statement.bonds)
            if statement.verdict.reads:
                self._left.reads = True
            super()._heard(part, said, number)
            return packet(x.renumbered(said, statement.number), number)
        if mode == ANSWER and part is Part.COUNT and statement is not None and statement.columns:
            made_, columns = self._made, r.read_column_count(said, dialogue.flags).columns & 0xFFFF
            if made_ is not None and not self._counted:
                made_.columns = statement.columns = columns
                self._counted = True
        return super()._heard(part, said, number)

    def _answered(self) -> None:
        statement, made = self._statement, self._made
        if self._command == r.COM_STMT_PREPARE and self._erred:
            self._book.failed()
            self._mind_too_many(self._error)
        elif statement is not None and made is not None:
            self._unbind(statement, made)
        self._statement = self._made = None
        self._adds = 0
        super()._answered()

    def _unbind(self, statement: Statement, made: Made) -> None:
        """What an answer leaves bound to the backend."""
        command, bonds = self._command, statement.bonds
        status = self._server.dialogue.status or 0
        if command in x.EXECUTING:
            bonds &= ALONE
            if self._erred:
                made.types = UNSURE
            elif status & r.SERVER_STATUS_CURSOR_EXISTS and not status & r.SERVER_STATUS_LAST_ROW_SENT:
                bonds |= CURSOR
            elif made.scrolled and statement.columns and self._ended_by_ok():
                bonds |= CURSOR  # an OK instead of rows, see `Dialogue`
        elif command == r.COM_STMT_FETCH:
            if self._error == _NO_CURSOR if self._erred else status & r.SERVER_STATUS_LAST_ROW_SENT:
                bonds &= ~CURSOR
        elif command == r.COM_STMT_RESET and not self._erred:
            bonds &= ALONE
        if bonds != statement.bonds:
            self._bind(statement, made, bonds)

    def _ended_by_ok(self) -> bool:
        ok = self._server.dialogue.ok
        return ok is not None and ok.header == r.OK

    # -- what texts are read by -----------------------------------------------------------------------------------

    def _facts_now(self) -> Facts:
        """What the backend reads a text by."""
        return self._reads_by()[0]

    def _context_now(self) -> Context:
        """The same, as far as it decides what a text is, in values that can be set."""
        return self._reads_by()[1]

    def _reads_by(self) -> tuple[Facts, Context]:
        """Both, as the backend keeps them for one session after the other: nearly all have the same settings."""
        state, settings = self._state, self._settings
        assert state is not None
        if state.reads_by is None or state.reads_for is not settings:
            own = dict(settings.variables)
            values = {**state.baseline, **own}
            schema = self._database if settings.schema is None else settings.schema
            brought = CONNECTION in own and COLLATION not in own  # a character set brings its own collation
            names = READ_BY[:-1] if brought else READ_BY
            context = context_of(schema, tuple((name, values.get(name) or b"") for name in names))
            state.reads_for, state.reads_by = settings, (facts(state, settings), context)
        return state.reads_by


def _between(now: Context, then: Context, attributes: bool) -> list[tuple[int, bytes]]:
    """The commands that have a server read by `then` what it read by `now`."""
    commands: list[tuple[int, bytes]] = []
    if now.schema != then.schema:
        commands.append((r.COM_INIT_DB, then.schema))
    if now.variables != then.variables:
        # All of them: a character set brings its own collation.
        pairs = b",".join(b"%b='%b'" % pair for pair in then.variables)
        commands.append((r.COM_QUERY, (b"\0\1" if attributes else b"") + b"SET SESSION " + pairs))
    return commands
