"""What a session may have changed, and how the server is asked what it really has.

Texts and tags only raise doubts (`doubts`); at the boundary one swallowed query settles them all: which settings are
set, whether session locks, temporary objects or lasting cursors are left. So rollbacks, savepoints, failed statements
and functions need no model here. What one plain SET did is known without asking (`setting_text`).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import Final

import attrs

from rdsp_codecs.errors import WireError
from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres.setting_text import EVERYTHING
from rdsp_codecs.postgres.settings import AUTHORIZATION, ROLE, Settings, config_statement, quote

ASKABLE: Final = frozenset(
    {PinReason.ADVISORY_LOCK, PinReason.TEMPORARY_TABLE, PinReason.HOLD_CURSOR, PinReason.LISTEN}
)
"""Reasons that the server can be asked about: they pin only when it says so, and no longer than it says so."""

_IDENTITY_QUESTION: Final = (
    # The role is set once more to what it is: servers before 16.5 (15.9...) keep one that a SET SESSION AUTHORIZATION
    # has ended, and would put it back at the end of the SET LOCAL.
    b"SELECT 'i', 'role', pg_catalog.set_config('role', pg_catalog.current_setting('role'), false), '' UNION ALL"
    b" SELECT 'i', 'session_authorization', pg_catalog.current_setting('session_authorization'), '';"
    # Who logged in sees settings that others may not see. It ends with this query. Not SET LOCAL SESSION AUTHORIZATION:
    # at the end of that the same servers take the role away, and what follows would run as who logged in.
    b" SET LOCAL ROLE NONE; "
)
_GUARD: Final = (
    # Limits of less than ten seconds are put off up to the end of the query, and told here, as they are hidden then.
    b"SELECT 't', name, pg_catalog.current_setting(name), pg_catalog.set_config(name, '0', true) FROM"
    b" (VALUES ('statement_timeout'), ('lock_timeout'), ('transaction_timeout')) AS limits (name)"
    b" WHERE pg_catalog.current_setting(name, true) OPERATOR(pg_catalog.~) '^([1-9][0-9]*ms|[1-9]s)$'; "
)
LIMITS: Final = frozenset({b"statement_timeout", b"lock_timeout", b"transaction_timeout"})
"""The client's limits that would hit the proxy's own question, too."""
_STOPPED: Final = re.compile(rb"S[^\0]*\0V[^\0]*\0C(?:57014|55P03)\0").match
"""An error that says that a limit or a cancel has hit."""
_TRIES: Final = 4
_HIDDEN: Final = frozenset(
    b"dynamic_library_path extension_control_path output_plugin_libraries session_preload_libraries".split()
)
"""Settings that superusers alone see, of those that can be set in a session."""
_SETTINGS_QUESTION: Final = (
    # 'u' are those that the session's user may not set: a role that it had did.
    b"SELECT CASE WHEN context OPERATOR(pg_catalog.=) 'superuser' AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles"
    b" WHERE rolname OPERATOR(pg_catalog.=) SESSION_USER) THEN 'u' ELSE 's' END, name, setting, vartype"
    b" FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'session'"
    b" AND name OPERATOR(pg_catalog.<>) ALL ('{transaction_isolation,transaction_read_only,transaction_deferrable}')"
)
_QUESTIONS: Final = {
    PinReason.ADVISORY_LOCK: (
        b"SELECT 'p', 'advisory_lock', '', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_locks WHERE"
        b" locktype OPERATOR(pg_catalog.=) 'advisory' AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())"
    ),
    PinReason.TEMPORARY_TABLE: (
        b"SELECT 'p', 'temporary_table', '', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_depend WHERE"
        b" refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass"
        b" AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema())"
    ),
    PinReason.LISTEN: b"SELECT 'l', channel, '', '' FROM pg_catalog.pg_listening_channels() AS channel",
    PinReason.HOLD_CURSOR: (
        b"SELECT 'p', 'hold_cursor', '', '' WHERE EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable)"
    ),
}
_NAMES_QUESTION: Final = (
    b"SELECT 'n', name, statement, from_sql::pg_catalog.text FROM pg_catalog.pg_prepared_statements"
    b" WHERE pg_catalog.left(name, 5) OPERATOR(pg_catalog.<>) 'rdsp_'"
)
_REASONS: Final = {reason.value.encode(): reason for reason in _QUESTIONS}
_COLUMNS: Final = 4
_INT = struct.Struct(">i")


@attrs.define(eq=False)
class Question:
    """One query at a boundary, and what comes back.

    Attributes:
        touched: names of settings in doubt (see `Doubts.touched`); None: settings are not asked for.
        suspects: reasons asked about.
        old: the settings as they were known.
        found: the settings that the server named, by name: value and type.
        beyond: those of them that the session's user (who logged in, as a rule) may not set.
        custom: custom variables that exist, with their values.
        limits: what the client's short limits are, which are put off while it is answered.
        identity: role and session authorization.
        true: the reasons that the server confirmed.
        channels: what the session listens to.
        spelling: how names in doubt are spelled that are not in lower case.
        tries: how often it was asked before, and stopped by a limit or by a cancel that came late.
        naming: whether prepared statements are asked for; `names` has them: text, and whether SQL made it.
        read_otherwise: what statements that were made meanwhile may have been read by, in doubt.
        failed: it was not answered.
        stopped: because of a limit or a cancel.
    """

    touched: Mapping[bytes, bytes | None] | None
    suspects: Mapping[PinReason, str]
    old: Settings
    naming: bool = False
    spelling: Mapping[bytes, bytes] = attrs.field(factory=dict)
    tries: int = 0
    read_otherwise: set[bytes] = attrs.field(factory=set)
    names: dict[bytes, tuple[bytes, bool]] = attrs.field(factory=dict)
    found: dict[bytes, tuple[bytes, bytes]] = attrs.field(factory=dict)
    beyond: set[bytes] = attrs.field(factory=set)
    custom: dict[bytes, bytes] = attrs.field(factory=dict)
    limits: dict[bytes, bytes] = attrs.field(factory=dict)
    identity: dict[bytes, bytes] = attrs.field(factory=dict)
    true: set[PinReason] = attrs.field(factory=set)
    channels: set[bytes] = attrs.field(factory=set)
    failed: bool = False
    stopped: bool = False

    def refuse(self, error: bytes) -> None:
        """The server's answer was this error."""
        self.failed = True
        self.stopped = _STOPPED(error) is not None

    def again(self) -> Question | None:
        """The question to ask once more; None where that would not help."""
        if not self.stopped or self.tries >= _TRIES:
            return None
        return Question(
            self.touched, self.suspects, self.old, self.naming, self.spelling, self.tries + 1, self.read_otherwise
        )

    def text(self) -> bytes:
        """The query, without its NUL."""
        known, touched = self.old.statements, self.touched or {}
        prefix, parts = b"", []
        if self.tries or any(name in known or name in touched for name in LIMITS):
            prefix = _GUARD
        if self.touched is not None:
            if any(name in known or name in touched for name in (ROLE, AUTHORIZATION)):
                prefix += _IDENTITY_QUESTION
            parts.append(_SETTINGS_QUESTION)
            for name in sorted(self.old.custom | {name for name in self.touched if b"." in name}):
                said = quote(name)
                parts.append(b"SELECT 'c', %b, pg_catalog.current_setting(%b, true), ''" % (said, said))
        parts += [_QUESTIONS[reason] for reason in self.suspects]
        if self.naming:
            parts.append(_NAMES_QUESTION)
        return prefix + b" UNION ALL ".join(parts)

    def row(self, payload: bytes) -> None:
        """A DataRow's payload. Raises `WireError` for one that is not an answer."""
        values = _columns(payload)
        if len(values) != _COLUMNS:
            msg = "a row of another shape than asked for"
            raise WireError(msg)
        kind, name, value, more = values
        if kind in (b"s", b"u"):
            key = (name or b"").lower()
            self.found[key] = value or b"", more or b""
            if kind == b"u":
                self.beyond.add(key)
        elif kind == b"c" and value is not None:
            self.custom[name or b""] = value
        elif kind == b"t":
            self.limits[name or b""] = value or b""
        elif kind == b"i":
            self.identity[name or b""] = value or b""
        elif kind == b"n":
            self.names[name or b""] = value or b"", more == b"true"
        elif kind == b"l":
            self.channels.add(name or b"")
        elif kind == b"p":
            self.true.add(_REASONS[name or b""])

    def statements(self, login: bytes) -> dict[bytes, bytes]:
        """All settings as the server has them now; `login` is the user that logged in."""
        old, touched = self.old.statements, self.touched or {}
        result: dict[bytes, bytes] = {}
        spelled = self.spelled()
        found = {**self.found, **{name: (value, b"integer") for name, value in self.limits.items()}}
        for name, (value, kind) in found.items():
            if name in touched or EVERYTHING in touched or name not in old:
                result[name] = _exactly(name, value, kind, touched.get(name))
            else:
                result[name] = old[name]
        for name, value in self.custom.items():
            if name in result:
                continue  # an extension's own setting, with its type
            same = name in old and name not in touched and EVERYTHING not in touched
            result[name] = old[name] if same else config_statement(spelled.get(name, name), value)
        for name, value in self.identity.items():
            if name != AUTHORIZATION or value != login:
                result[name] = config_statement(name, value)
        return result

    def spelled(self) -> dict[bytes, bytes]:
        """How names are spelled that are not in lower case."""
        known = self.old.custom
        spelled = {name: as_ for name, as_ in self.spelling.items() if name in self.custom and name not in known}
        return {**self.old.spelled, **spelled}

    def another_user(self, login: bytes) -> bool:
        """Whether the session's user is not who logged in, who is then a superuser."""
        return self.identity.get(AUTHORIZATION, login) != login

    def hides(self, login: bytes) -> bool:
        """Whether the session's user may not see all that may be set."""
        touched, known = self.touched or {}, self.old.statements
        return self.another_user(login) and any(
            (name in known or name in touched) and name not in self.found for name in _HIDDEN
        )

    def gained(self, login: bytes) -> bool:
        """Whether something was set that can be set again only with another role's rights."""
        if self.another_user(login):
            return False
        touched = self.touched or {}
        return any(name not in self.old.statements or name in touched or EVERYTHING in touched for name in self.beyond)

    def is_ascii(self) -> bool:
        """Whether all values are."""
        return all(value.isascii() for value, _ in self.found.values()) and all(
            value.isascii() for value in (*self.custom.values(), *self.identity.values())
        )


def _exactly(name: bytes, value: bytes, kind: bytes, literal: bytes | None) -> bytes:
    """What sets a setting again. Of a floating-point number the server shows six digits: a text has them all."""
    if kind == b"real" and literal is not None:
        try:
            same = b"%g" % float(literal) == value
        except ValueError:
            same = False
        if same:
            return config_statement(name, literal)
    return config_statement(name, value)


def _columns(payload: bytes) -> list[bytes | None]:
    """The values of a DataRow (documentation, 55.7). Raises `WireError`."""
    values: list[bytes | None] = []
    at = 2
    try:
        for _ in range(int.from_bytes(payload[:2], "big")):
            (size,) = _INT.unpack_from(payload, at)
            at += 4
            values.append(None if size < 0 else payload[at : at + size])
            at += max(size, 0)
    except struct.error as error:
        msg = "malformed DataRow"
        raise WireError(msg) from error
    if at != len(payload):
        msg = "malformed DataRow"
        raise WireError(msg)
    return values
