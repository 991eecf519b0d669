"""The relay of replication connections: every byte passes, in whatever pieces it comes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs import moves
from rdsp_codecs.api import RelayPolicy
from rdsp_codecs.pins import PinReason
from rdsp_codecs.postgres import messages as m
from rdsp_codecs.postgres.passing import PassingRelay
from rdsp_codecs.postgres.state import PostgresState
from rdsp_codecs.transaction import Transaction

COPY_BOTH = m.message(b"W", b"\0\0\0")
FROM_CLIENT = [m.query("IDENTIFY_SYSTEM"), m.query("x" * 9000), m.SYNC, m.message(b"d", b"r" * 300), m.message(b"c")]
FROM_SERVER = [
    m.message(b"d", b"w" * 20000),
    COPY_BOTH,
    m.ready_for_query(),
    m.message(b"C", b"SELECT\0"),
    b"1\0\0\0\4",
]


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in zip(ends, ends[1:], strict=False)]


def attached() -> PassingRelay:
    relay = PassingRelay(RelayPolicy())
    relay.attached(PostgresState({}))
    return relay


@given(
    st.lists(st.sampled_from(FROM_CLIENT), max_size=6),
    st.lists(st.sampled_from(FROM_SERVER), max_size=6),
    st.lists(st.integers(0, 1 << 20), max_size=8),
)
def test_everything_passes_in_any_pieces(client: list[bytes], server: list[bytes], cuts: list[int]) -> None:
    relay = attached()
    for data in pieces(b"".join(client), cuts):
        relay.from_client(data)
    for data in pieces(b"".join(server), cuts):
        relay.from_server(data)
    assert b"".join(relay.to_server) == b"".join(client)
    assert b"".join(relay.to_client) == b"".join(server)
    assert relay.may_speak()
    assert not relay.cut_short()
    assert list(relay.pins.active()) == [PinReason.REPLICATION]


def test_a_command_is_over_with_its_ready_for_query_and_a_stream_is_endless_until_then() -> None:
    relay = attached()
    relay.from_client(m.query("START_REPLICATION 0/0"))
    assert relay.in_request()
    assert relay.from_server(COPY_BOTH) == moves.NOTHING
    assert relay.endless()
    assert relay.in_request()
    relay.from_client(m.message(b"d", b"r" * 33) + m.message(b"c"))
    assert relay.from_server(m.message(b"c") + m.message(b"C", b"COPY 0\0") + m.ready_for_query()) == moves.OVER
    assert not relay.endless()
    assert not relay.in_request()
    assert relay.transaction is Transaction.NONE
    assert relay.from_client(m.TERMINATE) & moves.BYE
    assert relay.to_server[-1] == m.TERMINATE


def test_nothing_is_sent_before_the_backend_is_there() -> None:
    relay = PassingRelay(RelayPolicy())
    assert relay.from_client(m.query("A")[:3]) == moves.WANT_BACKEND
    assert relay.from_client(m.query("A")[3:]) == moves.WANT_BACKEND
    assert relay.attached(PostgresState({})) & moves.PINNED
    assert b"".join(relay.to_server) == m.query("A")
    assert relay.in_request()
