"""The short cuts do exactly what the filters, `requests` and `replies` do, for sessions that share a backend."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rdsp.session.policy import may_release
from rdsp_codecs import moves
from rdsp_codecs.api import RelayPolicy
from rdsp_codecs.errors import WireError
from rdsp_codecs.postgres import shortcuts
from rdsp_codecs.postgres.relay import PostgresRelay
from rdsp_codecs.postgres.session_state import HARMLESS_TAG_HEADS
from rdsp_codecs.postgres.statements import SharedStatements
from rdsp_codecs.testing.postgres.server import ModelServer
from rdsp_codecs.testing.postgres.strategies import LIMITS, NAMES, ONE, PLAIN, VALUES
from rdsp_codecs.testing.postgres.words import World
from tests.codecs.postgres.model_proxy import WHO, Backend
from tests.codecs.postgres.test_relay_properties import MUTATIONS, SEEDS, cut, end_of, mutated
from tests.compiled import looks_inside
from tests.servers import rawclient as w

Turn = tuple[int, bytes]


class Shared:
    """Two sessions on one backend, in turns: all that a client says, then all that the server answers."""

    def __init__(self, pieces: Callable[[bytes], list[bytes]], policy: RelayPolicy) -> None:
        shared = SharedStatements()
        self.relays = [PostgresRelay(WHO, policy, shared) for _ in range(2)]
        self.backend = Backend(ModelServer(World()))
        self.pieces = pieces
        self.seen: list[object] = []
        self.holder: PostgresRelay | None = None
        self.given = [0, 0]

    def feed(self, who: int, data: bytes) -> None:
        relay = self.relays[who]
        if self.holder not in (None, relay):
            return  # it would have to wait
        self.given[0] += 1
        self._push(relay, relay.from_client, data)
        while self.backend.coming or self.backend.going:
            self.backend.run(self.backend.coming)
            self.backend.coming = b""
            data, self.backend.going = self.backend.going, b""
            self._push(relay, relay.from_server, data)
        state = self.backend.state
        self.seen.append([end_of(relay), sorted(state.statements.values()), state.unnamed and state.unnamed.text])

    def _push(self, relay: PostgresRelay, method: Callable[[bytes], int], data: bytes) -> None:
        signals = 0
        for piece in self.pieces(data):
            signals |= method(piece)
            if signals & moves.WANT_BACKEND and self.holder is None:
                self.holder = relay
                signals |= relay.attached(self.backend.state)
            while signals & moves.MORE:
                signals = signals & ~moves.MORE | relay.go_on()
            if signals & moves.PINNED:
                relay.pins.fresh()
        self.seen += [signals, b"".join(relay.to_server), b"".join(relay.to_client)]
        self.backend.coming += b"".join(relay.to_server)
        relay.to_server.clear()
        relay.to_client.clear()
        if signals & moves.OVER and may_release(relay.transaction, relay.pins, owed=False):
            relay.detached()
            self.holder = None


def whole(data: bytes) -> list[bytes]:
    return [data] if data else []


def exchange(
    name: str, text: str | None, values: tuple[bytes, ...], limit: int, portal: str, *, described: bool
) -> bytes:
    """What most drivers send for one statement."""
    parse = b"" if text is None else w.parse(name, text)
    return parse + w.bind(portal, name, values) + w.describe("P") * described + w.execute(portal, limit) + w.SYNC


EXCHANGES = st.builds(
    exchange,
    NAMES,
    st.one_of(st.none(), st.sampled_from([*PLAIN, "SELECT $1::text", "SET work_mem = '5MB'"])),
    VALUES,
    LIMITS,
    st.sampled_from(["", "", "", "p"]),
    described=st.booleans(),
)
PREPARING = st.builds(
    lambda name, text: w.parse(name, text) + w.describe("S", name) + w.SYNC,
    st.sampled_from(["s1", "s2"]),
    st.sampled_from(PLAIN),
)
TURNS = st.lists(st.tuples(st.integers(0, 1), st.one_of(EXCHANGES, EXCHANGES, EXCHANGES, PREPARING, ONE)), max_size=10)
POLICIES = st.sampled_from([RelayPolicy(), RelayPolicy(max_prepared_statements=1), RelayPolicy(max_held=200)])


@given(turns=TURNS, seed=SEEDS, policy=POLICIES)
@example(
    turns=[
        (0, exchange("", "SELECT 1", (), 0, "", described=True)),
        (1, exchange("", "SELECT 2 AS b", (), 0, "", described=False)),
        (0, exchange("", None, (), 0, "", described=True)),
        (1, w.parse("s1", "SELECT 1") + w.describe("S", "s1") + w.SYNC),
        (0, exchange("s1", None, (), 0, "", described=True)),
        (1, exchange("s1", None, (), 0, "", described=False)),
        (1, exchange("s1", None, (), 1, "", described=True)),
        (1, exchange("", "SELECT 1/0", (), 0, "", described=True)),
        (1, exchange("", "SELECT 1", (b"too many",), 0, "", described=True)),
        (0, w.query("SELECT 1")),
        (0, exchange("", None, (), 0, "", described=True)),
        (0, exchange("", "SELECT 1", (), 0, "", described=True)),
        (0, exchange("", "SELEC", (), 0, "", described=True)),
        (0, exchange("", None, (), 0, "", described=True)),
        (0, w.parse("", "SELECT 2 AS b") + exchange("s1", None, (), 0, "", described=True)),
        (1, exchange("", "BEGIN", (), 0, "", described=False)),
        (1, exchange("", "SELECT 1/0", (), 0, "", described=True)),
        (1, exchange("", "COMMIT", (), 0, "", described=True)),
        (1, w.parse("s2", "SET work_mem = '5MB'") + w.describe("S", "s2") + w.SYNC),
        (1, exchange("s2", None, (), 0, "", described=False)),
    ],
    seed=0,
    policy=RelayPolicy(),
)
def test_the_short_cuts_do_what_the_filters_do_for_whole_exchanges(
    turns: list[Turn], seed: int, policy: RelayPolicy
) -> None:
    short, long = Shared(whole, policy), Shared(cut(seed, 4), policy)
    for who, data in turns:
        short.feed(who, data)
        long.feed(who, data)
    assert short.seen == long.seen


@given(turns=TURNS.filter(bool), seed=SEEDS, mutations=MUTATIONS)
def test_the_short_cuts_do_what_the_filters_do_with_garbage(
    turns: list[Turn], seed: int, mutations: list[tuple[str, int]]
) -> None:
    turns = [*turns[:-1], (turns[-1][0], mutated(turns[-1][1], mutations))]
    ends = []
    for pieces in (whole, cut(seed, 4)):
        lane = Shared(pieces, RelayPolicy())
        try:
            for who, data in turns:
                lane.feed(who, data)
        except WireError as error:
            # How much went out before an error was found depends on the pieces.
            ends.append([*lane.seen[:1], str(error)])
        else:
            ends.append(lane.seen)
    assert ends[0] == ends[1]


@looks_inside
@pytest.mark.parametrize("described", [True, False])
def test_whole_exchanges_really_take_the_short_cut(monkeypatch: pytest.MonkeyPatch, described: bool) -> None:
    lane = Shared(whole, RelayPolicy())
    lane.feed(0, w.parse("s1", "SELECT 1") + w.describe("S", "s1") + w.SYNC)
    for relay in lane.relays:
        # Nothing is pushed through a filter any more.
        monkeypatch.setattr(relay, "_client", Deaf())
        monkeypatch.setattr(relay, "_server", Deaf())
    lane.feed(0, exchange("", "SELECT 1", (), 0, "", described=described))
    lane.feed(0, exchange("s1", None, (), 0, "", described=described))
    lane.feed(1, exchange("", "SELECT 2 AS b", (), 0, "", described=described))
    lane.feed(1, w.query("SELECT 1"))
    assert lane.given[0] == 5


def test_a_parse_that_another_session_may_send_unheeded_is_looked_at_where_sequences_pin() -> None:
    text = exchange("", "SELECT nextval('s')", (), 0, "", described=True)
    free, strict = Shared(whole, RelayPolicy()), Shared(whole, RelayPolicy(pin_sequences=True))
    for _ in range(2):
        free.feed(0, text)
        strict.feed(0, text)
    assert not free.relays[0].pins
    assert strict.relays[0].pins


def test_the_commonest_tags_are_harmless_ones() -> None:
    numbers = (shortcuts._SELECT, shortcuts._INSERT, shortcuts._UPDATE, shortcuts._BEGIN, shortcuts._COMMIT)
    assert {number.to_bytes(6, "big") for number in numbers} < HARMLESS_TAG_HEADS


class Deaf:
    """A filter that must not be asked to look at anything."""

    empty = between_frames = True
    more = False
    owes = False
    interest = b""

    def push(self, data: bytes) -> None:
        raise AssertionError(data)
