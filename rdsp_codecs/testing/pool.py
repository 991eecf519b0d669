"""Relays driven as the runtime drives them (`rdsp.session.splice`), with models of servers behind them.

Bytes are handed on in pieces of any size and events happen in any order, all out of one seed. Every client has a server
for itself beside, which is said the same: its answers are what the client must get.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import attrs
from hypothesis import strategies as st

from rdsp_codecs import moves
from rdsp_codecs.api import Codec, RelayPolicy
from rdsp_codecs.errors import FrameTooBig, WireError
from rdsp_codecs.relaying import Relay
from rdsp_codecs.steps import Conversation, HasUnread, Receive, Send
from rdsp_codecs.testing.logins import log_in
from rdsp_codecs.testing.wire import Server, Wire
from rdsp_codecs.transaction import Transaction

ANSWERS: Final = "answers"
BOUNDARIES: Final = "boundaries"
TRANSACTIONS: Final = "transactions"
SESSIONS: Final = "sessions"
STUCK: Final = "stuck"
_MOST_LOST: Final = 8
_ENDED: Final = moves.FATAL | moves.BYE


@attrs.frozen
class Step:
    """A client's turn. `data` None: it vanishes, and a new client takes its letter."""

    who: str
    data: bytes | None
    waits: bool


@attrs.define(eq=False)
class Backend:
    """A model's connection, and what is on its way to it and from it."""

    server: Server
    state: Any
    spoil: Callable[[bytes], bytes] = lambda data: data
    variant: Hashable = None
    last: object = None
    coming: bytes = b""
    going: bytes = b""

    def run(self, data: bytes) -> None:
        """The server reads."""
        self.going += self.spoil(self.server.feed(data))


class Client:
    """One session, and the same client on a connection of its own (`direct`)."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        who = log_in(pool.codec, pool.wire)[0]
        self.relay: Relay = pool.codec.relay(who, pool.policy, pool.shared)
        self.direct = self.own_server()
        pool.directs.append(self.direct)
        self.said = self.expected = self.received = self.coming = b""
        self.backend: Backend | None = None
        self.waiting = self.more = self.ended = False
        self.lost = False
        """Its server broke off, and the session ended with it."""

    def own_server(self) -> Server:
        """The one that the client has for itself."""
        return self.pool.wire.own_server()

    def must(self, kind: str, condition: object, text: str) -> None:
        """Complain, where that kind of fault is looked for."""
        if kind in self.pool.enforced and not condition:
            msg = f"{text}\n  the client has said {self.said!r}\n  and was answered {self.received!r}"
            raise AssertionError(msg)

    def says(self, data: bytes) -> None:
        """To the proxy, and to the server beside."""
        self.said += data
        self.coming += data
        self.expected += self.direct.feed(data)

    @property
    def caught_up(self) -> bool:
        """All that it said has been answered."""
        return not self.coming and self.direct.at_rest and self.received == self.expected

    def check(self) -> None:
        """Nothing can happen any more without a word of some client's: what it should have been told, it was."""
        self.must(STUCK, self.ended or self.waiting or not self.coming, "the client is not read any more: why not?")
        shorter = min(len(self.received), len(self.expected))
        same = self.received[:shorter] == self.expected[:shorter]
        if self.direct.at_rest and not self.waiting and not self.lost:
            same = self.received == self.expected
        self.must(ANSWERS, same, f"a server of its own would have answered {self.expected!r}")

    # -- events -------------------------------------------------------------------------------------------------------

    def events(self) -> list[str]:
        """What may happen to it next."""
        backend = self.backend
        if self.ended:
            return []
        if self.more:
            return ["go on", *["run"] * bool(backend is not None and backend.coming)]
        possible = []
        if self.waiting:
            possible += ["grant"] * bool(self.pool.free)
        elif self.coming and not (backend is not None and self.relay.holds_too_much):
            possible.append("read client")
        if backend is not None:
            possible += ["run"] * bool(backend.coming) + ["read server"] * bool(backend.going)
            possible += ["reclaim"] * bool(self.relay.lingers)
            possible += ["break off"] * (self.pool.may_break and self.pool.random.random() < 0.1)
        return possible

    def happens(self, event: str) -> None:
        """One of `events`."""
        pool, backend = self.pool, self.backend
        if event == "grant":
            self.waiting = False
            self.relay.contended = True
            self.attach()
        elif event == "go on":
            self.more = False
            self.heed(self.relay.go_on())
        elif event == "read client":
            data, self.coming = pool.piece(self.coming)
            self.heed(self.relay.from_client(data))
        elif event == "reclaim":
            self.heed(self.relay.reclaimed())
        elif event == "break off":
            self.breaks_off()
        elif backend is not None and event == "run":
            data, backend.coming = pool.piece(backend.coming)
            backend.run(data)
        elif backend is not None:
            data, backend.going = pool.piece(backend.going)
            self.heed(self.relay.from_server(data))

    def heed(self, signals: int) -> None:
        """Empty the outboxes and do what flags ask for."""
        relay = self.relay
        self.received += b"".join(relay.to_client)
        relay.to_client.clear()
        if relay.to_server:
            self.must(BOUNDARIES, self.backend is not None, "bytes for a server, and the session has none")
            if self.backend is not None:
                self.backend.coming += b"".join(relay.to_server)
            relay.to_server.clear()
        self.pool.watch(self)
        self.ended = self.ended or bool(signals & _ENDED)
        self.more = self.more or bool(signals & moves.MORE)
        if signals & moves.UNFIT:
            self.unfit()
        elif signals & moves.WANT_BACKEND:
            self.must(BOUNDARIES, self.backend is None, "a server is asked for, and the session has one")
            self.borrow()
        elif signals & moves.OVER and not self.ended:
            self.over(signals)

    def borrow(self) -> None:
        """Now, later, or not at all."""
        pool = self.pool
        if self.backend is not None:
            return
        if pool.free and pool.random.random() < 0.7:
            self.relay.contended = False
            self.attach()
        elif pool.alone and self.relay.answer_alone():
            self.heed(moves.NOTHING)
        else:
            self.waiting = True

    def attach(self) -> None:
        """Any free one that fits."""
        pool = self.pool
        fitting = [each for each in pool.free if each.variant is None or each.variant == self.relay.variant]
        found = pool.random.choice(fitting or pool.free)
        pool.free.remove(found)
        backend = self.backend = found if fitting else pool.new_backend()
        pool.seen["another session's"] += backend.last not in (None, self)
        backend.last = self
        self.heed(self.relay.attached(backend.state))

    def unfit(self) -> None:
        """See `moves.UNFIT`."""
        backend, relay = self.backend, self.relay
        words, unharmed = relay.refused, relay.unharmed
        relay.detached()
        self.backend = None
        if backend is not None:
            self.pool.free.append(backend if unharmed else self.pool.new_backend())
        if words:
            self.heed(relay.abort(words))
        else:
            self.borrow()

    def breaks_off(self) -> None:
        """The server closes its side: what is on its way to it may have been done or not, its answers are lost."""
        backend, pool = self.backend, self.pool
        if backend is not None:
            backend.server.feed(pool.piece(backend.coming)[0] if backend.coming else b"")
        signals = self.relay.broke_off()
        pool.seen["lost"] += 1
        if signals & moves.UNFIT:
            pool.seen["replaced"] += 1
            self.unfit()
            return
        self.heed(signals)
        self.ended = self.lost = True
        self.backend = None
        pool.free.append(pool.new_backend())

    def over(self, signals: int) -> None:
        """The end of a request was told."""
        relay, backend, pool = self.relay, self.backend, self.pool
        self.must(BOUNDARIES, backend is not None, "the end of a request was told, and the session has no server")
        if backend is None:
            return
        self.must(BOUNDARIES, not self.more, "the end of a request was told, and there was MORE to do")
        self.must(BOUNDARIES, not relay.in_request(), "the end of a request was told, and in_request() says it goes on")
        if not pool.honest:
            return
        self.must(BOUNDARIES, not backend.going, f"the end of a request was told before {backend.going!r} was read")
        # What is still on its way is what a server ignores.
        backend.run(backend.coming)
        backend.coming = b""
        self.must(
            BOUNDARIES, not backend.going, f"the end of a request was told, and the server says {backend.going!r}"
        )
        self.must(BOUNDARIES, backend.server.at_rest, "the end of a request was told, and the server waits for more")
        self._look_at(backend)
        relay.pins.fresh()
        if relay.transaction is Transaction.NONE and not relay.pins and not relay.lingers:
            relay.detached()
            backend.variant = relay.variant
            self.backend = None
            pool.free.append(backend)
            if signals & moves.AGAIN:
                self.heed(relay.from_client(b""))

    def _look_at(self, backend: Backend) -> None:
        """At the end of a request: where its server stands, and where the relay says that it stands."""
        relay, server = self.relay, backend.server
        standing = server.in_transaction
        self.pool.seen["in a transaction"] += bool(standing)
        self.pool.seen["ends"] += 1
        if relay.transaction is Transaction.NONE:
            self.must(TRANSACTIONS, not standing, "a transaction is open, and the relay says there is none")
        elif relay.transaction is not Transaction.UNKNOWN:
            text = f"no transaction is open, and the relay says {relay.transaction}: the server is kept for nothing"
            self.must(TRANSACTIONS, standing is not False, text)
        if self.caught_up:
            text = f"the session has {server.session!r} on its server, and should have {self.direct.session!r}"
            self.must(SESSIONS, server.session == self.direct.session, text)

    def leaves(self) -> None:
        """The client is gone: what becomes of its server."""
        backend, self.backend = self.backend, None
        self.waiting = False
        if backend is None:
            return
        relay, pool = self.relay, self.pool
        if not relay.resettable or relay.in_doubt() or relay.in_request() or relay.cut_short():
            backend = pool.new_backend()
        else:
            backend.run(backend.coming)
            backend.coming = backend.going = b""
            backend.variant = relay.variant
            # As the runtime does, also where no transaction is open: the session may linger.
            converse(pool.codec.reset(backend.state, relay.transaction), backend, pool.random)
            text = "a server was reset, and its transaction is still open"
            self.must(TRANSACTIONS, not backend.server.in_transaction, text)
        pool.free.append(backend)


class Pool:
    """A few connections, and the clients that share them.

    Arguments:
        enforced: what kinds of faults are looked for.
        mode: how large pieces are: "whole", "bytes" (one to three), or "any".
        honest: the servers keep to the protocol, so that what they say can be relied on.
        breaks: servers close their side at any moment, a few times.
    """

    alone = True
    make_client = Client

    def __init__(
        self,
        codec: Codec,
        wire: Wire,
        seed: int,
        enforced: Iterable[str],
        *,
        mode: str = "any",
        policy: RelayPolicy | None = None,
        honest: bool = True,
        backends: int = 2,
        breaks: bool = False,
    ) -> None:
        self.codec = codec
        self.wire = wire
        self.random = random.Random(seed)  # noqa: S311 - no secret
        self.enforced = frozenset(enforced)
        self.mode = mode
        self.policy = policy or RelayPolicy()
        self.honest = honest
        self.breaks = breaks
        self.shared = codec.shared()
        self.seen: Counter[str] = Counter()
        self.servers: list[Server] = []
        self.directs: list[Server] = []
        self.clients: dict[str, Client] = {}
        self.vanished = False
        self.free = [self.new_backend() for _ in range(backends)]

    def new_backend(self) -> Backend:
        """One that has just logged in."""
        _, state, server = log_in(self.codec, self.wire)
        self.servers.append(server)
        return Backend(server, state, self.spoil)

    def spoil(self, data: bytes) -> bytes:
        """What a server really sends."""
        return data

    @property
    def may_break(self) -> bool:
        """An engine may give up where one server after the other breaks off, so not all of them do."""
        return self.breaks and self.seen["lost"] < _MOST_LOST

    def watch(self, client: Client) -> None:
        """Called whenever a relay has done something."""

    def client(self, who: str) -> Client:
        """The client of that letter."""
        if who not in self.clients:
            self.clients[who] = self.make_client(self)
        return self.clients[who]

    def piece(self, data: bytes) -> tuple[bytes, bytes]:
        """What one read brings of `data`, and the rest."""
        size, chance = len(data), self.random
        if self.mode == "bytes":
            size = chance.randint(1, 3)
        elif self.mode == "any":
            size = chance.choice([chance.randint(1, 12), chance.randint(1, size), size])
        return data[:size], data[size:]

    def happens(self, times: int = 1 << 30) -> None:
        """So many events in any order, or all there are."""
        while times:
            possible = [(client, event) for client in self.clients.values() for event in client.events()]
            if not possible:
                return
            client, event = self.random.choice(possible)
            client.happens(event)
            times -= 1

    def runs(self, steps: Sequence[Step]) -> None:
        """All of it, and looks at everything whenever nothing moves. Both sides keep to the protocol."""
        with honest_peers():
            self._run(steps)

    def interferes(self, step: Step) -> bool:
        """Whether the step is not a client's after all: somebody else does something."""
        return False

    def _run(self, steps: Sequence[Step]) -> None:
        for step in steps:
            if self.interferes(step):
                continue
            client = self.client(step.who)
            if step.data is None:
                self.vanished = True
                client.leaves()
                del self.clients[step.who]
                continue
            client.says(step.data)
            if step.waits:
                self.settle()
            else:
                self.happens(self.random.randint(0, 4))
        self.settle()
        self._compare_effects()

    def settle(self) -> None:
        """Let all happen that can."""
        self.happens()
        for client in self.clients.values():
            client.check()

    def _compare_effects(self) -> None:
        done = Counter(effect for server in self.servers for effect in server.effects)
        wanted = Counter(effect for server in self.directs for effect in server.effects)
        # What becomes of the last words of a client that vanishes, nobody knows; who waits will be served later.
        all_done = not self.vanished and not any(each.waiting or each.lost for each in self.clients.values())
        fine = done == wanted if all_done else done <= wanted
        if ANSWERS in self.enforced and not fine:
            msg = f"done for clients: {dict(done)}; what they have asked for: {dict(wanted)}"
            raise AssertionError(msg)


class Silence(AssertionError):
    """A conversation and its server do not agree on who has said all."""


def converse(conversation: Conversation[Any], backend: Backend, chance: random.Random) -> Any:
    """Run one of the codec's conversations with a model. Raises what it raises."""
    inbox = b""
    try:
        step = next(conversation)
        while True:
            if isinstance(step, Send):
                inbox += backend.spoil(backend.server.feed(step.data))
                step = conversation.send(None)
            elif isinstance(step, Receive):
                if not inbox:
                    msg = "a conversation waits for a word that the server does not say"
                    raise Silence(msg)
                size = min(step.limit or len(inbox), chance.randint(1, len(inbox)))
                data, inbox = inbox[:size], inbox[0 if step.peek else size :]
                step = conversation.send(data)
            elif isinstance(step, HasUnread):
                step = conversation.send(bool(inbox))
            else:
                msg = f"a step that has no place behind the login: {step!r}"
                raise AssertionError(msg)
    except StopIteration as stop:
        if inbox:
            msg = f"a conversation ended, and left {inbox!r} unread"
            raise Silence(msg) from None
        return stop.value


def conversations(wire: Wire, who: str = "ABC", length: int = 12) -> st.SearchStrategy[list[Step]]:
    """What several clients say, in turns."""

    @st.composite
    def step(draw: st.DrawFn) -> Step:
        name, chance = draw(st.sampled_from(who)), draw(st.integers(0, 15))
        if chance == 0:
            return Step(name, None, waits=True)
        if chance < 4:
            data = wire.begin if chance < 3 else wire.commit
        elif chance < 7 and wire.changes:
            data = draw(st.sampled_from(list(wire.changes)))
        else:
            data = draw(wire.requests)
        return Step(name, data, draw(st.booleans()))

    return st.lists(step(), min_size=2, max_size=length)


@contextmanager
def honest_peers() -> Iterator[None]:
    """Where nobody breaks the protocol, a relay must not say that somebody did."""
    try:
        yield
    except FrameTooBig:
        raise
    except WireError as error:
        msg = f"both sides kept to the protocol, and the relay raised {error!r}"
        raise AssertionError(msg) from error
