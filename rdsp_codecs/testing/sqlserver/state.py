"""What the reference server and each of its sessions know."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from rdsp_codecs.sqlserver.constants import TDS_7_2
from rdsp_codecs.sqlserver.login7 import ODBC, Login7
from rdsp_codecs.sqlserver.types import TypeInfo
from rdsp_codecs.testing.sqlserver.database import Data
from rdsp_codecs.testing.sqlserver.options import Options
from rdsp_codecs.testing.sqlserver.statements import CreateProcedure, InsertBulk, SqlError, Statement, Variable
from rdsp_codecs.testing.sqlserver.transactions import Transactions, descriptors

NAME: Final = "RDSP-REFERENCE"
PROGRAM: Final = "Microsoft SQL Server"
PROGRAM_VERSION: Final = (16, 0, 0x10, 0x00)
"""Of SQL Server 2022: drivers look at it."""
FIRST_SPID: Final = 51
_SYSTEM_DATABASES: Final = ("master", "tempdb", "model", "msdb")


@attrs.define(eq=False)
class AppLock:
    """One that sp_getapplock has given."""

    owner: int
    count: int = 1
    of_transaction: bool = False


@attrs.define(eq=False)
class Server:
    """What all sessions share.

    Attributes:
        folder: of the data.
        users: passwords by name in lower case.
        databases: names, with the four that every server has.
        tokens: federated authentication: users by token.
        routes: where a login with a database of this name is sent: server and port.
        ended: how many transactions have ended, so that who waits for a lock can tell that one has.
    """

    folder: Path
    users: dict[str, str]
    databases: list[str] = attrs.field(factory=list)
    tokens: dict[str, str] = attrs.field(factory=dict)
    routes: dict[str, tuple[str, int]] = attrs.field(factory=dict)
    descriptors: Iterator[bytes] = attrs.field(factory=descriptors, init=False)
    spids: Iterator[int] = attrs.field(factory=lambda: itertools.count(FIRST_SPID), init=False)
    sessions: dict[int, State] = attrs.field(factory=dict, init=False)
    procedures: dict[str, CreateProcedure] = attrs.field(factory=dict, init=False)
    locks: dict[str, AppLock] = attrs.field(factory=dict, init=False)
    ended: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self.databases = [*_SYSTEM_DATABASES, *(name for name in self.databases if name not in _SYSTEM_DATABASES)]

    def database(self, name: str) -> str:
        """A database by its name as it was created. Raises `SqlError` where there is none."""
        for each in self.databases:
            if each.lower() == name.lower():
                return each
        raise SqlError(911, f"Database '{name}' does not exist. Make sure that the name is entered correctly.")


@attrs.define(eq=False)
class Prepared:
    """A prepared statement's parameters and statements."""

    variables: tuple[Variable, ...]
    text: str


@attrs.define(eq=False)
class Cursor:
    """An API cursor: all of its rows, and the number of the last one that was fetched, 0 before the first."""

    names: tuple[str, ...]
    infos: tuple[TypeInfo, ...]
    rows: list[tuple[Any, ...]]
    at: int = 0
    size: int = 0


@attrs.define(eq=False)
class Frame:
    """What a batch, a procedure or an executed text has of its own.

    Attributes:
        types, values: of its variables, by name in lower case with the @.
        procedure: its name, "" of none.
        level: @@NESTLEVEL.
        within: its DONEs are DONEINPROCs.
        identity: SCOPE_IDENTITY().
        errors: that are being caught, the innermost last.
        tables: its table variables: SQLite's names.
        before: temporary tables that were there when it began.
    """

    types: dict[str, TypeInfo] = attrs.field(factory=dict)
    values: dict[str, Any] = attrs.field(factory=dict)
    procedure: str = ""
    level: int = 0
    within: bool = False
    identity: int | None = None
    errors: list[tuple[SqlError, int]] = attrs.field(factory=list)
    tables: dict[str, str] = attrs.field(factory=dict)
    before: frozenset[str] = frozenset()


@attrs.define(eq=False)
class State:
    """One session's.

    Attributes:
        server: whose it is.
        spid: its number there.
        version: of the protocol.
        login: who it is.
        options: what is set now.
        database: the current one.
        rows, error, identity: @@ROWCOUNT, @@ERROR, @@IDENTITY.
        scope: SCOPE_IDENTITY() of the batches, which are one scope.
        handles, cursors: what is prepared and open, by their numbers.
        context: of sp_set_session_context.
        users: whom EXECUTE AS has made of it, the last one last.
        role: of sp_setapprole, "" for none.
        frame: what runs.
        bulk: the INSERT BULK whose rows come next.
        data: its connection to SQLite, set when it has begun.
    """

    server: Server
    spid: int
    version: int
    login: Login7
    database: str
    options: Options = attrs.field(init=False)
    transactions: Transactions = attrs.field(init=False)
    rows: int = 0
    error: int = 0
    identity: int | None = None
    scope: int | None = None
    handles: dict[int, Prepared] = attrs.field(factory=dict)
    cursors: dict[int, Cursor] = attrs.field(factory=dict)
    numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))
    context: dict[str, Any] = attrs.field(factory=dict)
    users: list[str] = attrs.field(factory=list)
    role: str = ""
    frame: Frame = attrs.field(factory=Frame)
    bulk: InsertBulk | None = None
    _data: Data | None = None
    parsed: dict[tuple[str, bool], tuple[Statement, ...]] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.transactions = Transactions(self.server.descriptors)
        self.options = self.options_at_login()

    @property
    def data(self) -> Data:
        """Its connection to SQLite."""
        if self._data is None:
            raise AssertionError("the session has not begun")
        return self._data

    @data.setter
    def data(self, data: Data) -> None:
        self._data = data

    @property
    def old(self) -> bool:
        """The connection speaks 7.1."""
        return self.version < TDS_7_2

    @property
    def user(self) -> str:
        """Who it is now."""
        return self.users[-1] if self.users else self.login.user

    def options_at_login(self) -> Options:
        """With which a session begins."""
        return Options.at_login(odbc=bool(self.login.flags2 & ODBC), language=self.login.language)
