"""A session beside what the verdicts of its texts say of it, as a proxy would keep book, and a look at what it really has."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import notable as n
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql import trackers as t
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.effects import Verdict, verdict
from rdsp_codecs.mysql.lexer import Facts, facts
from rdsp_codecs.mysql.login import CAPABILITIES
from rdsp_codecs.mysql.settings import also_changes, canonical
from rdsp_codecs.mysql.values import Reader
from rdsp_codecs.pins import PinReason
from tests.codecs.mysql.text_scripts import HANDLERS, LOCKS, TABLES, VARIABLES
from tests.servers.mysql import ADMIN, ADMIN_PASSWORD, DATABASE, MySqlServer
from tests.servers.mysqlclient import MySqlClient

UNKNOWN = b"?"
"""The value of a variable that a verdict does not tell."""
Row = tuple[bytes | None, ...]


@attrs.frozen
class Answer:
    """What came of one text: the errors' codes, the rows of all results, and what was reported."""

    error: int | None
    rows: list[Row]
    changes: t.Changes
    insert_ids: list[int]


class Session:
    """One connection of somebody who may do everything. `close` it."""

    def __init__(self, server: MySqlServer, *, multi: bool = True) -> None:
        flags = c.CLIENT_MULTI_RESULTS | (c.CLIENT_MULTI_STATEMENTS if multi else 0)
        self.mariadb = server.version.startswith("mariadb")
        self.multi = multi
        self.client = MySqlClient(server.port, ADMIN, ADMIN_PASSWORD, parameters={CAPABILITIES: str(flags)})
        self.version = self.client.state.server_parameters["server_version"]
        self.tracked = server.version != "mysql-5.6"
        if not multi:
            self.client.ask(r.COM_SET_OPTION, b"\1\0")
        if self.tracked:
            wanted = "session_track_system_variables = '*', session_track_state_change = ON"
            self.ask(f"SET SESSION {wanted}, session_track_transaction_info = 'CHARACTERISTICS'")

    def close(self) -> None:
        """Close the socket."""
        self.client.socket.close()

    def ask(self, text: str | bytes) -> Answer:
        """Run a text."""
        raw = text if isinstance(text, bytes) else text.encode()
        prefix = b"\0\1" if self.client.flags & c.CLIENT_QUERY_ATTRIBUTES else b""
        error, rows, columns, entries, ids = None, list[Row](), 0, list[t.Tracker](), list[int]()
        for one in self.client.ask(r.COM_QUERY, prefix + raw):
            if one.part is Part.ERR:
                error = r.read_err(one.payload).code
            elif one.part is Part.COUNT:
                columns = r.read_column_count(one.payload, self.client.flags).columns
            elif one.part is Part.ROW:
                row = Reader(one.payload, "row")
                rows.append(tuple(row.value() for _ in range(columns)))
            if one.ok is not None:
                entries += one.ok.trackers or ()
                ids.append(one.ok.last_insert_id)
        return Answer(error, rows, t.changes(entries), ids)

    def facts(self) -> Facts:
        """What the server reads the next text by."""
        names = ("sql_mode", "character_set_client", "character_set_connection", "collation_connection")
        mode, client, connection, collation = [
            value or b"" for value in self.ask("SELECT " + ", ".join(f"@@{name}" for name in names)).rows[0]
        ]
        return facts(self.version, mode, multi=self.multi, client=client, connection=connection, collation=collation)

    def settings(self) -> dict[bytes, bytes | None]:
        """All variables of the session but those that move by themselves."""
        rows = self.ask("SHOW SESSION VARIABLES").rows
        return {row[0]: row[1] for row in rows if row[0] and row[0] not in _MOVING and not row[0].startswith(b"gtid")}

    def last_insert_id(self) -> bytes | None:
        """As the next statement sees it."""
        return self.ask("SELECT LAST_INSERT_ID()").rows[0][0]

    def variables(self) -> dict[bytes, Row]:
        """Each user variable of the scripts, as far as it can be told from others: value, collation, type."""
        found: dict[bytes, Row] = {}
        for name in VARIABLES:
            row = self.ask(f"SELECT HEX(@{name}), COLLATION(@{name}), @{name} + 0, LENGTH(@{name} + 0)").rows[0]
            found[name.encode()] = row
        if self.mariadb:
            columns = "variable_name, variable_type, character_set_name"
            for name_, kind, charset in self.ask(f"SELECT {columns} FROM information_schema.user_variables").rows:
                assert name_ is not None
                if name_.lower() in found:
                    found[name_.lower()] += (kind, charset)
        return found

    def things(self) -> set[tuple[PinReason, bytes]]:
        """What of the scripts' names is really there."""
        number = self.ask("SELECT CONNECTION_ID()").rows[0][0]
        held = [name for name in LOCKS if self.ask(f"SELECT IS_USED_LOCK('{name}')").rows[0][0] == number]
        found = {(PinReason.ADVISORY_LOCK, f"'{name}'".encode()) for name in held}
        locked = [self.ask(text).error for text in ("SELECT 1 FROM unlocked LIMIT 0", "DELETE FROM unlocked WHERE 0")]
        if locked[0] == _NOT_LOCKED:
            found.add((PinReason.TABLE_LOCK, b"tables"))
        elif locked[1] == _CONFLICTING_LOCK:
            found.add((PinReason.TABLE_LOCK, b"global"))
        else:
            for table in TABLES:
                made = self.ask(f"SHOW CREATE TABLE {table}").rows
                if made and (made[0][1] or b"").startswith(b"CREATE TEMPORARY"):
                    found.add((PinReason.TEMPORARY_TABLE, b"\0" + table.encode()))
        for handler in HANDLERS:
            if self.ask(f"HANDLER {handler} READ FIRST LIMIT 1").error not in (_NO_HANDLER, _LOCKED_TABLES):
                found.add((PinReason.OPEN_HANDLER, handler.encode()))
        return found


_NOT_LOCKED, _CONFLICTING_LOCK, _NO_HANDLER, _LOCKED_TABLES = 1100, 1223, 1109, 1192
_MOVING = frozenset({b"slow_launch_time", b"timestamp", b"statement_id", b"last_gtid", b"rand_seed1", b"rand_seed2"})
_MEMORY = frozenset(
    b"identity last_insert_id warning_count error_count in_transaction character_set_database collation_database".split()
)
"""Variables that are memory of statements, which `reads` and `leaves` are about, or follow from the database."""


def _resolved(things: Iterable[tuple[PinReason, bytes]]) -> set[tuple[PinReason, bytes]]:
    """The same with the names of tables as in the session's own database."""
    own = DATABASE.encode() + b"\0"
    return {(reason, b"\0" + name.removeprefix(own) if name.startswith(own) else name) for reason, name in things}


class Book:
    """What is known of a session by verdicts, answers and reports alone."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.facts = session.facts()
        self.things: set[tuple[PinReason, bytes]] = set()
        self.variables: dict[bytes, bytes] = {}
        self.touched: set[bytes] = set()
        self.pins: set[PinReason] = set()
        self.trusted = True
        self.insert_id_told = True
        self.before = session.settings()
        self.last_id = session.last_insert_id()

    def run(self, text: str) -> Verdict:
        """Run a text and enter what is said of it."""
        self.facts = self.session.facts()
        said = verdict(text.encode(), self.facts)
        answer = self.session.ask(text)
        for name, _ in answer.changes.variables:
            self.touched.add(canonical(name, self.facts))
            self.touched.add(also_changes(canonical(name, self.facts)) or b"")
        if answer.error == _SYNTAX and len(said.heads) == 1:
            return said
        self.pins |= {reason for reason, _ in said.pins}
        self.trusted = self.trusted and not said.doubtful and PinReason.UNRECOGNISED_STATE not in self.pins
        if answer.error is None:
            self.things -= _resolved(said.undoes)
        self.things |= _resolved(said.makes)
        if said.renames and any(reason is PinReason.TEMPORARY_TABLE for reason, _ in self.things):
            self.things.add((PinReason.TEMPORARY_TABLE, b""))
        self.touched |= said.settings.keys()
        for name, value in said.variables.items():
            self.variables[name] = UNKNOWN if value is None or answer.error is not None else value
        self.insert_id_told = n.LAST_INSERT_ID in said.leaves or said.calls or any(answer.insert_ids)
        if said.calls:
            self.trusted = False  # what procedures do is not said
        return said

    def check(self, said: Verdict, other: Session) -> None:
        """Whether what is there was entered; constants mean in another session what they mean in this one."""
        last_id, self.last_id = self.last_id, self.session.last_insert_id()
        if not self.trusted:
            return
        assert last_id == self.last_id or self.insert_id_told
        self._check_things()
        self._check_settings()
        if PinReason.USER_VARIABLE not in self.pins:
            self._check_variables(other)

    def _check_things(self) -> None:
        unnamed = {reason for reason, name in self.things if not name}
        for reason, name in self.session.things():
            kind_is_known = reason in unnamed or (reason, name) in self.things
            assert kind_is_known or (reason, name.upper()) in self.things, (reason, name)

    def _check_settings(self) -> None:
        for name, value in self.session.settings().items():
            if value != self.before.get(name) and canonical(name, self.facts) not in self.touched:
                assert name in _MEMORY, name

    def _check_variables(self, other: Session) -> None:
        known = {name: value for name, value in self.variables.items() if value != UNKNOWN}
        assert known.keys() <= {name.encode() for name in VARIABLES}
        text = b", ".join(b"@%b = %b" % item for item in {**dict.fromkeys(_NAMES, b"NULL"), **known}.items())
        assert other.ask(b"SET " + text).error is None, text
        here, there = self.session.variables(), other.variables()
        for name in _NAMES:
            if self.variables.get(name) != UNKNOWN and (name in known or here[name][:1] != (None,)):
                assert here[name] == there[name], (name, self.variables.get(name), here[name], there[name])


_SYNTAX = 1064
_NAMES = [name.encode() for name in VARIABLES]
