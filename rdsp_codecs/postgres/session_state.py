"""What a PostgreSQL statement does to its session that the protocol does not report: texts and command tags to pins.

Settings are only said to be touched: `asking` finds out what became of them. The relay has two nets: `inspect` before a
text is sent (see `inspection`), and `tag_pins` for the server's command tags. It must never guess that something was
harmless: what is on no list, or cannot be read, pins as UNRECOGNISED_STATE; and it must never pin because of a text's
size.

UNLISTEN, CLOSE ALL, pg_advisory_unlock_all and DISCARD PLANS, SEQUENCES or TEMP undo what the session could have done
only with a pin: in a session without one they change nothing.

Not visible here: what user-written functions, procedures and triggers change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import attrs

from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres.digest import digest
from rdsp_codecs.postgres.inspection import Look
from rdsp_codecs.postgres.notable import may_matter, vacates
from rdsp_codecs.postgres.setting_text import Sole, sole_setting


@attrs.frozen
class Verdict:
    """What inspection found in one text.

    Attributes:
        pins: reasons to pin when the text is sent for execution, each once, with a digest for logs.
        needs_native_names: SQL names prepared statements (PREPARE, EXECUTE, DEALLOCATE): they must stand under the
            client's own names before it is sent.
        names: which; None: it may be any.
        makes: those that it prepares; `ends`: that it drops; `runs`: that it executes. One can be several.
        executes: it may run some of them; else it only makes and drops them.
        drops: it drops them all (DEALLOCATE ALL, DISCARD ALL).
        reads_sequence_memory: it calls currval or lastval.
        defines_sequence_memory: something that it makes will call them (a column's default, a function).
        unlocks: it may give up advisory locks of the session.
        discards: DISCARD ALL.
        touches: settings that it may change (see `inspection.Look`).
        spelled: how custom variables among them are spelled, where that is not in lower case.
        local: settings that a text is read by and that it sets for the rest of the transaction.
        sets: some of them to values of its own, and not only back to those at login.
        named_by: parameters ($1 is 1) that name more of them: only a Bind tells which (see `binding`).
        sole: what it does when it is one plain SET or RESET (see `setting_text`).
        channels: what it listens to; b"" stands for any name that is not ASCII, None for any at all.
        heads: which of b"set", b"declare" and b"do" statements begin with: for `tag_pins`.
        vacates: it fails where others are connected to a database (see `notable.vacates`).
    """

    pins: tuple[tuple[PinReason, str], ...] = ()
    needs_native_names: bool = False
    names: frozenset[bytes] | None = frozenset()
    makes: frozenset[bytes] = frozenset()
    ends: frozenset[bytes] = frozenset()
    runs: frozenset[bytes] = frozenset()
    executes: bool = False
    drops: bool = False
    reads_sequence_memory: bool = False
    defines_sequence_memory: bool = False
    unlocks: bool = False
    discards: bool = False
    touches: Mapping[bytes, bytes | None] = attrs.field(factory=dict)
    spelled: Mapping[bytes, bytes] = attrs.field(factory=dict)
    local: frozenset[bytes] = frozenset()
    sets: bool = False
    named_by: frozenset[int] = frozenset()
    sole: Sole | None = None
    channels: frozenset[bytes] | None = frozenset()
    heads: frozenset[bytes] = frozenset()
    vacates: bool = False


HARMLESS: Final = Verdict()
"""The one verdict of all texts in which nothing was found, no head either: compare by identity."""
_VACATING: Final = Verdict(vacates=True)

_SHOWN: Final = 4096
"""How many bytes of a statement a digest is made of."""


def inspect(text: bytes, *, escapes: bool = False, multibyte_unsafe: bool = False) -> Verdict:
    """Look for what the statements of a text do to their session.

    Arguments:
        text: SQL without its NUL, one statement or several, in the client's encoding.
        escapes: `standard_conforming_strings` is off.
        multibyte_unsafe: in the client's encoding a byte below 0x80 can be a part of another character (SJIS, BIG5,
            GBK, UHC, GB18030, JOHAB).

    Takes time linear in the text, about 1 us for a short harmless one.
    """
    if not may_matter(text):
        return HARMLESS
    nothing_else = _VACATING if vacates(text) else HARMLESS
    look = Look(text, escapes=escapes)
    look.run()
    if multibyte_unsafe and not text.isascii():
        look.distrust(0)
    nothing = not (look.reasons or look.native or look.drops or look.memory or look.unlocks or look.touches)
    if nothing and not (look.local or look.heads or look.named_by or look.defines):
        return nothing_else
    known = None if look.doubtful else escapes
    pins = tuple(
        (reason, digest(text[start : start + _SHOWN], escapes=known)) for reason, start in look.reasons.items()
    )
    sole = sole_setting(text) if look.touches and not (look.reasons or look.doubtful) else None
    return Verdict(
        pins,
        needs_native_names=look.native,
        names=None if look.nameless else frozenset(look.names),
        makes=frozenset(look.makes),
        ends=frozenset(look.ends),
        runs=frozenset(look.runs),
        executes=look.executes or look.nameless,
        drops=look.drops,
        reads_sequence_memory=look.memory,
        defines_sequence_memory=look.defines,
        unlocks=look.unlocks,
        discards=look.discards,
        touches=look.touches,
        spelled=look.spelled,
        local=frozenset(look.local),
        sets=look.sets,
        named_by=frozenset(look.named_by),
        sole=sole,
        channels=None if look.unheard else frozenset(look.channels),
        heads=frozenset(look.heads),
        vacates=nothing_else.vacates,
    )


# -- command tags ---------------------------------------------------------------------------------------------------

_KINDS: Final = (
    b"ACCESS METHOD|AGGREGATE|CAST|COLLATION|CONSTRAINT|CONVERSION|DATABASE|DOMAIN|EVENT TRIGGER|EXTENSION"
    b"|FOREIGN DATA WRAPPER|FOREIGN TABLE|FUNCTION|INDEX|LANGUAGE|MATERIALIZED VIEW|OPERATOR|OPERATOR CLASS"
    b"|OPERATOR FAMILY|POLICY|PROCEDURE|PUBLICATION|ROLE|ROUTINE|RULE|SCHEMA|SEQUENCE|SERVER|STATISTICS|SUBSCRIPTION"
    b"|TABLE|TABLESPACE|TEXT SEARCH CONFIGURATION|TEXT SEARCH DICTIONARY|TEXT SEARCH PARSER|TEXT SEARCH TEMPLATE"
    b"|TRANSFORM|TRIGGER|TYPE|USER MAPPING|VIEW"
).split(b"|")

HARMLESS_TAGS: Final = frozenset(
    b"ALTER DEFAULT PRIVILEGES|ALTER LARGE OBJECT|ALTER SYSTEM|ANALYZE|BEGIN|CALL|CHECKPOINT|CLOSE|CLOSE CURSOR"
    b"|CLOSE CURSOR ALL|CLUSTER|COMMENT|COMMIT|COMMIT PREPARED|COPY|COPY FROM|CREATE TABLE AS|DELETE|DISCARD PLANS"
    b"|DISCARD SEQUENCES|DISCARD TEMP|DROP OWNED|EXPLAIN|FETCH|GRANT|GRANT ROLE|IMPORT FOREIGN SCHEMA|INSERT"
    b"|LOCK TABLE|MERGE|MOVE|NOTIFY|PREPARE TRANSACTION|REASSIGN OWNED|REFRESH MATERIALIZED VIEW|REINDEX|RELEASE|RESET"
    b"|REVOKE|REVOKE ROLE|ROLLBACK|ROLLBACK PREPARED|SAVEPOINT|SECURITY LABEL|SELECT|SELECT FOR KEY SHARE"
    b"|SELECT FOR NO KEY UPDATE|SELECT FOR SHARE|SELECT FOR UPDATE|SELECT INTO|SET CONSTRAINTS|SHOW"
    b"|START TRANSACTION|TRUNCATE TABLE|UNLISTEN|UPDATE|VACUUM".split(b"|")
) | {verb + kind for verb in (b"ALTER ", b"CREATE ", b"DROP ") for kind in _KINDS}
"""Tags that by themselves say that nothing of the session has changed (RESET and its kin: see the module)."""

PINNING_TAGS: Final = {
    b"SET": PinReason.SESSION_SETTING,
    b"LISTEN": PinReason.LISTEN,
    b"LOAD": PinReason.LOADED_LIBRARY,
    b"PREPARE": PinReason.SQL_PREPARED_STATEMENT,
    b"EXECUTE": PinReason.SQL_PREPARED_STATEMENT,
    b"DEALLOCATE": PinReason.SQL_PREPARED_STATEMENT,
    b"DEALLOCATE ALL": PinReason.SQL_PREPARED_STATEMENT,
    b"DISCARD ALL": PinReason.SQL_PREPARED_STATEMENT,
    b"DECLARE CURSOR": PinReason.HOLD_CURSOR,
    b"DO": PinReason.UNRECOGNISED_STATE,
    b"DISCARD": PinReason.UNRECOGNISED_STATE,
    b"LOGIN": PinReason.UNRECOGNISED_STATE,
    b"???": PinReason.UNRECOGNISED_STATE,
}
"""Tags that pin, unless the text of a SET, DECLARE CURSOR or DO shows that it did nothing lasting.

`HARMLESS_TAGS` and this one have every tag of PostgreSQL 15 to 18.
"""

_TEMPORARY_TAGS: Final = frozenset(
    {b"CREATE TABLE", b"CREATE TABLE AS", b"SELECT INTO", b"CREATE VIEW", b"CREATE SEQUENCE"}
)
_SHOWN_BY_TEXT: Final = {b"SET": b"set", b"DECLARE CURSOR": b"declare", b"DO": b"do"}

HARMLESS_TAG_HEADS: Final = frozenset(
    {b"SELECT", b"INSERT", b"UPDATE", b"DELETE", b"MERGE ", b"BEGIN\0", b"COMMIT", b"ROLLBA", b"START ", b"FETCH "}
    | {b"COPY %d" % digit for digit in range(10)}
    | {b"MOVE %d" % digit for digit in range(10)}
)
"""First six bytes of CommandComplete's payload, NUL included: no tag that begins like this can pin."""


def tag_pins(tag: bytes, heads: Collection[bytes], reasons: Collection[PinReason]) -> PinReason | None:
    """The second net: whether a completed command pins the session. Takes no more time for a longer request.

    Arguments:
        tag: CommandComplete's tag without its NUL.
        heads: `Verdict.heads` of all texts of the current request together.
        reasons: why their verdicts pin, each reason once, in the order of the texts.
    """
    name = tag.rstrip(b"0123456789 ")
    if name in HARMLESS_TAGS:
        temporary = PinReason.TEMPORARY_TABLE
        return temporary if name in _TEMPORARY_TAGS and temporary in reasons else None
    reason = PINNING_TAGS.get(name, PinReason.UNRECOGNISED_STATE)
    head = _SHOWN_BY_TEXT.get(name)
    return reason if head is None or head not in heads else _worst(reason, reasons, head)


def _worst(reason: PinReason, found: Collection[PinReason], head: bytes) -> PinReason | None:
    """For a request with this head in it: what the tag says, unless no statement of it did anything lasting."""
    if head == b"do":
        return next(iter(found), None)
    return reason if reason in found or PinReason.UNRECOGNISED_STATE in found else None


_LARGE_OBJECT_FUNCTIONS: Final = frozenset(
    {715, 764, 765, 767, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172, 3457, 3458, 3459, 3460}
)
"""OIDs of lo_open and its kin, the same in every version: their descriptors end with the transaction."""


def function_pins(oid: int) -> PinReason | None:
    """Whether a FunctionCall message pins: only large objects, which libpq works on in this way, are known by OID."""
    return None if oid in _LARGE_OBJECT_FUNCTIONS else PinReason.UNRECOGNISED_STATE
