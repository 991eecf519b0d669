"""What happens between a session and a backend at the ends of a transaction, beyond the client's own messages.

At the borrow (`Syncer.begin`) the backend is brought into the session's state; the client's messages wait for the
server's word that it was. At the boundary (`Syncer.settle`) what the session may have changed is found out before
anybody else can have the backend. `relay` calls it, `replies` hands it the answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import attrs

from rdsp_codecs.ledger import Owed
from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres.asking import ASKABLE, Question
from rdsp_codecs.postgres.constants import is_owned
from rdsp_codecs.postgres.dialogue import SWALLOWED_QUERY, SWALLOWED_SYNC, Dialogue, Kind, Learn
from rdsp_codecs.postgres.handing import Handing
from rdsp_codecs.postgres.lexer import NAME_BYTES
from rdsp_codecs.postgres.mending import first_request, mended, needless, without
from rdsp_codecs.postgres.messages import SYNC, parameter_status
from rdsp_codecs.postgres.naming import reconcile
from rdsp_codecs.postgres.setting_text import EVERYTHING, Sole
from rdsp_codecs.postgres.settings import ENCODING, IDENTITY, Settings, sync_texts
from rdsp_codecs.postgres.statements import describe_frame, frame
from rdsp_codecs.postgres.texts import Texts
from rdsp_codecs.postgres.unnamed import NOTHING

if TYPE_CHECKING:
    from rdsp_codecs.postgres.state import PostgresState

_FORGET_SEQUENCES: Final = frame(b"Q", b"DISCARD SEQUENCES\0")
_MOST_BROKEN: Final = 3
_MOST_REFUSED: Final = 3
_IDLE_LIMIT: Final = b"idle_session_timeout"
_NOT_ZERO: Final = re.compile(rb"[1-9]").search
_IN_PG_TEMP: Final = "tables are created in pg_temp"
_UNDOING_TAGS: Final = {
    b"DROP ": (PinReason.TEMPORARY_TABLE,),
    b"DISCA": (PinReason.TEMPORARY_TABLE,),
    b"CLOSE": (PinReason.HOLD_CURSOR,),
}
"""First bytes of command tags behind which a pin may be lifted."""


@attrs.define(eq=False)
class Sync:
    """Note of a query that brings a backend into the session's state.

    Attributes:
        last: the client's messages go on behind it.
        error: with what the server refused it.
    """

    last: bool
    error: bytes = b""


class Syncer:
    """One session's.

    Invariant: whenever a client's message goes to a backend, `state.settings` is what that backend has, as far as the
    texts and the server's reports tell; between transactions it is also `Dialogue.settings`.
    """

    def __init__(self, dialogue: Dialogue, texts: Texts, handing: Handing, to_client: list[bytes]) -> None:
        self._d = dialogue
        self._handing = handing
        self._texts = texts
        self._to_client = to_client
        self.fresh = False
        """The backend had no session before."""
        self._in_parts = False
        """What brings it into the session's state are several queries, of which some may succeed."""
        self._refused: tuple[Settings, ...] = ()
        """What new backends have refused."""
        self._unmended: Settings | None = None
        """What the session has, in truth, while a request that mends it runs without."""
        self._broken = 0
        """Backends that broke off while they were brought into the session's state, one behind the other."""

    # -- at the borrow --------------------------------------------------------------------------------------------

    def begin(self, state: PostgresState) -> None:
        """A backend was borrowed: what it lacks goes out in front of the client's messages."""
        d = self._d
        self.fresh = state.last_user is None
        if d.shared.baseline is None:
            d.shared.baseline = d.shared.settings.of(state.baseline.statements, state.baseline.spelled)
        d.begin()
        assert d.settings is not None
        if state.makes_temporary:
            d.pin(PinReason.UNRECOGNISED_STATE, _IN_PG_TEMP)
        if state.settings is not d.settings:
            self._sync(state, d.settings)
        if d.told is not state.server_parameters and not d.paused:
            self.tell_parameters(state)
        if d.away and not d.paused and not d.mending:
            self._handing.come_back(state)
        if state.last_user is not d.token or (state.sequences_mixed and d.shared.sequence_minded):
            self._take_over(state)

    def _sync(self, state: PostgresState, wanted: Settings) -> None:
        d = self._d
        if state.settings.statements == wanted.statements and state.settings.spelled == wanted.spelled:
            state.settings = wanted
            return
        texts = sync_texts(state.settings, wanted)
        self._in_parts = len(texts) > 1
        for text in texts:
            note = Sync(last=text is texts[-1])
            d.ledger.owe(Owed(Kind.QUERY, swallow=True, note=note))
            d.injected.append(frame(b"Q", text, b"\0"))
        d.asking += len(texts)
        d.paused = True
        state.last = NOTHING

    # -- when no backend takes what the session has ---------------------------------------------------------------

    def is_refused(self) -> bool:
        """A backend has refused. Whether it is the session's state, and not something of the backend's past.

        What is in the way (temp_buffers behind a temporary table) is not in that of a new one.
        """
        settings = self._d.settings
        assert settings is not None
        known = any(settings is refused for refused in self._refused)
        if self.fresh and not known:
            self._refused = (*self._refused[-_MOST_REFUSED:], settings)
        return self.fresh or known

    def spares_backend(self) -> bool:
        """A backend has refused. Whether it is what it was before."""
        return self._d.ledger.empty and not self._in_parts

    def mends(self, held: bytes) -> int:
        """No backend takes what the session has. How many bytes of what is held are a request that changes just that.

        Then the session is without what the request sets, up to its end (`mending_over`), and has all the rest. A
        session that listens goes on to hear by its ear: it must not have to keep a backend, should the request fail.
        0: there is no such request, and the session has what it had.
        """
        d, settings = self._d, self._d.settings
        assert settings is not None
        text, size = first_request(held, d.statements.named, d.statements.unnamed)
        left = without(settings, needless(text))
        if self._unmended is not None or len(left) == len(settings.statements):
            self.give_up_mending()
            return 0
        if self._texts.inspect(text).pins or (d.policy.init_query and EVERYTHING in mended(text)):
            return 0  # should it fail, the session could not be kept on the backend
        self._unmended = settings
        self._believe(d.shared.settings.of(left, settings.spelled))
        d.mending = True
        return size

    def _believe(self, settings: Settings) -> None:
        self._d.settings = settings
        self._d.statements.altered = True

    def give_up_mending(self) -> None:
        """The session has what it had."""
        if self._unmended is not None:
            self._believe(self._unmended)
        self._unmended = None
        self._d.mending = False

    def mending_over(self) -> None:
        """A request that mends is over. If it has not done so, the session has what it had, and no doubts."""
        d = self._d
        if d.doubts.quits and d.away:
            d.away = False
            self._handing.stop()
        if self._unmended is not None and not d.doubts.done:
            self._believe(self._unmended)
            d.doubts.forget()
        self._unmended = None

    def spares_request(self) -> bool:
        """The backend breaks off. Whether nothing of the client's has reached it, and another one is to be tried."""
        if self._broken >= _MOST_BROKEN or not any(isinstance(note, Sync) for note in self._d.ledger.notes()):
            return False
        self._broken += 1
        return True

    def synced(self, note: Sync) -> None:
        """The server has answered a query of `_sync`."""
        d, state = self._d, self._d.state
        assert state is not None
        if note.error:
            d.unfit = d.unfit or note.error
        if not note.last:
            return
        d.paused = False
        if not d.unfit:
            self._broken = 0
            assert d.settings is not None
            state.settings = d.settings
            self.tell_parameters(state)
            if d.away and not d.mending:
                self._handing.come_back(state)

    def tell_parameters(self, state: PostgresState) -> None:
        """What this backend reports otherwise than the client was told, of another one or at login: say so now."""
        d = self._d
        parameters = state.server_parameters = d.shared.reported(state.server_parameters)
        if d.told is parameters:
            return
        for name, value in parameters.items():
            if d.told.get(name, value) == value:
                continue
            own = d.settings is not None and name.lower().encode() in d.settings.statements
            # The client was told of its own value; in another encoding than now, if it is not ASCII.
            if value.isascii() or not own:
                self._to_client.append(parameter_status(name, value))
                self._texts.parameter(name, value)
        d.told = parameters

    def _take_over(self, state: PostgresState) -> None:
        """The backend changes hands: what its former user left for currval and lastval is not ours."""
        d = self._d
        if state.last_user is not None:
            state.sequences_mixed = not d.shared.sequence_minded
            if d.shared.sequence_minded:
                state.last = NOTHING
                d.injected.append(_FORGET_SEQUENCES)
                d.ledger.owe(SWALLOWED_QUERY)
                d.asking += 1
        if state.natives:
            state.garbage += state.natives
            state.natives = {}
        state.last_user = d.token

    # -- at the boundary ------------------------------------------------------------------------------------------

    def see_tag(self, tag: bytes) -> None:
        """A command was done that is not one of the most frequent ones."""
        d = self._d
        if tag in (b"SET", b"RESET"):
            d.doubts.done += 1
        elif tag == b"DEALLOCATE" and d.stand_ins:
            # Whether it was about these: at the boundary the server is asked. Until then it has the say.
            ended = d.stand_ins if d.ending is None else d.stand_ins & d.ending
            d.ensured |= ended
            d.stand_ins -= ended
        elif tag == b"DISCARD PLANS":
            self._forget_readings()
        elif tag in (b"DEALLOCATE ALL", b"DISCARD ALL"):
            self._forget_statements()
            d.doubts.done += tag == b"DISCARD ALL"
        if d.mending and tag in (b"UNLISTEN", b"DISCARD ALL"):
            d.doubts.quits = True
            d.doubts.discarded = d.doubts.discarded or tag == b"DISCARD ALL"
        elif d.listening.channels and tag != b"NOTIFY" and not d.away:
            d.doubts.suspect(PinReason.LISTEN, "the session listens")
        if d.pins:
            for reason in ASKABLE if tag == b"DISCARD ALL" else _UNDOING_TAGS.get(tag[:5], ()):
                d.doubt_pin(reason)

    def settle(self) -> bool:
        """At a boundary, in doubt: returns whether the server has to be asked first."""
        d, state = self._d, self._d.state
        assert state is not None
        assert d.settings is not None
        doubts = d.doubts
        touched = doubts.touched()
        if not touched and not doubts.suspects and not doubts.statements:
            self._forget_doubts()
            return False
        recoded = ENCODING in touched and not d.settings.is_ascii()
        if touched and not doubts.suspects and not doubts.statements and not recoded:
            sole = doubts.sole(d.settings)
            if sole is not None and doubts.done <= 1 and not (sole.name == EVERYTHING and d.settings.custom):
                if doubts.done == 1:
                    self._apply(sole)
                self._forget_doubts()
                return False
        asks = bool(doubts.suspects or doubts.reported or doubts.asked or doubts.statements or d.settings.statements)
        if not asks and doubts.only_resets() and doubts.done <= 1:  # RESET with SET LOCAL leaves the setting as set
            self._forget_doubts()
            return False
        if self._unreadable(touched):
            d.pin(PinReason.SESSION_SETTING, "a custom variable's name is not ASCII")
        if recoded or doubts.unexplained():
            # What was not ASCII in the old encoding is something else in the new one.
            touched[EVERYTHING] = None
        question = Question(touched or None, dict(doubts.suspects), d.settings, doubts.statements, doubts.spelled())
        question.read_otherwise = doubts.read_otherwise()
        if doubts.statements or question.read_otherwise:
            # What a name or a constant means is not known before the answer, and behind it a Sync of ours may follow:
            # it must not stand behind messages of the client's, which it would commit, or whose error it would end.
            d.paused = d.settling = True
        doubts.forget()
        self._ask(question)
        return True

    def _ask(self, question: Question) -> None:
        d, state = self._d, self._d.state
        assert state is not None
        d.ledger.owe(Owed(Kind.QUERY, swallow=True, note=question))
        d.injected.append(frame(b"Q", question.text(), b"\0"))
        d.asking += 1
        state.last = NOTHING

    def _forget_doubts(self) -> None:
        """They are settled, and nobody was asked."""
        d = self._d
        d.doubts.forget()
        d.compare_contexts()

    def _unreadable(self, touched: Mapping[bytes, bytes | None]) -> bool:
        """Whether a custom variable may have another name now than the bytes that named it would say today."""
        d, state = self._d, self._d.state
        assert d.settings is not None
        assert state is not None
        names = [name for name in (*touched, *d.settings.custom) if b"." in name]
        if all(name.isascii() for name in names):
            return False
        # In a database of another encoding the server may have made small letters of them in its own way.
        parameters = state.server_parameters
        if ENCODING in touched or parameters.get("server_encoding") != "UTF8":
            return True
        # Of each part 63 bytes count, and there it may be three times as long as here.
        foreign = parameters.get("client_encoding") != "UTF8"
        return foreign and any(3 * len(name) > NAME_BYTES for name in names if not name.isascii())

    def _apply(self, sole: Sole) -> None:
        d = self._d
        assert d.settings is not None
        statements = dict(d.settings.statements)
        if sole.name == EVERYTHING:
            for name in statements.keys() - IDENTITY:
                del statements[name]
        else:
            statements.pop(sole.name, None)
            if sole.statement is not None:
                statements[sole.name] = sole.statement
        self._now(statements, d.settings.spelled)

    def _now(self, statements: dict[bytes, bytes], spelled: Mapping[bytes, bytes]) -> None:
        """Session and backend have these settings."""
        d, state = self._d, self._d.state
        assert state is not None
        d.settings = state.settings = d.shared.settings.of(statements, spelled)
        d.statements.altered = True  # see `Dialogue.compare_contexts`
        if _NOT_ZERO(statements.get(_IDLE_LIMIT, b"")) is not None:
            d.pin(PinReason.SESSION_SETTING, "idle_session_timeout ends the connection that has it")
        if b"pg_temp" in statements.get(b"search_path", b"").lower():
            d.pin(PinReason.UNRECOGNISED_STATE, _IN_PG_TEMP)

    def answered(self, question: Question) -> None:
        """The question's end came."""
        d = self._d
        again = question.again()
        if again is not None:
            self._ask(again)
            return
        if question.touched is not None:
            unsafe = self._texts.multibyte_unsafe and not question.is_ascii()
            if question.failed or unsafe or question.hides(d.login):
                d.pin(PinReason.SESSION_SETTING, "the server did not say what is set")
            elif question.gained(d.login):
                d.pin(PinReason.SESSION_SETTING, "set with the rights of another role")
            else:
                self._now(question.statements(d.login), question.spelled())
        if question.naming:
            self._learn_names(question)
        for reason, detail in question.suspects.items():
            if reason is PinReason.LISTEN:
                self._handing.answered(question, detail)
            elif question.failed or reason in question.true:
                d.pin_surely(reason, detail)
            elif d.pins.lift(reason):
                d.lifted = True
        d.compare_contexts()

    def _learn_names(self, question: Question) -> None:
        """The server has said which statements stand on the backend."""
        d, texts = self._d, self._texts
        safe = not question.failed and not (texts.multibyte_unsafe and not question.is_ascii())
        context = d.doubted(question.read_otherwise)
        fresh = reconcile(d, question.names, texts.inspect, context, escapes=texts.escapes) if safe else None
        if fresh is None:
            d.pin(PinReason.SQL_PREPARED_STATEMENT, "what was prepared cannot be told")
            return
        if not fresh:
            return
        for name, statement in fresh:
            d.ledger.owe(Owed(Kind.DESCRIBE, swallow=True, note=Learn(statement, name=name)))
            d.injected.append(describe_frame(name))
        d.ledger.owe(SWALLOWED_SYNC)
        d.injected.append(SYNC)
        d.extended = True

    def _forget_readings(self) -> None:
        """Every statement on the backend is read anew at its next use.

        That is no matter where it is read by the same settings. Whose session has others by now did not ask for it.
        """
        state = self._d.state
        assert state is not None
        own = {statement.key for statement in self._d.statements.named.values()}
        for key in [key for key in state.statements if is_owned(key[3]) and key not in own]:
            state.garbage.append(state.statements.pop(key))

    def _forget_statements(self) -> None:
        """DEALLOCATE ALL or DISCARD ALL was done: nothing has a name any more, the proxy's own among them."""
        d, state = self._d, self._d.state
        assert state is not None
        last = state.last
        state.lost_statements()
        state.last = last  # the unnamed one has no name to SQL
        d.statements.named.clear()
        d.ensured.clear()
        d.stand_ins.clear()
