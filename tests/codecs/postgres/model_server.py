"""A model of one PostgreSQL backend: frontend bytes in, backend bytes out, no I/O and no clock.

It knows a few texts in place of SQL and does with them, message by message, what PostgreSQL 15 does where a pooler can
tell the difference: error recovery up to Sync, implicit transactions, named and unnamed statements and portals, COPY in
both directions, notices, parameter reports, and an output buffer that is not flushed before it must be.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Generator, Iterator
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
_ENDS: Final = ("COMMIT", "ROLLBACK")
_SET: Final = re.compile(r"SET (LOCAL )?(\w+) = '(\w+)'").fullmatch
_NAMING: Final = re.compile(r"(PREPARE|EXECUTE|DEALLOCATE) (\w+)(?: AS (.*))?").fullmatch
_UTILITY: Final = re.compile(
    r"BEGIN|COMMIT|ROLLBACK|INSERT INTO t VALUES \(1\)|DROP TABLE IF EXISTS nothing|COPY t FROM STDIN|COPY t TO STDOUT"
    r"|COPY nothing FROM STDIN|RESET work_mem"
).fullmatch
_TAGS: Final = frozenset(b"QPBDECSHFXdcf")
_EXTENDED: Final = frozenset(b"PBDECH")


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
    """An analysed statement. `columns` is None when it returns no rows."""

    text: str
    columns: Columns | None
    parameters: int = 0


@attrs.define(eq=False)
class Portal:
    """A portal. `rows` is None before the first Execute."""

    plan: Plan
    values: tuple[str, ...] = ()
    rows: Iterator[tuple[str, ...]] | None = None
    failed: bool = False


class ModelServer:
    """One backend. `feed` it bytes; `take` what it has flushed, `buffered` what it has not."""

    def __init__(self, world: World, buffer_size: int = 8192) -> None:
        self.world = world
        self.status = b"I"
        self.closed = False
        self.skipping = False
        self.prepared: dict[str, Plan] = {}
        self.settings = dict(SETTINGS)
        self.since_sync = False
        """Messages of the extended protocol came since the last Sync."""
        self._local: dict[str, str] = {}
        self._saved = dict(SETTINGS)
        self._in_transaction = False
        self._portals: dict[str, Portal] = {}
        self._reported = "UTC"
        self._input = b""
        self._running: Generator[None, tuple[int, bytes], None] | None = None
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._buffer_size = buffer_size
        self._flushed: list[bytes] = []

    # -- what a test looks at -------------------------------------------------------------------------------------

    def take(self) -> bytes:
        data = b"".join(self._flushed)
        self._flushed.clear()
        return data

    @property
    def buffered(self) -> bytes:
        return b"".join(self._buffer)

    @property
    def at_rest(self) -> bool:
        """It owes nothing to anybody, and stands between messages."""
        return not (self._input or self._running or self._flushed or self._buffer or self.skipping or self.since_sync)

    @property
    def as_new(self) -> bool:
        """Nothing is set that another session could notice (statements aside)."""
        return self.status == b"I" and self.settings == SETTINGS and not self._local

    # -- messages -------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        self._input += data
        while len(self._input) >= 5 and not self.closed:
            size = int.from_bytes(self._input[1:5], "big") + 1
            tag = self._input[0]
            if tag not in _TAGS or size < 5 or (self._running is not None and tag not in b"dcfHS"):
                self._say(error("FATAL", "08P01", f"invalid frontend message type {tag}"))
                self._flush()
                self.closed = True
            elif len(self._input) < size:
                return
            body, self._input = self._input[5:size], self._input[size:]
            if not self.closed:
                self._message(tag, body)

    def _message(self, tag: int, body: bytes) -> None:
        if self.skipping and tag not in b"SX":
            return
        try:
            if self._running is not None:
                self._step((tag, body))
            elif tag in b"QF":
                self._running = self._query(body) if tag == ord("Q") else self._function(body)
                self._step(None)
            elif tag not in b"dcf":
                self.since_sync = tag in _EXTENDED or (self.since_sync and tag != ord("S"))
                self._extended(tag, body)
        except Failure as failure:
            simple = not self.since_sync or tag in b"QFS"
            self._fail(failure, simple=simple or (self._running is not None and self._simple))

    def _step(self, sent: tuple[int, bytes] | None) -> None:
        assert self._running is not None
        try:
            next(self._running) if sent is None else self._running.send(sent)
        except StopIteration:
            self._running = None

    def _fail(self, failure: Failure, *, simple: bool) -> None:
        self._running = None
        self._say(failure.data)
        self._flush()
        if self.status == b"I":
            self._end(commit=False)
        else:
            self.status = b"E"
            for portal in self._portals.values():
                portal.failed = True
        self.skipping = not simple
        if simple:
            self.since_sync = False
            self._ready()

    def _extended(self, tag: int, body: bytes) -> None:
        if tag == ord("X"):
            self.closed = True
        elif tag == ord("S"):
            self.skipping = False
            _Reader(body).end()
            self._finish()
            self._ready()
        elif tag == ord("H"):
            _Reader(body).end()
            self._flush()
        else:
            self._begin_implicit()
            read = _Reader(body)
            if tag == ord("P"):
                self._parse(read.text(), read.text(), read.types())
            elif tag == ord("B"):
                self._bind(read.text(), read.text(), read.values())
            elif tag == ord("E"):
                self._simple = False
                self._running = self._execute(read.text(), read.number())
                self._step(None)
            else:
                kind, name = read.kind(), read.text()
                read.end()
                self._close(kind, name) if tag == ord("C") else self._describe(kind, name)

    # -- simple protocol ------------------------------------------------------------------------------------------

    def _query(self, body: bytes) -> Generator[None, tuple[int, bytes], None]:
        self._simple = True
        read = _Reader(body)
        texts = [text.strip() for text in read.text().split(";") if text.strip()]
        read.end()
        self._begin_implicit()
        self.prepared.pop("", None)
        for text in texts:
            _syntax(text)
        for text in texts:
            self._refuse_if_failed(text)
            plan = self._analyse(text)
            portal = self._portals[""] = Portal(plan)
            self._plan(plan)
            if plan.columns is not None:
                self._say(_row_description(plan.columns))
            yield from self._run(portal, 0)
        if not texts:
            self._say(message(b"I"))
        self._finish()
        self.since_sync = False
        self._ready()

    def _function(self, body: bytes) -> Generator[None, tuple[int, bytes], None]:
        self._simple = True
        if len(body) < 4:
            raise Failure("08P01", "insufficient data left in message")
        self._begin_implicit()
        self._refuse_if_failed("")
        if body[:4] == struct.pack(">I", 767):
            raise Failure("42883", "function with OID 767 does not exist")
        self._say(message(b"V", b"\0\0\0\0"))
        self._finish()
        self.since_sync = False
        self._ready()
        yield from ()

    # -- extended protocol ----------------------------------------------------------------------------------------

    def _parse(self, name: str, text: str, types: int) -> None:
        if not name:
            self.prepared.pop("", None)
        texts = [part.strip() for part in text.split(";") if part.strip()]
        for part in texts:
            _syntax(part)
        if len(texts) > 1:
            raise Failure("42601", "cannot insert multiple commands into a prepared statement")
        if texts:
            self._refuse_if_failed(texts[0])
        plan = self._analyse(texts[0]) if texts else Plan("", None)
        if name in self.prepared:
            raise _duplicate(name)
        self.prepared[name] = plan
        self._say(message(b"1"))

    def _find(self, name: str) -> Plan:
        plan = self.prepared.get(name)
        if plan is None:
            what = f'prepared statement "{name}"' if name else "unnamed prepared statement"
            raise Failure("26000", f"{what} does not exist")
        return plan

    def _bind(self, portal: str, name: str, values: tuple[str, ...]) -> None:
        plan = self._find(name)
        if len(values) != plan.parameters:
            raise Failure("08P01", f"bind message supplies {len(values)} parameters, not {plan.parameters}")
        self._refuse_if_failed(plan.text)
        if portal and portal in self._portals:
            raise Failure("42P03", f'cursor "{portal}" already exists')
        self._plan(plan)
        self._portals[portal] = Portal(plan, values)
        self._say(message(b"2"))

    def _plan(self, plan: Plan) -> None:
        """Revalidate, and plan: constants are folded."""
        if plan.text.startswith("TABLE ") and self._analyse(plan.text).columns != plan.columns:
            text = "cached plan must not change result type"
            raise Failure("0A000", text, F="plancache.c", R="RevalidateCachedQuery")
        if plan.text == "SELECT 1/0":
            raise Failure("22012", "division by zero")

    def _describe(self, kind: str, name: str) -> None:
        if kind == "S":
            plan = self._find(name)
            if plan.columns is not None:
                self._refuse_if_failed("")
            if plan.text.startswith("TABLE "):
                self._plan(plan)
            self._say(message(b"t", struct.pack(f">H{plan.parameters}I", plan.parameters, *[TEXT] * plan.parameters)))
        elif name not in self._portals:
            raise _no_portal(name)
        else:
            plan = self._portals[name].plan
            if plan.columns is not None:
                self._refuse_if_failed("")
        self._say(message(b"n") if plan.columns is None else _row_description(plan.columns))

    def _close(self, kind: str, name: str) -> None:
        (self.prepared if kind == "S" else self._portals).pop(name, None)
        self._say(message(b"3"))

    def _execute(self, name: str, limit: int) -> Generator[None, tuple[int, bytes], None]:
        portal = self._portals.get(name)
        if portal is None:
            raise _no_portal(name)
        if not portal.plan.text:
            self._say(message(b"I"))
            return
        self._refuse_if_failed(portal.plan.text)
        if portal.failed or (portal.rows is not None and portal.plan.columns is None):
            raise Failure("55000", f'portal "{name}" cannot be run')
        yield from self._run(portal, limit)

    # -- statements -----------------------------------------------------------------------------------------------

    def _analyse(self, text: str) -> Plan:
        if text in SELECTS:
            return Plan(text, SELECTS[text][0], text.count("$"))
        if text == "TABLE changes":
            return Plan(text, (("a", TEXT if self.world.version % 2 else INT4),))
        if text == "SHOW work_mem":
            return Plan(text, (("work_mem", TEXT),))
        naming = _NAMING(text)
        if naming is not None and naming[1] == "EXECUTE" and naming[2] in self.prepared:
            return Plan(text, self.prepared[naming[2]].columns)
        return Plan(text, None)

    def _run(self, portal: Portal, limit: int) -> Generator[None, tuple[int, bytes], None]:
        if portal.rows is None:
            portal.rows = self._rows(portal)
            if portal.plan.columns is None:
                yield from self._utility(portal.plan.text)
                return
        count = 0
        for values in portal.rows:
            self._say(_data_row(values))
            count += 1
            if count == limit:
                self._say(message(b"s"))
                return
        self._say(_complete("SHOW" if portal.plan.text.startswith("SHOW") else f"SELECT {count}"))

    def _rows(self, portal: Portal) -> Iterator[tuple[str, ...]]:
        text = portal.plan.text
        naming = _NAMING(text)
        if naming is not None:
            text = self._find(naming[2]).text
        if text == "SHOW work_mem":
            yield ({**self.settings, **self._local}["work_mem"],)
        elif text == "TABLE changes":
            yield (str(self.world.version),)
        else:
            for values in SELECTS[text][1]:
                if values is None:
                    raise Failure("22012", "division by zero")
                yield portal.values if values == ("$1",) else values

    def _utility(self, text: str) -> Generator[None, tuple[int, bytes], None]:
        if text in ("BEGIN", *_ENDS):
            self._transaction(text)
        elif naming := _NAMING(text):
            self._naming(naming[1], naming[2], naming[3])
        elif (assignment := _SET(text)) or text == "RESET work_mem":
            local, name, value = assignment.groups() if assignment else ("", "work_mem", SETTINGS["work_mem"])
            if name not in SETTINGS:
                raise Failure("42704", f'unrecognized configuration parameter "{name}"')
            self._local.pop(name, None)
            (self._local if local else self.settings)[name] = value
            self._say(_complete("SET" if assignment else "RESET"))
        elif text.startswith("DROP"):
            self._say_loudly("NOTICE", "00000", 'table "nothing" does not exist, skipping')
            self._say(_complete("DROP TABLE"))
        elif text.startswith("INSERT"):
            self._say(_complete("INSERT 0 1"))
        elif text == "COPY t TO STDOUT":
            self._say(message(b"H", b"\0\0\1\0\0") + message(b"d", b"1\n") * 2 + message(b"c") + _complete("COPY 2"))
        else:
            yield from self._copy_in(text)

    def _copy_in(self, text: str) -> Generator[None, tuple[int, bytes], None]:
        if "nothing" in text:
            raise Failure("42P01", 'relation "nothing" does not exist')
        self._say(message(b"G", b"\0\0\1\0\0"))
        self._flush()
        rows = 0
        while True:
            tag, body = yield
            if tag == ord("f"):
                raise Failure("57014", "COPY from stdin failed")
            if tag == ord("d") and b"x" in body:
                raise Failure("22P02", "invalid input syntax for type integer")
            if tag == ord("d"):
                rows += body.count(b"\n")
            elif tag == ord("c"):
                break
        self._say(_complete(f"COPY {rows}"))

    def _naming(self, verb: str, name: str, text: str | None) -> None:
        if verb == "PREPARE" and text:
            if name in self.prepared:
                raise _duplicate(name)
            self.prepared[name] = self._analyse(text)
        elif verb == "DEALLOCATE" and name == "ALL":
            self.prepared.clear()
        else:
            self._find(name)
            if verb == "DEALLOCATE":
                del self.prepared[name]
        self._say(_complete("DEALLOCATE ALL" if name == "ALL" else verb))

    # -- transactions ---------------------------------------------------------------------------------------------

    def _begin_implicit(self) -> None:
        if not self._in_transaction:
            self._in_transaction = True
            self._saved = dict(self.settings)

    def _refuse_if_failed(self, text: str) -> None:
        if self.status == b"E" and text not in _ENDS:
            raise Failure("25P02", "current transaction is aborted, commands ignored until end of transaction block")

    def _transaction(self, text: str) -> None:
        if text == "BEGIN":
            if self.status == b"T":
                self._say_loudly("WARNING", "25001", "there is already a transaction in progress")
            self.status = b"T"
            self._say(_complete("BEGIN"))
            return
        if self.status == b"I":
            self._say_loudly("WARNING", "25P01", "there is no transaction in progress")
        commit = text == "COMMIT" and self.status != b"E"
        self.status = b"I"
        self._end(commit=commit)
        self._say(_complete("COMMIT" if commit else "ROLLBACK"))
        self._begin_implicit()

    def _finish(self) -> None:
        """The end of a command or a batch: an implicit transaction is committed."""
        if self.status == b"I":
            self._end(commit=True)

    def _end(self, *, commit: bool) -> None:
        if not commit and self._in_transaction:
            self.settings = self._saved
        self._local.clear()
        self._portals.clear()
        self._in_transaction = False

    # -- output ---------------------------------------------------------------------------------------------------

    def _say(self, data: bytes) -> None:
        self._buffer.append(data)
        self._buffered += len(data)
        if self._buffered >= self._buffer_size:
            self._flush()

    def _say_loudly(self, severity: str, code: str, text: str) -> None:
        self._say(b"N" + error(severity, code, text)[1:])
        self._flush()

    def _flush(self) -> None:
        self._flushed += self._buffer
        self._buffer.clear()
        self._buffered = 0

    def _ready(self) -> None:
        zone = {**self.settings, **self._local}["TimeZone"]
        if zone != self._reported:
            self._reported = zone
            self._say(message(b"S", b"TimeZone\0" + zone.encode() + b"\0"))
        self._say(message(b"Z", self.status))
        self._flush()


class _Reader:
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


def _syntax(text: str) -> None:
    if text in SELECTS or text in ("TABLE changes", "SHOW work_mem") or _UTILITY(text) or _SET(text) or _NAMING(text):
        return
    raise Failure("42601", "syntax error")


def _duplicate(name: str) -> Failure:
    text = f'prepared statement "{name}" already exists'
    return Failure("42P05", text, F="prepare.c", R="StorePreparedStatement")


def _no_portal(name: str) -> Failure:
    return Failure("34000", f'portal "{name}" does not exist')


def _complete(tag: str) -> bytes:
    return message(b"C", tag.encode() + b"\0")


def _row_description(columns: Columns) -> bytes:
    parts = [name.encode() + b"\0" + struct.pack(">IhIhih", 0, 0, oid, -1, -1, 0) for name, oid in columns]
    return message(b"T", struct.pack(">H", len(columns)) + b"".join(parts))


def _data_row(values: tuple[str, ...]) -> bytes:
    parts = [struct.pack(">i", len(value)) + value.encode("latin-1") for value in values]
    return message(b"D", struct.pack(">H", len(values)) + b"".join(parts))
