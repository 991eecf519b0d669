"""The exact look into one text for what its statements do to their session.

`effects` calls it for texts that `notable.may_matter` lets through. It works on tokens and a little of the grammar,
never on what stands in literals and comments; it must find whatever of its lists a text runs, and may find more.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from rdsp_codecs.mysql import notable as n
from rdsp_codecs.mysql.constants import literal_value, quoted
from rdsp_codecs.mysql.lexer import UTF8, Facts, Kind, Token
from rdsp_codecs.mysql.reading import BUDGET, END, NAMES, SpentError
from rdsp_codecs.mysql.setting_text import READ_BY, SettingText
from rdsp_codecs.mysql.tracking import is_like
from rdsp_codecs.mysql.words import BEGINS, CHAINS, ENDS, HEADS, IMPLICIT, RELEASES, SAVEPOINT, XA, Kill
from rdsp_codecs.pins import PinReason

_ROUTINES: Final = frozenset({b"procedure", b"function", b"trigger", b"event", b"package"})
_BEFORE_ROUTINE: Final = 16
"""How many tokens may stand between CREATE and what is made: OR REPLACE DEFINER = a @ b AGGREGATE."""
_COMPOUND: Final = frozenset({b"if", b"case", b"loop", b"while", b"repeat", b"for", b"declare"})
_BLOCK_WORDS: Final = frozenset({b"begin", b"then", b"else", b"loop", b"do", b"repeat"})
_OTHERWISE: Final = re.compile(rb"[\"\\\x80-\xff]").search
"""What means something else under another sql_mode or character set."""
_GIVEN: Final = (Kind.VARIABLE, Kind.NUMBER)
_BETWEEN: Final = (b"using", b",")
_QUERY: Final = re.compile(rb"(?i)select|values|with|table").search
"""What a table's definition may end in that runs other code."""
_LONGEST_LOCK: Final = 128
_MAX_TEXTS: Final = 4


class Look(SettingText):
    """One walk over a text; see `SettingText` and `effects.Verdict` for what it finds."""

    def __init__(self, text: bytes, facts: Facts, budget: int = BUDGET, texts: int = 0) -> None:
        """`texts` counts those around this one, which run it as a string."""
        super().__init__(text, facts, budget)
        self._texts = texts
        self._compound = self._opened = self._rest_is_plain = False

    def run(self) -> None:
        """Walk over the whole text, or as far as it can be read."""
        try:
            while self._peek() != END:
                if self._said(self._peek()) == b";":
                    self._take()
                else:
                    self._one()
        except SpentError:
            self.doubtful = True
            self.heads.append(b"")  # there may be more
            self._pin(PinReason.UNRECOGNISED_STATE)
        if self._compound:
            # Which of its statements run is not known before.
            self.variables = dict.fromkeys(self.variables)
            self.settings = dict.fromkeys(self.settings)
            self.undoes.clear()

    def _one(self) -> None:
        """One statement, up to its semicolon."""
        first = self._peek()
        self._statement = first[1]
        self.statements += 1
        if self.statements > 1 and not self._rereads:
            self._rereads = self.calls or not READ_BY.isdisjoint(self.settings)
        if self._rereads and (not self._rest_is_plain):
            self._rest_is_plain = _OTHERWISE(self._text, first[1]) is None
            if not self._rest_is_plain:
                raise SpentError
        while self._said(first) == b"(":
            self._take()
            first = self._peek()
        head = self._said(first)
        self.heads.append(head)
        self._assigns = head in (b"call", b"load", b"get")
        handler = _HANDLERS.get(head)
        if self._facts.mariadb and (head in _COMPOUND or self._begins_block(head)):
            self._compound = True
        if handler is not None:
            self._take()
            self.transaction |= HEADS.get(head, 0)
            handler(self)
            if self._opened:
                self._opened = False
                return
        elif head in HEADS:
            self.transaction |= HEADS[head]
        elif self._compound:
            self._in_block(head)
            return
        else:
            self._pin(PinReason.UNRECOGNISED_STATE)
        self._rest()

    def _rest(self) -> None:
        """See all up to the statement's end, or in a compound statement to where another one may begin."""
        while True:
            if not (self._compound or self._targets):
                self._skip()
            if self._ends():
                return
            token = self._take()
            self._see(token)
            if self._compound and self._said(token) in _BLOCK_WORDS:
                return

    # -- blocks

    def _begins_block(self, head: bytes) -> bool:
        if head == b"begin":
            return self._facts.oracle or self._said(self._peek(1)) == b"not"
        return head == b"<" or self._said(self._peek(1)) == b":"

    def _in_block(self, head: bytes) -> None:
        """What is no statement by itself: a part of a compound one."""
        if head in _COMPOUND or head in _BLOCK_WORDS or head in (b"end", b"elseif", b"elsif", b"when", b"until"):
            self._take()
            if head not in _BLOCK_WORDS:
                self._rest()
        else:
            # A label, an assignment in Oracle's style, or nothing that is known.
            self._take()
            while not self._ends() and self._said(self._peek()) not in (b":", b">"):
                self._see(self._take())
            if not self._ends():
                self._take()

    # -- words and names anywhere

    def _see(self, token: Token) -> None:
        kind = token[0]
        if kind == Kind.WORD or kind == Kind.QUOTED:
            self._see_name(self._name(token).lower(), kind)
        elif kind == Kind.VARIABLE:
            assigned = self._next_is(b":", b"=") and self._peek()[2] == self._peek(1)[1]
            if assigned or self._assigns or self._targets:
                self._assign(token, None)
            self._targets = self._targets and self._next_is(b",")
        elif kind == Kind.SYSTEM:
            self._see_system()
        elif self._targets and self._said(token) != b",":
            self._targets = False

    def _see_name(self, name: bytes, kind: Kind) -> None:
        if kind == Kind.WORD:
            self._targets = name == b"into"
            if name == b"sql_calc_found_rows":
                self.leaves.add(n.FOUND_ROWS)
            elif name in (b"next", b"previous") and self._next_is(b"value"):
                (self.leaves if name == b"next" else self.reads).add(n.SEQUENCE)
            elif name == b"rename":
                self.renames = True
            if not name.isascii() and self._facts.client not in UTF8:
                self._distrust(name)
        if name in (b"nextval", b"currval"):
            (self.leaves if name == b"nextval" else self.reads).add(n.SEQUENCE)
        elif self._next_is(b"("):
            self._see_call(name)

    def _distrust(self, name: bytes) -> None:
        """In this character set a byte that is not ASCII may be a blank."""
        if n.NOTABLE(name) is not None:
            self._pin(PinReason.UNRECOGNISED_STATE)

    def _see_call(self, name: bytes) -> None:
        if name in n.READERS:
            self.reads.add(n.READERS[name])
        elif name == n.LAST_INSERT_ID:
            (self.reads if self._said(self._peek(1)) == b")" else self.leaves).add(n.LAST_INSERT_ID)
        elif name == b"get_lock":
            self.makes.add((PinReason.ADVISORY_LOCK, self._lock_name()))
        elif name in n.UNLOCKERS:
            self.unlocks = True
        elif name in n.PINNING:
            self._pin(n.PINNING[name])

    def _lock_name(self) -> bytes:
        """The name of a lock that is taken, as a literal; nothing where it cannot be told."""
        argument = self._peek(1)
        if argument[0] != Kind.LITERAL or self._said(self._peek(2)) != b",":
            return b""
        value = literal_value(self._text, argument, self._facts)
        return quoted(value) if value is not None and value.isascii() and len(value) <= _LONGEST_LOCK else b""

    def _see_system(self) -> None:
        _, name = self._system_name()
        if name in n.SYSTEM_READERS:
            self.reads.add(n.SYSTEM_READERS[name])

    # -- transactions

    def _begin(self) -> None:
        if self._accept(b"not") or (self._compound and self._facts.oracle):
            self._accept(b"atomic")
            self._opened = True
            return
        self.transaction |= BEGINS
        self.undoes.add((PinReason.TABLE_LOCK, b"tables"))

    def _start(self) -> None:
        if self._accept(b"transaction"):
            self.transaction |= BEGINS
            self.undoes.add((PinReason.TABLE_LOCK, b"tables"))

    def _commit(self) -> None:
        self._accept(b"work")
        if self._next_is(b"to") or self._next_is(b"savepoint"):
            self.transaction |= SAVEPOINT
            return
        self.transaction |= ENDS
        said = [self._said(self._peek(at)) for at in range(6) if self._peek(at) != END]
        if b";" in said:
            del said[said.index(b";") :]
        if said[:2] == [b"and", b"chain"]:
            self.transaction |= CHAINS
        if b"release" in said and b"no" not in said[-2:]:
            self.transaction |= RELEASES

    def _savepoint(self) -> None:
        self.transaction |= SAVEPOINT

    def _xa(self) -> None:
        self.transaction |= XA

    # -- tables, locks, handlers

    def _create(self) -> None:
        self._accept(b"or", b"replace")
        if self._accept(b"temporary"):
            self._create_temporary()
            return
        for at in range(_BEFORE_ROUTINE):
            said = self._said(self._peek(at))
            if said in (b"table", b"view", b";", b"database", b"schema", b"user", b"index") or self._peek(at) == END:
                return
            if said in _ROUTINES:
                self._skip_routine()
                return

    def _create_temporary(self) -> None:
        self.transaction &= ~IMPLICIT
        self._take()
        if self._accept(b"if"):
            self._accept(b"not", b"exists")
        name = self._take_name()
        known = name is not None and name.isascii() and not self._is_elsewhere(name)
        self.makes.add((PinReason.TEMPORARY_TABLE, name if known and name is not None else b""))
        self.fills = self.fills or _QUERY(self._text, self._peek()[1]) is not None

    def _is_elsewhere(self, name: bytes) -> bool:
        """Whether a table's name may not be in the database that was the default one before the text."""
        return name.startswith(b"\0") and (self.uses is not None or self.calls)

    def _drop(self) -> None:
        if self._accept(b"prepare"):
            self._deallocated()
            return
        temporary = self._accept(b"temporary")
        if temporary:
            self.transaction &= ~IMPLICIT
        if not (self._accept(b"table") or self._accept(b"tables") or (temporary and self._accept(b"sequence"))):
            return
        self._accept(b"if", b"exists")
        while (name := self._take_name()) is not None:
            if not self._is_elsewhere(name):
                self.undoes.add((PinReason.TEMPORARY_TABLE, name))
            if not self._accept(b","):
                return

    def _alter(self) -> None:
        said = [self._said(self._peek(at)) for at in range(_BEFORE_ROUTINE)]
        if b"event" in said:
            self._skip_routine()

    def _rename(self) -> None:
        self.renames = True

    def _lock(self) -> None:
        if self._accept(b"instance"):
            self.makes.add((PinReason.BACKUP_LOCK, b"instance"))
        elif self._accept(b"binlog"):
            self.makes.add((PinReason.BACKUP_LOCK, b"binlog"))
        else:
            self.makes.add((PinReason.TABLE_LOCK, b"tables"))

    def _unlock(self) -> None:
        if self._accept(b"instance"):
            self.undoes.add((PinReason.BACKUP_LOCK, b"instance"))
        elif self._accept(b"binlog"):
            self.undoes.add((PinReason.BACKUP_LOCK, b"binlog"))
        elif self._accept(b"tables") or self._accept(b"table"):
            self.undoes |= {(PinReason.TABLE_LOCK, b"tables"), (PinReason.TABLE_LOCK, b"global")}

    def _flush(self) -> None:
        while not self._ends():
            if self._accept(b"with", b"read", b"lock") or self._accept(b"for", b"export"):
                # With names of tables behind it, it is a LOCK TABLES; without, it outlasts transactions.
                self.makes.add((PinReason.TABLE_LOCK, b"global"))
            else:
                self._see(self._take())

    def _backup(self) -> None:
        if self._accept(b"stage"):
            where = self.undoes if self._next_is(b"end") else self.makes
            where.add((PinReason.BACKUP_LOCK, b"stage"))
        elif self._accept(b"lock"):
            self.makes.add((PinReason.BACKUP_LOCK, b"table"))
        elif self._accept(b"unlock"):
            self.undoes.add((PinReason.BACKUP_LOCK, b"table"))
        else:
            self._pin(PinReason.UNRECOGNISED_STATE)

    def _handler(self) -> None:
        name = (self._take_name() or b"").partition(b"\0")[2]
        if self._accept(b"open"):
            if not self._ends():
                self._accept(b"as")
                name = self._name(self._take())
            self.makes.add((PinReason.OPEN_HANDLER, name))
        elif self._accept(b"close"):
            self.undoes.add((PinReason.OPEN_HANDLER, name))

    # -- texts that are run

    def _prepare(self) -> None:
        name = self._name(self._take()).lower()
        self.makes.add((PinReason.TEXT_PREPARED, name))
        self._accept(b"from")
        if self.statements == 1 and not self._texts and self._is_last(1):
            token = self._peek()
            if token[0] == Kind.VARIABLE:
                self.prepares = name, None
            elif token[0] == Kind.LITERAL:
                value = literal_value(self._text, token, self._facts)
                self.prepares = name, value if value is not None and value.isascii() else None
        self._run_text()

    def _is_last(self, ahead: int) -> bool:
        """Whether the text ends there, or with a semicolon that stands there."""
        token = self._peek(ahead)
        return token == END or (self._said(token) == b";" and self._peek(ahead + 1) == END)

    def _execute(self) -> None:
        if self._accept(b"immediate"):
            self._run_text()
        else:
            self.calls = True
            if self.statements == 1 and not self._texts and self._peek()[0] in NAMES:
                name, at = self._name(self._peek()).lower(), 1
                while self._peek(at)[0] in _GIVEN or self._said(self._peek(at)) in _BETWEEN:
                    at += 1
                if self._is_last(at):
                    self.executes = name

    def _run_text(self) -> None:
        """A text is run that stands here as a literal, or cannot be told."""
        literals: list[bytes] = []
        while self._peek()[0] == Kind.LITERAL:
            value = literal_value(self._text, self._take(), self._facts)
            if value is not None and value.isascii():
                literals.append(value)
        if len(literals) != 1 or not (self._ends() or self._next_is(b"using")) or self._texts == _MAX_TEXTS:
            self._pin(PinReason.UNRECOGNISED_STATE)
            return
        inner = Look(literals[0], self._facts, self.left, self._texts + 1)
        inner.run()
        self.left = inner.left
        self._merge(inner)
        if b"call" in inner.heads:
            self._pin(PinReason.UNRECOGNISED_STATE)  # which variables it fills is said where it is executed

    def _merge(self, inner: Look) -> None:
        """Whatever a text within this one does, at some time."""
        for reason in inner.pins:
            self._pin(reason)
        self.makes |= inner.makes
        self.reads |= inner.reads
        self.leaves |= inner.leaves
        self.transaction |= inner.transaction
        self.variables |= dict.fromkeys(inner.variables)
        self.settings |= dict.fromkeys(inner.settings)
        self.calls = self.calls or inner.calls
        self.unlocks = self.unlocks or inner.unlocks
        self.renames = self.renames or inner.renames
        self.doubtful = self.doubtful or inner.doubtful
        self.local_file = self.local_file or inner.local_file
        if inner.role is not None or inner.kills or inner.uses is not None:
            self._pin(PinReason.UNRECOGNISED_STATE)

    def _deallocate(self) -> None:
        if self._accept(b"prepare"):
            self._deallocated()

    def _deallocated(self) -> None:
        if self._peek()[0] in NAMES:
            self.undoes.add((PinReason.TEXT_PREPARED, self._name(self._take()).lower()))

    def _call(self) -> None:
        self.calls = True

    # -- the rest

    def _get(self) -> None:
        self.reads.add(n.DIAGNOSTICS)

    def _show(self) -> None:
        said = [self._said(self._peek(at)) for at in range(5)]
        if said[0] in (b"warnings", b"errors") or (
            said[:2] == [b"count", b"("] and said[4] in (b"warnings", b"errors")
        ):
            self.reads.add(n.DIAGNOSTICS)
        elif b"processlist" in said[:2]:
            self.reads.add(n.PROCESSLIST)
        elif said[0] in (b"profile", b"profiles"):
            self.reads.add(n.PROFILES)
        elif b"variables" in said[:2] and said[0] != b"global" and self._shows_tracking(said.index(b"variables") + 1):
            self.reads.add(n.TRACKING)

    def _shows_tracking(self, at: int) -> bool:
        """Whether the condition, if there is one from there on, may be true of what says what is reported."""
        literal = self._peek(at + 1)
        if self._said(self._peek(at)) != b"like" or literal[0] != Kind.LITERAL:
            return True
        return is_like(literal_value(self._text, literal, self._facts))

    def _kill(self) -> None:
        soft = self._accept(b"soft")
        if not soft:
            self._accept(b"hard")
        query = self._accept(b"query")
        if not query:
            self._accept(b"connection")
        number = None
        by_statement = query and self._accept(b"id")
        token = self._peek()
        if token[0] == Kind.NUMBER and not by_statement:
            self._take()
            digits = self._text[token[1] : token[2]]
            if self._ends() and digits.isdigit():
                number = int(digits)
        self.kills.append(Kill(number, query=query, soft=soft))

    def _use(self) -> None:
        if self._peek()[0] in NAMES:
            self.uses = self._name(self._take())

    def _load(self) -> None:
        while not self._ends():
            token = self._take()
            if self._said(token) == b"infile":
                return
            self.local_file = self.local_file or self._said(token) == b"local"

    def _binlog(self) -> None:
        self._pin(PinReason.REPLICATION)

    def _skip_routine(self) -> None:
        """A routine is made: what it says is not done now."""
        if not self._facts.multi:
            while self._take() != END:
                pass
        elif self._facts.oracle or not self._skip_body():
            self._pin(PinReason.UNRECOGNISED_STATE)


_HANDLERS: Final[dict[bytes, Callable[[Look], None]]] = {
    b"set": Look._set,
    b"create": Look._create,
    b"drop": Look._drop,
    b"alter": Look._alter,
    b"rename": Look._rename,
    b"begin": Look._begin,
    b"start": Look._start,
    b"commit": Look._commit,
    b"rollback": Look._commit,
    b"savepoint": Look._savepoint,
    b"release": Look._savepoint,
    b"xa": Look._xa,
    b"lock": Look._lock,
    b"unlock": Look._unlock,
    b"flush": Look._flush,
    b"backup": Look._backup,
    b"handler": Look._handler,
    b"prepare": Look._prepare,
    b"execute": Look._execute,
    b"deallocate": Look._deallocate,
    b"call": Look._call,
    b"get": Look._get,
    b"show": Look._show,
    b"kill": Look._kill,
    b"use": Look._use,
    b"load": Look._load,
    b"binlog": Look._binlog,
}
"""What looks at the rest of a statement, by its first word."""
