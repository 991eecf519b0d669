"""How the model of a PostgreSQL backend (`server`) runs statements: rows, settings, COPY, transactions, output."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from rdsp_codecs.postgres.messages import error, message
from rdsp_codecs.testing.postgres.words import (
    ENDS,
    INT4,
    NAMING,
    PUTS_BACK,
    QUESTIONS,
    RESET,
    SELECTS,
    SET,
    SET_CONFIG,
    SET_LOCALLY,
    SETTINGS,
    TEXT,
    Failure,
    Plan,
    Portal,
    World,
    complete,
    data_row,
    duplicate,
    real_name,
)


class Statements:
    """A backend's state, and what statements do to it and say."""

    def __init__(self, world: World, buffer_size: int) -> None:
        self.world = world
        self.status = b"I"
        self.prepared: dict[str, Plan] = {}
        self.settings = dict(SETTINGS)
        self._local: dict[str, str] = {}
        self._saved = dict(SETTINGS)
        self._in_transaction = False
        self.inserted: list[str] = []
        """What was put into tables, and committed."""
        self._inserting: list[str] = []
        self._alone = True
        self.source = ""
        """The text of the query that runs."""
        self._portals: dict[str, Portal] = {}
        self._reported = "UTC"
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._buffer_size = buffer_size
        self._flushed: list[bytes] = []

    def _find(self, name: str) -> Plan:
        plan = self.prepared.get(name)
        if plan is None:
            what = f'prepared statement "{name}"' if name else "unnamed prepared statement"
            raise Failure("26000", f"{what} does not exist")
        return plan

    # -- statements -----------------------------------------------------------------------------------------------

    def _analyse(self, text: str) -> Plan:
        if text in SELECTS:
            return Plan(text, SELECTS[text][0], text.count("$"))
        if text == "TABLE changes":
            return Plan(text, (("a", TEXT if self.world.version % 2 else INT4),))
        if text == "SHOW work_mem":
            return Plan(text, (("work_mem", TEXT),))
        if text.startswith(QUESTIONS):
            return Plan(text, tuple((name, TEXT) for name in ("a", "b", "c", "d")))
        if SET_CONFIG(text) or SET_LOCALLY(text) or PUTS_BACK(text):
            return Plan(text, (("set_config", TEXT),))
        naming = NAMING(text)
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
            self._say(data_row(values))
            count += 1
            if count == limit:
                self._say(message(b"s"))
                return
        self._say(complete("SHOW" if portal.plan.text.startswith("SHOW") else f"SELECT {count}"))

    def _rows(self, portal: Portal) -> Iterator[tuple[str, ...]]:  # noqa: C901 - one text after the other
        text = portal.plan.text
        naming = NAMING(text)
        if naming is not None:
            text = self._find(naming[2]).text
        if text.startswith(QUESTIONS):
            for name, value in self.settings.items():
                if value != SETTINGS[name] and "pg_settings" in text:
                    yield "s", name, value, "string"
            for name, plan in self.prepared.items():
                if name and not name.startswith("rdsp_") and "pg_prepared_statements" in text:
                    yield "n", name, plan.source or plan.text, "true" if plan.source else "false"
        elif found := SET_CONFIG(text):
            self.settings[real_name(found[1])] = found[2]
            yield (found[2],)
        elif found := SET_LOCALLY(text):
            name = real_name(found[1])
            self._local[name] = found[2] or SETTINGS[name]
            yield (self._local[name],)
        elif found := PUTS_BACK(text):
            name = real_name(found[1])
            present = {**self.settings, **self._local}[name]
            for _ in range(2):
                self._local[name] = present
                yield (present,)
        elif text == "SHOW work_mem":
            yield ({**self.settings, **self._local}["work_mem"],)
        elif text == "TABLE changes":
            yield (str(self.world.version),)
        else:
            for values in SELECTS[text][1]:
                if values is None:
                    raise Failure("22012", "division by zero")
                yield portal.values if values == ("$1",) else values

    def _utility(self, text: str) -> Generator[None, tuple[int, bytes], None]:
        if text in ("BEGIN", *ENDS):
            self._transaction(text)
        elif naming := NAMING(text):
            self._naming(naming[1], naming[2], naming[3])
        elif (assignment := SET(text)) or RESET(text):
            reset = RESET(text)
            local, name, value = assignment.groups() if assignment else ("", reset[1] if reset else "", "")
            name = real_name(name)
            if name not in SETTINGS:
                raise Failure("42704", f'unrecognized configuration parameter "{name}"')
            value = value or SETTINGS[name]
            if local and self.status == b"I" and self._alone:
                self._say_loudly("WARNING", "25P01", "SET LOCAL can only be used in transaction blocks")
            self._local.pop(name, None)
            (self._local if local else self.settings)[name] = value
            self._say(complete("SET" if assignment else "RESET"))
        elif text.startswith("DROP"):
            self._say_loudly("NOTICE", "00000", 'table "nothing" does not exist, skipping')
            self._say(complete("DROP TABLE"))
        elif text.startswith("INSERT"):
            self._inserting.append(text)
            self._say(complete("INSERT 0 1"))
        elif text == "COPY t TO STDOUT":
            self._say(message(b"H", b"\0\0\1\0\0") + message(b"d", b"1\n") * 2 + message(b"c") + complete("COPY 2"))
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
        self._inserting.append(f"COPY {rows}")
        self._say(complete(f"COPY {rows}"))

    def _naming(self, verb: str, name: str, text: str | None) -> None:
        if verb == "PREPARE" and text:
            if name in self.prepared:
                raise duplicate(name)
            self.prepared[name] = self._analyse(text)
            self.prepared[name].source = self.source
        elif verb == "DEALLOCATE" and name == "ALL":
            # The unnamed one stays: it has no name to SQL.
            self.prepared = {name: plan for name, plan in self.prepared.items() if not name}
        else:
            self._find(name)
            if verb == "DEALLOCATE":
                del self.prepared[name]
        self._say(complete("DEALLOCATE ALL" if name == "ALL" else verb))

    # -- transactions ---------------------------------------------------------------------------------------------

    def _begin_implicit(self) -> None:
        if not self._in_transaction:
            self._in_transaction = True
            self._saved = dict(self.settings)

    def _refuse_if_failed(self, text: str) -> None:
        if self.status == b"E" and text not in ENDS:
            raise Failure("25P02", "current transaction is aborted, commands ignored until end of transaction block")

    def _transaction(self, text: str) -> None:
        if text == "BEGIN":
            if self.status == b"T":
                self._say_loudly("WARNING", "25001", "there is already a transaction in progress")
            self.status = b"T"
            self._say(complete("BEGIN"))
            return
        if self.status == b"I":
            self._say_loudly("WARNING", "25P01", "there is no transaction in progress")
        commit = text == "COMMIT" and self.status != b"E"
        self.status = b"I"
        self._end(commit=commit)
        self._say(complete("COMMIT" if commit else "ROLLBACK"))
        self._begin_implicit()

    def _finish(self) -> None:
        """The end of a command or a batch: an implicit transaction is committed."""
        if self.status == b"I":
            self._end(commit=True)

    def _end(self, *, commit: bool) -> None:
        if not commit and self._in_transaction:
            self.settings = self._saved
        elif commit:
            self.inserted += self._inserting
        self._inserting.clear()
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
