"""SET in all its forms: which variables of the session it gives which values.

`inspection` builds on it. MySQL: "SET Syntax for Variable Assignment" and its neighbours; MariaDB: "SET", "SET
STATEMENT".
"""

from __future__ import annotations

import re
from typing import Final

from rdsp_codecs.mysql import notable as n
from rdsp_codecs.mysql.bodies import Bodies
from rdsp_codecs.mysql.constants import constant, plain
from rdsp_codecs.mysql.lexer import Facts, Kind, Token
from rdsp_codecs.mysql.reading import BUDGET, NAMES
from rdsp_codecs.mysql.settings import also_changes, canonical
from rdsp_codecs.mysql.words import IMPLICIT, NEXT, Kill
from rdsp_codecs.pins import PinReason

READ_BY: Final = frozenset({b"sql_mode", b"character_set_client", b"character_set_connection", b"collation_connection"})
"""Settings that say how the text behind them is read."""
_SCOPES: Final = frozenset({b"global", b"session", b"local", b"persist", b"persist_only"})
_OF_SESSION: Final = frozenset({b"", b"session", b"local"})
_CHARACTER_SETS: Final = (b"character_set_client", b"character_set_results", b"character_set_connection")
_COLLATION: Final = b"collation_connection"
_RESULTS: Final = b"character_set_results"
_LONGEST: Final = 16
"""How many tokens of a value are kept: more are no constant."""
PINNED: Final = {
    b"rand_seed1": PinReason.RANDOM_SEED,
    b"rand_seed2": PinReason.RANDOM_SEED,
    b"gtid_next": PinReason.REPLICATION,
    b"gtid_seq_no": PinReason.REPLICATION,
    b"pseudo_slave_mode": PinReason.REPLICATION,
    b"pseudo_replica_mode": PinReason.REPLICATION,
    b"pseudo_thread_id": PinReason.REPLICATION,
    b"insert_id": PinReason.SESSION_SETTING,
    b"profiling": PinReason.SESSION_SETTING,
    b"debug": PinReason.SESSION_SETTING,
    b"debug_sync": PinReason.SESSION_SETTING,
}
"""System variables with a memory that no SET on another connection brings back."""
_OWN: Final = frozenset(
    b"( , + - * / = < > select in and or not case when then else concat concat_ws replace if ifnull nullif coalesce"
    b" lower upper lcase ucase trim ltrim rtrim left right substring substr length char_length cast convert now sysdate"
    b" unix_timestamp from_unixtime utc_timestamp current_timestamp date time round floor ceil ceiling abs mod greatest"
    b" least rand uuid md5 sha1 sha2 hex unhex user database schema version last_insert_id row_count found_rows"
    b" connection_id json_object json_array json_extract json_unquote instr locate find_in_set date_format date_add"
    b" date_sub interval char values".split()
)
"""What may stand before a parenthesis in a value: servers' own functions, which no other hides, and operators."""
_ROLE_KINDS: Final = frozenset({Kind.WORD, Kind.QUOTED, Kind.VARIABLE, Kind.LITERAL, Kind.MARK})


class SettingText(Bodies):
    """Tokens, and what is found in them; each attribute is what `effects.Verdict` says of it."""

    def __init__(self, text: bytes, facts: Facts, budget: int = BUDGET) -> None:
        super().__init__(text, facts, budget)
        self.pins: dict[PinReason, int] = {}
        self.makes: set[tuple[PinReason, bytes]] = set()
        self.undoes: set[tuple[PinReason, bytes]] = set()
        self.variables: dict[bytes, bytes | None] = {}
        self.settings: dict[bytes, bytes | None] = {}
        self.reads: set[bytes] = set()
        self.leaves: set[bytes] = set()
        self.heads: list[bytes] = []
        self.kills: list[Kill] = []
        self.role: bytes | None = None
        self.names: bytes | None = None
        self.prepares: tuple[bytes, bytes | None] | None = None
        self.executes: bytes | None = None
        self.uses: bytes | None = None
        self.transaction = 0
        self.statements = 0
        self.calls = self.unlocks = self.renames = self.local_file = self.doubtful = self.fills = self.strange = False
        self._statement = 0
        self._targets = self._assigns = self._rereads = False

    def _pin(self, reason: PinReason) -> None:
        self.pins.setdefault(reason, self._statement)

    def _see(self, token: Token) -> None:
        """Look at a token anywhere."""
        raise NotImplementedError

    def _one(self) -> None:
        """One statement."""
        raise NotImplementedError

    # -- user variables

    def _assign(self, token: Token, value: bytes | None) -> None:
        name = self._variable_name(token)
        if name is None:
            self._pin(PinReason.USER_VARIABLE)
        else:
            # A string's character set may have changed by now.
            self.variables[name] = None if self._rereads and value is not None and b"COLLATE" in value else value

    def _variable_name(self, token: Token) -> bytes | None:
        """In lower case; None where servers may take it for the same as another one."""
        _, start, end = token
        name = self._text[start + 1 : end]
        if name[:1] in (b"'", b'"', b"`"):
            if b"\\" in name or name.count(name[:1]) != 2:
                return None
            name = name[1:-1]
        return name.lower() if n.PLAIN_VARIABLE(name) is not None else None

    # -- SET

    def _set(self) -> None:
        for_statement = self._facts.mariadb and self._accept(b"statement")
        kept = dict(self.settings)
        self._item(for_statement=for_statement)
        while self._accept(b","):
            self._item(for_statement=for_statement)
        if for_statement and self._accept(b"for"):
            # These are put back behind the statement.
            self.settings = kept
            if not self._ends():
                self.heads.pop()
                self.statements -= 1
                self._one()

    def _item(self, *, for_statement: bool = False) -> None:
        first = self._peek()
        if first[0] == Kind.VARIABLE:
            self._take()
            self._accept(b":")
            self._accept(b"=")
            self._assign(first, constant(self._text, self._value(), self._facts))
            return
        scope = b""
        if first[0] == Kind.SYSTEM:
            self._take()
            scope, name = self._system_name()
        else:
            if self._said(first) in _SCOPES and self._said(self._peek(1)) not in (b"=", b".", b":"):
                scope = self._said(self._take())
            if self._said(self._peek(1)) not in (b"=", b":", b".") and self._special(scope):
                return
            if self._next_is(b"password"):
                self.transaction |= IMPLICIT
                self._value()
                return
            name = self._dotted()
        if not (self._accept(b":", b"=") or self._accept(b"=")):
            self._pin(PinReason.UNRECOGNISED_STATE)
        value = self._value(for_statement=for_statement)
        if scope in _OF_SESSION:
            self._setting(name, plain(self._text, value, self._facts))

    def _setting(self, name: bytes, value: bytes | None) -> None:
        name = canonical(name, self._facts)
        if name == b"timestamp" and value == b"0":
            value = b"DEFAULT"
        self.settings[name] = value
        along = also_changes(name)
        if along is not None:
            self.settings[along] = None
        if name == _RESULTS:
            # A number is a collation's.
            known = value is not None and not value[:1].isdigit()
            self.names = None if not known else b"character_set_results=DEFAULT" if value == b"DEFAULT" else b""
            self._mind_names()
        reason = PINNED.get(name)
        if reason is not None:
            self._pin(reason)
        if name == n.LAST_INSERT_ID:
            self.leaves.add(n.LAST_INSERT_ID)

    def _value(self, *, for_statement: bool = False) -> list[Token]:
        """Take a value, and see all in it. Returns its first tokens, at most one more than `_LONGEST`."""
        found: list[Token] = []
        depth = 0
        last = before = b""
        while not self._ends():
            said = self._said(self._peek())
            if depth == 0 and (said == b"," or (for_statement and said == b"for")):
                break
            depth += 1 if said == b"(" else -1 if said == b")" else 0
            token = self._take()
            # A view's functions run, too.
            if said == b"from" or (said == b"(" and last and (last not in _OWN or before == b".")):
                self.strange = True
            before, last = last, said if token[0] != Kind.QUOTED else b"`"
            self._see(token)
            if len(found) <= _LONGEST:
                found.append(token)
        return found

    def _system_name(self) -> tuple[bytes, bytes]:
        """Behind @@: scope and name, in lower case."""
        name = self._name(self._take()).lower()
        scope = b""
        if name in _SCOPES and self._next_is(b"."):
            self._take()
            scope, name = name, self._name(self._take()).lower()
        while self._next_is(b"."):
            self._take()
            name += b"." + self._name(self._take()).lower()
        return scope, name

    def _dotted(self) -> bytes:
        name = self._name(self._take()).lower() if self._peek()[0] in NAMES else b""
        while self._next_is(b"."):
            self._take()
            name += b"." + self._name(self._take()).lower()
        return name

    # -- SET without an equals sign

    def _special(self, scope: bytes) -> bool:
        """Take an item that assigns by words of its own; False where it is none."""
        if self._accept(b"transaction"):
            self._characteristics(scope)
        elif scope:
            return False
        elif self._accept(b"names"):
            self._names()
        elif self._accept(b"character", b"set") or self._accept(b"charset") or self._accept(b"char", b"set"):
            charset = plain(self._text, self._value(), self._facts)
            self.names = None if charset is None else b"CHARACTER SET DEFAULT" if charset == b"DEFAULT" else b""
            self._mind_names()
            self.settings |= dict.fromkeys((*_CHARACTER_SETS, _COLLATION))
        elif self._accept(b"role"):
            self._role()
        elif self._next_is(b"default", b"role"):
            self._everything()
        elif self._accept(b"resource", b"group"):
            self._take()
            if not self._next_is(b"for"):
                self._pin(PinReason.SESSION_SETTING)
            self._everything()
        elif self._accept(b"password"):
            self.transaction |= IMPLICIT
            self._everything()
        else:
            return False
        return True

    def _everything(self) -> None:
        while not self._ends():
            self._see(self._take())

    def _names(self) -> None:
        value = self._value()
        charset = plain(self._text, value[:1], self._facts)
        collation = plain(self._text, value[2:3], self._facts) if len(value) > 2 else None
        self.settings |= dict.fromkeys(_CHARACTER_SETS, charset)
        self.settings[_COLLATION] = collation
        self.names = _clause(charset, collation) if len(value) in (1, 3) else None
        self._mind_names()

    def _mind_names(self) -> None:
        if self.names is None:
            self._pin(PinReason.SESSION_SETTING)

    def _role(self) -> None:
        start = end = self._peek()[1]
        fits = True
        while not self._ends():
            kind, begin, end = self._take()
            said = self._text[begin:end]
            quoted_otherwise = said[:1] == b'"' or b"\\" in said or said[:2] == b'@"'
            fits = fits and kind in _ROLE_KINDS and said.isascii() and not quoted_otherwise
        if fits and not self._tokens.in_code:
            self.role = b"SET ROLE " + self._text[start:end]
        else:
            self._pin(PinReason.SESSION_SETTING)

    def _characteristics(self, scope: bytes) -> None:
        said: list[bytes] = []
        while not self._ends():
            token = self._take()
            said.append(self._said(token))
        if not scope:
            self.transaction |= NEXT
        elif scope in _OF_SESSION:
            if b"only" in said or b"write" in said:
                self._setting(b"tx_read_only", b"1" if b"only" in said else b"0")
            if b"level" in said:
                level = said[said.index(b"level") + 1 :]
                words = level[: level.index(b",")] if b"," in level else level
                self._setting(b"tx_isolation", b"'" + b"-".join(words).upper() + b"'")


_NAME: Final = re.compile(rb"'?([a-z0-9_]{1,64})'?").fullmatch


def _clause(charset: bytes | None, collation: bytes | None) -> bytes | None:
    """SET NAMES as it can be said again; None where that is not plain."""
    names = [_NAME(name.lower()) for name in (charset or b"", collation or b"default")]
    if names[0] is None or names[1] is None:
        return None
    said = [b"DEFAULT" if name[1] == b"default" else b"'" + name[1] + b"'" for name in names if name is not None]
    return b"NAMES " + (said[0] if said[1] == b"DEFAULT" else b" COLLATE ".join(said))
