"""What the two halves of a relay share: the ledger, and where the request stands.

`requests` writes it while client messages go out, `replies` while the server's come back, `relay` reads it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rdsp_codecs.ledger import Ledger, Owed
from rdsp_codecs.pins import PinBoard, PinReason
from rdsp_codecs.postgres.asking import ASKABLE, Question
from rdsp_codecs.postgres.constants import CLOCK, doubted, is_owned, known, tells_time
from rdsp_codecs.postgres.doubts import Doubts
from rdsp_codecs.postgres.listening import Listening
from rdsp_codecs.postgres.notable import Passing
from rdsp_codecs.postgres.session_state import HARMLESS, Verdict
from rdsp_codecs.postgres.setting_text import EVERYTHING
from rdsp_codecs.postgres.settings import NO_SETTINGS, READ_BY, ROLE, Context, Settings
from rdsp_codecs.postgres.statements import SharedStatements, Statement, StatementBook
from rdsp_codecs.postgres.unnamed import Put, trim
from rdsp_codecs.transaction import Transaction

if TYPE_CHECKING:
    from rdsp_codecs.api import RelayPolicy
    from rdsp_codecs.postgres.state import PostgresState


_NONE: Final = Transaction.NONE
_NOTHING_FOUND: Final = HARMLESS
"""Under a name of its own: looking a member of an enumeration up costs more than what is done with it."""
RECENT: Final = 3
_numbers: Final = itertools.count()
SHOWN: Final = 4096


class Kind:
    """What a reply answers: plain numbers, for speed.

    `COPY_END` marks CopyDone and CopyFail, which have no reply of their own.
    """

    QUERY: Final = 1
    FUNCTION: Final = 2
    PARSE: Final = 3
    BIND: Final = 4
    DESCRIBE: Final = 5
    EXECUTE: Final = 6
    CLOSE: Final = 7
    SYNC: Final = 8
    COPY_END: Final = 9


KIND_NAMES: Final = ("", "QUERY", "FUNCTION", "PARSE", "BIND", "DESCRIBE", "EXECUTE", "CLOSE", "SYNC", "COPY_END")
"""For messages, by number."""


QUERY: Final = Owed(Kind.QUERY)
FUNCTION: Final = Owed(Kind.FUNCTION)
BIND: Final = Owed(Kind.BIND)
DESCRIBE: Final = Owed(Kind.DESCRIBE)
EXECUTE: Final = Owed(Kind.EXECUTE)
CLOSE: Final = Owed(Kind.CLOSE)
PARSE: Final = Owed(Kind.PARSE)
SYNC: Final = Owed(Kind.SYNC)
COPY_END: Final = Owed(Kind.COPY_END)
PARSE_IN_VAIN: Final = Owed(Kind.PARSE, swallow=True)
"""The client's own text, parsed only for its faults: an error of the proxy's follows."""
SWALLOWED_CLOSE: Final = Owed(Kind.CLOSE, swallow=True)
UNCERTAIN_SYNC: Final = Owed(Kind.SYNC, note="uncertain")
LOST_SYNC: Final = Owed(Kind.SYNC, note="lost")
LOST_QUERY: Final = Owed(Kind.QUERY, note="lost")
"""The last that can be told apart: how many answers come behind it before those of the next request, nobody knows."""
PROBE: Final = Owed(Kind.CLOSE, swallow=True)
SWALLOWED_BIND: Final = Owed(Kind.BIND, swallow=True)
SWALLOWED_EXECUTE: Final = Owed(Kind.EXECUTE, swallow=True)
SWALLOWED_QUERY: Final = Owed(Kind.QUERY, swallow=True)
SWALLOWED_SYNC: Final = Owed(Kind.SYNC, swallow=True)


class Named:
    """Note of a Bind: what the client calls the statement, for an error that names it."""

    __slots__ = ("name",)

    def __init__(self, name: bytes) -> None:
        self.name: Final = name


def bind_reply(statement: Statement | None, name: bytes) -> Owed:
    """What a Bind is owed; made once per statement and name."""
    if statement is None or not name:
        return BIND
    entry = statement.bind_reply
    if entry is None:
        entry = statement.bind_reply = Owed(Kind.BIND, note=Named(name))
    return entry


class AsItWas:
    """Note of a Describe whose answer was given before, and does not change: the client gets that."""

    __slots__ = ("answer",)

    def __init__(self, answer: bytes) -> None:
        self.answer: Final = answer


class Replace:
    """Note of an owed reply that will be an error, made to fail by us: the client gets these bytes instead."""

    __slots__ = ("error",)

    def __init__(self, error: bytes) -> None:
        self.error: Final = error


class Guard:
    """Note of the last message that has a text read by other settings than the present ones (see `resolving`)."""

    __slots__ = ("_d",)

    def __init__(self, dialogue: Dialogue) -> None:
        self._d = dialogue
        dialogue.asking += 1

    def done(self) -> None:
        """It was answered, or the server skips it."""
        self._d.asking -= 1


class Learn:
    """Note of an owed description of a statement: its shape is remembered, or compared with what it was.

    Attributes:
        statement: the statement described.
        resumes: the client's messages wait for this reply (a prologue).
        types: the ParameterDescription that came first.
        name: under which it stands on the backend, where that is the client's own.
    """

    __slots__ = ("name", "resumes", "statement", "types")

    def __init__(self, statement: Statement | None, *, resumes: bool = False, name: bytes = b"") -> None:
        self.statement = statement
        self.resumes = resumes
        self.types = b""
        self.name = name


class Dialogue:
    """The shared state.

    Attributes:
        policy: limits and switches.
        shared: what the pool's sessions know about statements.
        ledger: replies owed.
        pins: why the backend may not be given back.
        statements: the session's prepared statements.
        transaction: the status of the last ReadyForQuery.
        state: the backend attached, None when there is none.
        token: stands for the session on its backends.
        recent: the beginnings of the last statements sent since the last end of a request, for logs.
        heads, reasons: what inspection found in all of them together.
        kept: bytes of statements whose Parse is not answered: they are kept in case it fails.
        told: the parameters as the client was told them; a backend's own mapping while they are the same.
        injected: bytes for the server that go out behind what was forwarded so far.
        paused: client messages wait for the replies of a prologue.
        skipping: the server ignores everything up to a Sync that the client has not sent yet.
        copying: a CopyInResponse came, and the client has not ended its data.
        copy_runs: a CopyInResponse came to a simple query, and that COPY has not ended at the server.
        copy_syncs: Syncs that the server ignored if it was in COPY when it read them.
        probe_due: a COPY failed with `copy_syncs` in doubt: the client's next Sync is followed by a probe.
        settling: the client's messages wait until nothing is owed, because what they mean depends on the answers.
        naming: the batch that goes out now gives names to statements, takes them, or hides a stranger's unnamed one.
        uncertain: batches under way that name or close statements, and may fail.
        query_waits: what waits for the prologue is a query (or function call), which no error makes the server skip.
        prologue_failed: the server skips because of an error in messages of ours.
        native: up to the boundary some statements have the client's own names on the backend, or all of them
            (`native_all`): those that SQL has named (`mentioned`).
        ensured: names that stand there so.
        stand_ins: names under which something else stands there (see `naming.STAND_IN`).
        ending: names that SQL may have dropped since; None: any.
        dropping: SQL that names or drops statements is not answered yet.
        bound_naming: such SQL may be bound to a portal, and not executed yet.
        extended: messages of the extended protocol are owed.
        over: a ReadyForQuery came with nothing else owed.
        fatal: the server said that it ends the connection.
        login: the user that logged in, in bytes.
        settings: what the session has set; None before its first backend.
        baseline: what its backends have from the beginning.
        doubts: what it may have changed since the server was asked.
        lifted: a pin was lifted.
        asking: queries of the proxy's own that are owed.
        passing: looks at a query that is too long to be held, while the rest of it passes.
        listening: what the session listens to.
        away: it listens, and no backend does it for the session.
        unfit: the error with which the backend refused to be brought into the session's state; b"" when it did not.
        broken: it ended its connection over it.
        mending: the first request that is held, or that runs, changes what no backend takes any more: the rest waits.
        vacates: what goes out fails where others are connected to a database; `VACATE` tells the relay's caller.
    """

    def __init__(self, policy: RelayPolicy, shared: SharedStatements, listening: Listening) -> None:
        self.policy = policy
        self.shared = shared
        self.ledger = Ledger()
        self.pins = PinBoard()
        self.statements = StatementBook()
        self.transaction = _NONE
        self.state: PostgresState | None = None
        self.token = object()
        self.recent: list[bytes] = []
        self.heads: frozenset[bytes] = frozenset()
        self.reasons: dict[PinReason, None] = {}
        self.kept = 0
        self.told: Mapping[str, str] = {}
        self.injected: list[bytes] = []
        self.paused = False
        self.skipping = False
        self.copying = self.copy_runs = False
        self.copy_syncs = 0
        self.probe_due = False
        self.settling = False
        self.naming = False
        self.uncertain = 0
        self.query_waits = False
        self.prologue_failed = False
        self.native = self.native_all = False
        self.mentioned: frozenset[bytes] = frozenset()
        self.ensured: set[bytes] = set()
        self.stand_ins: set[bytes] = set()
        self.ending: set[bytes] | None = set()
        self.dropping = False
        self.bound_naming = False
        self.extended = False
        self.over = False
        self.fatal = False
        self.login = b""
        self.settings: Settings | None = None
        self.baseline = NO_SETTINGS
        self.doubts = Doubts()
        self.lifted = False
        self.asking = 0
        self.passing: Passing | None = None
        self.listening = listening
        self.away = False
        self.unfit = b""
        self.broken = False
        self.mending = False
        self.vacates = False

    def begin(self) -> bool:
        """The session has, from the first, what its pool's backends have. Returns whether that is known yet."""
        if self.settings is None and self.shared.baseline is not None:
            self.settings = self.baseline = self.shared.baseline
        return self.settings is not None

    def is_native(self, name: bytes) -> bool:
        """Whether what `name` means is for the backend to know, because SQL has used it."""
        return name not in self.stand_ins and (self.native_all or name in self.mentioned)

    def is_taken(self, name: bytes) -> bool:
        """Whether something may stand under `name` itself, because SQL has named it."""
        return self.native and (name in self.stand_ins or self.is_native(name))

    def not_native(self) -> None:
        """The session's book knows all names again."""
        self.native = self.native_all = False
        self.mentioned = frozenset()
        self.ending = set()
        self.ensured.clear()
        self.stand_ins.clear()

    @property
    def context(self) -> Context:
        """The settings that a text of the session is read by; one of its own where they are in doubt."""
        doubts, context = self.doubts, self.settings.context if self.settings is not None else ()
        if not (doubts.any or self.asking) or not (doubts.local or doubts.settings or self.asking):
            return context
        return self.doubted(doubts.read_otherwise().union(*(note.read_otherwise for note in self._questions())))

    def doubted(self, names: set[bytes]) -> Context:
        """The same where these settings are in doubt, or the strict mode doubts all."""
        context = self.settings.context if self.settings is not None else ()
        return doubted(context, names, next(_numbers)) if names or self.doubts.asked else context

    def pin_moment(self, statement: Statement) -> bool:
        """A statement is kept that is just read: pin if nobody could read its constants so again. Returns whether."""
        if not is_owned(statement.context) and not tells_time(statement.text or b""):
            return False
        if CLOCK in statement.fixed:
            statement.context = doubted(statement.context, {CLOCK}, next(_numbers))
        if known(statement.context, statement.fixed):
            return False
        self.pin(PinReason.STATEMENT_CONSTANT, "it was read by what is not known later")
        return True

    def compare_contexts(self) -> None:
        """Settings are known again: whether any statement was read by others."""
        book = self.statements
        if book.altered:
            now = self.context
            unnamed = book.unnamed is not None and book.unnamed.context != now
            book.altered = unnamed or any(statement.context != now for statement in book.named.values())

    def _questions(self) -> list[Question]:
        """Those that the server has not answered yet."""
        return [note for note in self.ledger.notes() if isinstance(note, Question)] if self.asking else []

    def saw(self, text: bytes, verdict: Verdict) -> None:
        """A statement goes out for execution."""
        if verdict is not _NOTHING_FOUND:
            self._heed(verdict)
        if len(self.recent) == RECENT:
            del self.recent[0]
        self.recent.append(text if len(text) <= SHOWN else text[:SHOWN])

    def _heed(self, verdict: Verdict) -> None:
        if verdict.touches:
            self.shared.named(name for name in verdict.touches if b"." in name)
            self.doubts.change(verdict, alone=not self.recent and self.transaction is Transaction.NONE)
            altered = any(name in READ_BY or name == EVERYTHING for name in verdict.touches)
            self.statements.altered = self.statements.altered or altered
        if verdict.local:
            self.doubts.local |= verdict.local
            self.doubts.any = self.statements.altered = True
        if verdict.unlocks:
            self.doubt_pin(PinReason.ADVISORY_LOCK)
        if verdict.defines_sequence_memory:
            self.shared.sequence_minded = True
        if verdict.channels is None or verdict.channels:
            self.listening.name(verdict.channels)
        self.vacates = self.vacates or verdict.vacates
        self.heads |= verdict.heads
        self.reasons |= dict.fromkeys(reason for reason, _ in verdict.pins)

    def forget_texts(self) -> None:
        """The request is over. What a portal was bound to may still be executed in its transaction."""
        self.recent.clear()
        if self.transaction is not _NONE:
            return
        if self.heads:
            self.heads = frozenset()
        if self.reasons:
            self.reasons.clear()

    def put(self, statement: Statement | None, *, hidden: bool = False) -> Put:
        """A message that sets or drops the unnamed statement goes out. `hidden`: it is ours, not for the client to see.

        Where it takes the place of another's statement, what comes behind has to be sure of that.
        """
        book, state = self.statements, self.state
        assert state is not None
        if book.last is not state.last and book.unnamed is not state.unnamed:
            self.naming = True
        made = Put(statement)
        made.on_backend, state.last = state.last, made
        if not hidden:
            made.in_session, book.last = book.last, made
        return made

    def settled(self) -> None:
        """A request is over and nothing is owed."""
        self.kept = 0
        self.dropping = False
        if self.transaction is _NONE:
            self.bound_naming = False
        book, state = self.statements, self.state
        if state is not None and (book.last.in_session is not None or state.last.on_backend is not None):
            trim(book)
            trim(state)

    def pin(self, reason: PinReason, detail: str) -> None:
        """Pin the session, or ask at the boundary whether to; `PINNED` tells the relay's caller of a pin."""
        if reason in ASKABLE:
            self.doubts.suspect(reason, detail)
            if reason is PinReason.LISTEN:
                self.listening.passing = True
        else:
            self.pins.add(reason, detail)

    def doubt_pin(self, reason: PinReason) -> None:
        """What the session is pinned for, if it is or is just being asked about, may have ended."""
        detail = self.pins.active().get(reason)
        for question in self._questions():
            detail = question.suspects.get(reason, detail)
        if detail is not None:
            self.doubts.suspect(reason, detail)

    def doubt_everything(self) -> None:
        """The strict mode, whatever the texts say. Of custom variables those are asked for that the pool has named."""
        doubts = self.doubts
        for name in (EVERYTHING, ROLE, *self.shared.custom):
            doubts.asked |= {name}
        doubts.any = True
        for reason in ASKABLE:
            doubts.suspect(reason, "found by the strict mode")
        doubts.name_statements()

    def pin_surely(self, reason: PinReason, detail: str) -> None:
        """Pin without asking."""
        self.pins.add(reason, detail)
