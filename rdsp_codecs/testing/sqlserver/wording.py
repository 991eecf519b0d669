"""A stretch of T-SQL as SQLite has it: names of tables, literals, variables, functions, and what T-SQL alone writes so.

It goes by tokens and knows where tables are named, no more. What it does not know goes to SQLite as it is, whose error
is the client's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from rdsp_codecs.sqlserver import types as y
from rdsp_codecs.sqlserver.lexer import Kind, unquoted
from rdsp_codecs.sqlserver.types import TypeInfo
from rdsp_codecs.testing.sqlserver import declared as d
from rdsp_codecs.testing.sqlserver.statements import SqlError, Tokens, syntax_error

_EXACT: Final = 15
"""Digits of a decimal that a float keeps; one with more is a text to SQLite."""
_RENAMED: Final = {
    "ISNULL": "ifnull",
    "LEN": "_len",
    "DATALENGTH": "_datalength",
    "GETDATE": "_now",
    "SYSDATETIME": "_now",
    "SYSUTCDATETIME": "_now",
    "GETUTCDATE": "_now",
    "NEWID": "_newid",
    "LEFT": "_left",
    "RIGHT": "_right",
    "REPLICATE": "_replicate",
    "CONCAT": "_concat",
    "COUNT_BIG": "count",
    "CHARINDEX": "_charindex",
    "SPACE": "_space",
}
"""Functions that SQLite has by another name, or is given."""
ENDS_TABLES: Final = frozenset(
    {"WHERE", "GROUP", "ORDER", "HAVING", "UNION", "EXCEPT", "INTERSECT", "SET", "VALUES", "OPTION", "SELECT", "FOR"}
)
_NO_ALIAS: Final = ENDS_TABLES | frozenset(
    {"ON", "JOIN", "INNER", "LEFT", "RIGHT", "FULL", "CROSS", "OUTER", "WITH", "OUTPUT", "DEFAULT", "EXEC", "FROM"}
    | {"EXECUTE", "AS"}
)


CALLS: Final = frozenset(
    {"DB_NAME", "DB_ID", "SUSER_SNAME", "SUSER_NAME", "ORIGINAL_LOGIN", "USER_NAME", "APP_NAME", "HOST_NAME"}
    | {"SCOPE_IDENTITY", "XACT_STATE", "OBJECT_ID", "SERVERPROPERTY", "SESSION_CONTEXT", "CONTEXT_INFO", "SCHEMA_NAME"}
    | {"ERROR_NUMBER", "ERROR_MESSAGE", "ERROR_SEVERITY", "ERROR_STATE", "ERROR_LINE", "ERROR_PROCEDURE"}
    | {
        "SESSIONPROPERTY",
        "CURRENT_TRANSACTION_ID",
        "APPLOCK_MODE",
        "DATABASEPROPERTYEX",
        "HAS_DBACCESS",
        "IS_SRVROLEMEMBER",
    }
)
"""Functions that the session answers."""


class Place(Protocol):
    """Where a query runs: the session knows names and values."""

    def table(self, parts: list[str]) -> str:
        """SQLite's name, in quotes, of the table with these parts of a name, the last one its own."""

    def columns(self, table: str) -> dict[str, tuple[TypeInfo | None, bool]]:
        """A table's columns by name in lower case: type and whether it may be NULL; of SQLite's name."""

    def variables(self) -> Mapping[str, TypeInfo]:
        """By name in lower case with the @."""


def bound(name: str) -> str:
    """What a variable is called as a parameter of SQLite's."""
    return "v" + "".join(c if c.isalnum() and c.isascii() else f"_{ord(c):x}_" for c in name.lower())


class Wording:
    """One query's or expression's. Invariant: `_tables` has every table that was named so far, by its alias.

    Args:
        them: its tokens.
        place: where it runs.
    """

    def __init__(self, them: Tokens, place: Place) -> None:
        self._them = them
        self._place = place
        self._tables: dict[str, str] = {}
        self._order: list[str] = []
        self._target = ""
        self._joins = False

    @property
    def touched(self) -> bool:
        """A table was named."""
        return bool(self._tables)

    def query(self) -> str:
        """All of it, as a query. Of an expression: what it is."""
        return self.text(0, len(self._them))

    # -- looking

    def _key(self, at: int) -> str:
        return self._them[at].key if 0 <= at < len(self._them) else ""

    def _is_name(self, at: int) -> bool:
        return 0 <= at < len(self._them) and self._them[at].kind in (Kind.WORD, Kind.QUOTED, Kind.VARIABLE)

    def _closing(self, at: int) -> int:
        """Where the bracket that opens at `at` closes."""
        depth = 0
        for number in range(at, len(self._them)):
            depth += (self._key(number) == "(") - (self._key(number) == ")")
            if not depth:
                return number
        raise syntax_error("(")

    def _pieces(self, begin: int, end: int) -> list[tuple[int, int]]:
        """What commas outside of brackets leave."""
        found, depth, at = [], 0, begin
        for number in range(begin, end):
            key = self._key(number)
            depth += (key == "(") - (key == ")")
            if key == "," and not depth:
                found.append((at, number))
                at = number + 1
        found.append((at, end))
        return found

    # -- texts

    def _name(self, at: int) -> tuple[str, int]:
        """SQLite's name of the table that is named there, and where what stands behind it begins."""
        parts: list[str] = []
        while True:
            if self._key(at) == ".":
                parts.append("")
                at += 1
                continue
            if not self._is_name(at):
                raise syntax_error(self._key(at))
            parts.append(unquoted(self._them[at]))
            at += 1
            if self._key(at) != ".":
                return self._place.table(parts), at
            at += 1

    def _top(self, at: int) -> tuple[str, int]:
        if self._key(at) != "TOP":
            return "", at
        if self._key(at + 1) == "(":
            stop = self._closing(at + 1) + 1
        else:
            stop = at + 2
        limit = self.text(at + 1, stop)
        if self._key(stop) == "PERCENT":
            raise syntax_error("PERCENT")
        if self._key(stop) == "WITH" and self._key(stop + 1) == "TIES":
            stop += 2
        return limit, stop

    def _behind_top(self, at: int) -> int:
        return self._top(at)[1]

    def _limit(self, at: int) -> str:
        while self._key(at) in ("DISTINCT", "ALL"):
            at += 1
        limit, _ = self._top(at)
        return f" LIMIT {limit}" if limit else ""

    def _behind_hints(self, at: int) -> int:
        if self._key(at) == "WITH" and self._key(at + 1) == "(":
            return self._closing(at + 1) + 1
        return at

    def text(self, begin: int, end: int) -> str:
        """A stretch of the query, translated."""
        parts: list[str] = []
        at = begin
        tables = False
        while at < end:
            said, at, tables = self._step(at, tables, end)
            parts.append(said)
        return " ".join(part for part in parts if part)

    def _step(self, at: int, tables: bool, end: int) -> tuple[str, int, bool]:
        """What stands at `at`: its translation, where it ends, and whether tables are being named."""
        token = self._them[at]
        key = token.key
        if key == "(" and token.kind is Kind.MARK:
            close = self._closing(at)
            inner = type(self)(self._them[at + 1 : close], self._place)
            inner._tables, inner._order = self._tables, self._order
            said = inner.query() if self._key(at + 1) == "SELECT" else inner.text(0, close - at - 1)
            behind = close + 1
            return f"({said})", behind, tables
        if (key in ("FROM", "JOIN", "INTO") and token.kind is Kind.WORD) or (tables and key == ","):
            said, behind = self._named_table(at + 1, end)
            return f"{token.text} {said}", behind, key != "INTO"
        if key == "TOP" and token.kind is Kind.WORD and self._key(at - 1) in ("SELECT", "DISTINCT", "ALL"):
            return "", self._behind_top(at), tables
        if token.kind is Kind.WORD and key in ENDS_TABLES:
            tables = False
            if key == "SELECT" and at and self._key(at - 1) in ("ALL", "UNION", "EXCEPT", "INTERSECT"):
                return "SELECT", at + 1, False
        if token.kind is Kind.WORD and key in ("OPTION",) and self._key(at + 1) == "(":
            return "", self._closing(at + 1) + 1, False
        if key == "OFFSET" and self._key(at + 2) in ("ROWS", "ROW"):
            return self._offset(at)
        divides = key in ("/", "%") and at + 1 < end
        if divides and self._them[at + 1].kind in (Kind.NUMBER, Kind.VARIABLE):
            return f"{key} _divisor({self.text(at + 1, at + 2)})", at + 2, tables
        if key == "+" and self._joins_text(at):
            return "||", at + 1, tables
        self._joins = self._joins and key != ","
        return *self._word(at, end), tables

    def _offset(self, at: int) -> tuple[str, int, bool]:
        """OFFSET n ROWS FETCH NEXT m ROWS ONLY."""
        first, at = self.text(at + 1, at + 2), at + 3
        if self._key(at) == "FETCH":
            return f"LIMIT {self.text(at + 2, at + 3)} OFFSET {first}", at + 5, False
        return f"LIMIT -1 OFFSET {first}", at, False

    def _joins_text(self, at: int) -> bool:
        """Whether a + puts texts together: one beside it is one, or the + before it did."""
        variables = self._place.variables()
        for beside in (at - 1, at + 1):
            if not 0 <= beside < len(self._them):
                continue
            token = self._them[beside]
            if token.kind is Kind.LITERAL:
                self._joins = True
            elif token.kind is Kind.VARIABLE:
                info = variables.get(token.text.lower())
                self._joins = self._joins or (
                    info is not None and info.kind in (y.NVARCHAR, y.NCHAR, y.BIGVARCHR, y.BIGCHAR)
                )
        return self._joins

    def _named_table(self, at: int, end: int) -> tuple[str, int]:
        """A table behind FROM, JOIN, INTO or a comma, with its alias."""
        if self._key(at) == "(" or not self._is_name(at):
            return "", at
        if self._key(at) == "GENERATE_SERIES" and self._key(at + 1) == "(":
            close = self._closing(at + 1)
            ends = [self.text(a, b) for a, b in self._pieces(at + 2, close)]
            more = f"SELECT value + 1 FROM g WHERE value < {ends[1]}"
            series = f"(WITH RECURSIVE g(value) AS (SELECT {ends[0]} UNION ALL {more}) SELECT value FROM g)"
            return series, close + 1
        if self._key(at + 1) == "(" and self._key(at - 1) != "INTO":
            return "", at
        name, behind = self._name(at)
        own = unquoted(self._them[behind - 1])
        alias = own
        if self._key(behind) == "AS" and self._is_name(behind + 1):
            alias, behind = unquoted(self._them[behind + 1]), behind + 2
        elif behind < end and self._is_name(behind) and self._key(behind) not in _NO_ALIAS:
            alias, behind = unquoted(self._them[behind]), behind + 1
        behind = self._behind_hints(behind)
        self._tables[alias.lower()] = name
        self._order.append(alias.lower())
        return f'{name} AS "{alias}"', behind

    def _word(self, at: int, end: int) -> tuple[str, int]:
        token = self._them[at]
        key, kind = token.key, token.kind
        if kind is Kind.WORD:
            return self._called(at) if self._key(at + 1) == "(" else (self._named(token.text), at + 1)
        if kind is Kind.LITERAL:
            said = "'" + unquoted(token).replace("'", "''") + "'"
        elif kind is Kind.QUOTED:
            said = '"' + unquoted(token).replace('"', '""') + '"'
        elif kind is Kind.VARIABLE:
            if token.text.lower() not in self._place.variables():
                text = f'Must declare the scalar variable "{token.text}".'
                raise SqlError(137, text, severity=15, aborts_batch=True)
            said = f":{bound(token.text)}"
        elif kind is Kind.SYSTEM:
            said = f"_system('{key.upper()}')"
        elif kind is Kind.NUMBER and key[:2] in ("0x", "0X"):
            said = f"x'{key[2:].zfill(len(key) - 2 + len(key) % 2)}'"
        elif kind is Kind.NUMBER and len(key) > _EXACT and key.strip("0123456789") == ".":
            said = f"'{key}'"
        else:
            said = key.lstrip("$") if kind is Kind.NUMBER else token.text
        return said, at + 1

    def _named(self, name: str) -> str:
        return f'"{name}"' if name.startswith("#") else name

    def _called(self, at: int) -> tuple[str, int]:
        """A function, up to its bracket or behind it."""
        key = self._key(at)
        if key in ("CAST", "TRY_CAST", "CONVERT", "TRY_CONVERT"):
            return self._cast(at)[1], self._closing(at + 1) + 1
        if key in CALLS:
            close = self._closing(at + 1)
            inner = self.text(at + 2, close)
            return f"_call('{key}'{', ' + inner if inner else ''})", close + 1
        return _RENAMED.get(key, self._them[at].text), at + 1

    def _cast(self, begin: int) -> tuple[TypeInfo, str]:
        """CAST(value AS type), CONVERT(type, value, style)."""
        close = self._closing(begin + 1)
        if self._key(begin) in ("CONVERT", "TRY_CONVERT"):
            info, at = d.read_type_name(self._them, begin + 2)
            a, b = self._pieces(at + 1, close)[0]
        else:
            a, b = begin + 2, begin + 2
            depth = 0
            while b < close and not (depth == 0 and self._key(b) == "AS"):
                depth += (self._key(b) == "(") - (self._key(b) == ")")
                b += 1
            info, _ = d.read_type_name(self._them, b + 1)
        return info, f"_cast({self.text(a, b)}, '{d.type_name(info)}')"
