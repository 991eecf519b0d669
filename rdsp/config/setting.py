"""What is known about one setting, and how a model's class has fields that know it.

Used by the modules of the model (`rdsp.config.model` and those beside it); everybody else imports from there.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

import attrs

from rdsp.config.kinds import FilePath, Kind, Text
from rdsp.config.units import BadValue

DAY: Final = 86400.0
YEAR: Final = 365 * DAY
SETTING: Final = "setting"
"""Key of a field's metadata: a `Setting` or a `Table`."""


class Reload(Enum):
    """What a change of a setting needs when the file is read again."""

    LIVE = "live"
    NEW_SESSIONS = "new_sessions"
    RESTART = "restart"

    @property
    def help(self) -> str:
        """One sentence for the reference page."""
        return _RELOAD_HELP[self]


_RELOAD_HELP: Final = {
    Reload.LIVE: "takes effect at once",
    Reload.NEW_SESSIONS: "holds for sessions and database connections opened from then on",
    Reload.RESTART: "needs a restart",
}


@attrs.frozen
class Setting:
    """What is known about one setting.

    Attributes:
        kind: type, range, how it is read and shown.
        help: for the reference page; Markdown, ends with a full stop.
        reload: what a change needs.
        default: in words, where the value alone does not say it.
        rds: the name of RDS Proxy's own setting, "" for those that it does not have.
    """

    kind: Kind
    help: str
    reload: Reload
    default: str = ""
    rds: str = ""


@attrs.frozen
class Table:
    """A field that is a table (`many`: an array of tables) of its own."""

    model: type[Any]
    help: str
    many: bool = False


def setting(kind: Kind, default: Any, help: str, reload: Reload = Reload.LIVE, *, says: str = "", rds: str = "") -> Any:
    """An attrs field for one setting; its validator raises `BadValue` for what the kind does not take."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is None and default is None:
            return
        try:
            kind.check(value)
        except BadValue as error:
            raise BadValue(f"{attribute.name}: {error}") from None

    return attrs.field(default=default, validator=check, metadata={SETTING: Setting(kind, help, reload, says, rds)})


def table(model: type[Any], help: str) -> Any:
    """An attrs field for a table."""
    return attrs.field(factory=model, metadata={SETTING: Table(model, help)})


def array(model: type[Any], help: str) -> Any:
    """An attrs field for an array of tables."""
    return attrs.field(default=(), metadata={SETTING: Table(model, help, many=True)})


USER_NAME: Final = Text(1, 128)
PEM_FILE: Final = FilePath()
