"""Both streams in any pieces, with both forms of a result set: the same comes out, and nothing of what is silent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.errors import WireError
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.commanding import Inbound
from rdsp_codecs.mysql.dialogue import Part
from rdsp_codecs.mysql.framing import PacketReader, packets
from rdsp_codecs.mysql.streams import ServerStream

MODERN, CLASSIC = c.CLIENT_DEPRECATE_EOF, 0


def answer(rows: list[list[bytes]], flags: int, *, prepared: bool = False) -> bytes:
    """Results of two columns as a server with these flags sends them, the last without MORE_RESULTS."""
    payloads: list[bytes] = []
    eof = r.eof(r.Eof(0, 2))
    if prepared:
        payloads += [r.prepared(r.Prepared(7, 1, 2)), b"\3def", b"\3def", *([] if flags else [eof]), b"\3def"]
        payloads += [] if flags else [eof]
    else:
        for count, one in enumerate(rows, 1):
            status = 2 | (r.SERVER_MORE_RESULTS_EXISTS if count < len(rows) else 0)
            payloads += [r.column_count(r.ColumnCount(2)), b"\3def", b"\3def", *([] if flags else [eof]), *one]
            payloads.append(r.ok(r.Ok(r.EOF, status=status)) if flags else r.eof(r.Eof(0, status)))
    return b"".join(packets(payload, number & 0xFF) for number, payload in enumerate(payloads, 1))


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[start:end] for start, end in zip(at, at[1:], strict=False)]


def heard(flags: int, data: list[bytes], command: int) -> tuple[bytes, ServerStream, list[Part]]:
    out: list[bytes] = []
    parts: list[Part] = []

    def judge(part: Part, packet: bytes, number: int) -> None:
        parts.append(part)

    stream = ServerStream(out, judge)
    stream.reset(flags, 2)
    stream.dialogue.asked(command)
    for piece in data:
        rest = stream.feed(piece)
        while rest:
            rest = stream.feed(rest)
    return b"".join(out), stream, parts


ROWS = st.lists(
    st.lists(st.sampled_from([b"\1a\xfb", b"\0\0", b"\xfb\xfb", b"\xfc\x00\x01" + b"x" * 256 + b"\0"])),
    min_size=1,
    max_size=4,
)
CUTS = st.lists(st.integers(0, 1 << 16), max_size=12)


@given(ROWS, CUTS, st.sampled_from([MODERN, CLASSIC]))
def test_a_client_sees_what_the_server_says_in_any_split(rows: list[list[bytes]], cuts: list[int], form: int) -> None:
    data = answer(rows, form)
    said, stream, parts = heard(form, pieces(data, cuts), r.COM_QUERY)
    assert said == data
    assert stream.dialogue.over
    assert stream.between
    assert stream.number == _last(said)
    assert parts.count(Part.EOF) == (0 if form else 2 * len(rows))


def _last(data: bytes) -> int:
    reader = PacketReader(strict=False)
    reader.feed(data)
    while reader.next() is not None:
        pass
    return reader.last


@given(CUTS, st.sampled_from([MODERN, CLASSIC]))
def test_the_lists_of_a_prepared_statement_are_followed(cuts: list[int], form: int) -> None:
    data = answer([], form, prepared=True)
    said, stream, parts = heard(form, pieces(data, cuts), r.COM_STMT_PREPARE)
    assert said == data
    assert stream.dialogue.over
    assert parts[0] is Part.PREPARED


@given(ROWS, CUTS, st.sampled_from([MODERN, CLASSIC]))
def test_what_answers_a_command_of_ours_reaches_nobody(rows: list[list[bytes]], cuts: list[int], form: int) -> None:
    """It begins to be silent in the middle of a chunk, with the packet that ends the client's answer, and ends so."""
    out: list[bytes] = []
    asked = [r.COM_PING, r.COM_QUERY]
    stream: ServerStream

    def judge(part: Part, packet: bytes, number: int) -> None:
        if stream.dialogue.over:
            stream.silent = bool(asked)
            if asked:
                stream.dialogue.asked(asked.pop(0))

    stream = ServerStream(out, judge)
    stream.reset(form, 2)
    stream.dialogue.asked(r.COM_QUERY)
    theirs, ours = answer(rows, form), packets(r.ok(r.Ok()), 1) + answer(rows, form)
    for piece in pieces(theirs + ours, cuts):
        rest = stream.feed(piece)
        while rest:
            rest = stream.feed(rest)
    assert b"".join(out) == theirs
    assert stream.dialogue.over
    assert stream.between
    assert not stream.silent


@pytest.mark.parametrize("form", [MODERN, CLASSIC])
def test_rows_of_16_mb_and_answers_of_many_packets_pass(form: int) -> None:
    long = b"\xfe" + (0xFFFFFF * 2).to_bytes(8, "little") + b"x" * (0xFFFFFF * 2) + b"\0"
    data = answer([[long, b"\0\0"] + [b"\1a\1b"] * 600], form)
    said, stream, _ = heard(form, [data[:1000], data[1000:]], r.COM_QUERY)
    assert said == data
    assert stream.dialogue.over
    assert stream.between


@given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=6), CUTS)
def test_commands_come_whole_in_any_split(payloads: list[bytes], cuts: list[int]) -> None:
    inbound, taken = Inbound(1 << 20, 1 << 16), []
    for piece in pieces(b"".join(map(packets, payloads)), cuts):
        inbound.feed(piece)
        while inbound.next() is not None:
            taken.append(inbound.take())
    assert taken == [packets(payload) for payload in payloads]
    assert not inbound.begun


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=6), CUTS)
def test_what_passes_in_pieces_is_the_same(payloads: list[bytes], cuts: list[int]) -> None:
    inbound, out, ends = Inbound(1 << 20, 1 << 16), [], []
    data = b"".join(packets(payload, 9 + n) for n, payload in enumerate(payloads))
    for piece in pieces(data, cuts):
        inbound.feed(piece)
        while inbound.streaming or inbound.begin_file_packet():
            passed, ended = inbound.pieces()
            out += passed
            if ended is None:
                break
            ends.append(ended)
    assert b"".join(out) == data
    assert ends == [len(payload) for payload in payloads]


def test_a_command_whose_packets_are_out_of_order_reaches_no_server() -> None:
    for data in (b"\x01\0\0\x01\x0e", b"\xff\xff\xff\0" + bytes(0xFFFFFF) + b"\x01\0\0\2\x0e"):
        commands = Inbound(1 << 30, 1 << 25)
        commands.feed(data)
        with pytest.raises(WireError, match="out of order"):
            commands.next()
