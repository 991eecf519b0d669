"""What a session may have changed since the server was last asked (`asking`). Compiled: every session has one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres.setting_text import EVERYTHING, Sole
from rdsp_codecs.postgres.settings import AUTHORIZATION, READ_BY, ROLE, Settings

if TYPE_CHECKING:
    from rdsp_codecs.postgres.session_state import Verdict

_NO_NAMES: Final[frozenset[bytes]] = frozenset()


class Doubts:
    """What may have changed since the server was last asked.

    Attributes:
        changes: the verdicts of texts that touch settings, in order.
        alone: there is one, and it was sent outside a transaction, as the only text of its request.
        done: how many SET and RESET were reported done.
        reported: settings that the server reported as changed.
        suspects: reasons to pin, if the server says so, with what to say then.
        statements: SQL has named prepared statements.
        asked: settings that are asked for although nothing has told of a change (the strict mode).
        local: settings that a text is read by, set up to the end of the transaction.
        always: something is to be done at every boundary, even without a doubt.
        any: there are doubts, or `always`.
        quits: UNLISTEN * or DISCARD ALL was done where no backend listens (see `Syncer.mends`).
        discarded: DISCARD ALL was, which no error behind it undoes.
    """

    __slots__ = (
        "alone", "always", "any", "asked", "changes", "discarded", "done", "local", "quits", "reported", "statements",
        "suspects",
    )  # fmt: skip

    def __init__(self) -> None:
        self.changes: list[Verdict] = []
        self.alone = False
        self.done = 0
        self.reported: frozenset[bytes] = _NO_NAMES
        self.suspects: dict[PinReason, str] = {}
        self.statements = False
        self.asked: frozenset[bytes] = _NO_NAMES
        self.local: frozenset[bytes] = _NO_NAMES
        self.always = False
        self.any = False
        self.quits = False
        self.discarded = False

    def name_statements(self) -> None:
        """SQL that names prepared statements goes out, or was done."""
        self.statements = self.any = True

    def change(self, verdict: Verdict, *, alone: bool) -> None:
        """A text that touches settings goes out; `alone`: outside a transaction, as the first of its request."""
        self.alone = alone and not self.any
        if self.alone:
            self.done = 0  # what came before was no change
        self.changes.append(verdict)
        self.any = True

    def suspect(self, reason: PinReason, detail: str) -> None:
        """The server is to be asked for `reason`."""
        self.suspects.setdefault(reason, detail)
        self.any = True

    def report(self, name: bytes) -> None:
        """The server reported a new value of a setting (lower case)."""
        self.reported |= {name}
        self.any = True

    def error(self, *, undoes: bool) -> None:
        """A message of the client's failed; `undoes`: and what was done since the last boundary."""
        self.alone = False
        if undoes:
            self.done, self.quits = int(self.discarded), self.discarded

    @property
    def settings(self) -> bool:
        """Whether settings are in doubt."""
        return bool(self.changes or self.reported or self.asked)

    @property
    def lasting(self) -> bool:
        """Whether anything is in doubt that would outlive its transaction."""
        return self.settings or self.statements or self.always or bool(self.suspects)

    def read_otherwise(self) -> set[bytes]:
        """What has changed, or may have, that a text is read by (`EVERYTHING`: any of it)."""
        changed = {name for verdict in self.changes for name in verdict.touches} | self.reported
        return {*self.local, *(name for name in changed if name in READ_BY or name == EVERYTHING)}

    def only_resets(self) -> bool:
        """Whether all changes put settings back to their values at login."""
        return not any(verdict.sets for verdict in self.changes)

    def request_over(self, *, texts: int, outside: bool) -> None:
        """A request is over that sent so many texts; `outside`: of a transaction."""
        self.alone = self.alone and texts == 1 and outside

    def sole(self, known: Settings) -> Sole | None:
        """What the only change did, where the text tells."""
        if len(self.changes) != 1 or not self.alone or self.asked:
            return None
        sole = self.changes[0].sole
        identity = known.statements.keys() & {ROLE, AUTHORIZATION}
        if sole is not None and identity and (sole.name != ROLE or AUTHORIZATION in identity):
            return None  # whether who logged in may do that, too, is not known
        if sole is not None and sole.name in known.spelled:
            return None  # it would be made anew in another spelling
        if sole is None or not (self.reported <= {sole.name} or sole.name == EVERYTHING):
            return None
        return sole

    def touched(self) -> dict[bytes, bytes | None]:
        """All names that texts and reports name, with the value where a text has a plain one."""
        names: dict[bytes, bytes | None] = dict.fromkeys((*self.reported, *self.asked))
        for verdict in self.changes:
            for name, value in verdict.touches.items():
                names[name] = None if name in names else value
        return names

    def unexplained(self) -> bool:
        """Whether a setting was reported that no text names: what set it may have set others, too, unseen."""
        return not self.reported <= {name for verdict in self.changes for name in verdict.touches}

    def spelled(self) -> dict[bytes, bytes]:
        """How texts spell names that are not in lower case: a custom variable stays as it was spelled first."""
        spelled: dict[bytes, bytes] = {}
        for verdict in self.changes:
            for name in verdict.touches:
                spelled.setdefault(name, verdict.spelled.get(name, name))
        return {name: as_ for name, as_ in spelled.items() if as_ != name}

    def forget(self) -> None:
        """They are settled."""
        self.changes.clear()
        self.reported = self.asked = self.local = frozenset()
        self.suspects.clear()
        self.alone, self.done = False, 0
        self.quits = self.discarded = False
        self.statements, self.any = False, self.always
