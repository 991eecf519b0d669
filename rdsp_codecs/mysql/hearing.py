"""What a MySQL or MariaDB server's answers say of their session, and what the server is asked for that they do not say.

`relay` has what comes from the client and from the runtime; this is the part of it that hears.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rdsp_codecs.errors import WireError
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql import trackers as t
from rdsp_codecs.mysql.commanding import Inbound, packet
from rdsp_codecs.mysql.dialogue import Part, Phase
from rdsp_codecs.mysql.greet import has_autocommit
from rdsp_codecs.mysql.holding import Held
from rdsp_codecs.mysql.judging import HARMLESS, Verdict
from rdsp_codecs.mysql.session_state import NOISE, Interned, Settings
from rdsp_codecs.mysql.state import is_mariadb
from rdsp_codecs.mysql.statements import READ_BY, Book
from rdsp_codecs.mysql.streams import ServerStream
from rdsp_codecs.mysql.traces import CONDITIONS, Traces
from rdsp_codecs.mysql.tracking import LOGIN, SETS, Wanted
from rdsp_codecs.pins import PinBoard, PinReason
from rdsp_codecs.relaying import Keepsake, Relay
from rdsp_codecs.transaction import Transaction

if TYPE_CHECKING:
    from rdsp_codecs.api import ClientLogin, RelayPolicy
    from rdsp_codecs.mysql.state import MySqlState

_EVENTFUL: Final = frozenset({r.COM_QUERY, r.COM_STMT_EXECUTE, r.COM_STMT_BULK_EXECUTE, r.COM_STMT_FETCH})
"""Commands that run what can change the session, and can be answered by rows."""
EXCLUDE_VARIABLE_SETS: Final = "EXCLUDE_VARIABLE_SETS"
"""RDS Proxy's one name in `session_pinning_filters`."""
_SETS: Final = frozenset({PinReason.SESSION_SETTING, PinReason.USER_VARIABLE, PinReason.RANDOM_SEED})
"""What a session pins by SET."""
_NAMELESS: Final = b"\0"
"""Stands for a user variable that is never known to be gone."""
_SYNTAX: Final = 1064
_CHECKED: Final = frozenset({1115, 1193, 1227, 1228, 1229, 1231, 1232, 1238, 1253, 1273, 1298, 1568})
"""Errors of values, names and privileges: ER_WRONG_VALUE_FOR_VAR, ER_UNKNOWN_SYSTEM_VARIABLE and their kin."""
_NONE: Final = Transaction.NONE
_OPEN: Final = Transaction.OPEN

IDLE: Final = 0
ANSWER: Final = 1
"""The server's answer to a command of the client's is awaited."""
FILE: Final = 2
"""The client sends a file."""
OURS: Final = 3
"""Answers to commands of ours are awaited."""
KILLING: Final = 4
"""The runtime looks for the session that the client wants to be ended."""
CHANGING: Final = 5
"""The client wants to be somebody else: nothing more is taken of it."""

UNMASKED: Final = 0
"""The backend's settings of what it reports are the proxy's own."""
MASKED: Final = 1
"""They are the client's, for as long as a text runs that looks at them."""
PASSED: Final = 2
"""That text is at the server."""


class Hearing(Relay):
    """The server's side of a relay, and all that both sides know.

    Invariant: outside of ANSWER and FILE nothing of the client's is on its way to the server; in OURS nothing reaches
    the client. While the state `follows`, the backend has this session's `_settings`, and reports what changes.
    """

    def __init__(self, who: ClientLogin, policy: RelayPolicy, shared: Interned) -> None:
        self.to_server: list[bytes] = []
        self.to_client: list[bytes] = []
        self.transaction = _NONE
        self.pins = PinBoard()
        self.refused = b""
        self.unharmed = self.contended = self._parting = self._interrupted = False
        self.keepsake: Keepsake | None = None
        self.lingers = 0
        self._who = who
        self._number = 0 if who.welcome is None else who.welcome.connection_id
        self._flags = who.protocol
        self._tracked = bool(who.protocol & c.CLIENT_SESSION_TRACK)
        self._database = who.database.encode("utf-8", "surrogateescape")
        self._policy = policy
        self._shared = shared
        self._settings: Settings = shared.multi(shared.login, multi=bool(who.protocol & c.CLIENT_MULTI_STATEMENTS))
        self._in = Inbound(policy.max_frame, policy.max_held)
        self._server = ServerStream(self.to_client, self._heard)
        self._aside = b""
        self._state: MySqlState | None = None
        self._mode = IDLE
        self._breaks = 0
        """New backends that broke off while they were made this session's, one after the other."""
        self._victim = 0, False
        self._unheard = self._was_unheard = False
        """Rows have ended by an EOF, which tells no changes; and so it was when the command began."""
        self._adds = 0
        """Flags that are put to the server's in what is said at the end of a result."""
        self._verdict = HARMLESS
        self._command = 0
        self._bye = self._fatal = self._over = False
        self._trx = t.NO_TRANSACTION
        self._pending = b""
        """SQL that makes the next transaction's characteristics: b"", there are none."""
        self._begins_with_autocommit = self._autocommit = has_autocommit(who.welcome)
        self._mariadb = who.welcome is not None and is_mariadb(who.welcome.parameters["server_version"])
        self._book = Book()
        self._unread = False
        """What texts are read by is not known any more."""
        self._id = 0
        """LAST_INSERT_ID as it was last told."""
        self._id_doubted = False
        self._left = Traces(mariadb=self._mariadb)
        self._asks_where = False
        """The question is only where the transaction stands."""
        self._warnings = 0
        """How many the last packet of the answer counts."""
        self._word = b""
        """How the text begins."""
        self._ran = self._wants_traces = False
        self._held = Held()
        self._saved = False
        """A savepoint may be set."""
        self._open_within = True
        """The last OK of this command's answer had the flag of a transaction."""
        self._misnames = False
        """The server does not say by their names what variables have changed."""
        self._strayed = False
        """Settings were made on this backend that cannot follow."""
        self._adrift = False
        """The backend has another database than the session, and the command under way names one."""
        self._tainted = False
        """Something has failed on this backend, and may have changed settings before: MySQL tells with its next OK."""
        self._only_reads = False
        """The text is one SELECT or SHOW, in which nothing was found: LAST_INSERT_ID stays what it was if it fails."""
        self._computed: set[bytes] = set()
        """User variables that pin."""
        self._unknown: set[bytes] = set()
        """System variables that are set to nobody knows what."""
        self._asked_for: Settings | None = None
        """The settings with which the collation was asked for: if that fails, it is not asked for again."""
        self._erred = self._unpinned = False
        self._wanted: Wanted = LOGIN
        """What the client wants to be told of its session."""
        self._masked = UNMASKED
        """Whether the backend reports that, and not what we have to know; and whether the text has run which is for."""
        self._asks_wanted = False  # that text may have changed it
        self._error = 0
        self._reported: set[bytes] = set()
        """Variables that the answer to this command has reported."""

    def _pin(self, reason: PinReason) -> None:
        if reason in _SETS and EXCLUDE_VARIABLE_SETS in self._policy.pinning_filters:
            self._strayed = True  # the session may lose it, and nobody else may get it
        else:
            self.pins.add(reason, "")

    @property
    def alias(self) -> int:
        """See `Relay`: what CONNECTION_ID() has told."""
        if self._state is None or PinReason.CONNECTION_NUMBER not in self.pins.active():
            return 0
        return self._state.connection_id

    def _heard(self, part: Part, said: bytes, number: int) -> bytes | None:
        """A packet was understood. Returns what the client is told in its place."""
        dialogue = self._server.dialogue
        instead: bytes | None = None
        if part is Part.ERR:
            if self._mode == IDLE:
                self._fatal = True
                return None
            self._erred = True
            self._warnings = 1
            self._error = dialogue.error.code if dialogue.error is not None else 0
            if self._error != _SYNTAX and self._command not in _INERT:
                self._tainted = True
                self._id_doubted = self._id_doubted or not self._only_reads
        elif dialogue.ok is not None:
            ok = dialogue.ok
            if self._counts_others(ok.warnings):
                ok = replace(r.read_exactly(said, dialogue.flags), warnings=self._left.count)
                said = r.ok(ok)
                instead = packet(said, number)
            self._warnings = ok.warnings
            instead = self._heard_ok(ok, said, number) or instead
        elif part is Part.EOF:
            eof = r.read_eof(said)
            if self._counts_others(eof.warnings):
                eof = replace(eof, warnings=self._left.count)
                instead = packet(r.eof(eof), number)
            self._warnings = eof.warnings
            instead = self._heard_eof(eof, number) or instead
        if dialogue.clients_turn:
            self._give_file()
        elif dialogue.over:
            self._answered()
        return instead

    def _counts_others(self, warnings: int) -> bool:
        """Whether an answer counts warnings of a statement that was not this session's."""
        if self._mariadb or self._command not in _COUNTING or self._left.here & CONDITIONS:
            return False
        return warnings != self._left.count

    def _give_file(self) -> None:
        """The server asks for a file of the client's machine. Whoever plays a server could ask so for any, at any time:
        only a client that gives some is asked, and for a text that may be a LOAD.
        """
        if not self._flags & c.CLIENT_LOCAL_FILES or self._verdict is HARMLESS:
            self._server.number -= 1  # that of a packet that the client does not get
            msg = "a file is asked for, and no statement wants one"
            raise WireError(msg)
        self._mode = FILE

    def _heard_late(self, ok: r.Ok) -> None:
        """What has changed before an error, or before rows that an EOF ended, is told by an OK, or never."""
        assert self._state is not None
        if not self._state.mariadb:
            self._tainted = self._unheard = False
        elif ok.trackers is not None:
            self._unheard = False

    def _heard_eof(self, eof: r.Eof, number: int) -> bytes | None:
        """Behind definitions or rows: a MariaDB server says here that something has changed, and nobody says what."""
        state, dialogue = self._state, self._server.dialogue
        assert state is not None
        changed = bool(eof.status & r.SERVER_SESSION_STATE_CHANGED)
        # An error before a COM_SET_OPTION may have ended the transaction.
        tells = self._command in _EVENTFUL or (self._command == r.COM_SET_OPTION and self.transaction is not _NONE)
        if tells and (dialogue.over or dialogue.more) and state.tracks:
            self._unheard = self._unheard or changed or not state.mariadb
        status = (eof.status & ~r.SERVER_SESSION_STATE_CHANGED if changed else eof.status) | self._adds
        return packet(r.eof(r.Eof(eof.warnings, status)), number) if status != eof.status else None

    def _heard_ok(self, ok: r.Ok, said: bytes, number: int) -> bytes | None:
        self._heard_late(ok)
        adds = self._adds
        if ok.last_insert_id:
            self._id_doubted = True
        self._open_within = bool(ok.status & r.SERVER_STATUS_IN_TRANS)
        if ok.trackers is None:
            return packet(r.ok(replace(ok, status=ok.status | adds)), number) if adds else None
        self._changed(ok.changes, explained=self._explained())
        wanted = self._wanted if self._tracked else None
        masked = wanted is not None and self._masked != UNMASKED
        if not (adds or masked or (wanted is not None and wanted.counts)):
            told = _told(said, ok, wanted)
            return packet(told, number) if told else None
        ok = r.read_exactly(said, self._server.dialogue.flags)
        if adds:
            ok = replace(ok, status=ok.status | adds)
        kept = tuple(one for one in ok.trackers or () if wanted is not None and (masked or wanted.tells(one)))
        return packet(_with_trackers(ok, kept), number)

    def _changed(self, changes: t.Changes, *, explained: bool = False) -> None:
        """What an answer has reported. `explained`: by what its command is known to do."""
        if changes.transaction is not None:
            self._trx = changes.transaction
        if changes.characteristics is not None:
            self._pending = changes.characteristics
        if changes.only_transaction:
            return
        if self._misnames and changes.variables:
            if any(name not in NOISE for name, _ in changes.variables) and not explained:
                self._pin(PinReason.SESSION_SETTING)
            changes = replace(changes, variables=())
        self._reported.update([name for name, _ in changes.variables])
        self._settings, lost = self._shared.changed(self._settings, changes)
        if lost:
            self._lose((lost,))
        if changes.unknown:
            self._pin(PinReason.UNRECOGNISED_STATE)
        if changes.schema == b"":
            self._pin(PinReason.NO_DATABASE)
        elif changes.schema and self.pins.lift(PinReason.NO_DATABASE):
            self._unpinned = True
        if changes.user_variables:
            self._computed.add(_NAMELESS)
            self._pin(PinReason.USER_VARIABLE)
        if changes.state_changed and not explained:
            self._pin(PinReason.UNRECOGNISED_STATE)

    def _explained(self) -> bool:
        """Nothing but what the command says can have changed. Not so where more is told than what it has done."""
        return self._hides(self._command, self._verdict) and not self._was_unheard

    def _hides(self, command: int, verdict: Verdict) -> bool:
        """Whether the report that the state has changed is no news behind this command."""
        return verdict.explains or bool(verdict.tracking) or command in _CHANGE_SCHEMA

    def _answered(self) -> None:
        """The answer to the client's command is over: where does the session stand?"""
        dialogue = self._server.dialogue
        self._mode = IDLE
        self._over = True
        self._heed_text()
        command = self._command
        if command == r.COM_RESET_CONNECTION and not self._erred:
            self._as_at_login()
        elif command == r.COM_SET_OPTION and not self._erred:
            self._settings = self._shared.multi(self._settings, multi=self._in.option == 0)
        ok = dialogue.ok if dialogue.ok is not None and dialogue.ok.header == r.OK else None
        self._left.answered(command, self._verdict, self._word, ok, self._warnings, erred=self._erred)
        if command == r.COM_STMT_PREPARE or (command in _INERT and self._erred):
            return  # nothing has run
        status = dialogue.status
        if self._verdict.saves or (self._verdict.ends and not self._erred):
            self._saved = self._verdict.saves
        if self._verdict.releases and not self._erred:
            self._fatal = True  # the server has closed the connection, and ours with the client is to end, too
        if status is not None:
            self._autocommit = bool(status & r.SERVER_STATUS_AUTOCOMMIT)
            # Where no transaction is open and none begins by itself, a SAVEPOINT was for nothing.
            self._saved = self._saved and not (self._autocommit and not status & r.SERVER_STATUS_IN_TRANS)
            self.transaction = self._standing(status)
        elif self._erred and self._error == _SYNTAX and self._verdict.single:
            pass  # nothing has run
        elif self._erred and self.transaction is _NONE and not (self._verdict.modest and self._autocommit):
            self.transaction = Transaction.UNKNOWN
        elif self._erred and self.transaction is _OPEN and not self._open_within:
            self.transaction = Transaction.UNKNOWN  # the statement before the one that failed has ended it

    def _heed_text(self) -> None:
        """What the text was, now that it has run."""
        verdict = self._verdict
        if self._erred and self._error == _SYNTAX and verdict.single:
            return  # nothing of it has run
        for found in verdict.pins:
            self._pin(found)
            if found is PinReason.USER_VARIABLE:
                self._computed.add(_NAMELESS)
        if verdict is not HARMLESS:
            self._held.ran(verdict, erred=self._erred)
            self._show_held()
        self._asks_wanted = verdict.tracking == SETS
        if self._erred and verdict.alone and verdict.explains and self._error in _CHECKED:
            return  # servers check all values of a SET before they set the first
        if verdict.variables:
            self._heed_variables(verdict.variables)
        if not verdict.settings:
            return
        if not self._erred:
            if verdict.names is not None:
                self._settings = self._shared.named(self._settings, verdict.names)
            self._settings, unknown = self._shared.unreported(self._settings, verdict.settings, self._reported)
            self._unknown.update(unknown)
        elif not verdict.single and verdict.names is not None:
            self._lose(verdict.settings)
        elif len(verdict.settings) > 1 and not (verdict.single and b"character_set_client" in verdict.settings):
            self._lose(verdict.settings)  # some of it may have been set

    def _lose(self, names: Iterable[bytes]) -> None:
        """These settings are not known any more."""
        self._pin(PinReason.SESSION_SETTING)
        self._unread = self._unread or any(name in READ_BY for name in names)

    def _heed_variables(self, given: Mapping[bytes, bytes | None]) -> None:
        if self._erred:
            given = dict.fromkeys(given)
        self._settings, lost = self._shared.with_user(self._settings, given)
        self._computed = (self._computed - given.keys()) | lost
        if self._computed:
            self._pin(PinReason.USER_VARIABLE)
        elif self.pins.lift(PinReason.USER_VARIABLE):
            self._unpinned = True

    def _show_held(self) -> None:
        if self._held.show(self.pins):
            self._unpinned = True

    def _standing(self, status: int) -> Transaction:
        if status & r.SERVER_STATUS_IN_TRANS or self._trx != t.NO_TRANSACTION or self._pending:
            return _OPEN
        return _OPEN if self._saved and not self._autocommit else _NONE

    def _as_at_login(self) -> None:
        """COM_RESET_CONNECTION: all is as after the login, but for the database."""
        multi, schema = self._settings.multi, self._settings.schema
        self._settings = self._shared.made(schema, {}, multi=multi)
        self._book.clear()
        self._unread = False
        self._held.forget()
        self._left.begin()
        self._computed.clear()
        self._unknown.clear()
        self._id, self._id_doubted = 0, False
        self._ran = self._unheard = False
        self._wanted = LOGIN
        self._trx, self._pending = t.NO_TRANSACTION, b""
        self._saved = False
        self._autocommit = self._begins_with_autocommit
        self.transaction = _NONE
        if self._state is not None:
            self._state.follows = False
            self._state.shelf.clear()
        for reason in self.pins.active():
            if reason not in _STAYING and self.pins.lift(reason):
                self._unpinned = True

    # -- what the runtime wants to know ---------------------------------------------------------------------------

    @property
    def unheard(self) -> bool:
        """See `Relay`."""
        return bool(self._aside)

    def in_request(self) -> bool:
        """See `Relay`."""
        return self._mode not in _RESTING or self.cut_short() or not self._server.between

    def endless(self) -> bool:
        """See `Relay`."""
        return self._server.dialogue.phase == Phase.STREAM

    def owes(self) -> bool:
        """See `Relay`."""
        return self._mode == OURS or (self._mode == ANSWER and not self._in.streaming)

    def holds_goodbye(self) -> bool:
        """See `Relay`."""
        return self._in.ends_with_goodbye

    def may_speak(self) -> bool:
        """See `Relay`."""
        return self._server.whole

    def cut_short(self) -> bool:
        """See `Relay`. In the middle of a file a good-bye would be a line of it."""
        return self._mode == FILE or (self._in.streaming and not self._in.dropping)

    def answers_us(self) -> bool:
        """See `Relay`."""
        return self._mode == OURS

    def cancellable(self) -> bool:
        """See `Relay`."""
        return self._mode in (ANSWER, FILE)

    @property
    def holds_too_much(self) -> bool:
        """See `Relay`."""
        return self._in.size > self._policy.max_held

    def in_doubt(self) -> bool:
        """See `Relay`."""
        return False


_STAYING: Final = (PinReason.NO_TRACKING, PinReason.CONNECTION_NUMBER)
"""Pins that COM_RESET_CONNECTION does not lift."""


_RESTING: Final = (IDLE, CHANGING)
_INERT: Final = frozenset({r.COM_STMT_PREPARE, r.COM_STMT_RESET})
"""Commands that run nothing."""
_COUNTING: Final = frozenset({r.COM_INIT_DB, r.COM_PING, r.COM_SET_OPTION})
"""Commands whose answers count, at MySQL, the warnings of the statement before."""
_CHANGE_SCHEMA: Final = frozenset({r.COM_INIT_DB, r.COM_RESET_CONNECTION, r.COM_CREATE_DB, r.COM_DROP_DB})


_MOST: Final = 1024
_retold: Final[dict[tuple[bytes, Wanted | None], bytes]] = {}
"""What clients were told in the place of an OK, behind its counts and by its likeness, thrown away together."""


def _told(said: bytes, ok: r.Ok, wanted: Wanted | None) -> bytes:
    """What a client is told in the place of an OK that has trackers; b"": the same. `wanted`: None, it is told none."""
    end = r.numbers_end(said)
    like = r.likeness(said, end)
    if like:
        rest = _retold.get((like, wanted))
        if rest is not None:
            return said[:end] + rest if rest else b""
    kept = tuple(filter(wanted.tells, ok.trackers or ())) if wanted is not None else ()
    told = b"" if kept == ok.trackers else _with_trackers(ok, kept)
    if like and told[:end] in (said[:end], b""):
        if len(_retold) >= _MOST:
            _retold.clear()
        _retold[like, wanted] = told[end:]
    return told


def _with_trackers(ok: r.Ok, kept: tuple[t.Tracker, ...]) -> bytes:
    if not kept:
        return r.ok(r.without_trackers(ok))
    return r.ok(r.Ok(ok.header, ok.affected_rows, ok.last_insert_id, ok.status, ok.warnings, ok.info or b"", kept))
