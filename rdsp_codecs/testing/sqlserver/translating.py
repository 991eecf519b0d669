"""A query of T-SQL as SQLite runs it, and what types its columns have, as far as the text tells."""

from __future__ import annotations

from typing import Final

import attrs

from rdsp_codecs.sqlserver import types as y
from rdsp_codecs.sqlserver.lexer import Kind, unquoted
from rdsp_codecs.sqlserver.types import TypeInfo
from rdsp_codecs.testing.sqlserver import declared as d
from rdsp_codecs.testing.sqlserver.statements import SqlError, Tokens
from rdsp_codecs.testing.sqlserver.wording import ENDS_TABLES, Place, Wording

TYPES: Final = {
    "ISNULL": None,
    "LEN": d.INT,
    "DATALENGTH": d.INT,
    "GETDATE": d.DATETIME,
    "GETUTCDATE": d.DATETIME,
    "SYSDATETIME": TypeInfo(y.DATETIME2N, scale=7),
    "SYSUTCDATETIME": TypeInfo(y.DATETIME2N, scale=7),
    "NEWID": d.GUID,
    "COUNT": d.INT,
    "COUNT_BIG": d.BIGINT,
    "SCOPE_IDENTITY": d.IDENTITY,
    "CONTEXT_INFO": TypeInfo(y.BIGVARBIN, 128),
    "XACT_STATE": TypeInfo(y.INTN, 2),
    "@@IDENTITY": d.IDENTITY,
    "@@SPID": TypeInfo(y.INTN, 2),
    "@@TRANCOUNT": d.INT,
    "@@ROWCOUNT": d.INT,
    "@@ERROR": d.INT,
}
"""Of functions and system variables, where one of them is all that a column is."""
NAMELESS: Final = "\x01"
"""What SQLite calls a column without a name."""


@attrs.frozen
class Translated:
    """A query.

    Attributes:
        text: for SQLite; variables are `:v` and their names, system variables calls of `_system`.
        types: of its columns, where the text tells; None where `*` or something else leaves it open.
        assigned: of a SELECT that assigns, the variables, in the columns' order.
        into: the table that a SELECT INTO makes, "" for none.
        target: the table that is written, in SQLite's name.
        returns: it gives rows.
        touches: it reads or writes a table, so that IMPLICIT_TRANSACTIONS has it begin a transaction.
    """

    text: str
    types: tuple[TypeInfo | None, ...] | None = None
    assigned: tuple[str, ...] = ()
    into: str = ""
    target: str = ""
    returns: bool = False
    touches: bool = False


def translated(them: Tokens, place: Place) -> Translated:
    """A query's translation. Raises `SqlError`."""
    translator = _Translator(them, place)
    found = translator.translated()
    return attrs.evolve(found, touches=translator.touched or bool(found.target))


def expression(them: Tokens, place: Place) -> str:
    """An expression's."""
    return _Translator(them, place).text(0, len(them))


def table_body(them: Tokens, place: Place) -> str:
    """The columns of a table variable, brackets and all, as CREATE TABLE has them."""
    translator = _Translator(them, place)
    return translator.body(0, len(them) - 1)


class _Translator(Wording):
    def query(self) -> str:
        """Of one that stands within another."""
        return self.translated().text

    # -- queries

    def translated(self) -> Translated:
        verb, end = self._key(0), len(self._them)
        if verb == "SELECT":
            return self._select(end)
        if verb in ("CREATE", "ALTER") and self._key(1) == "TABLE":
            return self._table(end)
        if verb == "TRUNCATE":
            name, _ = self._name(2)
            return Translated(f"DELETE FROM {name}", target=name)
        if verb == "DROP" and self._key(1) == "TABLE":
            begin = 4 if self._key(2) == "IF" else 2
            names = [self._name(begin)[0] for begin, _ in self._pieces(begin, end)]
            lenient = "IF EXISTS " if begin > 2 else ""
            return Translated(";".join(f"DROP TABLE {lenient}{name}" for name in names), target=names[0])
        if verb in ("INSERT", "UPDATE", "DELETE"):
            return self._change(verb, end)
        return Translated(self.text(0, end), returns=verb == "WITH", types=None)

    def _select(self, end: int) -> Translated:
        begin = 1
        while self._key(begin) in ("DISTINCT", "ALL"):
            begin += 1
        begin = self._behind_top(begin)
        stop, depth = begin, 0
        while stop < end and not (depth == 0 and self._key(stop) in ENDS_TABLES | {"FROM", "INTO"} and stop >= begin):
            depth += (self._key(stop) == "(") - (self._key(stop) == ")")
            stop += 1
        pieces = self._pieces(begin, stop)
        assigns = [self._them[a].kind is Kind.VARIABLE and self._key(a + 1) == "=" for a, _ in pieces if a < end]
        if any(assigns):
            if not all(assigns):
                text = "A SELECT statement that assigns a value to a variable must not be combined with data-retrieval."
                raise SqlError(141, text, severity=15, aborts_batch=True)
            head = self.text(0, begin)
            items = ", ".join(self.text(a + 2, b) for a, b in pieces)
            text = f"{head} {items} {self.text(stop, end)}{self._limit(1)}"
            return Translated(text, assigned=tuple(self._them[a].text.lower() for a, _ in pieces))
        into = ""
        rest = stop
        if self._key(stop) == "INTO":
            into, rest = self._name(stop + 1)
        tail = self.text(rest, end)
        items = ", ".join(self._item(a, b) for a, b in pieces)
        text = f"{self.text(0, begin)} {items} {tail}{self._limit(1)}"
        if into:
            kind = "TEMP TABLE" if into.startswith('"#') and not into.startswith('"##') else "TABLE"
            return Translated(f"CREATE {kind} {into} AS {text}", into=into, target=into)
        types: list[TypeInfo | None] = []
        for a, b in pieces:
            found = self._types(a, b)
            if found is None:
                return Translated(text, returns=True)
            types += found
        return Translated(text, tuple(types), returns=True)

    def _item(self, begin: int, end: int) -> str:
        """One column of a SELECT; `alias = value` is T-SQL's alone."""
        if self._is_name(begin) and self._key(begin + 1) == "=" and end > begin + 2:
            return f'{self.text(begin + 2, end)} AS "{unquoted(self._them[begin])}"'
        text = self.text(begin, end)
        named = self._has_name(begin, end)
        return text if named else f'{text} AS "{NAMELESS}"'

    def _has_name(self, begin: int, end: int) -> bool:
        """Whether a column has a name: its alias, or of the column that it is."""
        last = self._them[end - 1]
        if last.kind is Kind.LITERAL:  # an alias, unless it is the value or a part of it
            return end - begin > 1 and (self._key(end - 2) in ("AS", ")") or self._them[end - 2].kind is not Kind.MARK)
        if last.kind is Kind.QUOTED or (last.kind is Kind.WORD and last.key not in ("NULL", "END")):
            return True
        return last.text == "*"

    def _types(self, begin: int, end: int) -> list[TypeInfo | None] | None:
        """The types of the column or columns that an item is; None: it cannot be told how many there are."""
        if self._is_name(begin) and self._key(begin + 1) == "=":
            begin += 2
        if self._key(end - 1) == "*" and end - begin in (1, 3):
            of = [unquoted(self._them[begin]).lower()] if end - begin == 3 else list(self._order)
            if not of or any(each not in self._tables for each in of):
                return None
            return [info for each in of for info, _ in self._place.columns(self._tables[each]).values()]
        if end - begin > 2 and self._key(end - 2) == "AS":
            end -= 2
        elif end - begin > 1 and self._is_name(end - 1) and self._key(end - 2) not in (".", "AS"):
            end -= 1
        return [self._type(begin, end)]

    def _type(self, begin: int, end: int) -> TypeInfo | None:
        first = self._them[begin]
        if end - begin == 1:
            if first.kind is Kind.VARIABLE:
                return self._place.variables().get(first.text.lower())
            if first.kind is Kind.SYSTEM:
                return TYPES.get(first.text.upper())
        if first.key in ("CAST", "TRY_CAST", "CONVERT", "TRY_CONVERT") and self._closing(begin + 1) == end - 1:
            return self._cast(begin)[0]
        if self._key(begin + 1) == "(" and self._closing(begin + 1) == end - 1:
            return TYPES.get(first.key)
        if self._is_name(begin) and end - begin in (1, 3):
            name = unquoted(self._them[end - 1]).lower()
            of = [unquoted(first).lower()] if end - begin == 3 else self._order
            for each in of:
                found = self._place.columns(self._tables[each]).get(name) if each in self._tables else None
                if found:
                    return found[0]
        return None

    def _change(self, verb: str, end: int) -> Translated:
        begin = 1
        limit, at = self._top(begin)
        if limit:
            begin = at
        if self._key(begin) in ("INTO", "FROM"):
            begin += 1
        name, at = self._name(begin)
        self._target = name
        self._tables[unquoted(self._them[at - 1]).lower()] = name
        self._order.append(unquoted(self._them[at - 1]).lower())
        at = self._behind_hints(at)
        returning = ""
        types: tuple[TypeInfo | None, ...] | None = None
        stop = at
        depth = 0
        while stop < end and not (depth == 0 and self._key(stop) == "OUTPUT"):
            depth += (self._key(stop) == "(") - (self._key(stop) == ")")
            stop += 1
        rest = stop
        if stop < end:
            rest = stop + 1
            while rest < end and self._key(rest) not in ("VALUES", "SELECT", "FROM", "WHERE", "DEFAULT", "INTO"):
                rest += 1
            if self._key(rest) == "INTO":
                raise SqlError(156, "Incorrect syntax near the keyword 'INTO'.", severity=15, aborts_batch=True)
            pieces = [self._unqualified(a, b) for a, b in self._pieces(stop + 1, rest)]
            returning = " RETURNING " + ", ".join(self.text(a, b) for a, b in pieces)
            types = tuple(each for a, b in pieces for each in self._types(a, b) or [None])
        alias = self._them[at - 1] if self._is_name(at - 1) else None
        head = {"INSERT": "INSERT INTO", "UPDATE": "UPDATE", "DELETE": "DELETE FROM"}[verb]
        named = f' AS "{unquoted(alias)}"' if alias is not None else ""
        text = f"{head} {name}{named} {self.text(at, stop)} {self.text(rest, end)}{returning}"
        return Translated(text, types, target=name, returns=bool(returning))

    def _unqualified(self, begin: int, end: int) -> tuple[int, int]:
        """`inserted.x` is x."""
        return (
            (begin + 2, end)
            if self._key(begin) in ("INSERTED", "DELETED") and self._key(begin + 1) == "."
            else (begin, end)
        )

    def _table(self, end: int) -> Translated:
        name, at = self._name(2)
        if self._key(0) == "ALTER":
            add = at + 1 if self._key(at) == "ADD" and self._key(at + 1) != "COLUMN" else 0
            if add:
                return Translated(f"ALTER TABLE {name} ADD COLUMN {self._column(add, end, set())}", target=name)
            return Translated(f"ALTER TABLE {name} {self.text(at, end)}", target=name)
        close = self._closing(at)
        temporary = "TEMP " if name.startswith('"#') and not name.startswith('"##') else ""
        return Translated(f"CREATE {temporary}TABLE {name} {self.body(at, close)}", target=name)

    def body(self, at: int, close: int) -> str:
        """The columns of a CREATE TABLE, with the brackets."""
        pieces = self._pieces(at + 1, close)
        identities: set[str] = set()
        lines = [self._column(a, b, identities) for a, b in pieces]
        kept = [line for line in lines if not (identities and "PRIMARY KEY (" in line)]
        return f"({', '.join(kept)})"

    def _column(self, begin: int, end: int, identities: set[str]) -> str:
        if self._key(begin) in ("CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK"):
            return self._constraint(begin, end)
        name = unquoted(self._them[begin])
        info, at = d.read_type_name(self._them, begin + 1)
        keys = [self._key(each) for each in range(at, end)]
        if "IDENTITY" in keys:
            identities.add(name)
            return f'"{name}" INTEGER PRIMARY KEY AUTOINCREMENT'
        characters = info.kind in (y.NVARCHAR, y.NCHAR, y.BIGVARCHR, y.BIGCHAR)
        # By its type's name SQLite tells how it compares: what is kept as a text, as a text.
        kind = d.type_name(info) + (" text" if info.kind in d.KEPT_AS_TEXT else "")
        return f'"{name}" "{kind}" {self._constraint(at, end)}{" COLLATE NOCASE" if characters else ""}'

    def _constraint(self, begin: int, end: int) -> str:
        parts: list[str] = []
        at = begin
        while at < end:
            key = self._key(at)
            if key == "COLLATE":
                at += 2
            elif key in ("CLUSTERED", "NONCLUSTERED", "ASC", "ROWGUIDCOL", "SPARSE"):
                at += 1
            elif key == "DEFAULT":
                stop = self._closing(at + 1) + 1 if self._key(at + 1) == "(" else at + 2
                if self._key(at + 2) == "(":
                    stop = self._closing(at + 2) + 1
                parts.append(f"DEFAULT ({self.text(at + 1, stop)})")
                at = stop
            elif key == "REFERENCES":
                name, at = self._name(at + 1)
                parts.append(f"REFERENCES {name}")
            else:
                parts.append(self.text(at, at + 1))
                at += 1
        return " ".join(parts)
