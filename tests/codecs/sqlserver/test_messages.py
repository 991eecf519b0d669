"""Packets, PRELOGIN, LOGIN7 and headers: written and read again, cut anywhere, and spoilt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdsp_codecs.errors import FrameTooBig, WireError
from rdsp_codecs.sqlserver import constants as k
from rdsp_codecs.sqlserver import framing as f
from rdsp_codecs.sqlserver import prelogin as p
from rdsp_codecs.sqlserver.headers import NO_TRANSACTION, all_headers, read_all_headers
from rdsp_codecs.sqlserver.login7 import Login7, login7, read_login7
from rdsp_codecs.sqlserver.values import integer
from tests.codecs.sqlserver.strategies import logins


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=4), st.integers(512, 4096), st.integers(1, 999))
def test_messages_come_out_as_they_went_in(data: list[bytes], size: int, step: int) -> None:
    whole = b"".join(f.packets(f.SQL_BATCH, one, size, status=f.RESET_CONNECTION) for one in data)
    reader = f.MessageReader(numbered=True)
    found = []
    for at in range(0, len(whole), step):
        reader.feed(whole[at : at + step])
        while (message := reader.next()) is not None:
            found.append(message)
    assert [message.data for message in found] == data
    assert all(message.status == f.EOM | f.RESET_CONNECTION for message in found)
    assert reader.between


def test_a_message_s_packets_are_of_one_type_and_in_order() -> None:
    begun = bytes((f.SQL_BATCH, 0)) + f.packets(f.SQL_BATCH, b"x" * 504, 512)[2:]
    other = f.packets(f.RPC, b"", 512, first=2)
    late = f.packets(f.SQL_BATCH, b"", 512, first=3)
    for behind, why in ((other, "type 3"), (late, "packet 3 came where 2 was due")):
        reader = f.MessageReader(numbered=True)
        reader.feed(begun + behind)
        with pytest.raises(WireError, match=why):
            reader.next()


def test_packets_that_all_have_one_number_are_freetds_s() -> None:
    begun = bytes((f.SQL_BATCH, 0)) + f.packets(f.SQL_BATCH, b"x" * 504, 512)[2:]
    reader = f.MessageReader(numbered=True)
    reader.feed(begun + begun + f.packets(f.SQL_BATCH, b"y", 512))
    message = reader.next()
    assert message is not None
    assert message.data == b"x" * 1008 + b"y"


@pytest.mark.parametrize("size", [512, 4096, 32767])
def test_a_message_whose_end_is_not_known_is_the_same_packets(size: int) -> None:
    for length in (0, 1, size - 8, size - 7, 3 * (size - 8)):
        data = bytes(range(256)) * (length // 256 + 1)
        writer = f.MessageWriter(f.RESPONSE, size, spid=51)
        said = b"".join(writer.write(data[:length][at : at + 1000]) for at in range(0, length, 1000)) + writer.end()
        assert said == f.packets(f.RESPONSE, data[:length], size, spid=51)


@pytest.mark.parametrize("first", [0, 1, 255])
def test_numbers_count_on_from_the_first(first: int) -> None:
    reader = f.MessageReader(numbered=True)
    for _ in range(2):
        reader.feed(f.packets(f.SQL_BATCH, bytes(1500), 512, first=first))
        assert reader.next() is not None


def test_lengths_are_checked_before_they_are_followed() -> None:
    reader = f.MessageReader()
    reader.feed(b"\1\1\0\7\0\0\1\0")
    with pytest.raises(WireError, match="less than its header"):
        reader.next()
    reader = f.MessageReader(most=1000)
    reader.feed(b"\1\1\xff\xff\0\0\1\0")
    with pytest.raises(FrameTooBig):
        reader.next()


@given(logins())
def test_logins_are_read_as_they_were_written(login: Login7) -> None:
    assert read_login7(login7(login)) == login


@given(logins(), st.data())
def test_a_spoilt_login_is_read_or_refused(login: Login7, data: st.DataObject) -> None:
    raw = bytearray(login7(login))
    for _ in range(3):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_login7(bytes(raw))
    except WireError:
        pass


@given(st.dictionaries(st.integers(1, 7), st.binary(max_size=40), max_size=7))
def test_prelogin_is_read_as_it_was_written(options: dict[int, bytes]) -> None:
    them = {p.VERSION: b"\x10\0\0\0\0\0", **options}
    assert p.read_prelogin(p.prelogin(them)) == them


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\0\0\x06\0\6",
        b"\0\0\x0b\0\6\xff",
        b"\1\0\x06\0\1\xff\0",
        b"\0\0\x0b\0\0\0\0\x0b\0\0\xff",
    ],
)
def test_a_prelogin_that_does_not_hold_together_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        p.read_prelogin(data)


@given(st.binary(min_size=8, max_size=8), st.integers(0, 9))
def test_headers_say_which_transaction(descriptor: bytes, outstanding: int) -> None:
    data = all_headers(descriptor, outstanding)
    assert read_all_headers(data + b"S") == (descriptor, len(data))
    trace = integer(26, 4) + integer(k.HEADER_TRACE_ACTIVITY, 2) + bytes(20)
    longer = integer(len(data) + len(trace), 4) + trace + data[4:]
    assert read_all_headers(longer) == (descriptor, len(longer))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        integer(4, 4),
        integer(99, 4) + all_headers()[4:],
        integer(40, 4) + all_headers()[4:] * 2,
        integer(22, 4) + integer(18, 4) + b"\x09\0" + bytes(12),
        integer(21, 4) + integer(17, 4) + b"\2\0" + bytes(11),
        integer(9, 4) + integer(5, 4) + b"\2",
    ],
)
def test_headers_that_do_not_hold_together_are_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        read_all_headers(data)


def test_no_transaction_is_zeros() -> None:
    assert read_all_headers(all_headers()) == (NO_TRANSACTION, 22)
