"""One connection of the simulations' server: see `fake_database`."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Final

import attrs
import trio

from rdsp.converse import receive, send_all
from rdsp.net.memory import MemoryTransport
from rdsp_codecs.errors import PeerClosed
from rdsp_codecs.postgres import messages as m
from tests.codecs.postgres.model_queue import Mailbox
from tests.runtime.fake_words import (
    SET_CONFIG,
    TEXT_OID,
    Prepared,
    bound_values,
    columns,
    complete,
    many_columns,
    returns_rows,
    row,
)

if TYPE_CHECKING:
    from tests.runtime.fake_database import FakeDatabase

WHO: Final = re.compile(r"/\*(\w+)\.(\d+)\*/")


class ServerError(Exception):
    """An ErrorResponse."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


class Died(Exception):
    """The server process is gone in the middle of something."""


@attrs.define(eq=False)
class Ran:
    """One statement that a connection began to run. `outcome`: "" while it runs, "ok", a SQLSTATE, or "gone"."""

    who: str
    text: str
    began: float
    outcome: str = ""


class Connection:
    """One server process."""

    def __init__(self, database: FakeDatabase, transport: MemoryTransport, number: int) -> None:
        self.database = database
        self.transport = transport
        self.number = number
        self.key = number.to_bytes(4, "big")
        self.user = ""
        self.ran: list[Ran] = []
        self.settings: dict[str, str] = {}
        self.status = b"I"
        self.owner = ""
        """Who opened the transaction."""
        self.prepared: dict[str, Prepared] = {}
        self.portal: Prepared | None = None
        self.portal_values: list[str] = []
        self.running: trio.CancelScope | None = None
        self.cancels: list[str] = []
        """What each cancel request hit: a text, or "" for nothing."""
        self.logged_in = False
        self.life = trio.CancelScope()
        self.last_words = b""
        self._buffer = b""
        self._out: list[bytes] = []
        self._skipping = False
        self._flushing = trio.Lock()
        self._half_sent = False
        """Something was being sent when its life ended: nothing can be said behind it."""
        self.mail = Mailbox(database.queue, number)
        self._between = False
        """Waits for a message."""
        self._goes = trio.Event()
        self._goes.set()

    # -- reading and writing --------------------------------------------------------------------------------------

    async def take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._buffer += await receive(self.transport, 65536)
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def say(self, *messages: bytes) -> None:
        self._out += messages

    async def flush(self) -> None:
        async with self._flushing:
            data = b"".join(self._out)
            self._out.clear()
            if data:
                self._half_sent = True
                await send_all(self.transport, data)
                self._half_sent = False

    def stall(self) -> None:
        """From now on it neither answers nor says anything."""
        self._goes = trio.Event()

    def go_on(self) -> None:
        """It does again."""
        self._goes.set()
        self.signal()

    def signal(self) -> None:
        """The queue of notifications has grown."""
        if self._between and self.status == b"I" and self._goes.is_set() and self.mail.due:
            self.say(self.mail.read())
            self.database.soon(self._flush_quietly)

    async def _flush_quietly(self) -> None:
        try:
            await self.flush()
        except PeerClosed:
            pass
        except OSError:
            assert self.transport.closed  # it was terminated meanwhile

    # -- life -----------------------------------------------------------------------------------------------------

    async def serve(self) -> None:
        """From the start-up packet to the end."""
        try:
            with self.life:
                if await self._start():
                    await self._work()
        except PeerClosed:
            pass
        except Died:
            self.transport.reset()
        finally:
            for ran in self.ran:
                ran.outcome = ran.outcome or "gone"
            if self.last_words and not self.transport.closed and not self._half_sent:
                with trio.CancelScope(shield=True), trio.move_on_after(1):
                    try:
                        await send_all(self.transport, self.last_words)
                    except PeerClosed:
                        pass
            self.transport.close()

    def terminate(self, words: bytes | None = None) -> None:
        """As pg_terminate_backend does."""
        self.last_words = m.error("FATAL", "57P01", "terminated") if words is None else words
        self.life.cancel()

    async def _start(self) -> bool:
        database = self.database
        while True:
            size = m.integer(await self.take(4))
            packet = await self.take(size - 4)
            code = m.integer(packet)
            if code in (m.SSL_REQUEST, m.GSSENC_REQUEST):
                await send_all(self.transport, b"N")
                continue
            break
        if code == m.CANCEL_REQUEST:
            database.cancelling += 1
            database.most_cancelling = max(database.most_cancelling, database.cancelling)
            await trio.sleep(database.cancel_delay)
            database.cancelling -= 1
            database.cancel(m.integer(packet, 4), packet[8:])
            return False
        await trio.sleep(database.login_delay)
        parameters = m.read_startup(packet[4:])
        self.user = parameters["user"]
        refusal = database.why_not(self)
        if refusal is not None:
            await send_all(self.transport, m.error("FATAL", *refusal))
            return False
        self.logged_in = True
        database.count()
        self.say(m.authentication(m.AUTH_OK), m.parameter_status("server_version", "18.0"))
        self.say(m.parameter_status("search_path", '"$user", public'))  # or it would be asked
        self.say(m.parameter_status("client_encoding", "UTF8"), m.parameter_status("standard_conforming_strings", "on"))
        self.say(m.backend_key_data(self.number, self.key), m.ready_for_query())
        await self.flush()
        return True

    async def _work(self) -> None:
        while True:
            self._between = True
            self.signal()
            head = await self.take(5)
            self._between = False
            body = await self.take(m.integer(head, 1) - 4)
            await self._goes.wait()
            tag = head[:1]
            if tag == b"X":
                return
            if tag == b"Q":
                self._skipping = False
                await self._simple(body[:-1].decode())
            elif tag == b"S":
                self.portal = None
                try:
                    self._commit(failed=self._skipping)
                except ServerError as error:
                    self._fail(error)
                self._skipping = False
                self._ready()
                await self.flush()
            elif tag == b"H":
                await self.flush()
            elif tag in (b"d", b"c", b"f"):
                pass  # what is left of a COPY that failed
            elif not self._skipping:
                try:
                    await self._extended(tag, body)
                except ServerError as error:
                    self._fail(error)
                    self._skipping = True

    def _fail(self, error: ServerError) -> None:
        if self.status != b"I":
            self.status = b"E"
        self.say(m.error("ERROR", error.code, error.text))

    # -- the two protocols ----------------------------------------------------------------------------------------

    async def _simple(self, texts: str) -> None:
        self.prepared.pop("", None)
        try:
            for text in filter(None, (part.strip() for part in texts.split(";"))):
                rows, tag = await self.run(text, [])
                if returns_rows(text):
                    self.say(columns("x"), *rows)
                self.say(complete(tag))
            self._commit()
        except ServerError as error:
            self._fail(error)
            self._commit(failed=True)
        self._ready()
        await self.flush()

    def _commit(self, *, failed: bool = False) -> None:
        """The end of a message or a Sync: of a transaction, too, unless one is open."""
        if self.status != b"I":
            return
        full = self.mail.notifies and self.database.queue_is_full
        if failed or full:
            self.mail.rollback()
            if full:
                raise ServerError("54000", "too many notifications in the NOTIFY queue")
            return
        self.mail.apply()
        self.mail.publish()
        self.database.signal(self)

    def _ready(self) -> None:
        if self.status == b"I":
            self.say(self.mail.read())
        self.say(m.ready_for_query(self.status))

    async def _extended(self, tag: bytes, body: bytes) -> None:
        if tag == b"P":
            name, text = (part.decode() for part in body.split(b"\0")[:2])
            if name and name in self.prepared:
                raise ServerError("42P05", f'prepared statement "{name}" already exists')
            self.prepared[name] = Prepared(text, text.count("$"))
            self.say(m.message(b"1"))
        elif tag == b"B":
            _, name, rest = body.split(b"\0", 2)
            self.portal = self._find(name.decode())
            self.portal_values = bound_values(rest)
            self.say(m.message(b"2"))
        elif tag == b"D":
            await self._describe(body)
        elif tag == b"C":
            if body[:1] == b"S":
                self.prepared.pop(body[1:-1].decode(), None)
            self.say(m.message(b"3"))
        elif tag == b"E":
            if self.portal is None:
                raise ServerError("34000", "no portal")
            rows, done = await self.run(self.portal.text, self.portal_values)
            self.say(*rows, complete(done))
        else:
            raise ServerError("08P01", f"message {tag!r}")

    async def _describe(self, body: bytes) -> None:
        if body[:1] == b"S":
            statement = self._find(body[1:-1].decode())
            types = struct.pack(">I", TEXT_OID) * statement.parameters
            self.say(m.message(b"t", struct.pack(">H", statement.parameters) + types))
        else:
            if self.portal is None:
                raise ServerError("34000", "no portal")
            statement = self.portal
        self.say(columns("x") if returns_rows(statement.text) else m.message(b"n"))

    def _find(self, name: str) -> Prepared:
        if name not in self.prepared:
            raise ServerError("26000", f'prepared statement "{name}" does not exist')
        return self.prepared[name]

    # -- running --------------------------------------------------------------------------------------------------

    async def run(self, text: str, values: list[str]) -> tuple[list[bytes], str]:
        """Run one statement: its rows and its tag."""
        if "max_connections" in text:
            await trio.sleep(self.database.service_time)
            if self.database.keeps_its_limit:
                raise ServerError("42501", "permission denied")
            if self.database.quitters:
                self.database.quitters -= 1
                self.last_words = columns("x") + row(str(self.database.max_connections)) + complete("SELECT 1")
                self.last_words += m.ready_for_query()
                self.life.cancel()
                await trio.sleep_forever()
            return [row(str(self.database.max_connections))], "SELECT 1"
        if text.startswith(("SELECT CASE WHEN context", "SELECT 'l', channel")):
            values = self.settings.values() if "CASE" in text else ()
            channels = self.mail.rows() if "channel" in text else ()
            return [
                *(many_columns("s", "x", v, "string") for v in values),
                *(many_columns(*c) for c in channels),
            ], "SELECT"
        if text.startswith("SET application_name"):
            return [], "SET"
        if found := SET_CONFIG(text):
            self.settings["x"] = found[1]
            return [row(found[1])], "SELECT 1"
        if text == "RESET x":
            self.settings.clear()
            return [], "RESET"
        found = WHO.search(text)
        who = found.group(1) if found else ""
        for value in values:
            found = WHO.search(value)
            who = found.group(1) if found else who
        ran = Ran(who, text if not values else f"{text} <- {values}", trio.current_time())
        self.ran.append(ran)
        self._check_owner(who, text)
        word = text.split()[0]
        if self.status == b"E" and word not in ("ROLLBACK", "COMMIT"):
            ran.outcome = "25P02"
            raise ServerError("25P02", "current transaction is aborted")
        try:
            result = await self._do(word, text, values)
        except ServerError as error:
            ran.outcome = error.code
            raise
        ran.outcome = "ok"
        return result

    async def _copy_in(self, limit: int) -> int:
        """COPY FROM STDIN of at most `limit` bytes; returns how many came."""
        self.say(m.message(b"G", b"\0\0\0"))
        await self.flush()
        size = 0
        while True:
            head = await self.take(5)
            body = await self.take(m.integer(head, 1) - 4)
            if head[:1] == b"c":
                return size
            if head[:1] == b"f":
                raise ServerError("57014", "COPY from stdin failed")
            if head[:1] == b"d":
                size += len(body)
            if size > limit:
                raise ServerError("22P04", "too much")

    def _check_owner(self, who: str, text: str) -> None:
        if self.status == b"I":
            return
        if who and who != self.owner:
            self.database.problems.append(f"{text!r} ran inside the transaction of {self.owner} on {self.number}")

    async def _do(self, word: str, text: str, values: list[str]) -> tuple[list[bytes], str]:
        argument = (text.split() + [""])[1]
        if self.mail.act(WHO.sub("", text).strip()):
            await trio.sleep(self.database.service_time)
            return [], word
        pause = float(argument) if word == "SLEEP" else self.database.service_time
        with trio.CancelScope() as self.running:
            await trio.sleep(pause)
        cancelled, self.running = self.running.cancelled_caught, None
        if cancelled:
            raise ServerError("57014", "canceling statement due to user request")
        match word:
            case "SELECT":
                return [row(values[0] if argument.startswith("$") else argument)], "SELECT 1"
            case "BEGIN":
                found = WHO.search(text)
                self.status, self.owner = b"T", found.group(1) if found else ""
            case "COMMIT" | "ROLLBACK":
                word = word if self.status != b"E" else "ROLLBACK"
                self.status = b"I"
                if word == "ROLLBACK":
                    self.mail.rollback()
            case "SECRET":  # a function that listens
                self.mail.listening.add(argument)
                return [row("")], "SELECT 1"
            case "SLEEP":
                return [row("slept")], "SELECT 1"
            case "BIG":
                return [row("x" * 1000) for _ in range(int(argument) // 1000)], f"SELECT {int(argument) // 1000}"
            case "SET":
                found = WHO.search(text)
                self.settings["x"] = found.group(1) if found else argument
            case "SHOWX":
                return [row(self.settings.get("x", ""))], "SELECT 1"
            case "FAIL":
                raise ServerError("XX001", "asked to fail")
            case "COPYIN":
                return [], f"COPY {await self._copy_in(int(argument))}"
            case "NONSENSE":
                self.say(b"T\0\0\0\3")
                return [], "SELECT 1"
            case "LAST":
                self.last_words = m.ready_for_query()
                self.say(complete("SELECT 0"))
                self.last_words = b"".join(self._out) + self.last_words
                self._out.clear()
                self.life.cancel()
                await trio.sleep_forever()
            case "DIE":
                self.say(columns("x"), row("half")[:-2])
                await self.flush()
                raise Died
            case _:
                raise ServerError("42601", f"syntax error at or near {word!r}")
        return [], word
