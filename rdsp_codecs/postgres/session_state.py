"""What a statement does to its session that the protocol does not report: text and command tags to pins.

First cut: everything that changes a session pins it, with its reason. Two nets: `inspect` looks at the text before it
is sent (a cheap prefilter, an exact look on a hit), `tag_pins` at the server's command tags afterwards. What is on no
list pins as UNRECOGNISED_STATE.

Not visible here: state that user-written functions and procedures change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import attrs

from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres.digest import digest
from rdsp_codecs.postgres.lexer import Kind, Token, tokens

_R = PinReason


@attrs.frozen
class Verdict:
    """What inspection found.

    Attributes:
        pins: reasons with a digest, to be applied when the statement is sent for execution.
        needs_native_names: the text names prepared statements in SQL.
        reads_sequence_memory: it calls currval or lastval.
    """

    pins: tuple[tuple[PinReason, str], ...] = ()
    needs_native_names: bool = False
    reads_sequence_memory: bool = False


HARMLESS: Final = Verdict()

_PREFILTER: Final = re.compile(
    rb"advisory|temp|set_config|setseed|prepare|execute|deallocate|discard|currval|lastval|hold|dblink|replication|u&\""
).search
"""In lower-cased text. Everything that `_look` can find contains one of these."""

HARMLESS_TAG_HEADS: Final = frozenset(
    {b"SELECT", b"INSERT", b"UPDATE", b"DELETE", b"BEGIN\0", b"COMMIT", b"ROLLBA", b"FETCH ", b"MERGE "}
)
"""First six bytes of a command tag (with its NUL) that need no second look."""

_HARMLESS_TAGS: Final = frozenset(
    b"START TRANSACTION|SAVEPOINT|RELEASE|PREPARE TRANSACTION|COPY|MOVE|CLOSE CURSOR|CLOSE CURSOR ALL|EXPLAIN|SHOW"
    b"|LOCK TABLE|TRUNCATE TABLE|VACUUM|ANALYZE|CLUSTER|REINDEX|CHECKPOINT|NOTIFY|UNLISTEN|GRANT|REVOKE|GRANT ROLE"
    b"|REVOKE ROLE|COMMENT|SECURITY LABEL|REFRESH MATERIALIZED VIEW|IMPORT FOREIGN SCHEMA|REASSIGN OWNED|DROP OWNED"
    b"|SET CONSTRAINTS|CALL|VALUES|RESET|DISCARD PLANS|DISCARD SEQUENCES|DISCARD TEMP|DECLARE CURSOR".split(b"|")
)
"""Harmless as a statement; functions in them, and WITH HOLD, are found in the text.

RESET and DISCARD of a kind change nothing in a session that is not pinned: what it could have set would have pinned it,
and its start-up parameters are its backend's own.
"""

_PINNING_TAGS: Final = {
    b"LISTEN": _R.LISTEN,
    b"LOAD": _R.LOADED_LIBRARY,
    b"PREPARE": _R.SQL_PREPARED_STATEMENT,
    b"DEALLOCATE": _R.SQL_PREPARED_STATEMENT,
    b"DEALLOCATE ALL": _R.SQL_PREPARED_STATEMENT,
    b"DISCARD ALL": _R.SQL_PREPARED_STATEMENT,
}

_FUNCTIONS: Final = {
    b"setseed": _R.RANDOM_SEED,
    b"dblink_connect": _R.FOREIGN_SESSION,
    b"dblink_connect_u": _R.FOREIGN_SESSION,
    b"pg_create_logical_replication_slot": _R.REPLICATION,
    b"pg_create_physical_replication_slot": _R.REPLICATION,
    b"pg_copy_logical_replication_slot": _R.REPLICATION,
    b"pg_copy_physical_replication_slot": _R.REPLICATION,
    b"pg_replication_origin_session_setup": _R.REPLICATION,
}
_LOCKS: Final = re.compile(rb"pg_(?:try_)?advisory_lock(?:_shared)?").fullmatch
_TRUE: Final = frozenset({b"true", b"t", b"on", b"yes", b"y", b"1"})
_DO_WORDS: Final = re.compile(
    rb"\b(?:set|reset|listen|unlisten|load|prepare|execute|deallocate|discard|temp|temporary|declare\s+\S+\s+cursor)\b",
    re.IGNORECASE,
).search


def inspect(text: bytes, *, escapes: bool = False, multibyte_unsafe: bool = False) -> Verdict:
    """Inspect one text that may hold several statements.

    Arguments:
        text: without its NUL, in the client's encoding.
        escapes: `standard_conforming_strings` is off.
        multibyte_unsafe: in the client's encoding a byte below 0x80 can be the second of a character.
    """
    lowered = text.lower()
    if not _PREFILTER(lowered):
        return HARMLESS
    if multibyte_unsafe and not text.isascii():
        return Verdict(((_R.UNRECOGNISED_STATE, digest(b"")),))
    return _look(text, escapes=escapes)


def _look(text: bytes, *, escapes: bool) -> Verdict:
    found: dict[PinReason, None] = {}
    native = sequence = False
    for statement in statements(text, escapes=escapes):
        if statement[-1].kind is Kind.BROKEN:
            found[_R.UNRECOGNISED_STATE] = None
        for reason in _state_of(statement):
            found[reason] = None
        native = native or _names_statements(statement)
        sequence = sequence or any(_is_call(statement, i, (b"currval", b"lastval")) for i in range(len(statement)))
    if not found and not native and not sequence:
        return HARMLESS
    shown = digest(text, escapes=escapes)
    return Verdict(tuple((reason, shown) for reason in found), native, sequence)


def statements(text: bytes, *, escapes: bool = False) -> list[list[Token]]:
    """The statements of a text, each a list of tokens; empty ones are left out."""
    result: list[list[Token]] = [[]]
    for token in tokens(text, escapes=escapes):
        if token.kind is Kind.SYMBOL and token.text == b";":
            result.append([])
        else:
            result[-1].append(token)
    return [statement for statement in result if statement]


def _word(statement: list[Token], at: int) -> bytes:
    return statement[at].value if at < len(statement) and statement[at].kind is Kind.WORD else b""


def _is_call(statement: list[Token], at: int, names: Iterable[bytes]) -> bool:
    token = statement[at]
    if token.kind not in (Kind.WORD, Kind.NAME) or at + 1 >= len(statement) or statement[at + 1].text != b"(":
        return False
    return token.value in names or token.value == b"\\"


def _state_of(statement: list[Token]) -> Iterable[PinReason]:
    """Reasons to pin in one statement's tokens."""
    head = _word(statement, 0)
    if head == b"do":
        yield from _state_of_block(statement)
    for at, token in enumerate(statement):
        if token.kind is Kind.WORD or token.kind is Kind.NAME:
            yield from _state_of_name(statement, at, token, head)


def _state_of_name(statement: list[Token], at: int, token: Token, head: bytes) -> Iterable[PinReason]:
    value = token.value
    called = at + 1 < len(statement) and statement[at + 1].text == b"("
    if value == b"\\":
        yield _R.UNRECOGNISED_STATE
    elif called and value in _FUNCTIONS:
        yield _FUNCTIONS[value]
    elif called and _LOCKS(value):
        yield _R.ADVISORY_LOCK
    elif called and value == b"set_config":
        if not _is_local(statement, at + 1):
            yield _R.SESSION_SETTING
    elif value == b"pg_temp" or value.startswith(b"pg_temp_"):
        yield _R.TEMPORARY_TABLE
    elif token.kind is Kind.WORD and value in (b"temp", b"temporary"):
        if head in (b"create", b"select", b"with", b"explain", b"prepare"):
            yield _R.TEMPORARY_TABLE
    elif token.kind is Kind.WORD and value == b"hold" and head in (b"declare", b"explain", b"prepare"):
        if _word(statement, at - 1) == b"with":
            yield _R.HOLD_CURSOR


def _is_local(statement: list[Token], opening: int) -> bool:
    """Whether the third argument of the call whose parenthesis stands at `opening` is literally true."""
    depth, argument = 0, 1
    last: list[Token] = []
    for token in statement[opening:]:
        if token.text == b"(":
            depth += 1
        elif token.text == b")":
            depth -= 1
            if depth == 0:
                break
        elif token.text == b"," and depth == 1:
            argument += 1
            last = []
            continue
        if argument == 3:
            last.append(token)
    if argument != 3 or len(last) != 1:
        return False
    token = last[0]
    return token.kind in (Kind.WORD, Kind.STRING) and token.value.lower().strip() in _TRUE


def _state_of_block(statement: list[Token]) -> Iterable[PinReason]:
    """An anonymous block: its body runs now, and may do anything that its words say."""
    for token in statement:
        if token.kind is Kind.STRING:
            body = token.value
            if _DO_WORDS(body) or _PREFILTER(body.lower()):
                yield _R.UNRECOGNISED_STATE


def _names_statements(statement: list[Token]) -> bool:
    """Whether a statement names prepared statements: PREPARE, EXECUTE, DEALLOCATE, DISCARD ALL, also inside others."""
    head, second = _word(statement, 0), _word(statement, 1)
    if head == b"prepare":
        return second != b"transaction"
    if head in (b"execute", b"deallocate"):
        return True
    if head == b"discard":
        return second == b"all"
    if head == b"explain":
        return any(_word(statement, at) == b"execute" for at in range(1, len(statement)))
    if head == b"create":
        return any(
            _word(statement, at) == b"as" and _word(statement, at + 1) == b"execute" for at in range(len(statement))
        )
    return False


def tag_pins(tag: bytes, texts: Iterable[bytes], *, escapes: bool = False) -> PinReason | None:
    """The second net: a completed command by its tag, with the texts of its request.

    Arguments:
        tag: CommandComplete's tag without NUL.
        texts: the SQL of the request, to tell SET LOCAL from SET.
    """
    name = tag.rstrip(b"0123456789 ")
    if name in _HARMLESS_TAGS:
        return None
    if name == b"SET":
        return None if _only_local(texts, escapes=escapes) else _R.SESSION_SETTING
    if name in _PINNING_TAGS:
        return _PINNING_TAGS[name]
    if name.startswith((b"CREATE ", b"ALTER ", b"DROP ")):
        return None
    if name == b"DO":
        bodies = any(_DO_WORDS(text) for text in texts if b"do" in text.lower())
        return _R.UNRECOGNISED_STATE if bodies else None
    if name.startswith((b"SELECT", b"INSERT", b"UPDATE", b"DELETE", b"MERGE", b"FETCH", b"BEGIN", b"COMMIT", b"ROLLBACK")):
        return None
    return _R.UNRECOGNISED_STATE


def _only_local(texts: Iterable[bytes], *, escapes: bool) -> bool:
    """Whether every SET in the texts ends with its transaction, and there is one."""
    seen = False
    for text in texts:
        for statement in statements(text, escapes=escapes):
            if _word(statement, 0) == b"set":
                if _word(statement, 1) not in (b"local", b"transaction", b"constraints"):
                    return False
                seen = True
    return seen
