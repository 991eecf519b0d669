"""PostgreSQL's relay between a client and models of backends: whoever talks through it notices nothing."""

from __future__ import annotations

import functools
import operator
import struct
from collections.abc import Callable
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st

from rdsp.session.policy import may_release
from rdsp_codecs import moves
from rdsp_codecs.api import RelayPolicy
from rdsp_codecs.errors import WireError
from rdsp_codecs.filtering import HEAD_BYTES
from rdsp_codecs.postgres.messages import FLUSH
from rdsp_codecs.postgres.relay import PostgresRelay
from rdsp_codecs.postgres.statements import SharedStatements
from rdsp_codecs.problems import Problem, ProblemCode
from rdsp_codecs.testing.pool import Client, Step
from rdsp_codecs.testing.postgres.server import ModelServer
from rdsp_codecs.testing.postgres.strategies import BATCHES, NAMES, ONE, TEXTS, frames
from rdsp_codecs.testing.postgres.words import World
from tests.codecs.postgres.conversations import DDL, SEEDS, conversations
from tests.codecs.postgres.model_proxy import WHO, Backend, Proxy, cut, said
from tests.servers import rawclient as w


@given(steps=conversations(), seed=SEEDS)
def test_two_clients_on_two_backends_see_what_they_see_directly(steps: list[Step], seed: int) -> None:
    Proxy(seed).runs(steps)


STRAINED = st.builds(RelayPolicy, max_at_once=st.integers(1, 3), max_owed=st.sampled_from([1, 2, 3, 4096]))
"""Relays that stop all the time."""


@given(steps=conversations(), seed=SEEDS, policy=STRAINED)
def test_relays_that_do_little_at_once_are_not_noticed_either(
    steps: list[Step], seed: int, policy: RelayPolicy
) -> None:
    Proxy(seed, policy=policy).runs(steps)


def end_of(relay: PostgresRelay) -> dict[str, object]:
    d = relay._d
    return {
        "transaction": relay.transaction,
        "pins": relay.pins.active(),
        "named": {name: (each.text, each.types, each.shape) for name, each in d.statements.named.items()},
        "recent": list(d.recent),
        "heads": set(d.heads),
        "reasons": list(d.reasons),
        "unnamed": d.statements.unnamed and d.statements.unnamed.text,
        "owed": len(d.ledger),
        "flags": {name: getattr(d, name) for name in FLAGS},
        "attached": d.state is not None,
    }


FLAGS = (
    "paused",
    "skipping",
    "copying",
    "copy_runs",
    "copy_syncs",
    "probe_due",
    "settling",
    "uncertain",
    "native",
    "extended",
    "over",
)


class Lane:
    """A relay with a backend of its own, fed in turns: all of the client's bytes, then all of the server's."""

    def __init__(self, pieces: Callable[[bytes], list[bytes]], policy: RelayPolicy) -> None:
        self.relay = PostgresRelay(WHO, policy, SharedStatements())
        self.backend = Backend(ModelServer(World()))
        self.pieces = pieces
        self.seen: list[object] = []
        """All in its order."""
        self.totals: list[object] = []
        """What became of each step in all, without the order of questions and answers within it, and without Flushes.

        Where a message may mean one thing or another before what is owed is answered, it waits, and a Flush has the
        server answer. Whether anything is owed still depends on what was read at once: so do the Flush and that order.
        What the server is asked, but for Flushes, and what the client is told does not.
        """

    def feed(self, data: bytes) -> None:
        before = len(self.seen)
        self._push(self.relay.from_client, data)
        while self.backend.coming or self.backend.going:
            self.backend.run(self.backend.coming)
            self.backend.coming = b""
            data, self.backend.going = self.backend.going, b""
            self._push(self.relay.from_server, data)
        self.totals += self._total(self.seen[before:])
        self.totals.append(end_of(self.relay))
        self.seen.append(self.totals[-1])

    def _total(self, seen: list[Any]) -> list[object]:
        to_server, to_client = b"".join(seen[1::3]), b"".join(seen[2::3])
        return [
            functools.reduce(operator.or_, seen[::3]),
            [each for each in frames(to_server) if each != FLUSH],
            to_client,
        ]

    def _push(self, method: Callable[[bytes], int], data: bytes) -> None:
        signals = 0
        for piece in self.pieces(data):
            signals |= method(piece)
            if signals & moves.WANT_BACKEND and self.relay._d.state is None:
                signals |= self.relay.attached(self.backend.state)
            while signals & moves.MORE:
                signals = signals & ~moves.MORE | self.relay.go_on()
            if signals & moves.PINNED:
                self.relay.pins.fresh()
        to_server, to_client = b"".join(self.relay.to_server), b"".join(self.relay.to_client)
        self.relay.to_server.clear()
        self.relay.to_client.clear()
        self.backend.coming += to_server
        self.seen += [signals, to_server, to_client]
        if signals & moves.OVER and may_release(self.relay.transaction, self.relay.pins, owed=False):
            self.relay.detached()


POLICIES = st.sampled_from([RelayPolicy(), RelayPolicy(max_prepared_statements=1)])


@given(steps=conversations("A"), seed=SEEDS, policy=POLICIES)
def test_the_short_cuts_do_what_the_filters_do(steps: list[Step], seed: int, policy: RelayPolicy) -> None:
    short, long = Lane(lambda data: [data] if data else [], policy), Lane(cut(seed, 2), policy)
    for frame in frames(said(steps)):
        short.feed(frame)
        long.feed(frame)
    assert short.seen == long.seen


@given(steps=conversations("A"), seeds=st.tuples(SEEDS, SEEDS), policy=POLICIES)
def test_any_split_gives_the_same_bytes_and_ends_in_the_same_state(
    steps: list[Step], seeds: tuple[int, int], policy: RelayPolicy
) -> None:
    lanes = [Lane(cut(seeds[0], 3), policy), Lane(cut(seeds[1], 100), policy)]
    for step in steps:
        if step.data not in (None, DDL):
            for lane in lanes:
                lane.feed(step.data or b"")
    assert lanes[0].totals == lanes[1].totals


@given(steps=conversations("A"), seed=SEEDS, at_once=st.integers(1, 3), policy=POLICIES)
def test_how_much_is_done_at_once_makes_no_difference(
    steps: list[Step], seed: int, at_once: int, policy: RelayPolicy
) -> None:
    little = attrs.evolve(policy, max_at_once=at_once)
    lanes = [Lane(cut(seed, 1), policy), Lane(cut(seed, 1), little)]
    for step in steps:
        if step.data not in (None, DDL):
            for lane in lanes:
                lane.feed(step.data or b"")
    assert lanes[0].totals == lanes[1].totals


# -- garbage ----------------------------------------------------------------------------------------------------------

MUTATIONS = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "double", "length", "drop", "insert", "swap"]), st.integers(0, 1 << 30)),
    min_size=1,
    max_size=3,
)


def mutated(data: bytes, mutations: list[tuple[str, int]]) -> bytes:
    for kind, number in mutations:
        found = frames(data)
        if not found:
            break
        at = number % len(found)
        frame = found[at]
        byte = number // len(found) % len(frame)
        if kind == "flip":
            found[at] = frame[:byte] + bytes([frame[byte] ^ (1 << number % 8)]) + frame[byte + 1 :]
        elif kind == "cut":
            # A shorter body, and a length that says so.
            body = frame[5 : 5 + byte]
            found[at] = frame[:1] + struct.pack(">I", len(body) + 4) + body
        elif kind == "double":
            found.insert(at, frame)
        elif kind == "length":
            found[at] = frame[:1] + struct.pack(">I", [0, 3, 4, 5, len(frame), 1 << 30, (1 << 32) - 1][number % 7])
            found[at] += frame[5:]
        elif kind == "drop":
            del found[at]
        elif kind == "insert":
            found.insert(at, w.message(chr(number % 128), bytes(number % 3)))
        else:
            found[at], found[0] = found[0], found[at]
        data = b"".join(found)
    return data


STRAIN = st.one_of(st.just(RelayPolicy()), STRAINED)


@given(steps=conversations("A"), seed=SEEDS, mutations=MUTATIONS, mode=st.sampled_from(["any", "whole"]), policy=STRAIN)
def test_garbage_of_a_client_is_a_wire_error_or_an_error_of_the_server(
    steps: list[Step], seed: int, mutations: list[tuple[str, int]], mode: str, policy: RelayPolicy
) -> None:
    proxy = Proxy(seed, mode, policy)
    client = proxy.client("A")
    client.coming = said(steps[:-1]) + mutated(said(steps[-1:]), mutations)
    try:
        proxy.happens()
    except WireError:
        client.leaves()


class LyingProxy(Proxy):
    """A proxy whose servers break the protocol, once."""

    def __init__(self, seed: int, mode: str, mutations: list[tuple[str, int]], policy: RelayPolicy) -> None:
        self.mutations = mutations
        super().__init__(seed, mode, policy, honest=False)

    def spoil(self, data: bytes) -> bytes:
        if data and self.mutations and self.random.random() < 0.3:
            data, self.mutations = mutated(data, self.mutations), []
        return data


@given(steps=conversations("A"), seed=SEEDS, mutations=MUTATIONS, mode=st.sampled_from(["any", "whole"]), policy=STRAIN)
def test_garbage_of_a_server_is_a_wire_error_or_passes(
    steps: list[Step], seed: int, mutations: list[tuple[str, int]], mode: str, policy: RelayPolicy
) -> None:
    proxy = LyingProxy(seed, mode, mutations, policy)
    client = proxy.client("A")
    client.coming = said(steps)
    try:
        proxy.happens()
    except WireError:
        client.leaves()


# -- limits -----------------------------------------------------------------------------------------------------------


class WatchedProxy(Proxy):
    """A proxy whose relays' memory is looked at after everything they do."""

    def piece(self, data: bytes) -> tuple[bytes, bytes]:
        size = self.random.choice([self.random.randint(1, self.CHUNK), self.CHUNK])
        return data[:size], data[size:]

    def watch(self, client: Client) -> None:
        relay = client.relay
        held = relay._held + relay._client._tail + relay._server._tail + relay._d.injected
        assert sum(map(len, held)) <= self.policy.max_held + HEAD_BYTES + 2 * self.CHUNK


def padded(text: str, size: int) -> str:
    return text + " " * max(0, size - len(text))


SIZES = st.sampled_from([0, 900, 3000, 5000, 12000])
LONG = st.one_of(
    st.builds(lambda text, size: w.query(padded(text, size)), TEXTS, SIZES),
    st.builds(
        lambda name, size, value: (
            w.close("S", name) + w.parse(name, padded("SELECT $1::text", size)) + w.bind("", name, (b"v" * value,))
        ),
        NAMES,
        SIZES,
        SIZES,
    ).map(lambda data: data + w.execute() + w.SYNC),
    st.builds(
        lambda size, end: w.query("COPY t FROM STDIN") + w.copy_data(b"1" * size) + end,
        SIZES,
        st.sampled_from([w.COPY_DONE, w.message("f", b"no\0")]),
    ),
    BATCHES.map(lambda data: data + w.SYNC),
)


@given(
    parts=st.lists(st.tuples(st.sampled_from("AB"), LONG, st.booleans()), min_size=1, max_size=6),
    seed=SEEDS,
    max_held=st.sampled_from([100, 1000, 4000, 20000]),
)
def test_what_is_held_is_bounded_and_long_messages_pass(
    parts: list[tuple[str, bytes, bool]], seed: int, max_held: int
) -> None:
    WatchedProxy(seed, policy=RelayPolicy(max_held=max_held)).runs([Step(*part) for part in parts])


# -- no backend -------------------------------------------------------------------------------------------------------


def refused(data: bytes) -> str:
    """Tags of the answers to `data` when no request gets a backend: an error, and readiness at its end."""
    tags, skipping = "", False
    for frame in frames(data):
        tag = chr(frame[0])
        if tag in "QF" and not skipping:
            tags += "EZ"
        elif tag not in "QFdcfH" and not skipping:
            tags, skipping = tags + "E", True
        if tag == "S":
            tags, skipping = tags + "Z", False
    return tags


@given(data=st.lists(ONE, min_size=1, max_size=5).map(b"".join), seed=SEEDS)
def test_requests_that_get_no_backend_are_refused_one_by_one(data: bytes, seed: int) -> None:
    relay = PostgresRelay(WHO, RelayPolicy(), SharedStatements())
    for piece in cut(seed, 20)(data):
        signals = relay.from_client(piece)
        while signals & moves.WANT_BACKEND:
            signals = relay.abort(Problem(ProblemCode.BORROW_TIMEOUT))
    assert "".join(chr(frame[0]) for frame in frames(b"".join(relay.to_client))) == refused(data)
