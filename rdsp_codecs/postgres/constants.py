"""Which settings decide what the constants of a text are: a server reads them once, when a statement is prepared.

Names it looks up again when that is due. So a statement that is parsed on another backend after its session has
changed `DateStyle` must be read by what was set before: `resolving` sees to that, `Statement.context` remembers. Here
is what a context says, and which of it matters to a text. Pure; it may find too much, never too little.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from rdsp_codecs.postgres.lexer import Kind, tokens
from rdsp_codecs.postgres.setting_text import EVERYTHING
from rdsp_codecs.postgres.settings import AUTHORIZATION, ENCODING, ROLE, Context, quote

CLOCK: Final = b"clock"
"""In place of a setting: the constant is a moment (`'now'::timestamp`), which no setting brings back."""
UNKNOWN: Final = b"?"
"""In a context, in place of the statement that sets something: it may be anything."""
_OWN: Final = b"own"
_IN_DOUBT: Final = b"in doubt"
_MARKS: Final = frozenset({_OWN, _IN_DOUBT})
"""First items of contexts that are no other statement's."""

_BY_INPUT: Final = frozenset(
    b"datestyle intervalstyle timezone timezone_abbreviations lc_monetary array_nulls xmloption".split()
)
_BY_BACKSLASH: Final = frozenset({b"standard_conforming_strings", b"backslash_quote"})
_MAY_QUOTE: Final = re.compile(rb"'|\$(?:[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$").search
_MAY_ESCAPE: Final = re.compile(rb"\\|[uU]&'").search
_NULL: Final = re.compile(rb"null", re.IGNORECASE).search
_ZONED: Final = rb"timetz|time\s*(?:\(\s*[0-9]+\s*\)\s*)?with\s+time\s+zone"
_MAY_TELL_TIME: Final = re.compile(rb"now(?!\s*\()|today|tomorrow|yesterday|" + _ZONED, re.IGNORECASE).search
_MAY_BE_ZONED: Final = re.compile(_ZONED, re.IGNORECASE).search
_DIGIT: Final = re.compile(rb"[0-9]").search
_TELLS_TIME: Final = re.compile(
    rb"""[\s\w:+\-/.,(){}\[\]"$]*(?<![A-Za-z])(?:now|today|tomorrow|yesterday)(?![A-Za-z])[\s\w:+\-/.,(){}\[\]"$]*""",
    re.IGNORECASE,
).fullmatch
_LONGEST_TIME: Final = 256


def fixed_by(text: bytes, *, utility: bool = False) -> frozenset[bytes]:
    """Which of `settings.FIXED_BY` (or `CLOCK`) matter to a text when it is prepared.

    Arguments:
        text: SQL without its NUL.
        utility: the server looks into it when it runs, as into one that names prepared statements.
    """
    found: set[bytes] = set()
    if not text.isascii():
        found.add(ENCODING)
    if _MAY_ESCAPE(text) is not None:
        found |= _BY_BACKSLASH
    if utility:
        return frozenset(found)
    if _MAY_QUOTE(text) is not None:
        found |= _BY_INPUT
        if tells_time(text):
            found.add(CLOCK)
    if _NULL(text) is not None:
        found.add(b"transform_null_equals")
    return frozenset(found)


def tells_time(text: bytes) -> bool:
    """Whether a constant of the text may be the moment at which it is prepared, or depend on it.

    A time of day with a zone (`'12:00'::timetz`) has the zone's offset of the day on which it is read.
    """
    if _MAY_TELL_TIME(text) is None or _MAY_QUOTE(text) is None:
        return False
    zoned = _MAY_BE_ZONED(text) is not None
    return _has_moment(text, zoned, escapes=False) or (b"\\" in text and _has_moment(text, zoned, escapes=True))


def _has_moment(text: bytes, zoned: bool, *, escapes: bool) -> bool:
    for kind, start, end in tokens(text, escapes=escapes):
        quoted = kind == Kind.LITERAL or kind == Kind.DOLLAR
        if kind == Kind.FAULT:
            return True
        if not quoted or end - start > _LONGEST_TIME:
            continue
        if zoned and _DIGIT(text, start, end) is not None:
            return True
        if _TELLS_TIME(text[start:end].strip(b"'").lstrip(b"eE'")):
            return True
    return False


def said(context: Context, name: bytes) -> bytes | None:
    """What sets `name` in a context; None: it is as at login, `UNKNOWN`: it cannot be told."""
    if name == CLOCK:
        return UNKNOWN
    for key, statement in context:
        if key in (name, EVERYTHING):
            return statement
    return None


def known(context: Context, names: Iterable[bytes]) -> bool:
    """Whether a context says all of them."""
    return all(said(context, name) != UNKNOWN for name in names)


def differing(one: Context, other: Context, names: Iterable[bytes]) -> list[bytes]:
    """Those that are not surely the same in both."""
    found = []
    for name in sorted(names):
        statement = said(one, name)
        if statement == UNKNOWN or statement != said(other, name):
            found.append(name)
    return found


def doubted(context: Context, names: Iterable[bytes], number: int) -> Context:
    """A context in which these names may be anything; no other statement's. `number` is never used twice."""
    gone = set(names)
    rest = () if EVERYTHING in gone else tuple(item for item in unmarked(context) if item[0] not in gone)
    return ((_IN_DOUBT, b"%d" % number), *((name, UNKNOWN) for name in sorted(gone)), *rest)


def owned(context: Context, number: int) -> Context:
    """The same context, no other statement's. `number` is never used twice."""
    return ((_OWN, b"%d" % number), *unmarked(context))


def is_owned(context: Context) -> bool:
    """Whether no other statement can have the context."""
    return bool(context) and context[0][0] in _MARKS


def unmarked(context: Context) -> Context:
    """What it says."""
    return context[1:] if is_owned(context) else context


# -- to have a text read by an old context ---------------------------------------------------------------------------


def to_put_back(names: list[bytes]) -> bytes:
    """A query of two rows: the first leaves the settings as they are, the second sets them as they were at the first.

    The rows are made before either is returned, so a portal that stops between them remembers.
    """
    columns = b", ".join(b"pg_catalog.set_config(%b, v.c%d, true)" % (quote(n), at) for at, n in enumerate(names))
    present = (b"pg_catalog.current_setting(%b)" % quote(name) for name in names)
    arrays = b", ".join(b"pg_catalog.unnest(ARRAY[%b, %b])" % (one, one) for one in present)
    return b"SELECT %b FROM ROWS FROM (%b) AS v(%b)" % (
        columns,
        arrays,
        b", ".join(b"c%d" % at for at in range(len(names))),
    )


def local(name: bytes, statement: bytes | None) -> bytes:
    """What sets a setting up to the end of the transaction, from the statement that sets it for the session."""
    if statement is None:
        return b"SELECT pg_catalog.set_config(%b, NULL, true)" % quote(name)
    if statement.startswith(b"SET "):
        return b"SET LOCAL " + statement[4:]
    return statement.removesuffix(b"false)") + b"true)"


def in_order(names: Iterable[bytes]) -> list[bytes]:
    """Who one is comes first, both of it: setting one changes the other. The encoding comes last."""
    asked = set(names)
    who = [AUTHORIZATION, ROLE] if asked & {AUTHORIZATION, ROLE} else []
    last = [ENCODING] if ENCODING in asked else []
    return who + sorted(asked - {AUTHORIZATION, ROLE, ENCODING}) + last
