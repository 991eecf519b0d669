"""Session settings as values: what a session or a backend has set, and the statements that make one like the other.

`syncing` compares and brings together, `asking` finds out what is set. A setting is kept as the statement that sets
it: the client's own words where they are known, `set_config` with the server's value otherwise. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from typing import Final
from weakref import WeakValueDictionary

ROLE: Final = b"role"
AUTHORIZATION: Final = b"session_authorization"
ENCODING: Final = b"client_encoding"
IDENTITY: Final = frozenset({ROLE, AUTHORIZATION})
_TIMEOUT: Final = b"_timeout"
_PLAIN_NAME: Final = re.compile(rb"[a-z_][a-z0-9_$]*(?:\.[a-z_][a-z0-9_$]*)*").fullmatch


Context = tuple[tuple[bytes, bytes], ...]
LOOKED_UP_BY: Final = frozenset({AUTHORIZATION, ROLE, b"search_path", b"row_security"})
"""Settings that say which tables a text names: a server heeds them whenever the statement is used."""
FIXED_BY: Final = frozenset(
    b"client_encoding standard_conforming_strings backslash_quote datestyle intervalstyle timezone"
    b" timezone_abbreviations lc_monetary array_nulls transform_null_equals xmloption".split()
)
"""Settings that say how a text is cut into tokens and what its constants are: heeded when it is prepared (`constants`
has which of them matter to which text).
"""
READ_BY: Final = LOOKED_UP_BY | FIXED_BY


class Settings:
    """All that is set: names (lower case) and the statements that set them. Immutable.

    Invariant: equal ones that came from one `KnownSettings` are the same object, so that `is` compares them.

    Attributes:
        statements: by name, without a semicolon at the end.
        custom: names with a dot. A backend that once had one has it for ever, if only empty, and as it was first
            spelled: SHOW tells.
        spelled: how those are spelled that are not in lower case.
        context: those that a text is read by when it is prepared: another meaning, another statement.
    """

    __slots__ = ("__weakref__", "context", "custom", "spelled", "statements")

    def __init__(self, statements: Mapping[bytes, bytes], spelled: Mapping[bytes, bytes] | None = None) -> None:
        self.statements = dict(statements)
        self.custom = frozenset(name for name in self.statements if b"." in name)
        self.spelled = {name: as_ for name, as_ in (spelled or {}).items() if name in self.custom}
        self.context: Context = tuple(sorted(item for item in self.statements.items() if item[0] in READ_BY))

    def marks(self) -> frozenset[bytes]:
        """What it leaves on a backend for ever: custom variables, as they are spelled."""
        return frozenset(self.spelled.get(name, name) for name in self.custom)

    def is_ascii(self) -> bool:
        """Whether all statements are."""
        return all(text.isascii() for text in self.statements.values())

    def __repr__(self) -> str:
        return f"<Settings {b' '.join(sorted(self.statements)).decode('utf-8', 'replace') or 'none'}>"


NO_SETTINGS: Final = Settings({})
"""Everything as it was at the login."""


class KnownSettings:
    """Gives the one object for equal settings, as long as anybody holds it."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[Hashable, Settings] = WeakValueDictionary()

    def of(self, statements: Mapping[bytes, bytes], spelled: Mapping[bytes, bytes] | None = None) -> Settings:
        """The settings with these statements, and with names that are spelled so."""
        if not statements:
            return NO_SETTINGS
        key = frozenset(statements.items()), frozenset((spelled or {}).items())
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = Settings(statements, spelled)
        return known


def quote(value: bytes) -> bytes:
    """A literal that means `value` whatever `standard_conforming_strings` says (documentation, 4.1.2.2).

    `value` must be in an encoding in which a byte below 0x80 is always a character of its own.
    """
    return b"E'" + value.replace(b"\\", b"\\\\").replace(b"'", b"''") + b"'"


def config_statement(name: bytes, value: bytes) -> bytes:
    """The statement that gives a setting exactly this value, in the form in which the server shows it."""
    return b"SELECT pg_catalog.set_config(%b, %b, false)" % (quote(name), quote(value))


def sync_texts(have: Settings, want: Settings) -> list[bytes]:
    """Queries that make a backend with `have` one with `want`, each all or nothing, in this order.

    What belongs to the login (role, session authorization) is put back first and set last: settings are made by who
    logged in, who may make them. Timeouts come at the ends, so that the client's own do not hit the proxy's statements.
    `client_encoding` goes in a query of its own before texts that are not ASCII: a query is read in one encoding.
    """
    old, new = have.statements, want.statements
    changed = {name: text for name, text in new.items() if old.get(name) != text}
    first: list[bytes] = []
    if not IDENTITY.isdisjoint(old):
        first = [b"RESET SESSION AUTHORIZATION", b"RESET ROLE"]
        changed |= {name: new[name] for name in IDENTITY & new.keys()}
    # A limit goes even where it is only set to another value: the old one would hold for the rest of these statements.
    limits = {name for name in old if name in changed and name.endswith(_TIMEOUT)}
    gone = {name for name in old if name not in new and name not in IDENTITY} | limits
    first += [b"RESET " + _identifier(name) for name in sorted(gone, key=_timeouts_first)]
    later = [changed[name] for name in _in_order(changed)]
    encoding = changed.get(ENCODING)
    if encoding is not None and not all(text.isascii() for text in later):
        later.remove(encoding)
        return [b"; ".join([*first, encoding]), b"; ".join(later)]
    if ENCODING in gone and not all(text.isascii() for text in later):
        return [b"; ".join(first), b"; ".join(later)]
    return [b"; ".join([*first, *later])]


def _identifier(name: bytes) -> bytes:
    return name if _PLAIN_NAME(name) else b'"' + name.replace(b'"', b'""') + b'"'


def _timeouts_first(name: bytes) -> tuple[bool, bytes]:
    return not name.endswith(_TIMEOUT), name


def _in_order(names: Iterable[bytes]) -> list[bytes]:
    """Timeouts behind the others, then who one is."""
    plain = sorted(name for name in names if name not in IDENTITY and not name.endswith(_TIMEOUT))
    timeouts = sorted(name for name in names if name not in IDENTITY and name.endswith(_TIMEOUT))
    return plain + timeouts + [name for name in (AUTHORIZATION, ROLE) if name in names]
