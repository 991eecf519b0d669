"""The PROXY protocol's header: any split gives the same, nothing behind it is taken, and garbage is refused."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp.endpoint.arrival import announced, is_trusted
from rdsp.net.proxy_header import MAX_BYTES, Header, HeaderReader
from rdsp.session.rate import Rate
from rdsp_codecs.errors import WireError

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
ports = st.integers(0, 65535)


def line(family: str, source: object, target: object, source_port: int, target_port: int) -> bytes:
    return f"PROXY {family} {source} {target} {source_port} {target_port}\r\n".encode()


def binary(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + bytes([0x20 | command, family]) + struct.pack(">H", len(body)) + body


@st.composite
def headers(draw: st.DrawFn) -> tuple[bytes, Header]:
    """A valid header and what it says."""
    six = draw(st.booleans())
    addresses = st.ip_addresses(v=6 if six else 4)
    source, target = draw(addresses), draw(addresses)
    port, other = draw(ports), draw(ports)
    said = Header(source=(str(source), port))
    more = draw(st.binary(max_size=300))
    match draw(st.integers(0, 6)):
        case 0 | 1:
            return line("TCP6" if six else "TCP4", source, target, port, other), said
        case 2:
            return draw(st.sampled_from([b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff::1 x 1 2\r\n"])), Header()
        case 3 | 4:
            packed = source.packed + target.packed + struct.pack(">HH", port, other)
            return binary(1, 0x21 if six else 0x11, packed + more), said
        case 5:
            return binary(0, draw(st.sampled_from([0, 0x11, 0x21, 0x31])), more), Header(local=True)
        case _:
            unix = draw(st.sampled_from([(0, b""), (0x31, bytes(216)), (0x12, bytes(12))]))
            return binary(1, unix[0], unix[1] + more), Header()


def read(data: bytes, splits: list[int]) -> tuple[HeaderReader, int]:
    """Feed pieces of these sizes as a socket would: what was not taken comes again."""
    reader, taken, seen = HeaderReader(), 0, 0
    for size in [*splits, len(data)]:
        seen = min(len(data), seen + size)
        if taken < seen:
            taken += reader.feed(data[taken:seen])
    return reader, taken


@given(headers(), st.binary(max_size=200), st.lists(st.integers(1, 30), max_size=40))
def test_any_split_gives_the_same_header_and_nothing_behind_it_is_taken(
    case: tuple[bytes, Header], behind: bytes, splits: list[int]
) -> None:
    data, said = case
    reader, taken = read(data + behind, splits)
    assert reader.header == said
    assert taken == len(data)
    assert reader.feed(b"more") == 0


@given(headers(), st.data())
def test_a_header_cut_short_is_never_complete_and_all_of_it_is_taken(
    case: tuple[bytes, Header], data: st.DataObject
) -> None:
    whole = case[0]
    cut = data.draw(st.integers(0, len(whole) - 1))
    reader, taken = read(whole[:cut], [])
    assert reader.header is None
    assert taken == cut


@given(
    st.binary(max_size=300)
    | st.tuples(headers(), st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), max_size=4)).map(
        lambda case: _mutated(case[0][0], case[1])
    ),
    st.lists(st.integers(1, 30), max_size=20),
)
def test_garbage_is_refused_or_read_the_same_way_however_it_is_split(data: bytes, splits: list[int]) -> None:
    def outcome(sizes: list[int]) -> object:
        try:
            reader, taken = read(data, sizes)
        except WireError:
            return None
        return reader.header, taken

    assert outcome(splits) == outcome([])


def _mutated(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for place, byte in changes:
        changed[place % len(changed)] = byte
    return bytes(changed)


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\x08\x04\xd2\x16\x2f",
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        b"PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
        b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"PROXY \r\n",
        b"proxy UNKNOWN\r\n",
        b"PROXY UNKNOWN" + b" " * 94,
        binary(1, 0x11, bytes(11)),
        binary(1, 0x21, bytes(35)),
        binary(1, 0x31, bytes(215)),
        binary(2, 0x11, bytes(12)),
        SIGNATURE + b"\x11\x11\0\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11" + struct.pack(">H", MAX_BYTES),
    ],
)
def test_what_is_no_header_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        read(data, [])


def test_the_longest_header_is_taken() -> None:
    body = bytes(MAX_BYTES - 16)
    assert read(binary(1, 0x11, body), [])[0].header == Header(source=("0.0.0.0", 0))


@pytest.mark.parametrize(
    ("header", "local", "name", "stays_local"),
    [
        (Header(local=True), True, "[::1]:9", True),
        (Header(local=True), False, "[::1]:9", False),
        (Header(), True, "unknown, through [::1]:9", False),
        (Header(source=("127.0.0.1", 7)), True, "127.0.0.1:7", True),
        (Header(source=("127.0.0.1", 7)), False, "127.0.0.1:7", False),
        (Header(source=("::ffff:127.0.0.1", 7)), True, "[::ffff:127.0.0.1]:7", True),
        (Header(source=("10.1.1.1", 7)), True, "10.1.1.1:7", False),
    ],
)
def test_nobody_becomes_a_client_of_this_machine_by_a_header(
    header: Header, local: bool, name: str, stays_local: bool
) -> None:
    assert announced(header, "[::1]:9", local=local) == (name, stays_local)


def test_only_the_networks_given_are_trusted() -> None:
    networks = ("10.0.0.0/8", "fd00::/8", "192.0.2.7/32")
    for text, trusted in [
        ("10.9.9.9", True),
        ("11.0.0.1", False),
        ("fd12::1", True),
        ("::1", False),
        ("192.0.2.7", True),
    ]:
        assert is_trusted(networks, ipaddress.ip_address(text)) is trusted
        assert not is_trusted((), ipaddress.ip_address(text))
    assert not is_trusted(networks, None)
    assert is_trusted((*networks, "unix"), None)


@given(
    st.integers(1, 50),
    st.integers(1, 20),
    st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
def test_in_no_span_of_time_more_come_in_than_the_rate_allows(per_second: int, burst: int, pauses: list[float]) -> None:
    rate, now, admitted = Rate(), 0.0, list[float]()
    for pause in pauses:
        now += pause
        before = len(admitted)
        if rate.admits(now, per_second, burst):
            admitted.append(now)
        elif before == 0:
            raise AssertionError("the first one is always admitted")
    for first, start in enumerate(admitted):
        for count, end in enumerate(admitted[first:], 1):
            assert count <= burst + (end - start) * per_second + 1e-6
