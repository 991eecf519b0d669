"""MySQL's and MariaDB's relay: one session's commands, one at a time, and their answers.

The runtime calls it (`rdsp_codecs.relaying.Relay`). A command goes out when the answer to the one before is over, so
that every packet of the server's belongs to a command that is known. What an answer says of the session, by flags and
trackers, decides whether the backend can be another's; a text only pins, or has the server asked.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rdsp_codecs import moves
from rdsp_codecs.errors import CodecError, FrameTooBig
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql import trackers as t
from rdsp_codecs.mysql.asking import BEFORE, SYNC
from rdsp_codecs.mysql.attributes import text_of
from rdsp_codecs.mysql.commanding import Use, instead, packet, plan
from rdsp_codecs.mysql.equalling import Equalling
from rdsp_codecs.mysql.executing import EXECUTING, NAMING, NUMBER_END, number_of
from rdsp_codecs.mysql.greet import greet_anew
from rdsp_codecs.mysql.hearing import ANSWER, CHANGING, FILE, IDLE, KILLING, OURS, PASSED, UNMASKED
from rdsp_codecs.mysql.judging import HARMLESS, UNSEEN, Verdict, judge, unseen
from rdsp_codecs.mysql.killing import victim_of
from rdsp_codecs.mysql.refuse import refuse
from rdsp_codecs.mysql.session_state import COLLATION, misnames
from rdsp_codecs.mysql.traces import ALL, CLEARS
from rdsp_codecs.mysql.words import word_of
from rdsp_codecs.pins import PinReason
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.transaction import Transaction

if TYPE_CHECKING:
    from rdsp_codecs.api import Greeting, Offer
    from rdsp_codecs.mysql.state import MySqlState
    from rdsp_codecs.steps import Conversation

_AT_ONCE: Final = 128
_NONE: Final = Transaction.NONE


class MySqlRelay(Equalling):
    """See `rdsp_codecs.relaying.Relay`."""

    # -- the client's bytes ---------------------------------------------------------------------------------------

    def from_client(self, data: bytes) -> int:
        """See `Relay`."""
        if self._bye:
            return moves.BYE if not self.owes() else moves.NOTHING
        self._in.feed(data)
        return self._pump()

    def _pump(self) -> int:  # noqa: C901 - one step after the other
        """Send what may go out now."""
        signals = moves.NOTHING
        for _ in range(_AT_ONCE):
            if self._in.streaming:
                if self._state is None and not self._in.dropping:
                    return signals | self._news()
                self._stream()
                if self._in.streaming:
                    return signals | self._news()
                continue
            if self._mode == FILE:
                if not self._in.begin_file_packet():
                    return signals | self._news()
                continue
            if self._mode != IDLE or self._aside or not self._server.between:
                return signals | self._news()
            if self._bye:
                return signals | self._news() | self._boundary()
            head = self._in.next()
            if head is None:
                return signals | self._news() | self._boundary()
            if self._interrupted:
                self._interrupted = False
                self._refuse_whole(_INTERRUPTED)
                self._over = self._state is not None
                continue
            if self._names_victim(head):
                return signals | self._news() | moves.KILL
            if head[0] == r.COM_CHANGE_USER:
                self._begin_change()
                return signals | self._news() | moves.ANEW
            state = self._state
            if state is None:
                if not self._alone(head):
                    return self._news() | moves.WANT_BACKEND
            elif self._parting and not self.pins and self.transaction is _NONE:
                # Somebody waits for this backend.
                return self._news() | self._boundary() | moves.AGAIN
            elif state.follows or not state.tracks:
                self._begin(head)
            elif self.pins:
                # It keeps the backend, which reports nothing any more.
                state.follows = True
                self._send_ours(self._made_mine(state))
            else:
                # It reports nothing any more: it has to be begun anew.
                return self._news() | self.reclaimed() | moves.AGAIN
        return signals | self._news() | moves.MORE

    def _stream(self) -> None:
        """A part of a packet that passes in pieces."""
        pieces, ended = self._in.pieces()
        self.to_server += pieces
        if self._mode == FILE and ended is not None:
            self._server.dialogue.given(ended)
            if not self._server.dialogue.clients_turn:
                self._file_over()
        elif self._mode == ANSWER and ended is not None and self._server.dialogue.over:
            self._mode, self._over = IDLE, True

    def _file_over(self) -> None:
        self._server.number = self._in.number
        if self._server.dialogue.over:  # the server has refused before the file's end
            self._answered()
        else:
            self._mode = ANSWER

    def _alone(self, head: bytes) -> bool:
        """No backend: whether the command needs none, or is refused; then it is done."""
        command = head[0]
        if command in NAMING:
            return self._names_statement(head)
        if command == r.COM_QUIT:
            self._in.take()
            self._bye = True
            return True
        if command == r.COM_PING:
            self._in.take()
            self._say(r.ok(r.Ok(status=self._status(), warnings=0 if self._mariadb else self._left.count)))
            self._left.pinged()
            return True
        if command == r.COM_RESET_CONNECTION:
            self._in.take()
            self._as_at_login()
            self._say(r.ok(r.Ok(status=self._status())))
            return True
        return self._declined(head)

    def interrupt(self) -> bool:
        """See `Relay`."""
        if self._mode != OURS or self._purpose not in BEFORE:
            return False
        try:
            head = self._in.next()
        except CodecError:
            return False  # found out in its turn: whoever cancels is not to blame
        self._interrupted = head is not None and self._in.whole and head[0] in _INTERRUPTIBLE
        return self._interrupted

    def _names_victim(self, head: bytes) -> bool:
        """Whether the client wants a session to be ended; then no backend sees the command."""
        if head[0] not in _KILLS or not self._in.whole:
            return False
        victim = victim_of(head, self._number, attributes=bool(self._flags & c.CLIENT_QUERY_ATTRIBUTES))
        if victim is None:
            return False
        self._in.take()
        self._victim, self._mode = victim, KILLING
        return True

    @property
    def victim(self) -> tuple[int, bool]:
        """See `Relay`."""
        return self._victim

    def killed(self, problem: Problem | None) -> int:
        """See `Relay`."""
        self._mode = IDLE
        self._say(r.ok(r.Ok(status=self._status())) if problem is None else refuse(problem))
        self._over = self._state is not None
        return self._pump()

    def _begin_change(self) -> None:
        """All is over but what is held."""
        if not self._in.whole:
            raise FrameTooBig(self._policy.max_held)
        self._mode = CHANGING

    def greet_anew(self, offer: Offer) -> Conversation[Greeting]:
        """See `Relay`."""
        command = self._in.next()
        assert command is not None
        self._in.take()
        return greet_anew(offer, self._who, command, (self._in.number + 1) & 0xFF, self._in.rest())

    def _declined(self, head: bytes) -> bool:
        """Commands that no backend may see."""
        if head[0] not in _DECLINED:
            return False
        self._refuse_whole(Problem(ProblemCode.UNSUPPORTED, _DECLINED[head[0]]))
        return True

    def _verdict_of(self, head: bytes) -> Verdict:
        """What the command's text may do; `head`: all of it, or its beginning."""
        self._only_reads = False
        if head[0] in EXECUTING:
            statement = self._find(number_of(head) or 0)
            self._word = statement.word if statement is not None else b""
            return HARMLESS if statement is None else statement.verdict
        self._word = b""
        if head[0] not in (r.COM_QUERY, r.COM_STMT_PREPARE):
            return HARMLESS
        if not self._in.whole:
            return unseen(text_of(head[1:]) if self._flags & c.CLIENT_QUERY_ATTRIBUTES else head[1:])
        text = head[1:]
        if head[0] == r.COM_QUERY and self._flags & c.CLIENT_QUERY_ATTRIBUTES:
            behind = text_of(text)
            if behind is None:
                return replace(UNSEEN, kills=b"KILL" in text.upper())
            text = behind
        found = judge(text, self._facts_now())
        self._word = word_of(text)
        self._only_reads = found.shows or (found is HARMLESS and self._word == b"select")
        return found

    def _found(self, head: bytes) -> Verdict | None:
        """What the command may do; None: something is asked first, by which its text is read."""
        state = self._state
        assert state is not None
        if self._unknown and state.tracks:
            self._ask()
            return None
        schema = self._database if self._settings.schema is None else self._settings.schema
        verdict = self._verdict_of(head)
        if head[0] == r.COM_STMT_PREPARE:
            return verdict  # it does not run now
        if head[0] in EXECUTING:
            statement = self._find(number_of(head) or 0)
            return self._held.begins(verdict, schema if statement is None else statement.context.schema)
        verdict = self._held.begins(verdict, schema)
        if not verdict.misses_collation or verdict.reads or not state.tracks or self._asked_for is self._settings:
            return verdict
        self._asked_for = self._settings
        self._unknown.add(COLLATION)
        self._ask()
        return None

    def _begin(self, head: bytes) -> None:
        """A command for the backend."""
        command = head[0]
        if command == r.COM_QUIT:
            self._in.take()
            self._bye = True
            return
        verdict = self._found(head)
        if verdict is None:
            return
        if (command != r.COM_STMT_PREPARE and self._is_prompted(command, verdict)) or self._is_masked(verdict):
            return
        if self._ends_here(head, verdict):
            self._over = True
            return
        out: bytes | None = None
        if command in NAMING:
            out = self._begin_naming(head)
            if out is None:
                return
        self._masked = UNMASKED if self._masked == UNMASKED else PASSED
        self._command = command
        self._verdict = HARMLESS if command == r.COM_STMT_PREPARE else verdict
        self._erred, self._open_within = False, True
        self._was_unheard = self._unheard
        self._reported.clear()
        reason = _PINNED_BY.get(plan(command))
        if reason is not None:
            self._pin(reason)
        if self._verdict.ids:
            self._id_doubted = True
        self._ran = True
        self._over = self._parting = False
        self.lingers = 0
        self._warnings = 0
        self._breaks = 0
        dialogue = self._server.dialogue
        self._mode = ANSWER
        dialogue.asked(command)
        if self._in.whole:
            taken = self._in.take()
            self.to_server.append(taken if out is None else instead(taken, out))
            self._server.number = self._in.number
            if dialogue.over:
                self._mode, self._over = IDLE, True
                return
            self._listen_behind(command, verdict)
        else:
            if out is not None:
                self._in.patch(out[:NUMBER_END])
            self._server.number = self._in.last_number
            self._in.begin_streaming(watched=command == r.COM_QUERY and not verdict.reads)

    def _ends_here(self, head: bytes, verdict: Verdict) -> bool:
        """Answer a command that this backend is not to see: then it is done."""
        command = head[0]
        if self._declined(head) or (command in NAMING and self._names_statement(head)):
            return True
        if verdict.kills:
            self._refuse_whole(Problem(ProblemCode.UNSUPPORTED, "KILL"))
            return True
        if command != r.COM_STMT_PREPARE and verdict.reads & ~self._left.here:
            # What it would read belongs to others.
            self._left.reads = True
            if self._hears_first():
                return True
            free = not self.pins and self.transaction is _NONE and not self._id_doubted
            texts = self._left.made(verdict.reads, self._id) if free else None
            if texts is not None:
                self._send_ours([(r.COM_QUERY, self._text(text)) for text in texts])
                return True
            # A session that asks so keeps its backend from now on.
            self._wants_traces = True
            self.pins.add(PinReason.DIAGNOSTICS, "")
            self._refuse_whole(Problem(ProblemCode.STATE_ELSEWHERE))
            return True
        return command == r.COM_STMT_PREPARE and not self._begin_prepare(head, verdict)

    def _refuse_whole(self, problem: Problem) -> None:
        if self._in.whole:
            self._in.take()
            self._say(refuse(problem))
        else:
            raise FrameTooBig(self._policy.max_held)

    def _news(self) -> int:
        signals = moves.PINNED if self.pins.has_fresh else moves.NOTHING
        if self._unpinned:
            self._unpinned = False
            signals |= moves.UNPINNED
        if self._bye and not self.owes():
            signals |= moves.BYE
        if self._fatal:
            signals |= moves.FATAL
        return signals

    # -- the server's bytes ---------------------------------------------------------------------------------------

    def from_server(self, data: bytes) -> int:
        """See `Relay`."""
        if self._aside:
            self._aside += data
            return moves.MORE
        self._aside = self._server.feed(data)
        if self._failed and self._purpose == SYNC:
            if not self._lacks_schema:
                return self._unfit()
            if self._mode != OURS:
                return self._without_schema()
        if self._aside:
            return self._news() | moves.MORE
        return self._pump()

    def go_on(self) -> int:
        """See `Relay`."""
        if self._aside:
            data, self._aside = self._aside, b""
            return self.from_server(data)
        return self._pump()

    # -- borrowing ------------------------------------------------------------------------------------------------

    def attached(self, state: MySqlState) -> int:
        """See `Relay`."""
        self._state = state
        status = r.SERVER_STATUS_AUTOCOMMIT if state.autocommit else 0
        self._server.reset(state.capabilities, status)
        self._failed = b""
        self._over = False
        self._trx, self._pending = t.NO_TRANSACTION, b""
        self._saved = False
        self._misnames = misnames(state)
        self.transaction = _NONE
        if not state.tracks:
            self._pin(PinReason.NO_TRACKING)
            self._left.here = 0 if state.used else ALL
            return self._pump()
        if self._shared.lacks_reset:
            self._pin(PinReason.NO_TRACKING)
        if self._wants_traces:
            self._pin(PinReason.DIAGNOSTICS)
        settings = state.settings if state.used else self._shared.login
        alike = settings is self._settings
        left = self._left
        mine = state.traces is left.token  # as it was left, and nobody else has used it
        same = mine or (alike and state.last_id == self._id)
        if not mine:
            left.moves()  # what it has left elsewhere is not where it stands any more
            self._tainted = self._strayed = False
        state.settings, state.traces, state.follows = None, None, True
        unclean = alike and not mine and state.warned and self._mariadb
        if not same or unclean:
            commands: list[tuple[int, bytes]] = []
            if not alike:
                commands = self._made_mine(state)
            if unclean:
                commands.append((r.COM_QUERY, self._text(CLEARS)))
            if self._id or alike:
                commands.append((r.COM_QUERY, self._text(b"SET SESSION last_insert_id=%d" % self._id)))
            self._send_ours(commands)
            return moves.PINNED if self.pins.has_fresh else moves.NOTHING
        self._autocommit = state.autocommit
        return self._pump()

    def detached(self) -> None:
        """See `Relay`."""
        state, self._state = self._state, None
        if state is not None:
            state.autocommit = self._autocommit
        self._server.reset(0, None)
        self._aside = b""
        self._mode = IDLE
        self._over = False
        self._unheard = False
        self._masked = UNMASKED
        self._behind = []
        self.lingers = 0
        self._parting = False
        self._statement = self._made = None
        self.refused = b""
        self.unharmed = False

    @property
    def fit(self) -> object:
        """See `Relay`."""
        return self._settings

    @property
    def variant(self) -> Hashable:
        """See `Relay`: a connection that had a database always has one."""
        return "database" if not self._database and self._settings.schema is not None else None

    def refusal(self, problem: Problem | bytes) -> bytes:
        """See `Relay`."""
        payload = problem if isinstance(problem, bytes) else refuse(problem)
        if self._mode in (ANSWER, FILE):
            number = self._server.number + 1
        elif self._in.begun:
            number = self._in.last_number + 1
        else:
            number = 0
        return packet(payload, number)

    def abort(self, problem: Problem | bytes) -> int:
        """See `Relay`."""
        payload = problem if isinstance(problem, bytes) else refuse(problem)
        self._interrupted = False
        self._in.next()
        if self._in.whole:
            self._in.take()
            self._say(payload)
        else:
            self.to_client.append(packet(payload, self._in.last_number + 1))
            self._in.begin_streaming(dropping=True)
        return self._pump()


_KILLS: Final = frozenset({r.COM_QUERY, r.COM_PROCESS_KILL})
_INTERRUPTIBLE: Final = frozenset({r.COM_QUERY, r.COM_STMT_PREPARE, *EXECUTING, r.COM_STMT_FETCH})
_INTERRUPTED: Final = Problem(ProblemCode.CANCELLED_WHILE_WAITING)
_DECLINED: Final = {r.COM_PROCESS_KILL: "COM_PROCESS_KILL"}
_PINNED_BY: Final = {
    Use.STRANGE: PinReason.UNRECOGNISED_STATE,
    Use.REPLICATION: PinReason.REPLICATION,
}
