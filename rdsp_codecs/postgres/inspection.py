"""The look into one SQL text for what it does to its session: a prefilter, and an exact look for texts that it hits.

`session_state` calls both. Works on tokens and a little of the grammar, never on the text of literals or comments; it
must find whatever of its lists a text runs, and may find more than that. Time is linear in the text, and for the
greater part spent in one pattern that skips what cannot matter.
"""

from __future__ import annotations

import itertools
import re
from typing import Final

from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres.lexer import Kind, Token, literal_pattern, literal_value, tokens

_CALLS: Final = {
    b"set_config": PinReason.SESSION_SETTING,
    b"set_limit": PinReason.SESSION_SETTING,  # pg_trgm
    b"set_user": PinReason.SESSION_SETTING,  # the extension of that name
    b"sepgsql_setcon": PinReason.SESSION_SETTING,
    b"setseed": PinReason.RANDOM_SEED,
    b"pg_advisory_lock": PinReason.ADVISORY_LOCK,
    b"pg_advisory_lock_shared": PinReason.ADVISORY_LOCK,
    b"pg_try_advisory_lock": PinReason.ADVISORY_LOCK,
    b"pg_try_advisory_lock_shared": PinReason.ADVISORY_LOCK,
    b"dblink_connect": PinReason.FOREIGN_SESSION,
    b"dblink_connect_u": PinReason.FOREIGN_SESSION,
    b"pg_create_logical_replication_slot": PinReason.REPLICATION,
    b"pg_create_physical_replication_slot": PinReason.REPLICATION,
    b"pg_copy_logical_replication_slot": PinReason.REPLICATION,
    b"pg_copy_physical_replication_slot": PinReason.REPLICATION,
    b"pg_replication_origin_session_setup": PinReason.REPLICATION,
    b"pg_backup_start": PinReason.UNRECOGNISED_STATE,  # a base backup ends with its session
    b"pg_start_backup": PinReason.UNRECOGNISED_STATE,  # its name before 15
    b"hypopg_create_index": PinReason.UNRECOGNISED_STATE,  # extension: indexes that only one backend knows
}
"""Functions that change their session when they are called."""

_SEQUENCE_MEMORY: Final = frozenset({b"currval", b"lastval"})
_TEXT_RUNNERS: Final = frozenset(
    b"query_to_xml query_to_xmlschema query_to_xml_and_xmlschema ts_stat ts_rewrite"  # core
    b" crosstab crosstab2 crosstab3 crosstab4 connectby xpath_table".split()  # tablefunc, xml2
)
"""Functions that run a query they get as text: for them literals count."""

_HEADS: Final = b"set|reset|listen|load|declare|prepare|execute|deallocate|discard|do"
_WORD_ENDS: Final = rb"(?![a-z0-9_$\x80-\xff])"

_HIT: Final = re.compile(
    rb"_(?:config(?<=set_config)|setcon|limit(?<=set_limit)|user(?<=set_user)|settings(?<=pg_settings)"
    rb"|lock(?<=advisory_lock)|connect(?<=dblink_connect)|replication_|backup(?:_start|(?<=pg_start_backup))"
    rb"|create_index(?<=hypopg_create_index))"
    rb"|val(?<=(?:rr|st)val)"
    rb"|d(?<=setseed)"
    rb"|mp(?<=temp)(?:orary)?(?![a-z0-9$\x80-\xff])"
    rb"|xecute"
    rb'|&"'
    rb"|;\s*+(?:%b)%b|\*/\s*+(?:%b)%b" % (_HEADS, _WORD_ENDS, _HEADS, _WORD_ENDS)
).search
"""For b";" and a lower-cased text without line comments. Each branch begins with its rarest byte: sre tries all of them
wherever one could begin.
"""
_HIT_BEHIND_LINE_COMMENT: Final = re.compile(rb"\s(?:%b)%b" % (_HEADS, _WORD_ENDS)).search


def may_matter(text: bytes) -> bool:
    """The prefilter: false when `Look` would surely find nothing. Costs about 1 us for 60 bytes, 7 ns for each more."""
    lowered = (b";" + text).lower()
    if _HIT(lowered) is not None:
        return True
    return b"--" in lowered and _HIT_BEHIND_LINE_COMMENT(lowered) is not None


_NOTABLE_NAMES: Final = b"|".join((*_CALLS, *_SEQUENCE_MEMORY, *_TEXT_RUNNERS))
_NOTABLE: Final = b"|".join(
    (
        rb"(?:execute|pg_settings|%b)%b" % (_NOTABLE_NAMES, _WORD_ENDS),
        rb"into%b\s*+(?:temp|local|global|--|/\*)" % _WORD_ENDS,
        rb"create%b\s*+(?:temp|local|global|or|--|/\*)" % _WORD_ENDS,
        rb"pg_temp",
    )
)
_TEMPORARY_SCHEMA: Final = re.compile(rb"pg_temp(?:_[0-9]+)?").fullmatch
_NATIVE: Final = re.compile(rb"prepare|execute|deallocate|discard").search
_MEMORY: Final = re.compile(rb"currval|lastval").search
_TRUE: Final = frozenset({b"t", b"true", b"y", b"yes", b"on", b"1"})
_BLOCK_STARTS: Final = frozenset({b"begin", b"then", b"else", b"loop"})
_SKIPPED: Final = frozenset({Kind.BLANK, Kind.COMMENT})
_MAX_BLOCKS: Final = 8
_MAX_CURSOR_WORDS: Final = 64
_NAMES: Final = frozenset({Kind.WORD, Kind.QUOTED, Kind.UNICODE_QUOTED})
_SEMICOLON: Final = b";"
_UP_TO_SET: Final = 5
"""How many tokens can stand from a table of an UPDATE to SET, SET included: ) * AS alias SET."""
_IS_LOCAL: Final = 3
"""Which of its arguments makes set_config end with the transaction."""


def _filler(*, escapes: bool, ends: bool) -> re.Pattern[bytes]:
    """Whole tokens of lower-cased text that cannot matter: skipped without a look.

    With `ends` also ends of statements, where the next one begins with no word that matters.
    """
    parts = [
        rb"""[^'"$/\-;a-z_\x80-\xff]++""",
        rb"""(?!%b|[ebx]'|u&['"])[a-z_\x80-\xff][a-z0-9_$\x80-\xff]*+""" % _NOTABLE,
        literal_pattern(escapes=escapes),
        rb'"(?!(?:%b)"|pg_temp|pg_settings)(?:[^"]++|"")*+"' % _NOTABLE_NAMES,
        rb"\$[0-9]++",
        rb"-(?!-)|/(?!\*)",
        rb"--[^\n\r]*+",
    ]
    if ends:
        parts.append(rb";\s*+(?!(?:%b|explain|create)%b|--|/\*)" % (_HEADS, _WORD_ENDS))
    return re.compile(rb"(?:%b)*+" % b"|".join(parts), re.DOTALL)


_GAP: Final = re.compile(rb"[\s;]*+").match
_FILLER: Final = {
    (escapes, ends): _filler(escapes=escapes, ends=ends).match for escapes in (False, True) for ends in (False, True)
}
_EXECUTING: Final = frozenset({b"explain", b"create"})
"""First words of statements in which EXECUTE may stand: their ends are not skipped."""


class Look:
    """One walk over a text: what it finds is in the attributes. Invariant: a reason is kept with its first statement.

    Attributes:
        reasons: why to pin, with where the statement begins that is to blame.
        heads: which of SET, DECLARE and DO statements begin with.
        native: SQL names prepared statements.
        memory: currval or lastval is called.
        resets: a setting is put back to its start-up value.
        doubtful: not all of it could be read surely.
    """

    def __init__(self, text: bytes, *, escapes: bool, blocks: int = 0) -> None:
        """`blocks` counts the DO blocks around the text, which is then PL/pgSQL."""
        self.heads: set[bytes] = set()
        self.reasons: dict[PinReason, int] = {}
        self.native = self.memory = self.resets = self.doubtful = False
        self._runs_text = False
        self._text = text
        self._low = text.lower()
        self._escapes = escapes
        self._blocks = blocks
        self._statement = 0
        self._head = b""

    def run(self) -> None:
        """Walk over the whole text."""
        if self._blocks:
            self._walk_block()
        else:
            self._walk()
        if self._runs_text and self._has_hit_in_literal():
            self._pin(PinReason.UNRECOGNISED_STATE)

    def _has_hit_in_literal(self) -> bool:
        return any(
            kind in (Kind.LITERAL, Kind.DOLLAR) and _HIT(self._low, start, end) is not None
            for kind, start, end in tokens(self._text, escapes=self._escapes)
        )

    def distrust(self, start: int) -> None:
        """From `start` the text may mean something else than it seems: assume the worst of what its words could be."""
        self.doubtful = True
        self._pin(PinReason.UNRECOGNISED_STATE)
        if _NATIVE(self._low, start) is not None:
            self._names_statements()
        self.memory = self.memory or _MEMORY(self._low, start) is not None

    # -- walking

    def _walk(self) -> None:
        at, at_head = 0, True
        while True:
            skip = _GAP if at_head else _FILLER[self._escapes, self._head not in _EXECUTING]
            skipped = skip(self._low, at)
            token = self._next(skipped.end() if skipped is not None else at)
            if token is None:
                return
            kind, start, at = token
            if at_head:
                self._statement, self._head = start, b""
                if kind == Kind.WORD:
                    self._begin(self._low[start:at], at)
            self._see(kind, start, at)
            at_head = kind == Kind.MARK and self._text[start] in _SEMICOLON

    def _walk_block(self) -> None:
        """PL/pgSQL: statements also begin behind some words, and behind a label's >>."""
        at_head = True
        for kind, start, end in tokens(self._text, escapes=self._escapes):
            if kind in _SKIPPED:
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

    def _next(self, at: int) -> Token | None:
        """The next token that is neither blank nor comment; None at the end, also at one that comes too early."""
        for token in tokens(self._text, at, escapes=self._escapes):
            if token[0] == Kind.FAULT:
                self.distrust(token[1])
                return None
            if token[0] not in _SKIPPED:
                return token
        return None

    def _ahead(self, at: int, count: int) -> list[tuple[Token, bytes]]:
        """Up to `count` tokens of this statement from `at`, words and marks with what they say (lower case)."""
        result: list[tuple[Token, bytes]] = []
        for token in tokens(self._text, at, escapes=self._escapes):
            kind, start, end = token
            if kind in _SKIPPED:
                continue
            said = self._low[start:end] if kind in (Kind.WORD, Kind.MARK) else b""
            if said == b";" or len(result) == count:
                break
            result.append((token, said))
        return result

    def _words(self, at: int, count: int) -> list[bytes]:
        """As `_ahead`: what is said, padded with b"" to `count`."""
        said = [word for _, word in self._ahead(at, count)]
        return said + [b""] * (count - len(said))

    def _pin(self, reason: PinReason) -> None:
        self.reasons.setdefault(reason, self._statement)

    def _names_statements(self) -> None:
        self.native = True
        self._pin(PinReason.SQL_PREPARED_STATEMENT)

    # -- statements by their first word

    def _begin(self, head: bytes, at: int) -> None:
        self._head = head
        if head == b"set":
            self.heads.add(head)
            self._set(at)
        elif head == b"reset":
            self.resets = True
        elif head == b"listen":
            self._pin(PinReason.LISTEN)
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
        if head == b"deallocate" or (head == b"execute" and not self._blocks):
            self._names_statements()
        elif head == b"discard":
            if self._words(at, 1) == [b"all"]:
                self.resets = True
                self._names_statements()
        elif head == b"prepare":
            following = self._ahead(at, 2)
            # PREPARE TRANSACTION 'id'; but a statement, too, may be called transaction.
            if [t[0] == Kind.LITERAL or said for t, said in following] != [b"transaction", True]:
                self._names_statements()

    def _set(self, at: int) -> None:
        words = self._words(at, 10)
        names_setting = words[1] in (b".", b"=", b"to")  # as in SET local.x = 1
        if words[0] in (b"local", b"transaction", b"constraints") and not names_setting:
            following = self._ahead(at, 2)
            name = self._name(following[1][0]) if len(following) > 1 else b""
            if name == b"seed":
                self._pin(PinReason.RANDOM_SEED)  # which no rollback takes back
            elif words[0] == b"local" and (words[2] == b"." or b"." in name or not name):
                # A custom variable is not taken away at the end of the transaction: it stays behind, empty.
                self._pin(PinReason.SESSION_SETTING)
            return
        if words[0] == b"session" and not names_setting:
            del words[0]
        if words[:2] == [b"authorization", b"default"] or words[:3] == [b"session", b"authorization", b"default"]:
            self.resets = True
            return
        while words[1:2] == [b"."]:
            del words[:2]
        if words[1:3] in ([b"to", b"default"], [b"=", b"default"]) and words[3:4] == [b""]:
            self.resets = True
            return
        self._pin(PinReason.SESSION_SETTING)

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
        block = Look(body, escapes=self._escapes, blocks=self._blocks + 1)
        block.run()
        for reason in block.reasons:
            self._pin(reason)
        self.native = self.native or block.native
        self.memory = self.memory or block.memory
        self.resets = self.resets or block.resets

    # -- words and names anywhere

    def _see(self, kind: Kind, start: int, end: int) -> None:
        if kind == Kind.UNICODE_QUOTED:
            self._pin(PinReason.UNRECOGNISED_STATE)
        elif kind == Kind.WORD or kind == Kind.QUOTED:
            self._see_name(self._name((kind, start, end)), end)
            if kind == Kind.WORD:
                self._see_word(self._low[start:end], end)

    def _name(self, token: Token) -> bytes:
        """What a WORD or QUOTED token names, in lower case; b"" for others."""
        kind, start, end = token
        if kind == Kind.QUOTED:
            return self._low[start + 1 : end - 1]
        return self._low[start:end] if kind == Kind.WORD else b""

    def _see_word(self, word: bytes, end: int) -> None:
        if word == b"create":
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
        elif self._head in _EXECUTING:
            self._names_statements()

    def _see_name(self, name: bytes, end: int) -> None:
        reason = _CALLS.get(name)
        if reason is not None or name in _SEQUENCE_MEMORY or name in _TEXT_RUNNERS:
            opening = self._next(end)
            if opening is not None and self._text[opening[1]] in b"(":
                self._see_call(name, reason, opening[2])
        elif name == b"pg_settings" and b"set" in self._words(end, _UP_TO_SET):
            self._pin(PinReason.SESSION_SETTING)  # UPDATE: a rule of this view calls set_config
        elif _TEMPORARY_SCHEMA(name) is not None:
            self._pin(PinReason.TEMPORARY_TABLE)

    def _see_call(self, name: bytes, reason: PinReason | None, arguments: int) -> None:
        if reason is None:
            self.memory = self.memory or name in _SEQUENCE_MEMORY
            self._runs_text = self._runs_text or name in _TEXT_RUNNERS
        elif name == b"set_config" and self._is_local(arguments):
            first, comma = self._next(arguments), None
            if first is not None and first[0] == Kind.LITERAL:
                comma = self._next(first[2])
            value = (
                literal_value(self._low, first, escapes=self._escapes)
                if first is not None and comma is not None
                else None
            )
            if value == b"seed":
                self._pin(PinReason.RANDOM_SEED)
            elif value is None or comma is None or self._text[comma[1]] not in b"," or b"." in value:
                self._pin(PinReason.SESSION_SETTING)  # a custom variable stays behind, empty: see `_set`
        else:
            self._pin(reason)

    def _is_local(self, at: int) -> bool:
        """Whether the third argument of the call whose arguments begin at `at` is literally true."""
        depth, arguments = 0, [list[Token]()]
        for token in tokens(self._text, at, escapes=self._escapes):
            kind, start, _ = token
            if kind in _SKIPPED:
                continue
            mark = self._text[start : start + 1] if kind == Kind.MARK else b""
            if depth == 0 and mark in (b",", b")", b"]"):
                if mark != b"," or len(arguments) == _IS_LOCAL:
                    return mark == b")" and len(arguments) == _IS_LOCAL and self._is_true(arguments[-1])
                arguments.append([])
                continue
            if self._leaves_doubt(token):
                return False
            depth += (mark in (b"(", b"[")) - (mark in (b")", b"]"))
            if len(arguments) == _IS_LOCAL:
                arguments[-1].append(token)
        return False

    def _leaves_doubt(self, token: Token) -> bool:
        """Among arguments: arguments by name, which may come in any order; a call in a call; an end."""
        kind, start, _ = token
        if kind == Kind.MARK:
            return self._text[start] in _SEMICOLON or self._text[start : start + 2] in (b"=>", b":=")
        return kind == Kind.FAULT or self._name(token) == b"set_config"

    def _is_true(self, argument: list[Token]) -> bool:
        said = [self._low[start:end] for kind, start, end in argument if kind in (Kind.WORD, Kind.MARK)]
        if argument and argument[0][0] == Kind.LITERAL:
            value = literal_value(self._low, argument[0], escapes=self._escapes)
            return value in _TRUE and said in ([], [b":", b":", b"bool"], [b":", b":", b"boolean"])
        return len(said) == len(argument) and said in ([b"true"], [b"true", b":", b":", b"boolean"])
