"""What SET sets, with the values that sessions begin with.

Source: Transact-SQL reference, "SET Statements", and `@@OPTIONS`. Which options a login by ODBC switches on is in
[MS-TDS] 2.2.6.4, fODBC.
"""

from __future__ import annotations

from typing import Final

import attrs

from rdsp_codecs.sqlserver.lexer import Kind, unquoted
from rdsp_codecs.testing.sqlserver.statements import SqlError, Tokens, syntax_error

_BITS: Final = {
    "IMPLICIT_TRANSACTIONS": 2,
    "CURSOR_CLOSE_ON_COMMIT": 4,
    "ANSI_WARNINGS": 8,
    "ANSI_PADDING": 16,
    "ANSI_NULLS": 32,
    "ARITHABORT": 64,
    "ARITHIGNORE": 128,
    "QUOTED_IDENTIFIER": 256,
    "NOCOUNT": 512,
    "ANSI_NULL_DFLT_ON": 1024,
    "ANSI_NULL_DFLT_OFF": 2048,
    "CONCAT_NULL_YIELDS_NULL": 4096,
    "NUMERIC_ROUNDABORT": 8192,
    "XACT_ABORT": 16384,
}
"""Of @@OPTIONS."""
SWITCHES: Final = frozenset(_BITS) | {
    "FIPS_FLAGGER",
    "FMTONLY",
    "FORCEPLAN",
    "NOEXEC",
    "PARSEONLY",
    "REMOTE_PROC_TRANSACTIONS",
    "SHOWPLAN_ALL",
    "SHOWPLAN_TEXT",
    "SHOWPLAN_XML",
    "STATISTICS IO",
    "STATISTICS TIME",
    "STATISTICS PROFILE",
    "STATISTICS XML",
    "NO_BROWSETABLE",
}
"""Options that are ON or OFF."""
_ODBC: Final = frozenset(
    {"ANSI_WARNINGS", "ANSI_PADDING", "ANSI_NULLS", "QUOTED_IDENTIFIER", "ANSI_NULL_DFLT_ON", "CONCAT_NULL_YIELDS_NULL"}
)
_DEFAULTS: Final = frozenset(
    {"ANSI_WARNINGS", "ANSI_PADDING", "ANSI_NULLS", "QUOTED_IDENTIFIER", "ANSI_NULL_DFLT_ON", "CURSOR_CLOSE_ON_COMMIT"}
    | {"IMPLICIT_TRANSACTIONS"}
)
"""What ANSI_DEFAULTS is."""
ISOLATION: Final = {
    "READ UNCOMMITTED": 1,
    "READ COMMITTED": 2,
    "REPEATABLE READ": 3,
    "SERIALIZABLE": 4,
    "SNAPSHOT": 5,
}
_PRIORITIES: Final = {"LOW": -5, "NORMAL": 0, "HIGH": 5}
_NUMBERS: Final = {
    "ROWCOUNT": 0,
    "LOCK_TIMEOUT": -1,
    "DATEFIRST": 7,
    "DEADLOCK_PRIORITY": 0,
    "QUERY_GOVERNOR_COST_LIMIT": 0,
    "TEXTSIZE": 4096,
}
_TEXTSIZE_ODBC: Final = 0x7FFFFFFF
_DATE_FORMATS: Final = ("mdy", "dmy", "ymd", "ydm", "myd", "dym")
_LANGUAGES: Final = frozenset({"us_english", "english", "british", "german", "deutsch", "french", "français"})


@attrs.define
class Options:
    """One session's.

    Attributes:
        on: the switches that are on.
        numbers: options that are numbers.
        isolation: 1 read uncommitted .. 5 snapshot.
        language, date_format: by name.
        context_info: of SET CONTEXT_INFO, up to 128 bytes.
        identity_insert: the table in SQLite's name, "" for none.
    """

    on: set[str] = attrs.field(factory=set)
    numbers: dict[str, int] = attrs.field(factory=lambda: dict(_NUMBERS))
    isolation: int = 2
    language: str = "us_english"
    date_format: str = "mdy"
    context_info: bytes = b""
    identity_insert: str = ""

    @classmethod
    def at_login(cls, *, odbc: bool, language: str = "") -> Options:
        """Those of a new session."""
        options = cls()
        if odbc:
            options.on |= _ODBC
            options.numbers["TEXTSIZE"] = _TEXTSIZE_ODBC
        options.language = language if language.lower() in _LANGUAGES else "us_english"
        return options

    @property
    def bits(self) -> int:
        """@@OPTIONS."""
        return sum(bit for name, bit in _BITS.items() if name in self.on)

    def set(self, name: str, value: Tokens, number: int | None) -> None:
        """SET of one option. `number`: what the value comes to, if it is one. Raises `SqlError`."""
        word = " ".join(token.key for token in value)
        if name in SWITCHES or name == "ANSI_DEFAULTS":
            if word not in ("ON", "OFF"):
                raise syntax_error(word)
            names = _DEFAULTS if name == "ANSI_DEFAULTS" else {name}
            self.on = self.on | names if word == "ON" else self.on - names
            if name in ("ANSI_NULL_DFLT_ON", "ANSI_NULL_DFLT_OFF") and word == "ON":
                self.on.discard({"ANSI_NULL_DFLT_ON": "ANSI_NULL_DFLT_OFF"}.get(name, "ANSI_NULL_DFLT_ON"))
        elif name == "ISOLATION":
            if word not in ISOLATION:
                raise syntax_error(word)
            self.isolation = ISOLATION[word]
        elif name == "DEADLOCK_PRIORITY" and word in _PRIORITIES:
            self.numbers[name] = _PRIORITIES[word]
        elif name in _NUMBERS:
            if number is None:
                raise syntax_error(word)
            self._number(name, number)
        elif name in ("DATEFORMAT", "LANGUAGE"):
            self._word(name, unquoted(value[0]) if value[0].kind is not Kind.VARIABLE else "")
        else:
            raise SqlError(195, f"'{name}' is not a recognized SET option.", severity=15, aborts_batch=True)

    def _word(self, name: str, said: str) -> None:
        if name == "DATEFORMAT":
            if said.lower() not in _DATE_FORMATS:
                raise SqlError(2741, f"SET DATEFORMAT date order '{said}' is invalid.")
            self.date_format = said.lower()
            return
        if said.lower() not in _LANGUAGES:
            raise SqlError(2741, f"SET LANGUAGE failed because '{said}' is not an official language name.")
        self.language = said

    def _number(self, name: str, number: int) -> None:
        if name == "DATEFIRST" and not 1 <= number <= 7:
            raise SqlError(2744, f"The DATEFIRST value {number} is outside the range of allowed values [1-7].")
        if name == "TEXTSIZE" and number in (0, -1):
            number = 4096 if number == 0 else _TEXTSIZE_ODBC
        self.numbers[name] = number
