"""Prepared statements that SQL names: what PREPARE made, and what a session has after it named some.

While a session names statements in SQL it works under its own names on its backend ("native", see `resolving`). At the
boundary the server is asked for the list, and here the session's book is brought in line with it. Then the statements
follow the session like any other. `syncing` calls it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final

from rdsp_codecs.postgres.lexer import Kind, identifier, tokens
from rdsp_codecs.postgres.session_state import HARMLESS
from rdsp_codecs.postgres.statements import NOBODY, Statement

if TYPE_CHECKING:
    from rdsp_codecs.postgres.dialogue import Dialogue
    from rdsp_codecs.postgres.session_state import Verdict
    from rdsp_codecs.postgres.settings import Context

_SKIPPED: Final = (Kind.BLANK, Kind.COMMENT)
_OPENING, _CLOSING, _END = b"(", b")", b";"

_B: Final = rb"[ \t\r\n\f]"
drops_one: Final = re.compile(
    rb'%b*deallocate%b+(?:prepare%b+)?(?:[a-z_]\w*[0-9]\w*|"[ !#-~]+")%b*;?%b*' % ((_B,) * 5), re.IGNORECASE
).fullmatch
"""Whether a text is nothing but the DEALLOCATE of one plain name: quoted, or with a digit, which no keyword has."""


class Dropped:
    """Note of an owed query: the session's `name` was dropped by SQL, and means nothing from its CommandComplete on.

    What it stands for may not be on the backend: in its place the stand-in under a name of ours is made and dropped.
    """

    __slots__ = ("name",)

    def __init__(self, name: bytes) -> None:
        self.name: Final = name


STAND_IN: Final = Statement(b"DEALLOCATE " + NOBODY, b"\0\0", HARMLESS)
"""In the place of a statement that a text only drops, or that is in the way of one that it makes: that may be
impossible by now (its table is gone), and the server does not look at it. It fails, and is parsed without a snapshot.
"""


def explains(text: bytes) -> bool:
    """Whether the text is an EXPLAIN: what that returns has nothing to do with the statement that it executes."""
    for kind, start, end in tokens(text, escapes=False):
        if kind not in _SKIPPED:
            return text[start:end].lower() == b"explain"
    return False


def prepared_body(source: bytes, name: bytes, *, escapes: bool) -> bytes | None:
    """The statement behind AS of the one PREPARE of `name` in `source`; None unless there is exactly one."""
    found: list[bytes] = []
    statement: list[tuple[Kind, int, int]] = []
    for token in tokens(source, escapes=escapes):
        kind, start, end = token
        if kind == Kind.FAULT:
            return None
        if kind == Kind.MARK and source[start:end] == _END:
            found += _body(source, statement, name)
            statement = []
        elif kind not in _SKIPPED:
            statement.append(token)
    found += _body(source, statement, name)
    return found[0] if len(found) == 1 else None


def _body(source: bytes, statement: list[tuple[Kind, int, int]], name: bytes) -> Iterable[bytes]:
    """The body in a list, when the statement is a PREPARE of `name`."""
    said = [source[start:end].lower() if kind in (Kind.WORD, Kind.MARK) else b"" for kind, start, end in statement]
    if said[:1] != [b"prepare"] or len(statement) < 4 or identifier(source, *statement[1][1:]) != name:
        return []
    at, depth = 2, 0
    while at < len(said) and (depth or said[at] != b"as"):
        depth += (said[at] == _OPENING) - (said[at] == _CLOSING)
        at += 1
    return [source[statement[at + 1][1] : statement[-1][2]]] if at + 1 < len(said) else []


def reconcile(
    d: Dialogue,
    listed: Mapping[bytes, tuple[bytes, bool]],
    inspect: Callable[[bytes], Verdict],
    context: Context,
    *,
    escapes: bool,
) -> list[tuple[bytes, Statement]] | None:
    """Bring the session's names in line with what its backend has.

    Arguments:
        listed: the backend's statements but the proxy's own: text as the server shows it, and whether SQL made it.
        context: by what new ones were read.

    Returns the statements that the server has yet to describe, with their names; None when one cannot be told, and
    nothing was changed then but what is gone.
    """
    book, state = d.statements, d.state
    assert state is not None
    native = {name for name, (statement, _) in state.natives.items() if book.named.get(name) is statement}
    stood = d.ensured | d.stand_ins | native
    known = {name: s for name, s in book.named.items() if name in stood}
    for name, statement in known.items():
        if name not in listed and not statement.changed:
            book.forget(name)
    fresh: list[tuple[bytes, Statement]] = []
    made: dict[bytes, Statement] = {}
    natives: dict[bytes, tuple[Statement, Context]] = {}
    for name, (text, from_sql) in listed.items():
        if text == STAND_IN.text:
            natives[name] = STAND_IN, ()
            continue
        found = known.get(name)
        if found is None or text not in (found.source, found.text):
            body = prepared_body(text, name, escapes=escapes) if from_sql else None
            if body is None:
                return None
            found = Statement(body, b"\0\0", inspect(body), context=context)
            d.pin_moment(found)
            found.source = text
            made[name] = found
            fresh.append((name, found))
        elif found.shape is None:
            fresh.append((name, found))
        natives[name] = found, found.context
    if len(book.named) + len(made.keys() - book.named.keys()) > d.policy.max_session_statements:
        return None
    book.named.update(made)
    for statement in book.named.values():
        statement.changed = False
    state.natives = natives
    d.not_native()
    return fresh
