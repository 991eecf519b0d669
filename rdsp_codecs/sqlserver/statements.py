"""What a text of T-SQL may leave behind in its session, by its tokens. What is not known to leave nothing pins.

The server tells of transactions, of the database and of the language; of all else it tells nothing, so the text has to.
What procedures and triggers of users do is not seen: SQL Server itself undoes their SETs and drops their temporary
tables when they end.
"""

from __future__ import annotations

import functools
from typing import Final

import attrs

from rdsp_codecs.pins import PinReason
from rdsp_codecs.sqlserver.lexer import Kind, Token, tokens, unquoted

_NAMES: Final = (Kind.WORD, Kind.QUOTED)
_ASSIGNS: Final = frozenset({"=", "+", "-", "*", "/", "%", "&", "|", "^"})
_HINTS: Final = frozenset({"HINT", "PLAN"})
_LEAVES: Final = frozenset({"INSERT", "MERGE", "UPDATE", "DELETE", "SELECT"})
_JOINS: Final = frozenset({"UNION", "ALL", "EXCEPT", "INTERSECT"})
"""Behind one of these a SELECT goes on with its statement."""
_BRANCHES: Final = frozenset({"IF", "WHILE", "TRY", "GOTO"})
"""Behind one of these a statement may not have run."""
_KEEPS: Final = frozenset({"CURSOR", "DBCC", "DISTRIBUTED", "OPEN", "REVERT", "SETUSER"})
_READS: Final = frozenset({"@@IDENTITY", "@@ROWCOUNT", "@@ERROR", "@@FETCH_STATUS", "@@CURSOR_ROWS"})
_READERS: Final = frozenset({"SCOPE_IDENTITY", "ROWCOUNT_BIG", "CURSOR_STATUS"})
_BEGINNINGS: Final = frozenset(
    {"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE", "WITH", "CREATE", "ALTER", "DROP", "TRUNCATE", "GRANT", "REVOKE"}
    | {
        "DENY",
        "SET",
        "DECLARE",
        "EXEC",
        "EXECUTE",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVE",
        "IF",
        "WHILE",
        "RETURN",
        "PRINT",
    }
    | {"RAISERROR", "THROW", "WAITFOR", "USE", "BREAK", "CONTINUE", "KILL", "BACKUP", "RESTORE", "CHECKPOINT", "BULK"}
    | {"GOTO", "RECONFIGURE", "READTEXT", "WRITETEXT", "UPDATETEXT", "ENABLE", "DISABLE", "SHUTDOWN", "DBCC", "REVERT"}
    | {"OPEN", "CLOSE", "FETCH", "DEALLOCATE", "SETUSER"}
)
"""What a batch may begin with that is no procedure's name."""
_HARMLESS: Final = frozenset(
    {"sp_columns", "sp_columns_100", "sp_databases", "sp_datatype_info", "sp_datatype_info_100", "sp_fkeys", "sp_help"}
    | {"sp_helpindex", "sp_helptext", "sp_pkeys", "sp_rename", "sp_server_info", "sp_spaceused", "sp_special_columns"}
    | {"sp_special_columns_100", "sp_sproc_columns", "sp_sproc_columns_100", "sp_statistics", "sp_statistics_100"}
    | {"sp_stored_procedures", "sp_tables", "sp_who", "sp_who2", "sp_releaseapplock", "sp_describe_first_result_set"}
    | {"sp_describe_undeclared_parameters", "sp_describe_parameter_encryption", "sp_unprepare"}
)
"""Procedures of the server's own that leave nothing in a session."""
_BY_PROCEDURE: Final = {
    "sp_getapplock": PinReason.ADVISORY_LOCK,
    "sp_set_session_context": PinReason.SESSION_SETTING,
    "sp_prepare": PinReason.PREPARED_STATEMENT,
    "sp_prepexec": PinReason.PREPARED_STATEMENT,
    "sp_prepexecrpc": PinReason.PREPARED_STATEMENT,
}
_LASTING: Final = frozenset({"sp_setapprole", "sp_unsetapprole"})
"""What no reset undoes."""


@attrs.frozen
class Verdict:
    """What was found.

    Attributes:
        pins: why the session must keep its backend from now on.
        reads: it may read what the statement before it has left: the last identity, counts, the last error.
        leaves: a later one may read that of it: it writes rows.
        bulk: the rows of a bulk load come in the next message.
        lasts: what it does is not undone by RESETCONNECTION.
    """

    pins: frozenset[PinReason] = frozenset()
    reads: bool = False
    leaves: bool = False
    bulk: bool = False
    lasts: bool = False


NOTHING: Final = Verdict()
UNSEEN: Final = Verdict(frozenset({PinReason.UNRECOGNISED_STATE}), reads=True, leaves=True)
"""Of what cannot be looked at."""


@functools.lru_cache(maxsize=2048)
def verdict(text: str) -> Verdict:
    """What a batch may leave.

    QUOTED_IDENTIFIER is taken to be on. Where it is off, what stands in double quotes is a literal, and is taken for a
    name here: which finds more, and not less.
    """
    them = tokens(text)
    if them and them[-1].kind is Kind.FAULT:
        return UNSEEN
    found = _Found()
    if them and them[0].kind in _NAMES and them[0].key not in _BEGINNINGS:
        found.call(_last_part(them, 0))
    for at, token in enumerate(them):
        if token.kind is Kind.SYSTEM:
            if token.key.upper() in _READS:
                found.read()
        elif token.kind in _NAMES:
            if unquoted(token).startswith("#"):
                found.pins.add(PinReason.TEMPORARY_TABLE)
            if token.kind is Kind.WORD:
                found.word(them, at)
        elif token.kind is Kind.MARK:
            found.mark(token.key)
    return found.verdict()


class _Found:
    """What was found so far in one text, from its beginning on."""

    def __init__(self) -> None:
        self.pins: set[PinReason] = set()
        self.reads = self.leaves = self.bulk = self.lasts = self.branches = False
        self._ended = False
        """A statement that leaves something has surely ended."""
        self._depth = 0
        self._verb = ""
        """Of the statement that is being read, outside of brackets."""
        self._before = ""

    def read(self) -> None:
        """Something is read that a statement leaves: of this text, if one has surely run before."""
        self.reads = self.reads or self.branches or not self._ended

    def mark(self, key: str) -> None:
        """A mark."""
        self._depth += (key == "(") - (key == ")")
        if key == ";" and not self._depth:
            self._ended = self._ended or self.leaves
            self._verb = ""
        self._before = key

    def _begin(self, key: str) -> None:
        """A verb, which may be another statement's than the one before it, without any mark between them."""
        if not self._depth:
            other = self._verb in ("UPDATE", "DELETE", "VALUES") or (
                self._verb == "SELECT" and self._before not in _JOINS
            )
            self._ended = self._ended or (other and self._verb != "MERGE")
            self._verb = self._verb if self._verb == "MERGE" else key
        self.leaves = True

    def call(self, name: str) -> None:
        """A procedure is called; of its name the last part, in lower case."""
        self.pins |= called(name)
        self.lasts = self.lasts or name in _LASTING
        self.branches = True  # nobody knows what it leaves

    def word(self, them: list[Token], at: int) -> None:
        """A keyword or a name."""
        key = them[at].key
        after = them[at + 1].key if at + 1 < len(them) else ""
        if key in _READERS:
            self.read()
        elif key in _LEAVES:
            self._begin(key)
            self.bulk = self.bulk or (key == "INSERT" and after == "BULK")
        elif key in _BRANCHES:
            self.branches = True
        elif (key == "SET" and not _is_assignment(them, at + 1)) or (key == "USE" and after not in _HINTS):
            self.pins.add(PinReason.SESSION_SETTING)
        elif key in _KEEPS:
            self.pins.add(PinReason.UNRECOGNISED_STATE)
            self.lasts = self.lasts or key in ("REVERT", "SETUSER")
        elif key in ("EXEC", "EXECUTE"):
            self.pins |= _executed(them, at + 1)
            self.call(_last_part(them, at + 1))
            self.lasts = self.lasts or after == "AS"
        elif key == "VALUES" and self._verb == "INSERT" and not self._depth:
            self._verb = key
        self._before = key

    def verdict(self) -> Verdict:
        """All of it."""
        if not (self.pins or self.reads or self.bulk or self.lasts):
            return _LEAVING if self.leaves or self.branches else NOTHING
        return Verdict(frozenset(self.pins), self.reads, self.leaves or self.branches, self.bulk, self.lasts)


_LEAVING: Final = Verdict(leaves=True)


def called(name: str) -> frozenset[PinReason]:
    """What a call of a procedure may leave; of its name the last part, in lower case."""
    if name in _BY_PROCEDURE:
        return frozenset({_BY_PROCEDURE[name]})
    if name.startswith("sp_cursor"):
        return frozenset({PinReason.HOLD_CURSOR})
    if name.startswith(("sp_", "xp_")) and name not in _HARMLESS:
        return frozenset({PinReason.UNRECOGNISED_STATE})
    return frozenset()


def lasting(name: str) -> bool:
    """Whether RESETCONNECTION does not undo what a procedure does; of its name the last part, in lower case."""
    return name in _LASTING


def _executed(them: list[Token], at: int) -> frozenset[PinReason]:
    """What an EXECUTE may leave whose procedure's name begins there."""
    if at + 1 < len(them) and them[at].kind is Kind.VARIABLE and them[at + 1].key == "=":
        at += 2
    if at >= len(them) or them[at].kind not in _NAMES or them[at].key == "AS":
        return frozenset({PinReason.UNRECOGNISED_STATE})  # a text, or a name, that is made when it runs
    return called(_last_part(them, at))


def _last_part(them: list[Token], at: int) -> str:
    """Of a name that begins there, in lower case; "": there is none."""
    if at + 1 < len(them) and them[at].kind is Kind.VARIABLE and them[at + 1].key == "=":
        at += 2
    found = ""
    while at < len(them):
        if them[at].kind in _NAMES:
            found = unquoted(them[at]).lower()
            at += 1
        if at >= len(them) or them[at].key != ".":
            break
        at += 1
    return found


def _is_assignment(them: list[Token], at: int) -> bool:
    """Whether what stands behind SET is given a value there: a variable, or a column in an UPDATE."""
    if at < len(them) and them[at].kind is Kind.VARIABLE:
        return True
    while at + 1 < len(them) and them[at].kind in _NAMES:
        if them[at + 1].key in _ASSIGNS:
            return True
        if them[at + 1].key != ".":
            return False
        if at + 3 < len(them) and them[at + 2].key == "WRITE" and them[at + 3].key == "(":
            return True
        at += 2
    return False
