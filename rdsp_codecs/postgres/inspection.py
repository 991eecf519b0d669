"""The exact look into one SQL text for what it does to its session.

`session_state` calls it for texts that `notable.may_matter` lets through. It works on tokens and a little of the
grammar, never on the text of literals or comments; it must find whatever of its lists a text runs, and may find more
than that. What cannot matter is skipped by patterns in linear time; all else has a budget, and what is left of a text
when that is used up is not trusted.
"""

from __future__ import annotations

import itertools
import re
from typing import Final

from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres.lexer import NAME_BYTES, Kind, Token, identifier, literal_value
from rdsp_codecs.postgres.notable import (
    CALLS,
    CREATES_NO_TABLE,
    HIT,
    SEQUENCE_MEMORY,
    TEMPORARY_FOLLOWS,
    TEXT_RUNNERS,
    UNLOCKS,
)
from rdsp_codecs.postgres.reading import BUDGET, IS_LOCAL, SEMICOLON, SKIPPED, Reading, SpentError
from rdsp_codecs.postgres.setting_text import CHARACTERISTICS, EVERYTHING, FORMS, OF_TRANSACTIONS
from rdsp_codecs.postgres.settings import AUTHORIZATION, READ_BY, ROLE

_TEMPORARY_SCHEMA: Final = re.compile(rb"pg_temp(?:_[0-9]+)?").fullmatch
_NAMING: Final = (b"prepare", b"deallocate", b"discard")
_NATIVE: Final = (b"execute", *_NAMING)
_BLOCK_STARTS: Final = frozenset({b"begin", b"then", b"else", b"loop"})
_MAX_BLOCKS: Final = 8
_MAX_CURSOR_WORDS: Final = 64
_MAX_DDL_WORDS: Final = 256
_QUERYING: Final = frozenset({b"select", b"values", b"execute"})
"""Words of a CREATE that may run a query."""
_NAMES: Final = frozenset({Kind.WORD, Kind.QUOTED, Kind.UNICODE_QUOTED})
_PLAIN_VALUES: Final = frozenset({Kind.WORD, Kind.QUOTED, Kind.NUMBER})
_PATHS: Final = frozenset({b"search_path", b"schema"})
"""Names under which SET LOCAL can make pg_temp the schema that tables are created in."""
_WITH_QUERY: Final = 2
"""How many arguments ts_rewrite has where the last one is a query."""
_UP_TO_SET: Final = 5
"""How many tokens can stand from a table of an UPDATE to SET, SET included: ) * AS alias SET."""
_UP_TO_VALUE: Final = 12
"""How many tokens of a SET are looked at."""

_BLOCK: Final = 40


_EXECUTING: Final = frozenset({b"explain", b"create"})
"""First words of statements in which EXECUTE may stand."""
_WITH_ENDS: Final = frozenset({b"explain", b"create", b"alter"})
"""First words of statements whose ends are not skipped: what stands in them means something else."""


class Look(Reading):
    """One walk over a text: what it finds is in the attributes. Invariant: a reason is kept with its first statement.

    Attributes:
        reasons: why to pin, with where the statement begins that is to blame.
        heads: which of SET, DECLARE and DO statements begin with.
        native: SQL names prepared statements; `names` has the names, and `nameless` is set where one cannot be told.
        channels: what is listened to, b"" for names that are not ASCII; `unheard`: something that cannot be told.
        makes, runs, ends: names that it prepares, that it executes, and that it drops one by one.
        executes: SQL runs prepared statements, or may, and does not only make and drop them by their names.
        drops: SQL drops all prepared statements.
        unlocks: a session's advisory locks may be given up.
        memory: currval or lastval is called.
        defines: they are called later by what is made here: a column's default, a function.
        touches: settings that it may change beyond its transaction (lower case, `EVERYTHING` for any), with the new
            value where it is one plain literal or number.
        spelled: how custom variables among them are spelled, where that is not in lower case.
        local: settings that a text is read by and that are set for the rest of the transaction (`EVERYTHING`: any).
        sets: some of them to values of its own, and not only back to those at login.
        named_by: parameters ($1 is 1) that name settings which it may change: a Bind tells which.
        discards: DISCARD ALL.
        doubtful: not all of it could be read surely.
    """

    def __init__(self, text: bytes, *, escapes: bool, blocks: int = 0, budget: int = BUDGET) -> None:
        """`blocks` counts the DO blocks around the text, which is then PL/pgSQL."""
        super().__init__(text, escapes=escapes, budget=budget)
        self.heads: set[bytes] = set()
        self.reasons: dict[PinReason, int] = {}
        self.touches: dict[bytes, bytes | None] = {}
        self.spelled: dict[bytes, bytes] = {}
        self.names: set[bytes] = set()
        self.makes: set[bytes] = set()
        self.runs: set[bytes] = set()
        self.ends: set[bytes] = set()
        self.named_by: set[int] = set()
        self.channels: set[bytes] = set()
        self.local: set[bytes] = set()
        self.nameless = self.unheard = self.drops = self.executes = False
        self.native = self.memory = self.unlocks = self.sets = self.discards = self.doubtful = False
        self._runs_text = self._assembles = self.defines = False
        self._blocks = blocks
        self._statement = 0
        self._head = b""
        self._ends_may_pass = True

    def run(self) -> None:
        """Walk over the whole text, or as far as the budget goes."""
        try:
            if self._blocks:
                self._walk_block()
            else:
                self._walk()
            if b"create" in self._low and any(word in self._low for word in SEQUENCE_MEMORY):
                self.defines = True  # in the body of a function, it may be
            if self._runs_text and self._has_hit_in_literal():
                self._pin(PinReason.UNRECOGNISED_STATE)
        except SpentError:
            self.distrust(self._statement)

    def _has_hit_in_literal(self) -> bool:
        for kind, start, end in self._draw(0):
            if kind in (Kind.LITERAL, Kind.DOLLAR):
                self._pay((end - start) >> 2)
                if HIT(self._low, start, end) is not None:
                    return True
        return False

    def distrust(self, start: int) -> None:
        """From `start` the text may mean something else than it seems: assume the worst of what its words could be."""
        self.doubtful = self.unheard = True
        self._pin(PinReason.UNRECOGNISED_STATE)
        if any(self._low.find(word, start) >= 0 for word in _NATIVE):
            self.native = self.nameless = True
            self._pin(PinReason.SQL_PREPARED_STATEMENT)
        self.memory = self.memory or any(self._low.find(word, start) >= 0 for word in SEQUENCE_MEMORY)

    # -- walking

    def _walk(self) -> None:
        at, at_head = 0, True
        while True:
            token = self._next(self._skip(at, at_head=at_head, ends=self._ends_may_pass))
            if token is None:
                return
            kind, start, at = token
            if at_head:
                self._statement, self._head, self._ends_may_pass = start, b"", True
                if kind == Kind.WORD:
                    self._begin(self._low[start:at], at)
            self._see(kind, start, at)
            at_head = kind == Kind.MARK and self._text[start] in SEMICOLON

    def _walk_block(self) -> None:
        """PL/pgSQL: statements also begin behind some words, and behind a label's >>."""
        at_head = True
        for kind, start, end in self._draw(0):
            if kind in SKIPPED:
                continue
            if kind == Kind.FAULT:
                self.distrust(start)
                return
            word = self._low[start:end] if kind == Kind.WORD else b""
            if at_head and word:
                self._statement = start
                self._begin(word, end)
            self._see(kind, start, end)
            at_head = word in _BLOCK_STARTS if word else kind == Kind.MARK and self._text[start] in b";>"

    def _pin(self, reason: PinReason) -> None:
        self.reasons.setdefault(reason, self._statement)

    def _touch(self, name: bytes, value: bytes | None = None) -> None:
        self.sets = True
        self._touch_only(name, value)

    def _touch_only(self, name: bytes, value: bytes | None = None) -> None:
        self.touches[name or EVERYTHING] = None if name in self.touches else value

    def _names_statement(self, at: int, found: set[bytes]) -> None:
        """A statement's name is at `at`, if it can be read; it is put among what was `found` of this kind."""
        self.native = True
        following = [] if self._blocks else self._ahead(at, 1)
        name = None
        if following and following[0][0][0] in (Kind.WORD, Kind.QUOTED):
            name = identifier(self._text, *following[0][0][1:])
        if name is None:
            self.nameless = True
        else:
            self.names.add(name)
            if found is not self.runs or name not in self.ends:  # else what is executed was made behind the end
                found.add(name)

    def _listen(self, at: int) -> None:
        self._pin(PinReason.LISTEN)
        following = self._ahead(at, 1)
        if following and following[0][0][0] in (Kind.WORD, Kind.QUOTED):
            self.channels.add(identifier(self._text, *following[0][0][1:]) or b"")
        else:
            self.unheard = True

    # -- statements by their first word

    def _begin(self, head: bytes, at: int) -> None:
        self._head = b"" if head == b"create" and CREATES_NO_TABLE(self._low, at) is not None else head
        self._ends_may_pass = head not in _WITH_ENDS
        if head == b"set":
            self.heads.add(head)
            self._set(at)
        elif head == b"reset":
            self._reset(at)
        elif head == b"listen":
            self._listen(at)
        elif head == b"load":
            self._pin(PinReason.LOADED_LIBRARY)
        elif head == b"declare":
            self.heads.add(head)
            self._declare(at)
        elif head == b"do":
            self.heads.add(head)
            self._do(at)
        else:
            self._begin_naming(head, at)

    def _begin_naming(self, head: bytes, at: int) -> None:
        """Statements that name prepared statements, if it is one."""
        if head == b"execute" and not self._blocks:
            self.executes = True
            self._names_statement(at, self.runs)
        elif head == b"deallocate":
            following = self._ahead(at, 2)
            if len(following) == 2 and following[0][1] == b"prepare":
                del following[0]
            if following and following[0][1] == b"all":
                self.drops = True
            else:
                self._names_statement(following[0][0][1] if following else at, self.ends)
        elif head == b"discard":
            if self._words(at, 1) == [b"all"]:
                self.discards = self.drops = True
                self._touch_only(EVERYTHING)
        elif head == b"prepare":
            following = self._ahead(at, 2)
            # PREPARE TRANSACTION 'id'; but a statement, too, may be called transaction.
            if [t[0] == Kind.LITERAL or said for t, said in following] != [b"transaction", True]:
                known, made = frozenset(self.names), set[bytes]()
                self._names_statement(at, made)
                self.makes |= made - known

    def _set(self, at: int) -> None:
        following = self._ahead(at, _UP_TO_VALUE)
        words = [word for _, word in following] + [b""] * (_UP_TO_VALUE - len(following))
        names_setting = words[1] in (b".", b"=", b"to")  # as in SET local.x = 1
        local = words[0] in (b"local", b"transaction", b"constraints") and not names_setting
        if local and words[0] != b"local":
            return
        if local or (words[0] == b"session" and not names_setting):
            del following[:1], words[:1]
        name, behind = self._setting_name(following)
        if local and (name in READ_BY or name in (b"", EVERYTHING)):
            self.local.add(name or EVERYTHING)
        if name == b"seed":
            self._pin(PinReason.RANDOM_SEED)  # which no rollback takes back
        elif local and following and self._name(following[0][0]) in _PATHS and (name in _PATHS or name == EVERYTHING):
            self._set_path(following[0][0][2])
        elif name == CHARACTERISTICS:
            for each in OF_TRANSACTIONS:
                self._touch(each)
        elif not local or b"." in name or not name:
            # Even a local custom variable is not taken away at the end of the transaction: it stays behind, empty.
            self._touch(name, self._number(following[behind:]))

    def _reset(self, at: int) -> None:
        name = self._setting_name(self._ahead(at, _UP_TO_VALUE))[0]
        if b"." in name:
            self._touch(name)  # from now on there is one, if there was none: it is empty
        else:
            self._touch_only(name)

    def _setting_name(self, following: list[tuple[Token, bytes]]) -> tuple[bytes, int]:
        """The setting that a SET or RESET names, and how many tokens stand up to behind = or TO.

        `EVERYTHING` for what is not named like a setting, b"" for a name that cannot be read.
        """
        (name, spelled), at = self._setting_part(following[0][0]) if following else (b"", b""), 1
        if not name:
            return b"", at
        while len(following) > at + 1 and following[at][1] == b".":
            part, so = self._setting_part(following[at + 1][0])
            if not part:
                return b"", at
            name, spelled, at = name + b"." + part, spelled + b"." + so, at + 2
        if spelled != name and b"." in name:
            self.spelled.setdefault(name, spelled)
        if len(following) > at and following[at][1] in (b"=", b"to", b"from"):
            return name, at + 1
        if name in FORMS and at == 1:
            return FORMS[name]
        if name in (ROLE, AUTHORIZATION, b"authorization", b"session"):
            return ROLE, at  # SESSION AUTHORIZATION changes both, and both are asked for
        return (name if len(following) == at and name != b"all" else EVERYTHING), at

    def _setting_part(self, token: Token) -> tuple[bytes, bytes]:
        """What counts of a part of a setting's name, in lower case and as it is spelled; b"" where that is not told."""
        name = self._name(token)
        if len(name) > NAME_BYTES and not name.isascii():
            self._pin(PinReason.SESSION_SETTING)  # it is cut between two characters, in the server's encoding
            return b"", b""
        return name[:NAME_BYTES], self._spelling(token)[:NAME_BYTES]

    def _number(self, value: list[tuple[Token, bytes]]) -> bytes | None:
        """What a value says that is one literal or number: for floating-point settings."""
        if len(value) != 1:
            return None
        kind, start, end = value[0][0]
        if kind == Kind.NUMBER:
            return self._text[start:end]
        return literal_value(self._text, value[0][0], escapes=self._escapes) if kind == Kind.LITERAL else None

    def _set_path(self, at: int) -> None:
        """SET LOCAL search_path or SCHEMA, from behind the name: tables that are made in pg_temp are temporary ones."""
        for kind, start, end in self._draw(at):
            said = self._low[start:end]
            if kind in SKIPPED:
                continue
            if said == b";":
                return
            is_plain = kind in _PLAIN_VALUES or said in (b"=", b",") or self._plain([(kind, start, end)]) is not None
            if not is_plain or b"pg_temp" in said:
                self._pin(PinReason.TEMPORARY_TABLE)
                return

    def _declare(self, at: int) -> None:
        if self._blocks:
            return  # the declarations of a block
        words = self._words(at, _MAX_CURSOR_WORDS)
        if b"for" in words:
            del words[words.index(b"for") :]
        lasting = (b"with", b"hold") in itertools.pairwise(words)
        if lasting or (len(words) == _MAX_CURSOR_WORDS and words[-1]):
            self._pin(PinReason.HOLD_CURSOR)

    def _do(self, at: int) -> None:
        """Look into the block. Only PL/pgSQL can be read; other languages keep what they like between calls."""
        bodies, language = [], False
        for token, said in self._ahead(at, 8):
            if language:
                name = said or literal_value(self._text, token) if token[0] in (Kind.WORD, Kind.LITERAL) else None
                if name != b"plpgsql":
                    self._pin(PinReason.UNRECOGNISED_STATE)
                language = False
            elif said == b"language":
                language = True
            elif token[0] in (Kind.LITERAL, Kind.DOLLAR):
                bodies.append(literal_value(self._text, token, escapes=self._escapes))
            else:
                bodies.append(None)
        body = bodies[0] if len(bodies) == 1 else None
        if body is None or self._blocks == _MAX_BLOCKS:
            self._pin(PinReason.UNRECOGNISED_STATE)
            return
        self._pay(_BLOCK)
        block = Look(body, escapes=self._escapes, blocks=self._blocks + 1, budget=self.left)
        block.run()
        self.left = block.left
        for reason in block.reasons:
            self._pin(reason)
        self.native = self.native or block.native
        self.nameless = self.nameless or block.nameless
        self.channels |= block.channels
        self.unheard = self.unheard or block.unheard
        self.drops = self.drops or block.drops
        self.memory = self.memory or block.memory
        self.unlocks = self.unlocks or block.unlocks
        self.discards = self.discards or block.discards
        self.sets = self.sets or block.sets
        self.local |= block.local
        for name, value in block.touches.items():
            self._touch_only(name, value)
        self.spelled = {**block.spelled, **self.spelled}

    # -- words and names anywhere

    def _see(self, kind: Kind, start: int, end: int) -> None:
        if kind == Kind.UNICODE_QUOTED:
            self._pin(PinReason.UNRECOGNISED_STATE)
        elif kind == Kind.WORD or kind == Kind.QUOTED:
            self._see_name(self._name((kind, start, end)), end)
            if kind == Kind.WORD:
                self._see_word(self._low[start:end], end)

    def _see_word(self, word: bytes, end: int) -> None:
        if word == b"create" and TEMPORARY_FOLLOWS(self._low, end) is not None:
            words = self._words(end, 4)
            if words[:2] == [b"or", b"replace"]:
                del words[:2]
            if words[0] in (b"local", b"global"):
                del words[0]
            if words[0] in (b"temp", b"temporary"):
                self._pin(PinReason.TEMPORARY_TABLE)
        elif word == b"into":
            if self._is_temporary_target(end):
                self._pin(PinReason.TEMPORARY_TABLE)
        elif word == b"execute":
            self._see_execute(end)

    def _is_temporary_target(self, at: int) -> bool:
        """Whether INTO is followed by TEMP as a keyword: INSERT INTO temp ... writes to a table of that name."""
        target = self._ahead(at, 4)
        words = [word for _, word in target] + [b""] * 4
        if words[0] in (b"local", b"global"):
            return words[1] in (b"temp", b"temporary")
        if words[0] not in (b"temp", b"temporary") or len(target) < 2:
            return False
        if words[1] in (b"select", b"default", b"with", b"using", b"as", b"from") or words[1:3] == [b"values", b"("]:
            return False
        return target[1][0][0] in _NAMES and words[2] != b"using"

    def _see_execute(self, end: int) -> None:
        """EXPLAIN ... EXECUTE and CREATE TABLE ... AS EXECUTE; in a block, a statement that is put together there."""
        following = self._ahead(end, 2)
        first = following[0][1] if following else b""
        is_named = len(following) > 1 and following[1][0][0] in _NAMES
        if first == b"on" or (first in (b"function", b"procedure") and is_named):
            return  # a privilege, or a trigger's function
        if self._blocks:
            self._pin(PinReason.UNRECOGNISED_STATE)
            if not self._assembles:
                self._assembles = True  # the whole block is looked through, so only once
                if any(word in self._low for word in _NAMING):
                    self.native = self.nameless = True
        elif self._head in _EXECUTING:
            self.executes = True
            self._names_statement(end, self.runs)

    def _see_name(self, name: bytes, end: int) -> None:
        reason = CALLS.get(name)
        if name in UNLOCKS:
            self.unlocks = True
        elif reason is not None or name in SEQUENCE_MEMORY or name in TEXT_RUNNERS:
            opening = self._next(end)
            if opening is not None and self._text[opening[1]] in b"(":
                self._see_call(name, reason, opening[2])
        elif name == b"pg_settings" and b"set" in self._words(end, _UP_TO_SET):
            self._touch(EVERYTHING)  # UPDATE: a rule of this view calls set_config
        elif _TEMPORARY_SCHEMA(name) is not None:
            self._pin(PinReason.TEMPORARY_TABLE)

    def _see_call(self, name: bytes, reason: PinReason | None, arguments: int) -> None:
        if reason is None:
            if name in SEQUENCE_MEMORY and self._only_defines():
                self.defines = True
            elif name in SEQUENCE_MEMORY:
                self.memory = True
            if name in TEXT_RUNNERS:
                self._runs_text = True
                self._see_query(name, self._told(arguments))
        elif name == b"set_config":
            self._see_set_config(self._arguments(arguments))
        else:
            self._pin(reason)

    def _see_query(self, name: bytes, told: list[bool]) -> None:
        """A function is called that runs a query, or pieces of one, that the text does not tell wherever not `told`."""
        if name == b"ts_rewrite":
            told = told[1:] if len(told) <= _WITH_QUERY else [True]
        if not told or not all(told):
            self._pin(PinReason.UNRECOGNISED_STATE)

    def _only_defines(self) -> bool:
        """Whether the statement keeps its expressions for later: a column's DEFAULT, but not CREATE TABLE ... AS."""
        if not self._low.startswith((b"alter", b"create"), self._statement):
            return False
        words = self._words(self._statement, _MAX_DDL_WORDS)
        return not words[-1] and _QUERYING.isdisjoint(words)

    def _see_set_config(self, arguments: list[list[Token]]) -> None:
        named = self._as_text(arguments[0]) if len(arguments) == IS_LOCAL else []
        name = self._plain(named)
        if name is None and len(named) == 1 and named[0][0] == Kind.PARAMETER and not self._blocks:
            self.named_by.add(int(self._text[named[0][1] + 1 : named[0][2]]))
        elif name is None:
            self._pin(PinReason.SESSION_SETTING)  # it may be a custom variable, of which no list can be had
        elif name == b"seed":
            self._pin(PinReason.RANDOM_SEED)
        elif b"." in name or not self._is_true(arguments[-1]):
            # A local custom variable stays behind, empty: see `_set`.
            argument = arguments[1]
            plain = len(argument) == 1 and argument[0][0] == Kind.LITERAL
            spelled = literal_value(self._text, named[0], escapes=self._escapes)
            if spelled is not None and spelled != name and b"." in name:
                self.spelled.setdefault(name, spelled)
            self._touch(name, literal_value(self._text, argument[0], escapes=self._escapes) if plain else None)
        elif name in READ_BY:
            self.local.add(name)  # it does what SET LOCAL does
        if name == b"search_path":
            path = self._plain(arguments[1])
            if path is None or b"pg_temp" in path:
                self._pin(PinReason.TEMPORARY_TABLE)
