"""Relays in steady state: what clients are answered, when servers are given back, and in what state."""

from __future__ import annotations

import functools
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from rdsp_codecs.api import Codec, RelayPolicy
from rdsp_codecs.errors import WireError
from rdsp_codecs.testing.lane import Lane
from rdsp_codecs.testing.mutate import MUTATIONS, Mutations, mutated
from rdsp_codecs.testing.pool import ANSWERS, BOUNDARIES, SESSIONS, STUCK, TRANSACTIONS, Pool, Step, conversations
from rdsp_codecs.testing.wire import Wire

_SEEDS = st.integers(0, 1 << 16)
_POLICIES = st.one_of(
    st.just(RelayPolicy()),
    st.builds(
        RelayPolicy,
        max_at_once=st.integers(1, 3),
        max_owed=st.sampled_from([1, 2, 3, 4096]),
        max_prepared_statements=st.sampled_from([1, 200]),
    ),
)
"""The ordinary one, and such as have relays stop all the time."""


def _talk(codec: Codec, wire: Wire, enforced: Iterable[str], *needs: str, breaks: bool = False) -> None:
    """Several clients on two servers. `needs`: what must have come up, or nothing was shown."""
    seen: Counter[str] = Counter()

    @settings(deadline=None)
    @given(
        steps=conversations(wire), seed=_SEEDS, policy=_POLICIES, mode=st.sampled_from(["any", "any", "whole", "bytes"])
    )
    def holds(steps: list[Step], seed: int, policy: RelayPolicy, mode: str) -> None:
        pool = Pool(codec, wire, seed, enforced, policy=policy, mode=mode, breaks=breaks)
        pool.runs(steps)
        seen.update(pool.seen)

    holds()
    for need in needs:
        assert seen[need], f"the requests never had a server {need}: nothing was shown"


def answers(codec: Codec, wire: Wire) -> None:
    """Clients that share servers are answered what they would be alone: nothing is lost, doubled, or another's."""
    _talk(codec, wire, (ANSWERS, STUCK), "another session's")


def losses(codec: Codec, wire: Wire) -> None:
    """When a server breaks off nothing is done twice: it is replaced only where the request had not gone out to it."""
    _talk(codec, wire, (ANSWERS, STUCK), "lost", breaks=True)


def boundaries(codec: Codec, wire: Wire) -> None:
    """The end of a request is told where nothing is owed and both sides stand between messages, and it is told."""
    _talk(codec, wire, (BOUNDARIES,), "ends")
    for request in (wire.begin, *wire.changes):
        pool = Pool(codec, wire, 0, (BOUNDARIES,))
        pool.runs([Step("A", request, waits=True)])
        assert pool.seen["ends"], f"{request!r} was answered, and its end was not told"
        pool.runs([Step("A", wire.commit if request == wire.begin else b"", waits=True)])
        client = pool.client("A")
        assert client.backend is None or client.relay.pins, (
            f"behind {request!r} the server is kept, and no pin says why"
        )


def transactions(codec: Codec, wire: Wire) -> None:
    """A session says that it is in a transaction when its server is, and only then: there it keeps the server."""
    _talk(codec, wire, (TRANSACTIONS,), "in a transaction")


def sessions(codec: Codec, wire: Wire) -> None:
    """Whatever server a session gets is made what the session's own would be, and nobody finds what others have set."""
    for change in wire.changes:
        server = wire.own_server()
        before = server.session
        server.feed(change)
        assert server.session != before, f"{change!r} changes nothing: see Wire.changes"
    _talk(codec, wire, (SESSIONS,), "another session's")
    for one, other in itertools.product(wire.changes, repeat=2):
        pool = Pool(codec, wire, 1, (SESSIONS, ANSWERS, STUCK), backends=1)
        pool.runs([Step("A", one, waits=True), Step("B", other, waits=True), Step("A", wire.begin, waits=True)])
        client = pool.client("A")
        if client.backend is not None:  # else B is pinned, and has it
            have, should = client.backend.server.session, client.direct.session
            assert have == should, f"behind another's {other!r} the session has {have!r}, and should have {should!r}"


def _cutter(seed: int, times: int) -> Callable[[bytes], list[bytes]]:
    chance = random.Random(seed)  # noqa: S311 - a test's

    def pieces(data: bytes) -> list[bytes]:
        edges = sorted({0, *(chance.randint(0, len(data)) for _ in range(chance.randint(1, times))), len(data)})
        return [data[one:two] for one, two in itertools.pairwise(edges)]

    return pieces


def _in_two(at: int, data: bytes) -> list[bytes]:
    return [data[:at], data[at:]]


def _one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def splits(codec: Codec, wire: Wire) -> None:
    """However the bytes of either side are cut, the same bytes go out, and the session ends in the same state."""

    @settings(deadline=None)
    @given(
        requests=st.lists(st.one_of(wire.requests, st.just(wire.begin), st.just(wire.commit)), min_size=1, max_size=8),
        seeds=st.tuples(_SEEDS, _SEEDS),
        # Where replies are bounded, what the proxy itself adds depends on what it had at once.
        policy=st.sampled_from([RelayPolicy(), RelayPolicy(max_prepared_statements=1)]),
    )
    def holds(requests: list[bytes], seeds: tuple[int, int], policy: RelayPolicy) -> None:
        cuts = [lambda data: [data], _one_by_one, _cutter(seeds[0], 3), _cutter(seeds[1], 100)]
        lanes = [Lane(codec, wire, each, policy) for each in cuts]
        for request in requests:
            told = [lane.feed(request) for lane in lanes]
            for other in told[1:]:
                assert other == told[0], f"{request!r} in one piece: {told[0]}; in several: {other}"

    @settings(deadline=None)
    @given(request=wire.requests)
    def everywhere(request: bytes) -> None:
        whole = Lane(codec, wire, lambda data: [data]).feed(request)
        for at in range(1, min(len(request), 64)):
            told = Lane(codec, wire, functools.partial(_in_two, at)).feed(request)
            assert told == whole, f"{request!r} in one piece: {whole}; cut at {at}: {told}"

    holds()
    everywhere()


def garbage(codec: Codec, wire: Wire) -> None:
    """Bytes that break the protocol, of either side, are a `WireError` or pass; nothing else is ever raised."""

    @settings(deadline=None)
    @given(steps=conversations(wire, "A"), mutations=MUTATIONS, seed=_SEEDS, policy=_POLICIES)
    def of_a_client(steps: list[Step], mutations: Mutations, seed: int, policy: RelayPolicy) -> None:
        said = b"".join(step.data or b"" for step in steps)
        client = Pool(codec, wire, seed, (), policy=policy).client("A")
        client.coming = mutated(said, mutations)
        try:
            client.pool.happens()
        except WireError:
            client.leaves()

    @settings(deadline=None)
    @given(steps=conversations(wire, "A"), mutations=MUTATIONS, seed=_SEEDS, policy=_POLICIES)
    def of_a_server(steps: list[Step], mutations: Mutations, seed: int, policy: RelayPolicy) -> None:
        client = _Lying(codec, wire, seed, mutations, policy).client("A")
        client.coming = b"".join(step.data or b"" for step in steps)
        try:
            client.pool.happens()
        except WireError:
            client.backend = None  # it is lost, as the runtime has it
            client.leaves()

    of_a_client()
    of_a_server()


class _Lying(Pool):
    """Its servers break the protocol, once."""

    def __init__(self, codec: Codec, wire: Wire, seed: int, mutations: Mutations, policy: RelayPolicy) -> None:
        self.mutations = mutations
        super().__init__(codec, wire, seed, (), policy=policy, honest=False)

    def spoil(self, data: bytes) -> bytes:
        if data and self.mutations and self.random.random() < 0.3:
            data, self.mutations = mutated(data, self.mutations), []
        return data
