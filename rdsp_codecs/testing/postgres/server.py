"""A model of one PostgreSQL backend: frontend bytes in, backend bytes out, no I/O and no clock.

It knows a few texts in place of SQL and does with them, message by message, what PostgreSQL 15 does where a pooler can
tell the difference: error recovery up to Sync, implicit transactions, named and unnamed statements and portals, COPY in
both directions, notices, parameter reports, and an output buffer that is not flushed before it must be.
"""

from __future__ import annotations

import struct
from collections.abc import Generator

from rdsp_codecs.postgres.messages import error, message
from rdsp_codecs.testing.postgres.statements import Statements
from rdsp_codecs.testing.postgres.words import (
    EXTENDED,
    TAGS,
    TEXT,
    Failure,
    Plan,
    Portal,
    Reader,
    World,
    check_syntax,
    duplicate,
    no_portal,
    row_description,
)


class ModelServer(Statements):
    """One backend. `feed` it bytes; `take` what it has flushed, `buffered` what it has not."""

    def __init__(self, world: World, buffer_size: int = 8192) -> None:
        super().__init__(world, buffer_size)
        self.closed = False
        self.skipping = False
        self.since_sync = False
        """Messages of the extended protocol came since the last Sync."""
        self._simple = True
        self._input = b""
        self._running: Generator[None, tuple[int, bytes], None] | None = None

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
    def outside(self) -> bool:
        """It is in no transaction, and nothing of one is left."""
        return self.status == b"I" and not self._local

    # -- messages -------------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        self._input += data
        while len(self._input) >= 5 and not self.closed:
            size = int.from_bytes(self._input[1:5], "big") + 1
            tag = self._input[0]
            if tag not in TAGS or size < 5 or (self._running is not None and tag not in b"dcfHS"):
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
        if self._running is None:
            self._simple = tag in b"QFS"
        try:
            if self._running is not None:
                self._step((tag, body))
            elif tag in b"QF":
                self._running = self._query(body) if tag == ord("Q") else self._function(body)
                self._step(None)
            elif tag not in b"dcf":
                self.since_sync = tag in EXTENDED or (self.since_sync and tag != ord("S"))
                self._extended(tag, body)
        except Failure as failure:
            self._fail(failure, simple=self._simple)

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
            Reader(body).end()
            self._finish()
            self._ready()
        elif tag == ord("H"):
            Reader(body).end()
            self._flush()
        else:
            self._begin_implicit()
            self._alone = True
            read = Reader(body)
            if tag == ord("P"):
                self._parse(read.text(), read.text(), read.types())
            elif tag == ord("B"):
                self._bind(read.text(), read.text(), read.values())
            elif tag == ord("E"):
                self._running = self._execute(read.text(), read.number())
                self._step(None)
            else:
                kind, name = read.kind(), read.text()
                read.end()
                self._close(kind, name) if tag == ord("C") else self._describe(kind, name)

    # -- simple protocol ------------------------------------------------------------------------------------------

    def _query(self, body: bytes) -> Generator[None, tuple[int, bytes], None]:
        read = Reader(body)
        self.source = read.text()
        texts = [text.strip() for text in self.source.split(";") if text.strip()]
        read.end()
        self._begin_implicit()
        self.prepared.pop("", None)
        self._alone = len(texts) == 1
        for text in texts:
            check_syntax(text)
        for text in texts:
            self._refuse_if_failed(text)
            plan = self._analyse(text)
            portal = self._portals[""] = Portal(plan)
            self._plan(plan)
            if plan.columns is not None:
                self._say(row_description(plan.columns))
            yield from self._run(portal, 0)
        if not texts:
            self._say(message(b"I"))
        self._finish()
        self.since_sync = False
        self._ready()

    def _function(self, body: bytes) -> Generator[None, tuple[int, bytes], None]:
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
            check_syntax(part)
        if len(texts) > 1:
            raise Failure("42601", "cannot insert multiple commands into a prepared statement")
        if texts:
            self._refuse_if_failed(texts[0])
        plan = self._analyse(texts[0]) if texts else Plan("", None)
        self.source = text
        if name in self.prepared:
            raise duplicate(name)
        self.prepared[name] = plan
        self._say(message(b"1"))

    def _bind(self, portal: str, name: str, values: tuple[str, ...]) -> None:
        plan = self._find(name)
        if len(values) != plan.parameters:
            wanted = f'prepared statement "{name}" requires {plan.parameters}'
            text = f"bind message supplies {len(values)} parameters, but {wanted}"
            raise Failure("08P01", text, F="postgres.c", R="exec_bind_message")
        self._refuse_if_failed(plan.text)
        if portal and portal in self._portals:
            raise Failure("42P03", f'cursor "{portal}" already exists')
        self._plan(plan)
        if plan.text.startswith("EXECUTE "):
            plan = self._analyse(plan.text)  # what it returns is for the statement to say that it names now
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
            said = message(b"t", struct.pack(f">H{plan.parameters}I", plan.parameters, *[TEXT] * plan.parameters))
            self._say(said)
            if plan.text.startswith("EXECUTE ") and plan.columns is not None:
                self._find(plan.text.removeprefix("EXECUTE "))
        elif name not in self._portals:
            raise no_portal(name)
        else:
            plan = self._portals[name].plan
            if plan.columns is not None:
                self._refuse_if_failed("")
        self._say(message(b"n") if plan.columns is None else row_description(plan.columns))

    def _close(self, kind: str, name: str) -> None:
        (self.prepared if kind == "S" else self._portals).pop(name, None)
        self._say(message(b"3"))

    def _execute(self, name: str, limit: int) -> Generator[None, tuple[int, bytes], None]:
        portal = self._portals.get(name)
        if portal is None:
            raise no_portal(name)
        if not portal.plan.text:
            self._say(message(b"I"))
            return
        self._refuse_if_failed(portal.plan.text)
        if portal.failed or (portal.rows is not None and portal.plan.columns is None):
            raise Failure("55000", f'portal "{name}" cannot be run')
        yield from self._run(portal, limit)
