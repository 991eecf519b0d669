"""The response grammar where servers rarely show it. Their ordinary answers are in tests/live/mysql/test_answers.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.errors import CodecError, FrameTooBig, WireError
from rdsp_codecs.mysql import capabilities as c
from rdsp_codecs.mysql import responses as r
from rdsp_codecs.mysql.dialogue import Dialogue, Part, Phase
from rdsp_codecs.mysql.framing import FULL, PacketReader, PacketWalker, packets

CLASSIC, DEPRECATED = 0, c.CLIENT_DEPRECATE_EOF
DEFINITION = b"\x03def"
MORE = r.SERVER_MORE_RESULTS_EXISTS


def hear(dialogue: Dialogue, *payloads: bytes) -> list[Part]:
    return [dialogue.told(payload, len(payload)) for payload in payloads]


def eof(status: int = 2) -> bytes:
    return r.eof(r.Eof(0, status))


def end(status: int = 2) -> bytes:
    return r.ok(r.Ok(0xFE, status=status))


def ok(status: int = 2) -> bytes:
    return r.ok(r.Ok(status=status))


def test_an_ok_follows_out_parameters_even_where_the_end_of_the_row_does_not_say_so() -> None:
    """As MySQL 5.6 and 9.7 have it in the classic form."""
    dialogue = Dialogue(CLASSIC)
    dialogue.asked(r.COM_STMT_EXECUTE)
    hear(dialogue, b"\x01", DEFINITION, eof(r.SERVER_PS_OUT_PARAMS | MORE), b"\0\0\7", eof(2))
    assert not dialogue.over
    assert dialogue.more
    assert hear(dialogue, ok()) == [Part.OK]
    assert dialogue.over
    dialogue.asked(r.COM_STMT_EXECUTE)
    hear(dialogue, b"\x01", DEFINITION, eof(2), b"\0\0\7", eof(2))
    assert dialogue.over


@pytest.mark.parametrize("flags", [CLASSIC, DEPRECATED])
def test_no_rows_follow_an_opened_cursor(flags: int) -> None:
    status = r.SERVER_STATUS_CURSOR_EXISTS | 2
    dialogue = Dialogue(flags)
    dialogue.asked(r.COM_STMT_EXECUTE)
    hear(dialogue, b"\x01", DEFINITION, end(status) if flags else eof(status))
    assert dialogue.over
    assert dialogue.status == status
    dialogue.asked(r.COM_STMT_FETCH)
    last = r.SERVER_STATUS_LAST_ROW_SENT
    assert hear(dialogue, b"\0\0\1", end(last) if flags else eof(last))[0] is Part.ROW
    assert dialogue.over


def test_a_text_query_is_not_cut_short_by_somebody_elses_cursor() -> None:
    dialogue = Dialogue(CLASSIC)
    dialogue.asked(r.COM_QUERY)
    hear(dialogue, b"\x01", DEFINITION, eof(r.SERVER_STATUS_CURSOR_EXISTS))
    assert dialogue.phase == Phase.ROWS


def test_an_old_end_of_rows_is_taken_where_the_new_one_was_agreed() -> None:
    """A query cache may hold it (MySQL bug 83346)."""
    dialogue = Dialogue(DEPRECATED)
    dialogue.asked(r.COM_QUERY)
    assert hear(dialogue, b"\x01", DEFINITION, b"\x01a", eof(34)) == [Part.COUNT, Part.DEFINITION, Part.ROW, Part.EOF]
    assert dialogue.over
    assert dialogue.status == 34


def test_an_error_ends_the_whole_answer_wherever_it_comes() -> None:
    error = r.err(r.Err(1317, b"70100", b"Query execution was interrupted"))
    rows = [b"\x01", DEFINITION, eof(MORE), b"\x01a", eof(MORE), ok(MORE)]
    for count in range(len(rows) + 1):
        dialogue = Dialogue(CLASSIC, status=2)
        dialogue.asked(r.COM_QUERY)
        hear(dialogue, *rows[:count])
        assert hear(dialogue, error) == [Part.ERR]
        assert dialogue.over
        assert (dialogue.status, dialogue.more) == (None, False)
        assert dialogue.error is not None
        assert dialogue.error.code == 1317


def test_a_server_says_unasked_why_it_closes() -> None:
    dialogue = Dialogue(DEPRECATED)
    assert dialogue.wants(0xFF, 60)
    assert hear(dialogue, r.err(r.Err(4031, b"HY000", b"The client was disconnected"))) == [Part.ERR]
    assert dialogue.over
    with pytest.raises(WireError):
        hear(dialogue, ok())


def test_a_file_is_sent_to_its_end_even_when_the_server_has_given_up() -> None:
    dialogue = Dialogue(DEPRECATED)
    dialogue.asked(r.COM_QUERY)
    hear(dialogue, r.local_infile(b"f"))
    dialogue.given(10)
    hear(dialogue, r.err(r.Err(1, b"HY000", b"")))
    assert not dialogue.over
    assert dialogue.clients_turn
    with pytest.raises(WireError):
        dialogue.asked(r.COM_QUERY)
    dialogue.given(10)
    dialogue.given(0)
    assert dialogue.over


def test_a_server_does_not_answer_before_the_file_has_ended() -> None:
    dialogue = Dialogue(DEPRECATED)
    dialogue.asked(r.COM_QUERY)
    hear(dialogue, r.local_infile(b"f"))
    with pytest.raises(WireError):
        hear(dialogue, ok())


def test_definitions_may_be_left_out() -> None:
    flags = c.CLIENT_OPTIONAL_RESULTSET_METADATA
    dialogue = Dialogue(flags)
    dialogue.asked(r.COM_QUERY)
    hear(dialogue, b"\x05\x00", eof(), b"row", eof())
    assert dialogue.over
    dialogue = Dialogue(flags | DEPRECATED)
    dialogue.asked(r.COM_QUERY)
    hear(dialogue, b"\x05\x00", b"row", end())
    assert dialogue.over
    for columns, parameters in ((0, 0), (5, 0), (0, 5), (5, 5)):
        dialogue = Dialogue(flags | DEPRECATED)
        dialogue.asked(r.COM_STMT_PREPARE)
        hear(dialogue, r.prepared(r.Prepared(1, columns, parameters, 0, 0)))
        assert dialogue.over
        # As MySQL 9.7 has it: what is left out still ends.
        dialogue = Dialogue(flags)
        dialogue.asked(r.COM_STMT_PREPARE)
        hear(dialogue, r.prepared(r.Prepared(1, columns, parameters, 0, 0)))
        for _ in range(bool(columns) + bool(parameters)):
            assert not dialogue.over
            hear(dialogue, eof())
        assert dialogue.over


@pytest.mark.parametrize("command", [r.COM_QUIT, r.COM_STMT_CLOSE, r.COM_STMT_SEND_LONG_DATA])
def test_some_commands_have_no_answer(command: int) -> None:
    dialogue = Dialogue(DEPRECATED)
    dialogue.asked(command)
    assert dialogue.over


def test_a_stream_of_events_ends_with_an_eof_or_an_error() -> None:
    for last in (eof(), r.err(r.Err(1236, b"HY000", b""))):
        dialogue = Dialogue(DEPRECATED)
        dialogue.asked(r.COM_BINLOG_DUMP)
        assert hear(dialogue, b"\0event", b"\0" * 20) == [Part.EVENT, Part.EVENT]
        assert not dialogue.over
        hear(dialogue, last)
        assert dialogue.over


PACKETS = st.one_of(
    st.sampled_from([ok(), ok(MORE), end(), end(MORE), eof(), eof(MORE), DEFINITION, b"\x01", b"\x02", b"", b"\xfb"]),
    st.sampled_from([r.err(r.Err(1, b"HY000", b"x")), r.local_infile(b"f"), r.prepared(r.Prepared(1, 1, 1))]),
    st.binary(max_size=20),
)


@given(st.integers(0, (1 << 38) - 1), st.sampled_from(range(256)), st.lists(PACKETS, max_size=12))
def test_any_packets_give_parts_or_a_codec_error(flags: int, command: int, payloads: list[bytes]) -> None:
    dialogue = Dialogue(flags)
    dialogue.asked(command)
    try:
        for payload in payloads:
            if dialogue.clients_turn:
                dialogue.given(0)
            hear(dialogue, payload)
            if dialogue.over:
                dialogue.asked(command)
    except CodecError:
        pass


@given(
    st.lists(st.one_of(st.binary(max_size=12), st.integers(13, 300).map(bytes)), max_size=8),
    st.lists(st.integers(0, 900), max_size=12),
    st.sets(st.integers(-1, 255)),
)
def test_a_walker_shows_each_payload_once_whatever_the_cuts(
    payloads: list[bytes], cuts: list[int], whole: set[int]
) -> None:
    data = b"".join(packets(payload) for payload in payloads)
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    walker = PacketWalker(lambda first, size: first in whole)
    found = [one for a, b in zip(places, places[1:], strict=False) for one in walker.feed(data[a:b])]

    assert [size for _, size in found] == [len(payload) for payload in payloads]
    for (shown, _), payload in zip(found, payloads, strict=True):
        first = payload[0] if payload else -1
        assert shown == (payload if first in whole else payload[:1])
    assert walker.between


@pytest.mark.parametrize("size", [FULL - 1, FULL, FULL + 1, 2 * FULL])
@pytest.mark.parametrize("piece", [70_001, 1 << 26])
def test_a_walker_shows_a_continued_payload_once_and_holds_nothing_of_it(size: int, piece: int) -> None:
    # What the second packet begins with looks like an error.
    data = packets(b"\xff" * size, 3) + packets(b"end", 5)
    walker = PacketWalker(lambda first, _: first == 0x65)
    found = []
    for at in range(0, len(data), piece):
        found += walker.feed(data[at : at + piece])
    reader = PacketReader(strict=False)
    reader.feed(data)

    assert found == [(b"\xff", min(size, FULL)), (b"end", 3)]
    assert reader.next() == b"\xff" * size


def test_a_walker_holds_no_more_than_it_may() -> None:
    walker = PacketWalker(lambda first, size: True, most=100)
    assert list(walker.feed(packets(b"x" * 100))) == [(b"x" * 100, 100)]
    with pytest.raises(FrameTooBig):
        list(walker.feed(packets(b"x" * 101)[:5]))
