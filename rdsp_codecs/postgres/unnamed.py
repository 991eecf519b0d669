"""The unnamed statement, in a session and on a backend: which it is if all that was sent succeeds.

A message that sets or drops it makes a `Put`. The session and the backend each know their last one; where the server
skips the message after all, what was before it counts again, whatever was put behind it since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rdsp_codecs.postgres.session_state import HARMLESS

if TYPE_CHECKING:
    from rdsp_codecs.postgres.statements import Statement


class Put:
    """What one message makes of the unnamed statement. `statement` is None: there is none from here on."""

    __slots__ = ("in_session", "on_backend", "skipped", "statement")

    def __init__(self, statement: Statement | None) -> None:
        self.statement = statement
        self.skipped = False
        self.in_session: Put | None = None
        """The session's last one before this."""
        self.on_backend: Put | None = None
        """The backend's last one before this."""

    def skip(self) -> None:
        """The server does not process the message."""
        self.skipped = True

    def fail(self) -> None:
        """The server has processed it, with an error: then there is no unnamed statement."""
        self.statement, self.skipped = None, False

    def done(self) -> None:
        """It was processed: what was before it will not count again."""
        self.in_session = self.on_backend = None


NOTHING: Final = Put(None)
"""There is none, and there was none before."""


class InSession:
    """The session's side. (A mixin: the statement book is one.)"""

    __slots__ = ("last",)
    last: Put

    @property
    def unnamed(self) -> Statement | None:
        """The unnamed statement as the client must see it."""
        last = self.last
        while last.skipped:
            last = last.in_session or NOTHING
        self.last = last
        return last.statement

    def may_be_another(self) -> bool:
        """Whether, should messages under way fail, `unnamed` is an earlier one that has to be heeded."""
        put = self.last.in_session
        while put is not None:
            statement = put.statement
            if statement is not None and statement.verdict is not HARMLESS:
                return True
            put = put.in_session
        return False


class OnBackend:
    """The backend's side, where the last put may be another session's."""

    __slots__ = ("last",)
    last: Put

    @property
    def unnamed(self) -> Statement | None:
        """The unnamed statement that the backend really has."""
        last = self.last
        while last.skipped:
            last = last.on_backend or NOTHING
        self.last = last
        return last.statement


def trim(side: InSession | OnBackend) -> None:
    """All was answered: only what is true now is remembered."""
    if side.unnamed is None:
        side.last = NOTHING
    else:
        side.last.done()
