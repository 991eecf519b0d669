"""What a connection of the model (`server`) has set, what it tells of that, and where its transaction stands."""

from __future__ import annotations

import re
from typing import Final

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql import trackers as t

DATABASES: Final = ("shop", "other")
INSERTED: Final = 7
"""The number that every row put into the table gets: each model has a table of its own, which is always empty."""
_CHARSETS: Final = {"utf8mb4": "utf8mb4_general_ci", "latin1": "latin1_swedish_ci"}
_LOGIN: Final = {
    "sql_mode": "STRICT_TRANS_TABLES",
    "time_zone": "SYSTEM",
    "character_set_client": "utf8mb4",
    "character_set_connection": "utf8mb4",
    "character_set_results": "utf8mb4",
    "collation_connection": "utf8mb4_general_ci",
    "autocommit": "ON",
    "group_concat_max_len": "1024",
    "foreign_key_checks": "ON",
    "last_insert_id": "0",
    "session_track_schema": "ON",
    "session_track_system_variables": "autocommit,character_set_client,character_set_connection,"
    "character_set_results,time_zone",
    "session_track_state_change": "OFF",
    "session_track_transaction_info": "",
}
_SWITCHES: Final = frozenset(name for name, value in _LOGIN.items() if value in ("ON", "OFF"))
_MODES: Final = frozenset(("", "STRICT_TRANS_TABLES", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES"))
_ITEM: Final = re.compile(
    r"""\s*(?:SESSION\s+)?(@@SESSION\.|@@|@)?`?(\w+)`?\s*:?=\s*(?:_\w+\s*)?('[^']*'|"[^"]*"|[\w+:.-]+)"""
    r"(?:\s+COLLATE\s+\w+)?\s*",
    re.IGNORECASE,
).fullmatch
_NAMES: Final = re.compile(r"NAMES\s+'?(\w+)'?\s*(?:COLLATE\s+'?(\w+)'?\s*)?", re.IGNORECASE).fullmatch
_PARTS: Final = re.compile(r""",(?=(?:[^'"]|'[^']*'|"[^"]*")*$)""").split


class Failure(Exception):
    """An ERR."""

    def __init__(self, code: int, state: str, text: str) -> None:
        self.payload = r.err(r.Err(code, state.encode(), text.encode()))


class Session:
    """What is set here. Nothing of it survives `renew`, but for the database.

    Args:
        flags: that the connection speaks.
        mariadb: the server is of that family.
    """

    def __init__(self, flags: int, *, mariadb: bool) -> None:
        self.flags = flags
        self.mariadb = mariadb
        self.schema = DATABASES[0]
        self.several = bool(flags & c.CLIENT_MULTI_STATEMENTS)
        self.renew()
        self.inserted: list[str] = []
        """What was put into tables, and committed."""

    def renew(self) -> None:
        """COM_RESET_CONNECTION, and a login. An open transaction is rolled back."""
        self.variables = dict(_LOGIN)
        self.results = _CHARSETS["utf8mb4"]
        """The collation of character_set_results, which no variable tells."""
        self.own: dict[str, str] = {}
        self.explicit = self.touched = self.begun = self.marked = False
        self._inserting: list[str] = []
        self._changes: list[t.Tracker] = []
        self._before = 0
        """How many of them are from statements before."""
        self._state, self._characteristics = t.NO_TRANSACTION, b""

    @property
    def has_autocommit(self) -> bool:
        return self.variables["autocommit"] == "ON"

    @property
    def open(self) -> bool:
        """What the flag in an answer says."""
        return self.explicit or self.touched

    # -- what is told -----------------------------------------------------------------------------------------------

    def status(self) -> int:
        """The flags of the session."""
        found = r.SERVER_STATUS_AUTOCOMMIT if self.has_autocommit else 0
        if self.variables["sql_mode"] == "NO_BACKSLASH_ESCAPES":
            found |= r.SERVER_STATUS_NO_BACKSLASH_ESCAPES
        return found | (r.SERVER_STATUS_IN_TRANS if self.open else 0)

    def news(self) -> tuple[t.Tracker, ...] | None:
        """What an OK reports, and which is reported then. MariaDB keeps it while a statement has changed nothing."""
        if not self.flags & c.CLIENT_SESSION_TRACK or (self.mariadb and not self.stirred()):
            return None
        if self.variables["session_track_transaction_info"] == "CHARACTERISTICS":
            self._news_of_transaction()
        found, self._changes = tuple(self._changes), []
        return found or None

    def starts(self) -> None:
        """A statement begins."""
        self._before = len(self._changes)

    def stirred(self) -> bool:
        """The statement has changed something that is to be reported."""
        moved = self.variables["session_track_transaction_info"] == "CHARACTERISTICS" and (
            self._standing() != (self._state, self._characteristics)
        )
        return moved or len(self._changes) > self._before

    def _standing(self) -> tuple[bytes, bytes]:
        """What is reported of the transaction."""
        kind = "T" if self.explicit else "I" if self.touched else "_"
        wrote = "W" if self.touched and self._inserting else "_"
        state = f"{kind}___{wrote}___".encode()
        return state, b"START TRANSACTION;" if self.explicit else b""

    def _news_of_transaction(self) -> None:
        state, characteristics = self._standing()
        if characteristics != self._characteristics:
            self._changes.append(t.text(t.SESSION_TRACK_TRANSACTION_CHARACTERISTICS, characteristics))
        if state != self._state:
            self._changes.append(t.text(t.SESSION_TRACK_TRANSACTION_STATE, state))
        self._state, self._characteristics = state, characteristics

    def _report(self, name: str) -> None:
        wanted = self.variables["session_track_system_variables"]
        if wanted == "*" or name in wanted.split(","):
            self._changes.append(t.variable(name.encode(), self.variables[name].encode()))

    def _state_changed(self) -> None:
        if self.variables["session_track_state_change"] == "ON":
            self._changes.append(t.text(t.SESSION_TRACK_STATE_CHANGE, b"1"))

    # -- settings ---------------------------------------------------------------------------------------------------

    def use(self, database: str) -> None:
        """USE. Raises `Failure`."""
        if database not in DATABASES:
            raise Failure(1049, "42000", f"Unknown database '{database}'")
        self.schema = database
        if self.variables["session_track_schema"] == "ON":
            self._changes.append(t.text(t.SESSION_TRACK_SCHEMA, database.encode()))
        self._state_changed()

    def set(self, text: str) -> None:
        """What stands behind SET: all of it, or nothing. Raises `Failure`."""
        found = [self._item(each) for each in _PARTS(text)]
        for prefix, name, value in found:
            if prefix == "NAMES":
                self._set_names(name, value)
            elif prefix == "@":
                self.own[name] = value
            else:
                self._set(name, value, told=not (self.mariadb and prefix))
        self._state_changed()

    def _item(self, text: str) -> tuple[str, str, str]:
        if names := _NAMES(text):
            if names[1] not in _CHARSETS:
                raise Failure(1115, "42000", f"Unknown character set: '{names[1]}'")
            return "NAMES", names[1], names[2] or _CHARSETS[names[1]]
        parts = _ITEM(text)
        if parts is None:
            raise Failure(1064, "42000", f"You have an error in your SQL syntax near '{text}'")
        prefix, name, value = parts[1] or "", parts[2].lower(), parts[3].strip("'\"")
        if prefix == "@":
            return prefix, name, value
        if name not in self.variables:
            raise Failure(1193, "HY000", f"Unknown system variable '{name}'")
        if name in _SWITCHES:
            value = {"0": "OFF", "1": "ON"}.get(value, value.upper())
        if (name == "sql_mode" and value not in _MODES) or (name in _SWITCHES and value not in ("ON", "OFF")):
            raise Failure(1231, "42000", f"Variable '{name}' can't be set to the value of '{value}'")
        return prefix, name, value

    def _set(self, name: str, value: str, *, told: bool) -> None:
        if name == "autocommit" and value == "ON":
            self.end(commit=True)
        self.variables[name] = value
        if name == "character_set_connection":
            self.variables["collation_connection"] = _CHARSETS.get(value, "binary")
        elif name == "character_set_results":
            self.results = _CHARSETS.get(value, "binary")
        if told and not name.startswith("session_track_"):
            self._report(name)

    def _set_names(self, charset: str, collation: str) -> None:
        for name in ("character_set_client", "character_set_results", "character_set_connection"):
            self.variables[name] = charset
            self._report(name)
        self.variables["collation_connection"] = self.results = collation

    def call(self) -> None:
        """A stored function, which has set something."""
        self._set("group_concat_max_len", "2000", told=True)
        self.own["x"] = "hidden"
        self._state_changed()

    # -- transactions -----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """BEGIN: one that is open is committed."""
        self.end(commit=True)
        self.explicit = True

    def end(self, *, commit: bool) -> None:
        """COMMIT and ROLLBACK, also where nothing is open."""
        if commit:
            self.inserted += self._inserting
        self._inserting = []
        self.explicit = self.touched = self.begun = self.marked = False

    def ran(self, *, ends: bool) -> None:
        """A statement that is no SET."""
        self.begun = not ends and not self.has_autocommit

    def mark(self) -> None:
        """SAVEPOINT: with autocommit off it begins a transaction that no flag shows."""
        self.marked = self.explicit or not self.has_autocommit

    def uses_table(self, inserts: str = "") -> None:
        """A statement on a table."""
        self.touched = self.explicit or not self.has_autocommit
        if inserts:
            self.variables["last_insert_id"] = str(INSERTED)
            self._inserting.append(inserts)
        if not self.touched:
            self.end(commit=True)
