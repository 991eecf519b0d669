"""What the model of a PostgreSQL backend (`server`) understands and says: its few texts, and messages."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final

import attrs

from rdsp_codecs.postgres.messages import error, message

INT4, TEXT = 23, 25
Columns = tuple[tuple[str, int], ...]
SELECTS: Final[dict[str, tuple[Columns, tuple[tuple[str, ...] | None, ...]]]] = {
    "SELECT 1": ((("?column?", INT4),), (("1",),)),
    "SELECT 2 AS b": ((("b", INT4),), (("2",),)),
    "SELECT 'two'::text, 2": ((("text", TEXT), ("?column?", INT4)), (("two", "2"),)),
    "SELECT generate_series(1, 3)": ((("generate_series", INT4),), (("1",), ("2",), ("3",))),
    "SELECT 1/(2 - generate_series(1, 3)) AS q": ((("q", INT4),), (("1",), None)),
    "SELECT $1::text": ((("text", TEXT),), (("$1",),)),
    "SELECT 1/0": ((("?column?", INT4),), (None,)),
}
SETTINGS: Final = {"work_mem": "4MB", "TimeZone": "UTC"}
ENDS: Final = ("COMMIT", "ROLLBACK")
SET: Final = re.compile(r"SET (LOCAL )?(\w+) = '(\w+)'").fullmatch
NAMING: Final = re.compile(r"(PREPARE|EXECUTE|DEALLOCATE) (\w+)(?: AS (.*))?").fullmatch
_UTILITY: Final = re.compile(
    r"BEGIN|COMMIT|ROLLBACK|INSERT INTO t VALUES \(1\)|DROP TABLE IF EXISTS nothing|COPY t FROM STDIN|COPY t TO STDOUT"
    r"|COPY nothing FROM STDIN"
).fullmatch
RESET: Final = re.compile(r"RESET (\w+)").fullmatch
SET_CONFIG: Final = re.compile(r"SELECT pg_catalog\.set_config\(E'(\w+)', E'(\w+)', false\)").fullmatch
SET_LOCALLY: Final = re.compile(r"SELECT pg_catalog\.set_config\(E'(\w+)', (?:E'(\w+)'|NULL), true\)").fullmatch
PUTS_BACK: Final = re.compile(
    r"SELECT pg_catalog\.set_config\(E'(\w+)', v\.c0, true\)"
    r" FROM unnest\(ARRAY\[pg_catalog\.current_setting\(E'\1'\), pg_catalog\.current_setting\(E'\1'\)\]\) AS v\(c0\)"
).fullmatch
"""How the proxy sets something for a moment: `constants.to_put_back`."""
QUESTIONS: Final = (
    "SELECT CASE WHEN context OPERATOR(pg_catalog.=) 'superuser'",
    "SELECT 'n', name, statement, from_sql",
)
"""How the proxy's questions begin: what is set, and what is prepared."""
TAGS: Final = frozenset(b"QPBDECSHFXdcf")
EXTENDED: Final = frozenset(b"PBDEC")


def real_name(name: str) -> str:
    """A setting's name as the server writes it."""
    return next((known for known in SETTINGS if known.lower() == name.lower()), name)


class Failure(Exception):
    """An ErrorResponse of severity ERROR."""

    def __init__(self, code: str, text: str, **more: str) -> None:
        self.data = error("ERROR", code, text, **more)


@attrs.define(eq=False)
class World:
    """What all backends of a database share: the version of a table's definition."""

    version: int = 0


@attrs.define(eq=False)
class Plan:
    """An analysed statement. `columns` is None when it returns no rows; `source` is the query in which SQL made it."""

    text: str
    columns: Columns | None
    parameters: int = 0
    source: str = ""


@attrs.define(eq=False)
class Portal:
    """A portal. `rows` is None before the first Execute."""

    plan: Plan
    values: tuple[str, ...] = ()
    rows: Iterator[tuple[str, ...]] | None = None
    failed: bool = False


class Reader:
    """Reads a message's body as pqformat.c does."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def text(self) -> str:
        end = self._body.find(b"\0", self._at)
        if end < 0:
            raise Failure("08P01", "invalid string in message")
        text, self._at = self._body[self._at : end], end + 1
        return text.decode("latin-1")

    def take(self, size: int) -> bytes:
        if self._at + size > len(self._body):
            raise Failure("08P01", "insufficient data left in message")
        data, self._at = self._body[self._at : self._at + size], self._at + size
        return data

    def number(self, size: int = 4) -> int:
        return int.from_bytes(self.take(size), "big", signed=True)

    def kind(self) -> str:
        kind = chr(self.take(1)[0])
        if kind not in "SP":
            raise Failure("08P01", f"invalid message subtype {kind}")
        return kind

    def types(self) -> int:
        count = self.number(2)
        self.take(4 * max(0, count))
        return count

    def values(self) -> tuple[str, ...]:
        self.take(2 * max(0, self.number(2)))
        values = tuple(self.take(max(0, self.number())).decode("latin-1") for _ in range(self.number(2)))
        self.take(2 * max(0, self.number(2)))
        return values

    def end(self) -> None:
        if self._at != len(self._body):
            raise Failure("08P01", "invalid message format")


def check_syntax(text: str) -> None:
    """Raises `Failure` for what is none of the texts that are known."""
    if text in SELECTS or text in ("TABLE changes", "SHOW work_mem") or text.startswith(QUESTIONS):
        return
    if _UTILITY(text) or SET(text) or RESET(text) or SET_CONFIG(text) or NAMING(text):
        return
    if SET_LOCALLY(text) or PUTS_BACK(text):
        return
    raise Failure("42601", "syntax error")


def duplicate(name: str) -> Failure:
    """The error for a statement's name that is taken."""
    text = f'prepared statement "{name}" already exists'
    return Failure("42P05", text, F="prepare.c", R="StorePreparedStatement")


def no_portal(name: str) -> Failure:
    """The error for a portal that there is not."""
    return Failure("34000", f'portal "{name}" does not exist')


def complete(tag: str) -> bytes:
    """CommandComplete."""
    return message(b"C", tag.encode() + b"\0")


def row_description(columns: Columns) -> bytes:
    """RowDescription."""
    parts = [name.encode() + b"\0" + struct.pack(">IhIhih", 0, 0, oid, -1, -1, 0) for name, oid in columns]
    return message(b"T", struct.pack(">H", len(columns)) + b"".join(parts))


def data_row(values: tuple[str, ...]) -> bytes:
    """DataRow, of texts."""
    parts = [struct.pack(">i", len(value)) + value.encode("latin-1") for value in values]
    return message(b"D", struct.pack(">H", len(values)) + b"".join(parts))
