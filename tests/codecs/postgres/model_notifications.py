"""Servers with notifications, sessions that share few of their backends, and one ear: every byte under a test's control.

What the model of the server does with notifications stands in `model_queue`.
"""

from __future__ import annotations

import struct
from collections import deque

from rdsp_codecs import moves
from rdsp_codecs.api import ClientLogin, RelayPolicy
from rdsp_codecs.postgres import CODEC
from rdsp_codecs.postgres import messages as m
from rdsp_codecs.postgres.hearing import Ear
from rdsp_codecs.postgres.relay import PostgresRelay
from rdsp_codecs.postgres.state import PostgresState
from rdsp_codecs.questions import Welcome
from rdsp_codecs.transaction import Transaction
from tests.codecs.postgres.model_queue import Heard, Mailbox

PARAMETERS = {"client_encoding": "UTF8", "server_version": "16.0"}


class Server:
    """The queue that all backends of a database share."""

    def __init__(self) -> None:
        self.queue: list[Heard] = []
        self.sites: dict[int, Site] = {}


class Backend:
    """One backend. Messages are carried out one by one (`step`), so that a test decides what comes first."""

    def __init__(self, server: Server, process_id: int) -> None:
        self.server = server
        self.process_id = process_id
        self.mail = Mailbox(server.queue, process_id)
        self.status = b"I"
        self.site: Site | None = None
        self.out = b""
        self._in: deque[str] = deque()
        self._buffer = b""
        self._of_client = False

    def feed(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 5:
            size = m.integer(self._buffer, 1) + 1
            if len(self._buffer) < size:
                return
            assert self._buffer[:1] == b"Q", self._buffer
            self._in.append(self._buffer[5 : size - 1].decode())
            self._buffer = self._buffer[size:]

    @property
    def busy(self) -> bool:
        return bool(self._in)

    @property
    def listening(self) -> set[str]:
        return self.mail.listening

    @property
    def due(self) -> bool:
        """Whether it would say something if it were told that the queue has grown."""
        return self.status == b"I" and self.mail.due

    def signal(self) -> None:
        if self.status == b"I":
            self.out += self.mail.read()

    def step(self) -> None:
        """Carry out one query."""
        text = self._in.popleft()
        self._of_client = text.startswith("/*c*/")
        text = text.removeprefix("/*c*/")
        implicit = self.status == b"I"
        for statement in text.split(";"):
            self._run(statement.strip())
        if implicit and self.status == b"I":
            self._commit()
        if self.status == b"I":
            self.out += self.mail.read()
        self.out += m.ready_for_query(self.status)

    def _run(self, statement: str) -> None:
        verb = statement.split(" ")[0]
        if verb == "BEGIN":
            self.status = b"T"
        elif verb == "COMMIT":
            self.status = b"I"
            self._commit()
        elif verb == "ROLLBACK":
            self.status = b"I"
            self.mail.rollback()
        elif self.mail.act(statement):
            pass
        elif "pg_listening_channels" in statement:
            for row in self.mail.rows():
                body = b"".join(struct.pack(">i", len(value.encode())) + value.encode() for value in row)
                self.out += m.message(b"D", b"\0\4" + body)
            verb = "SELECT"
        else:
            assert statement == "SELECT 1" or verb in ("SET", ""), statement
        self.out += m.message(b"C", {"SELECT": "SELECT 1"}.get(verb, verb).encode() + b"\0")

    def _commit(self) -> None:
        mail, queue, site = self.mail, self.server.queue, self.site if self._of_client else None
        before = set(mail.listening)
        mail.apply()
        if site is not None:
            site.unheard(before - mail.listening, mail.position)
            for index in range(mail.position, len(queue)):
                # Who listens already, and has not read it, is told of it if it listens to that, too, by the time it reads.
                process_id, channel, payload = queue[index]
                if channel in mail.listening - before:
                    site.tell(index, process_id, channel, payload)
            site.expected.sort()
            site.channels = set(mail.listening)
        mail.publish(self._said)

    def _said(self, index: int, channel: str, payload: str) -> None:
        for other in self.server.sites.values():
            other.said(index, self, channel, payload)


class Site:
    """One session: its relay, what its client was told, and what a client of the server's own would have been told."""

    def __init__(self, proxy: Proxy, number: int) -> None:
        self.proxy = proxy
        self.number = number
        self.relay = PostgresRelay(
            ClientLogin("u", "d", {}, m.PROTOCOL_3, tls=False, welcome=Welcome(dict(PARAMETERS), number, b"s" * 32)),
            RelayPolicy(),
            proxy.shared,
        )
        self.backend: Backend | None = None
        self.channels: set[str] = set()
        self.expected: list[tuple[int, Heard]] = []
        self.heard: list[Heard] = []
        self.kinds = ""
        self.unanswered = 0
        self.dead = False
        self._buffer = b""

    # -- what should come -----------------------------------------------------------------------------------------

    def said(self, index: int, by: Backend, channel: str, payload: str) -> None:
        if channel in self.channels:
            if by.site is self:
                self.expected.append((index, (self.number, channel, payload)))
            else:
                self.tell(index, by.process_id, channel, payload)

    def tell(self, index: int, process_id: int, channel: str, payload: str) -> None:
        if process_id == self.number:
            process_id |= 1 << 30  # it would pass for its own
        self.expected.append((index, (process_id, channel, payload)))

    def unheard(self, channels: set[str], position: int) -> None:
        """What a backend has not read when it stops to listen, it never tells."""
        self.expected = [(at, one) for at, one in self.expected if at < position or one[1] not in channels]

    # -- what comes -----------------------------------------------------------------------------------------------

    def ask(self, text: str) -> None:
        self.unanswered += 1
        self.after(self.relay.from_client(m.query("/*c*/" + text)))

    def after(self, signals: int) -> None:
        self._flush()
        if signals & moves.WANT_BACKEND:
            self.proxy.borrow(self)
        if signals & moves.OVER:
            self._over(again=bool(signals & moves.AGAIN))

    def _flush(self) -> None:
        relay = self.relay
        if relay.to_server:
            assert self.backend is not None
            self.backend.feed(b"".join(relay.to_server))
            relay.to_server.clear()
        self._buffer += b"".join(relay.to_client)
        relay.to_client.clear()
        while len(self._buffer) >= 5 and len(self._buffer) > m.integer(self._buffer, 1):
            size = m.integer(self._buffer, 1) + 1
            self._told(self._buffer[:1].decode(), self._buffer[5:size])
            self._buffer = self._buffer[size:]

    def _told(self, tag: str, body: bytes) -> None:
        assert tag != "E", m.read_fields(body)
        self.kinds += tag
        if tag == "Z":
            self.unanswered -= 1
        elif tag == "A":
            channel, payload = body[4:-1].decode().split("\0")
            self.heard.append((m.integer(body), channel, payload))

    def attach(self, backend: Backend) -> None:
        self.backend, backend.site = backend, self
        self.after(self.relay.attached(self.proxy.states[backend.process_id]))

    def from_server(self, data: bytes) -> None:
        self.after(self.relay.from_server(data))

    def _over(self, *, again: bool) -> None:
        relay = self.relay
        if not relay.pins and relay.transaction is Transaction.NONE:
            assert self.backend is not None
            assert not self.backend.listening, "a backend that listens is given back"
            backend, self.backend = self.backend, None
            backend.site = None
            relay.detached()
            self.proxy.give_back(backend)
            if again:
                self.after(relay.from_client(b""))
        elif relay.ear_key is not None:
            self.proxy.subscribe(self)

    def nudge(self) -> None:
        self.after(self.relay.nudged())


class Proxy:
    """Sessions on few backends, with one more for the ear."""

    def __init__(self, sessions: int, backends: int) -> None:
        self.server = Server()
        self.shared = CODEC.shared()
        self.backends = [Backend(self.server, 1000 + number) for number in range(backends)]
        self.states = {backend.process_id: _state(backend.process_id) for backend in self.backends}
        self.idle = list(self.backends)
        self.waiting: deque[Site] = deque()
        self.sites = [Site(self, number) for number in range(1, sessions + 1)]
        self.server.sites = {site.number: site for site in self.sites}
        self.far = Backend(self.server, 3)
        """Another client's, without a proxy."""
        self.hearing: Backend | None = None
        self.ear: Ear | None = None

    def borrow(self, site: Site) -> None:
        if self.idle:
            site.attach(self.idle.pop())
        elif site not in self.waiting:
            self.waiting.append(site)

    def give_back(self, backend: Backend) -> None:
        if self.waiting:
            self.waiting.popleft().attach(backend)
        else:
            self.idle.append(backend)

    def subscribe(self, site: Site) -> None:
        """The first who listens lends its backend for an ear; another takes its place."""
        if self.ear is not None:
            if self.ear.subscribe(site.relay):
                site.nudge()
            return
        if site.relay.in_request():
            return
        assert site.backend is not None
        backend, site.backend = site.backend, None
        backend.site = None
        self.hearing, self.ear = backend, Ear(self.states[backend.process_id], lambda size: b"\1" * size)
        self.ear.adopt(site.relay)
        site.relay.detached()
        self.backends.remove(backend)
        another = Backend(self.server, 2000)
        self.states[2000] = _state(2000)
        self.backends.append(another)
        self.give_back(another)

    # -- what can happen next -------------------------------------------------------------------------------------

    def moves(self) -> list[tuple[str, Backend]]:
        """What could happen now, beyond what clients do."""
        if self.ear is not None and self.hearing is not None:
            self.hearing.feed(b"".join(self.ear.to_server))
            self.ear.to_server.clear()
        found = []
        for backend in (*self.backends, *([self.hearing] if self.hearing else []), self.far):
            if backend.busy:
                found.append(("step", backend))
            if backend.due:
                found.append(("signal", backend))
            if backend.out and backend is not self.far:
                found.append(("deliver", backend))
        return found

    def move(self, what: str, backend: Backend, size: int) -> None:
        """Let it happen; `size`: how many bytes are delivered at most."""
        if what == "step":
            backend.step()
        elif what == "signal":
            backend.signal()
        else:
            data, backend.out = backend.out[:size], backend.out[size:]
            if backend is self.hearing and self.ear is not None:
                for relay in self.ear.from_server(data):
                    next(site for site in self.sites if site.relay is relay).nudge()
            else:
                assert backend.site is not None, ("an idle backend speaks", data)
                backend.site.from_server(data)


def _state(process_id: int) -> PostgresState:
    state = PostgresState(dict(PARAMETERS))
    state.process_id = process_id
    return state
